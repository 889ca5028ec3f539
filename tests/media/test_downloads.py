"""Where files go, and what stands in their way."""

from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import anyio
import httpx
import pytest
from PIL import Image

from luma_mcp_server.media.downloads import Downloads, LumaServerError

pytestmark = pytest.mark.anyio


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


async def test_a_relative_folder_is_refused_in_words_and_nothing_is_saved(open_desk) -> None:
    async with open_desk(LUMA_MCP_OUTPUT_DIR="videos") as desk:
        made = await desk.video()
        assert "LUMA_MCP_OUTPUT_DIR" in made["warnings"][0]
        assert "must be an absolute path" in await desk.refusal(
            "download_generation", generation_id=made["generation_id"]
        )


class Media(httpx.AsyncBaseTransport):
    """Answers every media link in one way, and lets all else through."""

    def __init__(self, inner: httpx.AsyncBaseTransport, **answer: object) -> None:
        self.inner, self.answer = inner, answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if "/media/" in request.url.path:
            return httpx.Response(**self.answer)
        return await self.inner.handle_async_request(request)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"status_code": 403, "text": "expired"}, "Luma's link (HTTP 403); it may have expired"),
        ({"status_code": 200, "text": "<html>"}, "did not lead to a video or image"),
    ],
)
async def test_a_link_that_leads_nowhere_good_is_a_warning_and_leaves_no_file(desk, answer, words: str) -> None:
    desk.wire.inner = Media(desk.wire.inner, **answer)

    made = await desk.video()

    assert made["state"] == "completed"
    assert words in made["warnings"][0]
    assert "Signature" not in made["warnings"][0]
    assert list(desk.folder.iterdir()) == []


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
        (6, None, "link (TooManyRedirects)"),
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
    if warning:
        assert warning in made["warnings"][0]
        assert list(desk.folder.iterdir()) == []


class Dribble(httpx.AsyncByteStream):
    """A clip whose end never comes, or breaks off."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"\0\0\0\x20ftypisom" + b"\0" * 1000
        if self.error:
            raise self.error
        await anyio.sleep_forever()


@pytest.mark.parametrize(
    ("error", "words"), [(httpx.ReadError("reset"), "link (ReadError)"), (None, "no time left to save")]
)
async def test_a_download_that_does_not_end_leaves_the_link_and_no_half_file(desk, error, words: str) -> None:
    desk.wire.inner = Media(desk.wire.inner, status_code=200, stream=Dribble(error))
    started = anyio.current_time()

    made = await desk.video()

    assert anyio.current_time() - started < 46.1
    assert words in made["warnings"][0]
    assert "download_generation" in made["warnings"][0]
    assert made["video_url"]
    assert list(desk.folder.iterdir()) == []


async def test_a_download_that_was_asked_for_and_does_not_end_says_so(desk) -> None:
    made = await desk.video()
    desk.wire.inner = Media(desk.wire.inner, status_code=200, stream=Dribble(None))

    said = await desk.refusal("download_generation", generation_id=made["generation_id"], filename="kite")

    assert "did not end within 45 s (LUMA_MCP_WAIT_S)" in said


@pytest.mark.parametrize("most_bytes", [700_000, 75_000, 10_000])
async def test_a_picture_is_scaled_down_until_it_fits(tmp_path: Path, most_bytes: int) -> None:
    data = BytesIO()
    Image.effect_noise((1500, 1000), 90).save(data, "PNG")
    wire = httpx.MockTransport(lambda _: httpx.Response(200, content=data.getvalue()))
    async with httpx.AsyncClient(transport=wire) as http:
        picture = Downloads(lambda: http, tmp_path, None).picture("https://example.com/a.png", most_bytes)
        if most_bytes == 10_000:
            with pytest.raises(LumaServerError, match="too large to show"):
                await picture
        else:
            shown, mime_type = await picture
            assert len(shown) <= most_bytes
            assert mime_type == "image/jpeg"
