"""Purchases that are made once, found again, and never lost: by one process, several, and after one has died."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from luma_mcp_server.sandbox import AGENTS_SANDBOX_KEY, Fault

pytestmark = pytest.mark.anyio

AGENTS = {"LUMA_API_KEY": AGENTS_SANDBOX_KEY}
BOTH_APIS = pytest.mark.parametrize("environ", [{}, AGENTS], ids=["dream_machine", "agents"])


def journal(home: Path) -> sqlite3.Connection:
    """The journal's file, as it is between two calls."""
    db = sqlite3.connect(home / ".luma-mcp" / "sandbox.sqlite3", isolation_level=None)
    db.row_factory = sqlite3.Row
    return db


def rows(home: Path) -> list[dict[str, Any]]:
    """What the journal holds, oldest first."""
    with closing(journal(home)) as db:
        return [dict(row) for row in db.execute("SELECT * FROM jobs ORDER BY submitted_at, rowid")]


def change(home: Path, sql: str, *values: Any) -> None:
    """Make the journal look as something else would have left it."""
    with closing(journal(home)) as db:
        db.execute(sql, values)


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
    await desk.call("delete_generation", generation_id=kept["generation_id"])
    assert (await desk.video())["generation_id"] != kept["generation_id"]
    assert [row["status"] for row in rows(desk.folder.parent)[-2:]] == ["deleted", "completed"]


async def test_the_take_that_is_recommended_is_one_that_nobody_has_bought(desk) -> None:
    for take in (1, 2, 4):
        await desk.video(take=take)

    assert "take=3." in (await desk.video())["warnings"][0]
    assert "take=5." in (await desk.video(take=4))["warnings"][0]


async def test_a_name_of_a_purchase_stands_for_its_generation_in_every_tool(desk) -> None:
    desk.wire.inner = Slow(desk, "POST", back_s=20)
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


async def test_a_purchase_whose_answer_was_lost_is_found_in_luma_s_list(desk) -> None:
    desk.wire.after.append(httpx.ReadTimeout("slow"))

    made = await desk.video()

    assert made["state"] == "completed"
    assert desk.charges == len(desk.posts) == 1
    [row] = rows(desk.folder.parent)
    assert (row["status"], row["generation_id"]) == ("completed", made["generation_id"])


async def test_a_purchase_that_luma_never_took_is_bought_once_that_is_certain(desk) -> None:
    desk.world.faults.append(Fault("status", status=502))

    first = await desk.video()
    assert (first["state"], first["charged"], "HTTP 502" in first["warnings"][0]) == ("unknown", "unknown", True)
    again = await desk.video(wait_s=5)
    assert (again["request_id"], again["reused"]) == (first["request_id"], True)
    said = await desk.refusal("wait_for_generations", generation_ids=[first["request_id"]])
    assert "was not bought, and nothing was charged. Luma's list does not show it. Make the same call again" in said
    bought = await desk.video()

    assert bought["state"] == "completed"
    assert "reused" not in bought
    assert [row["status"] for row in rows(desk.folder.parent)] == ["rejected", "completed"]
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

    assert [row["generation_id"] for row in rows(desk.folder.parent)] == [None]


async def test_a_lost_purchase_is_not_found_in_that_of_another_take(desk) -> None:
    desk.wire.after += [httpx.ReadTimeout("slow"), httpx.ReadTimeout("slow")]
    found = []

    async def buy(take: int) -> None:
        found.append((await desk.video(take=take))["generation_id"])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(buy, 1)
        tasks.start_soon(buy, 2)

    assert len(set(found)) == 2
    assert set(found) == set(desk.world.jobs)


class Edited(httpx.AsyncBaseTransport):
    """The way to the sandbox, on which Luma's list is changed."""

    def __init__(self, desk, change: Callable[[list[dict[str, Any]]], None]) -> None:
        self.inner, self.change = desk.wire.inner, change

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self.inner.handle_async_request(request)
        if request.method != "GET" or not request.url.path.endswith("/generations"):
            return answer
        page = json.loads(await answer.aread())
        self.change(page["generations"])
        return httpx.Response(200, json=page, headers={"Date": answer.headers["Date"]})


def written_anew(jobs: list[dict[str, Any]]) -> None:
    for job in jobs:
        job["request"]["keyframes"]["frame0"]["url"] = "https://example.com/c%61t.png"


def without_resolution(jobs: list[dict[str, Any]]) -> None:
    for job in jobs:
        del job["request"]["resolution"]


def without_ids(jobs: list[dict[str, Any]]) -> None:
    for job in jobs:
        job["id"] = None


@pytest.mark.parametrize("set_back_s", [0, 60])
@pytest.mark.parametrize("change_list", [written_anew, without_resolution, without_ids])
async def test_a_list_that_does_not_show_a_job_as_it_was_asked_for_proves_nothing(
    desk, open_desk, change_list, set_back_s: int
) -> None:
    arguments = {"prompt": "a cat", "start_image": "https://example.com/cat.png"}
    desk.wire.inner = Edited(desk, change_list)
    async with open_desk(beside=desk, clock_off_s=set_back_s) as ended:
        ended.wire.inner = desk.wire.inner
        ended.wire.after.append(httpx.ReadTimeout("slow"))
        first = await ended.call("generate_video", **arguments, wait_s=0)
    await anyio.sleep(set_back_s + 1)
    for _ in range(3):
        assert (await desk.call("generate_video", **arguments))["request_id"] == first["request_id"]
        await anyio.sleep(60)

    assert desk.charges == 1


def oldest_first(jobs: list[dict[str, Any]]) -> None:
    jobs.reverse()


def undated(jobs: list[dict[str, Any]]) -> None:
    jobs[0]["created_at"] = None


@pytest.mark.parametrize("change_list", [oldest_first, undated])
async def test_a_list_in_any_order_tells_that_luma_never_took_a_purchase(desk, change_list) -> None:
    for number in range(3):
        await desk.video(f"lake {number}")
    desk.wire.inner = Edited(desk, change_list)
    desk.wire.before.append(httpx.ReadError("never arrived"))
    await desk.video()
    await anyio.sleep(60)

    assert (await desk.video())["state"] == "completed"
    assert desk.charges == 4


class Slow(httpx.AsyncBaseTransport):
    """The way to the sandbox, on which some requests take long, or their answers."""

    def __init__(self, desk, method: str, *, there_s: float = 0, back_s: float = 0) -> None:
        self.inner, self.method, self.there_s, self.back_s = desk.wire.inner, method, there_s, back_s

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        slow = request.method == self.method
        await anyio.sleep(self.there_s if slow else 0)
        answer = await self.inner.handle_async_request(request)
        await anyio.sleep(self.back_s if slow else 0)
        return answer


async def test_a_lost_purchase_is_found_in_a_list_that_is_slow(desk) -> None:
    desk.wire.inner = Slow(desk, "GET", there_s=4)
    desk.wire.after.append(httpx.ReadTimeout("slow"))

    assert (await desk.video())["generation_id"] in desk.world.jobs


async def test_a_lost_purchase_is_not_found_in_one_that_is_made_while_the_list_is_on_its_way(desk) -> None:
    desk.wire.before.append(httpx.ReadError("never arrived"))
    desk.wire.inner = Slow(desk, "GET", there_s=2)
    desk.wire.inner = Slow(desk, "POST", back_s=5)
    made = {}

    async def buy(take: int) -> None:
        made[take] = await desk.video(take=take)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(buy, 1)
        await anyio.sleep(2.5)
        tasks.start_soon(buy, 2)

    assert [made[take].get("generation_id") for take in (1, 2)] == [None, *desk.world.jobs]


async def test_an_old_lost_purchase_is_not_found_in_a_later_one(desk, open_desk) -> None:
    async with open_desk(beside=desk) as ended:
        desk.world.faults.append(Fault("status", status=502))
        await ended.video(wait_s=0)
    await anyio.sleep(1000)
    desk.wire.after.append(httpx.ReadError("answer lost"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: desk.video(take=2))
        await anyio.sleep(0.5)
        [job] = desk.world.jobs
        assert (await desk.video())["generation_id"] != job

    assert (await desk.video(take=2))["generation_id"] == job


@pytest.mark.parametrize(
    "options",
    [
        {"style_ref": "https://example.com/s.png"},
        {"output_format": "png"},
        {"image_refs": ["https://example.com/r.png"]},
    ],
)
@pytest.mark.parametrize("arrives", [0, 1])
async def test_lost_purchases_that_differ_in_an_option_are_each_found_or_made(desk, options, arrives: int) -> None:
    calls = [{}, options]
    async with anyio.create_task_group() as tasks:
        for number, arguments in enumerate(calls):
            (desk.wire.after if number == arrives else desk.wire.before).append(httpx.ReadError("lost"))
            tasks.start_soon(lambda arguments=arguments: desk.image(**arguments))
            await anyio.sleep(0.5)
    await anyio.sleep(100)
    made = [await desk.image(**arguments) for arguments in calls]

    assert [one["state"] for one in made] == ["completed", "completed"]
    assert desk.charges == 2


@pytest.mark.parametrize("arrives", ["plain", "tall", "wide"])
async def test_a_lost_purchase_is_not_found_in_that_of_a_call_with_more_or_fewer_options(desk, arrives: str) -> None:
    options = {"plain": {}, "tall": {"aspect_ratio": "9:16"}, "wide": {"aspect_ratio": "16:9"}}

    async def buy(one: str) -> dict[str, Any]:
        (desk.wire.after if one == arrives else desk.wire.before).append(httpx.ReadError("lost"))
        return await desk.image(**options[one])

    async with anyio.create_task_group() as tasks:
        for one in options:
            tasks.start_soon(buy, one)
            await anyio.sleep(0.5)
    await anyio.sleep(100)
    desk.wire.before.clear()
    desk.wire.after.clear()
    for one in options:
        await desk.image(**options[one])

    bought = [job.request.get("aspect_ratio") for job in desk.world.jobs.values()]
    assert bought.count("9:16") <= 1
    assert bought.count("16:9") <= 2  # that is what Luma takes for none


async def test_lost_purchases_that_luma_shows_alike_are_not_taken_for_each_other(desk) -> None:
    clips = [await desk.video(f"lake {n}") for n in range(2)]
    charged = desk.charges
    desk.wire.before.append(httpx.ReadError("never arrived"))

    async def upscale(clip: dict[str, Any]) -> None:
        made = await desk.call("upscale_video", generation_id=clip["generation_id"])
        assert made["state"] == "unknown"

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(upscale, clips[0])
        await anyio.sleep(0.5)
        desk.wire.after.append(httpx.ReadError("answer lost"))
        tasks.start_soon(upscale, clips[1])
    await anyio.sleep(100)
    for clip in clips:
        await upscale(clip)

    assert desk.charges == charged + 1


@pytest.mark.parametrize("later_s", [89.0, 91.0])
async def test_a_lost_upscale_is_not_found_in_one_that_was_sent_a_minute_and_a_half_later(
    desk, open_desk, later_s: float
) -> None:
    clips = [(await desk.video(f"lake {n}"))["generation_id"] for n in range(2)]
    async with open_desk(beside=desk) as ended:
        ended.wire.before.append(httpx.ReadError("never arrived"))
        began = anyio.current_time()
        await ended.call("upscale_video", generation_id=clips[0], wait_s=0)
    await anyio.sleep(began + later_s - anyio.current_time())
    desk.wire.after.append(httpx.ReadError("answer lost"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: desk.call("upscale_video", generation_id=clips[1]))
        await anyio.sleep(0.1)
        await desk.call("upscale_video", generation_id=clips[0], wait_s=1)
    await anyio.sleep(100)
    await desk.call("upscale_video", generation_id=clips[1])

    assert sum(clips[1] in post.path for post in desk.posts) == 1


async def test_an_upscale_that_was_never_found_does_not_hide_later_ones(desk) -> None:
    clips = [(await desk.video(f"lake {n}"))["generation_id"] for n in range(2)]
    made = await desk.call("upscale_video", generation_id=clips[0])
    change(
        desk.folder.parent,
        "UPDATE jobs SET status = 'unknown', generation_id = NULL, state = NULL WHERE generation_id = ?",
        made["generation_id"],
    )
    await anyio.sleep(10 * 86400)
    desk.wire.after.append(httpx.ReadError("lost"))

    later = await desk.call("upscale_video", generation_id=clips[1])

    assert later["generation_id"] in desk.world.jobs


async def test_an_answer_that_the_journal_can_not_keep_reaches_its_caller(desk) -> None:
    await desk.video("a first lake")
    desk.wire.inner = Slow(desk, "POST", back_s=3)

    async def migrate() -> None:
        await anyio.sleep(1)
        change(desk.folder.parent, "PRAGMA user_version = 99")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(migrate)
        made = await desk.video("a second lake")

    assert made["generation_id"] in desk.world.jobs


@BOTH_APIS
async def test_a_row_that_somebody_removed_while_luma_answered_is_written_anew(open_desk, environ) -> None:
    async with open_desk(**environ) as desk:
        await desk.video("a first lake")
        desk.wire.inner = Slow(desk, "POST", back_s=3)

        async def remove() -> None:
            await anyio.sleep(1)
            change(desk.folder.parent, "DELETE FROM jobs WHERE status = 'submitting'")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(remove)
            made = await desk.video("a second lake")

        assert {row["generation_id"] for row in rows(desk.folder.parent)} == set(desk.world.jobs)
        assert (await desk.call("get_account"))["spent_24h_usd"] > 0.5
        assert made["generation_id"] in desk.world.jobs


@BOTH_APIS
async def test_a_purchase_that_a_leaping_clock_took_for_lost_keeps_its_job(open_desk, environ) -> None:
    async with open_desk(**environ) as desk, open_desk(beside=desk, clock_off_s=200, **environ) as ahead:
        desk.wire.inner = Slow(desk, "POST", there_s=25)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(desk.video)
            await anyio.sleep(1)
            tasks.start_soon(ahead.video)

        assert {row["generation_id"] for row in rows(desk.folder.parent)} - {None} == set(desk.world.jobs)


# After a process has died.


async def left_behind(desk, prompt: str = "a quiet lake") -> str:
    """The row of a process that died between sending and Luma's answer."""
    made = await desk.video(prompt)
    change(
        desk.folder.parent,
        "UPDATE jobs SET status = 'submitting', generation_id = NULL, state = NULL, taken_at = NULL",
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


async def test_a_row_of_a_dead_process_stays_open_where_there_is_no_list(agents_desk, open_desk) -> None:
    await left_behind(agents_desk)
    await anyio.sleep(100)
    async with open_desk(beside=agents_desk, **AGENTS) as later:
        found = await later.video()

        assert (found["state"], found["reused"]) == ("unknown", True)
        assert "Luma's answer was never noted" in found["warnings"][0]
    assert agents_desk.charges == 1


async def test_a_generation_is_found_by_id_with_what_its_request_said_after_a_restart(agents_desk, open_desk) -> None:
    made = await agents_desk.video(resolution="540p")
    async with open_desk(beside=agents_desk, **AGENTS) as later:
        found = await later.call("get_generation", generation_id=made["generation_id"])
        assert (found["prompt"], found["resolution"]) == ("a quiet lake", "540p")

        extended = await later.call("extend_video", generation_id=made["generation_id"], prompt="on it goes")
        assert extended["resolution"] == "540p"


async def test_the_server_s_end_waits_for_an_answer_that_is_on_its_way(open_desk, tmp_path) -> None:
    async with open_desk() as desk:
        desk.wire.inner = Slow(desk, "POST", back_s=20)
        assert (await desk.video(wait_s=0))["state"] == "unknown"

    assert [(row["status"], row["generation_id"]) for row in rows(tmp_path)] == [("submitted", *desk.world.jobs)]


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


async def test_a_link_counts_as_the_same_before_and_after_the_list_has_shown_whose_it_is(desk, open_desk) -> None:
    image = await desk.image()
    async with open_desk(beside=desk) as restarted:
        first = await restarted.video(start_image=image["image_url"])
        charged = desk.charges
        await restarted.call("list_generations")

        again = await restarted.video(start_image=image["image_url"])

    assert again["generation_id"] == first["generation_id"]
    assert desk.charges == charged


async def test_a_generation_that_was_deleted_elsewhere_can_be_deleted_here_and_is_then_bought_anew(desk) -> None:
    made = await desk.video()
    await anyio.sleep(15)
    del desk.world.jobs[made["generation_id"]]

    assert (await desk.call("delete_generation", generation_id=made["generation_id"]))["deleted"] is True
    assert (await desk.video())["generation_id"] != made["generation_id"]


@pytest.mark.parametrize("takes", [(1, 1), (1, 2)])
async def test_lost_purchases_that_differ_in_a_link_s_query_alone_are_not_taken_for_each_other(desk, takes) -> None:
    cats = [f"https://example.com/cat.png?id={n}" for n in (1, 2)]
    desk.wire.before.append(httpx.ReadError("never arrived"))

    async with anyio.create_task_group() as tasks:
        for number, cat in enumerate(cats):
            tasks.start_soon(lambda cat=cat, take=takes[number]: desk.video(start_image=cat, take=take))
            await anyio.sleep(0.5)
            if number == 0:
                desk.wire.after.append(httpx.ReadError("answer lost"))
    await anyio.sleep(100)
    for cat, take in zip(cats, takes, strict=True):
        await desk.video(start_image=cat, take=take)

    bought = [job.request["keyframes"]["frame0"]["url"] for job in desk.world.jobs.values()]
    assert len(bought) == len(set(bought))


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

    assert [row["status"] for row in rows(desk.folder.parent)] == ["failed"]
    assert (await desk.call("get_account"))["spent_24h_usd"] == 0
