"""The command line: the only place that reads the environment, and the only one that prints."""

import gc
import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from . import __version__
from .settings import AGENTS_KEY_VARIABLE, KEY_VARIABLES, VARIABLES, Settings, is_loopback

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    import httpx
    from mcp.server.mcpserver import MCPServer
    from mcp.shared.dispatcher import ProgressFnT

API_PATH = "/dream-machine/v1"


def run() -> NoReturn:
    """The installed command."""
    sys.exit(main(sys.argv[1:], os.environ))


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run one command.

    Args:
        argv: arguments without the program's name.
        environ: the environment.

    Returns:
        The exit code: 0 done, 1 it failed, 2 wrong usage, 128 + n ended by signal n.
    """
    settings = Settings.from_env(environ)
    try:
        if not argv:  # as clients start it: without a parser, which costs a hundredth of the start
            return _serve(settings)
        arguments = _parser().parse_args(argv)
        if arguments.sandbox:
            settings = replace(settings, start_sandbox=True)
        return int(arguments.command(arguments, settings, environ))
    except KeyboardInterrupt:
        return 130


def _parser() -> "ArgumentParser":
    import argparse

    variables = "\n".join(f"  {name:26}{meaning} [{default}]" for name, (default, meaning) in VARIABLES.items())
    parser = argparse.ArgumentParser(
        prog="luma-mcp-server",
        description="An MCP server that makes videos and images with Luma. Without a command it serves an MCP client "
        "over standard input and output; clients start it by themselves.",
        epilog=f"environment:\n{variables.replace('`', '')}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"luma-mcp-server {__version__}")
    parser.add_argument("--sandbox", action="store_true", help="use the built-in sandbox instead of Luma; free, no key")
    parser.set_defaults(command=lambda _, settings, __: _serve(settings))
    commands = parser.add_subparsers(title="commands", metavar="")
    demo = commands.add_parser("demo", help="make a video in the sandbox and save it; free, no key")
    demo.add_argument("prompt", nargs="?", default="A red kite rises over green dunes, camera orbit left, golden hour")
    demo.add_argument("--output", type=Path, metavar="DIR", help="folder for the video [~/Luma]")
    demo.set_defaults(command=_demo)
    check = commands.add_parser("check", help="say whether the key works, and what the balance is; free")
    check.set_defaults(command=_check)
    sandbox = commands.add_parser("sandbox", help="serve the sandbox on this computer until Ctrl-C")
    sandbox.add_argument("--port", type=int, default=8642, help="[8642]; 0 takes a free one")
    sandbox.set_defaults(command=_sandbox)
    return parser


def _serve(settings: Settings) -> int:
    # Importing makes some 100,000 objects that stay. Collecting among them takes a tenth of the start; frozen, they
    # are never looked at again. (`enable` without `freeze` would look at them all at once.)
    gc.disable()
    from .server import create_server

    if sys.stdin is None or sys.stdin.closed:
        print("luma-mcp-server: there is no standard input to serve.", file=sys.stderr)
        return 1
    if sys.stdin.isatty():
        print(
            "luma-mcp-server speaks MCP over standard input: your MCP client starts it. Try `luma-mcp-server demo`. "
            "Ctrl-C ends it.",
            file=sys.stderr,
        )
    with _sandboxed(settings) as settings:
        # The SDK logs crashes with the values that the caller sent; we log type and place ourselves.
        logging.getLogger("mcp").setLevel(logging.CRITICAL)
        server = create_server(settings, partial(_open_http, settings))
        gc.freeze()
        gc.enable()
        return _run_until_stdin_ends(server)


@contextmanager
def _sandboxed(settings: Settings) -> Iterator[Settings]:
    """The settings, with the built-in sandbox running where they ask for it."""
    if not settings.start_sandbox:
        yield settings
        return
    from .sandbox import running_sandbox

    with running_sandbox() as origin:
        yield settings.on_sandbox(origin + API_PATH)


def _open_http(settings: Settings) -> "httpx.AsyncClient":
    import httpx

    # A proxy can't reach this computer's own sandbox.
    trust_env = not is_loopback(urlsplit(settings.base_url).hostname or "")
    return httpx.AsyncClient(
        timeout=httpx.Timeout(30, connect=5),
        limits=httpx.Limits(max_connections=20, max_keepalive_connections=10),
        trust_env=trust_env,
    )


_GRACE_S = 1.5
"""Seconds from the end of standard input, or a signal, to the end of the process, whatever hangs."""


def _run_until_stdin_ends(server: "MCPServer[Any]") -> int:
    """Serve; the end of standard input, SIGTERM and Ctrl-C all take the SDK's clean way out.

    The SDK's reader blocks in a thread that no signal ends, so it reads from a pipe of ours: closing that pipe looks
    to it like the end of standard input.
    """
    real = os.dup(0)
    reader, writer = os.pipe()
    os.dup2(reader, 0)
    os.close(reader)
    code = 0

    def end() -> None:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, writer)
        os.close(devnull)
        timer = threading.Timer(_GRACE_S, os._exit, (code,))
        timer.daemon = True
        timer.start()

    def pump() -> None:
        with suppress(OSError):
            while data := os.read(real, 65536):
                while data:
                    data = data[os.write(writer, data) :]
        end()

    def on_signal(number: int, _: FrameType | None) -> None:
        nonlocal code
        if code:
            os._exit(128 + number)
        code = 128 + number
        end()

    def watch_stdout(out: int) -> None:
        hangup = select.poll()
        hangup.register(out, 0)
        hangup.poll()
        end()

    if hasattr(select, "poll"):  # not on Windows
        # A client that closes its end alone would otherwise be noticed only at the next line from it.
        threading.Thread(target=watch_stdout, args=(os.dup(1),), daemon=True).start()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, on_signal)
    threading.Thread(target=pump, daemon=True).start()
    try:
        server.run("stdio")
    except* BrokenPipeError:
        pass  # the client stopped reading
    return code


def _sandbox(arguments: "Namespace", _: Settings, __: Mapping[str, str]) -> int:
    from .sandbox import SANDBOX_KEY, running_sandbox

    try:
        with running_sandbox(arguments.port) as origin:
            print(f"{origin}{API_PATH}", flush=True)
            print(
                f"The sandbox runs. In another terminal: LUMAAI_BASE_URL={origin}{API_PATH} LUMA_API_KEY={SANDBOX_KEY} "
                "luma-mcp-server check. Ctrl-C ends it.",
                file=sys.stderr,
            )
            done = threading.Event()
            signal.signal(signal.SIGTERM, lambda *_: done.set())
            while not done.wait(0.2):  # a wait without end would not see Ctrl-C on Windows
                pass
    except (OSError, OverflowError) as error:
        print(f"luma-mcp-server sandbox: port {arguments.port} can't be used ({error}).", file=sys.stderr)
        return 1
    return 0


def _check(_: "Namespace", settings: Settings, __: Mapping[str, str]) -> int:
    import anyio

    from .server import opened_app
    from .tools.account import account

    async def ask() -> int:
        async with opened_app(settings, partial(_open_http, settings)) as app:
            found = await account(app)
        luma, *others = found.apis
        key = "the sandbox's own" if found.sandbox else settings.key_variable if settings.api_key else "none"
        print(f"Key       {key}")
        print(f"Goes to   {settings.base_url}")
        print(f"Saves in  {found.output_dir or 'no folder'}{'' if settings.save else ', only when asked'}")
        for note in (*(other.message for other in others), *(found.warnings or ())):
            print(f"Note      {note}")
        if luma.balance_usd is None:
            print(luma.message)
        elif settings.problems:
            print(
                f"The Dream Machine API accepts the key, but a setting can't be used: {settings.problems[0].sentence}"
            )
        else:
            print(f"The Dream Machine API answers and accepts the key. Balance: ${luma.balance_usd:.2f}.")
            return 0
        return 1

    with _sandboxed(settings) as settings:
        return anyio.run(ask)


def _demo(arguments: "Namespace", settings: Settings, environ: Mapping[str, str]) -> int:
    import anyio
    from mcp.client import Client
    from mcp.client.stdio import StdioServerParameters

    output = (arguments.output or settings.output_dir or Path("Luma")).expanduser().absolute()
    unneeded = {*KEY_VARIABLES, AGENTS_KEY_VARIABLE, "LUMAAI_BASE_URL", "LUMA_MCP_WAIT_S", "LUMA_MCP_SAVE"}
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "luma_mcp_server", "--sandbox"],
        env={
            **{name: value for name, value in environ.items() if name not in unneeded},
            "LUMA_MCP_OUTPUT_DIR": str(output),
        },
    )

    async def play() -> int:
        async with Client(server) as client:
            tools = (await client.list_tools()).tools
            print("Connected to luma-mcp-server over MCP. It runs on its sandbox: nothing here costs money.")
            print(f"{len(tools)} tools: {', '.join(tool.name for tool in tools)}")
            print(f'generate_video(prompt="{arguments.prompt}")')
            result = await client.call_tool("generate_video", {"prompt": arguments.prompt}, progress_callback=_bar())
        if sys.stdout.isatty():
            print()
        if result.is_error:
            print(*(block.text for block in result.content if block.type == "text"), file=sys.stderr)
            return 1
        made = result.structured_content or {}
        if "file_path" not in made:
            print(*made.get("warnings", ["The video was not saved."]), sep="\n", file=sys.stderr)
            return 1
        print(
            f"completed: {made['resolution']}, {made['duration']}, would cost about ${made['estimated_cost_usd']:.2f}"
        )
        print(made["file_path"])
        return 0

    return anyio.run(play)


_SANDBOX_CLIP_S = 6.0
"""How long the sandbox takes for a clip, so that the bar has an end."""


def _bar() -> "ProgressFnT":
    """Draws a call's progress: a bar on a terminal, lines elsewhere."""

    async def draw(progress: float, total: float | None, message: str | None) -> None:
        share = min(progress / (total or _SANDBOX_CLIP_S), 1.0)
        bar = f"[{'#' * round(30 * share):30}] {message}"
        print(f"\r{bar:79}" if sys.stdout.isatty() else bar, end="" if sys.stdout.isatty() else "\n", flush=True)

    return draw
