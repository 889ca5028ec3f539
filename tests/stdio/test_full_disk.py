"""A disk that is full for a while, as one process sees it: a limit on the size of the files that it writes."""

import sqlite3
from contextlib import closing

import pytest

resource = pytest.importorskip("resource", reason="Windows has no such limits")
# No server here writes modules that it has compiled: on its full disk half of one would be left for all others.
pytestmark = pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux limits a running process")


def fill_disk(server) -> None:
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


def empty_disk(server) -> None:
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def rows(server) -> list[tuple[str, str | None]]:
    with closing(sqlite3.connect(server.home / ".luma-mcp" / "sandbox.sqlite3")) as db:
        return db.execute("SELECT status, generation_id FROM jobs ORDER BY rowid").fetchall()


def test_a_disk_that_is_full_when_luma_answers_loses_no_answer_and_buys_nothing_twice(serve, world) -> None:
    server = serve(PYTHONDONTWRITEBYTECODE="1", LUMA_MCP_SAVE="off")
    prompt = "bought just before the disk was full"
    world.fault(kind="slow", after=True, pause=0.005)
    call = server.begin("generate_image", prompt=prompt)
    world.until(lambda: world.posts(prompt))
    fill_disk(server)

    made = server.end(call)
    again = server.call("generate_image", prompt=prompt)

    assert made["state"] == "completed"
    assert (again["generation_id"], again["reused"]) == (made["generation_id"], True)
    for result in (made, again, server.call("get_account")):
        assert any("can't be written" in warning for warning in result["warnings"])
    assert len(world.posts(prompt)) == 1
    assert rows(server) == [("submitting", None)]

    empty_disk(server)
    other = server.call("generate_image", prompt="bought when there was room again")
    assert "warnings" not in other
    assert rows(server) == [("completed", made["generation_id"]), ("completed", other["generation_id"])]


def test_a_full_disk_stops_the_purchases_of_a_user_who_has_set_a_budget(serve, world) -> None:
    server = serve(PYTHONDONTWRITEBYTECODE="1", LUMA_MCP_SAVE="off", LUMA_MCP_BUDGET_USD="5")
    server.call("generate_image", prompt="bought while there was room")
    fill_disk(server)
    prompt = "a picture too many"

    for _ in range(2):
        said = server.refusal("generate_image", prompt=prompt)
        assert "Nothing was sent or charged" in said
        assert str(server.home / ".luma-mcp") in said
    assert world.posts(prompt) == []
    empty_disk(server)
    assert "warnings" not in server.call("generate_image", prompt=prompt)
