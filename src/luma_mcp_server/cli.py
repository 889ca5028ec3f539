"""The command line: the only place that reads the environment, and the only one that prints."""

import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from io import BufferedReader, FileIO, TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

import click

from . import __version__
from .settings import (
    AGENTS_KEY_VARIABLE,
    AGENTS_KEYS_PAGE,
    ALL_KEY_VARIABLES,
    CORRECT_IT,
    VARIABLES,
    Settings,
    is_loopback,
)

if TYPE_CHECKING:
    import httpx
    from _typeshed import WriteableBuffer
    from mcp.client import Client
    from mcp_types import CallToolResult

    from .clients import Client as McpClient
    from .clients import Computer
    from .tools.account import Account

DEMO_PROMPT = "A red kite rises over green dunes, camera orbit left, golden hour"
DREAM_MACHINE_PATH, AGENTS_PATH = "/dream-machine/v1", "/v1"


def run() -> NoReturn:
    """The installed command.

    It exits with 0 when done, 1 when it failed, 2 for wrong usage, 128 + n when signal n ended it.
    """
    settings = Settings.from_env(os.environ)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a prompt may hold letters that this terminal can't show
            stream.reconfigure(errors="replace")
    if not sys.argv[1:]:  # how clients start it: nothing to parse
        sys.exit(_serve(settings))
    try:
        sys.exit(commands.main(prog_name="luma-mcp-server", obj=settings, standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(128 + signal.SIGINT)


def _own_command() -> str:
    from .launch import own_command

    return own_command(os.environ, sys.executable, sys.argv[0])


_VARIABLES = "\n".join(f"  {name:25}{meaning} [{default}]" for name, (default, meaning) in VARIABLES.items())
_sandbox_option = click.option(
    "--sandbox", is_flag=True, help="Use the built-in sandbox instead of Luma: free, no key needed."
)


@click.group(
    invoke_without_command=True,
    subcommand_metavar="[COMMAND]",
    epilog="\b\nEnvironment variables:\n" + _VARIABLES.replace("`", ""),  # \b: keep the lines as they are
)
@_sandbox_option
@click.version_option(__version__, message="luma-mcp-server %(version)s")
@click.pass_context
def commands(context: click.Context, sandbox: bool) -> int:
    """An MCP server that makes videos and images with Luma.

    Without a command it serves an MCP client over standard input and output. Your client starts it that way.
    """
    if sandbox:
        context.obj = replace(context.obj, start_sandbox=True)
    return 0 if context.invoked_subcommand else _serve(context.obj)


def _serve(settings: Settings) -> int:
    # Importing makes some 100,000 objects that stay. Collecting among them takes a tenth of the start; frozen, they
    # are never looked at again. (`enable` without `freeze` would look at them all at once.)
    gc.disable()
    from .server import create_server

    for ending in (signal.SIGTERM, signal.SIGINT):  # nothing to wait for: the journal has the row of a POST under way
        signal.signal(ending, lambda number, _: os._exit(128 + number))
    if sys.stdin.isatty():
        print(f"Your MCP client starts this server. Try `{_own_command()} demo`. Ctrl-C ends it.", file=sys.stderr)
    if wrong := " ".join((*settings.problems.values(), *settings.misspelled)):
        print(wrong, file=sys.stderr)
    sys.stdin = TextIOWrapper(BufferedReader(_Stdin(os.dup(0))))  # not 0 itself: the SDK opens that on its own
    with _sandboxed(settings) as settings:
        # The SDK logs crashes with the values that the caller sent; we log type and place ourselves.
        logging.getLogger("mcp").setLevel(logging.CRITICAL)
        server = create_server(settings, partial(_open_http, settings), on_end=_end_soon)
        gc.freeze()
        gc.enable()
        try:
            server.run("stdio")
        except* BrokenPipeError:
            pass  # the client stopped reading
    return 0


class _Stdin(FileIO):
    """Standard input, whose end is the beginning of the server's: the SDK may first finish what is under way."""

    def readinto(self, buffer: "WriteableBuffer") -> int | None:
        size = super().readinto(buffer)
        if size == 0:
            _end_soon()
        return size


def _end_soon() -> None:
    """End the process in 1.5 s, whatever hangs; until then Luma's answers to paid requests are still recorded."""
    timer = threading.Timer(1.5, os._exit, (0,))
    timer.daemon = True
    timer.start()


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

    return httpx.AsyncClient(
        timeout=httpx.Timeout(30, connect=5),
        limits=httpx.Limits(max_connections=20, max_keepalive_connections=10),
        trust_env=_uses_proxy(settings),
        max_redirects=5,
    )


def _uses_proxy(settings: Settings) -> bool:
    """Whether a proxy is used where there is one: it can't reach this computer's own sandbox."""
    return not any(is_loopback(urlsplit(url).hostname or "") for url in (settings.base_url, settings.agents_url))


@commands.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8642, show_default=True, help="0 takes a free one.")
def sandbox(port: int) -> None:
    """Serve the sandbox on this computer until Ctrl-C."""
    from .sandbox import AGENTS_SANDBOX_KEY, SANDBOX_KEY, running_sandbox

    with _served(running_sandbox(port), port) as origin:
        print(f"{origin}{DREAM_MACHINE_PATH}\n{origin}{AGENTS_PATH}", flush=True)
        print(
            f"The sandbox is running; Ctrl-C ends it. To use it from another terminal, with either API:\n"
            f"  LUMAAI_BASE_URL={origin}{DREAM_MACHINE_PATH} LUMA_API_KEY={SANDBOX_KEY} {_own_command()} check\n"
            f"  LUMA_BASE_URL={origin}{AGENTS_PATH} LUMA_API_KEY={AGENTS_SANDBOX_KEY} {_own_command()} check",
            file=sys.stderr,
        )


@contextmanager
def _served(server: AbstractContextManager[str], port: int) -> Iterator[str]:
    """Give the address of a web server, and keep it going after the block until Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with server as origin:
            yield origin
            while True:
                time.sleep(3600)
    except OSError as error:
        raise click.ClickException(f"Port {port} can't be used ({error.strerror}).") from error


@commands.command()
@_sandbox_option
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0 takes a free one.")
@click.option("--no-open", is_flag=True, help="Print the address only; open no browser.")
@click.pass_obj
def gallery(settings: Settings, sandbox: bool, port: int, no_open: bool) -> None:
    """Show what was made and what it cost, in a browser, until Ctrl-C."""
    if sandbox or settings.start_sandbox:  # it need not run: only its journal is read
        settings = settings.on_sandbox(settings.base_url, settings.agents_url)
    _show_gallery(settings, port, open_browser=not no_open)


def _show_gallery(settings: Settings, port: int = 0, *, open_browser: bool = True) -> None:
    import webbrowser

    from .gallery import running_gallery

    with _served(running_gallery(settings, port), port) as url:
        print(url, flush=True)
        print("The gallery is open to this computer alone; Ctrl-C ends it.", file=sys.stderr)
        if open_browser:
            webbrowser.open(url)


@commands.command()
@_sandbox_option
@click.pass_obj
def check(settings: Settings, sandbox: bool) -> int:
    """Check the key, the balance, and the settings. Free."""
    from .report import account_lines

    with _sandboxed(replace(settings, start_sandbox=sandbox or settings.start_sandbox)) as settings:
        found = _account(settings)
    good = not found.warnings and all(standing.key_accepted for standing in found.apis)
    at_terminal, proxy = sys.stdout.isatty(), _proxy(settings)
    print(*account_lines(settings, found, at_terminal, proxy, _own_command()), sep="\n")
    return 0 if good else 1


def _proxy(settings: Settings) -> str:
    """Host and port of the proxy on the way to Luma, without the user and password that may stand before them."""
    from urllib.request import getproxies

    proxies = getproxies() if _uses_proxy(settings) else {}
    return urlsplit(proxies.get("https") or proxies.get("all") or "").netloc.rpartition("@")[2]


def _account(settings: Settings) -> "Account":
    import anyio
    from mcp.client import Client

    from .server import create_server
    from .tools.account import Account

    async def ask() -> "Account":
        async with Client(create_server(settings, partial(_open_http, settings))) as client:
            result = await client.call_tool("get_account")
            return Account.model_validate(result.structured_content)

    return anyio.run(ask)


@commands.command()
@click.argument("client", required=False)
@click.option("--api-key", metavar="KEY", help="Otherwise the keys of this terminal's environment, or you are asked.")
@_sandbox_option
@click.option("--print", "show", is_flag=True, help="Only show what would be written or run, without the key.")
@click.option("--uninstall", is_flag=True, help="Remove the entry.")
@click.pass_obj
def install(
    settings: Settings, client: str | None, api_key: str | None, sandbox: bool, show: bool, uninstall: bool
) -> None:
    """Put this server into the configuration of an MCP client.

    CLIENT is claude-desktop, claude-code, cursor, vscode, codex, windsurf, gemini or zed. Without it, those found on
    this computer are listed, and you are asked.
    """
    from . import clients
    from .launch import find_source, find_uv, launch_command

    computer = clients.Computer(sys.platform, os.environ, Path.home(), _own_command())
    chosen = _choose_clients(computer, client, "From which one?" if uninstall else "Into which one?")
    sandbox = sandbox or settings.start_sandbox
    name = clients.SANDBOX_NAME if sandbox else clients.NAME
    if uninstall:
        for one in chosen:
            print(clients.uninstall_preview(one, computer, name) if show else clients.uninstall(one, computer, name))
        return
    try:
        command, *args = launch_command(find_source(), uv=find_uv(os.environ), media=True, sandbox=sandbox)
    except LookupError as error:
        raise click.ClickException(str(error)) from error
    entry: dict[str, Any] = {"command": command, "args": args}
    if not sandbox:
        keys = {"LUMA_API_KEY": "your-key"} if show else _keys_to_write(settings, api_key)
        entry["env"] = {**keys, **computer.addresses}
    for one in chosen:
        if show and one.scope is None:
            print(f"Put this into {one.path(computer)}:", file=sys.stderr, flush=True)
        print(clients.snippet(one, name, entry) if show else clients.install(one, computer, name, entry), flush=True)
    if not show:
        print(clients.FIRST_REQUEST[name])


def _choose_clients(computer: "Computer", name: str | None, question: str) -> "list[McpClient]":
    from .clients import CLIENTS

    if name:
        if name not in CLIENTS:
            raise click.UsageError(f"{name} is not one of the clients known here: {', '.join(CLIENTS)}.")
        return [CLIENTS[name]]
    found = [client for client in CLIENTS.values() if client.is_found(computer)]
    names = ", ".join(client.name for client in found) or "none"
    if not found or not sys.stdin.isatty():
        raise click.UsageError(f"Name a client. Found on this computer: {names}. Known: {', '.join(CLIENTS)}.")
    for client in found:
        print(f"  {client.name:16}{client.title}, {client.path(computer)}")
    one = click.Choice([*(client.name for client in found), "all"])
    typed: list[str] = click.prompt(
        f"{question} You can name several ({', '.join(one.choices)})",
        value_proc=lambda text: [one(name) for name in text.replace(",", " ").split()],
    )
    return found if "all" in typed else [CLIENTS[name] for name in dict.fromkeys(typed)]


def _keys_to_write(settings: Settings, api_key: str | None) -> dict[str, str]:
    """The keys for a client, checked with Luma if it can be reached."""
    if api_key is None and not settings.apis and not settings.wrong(*ALL_KEY_VARIABLES):
        if not sys.stdin.isatty():
            raise click.UsageError("Give a key with --api-key or in LUMA_API_KEY, or add --sandbox, which needs none.")
        api_key = click.prompt(f"Luma API key, which is not shown (keys: {AGENTS_KEYS_PAGE})", hide_input=True)
    if api_key is not None:
        others = {name: value for name, value in os.environ.items() if name not in ALL_KEY_VARIABLES}
        settings = Settings.from_env({**others, "LUMA_API_KEY": api_key})
    addresses = "LUMA_BASE_URL", "LUMAAI_BASE_URL"
    if not settings.apis or settings.wrong(*addresses):
        wrong = settings.wrong(*ALL_KEY_VARIABLES, *addresses) or "That is a placeholder, not a key."
        if api_key is not None:  # no variable that the user has set
            wrong = wrong.replace("LUMA_API_KEY", "The key", 1)
        raise click.ClickException(f"{wrong.removesuffix(CORRECT_IT)} Nothing was written.")
    for standing in _account(replace(settings, journal=None, read_only=True)).apis:
        if standing.key_accepted is False:
            raise click.ClickException(f"Luma refused the key, so nothing was written (keys: {AGENTS_KEYS_PAGE}).")
        if not standing.key_accepted:
            print(f"The key was not checked: {standing.message}", file=sys.stderr)
    if settings.api_key and settings.agents_key:
        return {"LUMA_API_KEY": settings.api_key, AGENTS_KEY_VARIABLE: settings.agents_key}
    return {"LUMA_API_KEY": settings.api_key or settings.agents_key or ""}


@commands.command()
@click.argument("prompt", default=DEMO_PROMPT)
@click.option("--output", type=click.Path(path_type=Path), metavar="DIR", help="Folder for the videos [~/Luma].")
@click.pass_context
def demo(context: click.Context, prompt: str, output: Path | None) -> None:
    """Make two takes of a video in the sandbox and join them. Free, no key needed."""
    import anyio
    from mcp.client import Client

    from .report import demo_lines
    from .server import create_server

    async def play(settings: Settings) -> click.ClickException | None:
        async with Client(create_server(settings, partial(_open_http, settings))) as client:
            try:
                async for line in demo_lines(client, prompt, partial(_draw_wait, client)):
                    print(line)
            except click.ClickException as error:
                return error  # raised here, it would come out inside the groups of the client's tasks
        return None

    kept: Settings = context.obj
    output = output.expanduser().absolute() if output else kept.output_dir
    if output:
        _make_folder(output)
    with _sandboxed(Settings(output_dir=output, journal=kept.journal, start_sandbox=True)) as on_sandbox:
        if failed := anyio.run(play, on_sandbox):
            raise failed
        if sys.stdin.isatty() and click.confirm("Look at them in the gallery?", default=True):
            _show_gallery(on_sandbox)
        elif output == kept.output_dir:  # the gallery looks for files there
            print(f"To see the takes in a browser: {_own_command()} gallery --sandbox")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        no_folder = isinstance(error, FileExistsError | NotADirectoryError)
        wrong = "is not a folder" if no_folder else f"can't be made ({error.strerror})"
        raise click.ClickException(f"{folder} {wrong}. Choose another with --output.") from error


async def _draw_wait(client: "Client", generation_ids: list[str]) -> "CallToolResult":
    """Wait for these with a bar that shows how far they are."""
    with click.progressbar(length=100, label="Making it", show_eta=False, item_show_func=lambda it: it) as bar:

        async def draw(progress: float, total: float | None, message: str | None) -> None:
            share = min(progress / (total or 6.0), 0.99)  # the sandbox takes 6 s for a clip
            bar.update(round(100 * share) - bar.pos, message or "")

        arguments = {"generation_ids": generation_ids}
        result = await client.call_tool("wait_for_generations", arguments, progress_callback=draw)
        bar.update(100 - bar.pos, "finished" if (result.structured_content or {}).get("finished") else "")
    return result
