"""How long calls wait, what they say meanwhile, and what is left when they stop."""

import re
from itertools import pairwise
from typing import Any

import anyio
import httpx
import pytest
from dirty_equals import IsPartialDict, IsStr
from mcp.shared.exceptions import MCPError

from luma_mcp_server.poller import next_gap
from luma_mcp_server.sandbox import Fault

pytestmark = pytest.mark.anyio

STUCK = "a lake [sandbox:stuck]"


@pytest.mark.parametrize("era", ["legacy", "2026-07-28"])
async def test_a_call_answers_at_its_limit_with_the_id_the_state_and_the_next_call(open_desk, era: str) -> None:
    async with open_desk(era) as desk:
        started = anyio.current_time()
        made = await desk.call("generate_video", prompt=STUCK)

        assert anyio.current_time() - started == pytest.approx(45, abs=0.1)
        assert made["state"] == "dreaming"
        assert made["elapsed_s"] == 45
        assert made["next_step"] == f'wait_for_generations(generation_ids=["{made["generation_id"]}"])'
        assert desk.charges == 1


@pytest.mark.parametrize(("wait_s", "took"), [(0, 0), (7, 7), (3600, 45)])
async def test_wait_s_shortens_the_wait_but_never_lengthens_it(desk, wait_s: float, took: float) -> None:
    started = anyio.current_time()
    await desk.call("generate_video", prompt=STUCK, wait_s=wait_s)

    assert anyio.current_time() - started == pytest.approx(took, abs=0.1)


async def test_a_wait_is_taken_up_by_id_and_ends_when_all_have_ended(desk) -> None:
    desk.world.seconds = 60
    ids = [(await desk.video(f"take {n}", wait_s=0))["generation_id"] for n in range(3)]

    first = await desk.call("wait_for_generations", generation_ids=ids)
    assert first["finished"] is False
    assert [one["state"] for one in first["generations"]] == ["dreaming"] * 3
    assert first["next_step"] == "wait_for_generations(generation_ids=[" + ",".join(f'"{name}"' for name in ids) + "])"

    second = await desk.call("wait_for_generations", generation_ids=ids)
    assert second["finished"] is True
    assert "next_step" not in second
    assert [one["generation_id"] for one in second["generations"]] == ids
    assert all(one["file_path"] for one in second["generations"])


async def test_a_wait_for_what_has_just_been_seen_to_end_answers_at_once(desk) -> None:
    made = await desk.video()
    started = anyio.current_time()

    for _ in range(2):
        waited = await desk.call("wait_for_generations", generation_ids=[made["generation_id"]])
        assert waited["finished"] is True
    assert anyio.current_time() == started


@pytest.mark.parametrize("known_as", ["link", "upper", "path", "request"])
async def test_a_wait_for_a_generation_named_in_another_way_goes_on_by_its_id(desk, known_as: str) -> None:
    desk.world.seconds = 60
    made = await desk.video(wait_s=0)
    url = "https://example.com/clip.mp4"
    desk.change("UPDATE purchases SET media_url = ?", url)
    name = {
        "link": url,
        "upper": made["generation_id"].upper(),
        "path": f"/elsewhere/a-lake-{made['generation_id']}.mp4",
        "request": desk.rows()[0]["id"],
    }[known_as]

    waited = await desk.call("wait_for_generations", generation_ids=[name], wait_s=1)

    assert waited["finished"] is False
    assert waited["next_step"] == f'wait_for_generations(generation_ids=["{made["generation_id"]}"])'


async def test_a_job_of_ninety_seconds_takes_a_client_that_cuts_at_sixty_three_calls_at_most_and_one_purchase(
    desk,
) -> None:
    desk.world.seconds = 90
    with anyio.fail_after(60):
        made = await desk.video()
    calls = 1
    while made["state"] != "completed":
        with anyio.fail_after(60):
            waited = await desk.call("wait_for_generations", generation_ids=[made["generation_id"]])
        [made] = waited["generations"]
        calls += 1

    assert calls <= 3
    assert made["file_path"]
    assert len(desk.posts) == desk.charges == 1


@pytest.mark.parametrize("wait_s", [45, 120])
async def test_the_same_call_again_takes_up_a_job_that_its_client_has_cut_off(open_desk, wait_s: int) -> None:
    async with open_desk(LUMA_MCP_WAIT_S=str(wait_s)) as desk:
        desk.world.seconds = 90
        made: dict[str, Any] = {"state": "cut"}
        calls = 0
        while made["state"] != "completed":
            with anyio.move_on_after(60):
                made = await desk.video()
            calls += 1

        assert calls <= 3
        assert len(desk.posts) == desk.charges == 1


async def test_a_failed_job_is_an_error_for_the_tool_that_bought_it_and_a_result_elsewhere(desk) -> None:
    said = await desk.refusal("generate_video", prompt="a lake [sandbox:moderation]")
    assert "failed: Frame moderation failed" in said
    assert "nothing was charged" in said
    assert "Change the prompt" in said

    [row] = (await desk.call("list_generations"))["generations"]
    for shown in (
        await desk.call("get_generation", generation_id=row["generation_id"]),
        (await desk.call("wait_for_generations", generation_ids=[row["generation_id"]]))["generations"][0],
        row,
    ):
        assert shown["state"] == "failed"
        assert shown["failure_reason"] == "Frame moderation failed"


async def test_one_bad_id_does_not_end_the_wait_for_the_others(desk) -> None:
    good = (await desk.video(wait_s=0))["generation_id"]
    unknown = "00000000-0000-4000-8000-000000000000"

    waited = await desk.call("wait_for_generations", generation_ids=[unknown, good])

    assert [one["state"] for one in waited["generations"]] == ["not found", "completed"]
    assert "Luma knows no generation" in waited["generations"][0]["warnings"][0]
    assert waited["finished"] is True


async def test_a_wait_is_not_finished_while_one_of_its_ids_could_not_be_asked_about(desk) -> None:
    done, late = [(await desk.video(f"take {n}", wait_s=0))["generation_id"] for n in range(2)]
    desk.world.faults.append(Fault("status", "GET", path=late, status=503, times=1000))

    waited = await desk.call("wait_for_generations", generation_ids=[done, late])

    assert waited["finished"] is False
    assert waited["next_step"] == f'wait_for_generations(generation_ids=["{late}"])'


async def test_a_job_that_is_deleted_meanwhile_is_not_waited_for_any_longer(desk) -> None:
    async with anyio.create_task_group() as tasks:

        async def delete() -> None:
            await anyio.sleep(15)
            [row] = (await desk.call("list_generations"))["generations"]
            await desk.call("delete_generations", generation_ids=[row["generation_id"]])

        tasks.start_soon(delete)
        started = anyio.current_time()
        said = await desk.refusal("generate_video", prompt=STUCK)

    assert anyio.current_time() - started < 20
    assert re.search("Generation .*, bought on .*, has been deleted", said)


async def test_a_wait_for_a_job_that_is_deleted_meanwhile_ends_and_names_no_next_call(desk) -> None:
    name = (await desk.call("generate_video", prompt=STUCK, wait_s=0))["generation_id"]
    other = (await desk.video("another lake"))["generation_id"]
    async with anyio.create_task_group() as tasks:

        async def delete() -> None:
            await anyio.sleep(15)
            await desk.call("delete_generations", generation_ids=[name])

        tasks.start_soon(delete)
        waited = await desk.call("wait_for_generations", generation_ids=[name, other])

    assert waited["finished"] is True
    assert "next_step" not in waited
    assert "next_step" not in waited["generations"][0]
    assert "has been deleted" in waited["generations"][0]["warnings"][0]


async def test_waiting_for_unknown_ids_alone_is_an_error(desk) -> None:
    said = await desk.refusal("wait_for_generations", generation_ids=["00000000-0000-4000-8000-000000000000"])

    assert "Luma knows no generation" in said


async def test_progress_grows_strictly_at_least_every_five_seconds_and_says_what_is_going_on(open_desk) -> None:
    async with open_desk() as desk:
        desk.world.seconds = 60  # nine of them queued
        seen: list[tuple[float, float | None, str | None]] = []

        async def note(progress: float, total: float | None, message: str | None) -> None:
            seen.append((progress, total, message))

        await desk.client.call_tool("generate_video", {"prompt": STUCK}, progress_callback=note)

        values = [progress for progress, _, _ in seen]
        assert all(0 < later - earlier <= 5 for earlier, later in pairwise(values))
        assert values[-1] >= 40
        assert any("queued" in str(message) for _, _, message in seen)
        assert "dreaming" in str(seen[-1][2])


async def test_a_call_sends_no_progress_after_it_has_answered(desk) -> None:
    seen: list[float] = []

    async def note(progress: float, *_: Any) -> None:
        seen.append(progress)

    await desk.client.call_tool("generate_video", {"prompt": "a lake"}, progress_callback=note)
    before = len(seen)
    await desk.call("generate_video", prompt=STUCK)

    assert len(seen) == before


async def test_luma_is_asked_every_two_seconds_and_by_one_asker_however_many_calls_wait(desk) -> None:
    made = await desk.call("generate_video", prompt=STUCK, wait_s=0)
    desk.world.requests.clear()

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(lambda: desk.call("wait_for_generations", generation_ids=[made["generation_id"]]))

    assert 20 <= len(desk.world.requests) <= 25


async def test_questions_that_fail_are_asked_again_and_the_result_says_that_it_is_old(desk) -> None:
    made = await desk.call("generate_video", prompt="a lake", wait_s=0)
    desk.world.faults.extend([Fault("status", "GET", status=500), Fault("html", "GET"), Fault("cut", "GET")])
    waited = await desk.call("wait_for_generations", generation_ids=[made["generation_id"]])
    assert waited["generations"][0]["state"] == "completed"

    stuck = await desk.call("generate_video", prompt=STUCK, wait_s=5)
    await anyio.sleep(3)
    desk.world.faults.append(Fault("status", "GET", path=stuck["generation_id"], status=503, times=100))
    said = await desk.refusal("wait_for_generations", generation_ids=[stuck["generation_id"]], wait_s=20)
    assert "HTTP 503" in said


async def test_a_job_goes_on_when_the_network_breaks_during_the_wait(desk) -> None:
    async with anyio.create_task_group() as tasks:

        async def cut_the_network() -> None:
            await anyio.sleep(4)
            desk.wire.gone = True

        tasks.start_soon(cut_the_network)
        made = await desk.call("generate_video", prompt=STUCK)

    assert made["state"] == "dreaming"
    assert "could not be reached" in made["warnings"][0]
    desk.wire.gone = False
    assert (await desk.call("get_generation", generation_id=made["generation_id"]))["state"] == "dreaming"


async def test_a_new_job_that_luma_does_not_find_yet_is_asked_for_again(desk) -> None:
    desk.world.faults.append(Fault("status", "GET", status=404, detail="Generation not found", times=2))

    assert (await desk.video())["state"] == "completed"


@pytest.mark.parametrize("wait_s", [None, 0])
async def test_a_job_that_luma_took_late_and_does_not_find_yet_is_not_taken_for_a_deleted_one(desk, wait_s) -> None:
    class Late(httpx.AsyncBaseTransport):
        known_at = float("inf")

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "POST":
                await anyio.sleep(12)
                self.known_at = anyio.current_time() + 3
            if "/generations/" in request.url.path and request.method == "GET" and anyio.current_time() < self.known_at:
                return httpx.Response(404, json={"detail": "Generation not found"})
            return await inner.handle_async_request(request)

    inner, desk.wire.inner = desk.wire.inner, Late()
    if wait_s == 0:
        await desk.video(wait_s=0)
        await anyio.sleep(7.5)

    assert (await desk.video(wait_s=wait_s))["generation_id"] in desk.world.jobs


async def test_a_post_that_outlasts_its_call_is_not_cut_off_and_can_be_taken_up(desk) -> None:
    class Late(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "POST":
                await anyio.sleep(20)
            return await inner.handle_async_request(request)

    inner, desk.wire.inner = desk.wire.inner, Late()
    late = await desk.call("generate_video", prompt="a lake", wait_s=0)
    assert late == {
        "request_id": IsStr(regex="request-[0-9a-f]{32}"),
        "api": "dream_machine",
        "state": "unknown",
        "model": "ray-2",
        "prompt": "a lake",
        "created_at": "2026-09-21T14:13:20Z",
        "charged": "unknown",
        "estimated_cost_usd": 0.71,
        "operation": "generate_video",
        "aspect_ratio": "16:9",
        "resolution": "720p",
        "duration": "5s",
        "arguments": IsPartialDict(prompt="a lake", take=1),
        "sandbox": True,
        "warnings": [IsStr(regex="Luma has not answered yet: .* The same call buys nothing meanwhile.")],
        "next_step": f'wait_for_generations(generation_ids=["{late["request_id"]}"])',
    }
    shown = await desk.call("get_generation", generation_id=late["request_id"])
    assert (shown["state"], shown["request_id"]) == ("unknown", late["request_id"])

    waited = await desk.call("wait_for_generations", generation_ids=[late["request_id"]])

    assert waited["generations"][0]["state"] == "completed"
    assert desk.charges == 1
    shown = await desk.call("get_generation", generation_id=late["request_id"])
    assert shown["generation_id"] == waited["generations"][0]["generation_id"]


async def test_a_purchase_that_was_never_made_is_not_waited_for(desk) -> None:
    said = await desk.refusal("wait_for_generations", generation_ids=["request-1"])

    assert "it may have been charged" in said
    assert "was not bought" not in said
    assert "knows no purchase request-1" in said


async def test_a_job_older_than_an_hour_is_not_waited_for_any_longer(desk) -> None:
    made = await desk.call("generate_video", prompt=STUCK, wait_s=0)
    await anyio.sleep(3700)

    began = anyio.current_time()
    shown = await desk.call("get_generation", generation_id=made["generation_id"])
    waited = await desk.call("wait_for_generations", generation_ids=[made["generation_id"]])
    again = await desk.call("generate_video", prompt=STUCK)

    for one in (shown, waited["generations"][0], again):
        assert "Older than an hour" in str(one["warnings"])
        assert "wait_for" not in one["next_step"]
    assert (waited["finished"], "next_step" in waited) == (True, False)
    assert again["reused"] is True
    assert anyio.current_time() == began


async def test_a_cancelled_wait_stops_asking_and_the_job_goes_on(open_desk) -> None:
    async with open_desk(LUMA_MCP_SAVE="off") as desk:  # or it is asked about until its file can be saved
        made = await desk.call("generate_video", prompt=STUCK, wait_s=0)
        with anyio.move_on_after(10):
            await desk.call("wait_for_generations", generation_ids=[made["generation_id"]])
        await anyio.sleep(1)
        asked = len(desk.world.requests)
        await anyio.sleep(100)

        assert len(desk.world.requests) == asked
        assert (await desk.call("get_generation", generation_id=made["generation_id"]))["state"] == "dreaming"


async def test_look_ups_before_a_purchase_are_bounded_by_a_short_wait_too(desk) -> None:
    clip = (await desk.video())["generation_id"]

    class Slow(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await anyio.sleep(25)
            return await inner.handle_async_request(request)

    inner, desk.wire.inner = desk.wire.inner, Slow()
    started = anyio.current_time()
    said = await desk.refusal("extend_video", generation_id=clip, prompt="it goes on", wait_s=0)

    assert anyio.current_time() - started <= 5.1
    assert "Nothing was bought" in said


async def test_a_resource_does_not_outlive_the_limit_either(open_desk) -> None:
    async with open_desk(LUMA_MCP_WAIT_S="2") as desk:
        desk.wire.hanging = True
        started = anyio.current_time()
        with pytest.raises(MCPError, match="no answer within"):
            await desk.client.read_resource("luma://generations/00000000-0000-4000-8000-000000000000")

        assert anyio.current_time() - started < 3.1


@pytest.mark.parametrize("tool", ["list_camera_motions", "get_account"])
async def test_a_fallback_comes_before_a_short_limit(open_desk, tool: str) -> None:
    async with open_desk(LUMA_MCP_WAIT_S="1") as desk:
        desk.wire.hanging = True

        assert await desk.call(tool)


async def test_a_limit_of_zero_still_buys_and_answers(open_desk) -> None:
    async with open_desk(LUMA_MCP_WAIT_S="0") as desk:
        made = await desk.call("generate_video", prompt="a lake")
        assert made["generation_id"]

        waited = await desk.call("wait_for_generations", generation_ids=[made["generation_id"]])
        assert waited["generations"][0]["state"] == "queued"


@pytest.mark.parametrize("tool", ["get_generation", "delete_generations", "preview_generations", "download_generation"])
async def test_no_call_outlives_its_limit_by_more_than_a_second_when_luma_hangs(open_desk, tool: str) -> None:
    async with open_desk(LUMA_MCP_WAIT_S="3") as desk:
        desk.wire.hanging = True
        started = anyio.current_time()
        name = "00000000-0000-4000-8000-000000000000"
        said = await desk.refusal(
            tool, **({"generation_ids": [name]} if tool.endswith("s") else {"generation_id": name})
        )

        assert anyio.current_time() - started < 4.1
        assert "LUMA_MCP_WAIT_S" in said


def test_the_gap_between_questions_grows_with_time_failures_and_retry_after_up_to_thirty_seconds() -> None:
    assert next_gap(0) == pytest.approx(2, rel=0.06)
    assert next_gap(181) == pytest.approx(5, rel=0.06)
    assert next_gap(0, failures=2) == pytest.approx(8, rel=0.06)
    assert next_gap(0, failures=50) == pytest.approx(30, rel=0.06)
    assert next_gap(0, failures=1, retry_after=12) == pytest.approx(24, rel=0.06)


async def test_after_five_such_jobs_the_time_that_they_took_is_what_is_expected(desk, open_desk) -> None:
    for n in range(5):
        await desk.video(f"lake {n}")
    reports: list[tuple[float, float | None, str | None]] = []

    async def note(value: float, total: float | None, message: str | None) -> None:
        reports.append((value, total, message))

    async with open_desk(beside=desk) as later:
        made = await later.video("a sixth lake", wait_s=0)
        assert 6 <= made["expected_s"] <= 8  # they took 6 s; the question that saw the end came up to 2 s later
        await anyio.sleep(3)
        ids = [made["generation_id"]]
        await later.client.call_tool("wait_for_generations", {"generation_ids": ids}, progress_callback=note)

        assert "expected_s" not in await later.video("a small lake", wait_s=0, resolution="540p")
    assert [total for value, total, _ in reports if 0 < value < 3] == [pytest.approx(made["expected_s"] - 3, abs=0.6)]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault("status", status=502), "Luma's list does not show it"),
        (Fault("status", status=422, detail="No lakes"), "No lakes"),
    ],
    ids=["rejected", "refused"],
)
async def test_a_purchase_that_was_not_made_does_not_keep_a_wait_from_ending(desk, fault: Fault, words: str) -> None:
    done = await desk.video("a lake")
    desk.world.faults.append(fault)
    lost = (await desk.raw("generate_video", prompt="a sea")).structured_content
    name = lost["request_id"] if lost else (await newest_request(desk))
    await anyio.sleep(60)

    waited = await desk.call("wait_for_generations", generation_ids=[done["generation_id"], name])

    assert (waited["finished"], "next_step" in waited) == (True, False)
    missing = waited["generations"][1]
    assert missing["request_id"] == name
    assert words in missing["warnings"][0]
    assert "may have been taken" not in missing["warnings"][0]


async def newest_request(desk) -> str:
    """Our name for the newest purchase: of a refused one no result says it."""
    return str(desk.rows()[-1]["id"])


@pytest.mark.parametrize(("gap_s", "learned"), [(60, True), (700, False)])
async def test_an_end_first_seen_after_ten_minutes_says_nothing_of_the_time_that_it_took(
    open_desk, gap_s, learned
) -> None:
    async with open_desk(LUMA_MCP_SAVE="off") as desk:
        made = [await desk.video(f"lake {n}", wait_s=0) for n in range(5)]
        await anyio.sleep(gap_s)
        for one in made:
            await desk.call("get_generation", generation_id=one["generation_id"])
        assert [row["took_s"] is not None for row in desk.rows()] == [learned] * 5
        assert ("expected_s" in await desk.video("a sixth lake", wait_s=0)) == learned
