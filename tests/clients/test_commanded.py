"""What `install` tells clients that have a command of their own for it."""

import json
import sys
from pathlib import Path

import pytest
from click import ClickException

from luma_mcp_server.clients import CLIENTS, Client, Computer, install, uninstall

KEY = "luma-planted-3"
ENTRY = {"command": "/usr/bin/uv", "args": ["run", "--no-dev", "luma-mcp-server"], "env": {"LUMA_API_KEY": KEY}}
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such scripts")
PROGRAM = """#!{python}
import json, pathlib, sys
path, section, arguments = pathlib.Path({path!r}), {section!r}, sys.argv[1:]
memory = path.with_name("memory.json")
entries = json.loads(memory.read_text()) if memory.exists() else {{"other": {{"command": "x"}}}}
with open({log!r}, "a") as log:
    print(json.dumps(arguments), file=log)
name = arguments[4 if "--scope" in arguments else 2]
if arguments[1] == "remove":
    del entries[name]
elif "nope" in arguments:
    sys.exit("No such thing")
elif name in entries:
    sys.exit("There is one already: " + " ".join(arguments))
else:
    command, *args = arguments[arguments.index("--") + 1 :]
    env = dict(one.split("=", 1) for flag, one in zip(arguments, arguments[1:]) if flag == "--env")
    entries[name] = {{"command": command, "args": args, "env": env}}
memory.write_text(json.dumps(entries))
toml = ""
for name, entry in entries.items():
    env = ", ".join(f"{{key}} = {{json.dumps(value)}}" for key, value in entry.get("env", {{}}).items())
    toml += f"[{{section}}.{{name}}]\\ncommand = {{json.dumps(entry['command'])}}\\n"
    toml += f"args = {{json.dumps(entry.get('args', []))}}\\nenv = {{{{ {{env}} }}}}\\n"
path.write_text(toml if path.suffix == ".toml" else json.dumps({{section: entries}}))
"""
"""A client's own command, as far as `install` needs it. Like Claude Code's, it refuses to replace an entry."""


@pytest.fixture(params=["claude-code", "codex"])
def commanded(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Client, Computer, Path]:
    """A client with a command of its own, and the file in which that writes down what it was told."""
    client, log = CLIENTS[request.param], tmp_path / "log"
    computer = Computer("linux", {"PATH": str(tmp_path)}, tmp_path)
    path, program = client.path(computer), tmp_path / client.program
    path.parent.mkdir(exist_ok=True)
    program.write_text(PROGRAM.format(python=sys.executable, path=str(path), log=str(log), section=client.section))
    program.chmod(0o700)
    return client, computer, log


def told(log: Path) -> list[list[str]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_a_client_with_a_command_of_its_own_is_told_once(commanded: tuple[Client, Computer, Path]) -> None:
    client, computer, log = commanded

    said = [install(client, computer, "luma", ENTRY) for _ in range(2)]

    command = ["--env", f"LUMA_API_KEY={KEY}", "--", ENTRY["command"], *ENTRY["args"]]
    assert told(log) == [["mcp", "add", *(client.scope or ()), "luma", *command]]
    assert "now has the entry luma" in said[0]
    assert "already" in said[1]
    assert KEY not in "".join(said)


def test_a_client_with_a_command_of_its_own_is_told_to_drop_the_old_entry_first_and_keeps_the_rest_of_it(
    commanded: tuple[Client, Computer, Path],
) -> None:
    client, computer, log = commanded
    install(client, computer, "luma", {**ENTRY, "env": {"LUMA_API_KEY": "old", "LUMA_MCP_BUDGET_USD": "5"}})

    install(client, computer, "luma", ENTRY)

    assert [one[1] for one in told(log)] == ["add", "remove", "add"]
    assert {"LUMA_MCP_BUDGET_USD=5", f"LUMA_API_KEY={KEY}"} < set(told(log)[2])
    assert uninstall(client, computer, "luma") == f"Removed luma from {client.path(computer)}."
    assert told(log)[3] == ["mcp", "remove", *(client.scope or ()), "luma"]
    assert "no entry luma" in uninstall(client, computer, "luma")


def test_what_a_command_drops_from_the_old_entry_is_named(commanded: tuple[Client, Computer, Path]) -> None:
    client, computer, _ = commanded
    install(client, computer, "luma", ENTRY)
    path = client.path(computer)
    text = path.read_text()
    if path.suffix == ".toml":
        path.write_text(text + '[mcp_servers.luma.tools.generate_video]\napproval_mode = "approve"\n')
    else:
        data = json.loads(text)
        data[client.section]["luma"]["tools"] = {}
        path.write_text(json.dumps(data))

    said = install(client, computer, "luma", {**ENTRY, "args": ["another"]})

    assert f"`{client.program} mcp add` dropped tools from it: add that again." in said


def test_a_command_that_fails_is_quoted_without_the_key(commanded: tuple[Client, Computer, Path]) -> None:
    client, computer, _ = commanded
    entry = {**ENTRY, "env": {"LUMA_API_KEY": KEY, "EMPTY": "", "NUMBER": 5}}

    with pytest.raises(ClickException) as refused:
        install(client, computer, "other", entry)  # which its configuration does not show before the first command

    assert "mcp add` failed: There is one already" in refused.value.message
    assert "LUMA_API_KEY=…" in refused.value.message
    assert KEY not in refused.value.message


def test_a_command_that_writes_nothing_is_not_believed(commanded: tuple[Client, Computer, Path]) -> None:
    client, computer, _ = commanded
    (computer.home / client.program).write_text("#!/bin/sh\n")

    with pytest.raises(ClickException, match="has no such entry"):
        install(client, computer, "luma", ENTRY)


def test_an_entry_that_can_not_be_replaced_is_there_again(commanded: tuple[Client, Computer, Path]) -> None:
    client, computer, _ = commanded
    install(client, computer, "luma", ENTRY)
    before = client.path(computer).read_text()

    with pytest.raises(ClickException, match="No such thing"):
        install(client, computer, "luma", {**ENTRY, "args": ["nope"]})

    assert client.path(computer).read_text() == before


def test_a_new_key_is_not_sent_to_the_host_of_an_old_one(commanded: tuple[Client, Computer, Path]) -> None:
    client, computer, _ = commanded
    elsewhere = {"LUMA_BASE_URL": "https://gateway.example.com/v1"}
    install(client, computer, "luma", {**ENTRY, "env": {**ENTRY["env"], **elsewhere}})

    install(client, computer, "luma", {**ENTRY, "env": {"LUMA_API_KEY": "luma-planted-4"}})

    assert "gateway.example.com" not in client.path(computer).read_text()
    assert "luma-planted-4" in client.path(computer).read_text()
