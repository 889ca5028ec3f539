"""What a story of faults plays on: real servers, a sandbox on a real socket, and a clock that can be put forward."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import mean
from typing import Any

import httpx
import pytest
from mcp.client.stdio import get_default_environment

from luma_mcp_server.sandbox import AGENTS_SANDBOX_KEY, SANDBOX_KEY, running_sandbox

COMMAND = [sys.executable, "-m", "luma_mcp_server"]
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}},
}
"""What a client of the newest protocol that declares tasks says with each request."""

LIMIT_S = 20
"""No story waits longer than this for anything; whatever takes so long is stuck."""

END_S = 8
"""A server that was told to end has ended by then, however busy the machine is: it gives itself 1.5 s."""


@dataclass
class Tally:
    """What the stories of this run led to, to be read and never asserted: on a busy machine time is the machine's."""

    times: list[float] = field(default_factory=list)
    late: list[tuple[float, str]] = field(default_factory=list)
    """By how much each call outlived LUMA_MCP_WAIT_S, and in which story."""

    met: Counter[str] = field(default_factory=Counter)
    """What happened how often, so that a change that makes the stories tame is noticed."""

    def add(self, times: list[float], late: list[tuple[float, str]], met: dict[str, int]) -> None:
        self.times += times
        self.late += map(tuple, late)
        self.met.update(met)

    def lines(self) -> list[str]:
        met = ", ".join(f"{number} {what}" for what, number in sorted(self.met.items()))
        told = [f"{len(self.times)} stories of faults, {mean(self.times):.1f} s each, with {met}."]
        if self.late:
            latest, story = max(self.late)
            many = sum(seconds > 1 for seconds, _ in self.late)
            told.append(
                f"Of {len(self.late)} calls {many} outlived LUMA_MCP_WAIT_S by more than 1 s; the latest by "
                f"{latest:.2f} s, in {story}."
            )
        return told


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    total = Tally()
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        if getattr(report, "when", None) == "teardown":
            for told in (value for name, value in report.user_properties if name == "tally"):
                total.add(**json.loads(told))
    if total.times:
        terminalreporter.write_line("\n".join(total.lines()))


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    tally = Tally()
    yield tally
    request.node.user_properties.append(("tally", json.dumps(vars(tally))))  # stories are told in several processes


class Clock:
    """The sandbox's time of day, which can be put forward."""

    ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


class Client:
    """One server process and what it was asked.

    Args:
        folder: gets a file for its stderr.
        environ: its environment.
        file_blocks: no file that it writes may grow beyond so many blocks of 512 bytes, as if the disk were full.
        tasks: the client speaks the newest protocol and declares tasks.
    """

    names = count()

    def __init__(
        self, folder: Path, environ: dict[str, str], file_blocks: int | None = None, *, tasks: bool = False
    ) -> None:
        self.tasks = tasks
        self.errors = folder / f"stderr-{next(self.names)}.txt"
        limited = []
        if file_blocks:
            limited = ["/bin/sh", "-c", f'ulimit -f {file_blocks}; exec "$0" "$@"']
            environ = {**environ, "PYTHONDONTWRITEBYTECODE": "1"}  # half of a module would be left for all others
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*limited, *COMMAND], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
            )
        self.lines: list[bytes] = []
        self.answers: dict[int, dict[str, Any]] = {}
        self.asked_at: dict[int, float] = {}
        self.took: dict[int, float] = {}
        self.ended = False
        self._ids = count(1)
        self._news = threading.Condition()
        self._gone = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            now = time.monotonic()
            self.lines.append(line)
            # A process that is killed may leave half a line behind.
            with self._news, suppress(ValueError):
                message = json.loads(line)
                # That the connection is closed, as a server that is told to end may say, is no answer.
                if "method" not in message and not (self.ended and "error" in message):
                    self.answers[message["id"]] = message
                    self.took[message["id"]] = now - self.asked_at[message["id"]]
                self._news.notify_all()
        with self._news:
            self._gone = True
            self._news.notify_all()

    def _send(self, **message: Any) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, method: str, **params: Any) -> int:
        """Send a request, and give its id."""
        number = next(self._ids)
        self.asked_at[number] = time.monotonic()
        if self.tasks:
            params["_meta"] = ENVELOPE
        self._send(method=method, params=params, id=number)
        return number

    def shake_hands(self) -> None:
        if self.tasks:
            assert self.wait([self.ask("server/discover")]), f"no answer: {self.errors.read_text()}"
            return
        client = {"name": "test", "version": "1"}
        hello = self.ask("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo=client)
        assert self.wait([hello]), f"no handshake: {self.errors.read_text()}"
        self._send(method="notifications/initialized")

    def cancel(self, number: int) -> None:
        self._send(method="notifications/cancelled", params={"requestId": number})

    def wait(self, numbers: Iterable[int], least: int | None = None, limit_s: float = LIMIT_S) -> bool:
        """Whether at least so many of these requests (all) are answered within the limit."""
        wanted = set(numbers)
        enough = len(wanted) if least is None else min(least, len(wanted))
        with self._news:
            self._news.wait_for(lambda: self._gone or len(wanted & self.answers.keys()) >= enough, limit_s)
            return len(wanted & self.answers.keys()) >= enough

    def tell_to_end(self, how: str) -> None:
        """Close stdin (``eof``), or send SIGTERM (``term``) or SIGKILL (``kill``)."""
        self.ended = True
        if how == "eof":
            assert self.process.stdin
            with suppress(BrokenPipeError):
                self.process.stdin.close()
        else:
            self.process.send_signal(signal.SIGTERM if how == "term" else signal.SIGKILL)

    def has_ended(self) -> bool:
        """Whether the process has ended in time; afterwards it has in any case."""
        assert self.process.stdin
        assert self.process.stdout
        in_time = True
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            in_time = False
            self.process.kill()
            self.process.wait()
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self._reader.join(LIMIT_S)
        self.process.stdout.close()
        return in_time


class World:
    """A sandbox with a home for the servers that use it.

    Args:
        home: the servers' home folder.
        api: ``agents`` or ``dream_machine``.
        environ: settings of the servers.
        seconds: how long each job takes.
        unusable: the journal's folder can't be made.
        file_blocks, tasks: as for `Client`.
    """

    def __init__(
        self,
        home: Path,
        api: str,
        environ: dict[str, str],
        seconds: float,
        *,
        unusable: bool = False,
        file_blocks: int | None = None,
        tasks: bool = False,
    ) -> None:
        self.home, self.clock, self.file_blocks, self.tasks = home, Clock(), file_blocks, tasks
        self.journal = home / "state" / "journal-sandbox.sqlite3"
        if unusable:  # as root may write into any folder, the folder must be one that can't be
            (home / "state").write_text("not a folder")
        self.clients: list[Client] = []
        self._warm: list[Client] = []
        self._stack = ExitStack()
        origin = self._stack.enter_context(
            running_sandbox(clock=self.clock, seconds=seconds, limits=False, draw=False, balance_usd=1000.0)
        )
        fresh = httpx.Limits(max_keepalive_connections=0)  # faults may cut connections that are kept
        self.http = self._stack.enter_context(
            httpx.Client(base_url=origin, trust_env=False, timeout=LIMIT_S, limits=fresh)
        )
        self.environ = {
            **get_default_environment(),
            "HOME": str(home),
            "USERPROFILE": str(home),
            "LUMA_API_KEY": AGENTS_SANDBOX_KEY if api == "agents" else SANDBOX_KEY,
            "LUMAAI_BASE_URL": f"{origin}/dream-machine/v1",
            "LUMA_BASE_URL": f"{origin}/v1",
            "LUMA_MCP_JOURNAL": str(home / "state" / "journal.sqlite3"),
            **environ,
        }

    def close(self) -> None:
        """Leave nothing behind, however the story went."""
        for client in self.clients:
            if client.process.returncode is None:
                client.tell_to_end("kill")
                client.has_ended()
        self._stack.close()

    def warm_up(self, servers: int) -> None:
        """Start servers that will be needed soon: a start takes half of a story's time, and reads nothing."""
        while len(self._warm) < servers:
            self._warm.append(Client(self.home, self.environ, self.file_blocks, tasks=self.tasks))
            self.clients.append(self._warm[-1])

    def start(self) -> Client:
        """A new server; `shake_hands` is left to the caller, so that several can start at once."""
        self.warm_up(1)
        return self._warm.pop(0)

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.http.get("/sandbox/state").json()
        return state

    def posts(self) -> int:
        """How many purchases have reached the sandbox."""
        return sum(one["method"] == "POST" for one in self.state()["requests"])

    def fault(self, *faults: dict[str, Any]) -> None:
        """Let the next requests that fit fail."""
        assert self.http.post("/sandbox/faults", json=faults).status_code == 201

    def pause(self, seconds: float) -> None:
        """Let a moment pass: these stories are about real processes, which nothing but time brings to random places."""
        threading.Event().wait(seconds)

    def until(self, seen: Callable[[], object], limit_s: float) -> None:
        """Look again and again until something can be seen, for so long at most."""
        until = time.monotonic() + limit_s
        while not seen() and time.monotonic() < until:
            self.pause(0.01)  # leaves the processor to the servers

    def pass_time(self, seconds: float) -> None:
        """Let time pass while no server works: all that is known of it lies in the journal and at the sandbox."""
        assert all(client.process.returncode is not None for client in self.clients if client not in self._warm)
        self.clock.ahead += seconds
        if self.journal.is_file():
            with closing(sqlite3.connect(self.journal)) as db, db:
                # A server that was killed early enough leaves an empty file behind.
                if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'purchases'").fetchone():
                    earlier = "submitted_at = submitted_at - ?1, accepted_at = accepted_at - ?1"
                    db.execute(f"UPDATE purchases SET {earlier}", (seconds,))

    def rows(self) -> list[dict[str, Any]]:
        """What the journal's file holds, once no server runs."""
        if not self.journal.is_file():
            return []
        with closing(sqlite3.connect(self.journal)) as db:
            db.row_factory = sqlite3.Row
            [[verdict]] = db.execute("PRAGMA integrity_check").fetchall()
            assert verdict == "ok"
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'purchases'").fetchone():
                return []
            return [dict(row) for row in db.execute("SELECT * FROM purchases ORDER BY submitted_at")]

    def files(self) -> list[Path]:
        """All that the servers wrote, but for what they said on stdout."""
        return [Path(folder, name) for folder, _, names in os.walk(self.home) for name in names]


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Makes the world of a story."""
    with ExitStack() as stack:

        def built(*arguments: Any, **options: Any) -> World:
            world = World(tmp_path, *arguments, **options)
            stack.callback(world.close)
            return world

        yield built
