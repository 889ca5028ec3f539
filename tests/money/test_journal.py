"""The journal's file: what it is, what it never holds, and what happens when it can't be used."""

import os
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from luma_mcp_server.sandbox import AGENTS_SANDBOX_KEY, SANDBOX_KEY

pytestmark = pytest.mark.anyio

on_posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
not_root = pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everywhere")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the journal will be; its folder is there."""
    (tmp_path / ".luma-mcp").mkdir()
    return tmp_path / ".luma-mcp" / "journal-sandbox.sqlite3"


def run(file: Path, script: str) -> None:
    """What another program does to a file."""
    with closing(sqlite3.connect(file)) as db:
        db.executescript(script)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Another program that lets nobody use the file."""
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        yield


# What the file is.


@on_posix
async def test_the_file_and_its_folder_are_the_user_s_alone(desk) -> None:
    await desk.video()

    assert stat.S_IMODE(desk.journal.parent.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in desk.journal.parent.iterdir()} == {
        desk.journal.name: 0o600
    }


async def test_an_empty_file_becomes_the_journal(open_desk, file) -> None:
    file.touch()
    async with open_desk() as desk:
        assert "warnings" not in await desk.video()
        assert len(desk.rows()) == 1


async def test_a_journal_has_the_place_that_the_user_named_with_one_of_its_own_for_the_sandbox(
    open_desk, tmp_path
) -> None:
    async with open_desk(LUMA_MCP_JOURNAL=str(tmp_path / "here" / "luma.db")) as desk:
        await desk.video()
        account = await desk.call("get_account")

    assert account["journal"] == str(tmp_path / "here" / "luma-sandbox.db")
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["luma-sandbox.db"]


async def test_servers_that_make_a_new_file_at_once_all_use_the_same(desk, open_desk) -> None:
    async with open_desk(beside=desk) as other, anyio.create_task_group() as tasks:
        for number in range(10):
            for one in (desk, other):
                tasks.start_soon(lambda one=one, number=number: one.image(f"lake {number}"))

    assert len(desk.rows()) == desk.charges == 10


async def test_a_file_that_is_deleted_or_replaced_is_opened_again_at_the_next_use(desk) -> None:
    await desk.video()
    copy = desk.journal.read_bytes()
    await desk.image()
    desk.journal.unlink()
    assert "reused" not in await desk.video(take=2)
    assert len(desk.rows()) == 1

    desk.journal.write_bytes(copy)

    assert (await desk.video())["reused"] is True
    assert desk.charges == 3


async def test_no_secret_is_in_the_file(open_desk, tmp_path) -> None:
    signed = "https://me:password@example.com/cat.png?X-Amz-Signature=hidden#part"
    picture = tmp_path / "Pictures" / "cat.png"
    picture.parent.mkdir()
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + b"private" * 20)
    hooks = {"LUMA_MCP_CALLBACK_HOSTS": "hooks.example.com", "LUMA_AGENTS_API_KEY": AGENTS_SANDBOX_KEY}
    async with open_desk(**hooks) as desk:
        image = await desk.image(f"a cat like HTTPS://example.com/x?token=hidden {signed}", model="photon-1")
        ray = {"model": "ray-2", "callback_url": "https://hooks.example.com/hidden"}
        clip = await desk.call("generate_video", prompt="a cat", start_image=signed, **ray)
        await desk.call("generate_video", prompt="a cat too", start_image=image["image_url"], **ray)
        await desk.call("generate_video", prompt="my cat", start_image=str(picture))
        noise = f"no {signed}"
        await desk.call("add_audio", generation_id=clip["generation_id"], negative_prompt=noise)

        content = desk.journal.read_bytes()
    assert len(desk.rows()) == 5
    for secret in (b"hidden", b"password", b"Signature", b"private", b"cHJpdmF0", b"Pictures", b"hooks.example.com"):
        assert secret not in content
    for key in (SANDBOX_KEY, AGENTS_SANDBOX_KEY):
        assert key.encode() not in content
    assert b"https://example.com/cat.png" in content


# No journal, no purchase.


def newer(file: Path) -> None:
    run(file, "PRAGMA user_version = 99")


def foreign(file: Path) -> None:
    file.unlink()
    run(file, "CREATE TABLE cats (name)")


def no_database(file: Path) -> None:
    file.write_text("shopping list " * 100, encoding="utf-8")


def damaged(file: Path) -> None:
    page = 4096
    content = file.read_bytes()
    file.write_bytes(content[:page] + b"\xff" * (len(content) - page))


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def no_folder(file: Path) -> None:
    file.unlink()
    file.parent.rmdir()
    file.parent.touch()


CAUSES: list[tuple[Callable[[Path], None], str, str]] = [
    (newer, "was written by a newer version of this server", "Update luma-mcp-server, or set LUMA_MCP_JOURNAL"),
    (foreign, "is not a journal of this server", "Move it away, or set LUMA_MCP_JOURNAL"),
    (no_database, "is not a database", "Move it away, or set LUMA_MCP_JOURNAL"),
    (damaged, "is damaged", "Look at list_generations, then move it away, or set LUMA_MCP_JOURNAL"),
    (a_folder, "can't be opened", "Make its folder writable, or set LUMA_MCP_JOURNAL"),
    (no_folder, "has no folder", "Make that folder, or set LUMA_MCP_JOURNAL"),
]


@pytest.mark.parametrize(("spoil", "what", "todo"), CAUSES, ids=[cause[0].__name__ for cause in CAUSES])
async def test_without_a_usable_journal_nothing_is_bought_and_what_is_free_goes_on(
    desk, open_desk, spoil: Callable[[Path], None], what: str, todo: str
) -> None:
    made = await desk.video()
    await anyio.sleep(3)  # what was just seen to end is not asked about again
    spoil(desk.journal)
    before = desk.journal.read_bytes() if desk.journal.is_file() else None
    charged, name = desk.charges, {"generation_id": made["generation_id"]}

    said = await desk.refusal("generate_video", prompt="another lake")
    assert all(words in said for words in (str(desk.journal), what, "nothing was sent or charged", todo)), said
    assert await desk.refusal("extend_video", **name, prompt="on") != ""
    assert desk.charges == charged == len(desk.posts)

    shown = await desk.call("get_generation", **name)
    waited = await desk.call("wait_for_generations", generation_ids=[made["generation_id"]])
    listed, account = await desk.call("list_generations"), await desk.call("get_account")
    for result in (shown, waited["generations"][0], listed, account):
        assert any(what in warning and todo in warning for warning in result["warnings"]), result
    assert shown["state"] == "completed"
    assert [one["generation_id"] for one in listed["generations"]] == [made["generation_id"]]
    assert "spent_total_usd" not in account
    assert (await desk.call("download_generation", **name))["file_path"]
    await desk.raw("preview_generations", generation_ids=[made["generation_id"]])
    assert (await desk.call("delete_generations", generation_ids=[made["generation_id"]]))["deleted"]
    assert before == (desk.journal.read_bytes() if desk.journal.is_file() else None)


@not_root
@on_posix
async def test_a_read_only_journal_is_an_error_of_its_own(desk) -> None:
    await desk.video()
    desk.journal.chmod(0o400)

    assert "is read-only. Nothing is bought without it" in await desk.refusal("generate_video", prompt="a lake")


async def test_a_full_disk_is_an_error_of_its_own(desk) -> None:
    await desk.image()
    pages = desk.change("PRAGMA page_count")[0]["page_count"]
    desk.change(f"CREATE TRIGGER full BEFORE INSERT ON purchases BEGIN SELECT RAISE(ABORT, 'full {pages}'); END")

    said = await desk.refusal("generate_image", prompt="a lake")

    assert "The journal of purchases" in said
    assert desk.charges == 1


async def test_a_lock_that_lasts_is_an_error_and_one_that_ends_is_waited_for(desk) -> None:
    await desk.image()
    with locked(desk.journal):
        said = await desk.refusal("generate_image", prompt="a lake")

    assert "is locked by another program. Nothing is bought without it" in said
    assert (await desk.image("a lake"))["state"] == "completed"
    assert desk.charges == 2


async def test_without_a_place_for_the_journal_nothing_is_bought(open_desk) -> None:
    async with open_desk(HOME=None) as desk:
        said = await desk.refusal("generate_video", prompt="a lake")
        account = await desk.call("get_account")

        assert "LUMA_MCP_JOURNAL is ~/.luma-mcp/journal.sqlite3, but your home folder (HOME) is unknown" in said
        assert sum("LUMA_MCP_JOURNAL" in warning for warning in account["warnings"]) == 1
        assert desk.posts == []


async def test_an_answer_that_the_journal_can_not_keep_reaches_its_caller(desk) -> None:
    await desk.video("a first lake")
    desk.wire.delays["POST"] = (0, 3)

    async def replace() -> None:
        await anyio.sleep(1)
        desk.journal.write_text("a shopping list", encoding="utf-8")

    made: dict[str, Any] = {}
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(replace)
        made = await desk.video("a second lake")

    assert made["generation_id"] in desk.world.jobs
    assert any("is not a database" in warning for warning in made["warnings"])
