"""The sandbox's Agents API, seen through Luma's own SDK with strict response validation."""

from typing import Any

import luma_agents
import pytest

from luma_mcp_server.sandbox import AGENTS_SANDBOX_KEY, SANDBOX_KEY, Received

from .conftest import JPEG, MP4, PNG, Agency, Studio, inline

pytestmark = pytest.mark.anyio

PICTURE = {"url": "https://example.com/picture.jpg"}
CLIP = {"url": "https://example.com/clip.mp4", "media_type": "video/mp4"}
CONTROLS = {"depth": {"blur": 0.5}, "face": {"enabled": True}, "pose": {"strength": "coarse"}}
HELD = "Bearer " + AGENTS_SANDBOX_KEY


# The life of a generation


async def test_a_generation_is_queued_then_processing_then_completed(agency: Agency) -> None:
    generation = await agency.start("video")
    states = [generation.state]
    for _ in range(3):
        agency.clock.now += 2.5
        states.append((await agency.luma.generations.get(generation.id)).state)
    assert states == ["queued", "processing", "processing", "completed"]


async def test_without_model_and_type_an_image_of_uni_1_is_made(agency: Agency) -> None:
    generation = await agency.luma.generations.create(prompt="a quiet lake")
    assert (generation.model, generation.type, generation.output) == ("uni-1", "image", [])


async def test_every_type_answers_in_the_words_of_the_sdk(agency: Agency) -> None:
    made = [
        await agency.start(model="uni-1-max", image_ref=[PICTURE], aspect_ratio="3:1", style="auto", web_search=True),
        await agency.start("image_edit", source=PICTURE, image_ref=[PICTURE] * 8, user_id="someone"),
        await agency.start("video", aspect_ratio="21:9", video={"start_frame": PICTURE, "end_frame": PICTURE}),
        await agency.start("video", video={"duration": "10s", "keyframes": [PICTURE], "keyframe_indexes": [240]}),
        await agency.start("video_edit", source=CLIP, video={"edit": {"auto_controls": True}, "start_frame": PICTURE}),
        await agency.start("video_edit", source=CLIP, video={"edit": {"controls": CONTROLS}}),
        await agency.start("video_reframe", source=CLIP, aspect_ratio="1:1", video={"resolution": "1080p"}),
        await agency.start("layering", source=PICTURE, user_id="someone"),
    ]
    types = ["image", "image_edit", "video", "video", "video_edit", "video_edit", "video_reframe", "layering"]
    assert [one.type for one in made] == types
    assert {one.state for one in made} == {"queued"}


async def test_a_finished_generation_has_a_single_output_with_a_link_good_for_an_hour(agency: Agency) -> None:
    video, image = await agency.made("video"), await agency.made(output_format="jpeg")
    assert [[one.type for one in made.output] for made in (video, image)] == [["video"], ["image"]]
    link = video.output[0].url
    agency.clock.now += 3500
    assert (await agency.http.get(link)).headers["content-type"] == "video/mp4"
    agency.clock.now += 100
    expired = await agency.http.get(link)
    assert (expired.status_code, "<Code>AccessDenied</Code>" in expired.text) == (403, True)
    fresh = await agency.luma.generations.get(video.id)
    assert (await agency.http.get(fresh.output[0].url)).status_code == 200


@pytest.mark.parametrize("generation_id", ["00000000-0000-4000-8000-000000000000", "not-a-uuid", "x/../y"])
async def test_an_unknown_generation_is_not_found(agency: Agency, generation_id: str) -> None:
    with pytest.raises(luma_agents.NotFoundError, match="Generation not found"):
        await agency.luma.generations.get(generation_id)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/generations", 405),
        ("DELETE", "/generations/some-id", 405),
        ("GET", "/credits", 404),
        ("GET", "/ping", 404),
        ("POST", "/generations/some-id/upscale", 405),
    ],
)
async def test_what_the_other_api_has_does_not_exist_here(agency: Agency, method: str, path: str, status: int) -> None:
    answer = await agency.http.request(method, f"/v1{path}", headers={"Authorization": HELD})
    assert (answer.status_code, list(answer.json())) == (status, ["detail"])


async def test_neither_api_sees_the_generations_of_the_other(agency: Agency, studio: Studio) -> None:
    image, old = await agency.made(), await studio.image()
    with pytest.raises(luma_agents.NotFoundError):
        await agency.luma.generations.get(old.id)
    refused = (400, "source: Generation not found")
    assert await agency.refusal(type="image_edit", prompt="red", source={"generation_id": old.id}) == refused
    answer = await studio.http.get(f"/dream-machine/v1/generations/{image.id}")
    assert answer.status_code == 404
    assert [one.id for one in (await studio.luma.generations.list()).generations] == [old.id]


# Keys and requests


@pytest.mark.parametrize("header", ["", AGENTS_SANDBOX_KEY, HELD.lower(), f"Bearer {SANDBOX_KEY}"])
@pytest.mark.parametrize("path", ["/generations/some-id", "/files", "/nowhere"])
async def test_no_address_answers_without_the_right_key(agency: Agency, path: str, header: str) -> None:
    answer = await agency.http.get(f"/v1{path}", headers={"Authorization": header})
    assert (answer.status_code, answer.json()) == (401, {"detail": "Missing or invalid API key"})


async def test_a_request_is_noted_with_its_name_and_without_its_media(agency: Agency) -> None:
    source = inline(PNG + b"0" * 1000, "image/png")
    await agency.post(type="image_edit", prompt="red", source=source, headers={"X-Request-Id": "row-7"})
    short = {"data": f"({len(source['data'])} characters)", "media_type": "image/png"}
    body = {"type": "image_edit", "prompt": "red", "source": short}
    assert agency.world.requests == [Received("POST", "/v1/generations", {}, body, "row-7")]
    assert source["data"] not in str(agency.world.jobs)


# What is refused

VIDEO = {"model": "ray-3.2", "type": "video"}
EDIT = {"model": "ray-3.2", "type": "video_edit", "source": CLIP}
REFRAME = {"model": "ray-3.2", "type": "video_reframe", "source": CLIP, "aspect_ratio": "1:1"}
LAYERING = {"type": "layering", "source": PICTURE}
PROMPT = "Prompt must be between 1 and 6000 characters"


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"model": "ray-2"}, "Unknown model: ray-2"),
        ({"type": "video"}, "Type 'video' is not supported for model 'uni-1'"),
        (LAYERING | {"model": "uni-1-max"}, "Type 'layering' is not supported for model 'uni-1-max'"),
        (LAYERING | {"model": "ray-3.2"}, "Type 'layering' is not supported for model 'ray-3.2'"),
        (LAYERING | {"source": None}, "source is required for type 'layering'"),
        (LAYERING | {"prompt": ""}, "Prompt must be between 1 and 500 characters"),
        (LAYERING | {"prompt": "a" * 501}, "Prompt must be between 1 and 500 characters"),
        (LAYERING | {"layering": {"resolution": "4k"}}, "layering.resolution: Input should be '1k' or '2k'"),
        ({"model": "ray-3.2"}, "Type 'image' is not supported for model 'ray-3.2'"),
        ({"prompt": ""}, PROMPT),
        ({"prompt": "a" * 6001}, PROMPT),
        ({"aspect_ratio": "4:3"}, "Invalid aspect_ratio '4:3'. Valid: 1:1, 1:2, 1:3, 16:9, 2:1, 2:3, 3:1, 3:2, 9:16"),
        (VIDEO | {"aspect_ratio": "9:21"}, "Invalid aspect_ratio '9:21'. Valid: 1:1, 16:9, 21:9, 3:4, 4:3, 9:16"),
        (REFRAME | {"aspect_ratio": None}, "aspect_ratio is required for type 'video_reframe'"),
        ({"source": PICTURE}, "source is only valid for type 'image_edit'"),
        (VIDEO | {"source": CLIP}, "source is only valid for types 'video_edit' and 'video_reframe'"),
        ({"type": "image_edit"}, "source is required for type 'image_edit'"),
        (EDIT | {"source": None}, "source is required for type 'video_edit'"),
        ({"image_ref": [PICTURE] * 10}, "image supports up to 9 reference images"),
        (
            {"type": "image_edit", "source": PICTURE, "image_ref": [PICTURE] * 9},
            "image_edit supports up to 8 reference images (source occupies one slot)",
        ),
        (
            {"image_ref": [PICTURE | {"data": "iVBORw0K", "media_type": "image/png"}]},
            "image_ref[0]: provide either 'url' or 'data', not both",
        ),
        ({"image_ref": [PICTURE, {}]}, "image_ref[1]: provide either 'url' or 'data', not neither"),
        ({"image_ref": [{"data": "iVBORw0K"}]}, "image_ref[0]: 'media_type' is required with 'data'"),
        ({"image_ref": [PICTURE | {"file_id": "f"}]}, "image_ref[0]: provide exactly one of url, file_id"),
        (EDIT | {"source": PICTURE}, "source: 'media_type' is required with 'url'"),
        ({"seed": 7}, "seed: Extra inputs are not permitted"),
        ({"image_ref": [PICTURE | {"weight": 1}]}, "image_ref[0].weight: Extra inputs are not permitted"),
        ({"image_ref": None}, "image_ref: Input should be a valid array"),
        (VIDEO | {"video": {"duration": "9s"}}, "video.duration: Input should be '5s' or '10s'"),
        (
            VIDEO | {"video": {"resolution": "4k"}},
            "video.resolution: Input should be '360p', '540p', '720p' or '1080p'",
        ),
        (
            EDIT | {"video": {"edit": {"controls": {"depth": {"sparsity": 0.5}}}}},
            "video.edit.controls.depth: Extra inputs are not permitted",
        ),
        (
            EDIT | {"video": {"edit": {"controls": {"light": {"enabled": True}}}}},
            "video.edit.controls.light: Extra inputs are not permitted",
        ),
    ],
)
async def test_a_bad_parameter_is_refused_with_a_sentence(agency: Agency, fields: dict[str, Any], detail: str) -> None:
    assert await agency.refusal(**{"prompt": "a quiet lake"} | fields) == (400, detail)
    assert agency.world.ledger == []


POSITION = {"x_norm": 0, "y_norm": 0, "w_norm": 1, "h_norm": 1}
KEYFRAME = {"keyframes": [PICTURE], "keyframe_indexes": [0]}


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"video": {}}, "video is not supported for type 'image'"),
        ({"layering": {"resolution": "1k"}}, "layering is not supported for type 'image'"),
        (VIDEO | {"layering": {"resolution": "1k"}}, "layering is not supported for type 'video'"),
        (LAYERING | {"aspect_ratio": "1:1"}, "aspect_ratio is not supported for type 'layering'"),
        (LAYERING | {"image_ref": [PICTURE]}, "image_ref is not supported for type 'layering'"),
        (LAYERING | {"output_format": "png"}, "output_format is not supported for type 'layering'"),
        (LAYERING | {"style": "manga"}, "style is not supported for type 'layering'"),
        (LAYERING | {"web_search": True}, "web_search is not supported for type 'layering'"),
        (LAYERING | {"video": {}}, "video is not supported for type 'layering'"),
        (LAYERING | {"source": CLIP}, "source: content-type is not an image"),
        ({"style": "manga", "aspect_ratio": "16:9"}, "style 'manga' requires a portrait aspect_ratio"),
        (VIDEO | {"image_ref": [PICTURE]}, "image_ref is not supported for type 'video'"),
        (EDIT | {"video": {"loop": True}}, "loop is not supported for type 'video_edit'"),
        (EDIT | {"video": {"end_frame": PICTURE}}, "end_frame is not supported for type 'video_edit'"),
        (EDIT | {"image_ref": [PICTURE]}, "image_ref is not supported for type 'video_edit'"),
        (EDIT | {"video": KEYFRAME}, "keyframes is not supported for type 'video_edit'"),
        (REFRAME | {"video": {"hdr": True}}, "hdr is not supported for type 'video_reframe'"),
        (REFRAME | {"video": {"start_frame": PICTURE}}, "start_frame is not supported for type 'video_reframe'"),
        (VIDEO | {"video": {"edit": {}}}, "edit is not supported for type 'video'"),
        (VIDEO | {"video": {"source_position": POSITION}}, "source_position is not supported for type 'video'"),
        (VIDEO | {"video": {"duration": "10s", "hdr": True}}, "hdr is not supported with 10s"),
        (VIDEO | {"video": {"duration": "10s", "start_frame": PICTURE}}, "start_frame is not supported with 10s"),
        (VIDEO | {"video": {"duration": "10s", "end_frame": PICTURE}}, "end_frame is not supported with 10s"),
        (VIDEO | {"video": {"duration": "10s", "loop": True}}, "loop is not supported with 10s"),
        (VIDEO | {"video": {"loop": True, "hdr": True}}, "hdr is not supported with loop"),
        (VIDEO | {"video": {"loop": True, "end_frame": PICTURE}}, "end_frame is not supported with loop"),
        (VIDEO | {"video": {"loop": True, **KEYFRAME}}, "keyframes is not supported with loop"),
        (VIDEO | {"video": {"start_frame": PICTURE, **KEYFRAME}}, "start_frame is not supported with keyframes"),
        (VIDEO | {"video": {"resolution": "540p", "hdr": True}}, "hdr is not supported with 540p"),
        (VIDEO | {"video": {"resolution": "360p", "hdr": True}}, "hdr is not supported with 360p"),
        (
            VIDEO | {"video": {"hdr": True, "start_frame": {"generation_id": "x"}}},
            "hdr is not supported with extension",
        ),
        (VIDEO | {"video": {"exr_export": True}}, "exr_export requires hdr"),
        (EDIT | {"video": {"exr_export": True}}, "exr_export requires hdr"),
        (REFRAME | {"video": {"exr_export": True}}, "exr_export is not supported for type 'video_reframe'"),
        (
            VIDEO | {"video": {"start_frame": {"generation_id": "x"}, "end_frame": PICTURE}},
            "An extension takes no other frame",
        ),
        (
            VIDEO | {"video": {"keyframes": [PICTURE], "keyframe_indexes": [0, 1]}},
            "keyframes and keyframe_indexes differ in length",
        ),
        (
            VIDEO | {"video": {"keyframes": [PICTURE] * 2, "keyframe_indexes": [9, 9]}},
            "keyframes: keyframe_indexes must be unique",
        ),
        (
            VIDEO | {"video": {"keyframes": [PICTURE], "keyframe_indexes": [121]}},
            "keyframes: keyframe_indexes must be between 0 and 120",
        ),
        (
            EDIT | {"video": {"edit": {"auto_controls": True, "strength": "flex_1"}}},
            "auto_controls is not supported with strength or controls",
        ),
        (
            EDIT | {"video": {"edit": {"keyframes": [PICTURE], "keyframe_indexes": [0, 1]}}},
            "edit.keyframes and keyframe_indexes differ in length",
        ),
        (
            EDIT | {"video": {"edit": {"keyframe_indexes": [0]}}},
            "edit.keyframes and keyframe_indexes differ in length",
        ),
        (
            EDIT | {"video": {"edit": {"keyframes": [PICTURE], "keyframe_indexes": [433]}}},
            "edit.keyframes: keyframe_indexes must be between 0 and 432",
        ),
        (
            EDIT | {"video": {"edit": {"auto_controls": True, "controls": CONTROLS}}},
            "auto_controls is not supported with strength or controls",
        ),
        (
            EDIT | {"video": {"start_frame": PICTURE, "edit": KEYFRAME}},
            "edit.keyframes is not supported with start_frame",
        ),
        (
            REFRAME | {"aspect_ratio": "9:16", "video": {"resolution": "1080p"}},
            "1080p is not available for aspect_ratio '9:16'",
        ),
        ({"image_ref": [{"url": "http://example.com/a.jpg"}]}, "image_ref[0]: failed to fetch URL"),
        ({"image_ref": [{"url": "https://192.168.0.7/a.jpg"}]}, "image_ref[0]: failed to fetch URL"),
        ({"image_ref": [{"url": "https://[::1/a.jpg"}]}, "image_ref[0]: failed to fetch URL"),
        ({"image_ref": [{"url": "https://nowhere.invalid/a.jpg"}]}, "image_ref[0]: failed to fetch URL"),
        ({"image_ref": [{"url": "https://example.com/a.pdf"}]}, "image_ref[0]: content-type is not an image"),
        ({"image_ref": [CLIP]}, "image_ref[0]: content-type is not an image"),
        (EDIT | {"source": PICTURE | {"media_type": "image/jpeg"}}, "source: content-type is not a video"),
        (
            {"image_ref": [{"data": "not-valid-base64!!!", "media_type": "image/png"}]},
            "image_ref[0]: invalid base64 data",
        ),
        ({"image_ref": [inline(JPEG, "image/png")]}, "image_ref[0]: content-type is not image/png"),
        ({"image_ref": [inline(b"%PDF-1.7", "image/png")]}, "image_ref[0]: content-type is not image/png"),
        (
            VIDEO | {"video": {"start_frame": inline(MP4, "video/mp4")}},
            "video.start_frame: content-type is not an image",
        ),
    ],
)
async def test_what_does_not_go_together_is_refused_with_a_sentence(
    agency: Agency, fields: dict[str, Any], detail: str
) -> None:
    assert await agency.refusal(**{"prompt": "a quiet lake"} | fields) == (422, detail)


async def test_a_body_that_is_not_json_is_refused_in_a_sentence(agency: Agency) -> None:
    answer = await agency.http.post("/v1/generations", content=b"{", headers={"Authorization": HELD})
    assert (answer.status_code, answer.json()["detail"][:19]) == (400, "body: Invalid JSON:")


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("image_edit", inline(JPEG, "image/jpeg")),
        ("image_edit", inline(PNG, "image/png")),
        ("video_edit", inline(MP4, "video/mp4")),
    ],
)
async def test_an_inline_source_is_accepted(agency: Agency, kind: str, source: dict[str, str]) -> None:
    assert (await agency.start(kind, source=source)).state == "queued"


async def test_an_image_above_50_mb_is_too_large(agency: Agency) -> None:
    source = {"data": "A" * (50 * 1024**2 // 3 * 4 + 8), "media_type": "image/png"}
    answer = await agency.post(type="image_edit", prompt="red", source=source)
    assert (answer.status_code, answer.json()["detail"]) == (413, "source: image exceeds 50 MB limit")


# What starts from a generation


async def test_only_a_finished_generation_of_the_right_kind_can_be_built_upon(agency: Agency) -> None:
    image, video, running = await agency.made(), await agency.made("video"), await agency.start()
    edit: dict[str, Any] = {"type": "image_edit", "prompt": "red"}
    for source, why in ((running, "is not completed"), (video, "is not an image")):
        refused = (400, f"source: generation {why}")
        assert await agency.refusal(**edit, source={"generation_id": source.id}) == refused
    frame = {"start_frame": {"generation_id": image.id}}
    refused = (400, "video.start_frame: generation is not a video")
    assert await agency.refusal(**VIDEO, prompt="on", video=frame) == refused
    assert (await agency.start("image_edit", source={"generation_id": image.id})).state == "queued"


async def test_a_generated_image_can_guide_an_edit_and_stand_between_keyframes(agency: Agency) -> None:
    image = {"generation_id": (await agency.made()).id}
    edit = await agency.start("video_edit", source=CLIP, video={"start_frame": image})
    video = await agency.start("video", video={"keyframes": [image], "keyframe_indexes": [60]})
    assert (edit.state, video.state) == ("queued", "queued")


def shape(agency: Agency, generation: Any) -> tuple[str, str, float]:
    picture = agency.world.jobs[generation.id].picture
    return picture.aspect_ratio, picture.resolution, picture.seconds


async def test_what_starts_from_a_clip_keeps_its_shape(agency: Agency) -> None:
    first = await agency.made("video", aspect_ratio="1:1", video={"resolution": "360p", "duration": "10s"})
    on = await agency.made("video", video={"resolution": "540p", "start_frame": {"generation_id": first.id}})
    back = await agency.made("video", video={"end_frame": {"generation_id": on.id}})
    edited = await agency.start("video_edit", source={"generation_id": on.id}, aspect_ratio="16:9")
    by_link = {"url": on.output[0].url, "media_type": "video/mp4"}
    reframed = await agency.start("video_reframe", source=by_link, aspect_ratio="21:9", video={"resolution": "360p"})
    assert [shape(agency, one) for one in (first, on, back, edited, reframed)] == [
        ("1:1", "360p", 10),
        ("1:1", "540p", 15),
        ("1:1", "720p", 20),
        ("1:1", "720p", 15),
        ("21:9", "360p", 15),
    ]


async def test_an_edited_image_keeps_its_shape(agency: Agency) -> None:
    image = await agency.made(aspect_ratio="3:1")
    edited = await agency.start("image_edit", source={"generation_id": image.id}, aspect_ratio="1:3")
    assert agency.world.jobs[edited.id].picture.size == (1774, 592)


async def test_a_clip_longer_than_an_operation_takes_is_refused(agency: Agency) -> None:
    clip = await agency.made("video", video={"duration": "10s"})
    for _ in range(4):
        clip = await agency.made("video", video={"start_frame": {"generation_id": clip.id}})
    own = {"generation_id": clip.id}
    body = {"model": "ray-3.2", "prompt": "on", "source": own}
    assert (await agency.start("video_reframe", source=own, aspect_ratio="1:1")).state == "queued"
    longest = "Type '{}' supports up to {} seconds of video"
    assert await agency.refusal(**body, type="video_edit") == (422, longest.format("video_edit", 18))
    frames = {"end_frame": own}
    assert await agency.refusal(**VIDEO, prompt="on", video=frames) == (422, longest.format("video", 30))


async def test_a_sandbox_link_must_show_the_right_kind_and_still_work(agency: Agency) -> None:
    link, clip = (await agency.made()).output[0].url, (await agency.made("video")).output[0].url
    assert (await agency.start(image_ref=[{"url": link}])).state == "queued"
    refused = (422, "image_ref[0]: content-type is not an image")
    assert await agency.refusal(prompt="red", image_ref=[{"url": clip}]) == refused
    agency.clock.now += 3601
    refused = (422, "image_ref[0]: failed to fetch URL (HTTP 403)")
    assert await agency.refusal(prompt="red", image_ref=[{"url": link}]) == refused
