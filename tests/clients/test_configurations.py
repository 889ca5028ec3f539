"""What `install` does to the configurations of clients: one entry, and nothing else."""

import json
import stat
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click import ClickException
from hypothesis import given
from hypothesis import strategies as st

from luma_mcp_server import jsonc
from luma_mcp_server.install import CLIENTS, Client, Computer, install, snippet, uninstall

KEY = "luma-planted-3"
ENTRY = {"command": "/usr/bin/uv", "args": ["run", "--no-dev", "luma-mcp-server"], "env": {"LUMA_API_KEY": KEY}}
on_posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such links, modes and scripts")
FILES = sorted(name for name, client in CLIENTS.items() if client.scope is None)


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    return Computer("linux", {"PATH": ""}, tmp_path)


def configuration(computer: Computer, name: str, text: str) -> Path:
    path = CLIENTS[name].path(computer)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "linux", "darwin", "win32"),
    [
        (
            "claude-desktop",
            ".config/Claude/claude_desktop_config.json",
            "Library/Application Support/Claude/claude_desktop_config.json",
            "AppData/Roaming/Claude/claude_desktop_config.json",
        ),
        (
            "vscode",
            ".config/Code/User/mcp.json",
            "Library/Application Support/Code/User/mcp.json",
            "AppData/Roaming/Code/User/mcp.json",
        ),
        ("zed", ".config/zed/settings.json", ".config/zed/settings.json", "AppData/Roaming/Zed/settings.json"),
        ("claude-code", *[".claude.json"] * 3),
        ("codex", *[".codex/config.toml"] * 3),
        ("cursor", *[".cursor/mcp.json"] * 3),
        ("gemini", *[".gemini/settings.json"] * 3),
        ("windsurf", *[".codeium/windsurf/mcp_config.json"] * 3),
    ],
)
def test_each_client_keeps_its_configuration_where_its_platform_wants_it(
    tmp_path: Path, name: str, linux: str, darwin: str, win32: str
) -> None:
    for platform, expected in (("linux", linux), ("darwin", darwin), ("win32", win32)):
        assert CLIENTS[name].path(Computer(platform, {}, tmp_path)) == tmp_path / expected


def test_folders_that_the_environment_moves_are_followed(tmp_path: Path) -> None:
    def path(name: str, platform: str, variable: str) -> Path:
        return CLIENTS[name].path(Computer(platform, {variable: str(tmp_path / "moved")}, tmp_path))

    moved = tmp_path / "moved"
    assert path("vscode", "linux", "XDG_CONFIG_HOME") == moved / "Code/User/mcp.json"
    assert path("vscode", "win32", "APPDATA") == moved / "Code/User/mcp.json"
    assert path("claude-code", "darwin", "CLAUDE_CONFIG_DIR") == moved / ".claude.json"
    assert path("codex", "darwin", "CODEX_HOME") == moved / "config.toml"


def test_a_packaged_claude_desktop_on_windows_reads_its_own_copy_of_the_folder(tmp_path: Path) -> None:
    package = tmp_path / "Local" / "Packages" / "Claude_pzs8sxrjxfjjc"
    package.mkdir(parents=True)

    path = CLIENTS["claude-desktop"].path(Computer("win32", {"LOCALAPPDATA": str(tmp_path / "Local")}, tmp_path))

    assert path == package / "LocalCache" / "Roaming" / "Claude" / "claude_desktop_config.json"


@pytest.mark.parametrize("name", FILES)
def test_a_new_configuration_holds_the_entry_as_it_can_be_pasted_and_is_for_its_owner_alone(
    computer: Computer, name: str
) -> None:
    path = CLIENTS[name].path(computer)
    path.parent.mkdir(parents=True)

    said = install(CLIENTS[name], computer, "luma", ENTRY)

    assert ".bak" not in said
    assert path.read_text() == snippet(CLIENTS[name], "luma", ENTRY) + "\n"
    assert jsonc.loads(path.read_text())[CLIENTS[name].section]["luma"].items() >= ENTRY.items()
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


ADDED = '{"command": "x", "args": [], "env": {"LUMA_API_KEY": "k"}}'


def lines(unit: str, depth: int) -> str:
    """The same on lines of its own."""
    return json.dumps(json.loads(ADDED), indent=unit).replace("\n", "\n" + unit * depth)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '{\n  "mcpServers": {\n    "luma": ' + lines("  ", 2) + "\n  }\n}\n"),
        ("{}", '{\n  "mcpServers": {\n    "luma": ' + lines("  ", 2) + "\n  }\n}"),
        ('{"mcpServers": {"b": {}}}\n', '{"mcpServers": {"b": {},\n"luma": ' + lines("  ", 0) + "}}\n"),
        ('{\n\t"mcpServers": {}\n}', '{\n\t"mcpServers": {\n\t\t"luma": ' + lines("\t", 2) + "\n\t}\n}"),
        (
            '// mine\n{\n    "mcpServers": {\n        "b": {}, // keep\n        /* "c" */\n    },\n    "z": "//"\n}\n',
            '// mine\n{\n    "mcpServers": {\n        "b": {}, // keep\n        /* "c" */\n        "luma": '
            + lines("    ", 2)
            + ',\n    },\n    "z": "//"\n}\n',
        ),
        (
            '{\r\n  "mcpServers": {\r\n    "b": {} // last\r\n  }\r\n}\r\n',
            '{\r\n  "mcpServers": {\r\n    "b": {}, // last\r\n    "luma": '
            + lines("  ", 2).replace("\n", "\r\n")
            + "\r\n  }\r\n}\r\n",
        ),
        (
            '{\n  "z": 1, "mcpServers": {\n    "luma": {"command": "old"},\n    "b": {}\n  }\n}',
            '{\n  "z": 1, "mcpServers": {\n    "luma": ' + lines("  ", 2) + ',\n    "b": {}\n  }\n}',
        ),
    ],
    ids=["empty", "empty object", "one line", "tabs", "comments", "CRLF", "replaced"],
)
def test_an_entry_is_indented_as_its_neighbors_are_and_they_stay_to_the_letter(before: str, after: str) -> None:
    assert jsonc.with_entry(before, "mcpServers", "luma", json.loads(ADDED)) == after


names = st.text(max_size=8)
entries = st.dictionaries(names.filter(lambda name: name != "luma"), st.dictionaries(names, st.lists(names)))
documents = st.builds(
    lambda others, servers, at: dict(sorted({**others, "servers": servers}.items(), key=lambda item: item[0] > at)),
    st.dictionaries(names, st.none() | st.booleans() | st.integers() | names | entries),
    entries,
    names,
)


@given(documents, st.sampled_from([None, 1, 4, "\t"]), st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_an_entry_that_is_added_and_taken_out_again_leaves_every_byte(
    document: dict[str, Any], indent: Any, escaped: bool, newline: str
) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=escaped).replace("\n", newline)

    added = jsonc.with_entry(text, "servers", "luma", ENTRY)

    assert jsonc.loads(added) == {**document, "servers": {**document["servers"], "luma": ENTRY}}
    assert jsonc.with_entry(added, "servers", "luma", ENTRY) == added
    assert jsonc.without_entry(added, "servers", "luma") == text


@pytest.mark.parametrize("name", FILES)
def test_twice_is_the_same_as_once_and_uninstalling_takes_out_nothing_else(computer: Computer, name: str) -> None:
    client, section = CLIENTS[name], CLIENTS[name].section
    text = f'{{\n    "{section}": {{\n        "other": {{"command": "x"}} // mine\n    }}\n}}'
    path = configuration(computer, name, text)
    backup = path.with_name(f"{path.name}.bak")

    said = install(client, computer, "luma", ENTRY)
    assert said.endswith(f" The previous version is {backup.name}.")
    once = path.read_bytes()
    assert "already" in install(client, computer, "luma", ENTRY)

    assert path.read_bytes() == once
    assert backup.read_text() == text
    assert uninstall(client, computer, "luma") == (
        f"Removed luma from {path}. The previous version is {backup.name}, which still holds the key."
    )
    assert path.read_text() == text
    assert backup.read_bytes() == once
    assert "no entry luma" in uninstall(client, computer, "luma")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"m": {"luma": {}}}', '{"m": {}}'),
        ('{"m": {\n  "luma": {},\n}}', '{"m": {\n}}'),
        ('{"m": {\n  // ours\n  "luma": {}\n}}', '{"m": {\n  // ours\n}}'),
        ('{"m": {"luma": {} , "b": {}}}', '{"m": { "b": {}}}'),
        ('{"m": {"a": {}, /* x */ "luma": {}}}', '{"m": {"a": {} /* x */}}'),
    ],
)
def test_an_entry_is_taken_out_with_its_comma_and_without_the_comments_around_it(before: str, after: str) -> None:
    assert jsonc.without_entry(before, "m", "luma") == after


def test_a_file_that_could_only_be_changed_by_breaking_it_is_not() -> None:
    with pytest.raises(ValueError, match="without touching the rest"):
        jsonc.without_entry('{"m": {// ours\n"luma": {}, "b": {}}}', "m", "luma")


def test_what_the_user_added_to_an_entry_stays(computer: Computer) -> None:
    old = {"command": "old", "args": [], "timeout": 9, "env": {"LUMA_API_KEY": "old", "LUMA_MCP_BUDGET_USD": "5"}}
    path = configuration(computer, "cursor", json.dumps({"mcpServers": {"luma": old}}))

    install(CLIENTS["cursor"], computer, "luma", ENTRY)

    env = {"LUMA_API_KEY": KEY, "LUMA_MCP_BUDGET_USD": "5"}
    assert json.loads(path.read_text())["mcpServers"]["luma"] == {**ENTRY, "timeout": 9, "env": env}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"mcpServers": {', "Expecting property name"),
        ("[]", "it is not an object"),
        ('{"mcpServers": []}', "its mcpServers is not an object"),
        ('{"a": 1} {"b": 2}', "Extra data"),
    ],
)
def test_a_file_that_can_not_be_read_is_left_alone(computer: Computer, text: str, why: str) -> None:
    path = configuration(computer, "cursor", text)

    for change in (partial(install, entry=ENTRY), uninstall):
        with pytest.raises(ClickException) as refused:
            change(CLIENTS["cursor"], computer, "luma")
        assert why in refused.value.message
        assert "left as it is" in refused.value.message

    assert path.read_text() == text
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_what_is_no_file_is_left_alone_too(computer: Computer) -> None:
    CLIENTS["cursor"].path(computer).mkdir(parents=True)

    with pytest.raises(ClickException, match=r"mcp\.json can't be read or written .* left as it is"):
        install(CLIENTS["cursor"], computer, "luma", ENTRY)


def test_vs_code_is_told_how_to_talk_to_the_server(computer: Computer) -> None:
    path = configuration(computer, "vscode", "")

    install(CLIENTS["vscode"], computer, "luma", ENTRY)

    assert json.loads(path.read_text()) == {"servers": {"luma": {"type": "stdio", **ENTRY}}}


def test_a_client_that_is_not_there_gets_no_folder(computer: Computer) -> None:
    for client in CLIENTS.values():
        with pytest.raises(ClickException, match="was not found: there is no"):
            install(client, computer, "luma", ENTRY)

    assert list(computer.home.iterdir()) == []


@on_posix
def test_a_linked_configuration_is_written_through_to_its_file_which_keeps_its_mode(computer: Computer) -> None:
    link, kept = CLIENTS["cursor"].path(computer), computer.home / "dotfiles" / "cursor.json"
    kept.parent.mkdir()
    kept.write_text("{}\n")
    kept.chmod(0o640)
    link.parent.mkdir()
    link.symlink_to(kept)

    install(CLIENTS["cursor"], computer, "luma", ENTRY)

    assert link.is_symlink()
    assert "luma" in json.loads(kept.read_text())["mcpServers"]
    assert stat.S_IMODE(kept.stat().st_mode) == 0o640
    assert link.with_name("mcp.json.bak").read_text() == "{}\n"
    assert [file.name for file in kept.parent.iterdir()] == [kept.name]


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


@on_posix
def test_a_client_with_a_command_of_its_own_is_told_once(commanded: tuple[Client, Computer, Path]) -> None:
    client, computer, log = commanded

    said = [install(client, computer, "luma", ENTRY) for _ in range(2)]

    command = ["--env", f"LUMA_API_KEY={KEY}", "--", ENTRY["command"], *ENTRY["args"]]
    assert told(log) == [["mcp", "add", *(client.scope or ()), "luma", *command]]
    assert "now has the entry luma" in said[0]
    assert "already" in said[1]
    assert KEY not in "".join(said)


@on_posix
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


@on_posix
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


@on_posix
def test_a_command_that_fails_is_quoted_without_the_key(commanded: tuple[Client, Computer, Path]) -> None:
    client, computer, _ = commanded

    with pytest.raises(ClickException) as refused:
        install(client, computer, "other", ENTRY)  # which its configuration does not show before the first command

    assert "mcp add` failed: There is one already" in refused.value.message
    assert "LUMA_API_KEY=…" in refused.value.message
    assert KEY not in refused.value.message


@on_posix
def test_a_command_that_writes_nothing_is_not_believed(commanded: tuple[Client, Computer, Path]) -> None:
    client, computer, _ = commanded
    (computer.home / client.program).write_text("#!/bin/sh\n")

    with pytest.raises(ClickException, match="has no such entry"):
        install(client, computer, "luma", ENTRY)
