"""Real servers at the ends of real pipes, a sandbox on a real socket, and a record of all that was ever written."""

import json
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp.client.stdio import StdioServerParameters, get_default_environment

from luma_mcp_server.sandbox import SANDBOX_KEY, running_sandbox

COMMAND = [sys.executable, "-m", "luma_mcp_server"]
MODERN = "2026-07-28"
LIMIT_S = 15
"""No test waits longer than this for anything; whatever takes so long is stuck."""


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The usual event loop: a subprocess knows nothing of virtual time."""
    return "asyncio"


SECRET = re.compile(rb"luma-sandbox-key|luma-api-sandbox-key|luma-planted|luma-api-planted|[?&](?:Expires|Signature)=")
URL_FIELDS = ("video_url", "image_url", "thumbnail_url", "url", "uri")


def without_links(value: Any) -> Any:
    """What a server said, without the links that it may give: those of generations."""
    if isinstance(value, dict):
        return {name: without_links(one) for name, one in value.items() if name not in URL_FIELDS}
    if isinstance(value, list):
        return [without_links(one) for one in value]
    if isinstance(value, str) and value.startswith(("{", "[")):
        try:
            return without_links(json.loads(value))
        except ValueError:
            return value
    return value


def leaks(data: bytes) -> list[bytes]:
    """The secrets in something that was written, with what stands before them."""
    for key in (b"luma-sandbox-key", b"luma-api-sandbox-key"):
        data = data.replace(b"LUMA_API_KEY=" + key + b" luma-mcp-server check", b"")  # `sandbox` tells how to use it
    return [data[max(0, found.start() - 200) : found.end() + 20] for found in SECRET.finditer(data)]


@dataclass
class Record:
    """What the servers of one module wrote: lines on stdout, files for stderr, and the folders that they lived in."""

    folder: Path
    lines: list[bytes] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    """Results that the official client received, as plain data."""

    names: Iterator[int] = field(default_factory=count)

    def home(self) -> Path:
        """A new home."""
        home = self.folder / f"home-{next(self.names)}"
        home.mkdir()
        return home

    def stderr(self) -> Path:
        """A new file for what a process says on stderr."""
        return self.folder / f"stderr-{next(self.names)}.txt"

    @property
    def files(self) -> list[Path]:
        """All that was written anywhere but on stdout."""
        return [path for path in self.folder.rglob("*") if path.is_file()]

    def leaks(self) -> list[bytes]:
        """The keys and signed links that stand where they do not belong."""
        said = [*map(json.loads, self.lines), *self.answers]
        written = [json.dumps(without_links(one)).encode() for one in said]
        for path in self.files:
            with suppress(FileNotFoundError):  # SQLite's side files end with the last server that has the journal open
                written += [path.read_bytes(), path.name.encode()]
        return [leak for part in written for leak in leaks(part)]


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Record]:
    """Whatever a module's tests made servers write is searched for secrets when they have ended."""
    record = Record(tmp_path_factory.mktemp("stdio"))
    yield record
    assert record.leaks() == []


def environment(home: Path, **environ: str | None) -> dict[str, str]:
    """What a server gets to know: nothing of this machine but what a client passes on. None takes a variable away."""
    given = {
        **get_default_environment(),
        "HOME": str(home),
        "USERPROFILE": str(home),
        "LUMA_API_KEY": SANDBOX_KEY,
        "LUMAAI_LOG": "debug",  # Luma's SDK would now print every link: nothing of that may be seen
        **environ,
    }
    return {name: value for name, value in given.items() if value is not None}


class World:
    """The sandbox, as seen over HTTP."""

    def __init__(self, origin: str, http: httpx.Client) -> None:
        self.origin, self.http, self.base_url = origin, http, f"{origin}/dream-machine/v1"

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.http.get(f"{self.origin}/sandbox/state").json()
        return state

    def requests(self) -> list[dict[str, Any]]:
        requests: list[dict[str, Any]] = self.state()["requests"]
        return requests

    def posts(self, prompt: str) -> list[dict[str, Any]]:
        """The paid requests with this prompt."""
        return [one for one in self.requests() if one["method"] == "POST" and one["body"].get("prompt") == prompt]

    def gets(self, generation_id: str) -> int:
        """How often a generation was asked about."""
        return sum(one["method"] == "GET" and generation_id in one["path"] for one in self.requests())

    def fault(self, **fields: Any) -> None:
        """Let the next request that fits fail."""
        assert self.http.post(f"{self.origin}/sandbox/faults", json=[fields]).status_code == 201

    def until(self, seen: Callable[[], object]) -> None:
        """Look again and again until something can be seen at the sandbox."""
        for _ in range(5000):
            if seen():
                return
        raise AssertionError("it never happened")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A sandbox whose jobs are done at once, but for those with `[sandbox:stuck]` in their prompt."""
    fresh = httpx.Limits(max_keepalive_connections=0)  # faults may cut connections that are kept
    with (
        running_sandbox(seconds=0.0, limits=False) as origin,
        httpx.Client(trust_env=False, timeout=LIMIT_S, limits=fresh) as http,
    ):
        yield World(origin, http)


class Server:
    """One server process, spoken to in lines of JSON.

    Args:
        record: keeps what it writes.
        environ: its environment.
        arguments: its command line.
        version: the protocol version that the client speaks.
        reading: False closes the client's end of stdout at once.
    """

    def __init__(
        self,
        record: Record,
        environ: dict[str, str],
        *arguments: str,
        version: str = "2025-11-25",
        reading: bool = True,
    ) -> None:
        self.home, self.version, self._record = Path(environ["HOME"]), version, record
        self.errors = record.stderr()
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*COMMAND, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environ
            )
        self.notifications: list[dict[str, Any]] = []
        self._ids, self._early = count(1), dict[Any, dict[str, Any]]()
        self._lines: queue.Queue[bytes] = queue.Queue()
        self.reading = threading.Event()  # while it is not set, nobody reads stdout
        self.reading.set()
        self._reader = threading.Thread(target=self._read, daemon=True)
        if reading:
            self._reader.start()
        else:
            self._out.close()

    @property
    def _out(self) -> Any:
        assert self.process.stdout
        return self.process.stdout

    def _read(self) -> None:
        for line in self._out:
            self.reading.wait()
            if not line.endswith(b"\n"):
                break  # of a server that ended at once
            self._record.lines.append(line)
            self._lines.put(line)
        self._lines.put(b"")

    def line(self, data: bytes) -> None:
        """Write a line as it stands."""
        assert self.process.stdin
        self.process.stdin.write(data + b"\n")
        self.process.stdin.flush()

    def send(self, method: str, params: dict[str, Any] | None = None, **more: Any) -> None:
        self.line(json.dumps({"jsonrpc": "2.0", "method": method, "params": params or {}, **more}).encode())

    def ask(self, method: str, **params: Any) -> int:
        """Send a request, in the envelope of the protocol's version, and give its id."""
        number = next(self._ids)
        self.send(method, self.enveloped(params), id=number)
        return number

    def enveloped(self, params: dict[str, Any]) -> dict[str, Any]:
        """Params with what the protocol's version wants in each request."""
        if self.version != MODERN:
            return params
        meta = {"protocolVersion": MODERN, "clientInfo": {"name": "test", "version": "1"}, "clientCapabilities": {}}
        envelope = {f"io.modelcontextprotocol/{name}": value for name, value in meta.items()}
        return params | {"_meta": {**envelope, **params.get("_meta", {})}}

    def answer(self, number: int) -> dict[str, Any]:
        """The answer to a request; what comes before it is kept."""
        while number not in self._early:
            self._sort(self._next())
        return self._early.pop(number)

    def _next(self) -> dict[str, Any]:
        line = self._lines.get(timeout=LIMIT_S)
        assert line, "the server has gone"
        message: dict[str, Any] = json.loads(line)
        assert message["jsonrpc"] == "2.0"
        return message

    def _sort(self, message: dict[str, Any]) -> None:
        if "method" in message:
            assert "id" not in message, "this client answers questions only where it expects them"
            self.notifications.append(message)
        else:
            self._early[message["id"]] = message

    def asked(self, method: str) -> dict[str, Any]:
        """The server's next request, which must be this one."""
        while "id" not in (message := self._next()) or "method" not in message:
            self._sort(message)
        assert message["method"] == method
        return message

    def reply(self, question: dict[str, Any], **result: Any) -> None:
        """Answer one of the server's requests."""
        self.line(json.dumps({"jsonrpc": "2.0", "id": question["id"], "result": result}).encode())

    def answered(self, number: int) -> bool:
        """Whether the answer to this request has come before the one that was read last."""
        return number in self._early

    def result(self, number: int) -> dict[str, Any]:
        """The result of a request that must not be a protocol error."""
        result: dict[str, Any] = self.answer(number)["result"]
        return result

    def shake_hands(self, **capabilities: Any) -> dict[str, Any]:
        """The handshake of the older versions."""
        client = {
            "protocolVersion": self.version,
            "capabilities": capabilities,
            "clientInfo": {"name": "test", "version": "1"},
        }
        result = self.result(self.ask("initialize", **client))
        self.send("notifications/initialized")
        return result

    def begin(self, tool: str, /, *, token: str | int | None = None, **arguments: Any) -> int:
        """Begin a call."""
        more = {"_meta": {"progressToken": token}} if token is not None else {}
        return self.ask("tools/call", name=tool, arguments=arguments, **more)

    def end(self, number: int) -> dict[str, Any]:
        """The structured result of a call that must work; its text says the same."""
        result = self.result(number)
        assert not result.get("isError"), result
        [block] = result["content"]
        assert json.loads(block["text"]) == result["structuredContent"]
        content: dict[str, Any] = result["structuredContent"]
        return content

    def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool that must work."""
        return self.end(self.begin(tool, **arguments))

    def refusal(self, tool: str, /, **arguments: Any) -> str:
        """The words of a call that must fail; whatever the reason, they are fit to be read."""
        result = self.result(self.begin(tool, **arguments))
        assert result["isError"], result
        assert "structuredContent" not in result
        [block] = result["content"]
        text: str = block["text"]
        assert "\n" not in text
        assert text.endswith((".", ")"))
        for word in ("Traceback", "pydantic", "validation error", "Extra inputs", "Signature=", SANDBOX_KEY, "httpx"):
            assert word not in text
        return text

    def hang_up(self) -> int:
        """Close stdin, and give the exit code."""
        assert self.process.stdin
        self.process.stdin.close()
        return self.process.wait(LIMIT_S)

    def clean_up(self) -> None:
        assert self.process.stdin
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(LIMIT_S)
        finally:
            self.process.kill()
            self.process.wait()
        self.reading.set()
        if self._reader.ident:
            self._reader.join(LIMIT_S)
            self._out.close()


@pytest.fixture(scope="module")
def serve(world: World, record: Record) -> Iterator[Callable[..., Server]]:
    """Starts servers on the module's sandbox; all end with the module."""
    servers: list[Server] = []

    def started(
        *arguments: str, version: str = "2025-11-25", shake: bool = True, reading: bool = True, **environ: Any
    ) -> Server:
        given = environment(**{"home": record.home(), "LUMAAI_BASE_URL": world.base_url} | environ)
        server = Server(record, given, *arguments, version=version, reading=reading)
        servers.append(server)
        if shake and reading:
            server.shake_hands()
        return server

    yield started
    for server in servers:
        server.clean_up()


@pytest.fixture(scope="module")
def parameters(world: World, record: Record) -> StdioServerParameters:
    """A server on the module's sandbox, for the official client."""
    environ = environment(record.home(), LUMAAI_BASE_URL=world.base_url, LUMA_MCP_SAVE="off")
    return StdioServerParameters(command=COMMAND[0], args=COMMAND[1:], env=environ)


@pytest.fixture(scope="module")
def start(record: Record) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts a command; what still runs at the module's end is killed."""
    with ExitStack() as stack:

        def started(
            *arguments: str, home: Path | None = None, stderr: Path | None = None, **environ: Any
        ) -> "subprocess.Popen[str]":
            given = environment(home or record.home(), **environ)
            errors = stack.enter_context((stderr or record.stderr()).open("wb"))
            pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": errors}
            process = stack.enter_context(subprocess.Popen([*COMMAND, *arguments], env=given, text=True, **pipes))
            stack.callback(process.kill)
            return process

        yield started


@pytest.fixture(scope="module")
def run(start: Callable[..., "subprocess.Popen[str]"], record: Record) -> Callable[..., Any]:
    """Runs a command to its end."""

    def ran(*arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        stderr = record.stderr()
        process = start(*arguments, stderr=stderr, **options)
        out, _ = process.communicate(timeout=LIMIT_S)
        record.stderr().write_text(out)
        return subprocess.CompletedProcess(arguments, process.returncode, out, stderr.read_text())

    return ran
