"""The files that the sandbox serves, decoded."""

import io
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import av
import httpx
import pytest
from PIL import Image

from luma_mcp_server.sandbox import SANDBOX_KEY, pictures, running_sandbox
from luma_mcp_server.sandbox.pictures import Picture

if TYPE_CHECKING:
    from tests.sandbox.conftest import Agency, Studio

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


async def test_a_clip_is_a_playable_mp4_of_the_asked_shape_and_length(studio: "Studio") -> None:
    video = await studio.video(aspect_ratio="9:16", resolution="540p", duration="9s")
    answer = await studio.http.get(video.assets.video)
    clip = decoded(answer.content)
    assert (clip.codecs, clip.size, clip.seconds) == (["h264"], (540, 960), 9)
    assert answer.headers["content-type"] == "video/mp4"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert clip.first != clip.last


async def test_the_index_stands_at_the_front_so_that_a_browser_can_begin_at_once() -> None:
    data = pictures.draw(Picture("a quiet lake", resolution="540p", seconds=0.5), "video.mp4")
    assert data.find(b"moov") < data.find(b"mdat")


async def test_audio_adds_a_track(studio: "Studio") -> None:
    data = pictures.draw(Picture("a quiet lake", resolution="540p", seconds=0.5, audio=True), "video.mp4")
    assert decoded(data).codecs == ["h264", "aac"]


def shape(studio: "Studio", generation: Any) -> tuple[str, str, float, bool]:
    picture = studio.world.jobs[generation.id].picture
    return picture.aspect_ratio, picture.resolution, picture.seconds, picture.audio


async def test_what_starts_from_a_clip_keeps_its_shape(studio: "Studio") -> None:
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


@pytest.mark.parametrize("ratio", ["1:1", "16:9", "9:16", "4:3", "3:4", "21:9", "9:21"])
@pytest.mark.parametrize("resolution", ["360p", "540p", "720p", "1080p", "4k"])
def test_every_size_is_even_and_has_the_right_ratio(ratio: str, resolution: str) -> None:
    width, height = Picture("", ratio, resolution, 5.0).size
    across, down = map(int, ratio.split(":"))
    assert (width % 2, height % 2) == (0, 0)
    assert width / height == pytest.approx(across / down, rel=0.01)
    assert width * height <= 1280 * 720 * 1.01


@pytest.mark.parametrize("ratio", ["3:1", "2:1", "3:2", "2:3", "1:2", "1:3"])
def test_a_still_of_any_ratio_has_about_a_megapixel(ratio: str) -> None:
    width, height = Picture("", ratio).size
    across, down = map(int, ratio.split(":"))
    assert width / height == pytest.approx(across / down, rel=0.01)
    assert width * height == pytest.approx(1024 * 1024, rel=0.01)


async def test_a_clip_of_the_agents_api_is_silent_and_up_to_ten_seconds_long(agency: "Agency") -> None:
    agency.world.draw = True
    video = await agency.made("video", aspect_ratio="9:16", video={"resolution": "360p", "duration": "10s"})
    clip = decoded((await agency.http.get(video.output[0].url)).content)
    assert (clip.codecs, clip.size, clip.seconds) == (["h264"], (360, 640), 10)


@pytest.mark.parametrize(
    ("output_format", "media_type"), [("jpeg", "image/jpeg"), ("png", "image/png"), (None, "image/png")]
)
async def test_an_image_of_the_agents_api_has_the_asked_format(
    agency: "Agency", output_format: str | None, media_type: str
) -> None:
    image = await agency.made(output_format=output_format)
    answer = await agency.http.get(image.output[0].url)
    found = Image.open(io.BytesIO(answer.content)).get_format_mimetype()
    assert (answer.headers["content-type"], found) == (media_type, media_type)


@pytest.mark.parametrize(("format", "media_type"), [("jpg", "image/jpeg"), ("png", "image/png")])
async def test_an_image_has_the_asked_format_and_ratio(studio: "Studio", format: str, media_type: str) -> None:  # noqa: A002 - Luma's own word
    image = await studio.image(aspect_ratio="3:4", format=format)
    answer = await studio.http.get(image.assets.image)
    picture = Image.open(io.BytesIO(answer.content))
    assert (answer.headers["content-type"], picture.get_format_mimetype()) == (media_type, media_type)
    assert picture.width / picture.height == pytest.approx(3 / 4, rel=0.01)


async def test_a_video_has_a_jpeg_thumbnail(studio: "Studio") -> None:
    video = await studio.video()
    picture = Image.open(io.BytesIO((await studio.http.get(video.assets.image)).content))
    assert (picture.format, picture.size) == ("JPEG", (640, 360))


def test_another_prompt_gives_another_picture() -> None:
    one, other = (pictures.draw(Picture(prompt), "image.jpg") for prompt in ("a tiger", "a lake"))
    assert one != other
    assert one == pictures.draw(Picture("a tiger"), "image.jpg")


def test_a_prompt_in_any_script_and_length_can_be_drawn() -> None:
    for prompt in ("", "x" * 5000, "静かな湖 🐅", "one\ntwo " * 900):
        assert pictures.draw(Picture(prompt, "21:9"), "image.jpg")


async def test_a_file_is_drawn_once(studio: "Studio") -> None:
    link = (await studio.video()).assets.image
    await studio.http.get(link)
    job = next(iter(studio.world.jobs.values()))
    assert studio.world.media(job, "thumbnail.jpg") is studio.world.media(job, "thumbnail.jpg")


@pytest.mark.parametrize("spoil", [lambda link: link[:-1] + "x", lambda link: link.split("?")[0]])
async def test_a_link_is_worth_nothing_without_its_signature(studio: "Studio", spoil: Any) -> None:
    answer = await studio.http.get(spoil((await studio.video()).assets.image))
    assert (answer.status_code, "AccessDenied" in answer.text) == (403, True)


async def test_a_link_is_good_for_an_hour(studio: "Studio") -> None:
    link = (await studio.video()).assets.image
    studio.clock.now += 3600
    assert (await studio.http.get(link)).status_code == 200
    studio.clock.now += 1
    assert (await studio.http.get(link)).status_code == 403


async def test_without_the_media_extra_bundled_pictures_are_served(studio: "Studio") -> None:
    studio.world.draw = False
    video, image = await studio.video(), await studio.image(format="png")
    clip = decoded((await studio.http.get(video.assets.video)).content)
    assert (clip.codecs, clip.size, clip.seconds) == (["h264"], (320, 180), 5)
    stills = [(await studio.http.get(link)).content for link in (video.assets.image, image.assets.image)]
    assert [Image.open(io.BytesIO(still)).format for still in stills] == ["JPEG", "PNG"]


def test_a_clip_is_served_over_a_socket() -> None:
    with running_sandbox(seconds=0) as address, httpx.Client(base_url=address) as http:
        body = {"model": "ray-2", "prompt": "a quiet lake", "resolution": "540p"}
        headers = {"Authorization": f"Bearer {SANDBOX_KEY}"}
        made = http.post("/dream-machine/v1/generations/video", json=body, headers=headers).json()
        assert made["assets"]["video"].startswith(f"{address}/media/")
        clip = decoded(http.get(made["assets"]["video"], timeout=30).content)
    assert (clip.codecs, clip.size, clip.seconds) == (["h264"], (960, 540), 5)


def test_importing_the_sandbox_loads_neither_drawing_nor_server() -> None:
    code = (
        "import sys, luma_mcp_server.sandbox; "
        "print([name for name in ('av', 'PIL', 'uvicorn', 'httpx', 'lumaai', 'mcp') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
