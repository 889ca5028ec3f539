"""Two thousand generations through one server: nothing of them stays in it."""

import os
import re
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from .conftest import Server

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="a process is looked at through /proc"),
]

ALL, FIRST, AT_ONCE = 2_000, 200, 50
SANDBOX = """
from luma_mcp_server.sandbox import running_sandbox
with running_sandbox(seconds=0, limits=False, draw=False, balance_usd=1e4) as origin:
    print(origin, flush=True)
    input()
"""


@pytest.fixture
def origin() -> Iterator[str]:
    """A sandbox in a process of its own, whose jobs are done at once."""
    with subprocess.Popen([sys.executable, "-c", SANDBOX], stdin=-1, stdout=-1, text=True) as sandbox:
        assert sandbox.stdout
        yield sandbox.stdout.readline().strip()
        sandbox.communicate("\n")


def generate(server: Server, numbers: range) -> None:
    """Buy images, several at once, and wait for their files."""
    for start in range(numbers.start, numbers.stop, AT_ONCE):
        calls = [server.begin("generate_image", prompt=f"Lake {n}") for n in range(start, start + AT_ONCE)]
        assert all(server.end(call)["file_path"] for call in calls)


def memory_kb(server: Server) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0])


def threads(server: Server) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/task").iterdir()))


def open_files(server: Server) -> dict[str, int]:
    """What it has open, and how many of each; connections that wait to be used again, at most ten, do not count."""
    links = map(os.readlink, Path(f"/proc/{server.process.pid}/fd").iterdir())
    return Counter(link.partition(":")[0] for link in links if not link.startswith("socket:"))


def test_two_thousand_generations_leave_no_memory_no_file_and_no_task_behind(
    serve: Callable[..., Server], origin: str
) -> None:
    server = serve(LUMAAI_BASE_URL=f"{origin}/dream-machine/v1", LUMA_MCP_BUDGET_USD="off")
    generate(server, range(FIRST))
    memory_before, threads_before, files_before = memory_kb(server), threads(server), open_files(server)
    generate(server, range(FIRST, ALL))

    assert memory_kb(server) < 1.1 * memory_before
    assert threads(server) <= threads_before
    assert open_files(server) == files_before
    assert "watching" not in server.call("get_account")
    with closing(sqlite3.connect(server.home / ".luma-mcp" / "journal-sandbox.sqlite3")) as db:
        assert db.execute("SELECT status, count(*) FROM purchases GROUP BY status").fetchall() == [("completed", ALL)]
    assert len(list((server.home / "Luma").iterdir())) == ALL
    assert server.hang_up() == 0
    assert server.errors.read_bytes() == b""
