"""Where files go, and what stands in their way."""

import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from luma_mcp_server import sandbox
from luma_mcp_server.sandbox import Fault

pytestmark = pytest.mark.anyio
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")


async def test_a_clip_is_saved_once_however_often_it_is_waited_for(desk) -> None:
    made = await desk.video()

    waited = await desk.call("wait_for_generations", generation_ids=[made["generation_id"]])

    assert waited["generations"][0]["file_path"] == made["file_path"]
    assert [path.name for path in desk.folder.iterdir()] == [Path(made["file_path"]).name]
    assert Path(made["file_path"]).read_bytes()[4:8] == b"ftyp"


async def test_calls_that_wait_for_one_clip_at_once_save_it_once(open_desk) -> None:
    async with open_desk() as desk, open_desk(beside=desk) as other:
        made = await desk.video(wait_s=0)
        paths = []

        async def wait(where) -> None:
            waited = await where.call("wait_for_generations", generation_ids=[made["generation_id"]])
            paths.append(waited["generations"][0]["file_path"])

        async with anyio.create_task_group() as tasks:
            for where in (desk, desk, desk, other, other):
                tasks.start_soon(wait, where)

        [saved] = desk.folder.iterdir()
        assert paths == [str(saved)] * 5
        assert saved.stem.endswith(made["generation_id"])
        for where in (desk, other):
            assert sum("/media/" in request.url.path for request in where.wire.sent) <= 1


async def test_a_name_can_be_chosen_and_nothing_is_overwritten(desk) -> None:
    made = await desk.video()

    names = [
        Path((await desk.call("download_generation", generation_id=made["generation_id"], filename=name))["file_path"])
        for name in ("kite.mov", "kite", "kite.mp4", "v1.5 kite")
    ]

    assert [path.name for path in names] == ["kite.mp4", "kite-2.mp4", "kite-3.mp4", "v1.5 kite.mp4"]
    assert all(path.parent == desk.folder for path in names)


@pytest.mark.parametrize(
    "name",
    [
        "../kite",
        "a/b",
        "a\\b",
        "/etc/passwd",
        "..",
        ".",
        " ",
        ".hidden",
        "con",
        "NUL.mp4",
        "a\0b",
        "\u202e4pm.a",
        "é" * 101,
        "x" * 300,
        "...",
        "..\\kite",
        "LPT1",
        "com1.mp4",
        "aux.kite.mp4",
    ],
)
async def test_a_name_that_is_no_plain_file_name_is_refused(desk, name: str) -> None:
    made = await desk.video()

    said = await desk.refusal("download_generation", generation_id=made["generation_id"], filename=name)

    assert "filename must be a plain file name" in said
    assert len(list(desk.folder.iterdir())) == 1


async def test_the_ending_comes_from_the_content(desk) -> None:
    jpg, png = await desk.image(), await desk.image(output_format="png")

    assert jpg["file_path"].endswith(".jpg")
    assert png["file_path"].endswith(".png")
    saved = await desk.call("download_generation", generation_id=png["generation_id"], filename="lake.jpg")
    assert saved["file_path"].endswith("lake.png")


async def test_without_saving_the_answer_has_the_link_alone_until_it_is_asked_for(open_desk) -> None:
    async with open_desk(LUMA_MCP_SAVE="off") as desk:
        made = await desk.video()
        assert "file_path" not in made
        assert made["video_url"]
        assert not desk.folder.exists()

        saved = await desk.call("download_generation", generation_id=made["generation_id"])
        assert Path(saved["file_path"]).is_file()


async def test_a_folder_that_can_not_be_written_leaves_the_link_and_names_the_setting(open_desk, tmp_path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    async with open_desk(LUMA_MCP_OUTPUT_DIR=str(blocked)) as desk:
        made = await desk.video()
        assert made["state"] == "completed"
        assert made["video_url"]
        assert str(blocked) in made["warnings"][0]
        assert "LUMA_MCP_OUTPUT_DIR" in made["warnings"][0]
        assert "LUMA_MCP_OUTPUT_DIR" in await desk.refusal("download_generation", generation_id=made["generation_id"])


@posix
@pytest.mark.skipif(sys.platform != "win32" and os.geteuid() == 0, reason="root may write everywhere")
async def test_a_read_only_folder_leaves_the_link_and_names_the_setting(desk) -> None:
    desk.folder.mkdir(0o555)

    made = await desk.video()

    assert f"could not be written to {desk.folder} (Permission denied)" in made["warnings"][0]
    assert "LUMA_MCP_OUTPUT_DIR" in made["warnings"][0]
    assert made["video_url"]
    assert list(desk.folder.iterdir()) == []


async def test_a_relative_folder_is_refused_in_words_and_nothing_is_saved(open_desk) -> None:
    async with open_desk(LUMA_MCP_OUTPUT_DIR="videos") as desk:
        made = await desk.video()
        assert "LUMA_MCP_OUTPUT_DIR" in made["warnings"][0]
        assert "must be an absolute path" in await desk.refusal(
            "download_generation", generation_id=made["generation_id"]
        )


ASSETS = Path(sandbox.__file__).parent / "assets"
CLIP = (ASSETS / "sandbox.mp4").read_bytes()


def media_requests(desk) -> list[httpx.Request]:
    return [request for request in desk.wire.sent if "/media/" in request.url.path]


class Media(httpx.AsyncBaseTransport):
    """Answers media links in one way, so many times, and lets all else through."""

    def __init__(self, inner: httpx.AsyncBaseTransport, times: int = 100, **answer: object) -> None:
        self.inner, self.left, self.answer = inner, times, answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if "/media/" in request.url.path and self.left:
            self.left -= 1
            return httpx.Response(**self.answer)
        return await self.inner.handle_async_request(request)


@pytest.mark.parametrize(
    ("answer", "asked", "words"),
    [
        ({"status_code": 403, "text": "expired"}, 2, "Luma's link (HTTP 403); it may have expired"),
        ({"status_code": 404, "text": "gone"}, 1, "Luma's link (HTTP 404)"),
        ({"status_code": 200, "stream": httpx.ByteStream(b"<html>")}, 1, "did not lead to a video or image"),
        ({"status_code": 200, "stream": httpx.ByteStream(b"")}, 1, "did not lead to a video or image"),
    ],
)
async def test_a_link_that_leads_nowhere_good_is_a_warning_and_leaves_no_file(
    desk, answer, asked: int, words: str
) -> None:
    desk.wire.inner = Media(desk.wire.inner, **answer)

    made = await desk.video()

    assert made["state"] == "completed"
    assert words in made["warnings"][0]
    assert "Signature" not in made["warnings"][0]
    assert "media" not in made
    assert list(desk.folder.iterdir()) == []
    assert len(media_requests(desk)) == asked


class Redirects(httpx.AsyncBaseTransport):
    """Redirects every media link so many times, then lets it through; one of the hops may be elsewhere."""

    def __init__(self, inner: httpx.AsyncBaseTransport, times: int, through: str | None = None) -> None:
        self.inner, self.left, self.through = inner, times, through

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if "/media/" in request.url.path and self.left:
            self.left -= 1
            there = f"{self.through}{request.url.raw_path.decode()}" if self.left == 1 and self.through else request.url
            return httpx.Response(302, headers={"location": str(there)})
        return await self.inner.handle_async_request(request)


@pytest.mark.parametrize(
    ("times", "through", "warning"),
    [
        (5, None, None),
        (6, None, "it is redirected too often"),
        (2, "https://cdn.example", None),
        (2, "http://cdn.example", "an address that is not public https"),
    ],
)
async def test_a_link_may_redirect_five_times_and_over_https_alone(
    desk, times: int, through: str | None, warning: str | None
) -> None:
    desk.wire.inner = Redirects(desk.wire.inner, times, through)

    made = await desk.video()

    assert ("file_path" in made) == (warning is None)
    assert "http://cdn.example" not in {f"{request.url.scheme}://{request.url.host}" for request in desk.wire.sent}
    if warning:
        assert warning in made["warnings"][0]
        assert list(desk.folder.iterdir()) == []


class Dribble(httpx.AsyncByteStream):
    """A clip of so many megabytes, one every three seconds, whose end then never comes, or breaks off."""

    def __init__(self, error: Exception | None, size_mb: int = 3) -> None:
        self.error, self.size_mb = error, size_mb

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"\0\0\0\x20ftypisom"
        for _ in range(self.size_mb):
            yield b"\0" * 1024**2
            await anyio.sleep(3)
        if self.error:
            raise self.error
        await anyio.sleep_forever()


async def test_a_download_that_breaks_off_for_good_leaves_the_link_and_no_half_file(desk) -> None:
    desk.wire.inner = Media(desk.wire.inner, status_code=200, stream=Dribble(httpx.ReadError("reset")))
    started = anyio.current_time()

    made = await desk.video()

    assert anyio.current_time() - started < 46.1
    assert "link (ReadError)" in made["warnings"][0]
    assert "download_generation" in made["warnings"][0]
    assert made["video_url"]
    assert list(desk.folder.iterdir()) == []


class Slow(httpx.AsyncByteStream):
    """A clip that takes a minute to arrive, and counts how often it was asked for."""

    asked = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.asked += 1
        yield b"\0\0\0\x20ftypisom"
        for _ in range(20):
            await anyio.sleep(3)
            yield bytes(1000)


async def test_a_download_that_outlasts_its_call_goes_on_and_the_next_call_has_the_file(desk) -> None:
    slow = Slow()
    desk.wire.inner = Media(desk.wire.inner, status_code=200, stream=slow)

    made = await desk.video()
    assert "still being saved" in made["warnings"][0]
    assert "file_path" not in made
    saved = await desk.call("download_generation", generation_id=made["generation_id"])

    assert Path(saved["file_path"]).stat().st_size == 20_012
    assert slow.asked == 1
    assert len(list(desk.folder.iterdir())) == 1


async def test_every_output_is_saved_though_nobody_waits_for_the_last(agents_desk) -> None:
    class SlowSidecar(httpx.AsyncBaseTransport):
        def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
            self.inner = inner

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path.endswith((".exr", ".zip")):
                await anyio.sleep(25)
            return await self.inner.handle_async_request(request)

    agents_desk.wire.inner = SlowSidecar(agents_desk.wire.inner)
    made = await agents_desk.video(dynamic_range="hdr_exr", wait_s=10)
    await anyio.sleep(90)

    shown = await agents_desk.call("get_generation", generation_id=made["generation_id"])
    assert [Path(one["file_path"]).is_file() for one in shown["outputs"]] == [True, True]


async def test_two_files_that_are_given_one_name_at_once_are_both_there(desk) -> None:
    made = [(await desk.video(f"a lake, {number}"))["generation_id"] for number in range(4)]
    said: list[str] = []

    async def save(name: str) -> None:
        saved = await desk.call("download_generation", generation_id=name, filename="kite")
        said.append(saved["file_path"])

    async with anyio.create_task_group() as tasks:
        for name in made:
            tasks.start_soon(save, name)

    assert len(set(said)) == 4
    assert all(Path(path).is_file() for path in said)


async def test_no_chosen_name_stands_for_a_generation(desk) -> None:
    made = await desk.video()
    name = f"kite-{made['generation_id']}.mp4"

    for tool, arguments in (
        ("download_generation", {"generation_id": made["generation_id"]}),
        ("join_videos", {"sources": [made["generation_id"]] * 2}),
    ):
        said = await desk.refusal(tool, filename=name, **arguments)
        assert "filename must not end in a generation's id" in said
    assert [str(path) for path in desk.folder.iterdir()] == [made["file_path"]]


async def test_a_download_that_was_asked_for_and_does_not_end_goes_on(open_desk) -> None:
    async with open_desk(LUMA_MCP_SAVE="off") as desk:
        made = await desk.video()
        desk.wire.inner = Media(desk.wire.inner, status_code=200, stream=Dribble(None))

        said = await desk.refusal("download_generation", generation_id=made["generation_id"], filename="kite")

        assert "did not end within 45 s (LUMA_MCP_WAIT_S). It goes on: call again." in said
        assert len(media_requests(desk)) == 1
        assert "did not end" in await desk.refusal("download_generation", generation_id=made["generation_id"])
        assert len(media_requests(desk)) == 1


@pytest.mark.parametrize("mb", [12, None])
async def test_progress_says_how_much_of_a_file_has_arrived(desk, mb: int | None) -> None:
    length = {"content-length": str(mb * 1024**2)} if mb else {}
    desk.wire.inner = Media(desk.wire.inner, status_code=200, headers=length, stream=Dribble(None))
    said: list[tuple[float, float | None, str | None]] = []

    async def note(*report: Any) -> None:
        said.append(report)

    await desk.client.call_tool("generate_video", {"prompt": "a lake"}, progress_callback=note)

    assert [one[0] for one in said] == sorted({one[0] for one in said})
    last, whole, words = said[-1]
    if mb:
        assert words == "saving, 3 of 12 MB"
        assert whole
        assert whole - last == 9 * 1024**2 - 12  # a clip's first bytes came, too
    else:
        assert str(words).startswith("saving, 3 MB, ")


async def test_progress_of_several_waits_says_how_many_have_finished(desk) -> None:
    names = [(await desk.video(prompt, wait_s=0))["generation_id"] for prompt in ("a lake", "a sea")]
    desk.wire.inner = Media(desk.wire.inner, status_code=200, stream=Dribble(None))
    said = []

    async def note(_: float, __: float | None, message: str | None) -> None:
        said.append(message)

    await desk.client.call_tool("wait_for_generations", {"generation_ids": names}, progress_callback=note)

    assert said
    assert all(" of 2 finished" in message for message in said), said


@pytest.mark.parametrize("breaks", [1, 5])
async def test_a_download_that_breaks_off_is_taken_up_where_it_broke(desk, breaks: int) -> None:
    desk.world.faults.append(Fault("cut", "GET", "/media/", times=breaks))

    made = await desk.video()

    assert Path(made["file_path"]).read_bytes() == CLIP
    first, second, *others = media_requests(desk)
    assert len(others) == breaks - 1
    assert "range" not in first.headers
    assert first.headers["accept-encoding"] == "identity"
    assert second.headers["range"] == f"bytes={len(CLIP) // 2}-"
    assert second.headers["if-range"].startswith('"')


class Edits(httpx.AsyncBaseTransport):
    """Takes headers from every request for media, and puts others into the answers to those for a part."""

    def __init__(self, inner: httpx.AsyncBaseTransport, without: tuple[str, ...] = (), **answer: str) -> None:
        self.inner, self.without, self.answer = inner, without, answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        kept = [one for one in request.headers.raw if one[0].decode().lower() not in self.without]
        part = "range" in request.headers
        response = await self.inner.handle_async_request(httpx.Request(request.method, request.url, headers=kept))
        if part:
            response.headers.update({name.replace("_", "-"): value for name, value in self.answer.items()})
        return response


@pytest.mark.parametrize(
    ("asked", "edits"),
    [
        (2, {"without": ("range",)}),
        (3, {"content_range": f"bytes 0-{len(CLIP) - 1}/{len(CLIP)}"}),
        (3, {"content_range": f"bytes {len(CLIP) // 2}-{len(CLIP)}/{len(CLIP) + 1}"}),
        (3, {"content_range": "nonsense"}),
    ],
)
async def test_a_download_starts_over_where_the_answer_does_not_go_on_with_it(desk, asked: int, edits) -> None:
    made = await desk.video(wait_s=0)
    desk.wire.inner = Edits(desk.wire.inner, **edits)
    desk.world.faults.append(Fault("cut", "GET", "/media/"))

    waited = await desk.call("wait_for_generations", generation_ids=[made["generation_id"]])

    assert Path(waited["generations"][0]["file_path"]).read_bytes() == CLIP
    assert len(media_requests(desk)) == asked


async def test_nothing_is_left_of_what_was_written_before_a_download_starts_over(desk) -> None:
    other = {"status_code": 200, "headers": {"etag": '"other"'}, "stream": Dribble(httpx.ReadError("reset"))}
    desk.wire.inner = Media(desk.wire.inner, times=1, **other)

    made = await desk.video()

    assert Path(made["file_path"]).read_bytes() == CLIP


async def test_a_download_that_gets_no_further_is_given_up_after_three_breaks(desk) -> None:
    desk.wire.inner = Media(desk.wire.inner, status_code=200, stream=Dribble(httpx.ReadError("reset")))

    made = await desk.video()

    assert "link (ReadError)" in made["warnings"][0]
    assert len(media_requests(desk)) == 3


async def test_a_file_that_never_gets_whole_is_not_saved(desk) -> None:
    desk.world.faults.append(Fault("cut", "GET", "/media/", times=100))

    made = await desk.video()

    assert f"(it ended after {len(CLIP) - 1} of {len(CLIP)} bytes)" in made["warnings"][0]
    assert list(desk.folder.iterdir()) == []


@pytest.mark.parametrize("filename", [None, "kite"])
async def test_a_link_that_expires_under_way_is_renewed_once(desk, filename: str | None) -> None:
    made = await desk.video()
    Path(made["file_path"]).unlink()
    desk.world.faults += [Fault("cut", "GET", "/media/"), Fault("status", "GET", "/media/", status=403)]

    saved = await desk.call("download_generation", generation_id=made["generation_id"], filename=filename)

    assert Path(saved["file_path"]).read_bytes() == CLIP
    first, expired, renewed = media_requests(desk)[1:]
    assert first.url == expired.url != renewed.url
    assert expired.headers["range"] == renewed.headers["range"] == f"bytes={len(CLIP) // 2}-"


async def test_of_several_results_the_one_whose_link_has_expired_is_renewed(agents_desk) -> None:
    image = await agents_desk.image()
    agents_desk.world.faults.append(Fault("status", "GET", "/layer-1.png", status=403))
    agents_desk.wire.delays["GET"] = (1.0, 0.0)  # links that are made at once are the same

    made = await agents_desk.call("extract_layers", source=image["generation_id"])

    assert all(Path(layer["file_path"]).exists() for layer in made["outputs"])
    *_, first, expired, renewed, last = [request.url for request in media_requests(agents_desk)]
    names = [url.path.rpartition("/")[2] for url in (first, expired, renewed, last)]
    assert names == ["layer-0.png", "layer-1.png", "layer-1.png", "layer-2.png"]
    assert expired != renewed


@posix
async def test_a_link_in_the_folder_is_never_written_through(desk, tmp_path: Path) -> None:
    made = await desk.video()
    outside = tmp_path / "outside.mp4"
    (desk.folder / "kite.mp4").symlink_to(outside)

    saved = await desk.call("download_generation", generation_id=made["generation_id"], filename="kite")

    assert Path(saved["file_path"]).name == "kite-2.mp4"
    own = Path(made["file_path"])
    own.unlink()
    own.symlink_to(outside)
    [waited] = (await desk.call("wait_for_generations", generation_ids=[made["generation_id"]]))["generations"]
    assert waited["warnings"] == [f"{own} is not a file, so nothing was saved. Move it away; until then use the link."]
    assert "file_path" not in waited
    assert not outside.exists()


async def test_a_saved_file_says_its_size_and_how_it_is_made(desk) -> None:
    clip, image = await desk.video(), await desk.image()

    facts = {"width": 320, "height": 180, "seconds": 5.0, "fps": 24.0, "codec": "h264", "sound": False}
    assert clip["media"] == facts
    assert image["media"] == {"width": 640, "height": 360, "codec": "jpeg"}
    [waited] = (await desk.call("wait_for_generations", generation_ids=[clip["generation_id"]]))["generations"]
    assert waited["media"] == facts
    saved = await desk.call("download_generation", generation_id=clip["generation_id"], filename="kite")
    assert saved["media"] == facts
    assert "media" not in await desk.call("get_generation", generation_id=clip["generation_id"])
    assert all("media" not in one for one in (await desk.call("list_generations"))["generations"])


@pytest.mark.parametrize("head", [CLIP[:100], b"\xff\xd8\xff\xe0", (ASSETS / "sandbox.png").read_bytes()[:9000]])
async def test_a_file_that_can_not_be_read_is_kept_with_a_warning(desk, head: bytes) -> None:
    desk.wire.inner = Media(desk.wire.inner, status_code=200, stream=httpx.ByteStream(head + bytes(100)))

    made = await desk.video()

    assert Path(made["file_path"]).read_bytes() == head + bytes(100)
    assert made["warnings"] == ["The file was saved, but can't be read. Compare it with the link before you use it."]
    assert "media" not in made
