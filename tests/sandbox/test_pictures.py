"""The files that the sandbox serves, decoded."""

import array
import io
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import av
import pytest
from PIL import Image

from luma_mcp_server.sandbox import pictures
from luma_mcp_server.sandbox.pictures import Picture

from .conftest import Agency, Studio

pytestmark = pytest.mark.anyio


@dataclass
class Clip:
    codecs: list[str]
    size: tuple[int, int]
    seconds: float
    first: bytes
    last: bytes


def decoded(data: bytes) -> Clip:
    with av.open(io.BytesIO(data)) as container:
        codecs = [stream.codec_context.name for stream in container.streams]
        frames: list[Any] = list(container.decode(video=0))
    size = (frames[0].width, frames[0].height)
    pixels = [frame.to_image().tobytes() for frame in (frames[0], frames[-1])]
    return Clip(codecs, size, len(frames) / 24, *pixels)


async def test_a_clip_is_a_playable_mp4_of_the_asked_shape_and_length(studio: Studio) -> None:
    video = await studio.video(aspect_ratio="9:16", resolution="540p", duration="9s")
    answer = await studio.http.get(video.assets.video)
    clip = decoded(answer.content)
    assert (clip.codecs, clip.size, clip.seconds) == (["h264"], (540, 960), 9)
    assert answer.headers["content-type"] == "video/mp4"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert clip.first != clip.last


def test_a_clip_with_sound_can_start_before_it_is_loaded() -> None:
    data = pictures.draw(Picture("a quiet lake", resolution="540p", seconds=0.5, audio=True), "video.mp4")
    assert decoded(data).codecs == ["h264", "aac"]
    assert data.find(b"moov") < data.find(b"mdat")


def shape(studio: Studio, generation: Any) -> tuple[str, str, float, bool]:
    picture = studio.world.jobs[generation.id].picture
    return picture.aspect_ratio, picture.resolution, picture.seconds, picture.audio


async def test_what_starts_from_a_clip_keeps_its_shape(studio: Studio) -> None:
    luma = studio.luma.generations
    first = await studio.video(aspect_ratio="1:1", resolution="540p")
    longer = await studio.video(resolution="540p", keyframes={"frame0": {"type": "generation", "id": first.id}})
    between = await studio.video(
        resolution="540p",
        keyframes={"frame0": {"type": "generation", "id": first.id}, "frame1": {"type": "generation", "id": longer.id}},
    )
    link = {"url": longer.assets.video}
    modified = await luma.video.modify(generation_type="modify_video", model="ray-2", mode="flex_1", media=link)
    reframed = await luma.video.reframe(generation_type="reframe_video", model="ray-2", aspect_ratio="21:9", media=link)
    bigger = await studio.finished(await luma.upscale(longer.id))
    loud = await luma.audio(bigger.id)
    assert [shape(studio, one) for one in (longer, between, modified, reframed, bigger, loud)] == [
        ("1:1", "540p", 10, False),
        ("1:1", "540p", 5, False),
        ("1:1", "540p", 10, False),
        ("21:9", "540p", 10, False),
        ("1:1", "720p", 10, False),
        ("1:1", "720p", 10, True),
    ]


def test_a_prompt_in_any_script_and_length_can_be_drawn() -> None:
    prompts = ("", "x" * 5000, "静かな湖 🐅", "one\ntwo " * 900)
    assert len({pictures.draw(Picture(prompt, "21:9"), "image.jpg") for prompt in prompts}) == len(prompts)


RATIOS = ["1:1", "16:9", "9:16", "4:3", "3:4", "21:9", "9:21", "3:1", "2:1", "3:2", "2:3", "1:2", "1:3"]


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("resolution", ["360p", "540p", "720p", "1080p", "4k", "still"])
def test_every_size_is_even_and_has_the_right_ratio_and_area(ratio: str, resolution: str) -> None:
    width, height = Picture("", ratio, resolution, 0.0 if resolution == "still" else 5.0).size
    across, down = map(int, ratio.split(":"))
    pixels = {"360p": 640 * 360, "540p": 960 * 540, "still": 1024 * 1024}.get(resolution, 1280 * 720)
    assert (width % 2, height % 2) == (0, 0)
    assert width / height == pytest.approx(across / down, rel=0.01)
    assert width * height == pytest.approx(pixels, rel=0.01)


async def test_an_image_has_the_asked_format_and_ratio(studio: Studio, agency: Agency) -> None:
    studio.world.draw = True
    images = [await studio.image(aspect_ratio="3:4", format=kind) for kind in ("jpg", "png")]
    links = [image.assets.image for image in images]
    for kind in ("jpeg", "png", None):
        links.append((await agency.made(aspect_ratio="9:16", output_format=kind)).output[0].url)
    links.append((await studio.video()).assets.image)
    found = []
    for link in links:
        answer = await studio.http.get(link)
        picture = Image.open(io.BytesIO(answer.content))
        assert answer.headers["content-type"] == picture.get_format_mimetype()
        found.append((picture.format, picture.size))
    stills = [("JPEG", (886, 1182)), ("PNG", (886, 1182)), ("JPEG", (768, 1366)), ("PNG", (768, 1366))]
    assert found == [*stills, stills[-1], ("JPEG", (640, 360))]


@pytest.mark.parametrize("spoil", [lambda link: link[:-1] + "x", lambda link: link.split("?")[0]])
async def test_a_link_is_worth_nothing_without_its_signature(studio: Studio, spoil: Any) -> None:
    answer = await studio.http.get(spoil((await studio.video()).assets.image))
    assert (answer.status_code, "AccessDenied" in answer.text) == (403, True)


async def test_without_the_media_extra_bundled_pictures_are_served(studio: Studio) -> None:
    studio.world.draw = False
    video, image = await studio.video(), await studio.image(format="png")
    clip = decoded((await studio.http.get(video.assets.video)).content)
    assert (clip.codecs, clip.size, clip.seconds) == (["h264"], (320, 180), 5)
    stills = [(await studio.http.get(link)).content for link in (video.assets.image, image.assets.image)]
    assert [Image.open(io.BytesIO(still)).format for still in stills] == ["JPEG", "PNG"]


def test_importing_the_sandbox_loads_neither_drawing_nor_server() -> None:
    code = (
        "import sys, luma_mcp_server.sandbox; "
        "print([name for name in ('av', 'PIL', 'uvicorn', 'httpx', 'lumaai', 'mcp') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


async def test_no_two_clips_of_one_prompt_look_alike_but_a_larger_one_looks_as_before(studio: Studio) -> None:
    clips = [await studio.video() for _ in range(2)]
    larger = await studio.finished(await studio.luma.generations.upscale(str(clips[1].id), resolution="1080p"))

    first, second = [decoded((await studio.http.get(one.assets.video)).content) for one in clips]

    assert first.first != second.first
    assert first.first != first.last
    assert studio.world.jobs[larger.id].picture.version == 1


def test_sound_can_be_heard() -> None:
    data = pictures.draw(Picture("a quiet lake", resolution="540p", seconds=0.5, audio=True), "video.mp4")

    with av.open(io.BytesIO(data)) as container:
        loudest = max(max(array.array("f", bytes(frame.planes[0]))) for frame in container.decode(audio=0))

    assert loudest > 0.05
