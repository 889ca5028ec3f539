"""What is shipped: the wheel and the sdist, the bundle, the registry's entry, the plugin and its skill.

The validators of these formats are run by hand; here is what they overlook.
"""

import json
import re
import runpy
import shutil
import struct
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import anyio
import pytest

from luma_mcp_server import __version__
from luma_mcp_server.server import create_server
from luma_mcp_server.settings import VARIABLES, Settings

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REPOSITORY = PROJECT["urls"]["Repository"]


def manifest(path: str) -> Any:
    return json.loads((ROOT / path).read_text(encoding="utf-8"))


BUNDLE = manifest("packaging/mcpb/manifest.json")
PLUGIN = manifest(".claude-plugin/plugin.json")
MARKETPLACE = manifest(".claude-plugin/marketplace.json")
REGISTRY = manifest("server.json")


def files(folder: Path) -> set[str]:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {path for path in found if "__pycache__" not in path}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    uv = shutil.which("uv")
    assert uv
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([uv, "build", "--quiet", "--out-dir", folder, ROOT], check=True, timeout=120)
    return folder


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(built: Path) -> None:
    [wheel] = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        names = {name for name in opened.namelist() if ".dist-info/" not in name}

    assert names == files(ROOT / "src")
    assert {name.rpartition(".")[2] for name in names} >= {"py", "typed", "html", "css", "js", "mp4"}


def test_the_package_page_leads_to_the_repository(built: Path) -> None:
    [wheel] = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        [metadata] = (name for name in opened.namelist() if name.endswith("/METADATA"))
        page = opened.read(metadata).decode()

    links = re.findall(r"\]\(([^)]+)\)", page)
    assert f"{REPOSITORY}/blob/main/docs/install.md" in links
    assert {link.partition(":")[0] for link in links} == {"https"}
    owner = REPOSITORY.removeprefix("https://github.com/")
    assert f"https://raw.githubusercontent.com/{owner}/main/docs/player.jpg" in links


def test_the_sdist_holds_the_source_and_no_junk(built: Path) -> None:
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as opened:
        names = {member.name.partition("/")[2] for member in opened.getmembers() if member.isfile()}
    beside = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", ".gitignore", "PKG-INFO"}

    assert names == {f"src/{name}" for name in files(ROOT / "src")} | beside


def test_one_version_stands_in_every_manifest() -> None:
    versions = [BUNDLE["version"], PLUGIN["version"], REGISTRY["version"]]
    versions += [package["version"] for package in REGISTRY["packages"]]

    assert set(versions) == {__version__}
    assert "version" not in MARKETPLACE["plugins"][0], "the plugin's own counts"


def test_one_repository_is_named_everywhere() -> None:
    in_registry = REPOSITORY.replace("https://github.com/", "io.github.")

    assert all(url.startswith(REPOSITORY) for url in PROJECT["urls"].values())
    assert BUNDLE["repository"]["url"] == PLUGIN["repository"] == REGISTRY["repository"]["url"] == REPOSITORY
    assert REGISTRY["name"] == in_registry
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"<!-- mcp-name: (\S+) -->", readme) == [in_registry], "the registry looks for it there"


@pytest.mark.parametrize("made", [BUNDLE, PLUGIN], ids=["bundle", "plugin"])
def test_whatever_a_manifest_asks_the_user_for_it_passes_on_and_nothing_is_undefined(made: dict[str, Any]) -> None:
    asked = made.get("user_config") or made["userConfig"]
    start = made["server"]["mcp_config"] if "server" in made else made["mcpServers"]["luma"]
    used = set(re.findall(r"\$\{(?:user_config\.)?(\w+)\}", json.dumps(start)))

    assert used == {*asked, "__dirname" if made is BUNDLE else "CLAUDE_PLUGIN_ROOT"}
    assert start["env"].keys() <= VARIABLES.keys()
    for name, field in asked.items():
        assert field["title"]
        assert field.get("required") or "default" in field, f"left empty, ${{user_config.{name}}} would be the value"
    assert asked["api_key"]["sensitive"]


def test_what_the_bundle_sets_by_default_is_the_servers_own_default() -> None:
    defaults = {name: field.get("default") for name, field in BUNDLE["user_config"].items()}
    env = BUNDLE["server"]["mcp_config"]["env"]
    given = {
        variable: str(value).lower() if isinstance(value, bool) else str(value)
        for variable, value in ((variable, defaults[text[14:-1]]) for variable, text in env.items())
        if value is not None
    }

    assert Settings.from_env({"HOME": str(Path.home()), **given}) == Settings.from_env({"HOME": str(Path.home())})


def test_the_bundle_holds_what_it_starts_and_its_icon(tmp_path: Path) -> None:
    runpy.run_path(str(ROOT / "packaging" / "build_mcpb.py"))["stage"](tmp_path)
    held = files(tmp_path)
    icon = (tmp_path / BUNDLE["icon"]).read_bytes()

    assert {BUNDLE["server"]["entry_point"], "manifest.json", "pyproject.toml", "README.md", "LICENSE"} <= held
    assert files(ROOT / "src") == {name.removeprefix("src/") for name in held if name.startswith("src/")}
    assert icon.startswith(b"\x89PNG")
    assert struct.unpack(">II", icon[16:24]) == (512, 512)


def test_the_registry_says_in_a_line_what_the_server_is_and_lists_every_setting() -> None:
    [package] = REGISTRY["packages"]

    assert 1 <= len(REGISTRY["description"]) <= 100
    assert package["identifier"] == PROJECT["name"]
    assert package["environmentVariables"] == [
        {"name": name, "description": text.replace("`", "")} | ({"isSecret": True} if name.endswith("_API_KEY") else {})
        for name, (_, text) in VARIABLES.items()
    ]


def test_the_skill_names_only_tools_and_parameters_that_exist() -> None:
    server = create_server(Settings.from_env({}), lambda: pytest.fail("no network"))
    tools = {tool.name: tool.input_schema["properties"] for tool in anyio.run(server.list_tools)}
    results = {"reused", "state", "next_step", "estimated_cost_usd", "luma", "cut", "crossfade"}
    known = {*tools, *(name for parameters in tools.values() for name in parameters), *results}
    skill = (ROOT / "skills" / "luma" / "SKILL.md").read_text(encoding="utf-8")
    named = set(re.findall(r'`"?(\w+)', skill))
    in_evals = set(re.findall(r"\b[a-z]+_[a-z_]+\b", json.dumps(manifest("skills/luma/evals/evals.json")["evals"])))

    assert named <= known
    assert in_evals - {"expected_output"} <= known


def test_no_action_of_a_workflow_is_pinned_but_by_its_major_version() -> None:
    for workflow in (ROOT / ".github" / "workflows").glob("*.yml"):
        for action in re.findall(r"uses: (\S+)", workflow.read_text(encoding="utf-8")):
            assert re.fullmatch(r"[\w-]+/[\w-]+@(release/)?v\d+", action), action


def test_a_commit_is_checked_as_ci_checks_it() -> None:
    hooks = re.findall(r"entry: (.+)", (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    steps = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()

    assert hooks == [step for step in steps if step.startswith("uv run")]
