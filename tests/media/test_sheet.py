"""Contact sheets: what a model sees of videos and of several generations at once."""

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from luma_mcp_server.sandbox import AGENTS_SANDBOX_KEY

pytestmark = pytest.mark.anyio


async def look(desk: Any, *ids: str, **arguments: Any) -> tuple[Image.Image, str]:
    """The one picture of a preview, and its words."""
    result = await desk.raw("preview_generations", generation_ids=list(ids), **arguments)
    assert not result.is_error, result.content
    assert result.structured_content is None
    picture, words = result.content
    data = base64.b64decode(picture.data)
    assert len(data) <= 200_000
    found = Image.open(BytesIO(data))
    assert max(found.size) <= 1568
    return found, words.text


def bars(sheet: Image.Image, across: int, down: int) -> list[float]:
    """How far the sandbox's progress bar has come in each cell, by the share of it that is white."""
    width, height, found = (sheet.width - 6) // across - 6, (sheet.height - 6) // down - 6, []
    for row in range(down):
        for column in range(across):
            left, bottom = 6 + column * (width + 6), 6 + row * (height + 6) + height
            # Where it lies exactly depends on how the picture was scaled.
            lines = ([sheet.getpixel((left + x, bottom - up)) for x in range(width)] for up in range(1, 8))
            found.append(max(sum(min(pixel) > 120 for pixel in line) for line in lines) / width)
    return found


@pytest.mark.parametrize(("frames", "across", "down"), [(1, 1, 1), (4, 2, 2), (9, 3, 3)])
async def test_a_video_is_shown_by_frames_evenly_spread(agents_desk, frames: int, across: int, down: int) -> None:
    agents_desk.world.draw = True
    made = (await agents_desk.video())["generation_id"]

    sheet, words = await look(agents_desk, made, frames=frames)

    shares = bars(sheet, across, down)
    assert shares == pytest.approx([(number + 0.5) / frames for number in range(frames)], abs=0.06)
    assert words == f"video {made}; get_generation gives links"


async def test_several_generations_are_rows_of_one_picture(both_desk) -> None:
    both_desk.world.draw = True
    tall = (await both_desk.video("tall", aspect_ratio="9:16"))["generation_id"]
    wide = (await both_desk.video("wide", model="ray-2", aspect_ratio="21:9"))["generation_id"]
    image = (await both_desk.image("still"))["generation_id"]

    sheet, words = await look(both_desk, tall, wide, image, frames=3)

    assert words == f"1 = {tall}, 2 = {wide}, 3 = {image}; get_generation gives links"
    assert sheet.height > sheet.width / 3


async def test_nine_videos_of_nine_frames_fit(agents_desk) -> None:
    agents_desk.world.draw = True
    made = (await agents_desk.video())["generation_id"]
    ids = [made, *[(await agents_desk.video(take=take))["generation_id"] for take in range(2, 10)]]

    await look(agents_desk, *ids, frames=9)


async def test_an_image_is_shown_as_it_is(desk) -> None:
    desk.world.draw = True
    made = await desk.image()

    picture, _ = await look(desk, made["generation_id"])

    assert picture.size == (1366, 768)


async def test_a_video_that_is_not_saved_is_looked_at_by_its_link(open_desk) -> None:
    async with open_desk(LUMA_API_KEY=AGENTS_SANDBOX_KEY, LUMA_MCP_SAVE="off") as desk:
        desk.world.draw = True
        made = (await desk.video())["generation_id"]

        assert len(set(bars((await look(desk, made))[0], 2, 2))) == 4


async def test_a_clip_that_is_cut_off_is_refused_in_words_alone_and_among_others(desk) -> None:
    desk.world.draw = True
    made, other = await desk.video(), await desk.video(take=2)
    path = Path(made["file_path"])
    path.write_bytes(path.read_bytes()[:20_000])

    for ids in ([made["generation_id"]], [other["generation_id"], made["generation_id"]]):
        said = await desk.refusal("preview_generations", generation_ids=ids)
        assert f"{made['generation_id']} can't be decoded: it is damaged or cut off" in said


@pytest.mark.parametrize("frames", [0, 10])
async def test_no_more_than_nine_frames_are_shown(desk, frames: int) -> None:
    said = await desk.refusal("preview_generations", generation_ids=["x"], frames=frames)

    assert "frames must be at" in said
