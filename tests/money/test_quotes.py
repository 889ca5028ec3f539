"""`dry_run`: what a call would cost, and that asking buys nothing."""

from typing import Any

import anyio
import httpx
import pytest
from mcp_types import ElicitResult

pytestmark = pytest.mark.anyio

URL = "https://example.com/lake.jpg"
CLIP = "https://example.com/lake.mp4"


async def test_a_price_is_told_and_nothing_is_bought(desk) -> None:
    quote = await desk.call("generate_video", prompt="a lake", dry_run=True)

    assert quote == {
        "dry_run": True,
        "operation": "generate_video",
        "model": "ray-2",
        "aspect_ratio": "16:9",
        "resolution": "720p",
        "duration": "5s",
        "estimated_cost_usd": 0.71,
        "counts_usd": 0.71,
        "budget_left_usd": 20.0,
        "allowed": True,
        "asks_user": False,
        "arguments": {
            "prompt": "a lake",
            "aspect_ratio": "16:9",
            "resolution": "720p",
            "duration": "5s",
            "model": "ray-2",
            "take": 1,
        },
        "sandbox": True,
    }
    assert desk.wire.sent == []
    assert desk.rows() == []


@pytest.mark.parametrize(
    ("tool", "arguments", "counts", "assumed"),
    [
        ("modify_video", {"source": CLIP, "mode": "flex_1", "prompt": "snow"}, 4.32, "18 s are assumed"),
        ("reframe_media", {"source": CLIP, "aspect_ratio": "1:1"}, 3.60, "30 s are assumed"),
        ("extract_layers", {"source": URL}, 0.43, "10 images edited by uni-1"),
        ("extract_layers", {"source": URL, "resolution": "2k"}, 1.03, "10 images edited by uni-1-max"),
        ("generate_video", {"prompt": "a lake", "model": "ray-9"}, 3.19, "ray-9 is not known here"),
        ("generate_image", {"prompt": "a lake", "model": "uni-2"}, 0.1, "uni-2 is not known here"),
    ],
)
async def test_what_is_assumed_is_said_before_and_after(
    both_desk, tool: str, arguments: dict[str, Any], counts: float, assumed: str
) -> None:
    quote = await both_desk.call(tool, **arguments, dry_run=True)
    assert "estimated_cost_usd" not in quote
    assert quote["counts_usd"] == pytest.approx(counts, abs=0.005) or quote["assumed"].startswith("ray-9")
    assert assumed in quote["assumed"]
    assert both_desk.charges == 0
    if "model" not in arguments:
        made = await both_desk.call(tool, **arguments)
        assert any(assumed in warning for warning in made["warnings"])


async def test_every_paid_tool_tells_its_price(desk) -> None:
    clip, image = (await desk.video())["generation_id"], (await desk.image())["generation_id"]
    charges = desk.charges
    for tool, arguments in {
        "extend_video": {"generation_id": clip, "prompt": "it goes on"},
        "interpolate_videos": {"start_generation_id": clip, "end_generation_id": clip, "prompt": "it goes on"},
        "modify_video": {"source": clip, "mode": "flex_1", "prompt": "snow"},
        "reframe_media": {"source": clip, "aspect_ratio": "1:1"},
        "upscale_video": {"generation_id": clip},
        "add_audio": {"generation_id": clip},
        "generate_image": {"prompt": "a hill"},
        "modify_image": {"source": image, "prompt": "snow"},
    }.items():
        quote = await desk.call(tool, **arguments, dry_run=True)
        assert quote["operation"] == tool
        assert quote["counts_usd"] > 0
        assert quote["allowed"] is True
    assert desk.charges == charges


async def test_what_a_purchase_would_refuse_is_refused(desk) -> None:
    said = await desk.refusal("generate_video", prompt="a lake", duration="10s", dry_run=True)

    assert "Use duration=9s ($1.27)" in said


async def test_the_budget_and_the_user_s_limit_are_looked_at(open_desk) -> None:
    async def user(*_: object) -> ElicitResult:
        return ElicitResult(action="accept")

    large = {"prompt": "a lake", "resolution": "1080p", "duration": "9s", "dry_run": True}
    async with open_desk(answer=user, LUMA_MCP_BUDGET_USD="3") as desk:
        quote = await desk.call("generate_video", **large)
        assert (quote["allowed"], quote["asks_user"], quote["budget_left_usd"]) == (True, True, 3.0)
        await desk.video()
        quote = await desk.call("generate_video", **large)
        assert quote["allowed"] is False
        assert "This counts as $2.87, but only $2.29 is left of the budget of $3.00" in quote["warnings"][0]
    async with open_desk(LUMA_MCP_CONFIRM_USD="2") as desk:
        quote = await desk.call("generate_video", **large)
        assert (quote["allowed"], quote["asks_user"]) == (False, False)
        assert "costs about $2.87, more than LUMA_MCP_CONFIRM_USD ($2.00) allows" in quote["warnings"][0]
    async with open_desk(LUMA_MCP_BUDGET_USD="off") as desk:
        quote = await desk.call("generate_video", **large)
        assert (quote["allowed"], "budget_left_usd" in quote) == (True, False)
        assert quote["warnings"] == ["Above LUMA_MCP_CONFIRM_USD ($2.00), but this client can't ask: it buys."]


async def test_what_would_be_reused_costs_nothing(desk) -> None:
    made = await desk.video()

    quote = await desk.call("generate_video", prompt="a quiet lake", dry_run=True)

    assert (quote["estimated_cost_usd"], quote["generation_id"]) == (0.0, made["generation_id"])


async def test_the_same_job_counts_the_same_whoever_made_its_source(both_desk) -> None:
    clips = [(await both_desk.video(model=model))["generation_id"] for model in ("ray-2", "ray-flash-2", "ray-3.2")]

    def counts(tool: str, source: str, some: list[str], **arguments: Any) -> Any:
        async def ask() -> set[float]:
            quotes = [await both_desk.call(tool, **{source: clip}, take=7, dry_run=True, **arguments) for clip in some]
            return {quote["counts_usd"] for quote in quotes}

        return ask()

    assert len(await counts("upscale_video", "generation_id", clips[:2])) == 1
    assert len(await counts("add_audio", "generation_id", clips[:2])) == 1
    for model in ("ray-2", "ray-3.2"):
        assert len(await counts("reframe_media", "source", clips, aspect_ratio="1:1", model=model)) == 1
        assert len(await counts("modify_video", "source", clips, mode="flex_1", prompt="in snow", model=model)) == 1


async def test_a_quote_knows_what_became_of_the_earlier_purchase(agents_desk) -> None:
    failing = {"prompt": "a lake [sandbox:fail]"}
    await agents_desk.call("generate_video", **failing, wait_s=0)
    await anyio.sleep(30)
    quote = await agents_desk.call("generate_video", **failing, dry_run=True)
    assert (quote["estimated_cost_usd"], "generation_id" in quote) == (0.30, False)

    agents_desk.wire.after.append(httpx.ReadTimeout("slow"))
    lost = await agents_desk.video()
    quote = await agents_desk.call("generate_video", prompt="a quiet lake", dry_run=True)
    assert (quote["estimated_cost_usd"], quote["request_id"]) == (0.0, lost["request_id"])
    assert "take=2 would" in quote["warnings"][0]


async def test_an_image_that_counts_more_than_it_usually_costs_says_why(desk) -> None:
    quote = await desk.call("generate_image", prompt="a lake", dry_run=True)

    assert (quote["estimated_cost_usd"], quote["counts_usd"]) == (0.015, 0.0182)
    assert quote["assumed"] == "It counts at the largest size that Luma makes"
