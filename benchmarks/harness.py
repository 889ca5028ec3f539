"""What the benchmarks share: figures, an MCP client on a raw pipe, and a sandbox in a process of its own."""

import itertools
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from math import isnan, nan
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, Self

OURS = ("-m", "luma_mcp_server")
TASKS = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "benchmark", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}},
}


@dataclass(frozen=True)
class Figure:
    """What was measured, and the target; not a number where it can't be measured here, and `note` says why."""

    name: str
    measured: float = nan
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None
    note: str = ""

    @property
    def result(self) -> str:
        """What was measured, with its unit."""
        return "not measured" if isnan(self.measured) else f"{_rounded(self.measured)} {self.unit}".rstrip()

    @property
    def target(self) -> str:
        """The target, with its unit; nothing if there is none."""
        for words, bound in (("at most", self.at_most), ("at least", self.at_least)):
            if bound is not None:
                return f"{words} {_rounded(bound)} {self.unit}".rstrip()
        return ""

    @property
    def share(self) -> float:
        """How much of the target is used up; above 1 it is missed. Not a number without a target."""
        if self.at_most is not None:
            return max(0.0, self.measured / self.at_most)
        return nan if self.at_least is None else self.at_least / self.measured


def _rounded(value: float) -> str:
    digits = 0 if abs(value) >= 100 or value == int(value) else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def table(figures: Sequence[Figure]) -> str:
    """Figures as a Markdown table."""
    rows = [
        ("figure", "measured", "target", "note"),
        *((one.name, one.result, one.target, one.note) for one in figures),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, tuple("-" * width for width in widths))
    cells = ((f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def elapsed_ms(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Milliseconds that some work takes."""
    started = clock()
    work()
    return 1000 * (clock() - started)


def medians(runs: int, *works: Callable[[], float], warm_ups: int = 0) -> list[float]:
    """The median of what each work measures; they take turns, so that a busy computer is as hard on each."""
    found = [[work() for work in works] for _ in range(warm_ups + runs)]
    return [median(column) for column in zip(*found[warm_ups:], strict=True)]


def submitted(request: Any, at: datetime) -> Any:
    """A purchase for the journal, as it stands when its POST leaves."""
    from luma_mcp_server.purchases.purchase import Purchase

    row = {"account": "account", "api": "dream_machine", "tool": "generate_video", "user": None}
    return Purchase.from_request(request, take=1, max_usd=0.3, price_usd=0.3, **row).submitted(at)


def peak_mb() -> float:
    """The most memory that this process has had so far; not on Windows."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)


class Server:
    """A server as a client starts it. This side does nothing but JSON, so that the server is what is timed.

    With `tasks` the client speaks the newest protocol and declares tasks.
    """

    def __init__(self, *arguments: str, tasks: bool = False, **environ: str) -> None:
        # Without the pyc files that the first run writes, every start would compile again.
        clean = {k: v for k, v in os.environ.items() if "LUMA" not in k and k != "PYTHONDONTWRITEBYTECODE"}
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([sys.executable, *arguments], env={**clean, **environ}, **streams)
        self._ids, self._answers = itertools.count(1), dict[int, Any]()
        self._envelope = {"_meta": TASKS} if tasks else {}
        if tasks:
            return
        client = {"name": "benchmark", "version": "1"}
        self.ask("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo=client)
        self._write(method="notifications/initialized")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait(10)

    def _write(self, **message: Any) -> None:
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.process.stdin.flush()

    def send(self, method: str, **params: Any) -> int:
        """Send a request without waiting, and give its id."""
        number = next(self._ids)
        self._write(id=number, method=method, params=params | self._envelope)
        return number

    def answer(self, number: int) -> Any:
        """The result of a request that was sent; answers to others are kept, notifications dropped."""
        while number not in self._answers:
            message = json.loads(self.process.stdout.readline())
            if "method" not in message:
                self._answers[message["id"]] = message["result"]
        return self._answers.pop(number)

    def has_answered(self, number: int) -> bool:
        """Whether the answer to a request came before one that was waited for."""
        return number in self._answers

    def ask(self, method: str, **params: Any) -> Any:
        """Send a request and wait for its result."""
        return self.answer(self.send(method, **params))

    def call(self, tool: str, **arguments: Any) -> Any:
        """Call a tool that must succeed, and give its structured content."""
        result = self.ask("tools/call", name=tool, arguments=arguments)
        assert not result.get("isError"), result
        return result["structuredContent"]

    def ping_ms(self) -> float:
        """Milliseconds that a ping takes."""
        return elapsed_ms(lambda: self.ask("ping"))

    def memory_mb(self, *, peak: bool = False) -> float:
        """Resident memory, now or at its peak; Linux only, elsewhere not a number."""
        status = Path(f"/proc/{self.process.pid}/status")
        found = re.findall(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+)", status.read_text()) if status.exists() else []
        return int(found[0]) / 1024 if found else nan


@contextmanager
def sandbox(**options: Any) -> Iterator[dict[str, str]]:
    """The sandbox, in a process of its own so that it shares no lock with the client; gives the variables for it.

    One of them is a home of its own, so that no journal but the benchmark's is read or written.
    """
    from luma_mcp_server.sandbox import SANDBOX_KEY

    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, options), daemon=True)
    process.start()
    try:
        with tempfile.TemporaryDirectory() as home:
            yield {
                "LUMA_API_KEY": SANDBOX_KEY,
                "LUMAAI_BASE_URL": f"{ours.recv()}/dream-machine/v1",
                "HOME": home,
                "USERPROFILE": home,
            }
    finally:
        ours.send("end")
        process.join(10)


def _serve(pipe: Connection, options: dict[str, Any]) -> None:
    from luma_mcp_server.sandbox import running_sandbox

    with running_sandbox(**options) as origin:
        pipe.send(origin)
        pipe.recv()


def run(name: str) -> list[Figure]:
    """Run a benchmark; one that fails is a figure that says so, and the others still run."""
    try:
        return import_module(f"benchmarks.{name}").measure()
    except Exception as error:  # noqa: BLE001 - whatever it is, it stands in the table
        traceback.print_exc()
        return [Figure(name, note=f"failed: {type(error).__name__}")]
