"""What the sandbox charges and refunds, and its limits."""

from typing import Any

import luma_agents
import lumaai
import pytest

from luma_mcp_server.sandbox import Charge

from .conftest import Agency, Studio

pytestmark = pytest.mark.anyio

CLIP = {"url": "https://example.com/clip.mp4"}
MODIFY = {"generation_type": "modify_video", "mode": "flex_1", "media": CLIP}
REFRAME = {"generation_type": "reframe_video", "aspect_ratio": "1:1", "media": CLIP}
PICTURE = {"url": "https://example.com/picture.jpg"}
AGENTS_CLIP = CLIP | {"media_type": "video/mp4"}
MODERATED = "Generation output was flagged by our content moderation system."
KEYFRAME = {"keyframes": [PICTURE], "keyframe_indexes": [240]}
AGENTS_REFRAME = {"source": AGENTS_CLIP, "aspect_ratio": "1:1"}


@pytest.mark.parametrize(
    ("path", "body", "cents"),
    [
        ("/video", {"model": "ray-2"}, 71),
        ("/video", {"model": "ray-2", "resolution": "540p", "duration": "9s"}, 72),
        ("/video", {"model": "ray-2", "resolution": "1080p", "duration": "9s"}, 287),
        ("/video", {"model": "ray-2", "resolution": "4k", "duration": "9s"}, 1147),
        ("/video", {"model": "ray-flash-2", "resolution": "540p"}, 14),
        ("/video", {"model": "ray-flash-2", "resolution": "4k"}, 219),
        ("/image", {"model": "photon-1"}, 1.5),
        ("/image", {"model": "photon-flash-1"}, 0.4),
        ("/video/modify", {"model": "ray-2", **MODIFY}, 175),
        ("/video/modify", {"model": "ray-flash-2", **MODIFY}, 60),
        ("/video/reframe", {"model": "ray-2", **REFRAME}, 71),
    ],
)
async def test_a_job_costs_what_luma_charges(studio: Studio, path: str, body: dict[str, Any], cents: float) -> None:
    answer = await studio.post(f"/generations{path}", {"prompt": "a quiet lake", **body})
    assert studio.world.ledger == [Charge(answer.json()["id"], cents, studio.clock.now, "charge")]
    assert (await studio.luma.credits.get()).credit_balance == 10_000 - cents


async def test_a_failed_job_is_refunded_once_when_it_fails(studio: Studio) -> None:
    generation = await studio.start("[sandbox:fail] a quiet lake")
    taken = studio.clock.now
    assert studio.world.balance_cents == 9_929
    await studio.finished(generation)
    studio.world.settle()
    assert studio.world.ledger[1:] == [Charge(generation.id, 71, taken + 6, "refund")]
    assert (await studio.luma.credits.get()).credit_balance == 10_000


async def test_a_job_deleted_before_it_failed_is_refunded_all_the_same(studio: Studio) -> None:
    generation = await studio.start("[sandbox:fail] a quiet lake")
    await studio.luma.generations.delete(generation.id)
    studio.clock.now += 6
    assert (await studio.luma.credits.get()).credit_balance == 10_000


@pytest.mark.parametrize(
    ("tag", "reason"), [("[sandbox:moderation]", "Frame moderation failed"), ("[sandbox:fail]", "Job failed")]
)
async def test_a_word_in_the_prompt_makes_a_job_fail(studio: Studio, tag: str, reason: str) -> None:
    failed = await studio.video(f"a quiet lake {tag}")
    assert (failed.state, failed.failure_reason, failed.assets) == ("failed", reason, None)


async def test_the_concurrency_word_refuses_without_naming_a_wait(studio: Studio) -> None:
    with pytest.raises(lumaai.RateLimitError, match="Too many concurrent jobs") as refused:
        await studio.start("[sandbox:concurrency] a quiet lake")
    assert "retry-after" not in refused.value.response.headers


@pytest.mark.parametrize(("kind", "at_once", "per_minute"), [("video", 10, 20), ("image", 40, 80)])
async def test_dream_machine_limits_videos_and_images_separately(
    studio: Studio, kind: str, at_once: int, per_minute: int
) -> None:
    body = {"model": "ray-2" if kind == "video" else "photon-1", "prompt": "a quiet lake"}
    for _ in range(at_once):
        await studio.post(f"/generations/{kind}", body)
    assert await studio.refusal(f"/generations/{kind}", **body) == (429, "Too many concurrent jobs")
    studio.clock.now += 6
    studio.world.seconds = 0
    for _ in range(per_minute - at_once):
        await studio.post(f"/generations/{kind}", body)
    assert await studio.refusal(f"/generations/{kind}", **body) == (429, "Rate limit exceeded")
    assert (await (studio.image if kind == "video" else studio.video)()).state == "completed"


# The Agents API


@pytest.mark.parametrize(
    ("kind", "fields", "cents"),
    [
        ("image", {}, 4.04),
        ("image", {"image_ref": [PICTURE]}, 4.34),
        ("image", {"image_ref": [PICTURE] * 9}, 6.74),
        ("image_edit", {"source": PICTURE}, 4.34),
        ("image_edit", {"source": PICTURE, "image_ref": [PICTURE] * 8}, 6.74),
        ("image", {"model": "uni-1-max"}, 10),
        ("image_edit", {"model": "uni-1-max", "source": PICTURE}, 10.3),
        ("video", {}, 30),
        ("video", {"video": {"resolution": "360p", "duration": "10s"}}, 18),
        ("video", {"video": {"resolution": "540p"}}, 15),
        ("video", {"video": {"resolution": "1080p", "duration": "10s"}}, 360),
        ("video_edit", {"source": AGENTS_CLIP}, 108),
        ("video_edit", {"source": AGENTS_CLIP, "video": {"resolution": "360p"}}, 54),
        ("video", {"video": {"hdr": True}}, 60),
        ("video", {"video": {"hdr": True, "exr_export": True, "resolution": "1080p"}}, 360),
        ("video", {"video": {"hdr": True, "duration": "10s", **KEYFRAME}}, 180),
        ("video_edit", {"source": AGENTS_CLIP, "video": {"resolution": "360p", "hdr": True}}, 108),
        ("video_edit", {"source": AGENTS_CLIP, "video": {"hdr": True, "exr_export": True}}, 324),
        ("layering", {"source": PICTURE, "prompt": "even"}, 15),
        ("layering", {"source": PICTURE, "prompt": "odd"}, 20),
        ("layering", {"source": PICTURE, "prompt": "even", "layering": {"resolution": "2k"}}, 30),
        ("video_reframe", AGENTS_REFRAME, 60),
        ("video_reframe", AGENTS_REFRAME | {"video": {"resolution": "1080p"}}, 180),
    ],
)
async def test_an_agents_job_costs_what_luma_charges(
    agency: Agency, kind: str, fields: dict[str, Any], cents: float
) -> None:
    generation = await agency.start(kind, **fields)
    assert agency.world.ledger == [Charge(generation.id, cents, agency.clock.now, "charge")]
    assert agency.world.balance_cents == 10_000 - cents


async def test_the_length_of_a_source_decides_the_price(agency: Agency) -> None:
    ten = {"generation_id": (await agency.made("video", video={"duration": "10s"})).id}
    fifteen = {"generation_id": (await agency.made("video", video={"start_frame": ten})).id}
    await agency.start("video_edit", source=ten)
    await agency.start("video_edit", source=fifteen)
    await agency.start("video_reframe", source=fifteen, aspect_ratio="1:1")
    assert [charge.cents for charge in agency.world.ledger] == [90, 30, 216, 324, 180]


@pytest.mark.parametrize(
    ("tag", "code", "reason", "balance"),
    [
        ("[sandbox:moderation]", "content_moderated", MODERATED, 10_000),
        ("[sandbox:fail]", "generation_failed", "Generation failed", 10_000),
        ("[sandbox:budget]", "budget_exhausted", "Insufficient credits to complete this generation.", 9_970),
    ],
)
async def test_a_failed_agents_job_has_a_code_that_decides_the_refund(
    agency: Agency, tag: str, code: str, reason: str, balance: float
) -> None:
    failed = await agency.made("video", prompt=f"a quiet lake {tag}")
    assert (failed.state, failed.failure_code, failed.failure_reason) == ("failed", code, reason)
    assert failed.output == []
    assert agency.world.balance_cents == balance


async def test_a_stuck_job_is_processing_forever_until_a_test_makes_it_fail(agency: Agency) -> None:
    generation = await agency.made(prompt="[sandbox:stuck] a quiet lake")
    assert generation.state == "processing"
    agency.world.fail(generation.id, "Output artifacts not found", "output_not_found")
    failed = await agency.luma.generations.get(generation.id)
    assert (failed.state, failed.failure_code, agency.world.balance_cents) == ("failed", "output_not_found", 10_000)


async def test_without_credits_nothing_is_bought(agency: Agency) -> None:
    agency.world.balance_cents = 29
    refused = (402, "Insufficient credits. Please add credits to continue.")
    assert await agency.refusal(model="ray-3.2", type="video", prompt="a quiet lake") == refused
    assert await agency.refusal(prompt="[sandbox:credits]") == refused
    assert agency.world.jobs == {}


async def test_both_apis_draw_on_one_balance(agency: Agency, studio: Studio) -> None:
    await agency.start("video")
    await studio.start()
    assert (await studio.luma.credits.get()).credit_balance == 10_000 - 30 - 71
    assert [job.api for job in agency.world.jobs.values()] == ["agents", "dream_machine"]


# Limits


async def test_an_eleventh_job_of_any_kind_has_to_wait_for_one_to_end(agency: Agency) -> None:
    for _ in range(5):
        await agency.start()
        await agency.start("video")
    with pytest.raises(luma_agents.RateLimitError, match="Too many concurrent jobs") as refused:
        await agency.start()
    assert refused.value.response.headers["retry-after"] == "60"
    agency.clock.now += 4
    assert (await agency.start()).state == "queued"


async def test_thirty_jobs_in_sixty_seconds_are_enough(agency: Agency) -> None:
    for _ in range(3):
        for _ in range(10):
            await agency.start()
        agency.clock.now += 10
    with pytest.raises(luma_agents.RateLimitError, match="Rate limit exceeded") as refused:
        await agency.start()
    assert refused.value.response.headers["retry-after"] == "30"
    agency.clock.now += 30
    assert (await agency.start()).state == "queued"


async def test_the_limits_can_be_lifted(agency: Agency) -> None:
    agency.world.limits = False
    assert {(await agency.start()).state for _ in range(31)} == {"queued"}


async def test_each_api_has_limits_of_its_own(agency: Agency, studio: Studio) -> None:
    for _ in range(10):
        await studio.start()
    assert (await agency.start("video")).state == "queued"


async def test_the_rate_word_refuses_once_and_names_the_wait(agency: Agency) -> None:
    with pytest.raises(luma_agents.RateLimitError, match="Rate limit exceeded") as refused:
        await agency.start(prompt="[sandbox:rate] a quiet lake")
    assert refused.value.response.headers["retry-after"] == "2"
    assert (await agency.start(prompt="[sandbox:rate] a quiet lake")).state == "queued"


async def test_the_concurrency_word_always_refuses(agency: Agency) -> None:
    for _ in range(2):
        with pytest.raises(luma_agents.RateLimitError, match="Too many concurrent jobs"):
            await agency.start(prompt="[sandbox:concurrency] a quiet lake")
