"""Local files and `data:` URIs: what may be sent, what is refused, and how large ones reach Luma."""

import asyncio
import base64
import hashlib
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import anyio
import httpx
import pytest

from luma_mcp_server.apis.agents import Agents
from luma_mcp_server.errors import AnswerLost, InvalidRequest, LumaServerError, NotSent, Refused, StillUploading
from luma_mcp_server.media.local_files import INLINE_BYTES, LocalFiles
from luma_mcp_server.models import LocalFile
from luma_mcp_server.sandbox import AGENTS_SANDBOX_KEY, Fault, Sandbox, create_sandbox

from ..conftest import NOW, ORIGIN, VirtualLoop, Wire

pytestmark = pytest.mark.anyio

MB = 1024**2
PNG = b"\x89PNG\r\n\x1a\n" + b"a small picture"
JPEG = b"\xff\xd8\xff\xe0" + b"a small picture"
MP4 = b"\x00\x00\x00\x18ftypisom" + b"a small clip"
WEBM = b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm"
BOTH = ("image", "video")

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")


async def none_needed() -> tuple[str, ...]:
    return ()


class Line(Wire):
    """The way to the sandbox, on which uploads can be slow or break.

    Attributes:
        pause: seconds that each piece of a file takes.
        breaks: raised in place of sending a file.
        pieces: sizes of the pieces that were read.
        on_piece: called before each of them leaves.
    """

    def __init__(self, app: object) -> None:
        super().__init__(app)
        self.pause, self.breaks, self.pieces = 0.0, list[Exception](), list[int]()
        self.on_piece: Callable[[], object] = lambda: None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PUT":
            if self.breaks:
                raise self.breaks.pop(0)
            request.stream = _Slow(request.stream, self)
        return await super().handle_async_request(request)

    @property
    def uploads(self) -> list[httpx.Request]:
        return [request for request in self.sent if request.method == "PUT"]


class _Slow(httpx.AsyncByteStream):
    def __init__(self, stream: object, line: Line) -> None:
        assert isinstance(stream, httpx.AsyncByteStream)
        self.stream, self.line = stream, line

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self.stream:
            self.line.pieces.append(len(piece))
            self.line.on_piece()
            await anyio.sleep(self.line.pause)
            yield piece


@dataclass
class Counter:
    """Where files are handed in; the sandbox is behind it."""

    home: Path
    files: LocalFiles
    world: Sandbox
    line: Line
    said: list[Callable[[], str]] = field(default_factory=list)

    def file(self, name: str, content: bytes = PNG, size: int | None = None) -> Path:
        """Write a file; a larger `size` fills it up with nothing."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(content)
            file.truncate(size or len(content))
        return path

    async def take(self, text: str | Path, kinds: Collection[str] = BOTH, within: float = 45) -> LocalFile:
        until = anyio.current_time() + within
        file = await self.files.inspect(str(text), "start_image", kinds)
        if file.size <= INLINE_BYTES:
            return file
        return await self.files.upload(file, until=until, say=self.said.append)

    async def refusal(self, text: str | Path, kinds: Collection[str] = BOTH) -> str:
        """What is said of an input that must not be taken; nothing may have been sent."""
        with pytest.raises(InvalidRequest) as refused:
            await self.take(text, kinds)
        words = str(refused.value)
        assert self.line.sent == []
        assert "Nothing was sent. " in words
        return words

    async def failure(self, text: str | Path, error: type[LumaServerError], **options: float) -> str:
        """What is said when an input does not reach Luma; never with its address there."""
        with pytest.raises(error) as failed:
            await self.take(text, **options)
        words = str(failed.value)
        assert "Signature" not in words
        assert "/uploads/" not in words
        return words


@pytest.fixture
async def counter(anyio_backend: object, tmp_path: Path) -> AsyncIterator[Counter]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.hold_time_for_threads()
    app = create_sandbox(clock=lambda: NOW + anyio.current_time(), limits=False)
    world: Sandbox = app.state.sandbox
    line = Line(app)
    (home := tmp_path / "home").mkdir()
    async with httpx.AsyncClient(transport=line, timeout=30) as http, anyio.create_task_group() as tasks:
        agents = Agents(
            AGENTS_SANDBOX_KEY,
            "LUMA_API_KEY",
            "platform.example",
            f"{ORIGIN}/v1",
            http,
            "127.0.0.1",
            lambda: datetime.fromtimestamp(world.clock(), UTC),
            None,
        )
        yield Counter(
            home, LocalFiles((home,), home, tasks, agents.upload, agents.delete_file, none_needed), world, line
        )
        tasks.cancel_scope.cancel()


def uri(content: bytes, named: str = "image/png") -> str:
    return f"data:{named};base64,{base64.b64encode(content).decode()}"


# What is taken


async def test_a_small_picture_travels_inside_the_request(counter: Counter) -> None:
    path = counter.file("lake.png")

    taken = await counter.take(path)

    assert taken == LocalFile(
        path=str(path),
        media_type="image/png",
        digest=hashlib.sha256(PNG).hexdigest(),
        size=len(PNG),
        data=base64.b64encode(PNG).decode(),
    )
    assert counter.line.sent == []


async def test_a_large_clip_is_uploaded_and_ready_when_the_call_has_it(counter: Counter) -> None:
    path = counter.file("my lake.mp4", MP4, 6 * MB)

    taken = await counter.take(path)

    [(file_id, stored)] = counter.world.files.items()
    assert (taken.file_id, taken.data, taken.media_type, taken.size) == (file_id, None, "video/mp4", 6 * MB)
    assert stored.state(counter.world.clock()) == "ready"
    assert taken.digest == stored.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    asked = {
        "mime_type": "video/mp4",
        "size_bytes": 6 * MB,
        "purpose": "input",
        "filename": "my lake.mp4",
        "expires_at": "2026-09-22T14:13:20+00:00",
    }
    assert counter.world.requests[0].body == asked


async def test_four_megabytes_are_sent_inside_the_request_and_one_byte_more_is_uploaded(counter: Counter) -> None:
    inside = await counter.take(counter.file("inside.png", PNG, 4 * MB))
    beyond = await counter.take(counter.file("beyond.png", PNG, 4 * MB + 1))

    assert (bool(inside.data), inside.file_id) == (True, None)
    assert (beyond.data, bool(beyond.file_id)) == (None, True)
    assert len(counter.line.uploads) == 1


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (PNG, "image/png"),
        (JPEG, "image/jpeg"),
        (b"GIF89a a small picture", "image/gif"),
        (b"RIFF....WEBPVP8 ", "image/webp"),
        (MP4, "video/mp4"),
        (MP4.replace(b"isom", b"qt  "), "video/quicktime"),
        (WEBM, "video/webm"),
    ],
)
async def test_the_content_says_what_a_file_is_whatever_its_name_ends_in(
    counter: Counter, content: bytes, media_type: str
) -> None:
    assert (await counter.take(counter.file("lake.txt", content))).media_type == media_type


async def test_a_path_may_start_at_home_and_lead_over_links_that_stay_inside(counter: Counter, tmp_path: Path) -> None:
    real = counter.file("pictures/lake.png")
    assert (await counter.take("~/pictures/lake.png")).path == str(real)
    assert (await counter.take(f"  {counter.home}/pictures/../pictures/lake.png ")).path == str(real)
    if os.name != "nt":  # making links takes a privilege there
        (counter.home / "link.png").symlink_to(real)
        (tmp_path / "other name of home").symlink_to(counter.home)
        assert (await counter.take(counter.home / "link.png")).path == str(real)
        assert (await counter.take(tmp_path / "other name of home" / "link.png")).path == str(real)
        async with anyio.create_task_group() as tasks:
            counter.files = LocalFiles(
                (tmp_path / "other name of home",), None, tasks, no_upload, no_upload, none_needed
            )
            assert (await counter.take(counter.home / "link.png")).path == str(real)


async def test_a_hidden_folder_that_is_allowed_by_name_is_open_and_so_is_a_second_one(
    counter: Counter, tmp_path: Path
) -> None:
    hidden, other = counter.file(".cache/luma/lake.png"), tmp_path / "elsewhere" / "lake.png"
    other.parent.mkdir()
    other.write_bytes(PNG)
    async with anyio.create_task_group() as tasks:
        counter.files = LocalFiles(
            (counter.home, hidden.parent, other.parent), counter.home, tasks, no_upload, no_upload, none_needed
        )
        assert [(await counter.take(path)).path for path in (hidden, other)] == [str(hidden), str(other)]


async def no_upload(size: int, media_type: str, filename: str, chunks: AsyncIterator[bytes]) -> str:
    raise AssertionError("nothing is to be uploaded")


# What is refused


def _linked_out(counter: Counter) -> Path:
    (counter.home.parent / "outside.png").write_bytes(PNG)
    (link := counter.home / "link.png").symlink_to(counter.home.parent / "outside.png")
    return link


def _circle(counter: Counter) -> Path:
    (link := counter.home / "lake.png").symlink_to(link)
    return link


def _outside(counter: Counter) -> Path:
    (path := counter.home.parent / "outside.png").write_bytes(PNG)
    return path


def _pipe(counter: Counter) -> Path:
    os.mkfifo(path := counter.home / "pipe.png")
    return path


REFUSED: dict[str, tuple[str | Callable[[Counter], object], str]] = {
    "a relative path": ("lake.png", "is not an absolute path"),
    "another user's home": ("~root/lake.png", "is not an absolute path"),
    "a network path": (r"\\host\share\lake.png", "network path"),
    "a file: URL": (lambda counter: f"file://{counter.home}/lake.png", "is a file: URL"),
    "nothing there": (lambda counter: counter.home / "lake.png", "can't be read on the computer this server runs on ("),
    "a folder": (lambda counter: counter.home, "is a folder or a special file"),
    "an empty file": (lambda counter: counter.file("lake.png", b""), "is empty"),
    "too large a picture": (
        lambda counter: counter.file("lake.png", PNG, 60 * MB),
        "is 60.0 MB, but Luma takes at most 50 MB for images",
    ),
    "too large a clip": (
        lambda counter: counter.file("lake.mp4", MP4, 201 * MB),
        "is 201.0 MB, but Luma takes at most 200 MB for videos",
    ),
    "hidden": (lambda counter: counter.file(".lake.png"), "is hidden or in a hidden folder"),
    "in a hidden folder": (lambda counter: counter.file(".ssh/keys/lake.png"), "is hidden or in a hidden folder"),
    "outside": (_outside, "is outside the folders"),
    "outside and not there": (lambda counter: counter.home.parent / "nothing.png", "is outside the folders"),
    "NUL": (lambda counter: f"{counter.home}/\0.png", "(not a valid path)"),
}
REFUSED_ON_POSIX: dict[str, tuple[str | Callable[[Counter], object], str]] = {
    "a Windows path": (r"C:\Users\me\lake.png", "is a Windows path"),
    "a pipe": (_pipe, "is a folder or a special file"),
    "a link that leads out": (_linked_out, "a link that leads outside"),
    "a link to itself": (_circle, "can't be read on the computer this server runs on"),
    "half a character": (lambda counter: f"{counter.home}/\ud800.png", "(not a valid path)"),
    "too long": (lambda counter: counter.home / ("a" * 300), "File name too long"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_file_that_can_not_be_sent_is_refused_in_words(counter: Counter, case: str) -> None:
    path, words = REFUSED[case]
    said = await counter.refusal(path if isinstance(path, str) else str(path(counter)))
    assert words in said
    assert "start_image" in said


@posix
@pytest.mark.parametrize("case", REFUSED_ON_POSIX)
async def test_so_is_what_only_some_systems_have(counter: Counter, case: str) -> None:
    path, words = REFUSED_ON_POSIX[case]
    assert words in await counter.refusal(path if isinstance(path, str) else str(path(counter)))


@posix
async def test_a_link_to_a_hidden_file_is_as_good_as_the_hidden_file(counter: Counter) -> None:
    (link := counter.home / "lake.png").symlink_to(counter.file(".lake.png"))
    assert "is hidden" in await counter.refusal(link)


@posix
@pytest.mark.skipif(sys.platform != "win32" and os.geteuid() == 0, reason="root may read everything")
async def test_a_file_that_may_not_be_read_is_refused_with_the_system_s_reason(counter: Counter) -> None:
    (path := counter.file("lake.png")).chmod(0)
    assert "runs on (Permission denied). Nothing was sent. Check" in await counter.refusal(path)


@pytest.mark.parametrize("path", ["/mnt/user-data/uploads/lake.png", "/mnt/data/lake.png", "/home/claude/lake.png"])
async def test_a_path_of_the_client_s_own_sandbox_is_explained(counter: Counter, path: str) -> None:
    said = await counter.refusal(path)
    assert "in your client's own sandbox, which this server can't see. Nothing was sent. Ask the user for" in said


async def test_without_folders_no_file_is_read_and_the_setting_is_named(counter: Counter) -> None:
    path = counter.file("lake.png")
    async with anyio.create_task_group() as tasks:
        counter.files = LocalFiles((), counter.home, tasks, no_upload, no_upload, none_needed)
        for text in (path, "~/nothing.png", "/mnt/user-data/lake.png"):
            assert "Local files are turned off. Nothing was sent. Set LUMA_MCP_INPUT_DIRS" in await counter.refusal(
                text
            )
        assert (await counter.take(uri(PNG))).path == "data:"


async def test_without_a_home_its_sign_means_nothing(counter: Counter) -> None:
    async with anyio.create_task_group() as tasks:
        counter.files = LocalFiles((counter.home,), None, tasks, no_upload, no_upload, none_needed)
        assert "is not an absolute path" in await counter.refusal("~/lake.png")


@pytest.mark.parametrize(
    ("content", "kinds", "words"),
    [
        (MP4, ("image",), "contains video/mp4, but start_image takes an image (JPEG, PNG"),
        (PNG, ("video",), "contains image/png, but start_image takes a video (MP4, MOV, WebM). Nothing"),
        (
            b"plain text",
            ("image",),
            "contains another format, but start_image takes an image (JPEG, PNG, WebP, GIF). Nothing",
        ),
        (MP4.replace(b"isom", b"heic"), BOTH, "contains another format"),
        (MP4.replace(b"isom", b"M4A "), BOTH, "contains another format"),
        (WEBM.replace(b"webm", b"matr"), BOTH, "contains another format"),
        (b"plain text", BOTH, "takes an image (JPEG, PNG, WebP, GIF) or a video (MP4, MOV, WebM)."),
    ],
)
async def test_a_parameter_takes_its_own_kind_alone(
    counter: Counter, content: bytes, kinds: tuple[str, ...], words: str
) -> None:
    assert words in await counter.refusal(counter.file("lake.png", content), kinds)
    assert words in await counter.refusal(uri(content), kinds)


# data: URIs


@pytest.mark.parametrize(
    "text",
    [
        uri(JPEG, "image/jpeg"),
        uri(JPEG, ""),
        uri(JPEG, "image/png"),
        uri(JPEG, "IMAGE/JPEG;name=lake.jpg").replace("data:", "DATA:"),
        uri(JPEG, "image/jpeg")[:40] + "\r\n " + uri(JPEG, "image/jpeg")[40:],
    ],
)
async def test_a_data_uri_is_taken_however_it_is_written_and_labeled(counter: Counter, text: str) -> None:
    taken = await counter.take(text)

    assert (taken.path, taken.media_type, taken.size) == ("data:", "image/jpeg", len(JPEG))
    assert base64.b64decode(taken.data or "") == JPEG
    assert taken.digest == hashlib.sha256(JPEG).hexdigest()


async def test_a_large_data_uri_is_uploaded(counter: Counter) -> None:
    content = PNG + bytes(5 * MB)

    taken = await counter.take(uri(content))

    assert counter.world.files[taken.file_id or ""].sha256 == taken.digest == hashlib.sha256(content).hexdigest()
    assert counter.world.requests[0].body["filename"] == "input.png"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data:image/png,plain", "is not in base64"),
        ("data:image/png;base64,", "is empty"),
        ("data:image/png;base64,iVBORw0KGgo*", "is broken base64"),
        (uri(PNG)[:-1], "is broken base64"),
        (uri(b"plain text", "image/png"), "contains another format"),
    ],
)
async def test_an_unusable_data_uri_is_refused_and_not_repeated(counter: Counter, text: str, words: str) -> None:
    said = await counter.refusal(text)
    assert words in said
    assert "start_image (a data: URI)" in said
    assert "iVBOR" not in said


async def test_a_data_uri_that_is_too_large_is_refused(counter: Counter) -> None:
    said = await counter.refusal(uri(PNG + b"!") + "A" * 80 * MB)
    assert "is 60.0 MB, but Luma takes at most 50 MB for images" in said


# The upload


async def test_an_upload_goes_out_in_small_pieces_with_what_was_signed_and_without_the_key(counter: Counter) -> None:
    await counter.take(counter.file("lake.mp4", MP4, 9 * MB + 5))

    [upload] = counter.line.uploads
    assert "authorization" not in upload.headers
    assert (upload.headers["content-length"], upload.headers["content-type"]) == (str(9 * MB + 5), "video/mp4")
    assert "transfer-encoding" not in upload.headers
    assert counter.line.pieces == [MB] * 9 + [5]


async def test_the_call_can_say_how_far_it_is(counter: Counter) -> None:
    heard = list[str]()
    counter.line.on_piece = lambda: heard.append(counter.said[0]())

    await counter.take(counter.file("lake.mp4", MP4, 6 * MB))

    assert heard == [*(f"uploading {sent} of 6 MB" for sent in range(1, 6)), "uploaded 6 MB, Luma is checking the file"]


async def test_calls_with_the_same_content_share_one_upload(counter: Counter) -> None:
    paths = [counter.file(name, MP4, 6 * MB) for name in ("one.mp4", "two.mp4", "three.mp4")]
    counter.line.pause, taken = 1, list[LocalFile]()

    async def take(path: Path) -> None:
        taken.append(await counter.take(path))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take, paths[0])
        await anyio.sleep(3.5)
        tasks.start_soon(take, paths[1])
    await take(paths[2])

    assert [file.file_id for file in taken] == [*counter.world.files] * 3
    assert {file.path for file in taken} == set(map(str, paths))
    assert len(counter.line.uploads) == 1


async def test_a_call_whose_time_is_over_says_how_far_it_is_and_the_next_one_joins(counter: Counter) -> None:
    path = counter.file("lake.mp4", MP4, 60 * MB)
    counter.line.pause = 1

    said = await counter.failure(path, StillUploading, within=12.5)
    later = await counter.failure(path, StillUploading, within=49)
    taken = await counter.take(path)

    assert said.startswith(f"{path} is still on its way to Luma (uploading 13 of 60 MB). Nothing was bought. Make the ")
    assert "uploaded 60 MB, Luma is checking the file). Nothing was bought." in later
    assert [taken.file_id] == [*counter.world.files]
    assert len(counter.line.uploads) == 1


async def test_an_upload_that_ended_between_two_calls_is_found_at_once(counter: Counter) -> None:
    path = counter.file("lake.mp4", MP4, 6 * MB)
    await counter.failure(path, StillUploading, within=1)
    await anyio.sleep(60)
    requests, started = len(counter.world.requests), anyio.current_time()

    taken = await counter.take(path, within=0.1)

    assert [taken.file_id] == [*counter.world.files]
    assert (len(counter.world.requests), anyio.current_time()) == (requests, started)


async def test_a_cancelled_call_leaves_its_upload_alone(counter: Counter) -> None:
    path = counter.file("lake.mp4", MP4, 6 * MB)
    counter.line.pause = 1
    with anyio.move_on_after(2.5) as cancelled:
        await counter.take(path)
    assert cancelled.cancelled_caught

    await anyio.sleep(60)
    await counter.take(path, within=0.1)

    assert len(counter.line.uploads) == 1


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (Fault("status", path="/files", status=500, detail="oops"), AnswerLost, "(HTTP 500: oops)"),
        (Fault("status", path="/files", status=401, detail="Invalid API key"), Refused, "the API key in LUMA_API_KEY"),
        (Fault("status", path="/files", status=404, detail="Not found"), Refused, "does not know the file (HTTP 404"),
        (Fault("html", path="/files", status=200), AnswerLost, "named no place for the file. Nothing was bought."),
        (Fault("cut", path="/files"), AnswerLost, "cut off"),
        (Fault("status", "PUT", status=503, body="SlowDown"), AnswerLost, "did not take the file (HTTP 503). Nothing"),
        (
            Fault("status", "PUT", status=403, body="<Code>AccessDenied</Code>Signature=abc"),
            Refused,
            "storage refused the file (HTTP 403: AccessDenied). Nothing was bought. Make the same call again",
        ),
        (Fault("redirect", "PUT", detail="/uploads/x"), AnswerLost, "did not take the file (HTTP 307). Nothing"),
        (Fault("status", path="/complete", status=400, detail="Bad\nfile"), Refused, "(HTTP 400: Bad file)"),
        (Fault("status", "GET", path="/files/", status=404), Refused, "does not know the file (HTTP 404"),
    ],
)
async def test_a_failed_upload_is_told_and_the_next_call_tries_again(
    counter: Counter, fault: Fault, error: type[LumaServerError], words: str
) -> None:
    path = counter.file("lake.mp4", MP4, 6 * MB)
    counter.world.faults.append(fault)

    assert words in await counter.failure(path, error)
    assert (await counter.take(path)).file_id in counter.world.files


@pytest.mark.parametrize(
    ("broken", "error", "words"),
    [
        (httpx.ConnectError("no route"), NotSent, "could not be reached (ConnectError)"),
        (httpx.WriteTimeout("slow"), AnswerLost, "did not answer in time (WriteTimeout). Nothing was bought"),
    ],
)
async def test_an_upload_that_breaks_off_is_told_and_the_next_call_tries_again(
    counter: Counter, broken: Exception, error: type[LumaServerError], words: str
) -> None:
    path = counter.file("lake.mp4", MP4, 6 * MB)
    counter.line.breaks.append(broken)

    assert words in await counter.failure(path, error)
    assert (await counter.take(path)).file_id


async def test_a_file_that_luma_does_not_take_is_told_with_its_reason(counter: Counter) -> None:
    failed = {"id": "1", "state": "failed", "failure_reason": f"Flagged ({AGENTS_SANDBOX_KEY})."}
    counter.world.faults.append(_answer("/complete", failed))

    said = await counter.failure(counter.file("lake.mp4", MP4, 6 * MB), LumaServerError)

    assert said == "Luma does not take the file: Flagged (…). Nothing was bought. Use another file."


def _answer(path: str, body: object) -> Fault:
    headers = {"content-type": "application/json"}
    return Fault("status", path=path, status=200, body=json.dumps(body), headers=headers)


@pytest.mark.parametrize(
    "url",
    [
        "http://storage.example/file?Signature=abc",
        "http://127.0.0.2/uploads/1?Signature=abc",
        "https://me:word@storage.example/file",
        "http://[",
        None,
    ],
)
async def test_a_file_goes_to_no_address_that_is_not_safe(counter: Counter, url: str | None) -> None:
    upload = {"url": url, "method": "PUT", "headers": {}, "expires_at": "2027-01-01T00:00:00Z"}
    counter.world.faults.append(_answer("/v1/files", {"id": "1", "state": "pending", "file": {}, "upload": upload}))

    said = await counter.failure(counter.file("lake.mp4", MP4, 6 * MB), LumaServerError)

    assert "Nothing was" in said
    assert "storage.example" not in said
    assert counter.world.files == {}
    assert counter.line.uploads == []


async def test_lost_answers_about_an_uploaded_file_do_not_waste_it(counter: Counter) -> None:
    counter.world.faults.append(Fault("status", "GET", path="/files/", status=502, times=4))

    await counter.take(counter.file("lake.mp4", MP4, 6 * MB))

    assert len(counter.line.uploads) == 1


async def test_a_file_that_luma_never_finishes_is_given_up_after_two_minutes(counter: Counter) -> None:
    counter.world.faults.append(Fault("status", "GET", path="/files/", status=502, times=1000))
    started = anyio.current_time()

    said = await counter.failure(counter.file("lake.mp4", MP4, 6 * MB), AnswerLost, within=300)

    assert "has not made the file usable within 120 seconds. Nothing was bought." in said
    assert 110 < anyio.current_time() - started < 120.1


# Files that do not stay as they were


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"!")


@pytest.mark.parametrize("change", [_append, lambda path: os.truncate(path, 5 * MB)])
@pytest.mark.parametrize("piece", [1, 4])
async def test_a_file_that_grows_or_shrinks_on_its_way_is_refused_and_sent_whole_by_the_next_call(
    counter: Counter, change: Callable[[Path], None], piece: int
) -> None:
    path = counter.file("lake.mp4", MP4, 6 * MB)
    counter.line.on_piece = lambda: change(path) if len(counter.line.pieces) == piece else None

    said = await counter.failure(path, InvalidRequest)

    assert said.startswith(f"{path} changed or disappeared while it was being sent. Nothing was bought. Call again")
    assert all(stored.completed_at is None for stored in counter.world.files.values())
    counter.file("lake.mp4", MP4, 6 * MB)
    assert (await counter.take(path)).file_id


async def test_a_file_that_is_gone_before_it_is_sent_is_refused(counter: Counter) -> None:
    path = counter.file("lake.mp4", MP4, 6 * MB)
    until = anyio.current_time() + 45
    inspected = await counter.files.inspect(str(path), "start_image", BOTH)
    path.unlink()

    with pytest.raises(InvalidRequest, match=r"changed or disappeared while it was being sent. Nothing was bought."):
        await counter.files.upload(inspected, until=until, say=counter.said.append)

    assert counter.line.pieces == []
