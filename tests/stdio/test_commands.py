"""The command line, as a shell sees it."""

import re
import shlex
import signal
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import httpx
import pytest
from dirty_equals import IsPartialDict

from luma_mcp_server import __version__
from luma_mcp_server.settings import VARIABLES

from .conftest import COMMAND

KEY = "luma-sandbox-key"
LIMIT_S = 30
on_posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals that a process can answer")


@pytest.fixture(scope="module", autouse=True)
def demo(start, record) -> Iterator[tuple[object, Path]]:
    """A demo, begun before all else, as its clip takes six seconds; with a key and limits that it must not use."""
    home = record.home()
    unused = {"LUMA_API_KEY": "luma-planted-1", "LUMA_MCP_READ_ONLY": "on", "LUMA_MCP_CONFIRM_USD": "0"}
    process = start("demo", "a paper boat", home=home, LUMA_MCP_OUTPUT_DIR=str(home / "clips"), **unused)
    return process, home


@pytest.fixture
def on_path(tmp_path: Path) -> str:
    """A PATH on which the command is found, as it is where it was installed."""
    for name in ("luma-mcp-server", "luma-mcp-server.exe"):
        (tmp_path / name).touch(0o700)
    return str(tmp_path)


def test_help_names_every_variable_and_command_and_needs_no_key(run) -> None:
    done = run("--help", LUMA_API_KEY=None)

    assert (done.returncode, done.stderr) == (0, "")
    for name in [*VARIABLES, "demo", "check", "gallery", "install", "sandbox", "--sandbox", "--version"]:
        assert name in done.stdout


def test_version_is_one_line(run) -> None:
    done = run("--version", LUMA_API_KEY=None)

    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, f"luma-mcp-server {__version__}", "")


@pytest.mark.parametrize("arguments", [["serve"], ["--verbose"], ["sandbox", "--port", "70000"], ["demo", "a", "b"]])
def test_a_wrong_command_line_is_a_usage_error(run, arguments: list[str]) -> None:
    done = run(*arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: luma-mcp-server" in done.stderr


def test_a_good_key_is_checked_with_its_balance(run, world) -> None:
    done = run("check", LUMAAI_BASE_URL=world.base_url)

    assert (done.returncode, done.stderr) == (0, "")
    assert "accepts the key. Balance: $100.00." in done.stdout.splitlines()[-1]
    assert "Spent in 24 hours: $0.00, of a budget of $20.00. Journal: " in done.stdout
    assert "sandbox" in done.stdout


def test_a_check_of_a_read_only_server_says_that_it_is_one(run) -> None:
    done = run("check", "--sandbox", LUMA_API_KEY=None, LUMA_MCP_READ_ONLY="on")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "Waits up to 45 s, buys, saves and deletes nothing."


def test_a_check_names_the_purchases_whose_answer_was_lost(serve, run, world) -> None:
    server = serve(LUMA_MCP_WAIT_S="1")
    world.fault(kind="drop", after=True)
    world.fault(method="GET", path="/generations", kind="status", status=503, times=2)
    lost = server.call("generate_image", prompt="lost on its way")["request_id"]
    assert server.hang_up() == 0

    done = run("check", home=server.home, LUMAAI_BASE_URL=world.base_url)

    assert f"may have been charged: {lost}: lost on its way\n" in done.stdout


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"LUMA_API_KEY": None}, "No Luma API key is set."),
        (
            {"LUMA_API_KEY": None, "LUMAAI_API_KEY": "luma-planted-2"},
            "Luma refused the API key in LUMAAI_API_KEY (HTTP 401",
        ),
        ({"LUMA_API_KEY": "luma-api-planted"}, "Luma refused the API key in LUMA_API_KEY (HTTP 401"),
        ({"LUMA_API_KEY": "your-key"}, "LUMA_API_KEY holds a placeholder, not a key"),
        ({"LUMA_MCP_WAIT_S": "soon"}, "LUMA_MCP_WAIT_S must be a number of seconds from 0 to 3600."),
        (
            {"LUMA_API_KEY": "sk-planted", "LUMAAI_BASE_URL": ""},
            "LUMA_API_KEY starts with sk-, which no Luma key does (keys: platform.lumalabs.ai).",
        ),
        ({"LUMA_API_KEY": "sk-planted"}, "Luma refused the API key in LUMA_API_KEY (HTTP 401"),  # a gateway's, perhaps
        ({"LUMAAI_BASE_URL": None}, "could not be reached: the connection was refused."),
        ({"LUMAAI_BASE_URL": "https://luma.invalid"}, "could not be reached: the name was not found (DNS)."),
    ],
    ids=str,
)
def test_a_check_ends_with_a_sentence_about_what_is_wrong(
    run, world, environ: dict[str, str | None], sentence: str
) -> None:
    with socket.socket() as unused:  # bound and never listening
        unused.bind(("127.0.0.1", 0))
        if environ == {"LUMAAI_BASE_URL": None}:
            environ = {"LUMAAI_BASE_URL": f"http://127.0.0.1:{unused.getsockname()[1]}"}
        urls = {"LUMAAI_BASE_URL": world.base_url, "LUMA_BASE_URL": world.base_url.replace("/dream-machine", "")}
        done = run("check", **urls | environ)

    assert (done.returncode, done.stderr) == (1, "")
    assert sentence in done.stdout.splitlines()[-1]
    assert done.stdout.count(sentence) == 1


def test_a_check_through_a_proxy_that_refuses_names_the_proxy_without_its_password(run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy, ThreadPoolExecutor() as pool:
        pool.submit(refuse_one, proxy)
        address = f"127.0.0.1:{proxy.getsockname()[1]}"
        done = run("check", LUMAAI_BASE_URL="https://luma.invalid", HTTPS_PROXY=f"http://me:luma-planted-4@{address}")

    assert done.returncode == 1
    assert "could not be reached: the proxy refused (407 Who are you). Check HTTPS_PROXY" in done.stdout
    assert done.stdout.endswith(
        f"Requests to Luma go through the proxy {address} (HTTPS_PROXY, or this computer's settings).\n"
    )


def refuse_one(proxy: socket.socket) -> None:
    connection, _ = proxy.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")


def test_a_server_says_at_its_start_in_one_line_which_settings_can_not_be_used(serve) -> None:
    server = serve(LUMA_MCP_WAIT_S="soon", LUMA_MCP_SAVE="maybe", LUMA_API_KEY="luma-planted 5", LUMA_MCP_NOTHING="1")
    assert server.hang_up() == 0

    [line] = server.errors.read_text().splitlines()
    for name in ("LUMA_MCP_WAIT_S must be", "LUMA_MCP_SAVE must be", "LUMA_API_KEY holds", "LUMA_MCP_NOTHING is not"):
        assert name in line
    assert "planted" not in line


def test_a_sandbox_says_where_it_is_answers_and_ends_when_told(start, tmp_path: Path, on_path: str) -> None:
    errors = tmp_path / "errors"
    process = start("sandbox", "--port", "0", stderr=errors, LUMA_API_KEY=None, PATH=on_path)
    assert process.stdout
    base_url, agents_url = process.stdout.readline().strip(), process.stdout.readline().strip()

    with httpx.Client(trust_env=False) as http:
        assert http.get(f"{base_url}/ping").status_code == 401
        assert http.get(f"{base_url}/ping", headers={"Authorization": f"Bearer {KEY}"}).json() == {"message": "pong"}
        assert http.get(f"{agents_url}/files").status_code == 401
    process.send_signal(signal.SIGTERM)
    code = process.wait(LIMIT_S)

    assert process.stdout.read() == ""
    assert f"  LUMAAI_BASE_URL={base_url} LUMA_API_KEY={KEY} luma-mcp-server check\n" in errors.read_text()
    if sys.platform != "win32":  # Windows ends a process without asking it
        assert code == 0


@on_posix
def test_a_sandbox_ends_with_ctrl_c(start, on_path: str) -> None:
    process = start("sandbox", "--port", "0", PATH=on_path)
    assert process.stdout
    assert process.stdout.readline().startswith("http://127.0.0.1:")

    process.send_signal(signal.SIGINT)

    assert process.wait(LIMIT_S) == 130


def test_a_sandbox_on_a_port_that_is_taken_says_so(run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("sandbox", "--port", str(taken.getsockname()[1]))

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: Port ")
    assert "can't be used" in done.stderr


@on_posix
def test_a_gallery_prints_its_address_answers_there_alone_and_ends_with_ctrl_c(start) -> None:
    process = start("gallery", "--no-open", LUMA_API_KEY=None)
    assert process.stdout
    url = httpx.URL(process.stdout.readline().strip())

    with httpx.Client(trust_env=False) as http:
        assert "<title>Luma gallery</title>" in http.get(url).text
        assert http.get(url.join("overview")).json() == IsPartialDict(states={}, budget_usd=20.0, sandbox=False)
        assert http.get(url.join("/overview")).status_code == 403
    process.send_signal(signal.SIGINT)

    assert process.wait(LIMIT_S) == 130
    assert process.stdout.read() == ""


@on_posix
def test_a_gallery_opens_in_the_users_browser(start, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text('#!/bin/sh\necho "opened $1"\nkill -INT $PPID\n')
    browser.chmod(0o755)

    out, _ = start("gallery", BROWSER=f"{browser} %s").communicate(timeout=LIMIT_S)

    url, opened = out.splitlines()
    assert opened == f"opened {url}"


def test_a_gallery_of_the_sandbox_shows_what_the_sandbox_made(serve, start) -> None:
    server = serve("--sandbox", LUMA_API_KEY=None, LUMAAI_BASE_URL=None)
    made = server.call("generate_image", prompt="a lake", wait_s=30)
    assert server.hang_up() == 0

    process = start("gallery", "--sandbox", "--no-open", home=server.home)
    assert process.stdout
    url = httpx.URL(process.stdout.readline().strip())
    with httpx.Client(trust_env=False) as http:
        [shown] = http.get(url.join("generations")).json()["generations"]
        assert http.get(url.join(f"file/{shown['id']}/0")).content == Path(made["file_path"]).read_bytes()

    assert shown == IsPartialDict(id=made["generation_id"], prompt="a lake", state="completed")


def test_a_gallery_on_a_port_that_is_taken_says_so(run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("gallery", "--no-open", "--port", str(taken.getsockname()[1]))

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: Port ")


def test_serving_the_sandbox_needs_no_key_and_says_what_it_is(serve) -> None:
    server = serve("--sandbox", LUMA_API_KEY=None, LUMAAI_BASE_URL=None)

    assert server.call("get_account") == IsPartialDict(sandbox=True)
    made = server.call("generate_image", prompt="a lake", wait_s=0)
    assert made == IsPartialDict(sandbox=True, state="queued")
    assert server.hang_up() == 0
    assert server.errors.read_bytes() == b""


def test_the_demo_ends_with_the_path_of_a_clip_that_plays(demo) -> None:
    process, home = demo
    out, _ = process.communicate(timeout=LIMIT_S)

    assert process.returncode == 0
    *said, film, gallery = out.splitlines()
    assert gallery == f"To see the takes in a browser: {shlex.join(COMMAND)} gallery --sandbox"
    assert re.search(r": \d+ tools\.", said[0])
    assert max(len(line.replace(str(home), "")) for line in said) < 150
    path = Path(film)
    assert path.is_absolute()
    assert path.parent == home / "clips"
    with av.open(path) as clip:
        assert clip.streams.video[0].codec_context.name == "h264"
        assert (clip.streams.video[0].width, clip.streams.video[0].height) == (1280, 720)


@pytest.mark.parametrize("below", [".", "clips"])
def test_a_demo_whose_folder_is_a_file_says_so_before_it_makes_anything(run, tmp_path: Path, below: str) -> None:
    file = tmp_path / "file"
    file.touch()

    done = run("demo", "--output", str(file / below))

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: {file / below} is not a folder. Choose another with --output.\n"


def test_a_demo_whose_usual_folder_is_a_file_says_so_too(run, record) -> None:
    home = record.home()
    (home / "Luma").touch()

    done = run("demo", home=home)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: {home / 'Luma'} is not a folder. Choose another with --output.\n"


def test_a_demo_that_a_tool_refuses_ends_with_what_it_said_in_one_line(run) -> None:
    done = run("demo", "")

    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("Error: prompt is empty")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a running process")
def test_a_demo_on_a_full_disk_ends_with_one_line(start, tmp_path: Path) -> None:
    import resource

    errors = tmp_path / "errors"
    process = start("demo", stderr=errors, PYTHONDONTWRITEBYTECODE="1")
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
    process.communicate(timeout=LIMIT_S)

    assert process.returncode == 1
    [line] = errors.read_text().splitlines()
    assert line.startswith("Error: The journal of purchases, ")
