"""A server on the sandbox, a client in front of it, and time that jumps ahead when nothing can run."""

import asyncio
import json
import selectors
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest
from mcp.client import Client
from mcp.client.extension import ClientExtension
from mcp.client.session import ElicitationFnT
from mcp_types import CallToolResult, TextContent
from playwright.sync_api import Browser, sync_playwright

from luma_mcp_server.sandbox import AGENTS_SANDBOX_KEY, SANDBOX_KEY, Received, Sandbox, create_sandbox
from luma_mcp_server.server import create_server
from luma_mcp_server.settings import Settings

ORIGIN = "http://127.0.0.1:8642"
BASE_URL = f"{ORIGIN}/dream-machine/v1"
AGENTS_URL = f"{ORIGIN}/v1"
NOW = 1_790_000_000.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of a file run in one process, as some share what they started; stories of faults run in any."""
    for item in items:
        if item.path.name != "test_faults.py":
            item.add_marker(pytest.mark.xdist_group(str(item.path)))


class _JumpingSelector(selectors.DefaultSelector):
    """Moves time on to the next timer when no file is ready and no worker thread is at work."""

    now = 0.0
    busy: Callable[[], bool] = staticmethod(lambda: False)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(None)
        if timeout > 0 and self.busy():
            return super().select(0.05)
        events = super().select(0)
        if not events and timeout > 0:
            self.now += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock is the jumping selector's."""

    def __init__(self) -> None:
        self.jumping = _JumpingSelector()
        self.executing = 0
        super().__init__(self.jumping)

    def time(self) -> float:
        return self.jumping.now

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> "asyncio.Future[Any]":
        future = super().run_in_executor(executor, func, *args)
        self.executing += 1

        def done(_: object) -> None:
            self.executing -= 1

        future.add_done_callback(done)
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        self.jumping.busy = lambda: True
        await super().shutdown_default_executor(*args)

    def hold_time_for_threads(self) -> None:
        """Let no time pass while a worker thread of this loop is at work."""
        limiter = anyio.to_thread.current_default_thread_limiter()
        self.jumping.busy = lambda: bool(limiter.borrowed_tokens or self.executing)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": VirtualLoop}


class Wire(httpx.AsyncBaseTransport):
    """The way to the sandbox; it can lose requests and answers.

    Attributes:
        before: raised in place of sending a POST.
        after: raised in place of a POST's answer, when the job has been taken.
        gone: the network is down for every request.
        hanging: no request is ever answered.
        delays: seconds that requests of a method take, and then their answers.
        edit: changes the page of Luma's list on its way back.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        self.inner: httpx.AsyncBaseTransport = httpx.ASGITransport(app)
        self.before: list[Exception] = []
        self.after: list[Exception] = []
        self.gone = False
        self.hanging = False
        self.delays: dict[str, tuple[float, float]] = {}
        self.edit: Callable[[list[dict[str, Any]]], None] | None = None
        self.sent: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        if self.hanging:
            await anyio.sleep_forever()
        if self.gone or (request.method == "POST" and self.before):
            raise self.before.pop(0) if self.before else httpx.ConnectError("no route")
        there_s, back_s = self.delays.get(request.method, (0.0, 0.0))
        await anyio.sleep(there_s)
        response = await self.inner.handle_async_request(request)
        await anyio.sleep(back_s)
        if request.method == "POST" and self.after:
            raise self.after.pop(0)
        if self.edit and request.method == "GET" and request.url.path.endswith("/generations"):
            page = json.loads(await response.aread())
            self.edit(page["generations"])
            return httpx.Response(200, json=page, headers={"Date": response.headers["Date"]})
        return response


@dataclass
class Desk:
    """One client, the server behind it, and the sandbox behind that."""

    client: Client
    world: Sandbox
    wire: Wire
    folder: Path

    async def raw(self, tool: str, /, **arguments: Any) -> CallToolResult:
        """Call a tool."""
        result = await self.client.call_tool(tool, arguments)
        assert isinstance(result, CallToolResult)
        return result

    async def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool that must work; its text and its structured content must say the same."""
        result = await self.raw(tool, **arguments)
        assert not result.is_error, result.content
        [block] = result.content
        assert isinstance(block, TextContent)
        assert json.loads(block.text) == result.structured_content
        assert result.structured_content is not None
        return result.structured_content

    async def refusal(self, tool: str, /, **arguments: Any) -> str:
        """Call a tool that must fail, and give its words."""
        result = await self.raw(tool, **arguments)
        assert result.is_error, result.content
        assert result.structured_content is None
        [block] = result.content
        assert isinstance(block, TextContent)
        return block.text

    async def video(self, prompt: str = "a quiet lake", **arguments: Any) -> dict[str, Any]:
        """A finished video."""
        return await self.call("generate_video", prompt=prompt, **arguments)

    async def image(self, prompt: str = "a quiet lake", **arguments: Any) -> dict[str, Any]:
        """A finished image."""
        return await self.call("generate_image", prompt=prompt, **arguments)

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return self.folder.parent / ".luma-mcp" / "journal-sandbox.sqlite3"

    def rows(self) -> list[dict[str, Any]]:
        """What the journal holds, oldest first."""
        return self.change("SELECT * FROM purchases ORDER BY submitted_at, rowid")

    def change(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """Do to the journal what another program would."""
        with closing(sqlite3.connect(self.journal, isolation_level=None)) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(sql, values)]

    @property
    def posts(self) -> list[Received]:
        """The paid requests that reached the API, in order."""
        return [received for received in self.world.requests if received.method == "POST"]

    @property
    def charges(self) -> int:
        """How many jobs were charged."""
        return sum(charge.kind == "charge" for charge in self.world.ledger)


OpenDesk = Callable[..., AbstractAsyncContextManager[Desk]]


@pytest.fixture
def open_desk(anyio_backend: object, tmp_path: Path) -> OpenDesk:
    """Opens a desk: `async with open_desk(LUMA_MCP_WAIT_S="5") as desk`; `era` is the protocol's.

    Desks of one test share home and journal, as processes of one user do; one `beside` another shares its world too.
    `answer` is the user, who answers the server's questions; `extensions` are those that the client declares.
    """

    @asynccontextmanager
    async def opened(
        era: str = "2026-07-28",
        answer: ElicitationFnT | None = None,
        beside: Desk | None = None,
        clock_off_s: float = 0.0,
        extensions: Sequence[ClientExtension] = (),
        **environ: str | None,
    ) -> AsyncIterator[Desk]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.hold_time_for_threads()
        app = beside.wire.app if beside else create_sandbox(clock=lambda: NOW + anyio.current_time(), limits=False)
        world: Sandbox = app.state.sandbox
        world.draw = False
        wire = Wire(app)
        defaults = {
            "HOME": str(tmp_path),
            "LUMA_API_KEY": SANDBOX_KEY,
            "LUMAAI_BASE_URL": BASE_URL,
            "LUMA_BASE_URL": AGENTS_URL,
        }
        given = {name: value for name, value in (defaults | environ).items() if value is not None}
        server = create_server(
            Settings.from_env(given),
            lambda: httpx.AsyncClient(transport=wire, timeout=httpx.Timeout(30, connect=5), max_redirects=5),
            now=lambda: datetime.fromtimestamp(world.clock() + clock_off_s, UTC),
        )
        mode = "legacy" if era == "legacy" else "auto"
        async with Client(server, mode=mode, elicitation_callback=answer, extensions=extensions) as client:
            yield Desk(client, world, wire, tmp_path / "Luma")

    return opened


@pytest.fixture
async def agents_desk(open_desk: OpenDesk) -> AsyncIterator[Desk]:
    """A desk with an Agents key alone."""
    async with open_desk(LUMA_API_KEY=AGENTS_SANDBOX_KEY) as opened:
        yield opened


@pytest.fixture
async def both_desk(open_desk: OpenDesk) -> AsyncIterator[Desk]:
    """A desk with a key for each API."""
    async with open_desk(LUMA_AGENTS_API_KEY=AGENTS_SANDBOX_KEY) as opened:
        yield opened


@pytest.fixture
async def desk(open_desk: OpenDesk) -> AsyncIterator[Desk]:
    async with open_desk() as opened:
        yield opened


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium, for one module: while it is open, no event loop can run in its thread."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium to test the pages in: `apt-get install chromium`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield browser
        browser.close()
