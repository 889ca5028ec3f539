"""docs/install.md and the README, whose entries and buttons are made from the command that `launch.py` holds."""

import base64
import json
import os
import shlex
import tomllib
from pathlib import Path
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest

from luma_mcp_server.clients import CLIENTS, snippet
from luma_mcp_server.launch import PUBLISHED, launch_command
from luma_mcp_server.settings import Settings

ROOT = Path(__file__).parents[2]
UPDATE = bool(os.environ.get("UPDATE_SNAPSHOTS"))
CLONE = "/absolute/path/to/the/clone"
WINDOWS_CLONE = r"C:\Users\you\luma-mcp-server"
KEY = {"LUMA_API_KEY": "your-key"}
ASKED = {"type": "promptString", "id": "luma-key", "description": "Luma API key", "password": True}


def command(published: bool, sandbox: bool = False, source: str = CLONE) -> list[str]:
    return launch_command(source, media=True, sandbox=sandbox, published=published)


def fenced(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"


def entry(published: bool, sandbox: bool = False, key: str = "your-key") -> str:
    """An entry as every JSON configuration has it, a line for each field."""
    start, *arguments = command(published, sandbox)
    lines = [f'"command": {json.dumps(start)}', f'"args": {json.dumps(arguments)}']
    if not sandbox:
        lines.append(f'"env": {{ "LUMA_API_KEY": {json.dumps(key)} }}')
    return ",\n".join(f"      {line}" for line in lines)


def json_entry(published: bool, container: str, sandbox: bool = False, key: str = "your-key", before: str = "") -> str:
    name = "luma-sandbox" if sandbox else "luma"
    body = entry(published, sandbox, key)
    return fenced("json", f'{{\n{before}  "{container}": {{\n    "{name}": {{\n{body}\n    }}\n  }}\n}}')


def toml_entry(published: bool, sandbox: bool = False) -> str:
    name = "luma-sandbox" if sandbox else "luma"
    start, *arguments = command(published, sandbox)
    key = "" if sandbox else f'\n\n[mcp_servers.{name}.env]\nLUMA_API_KEY = "your-key"'
    return fenced(
        "toml",
        f"[mcp_servers.{name}]\ncommand = {json.dumps(start)}\nargs = {json.dumps(arguments)}\n"
        f"startup_timeout_sec = 60\ntool_timeout_sec = 300{key}",
    )


def with_sandbox(made: str, on_sandbox: str) -> str:
    return f"{made}\n\nOn the sandbox, without a key:\n\n{on_sandbox}"


def add_command(client: str, published: bool) -> str:
    """The client's own command, as `install` runs it."""
    start, *arguments = command(published)
    return fenced("sh", snippet(CLIENTS[client], "luma", {"command": start, "args": arguments, "env": KEY}))


def in_powershell(made: str, command: str) -> str:
    return f"{made}\n\nIn PowerShell:\n\n{fenced('powershell', command)}"


def powershell(command: list[str]) -> str:
    return " ".join(word if word.replace("-", "").isalnum() else f"'{word}'" for word in command)


def blocks(published: bool) -> dict[str, str]:
    """Every part of the page that depends on how the server is started."""
    line, on_sandbox = (shlex.join(command(published, sandbox)) for sandbox in (False, True))
    on_windows = command(published, source=WINDOWS_CLONE)
    add = "claude mcp add luma --scope user --env LUMA_API_KEY=your-key"
    start, *arguments = command(published)
    asking = {"key": "${input:luma-key}", "before": f'  "inputs": [{json.dumps(ASKED)}],\n'}
    return {
        "source": source(published),
        "entry": f"{json_entry(published, 'mcpServers')}\n\n{source(published)}",
        "check": in_powershell(
            fenced("sh", f"LUMA_API_KEY=your-key {line} check"),
            f"$env:LUMA_API_KEY = 'your-key'\n{powershell([*on_windows, 'check'])}",
        ),
        "buttons": buttons(published),
        "mcp-servers": with_sandbox(
            json_entry(published, "mcpServers"), json_entry(published, "mcpServers", sandbox=True)
        ),
        "claude-code": with_sandbox(
            in_powershell(fenced("sh", f"{add} -- {line}"), f"{add} '--' {powershell(on_windows)}"),
            fenced("sh", f"claude mcp add luma-sandbox --scope user -- {on_sandbox}"),
        ),
        "codex": with_sandbox(toml_entry(published), toml_entry(published, sandbox=True)),
        "codex-add": add_command("codex", published),
        "gemini": fenced(
            "sh",
            f"gemini mcp add --scope user --env LUMA_API_KEY=your-key luma {start} -- {shlex.join(arguments)}",
        ),
        "goose": with_sandbox(fenced("sh", line), fenced("sh", on_sandbox)),
        "vscode": with_sandbox(
            json_entry(published, "servers", **asking), json_entry(published, "servers", sandbox=True)
        ),
        "zed": with_sandbox(
            json_entry(published, "context_servers"), json_entry(published, "context_servers", sandbox=True)
        ),
    }


def source(published: bool) -> str:
    """What the entries run, in words."""
    start, *arguments = command(published=True)
    released = f"`{shlex.join([start, *arguments])}`"
    if published:
        return f"Each entry runs the released package: {released}."
    fields = f'`"command": {json.dumps(start)}`, `"args": {json.dumps(arguments)}`'
    return (
        f"There is no release yet, so each entry runs the server from a clone: replace `{CLONE}` with its path. "
        f"After a release, {released} will do ({fields}). "
        "Don't use that before: until then anyone can take the name."
    )


def buttons(published: bool) -> str:
    """Links that add the server to a client, without a key."""
    if not published:
        return (
            "Buttons for Cursor, VS Code, LM Studio and Goose come with the first release: "
            "a button can't know where your clone is."
        )
    start, *arguments = command(published)
    plain = {"command": start, "args": arguments}
    config = base64.b64encode(json.dumps(plain | {"env": KEY}).encode()).decode()
    asking = json.dumps({"type": "stdio", **plain, "env": {"LUMA_API_KEY": "${input:luma-key}"}})
    goose = [("cmd", start), *(("arg", word) for word in arguments), ("id", "luma"), ("name", "Luma")]
    goose += [("description", "Make videos and images with Luma"), ("env", "LUMA_API_KEY")]
    links = {
        "Cursor": ("https://cursor.com/en/install-mcp", [("name", "luma"), ("config", config)]),
        "VS Code": (
            "https://insiders.vscode.dev/redirect/mcp/install",
            [("name", "luma"), ("config", asking), ("inputs", json.dumps([ASKED]))],
        ),
        "LM Studio": ("https://lmstudio.ai/install-mcp", [("name", "luma"), ("config", config)]),
        "Goose": ("https://block.github.io/goose/extension", goose),
    }
    made = [f"[{client}]({url}?{urlencode(query, quote_via=quote)})" for client, (url, query) in links.items()]
    return f"Add it to {' · '.join(made)}. Put your key in place of `your-key` where you are not asked for it."


@pytest.mark.parametrize(
    ("file", "name"),
    [*(("docs/install.md", name) for name in blocks(False) if name != "entry"), ("README.md", "entry")],
)
def test_a_part_of_a_page_says_how_the_server_is_started_now(file: str, name: str) -> None:
    page = ROOT / file
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(f"<!-- {name} -->\n")
    old, end, after = rest.partition(f"<!-- /{name} -->")
    assert begin
    assert end
    now = blocks(PUBLISHED)[name] + "\n"
    if UPDATE:
        page.write_text(before + begin + now + end + after, encoding="utf-8")
        old = now

    assert old == now


@pytest.mark.parametrize("name", blocks(True))
def test_after_a_release_nothing_on_the_page_needs_a_clone(name: str) -> None:
    made = blocks(True)[name]

    assert CLONE not in made
    assert WINDOWS_CLONE not in made


def test_before_a_release_no_entry_and_no_button_runs_a_package_of_that_name() -> None:
    for name, made in blocks(False).items():
        fences = made.split("```")[1::2]
        assert "uvx" not in "".join(fences), name
        assert "install-mcp" not in made


def test_each_button_adds_the_command_of_the_release_and_no_key() -> None:
    start, *arguments = command(True)
    asked = {
        urlsplit(link).netloc: parse_qs(urlsplit(link).query, strict_parsing=True)
        for link in (part.split(")")[0] for part in buttons(True).split("](")[1:])
    }

    for host in ("cursor.com", "lmstudio.ai"):
        config = json.loads(base64.b64decode(asked[host]["config"][0], validate=True))
        assert config == {"command": start, "args": arguments, "env": KEY}
    vscode = json.loads(asked["insiders.vscode.dev"]["config"][0])
    [ask] = json.loads(asked["insiders.vscode.dev"]["inputs"][0])
    assert (vscode["command"], vscode["args"]) == (start, arguments)
    assert vscode["env"] == {"LUMA_API_KEY": f"${{input:{ask['id']}}}"}
    goose = asked["block.github.io"]
    assert (goose["cmd"], goose["arg"], goose["env"]) == ([start], arguments, ["LUMA_API_KEY"])
    assert not Settings.from_env(KEY | vscode["env"]).apis, "what they carry counts as no key"


def test_the_entries_are_what_launch_command_says() -> None:
    assert json.loads(json_entry(False, "mcpServers").strip("`json\n")) == {
        "mcpServers": {"luma": {"command": "uv", "args": command(False)[1:], "env": KEY}}
    }
    codex = tomllib.loads(toml_entry(False, sandbox=True).strip("`").removeprefix("toml"))
    assert codex["mcp_servers"]["luma-sandbox"]["args"] == command(False, sandbox=True)[1:]
