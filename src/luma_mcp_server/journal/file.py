"""The journal's file: opened late, shared with other processes, and replaced by memory where it can't be written."""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from ..errors import JournalBusy

T = TypeVar("T")
Values = dict[str, Any]

_OURS = 0x4C756D61
"""SQLite's application_id of our files: `Luma`."""

_VERSIONS = (
    """
    CREATE TABLE jobs (
        id TEXT PRIMARY KEY, account TEXT NOT NULL, api TEXT NOT NULL, identity TEXT NOT NULL, take INTEGER NOT NULL,
        tool TEXT NOT NULL, kind TEXT NOT NULL, request TEXT NOT NULL, model TEXT, shape TEXT NOT NULL,
        usd REAL NOT NULL, submitted_at REAL NOT NULL, status TEXT NOT NULL, generation_id TEXT, state TEXT,
        taken_at REAL, took_s REAL, refunded INTEGER NOT NULL, looks INTEGER NOT NULL, holds INTEGER NOT NULL, said TEXT
    );
    CREATE UNIQUE INDEX one_purchase ON jobs (account, identity) WHERE holds = 1;
    CREATE UNIQUE INDEX one_row ON jobs (generation_id, account) WHERE generation_id IS NOT NULL;
    CREATE INDEX by_time ON jobs (submitted_at);
    CREATE INDEX spent ON jobs (account, submitted_at, usd)
        WHERE status NOT IN ('refused', 'rejected') AND refunded = 0;
    CREATE INDEX listed ON jobs (account, submitted_at) WHERE status NOT IN ('refused', 'rejected', 'deleted');
    CREATE INDEX by_state ON jobs (account, state, submitted_at);
    CREATE INDEX open ON jobs (account, submitted_at) WHERE status IN ('submitting', 'submitted', 'unknown');
    CREATE INDEX by_shape ON jobs (account, shape, submitted_at) WHERE took_s IS NOT NULL;
    CREATE TABLE links (
        account TEXT NOT NULL, link TEXT NOT NULL, generation_id TEXT NOT NULL, PRIMARY KEY (account, link)
    ) WITHOUT ROWID;
    """,
)
"""What makes a file of each version out of the one before; a file's user_version says how far it is."""

_PYTHON = {"TEXT": str, "REAL": float, "INTEGER": int}

_PROGRESS = {"submitting": 0, "unknown": 1, "submitted": 2, "deleted": 4}
"""How far these are in a purchase's life; every other status is 3."""

_KEPT_S = 24 * 3600.0
"""Rows that may have changed in memory are no older, when it took the file's place."""

_BUSY_S = 0.1
"""Transactions are short, so that this nearly always sees the end of another process' one."""


class JournalFile:
    """One SQLite file, or what takes its place.

    Args:
        path: the file; its folder is made with it. Nothing stands for memory alone.
        now: the time of day.
    """

    def __init__(self, path: Path | None, now: Callable[[], datetime]) -> None:
        self.path, self._now = path, now
        self.problem: str | None = None
        """Why the record is in memory, if it is."""

        self.ahead: str | None = None
        """What to do about a file of a newer version, if it is one; then it is neither read nor written."""

        self.notices: list[str] = []
        self._db: sqlite3.Connection | None = None
        self._id: tuple[int, int] | None = None
        self._rescued: list[Values] = []
        """Rows of an earlier file, for the one that comes after it."""

        self._patience_s = _BUSY_S
        """None once the file was found locked, so that fifty questions don't each wait; back with the next write."""

        self._since = 0.0
        """Since when the record has been in memory."""

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do something that changes nothing.

        Raises:
            JournalBusy: another process keeps the file locked.
        """
        while True:
            db = self._opened()
            try:
                _check_version(db)
                return work(db)
            except sqlite3.Error as error:
                self._cope(error)

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do something in one transaction.

        Raises:
            JournalBusy: another process is writing.
            sqlite3.IntegrityError: the change is against the table's rules; nothing was changed.
        """
        while True:
            db = self._opened()
            try:
                with _transaction(db):
                    _check_version(db)
                    found = work(db)
            except sqlite3.IntegrityError:
                raise
            except sqlite3.Error as error:
                self._cope(error)
            else:
                self._wait_for_others(_BUSY_S)
                return found

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def return_to_file(self) -> None:
        """Where the record is in memory, see whether the file can be written again, and bring it up to date.

        Raises:
            JournalBusy: it can, but another process is writing.
        """
        memory = self._db
        if memory is None or self.problem is None or self.path is None:
            return
        try:
            self._open_file()
            assert self._db is not None
            with _transaction(self._db):
                _bring(_newer(_readable(memory), self._since - _KEPT_S), self._db)
        except (sqlite3.Error, OSError) as error:
            if self._db is not memory:
                self.close()
            self._db = memory
            if _is_busy(error):
                raise self._busy() from error
            if _is_broken(error):
                self.problem = None
                self._cope(error)  # what is in memory goes into the new file
            else:
                self.problem = self._why(error)
        else:
            self.problem = None
            memory.close()

    def _opened(self) -> sqlite3.Connection:
        """The open file, opened anew where another one, or none, has come to lie in its place."""
        if self._db is not None and not self.problem and self._id != _id_of(self.path):
            if not self.ahead:
                self._rescued += _newer(_readable(self._db), self._now().timestamp() - _KEPT_S)
                self.notices.append(
                    f"The journal {self.path} was deleted or replaced while this server was running. The purchases of "
                    "the last 24 hours that were in it have been written into the new one."
                )
            self.close()
        while self._db is None or self._rescued:
            try:
                if self._db is None:
                    self._open_file()
                    continue
                with _transaction(self._db):
                    _bring(self._rescued, self._db)
                self._rescued = []
            except (sqlite3.Error, OSError) as error:
                self._cope(error)
        return self._db

    def _open_file(self) -> None:
        if self.path is None:
            raise FileNotFoundError("no folder is known for it")
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite would make it readable for others, and its side files take their mode from it.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        self._id = _id_of(self.path)
        db = _connected(self.path, timeout=self._patience_s)
        try:
            # Before anything is changed in what may not be ours.
            self.ahead = _ahead(db)
            if self.ahead:
                db.close()
                db = _memory()
            else:
                self.path.chmod(0o600)
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = FULL")
            _migrate(db)
        except BaseException:
            db.close()
            raise
        self._db = db

    def _cope(self, error: Exception) -> None:
        """Make the next try a sensible one, or say why there can be none."""
        if _is_busy(error):
            raise self._busy() from error
        if self.problem or isinstance(error, sqlite3.ProgrammingError):
            raise error  # a mistake of ours, which no other file would mend
        if _code(error) == sqlite3.SQLITE_ERROR and (self._db is None or _is_ours(self._db)):
            raise error  # likewise
        if isinstance(error, _HasMovedOn):
            self.close()
        elif _is_broken(error) or _code(error) == sqlite3.SQLITE_ERROR:
            try:
                self._set_aside()
            except OSError as failure:
                self._keep_in_memory(failure)
        else:
            self._keep_in_memory(error)

    def _wait_for_others(self, seconds: float) -> None:
        if seconds != self._patience_s:
            self._patience_s = seconds
            if self._db is not None:
                self._db.execute(f"PRAGMA busy_timeout = {seconds * 1000:.0f}")

    def _busy(self) -> JournalBusy:
        self._wait_for_others(0.0)
        return JournalBusy(
            f"Another program keeps the journal {self.path} locked. This call bought nothing. Close what holds it, "
            "then call again."
        )

    def _why(self, error: Exception) -> str:
        why = getattr(error, "strerror", None) or str(error)
        if isinstance(error, FileExistsError | NotADirectoryError):
            why = "it is not a folder"
        place = self.path.parent if self.path and not self.path.is_dir() else self.path
        where = f" in {place}" if place else ""
        return f"The journal of purchases can't be written{where} ({why})."

    def _set_aside(self) -> None:
        """Give a file that can't be read another name; a new one will be made."""
        assert self.path is not None
        if self._db is not None:
            self._rescued += _readable(self._db)
        self.close()
        where = "another process gave it another name"
        if _id_of(self.path) == self._id:  # else that is so
            aside = self.path.with_name(f"{self.path.stem}-unreadable-{self._now():%Y%m%dT%H%M%S%f}.sqlite3")
            where = f"it is now {aside}"
            # The side files first: SQLite would take what they hold for changes to the new file.
            for suffix in ("-wal", "-shm", ""):
                with suppress(FileNotFoundError):
                    Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
        rest = (
            f"The {len(self._rescued)} purchases in it that could be read have been written into the new one."
            if self._rescued
            else "What was bought before is not known any more."
        )
        self.notices.append(
            f"The journal could not be read: {where}, and a new one was begun. {rest} Look at list_generations before "
            "you buy anything again."
        )

    def _keep_in_memory(self, error: Exception) -> None:
        """Go on without the file, with what can still be read of it."""
        rows = [*self._still_readable(), *self._rescued]
        self.close()
        self._db, self._rescued, self._since = _memory(), [], self._now().timestamp()
        _migrate(self._db)
        _bring(rows, self._db)
        self.problem = self._why(error)

    def _still_readable(self) -> list[Values]:
        if self._db is not None:  # it reads on where a full disk would keep a new one from doing so
            return _readable(self._db)
        # A folder that can't be written has no room for the side files: then the file alone is read.
        for how in ("mode=ro", "immutable=1"):
            if self.path is not None:
                with suppress(sqlite3.Error), closing(_connected(f"{self.path.as_uri()}?{how}", uri=True)) as file:
                    self.ahead = _ahead(file)
                    return [] if self.ahead else _readable(file)
        return []


class _NotOurs(sqlite3.DatabaseError):
    """A database, but not a journal."""


class _HasMovedOn(sqlite3.DatabaseError):
    """A newer version of this server has migrated the file while it was open."""


def _connected(path: Path | str, *, timeout: float = _BUSY_S, **options: Any) -> sqlite3.Connection:
    db: sqlite3.Connection = sqlite3.connect(path, timeout=timeout, isolation_level=None, **options)
    return db


def _memory() -> sqlite3.Connection:
    return _connected(":memory:")


def _code(error: Exception) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _is_busy(error: Exception) -> bool:
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _is_broken(error: Exception) -> bool:
    return isinstance(error, _NotOurs) or _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _is_ours(db: sqlite3.Connection) -> bool:
    """Whether a file that has been ours still is."""
    try:
        _version(db)
    except _NotOurs:
        return False
    return True


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # a full disk has rolled it back already
            db.execute("ROLLBACK")
        raise


def _version(db: sqlite3.Connection) -> int:
    """How far a file is; 0 for a new one."""
    # In one transaction: of a file that another process is making, half would look like another program's.
    alone = not db.in_transaction
    if alone:
        db.execute("BEGIN")
    try:
        [(version,)], [(owner,)] = db.execute("PRAGMA user_version"), db.execute("PRAGMA application_id")
        columns = _columns_of(db)
    finally:
        if alone and db.in_transaction:
            db.execute("ROLLBACK")
    if owner not in (0, _OURS) or (version and not owner) or (columns and not version):
        raise _NotOurs("it is another program's database")
    if version == len(_VERSIONS) and columns != _columns():
        raise _NotOurs("it has lost a table, or a part of one")
    return int(version)


def _columns_of(db: sqlite3.Connection) -> set[tuple[str, str]]:
    """All the columns of a file, each with its table."""
    tables = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
    return set(db.execute(f"SELECT made.name, part.name FROM ({tables}) AS made, pragma_table_info(made.name) AS part"))


@cache
def _columns() -> set[tuple[str, str]]:
    """The columns of our version."""
    with closing(_memory()) as db:
        for script in _VERSIONS:
            db.executescript(script)
        return _columns_of(db)


def _ahead(db: sqlite3.Connection) -> str | None:
    """What to do about a file that is ahead of our version."""
    if _version(db) <= len(_VERSIONS):
        return None
    return (
        "The journal of purchases was written by a newer version of this server, and nothing is bought without it. "
        "Update luma-mcp-server, or set LUMA_MCP_STATE_DIR to another folder, and restart this server."
    )


def _check_version(db: sqlite3.Connection) -> None:
    [(version,)] = db.execute("PRAGMA user_version")
    if version > len(_VERSIONS):
        raise _HasMovedOn("a newer version of this server has migrated it")


def _migrate(db: sqlite3.Connection) -> None:
    """Bring a file to our version."""
    if _version(db) == len(_VERSIONS):
        return
    with _transaction(db):
        for script in _VERSIONS[_version(db) :]:
            for statement in script.split(";"):
                db.execute(statement)
        db.execute(f"PRAGMA application_id = {_OURS}")
        db.execute(f"PRAGMA user_version = {len(_VERSIONS)}")


def _readable(db: sqlite3.Connection) -> list[Values]:
    """The rows that can be read, of a file that may be damaged: from the first up to the damage, then from the last."""
    found: dict[str, Values] = {}
    for order in ("ASC", "DESC"):
        with suppress(sqlite3.Error):
            rows = db.execute(f"SELECT * FROM jobs ORDER BY rowid {order}")
            names = [name for name, *_ in rows.description]
            for row in rows:
                found[str(row[0])] = dict(zip(names, row, strict=True))
            break
    return list(found.values())


def _newer(rows: Iterable[Values], since: float) -> list[Values]:
    return [row for row in rows if isinstance(row["submitted_at"], float) and row["submitted_at"] > since]


def _bring(rows: Iterable[Values], db: sqlite3.Connection) -> None:
    """Write rows of another file into one that may have them already; where they say different things the later counts.

    No row vanishes: of two that stand for one identity the later goes on doing so, of two with one generation the
    file's own keeps it.
    """
    columns = db.execute("PRAGMA table_info(jobs)").fetchall()
    for row in rows:
        if not _is_whole(row, columns):
            continue
        values = dict(row)
        there = db.execute("SELECT status FROM jobs WHERE id = :id", values).fetchone()
        if there and _PROGRESS.get(there[0], 3) >= _PROGRESS.get(values["status"], 3):
            db.execute("UPDATE jobs SET holds = 0 WHERE id = :id AND :holds = 0", values)
            continue
        db.execute("DELETE FROM jobs WHERE id = :id", values)
        of_account = "FROM jobs WHERE account = :account"
        holder = db.execute(
            f"SELECT submitted_at {of_account} AND holds = 1 AND identity = :identity", values
        ).fetchone()
        if holder and holder[0] > values["submitted_at"]:
            values["holds"] = 0
        elif holder and values["holds"]:
            db.execute("UPDATE jobs SET holds = 0 WHERE account = :account AND identity = :identity", values)
        if db.execute(f"SELECT 1 {of_account} AND generation_id = :generation_id", values).fetchone():
            values |= {"generation_id": None, "state": None, "status": "unknown"}
        marks = ", ".join(f":{name}" for name in values)
        db.execute(f"INSERT INTO jobs ({', '.join(values)}) VALUES ({marks})", values)


def _is_whole(row: Values, columns: Iterable[tuple[Any, ...]]) -> bool:
    """Whether no value of a row has become another kind of thing by damage."""
    return all(
        isinstance(row.get(name), _PYTHON[kind]) or (row.get(name) is None and not needed)
        for _, name, kind, needed, *_ in columns
    )


def _id_of(path: Path | None) -> tuple[int, int] | None:
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found else None
