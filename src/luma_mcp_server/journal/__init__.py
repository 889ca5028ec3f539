"""The durable record of every paid job, shared by all server processes of one user.

A row is written before its request leaves and completed when Luma answers, so that whatever dies in between, the next
process knows that something may have been bought. SQLite keeps the processes apart. No row holds a secret: links are
kept without their queries, local files as digest, size and type, and callback addresses not at all.

    submitting ──┬─> submitted ──┬─> completed ──> deleted
                 │               └─> failed
                 ├─> refused     Luma said no, or nothing was sent: not charged
                 └─> unknown ────┬─> submitted   found in Luma's list
                                 └─> rejected    certainly not there: not charged

An answer that comes after all counts more than any of this: a row that was taken for lost becomes submitted or refused,
and one that had found the other's job in the list is unknown again.
"""

import sqlite3
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from ..errors import JournalBusy, LumaServerError, OverBudget
from ..models import Generation, Request, dollars
from .file import JournalFile
from .rows import Row, identity_of, written

__all__ = ["DAY_S", "OWNED_S", "REPEAT_S", "Journal", "Row", "Spending", "identity_of", "written"]

DAY_S = 24 * 3600.0

OWNED_S = 90.0
"""How long a row `submitting` belongs to the process that wrote it: longer than any POST can last."""

REPEAT_S = 15 * 60.0
"""How long after its purchase a finished generation is given back for the same call."""

_SURE_AFTER_S = 60.0
_SURE_LOOKS = 3
"""So many lists without a job, the last so long after its POST, prove that Luma did not take it."""

_LEARN_FROM, _LEARN_LEAST = 20, 5
_MOST_ROWS = 100_000


_NAMES = tuple(field.name for field in fields(Row))
_COLUMNS = ", ".join(_NAMES)
_COUNTS = "status NOT IN ('refused', 'rejected') AND refunded = 0"  # as the index `spent` has it
_OPEN = "status IN ('submitting', 'submitted', 'unknown')"  # as the index `open` has it


@dataclass(frozen=True)
class Spending:
    """What was spent, in US dollars, at the upper bounds of the prices."""

    today: float
    day: float
    """In the last 24 hours."""

    total: float


class Journal:
    """The record of one user's paid jobs. Its methods take about a millisecond, or fail after a tenth of a second.

    Args:
        path: the file; its folder is made with it. Nothing keeps the record in memory.
        now: the time of day.
        accounts: the accounts that there is a key for now. Only their rows are found again.
        budget_usd: the most that rows of 24 hours may count in all; nothing lifts that.
        must_last: refuse purchases while the record is in memory alone, as the budget would end with the process.
        counts_all: spending counts the rows of every account, not of these alone.
    """

    def __init__(
        self,
        path: Path | None,
        now: Callable[[], datetime],
        accounts: Collection[str],
        *,
        budget_usd: float | None,
        must_last: bool,
        counts_all: bool,
    ) -> None:
        self._file, self._now, self._accounts = JournalFile(path, now), now, tuple(accounts)
        self.path, self.budget_usd, self._must_last, self._counts_all = path, budget_usd, must_last, counts_all
        self._total: tuple[Any, float] = None, 0.0
        """All that was spent, and the state of the record that it was added up from."""

        self._locked_out = False
        """Whether an answer was given without the record, since the last one that told so."""

    # Finding.

    def row(self, request_id: str) -> Row | None:
        """The purchase with one of our ids."""
        return self._one(f"id = ? AND {self._own}", request_id, *self._accounts)

    def of(self, generation_id: str) -> Row | None:
        """The purchase that a generation came from; nothing while another process keeps the file locked."""
        return next(iter(self._free(f"generation_id = ? AND {self._own}", generation_id, *self._accounts)), None)

    def holder(self, account: str, identity: str) -> Row | None:
        """The purchase that stands for an identity."""
        return self._one("holds = 1 AND account = ? AND identity = ?", account, identity)

    def newest(self, account: str, limit: int, state: str | None = None) -> list[Row]:
        """Purchases of one account that became a generation, or may have, newest first; `state` leaves out others."""
        where = "account = ? AND status NOT IN ('refused', 'rejected', 'deleted')"
        values: tuple[Any, ...] = (account,)
        if state is not None:
            where, values = f"{where} AND state = ?", (account, state)
        return self._free(f"{where} ORDER BY submitted_at DESC LIMIT ?", *values, min(limit, _MOST_ROWS))

    def running(self, since: float, but: str) -> list[Row]:
        """Generations bought since a time that had not ended when last seen, newest first; `but` is left out."""
        where = f"{self._own} AND {_OPEN} AND status = 'submitted' AND submitted_at > ? AND id <> ?"
        return self._free(f"{where} ORDER BY submitted_at DESC", *self._accounts, since, but)

    def next_take(self, row: Row, request: Request | None = None) -> int:
        """The next take that no purchase stands for; `request` is the row's, where it is known as it was sent."""
        take, request = row.take + 1, request or row.asked
        with suppress(JournalBusy):
            while request is not None and self.holder(row.account, identity_of(request, take)):
                take += 1
        return take

    def is_known(self, generation_id: str) -> bool:
        """Whether a generation is some purchase's already, with whichever key it was made."""
        return self._one("generation_id = ?", generation_id) is not None

    def whose(self, link: str) -> str | None:
        """The generation that a link, without its query, belongs to; nothing while the file is locked."""
        sql, values = f"SELECT generation_id FROM links WHERE link = ? AND {self._own}", (link, *self._accounts)
        with suppress(JournalBusy):
            return next((name for (name,) in self._file.read(lambda db: db.execute(sql, values).fetchall())), None)
        return None

    def rivals(self, row: Row) -> list[Request | None]:
        """What else was sent while a purchase was on its way and has no answer: a job may as well be of that.

        Other takes of it are none once their answers are lost: whichever gets the job, none is bought twice. They are
        while Luma may still answer, and then says whose job it is. Requests that read the same but differ in what is
        not kept, such as the query of a link, are no takes of one. Nothing stands for a request that this version of
        the server can't read.
        """

        def may_take_it(other: Row) -> bool:
            waits = other.status == "submitting" and self._time() - other.submitted_at < OWNED_S
            return waits or other.wish != row.wish

        # Whatever their keys are: two may be one account's at Luma.
        where = f"api = ? AND id <> ? AND {_OPEN} AND status <> 'submitted' AND abs(submitted_at - ?) < ?"
        return [
            other.asked for other in self._all(where, row.api, row.id, row.submitted_at, OWNED_S) if may_take_it(other)
        ]

    def usual_seconds(self, shape: str) -> float | None:
        """How long such jobs took: the median of the last 20, once there are 5."""
        sql = (
            f"SELECT took_s FROM jobs WHERE took_s IS NOT NULL AND {self._own} AND shape = ? ORDER BY submitted_at DESC"
        )
        values = (*self._accounts, shape, _LEARN_FROM)
        with suppress(JournalBusy):
            found = self._file.read(lambda db: db.execute(f"{sql} LIMIT ?", values).fetchall())
            return median(took for (took,) in found) if len(found) >= _LEARN_LEAST else None
        return None

    def spending(self) -> Spending:
        """What was spent today (since midnight here), in 24 hours, and in all.

        Raises:
            LumaServerError: the record can't be read.
        """
        now = self._now()
        midnight = now.astimezone().replace(hour=0, minute=0, second=0, microsecond=0).timestamp()

        def work(db: sqlite3.Connection) -> Spending:
            # The total is of all rows there are: it is added up anew only after something was written.
            [(version,)] = db.execute("PRAGMA data_version")
            if (stand := (db, version, db.total_changes)) != self._total[0]:
                self._total = stand, self._spent(db)
            return Spending(self._spent(db, midnight), self._spent(db, now.timestamp() - DAY_S), self._total[1])

        spent = self._file.read(work)
        if self._file.ahead:
            raise LumaServerError(self._file.ahead)
        return spent

    # Writing.

    def allow(self, usd: float) -> None:
        """Refuse, before anything is asked or sent for it, what `begin` would refuse.

        Raises:
            OverBudget | LumaServerError: as there.
        """
        self._file.return_to_file()
        self._file.read(lambda db: self._allow(db, usd))

    def begin(self, row: Row, *, instead_of: str | None = None) -> Row:
        """Write a row for a purchase that is about to be sent, in one transaction with the checks that allow it.

        Args:
            row: the purchase.
            instead_of: id of the row that stood for its identity, and no longer does.

        Returns:
            The row; or another one, which stands for the same identity: then nothing was written.

        Raises:
            OverBudget: the budget does not allow it.
            JournalBusy: another process is writing.
            LumaServerError: there is no journal that can be relied upon.
        """
        self._file.return_to_file()

        def work(db: sqlite3.Connection) -> Row:
            held = _found(db, "holds = 1 AND account = ? AND identity = ?", row.account, row.identity)
            if held and held[0].id != instead_of:
                return held[0]
            self._allow(db, row.usd)
            db.execute("UPDATE jobs SET holds = 0 WHERE id = ?", (instead_of,))
            _insert(db, row)
            return row

        begun = self._file.write(work)
        self._locked_out = False
        return begun

    def taken(self, row: Row, generation: Generation) -> None:
        """Luma has taken the job."""

        def work(db: sqlite3.Connection) -> None:
            # An answer is certain: a row that only found this generation in Luma's list gives it back.
            db.execute(
                "UPDATE jobs SET generation_id = NULL, state = NULL, taken_at = NULL, status = 'unknown', refunded = 0,"
                " holds = NOT EXISTS (SELECT 1 FROM jobs AS other WHERE other.holds = 1 AND other.id <> jobs.id"
                " AND (other.account, other.identity) = (jobs.account, jobs.identity))"
                " WHERE id <> ? AND account = ? AND generation_id = ?",
                (row.id, row.account, generation.generation_id),
            )
            if not _found(db, "id = ?", row.id):  # somebody has removed it meanwhile
                _insert(db, replace(row, holds=0))
            self._set_taken(db, row.id, generation, taken_at=self._time())

        self._file.write(work)

    def adopt(self, request_id: str, generation: Generation) -> None:
        """Luma's list shows the job. A generation that another row has, or a row that has one, is left alone."""
        with suppress(sqlite3.IntegrityError):
            self._file.write(lambda db: self._set_taken(db, request_id, generation, taken_at=None))

    def refused(self, request_id: str, said: str) -> None:
        """Nothing was bought."""
        where = "id = ? AND status IN ('submitting', 'unknown')"  # a clock set back may have made it unknown meanwhile
        self._update(where, (request_id,), status="refused", holds=0, said=said)

    def lost(self, request_id: str, said: str | None = None) -> None:
        """Nobody knows whether something was bought."""
        self._update("id = ? AND status = 'submitting'", (request_id,), status="unknown", said=said)

    def missed(self, row: Row, age_s: float) -> None:
        """Luma's list, so many seconds after the POST, does not show the job."""
        sure = row.looks + 1 >= _SURE_LOOKS and age_s >= _SURE_AFTER_S
        verdict: dict[str, Any] = {"status": "rejected", "holds": 0} if sure else {}
        self._update("id = ? AND status = 'unknown'", (row.id,), looks=row.looks + 1, **verdict)

    def saw(self, *generations: Generation) -> None:
        """Note how generations stand that are a purchase's. An end is final: an answer that comes late undoes none."""
        seen = {one.generation_id: one for one in generations if one.generation_id}
        where = f"generation_id IN ({', '.join('?' * len(seen))}) AND {self._own}"
        known = self._all(where, *seen, *self._accounts)
        changed = [row for row in known if not row.finished and row.state != seen[str(row.generation_id)].state]
        if not changed:
            return

        def work(db: sqlite3.Connection) -> None:
            for row in changed:
                changes = _standing(seen[str(row.generation_id)])
                if changes["holds"]:
                    del changes["holds"]  # another purchase may have taken its place meanwhile
                _set(db, f"id = ? AND {_OPEN}", (row.id,), changes)

        self._file.write(work)

    def note_links(self, links: Collection[tuple[str, str, str]]) -> None:
        """Note whose links are: account, link without its query, generation id. What is known stays as it is."""
        self._file.write(lambda db: db.executemany("INSERT OR IGNORE INTO links VALUES (?, ?, ?)", links))

    def ended_now(self, generation_id: str) -> None:
        """A job's end has been seen soon after it came, so that others can be told how long such jobs take."""
        row = self.of(generation_id)
        if row is not None and row.took_s is None and row.taken_at is not None and self._time() > row.taken_at:
            self._update("id = ?", (row.id,), took_s=self._time() - row.taken_at)

    def deleted(self, generation_id: str) -> None:
        """A generation is gone; what it cost still counts."""
        where = f"generation_id = ? AND {self._own}"
        self._update(where, (generation_id, *self._accounts), status="deleted", holds=0)

    def notices(self) -> list[str]:
        """What the user should know of the journal: how it stands, and what happened since the last time."""
        told = [self._file.ahead] if self._file.ahead else []
        if self.problem:
            what = (
                "Nothing is bought without it, as a budget is set (LUMA_MCP_BUDGET_USD)."
                if self._must_last
                else "It is kept in memory: after a restart the budget begins anew, and the same call buys again."
            )
            told.append(f"{self.problem} {what} Set LUMA_MCP_STATE_DIR to a folder that can be written.")
        with suppress(JournalBusy):
            told.append(self._file.read(self._set_back).strip())
        return [*filter(None, told), *self.news()]

    def news(self) -> list[str]:
        """What happened to the journal since the last time."""
        told = list(dict.fromkeys(self._file.notices))
        if self._locked_out:
            told.append(f"Another program keeps the journal {self.path} locked: this is without it.")
        self._file.notices.clear()
        self._locked_out = False
        return told

    @property
    def problem(self) -> str | None:
        """Why the record is in memory alone, if it is."""
        return self._file.problem

    def close(self) -> None:
        """Let go of the file; the next use opens it again. What is in memory is written to it where that can be."""
        with suppress(JournalBusy):
            self._file.return_to_file()
        self._file.close()

    # Inside.

    @property
    def _own(self) -> str:
        return f"account IN ({', '.join('?' * len(self._accounts))})"

    def _time(self) -> float:
        return self._now().timestamp()

    def _one(self, where: str, *values: Any) -> Row | None:
        return next(iter(self._all(where, *values)), None)

    def _all(self, where: str, *values: Any) -> list[Row]:
        return self._file.read(lambda db: _found(db, where, *values))

    def _free(self, where: str, *values: Any) -> list[Row]:
        """Rows for a question that can do without them: nothing while another process keeps the file locked."""
        try:
            return self._all(where, *values)
        except JournalBusy:
            self._locked_out = True
            return []

    def _spent(self, db: sqlite3.Connection, since: float | None = None) -> float:
        where, values = _COUNTS, list[Any]()
        if not self._counts_all:
            where, values = f"{where} AND {self._own}", [*values, *self._accounts]
        if since is not None:
            where, values = f"{where} AND submitted_at > ?", [*values, since]
        [(spent,)] = db.execute(f"SELECT total(usd) FROM jobs WHERE {where}", values)
        return round(float(spent), 6)

    def _allow(self, db: sqlite3.Connection, usd: float) -> None:
        if self._file.ahead:
            raise LumaServerError(f"Nothing was sent or charged. {self._file.ahead}")
        if self.problem and self._must_last:
            raise LumaServerError(
                f"{self.problem} A budget is set (LUMA_MCP_BUDGET_USD), which can't be kept without it. Nothing was "
                "sent or charged. Make that folder writable, or set LUMA_MCP_STATE_DIR to another and restart this "
                "server."
            )
        if self.budget_usd is None:
            return
        left = max(0.0, self.budget_usd - self._spent(db, self._time() - DAY_S))
        if usd > left + 1e-9:
            raise OverBudget(
                f"This counts as {dollars(usd)}, but only {dollars(left)} is left of the budget of "
                f"{dollars(self.budget_usd)} in 24 hours (LUMA_MCP_BUDGET_USD). Nothing was sent or charged. Tell the "
                "user, who can raise that variable and restart this server, or wait; get_account shows the spending."
                f"{self._set_back(db)}"
            )

    def _set_back(self, db: sqlite3.Connection) -> str:
        """What to say where the journal holds a purchase of a day that has not come yet."""
        [(newest,)] = db.execute("SELECT max(submitted_at) FROM jobs")
        if newest is None or newest <= self._time() + _SURE_AFTER_S:
            return ""
        return (
            f" This computer's clock has been set back: the journal holds a purchase of {_day(newest)}. Until then the "
            "same call gives it back, and it counts in the budget until a day later."
        )

    def _set_taken(
        self, db: sqlite3.Connection, request_id: str, generation: Generation, taken_at: float | None
    ) -> None:
        changes = {"generation_id": generation.generation_id, "taken_at": taken_at, **_standing(generation)}
        # A clock that leapt may have let another purchase take its place meanwhile.
        same = "SELECT account, identity FROM jobs WHERE id = ?"
        if _found(db, f"holds = 1 AND id <> ? AND (account, identity) = ({same})", request_id, request_id):
            changes["holds"] = 0
        _set(db, "id = ? AND generation_id IS NULL", (request_id,), changes)

    def _update(self, where: str, values: Sequence[Any], **changes: Any) -> None:
        self._file.write(lambda db: _set(db, where, values, changes))


def _found(db: sqlite3.Connection, where: str, *values: Any) -> list[Row]:
    return [Row(*values) for values in db.execute(f"SELECT {_COLUMNS} FROM jobs WHERE {where}", values)]


def _insert(db: sqlite3.Connection, row: Row) -> None:
    db.execute(f"INSERT INTO jobs ({_COLUMNS}) VALUES ({', '.join('?' * len(_NAMES))})", astuple(row))


def _set(db: sqlite3.Connection, where: str, values: Sequence[Any], changes: dict[str, Any]) -> None:
    names = ", ".join(f"{name} = ?" for name in changes)
    db.execute(f"UPDATE jobs SET {names} WHERE {where}", (*changes.values(), *values))


def _standing(generation: Generation) -> dict[str, Any]:
    """What a generation's state makes of its row."""
    failed = generation.state == "failed"
    return {
        "state": generation.state,
        "status": generation.state if generation.finished else "submitted",
        "refunded": int(failed and generation.charged == "no"),
        "holds": int(not failed),
    }


def _day(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M}"
