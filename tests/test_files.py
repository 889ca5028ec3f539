"""Where files go, and what stands in their way."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import httpx
import pytest

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


async def test_half_a_file_that_a_killed_server_left_makes_no_copies(desk) -> None:
    made = await desk.video(wait_s=0)
    desk.folder.mkdir()
    left = desk.folder / f"a-quiet-lake-{made['generation_id']}.mp4.part"
    left.write_text("half")

    for _ in range(3):
        await desk.call("wait_for_generations", generation_ids=[made["generation_id"]])

    assert sorted(desk.folder.iterdir()) == [left.with_suffix(""), left]


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
        ({"status_code": 403, "text": "expired"}, "HTTP 403; it may have expired"),
        ({"status_code": 200, "text": "<html>"}, "did not lead to a video or an image"),
        ({"status_code": 200, "text": ""}, "did not lead to a video or an image"),
        ({"status_code": 302, "headers": {"location": "http://example.com/a.mp4"}}, "is not https"),
        ({"status_code": 302, "headers": {"location": "https://10.0.0.1/a.mp4"}}, "address of a private network"),
        ({"status_code": 302, "headers": {"location": "/media/again"}}, "HTTP 302"),
    ],
)
async def test_a_link_that_leads_nowhere_good_is_a_warning_and_leaves_no_file(desk, answer, words: str) -> None:
    desk.wire.inner = Media(desk.wire.inner, **answer)

    made = await desk.video()

    assert made["state"] == "completed"
    assert words in made["warnings"][0]
    assert "Signature" not in made["warnings"][0]
    assert list(desk.folder.iterdir()) == []


class Dribble(httpx.AsyncByteStream):
    """A clip whose end never comes, or breaks off."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"\0\0\0\x20ftypisom" + b"\0" * 100
        if self.error:
            raise self.error
        await anyio.sleep_forever()


@pytest.mark.parametrize(
    ("error", "words"), [(httpx.ReadError("reset"), "download broke off (ReadError)"), (None, "no time left to save")]
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


async def test_a_part_file_that_somebody_left_is_not_touched(desk) -> None:
    made = await desk.video()
    (desk.folder / "kite.mp4.part").write_text("theirs")

    saved = await desk.call("download_generation", generation_id=made["generation_id"], filename="kite")

    assert saved["file_path"].endswith("kite-2.mp4")
    assert (desk.folder / "kite.mp4.part").read_text() == "theirs"
