"""The command that starts the server, in every form that it has until and after it is published."""

import os
import shlex
import sys
from pathlib import Path

import pytest

from luma_mcp_server.launch import find_source, find_uv, launch_command, own_command

ROOT = Path(__file__).parents[2]


def test_until_it_is_published_no_command_names_the_package_alone() -> None:
    run = ["/bin/uv", "run", "--no-dev"]
    assert launch_command("/clone", uv="/bin/uv") == [*run, "--directory", "/clone", "luma-mcp-server"]
    with_media = launch_command("/clone", uv="/bin/uv", media=True, sandbox=True)
    assert with_media == [*run, "--extra", "media", "--directory", "/clone", "luma-mcp-server", "--sandbox"]
    assert launch_command("/a.whl", uv="/bin/uv") == ["/bin/uvx", "--from", "/a.whl", "luma-mcp-server"]
    assert launch_command("/a.whl", media=True) == ["uvx", "--from", "/a.whl[media]", "luma-mcp-server"]
    with pytest.raises(LookupError, match="not published yet"):
        launch_command(None)


def test_once_it_is_published_it_comes_from_the_index() -> None:
    def command(uv: str, **options: bool) -> list[str]:
        return launch_command("/clone", uv=uv, published=True, **options)

    assert command("uv") == ["uvx", "luma-mcp-server"]
    assert command(r"C:\uv\uv.exe", sandbox=True) == [r"C:\uv\uvx.exe", "luma-mcp-server", "--sandbox"]
    assert command("uv", media=True) == ["uvx", "--from", "luma-mcp-server[media]", "luma-mcp-server"]


def test_a_copy_knows_the_clone_that_it_came_from() -> None:
    assert find_source() == str(ROOT)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows finds programs by their endings")
def test_uv_is_found_on_path_or_where_it_says_that_it_is(tmp_path: Path) -> None:
    uv = tmp_path / "uv"
    uv.touch(0o700)

    assert find_uv({"PATH": str(tmp_path), "UV": "/elsewhere/uv"}) == str(uv)
    assert find_uv({"PATH": "/nowhere", "UV": "/elsewhere/uv"}) == "/elsewhere/uv"
    with pytest.raises(LookupError, match="uv was not found"):
        find_uv({"PATH": "/nowhere"})


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """The folder of an environment's programs, with a space on the way to it."""
    folder = tmp_path / "my clone" / "bin"
    folder.mkdir(parents=True)
    for name in ("python", "luma-mcp-server"):
        (folder / name).touch(0o700)
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="Windows finds programs by their endings")
def test_a_user_is_told_the_path_of_a_copy_that_only_its_environment_has_on_path(environment: Path) -> None:
    here, script = str(environment), str(environment / "luma-mcp-server")

    for path in (here, f"{here}/", f"/nowhere:{here}", ""):
        said = own_command({"PATH": path}, str(environment / "python"), script)

        assert shlex.split(said) == [script]
    by_module = own_command({"PATH": here}, f"{here}/python", "/site/luma_mcp_server/__main__.py")
    assert shlex.split(by_module) == [f"{here}/python", "-m", "luma_mcp_server"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows finds programs by their endings")
def test_a_user_is_told_the_name_where_the_shell_knows_it(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "luma-mcp-server").touch(0o700)
    path = os.pathsep.join([str(environment), str(tmp_path)])

    assert own_command({"PATH": path}, str(environment / "python"), "/any/luma-mcp-server") == "luma-mcp-server"
