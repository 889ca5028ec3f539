"""The journal's file in trouble: broken, foreign, locked, unwritable, gone; and a clock that is set back."""

import sqlite3
import stat
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from luma_mcp_server.errors import JournalBusy
from luma_mcp_server.journal import Journal, Row
from luma_mcp_server.journal.file import JournalFile
from luma_mcp_server.models import Generation
from luma_mcp_server.sandbox import AGENTS_SANDBOX_KEY, Fault

pytestmark = pytest.mark.anyio

AGENTS = {"LUMA_API_KEY": AGENTS_SANDBOX_KEY}
OURS = 0x4C756D61
on_posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows lets nobody move a file that is open")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state folder, with nothing in it."""
    (tmp_path / ".luma-mcp").mkdir(mode=0o700)
    return tmp_path / ".luma-mcp"


@pytest.fixture
def file(state: Path) -> Path:
    """Where the journal's file will be."""
    return state / "sandbox.sqlite3"


def opened(file: Path) -> sqlite3.Connection:
    """The file, as another process would open it."""
    db = sqlite3.connect(file, isolation_level=None)
    db.row_factory = sqlite3.Row
    return db


def rows(file: Path) -> list[dict[str, Any]]:
    """What the journal holds, oldest first."""
    with closing(opened(file)) as db:
        return [dict(row) for row in db.execute("SELECT * FROM jobs ORDER BY submitted_at, rowid")]


def change(file: Path, sql: str, *values: Any) -> None:
    """Make the journal look as something else would have left it."""
    with closing(opened(file)) as db:
        db.execute(sql, values)


def aside(file: Path) -> list[Path]:
    """The files that were set aside, without SQLite's side files."""
    return sorted(file.parent.glob("*-unreadable-*.sqlite3"))


@contextmanager
def locked(file: Path) -> Iterator[sqlite3.Connection]:
    """Another process that writes, until the block ends or somebody closes it."""
    with closing(opened(file)) as db:
        db.execute("BEGIN EXCLUSIVE")
        yield db


@contextmanager
def locked_for_readers(file: Path) -> Iterator[sqlite3.Connection]:
    """Another process that lets nobody even read; it must have come first."""
    with closing(opened(file)) as db:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("UPDATE jobs SET looks = looks")
        yield db


def warned(result: dict[str, Any], words: str) -> bool:
    return any(words in warning for warning in result.get("warnings", []))


# What the file is.


@on_posix
async def test_the_file_and_its_folder_are_the_user_s_alone(desk, tmp_path) -> None:
    await desk.video()
    folder = tmp_path / ".luma-mcp"

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {f"sandbox.sqlite3{end}": 0o600 for end in ("", "-wal", "-shm")}


@on_posix
async def test_an_empty_file_becomes_the_journal_and_the_user_s_alone(open_desk, file) -> None:
    file.touch(0o644)
    async with open_desk() as desk:
        assert "warnings" not in await desk.video()

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(rows(file)) == 1
    assert not aside(file)


async def test_a_file_whose_making_was_interrupted_is_made_whole(open_desk, file) -> None:
    change(file, f"PRAGMA application_id = {OURS}")
    async with open_desk() as desk:
        assert "warnings" not in await desk.video()

    assert len(rows(file)) == 1
    assert not aside(file)
    with closing(opened(file)) as db:
        assert [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id")] == [1, OURS]


def test_servers_that_make_a_new_file_at_once_all_use_the_same(tmp_path) -> None:
    # Threads meet within microseconds, as processes seldom do.
    together = threading.Barrier(4)

    def opened_by(file: JournalFile) -> None:
        together.wait()
        opened = False
        while not opened:
            with suppress(JournalBusy):
                file.read(lambda db: db.total_changes)
                opened = True
        file.close()

    with ThreadPoolExecutor(4) as servers:
        for place in range(100):
            path = tmp_path / str(place) / "sandbox.sqlite3"
            files = [JournalFile(path, lambda: datetime.now(UTC)) for _ in range(4)]
            list(servers.map(opened_by, files))
            assert [(file.problem, file.notices) for file in files] == [(None, [])] * 4
            assert not aside(path)


async def test_a_file_of_a_newer_version_is_left_alone_and_nothing_is_bought_without_it(open_desk, file) -> None:
    with closing(opened(file)) as db:
        db.executescript(f"PRAGMA application_id = {OURS}; PRAGMA user_version = 99; CREATE TABLE purchases (a)")
    before = file.read_bytes()
    async with open_desk() as desk:
        made = [await desk.refusal("generate_video", prompt="a lake") for _ in range(2)]
        listed = await desk.call("list_generations")
        account = await desk.call("get_account")

        assert desk.posts == []
    for said in (*made, *listed["warnings"], *account["warnings"]):
        assert "newer version" in said
        assert "Update luma-mcp-server, or set LUMA_MCP_STATE_DIR" in said
    assert "Nothing was sent or charged" in made[0]
    assert "spent_total_usd" not in account
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


async def test_a_generation_is_shown_beside_a_journal_of_a_newer_version(desk, open_desk, tmp_path) -> None:
    made = await desk.video()
    file = tmp_path / "newer" / "sandbox.sqlite3"
    file.parent.mkdir()
    with closing(opened(file)) as db:
        db.executescript(f"PRAGMA application_id = {OURS}; PRAGMA user_version = 99; CREATE TABLE jobs (a)")
    async with open_desk(beside=desk, LUMA_MCP_STATE_DIR=str(file.parent)) as later:
        assert (await later.call("get_generation", generation_id=made["generation_id"]))["state"] == "completed"
        waited = await later.call("wait_for_generations", generation_ids=[made["generation_id"]])
        assert waited["finished"] is True


async def test_a_file_that_a_newer_version_takes_over_while_a_server_runs_is_not_written_any_more(
    desk, tmp_path
) -> None:
    made = await desk.video(wait_s=0)
    change(tmp_path / ".luma-mcp" / "sandbox.sqlite3", "PRAGMA user_version = 99")

    assert "newer version" in await desk.refusal("generate_video", prompt="another lake")
    assert (await desk.call("wait_for_generations", generation_ids=[made["generation_id"]]))["finished"] is True
    assert desk.charges == 1
    assert [row["state"] for row in rows(tmp_path / ".luma-mcp" / "sandbox.sqlite3")] == ["queued"]


def noise(file: Path) -> None:
    file.write_bytes(b"\x00\xfe\x80 no database at all " * 500)


def short(file: Path) -> None:
    file.write_bytes(b"SQLite format 3\x00")


def foreign(file: Path) -> None:
    with closing(opened(file)) as db:
        db.executescript("PRAGMA application_id = 77; CREATE TABLE recipes (soup); INSERT INTO recipes VALUES ('pea')")


def unnamed(file: Path) -> None:
    change(file, "CREATE TABLE recipes (soup)")


def without_tables(file: Path) -> None:
    with closing(opened(file)) as db:
        db.executescript(f"PRAGMA application_id = {OURS}; PRAGMA user_version = 1; CREATE TABLE recipes (soup)")


def with_other_tables(file: Path) -> None:
    with closing(opened(file)) as db:
        db.executescript(f"PRAGMA application_id = {OURS}; CREATE TABLE jobs (a)")


@pytest.mark.parametrize("spoil", [noise, short, foreign, unnamed, without_tables, with_other_tables])
async def test_what_is_no_journal_is_set_aside_unchanged_and_the_next_result_says_so(open_desk, file, spoil) -> None:
    spoil(file)
    before = file.read_bytes()
    async with open_desk() as desk:
        made = await desk.video()
        assert "warnings" not in await desk.video("another lake")
        assert desk.charges == 2

    [kept] = aside(file)
    assert kept.read_bytes() == before
    [said] = made["warnings"]
    assert "could not be read" in said
    assert str(kept) in said
    assert len(rows(file)) == 2


async def test_the_next_result_says_what_happened_to_the_journal_whichever_it_is(desk, open_desk, tmp_path) -> None:
    made = await desk.video()
    noise(tmp_path / "sandbox.sqlite3")
    async with open_desk(beside=desk, LUMA_MCP_STATE_DIR=str(tmp_path)) as later:
        assert warned(await later.call("get_generation", generation_id=made["generation_id"]), "could not be read")
        assert "warnings" not in await later.call("get_account")


# Damage.


def damaged(file: Path, root: str, keep: int = 0) -> None:
    """Overwrite the page that a table or index begins on."""
    with closing(opened(file)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [(page,)] = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (root,))
        [(size,)] = db.execute("PRAGMA page_size")
    with file.open("r+b") as data:
        data.seek((page - 1) * size + keep)
        data.write(b"\xff" * (size - keep))


@pytest.mark.parametrize("root", ["one_purchase", "by_time", "one_row", "sqlite_autoindex_jobs_1"])
async def test_rows_are_carried_over_from_a_file_with_a_damaged_index(desk, open_desk, tmp_path, root: str) -> None:
    file = tmp_path / ".luma-mcp" / "sandbox.sqlite3"
    async with open_desk(beside=desk) as first:
        made = [await first.video(f"lake {number}") for number in range(3)]
    damaged(file, root)
    async with open_desk(beside=desk) as later:
        again = await later.video("lake 1")
        more = await later.video("lake 3")
        spent = (await later.call("get_account"))["spent_total_usd"]

    assert again["generation_id"] == made[1]["generation_id"]
    assert sum(warned(one, "The 3 purchases in it that could be read") for one in (again, more)) == 1
    assert len(aside(file)) == 1
    assert len(rows(file)) == desk.charges == 4
    assert spent == pytest.approx(4 * made[0]["estimated_cost_usd"], abs=0.02)


async def test_what_can_be_read_of_a_damaged_table_is_kept(desk, open_desk, tmp_path) -> None:
    file = tmp_path / ".luma-mcp" / "sandbox.sqlite3"
    async with open_desk(beside=desk, LUMA_MCP_BUDGET_USD="off") as first:
        for number in range(30):
            await first.video(f"lake {number}", wait_s=0)
    with closing(opened(file)) as db:
        [(pages,)] = db.execute("PRAGMA page_count")
        [(size,)] = db.execute("PRAGMA page_size")
        [(root,)] = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'jobs'")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert pages > 10
    with file.open("r+b") as data:
        data.seek((root - 1) * size)
        cells = int.from_bytes(data.read(5)[3:5])
        data.seek((root - 1) * size + 12 + 2 * (cells // 2))
        data.seek((root - 1) * size + int.from_bytes(data.read(2)))
        middle = int.from_bytes(data.read(4))
        data.seek((middle - 1) * size)
        data.write(b"\xff" * size)
    async with open_desk(beside=desk, LUMA_MCP_BUDGET_USD="off") as later:
        reused = [(await later.video(f"lake {number}", wait_s=0)).get("reused", False) for number in (0, 1, 28, 29)]
        await later.call("list_generations", limit=100)

    assert reused == [True] * 4
    assert len(aside(file)) == 1
    assert 10 < len(rows(file)) < 30


async def test_damage_that_appears_while_servers_run_stops_none_of_them(desk, open_desk, tmp_path) -> None:
    file = tmp_path / ".luma-mcp" / "sandbox.sqlite3"
    made = await desk.video()
    with closing(opened(file)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    noise(file)
    async with open_desk(beside=desk) as other:
        assert warned(await other.video("another lake"), "could not be read")
        await desk.video("a third lake")
        assert (await other.video("a third lake"))["reused"] is True
    assert (await desk.call("get_generation", generation_id=made["generation_id"]))["state"] == "completed"
    assert len(aside(file)) == 1
    assert desk.charges == 3


# A folder that can't be written.


@pytest.fixture
def blocked(tmp_path: Path) -> Path:
    """A state folder below a regular file."""
    (tmp_path / "regular").write_text("")
    return tmp_path / "regular" / "state"


async def test_without_a_folder_purchases_go_on_in_memory_and_the_results_say_so(open_desk, blocked) -> None:
    async with open_desk(LUMA_MCP_STATE_DIR=str(blocked)) as desk:
        first = await desk.video()
        again = await desk.video()
        account = await desk.call("get_account")

    assert again["generation_id"] == first["generation_id"]
    for result in (first, again, account):
        assert warned(result, f"can't be written in {blocked}")
        assert warned(result, "after a restart the budget begins anew")
    assert account["journal"] == "in memory"
    assert account["spent_24h_usd"] > 0
    assert desk.charges == 1


async def test_a_budget_of_the_user_s_is_not_kept_in_memory_alone(open_desk, blocked) -> None:
    async with open_desk(LUMA_MCP_STATE_DIR=str(blocked), LUMA_MCP_BUDGET_USD="5") as desk:
        said = await desk.refusal("generate_video", prompt="a lake")
        assert desk.posts == []
        assert str(blocked) in said
        assert "it is not a folder" in said
        assert "LUMA_MCP_BUDGET_USD" in said
        assert "Nothing was sent or charged" in said
        listed = await desk.call("list_generations")
        assert listed["generations"] == []
        assert warned(listed, "Nothing is bought without it, as a budget is set")

        blocked.parent.unlink()
        assert "warnings" not in await desk.video()


async def test_a_budget_that_is_lifted_needs_no_file(open_desk, blocked) -> None:
    async with open_desk(LUMA_MCP_STATE_DIR=str(blocked), LUMA_MCP_BUDGET_USD="off") as desk:
        assert warned(await desk.video(), "can't be written")


async def test_a_folder_that_can_be_written_again_gets_the_rows(open_desk, blocked) -> None:
    async with open_desk(LUMA_MCP_STATE_DIR=str(blocked)) as desk:
        made = await desk.video()
        blocked.parent.unlink()
        assert "warnings" not in await desk.video("another lake")
        async with open_desk(beside=desk, LUMA_MCP_STATE_DIR=str(blocked)) as later:
            assert (await later.video())["generation_id"] == made["generation_id"]
    assert [row["status"] for row in rows(blocked / "sandbox.sqlite3")] == ["completed"] * 2


async def test_a_folder_that_can_be_written_again_gets_the_rows_at_the_server_s_end_at_the_latest(
    open_desk, blocked
) -> None:
    async with open_desk(LUMA_MCP_STATE_DIR=str(blocked)) as desk:
        made = await desk.video()
        blocked.parent.unlink()

    assert [row["generation_id"] for row in rows(blocked / "sandbox.sqlite3")] == [made["generation_id"]]


async def test_rows_from_memory_and_rows_of_the_file_stand_beside_each_other(desk, open_desk, blocked) -> None:
    environ = {"beside": desk, "LUMA_MCP_STATE_DIR": str(blocked)}
    async with open_desk(**environ) as blind:
        in_memory = await blind.video()
        blocked.parent.unlink()
        async with open_desk(**environ) as other:
            in_file = await other.video()
            assert in_file["generation_id"] != in_memory["generation_id"], "nobody could know"
            await blind.video("another lake")
            assert (await other.video())["generation_id"] == in_file["generation_id"]
            assert (await blind.video())["generation_id"] == in_file["generation_id"]

    found = rows(blocked / "sandbox.sqlite3")
    assert {row["generation_id"] for row in found} == set(desk.world.jobs)
    assert [row["holds"] for row in found] == [0, 1, 1]


async def test_of_two_purchases_that_could_not_know_of_each_other_the_later_stands(desk, open_desk, blocked) -> None:
    environ = {"beside": desk, "LUMA_MCP_STATE_DIR": str(blocked)}
    async with open_desk(**environ) as blind:
        await blind.video("a first lake")
        blocked.parent.unlink()
        async with open_desk(**environ) as other:
            await other.video("a lake")
        hidden = blocked.rename(blocked.with_name("hidden"))
        blocked.write_text("")
        later = await blind.video("a lake")
        blocked.unlink()
        hidden.rename(blocked)
        await blind.video("another lake")

        assert (await blind.video("a lake"))["generation_id"] == later["generation_id"]


async def test_a_job_that_memory_and_the_file_took_for_their_own_stays_with_the_file(desk, open_desk, blocked) -> None:
    environ = {"beside": desk, "LUMA_MCP_STATE_DIR": str(blocked)}
    async with open_desk(**environ) as blind:
        desk.world.faults.append(Fault("status", status=502))
        lost = await blind.video(wait_s=0)
        blocked.parent.unlink()
        async with open_desk(**environ) as other:
            made = await other.video()
            # By now memory has found the job of the other in Luma's list.
            [found] = (await blind.call("wait_for_generations", generation_ids=[lost["request_id"]]))["generations"]
            assert found["generation_id"] == made["generation_id"]
            await blind.video("another lake")

    in_file = {row["id"]: row for row in rows(blocked / "sandbox.sqlite3")}
    assert len(in_file) == 3
    assert (in_file[lost["request_id"]]["status"], in_file[lost["request_id"]]["generation_id"]) == ("unknown", None)
    assert made["generation_id"] in {row["generation_id"] for row in in_file.values()}


@on_posix
async def test_what_memory_learnt_while_it_stood_for_the_file_is_not_undone(desk, tmp_path) -> None:
    folder = tmp_path / ".luma-mcp"
    old, gone = await desk.video(), await desk.video("to be deleted")
    hidden = folder.rename(tmp_path / "hidden")
    folder.write_text("")
    await anyio.sleep(16 * 60)
    new = await desk.video()
    await desk.call("delete_generation", generation_id=gone["generation_id"])
    folder.unlink()
    hidden.rename(folder)
    await desk.video("another lake")

    assert new["generation_id"] != old["generation_id"]
    assert (await desk.video())["generation_id"] == new["generation_id"]
    status = {row["generation_id"]: row["status"] for row in rows(folder / "sandbox.sqlite3")}
    assert status[gone["generation_id"]] == "deleted"


@on_posix
async def test_an_older_copy_in_the_file_s_place_does_not_undo_a_newer_purchase(desk, tmp_path) -> None:
    file = tmp_path / ".luma-mcp" / "sandbox.sqlite3"
    await desk.video()
    with closing(opened(file)) as db, closing(sqlite3.connect(tmp_path / "copy")) as copy:
        db.backup(copy)
    await anyio.sleep(16 * 60)
    new = await desk.video()
    (tmp_path / "copy").replace(file)
    for end in ("-wal", "-shm"):
        Path(f"{file}{end}").unlink()

    assert (await desk.video())["generation_id"] == new["generation_id"]


async def test_a_file_that_is_back_but_locked_is_waited_for_and_not_bought_around(desk, open_desk, blocked) -> None:
    environ = {"beside": desk, "LUMA_MCP_STATE_DIR": str(blocked)}
    async with open_desk(**environ) as blind:
        await blind.video("a first lake")
        blocked.parent.unlink()
        async with open_desk(**environ) as other:
            await other.video("a lake")
            with locked(blocked / "sandbox.sqlite3"):
                said = await blind.refusal("generate_video", prompt="a lake")
            assert (await blind.video("a lake"))["reused"] is True

    assert "locked. This call bought nothing." in said
    assert desk.charges == 2


async def test_a_file_that_is_back_but_broken_is_set_aside_and_gets_what_is_in_memory(open_desk, blocked) -> None:
    async with open_desk(LUMA_MCP_STATE_DIR=str(blocked)) as desk:
        made = await desk.video("a first lake")
        blocked.parent.unlink()
        blocked.mkdir(parents=True)
        noise(blocked / "sandbox.sqlite3")
        assert warned(await desk.video("a second lake"), "could not be read")

        assert "warnings" not in await desk.video("a third lake")
        assert (await desk.video("a first lake"))["generation_id"] == made["generation_id"]


async def test_a_table_that_vanishes_while_the_server_runs_is_made_anew(desk, tmp_path) -> None:
    await desk.video("a lake")
    change(tmp_path / ".luma-mcp" / "sandbox.sqlite3", "DROP TABLE jobs")

    assert warned(await desk.video("another lake"), "could not be read")


@on_posix
async def test_what_the_file_learnt_while_memory_stood_for_it_is_not_undone(desk, open_desk, tmp_path) -> None:
    file = tmp_path / ".luma-mcp" / "sandbox.sqlite3"
    early = await desk.video(wait_s=0)
    hidden = file.parent.rename(tmp_path / "hidden")
    file.parent.write_text("")
    await desk.video("another lake")
    file.parent.unlink()
    hidden.rename(file.parent)
    async with open_desk(beside=desk) as other:
        assert (await other.video())["state"] == "completed"
        await desk.video("a third lake")

    found = {row["generation_id"]: row["status"] for row in rows(file)}
    assert found[early["generation_id"]] == "completed"
    assert len(found) == 3


# A file that is deleted or replaced.


@on_posix
@pytest.mark.parametrize("ends", [("", "-wal", "-shm"), ("",)], ids=["all", "one"])
async def test_a_file_that_is_deleted_while_servers_run_costs_nothing_twice(desk, open_desk, tmp_path, ends) -> None:
    file = tmp_path / ".luma-mcp" / "sandbox.sqlite3"
    made = await desk.video()
    async with open_desk(beside=desk) as other:
        theirs = await other.video("their lake")
        for end in ends:
            Path(f"{file}{end}").unlink()

        again = await desk.video()
        assert again["generation_id"] == made["generation_id"]
        assert warned(again, "was deleted or replaced")
        assert (await desk.video("their lake"))["generation_id"] == theirs["generation_id"]
        assert (await other.video())["generation_id"] == made["generation_id"]
        new = await other.video("a new lake")
        assert (await desk.video("a new lake"))["generation_id"] == new["generation_id"]
    assert len(rows(file)) == desk.charges == 3


@on_posix
async def test_a_file_that_is_deleted_while_luma_answers_gets_the_answer(desk, tmp_path) -> None:
    file = tmp_path / ".luma-mcp" / "sandbox.sqlite3"

    class Deleting(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            answer = await inner.handle_async_request(request)
            if request.method == "POST":
                file.unlink()
            return answer

    inner, desk.wire.inner = desk.wire.inner, Deleting()
    made = await desk.video()

    assert [row["generation_id"] for row in rows(file)] == [made["generation_id"]]


@on_posix
async def test_an_older_copy_in_the_file_s_place_is_brought_up_to_date(desk, tmp_path) -> None:
    file = tmp_path / ".luma-mcp" / "sandbox.sqlite3"
    await desk.video("first")
    with closing(opened(file)) as db, closing(sqlite3.connect(tmp_path / "copy")) as copy:
        db.backup(copy)
    second = await desk.video("second")
    (tmp_path / "copy").replace(file)

    assert (await desk.video("second"))["generation_id"] == second["generation_id"]
    assert len(rows(file)) == 2


# A file that is locked.


@pytest.fixture
async def written(desk, tmp_path) -> Path:
    """A file with one purchase in it."""
    await desk.video("a first lake")
    return tmp_path / ".luma-mcp" / "sandbox.sqlite3"


async def test_a_lock_that_lasts_is_an_error_after_five_seconds_and_meanwhile_others_are_answered(
    desk, written
) -> None:
    said: list[str] = []

    async def buy() -> None:
        said.append(await desk.refusal("generate_video", prompt="a lake"))

    with locked(written):
        started = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(buy)
            await anyio.sleep(1)
            assert (await desk.client.list_tools()).tools
            assert (await desk.call("list_models"))["models"]
            assert (await desk.call("get_account"))["spent_total_usd"] > 0
            assert said == []
        assert anyio.current_time() - started == pytest.approx(5, abs=0.3)

    assert "keeps the journal" in said[0]
    assert str(written) in said[0]
    assert "This call bought nothing" in said[0]
    assert desk.charges == 1
    assert (await desk.video("a lake"))["state"] == "completed"


@pytest.mark.parametrize("wait_s", ["0", "2"])
async def test_a_call_that_has_less_than_five_seconds_says_that_the_file_is_locked(
    desk, open_desk, tmp_path, wait_s: str
) -> None:
    async with open_desk(beside=desk, LUMA_MCP_WAIT_S=wait_s) as hasty:
        await hasty.video("a first lake")
        with locked(tmp_path / ".luma-mcp" / "sandbox.sqlite3"):
            said = await hasty.refusal("generate_video", prompt="a lake")

    assert "locked. This call bought nothing." in said
    assert desk.charges == 1


@pytest.mark.parametrize("lock", [locked, locked_for_readers])
async def test_a_lock_of_two_seconds_delays_a_purchase(desk, open_desk, tmp_path, lock) -> None:
    async with open_desk(beside=desk) as first:
        await first.video("a first lake")
    with lock(tmp_path / ".luma-mcp" / "sandbox.sqlite3") as db:

        async def release() -> None:
            await anyio.sleep(2)
            db.close()

        async with open_desk(beside=desk) as later, anyio.create_task_group() as tasks:
            tasks.start_soon(release)
            started = anyio.current_time()
            made = await later.video("a lake", wait_s=0)
            assert 1.9 < anyio.current_time() - started < 3
            assert made["generation_id"]
            assert "warnings" not in made


async def test_a_lost_purchase_is_found_by_its_name_once_a_lock_has_ended(desk, open_desk, tmp_path) -> None:
    async with open_desk(beside=desk) as ended:
        ended.wire.after.append(httpx.ReadTimeout("slow"))
        desk.world.faults.append(Fault("status", "GET", status=502, times=2))
        name = (await ended.video(wait_s=0))["request_id"]
    desk.world.faults.clear()
    with locked_for_readers(tmp_path / ".luma-mcp" / "sandbox.sqlite3") as db:

        async def release() -> None:
            await anyio.sleep(2)
            db.close()

        async with open_desk(beside=desk) as later, anyio.create_task_group() as tasks:
            said = await later.refusal("wait_for_generations", generation_ids=[name], wait_s=0)
            tasks.start_soon(release)
            [made] = (await later.call("wait_for_generations", generation_ids=[name]))["generations"]

    assert "This call bought nothing" in said
    assert made["generation_id"] in desk.world.jobs


@pytest.mark.parametrize("wait_s", [0, 45])
async def test_a_lock_that_begins_while_luma_answers_keeps_nobody_from_the_answer(desk, written, wait_s: int) -> None:
    lock = opened(written)

    class Locking(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            answer = await inner.handle_async_request(request)
            if request.method == "POST":
                lock.execute("BEGIN EXCLUSIVE")
            return answer

    inner, desk.wire.inner = desk.wire.inner, Locking()
    made = await desk.video(wait_s=wait_s)
    [generation_id] = desk.world.jobs.keys() - {rows(written)[0]["generation_id"]}

    assert made["generation_id"] == generation_id
    assert made["state"] == ("completed" if wait_s else "queued")
    await anyio.sleep(20)
    again = await desk.video(wait_s=wait_s)
    assert (again["generation_id"], again["reused"]) == (generation_id, True)
    assert rows(written)[1]["status"] == "submitting"
    lock.execute("COMMIT")
    await anyio.sleep(10)
    assert rows(written)[1]["generation_id"] == generation_id
    lock.close()


async def test_a_refusal_that_could_not_be_written_is_said_and_written_later(desk, written) -> None:
    lock = opened(written)

    class Locking(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "POST":
                lock.execute("BEGIN EXCLUSIVE")
            return await inner.handle_async_request(request)

    inner, desk.wire.inner = desk.wire.inner, Locking()
    assert "too little credit" in await desk.refusal("generate_video", prompt="a lake [sandbox:credits]")
    await anyio.sleep(20)
    lock.execute("COMMIT")
    await anyio.sleep(10)
    lock.close()

    assert [row["status"] for row in rows(written)] == ["completed", "refused"]


@pytest.mark.parametrize("lock", [locked, locked_for_readers])
async def test_what_is_free_works_while_the_file_is_locked(desk, open_desk, lock, tmp_path) -> None:
    async with open_desk(beside=desk) as first:
        made = await first.video("a first lake", wait_s=0)
        gone = await first.video("to be deleted")
    with lock(tmp_path / ".luma-mcp" / "sandbox.sqlite3"):
        async with open_desk(beside=desk) as later:
            name = made["generation_id"]
            assert (await later.call("get_generation", generation_id=name))["state"] == "completed"
            listed = await later.call("list_generations")
            assert {one["generation_id"] for one in listed["generations"]} == {name, gone["generation_id"]}
            account = await later.call("get_account")
            assert account["apis"][0]["key_accepted"] is True
            assert (await later.call("wait_for_generations", generation_ids=[name]))["finished"] is True
            assert (await later.call("download_generation", generation_id=name))["file_path"]
            assert (await later.call("delete_generation", generation_id=gone["generation_id"]))["deleted"] is True
            if lock is locked_for_readers:
                assert warned(listed, "locked")
                assert warned(account, "locked")
    assert gone["generation_id"] in desk.world.deleted


async def test_a_lock_that_has_ended_is_not_told_of_a_purchase(open_desk, tmp_path) -> None:
    async with open_desk() as first:
        await first.video("a first lake")
    async with open_desk(beside=first) as later:
        with locked_for_readers(tmp_path / ".luma-mcp" / "sandbox.sqlite3"):
            await later.refusal("wait_for_generations", generation_ids=["00000000-0000-4000-8000-000000000000"])

        assert "warnings" not in await later.video("a lake")


# A clock that is set back.


async def left_behind(desk, file: Path, status: str) -> str:
    """The row of a process that died between sending and Luma's answer."""
    made = await desk.video()
    change(file, "UPDATE jobs SET status = ?, generation_id = NULL, state = NULL, taken_at = NULL", status)
    return str(made["generation_id"])


@pytest.mark.parametrize("status", ["submitting", "unknown"])
@pytest.mark.parametrize("off_s", [-3600.0, -86400.0], ids=["hour", "day"])
@pytest.mark.parametrize("age_s", [10.0, 7200.0])
async def test_an_open_purchase_is_not_made_again_when_the_clock_is_set_back(
    desk, open_desk, tmp_path, status: str, off_s: float, age_s: float
) -> None:
    file = tmp_path / ".luma-mcp" / "sandbox.sqlite3"
    await left_behind(desk, file, status)
    await anyio.sleep(age_s)
    async with open_desk(beside=desk, clock_off_s=off_s) as later:
        for _ in range(5):
            found = await later.video()
            assert (found["state"], found["reused"]) == ("unknown", True)
            assert warned(found, "clock has been set back") is (age_s + off_s < 0)
            shown = await later.call("get_generation", generation_id=found["request_id"])
            assert warned(shown, "clock has been set back") is (age_s + off_s < 0)
            await anyio.sleep(60)

    assert [row["status"] for row in rows(file)] == ["unknown"]
    assert desk.charges == 1


async def test_a_purchase_by_a_clock_that_was_ahead_is_not_made_again_once_its_time_has_come(
    open_desk, tmp_path
) -> None:
    file = tmp_path / ".luma-mcp" / "sandbox.sqlite3"
    async with open_desk(clock_off_s=3600.0) as desk:
        await left_behind(desk, file, "unknown")
        async with open_desk(beside=desk) as later:
            await anyio.sleep(3600 + 10)
            for _ in range(5):
                assert (await later.video())["state"] == "unknown"
                await anyio.sleep(60)
        assert desk.charges == 1


@pytest.mark.parametrize("off_s", [-3600.0, -86400.0], ids=["hour", "day"])
async def test_a_finished_purchase_is_given_back_when_the_clock_is_set_back_and_the_budget_still_counts_it(
    desk, open_desk, off_s: float
) -> None:
    made = await desk.video()
    async with open_desk(beside=desk, clock_off_s=off_s) as later:
        again = await later.video()
        other = await later.video("another lake")
        account = await later.call("get_account")

        [spent] = [round(account["spent_24h_usd"], 2)]
    async with open_desk(beside=desk, clock_off_s=off_s, LUMA_MCP_BUDGET_USD=str(spent)) as poor:
        assert "clock has been set back" in await poor.refusal("generate_video", prompt="a third lake")

    assert again["generation_id"] == made["generation_id"]
    assert warned(again, "by a clock that was ahead")
    for result in (again, other, account):
        assert warned(result, "clock has been set back")
    assert account["spent_24h_usd"] == pytest.approx(2 * other["estimated_cost_usd"], abs=0.01)
    assert desk.charges == 2


async def test_an_answer_that_comes_after_the_clock_was_set_back_is_taken(open_desk, tmp_path) -> None:
    file = tmp_path / ".luma-mcp" / "sandbox.sqlite3"
    async with open_desk() as desk:

        class Slow(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                answer = await inner.handle_async_request(request)
                if request.method == "POST":
                    await anyio.sleep(20)
                return answer

        inner, desk.wire.inner = desk.wire.inner, Slow()
        first = await desk.video(wait_s=0)
        async with open_desk(beside=desk, clock_off_s=-3600.0) as other:
            assert (await other.video(wait_s=0))["request_id"] == first["request_id"]
            await anyio.sleep(30)
            assert [row["generation_id"] for row in rows(file)] == [*desk.world.jobs]
            assert (await other.video())["generation_id"] in desk.world.jobs


# Secrets.


async def test_no_secret_is_in_the_file(open_desk, tmp_path) -> None:
    picture = tmp_path / "secret-name.jpg"
    picture.write_bytes(
        bytes.fromhex("ffd8ffe000104a46494600010100000100010000") + b"secret-content-of-the-picture" * 20
    )
    async with open_desk(LUMA_AGENTS_API_KEY=AGENTS_SANDBOX_KEY, LUMA_MCP_CALLBACK_HOSTS="hooks.example.com") as desk:
        url = "https://annabelle:secret-password@example.com/cat.png?Signature=secret-signature#secret-fragment"
        made = await desk.image("from a link", image_refs=[url], model="photon-1")
        await desk.video(
            "with a callback", model="ray-2", callback_url="https://hooks.example.com/secret-path", wait_s=0
        )
        await desk.image("from a file", image_refs=[str(picture)], model="uni-1")
        await desk.raw("generate_image", prompt="from data", image_refs=["data:image/jpeg;base64,c2VjcmV0"])
        await desk.call("modify_image", source=made["generation_id"], prompt="red", model="photon-1")
        await desk.video("from an image", start_image=made["generation_id"], model="ray-2", wait_s=0)
        signed = f"see https://cdn.example.com/a.png?Signature=secret-signature {AGENTS_SANDBOX_KEY}"
        desk.world.faults += [Fault("status", status=502, detail=signed), Fault("status", status=400, detail=signed)]
        for number in range(2):
            await desk.raw("generate_video", prompt=f"spoilt {number}", wait_s=0)
        data = b"".join(path.read_bytes() for path in (tmp_path / ".luma-mcp").iterdir())

    assert b"from a link" in data
    assert b"https://example.com/cat.png" in data
    assert b"spoilt" in data
    for secret in (
        b"secret-",
        b"c2VjcmV0",
        b"Signature",
        b"Expires",
        b"hooks.example.com",
        b"annabelle",
        b"luma-sandbox-key",
        AGENTS_SANDBOX_KEY.encode(),
    ):
        assert secret not in data, secret


async def test_a_short_lock_changes_nothing_of_what_is_bought(open_desk, tmp_path) -> None:
    async with open_desk(**AGENTS) as first:
        clip, image = await first.video(resolution="1080p"), await first.image()
        begun = await first.video("a boat", start_image=image["image_url"])
    with locked_for_readers(tmp_path / ".luma-mcp" / "sandbox.sqlite3") as db:

        async def release() -> None:
            await anyio.sleep(1)
            db.close()

        async def goes_on(later) -> None:
            longer.append(await later.call("extend_video", generation_id=clip["generation_id"], prompt="on it goes"))

        longer: list[dict[str, Any]] = []
        async with open_desk(beside=first, **AGENTS) as later, anyio.create_task_group() as tasks:
            tasks.start_soon(release)
            tasks.start_soon(goes_on, later)
            again = await later.video("a boat", start_image=image["image_url"])

    assert [one["resolution"] for one in longer] == ["1080p"]
    assert again["generation_id"] == begun["generation_id"]


def test_a_locked_file_is_waited_for_once_and_not_by_each_question(file) -> None:
    journal = JournalFile(file, lambda: datetime.now(UTC))

    def waits_ms() -> int:
        return journal.read(lambda db: int(db.execute("PRAGMA busy_timeout").fetchone()[0]))

    def write() -> None:
        journal.write(lambda db: db.execute("UPDATE jobs SET looks = looks"))

    write()
    assert waits_ms() > 0
    with locked(file):
        with pytest.raises(JournalBusy):
            write()
        assert waits_ms() == 0
    write()
    assert waits_ms() > 0
    journal.close()


async def test_a_server_ends_in_order_though_the_file_that_is_back_is_locked(open_desk, tmp_path) -> None:
    folder = tmp_path / ".luma-mcp"
    folder.write_text("in the way")
    async with open_desk() as desk:
        assert warned(await desk.video(), "kept in memory")
        folder.unlink()
        folder.mkdir()
        lock = opened(folder / "sandbox.sqlite3")
        lock.execute("BEGIN EXCLUSIVE")
    lock.close()


async def test_what_happened_to_the_journal_is_said_even_if_the_first_job_failed(open_desk, file) -> None:
    file.write_bytes(b"no database" * 1000)
    async with open_desk() as desk:
        await desk.refusal("generate_video", prompt="[sandbox:fail]")

        assert warned(await desk.video(), "The journal could not be read")


async def test_no_signed_link_of_a_negative_prompt_or_in_capitals_is_in_the_file(desk, tmp_path) -> None:
    clip = await desk.video("like HTTPS://cdn.example.com/a.png?Signature=secret-signature")
    await desk.call(
        "add_audio",
        generation_id=clip["generation_id"],
        negative_prompt="not https://cdn.example.com/a.mp3?Signature=secret-signature",
    )

    assert not any(b"secret-" in path.read_bytes() for path in (tmp_path / ".luma-mcp").iterdir())


def test_a_purchase_that_gives_a_failed_job_back_counts_and_stands_for_its_call_again(tmp_path) -> None:
    journal = Journal(
        tmp_path / "journal.sqlite3",
        lambda: datetime.now(UTC),
        ["me"],
        budget_usd=None,
        must_last=False,
        counts_all=True,
    )
    now = datetime.now(UTC).timestamp()
    lost, owner = (
        Row(name, "me", "dream_machine", name, 1, "generate_video", "VideoRequest", "{}", "ray-2", "", 1.0, now)
        for name in ("lost", "owner")
    )
    for row in (lost, owner):
        journal.begin(row)
    journal.lost(lost.id)
    journal.adopt(lost.id, Generation(generation_id="job", state="failed", charged="no"))
    assert journal.spending().total == 1

    journal.taken(owner, Generation(generation_id="job", state="queued"))

    assert journal.spending().total == 2
    assert [row and row.id for row in (journal.holder("me", "lost"), journal.of("job"))] == ["lost", "owner"]
    journal.close()
