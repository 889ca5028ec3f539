"""Putting this server into the configurations of MCP clients, and taking it out again.

Two clients have a command for it that also keeps what they write themselves, so it is used. The others keep a plain
file, in which one entry is changed and all else stays to the letter.
"""

import codecs
import json
import os
import shlex
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from click import ClickException

from . import jsonc

Entry = Mapping[str, Any]
"""How a client starts a server: `command`, `args`, and `env` where there is something in it."""

NAME, SANDBOX_NAME = "luma", "luma-sandbox"
ADDRESSES = ("LUMAAI_BASE_URL", "LUMA_BASE_URL")

FIRST_REQUEST = {
    NAME: 'Then ask it: "Make a five-second clip of a red kite."',
    SANDBOX_NAME: f'Then ask it: "Make a five-second clip of a red kite with {SANDBOX_NAME}." That is free.',
}
"""What to try when the entry is there."""


@dataclass(frozen=True)
class Computer:
    """What decides where clients keep their files: `sys.platform`, the environment, the user's home folder.

    And what starts this program in the user's shell, for messages.
    """

    platform: str
    environ: Mapping[str, str]
    home: Path
    own_command: str = "luma-mcp-server"

    @property
    def app_data(self) -> Path:
        """Where programs keep their settings. Source: `app.getPath("appData")`, Electron docs, 2026."""
        if self.platform == "win32":
            return Path(self.environ.get("APPDATA") or self.home / "AppData" / "Roaming")
        if self.platform == "darwin":
            return self.home / "Library" / "Application Support"
        return Path(self.environ.get("XDG_CONFIG_HOME") or self.home / ".config")

    @property
    def addresses(self) -> dict[str, str]:
        """Where Luma is, if the environment says so: a key that was checked there is for a server that asks there."""
        return {name: value for name in ADDRESSES if (value := self.environ.get(name, "").strip())}

    def which(self, program: str) -> str | None:
        """The path of a program on PATH."""
        return shutil.which(program, path=self.environ.get("PATH"))


@dataclass(frozen=True)
class Client:
    """An MCP client, and where it keeps its servers.

    Attributes:
        name: what `install` calls it; `title` is what people call it.
        program: its command, which shows that it is installed even if it was never started.
        path: its configuration; the user's, not that of a project.
        section: the object in it that holds the servers.
        scope: options for its own `mcp add` and `mcp remove`; None where we write the file.
        more: what an entry holds beside `command`, `args` and `env`.
        then: what to do for it to notice.
    """

    name: str
    title: str
    program: str
    path: Callable[[Computer], Path]
    section: str = "mcpServers"
    scope: tuple[str, ...] | None = None
    more: tuple[tuple[str, Any], ...] = ()
    then: str = "Restart it."

    def is_found(self, computer: Computer) -> bool:
        """Whether it seems to be installed."""
        if computer.which(self.program):
            return True
        return self.scope is None and self.path(computer).parent.is_dir()


def _claude_desktop(computer: Computer) -> Path:
    """Source: modelcontextprotocol.io, "Connect to local MCP servers", 2026; Linux since 2026-06-30.

    On Windows it comes as a package, which sees a copy of AppData of its own. Sources: claude-code#26073, #93152.
    """
    folder = computer.app_data
    if computer.platform == "win32":
        local = Path(computer.environ.get("LOCALAPPDATA") or computer.home / "AppData" / "Local")
        if packages := sorted(local.glob("Packages/Claude_*")):
            folder = packages[0] / "LocalCache" / "Roaming"
    return folder / "Claude" / "claude_desktop_config.json"


def _zed(computer: Computer) -> Path:
    """Source: Zed docs, "Configuring Zed", 2026."""
    folder = computer.home / ".config" if computer.platform == "darwin" else computer.app_data
    return folder / ("Zed" if computer.platform == "win32" else "zed") / "settings.json"


def _claude_code(computer: Computer) -> Path:
    """Source: Claude Code 2.1.197, `claude mcp add --scope user`."""
    return Path(computer.environ.get("CLAUDE_CONFIG_DIR") or computer.home) / ".claude.json"


def _codex(computer: Computer) -> Path:
    """Source: Codex 0.171.0, `codex mcp add`."""
    return Path(computer.environ.get("CODEX_HOME") or computer.home / ".codex") / "config.toml"


CLIENTS = {
    client.name: client
    for client in (
        Client(
            "claude-desktop", "Claude Desktop", "claude-desktop", _claude_desktop, then="Quit it and start it again."
        ),
        # It rewrites this file all the time while it runs: only its own command does not lose what it has just written.
        Client(
            "claude-code", "Claude Code", "claude", _claude_code, scope=("--scope", "user"), then="Start a session."
        ),
        # Source: Cursor docs, "Model Context Protocol", 2026-10.
        Client("cursor", "Cursor", "cursor", lambda computer: computer.home / ".cursor" / "mcp.json"),
        # Source: VS Code docs, "MCP configuration reference", 2026. `code --add-mcp` adds to the same file, and can't
        # take anything out of it.
        Client(
            "vscode",
            "VS Code",
            "code",
            lambda computer: computer.app_data / "Code" / "User" / "mcp.json",
            section="servers",
            more=(("type", "stdio"),),
            then="Start the server there: MCP: List Servers.",
        ),
        # Its command edits the TOML and keeps comments, which the standard library can't.
        Client("codex", "Codex", "codex", _codex, section="mcp_servers", scope=(), then="Start a session."),
        # Source: Windsurf docs, "Cascade MCP integration", 2026.
        Client(
            "windsurf",
            "Windsurf",
            "windsurf",
            lambda computer: computer.home / ".codeium" / "windsurf" / "mcp_config.json",
            then="Refresh its MCP servers.",
        ),
        # Source: Gemini CLI 0.61.0, whose own command writes the whole file in another layout.
        Client(
            "gemini",
            "Gemini CLI",
            "gemini",
            lambda computer: computer.home / ".gemini" / "settings.json",
            then="Restart it. It starts servers in trusted folders only.",
        ),
        # Source: Zed docs, "Model Context Protocol", 2026.
        Client("zed", "Zed", "zed", _zed, section="context_servers", then="It starts the server at once."),
    )
}


def snippet(client: Client, name: str, entry: Entry) -> str:
    """What puts the entry in by hand: text for the configuration, or a command."""
    if client.scope is not None:
        return shlex.join(_add(client, name, entry))
    return json.dumps({client.section: {name: {**dict(client.more), **entry}}}, indent=2)


def install(client: Client, computer: Computer, name: str, entry: Entry) -> str:
    """Put the entry into the client's configuration, and say so; what the user added to an earlier one stays.

    A client's own command takes no more than a command line and an environment: what it drops is named.
    """
    path = client.path(computer)
    if not client.is_found(computer):
        where = f"there is no {path.parent}" if client.scope is None else f"there is no `{client.program}` on PATH"
        raise ClickException(
            f"{client.title} was not found: {where}. Install it, start it once, then run this again. Or show what it "
            f"needs: {computer.own_command} install {client.name} --print"
        )
    old = _entries(client, computer).get(name, {})
    new = {**dict(client.more), **old, **entry}
    with _explained(client, computer):
        kept = old.get("env") or {}
        if not isinstance(kept, dict):
            raise ValueError(f"the env of its {name} is not an object")  # noqa: TRY004 - as for every unusable text
    if "env" in entry:  # a new key is for the host at which it was checked
        kept = {variable: value for variable, value in kept.items() if variable not in ADDRESSES}
    if env := {**kept, **entry.get("env", {})}:
        new["env"] = env
    if new == old:
        return f"{client.title} already has this entry, in {path}."
    more = ""
    if client.scope is None:
        with _explained(client, computer):
            backup = _write(path, jsonc.with_entry(_text(path), client.section, name, new))
        more = f" The previous version is {backup}." if backup else ""
    else:
        if old:
            _run(client, computer, _remove(client, name), new)
        try:
            _run(client, computer, _add(client, name, new), new)
        except ClickException:
            if old:
                _run(client, computer, _add(client, name, old), old)
            raise
        written = _entries(client, computer).get(name, {})
        if any(written.get(key) != value for key, value in new.items() if key in ("command", "args")):
            raise ClickException(f"`{client.program} mcp add` ran, but {path} has no such entry.")
        if gone := [key for key in old if key not in written]:
            more = f" `{client.program} mcp add` dropped {', '.join(gone)} from it: add that again."
    return f"{client.title} now has the entry {name}, in {path}. {client.then}{more}"


def uninstall_preview(client: Client, computer: Computer, name: str) -> str:
    """What `uninstall` would do."""
    if client.scope is not None:
        return shlex.join(_remove(client, name))
    return f"This would remove {name} from {client.section} in {client.path(computer)}."


def uninstall(client: Client, computer: Computer, name: str) -> str:
    """Take the entry out of the client's configuration. Says what was done."""
    path = client.path(computer)
    entries = _entries(client, computer)
    if name not in entries:
        other, how = (NAME, "leave out") if name == SANDBOX_NAME else (SANDBOX_NAME, "add")
        hint = f" It has {other}: {how} --sandbox." if other in entries else ""
        return f"{client.title} has no entry {name} in {path}.{hint}"
    if client.scope is not None:
        _run(client, computer, _remove(client, name), {})
        return f"Removed {name} from {path}."
    with _explained(client, computer):
        backup = _write(path, jsonc.without_entry(_text(path), client.section, name))
    key = ", which still holds the key" if entries[name].get("env") else ""
    return f"Removed {name} from {path}. The previous version is {backup}{key}."


def _add(client: Client, name: str, entry: Entry) -> list[str]:
    variables = [f"{variable}={value}" for variable, value in entry.get("env", {}).items()]
    options = [part for variable in variables for part in ("--env", variable)]
    scope = client.scope or ()
    return [client.program, "mcp", "add", *scope, name, *options, "--", entry["command"], *entry["args"]]


def _remove(client: Client, name: str) -> list[str]:
    return [client.program, "mcp", "remove", *(client.scope or ()), name]


def _run(client: Client, computer: Computer, arguments: Sequence[str], entry: Entry) -> None:
    """Run the client's own command. What it says on failure is passed on without the values of the environment."""
    words = " ".join(arguments[:3])
    program = computer.which(client.program)
    if program is None:
        raise ClickException(
            f"There is no `{client.program}` on PATH, which keeps the configuration of {client.title}."
        )
    try:
        done = subprocess.run(  # noqa: S603 - the client's own program, and arguments of ours
            [program, *arguments[1:]],
            env=dict(computer.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired) as error:  # the latter quotes the command line, with the key
        raise ClickException(f"`{words}` could not be run ({type(error).__name__}).") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[:300]
        for value in filter(None, map(str, entry.get("env", {}).values())):
            said = said.replace(value, "…")
        raise ClickException(f"`{words}` failed: {said}")


def _entries(client: Client, computer: Computer) -> dict[str, dict[str, Any]]:
    """The servers that the client has."""
    path = client.path(computer)
    with _explained(client, computer):
        text = _text(path)
        data = tomllib.loads(text) if path.suffix == ".toml" else jsonc.loads(text)
        entries = data.get(client.section, {})
        if not isinstance(entries, dict):
            raise ValueError(f"its {client.section} is not an object")  # noqa: TRY004 - as for every unusable text
    return {name: entry for name, entry in entries.items() if isinstance(entry, dict)}


@contextmanager
def _explained(client: Client, computer: Computer) -> Iterator[None]:
    """What can't be read or written is left alone, and said."""
    path = client.path(computer)
    by_hand = f"It was left as it is. To change it by hand: {computer.own_command} install {client.name} --print"
    try:
        yield
    except OSError as error:
        raise ClickException(f"{path} can't be read or written ({error.strerror}). {by_hand}") from error
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise ClickException(f"{path} can't be used: {why}. {by_hand}") from error


def _text(path: Path) -> str:
    """A file's text with its own line ends and without a BOM, which Windows editors write; empty if there is none."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8") from error


def _write(path: Path, text: str) -> str | None:
    """Write a file whole or not at all, through a link to what it names.

    The one before it stays beside it, under the name that is returned; its BOM stays too.
    """
    backup = None
    target = path.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # only its owner can read it
    new = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            if target.exists() and target.read_bytes().startswith(codecs.BOM_UTF8):
                file.write(codecs.BOM_UTF8)
            file.write(text.encode())
        if target.exists():
            shutil.copymode(target, new)
            backup = _free_name(path)
            shutil.copy2(target, path.with_name(backup))
        new.replace(target)
    finally:
        new.unlink(missing_ok=True)
    return backup


def _free_name(path: Path) -> str:
    """A name for a backup; an earlier one may be all that is left of what the user wrote."""
    names = (f"{path.name}.bak{'' if number == 1 else number}" for number in count(1))
    return next(name for name in names if not os.path.lexists(path.with_name(name)))
