"""What `install` does to the configurations of clients: one entry, and nothing else."""

import codecs
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
from luma_mcp_server.clients import CLIENTS, Computer, install, snippet, uninstall

KEY = "luma-planted-3"
ENTRY = {"command": "/usr/bin/uv", "args": ["run", "--no-dev", "luma-mcp-server"], "env": {"LUMA_API_KEY": KEY}}
on_posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such links and modes")
FILES = sorted(name for name, client in CLIENTS.items() if client.scope is None)


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    return Computer("linux", {"PATH": ""}, tmp_path)


def configuration(computer: Computer, name: str, text: str | bytes) -> Path:
    path = CLIENTS[name].path(computer)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
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
        f"Removed luma from {path}. The previous version is {backup.name}2, which still holds the key."
    )
    assert path.read_text() == text
    assert path.with_name(f"{backup.name}2").read_bytes() == once
    assert "no entry luma" in uninstall(client, computer, "luma")


def test_no_earlier_version_is_ever_overwritten(computer: Computer) -> None:
    path = configuration(computer, "cursor", "{}")
    versions = []
    for number in range(4):
        versions.append(path.read_bytes())
        install(CLIENTS["cursor"], computer, "luma", {**ENTRY, "args": [str(number)]})

    names = ["mcp.json.bak", "mcp.json.bak2", "mcp.json.bak3", "mcp.json.bak4"]
    assert [path.with_name(name).read_bytes() for name in names] == versions


def test_uninstalling_what_is_not_there_names_the_entry_that_is(computer: Computer) -> None:
    path = configuration(computer, "cursor", "")
    cursor = CLIENTS["cursor"]
    assert uninstall(cursor, computer, "luma") == f"Cursor has no entry luma in {path}."
    for name, other, how in (("luma-sandbox", "luma", "add"), ("luma", "luma-sandbox", "leave out")):
        install(cursor, computer, name, ENTRY)
        said = uninstall(cursor, computer, other)
        uninstall(cursor, computer, name)

        assert said == f"Cursor has no entry {other} in {path}. It has {name}: {how} --sandbox."


@pytest.mark.parametrize("text", ["", '{\r\n  "mcpServers": {"b": {}}\r\n}\r\n'])
def test_a_byte_order_mark_which_windows_editors_write_stays(computer: Computer, text: str) -> None:
    path = configuration(computer, "cursor", "\ufeff" + text)

    install(CLIENTS["cursor"], computer, "luma", ENTRY)
    added = path.read_bytes()
    uninstall(CLIENTS["cursor"], computer, "luma")

    assert added.startswith(codecs.BOM_UTF8)
    assert json.loads(added.decode("utf-8-sig"))["mcpServers"]["luma"] == ENTRY
    assert path.read_bytes().startswith(("\ufeff" + text).encode())


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
        ("{}".encode("utf-16"), "can't be used: it is not UTF-8."),
        ('{"a": ' + "[" * 100_000, "can't be used: it is nested too deeply."),
    ],
    ids=["incomplete", "an array", "an array of servers", "two objects", "UTF-16", "deep"],
)
def test_a_file_that_can_not_be_read_is_left_alone(computer: Computer, text: str | bytes, why: str) -> None:
    path = configuration(computer, "cursor", text)

    for change in (partial(install, entry=ENTRY), uninstall):
        with pytest.raises(ClickException) as refused:
            change(CLIENTS["cursor"], computer, "luma")
        assert why in refused.value.message
        assert "left as it is" in refused.value.message

    assert path.read_bytes() == (text.encode() if isinstance(text, str) else text)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("env", [["A=1"], "A=1"])
def test_an_entry_whose_environment_is_no_object_is_left_alone_and_can_be_taken_out(
    computer: Computer, env: object
) -> None:
    path = configuration(computer, "cursor", text := json.dumps({"mcpServers": {"luma": {"command": "x", "env": env}}}))

    with pytest.raises(
        ClickException, match=r"can't be used: the env of its luma is not an object\. It was left as it"
    ):
        install(CLIENTS["cursor"], computer, "luma", ENTRY)

    assert path.read_text() == text
    assert uninstall(CLIENTS["cursor"], computer, "luma").startswith("Removed luma")


def test_gemini_is_said_to_start_servers_in_trusted_folders_only(computer: Computer) -> None:
    configuration(computer, "gemini", "")

    assert "It starts servers in trusted folders only." in install(CLIENTS["gemini"], computer, "luma", ENTRY)


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
