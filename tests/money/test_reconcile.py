"""What becomes of a purchase whose answer was lost."""

from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest

from luma_mcp_server.sandbox import AGENTS_SANDBOX_KEY, Fault

pytestmark = pytest.mark.anyio

AGENTS = {"LUMA_API_KEY": AGENTS_SANDBOX_KEY}
BOTH_APIS = pytest.mark.parametrize("environ", [{}, AGENTS], ids=["dream_machine", "agents"])


async def test_a_purchase_whose_answer_was_lost_is_found_in_luma_s_list(desk) -> None:
    desk.wire.after.append(httpx.ReadTimeout("slow"))

    made = await desk.video()

    assert made["state"] == "completed"
    assert desk.charges == len(desk.posts) == 1
    [row] = desk.rows()
    assert (row["status"], row["generation_id"]) == ("completed", made["generation_id"])


async def test_a_purchase_that_luma_never_took_is_bought_once_that_is_certain(desk) -> None:
    desk.world.faults.append(Fault("status", status=502))

    first = await desk.video()
    assert (first["state"], first["charged"], "HTTP 502" in first["warnings"][0]) == ("unknown", "unknown", True)
    again = await desk.video(wait_s=5)
    assert (again["request_id"], again["reused"]) == (first["request_id"], True)
    said = await desk.refusal("wait_for_generations", generation_ids=[first["request_id"]])
    assert (
        "was not bought. Luma's list does not show it: nothing was charged. Make the same call again to buy it" in said
    )
    bought = await desk.video()

    assert bought["state"] == "completed"
    assert "reused" not in bought
    assert [row["status"] for row in desk.rows()] == ["rejected", "completed"]
    assert desk.charges == 1


async def test_a_call_finds_out_that_luma_never_took_the_earlier_one_and_buys_it(desk) -> None:
    desk.world.faults.append(Fault("status", status=502))
    await desk.video()
    await anyio.sleep(60)

    assert (await desk.video())["state"] == "completed"
    assert desk.charges == 1


async def test_an_api_without_a_list_leaves_a_lost_purchase_open_for_a_day(agents_desk) -> None:
    agents_desk.wire.after.append(httpx.ReadTimeout("slow"))

    first = await agents_desk.video()
    assert (first["state"], first["charged"]) == ("unknown", "unknown")
    assert "look at platform.lumalabs.ai" in first["warnings"][0]
    assert "next_step" not in first
    await anyio.sleep(23 * 3600)
    assert (await agents_desk.video())["request_id"] == first["request_id"]
    assert (await agents_desk.video(take=2))["state"] == "completed"
    await anyio.sleep(3600)

    assert (await agents_desk.video())["state"] == "completed"
    assert agents_desk.charges == 3


async def test_a_job_made_elsewhere_or_before_is_not_taken_for_the_lost_one(desk, open_desk, tmp_path) -> None:
    async with open_desk(beside=desk, HOME=str(tmp_path / "another")) as elsewhere:
        await elsewhere.image()
        await anyio.sleep(10)
        desk.world.faults.append(Fault("status", status=502))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(desk.image)
            await anyio.sleep(1)
            await elsewhere.image(aspect_ratio="9:16")

    assert [row["generation_id"] for row in desk.rows()] == [None]


async def test_a_lost_purchase_is_found_in_a_list_that_is_slow(desk) -> None:
    desk.wire.delays["GET"] = (4, 0)
    desk.wire.after.append(httpx.ReadTimeout("slow"))

    assert (await desk.video())["generation_id"] in desk.world.jobs


async def test_a_lost_purchase_is_not_found_in_one_that_is_made_while_the_list_is_on_its_way(desk) -> None:
    desk.wire.before.append(httpx.ReadError("never arrived"))
    desk.wire.delays["GET"] = (2, 0)
    desk.wire.delays["POST"] = (0, 5)
    made = {}

    async def buy(take: int) -> None:
        made[take] = await desk.video(take=take)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(buy, 1)
        await anyio.sleep(2.5)
        tasks.start_soon(buy, 2)

    assert [made[take].get("generation_id") for take in (1, 2)] == [None, *desk.world.jobs]


async def left_behind(desk, prompt: str = "a quiet lake") -> str:
    """The row of a process that died between sending and Luma's answer."""
    made = await desk.video(prompt)
    desk.change(
        "UPDATE purchases SET status = 'submitting', generation_id = NULL, state = NULL, accepted_at = NULL",
    )
    return str(made["generation_id"])


async def test_a_row_of_a_dead_process_is_found_in_luma_s_list_once_it_is_too_old_to_be_alive(desk, open_desk) -> None:
    generation_id = await left_behind(desk)
    async with open_desk(beside=desk) as later:
        early = await later.video()
        assert (early["state"], early["reused"]) == ("unknown", True)
        assert "has not answered yet" in early["warnings"][0]
        await anyio.sleep(90)

        found = await later.call("wait_for_generations", generation_ids=[early["request_id"]])

        assert found["generations"][0]["generation_id"] == generation_id
        assert (await later.video())["generation_id"] == generation_id
    assert desk.charges == 1


async def test_calls_that_find_a_row_of_a_dead_process_at_once_look_for_it_together(desk, open_desk) -> None:
    generation_id = await left_behind(desk)
    await anyio.sleep(90)
    found: list[str] = []

    async with open_desk(beside=desk) as later:

        async def buy() -> None:
            found.append((await later.video())["generation_id"])

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(buy)

    assert (found, desk.charges) == ([generation_id] * 4, 1)


async def test_a_row_of_a_dead_process_stays_open_where_there_is_no_list(agents_desk, open_desk) -> None:
    await left_behind(agents_desk)
    await anyio.sleep(100)
    async with open_desk(beside=agents_desk, **AGENTS) as later:
        found = await later.video()

        assert (found["state"], found["reused"]) == ("unknown", True)
        assert "Luma's answer was never noted" in found["warnings"][0]
    assert agents_desk.charges == 1


async def test_the_server_s_end_waits_for_an_answer_that_is_on_its_way(open_desk) -> None:
    async with open_desk() as desk:
        desk.wire.delays["POST"] = (0, 20)
        assert (await desk.video(wait_s=0))["state"] == "unknown"

    assert [(row["status"], row["generation_id"]) for row in desk.rows()] == [("accepted", *desk.world.jobs)]


# What Luma's list shows.


async def lost(desk, tool: str = "generate_image", *, arrives: bool = True, **arguments: Any) -> dict[str, Any]:
    """A purchase whose answer is lost; unless it arrives, Luma never takes it."""
    (desk.wire.after if arrives else desk.wire.before).append(httpx.ReadError("lost"))
    arguments |= {} if tool == "upscale_video" else {"prompt": "a quiet lake"}
    return await desk.call(tool, **arguments, wait_s=0)


async def test_two_jobs_that_may_be_the_purchase_leave_it_unknown_with_both_named(desk, open_desk, tmp_path) -> None:
    async with open_desk(beside=desk, HOME=str(tmp_path / "another")) as elsewhere:
        other = await elsewhere.image(aspect_ratio="9:16", wait_s=0)
    first = await lost(desk)
    await anyio.sleep(100)

    again = await desk.image()

    assert (again["state"], again["request_id"]) == ("unknown", first["request_id"])
    mine = next(name for name in desk.world.jobs if name != other["generation_id"])
    for name in (other["generation_id"], mine):
        assert name in again["warnings"][0]
    assert "take=2" in again["warnings"][0]
    assert len(desk.posts) == 2


async def test_two_lost_takes_of_one_call_are_not_taken_for_each_other(desk) -> None:
    async with anyio.create_task_group() as tasks:
        for take in (1, 2):
            tasks.start_soon(lambda take=take: lost(desk, take=take))
    await anyio.sleep(100)

    made = [await desk.image(take=take) for take in (1, 2)]

    assert [one["state"] for one in made] == ["unknown", "unknown"]
    assert desk.charges == len(desk.posts) == 2


async def test_lost_upscales_look_alike_in_luma_s_list_and_stay_unknown(desk) -> None:
    clips = [(await desk.video(f"lake {n}"))["generation_id"] for n in range(2)]
    for clip, arrives in zip(clips, (False, True), strict=True):
        await lost(desk, "upscale_video", arrives=arrives, generation_id=clip)
    await anyio.sleep(100)

    for clip in clips:
        assert (await desk.call("upscale_video", generation_id=clip))["state"] == "unknown"
    assert desk.charges == 3


async def test_a_purchase_that_was_never_resolved_does_not_hide_later_ones(desk) -> None:
    clips = [(await desk.video(f"lake {n}"))["generation_id"] for n in range(2)]
    made = await desk.call("upscale_video", generation_id=clips[0])
    desk.change(
        "UPDATE purchases SET status = 'unknown', generation_id = NULL WHERE generation_id = ?", made["generation_id"]
    )
    await anyio.sleep(10 * 86400)
    desk.wire.after.append(httpx.ReadTimeout("slow"))

    later = await desk.call("upscale_video", generation_id=clips[1])

    assert later["generation_id"] in desk.world.jobs


def oldest_first(jobs: list[dict[str, Any]]) -> None:
    jobs.reverse()


def without_dates(jobs: list[dict[str, Any]]) -> None:
    for job in jobs:
        job["created_at"] = None


def without_prompts(jobs: list[dict[str, Any]]) -> None:
    for job in jobs:
        del job["request"]["prompt"]


def without_requests(jobs: list[dict[str, Any]]) -> None:
    for job in jobs:
        job["request"] = None


def without_ids(jobs: list[dict[str, Any]]) -> None:
    for job in jobs:
        job["id"] = None


@pytest.mark.parametrize("change_list", [without_dates, without_prompts, without_requests, without_ids])
async def test_a_list_that_says_too_little_of_a_job_proves_nothing(desk, change_list: Callable[..., None]) -> None:
    desk.wire.edit = change_list
    first = await lost(desk)
    await anyio.sleep(100)

    for _ in range(2):
        assert (await desk.image())["request_id"] == first["request_id"]
    assert desk.charges == len(desk.posts) == 1


@pytest.mark.parametrize("change_list", [oldest_first, without_dates])
async def test_a_list_in_any_order_shows_that_luma_never_took_a_purchase(
    desk, change_list: Callable[..., None]
) -> None:
    for number in range(3):
        await desk.video(f"lake {number}")
    desk.wire.edit = change_list
    await lost(desk, arrives=False)
    await anyio.sleep(100)

    assert (await desk.image())["state"] == "completed"
    assert desk.charges == 4


async def test_a_list_in_any_order_shows_the_job(desk) -> None:
    for number in range(3):
        await desk.image(f"lake {number}")
    desk.wire.edit = oldest_first
    await lost(desk)
    await anyio.sleep(5)

    assert (await desk.image())["reused"] is True
    assert desk.charges == 4


async def test_a_list_that_fails_in_pages_of_a_hundred_is_read_in_pages_of_twenty(desk) -> None:
    desk.world.faults += [Fault("status", method="GET", path="/generations", status=500)]
    desk.wire.after.append(httpx.ReadTimeout("slow"))

    made = await desk.image()

    assert made["state"] == "completed"
    asked = [one.query["limit"] for one in desk.world.requests if "limit" in one.query]
    assert asked[:2] == ["100", "20"]
    assert desk.charges == 1


async def test_a_list_that_can_not_be_read_proves_nothing(desk) -> None:
    desk.world.faults.append(Fault("status", method="GET", path="/generations", status=500, times=100))
    first = await lost(desk, arrives=False)
    await anyio.sleep(100)

    assert (await desk.image())["request_id"] == first["request_id"]
    assert len(desk.posts) == 0


async def test_a_purchase_is_found_by_luma_s_clock_whatever_this_computer_s_says(desk, open_desk) -> None:
    async with open_desk(beside=desk, clock_off_s=7200) as ahead:
        await lost(ahead)
        await anyio.sleep(5)

        assert (await ahead.image())["state"] == "completed"
    assert desk.charges == 1
