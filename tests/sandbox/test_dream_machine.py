"""The sandbox's Dream Machine API, seen through Luma's own SDK with strict response validation."""

from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import lumaai
import pytest

from .conftest import Studio

pytestmark = pytest.mark.anyio

CLIP = "https://example.com/clip.mp4"
PICTURE = "https://example.com/picture.jpg"
IMAGE_FRAME = {"type": "image", "url": PICTURE}
MODIFY = {"generation_type": "modify_video", "model": "ray-2", "mode": "flex_1", "media": {"url": CLIP}}
REFRAME_VIDEO = {
    "generation_type": "reframe_video",
    "model": "ray-2",
    "aspect_ratio": "9:16",
    "media": {"url": CLIP},
}
REFRAME_IMAGE = {
    "generation_type": "reframe_image",
    "model": "photon-1",
    "aspect_ratio": "9:16",
    "media": {"url": PICTURE},
}


# The life of a generation


async def test_a_video_is_queued_then_dreaming_then_completed(studio: Studio) -> None:
    generation = await studio.start()
    seen = [generation]
    for _ in range(3):
        studio.clock.now += 2.5
        seen.append(await studio.luma.generations.get(generation.id))
    assert [one.state for one in seen] == ["queued", "dreaming", "dreaming", "completed"]
    assert [one.assets for one in seen[:3]] == [None] * 3
    assets = seen[3].assets
    assert assets.video.startswith(f"http://sandbox/media/{generation.id}/video.mp4?Expires=")
    assert assets.image.startswith(f"http://sandbox/media/{generation.id}/thumbnail.jpg?Expires=")


async def test_a_generation_echoes_its_request(studio: Studio) -> None:
    frames = {"frame0": IMAGE_FRAME}
    generation = await studio.start(keyframes=frames, loop=True, concepts=[{"key": "pov"}], callback_url=PICTURE)
    assert generation.request.to_dict() == {
        "generation_type": "video",
        "model": "ray-2",
        "prompt": "a quiet lake",
        "aspect_ratio": "16:9",
        "keyframes": frames,
        "loop": True,
        "concepts": [{"key": "pov"}],
        "callback_url": PICTURE,
    }


async def test_created_at_and_the_date_header_follow_the_clock(studio: Studio) -> None:
    answer = await studio.post("/generations/video", VIDEO)
    assert answer.status_code == 201
    assert answer.json()["created_at"] == "2026-09-21T14:13:20Z"
    assert parsedate_to_datetime(answer.headers["date"]).isoformat() == "2026-09-21T14:13:20+00:00"


# The endpoints


async def test_every_way_of_creating_answers_in_the_words_of_the_sdk(studio: Studio) -> None:
    luma = studio.luma.generations
    video = await studio.video()
    made = [
        await luma.create(model="ray-flash-2", prompt="a quiet lake"),
        await luma.video.modify(**MODIFY),
        await luma.video.reframe(**REFRAME_VIDEO),
        await luma.image.create(model="photon-flash-1", prompt="a quiet lake", format="png"),
        await luma.image.reframe(**REFRAME_IMAGE),
        await luma.upscale(video.id, resolution="1080p"),
        await luma.audio(video.id, prompt="waves", negative_prompt="voices"),
    ]
    assert [(one.generation_type, one.model, one.request.generation_type) for one in made] == [
        ("video", "ray-flash-2", "video"),
        ("video", "ray-2", "modify_video"),
        ("video", "ray-2", "reframe_video"),
        ("image", "photon-flash-1", "image"),
        ("image", "photon-1", "reframe_image"),
        ("video", "ray-2", "upscale_video"),
        ("video", "ray-2", "add_audio"),
    ]


async def test_the_list_shows_the_newest_first_page_by_page(studio: Studio) -> None:
    ids = [(await studio.video(f"lake number {number}")).id for number in range(3)]
    page = await studio.luma.generations.list(limit=2, offset=0)
    assert [one.id for one in page.generations] == [ids[2], ids[1]]
    assert (page.count, page.has_more, page.limit, page.offset) == (3, True, 2, 0)
    assert (await studio.luma.generations.list(limit=2, offset=2)).has_more is False


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "offset=-1", "limit=many"])
async def test_a_list_outside_its_bounds_is_refused(studio: Studio, query: str) -> None:
    answer = await studio.http.get(f"/dream-machine/v1/generations?{query}")
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["query", query.split("=")[0]])


async def test_a_deleted_generation_is_gone(studio: Studio) -> None:
    video = await studio.video()
    answer = await studio.http.delete(f"/dream-machine/v1/generations/{video.id}")
    assert (answer.status_code, answer.content) == (204, b"")
    with pytest.raises(lumaai.NotFoundError, match="Generation not found"):
        await studio.luma.generations.get(video.id)
    assert (await studio.luma.generations.list()).count == 0


@pytest.mark.parametrize("generation_id", ["unknown", "x/../y"])
async def test_an_unknown_generation_is_not_found(studio: Studio, generation_id: str) -> None:
    luma = studio.luma.generations
    for call in (luma.get, luma.delete, luma.upscale, luma.audio):
        with pytest.raises(lumaai.NotFoundError, match="Generation not found"):
            await call(generation_id)


async def test_ping_credits_and_concepts_answer(studio: Studio) -> None:
    assert (await studio.luma.ping.check()).message == "pong"
    assert (await studio.luma.credits.get()).credit_balance == 10_000
    assert len(await studio.luma.generations.concepts.list()) == 34


@pytest.mark.parametrize("path", ["/ping", "/credits", "/generations", "/generations/some-id", "/nowhere"])
@pytest.mark.parametrize("header", ["", "Bearer another-key", "luma-sandbox-key"])
async def test_no_address_answers_without_the_right_key(studio: Studio, path: str, header: str) -> None:
    answer = await studio.http.get(f"/dream-machine/v1{path}", headers={"Authorization": header})
    assert (answer.status_code, answer.json()) == (401, {"detail": "Invalid API key is provided"})


# What is refused

VIDEO = {"model": "ray-2", "prompt": "a quiet lake"}
IMAGE = {"model": "photon-1", "prompt": "a quiet lake"}


@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        ("/video", {"prompt": "a quiet lake"}, "model"),
        ("/video", VIDEO | {"model": "ray-1-6"}, "model"),
        ("/video", VIDEO | {"seed": 7}, "seed"),
        ("/video", VIDEO | {"loop": "yes"}, "loop"),
        ("/video", VIDEO | {"duration": "10s"}, "duration"),
        ("/video", VIDEO | {"duration": 5}, "duration"),
        ("/video", VIDEO | {"resolution": "480p"}, "resolution"),
        ("/video", VIDEO | {"aspect_ratio": "2:1"}, "aspect_ratio"),
        ("/video", VIDEO | {"callback_url": "example.com/hook"}, "callback_url"),
        ("/video", VIDEO | {"keyframes": {"frame0": {"type": "image", "url": "data:,"}}}, "keyframes.frame0.image.url"),
        ("/video", VIDEO | {"keyframes": {"frame0": {"type": "image"}}}, "keyframes.frame0.image.url"),
        ("/video", VIDEO | {"keyframes": {"frame2": None}}, "keyframes.frame2"),
        ("/image", VIDEO, "model"),
        ("/image", IMAGE | {"format": "gif"}, "format"),
        ("/image", IMAGE | {"image_ref": [{"url": PICTURE}] * 5}, "image_ref"),
        ("/image", IMAGE | {"style_ref": [{"url": PICTURE, "weight": 1.2}]}, "style_ref.0.weight"),
        ("/image", IMAGE | {"modify_image_ref": {"url": "file:///x.png"}}, "modify_image_ref.url"),
        ("/image", IMAGE | {"character_ref": {"identity1": {"images": [PICTURE]}}}, "character_ref.identity1"),
        (
            "/image",
            IMAGE | {"character_ref": {"identity0": {"images": [PICTURE] * 5}}},
            "character_ref.identity0.images",
        ),
        ("/video/modify", {k: v for k, v in MODIFY.items() if k != "mode"}, "mode"),
        ("/video/modify", MODIFY | {"media": {}}, "media.url"),
        ("/video/modify", MODIFY | {"generation_type": "video"}, "generation_type"),
        ("/video/reframe", {k: v for k, v in REFRAME_VIDEO.items() if k != "aspect_ratio"}, "aspect_ratio"),
        ("/video/reframe", REFRAME_VIDEO | {"x_start": 1.5}, "x_start"),
        ("/image/reframe", REFRAME_IMAGE | {"first_frame": {"url": PICTURE}}, "first_frame"),
        ("/unknown/upscale", {"resolution": "8k"}, "resolution"),
        ("/unknown/audio", {"volume": 1}, "volume"),
    ],
)
async def test_a_body_that_does_not_fit_names_the_place(
    studio: Studio, path: str, body: dict[str, Any], place: str
) -> None:
    assert await studio.refusal(f"/generations{path}", **body) == (422, [f"body.{place}"])


async def test_a_body_that_is_not_json_is_refused(studio: Studio) -> None:
    answer = await studio.http.post("/dream-machine/v1/generations/video", content=b"{")
    assert (answer.status_code, answer.json()["detail"][0]["type"]) == (422, "json_invalid")


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"prompt": None}, "Prompt is required"),
        ({"prompt": "ab"}, "Prompt is too short, minimum length is 3 characters"),
        ({"prompt": "a" * 5001}, "Prompt is too long, maximum length is 5000 characters"),
        ({"keyframes": {}}, "No keyframes provided"),
        ({"keyframes": {"frame0": {"type": "generation", "id": "unknown"}}}, "Generation not found"),
    ],
)
async def test_luma_s_own_sentences_are_used(studio: Studio, fields: dict[str, Any], detail: str) -> None:
    assert await studio.refusal("/generations/video", **VIDEO | fields) == (400, detail)


async def test_an_image_keyframe_makes_the_prompt_optional(studio: Studio) -> None:
    generation = await studio.luma.generations.video.create(model="ray-2", keyframes={"frame1": IMAGE_FRAME})
    assert generation.state == "queued"


@pytest.mark.parametrize(
    ("start", "end", "what"),
    [
        ("image", "image", "keyframes"),
        (None, "generation", "extend reverse"),
        ("generation", "image", "interpolate video to image"),
        ("image", "generation", "interpolate image to video"),
        ("generation", "generation", "interpolate between two videos"),
    ],
)
async def test_a_loop_is_refused_where_luma_says_so(studio: Studio, start: str | None, end: str, what: str) -> None:
    clip = {"type": "generation", "id": (await studio.video()).id}
    kinds = {"image": IMAGE_FRAME, "generation": clip, None: None}
    body = VIDEO | {"loop": True, "keyframes": {"frame0": kinds[start], "frame1": kinds[end]}}
    assert await studio.refusal("/generations/video", **body) == (400, f"Loop is not supported for {what}")


@pytest.mark.parametrize(("start", "end"), [("image", None), ("generation", None), (None, "image")])
async def test_a_loop_is_taken_where_luma_allows_or_contradicts_it(
    studio: Studio, start: str | None, end: str | None
) -> None:
    clip = {"type": "generation", "id": (await studio.video()).id}
    kinds = {"image": IMAGE_FRAME, "generation": clip, None: None}
    generation = await studio.start(loop=True, keyframes={"frame0": kinds[start], "frame1": kinds[end]})
    assert generation.request.loop is True


async def test_only_a_finished_video_can_be_built_upon(studio: Studio) -> None:
    image, running = await studio.image(), await studio.start()
    for source, why in ((image, "is not a video"), (running, "is not completed")):
        refused = (400, f"Generation {source.id} {why}")
        frames = {"frame0": {"type": "generation", "id": source.id}}
        assert await studio.refusal("/generations/video", **VIDEO, keyframes=frames) == refused
        assert await studio.refusal(f"/generations/{source.id}/upscale") == refused
        assert await studio.refusal(f"/generations/{source.id}/audio") == refused


async def extended(studio: Studio, seconds: int) -> str:
    """The link to a clip of our own that was extended to that length."""
    video = await studio.video()
    while studio.world.jobs[video.id].picture.seconds < seconds:
        video = await studio.video(keyframes={"frame0": {"type": "generation", "id": video.id}})
    return video.assets.video


@pytest.mark.parametrize(
    ("operation", "body", "longest"),
    [
        ("modify", MODIFY, 10),
        ("modify", MODIFY | {"model": "ray-flash-2"}, 15),
        ("reframe", REFRAME_VIDEO, 10),
        ("reframe", REFRAME_VIDEO | {"model": "ray-flash-2"}, 30),
    ],
)
async def test_a_source_longer_than_the_model_takes_is_refused(
    studio: Studio, operation: str, body: dict[str, Any], longest: int
) -> None:
    path = f"/generations/video/{operation}"
    allowed = await studio.post(path, body | {"media": {"url": await extended(studio, longest)}})
    assert allowed.status_code == 201
    too_long = body | {"media": {"url": await extended(studio, longest + 5)}}
    assert await studio.refusal(path, **too_long) == (
        400,
        f"Video is too long, maximum duration is {longest} seconds",
    )


async def test_a_link_of_ours_that_has_expired_fails_like_an_unreadable_file(studio: Studio) -> None:
    link = (await studio.video()).assets.video
    studio.clock.now += 3601
    failed = await studio.finished(await studio.luma.generations.video.modify(**MODIFY | {"media": {"url": link}}))
    assert (failed.state, failed.failure_reason) == ("failed", "Failed to read user input frames")


async def test_a_file_is_served_from_any_byte_on_while_it_is_still_the_same(studio: Studio) -> None:
    link = (await studio.video()).assets.video
    whole = await studio.http.get(link)
    etag, size = whole.headers["etag"], len(whole.content)

    async def rest(**headers: str) -> httpx.Response:
        return await studio.http.get(link, headers={name.replace("_", "-"): value for name, value in headers.items()})

    part = await rest(range="bytes=1000-", if_range=etag)
    assert (part.status_code, part.content) == (206, whole.content[1000:])
    assert part.headers["content-range"] == f"bytes 1000-{size - 1}/{size}"
    changed = await rest(range="bytes=1000-", if_range='"another"')
    assert (changed.status_code, changed.content) == (200, whole.content)
    assert (await rest(range=f"bytes={size}-")).status_code == 416
