"""What the benchmarks share: an MCP client on a raw pipe, and a sandbox in a process of its own."""

import itertools
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from statistics import quantiles
from typing import Any, Self

OURS = ("-m", "luma_mcp_server")
TASKS = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "benchmark", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}},
}


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
        started = time.perf_counter()
        self.ask("ping")
        return 1000 * (time.perf_counter() - started)


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


def report(title: str, times: dict[str, list[float]], digits: int) -> list[float]:
    """Print medians and quartiles, and give the medians."""
    print(f"{title:44}{'median':>14}{'quartiles':>17}")
    found = [quantiles(all_ms, n=4) for all_ms in times.values()]
    for name, (low, middle, high) in zip(times, found, strict=True):
        print(f"{name:44}{middle:11.{digits}f} ms{low:11.{digits}f}-{high:.{digits}f} ms")
    return [middle for _, middle, _ in found]
