"""`install`, as a shell and a person at a terminal see it."""

import json
import os
import select
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dirty_equals import IsPartialDict

from luma_mcp_server.clients import CLIENTS

from .conftest import COMMAND, LIMIT_S, environment

KEY = "luma-sandbox-key"
UV = "/opt/uv/bin/uv"
TRY = 'Then ask it: "Make a five-second clip of a red kite."\n'
on_posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")


@pytest.fixture
def cursor(tmp_path: Path) -> Path:
    """The configuration of a Cursor that was never given a server."""
    (tmp_path / ".cursor").mkdir()
    return tmp_path / ".cursor" / "mcp.json"


@pytest.fixture
def here(world, tmp_path: Path) -> dict[str, str | None]:
    """A computer without clients, as far as the environment tells, where Luma is the sandbox."""
    moved = dict.fromkeys(("APPDATA", "LOCALAPPDATA", "XDG_CONFIG_HOME"))
    return {"PATH": str(tmp_path), "UV": UV, "LUMA_API_KEY": None, "LUMAAI_BASE_URL": world.base_url, **moved}


@pytest.fixture
def install(run, here, tmp_path: Path) -> Callable[..., Any]:
    """Runs it; in this home the key that is written is no leak."""

    def ran(*arguments: str, **environ: str | None) -> Any:
        return run("install", *arguments, home=tmp_path, **here | environ)

    return ran


def entries(path: Path) -> Any:
    return json.loads(path.read_text())["mcpServers"]


def keys(path: Path) -> dict[str, str]:
    """The environment of the entry, but for where Luma is."""
    env: dict[str, str] = entries(path)["luma"]["env"]
    return {name: value for name, value in env.items() if not name.endswith("_BASE_URL")}


def test_its_help_names_every_client(install) -> None:
    done = install("--help")

    assert done.returncode == 0
    for name in CLIENTS:
        assert name in done.stdout


def test_a_key_that_luma_accepts_is_written_and_never_shown(install, cursor: Path) -> None:
    done = install("cursor", "--api-key", f'"Bearer {KEY}"')

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"Cursor now has the entry luma, in {cursor}. Restart it.\n{TRY}"
    entry = entries(cursor)["luma"]
    assert keys(cursor) == {"LUMA_API_KEY": KEY}
    assert entry["command"] == UV
    assert entry["args"][-1] == "luma-mcp-server"


def test_the_keys_of_the_environment_are_taken_where_none_is_given(install, cursor: Path) -> None:
    done = install("cursor", LUMAAI_API_KEY=KEY)

    assert done.returncode == 0
    assert keys(cursor) == {"LUMA_API_KEY": KEY}


def test_an_entry_is_for_the_host_at_which_its_key_was_checked(install, cursor: Path, world) -> None:
    shown = install("cursor", "--print")
    assert install("cursor", "--api-key", KEY, LUMA_BASE_URL=f"{world.origin}/v1").returncode == 0

    env = {"LUMA_API_KEY": KEY, "LUMAAI_BASE_URL": world.base_url, "LUMA_BASE_URL": f"{world.origin}/v1"}
    assert entries(cursor)["luma"]["env"] == env
    shown_env = json.loads(shown.stdout)["mcpServers"]["luma"]["env"]
    assert shown_env == {"LUMA_API_KEY": "your-key", "LUMAAI_BASE_URL": world.base_url}


def test_a_key_that_is_given_counts_instead_of_those_of_the_environment(install, cursor: Path) -> None:
    others = {"LUMA_API_KEY": "luma-planted-5", "LUMA_AGENTS_API_KEY": "luma-api-planted"}

    assert install("cursor", "--api-key", KEY, **others).returncode == 0

    assert keys(cursor) == {"LUMA_API_KEY": KEY}


def test_a_key_for_each_api_is_written_in_its_variable(install, cursor: Path, world) -> None:
    both = {"LUMA_API_KEY": KEY, "LUMA_AGENTS_API_KEY": "luma-api-sandbox-key"}

    assert install("cursor", LUMA_BASE_URL=f"{world.origin}/v1", **both).returncode == 0

    assert keys(cursor) == both


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("luma-planted-6", "Luma refused the key, so nothing was written"),
        (
            "sk-planted",
            "Error: The key starts with sk-, which no Luma key does (keys: platform.lumalabs.ai). Nothing was written.",
        ),
        ("your-key", "That is a placeholder, not a key. Nothing was written."),
        ("luma-planted 7", "Error: The key holds characters that no Luma key has"),
    ],
)
def test_a_key_that_can_not_work_is_not_written(install, world, cursor: Path, key: str, sentence: str) -> None:
    luma = None if key.startswith("sk-") else world.base_url  # other hosts may give such keys
    done = install("cursor", "--api-key", key, LUMAAI_BASE_URL=luma)

    assert (done.returncode, done.stdout) == (1, "")
    assert sentence in done.stderr
    assert not cursor.exists()


def test_a_key_of_the_environment_that_can_not_work_is_named_by_its_variable(install, cursor: Path) -> None:
    done = install("cursor", LUMA_API_KEY="luma-planted 8")

    assert done.stderr.startswith("Error: LUMA_API_KEY holds characters that no Luma key has")


def test_an_address_that_can_not_be_used_is_not_written(install, cursor: Path) -> None:
    done = install("cursor", "--api-key", "luma-planted-8", LUMAAI_BASE_URL="proxy.example.com/v1")

    assert done.returncode == 1
    assert "LUMAAI_BASE_URL must be an https URL" in done.stderr
    assert done.stderr.endswith("Nothing was written.\n")
    assert not cursor.exists()


def test_a_key_is_written_unchecked_where_luma_can_not_be_reached(install, cursor: Path) -> None:
    done = install("cursor", "--api-key", "luma-planted-8", LUMAAI_BASE_URL="http://127.0.0.1:9/v1")

    assert done.returncode == 0
    assert done.stderr.startswith("The key was not checked: Luma's API could not be reached")
    assert keys(cursor) == {"LUMA_API_KEY": "luma-planted-8"}


def test_without_a_key_and_without_a_terminal_it_says_how_to_give_one(install, cursor: Path) -> None:
    done = install("cursor")

    assert (done.returncode, done.stdout) == (2, "")
    assert "Give a key with --api-key or in LUMA_API_KEY, or add --sandbox" in done.stderr
    assert not cursor.exists()


def test_the_sandbox_gets_an_entry_of_its_own_without_a_key(install, cursor: Path) -> None:
    done = install("cursor", "--sandbox")

    assert done.stdout.endswith(
        'Then ask it: "Make a five-second clip of a red kite with luma-sandbox." That is free.\n'
    )
    [(name, entry)] = entries(cursor).items()
    assert name == "luma-sandbox"
    assert "env" not in entry
    assert entry["args"][-1] == "--sandbox"
    missed = install("cursor", "--uninstall")
    assert missed.stdout == f"Cursor has no entry luma in {cursor}. It has luma-sandbox: add --sandbox.\n"
    assert install("cursor", "--sandbox", "--uninstall").returncode == 0
    assert entries(cursor) == {}


def test_print_shows_what_would_be_done_and_does_nothing(install, cursor: Path) -> None:
    shown = install("cursor", "--print", "--api-key", "luma-planted-9")
    command = install("codex", "--print", LUMAAI_BASE_URL=None)
    gone = install("cursor", "--print", "--uninstall")

    assert json.loads(shown.stdout)["mcpServers"]["luma"]["env"] == IsPartialDict(LUMA_API_KEY="your-key")
    assert shown.stderr == f"Put this into {cursor}:\n"
    assert command.stderr == ""
    assert command.stdout.startswith("codex mcp add luma --env LUMA_API_KEY=your-key -- ")
    assert "--extra media" in command.stdout
    assert gone.stdout == f"This would remove luma from mcpServers in {cursor}.\n"
    assert not cursor.exists()


@on_posix
def test_what_a_message_says_to_run_works_where_it_is_pasted(install, tmp_path: Path) -> None:
    done = install("cursor", "--sandbox")
    _, _, command = done.stderr.strip().partition("Or show what it needs: ")

    pasted = subprocess.run(
        [command],
        shell=True,
        env=environment(tmp_path, UV=UV, PATH=os.defpath),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )

    assert (done.returncode, pasted.returncode) == (1, 0)
    assert "luma" in json.loads(pasted.stdout)["mcpServers"]


def test_without_a_client_and_without_a_terminal_it_lists_those_that_are_here(install, cursor: Path) -> None:
    done = install()

    assert (done.returncode, done.stdout) == (2, "")
    assert "Name a client. Found on this computer: cursor. Known: claude-desktop, claude-code, cursor," in done.stderr


def test_a_client_that_nobody_knows_is_a_usage_error(install) -> None:
    done = install("emacs")

    assert (done.returncode, done.stdout) == (2, "")
    assert "emacs is not one of the clients known here: claude-desktop, " in done.stderr


def at_terminal(home: Path, *arguments: str, typed: tuple[tuple[str, str], ...] = (), **environ: Any) -> str:
    """What a person sees who types each of these when its question stands there."""
    import pty

    person, terminal = pty.openpty()
    given = environment(home, COLUMNS="200", **environ)
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdin=terminal, stdout=terminal, stderr=terminal, env=given, start_new_session=True
    )
    os.close(terminal)
    seen, answers = "", list(typed)
    try:
        while True:
            if not select.select([person], [], [], LIMIT_S)[0]:
                pytest.fail(f"It waits for something else: {seen}")
            try:
                seen += os.read(person, 65536).decode()
            except OSError:  # how Linux says that nobody has the terminal open any more
                break
            if answers and answers[0][0] in seen:
                os.write(person, answers.pop(0)[1].encode() + b"\n")
        process.wait(LIMIT_S)
    finally:
        process.kill()
        process.wait()
        os.close(person)
    return seen.replace("\r\n", "\n")


@on_posix
def test_a_person_is_asked_which_client_and_for_the_key_which_is_not_shown(here, cursor: Path, tmp_path: Path) -> None:
    typed = (("Into which one?", "cursor"), ("which is not shown", KEY))

    seen = at_terminal(tmp_path, "install", typed=typed, **here)

    assert f"  cursor          Cursor, {cursor}\n" in seen
    assert seen.endswith(f"Cursor now has the entry luma, in {cursor}. Restart it.\n{TRY}")
    assert KEY not in seen
    assert keys(cursor) == {"LUMA_API_KEY": KEY}


@on_posix
@pytest.mark.parametrize("answer", ["cursor, zed", "all"])
def test_a_person_may_name_several_clients_or_all(here, cursor: Path, tmp_path: Path, answer: str) -> None:
    zed = tmp_path / ".config" / "zed" / "settings.json"
    zed.parent.mkdir(parents=True)
    typed = (("Into which one?", "cursor emacs"), ("'emacs' is not one of", answer))

    seen = at_terminal(tmp_path, "install", "--sandbox", typed=typed, **here)

    assert "(cursor, zed, all):" in seen
    assert seen.count("Then ask it") == 1
    assert "luma-sandbox" in entries(cursor)
    assert "luma-sandbox" in json.loads(zed.read_text())["context_servers"]


@on_posix
def test_a_check_at_a_terminal_speaks_of_the_terminal(tmp_path: Path) -> None:
    seen = at_terminal(tmp_path, "check", LUMA_API_KEY=None)

    assert "LUMA_API_KEY is not set in this terminal" in seen
    assert "your client's MCP configuration" not in seen
    assert seen.splitlines()[-1].endswith(f"{shlex.join(COMMAND)} install writes it.")


@on_posix
def test_a_check_at_a_terminal_speaks_of_no_server_to_restart(here, tmp_path: Path) -> None:
    seen = at_terminal(tmp_path, "check", **here | {"LUMA_API_KEY": "luma-planted-10", "LUMA_MCP_SAVE": "maybe"})

    assert "LUMA_MCP_SAVE must be on or off. Correct it.\n" in seen
    assert "Put a working key there" in seen
    assert "restart" not in seen
