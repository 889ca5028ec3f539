"""What the sandbox charges, refunds and refuses for want of money or patience."""

from typing import TYPE_CHECKING, Any

import httpx
import lumaai
import pytest

from luma_mcp_server.sandbox import Charge, create_sandbox

if TYPE_CHECKING:
    from tests.sandbox.conftest import Studio

pytestmark = pytest.mark.anyio

CLIP = {"url": "https://example.com/clip.mp4"}
MODIFY = {"generation_type": "modify_video", "mode": "flex_1", "media": CLIP}
REFRAME = {"generation_type": "reframe_video", "aspect_ratio": "1:1", "media": CLIP}


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
async def test_a_job_costs_what_luma_charges(studio: "Studio", path: str, body: dict[str, Any], cents: float) -> None:
    answer = await studio.post(f"/generations{path}", {"prompt": "a quiet lake", **body})
    assert studio.world.ledger == [Charge(answer.json()["id"], cents, studio.clock.now, "charge")]
    assert (await studio.luma.credits.get()).credit_balance == 10_000 - cents


async def test_a_failed_job_is_refunded_once_when_it_fails(studio: "Studio") -> None:
    generation = await studio.start("[sandbox:fail] a quiet lake")
    taken = studio.clock.now
    assert studio.world.balance_cents == 9_929
    await studio.finished(generation)
    studio.world.settle()
    assert studio.world.ledger[1:] == [Charge(generation.id, 71, taken + 6, "refund")]
    assert (await studio.luma.credits.get()).credit_balance == 10_000


async def test_a_job_deleted_before_it_failed_is_refunded_all_the_same(studio: "Studio") -> None:
    generation = await studio.start("[sandbox:fail] a quiet lake")
    await studio.luma.generations.delete(generation.id)
    studio.clock.now += 6
    assert (await studio.luma.credits.get()).credit_balance == 10_000


async def test_a_refused_request_costs_nothing(studio: "Studio") -> None:
    await studio.refusal("/generations/video", model="ray-2")
    assert studio.world.ledger == []


@pytest.mark.parametrize(
    ("tag", "reason"), [("[sandbox:moderation]", "Frame moderation failed"), ("[sandbox:fail]", "Job failed")]
)
async def test_a_word_in_the_prompt_makes_a_job_fail(studio: "Studio", tag: str, reason: str) -> None:
    failed = await studio.video(f"a quiet lake {tag}")
    assert (failed.state, failed.failure_reason, failed.assets) == ("failed", reason, None)


async def test_a_stuck_job_dreams_for_ever(studio: "Studio") -> None:
    generation = await studio.start("[sandbox:stuck] a quiet lake")
    studio.clock.now += 1e6
    assert (await studio.finished(generation)).state == "dreaming"


async def test_a_test_can_make_any_job_fail(studio: "Studio") -> None:
    generation = await studio.start("[sandbox:stuck] a quiet lake")
    studio.world.fail(generation.id, "Error dispatching job")
    assert (await studio.finished(generation)).failure_reason == "Error dispatching job"


async def test_without_credits_nothing_is_bought(studio: "Studio") -> None:
    studio.world.balance_cents = 70
    refused = (402, "Insufficient credits")
    assert await studio.refusal("/generations/video", model="ray-2", prompt="a quiet lake") == refused
    assert await studio.refusal("/generations/image", model="photon-1", prompt="[sandbox:credits]") == refused
    assert studio.world.jobs == {}


async def test_the_rate_word_refuses_once_and_names_the_wait(studio: "Studio") -> None:
    with pytest.raises(lumaai.RateLimitError) as refused:
        await studio.start("[sandbox:rate] a quiet lake")
    assert refused.value.response.headers["retry-after"] == "2"
    assert (await studio.start("[sandbox:rate] a quiet lake")).state == "queued"


async def test_the_concurrency_word_refuses_without_naming_a_wait(studio: "Studio") -> None:
    with pytest.raises(lumaai.RateLimitError, match="Too many concurrent jobs") as refused:
        await studio.start("[sandbox:concurrency] a quiet lake")
    assert "retry-after" not in refused.value.response.headers


async def test_an_eleventh_video_has_to_wait_for_one_to_end(studio: "Studio") -> None:
    for _ in range(10):
        await studio.start()
    with pytest.raises(lumaai.RateLimitError, match="the limit is 10 video jobs"):
        await studio.start()
    studio.clock.now += 6
    assert (await studio.start()).state == "queued"


async def test_twenty_videos_a_minute_are_enough(studio: "Studio") -> None:
    for _ in range(2):
        for _ in range(10):
            await studio.start()
        studio.clock.now += 6
    with pytest.raises(lumaai.RateLimitError, match="20 video requests per minute"):
        await studio.start()
    studio.clock.now += 48
    assert (await studio.start()).state == "queued"


async def test_images_have_limits_of_their_own(studio: "Studio") -> None:
    for _ in range(40):
        await studio.luma.generations.image.create(model="photon-1", prompt="a quiet lake")
    with pytest.raises(lumaai.RateLimitError, match="the limit is 40 image jobs"):
        await studio.luma.generations.image.create(model="photon-1", prompt="a quiet lake")
    assert (await studio.start()).state == "queued"


async def test_limits_can_be_lifted() -> None:
    app = create_sandbox(limits=False, seconds=60)
    wire = httpx.ASGITransport(app)
    headers = {"Authorization": "Bearer luma-sandbox-key"}
    async with httpx.AsyncClient(transport=wire, base_url="http://sandbox/dream-machine/v1", headers=headers) as http:
        body = {"model": "ray-2", "prompt": "a quiet lake"}
        answers = [await http.post("/generations/video", json=body) for _ in range(25)]
    assert {answer.status_code for answer in answers} == {201}
