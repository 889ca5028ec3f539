"""What the benchmarks share: an MCP client on a raw pipe, and a sandbox in a process of its own."""

import itertools
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, Self

OURS = ("-m", "luma_mcp_server")


class Server:
    """A server as a client starts it. Nothing but JSON is done on this side, so that little but the server is timed."""

    def __init__(self, *arguments: str, **environ: str) -> None:
        # Without the pyc files that the first run writes, every start would compile again.
        clean = {k: v for k, v in os.environ.items() if "LUMA" not in k and k != "PYTHONDONTWRITEBYTECODE"}
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**clean, **environ},
        )
        self._ids, self._answers = itertools.count(1), dict[int, dict[str, Any]]()
        client = {"name": "benchmark", "version": "1"}
        self.ask("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo=client)
        self._write({"method": "notifications/initialized"})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(10)

    def _write(self, message: dict[str, Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.process.stdin.flush()

    def send(self, method: str, **params: Any) -> int:
        """Send a request without waiting; the result is its id."""
        number = next(self._ids)
        self._write({"id": number, "method": method, "params": params})
        return number

    def answer(self, number: int) -> dict[str, Any]:
        """The result of a request that was sent; answers to others are kept, notifications dropped."""
        assert self.process.stdout
        while number not in self._answers:
            message = json.loads(self.process.stdout.readline())
            if "method" not in message:
                self._answers[message["id"]] = message["result"]
        return self._answers.pop(number)

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a request and wait for its result."""
        return self.answer(self.send(method, **params))

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool that must succeed; the result is its structured content."""
        result = self.ask("tools/call", name=tool, arguments=arguments)
        assert not result.get("isError"), result
        content: dict[str, Any] = result["structuredContent"]
        return content

    def ping_ms(self) -> float:
        """How long a ping takes."""
        started = time.perf_counter()
        self.ask("ping")
        return 1000 * (time.perf_counter() - started)


@contextmanager
def sandbox(**options: Any) -> Iterator[dict[str, str]]:
    """The sandbox, in a process of its own so that it shares no lock with the client; the variables that lead to it."""
    from luma_mcp_server.sandbox import SANDBOX_KEY

    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, options), daemon=True)
    process.start()
    try:
        yield {"LUMA_API_KEY": SANDBOX_KEY, "LUMAAI_BASE_URL": f"{ours.recv()}/dream-machine/v1"}
    finally:
        ours.send("end")
        process.join(10)


def _serve(pipe: Connection, options: dict[str, Any]) -> None:
    from luma_mcp_server.sandbox import running_sandbox

    with running_sandbox(**options) as origin:
        pipe.send(origin)
        pipe.recv()
