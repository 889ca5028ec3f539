"""The command that starts the server, in every form that it has until and after it is published."""

import sys
from pathlib import Path

import pytest

from luma_mcp_server.launch import find_source, find_uv, launch_command

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
