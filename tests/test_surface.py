"""What is public: the tools as clients see them, the README, and which module may import which.

`UPDATE_SNAPSHOTS=1 uv run pytest tests/test_surface.py` accepts what has changed.
"""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp_types import Tool

from luma_mcp_server import __version__
from luma_mcp_server.server import INSTRUCTIONS, create_server
from luma_mcp_server.settings import VARIABLES, Settings

ROOT = Path(__file__).parent.parent
SNAPSHOTS = Path(__file__).parent / "snapshots" / "tools"
PACKAGE = ROOT / "src" / "luma_mcp_server"
UPDATE = bool(os.environ.get("UPDATE_SNAPSHOTS"))

KEYS = {"no_key": {}, "dream_machine": {"LUMA_API_KEY": "a-key"}, "agents": {"LUMA_API_KEY": "luma-api-a-key"}}


def tools(keys: str, **environ: str) -> list[Tool]:
    server = create_server(Settings.from_env(KEYS[keys] | environ), lambda: pytest.fail("no network"))
    return anyio.run(server.list_tools)


def listed(keys: str) -> dict[str, str]:
    return {
        tool.name: json.dumps(tool.model_dump(mode="json", by_alias=True, exclude_none=True), indent=2) + "\n"
        for tool in tools(keys)
    }


@pytest.mark.parametrize("keys", KEYS)
def test_every_tool_is_listed_as_its_snapshot_says(keys: str) -> None:
    folder = SNAPSHOTS / keys
    if UPDATE:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in listed(keys).items():
            (folder / f"{name}.json").write_text(text, encoding="utf-8")

    assert listed(keys) == {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.json")}


def test_every_parameter_is_described_and_no_schema_has_what_models_stumble_over() -> None:
    for tool in tools("no_key", LUMA_MCP_CALLBACK_HOSTS="example.com"):
        assert tool.description
        assert tool.output_schema is None
        assert tool.input_schema["additionalProperties"] is False
        for property_ in tool.input_schema["properties"].values():
            assert property_["description"]
            assert isinstance(property_["type"], str)
            assert not {"title", "anyOf", "$ref", "allOf", "format"} & set(property_)


def test_a_parameter_that_nothing_configured_can_serve_is_not_listed() -> None:
    def names(tool: str, keys: str, **environ: str) -> set[str]:
        return set(next(t for t in tools(keys, **environ) if t.name == tool).input_schema["properties"])

    for tool in ("interpolate_videos", "upscale_video", "add_audio", "delete_generation"):
        assert tool not in listed("agents")
    assert names("generate_video", "no_key") - names("generate_video", "agents") == {"concepts"}
    assert names("generate_image", "no_key") - names("generate_image", "agents") == {"style_ref", "character_refs"}
    assert names("modify_video", "no_key") - names("modify_video", "dream_machine") == {"resolution"}
    assert names("reframe_media", "no_key") - names("reframe_media", "dream_machine") == {"resolution"}
    hooked = names("generate_video", "no_key", LUMA_MCP_CALLBACK_HOSTS="example.com")
    assert hooked - names("generate_video", "no_key") == {"callback_url"}


def test_a_value_that_nothing_configured_can_serve_is_not_listed() -> None:
    def values(tool: str, parameter: str, keys: str) -> list[str]:
        found = next(t for t in tools(keys) if t.name == tool).input_schema["properties"][parameter]["enum"]
        assert isinstance(found, list)
        return found

    assert values("generate_video", "duration", "no_key") == ["5s", "9s", "10s"]
    assert values("generate_video", "duration", "dream_machine") == ["5s", "9s"]
    assert values("generate_video", "duration", "agents") == ["5s", "10s"]
    assert "4k" not in values("generate_video", "resolution", "agents")
    assert "360p" not in values("upscale_video", "resolution", "no_key")
    assert "9:21" in values("generate_image", "aspect_ratio", "dream_machine")
    assert "3:1" in values("generate_image", "aspect_ratio", "agents")
    assert "3:1" not in values("generate_video", "aspect_ratio", "agents")
    for keys in KEYS:
        assert "3:1" not in values("reframe_media", "aspect_ratio", keys)
    for tool in ("modify_video", "reframe_media"):
        assert values(tool, "resolution", "no_key") == ["360p", "540p", "720p", "1080p"]


def test_annotations_say_what_a_tool_does() -> None:
    kinds: dict[tuple[Any, ...], set[str]] = {}
    for tool in tools("no_key"):
        marks = tool.annotations
        assert marks is not None
        assert tool.title
        assert marks.open_world_hint
        kinds.setdefault((marks.read_only_hint, marks.destructive_hint, marks.idempotent_hint), set()).add(tool.name)

    assert kinds[False, True, True] == {"delete_generation"}
    assert kinds[False, False, True] == {"wait_for_generations", "download_generation"}
    assert kinds[True, False, True] == {
        "get_generation",
        "list_generations",
        "preview_generation",
        "list_models",
        "list_camera_motions",
        "get_account",
    }
    assert len(kinds[False, False, False]) == 9


def test_the_instructions_are_at_most_120_words() -> None:
    assert len(INSTRUCTIONS.split()) <= 120


def tool_table() -> str:
    rows = ["| tool | what it does | parameters (**required**) |", "|---|---|---|"]
    for tool in tools("no_key", LUMA_MCP_CALLBACK_HOSTS="example.com"):
        required = tool.input_schema.get("required", [])
        names = [f"**{name}**" if name in required else name for name in tool.input_schema["properties"]]
        rows.append(f"| `{tool.name}` | {tool.description} | {', '.join(names) or '-'} |")
    return "\n".join(rows)


def settings_table() -> str:
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    return "\n".join([*rows, *(f"| `{name}` | {default} | {text} |" for name, (default, text) in VARIABLES.items())])


@pytest.mark.parametrize(("name", "table"), [("tools", tool_table()), ("settings", settings_table())])
def test_a_table_of_the_readme_is_what_the_server_says(name: str, table: str) -> None:
    readme = ROOT / "README.md"
    before, found, rest = readme.read_text(encoding="utf-8").partition(f"<!-- {name} -->\n")
    old, end, after = rest.partition(f"\n<!-- /{name} -->")
    assert found
    assert end
    if UPDATE:
        readme.write_text(before + found + table + end + after, encoding="utf-8")
        old = table

    assert old == table


def test_the_changelog_knows_this_version() -> None:
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


MAY_IMPORT = {
    "__init__": set(),
    "__main__": {"cli"},
    "cli": {"server", "settings", "sandbox", "tools", "errors"},
    "server": {"tools", "schema", "prompts", "settings", "pricing"},
    "schema": {"errors"},
    "prompts": {"tools", "schema", "errors"},
    "tools": {"jobs", "journal", "backends", "media", "inputs", "models", "errors", "polling", "pricing", "settings"}
    | {"schema", "watches"},
    "jobs": {"backends", "journal", "models", "errors"},
    "watches": {"journal", "models", "errors", "polling"},
    "journal": {"models", "errors"},
    "backends": {"models", "errors", "pricing", "settings"},
    "inputs": {"media", "models", "errors"},
    "media": {"models", "errors"},
    "pricing": {"models"},
    "settings": {"errors"},
    "models": set(),
    "errors": set(),
    "polling": set(),
    "sandbox": set(),
}
"""Which room may know of which."""


def imports() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        inside = path.relative_to(PACKAGE).with_suffix("").parts
        room = found.setdefault(inside[0], set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = ["luma_mcp_server", *inside[:-1]][: len(inside) - node.level + 1]
                target = [*base[1:], *(node.module or "").split(".")] if node.module else base[1:]
                names = [target[0]] if target and target[0] else [alias.name for alias in node.names]
                room |= set(names) - {inside[0], "__version__"}
    return found


def test_no_room_knows_of_more_than_it_may() -> None:
    for room, known in imports().items():
        assert known <= MAY_IMPORT[room], room


def test_only_a_backend_imports_its_sdk_and_only_the_command_line_reads_the_environment() -> None:
    for path in PACKAGE.rglob("*.py"):
        text, name = path.read_text(encoding="utf-8"), path.relative_to(PACKAGE).as_posix()
        assert ("import lumaai" in text) == (name == "backends/dream_machine.py"), name
        assert ("import luma_agents" in text) == (name == "backends/agents.py"), name
        assert "environ" not in text.replace("environment", "") or name in ("cli.py", "settings.py"), name


def test_starting_loads_no_sdk_no_http_client_and_no_media_library() -> None:
    code = """if True:
        import sys
        from luma_mcp_server.server import create_server
        from luma_mcp_server.settings import Settings
        create_server(Settings.from_env({"LUMA_API_KEY": "a"}), lambda: None)
        print(*{"lumaai", "luma_agents", "httpx", "av", "PIL", "sqlite3", "luma_mcp_server.sandbox"} & set(sys.modules))
    """
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == ""
