"""The journal: the durable record of every purchase, shared by all server processes of one user.

It is one SQLite file, opened for each use: one that was deleted or replaced meanwhile is simply opened again. SQLite
keeps the processes apart: every change is a transaction, which waits up to 5 s, Python's default, for another process.
The journal repairs nothing and keeps nothing in memory: where the file can't be used, `JournalUnusable` says why.

No row holds a secret: links are kept without their queries, local files as digest, size and type, and callback
addresses not at all.
"""

import sqlite3
from collections.abc import Callable, Collection, Iterable
from contextlib import closing
from dataclasses import astuple, fields, replace
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import anyio.to_thread

from ..errors import JournalUnusable, LumaServerError
from ..models import Api, Generation, plain_url
from .purchase import DAY_S, Purchase, over_budget

T = TypeVar("T")

_VERSION = 3
"""The file's `user_version`."""

_SCHEMA = """
    CREATE TABLE purchases (
        id TEXT PRIMARY KEY, account TEXT NOT NULL, api TEXT NOT NULL, idempotency_key TEXT NOT NULL,
        take INTEGER NOT NULL, tool TEXT NOT NULL, request TEXT NOT NULL, model TEXT, resolution TEXT, duration TEXT,
        max_usd REAL NOT NULL, price_usd REAL, user TEXT, submitted_at REAL NOT NULL, status TEXT NOT NULL,
        generation_id TEXT, state TEXT, accepted_at REAL, took_s REAL, refunded INTEGER NOT NULL, media_url TEXT,
        note TEXT, active INTEGER NOT NULL DEFAULT 1
    );
    CREATE UNIQUE INDEX active ON purchases (account, idempotency_key, take) WHERE active = 1;
    CREATE UNIQUE INDEX generations ON purchases (account, generation_id) WHERE generation_id IS NOT NULL;
    CREATE INDEX by_time ON purchases (submitted_at);
    CREATE INDEX by_media_url ON purchases (media_url) WHERE media_url IS NOT NULL;
    CREATE INDEX counted ON purchases (submitted_at, account, max_usd) WHERE status <> 'rejected' AND refunded = 0;
    CREATE INDEX unfinished ON purchases (account, submitted_at)
        WHERE status IN ('submitting', 'unknown', 'accepted');
    CREATE INDEX durations ON purchases (tool, model, submitted_at) WHERE took_s IS NOT NULL;
"""

_LEARN_FROM, _LEARN_LEAST = 20, 5

_LEARN_WITHIN_S = 600.0
"""An end that is first seen later may only mean that nobody looked."""

_COLUMNS = tuple(field.name for field in fields(Purchase))
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM purchases WHERE "
_UNRESOLVED = "status IN ('submitting', 'unknown')"
_UNFINISHED = "status IN ('submitting', 'unknown', 'accepted')"
_STATE = "CASE status WHEN 'accepted' THEN coalesce(state, 'queued') ELSE status END"
_WORDS = "coalesce(json_extract(request, '$.prompt'), '') || coalesce(user, '') || coalesce(generation_id, id)"


class Journal:
    """The record of one user's purchases. Every method may raise `JournalUnusable`.

    Args:
        path: the file; its folder is made with it. None where the setting can't be used.
        accounts: the accounts that there is a key for. Only their purchases are found again; with None all are.
        budget_usd: the most that purchases of 24 hours may count.
    """

    def __init__(
        self,
        path: Path | None,
        now: Callable[[], datetime],
        accounts: Collection[str] | None,
        *,
        budget_usd: float | None,
        budget_spans_accounts: bool,
    ) -> None:
        self.path, self.budget_usd = path, budget_usd
        self._now, self._accounts, self._budget_spans_accounts = now, tuple(accounts or ()), budget_spans_accounts
        self._own = "1" if accounts is None else f"account IN ({_marks(self._accounts)})"

    async def find(self, name: str) -> Purchase | None:
        """The purchase that a name stands for: its own id, its generation's, or a link to its result."""
        return await self._read(lambda db: self._find(db, name))

    def _find(self, db: sqlite3.Connection, name: str) -> Purchase | None:
        where = f"(id = ? OR generation_id = ? OR media_url = ?) AND {self._own}"
        return next(iter(_select(db, where, name, name, plain_url(name), *self._accounts)), None)

    async def active_purchase(self, purchase: Purchase) -> Purchase | None:
        """The latest purchase with the same account, key and take."""
        return await self._read(lambda db: _active(db, purchase))

    async def newest(self, account: str, limit: int, state: str | None = None) -> list[Purchase]:
        """Purchases of one account that Luma took, or may have taken, newest first; `state` keeps only its own."""
        where = "account = ? AND status NOT IN ('rejected', 'deleted')"
        where += f" AND (? IS NULL OR state = ? OR (? = 'unfinished' AND {_UNFINISHED}))"
        values = account, state, state, state, min(limit, 100_000)
        return await self._all(f"{where} ORDER BY submitted_at DESC LIMIT ?", *values)

    async def unfinished(self, since: float = 0.0) -> list[Purchase]:
        """Purchases whose job had not ended when it was last seen, newest first."""
        where = f"{self._own} AND {_UNFINISHED} AND submitted_at > ?"
        return await self._all(f"{where} ORDER BY submitted_at DESC", *self._accounts, since)

    async def unresolved(self, api: Api, since: float) -> list[Purchase]:
        """Purchases that nobody knows the outcome of, whatever their key: two keys may share an account at Luma."""
        return await self._all(f"api = ? AND {_UNRESOLVED} AND submitted_at > ?", api, since)

    async def owned(self, generation_ids: Collection[str]) -> set[str]:
        """Those of these generations that some purchase has, whatever its key."""
        owners = await self._all(f"generation_id IN ({_marks(generation_ids)})", *generation_ids)
        return {str(one.generation_id) for one in owners}

    async def next_take(self, purchase: Purchase) -> int:
        """A take that would buy another version."""
        where = "active = 1 AND account = ? AND idempotency_key = ? AND status NOT IN ('rejected', 'failed', 'deleted')"
        earlier = await self._all(where, purchase.account, purchase.idempotency_key)
        return max([purchase.take, *(one.take for one in earlier)]) + 1

    async def find_timed(self, name: str) -> tuple[Purchase | None, float | None]:
        """A purchase as `find` gives it, and how long such a job takes: the median of the last 20, once there are 5."""

        def work(db: sqlite3.Connection) -> tuple[Purchase | None, float | None]:
            if (purchase := self._find(db, name)) is None:
                return None, None
            kind = purchase.tool, purchase.model, purchase.resolution, purchase.duration
            like = "tool = ? AND model IS ? AND resolution IS ? AND duration IS ?"
            where = f"took_s IS NOT NULL AND {self._own} AND {like} ORDER BY submitted_at DESC LIMIT ?"
            last = _select(db, where, *self._accounts, *kind, _LEARN_FROM)
            return purchase, median(one.took_s or 0.0 for one in last) if len(last) >= _LEARN_LEAST else None

        return await self._read(work)

    async def spending(self) -> tuple[float, float, float, float, dict[str, float]]:
        """What was spent, in US dollars at the upper bounds of the prices.

        Since midnight, in 24 hours, how much of that for jobs without a published price, in all, and in 24 hours by
        user ("" for purchases without one).
        """
        now = self._now()
        midnight = now.astimezone().replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
        day = now.timestamp() - DAY_S

        def work(db: sqlite3.Connection) -> tuple[float, float, float, float, dict[str, float]]:
            where, values = self._counted(day)
            sql = f"SELECT coalesce(user, ''), total(max_usd) FROM purchases WHERE {where} GROUP BY 1 ORDER BY 1"
            by_user = {str(user): float(spent) for user, spent in db.execute(sql, values)}
            unpriced = self._spent(db, day, "AND price_usd IS NULL")
            return self._spent(db, midnight), self._spent(db, day), unpriced, self._spent(db, 0.0), by_user

        return await self._read(work)

    async def browse(
        self, limit: int, offset: int, *, text: str, state: str, model: str, since: float, until: float
    ) -> tuple[list[Purchase], int]:
        """A page of purchases but for the rejected, newest first, and how many match in all; "" matches all."""
        where = f"{self._own} AND status <> 'rejected' AND submitted_at >= ? AND submitted_at < ?"
        where += f" AND ? IN ('', {_STATE}) AND ? IN ('', model) AND instr(lower({_WORDS}), lower(?))"
        values = (*self._accounts, since, until, state, model, text)

        def work(db: sqlite3.Connection) -> tuple[list[Purchase], int]:
            [(matching,)] = db.execute(f"SELECT count(*) FROM purchases WHERE {where}", values)
            newest = f"{where} ORDER BY submitted_at DESC LIMIT ? OFFSET ?"
            return _select(db, newest, *values, limit, offset), int(matching)

        return await self._read(work)

    async def statistics(self, since: float) -> tuple[dict[str, int], dict[str, int], list[tuple[str, str, float]]]:
        """How many purchases there are by state and by model; what was spent since then by day, here, and model."""
        shown = f"FROM purchases WHERE {self._own} AND status <> 'rejected'"
        where, values = self._counted(since)
        day = "date(submitted_at, 'unixepoch', 'localtime')"
        sql = f"SELECT {day}, coalesce(model, tool), total(max_usd) FROM purchases WHERE {where} GROUP BY 1, 2"

        def work(db: sqlite3.Connection) -> tuple[dict[str, int], dict[str, int], list[tuple[str, str, float]]]:
            states, models = (
                dict(db.execute(f"SELECT {what}, count(*) {shown} AND {what} NOT NULL GROUP BY 1", self._accounts))
                for what in (_STATE, "model")
            )
            return states, models, db.execute(sql, values).fetchall()

        return await self._read(work)

    async def check_budget(self, max_usd: float) -> None:
        """Raise `LumaServerError` for what `reserve` would refuse, before anything is asked or uploaded for it."""
        now = self._now()
        await self._read(lambda db: self._check_budget(db, max_usd, now))

    async def reserve(self, purchase: Purchase) -> Purchase:
        """Write the row of a purchase that is about to be sent, in one transaction with the checks that allow it.

        Where an earlier one answers the same call, that one is returned and nothing is written.
        """
        now = self._now()

        def work(db: sqlite3.Connection) -> Purchase:
            earlier = _active(db, purchase)
            if earlier and earlier.answers(now):
                return earlier
            self._check_budget(db, purchase.max_usd, now)
            if earlier:
                db.execute("UPDATE purchases SET active = 0 WHERE id = ?", (earlier.id,))
            sql = f"INSERT INTO purchases ({', '.join(_COLUMNS)}) VALUES ({_marks(_COLUMNS)})"
            db.execute(sql, astuple(purchase))
            return purchase

        return await self._write(work)

    async def accept(self, purchase_id: str, generation: Generation, *, found_later: bool = False) -> None:
        """Luma has taken the job: it has just said so, or its list shows it."""
        accepted_at = None if found_later else self._now().timestamp()
        changes = {"generation_id": generation.generation_id, "accepted_at": accepted_at, "note": None}
        changes |= _progress(generation) | {"media_url": generation.url and plain_url(generation.url)}
        await self._update("id = ? AND generation_id IS NULL", (purchase_id,), **changes)

    async def reject(self, purchase_id: str, note: str) -> None:
        """Nothing was bought."""
        await self._update(f"id = ? AND {_UNRESOLVED}", (purchase_id,), status="rejected", note=note)

    async def mark_unknown(self, purchase_id: str, note: str) -> None:
        """Nobody knows whether something was bought."""
        await self._update(f"id = ? AND {_UNRESOLVED}", (purchase_id,), status="unknown", note=note)

    async def record_states(self, generations: Iterable[Generation]) -> dict[str, Purchase]:
        """Note how generations stand, and return the purchases among them by generation id. An end is final."""
        by_id = {str(one.generation_id): one for one in generations}
        where = f"generation_id IN ({_marks(by_id)}) AND {self._own}"
        now = self._now().timestamp()

        def work(db: sqlite3.Connection) -> dict[str, Purchase]:
            found = {}
            for purchase in _select(db, where, *by_id, *self._accounts):
                name = str(purchase.generation_id)
                if changes := _news(purchase, by_id[name], now):
                    _set(db, "id = ?", (purchase.id,), changes)
                found[name] = replace(purchase, **changes)
            return found

        return await self._write(work)

    async def record_deleted(self, generation_id: str) -> None:
        """A generation is gone; what it cost still counts."""
        where = f"generation_id = ? AND {self._own}"
        await self._update(where, (generation_id, *self._accounts), status="deleted")

    def _counted(self, since: float) -> tuple[str, tuple[Any, ...]]:
        """Which purchases count as spent."""
        whose, accounts = ("", ()) if self._budget_spans_accounts else (f" AND {self._own}", self._accounts)
        return f"status <> 'rejected' AND refunded = 0 AND submitted_at > ?{whose}", (since, *accounts)

    def _spent(self, db: sqlite3.Connection, since: float, which: str = "") -> float:
        where, values = self._counted(since)
        [(spent,)] = db.execute(f"SELECT total(max_usd) FROM purchases WHERE {where} {which}", values)
        return round(float(spent), 6)

    async def budget_left(self) -> float | None:
        """What may still be spent now, in US dollars; None without a budget."""
        now = self._now()
        return await self._read(lambda db: self._left(db, now))

    def _left(self, db: sqlite3.Connection, now: datetime) -> float | None:
        if self.budget_usd is None:
            return None
        return max(0.0, self.budget_usd - self._spent(db, now.timestamp() - DAY_S))

    def _check_budget(self, db: sqlite3.Connection, max_usd: float, now: datetime) -> None:
        left = self._left(db, now)
        if left is not None and max_usd > left + 1e-9:
            raise LumaServerError(over_budget(max_usd, left, self.budget_usd or 0.0))

    async def _all(self, where: str, *values: Any) -> list[Purchase]:
        return await self._read(lambda db: _select(db, where, *values))

    async def _update(self, where: str, values: tuple[Any, ...], **changes: Any) -> None:
        await self._write(lambda db: _set(db, where, values, changes))

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await anyio.to_thread.run_sync(self._use, work, "BEGIN", abandon_on_cancel=True)

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await anyio.to_thread.run_sync(self._use, work, "BEGIN IMMEDIATE")

    def _use(self, work: Callable[[sqlite3.Connection], T], begin: str) -> T:
        """Open the file, made if it is missing, and run one transaction. It blocks: call it in a worker thread."""
        if self.path is None:
            raise JournalUnusable(
                "There is no place for the journal of purchases.", "Set LUMA_MCP_JOURNAL to a file, by absolute path."
            )
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.path.exists():
                self.path.touch(0o600)  # prompts are nobody else's business
            with closing(sqlite3.connect(self.path, isolation_level=None)) as db:
                if _version(db) != _VERSION:
                    _create(db, self.path)
                with db:  # commits at its end, or takes all back
                    db.execute(begin)
                    return work(db)
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise _unusable(self.path, f"has no folder ({why})", "Make that folder") from error
        except sqlite3.Error as error:
            unnamed = f"can't be used ({error})", "Check its disk"
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            raise _unusable(self.path, *_CAUSES.get(code, unnamed)) from error


def _marks(values: Collection[str]) -> str:
    return ", ".join("?" * len(values))


def _select(db: sqlite3.Connection, where: str, *values: Any) -> list[Purchase]:
    return [Purchase(*row) for row in db.execute(_SELECT + where, values)]


def _active(db: sqlite3.Connection, purchase: Purchase) -> Purchase | None:
    where = "active = 1 AND account = ? AND idempotency_key = ? AND take = ?"
    return next(iter(_select(db, where, purchase.account, purchase.idempotency_key, purchase.take)), None)


def _set(db: sqlite3.Connection, where: str, values: tuple[Any, ...], changes: dict[str, Any]) -> None:
    names = ", ".join(f"{name} = ?" for name in changes)
    db.execute(f"UPDATE purchases SET {names} WHERE {where}", (*changes.values(), *values))


def _progress(generation: Generation) -> dict[str, Any]:
    """What a generation's state makes of its row."""
    return {
        "state": generation.state,
        "status": generation.state if generation.finished else "accepted",
        "refunded": generation.state == "failed" and generation.charged == "no",
    }


def _news(purchase: Purchase, generation: Generation, now: float) -> dict[str, Any]:
    """What a generation tells that its row does not say yet."""
    changes: dict[str, Any] = {}
    if not purchase.finished and purchase.state != generation.state:
        changes = _progress(generation)
        if generation.finished and purchase.accepted_at and now - purchase.accepted_at < _LEARN_WITHIN_S:
            changes["took_s"] = now - purchase.accepted_at
    if generation.url and purchase.media_url is None:
        changes["media_url"] = plain_url(generation.url)
    return changes


def _version(db: sqlite3.Connection) -> int:
    [(version,)] = db.execute("PRAGMA user_version")
    return int(version)


def _create(db: sqlite3.Connection, path: Path) -> None:
    """Make a new file a journal, unless another process has been faster."""
    with db:
        db.execute("BEGIN IMMEDIATE")
        if _version(db) == _VERSION:
            return
        if _version(db) > _VERSION:
            raise _unusable(path, "was written by a newer version of this server", "Update luma-mcp-server")
        if db.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise _unusable(path, "is not a journal of this server", "Move it away")
        for statement in _SCHEMA.split(";"):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {_VERSION}")


_CAUSES = {
    sqlite3.SQLITE_BUSY: ("is locked by another program", "Close that program, then call again"),
    sqlite3.SQLITE_FULL: ("can't be written: the disk is full", "Free some space"),
    sqlite3.SQLITE_READONLY: ("is read-only", "Make it writable"),
    sqlite3.SQLITE_CANTOPEN: ("can't be opened", "Make its folder writable"),
    sqlite3.SQLITE_NOTADB: ("is not a database", "Move it away"),
    sqlite3.SQLITE_CORRUPT: ("is damaged", "Look at list_generations, then move it away"),
}


def _unusable(path: Path, what: str, remedy: str) -> JournalUnusable:
    return JournalUnusable(
        f"The journal of purchases, {path}, {what}.",
        f"{remedy}, or set LUMA_MCP_JOURNAL to another file and restart this server.",
    )
