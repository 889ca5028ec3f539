"""The command line: the only place that reads the environment, and the only one that prints."""

import gc
import logging
import os
import re
import select
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from . import __version__
from .errors import SettingsError
from .settings import AGENTS_KEY_VARIABLE, KEY_VARIABLES, VARIABLES, Settings, is_loopback

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    import httpx
    from mcp.server.mcpserver import MCPServer
    from mcp.shared.dispatcher import ProgressFnT

DEMO_PROMPT = "A red kite rises over green dunes, camera orbit left, golden hour"
DREAM_MACHINE_PATH, AGENTS_PATH = "/dream-machine/v1", "/v1"


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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a prompt may hold letters that this terminal has none for
            stream.reconfigure(errors="replace")
    try:
        if not argv:  # as clients start it: without a parser, which costs a hundredth of the start
            return _serve(settings)
        arguments = _parser().parse_args(argv)
        if arguments.sandbox:
            settings = replace(settings, start_sandbox=True)
        return int(arguments.command(arguments, settings, environ))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(file=sys.stderr)
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
    sandbox_help = "use the built-in sandbox instead of Luma; free, no key"
    parser.add_argument("--sandbox", action="store_true", help=sandbox_help)
    parser.set_defaults(command=lambda _, settings, __: _serve(settings))
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    demo = commands.add_parser("demo", help="make a video in the sandbox and save it; free, no key")
    demo.add_argument("prompt", nargs="?", default=DEMO_PROMPT, help="what the video shall show")
    demo.add_argument("--output", type=Path, metavar="DIR", help="folder for the video [~/Luma]")
    demo.set_defaults(command=_demo)
    check = commands.add_parser("check", help="say whether the key works, and what the balance is; free")
    check.add_argument("--sandbox", action="store_true", help=sandbox_help, default=argparse.SUPPRESS)
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

    if sys.stdin is None or sys.stdout is None:
        print("luma-mcp-server: there is no standard input or output to serve.", file=sys.stderr)
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
        yield settings.on_sandbox(origin + DREAM_MACHINE_PATH, origin + AGENTS_PATH)


def _open_http(settings: Settings) -> "httpx.AsyncClient":
    import httpx

    # A proxy can't reach this computer's own sandbox.
    urls = (settings.base_url, settings.agents_url)
    trust_env = not any(is_loopback(urlsplit(url).hostname or "") for url in urls)
    return httpx.AsyncClient(
        timeout=httpx.Timeout(30, connect=5),
        limits=httpx.Limits(max_connections=20, max_keepalive_connections=10),
        trust_env=trust_env,
    )


_ESCAPE = re.compile(rb"\\u[Dd][89ABab]..\\u[Dd][C-Fc-f]..|\\u[Dd][89A-Fa-f]..|\\.")


def _readable(line: bytes) -> bytes:
    """A message without half characters, as JavaScript writes a cut-off emoji: the SDK would drop it unanswered."""

    def whole(escape: re.Match[bytes]) -> bytes:
        return b"\\ufffd" if len(escape[0]) == 6 else escape[0]

    return _ESCAPE.sub(whole, line) if b"\\ud" in line or b"\\uD" in line else line


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
        with suppress(OSError), os.fdopen(real, "rb") as lines:
            for line in lines:
                data = _readable(line)
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
        if any(event & (select.POLLHUP | select.POLLERR) for _, event in hangup.poll()):
            end()

    if sys.platform == "linux":  # elsewhere poll tells nothing of a reader that has gone
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
    from .sandbox import AGENTS_SANDBOX_KEY, SANDBOX_KEY, running_sandbox

    try:
        with running_sandbox(arguments.port) as origin:
            print(f"{origin}{DREAM_MACHINE_PATH}\n{origin}{AGENTS_PATH}", flush=True)
            print(
                f"The sandbox runs; Ctrl-C ends it. In another terminal, for either API:\n"
                f"  LUMAAI_BASE_URL={origin}{DREAM_MACHINE_PATH} LUMA_API_KEY={SANDBOX_KEY} luma-mcp-server check\n"
                f"  LUMA_BASE_URL={origin}{AGENTS_PATH} LUMA_API_KEY={AGENTS_SANDBOX_KEY} luma-mcp-server check",
                file=sys.stderr,
            )
            done = threading.Event()
            signal.signal(signal.SIGTERM, lambda *_: done.set())
            while not done.wait(0.2):  # a wait without end would not see Ctrl-C on Windows
                pass
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        print(f"luma-mcp-server sandbox: port {arguments.port} can't be used ({why}).", file=sys.stderr)
        return 1
    return 0


_NAMES = {"agents": "Agents API", "dream_machine": "Dream Machine API"}


def _check(_: "Namespace", settings: Settings, __: Mapping[str, str]) -> int:
    import anyio

    from .server import opened_app
    from .tools.account import account

    async def ask() -> int:
        async with opened_app(settings, partial(_open_http, settings)) as app:
            found = await account(app)
        where = f"saves in {found.output_dir}" if found.output_dir else "saves nowhere"
        if not settings.save:
            where = "buys, saves and deletes nothing" if settings.read_only else f"{where} when asked"
        print(f"Waits up to {settings.wait_s:g} s, {where}.")
        if found.spent_24h_usd is not None:
            limit = "no budget is set" if found.budget_usd is None else f"of a budget of ${found.budget_usd:.2f}"
            if settings.wrong("LUMA_MCP_BUDGET_USD"):
                limit = "of a budget that can't be read"
            print(f"Spent in 24 hours: ${found.spent_24h_usd:.2f}, {limit}. Journal: {found.journal}.")
        variables = {"agents": settings.agents_key_variable, "dream_machine": settings.key_variable}
        hosts = {"agents": settings.agents_url, "dream_machine": settings.base_url}
        for standing in found.apis:
            if not standing.configured:
                print(standing.message)
                continue
            key = "the sandbox's own key" if found.sandbox else f"the key in {variables[standing.api]}"
            verdict = standing.message or "it answers and accepts the key."
            balance = "" if standing.balance_usd is None else f" Balance: ${standing.balance_usd:.2f}."
            print(f"{_NAMES[standing.api]} at {hosts[standing.api]}, with {key}: {verdict}{balance}")
        for warning in found.warnings or ():
            if not any(warning in (standing.message or "") for standing in found.apis):
                print(warning)
        return 0 if not found.warnings and all(standing.key_accepted for standing in found.apis) else 1

    with _sandboxed(settings) as settings:
        return anyio.run(ask)


def _demo(arguments: "Namespace", settings: Settings, environ: Mapping[str, str]) -> int:
    from importlib.util import find_spec

    import anyio
    from mcp.client import Client
    from mcp.client.stdio import StdioServerParameters

    if arguments.output is None:
        settings.require("LUMA_MCP_OUTPUT_DIR")
    output = Path(arguments.output or str(settings.output_dir)).expanduser().absolute()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"luma-mcp-server demo: no video can be saved in {output} ({error.strerror}).", file=sys.stderr)
        return 1
    unneeded = {
        *KEY_VARIABLES,
        AGENTS_KEY_VARIABLE,
        "LUMAAI_BASE_URL",
        "LUMA_BASE_URL",
        "LUMA_MCP_WAIT_S",
        "LUMA_MCP_SAVE",
        "LUMA_MCP_BUDGET_USD",
        "LUMA_MCP_CONFIRM_USD",
        "LUMA_MCP_READ_ONLY",
    }
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
        made = result.structured_content or {}
        if result.is_error or "file_path" not in made:
            print(*(block.text for block in result.content if block.type == "text"), file=sys.stderr)
            return 1
        print(
            f"completed: {made['resolution']}, {made['duration']}, would cost about ${made['estimated_cost_usd']:.2f}"
        )
        if find_spec("av") is None:
            print("This is a stand-in clip: install luma-mcp-server[media] to have your prompt drawn.")
        print(made["file_path"])
        return 0

    return anyio.run(play)


_SANDBOX_CLIP_S = 6.0
"""How long the sandbox takes for a clip, so that the bar has an end."""


def _bar() -> "ProgressFnT":
    """Draws a call's progress: a bar on a terminal, lines elsewhere."""
    from shutil import get_terminal_size

    async def draw(progress: float, total: float | None, message: str | None) -> None:
        share = min(progress / (total or _SANDBOX_CLIP_S), 1.0)
        bar = f"[{'#' * round(30 * share):30}] {message}"
        if sys.stdout.isatty():
            width = get_terminal_size().columns - 1
            print(f"\r{bar[:width]:{width}}", end="", flush=True)
        else:
            print(bar, flush=True)

    return draw
