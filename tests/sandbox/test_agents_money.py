"""What the sandbox's Agents API charges, refunds and refuses for want of money or patience."""

from typing import TYPE_CHECKING, Any

import luma_agents
import pytest

from luma_mcp_server.sandbox import Charge

if TYPE_CHECKING:
    from tests.sandbox.conftest import Agency, Studio

pytestmark = pytest.mark.anyio

PICTURE = {"url": "https://example.com/picture.jpg"}
CLIP = {"url": "https://example.com/clip.mp4", "media_type": "video/mp4"}
REFRAME = {"source": CLIP, "aspect_ratio": "1:1"}


@pytest.mark.parametrize(
    ("type", "fields", "cents"),
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
        ("video_edit", {"source": CLIP}, 108),
        ("video_edit", {"source": CLIP, "video": {"resolution": "360p"}}, 54),
        ("video_reframe", REFRAME, 60),
        ("video_reframe", REFRAME | {"video": {"resolution": "1080p"}}, 180),
    ],
)
async def test_a_job_costs_what_luma_charges(agency: "Agency", type: str, fields: dict[str, Any], cents: float) -> None:  # noqa: A002 - Luma's own word
    generation = await agency.start(type, **fields)
    assert agency.world.ledger == [Charge(generation.id, cents, agency.clock.now, "charge")]
    assert agency.world.balance_cents == 10_000 - cents


async def test_the_length_of_a_clip_of_ours_decides_the_price(agency: "Agency") -> None:
    ten = {"generation_id": (await agency.made("video", video={"duration": "10s"})).id}
    fifteen = {"generation_id": (await agency.made("video", video={"start_frame": ten})).id}
    await agency.start("video_edit", source=ten)
    await agency.start("video_edit", source=fifteen)
    await agency.start("video_reframe", source=fifteen, aspect_ratio="1:1")
    assert [charge.cents for charge in agency.world.ledger] == [90, 30, 216, 324, 180]


@pytest.mark.parametrize(
    ("tag", "code", "reason", "balance"),
    [
        (
            "[sandbox:moderation]",
            "content_moderated",
            "Generation output was flagged by our content moderation system.",
            10_000,
        ),
        ("[sandbox:fail]", "generation_failed", "Generation failed", 10_000),
        ("[sandbox:budget]", "budget_exhausted", "Insufficient credits to complete this generation.", 9_970),
    ],
)
async def test_a_word_in_the_prompt_makes_a_job_fail_and_its_code_decides_the_refund(
    agency: "Agency", tag: str, code: str, reason: str, balance: float
) -> None:
    failed = await agency.made("video", prompt=f"a quiet lake {tag}")
    assert (failed.state, failed.failure_code, failed.failure_reason) == ("failed", code, reason)
    assert failed.output == []
    assert agency.world.balance_cents == balance


async def test_a_stuck_job_is_processing_for_ever_until_a_test_makes_it_fail(agency: "Agency") -> None:
    generation = await agency.made(prompt="[sandbox:stuck] a quiet lake")
    assert generation.state == "processing"
    agency.world.fail(generation.id, "Output artifacts not found", "output_not_found")
    failed = await agency.luma.generations.get(generation.id)
    assert (failed.state, failed.failure_code, agency.world.balance_cents) == ("failed", "output_not_found", 10_000)


async def test_without_credits_nothing_is_bought(agency: "Agency") -> None:
    agency.world.balance_cents = 29
    refused = (402, "Insufficient credits. Please add credits to continue.")
    assert await agency.refusal(model="ray-3.2", type="video", prompt="a quiet lake") == refused
    assert await agency.refusal(prompt="[sandbox:credits]") == refused
    assert agency.world.jobs == {}


async def test_both_apis_draw_on_one_balance(agency: "Agency", studio: "Studio") -> None:
    await agency.start("video")
    await studio.start()
    assert (await studio.luma.credits.get()).credit_balance == 10_000 - 30 - 71
    assert [job.api for job in agency.world.jobs.values()] == ["agents", "dream_machine"]


# Limits


async def test_a_job_that_is_taken_says_how_many_more_there_may_be(agency: "Agency") -> None:
    first = await agency.post(prompt="a quiet lake")
    agency.clock.now += 10
    second = await agency.post(prompt="a quiet lake")
    names = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
    reset = str(int(agency.clock.now) + 50)
    assert [first.headers[name] for name in names] == ["30", "29", reset]
    assert [second.headers[name] for name in names] == ["30", "28", reset]


async def test_an_eleventh_job_of_any_kind_has_to_wait_for_one_to_end(agency: "Agency") -> None:
    for _ in range(5):
        await agency.start()
        await agency.start("video")
    with pytest.raises(luma_agents.RateLimitError, match="Too many concurrent jobs") as refused:
        await agency.start()
    assert refused.value.response.headers["retry-after"] == "60"
    assert "x-ratelimit-limit" not in refused.value.response.headers
    agency.clock.now += 4
    assert (await agency.start()).state == "queued"


async def test_thirty_jobs_in_sixty_seconds_are_enough(agency: "Agency") -> None:
    for _ in range(3):
        for _ in range(10):
            await agency.start()
        agency.clock.now += 10
    with pytest.raises(luma_agents.RateLimitError, match="Rate limit exceeded") as refused:
        await agency.start()
    headers = refused.value.response.headers
    assert (headers["retry-after"], headers["x-ratelimit-remaining"]) == ("30", "0")
    assert int(headers["x-ratelimit-reset"]) == agency.clock.now + 30
    agency.clock.now += 30
    assert (await agency.start()).state == "queued"


async def test_the_limits_can_be_lifted(agency: "Agency") -> None:
    agency.world.limits = False
    assert {(await agency.start()).state for _ in range(31)} == {"queued"}


async def test_each_api_has_limits_of_its_own(agency: "Agency", studio: "Studio") -> None:
    for _ in range(10):
        await studio.start()
    assert (await agency.start("video")).state == "queued"


async def test_the_rate_word_refuses_once_and_names_the_wait(agency: "Agency") -> None:
    with pytest.raises(luma_agents.RateLimitError, match="Rate limit exceeded") as refused:
        await agency.start(prompt="[sandbox:rate] a quiet lake")
    assert refused.value.response.headers["retry-after"] == "2"
    assert (await agency.start(prompt="[sandbox:rate] a quiet lake")).state == "queued"


async def test_the_concurrency_word_always_refuses(agency: "Agency") -> None:
    for _ in range(2):
        with pytest.raises(luma_agents.RateLimitError, match="Too many concurrent jobs"):
            await agency.start(prompt="[sandbox:concurrency] a quiet lake")
