"""What is public: the tools as clients see them, the documents, and which module may import which.

`UPDATE_SNAPSHOTS=1 uv run pytest tests/surface` accepts what has changed.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp_types import Tool

from luma_mcp_server import __version__
from luma_mcp_server.catalog import MODELS
from luma_mcp_server.models import VideoRequest, dollars
from luma_mcp_server.pricing import default_price, estimate
from luma_mcp_server.server import INSTRUCTIONS, create_server
from luma_mcp_server.settings import VARIABLES, Settings

ROOT = Path(__file__).parents[2]
SNAPSHOTS = Path(__file__).parent / "snapshots" / "tools"
PACKAGE = ROOT / "src" / "luma_mcp_server"
UPDATE = bool(os.environ.get("UPDATE_SNAPSHOTS"))

ONLY_WITH_THE_OTHER = {
    "agents": {"interpolate_videos", "upscale_video", "add_audio", "delete_generations"},
    "dream_machine": {"extract_layers"},
}
KEYS = {"no_key": {}, "dream_machine": {"LUMA_API_KEY": "a-key"}, "agents": {"LUMA_API_KEY": "luma-api-a-key"}}


def tools(keys: str, **environ: str) -> list[Tool]:
    server = create_server(Settings.from_env(KEYS[keys] | environ), lambda: pytest.fail("no network"))
    return anyio.run(server.list_tools)


def listed(keys: str) -> dict[str, str]:
    return {
        tool.name: json.dumps(tool.model_dump(mode="json", by_alias=True, exclude_none=True), indent=2) + "\n"
        for tool in tools(keys)
    }


def snapshots(keys: str) -> dict[str, str]:
    return {path.stem: path.read_text(encoding="utf-8") for path in (SNAPSHOTS / keys).glob("*.json")}


@pytest.mark.parametrize("keys", KEYS)
def test_a_tool_is_listed_as_the_snapshot_of_its_key_says_and_otherwise_as_without_a_key(keys: str) -> None:
    shown, common = listed(keys), {} if keys == "no_key" else listed("no_key")
    different = {name: text for name, text in shown.items() if text != common.get(name)}
    if UPDATE:
        shutil.rmtree(SNAPSHOTS / keys, ignore_errors=True)
        (SNAPSHOTS / keys).mkdir(parents=True)
        for name, text in different.items():
            (SNAPSHOTS / keys / f"{name}.json").write_text(text, encoding="utf-8")

    assert different == snapshots(keys)
    assert common.keys() - shown.keys() == ONLY_WITH_THE_OTHER.get(keys, set())


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

    assert names("generate_video", "no_key") - names("generate_video", "agents") == {"concepts"}
    assert names("generate_image", "no_key") - names("generate_image", "agents") == {"style_ref", "character_refs"}
    agents_alone = {
        "generate_video": {"keyframes", "dynamic_range"},
        "modify_video": {"resolution", "controls", "keyframes", "dynamic_range"},
        "reframe_media": {"resolution", "placement"},
        "generate_image": {"style", "web_search"},
        "modify_image": {"style", "web_search"},
    }
    for tool, parameters in agents_alone.items():
        assert names(tool, "no_key") - names(tool, "dream_machine") == parameters
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
    assert values("extract_layers", "resolution", "agents") == ["1k", "2k"]
    assert "auto" in values("modify_video", "mode", "agents")
    assert "auto" not in values("modify_video", "mode", "dream_machine")
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
        assert marks.open_world_hint == (tool.name != "join_videos")
        kinds.setdefault((marks.read_only_hint, marks.destructive_hint, marks.idempotent_hint), set()).add(tool.name)

    assert kinds[False, True, True] == {"delete_generations"}
    assert kinds[False, False, True] == {"wait_for_generations", "download_generation"}
    assert kinds[True, False, True] == {
        "get_generation",
        "list_generations",
        "preview_generations",
        "list_models",
        "list_camera_motions",
        "get_account",
    }
    assert len(kinds[False, False, False]) == 11


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


def short_tool_table() -> str:
    rows = (f"| `{tool.name}` | {tool.description} |" for tool in tools("no_key"))
    return "\n".join(["| tool | what it does |", "|---|---|", *rows])


def price_table() -> str:
    """Clips at 16:9, by length and resolution; images."""
    sizes = [("5s", size) for size in ("360p", "540p", "720p", "1080p", "4k")]
    columns = [*sizes, ("9s", "720p"), ("10s", "720p")]
    shown = [f"{duration} {resolution}" for duration, resolution in columns]
    rows = [f"| model | {' | '.join(shown)} |", "|---|" + "---|" * len(columns)]
    for model in (one for one in MODELS.values() if one.type == "video"):
        prices = []
        for duration, resolution in columns:
            offered = duration in model.durations and resolution in model.resolutions
            request = VideoRequest(
                model=model.id, prompt="", duration=duration, resolution=resolution, aspect_ratio="16:9"
            )
            price = estimate(request) if offered else None
            prices.append("-" if price is None else dollars(price))
        rows.append(f"| {model.id} | {' | '.join(prices)} |")
    images = (f"{model.id} {dollars(default_price(model) or 0)}" for model in MODELS.values() if model.type == "image")
    return "\n".join([*rows, "", f"An image: {', '.join(images)}."])


@pytest.mark.parametrize(
    ("page", "name", "table"),
    [
        ("README.md", "short-tools", short_tool_table()),
        ("README.md", "prices", price_table()),
        ("README.md", "settings", settings_table()),
        ("docs/tools.md", "tools", tool_table()),
    ],
)
def test_a_table_of_the_documents_is_what_the_server_says(page: str, name: str, table: str) -> None:
    file = ROOT / page
    before, found, rest = file.read_text(encoding="utf-8").partition(f"<!-- {name} -->\n")
    old, end, after = rest.partition(f"<!-- /{name} -->")
    assert found
    assert end
    if UPDATE:
        file.write_text(before + found + table + "\n" + end + after, encoding="utf-8")
        old = table + "\n"

    assert old == table + "\n"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


def test_the_changelog_knows_this_version() -> None:
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


TOOLS = {"purchases", "media", "apis", "poller", "pricing", "catalog", "schema", "models", "errors", "settings"}
SHARED = {"services", "call"}
PAID = {"results", "sources", "waiting", "keeping", "confirmation", "paid"}
MAY_IMPORT = {
    "__init__": set(),
    "__main__": {"cli"},
    "cli": {"server", "gallery", "tools", "settings", "sandbox", "errors", "report", "clients", "launch", "__init__"},
    "report": {"tools", "settings"},
    "clients": {"jsonc"},
    "jsonc": set(),
    "launch": set(),
    "loopback": set(),
    "gallery": {"loopback", "purchases", "media", "catalog", "models", "errors", "settings", "pages"},
    "server": {"tools", "catalog", "models", "pricing", "prompts", "schema", "settings", "__init__"},
    "prompts": {"tools", "pages", "schema", "models", "settings", "errors"},
    "pages": set(),
    "tools": TOOLS,
    "tools.services": set(),
    "tools.call": {"services"},
    **{f"tools.{one}": SHARED | PAID for one in PAID},
    **{f"tools.{one}": SHARED | PAID for one in ("create", "library", "account")},
    "tools.films": SHARED | PAID | {"library"},
    "tools.tasks": SHARED | PAID | {"library"},
    "tools.create_images": SHARED | PAID | {"create"},
    "purchases": {"models", "errors"},
    "apis": {"catalog", "models", "errors"},
    "media": {"models", "errors", "launch"},
    "pricing": {"catalog", "models"},
    "catalog": {"models", "errors"},
    "poller": {"models", "errors"},
    "schema": {"errors"},
    "settings": {"errors"},
    "models": set(),
    "errors": set(),
    "sandbox": {"loopback"},
}
"""What each room may import of the others; for `tools.…`, which modules of that room."""

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


def imports(module: str) -> set[str]:
    """The modules of ours that one imports anywhere: in functions and for type checking too."""
    path, found = MODULES[module], set[str]()
    package = module.split(".") if path.stem == "__init__" and module != "__init__" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not (isinstance(node, ast.Import) and any("luma_mcp_server" in alias.name for alias in node.names))
        assert not (isinstance(node, ast.ImportFrom) and "luma_mcp_server" in (node.module or ""))
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            origin = ".".join(filter(None, base))
            inner = {f"{origin}.{alias.name}".lstrip(".") for alias in node.names}
            found |= (inner & MODULES.keys()) or {origin or "__init__"}
    return found


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_only_what_its_room_may(module: str) -> None:
    room = module.split(".")[0]
    for imported in imports(module):
        other = imported.split(".")[0]
        if other != room:
            assert other in MAY_IMPORT[room]
        elif room == "tools":
            assert imported.removeprefix("tools.") in MAY_IMPORT[module]


def test_no_import_runs_in_a_circle() -> None:
    TopologicalSorter({module: imports(module) for module in MODULES}).prepare()


def test_only_an_api_imports_its_sdk_and_only_the_command_line_reads_the_environment() -> None:
    for path in PACKAGE.rglob("*.py"):
        text, name = path.read_text(encoding="utf-8"), path.relative_to(PACKAGE).as_posix()
        assert ("import lumaai" in text) == (name == "apis/dream_machine.py"), name
        assert ("import luma_agents" in text) == (name == "apis/agents.py"), name
        assert "os.environ" not in text or name in ("cli.py", "settings.py"), name
        assert ("import sqlite3" in text) == (name == "purchases/journal.py"), name


def test_listing_the_tools_loads_no_sdk_no_http_client_no_database_and_no_media_library() -> None:
    code = """if True:
        import sys, anyio
        from luma_mcp_server.server import create_server
        from luma_mcp_server.settings import Settings
        server = create_server(Settings.from_env({"LUMA_API_KEY": "a"}), lambda: None)
        assert anyio.run(server.list_tools)
        heavy = {"lumaai", "luma_agents", "httpx", "av", "PIL", "sqlite3", "luma_mcp_server.sandbox"}
        print(*heavy & set(sys.modules))
    """
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == ""
