"""The same tools on Luma's Agents API: what is sent, what is refused, and which API a call goes to."""

import base64
from typing import Any

import anyio
import httpx
import pytest
from dirty_equals import IsStr

from luma_mcp_server.sandbox import Fault

pytestmark = pytest.mark.anyio

URL = "https://example.com/lake.jpg"
CLIP = "https://example.com/lake.mp4"
LINK = {"url": URL}


async def test_a_video_from_text_alone_answers_with_the_finished_saved_clip(agents_desk) -> None:
    made = await agents_desk.call("generate_video", prompt="a quiet lake at dawn")

    assert [(post.path, post.body) for post in agents_desk.posts] == [
        (
            "/v1/generations",
            {
                "type": "video",
                "model": "ray-3.2",
                "prompt": "a quiet lake at dawn",
                "aspect_ratio": "16:9",
                "video": {"resolution": "720p", "duration": "5s"},
            },
        )
    ]
    assert agents_desk.posts[0].request_id.startswith("request-")
    assert made == {
        "generation_id": IsStr(regex=r"[0-9a-f-]{36}"),
        "api": "agents",
        "type": "video",
        "state": "completed",
        "model": "ray-3.2",
        "prompt": "a quiet lake at dawn",
        "aspect_ratio": "16:9",
        "resolution": "720p",
        "duration": "5s",
        "created_at": IsStr(),
        "video_url": IsStr(regex=r"http://127\.0\.0\.1:8642/media/.+"),
        "url_expires_at": IsStr(),
        "file_path": str(agents_desk.folder / f"sandbox-a-quiet-lake-at-dawn-{made['generation_id']}.mp4"),
        "media": {"width": 320, "height": 180, "seconds": 5.0, "fps": 24.0, "codec": "h264", "sound": False},
        "charged": "yes",
        "estimated_cost_usd": 0.30,
        "operation": "generate_video",
        "arguments": {
            "prompt": "a quiet lake at dawn",
            "aspect_ratio": "16:9",
            "resolution": "720p",
            "duration": "5s",
            "model": "ray-3.2",
            "take": 1,
        },
        "sandbox": True,
    }


def video(**more: Any) -> dict[str, Any]:
    return {
        "type": "video",
        "model": "ray-3.2",
        "prompt": "a lake",
        "video": {"resolution": "720p", "duration": "5s"} | more,
    }


EDIT = {
    "type": "video_edit",
    "model": "ray-3.2",
    "prompt": "a lake",
    "source": {"url": CLIP, "media_type": "video/mp4"},
}
WIDE = {"aspect_ratio": "16:9"}
REFRAME = EDIT | {"type": "video_reframe", "aspect_ratio": "9:16"}
IMAGE = {"type": "image", "model": "uni-1", "prompt": "a lake"}


@pytest.mark.parametrize(
    ("tool", "arguments", "body"),
    [
        ("generate_video", {"start_image": URL}, video(start_frame=LINK)),
        ("generate_video", {"end_image": URL}, video(end_frame=LINK)),
        ("generate_video", {"start_image": URL, "end_image": URL}, video(start_frame=LINK, end_frame=LINK)),
        ("generate_video", {"loop": True}, WIDE | video(loop=True)),
        ("generate_video", {"duration": "10s", "resolution": "360p"}, WIDE | video(duration="10s", resolution="360p")),
        (
            "generate_video",
            {"duration": "10s", "start_image": URL, "end_image": URL},
            video(duration="10s", keyframes=[LINK, LINK], keyframe_indexes=[0, 240]),
        ),
        (
            "generate_video",
            {"duration": "10s", "start_image": URL},
            video(duration="10s", keyframes=[LINK], keyframe_indexes=[0]),
        ),
        ("generate_video", {"aspect_ratio": "21:9"}, video() | {"aspect_ratio": "21:9"}),
        (
            "modify_video",
            {"source": CLIP, "mode": "flex_2"},
            EDIT | {"video": {"resolution": "720p", "edit": {"strength": "flex_2"}}},
        ),
        (
            "modify_video",
            {"source": CLIP, "mode": "adhere_1", "start_image": URL, "resolution": "1080p"},
            EDIT | {"video": {"resolution": "1080p", "edit": {"strength": "adhere_1"}, "start_frame": LINK}},
        ),
        ("reframe_media", {"source": CLIP, "aspect_ratio": "9:16"}, REFRAME | {"video": {"resolution": "720p"}}),
        ("generate_image", {}, WIDE | IMAGE),
        (
            "generate_image",
            {"image_refs": [URL, URL], "aspect_ratio": "3:1", "output_format": "jpg", "model": "uni-1-max"},
            IMAGE | {"image_ref": [LINK, LINK], "aspect_ratio": "3:1", "output_format": "jpeg", "model": "uni-1-max"},
        ),
        (
            "modify_image",
            {"source": URL, "image_refs": [URL], "output_format": "png"},
            IMAGE | {"type": "image_edit", "source": LINK, "image_ref": [LINK], "output_format": "png"},
        ),
    ],
)
async def test_a_tool_says_the_same_in_this_dialect(
    agents_desk, tool: str, arguments: dict[str, Any], body: dict[str, Any]
) -> None:
    made = await agents_desk.call(tool, prompt="a lake", **arguments)

    assert [post.body for post in agents_desk.posts] == [body]
    assert made["state"] == "completed"


@pytest.mark.parametrize("mode", [f"{name}_{n}" for name in ("adhere", "flex", "reimagine") for n in (1, 2, 3)])
async def test_a_video_can_be_modified_in_all_nine_strengths(agents_desk, mode: str) -> None:
    await agents_desk.call("modify_video", source=CLIP, mode=mode, prompt="made of paper")

    assert agents_desk.posts[0].body["video"]["edit"] == {"strength": mode}


async def test_a_video_is_reframed_without_a_prompt_though_this_api_wants_one(agents_desk) -> None:
    await agents_desk.call("reframe_media", source=CLIP, aspect_ratio="1:1")

    assert agents_desk.posts[0].body["prompt"] == "Continue the scene naturally into the new frame"


@pytest.mark.parametrize(("direction", "frame"), [("forward", "start_frame"), ("backward", "end_frame")])
async def test_a_clip_is_extended_by_its_id_in_its_own_resolution(agents_desk, direction: str, frame: str) -> None:
    clip = await agents_desk.video(resolution="540p", aspect_ratio="1:1")

    longer = await agents_desk.call(
        "extend_video", generation_id=clip["generation_id"], prompt="it goes on", direction=direction
    )

    assert agents_desk.posts[-1].body["video"] == {
        "resolution": "540p",
        "duration": "5s",
        frame: {"generation_id": clip["generation_id"]},
    }
    assert longer["estimated_cost_usd"] == 0.15
    assert "duration" not in longer


async def test_what_this_api_made_is_a_source_by_its_id_and_an_image_by_its_link(agents_desk) -> None:
    image, clip = await agents_desk.image(), await agents_desk.video()

    await agents_desk.call("modify_image", source=image["generation_id"], prompt="make it red")
    assert agents_desk.posts[-1].body["source"] == {"generation_id": image["generation_id"]}
    await agents_desk.call("modify_video", source=clip["generation_id"], mode="adhere_1", prompt="in winter")
    assert agents_desk.posts[-1].body["source"] == {"generation_id": clip["generation_id"]}
    made = await agents_desk.video(start_image=image["generation_id"])
    assert agents_desk.posts[-1].body["video"]["start_frame"]["url"].startswith("http")
    assert made["state"] == "completed"


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        (
            "generate_video",
            {"duration": "9s"},
            "ray-3.2 does not support duration=9s, only 5s, 10s. Nothing was sent. Use duration=10s ($0.90).",
        ),
        (
            "generate_video",
            {"resolution": "4k"},
            "only 360p, 540p, 720p, 1080p. Nothing was sent. Use resolution=1080p ($1.20).",
        ),
        ("generate_video", {"aspect_ratio": "9:21"}, "Use aspect_ratio=9:16"),
        ("generate_video", {"loop": True, "duration": "10s"}, "loops only 5s clips"),
        ("generate_video", {"loop": True, "end_image": URL}, "loops only 5s clips"),
        ("generate_video", {"model": "ray-2"}, "ray-2 needs a key for Luma's Dream Machine API"),
        ("generate_video", {"prompt": ""}, "prompt is empty; ray-3.2 takes 1 to 6,000"),
        ("generate_video", {"prompt": "x" * 6001}, "characters long"),
        (
            "generate_image",
            {"aspect_ratio": "4:3"},
            "Use aspect_ratio=3:2 ($0.0404).",
        ),
        ("generate_image", {"image_refs": [URL] * 10}, "at most 9 reference images"),
        ("generate_image", {"image_refs": [f"{URL}#weight=0.5"]}, "say in the prompt how much it counts"),
        ("modify_image", {"source": URL, "image_refs": [URL] * 9}, "at most 8 reference images"),
        ("reframe_media", {"source": URL, "aspect_ratio": "1:1"}, "can't reframe images"),
        ("reframe_media", {"source": CLIP, "aspect_ratio": "9:16", "resolution": "1080p"}, "Use resolution=720p"),
    ],
)
async def test_what_this_api_does_not_have_is_refused_with_a_call_that_works(
    agents_desk, tool: str, arguments: dict[str, Any], words: str
) -> None:
    said = await agents_desk.refusal(tool, **({"prompt": "a lake"} | arguments))

    assert words in said
    assert "Nothing was sent" in said
    assert agents_desk.wire.sent == []


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("generate_video", {"concepts": ["pov"]}, "Write the camera motion into the prompt"),
        ("generate_image", {"style_ref": URL}, "Put it into image_refs"),
        ("generate_image", {"character_refs": [URL]}, "Put them into image_refs"),
        ("reframe_media", {"source": CLIP, "aspect_ratio": "1:1", "x_start": 1}, "no placement in pixels"),
        ("reframe_media", {"source": CLIP, "aspect_ratio": "1:1", "start_image": URL}, "takes no start_image"),
    ],
)
async def test_what_only_the_other_api_has_is_refused_with_the_model_that_does_it_and_its_price(
    both_desk, tool: str, arguments: dict[str, Any], words: str
) -> None:
    model, price = ("photon-1", "$0.0150") if tool == "generate_image" else ("ray-2", "up to $3.19")
    if tool == "generate_video":
        price = "$0.71"
    said = await both_desk.refusal(tool, prompt="a lake", **arguments)
    assert words in said
    assert f"Or use model={model} ({price})" in said
    assert both_desk.wire.sent == []

    made = await both_desk.call(tool, prompt="a lake", model=model, **arguments)
    assert made["api"] == "dream_machine"


async def test_this_api_tells_nobody_of_changes(open_desk) -> None:
    keys = {"LUMA_AGENTS_API_KEY": "luma-api-sandbox-key", "LUMA_MCP_CALLBACK_HOSTS": "hooks.example.com"}
    async with open_desk(**keys) as desk:
        hook = {"callback_url": "https://hooks.example.com/luma"}
        said = await desk.refusal("generate_video", prompt="a lake", model="ray-3.2", **hook)
        assert "callback_url is for Dream Machine models" in said
        assert "Or use model=ray-2 ($0.71)" in said
        assert (await desk.video(model="ray-2", **hook))["api"] == "dream_machine"


@pytest.mark.parametrize("name", ["hdr", "exr_export", "guide_frame", "layering", "sync", "edit"])
async def test_luma_s_own_names_are_no_parameters_here(agents_desk, name: str) -> None:
    for tool in ("generate_video", "generate_image"):
        assert f"has no parameter {name!r}" in await agents_desk.refusal(tool, prompt="a lake", **{name: "x"})
    assert agents_desk.wire.sent == []


@pytest.mark.parametrize(
    ("arguments", "model"),
    [
        ({}, "ray-3.2"),
        ({"duration": "10s"}, "ray-3.2"),
        ({"model": "ray-flash-2"}, "ray-flash-2"),
    ],
)
async def test_without_a_model_the_first_is_taken(both_desk, arguments: dict[str, Any], model: str) -> None:
    assert (await both_desk.video(**arguments))["model"] == model


async def test_nothing_is_moved_to_another_model_without_a_word(both_desk) -> None:
    said = await both_desk.refusal("generate_video", prompt="a lake", duration="9s")

    assert said == (
        "ray-3.2 does not support duration=9s, only 5s, 10s. Nothing was sent. Use duration=10s ($0.90). Or use "
        "model=ray-2 ($1.27) or ray-flash-2 ($0.44) to get exactly this."
    )
    assert both_desk.wire.sent == []
    assert (await both_desk.video(duration="9s", model="ray-2"))["estimated_cost_usd"] == 1.27


async def test_what_no_model_can_do_is_refused_in_the_words_of_the_first(both_desk) -> None:
    said = await both_desk.refusal("generate_video", prompt="a lake", duration="10s", resolution="4k")

    assert "ray-3.2 does not support resolution=4k" in said
    assert "Use resolution=1080p ($3.60)." in said
    assert "model=" not in said
    assert both_desk.wire.sent == []


async def test_the_only_model_that_can_is_named_with_what_is_too_short_for_it(both_desk) -> None:
    said = await both_desk.refusal("generate_video", prompt="ok", concepts=["pov"])

    assert "ray-2 could, but prompt is 2 characters long; Luma takes 3 to 5,000 characters." in said


async def test_a_clip_stays_with_the_api_that_made_it(both_desk) -> None:
    ours, theirs = await both_desk.video(), await both_desk.video(model="ray-2", resolution="4k", aspect_ratio="9:21")

    for clip, model in ((ours, "ray-2"), (theirs, "ray-3.2")):
        longer = await both_desk.call("extend_video", generation_id=clip["generation_id"], prompt="it goes on")
        assert longer["api"] == clip["api"]
        said = await both_desk.refusal(
            "extend_video", generation_id=clip["generation_id"], prompt="it goes on", model=model
        )
        assert "start_image=<its id> means its last frame" in said
        assert "Making it again with that model costs as much as a new clip." in said
    for start, end in ((ours, theirs), (theirs, ours), (ours, ours)):
        ids = {"start_generation_id": start["generation_id"], "end_generation_id": end["generation_id"]}
        said = await both_desk.refusal("interpolate_videos", prompt="a change", **ids)
        assert "interpolate_videos joins only clips made by ray-2 or ray-flash-2" in said
        assert "start_image=<its id> means its last frame, end_image=<its id> its first" in said
    for tool in ("upscale_video", "add_audio"):
        said = await both_desk.refusal(tool, generation_id=ours["generation_id"])
        assert "clips made by ray-2 and ray-flash-2, and this one was made by ray-3.2" in said
        assert "costs as much as a new clip" in said
    assert both_desk.charges == 4


async def test_an_image_of_a_shape_that_a_model_does_not_have_gets_one_that_the_model_chooses(both_desk) -> None:
    image = await both_desk.image(model="photon-1", aspect_ratio="9:21")
    arguments = {"source": image["generation_id"], "prompt": "blue"}

    await both_desk.call("modify_image", **arguments, model="uni-1")
    assert "aspect_ratio" not in both_desk.posts[-1].body
    await both_desk.call("modify_image", **arguments, model="photon-1")
    assert both_desk.posts[-1].body["aspect_ratio"] == "9:21"


async def test_an_image_is_reframed_by_another_model_only_if_that_is_asked_for(both_desk) -> None:
    image = (await both_desk.image())["generation_id"]

    said = await both_desk.refusal("reframe_media", source=image, aspect_ratio="1:1")
    assert "uni-1 can't reframe images" in said
    assert "Or use model=photon-1 ($0.0150) or photon-flash-1 ($0.0040) to get exactly this." in said
    made = await both_desk.call("reframe_media", source=image, aspect_ratio="1:1", model="photon-1")
    assert made["estimated_cost_usd"] == 0.015


async def test_an_image_of_one_api_starts_a_video_of_the_other(both_desk) -> None:
    image = await both_desk.image(model="photon-1")

    made = await both_desk.video(start_image=image["generation_id"], model="ray-3.2")

    assert made["state"] == "completed"


async def test_each_reading_tool_finds_the_api_of_an_id(both_desk) -> None:
    ours, theirs = await both_desk.video(), await both_desk.video(model="ray-2")

    waited = await both_desk.call(
        "wait_for_generations", generation_ids=[ours["generation_id"], theirs["generation_id"]]
    )
    assert [one["api"] for one in waited["generations"]] == ["agents", "dream_machine"]
    for made in (ours, theirs):
        shown = await both_desk.call("get_generation", generation_id=made["generation_id"])
        assert (shown["api"], shown["prompt"]) == (made["api"], "a quiet lake")
    gone = await both_desk.call("delete_generations", generation_ids=[ours["generation_id"], theirs["generation_id"]])
    assert gone["deleted"] == [theirs["generation_id"]]
    [kept] = gone["failed"]
    assert "Agents API, which deletes none" in kept["warnings"][0]


async def test_the_list_has_both_apis_newest_first(both_desk) -> None:
    made = [await both_desk.video(f"lake {n}", model=("ray-2", "ray-3.2")[n % 2]) for n in range(4)]

    listed = await both_desk.call("list_generations", limit=3)

    assert [row["generation_id"] for row in listed["generations"]] == [one["generation_id"] for one in made[:0:-1]]
    assert (listed["has_more"], listed["next_offset"]) == (True, 3)
    assert "warnings" not in listed
    assert not any("url" in name for row in listed["generations"] for name in row)


async def test_unfinished_rows_of_this_api_are_asked_about_once_for_a_list(agents_desk) -> None:
    for n in range(3):
        await agents_desk.video(f"lake {n}", wait_s=0)
    asked = len(agents_desk.wire.sent)

    listed = await agents_desk.call("list_generations")

    assert len(agents_desk.wire.sent) - asked == 3
    assert [row["state"] for row in listed["generations"]] == ["queued"] * 3


@pytest.mark.parametrize(
    ("tag", "words", "cost"),
    [
        ("[sandbox:moderation]", "flagged by our content moderation", "nothing was charged"),
        ("[sandbox:fail]", "Generation failed", "nothing was charged"),
        ("[sandbox:budget]", "Insufficient credits", "Whether it was charged is not known"),
    ],
)
async def test_a_failed_job_says_why_and_whether_it_was_refunded(agents_desk, tag: str, words: str, cost: str) -> None:
    said = await agents_desk.refusal("generate_video", prompt=f"a lake {tag}")

    assert words in said
    assert cost in said


async def test_too_many_jobs_at_once_are_told_at_once_though_retry_after_is_sixty_seconds(agents_desk) -> None:
    said = await agents_desk.refusal("generate_video", prompt="a lake [sandbox:concurrency]")

    assert "run at once" in said
    assert len(agents_desk.posts) == 1


async def test_the_account_shows_both_apis(both_desk) -> None:
    shown = await both_desk.call("get_account")

    assert shown["apis"] == [
        {
            "api": "agents",
            "configured": True,
            "reachable": True,
            "key_accepted": True,
            "balance_note": "Luma's Agents API does not tell the balance: platform.lumalabs.ai shows it.",
            "files_at_luma": 0,
        },
        {"api": "dream_machine", "configured": True, "reachable": True, "key_accepted": True, "balance_usd": 100.0},
    ]


async def test_models_are_those_of_the_configured_api_with_its_prices(agents_desk) -> None:
    rows = {row["model"]: row for row in (await agents_desk.call("list_models"))["models"]}

    assert list(rows) == ["ray-3.2", "uni-1", "uni-1-max"]
    # Source: Luma Agents API documentation, pricing page, as read 2026-09 and 2026-10-08.
    assert rows["ray-3.2"]["usd"]["1080p 10s"] == 3.60
    assert rows["ray-3.2"]["usd"]["reframe 720p per s"] == 0.12
    assert rows["uni-1"]["usd"] == {"image": 0.0404, "each reference": 0.003}


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 403, "detail": "Forbidden"},
        {"status": 404, "detail": "Not Found"},
        {"status": 410, "detail": "Gone"},
        {"status": 400, "detail": "ray-2 has been retired. Please migrate to ray-3.2."},
        {"status": 500, "detail": "This API is no longer available"},
        {"status": 410, "body": "<html>Gone</html>"},
        {"status": 400, "detail": "Unknown model: ray-2"},
        {"status": 422, "detail": "Model ray-2 is not available"},
        {"status": 400, "detail": "This model has been removed"},
        {"status": 301, "detail": "moved"},
    ],
)
async def test_a_retired_model_names_the_other_api_and_what_to_set_or_which_model_to_use(
    desk, open_desk, tmp_path, fault: dict[str, Any]
) -> None:
    desk.world.faults.append(Fault(**({"kind": "status"} | fault)))
    said = str((await desk.raw("generate_video", prompt="a lake")).content)  # an error, or that nobody knows
    assert "set LUMA_AGENTS_API_KEY" in said
    assert "platform.lumalabs.ai" in said

    async with open_desk(LUMA_AGENTS_API_KEY="luma-api-sandbox-key", HOME=str(tmp_path / "other")) as both:
        both.world.faults.append(Fault(**({"kind": "status"} | fault)))
        said = str((await both.raw("generate_video", prompt="a lake", model="ray-2")).content)
        assert "use an Agents model (ray-3.2, uni-1)" in said


async def test_an_id_is_not_called_unknown_while_one_of_the_apis_can_not_be_asked(both_desk) -> None:
    theirs = (await both_desk.video(model="ray-2", wait_s=0))["generation_id"]
    both_desk.world.faults.append(Fault("status", "GET", path="/dream-machine", status=503))

    assert "HTTP 503" in await both_desk.refusal("get_generation", generation_id=theirs)


async def test_an_answer_of_another_shape_is_shown_as_far_as_it_goes(agents_desk) -> None:
    name = "00000000-0000-4000-8000-000000000000"

    class Odd(httpx.AsyncBaseTransport):
        async def handle_async_request(self, _: httpx.Request) -> httpx.Response:
            return httpx.Response(200, json={"id": name, "state": "paused", "output": "none", "created_at": 7})

    agents_desk.wire.inner = Odd()

    shown = await agents_desk.call("get_generation", generation_id=name)

    assert (shown["generation_id"], shown["state"]) == (name, "paused")


PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0" + b"\0" * 100
MP4 = b"\0\0\0\x18ftypisom\0\0\0\0isommp42"


async def test_a_small_local_picture_travels_inside_the_request_and_is_named_in_the_result(
    agents_desk, tmp_path
) -> None:
    picture = tmp_path / "cat.png"
    picture.write_bytes(PNG)

    made = await agents_desk.video(start_image="~/cat.png")

    frame = agents_desk.posts[-1].body["video"]["start_frame"]
    assert frame["media_type"] == "image/png"
    assert made["files_sent"] == [str(picture)]
    assert len(agents_desk.posts) == 1


async def test_a_large_local_clip_is_uploaded_first_and_only_once(agents_desk, tmp_path) -> None:
    clip = tmp_path / "cat.mp4"
    clip.write_bytes(MP4 + b"\0" * 5 * 1024**2)

    for prompt in ("in winter", "in spring"):
        await agents_desk.call("modify_video", source=str(clip), mode="flex_1", prompt=prompt)
        assert set(agents_desk.posts[-1].body["source"]) == {"file_id"}
    assert sum(post.path == "/v1/files" for post in agents_desk.posts) == 1


async def test_a_data_uri_is_an_image_too(agents_desk) -> None:
    uri = "data:image/png;base64," + base64.b64encode(PNG).decode()

    made = await agents_desk.image(image_refs=[uri])

    assert set(agents_desk.posts[-1].body["image_ref"][0]) == {"data", "media_type"}
    assert made["files_sent"] == ["data:"]


async def test_a_local_file_makes_the_call_go_to_the_api_that_takes_it(both_desk, tmp_path) -> None:
    (tmp_path / "cat.png").write_bytes(PNG)

    assert (await both_desk.video(start_image="~/cat.png"))["api"] == "agents"
    said = await both_desk.refusal("generate_video", prompt="a cat", start_image="~/cat.png", model="ray-2")
    assert "Dream Machine models fetch media by URL alone" in said
    assert both_desk.charges == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.png", "missing.png"),
        ("empty.png", "empty"),
        ("text.png", "image"),
        ("folder", "folder"),
        (".secret/cat.png", "hidden"),
        ("clip.mp4", "can't be read as a video"),
    ],
)
async def test_a_file_that_is_no_good_is_refused_in_a_sentence_and_nothing_is_sent(
    agents_desk, tmp_path, name: str, words: str
) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("a cat")
    (tmp_path / "folder").mkdir()
    (tmp_path / ".secret").mkdir()
    (tmp_path / ".secret" / "cat.png").write_bytes(PNG)
    (tmp_path / "clip.mp4").write_bytes(MP4 * 10)

    said = await agents_desk.refusal("generate_video", prompt="a cat", start_image=str(tmp_path / name))

    assert words in said
    assert "Nothing was sent" in said
    assert agents_desk.wire.sent == []


async def test_a_file_outside_the_allowed_folders_and_any_with_the_setting_off_are_refused(open_desk, tmp_path) -> None:
    (tmp_path / "cat.png").write_bytes(PNG)
    for folders, words in ((str(tmp_path / "allowed"), "LUMA_MCP_INPUT_DIRS"), ("off", "LUMA_MCP_INPUT_DIRS")):
        async with open_desk(LUMA_API_KEY="luma-api-sandbox-key", LUMA_MCP_INPUT_DIRS=folders) as desk:
            said = await desk.refusal("generate_video", prompt="a cat", start_image=str(tmp_path / "cat.png"))
            assert words in said
            assert desk.wire.sent == []


async def test_an_upload_that_outlasts_its_call_goes_on_and_is_found_ready(open_desk, tmp_path) -> None:
    clip = tmp_path / "cat.mp4"
    clip.write_bytes(MP4 + b"\0" * 5 * 1024**2)
    async with open_desk(LUMA_API_KEY="luma-api-sandbox-key", LUMA_MCP_WAIT_S="1") as desk:
        said = await desk.refusal("modify_video", source=str(clip), mode="flex_1", prompt="in winter")
        assert "othing was bought" in said
        assert desk.charges == 0
        await anyio.sleep(10)

        made = await desk.call("modify_video", source=str(clip), mode="flex_1", prompt="in winter")

        assert made["generation_id"]
        assert sum(post.path == "/v1/files" for post in desk.posts) == 1
        assert desk.charges == 1


async def test_a_job_whose_answer_was_late_or_whose_call_was_cancelled_is_in_the_list(agents_desk) -> None:
    class Late(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "POST":
                await anyio.sleep(10)
            return await inner.handle_async_request(request)

    inner, agents_desk.wire.inner = agents_desk.wire.inner, Late()
    late = await agents_desk.video("late", wait_s=0)
    [row] = (await agents_desk.call("list_generations"))["generations"]
    assert row["request_id"] == late["request_id"]
    with anyio.move_on_after(2):
        await agents_desk.video("cancelled")
    await anyio.sleep(60)

    rows = (await agents_desk.call("list_generations"))["generations"]

    assert {row["prompt"] for row in rows} == {"late", "cancelled"}
    assert all(row["generation_id"] for row in rows)
    assert agents_desk.charges == 2


async def test_nothing_is_uploaded_for_a_call_that_is_refused(both_desk, tmp_path) -> None:
    (tmp_path / "cat.png").write_bytes(PNG + b"\0" * 5 * 1024**2)

    for arguments in ({"model": "ray-2"}, {"duration": "10s", "loop": True, "model": "ray-3.2"}):
        said = await both_desk.refusal("generate_video", prompt="a cat", start_image="~/cat.png", **arguments)
        assert "Nothing was sent" in said
    assert both_desk.wire.sent == []


async def test_a_file_that_luma_has_lost_is_sent_anew_by_the_next_call(agents_desk, tmp_path) -> None:
    (tmp_path / "cat.png").write_bytes(PNG + b"\0" * 5 * 1024**2)
    await agents_desk.video(start_image="~/cat.png")
    agents_desk.world.files.clear()

    again = {"prompt": "a cat", "start_image": "~/cat.png"}
    await agents_desk.refusal("generate_video", **again)
    assert (await agents_desk.video(**again))["state"] == "completed"
    assert sum(post.path == "/v1/files" for post in agents_desk.posts) == 2


async def test_a_file_named_like_a_saved_one_is_still_the_user_s_own(agents_desk, tmp_path) -> None:
    picture = tmp_path / "photo-1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed.png"
    picture.write_bytes(PNG)

    assert (await agents_desk.video(start_image=str(picture)))["files_sent"] == [str(picture)]


async def test_one_api_that_is_gone_does_not_hide_the_other_s_rows(both_desk) -> None:
    made = await both_desk.video()
    both_desk.world.faults.append(Fault("status", "GET", path="/dream-machine", status=410, detail="Gone"))

    listed = await both_desk.call("list_generations")

    assert [row["generation_id"] for row in listed["generations"]] == [made["generation_id"]]
    assert any("use an Agents model" in warning for warning in listed["warnings"])


@pytest.mark.parametrize("status", [403, 410, 500])
async def test_the_account_says_that_an_api_may_be_retired(desk, status: int) -> None:
    desk.world.faults.append(Fault("status", "GET", path="/ping", status=status, detail="no"))

    [standing] = (await desk.call("get_account"))["apis"]

    assert "set LUMA_AGENTS_API_KEY" in standing["message"]


async def test_an_api_that_hangs_does_not_hide_what_the_other_knows(both_desk) -> None:
    theirs = (await both_desk.video(model="ray-2", wait_s=0))["generation_id"]
    inner = both_desk.wire.inner

    class Hanging(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path.startswith("/v1/"):
                await anyio.sleep_forever()
            return await inner.handle_async_request(request)

    both_desk.wire.inner = Hanging()
    started = anyio.current_time()

    assert (await both_desk.call("get_generation", generation_id=theirs))["api"] == "dream_machine"
    assert anyio.current_time() - started < 1


async def test_a_clip_of_unknown_size_is_extended_with_a_warning(open_desk, tmp_path) -> None:
    key = {"LUMA_API_KEY": "luma-api-sandbox-key"}
    async with open_desk(**key) as first, open_desk(beside=first, HOME=str(tmp_path / "other"), **key) as second:
        clip = (await first.video(resolution="360p"))["generation_id"]

        longer = await second.call("extend_video", generation_id=clip, prompt="it goes on")

        assert "720p is assumed" in longer["warnings"][0]


async def test_a_saved_file_stands_for_its_generation_however_it_is_written(both_desk, tmp_path) -> None:
    clip = await both_desk.video(model="ray-2")
    image = await both_desk.image(model="photon-1")
    name = clip["file_path"].rpartition("/")[2]

    for path in (f"~/Luma/{name}", str(tmp_path / "Luma" / ".." / "Luma" / name), clip["file_path"]):
        made = await both_desk.call("modify_video", source=path, mode="flex_1", prompt="in winter")
        assert (made["api"], made["model"]) == ("dream_machine", "ray-2")
    await both_desk.image(image_refs=[f"{image['file_path']}#weight=0.5"], model="photon-1")
    assert both_desk.posts[-1].body["image_ref"][0]["weight"] == 0.5


async def test_a_foreign_link_is_refused_with_the_way_even_if_the_list_is_gone(both_desk) -> None:
    both_desk.world.faults.append(Fault("status", "GET", path="/dream-machine", status=410, times=9))

    said = await both_desk.refusal("extend_video", generation_id="https://e.com/x.mp4", prompt="it goes on")
    assert "use modify_video" in said
    assert (await both_desk.call("list_generations"))["generations"] == []


async def test_two_calls_at_once_can_use_the_same_file(agents_desk, tmp_path) -> None:
    big = tmp_path / "big.jpg"
    big.write_bytes(bytes.fromhex("ffd8ffe000104a46494600010100000100010000") + bytes(5_000_000))
    other = (await agents_desk.image())["generation_id"]

    class Slow(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await anyio.sleep(4 if other in request.url.path and request.method == "GET" else 0)
            return await inner.handle_async_request(request)

    inner, agents_desk.wire.inner = agents_desk.wire.inner, Slow()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: agents_desk.image("both", image_refs=[str(big), other]))
        await anyio.sleep(0.5)
        await agents_desk.image("one", image_refs=[str(big)], wait_s=0)
