"""The blocks of the README and docs/*.md: whoever copies one gets something that works."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from luma_mcp_server.launch import launch_command

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
CLONE = "/absolute/path/to/the/clone"


def blocks(language: str) -> list[Any]:
    """Every block in a language, named for its page and line."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            if block[1] == language:
                line = text.count("\n", 0, block.start()) + 1
                found.append(pytest.param(block[2], id=f"{page.name}:{line}"))
    return found


@pytest.mark.parametrize("text", blocks("json"))
def test_a_json_block_is_json(text: str) -> None:
    json.loads(text)


@pytest.mark.parametrize("text", blocks("toml"))
def test_a_toml_block_is_toml(text: str) -> None:
    tomllib.loads(text)


@pytest.mark.skipif(sys.platform == "win32", reason="bash there may be that of another system")
@pytest.mark.parametrize("text", blocks("sh"))
def test_a_shell_block_is_one_that_bash_can_read(text: str) -> None:
    bash = shutil.which("bash")
    assert bash
    subprocess.run([bash, "-n"], input=text, text=True, check=True, timeout=10)


ON_SANDBOX = [block for block in blocks("sh") if re.fullmatch(r"uvx? .*--sandbox\n", block.values[0])]


@pytest.mark.parametrize("text", ON_SANDBOX)
def test_a_command_that_starts_the_server_on_its_sandbox_starts_it(text: str, tmp_path: Path) -> None:
    start = launch_command(CLONE, media=True)
    words = shlex.split(text)
    assert words[: len(start)] == start
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "a reader", "version": "1"},
        },
    }

    # This very copy, in place of the clone that uv would prepare.
    answered = subprocess.run(
        [sys.executable, "-m", "luma_mcp_server", *words[len(start) :]],
        input=json.dumps(hello) + "\n",
        env=os.environ | {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert json.loads(answered.stdout.splitlines()[0])["result"]["serverInfo"]["name"] == "luma", answered.stderr


def test_the_pages_have_such_a_command() -> None:
    assert ON_SANDBOX
