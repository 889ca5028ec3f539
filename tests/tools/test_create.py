"""What each creating tool sends to Luma, and what it answers."""

from typing import Any

import pytest
from dirty_equals import IsStr

pytestmark = pytest.mark.anyio

URL = "https://example.com/lake.jpg"
CLIP = "https://example.com/lake.mp4"


async def test_a_video_from_text_alone_answers_with_the_finished_saved_clip(desk) -> None:
    made = await desk.call("generate_video", prompt="a quiet lake at dawn")

    assert desk.posts[0].path == "/dream-machine/v1/generations/video"
    assert desk.posts[0].body == {
        "generation_type": "video",
        "model": "ray-2",
        "prompt": "a quiet lake at dawn",
        "aspect_ratio": "16:9",
        "resolution": "720p",
        "duration": "5s",
    }
    assert made == {
        "generation_id": IsStr(regex=r"[0-9a-f-]{36}"),
        "api": "dream_machine",
        "type": "video",
        "state": "completed",
        "model": "ray-2",
        "prompt": "a quiet lake at dawn",
        "aspect_ratio": "16:9",
        "resolution": "720p",
        "duration": "5s",
        "created_at": IsStr(),
        "video_url": IsStr(regex=r"http://127\.0\.0\.1:8642/media/.+\.mp4\?.+"),
        "thumbnail_url": IsStr(),
        "file_path": str(desk.folder / f"sandbox-a-quiet-lake-at-dawn-{made['generation_id']}.mp4"),
        "media": {"width": 320, "height": 180, "seconds": 5.0, "fps": 24.0, "codec": "h264", "sound": False},
        "charged": "yes",
        "estimated_cost_usd": 0.71,
        "operation": "generate_video",
        "arguments": {
            "prompt": "a quiet lake at dawn",
            "aspect_ratio": "16:9",
            "resolution": "720p",
            "duration": "5s",
            "model": "ray-2",
            "take": 1,
        },
        "sandbox": True,
    }


VIDEO = {"generation_type": "video", "model": "ray-2", "prompt": "a lake", "resolution": "720p", "duration": "5s"}
IMAGE = {"generation_type": "image", "model": "photon-1", "prompt": "a lake"}
START = {"type": "image", "url": URL}


@pytest.mark.parametrize(
    ("tool", "arguments", "path", "body"),
    [
        ("generate_video", {"start_image": URL}, "video", VIDEO | {"keyframes": {"frame0": START}}),
        ("generate_video", {"end_image": URL}, "video", VIDEO | {"keyframes": {"frame1": START}}),
        (
            "generate_video",
            {"start_image": URL, "end_image": URL},
            "video",
            VIDEO | {"keyframes": {"frame0": START, "frame1": START}},
        ),
        (
            "generate_video",
            {
                "model": "ray-flash-2",
                "aspect_ratio": "9:21",
                "resolution": "4k",
                "duration": "9s",
                "loop": True,
                "concepts": ["dolly_zoom", "pov"],
            },
            "video",
            VIDEO
            | {
                "model": "ray-flash-2",
                "aspect_ratio": "9:21",
                "resolution": "4k",
                "duration": "9s",
                "loop": True,
                "concepts": [{"key": "dolly_zoom"}, {"key": "pov"}],
            },
        ),
        ("generate_image", {}, "image", IMAGE | {"aspect_ratio": "16:9", "format": "jpg"}),
        (
            "generate_image",
            {
                "image_refs": [f"{URL}#weight=0.8", URL],
                "style_ref": f"{URL}#weight=0.5",
                "character_refs": [URL],
                "aspect_ratio": "1:1",
                "output_format": "png",
                "model": "photon-flash-1",
            },
            "image",
            IMAGE
            | {
                "model": "photon-flash-1",
                "image_ref": [{"url": URL, "weight": 0.8}, {"url": URL}],
                "style_ref": [{"url": URL, "weight": 0.5}],
                "character_ref": {"identity0": {"images": [URL]}},
                "aspect_ratio": "1:1",
                "format": "png",
            },
        ),
        (
            "modify_image",
            {"source": f"{URL}#weight=0.1", "image_refs": [URL], "output_format": "jpg"},
            "image",
            IMAGE | {"modify_image_ref": {"url": URL, "weight": 0.1}, "image_ref": [{"url": URL}], "format": "jpg"},
        ),
        (
            "modify_video",
            {"source": CLIP, "mode": "flex_2", "start_image": URL, "model": "ray-flash-2"},
            "video/modify",
            {
                "generation_type": "modify_video",
                "model": "ray-flash-2",
                "media": {"url": CLIP},
                "mode": "flex_2",
                "prompt": "a lake",
                "first_frame": {"url": URL},
            },
        ),
        (
            "reframe_media",
            {"source": CLIP, "aspect_ratio": "9:16", "start_image": URL, "x_start": 0, "x_end": 100},
            "video/reframe",
            {
                "generation_type": "reframe_video",
                "model": "ray-2",
                "media": {"url": CLIP},
                "aspect_ratio": "9:16",
                "prompt": "a lake",
                "first_frame": {"url": URL},
                "x_start": 0,
                "x_end": 100,
            },
        ),
        (
            "reframe_media",
            {
                "source": "https://example.com/picture",
                "media_type": "image",
                "aspect_ratio": "21:9",
                "output_format": "png",
                "y_start": 1,
                "y_end": 2,
                "grid_position_x": 3,
                "grid_position_y": 4,
                "resized_width": 5,
                "resized_height": 6,
            },
            "image/reframe",
            {
                "generation_type": "reframe_image",
                "model": "photon-1",
                "media": {"url": "https://example.com/picture"},
                "aspect_ratio": "21:9",
                "prompt": "a lake",
                "format": "png",
                "y_start": 1,
                "y_end": 2,
                "grid_position_x": 3,
                "grid_position_y": 4,
                "resized_width": 5,
                "resized_height": 6,
            },
        ),
    ],
)
async def test_a_tool_sends_exactly_what_was_asked_for(
    desk, tool: str, arguments: dict[str, Any], path: str, body: dict[str, Any]
) -> None:
    made = await desk.call(tool, prompt="a lake", **arguments)

    assert [(post.path, post.body) for post in desk.posts] == [(f"/dream-machine/v1/generations/{path}", body)]
    assert made["state"] == "completed"
    assert desk.charges == 1


@pytest.mark.parametrize("mode", [f"{name}_{n}" for name in ("adhere", "flex", "reimagine") for n in (1, 2, 3)])
async def test_a_video_can_be_modified_in_all_nine_modes(desk, mode: str) -> None:
    await desk.call("modify_video", source=CLIP, mode=mode, prompt="made of paper")

    assert desk.posts[0].body["mode"] == mode


@pytest.mark.parametrize(
    ("arguments", "frames"),
    [
        ({}, {"frame0": "clip"}),
        ({"direction": "backward"}, {"frame1": "clip"}),
        ({"end_image": URL}, {"frame0": "clip", "frame1": START}),
        ({"direction": "backward", "end_image": URL}, {"frame0": START, "frame1": "clip"}),
    ],
)
async def test_a_clip_is_extended_at_the_end_asked_for_in_its_own_shape(
    desk, arguments: dict[str, Any], frames: dict[str, Any]
) -> None:
    clip = await desk.video(model="ray-flash-2", aspect_ratio="1:1", resolution="1080p")

    longer = await desk.call("extend_video", generation_id=clip["generation_id"], prompt="it flies on", **arguments)

    reference = {"type": "generation", "id": clip["generation_id"]}
    assert desk.posts[-1].body == {
        "generation_type": "video",
        "model": "ray-flash-2",
        "prompt": "it flies on",
        "resolution": "1080p",
        "duration": "5s",
        "aspect_ratio": "1:1",
        "keyframes": {name: reference if frame == "clip" else frame for name, frame in frames.items()},
    }
    assert longer["state"] == "completed"
    assert "duration" not in longer, "the clip is longer than what was asked for"


async def test_two_clips_are_interpolated_by_id(desk) -> None:
    first, second = await desk.video(), await desk.video("a storm")

    await desk.call(
        "interpolate_videos",
        start_generation_id=first["generation_id"],
        end_generation_id=second["generation_id"],
        prompt="a change of weather",
    )

    assert desk.posts[-1].body["keyframes"] == {
        "frame0": {"type": "generation", "id": first["generation_id"]},
        "frame1": {"type": "generation", "id": second["generation_id"]},
    }


@pytest.mark.parametrize(("arguments", "resolution"), [({}, "1080p"), ({"resolution": "4k"}, "4k")])
async def test_a_clip_is_upscaled_by_one_step_unless_a_resolution_is_named(
    desk, arguments: dict[str, str], resolution: str
) -> None:
    clip = await desk.video()

    larger = await desk.call("upscale_video", generation_id=clip["generation_id"], **arguments)

    assert desk.posts[-1].path == f"/dream-machine/v1/generations/{clip['generation_id']}/upscale"
    assert desk.posts[-1].body == {"generation_type": "upscale_video", "resolution": resolution}
    assert larger["resolution"] == resolution
    assert "estimated_cost_usd" not in larger
    assert "Luma publishes no price for it: it counts as the same clip made by ray-2, $" in larger["warnings"][0]


async def test_a_clip_of_the_largest_resolution_is_not_upscaled(desk) -> None:
    clip = await desk.video(resolution="4k")

    assert "largest resolution" in await desk.refusal("upscale_video", generation_id=clip["generation_id"])
    assert desk.charges == 1


async def test_a_clip_keeps_its_shape_through_audio_and_extension_though_luma_does_not_repeat_it(desk) -> None:
    clip = await desk.video(resolution="1080p", aspect_ratio="9:16")
    loud = await desk.call("add_audio", generation_id=clip["generation_id"], prompt="hm")

    await desk.call("extend_video", generation_id=loud["generation_id"], prompt="it goes on")

    assert (desk.posts[-1].body["resolution"], desk.posts[-1].body["aspect_ratio"]) == ("1080p", "9:16")


async def test_audio_is_added_to_a_clip(desk) -> None:
    clip = await desk.video()

    await desk.call("add_audio", generation_id=clip["generation_id"], prompt="waves", negative_prompt="voices")

    assert desk.posts[-1].path == f"/dream-machine/v1/generations/{clip['generation_id']}/audio"
    assert desk.posts[-1].body == {"generation_type": "add_audio", "prompt": "waves", "negative_prompt": "voices"}


async def test_an_image_made_by_luma_becomes_a_video_by_its_id_through_a_fresh_link(desk) -> None:
    image = await desk.image()

    await desk.call("generate_video", prompt="it comes to life", start_image=image["generation_id"])

    frame = desk.posts[-1].body["keyframes"]["frame0"]
    assert frame["url"].partition("?")[0] == image["image_url"].partition("?")[0]


async def test_what_is_made_from_an_image_of_known_shape_keeps_that_shape(desk) -> None:
    image = (await desk.image(aspect_ratio="9:16"))["generation_id"]

    await desk.call("modify_image", source=image, prompt="make it red")
    assert desk.posts[-1].body["aspect_ratio"] == "9:16"
    await desk.video(start_image=image)
    assert desk.posts[-1].body["aspect_ratio"] == "9:16"
    await desk.video(start_image=image, aspect_ratio="1:1")
    assert desk.posts[-1].body["aspect_ratio"] == "1:1"


async def test_a_reframed_clip_of_known_size_costs_as_much_as_a_new_one(desk) -> None:
    clip = await desk.video(model="ray-flash-2")

    made = await desk.call("reframe_media", source=clip["generation_id"], aspect_ratio="1:1")

    assert made["estimated_cost_usd"] == 0.24
    assert made["operation"] == "reframe_media"


async def test_a_weight_may_stand_behind_an_id(desk) -> None:
    image = await desk.image()

    await desk.call("modify_image", source=f"{image['generation_id']}#weight=0.3", prompt="make it red")

    assert desk.posts[-1].body["modify_image_ref"]["weight"] == 0.3


async def test_a_link_or_a_saved_file_of_a_generation_stands_for_it(desk) -> None:
    clip = await desk.video()

    for name in (clip["video_url"].partition("?")[0], clip["file_path"]):
        await desk.call("extend_video", generation_id=name, prompt="it goes on")
        assert desk.posts[-1].body["keyframes"]["frame0"]["id"] == clip["generation_id"]


async def test_a_modified_clip_of_known_size_has_a_price(desk) -> None:
    clip = await desk.video()

    changed = await desk.call("modify_video", source=clip["generation_id"], mode="adhere_1", prompt="in winter")

    assert changed["estimated_cost_usd"] == 1.75
    assert desk.posts[-1].body["model"] == "ray-2"


async def test_a_tool_that_starts_from_a_generation_uses_its_model(desk) -> None:
    image = await desk.image(model="photon-flash-1")

    await desk.call("modify_image", source=image["generation_id"], prompt="in winter")

    assert desk.posts[-1].body["model"] == "photon-flash-1"


async def test_a_model_that_is_not_known_yet_is_sent_when_its_family_is(desk) -> None:
    said = await desk.refusal("generate_video", prompt="a lake", model="ray-2-turbo")

    assert desk.posts[0].body["model"] == "ray-2-turbo"
    assert "Nothing was charged" in said


async def test_the_callback_address_reaches_luma_where_its_host_is_allowed(open_desk) -> None:
    async with open_desk(LUMA_MCP_CALLBACK_HOSTS="hooks.example.com") as desk:
        await desk.video(callback_url="https://hooks.example.com/luma")
        assert desk.posts[0].body["callback_url"] == "https://hooks.example.com/luma"

        for url in ("https://elsewhere.example.com/", "http://hooks.example.com/", "hooks.example.com", "https://[x"):
            assert "LUMA_MCP_CALLBACK_HOSTS" in await desk.refusal("generate_video", prompt="a lake", callback_url=url)
        assert desk.charges == 1


async def test_four_takes_are_four_jobs(desk) -> None:
    made = [await desk.call("generate_video", prompt="a lake", take=take, wait_s=0) for take in (1, 2, 3, 4)]

    assert len({one["generation_id"] for one in made}) == 4
    assert desk.charges == 4
