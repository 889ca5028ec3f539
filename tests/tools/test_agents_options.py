"""What only the Agents API has: keyframes, HDR, edit controls, placement, styles, layers, and frames of videos."""

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

import anyio
import av
import pytest
from dirty_equals import IsStr
from PIL import Image

from luma_mcp_server.sandbox.pictures import Picture, draw

pytestmark = pytest.mark.anyio

URL = "https://example.com/lake.jpg"
OTHER = "https://example.com/hill.png"
CLIP = "https://example.com/lake.mp4"
LINK = {"url": URL}


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A real clip of the user's: two seconds, 24 frames each."""
    path = tmp_path / "kite.mp4"
    path.write_bytes(draw(Picture("a kite", resolution="360p", seconds=2.0), "video.mp4"))
    return path


# Keyframes.


async def test_keyframes_are_sent_in_order_on_the_grid_of_24_frames_a_second(agents_desk) -> None:
    made = await agents_desk.call(
        "generate_video",
        prompt="a lake",
        keyframes=[f"{OTHER}#at=5", f"{URL}#frame=36", f"{URL}#at=0"],
    )

    assert agents_desk.posts[0].body["video"] == {
        "resolution": "720p",
        "duration": "5s",
        "keyframes": [LINK, LINK, {"url": OTHER}],
        "keyframe_indexes": [0, 36, 120],
    }
    assert made["estimated_cost_usd"] == 0.30
    assert made["arguments"]["keyframes"] == [f"{URL}#frame=0", f"{URL}#frame=36", f"{OTHER}#frame=120"]


async def test_a_clip_of_ten_seconds_has_twice_the_places_and_takes_64_keyframes(agents_desk) -> None:
    frames = [f"{URL}#frame={number}" for number in (*range(63), 240)]
    await agents_desk.call("generate_video", prompt="a lake", keyframes=frames, duration="10s")

    assert agents_desk.posts[0].body["video"]["keyframe_indexes"] == [*range(63), 240]


async def test_a_saved_image_a_generation_and_a_local_file_are_keyframes(agents_desk, tmp_path) -> None:
    image = await agents_desk.image()
    (tmp_path / "red.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"red")
    frames = [f"{image['generation_id']}#at=0", f"{image['file_path']}#at=1", "~/red.png#at=2"]

    made = await agents_desk.call("generate_video", prompt="a lake", keyframes=frames)

    first, second, third = agents_desk.posts[-1].body["video"]["keyframes"]
    assert first["url"].partition("?")[0] == second["url"].partition("?")[0]
    assert set(third) == {"data", "media_type"}
    assert made["files_sent"] == [str(tmp_path / "red.png")]


async def test_an_edit_takes_keyframes_on_its_source_s_own_frames(agents_desk, clip) -> None:
    made = await agents_desk.video()
    arguments = {"mode": "flex_2", "prompt": "painted"}

    await agents_desk.call(
        "modify_video", source=made["generation_id"], keyframes=[f"{URL}#at=2", f"{URL}#frame=0"], **arguments
    )
    assert agents_desk.posts[-1].body["video"]["edit"]["keyframe_indexes"] == [0, 48]
    await agents_desk.call("modify_video", source=str(clip), keyframes=[f"{URL}#at=1.5"], **arguments)
    assert agents_desk.posts[-1].body["video"]["edit"]["keyframe_indexes"] == [36]
    await agents_desk.call("modify_video", source=CLIP, keyframes=[f"{URL}#frame=7"], **arguments)
    assert agents_desk.posts[-1].body["video"]["edit"]["keyframe_indexes"] == [7]


WORKS: dict[str, Any] = {"prompt": "a lake"}
EDIT = {"prompt": "a lake", "source": CLIP, "mode": "flex_1"}


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("generate_video", {"keyframes": [f"{URL}#frame={n}" for n in range(65)]}, "keyframes takes at most 64"),
        ("generate_video", {"keyframes": [f"{URL}#at=1", f"{OTHER}#frame=24"]}, "keyframes[1] falls on frame 24"),
        ("generate_video", {"keyframes": [f"{URL}#at=6"]}, "Use a time up to 5, or a frame up to 120"),
        ("generate_video", {"keyframes": [f"{URL}#frame=121"]}, "past the end of the clip"),
        ("generate_video", {"keyframes": [URL]}, "keyframes[0] does not say where it belongs"),
        ("generate_video", {"keyframes": [f"{URL}#at=soon"]}, "#at=soon can't be used"),
        ("generate_video", {"keyframes": [f"{URL}#at=-1"]}, "Write seconds from the start, as in #at=1.5"),
        ("generate_video", {"keyframes": [f"{URL}#weight=1"]}, "keyframes[0] takes no #weight"),
        ("generate_video", {"keyframes": ["https://example.com/a.gif#at=1"]}, "keyframes[0] is a GIF"),
        ("generate_video", {"keyframes": [f"{URL}#at=1"], "start_image": URL}, "Make them keyframes: #at=0"),
        ("generate_video", {"keyframes": [f"{URL}#at=1"], "end_image": URL}, "can't be combined"),
        ("generate_video", {"keyframes": [f"{URL}#at=1"], "loop": True}, "loops only 5s clips without"),
        ("generate_video", {"loop": True, "duration": "10s"}, "loops only 5s clips without"),
        ("generate_video", {"dynamic_range": "hdr", "resolution": "540p"}, "Use resolution=720p ($0.60)"),
        ("generate_video", {"dynamic_range": "hdr", "resolution": "360p"}, "HDR in 720p and 1080p, not 360p"),
        ("generate_video", {"dynamic_range": "hdr_exr", "loop": True}, "makes no HDR loops"),
        ("generate_video", {"dynamic_range": "hdr", "duration": "10s"}, "Or use duration=5s ($0.60)"),
        ("generate_video", {"start_image": f"{URL}#at=1"}, "#at= works only on videos, and start_image is an image"),
        ("generate_image", {"image_refs": [f"{URL}#frame=1"]}, "image_refs[0] takes no #frame"),
        ("generate_image", {"style": "manga", "aspect_ratio": "16:9"}, "Or use aspect_ratio=2:3 ($0.0404)"),
        ("modify_video", EDIT | {"source": f"{CLIP}#at=1"}, "source takes no #at"),
        ("modify_video", EDIT | {"source": URL}, "source must be a video, and its URL ends like an image"),
        ("modify_video", EDIT | {"keyframes": [f"{URL}#at=1"]}, "Use #frame= in place of #at="),
        ("modify_video", EDIT | {"keyframes": [f"{URL}#frame=1"], "start_image": URL}, "#at=0 is the first frame"),
        ("modify_video", EDIT | {"controls": ["depth=2"]}, "depth takes a number from 0 to 1, or off, not '2'"),
        ("modify_video", EDIT | {"controls": ["pose=strict"]}, "pose takes precise or coarse, or off, not 'strict'"),
        ("modify_video", EDIT | {"controls": ["face=0.4"]}, "face takes no value, or off"),
        ("modify_video", EDIT | {"controls": ["depht=0.4"]}, "controls has no 'depht'. Nothing was sent. Did you mean"),
        ("modify_video", EDIT | {"controls": ["face", "face=off"]}, "controls names face twice"),
        ("modify_video", EDIT | {"controls": ["face"], "mode": "auto"}, "mode=auto chooses the controls itself"),
        ("reframe_media", {"source": CLIP, "aspect_ratio": "1:1", "placement": "-3,0,1,1"}, "x and y from -2 to 2"),
        ("reframe_media", {"source": CLIP, "aspect_ratio": "1:1", "placement": "0,0,2.5,1"}, "height up to 2"),
        ("reframe_media", {"source": CLIP, "aspect_ratio": "1:1", "placement": "0,0,1"}, "as in 0,0.25,1,0.5"),
        ("reframe_media", {"source": CLIP, "aspect_ratio": "1:1", "placement": "0,0,nan,1"}, "no rectangle that Luma"),
        ("extract_layers", {"source": URL, "prompt": "x" * 501}, "prompt is 501 characters long"),
        ("generate_image", {"image_refs": [URL] * 10}, "at most 9 reference images"),
        ("modify_image", {"source": URL, "image_refs": [URL] * 9}, "at most 8 reference images"),
        ("generate_video", {"start_image": "red.png"}, "is a file name without its folder"),
        (
            "generate_video",
            {"start_image": "pics/red.png"},
            "neither a generation id nor an absolute path or https URL",
        ),
    ],
)
async def test_what_is_documented_as_refused_is_refused_in_a_sentence_and_nothing_is_sent(
    agents_desk, tool: str, arguments: dict[str, Any], words: str
) -> None:
    said = await agents_desk.refusal(tool, **(WORKS | arguments))

    assert words in said
    assert "Nothing was sent" in said
    assert agents_desk.wire.sent == []


async def test_an_image_is_no_source_of_a_video_edit(agents_desk, tmp_path) -> None:
    image = await agents_desk.image()
    (tmp_path / "red.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"red")

    for source in (image["generation_id"], "~/red.png"):
        said = await agents_desk.refusal("modify_video", **EDIT | {"source": source})
        assert "Nothing was" in said
    assert agents_desk.charges == 1


# HDR, controls, placement, styles.


async def test_hdr_costs_twice_and_with_exr_three_times_as_much(agents_desk) -> None:
    made = await agents_desk.video(dynamic_range="hdr")
    assert agents_desk.posts[-1].body["video"] == {"resolution": "720p", "duration": "5s", "hdr": True}
    assert (made["estimated_cost_usd"], agents_desk.world.ledger[-1].cents) == (0.60, 60.0)
    assert "outputs" not in made
    edited = await agents_desk.call(
        "modify_video", source=made["generation_id"], mode="flex_1", prompt="snow", dynamic_range="hdr_exr"
    )
    assert agents_desk.posts[-1].body["video"]["exr_export"] is True
    assert (edited["estimated_cost_usd"], agents_desk.world.ledger[-1].cents) == (3.24, 324.0)


async def test_the_exr_beside_an_hdr_clip_is_shown_and_saved(agents_desk) -> None:
    made = await agents_desk.video(dynamic_range="hdr_exr", keyframes=[f"{URL}#at=10"], duration="10s")

    clip, exr = made["outputs"]
    assert clip["type"] == "video"
    assert clip["file_path"] == made["file_path"] == str(agents_desk.folder / Path(made["file_path"]).name)
    assert exr["file_path"].endswith(f"{made['generation_id']}-02.exr")
    assert Path(exr["file_path"]).read_bytes()[:4] == b"\x76\x2f\x31\x01"
    shown = await agents_desk.call("get_generation", generation_id=made["generation_id"])
    assert [one["file_path"] for one in shown["outputs"]] == [made["file_path"], exr["file_path"]]
    again = await agents_desk.call("download_generation", generation_id=made["generation_id"], filename="dawn")
    assert [Path(one["file_path"]).name for one in again["outputs"]] == ["dawn.mp4", "dawn-02.exr"]


async def test_ten_seconds_of_hdr_have_no_published_price_and_say_so(agents_desk) -> None:
    arguments = {"prompt": "a lake", "dynamic_range": "hdr", "keyframes": [f"{URL}#at=10"], "duration": "10s"}
    quote = await agents_desk.call("generate_video", **arguments, dry_run=True)

    assert "estimated_cost_usd" not in quote
    assert quote["counts_usd"] == 1.80
    assert "publishes no price for this length" in quote["assumed"]


async def test_a_refusal_for_want_of_hdr_says_so(agents_desk) -> None:
    agents_desk.world.hdr_access = False
    said = await agents_desk.refusal("generate_video", prompt="a lake", dynamic_range="hdr")

    assert "HDR needs access that Luma grants to an account" in said
    assert "Nothing was charged" in said


async def test_mode_and_controls_go_into_an_edit(agents_desk) -> None:
    await agents_desk.call("modify_video", **EDIT | {"mode": "auto"})
    assert agents_desk.posts[-1].body["video"]["edit"] == {"auto_controls": True}
    controls = ["pose=precise", "Depth = 0.4", "normals=off", "trajectory=1", "face"]
    made = await agents_desk.call("modify_video", **EDIT | {"controls": controls})

    assert agents_desk.posts[-1].body["video"]["edit"] == {
        "strength": "flex_1",
        "controls": {
            "pose": {"enabled": True, "strength": "precise"},
            "depth": {"enabled": True, "blur": 0.4},
            "normals": {"enabled": False},
            "trajectory": {"enabled": True, "sparsity": 1.0},
            "face": {"enabled": True},
        },
    }
    assert made["arguments"]["controls"] == ["pose=precise", "depth=0.4", "normals=off", "trajectory=1.0", "face=on"]


async def test_a_source_is_placed_by_fractions_and_may_reach_beyond_the_frame(agents_desk) -> None:
    await agents_desk.call("reframe_media", source=CLIP, aspect_ratio="1:1", placement="-0.5, 0.25, 2, 0.5")

    position = agents_desk.posts[0].body["video"]["source_position"]
    assert position == {"x_norm": -0.5, "y_norm": 0.25, "w_norm": 2.0, "h_norm": 0.5}


async def test_manga_is_drawn_in_a_portrait_shape_and_the_web_is_searched_if_asked(agents_desk) -> None:
    await agents_desk.image(style="manga", web_search=True)
    assert agents_desk.posts[-1].body == {
        "type": "image",
        "model": "uni-1",
        "prompt": "a quiet lake",
        "style": "manga",
        "web_search": True,
    }
    await agents_desk.image(style="manga", aspect_ratio="9:16")
    await agents_desk.call("modify_image", source=URL, prompt="snow", style="manga", web_search=True)
    assert agents_desk.posts[-1].body["type"] == "image_edit"
    assert agents_desk.posts[-1].body["web_search"] is True


# Layers.


async def test_an_image_is_taken_apart_into_saved_layers_that_make_it_up_again(agents_desk) -> None:
    agents_desk.world.draw = True
    image = await agents_desk.image("a kite over dunes")

    made = await agents_desk.call("extract_layers", source=image["generation_id"], resolution="2k")

    assert agents_desk.posts[-1].body == {
        "type": "layering",
        "model": "uni-1",
        "prompt": "Separate the image into its natural layers",
        "source": {"url": IsStr()},
        "layering": {"resolution": "2k"},
    }
    assert (made["operation"], made["type"], "image_url" in made) == ("extract_layers", "image", False)
    layers = made["outputs"]
    assert len(layers) > 2
    assert all({"type", "url", "label", "description", "edge", "bounds", "file_path"} <= set(one) for one in layers)
    assert layers[-1]["edge"] == "none"
    names = [Path(one["file_path"]).name for one in layers]
    assert all(f"{made['generation_id']}-{number:02}-" in name for number, name in enumerate(names, 1))
    whole = Image.open(made["file_path"])
    assert whole.size == (layers[0]["bounds"]["canvas_width"], layers[0]["bounds"]["canvas_height"])
    assert whole.getextrema()[3] == (255, 255)  # the background covers all
    assert "Luma publishes no price for layers" in made["warnings"][0]
    assert made["warnings"][0].endswith("it counts as 10 images edited by uni-1-max, $1.03.")
    shown = await agents_desk.call("get_generation", generation_id=made["generation_id"])
    assert [one["file_path"] for one in shown["outputs"]] == [one["file_path"] for one in layers]
    picture = (await agents_desk.raw("preview_generations", generation_ids=[made["generation_id"]])).content[0]
    assert picture.type == "image"


async def test_layers_without_bounds_are_saved_all_the_same(agents_desk) -> None:
    agents_desk.world.draw, agents_desk.world.bounds = True, False

    made = await agents_desk.call("extract_layers", source=URL, prompt="kite, sky")

    assert "bounds" not in made["outputs"][0]
    assert all(Path(one["file_path"]).exists() for one in made["outputs"])
    assert "file_path" not in made


async def test_layers_are_no_source_but_each_of_their_files_is(agents_desk) -> None:
    made = await agents_desk.call("extract_layers", source=URL)
    layer = made["outputs"][0]["file_path"]

    said = await agents_desk.refusal("modify_image", source=made["generation_id"], prompt="snow")
    assert "consists of layers: give the file_path of one" in said
    await agents_desk.call("modify_image", source=layer, prompt="snow")
    assert agents_desk.posts[-1].body["source"]["media_type"] == "image/png"


# Frames of videos.


def frame(body: dict[str, Any]) -> Image.Image:
    """The picture that a request carries."""
    assert body["media_type"] == "image/jpeg"
    return Image.open(BytesIO(base64.b64decode(body["data"])))


class Inside:
    """Keeps the content of the requests, which the sandbox shortens."""

    def __init__(self, desk: Any) -> None:
        self.desk = desk

    @property
    def video(self) -> dict[str, Any]:
        import json

        sent = [one for one in self.desk.wire.sent if one.method == "POST"][-1]
        body: dict[str, Any] = json.loads(sent.content)
        return body["video"]


def bar(picture: Image.Image) -> float:
    """How far the sandbox's progress bar has come, from 0 to 1."""
    row = [picture.getpixel((x, picture.height - 2)) for x in range(picture.width)]
    return sum(min(pixel[:3]) > 200 for pixel in row if isinstance(pixel, tuple)) / picture.width


async def test_an_image_that_is_a_video_means_its_last_frame_and_at_the_end_its_first(agents_desk) -> None:
    agents_desk.world.draw = True
    first, second = await agents_desk.video("one"), await agents_desk.video("two")

    made = await agents_desk.video(
        "between", start_image=first["generation_id"], end_image=second["generation_id"], duration="5s"
    )

    sent = Inside(agents_desk).video
    assert bar(frame(sent["start_frame"])) > 0.95
    assert bar(frame(sent["end_frame"])) < 0.05
    assert frame(sent["start_frame"]).size == (1280, 720)
    assert made["files_sent"] == [
        f"last frame of {first['generation_id']}",
        f"first frame of {second['generation_id']}",
    ]
    assert made["arguments"]["start_image"] == first["generation_id"]


async def test_a_moment_of_a_clip_is_cut_from_the_saved_file_the_link_or_a_local_file(open_desk, clip) -> None:
    keys = {"LUMA_API_KEY": "luma-api-sandbox-key", "LUMA_MCP_SAVE": "off"}
    async with open_desk(**keys) as desk:
        desk.world.draw = True
        made = await desk.video()
        for source, share in ((f"{made['generation_id']}#at=1", 0.2), (f"{clip}#at=1", 0.5)):
            await desk.video(start_image=source)
            assert bar(frame(Inside(desk).video["start_frame"])) == pytest.approx(share, abs=0.03)
        for source in (made["generation_id"], str(clip)):
            edit = {"source": source, "prompt": "snow", "image_refs": [f"{source}#at=1"]}
            quote = await desk.call("modify_image", **edit, dry_run=True)
            changed = await desk.call("modify_image", **edit)
            frames = [f"last frame of {source}", f"frame at 1 s of {source}"]
            assert quote["files_sent"] == changed["files_sent"] == frames
        said = await desk.refusal("generate_video", prompt="a lake", start_image=f"{clip}#at=7")
        assert "#at=7 is past the end of" in said
        assert "which lasts 2.00 s" in said
        assert "Nothing was sent" in said


async def test_a_clip_of_either_api_goes_on_with_a_model_of_the_other(both_desk) -> None:
    both_desk.world.draw = True
    theirs = await both_desk.video(model="ray-2")

    made = await both_desk.video("it goes on", start_image=theirs["generation_id"])
    assert made["model"] == "ray-3.2"
    said = await both_desk.refusal(
        "generate_video", prompt="it goes on", start_image=made["generation_id"], model="ray-2"
    )
    assert "is no URL, and Dream Machine models fetch media by URL alone" in said
    assert "Or use model=ray-3.2 ($0.30) to get exactly this." in said


async def test_with_a_dream_machine_key_alone_a_video_is_no_image(desk) -> None:
    made = await desk.video()

    assert "must be an image" in await desk.refusal("generate_video", prompt="on", start_image=made["generation_id"])


async def test_a_clip_that_stands_on_its_side_is_turned_upright(agents_desk, tmp_path) -> None:
    path = tmp_path / "phone.mp4"
    with av.open(path, "w") as container:
        stream: Any = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        picture = Image.new("RGB", (64, 32), "black")
        picture.paste("white", (0, 0, 32, 32))
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    turned = path.read_bytes()
    # The track's matrix: a quarter turn, as phones write it.
    unturned = bytes.fromhex("00010000" + "00000000" * 3 + "00010000" + "00000000" * 3 + "40000000")
    quarter = bytes.fromhex("000000000001000000000000ffff0000" + "00000000" * 4 + "40000000")
    head, found, tail = turned.rpartition(unturned)
    assert found
    path.write_bytes(head + quarter + tail)

    await agents_desk.video(start_image=str(path))

    upright = frame(Inside(agents_desk).video["start_frame"]).convert("L")
    assert upright.size == (32, 64)
    assert upright.getpixel((16, 8)) > 200 > 60 > upright.getpixel((16, 56))


# What was uploaded.


def states(desk: Any) -> list[str]:
    """How the files at Luma stand, oldest first."""
    return [file.state(desk.world.clock()) for file in desk.world.files.values()]


async def large(desk: Any, folder: Path, **arguments: Any) -> dict[str, Any]:
    """A video that starts from a picture too large to travel inside a request."""
    (folder / "large.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 5 * 1024**2)
    made: dict[str, Any] = await desk.call("generate_video", prompt="a lake", start_image="~/large.png", **arguments)
    return made


async def test_an_uploaded_file_is_kept_a_quarter_of_an_hour_after_its_last_use(agents_desk, tmp_path) -> None:
    await large(agents_desk, tmp_path)
    await anyio.sleep(600)
    await large(agents_desk, tmp_path, take=2)
    assert (await agents_desk.call("get_account"))["apis"][0]["files_at_luma"] == 1
    await anyio.sleep(600)
    assert states(agents_desk) == ["ready"]
    await anyio.sleep(1200)

    assert states(agents_desk) == ["deleted"]
    assert (await agents_desk.call("get_account"))["apis"][0]["files_at_luma"] == 0
    assert (await large(agents_desk, tmp_path, take=3))["state"] == "completed"
    assert states(agents_desk) == ["deleted", "ready"]


async def test_the_end_of_the_server_deletes_what_no_job_needs(open_desk, tmp_path) -> None:
    keys = {"LUMA_API_KEY": "luma-api-sandbox-key"}
    async with open_desk(**keys) as desk:
        await large(desk, tmp_path)
    assert states(desk) == ["deleted"]

    async with open_desk(beside=desk, **keys) as desk:
        desk.world.seconds = 600
        await large(desk, tmp_path, take=2, wait_s=0)
    assert states(desk) == ["deleted", "ready"]
    assert all(file.asked.expires_at for file in desk.world.files.values())


async def test_who_buys_is_told_to_luma_and_summed_up(open_desk, tmp_path) -> None:
    keys = {"LUMA_API_KEY": "luma-api-sandbox-key"}
    async with open_desk(LUMA_MCP_USER="ann", **keys) as ann:
        await large(ann, tmp_path)
        assert ann.posts[-1].body["user_id"] == "ann"
        async with open_desk(beside=ann, **keys) as desk:
            await desk.image()
            assert "user_id" not in desk.posts[-1].body
            account = await desk.call("get_account")
            assert account["spent_24h_by_user_usd"] == {"nobody named": 0.04, "ann": 0.3}
        assert [row["user"] for row in ann.rows()] == ["ann", None]
        assert next(iter(ann.world.files.values())).asked.user_id == "ann"


async def test_a_user_that_is_no_name_buys_nothing(open_desk) -> None:
    async with open_desk(LUMA_MCP_USER="a" * 65) as desk:
        assert "LUMA_MCP_USER must be a name of at most 64" in await desk.refusal("generate_video", prompt="a lake")
        assert desk.posts == []


async def test_a_video_with_a_title_in_an_old_encoding_or_cut_short_is_no_riddle(agents_desk, clip, tmp_path) -> None:
    whole = clip.read_bytes()
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 3])
    (tmp_path / "head.mp4").write_bytes(whole[: whole.index(b"mdat") + 8])
    for name in ("half.mp4", "head.mp4"):
        said = await agents_desk.refusal("generate_video", prompt="a lake", start_image=f"~/{name}")
        assert "breaks off before its frame at" in said
        assert "Nothing was sent" in said
    titled = tmp_path / "titled.mp4"
    with av.open(titled, "w") as container:
        container.metadata["title"] = "cafe"
        stream: Any = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        for _ in range(24):
            container.mux(stream.encode(av.VideoFrame.from_image(Image.new("RGB", (64, 32), "red"))))
        container.mux(stream.encode())
    titled.write_bytes(titled.read_bytes().replace(b"cafe", b"caf\xe9"))

    await agents_desk.video(start_image=str(titled))
    await agents_desk.call("modify_video", source=str(titled), mode="flex_1", prompt="snow")


async def test_images_that_are_too_large_together_are_uploaded(agents_desk, tmp_path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes([number]) * 2 * 1024**2)
    frames = [f"~/{number}.png#at={number}" for number in range(3)]

    await agents_desk.call("generate_video", prompt="a lake", keyframes=frames)

    assert all(set(one) == {"file_id"} for one in agents_desk.posts[-1].body["video"]["keyframes"])
    assert len(agents_desk.world.files) == 3


async def test_a_source_that_is_too_long_is_refused_before_it_is_sent(agents_desk, tmp_path) -> None:
    (tmp_path / "long.mp4").write_bytes(draw(Picture("a kite", resolution="360p", seconds=31.0), "video.mp4"))
    edit = {"mode": "flex_1", "prompt": "snow"}

    said = await agents_desk.refusal("modify_video", source="~/long.mp4", **edit)
    assert "ray-3.2 takes at most 18 s, and the source lasts 31 s" in said
    said = await agents_desk.refusal("reframe_media", source="~/long.mp4", aspect_ratio="1:1")
    assert "at most 30 s" in said
    assert agents_desk.wire.sent == []


async def test_the_picture_of_all_layers_is_made_once_seen_and_usable(agents_desk) -> None:
    agents_desk.world.draw = True
    made = await agents_desk.call("extract_layers", source=URL, prompt="a kite")

    again = await agents_desk.call("download_generation", generation_id=made["generation_id"])
    assert again["file_path"] == made["file_path"]
    assert len(list(agents_desk.folder.glob("*.png"))) == len(made["outputs"]) + 1
    [block, _] = (await agents_desk.raw("preview_generations", generation_ids=[made["generation_id"]])).content
    with Image.open(made["file_path"]) as whole:
        assert Image.open(BytesIO(base64.b64decode(block.data))).size == whole.size
    used = await agents_desk.video(start_image=made["file_path"])
    assert used["files_sent"] == [made["file_path"]]


async def test_layers_that_are_not_there_yet_are_left_out(agents_desk) -> None:
    made = await agents_desk.call("extract_layers", source=URL, wait_s=0)

    assert "outputs" not in made


async def test_a_video_that_can_not_be_downloaded_is_said_to_be_the_caller_s(agents_desk) -> None:
    said = await agents_desk.refusal("generate_video", prompt="a lake", start_image=f"{CLIP}#at=1")

    assert "Nothing was bought. the video in start_image could not be downloaded (HTTP 404). Check its link." in said


@pytest.mark.parametrize(
    ("tool", "arguments", "shown"),
    [
        ("extend_video", {"direction": "backward"}, {"direction": "backward"}),
        ("modify_video", {"mode": "flex_1", "controls": ["face=off"]}, {"mode": "flex_1", "controls": ["face=off"]}),
        (
            "reframe_media",
            {"aspect_ratio": "1:1", "placement": "0,0.25,1,0.5"},
            {"aspect_ratio": "1:1", "placement": "0,0.25,1,0.5"},
        ),
    ],
)
async def test_the_arguments_that_are_shown_make_the_same_call(
    agents_desk, tool: str, arguments: dict[str, Any], shown: dict[str, Any]
) -> None:
    clip = (await agents_desk.video())["generation_id"]
    name = "generation_id" if tool == "extend_video" else "source"
    made = await agents_desk.call(tool, prompt="snow falls", **arguments | {name: clip})

    assert made["arguments"].items() >= (shown | {name: clip, "prompt": "snow falls", "take": 1}).items()
    again = await agents_desk.call(tool, **made["arguments"])
    assert (again["reused"], again["generation_id"]) == (True, made["generation_id"])


async def test_a_placement_that_stretches_the_source_says_so_before_it_is_paid_for(agents_desk) -> None:
    clip = (await agents_desk.video())["generation_id"]

    async def said(placement: str) -> list[str]:
        quote = await agents_desk.call(
            "reframe_media", source=clip, aspect_ratio="9:16", placement=placement, dry_run=True
        )
        return list(quote.get("warnings", []))

    assert await said("0,0,1,0.5") == ["This stretches the source: a height of 0.316 in place of 0.5 keeps its shape."]
    assert await said("0,0.3,1,0.316") == []
