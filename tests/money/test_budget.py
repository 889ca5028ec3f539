"""What may be spent: the budget, what counts in it, and what the account tells of it."""

import anyio
import httpx
import pytest

from luma_mcp_server.sandbox import AGENTS_SANDBOX_KEY, Fault

pytestmark = pytest.mark.anyio


async def test_what_the_budget_does_not_allow_is_refused_with_what_is_left_and_who_can_change_it(open_desk) -> None:
    async with open_desk(LUMA_MCP_BUDGET_USD="1") as desk:
        await desk.video()
        sent = len(desk.wire.sent)

        said = await desk.refusal("generate_video", prompt="another lake")

        assert "This counts as $0.71, but only $0.29 is left of the budget of $1.00" in said
        assert "LUMA_MCP_BUDGET_USD" in said
        assert "Nothing was sent or charged" in said
        assert len(desk.wire.sent) == sent
        assert (await desk.image())["state"] == "completed"


async def test_a_refusal_tells_amounts_apart_that_differ_in_a_tenth_of_a_cent(open_desk) -> None:
    async with open_desk(LUMA_API_KEY=AGENTS_SANDBOX_KEY, LUMA_MCP_BUDGET_USD="0.04") as desk:
        said = await desk.refusal("generate_image", prompt="a lake")

    assert "counts as $0.0404, but only $0.04 is left" in said


async def test_the_same_call_again_needs_no_budget(open_desk) -> None:
    async with open_desk(LUMA_MCP_BUDGET_USD="1") as desk:
        await desk.video()

        assert (await desk.video())["reused"] is True


async def test_money_spent_a_day_ago_is_free_again_and_stays_in_the_sum_of_all(open_desk) -> None:
    async with open_desk(LUMA_MCP_BUDGET_USD="1") as desk:
        await desk.video()
        await anyio.sleep(24 * 3600 + 1)
        await desk.video("another lake")

        account = await desk.call("get_account")

        assert (account["spent_24h_usd"], account["spent_total_usd"]) == (0.71, 1.42)
        assert (account["budget_usd"], account["budget_left_usd"]) == (1.0, 0.29)


async def test_a_budget_that_is_lifted_refuses_nothing(open_desk) -> None:
    async with open_desk(LUMA_MCP_BUDGET_USD="off") as desk:
        for n in range(4):
            await desk.video(f"lake {n}", resolution="4k", duration="9s")

        account = await desk.call("get_account")
        assert account["spent_24h_usd"] > 20
        assert "budget_left_usd" not in account


async def test_refused_and_refunded_jobs_count_nothing_and_unknown_ones_count(open_desk) -> None:
    async with open_desk(LUMA_MCP_BUDGET_USD="1.50") as desk:
        await desk.refusal("generate_video", prompt="a lake [sandbox:credits]")
        await desk.refusal("generate_video", prompt="a lake [sandbox:fail]")
        assert (await desk.call("get_account"))["spent_24h_usd"] == 0
        desk.world.faults.append(Fault("status", status=500))
        await desk.video("lost")
        assert (await desk.call("get_account"))["spent_24h_usd"] == 0.71
        await desk.video("bought")

        assert "only $0.08 is left" in await desk.refusal("generate_video", prompt="too much")


async def test_four_calls_at_once_do_not_exceed_the_budget_together(open_desk) -> None:

    async with open_desk(LUMA_MCP_BUDGET_USD="2") as desk, open_desk(beside=desk, LUMA_MCP_BUDGET_USD="2") as other:
        said = []

        async def buy(one, take: int) -> None:
            result = await one.raw("generate_video", prompt="a lake", take=take)
            said.append(result.is_error)

        async with anyio.create_task_group() as tasks:
            for take in range(1, 5):
                tasks.start_soon(buy, (desk, other)[take % 2], take)

        assert sorted(said) == [False, False, True, True]
        assert desk.charges == 2


async def test_a_job_without_a_published_price_counts_and_says_what(desk) -> None:
    clip = await desk.video()

    larger = await desk.call("upscale_video", generation_id=clip["generation_id"])

    assert "estimated_cost_usd" not in larger
    assert "Luma publishes no price for it: it counts as the same clip made by ray-2, $1.59." in larger["warnings"]
    assert (await desk.call("get_account"))["spent_24h_usd"] == 2.30


async def test_a_limit_that_can_not_be_read_buys_nothing(open_desk) -> None:
    async with open_desk(LUMA_MCP_BUDGET_USD="much") as desk:
        assert "budget_usd" not in await desk.call("get_account")
        desk.wire.sent.clear()
        assert "LUMA_MCP_BUDGET_USD" in await desk.refusal("generate_video", prompt="a lake")
        assert desk.wire.sent == []


async def test_a_lost_answer_that_becomes_certain_frees_the_budget(open_desk) -> None:
    async with open_desk(LUMA_MCP_BUDGET_USD="1") as desk:
        desk.wire.before.append(httpx.ReadTimeout("slow"))
        await desk.video()
        assert "only $0.29" in await desk.refusal("generate_video", prompt="another")
        await anyio.sleep(60)

        assert (await desk.video())["state"] == "completed"
        assert desk.charges == 1


@pytest.mark.parametrize("name", ["LUMA_MCP_BUGDET_USD", "LUMA_MCP_CONFIRM", "LUMA_MCP_READONLY", "LUMA_MCP_BUDGET"])
async def test_a_misspelled_limit_buys_nothing_until_it_is_mended(open_desk, name: str) -> None:
    async with open_desk(**{name: "1"}) as desk:
        said = await desk.refusal("generate_video", prompt="a lake")
        assert f"{name} is not a setting of this server: LUMA_MCP_" in said
        assert desk.posts == []
        assert any(name in warning for warning in (await desk.call("get_account"))["warnings"])


async def test_another_misspelled_setting_is_said_in_the_account_alone(open_desk) -> None:
    async with open_desk(LUMA_MCP_OUTPUT_DRI="/x") as desk:
        assert "warnings" not in await desk.video()
        [warning] = (await desk.call("get_account"))["warnings"]
        assert "LUMA_MCP_OUTPUT_DRI is not a setting of this server" in warning
