"""Purchases that are made once and found again: by one process, several, and the next."""

from typing import Any

import anyio
import httpx
import pytest

from luma_mcp_server.sandbox import AGENTS_SANDBOX_KEY, Fault

pytestmark = pytest.mark.anyio

AGENTS = {"LUMA_API_KEY": AGENTS_SANDBOX_KEY}
BOTH_APIS = pytest.mark.parametrize("environ", [{}, AGENTS], ids=["dream_machine", "agents"])


# The same call again.


@BOTH_APIS
async def test_the_same_call_again_gives_the_same_generation_and_says_how_to_get_another(open_desk, environ) -> None:
    async with open_desk(**environ) as desk:
        first = await desk.video()
        again = await desk.video()

        assert again["generation_id"] == first["generation_id"]
        assert (again["reused"], again["estimated_cost_usd"], again["video_url"] != "") == (True, 0.0, True)
        assert "call again with take=2" in again["warnings"][0]
        assert "reused" not in first
        assert desk.charges == 1


@BOTH_APIS
async def test_calls_at_once_share_one_purchase_and_four_takes_are_four(open_desk, environ) -> None:
    async with open_desk(**environ) as desk:
        found: list[dict[str, Any]] = []

        async def buy(take: int) -> None:
            found.append(await desk.video(take=take))

        async with anyio.create_task_group() as tasks:
            for take in (1, 2, 3, 4, 1, 2, 3, 4, 1):
                tasks.start_soon(buy, take)

        assert len({one["generation_id"] for one in found}) == 4
        assert sum(one.get("reused", False) for one in found) == 5
        assert desk.charges == 4


async def test_two_processes_that_make_the_same_call_at_once_share_one_purchase(desk, open_desk) -> None:
    async with open_desk(beside=desk) as other:
        found: list[dict[str, Any]] = []

        async def buy(one) -> None:
            found.append(await one.video())

        async with anyio.create_task_group() as tasks:
            for one in (desk, other, desk, other):
                tasks.start_soon(buy, one)

        assert len({one["generation_id"] for one in found}) == 1
        assert desk.charges == 1


@BOTH_APIS
@pytest.mark.parametrize(
    "written_out", [{"aspect_ratio": "16:9"}, {"take": 1}, {"prompt": "  a quiet lake\n"}, {"duration": "5s"}]
)
@pytest.mark.parametrize("tool", ["generate_video", "generate_image"])
async def test_defaults_written_out_and_spaces_around_the_prompt_make_no_other_purchase(
    open_desk, environ, written_out: dict[str, Any], tool: str
) -> None:
    if tool == "generate_image":
        written_out = {name: value for name, value in written_out.items() if name != "duration"}
    async with open_desk(**environ) as desk:
        first = await desk.call(tool, prompt="a quiet lake")
        again = await desk.call(tool, **{"prompt": "a quiet lake"} | written_out)

        assert again["generation_id"] == first["generation_id"]
        assert desk.charges == 1
        assert next(iter(desk.world.jobs.values())).request["prompt"] == "a quiet lake"


async def test_the_default_format_written_out_makes_no_other_purchase(desk) -> None:
    assert (await desk.image())["generation_id"] == (await desk.image(output_format="jpg"))["generation_id"]
    assert desk.charges == 1


async def test_a_quarter_of_an_hour_later_the_same_call_buys_anew_though_not_while_the_first_is_unfinished(
    desk,
) -> None:
    stuck = await desk.video("[sandbox:stuck]", wait_s=0)
    done = await desk.video()
    await anyio.sleep(14 * 60)
    assert (await desk.video())["generation_id"] == done["generation_id"]
    await anyio.sleep(60)

    assert (await desk.video())["generation_id"] != done["generation_id"]
    assert (await desk.video("[sandbox:stuck]", wait_s=0))["generation_id"] == stuck["generation_id"]


async def test_a_job_that_ended_unseen_is_asked_about_before_it_is_bought_again(desk) -> None:
    first = await desk.video(wait_s=0)
    await anyio.sleep(20 * 60)

    second = await desk.video()

    assert second["generation_id"] != first["generation_id"]
    assert "reused" not in second


async def test_a_failed_or_deleted_generation_is_bought_anew_at_once(desk) -> None:
    failing = "a lake [sandbox:fail]"
    await desk.refusal("generate_video", prompt=failing)
    await desk.refusal("generate_video", prompt=failing)
    lost = await desk.video("unseen [sandbox:fail]", wait_s=0)
    await anyio.sleep(30)
    assert (await desk.video("unseen [sandbox:fail]", wait_s=0))["generation_id"] != lost["generation_id"]

    kept = await desk.video()
    await desk.call("delete_generations", generation_ids=[kept["generation_id"]])
    assert (await desk.video())["generation_id"] != kept["generation_id"]
    assert [row["status"] for row in desk.rows()[-2:]] == ["deleted", "completed"]


async def test_the_take_that_is_recommended_is_one_that_nobody_has_bought(desk) -> None:
    for take in (1, 2, 4):
        await desk.video(take=take)

    for take in (1, 4):
        assert "take=5." in (await desk.video(take=take))["warnings"][0]


async def test_a_name_of_a_purchase_stands_for_its_generation_in_every_tool(desk) -> None:
    desk.wire.delays["POST"] = (0, 20)
    name = (await desk.video(wait_s=0))["request_id"]
    assert "has no generation yet" in await desk.refusal("download_generation", generation_id=name)
    await anyio.sleep(60)

    assert (await desk.call("download_generation", generation_id=name))["file_path"]
    assert (await desk.call("extend_video", generation_id=name, prompt="on it goes"))["state"] == "completed"


async def test_a_saved_file_is_in_the_answer_of_a_later_call_that_does_not_wait(desk) -> None:
    saved = await desk.video()

    assert (await desk.video(wait_s=0))["file_path"] == saved["file_path"]


async def test_a_cancelled_call_is_taken_up_by_the_same_call(desk) -> None:
    with anyio.move_on_after(1):
        await desk.video()
    assert desk.charges == 1

    again = await desk.video()

    assert (again["state"], again["reused"]) == ("completed", True)
    assert desk.charges == 1


async def test_a_link_of_a_generation_counts_as_the_generation_and_another_link_as_another_request(desk) -> None:
    image = (await desk.image())["generation_id"]
    first = await desk.video(start_image=image)
    again = await desk.video(start_image=image)  # its link has been signed anew
    url = "https://example.com/cat.png?size="
    cats = [await desk.video(start_image=f"{url}{size}") for size in (1, 2, 1)]

    assert again["generation_id"] == first["generation_id"]
    assert cats[0]["generation_id"] == cats[2]["generation_id"] != cats[1]["generation_id"]


async def test_others_that_still_run_are_named_beside_a_new_purchase(desk) -> None:
    first = await desk.video("[sandbox:stuck] a lake with a very long description of its shores", wait_s=0)

    second = await desk.video("[sandbox:stuck] 2", wait_s=0)

    assert second["also_running"] == [f"{first['generation_id']}: [sandbox:stuck] a lake with a very long…"]
    assert "also_running" not in first


# Lost answers.


# After a process has died.


async def test_a_generation_is_found_by_id_with_what_its_request_said_after_a_restart(agents_desk, open_desk) -> None:
    made = await agents_desk.video(resolution="540p")
    async with open_desk(beside=agents_desk, **AGENTS) as later:
        found = await later.call("get_generation", generation_id=made["generation_id"])
        assert (found["prompt"], found["resolution"]) == ("a quiet lake", "540p")

        extended = await later.call("extend_video", generation_id=made["generation_id"], prompt="on it goes")
        assert extended["resolution"] == "540p"


async def test_a_link_of_a_generation_counts_as_the_generation_in_a_process_that_has_not_seen_it(
    desk, open_desk
) -> None:
    image = await desk.image()
    first = await desk.video(start_image=image["image_url"])
    charged = desk.charges

    async with open_desk(beside=desk) as other:
        again = await other.video(start_image=image["image_url"])

    assert again["generation_id"] == first["generation_id"]
    assert desk.charges == charged


async def test_a_generation_that_was_deleted_elsewhere_can_be_deleted_here_and_is_then_bought_anew(desk) -> None:
    made = await desk.video()
    await anyio.sleep(15)
    del desk.world.jobs[made["generation_id"]]

    gone = await desk.call("delete_generations", generation_ids=[made["generation_id"]])
    assert gone["deleted"] == [made["generation_id"]]
    assert (await desk.video())["generation_id"] != made["generation_id"]


async def test_an_answer_that_comes_late_does_not_undo_a_job_s_end(desk) -> None:
    made = await desk.video("[sandbox:fail]", wait_s=0)

    late = [28.0]

    class Late(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            answer = await inner.handle_async_request(request)
            if late:
                await anyio.sleep(late.pop())
            return answer

    inner, desk.wire.inner = desk.wire.inner, Late()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: desk.call("get_generation", generation_id=made["generation_id"]))
        await anyio.sleep(20)
        assert (await desk.call("get_generation", generation_id=made["generation_id"]))["state"] == "failed"

    assert [row["status"] for row in desk.rows()] == ["failed"]
    assert (await desk.call("get_account"))["spent_24h_usd"] == 0


async def test_an_unfinished_job_that_luma_does_not_find_is_not_bought_again_within_the_hour(desk) -> None:
    made = await desk.video("[sandbox:stuck]", wait_s=0)
    await anyio.sleep(60)
    del desk.world.jobs[made["generation_id"]]

    said = await desk.refusal("generate_video", prompt="[sandbox:stuck]", wait_s=0)
    assert "the same call buys nothing yet; another take would" in said
    assert desk.charges == 1
    await anyio.sleep(3600)

    assert "reused" not in await desk.video("[sandbox:stuck]", wait_s=0)


async def test_a_long_wait_in_which_luma_turns_out_to_have_taken_nothing_ends_as_a_refusal(open_desk) -> None:
    async with open_desk(LUMA_MCP_WAIT_S="110") as desk:
        desk.world.faults.append(Fault("status", status=502))

        said = await desk.refusal("generate_video", prompt="a quiet lake")

        assert "nothing was charged. Make the same call again to buy it." in said
        assert "reused" not in await desk.video()


async def test_a_lost_purchase_is_shown_with_what_holds_after_a_day(agents_desk) -> None:
    agents_desk.wire.after.append(httpx.ReadTimeout("slow"))
    lost = await agents_desk.video()
    assert "counts in the budget for 24 hours. The same call buys nothing meanwhile; take=2" in lost["warnings"][0]
    await anyio.sleep(25 * 3600)

    waited = await agents_desk.call("wait_for_generations", generation_ids=[lost["request_id"]])

    [warning] = waited["generations"][0]["warnings"]
    assert "The same call buys it again." in warning
    assert "budget" not in warning
