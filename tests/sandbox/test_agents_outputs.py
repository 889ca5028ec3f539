"""What the sandbox's Agents API makes besides one plain file: layers, HDR clips with an EXR, keyframes one can see."""

import io
from collections.abc import Iterator
from typing import Any

import av
import pytest
from PIL import Image, ImageChops, ImageOps, ImageStat

from luma_mcp_server.sandbox import pictures
from luma_mcp_server.sandbox.pictures import Picture

from .conftest import Agency

pytestmark = pytest.mark.anyio

PICTURE = {"url": "https://example.com/picture.jpg"}
CLIP = {"url": "https://example.com/clip.mp4", "media_type": "video/mp4"}


async def fetched(agency: Agency, output: Any) -> Image.Image:
    answer = await agency.http.get(output.url)
    assert answer.headers["content-type"] == "image/png"
    return Image.open(io.BytesIO(answer.content))


def bounds(output: Any) -> dict[str, int]:
    found: dict[str, int] = output.layer.bounds
    return found


# Layers


@pytest.mark.parametrize(
    ("prompt", "labels", "hints"),
    [
        ("even", ["caption", "hills", "sky"], ["soft", "hard", "none"]),
        ("odd", ["caption", "near hills", "far hills", "sky"], ["soft", "hard", "hard", "none"]),
    ],
)
async def test_the_prompt_decides_how_many_layers_a_picture_has(
    agency: Agency, prompt: str, labels: list[str], hints: list[str]
) -> None:
    made = await agency.made("layering", prompt=prompt, source=PICTURE)
    layers = [output.layer for output in made.output]
    assert [layer.label for layer in layers] == labels
    assert [layer.alpha_hint for layer in layers] == hints
    assert [layer.index for layer in layers] == list(range(len(labels)))
    assert all(layer.description for layer in layers)
    assert {output.type for output in made.output} == {"image"}
    assert len({output.url for output in made.output}) == len(labels)


@pytest.mark.parametrize("prompt", ["even", "odd"])
@pytest.mark.parametrize(("resolution", "size"), [("1k", (1254, 836)), ("2k", (2508, 1672))])
async def test_layers_pasted_from_back_to_front_make_the_picture(
    agency: Agency, prompt: str, resolution: str, size: tuple[int, int]
) -> None:
    agency.world.draw = True
    source = await agency.made(prompt="a quiet lake", aspect_ratio="3:2")
    made = await agency.made(
        "layering", prompt=prompt, source={"generation_id": source.id}, layering={"resolution": resolution}
    )
    canvas = Image.new("RGBA", size)
    for output in reversed(made.output):
        layer, place = await fetched(agency, output), bounds(output)
        assert (place["canvas_width"], place["canvas_height"]) == size
        assert (layer.mode, layer.size) == ("RGBA", (place["width"], place["height"]))
        assert layer.getchannel("A").getbbox() == (0, 0, *layer.size)
        canvas.alpha_composite(layer, (place["x"], place["y"]))
    whole = pictures.paint(Picture("a quiet lake", "3:2", resolution)).convert("RGBA")
    assert max(most for _, most in ImageChops.difference(canvas, whole).getextrema()) <= 2
    assert (await fetched(agency, made.output[-1])).getchannel("A").getextrema() == (255, 255)
    background = {
        "canvas_width": size[0],
        "canvas_height": size[1],
        "x": 0,
        "y": 0,
        "width": size[0],
        "height": size[1],
    }
    assert bounds(made.output[-1]) == background


async def test_without_the_media_extra_every_layer_is_the_bundled_picture(agency: Agency) -> None:
    made = await agency.made("layering", prompt="even", source=PICTURE)
    place = {"canvas_width": 480, "canvas_height": 270, "x": 0, "y": 0, "width": 480, "height": 270}
    assert [bounds(output) for output in made.output] == [place] * 3
    assert (await fetched(agency, made.output[0])).size == (480, 270)


async def test_layers_can_come_without_their_bounds(agency: Agency) -> None:
    agency.world.bounds = False
    made = await agency.made("layering", source=PICTURE)
    assert [set(output.layer.to_dict()) for output in made.output] == [
        {"index", "label", "description", "alpha_hint"}
    ] * len(made.output)


async def test_other_outputs_are_no_layers(agency: Agency) -> None:
    assert "layer" not in (await agency.made()).output[0].to_dict()


# HDR


@pytest.mark.parametrize("kind", ["video", "video_edit"])
async def test_an_hdr_clip_has_an_exr_beside_it_if_asked(agency: Agency, kind: str) -> None:
    source = {"source": CLIP} if kind == "video_edit" else {}
    plain = await agency.made(kind, video={"hdr": True}, **source)
    both = await agency.made(kind, video={"hdr": True, "exr_export": True}, **source)
    assert [[output.type for output in made.output] for made in (plain, both)] == [["video"], ["video", "exr"]]
    answer = await agency.http.get(both.output[1].url)
    assert answer.headers["content-type"] == "image/aces"
    assert answer.content[:4] == b"\x76\x2f\x31\x01"
    with av.open(io.BytesIO(answer.content)) as container:
        [frame] = container.decode(video=0)
    assert (frame.width, frame.height) == (8, 4)
    agency.world.draw = True
    assert (await agency.http.get(both.output[1].url)).content == answer.content


async def test_with_keyframes_an_hdr_clip_may_last_ten_seconds(agency: Agency) -> None:
    video = {"hdr": True, "duration": "10s", "keyframes": [PICTURE], "keyframe_indexes": [240]}
    assert (await agency.start("video", video=video)).state == "queued"


async def test_an_edit_may_be_hdr_at_any_resolution(agency: Agency) -> None:
    for resolution in ("360p", "540p", "720p", "1080p"):
        made = await agency.start("video_edit", source=CLIP, video={"hdr": True, "resolution": resolution})
        assert made.state == "queued"


async def test_hdr_needs_access(agency: Agency) -> None:
    agency.world.hdr_access = False
    refused = (400, "HDR is not enabled for this API client")
    body = {"model": "ray-3.2", "prompt": "on", "video": {"hdr": True}}
    assert await agency.refusal(**body, type="video") == refused
    assert await agency.refusal(**body, type="video_edit", source=CLIP) == refused
    assert agency.world.ledger == []


# Keyframes, edits and places


async def test_the_keyframes_of_an_edit_lie_within_its_source(agency: Agency) -> None:
    own = {"generation_id": (await agency.made("video", video={"resolution": "360p"})).id}

    def edit(index: int) -> dict[str, Any]:
        return {"edit": {"keyframes": [PICTURE], "keyframe_indexes": [index]}}

    refused = (422, "edit.keyframes: keyframe_indexes must be between 0 and 120")
    body = {"model": "ray-3.2", "type": "video_edit", "prompt": "red"}
    assert await agency.refusal(**body, source=own, video=edit(121)) == refused
    assert (await agency.start("video_edit", source=own, video=edit(120))).state == "queued"
    assert (await agency.start("video_edit", source=CLIP, video=edit(432))).state == "queued"


def picture(agency: Agency, generation: Any) -> Picture:
    return agency.world.jobs[generation.id].picture


async def test_a_clip_knows_the_keyframes_that_the_sandbox_made(agency: Agency) -> None:
    image = await agency.made(prompt="a red fox")
    guides = [{"generation_id": image.id}, {"url": image.output[0].url}, PICTURE]
    frames = {"keyframes": guides, "keyframe_indexes": [0, 60, 120]}
    fox = picture(agency, image)
    for made in (
        await agency.start("video", video=frames),
        await agency.start("video_edit", source=CLIP, video={"edit": frames}),
    ):
        assert picture(agency, made).keyframes == ((0, fox), (60, fox), (120, None))


def frames(clip: Picture) -> Iterator[Image.Image]:
    with av.open(io.BytesIO(pictures.draw(clip, "video.mp4"))) as container:
        yield from (frame.to_image() for frame in container.decode(video=0))


def alike(one: Image.Image, other: Image.Image) -> bool:
    """Whether they differ by little more than compression and small print."""
    small = [ImageOps.grayscale(picture).resize((32, 18)) for picture in (one, other)]
    return ImageStat.Stat(ImageChops.difference(*small)).mean[0] < 4


def test_a_clip_shows_its_keyframes_for_a_few_frames_and_marks_them_below() -> None:
    fox = Picture("a red fox", "16:9")
    clip = Picture("a quiet lake", "16:9", "360p", 5.0, keyframes=((0, fox), (60, None)))
    shown = list(frames(clip))
    assert len(shown) == 120
    lake, own, other = (
        pictures.paint(Picture(prompt, "16:9", "360p", 5.0)) for prompt in ("a quiet lake", "a red fox", "keyframe 2")
    )
    assert [alike(shown[number], own) for number in (0, 3, 4)] == [True, True, False]
    assert [alike(shown[number], other) for number in (56, 57, 63, 64)] == [False, True, True, False]
    assert [alike(shown[number], lake) for number in (0, 4, 56, 60, 64, 119)] == [False, True, True, False, True, True]
    above_bar = [sum(shown[10].getpixel((x, 354))) > 600 for x in (1, 160, 321, 480)]
    assert above_bar == [True, False, True, False]


async def test_an_edit_shows_how_its_source_is_kept(agency: Agency) -> None:
    kept = {"strength": "flex_2", "controls": {"depth": {"blur": 0.5}, "face": {"enabled": False}, "pose": {}}}
    options = [{"edit": kept, "hdr": True}, {"edit": {"auto_controls": True}}, {}]
    made = [picture(agency, await agency.start("video_edit", source=CLIP, video=video)) for video in options]
    assert [one.notes for one in made] == ["HDR, flex_2, depth, pose", "auto controls", ""]
    assert len({pictures.paint(one).tobytes() for one in made}) == 3


async def test_a_reframed_clip_shows_where_its_source_lies(agency: Agency) -> None:
    position = {"x_norm": 0.25, "y_norm": -0.5, "w_norm": 0.5, "h_norm": 1}
    made = await agency.start(
        "video_reframe", source=CLIP, aspect_ratio="1:1", video={"resolution": "360p", "source_position": position}
    )
    scene = pictures.paint(picture(agency, made))
    width, height = scene.size
    lit = [scene.getpixel((round(x * width), round(y * height))) for x, y in ((0.25, 0.2), (0.5, 0.5), (0.5, 0.25))]
    assert [pixel == (255, 255, 255) for pixel in lit] == [True, True, False]


async def test_manga_is_black_and_white(agency: Agency) -> None:
    scene = pictures.paint(picture(agency, await agency.start(style="manga")))
    red, green, blue = scene.split()
    assert red.tobytes() == green.tobytes() == blue.tobytes()
