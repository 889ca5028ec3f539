"""How a server ends, and what it leaves behind: nothing but what the journal knows."""

import signal
import sqlite3
import sys
from contextlib import closing

import pytest

on_posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals that a process can answer")
LIMIT_S = 15


def idle(server, world) -> None:
    assert server.result(server.ask("tools/list"))["tools"]


def waiting(server, world) -> None:
    job = server.call("generate_image", prompt="[sandbox:stuck] for ever", wait_s=0)["generation_id"]
    server.begin("wait_for_generations", generation_ids=[job], token="t")
    world.until(lambda: world.gets(job))


def posting(server, world, **fault) -> None:
    world.fault(**{"kind": "hang"} | fault)
    prompt = f"no answer for {server.process.pid}"
    server.begin("generate_image", prompt=prompt)
    world.until(lambda: world.posts(prompt))


def statuses(server) -> list[str]:
    with closing(sqlite3.connect(server.home / ".luma-mcp" / "journal-sandbox.sqlite3")) as db:
        return [status for (status,) in db.execute("SELECT status FROM purchases")]


@pytest.mark.parametrize("occupy", [idle, waiting, posting])
def test_the_end_of_stdin_ends_the_server_with_success(serve, world, occupy) -> None:
    server = serve()
    occupy(server, world)

    assert server.hang_up() == 0
    assert server.errors.read_bytes() == b""


def test_an_answer_that_comes_soon_after_the_end_of_stdin_is_recorded(serve, world) -> None:
    server = serve()
    posting(server, world, kind="slow", after=True, pause=0.001)

    assert server.hang_up() == 0
    assert statuses(server) == ["completed"]


def test_a_client_that_stopped_reading_before_the_end_of_stdin_leaves_no_server_behind(serve, world) -> None:
    server = serve()
    server.reading.clear()
    for _ in range(20):  # far more than a pipe holds
        server.ask("tools/list")
    posting(server, world)

    assert server.hang_up() == 0
    assert server.errors.read_bytes() == b""


@on_posix
@pytest.mark.parametrize(
    ("name", "occupy"), [("SIGTERM", idle), ("SIGTERM", posting), ("SIGINT", idle), ("SIGINT", waiting)]
)
def test_a_signal_ends_the_server_with_its_own_code_though_stdin_is_open(serve, world, occupy, name: str) -> None:
    server = serve()
    occupy(server, world)

    server.process.send_signal(signal.Signals[name])

    assert server.process.wait(LIMIT_S) == 128 + signal.Signals[name]
    assert server.errors.read_bytes() == b""
    assert occupy is not posting or statuses(server) == ["submitting"]


@pytest.mark.parametrize("stdin_ends", [True, False])
def test_a_client_that_closed_its_end_leaves_no_server_behind(serve, stdin_ends: bool) -> None:
    server = serve(reading=False)
    server.ask("server/discover")  # whose answer nobody can read

    assert (server.hang_up() if stdin_ends else server.process.wait(LIMIT_S)) == 0
    assert server.errors.read_bytes() == b""
