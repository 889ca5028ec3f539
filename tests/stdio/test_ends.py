"""How a server ends, and what it leaves behind: nothing."""

import signal
import sys

import pytest

on_posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals that a process can answer")
LIMIT_S = 15


def idle(server, world) -> None:
    assert server.result(server.ask("tools/list"))["tools"]


def waiting(server, world) -> None:
    job = server.call("generate_image", prompt="[sandbox:stuck] for ever", wait_s=0)["generation_id"]
    server.begin("wait_for_generations", generation_ids=[job], token="t")
    world.until(lambda: world.gets(job))


def posting(server, world) -> None:
    world.fault(kind="hang")
    prompt = f"no answer for {server.process.pid}"
    server.begin("generate_image", prompt=prompt)
    world.until(lambda: world.posts(prompt))


@pytest.mark.parametrize("occupy", [idle, waiting, posting])
def test_the_end_of_stdin_ends_the_server_with_success(serve, world, occupy) -> None:
    server = serve()
    occupy(server, world)

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


def test_a_client_that_went_away_without_a_word_leaves_no_server_behind(serve) -> None:
    server = serve(reading=False)
    server.ask("server/discover")  # whose answer nobody can read

    assert server.hang_up() == 0
    assert server.errors.read_bytes() == b""


def test_a_client_that_reads_nothing_any_more_leaves_no_server_behind(serve) -> None:
    server = serve(reading=False)
    server.ask("server/discover")

    assert server.process.wait(LIMIT_S) == 0, "though stdin is still open"
    assert server.errors.read_bytes() == b""
