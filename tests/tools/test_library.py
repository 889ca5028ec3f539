"""Looking at, finding, keeping and deleting what was made."""

import base64
import os
import re
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from mcp.shared.exceptions import MCPError

from luma_mcp_server.sandbox import AGENTS_SANDBOX_KEY, Fault

pytestmark = pytest.mark.anyio

ID = "00000000-0000-4000-8000-000000000000"


async def test_a_generation_is_found_by_its_id_in_any_case_and_by_its_link(desk) -> None:
    made = await desk.video()

    for name in (made["generation_id"], made["generation_id"].upper(), f" {made['video_url']} "):
        shown = await desk.call("get_generation", generation_id=name)
        assert shown["generation_id"] == made["generation_id"]
        assert shown["file_path"] == made["file_path"]
        assert shown["estimated_cost_usd"] == 0.71
        assert shown["arguments"] == made["arguments"] | {"take": 1}


async def test_the_list_has_neither_links_nor_long_prompts(desk) -> None:
    await desk.video("a lake " * 100)

    listed = await desk.call("list_generations")

    [row] = listed["generations"]
    assert set(row) == {
        "generation_id",
        "api",
        "type",
        "operation",
        "state",
        "model",
        "prompt",
        "aspect_ratio",
        "resolution",
        "duration",
        "created_at",
        "estimated_cost_usd",
    }
    assert len(row["prompt"]) == 200
    assert listed["has_more"] is False
    assert "next_offset" not in listed


async def _ids(desk: Any, **arguments: Any) -> tuple[list[str], dict[str, Any]]:
    listed = await desk.call("list_generations", **arguments)
    return [row["generation_id"] for row in listed["generations"]], listed


async def test_paging_shows_every_generation_once(desk) -> None:
    made = [(await desk.image(f"lake {n}", wait_s=0))["generation_id"] for n in range(7)]

    first, page = await _ids(desk, limit=3)
    assert (page["has_more"], page["next_offset"]) == (True, 3)
    second, page = await _ids(desk, limit=3, offset=page["next_offset"])
    assert (page["has_more"], page["next_offset"]) == (True, 6)
    third, page = await _ids(desk, limit=3, offset=page["next_offset"])
    assert page["has_more"] is False
    assert [*first, *second, *third] == made[::-1]


async def test_a_state_filters_before_it_is_counted(desk) -> None:
    for n in range(3):
        await desk.image(f"lake {n}", wait_s=0)
    stuck = [(await desk.image(f"lake [sandbox:stuck] {n}", wait_s=0))["generation_id"] for n in range(3)]
    await anyio.sleep(30)

    rows, page = await _ids(desk, state="dreaming", limit=2)
    assert (rows, page["has_more"], page["next_offset"]) == (stuck[:0:-1], True, 2)
    rows, page = await _ids(desk, state="dreaming", limit=2, offset=2)
    assert (rows, page["has_more"]) == (stuck[:1], False)
    assert (await _ids(desk, state="failed"))[0] == []


async def test_short_pages_are_put_together(desk) -> None:
    made = [(await desk.image(f"lake {n}", wait_s=0))["generation_id"] for n in range(5)]
    inner = desk.wire.inner

    class Short(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return await inner.handle_async_request(
                httpx.Request(request.method, request.url.copy_set_param("limit", 2), headers=request.headers)
            )

    desk.wire.inner = Short()

    assert (await _ids(desk, limit=5))[0] == made[::-1]


async def test_a_filter_looks_through_a_thousand_at_most_and_says_so(desk) -> None:
    row = {"id": ID, "state": "completed", "generation_type": "image"}

    class Endless(httpx.AsyncBaseTransport):
        async def handle_async_request(self, _: httpx.Request) -> httpx.Response:
            return httpx.Response(200, json={"generations": [row] * 100, "has_more": True})

    desk.wire.inner = Endless()

    listed = await desk.call("list_generations", state="failed")

    assert len(desk.wire.sent) == 10
    assert listed["warnings"] == ["Only the first 1000 generations of Luma's list were looked through."]


async def test_a_deleted_generation_is_gone_and_its_file_stays(desk) -> None:
    made = await desk.video()

    for _ in range(2):
        assert await desk.call("delete_generations", generation_ids=[made["generation_id"]]) == {
            "deleted": [made["generation_id"]],
            "sandbox": True,
        }
    assert "has been deleted. Saved" in await desk.refusal("get_generation", generation_id=made["generation_id"])
    assert Path(made["file_path"]).is_file()


async def test_a_preview_is_a_picture_with_words_and_no_structured_content(desk) -> None:
    for made in (await desk.video(), await desk.image(), await desk.image(output_format="png")):
        result = await desk.raw("preview_generations", generation_ids=[made["generation_id"]])

        picture, words = result.content
        assert picture.type == "image"
        assert picture.mime_type in ("image/jpeg", "image/png")
        assert base64.b64decode(picture.data)[:3] in (b"\xff\xd8\xff", b"\x89PN")
        assert made["generation_id"] in words.text
        assert result.structured_content is None
        assert not result.is_error


async def test_a_large_preview_is_made_smaller(desk) -> None:
    from io import BytesIO

    from PIL import Image

    made = await desk.image(output_format="png")
    noise = BytesIO()
    Image.effect_noise((1500, 1000), 90).save(noise, "PNG")
    inner = desk.wire.inner

    class Large(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if "/media/" in request.url.path:
                return httpx.Response(200, content=noise.getvalue())
            return await inner.handle_async_request(request)

    desk.wire.inner = Large()

    result = await desk.raw("preview_generations", generation_ids=[made["generation_id"]])

    data = base64.b64decode(result.content[0].data)
    assert len(noise.getvalue()) > 1_000_000 > 200_000 >= len(data)
    assert Image.open(BytesIO(data)).size == (843, 562)


async def test_nothing_is_shown_or_saved_of_what_is_not_completed(desk) -> None:
    stuck = (await desk.video("a lake [sandbox:stuck]", wait_s=0))["generation_id"]
    failed = (await desk.video("a lake [sandbox:fail]", wait_s=0))["generation_id"]
    await anyio.sleep(30)

    named = {
        "preview_generations": lambda name: {"generation_ids": [name]},
        "download_generation": lambda name: {"generation_id": name},
    }
    for tool, arguments in named.items():
        assert f'wait_for_generations(generation_ids=["{stuck}"])' in await desk.refusal(tool, **arguments(stuck))
        assert "failed, so it has no file" in await desk.refusal(tool, **arguments(failed))


async def test_both_resources_can_be_read(desk) -> None:
    made = await desk.video()

    models = await desk.client.read_resource("luma://models")
    assert '"ray-2"' in models.contents[0].text
    shown = await desk.client.read_resource(f"luma://generations/{made['generation_id']}")
    assert made["generation_id"] in shown.contents[0].text
    with pytest.raises(Exception, match="Luma knows no generation"):
        await desk.client.read_resource(f"luma://generations/{ID}")


async def test_both_prompts_can_be_filled_in(desk) -> None:
    prompts = {prompt.name for prompt in (await desk.client.list_prompts()).prompts}
    assert prompts == {"enhance_prompt", "storyboard"}

    enhanced = await desk.client.get_prompt("enhance_prompt", {"idea": "a red kite"})
    assert "a red kite" in enhanced.messages[0].content.text
    planned = await desk.client.get_prompt("storyboard", {"idea": "a red kite", "shots": "6"})
    assert "6 shots" in planned.messages[0].content.text


async def test_a_broken_large_preview_is_an_error_in_words(desk) -> None:
    made = await desk.image(output_format="png")
    inner = desk.wire.inner

    class Broken(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if "/media/" in request.url.path:
                return httpx.Response(200, content=b"\x89PNG\r\n\x1a\n" + b"x" * 800_000)
            return await inner.handle_async_request(request)

    desk.wire.inner = Broken()

    said = await desk.refusal("preview_generations", generation_ids=[made["generation_id"]])
    assert "could not be read" in said


async def test_an_unreadable_list_is_an_error_and_not_an_empty_list(desk) -> None:
    desk.world.faults.append(Fault("status", "GET", status=200, detail="no list"))

    assert "Nothing was lost" in await desk.refusal("list_generations")


async def test_the_list_knows_prices_and_open_purchases_and_survives_luma_s_absence(desk) -> None:
    made = await desk.video("a lake")
    desk.world.faults.append(Fault("status", status=500))
    lost = await desk.video("a sea")
    desk.world.faults.append(Fault("status", "GET", path="/generations", status=503, times=2))

    listed = await desk.call("list_generations")

    assert [row.get("generation_id") for row in listed["generations"]] == [None, made["generation_id"]]
    first, second = listed["generations"]
    assert (first["request_id"], first["state"], first["charged"]) == (lost["request_id"], "unknown", "unknown")
    assert (second["state"], second["prompt"], second["estimated_cost_usd"]) == ("completed", "a lake", 0.71)
    assert "this is what the journal knows" in listed["warnings"][0]


async def test_what_luma_does_not_know_any_more_is_said_to_have_been_bought_here(desk) -> None:
    made = (await desk.video())["generation_id"]
    await anyio.sleep(60)
    desk.world.delete(made)

    [row] = (await desk.call("list_generations"))["generations"]
    assert row["generation_id"] == made
    said = await desk.refusal("get_generation", generation_id=made)
    assert "Luma knows no generation" in said
    assert "This server bought it on 20" in said


async def test_a_listed_job_that_failed_says_that_it_was_refunded(desk) -> None:
    await desk.refusal("generate_video", prompt="[sandbox:fail]")
    await desk.video()

    listed = (await desk.call("list_generations"))["generations"]

    assert [row.get("charged") for row in listed] == [None, "no"]


async def test_a_deleted_generation_is_not_listed_any_more(desk) -> None:
    made = (await desk.video())["generation_id"]
    await desk.call("delete_generations", generation_ids=[made])

    assert (await desk.call("list_generations"))["generations"] == []


async def test_generations_of_the_agents_api_are_listed_by_every_process_with_their_state_now(
    agents_desk, open_desk
) -> None:
    made = [await agents_desk.video(f"lake {n}", wait_s=0) for n in range(3)]
    await anyio.sleep(30)
    async with open_desk(beside=agents_desk, LUMA_API_KEY="luma-api-sandbox-key") as later:
        listed = await later.call("list_generations", limit=2)

        assert [row["generation_id"] for row in listed["generations"]] == [one["generation_id"] for one in made[:0:-1]]
        assert {row["state"] for row in listed["generations"]} == {"completed"}
        assert (listed["has_more"], listed["next_offset"]) == (True, 2)
        assert len((await later.call("list_generations", state="completed"))["generations"]) == 3
        assert (await later.call("list_generations", state="failed"))["generations"] == []


async def test_a_job_that_ended_unseen_is_listed_with_its_state_now_however_old_it_is(agents_desk) -> None:
    made = await agents_desk.video(wait_s=0)
    await anyio.sleep(2 * 3600)

    [listed] = (await agents_desk.call("list_generations", state="completed"))["generations"]

    assert listed["generation_id"] == made["generation_id"]


async def test_pages_of_a_long_list_follow_each_other_without_gap_or_repetition(desk, open_desk, tmp_path) -> None:
    async with open_desk(beside=desk, HOME=str(tmp_path / "elsewhere")) as elsewhere:
        for n in range(12):
            await (desk, elsewhere)[n % 2].image(f"lake {n}", wait_s=0)
            await anyio.sleep(1)

    found: list[str] = []
    offset: int | None = 0
    while offset is not None:
        page = await desk.call("list_generations", limit=5, offset=offset)
        found += [row["generation_id"] for row in page["generations"]]
        offset = page.get("next_offset")

    assert found == list(reversed(desk.world.jobs))


async def test_an_offset_beyond_all_is_an_empty_page(desk) -> None:
    await desk.video()

    assert (await desk.call("list_generations", offset=10**20))["generations"] == []


async def test_a_link_in_a_prompt_is_shown_without_its_signature(desk) -> None:
    await desk.video("like https://example.com/cat.png?X-Signature=SECRET", wait_s=0)

    shown = str(await desk.call("list_generations"))
    assert "SECRET" not in shown
    assert "like https://example.com/cat.png" in shown


@pytest.mark.parametrize("stuck", ["uni-1", "photon-1"])
async def test_unfinished_ones_do_not_hide_those_in_the_state_that_was_asked_for(both_desk, stuck: str) -> None:
    done = [(await both_desk.image(f"lake {n}", model="uni-1"))["generation_id"] for n in range(3)]
    for n in range(4):
        await both_desk.image(f"[sandbox:stuck] {n}", wait_s=0, model=stuck)

    listed = await both_desk.call("list_generations", state="completed", limit=2)

    assert [row["generation_id"] for row in listed["generations"]] == done[:0:-1]


@pytest.mark.parametrize("clock_off_s", [-30.0, 0.0, 30.0])
async def test_pages_of_both_apis_have_everything_once_whatever_the_clocks_say(open_desk, clock_off_s: float) -> None:
    async with open_desk(LUMA_AGENTS_API_KEY=AGENTS_SANDBOX_KEY, clock_off_s=clock_off_s) as desk:
        for n in range(10):
            await desk.image(f"lake {n}", wait_s=0, model="uni-1" if n % 4 == 0 else "photon-1")
            await anyio.sleep(2)
        await anyio.sleep(100)
        found: list[str] = []
        offset: int | None = 0
        while offset is not None:
            page = await desk.call("list_generations", limit=2, offset=offset)
            found += [row["generation_id"] for row in page["generations"]]
            offset = page.get("next_offset")

        assert sorted(found) == sorted(desk.world.jobs)


async def test_a_row_further_down_luma_s_list_is_not_said_to_be_unknown_to_luma(desk, open_desk, tmp_path) -> None:
    async with (
        open_desk(beside=desk, clock_off_s=30) as ours,
        open_desk(beside=desk, HOME=str(tmp_path / "elsewhere")) as elsewhere,
    ):
        await ours.image("ours", wait_s=0)
        await anyio.sleep(5)
        for n in range(4):
            await elsewhere.image(f"theirs {n}", wait_s=0)
        await anyio.sleep(20)
        inner = ours.wire.inner

        class ShortPages(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                url = request.url.copy_set_param("limit", 2)
                return await inner.handle_async_request(httpx.Request("GET", url, headers=request.headers))

        ours.wire.inner = ShortPages()

        [row] = (await ours.call("list_generations", limit=1))["generations"]
        assert "warnings" not in row


@pytest.mark.parametrize("keys", [{}, {"LUMA_AGENTS_API_KEY": AGENTS_SANDBOX_KEY}], ids=["one", "both"])
async def test_a_list_that_luma_does_not_give_in_time_is_what_the_journal_knows(open_desk, keys) -> None:
    async with open_desk(LUMA_MCP_WAIT_S="10", **keys) as desk:
        made = await desk.video(wait_s=0)
        desk.wire.hanging = True

        listed = await desk.call("list_generations")

        assert [row["generation_id"] for row in listed["generations"]] == [made["generation_id"]]
        assert bool(keys) or "did not answer in time" in listed["warnings"][0]


async def test_a_page_beyond_what_is_looked_through_is_the_last(desk) -> None:
    class Endless(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            at = int(request.url.params["offset"])
            rows = [{"id": f"00000000-0000-4000-8000-{at + n:012}", "state": "completed"} for n in range(100)]
            return httpx.Response(200, json={"generations": rows, "has_more": True})

    desk.wire.inner = Endless()

    listed = await desk.call("list_generations", offset=1000)

    assert (listed["has_more"], listed["generations"], "next_offset" in listed) == (False, [], False)
    assert "Only the first 1000" in listed["warnings"][0]


async def test_waiting_for_a_deleted_generation_among_others_says_deleted(desk) -> None:
    gone, kept = [(await desk.video(prompt))["generation_id"] for prompt in ("a lake", "a hill")]
    await desk.call("delete_generations", generation_ids=[gone])

    waited = await desk.call("wait_for_generations", generation_ids=[gone, kept])

    assert [one["state"] for one in waited["generations"]] == ["deleted", "completed"]
    assert waited["finished"] is True


async def test_unfinished_generations_can_be_listed_alone(both_desk) -> None:
    await both_desk.video("done")
    stuck = []
    for name in ("ray-2", "ray-3.2"):
        stuck.append(await both_desk.video("[sandbox:stuck]", model=name, wait_s=0))
        await anyio.sleep(2)
    both_desk.wire.after.append(httpx.ReadTimeout("slow"))
    lost = await both_desk.video("lost")

    listed = await both_desk.call("list_generations", state="unfinished")

    ids = [row.get("generation_id") or row["request_id"] for row in listed["generations"]]
    assert ids == [lost["request_id"], *(one["generation_id"] for one in reversed(stuck))]


async def test_a_name_that_could_not_be_kept_is_said(desk) -> None:
    made = (await desk.video())["generation_id"]

    async def saved_as(filename: str) -> tuple[str, list[str]]:
        saved = await desk.call("download_generation", generation_id=made, filename=filename)
        return Path(saved["file_path"]).name, saved.get("warnings", [])

    assert await saved_as("lake") == ("lake.mp4", [])
    assert await saved_as("hill.mp4") == ("hill.mp4", [])
    why = "the content sets the extension, and no file is overwritten."
    assert await saved_as("hill.avi") == ("hill-2.mp4", [f"Saved as hill-2.mp4: {why}"])
    assert await saved_as("lake") == ("lake-2.mp4", [f"Saved as lake-2.mp4: {why}"])


@pytest.mark.parametrize(
    ("environ", "words"),
    [({"LUMA_MCP_SAVE": "off"}, "Not saved: saving is off."), ({"LUMA_MCP_READ_ONLY": "on"}, "Not saved: read-only.")],
)
async def test_a_generation_without_a_file_says_why(desk, open_desk, tmp_path, environ: dict[str, str], words) -> None:
    made = (await desk.video())["generation_id"]
    (desk.folder / next(desk.folder.iterdir()).name).unlink()
    assert (await desk.call("get_generation", generation_id=made))["warnings"] == ["No saved file here."]
    async with open_desk(beside=desk, **environ) as other:
        assert (await other.call("get_generation", generation_id=made))["warnings"] == [words]


async def test_what_a_call_asked_for_is_shown_with_what_it_made(desk) -> None:
    image = await desk.image()
    start = f"{image['generation_id']}"
    made = await desk.video("a lake", start_image=start, loop=True, concepts=["pov"], take=3)
    longer = await desk.call("extend_video", generation_id=made["generation_id"], prompt="on and on", take=2)

    for shown in (made, await desk.call("get_generation", generation_id=made["generation_id"])):
        assert shown["arguments"] == {
            "prompt": "a lake",
            "start_image": start,
            "loop": True,
            "concepts": ["pov"],
            "aspect_ratio": "16:9",
            "resolution": "720p",
            "duration": "5s",
            "model": "ray-2",
            "take": 3,
        }
        assert shown["operation"] == "generate_video"
    assert longer["operation"] == "extend_video"
    assert (
        longer["arguments"].items()
        >= {
            "generation_id": made["generation_id"],
            "direction": "forward",
            "take": 2,
        }.items()
    )
    rows = (await desk.call("list_generations"))["generations"]
    assert [row.get("arguments") for row in rows] == [{"take": 2}, {"take": 3}, None]


async def test_a_reused_answer_does_not_say_that_it_was_charged(desk) -> None:
    assert (await desk.video())["charged"] == "yes"
    again = await desk.video()

    assert again["reused"] is True
    assert "charged" not in again
    assert again["estimated_cost_usd"] == 0.0


async def test_what_runs_beside_is_asked_about_when_nobody_has_for_half_a_minute(open_desk) -> None:
    async with open_desk(LUMA_API_KEY=AGENTS_SANDBOX_KEY, LUMA_MCP_SAVE="off") as desk:
        await desk.video("one", wait_s=0)
        stuck = await desk.video("[sandbox:stuck]", wait_s=0)
        await anyio.sleep(20)
        assert len((await desk.video("two"))["also_running"]) == 2
        await anyio.sleep(20)

        assert (await desk.video("three"))["also_running"] == [f"{stuck['generation_id']}: [sandbox:stuck]"]


async def test_a_misspelled_tool_suggests_no_other(desk) -> None:
    try:
        said = str((await desk.raw("extend_videos", generation_id="x", prompt="on")).content)
    except MCPError as error:
        said = str(error)

    assert "extend_videos" in said
    assert not re.search(r"\b(generate|extend|interpolate|modify|upscale)_video\b", said)


@pytest.mark.parametrize(
    ("detail", "unread"),
    [("Failed to moderate image", True), ("Frame moderation failed", True), ("The prompt failed moderation", False)],
)
async def test_a_refusal_about_moderating_an_image_says_that_its_link_may_be_unreadable(
    desk, detail: str, unread: bool
) -> None:
    desk.world.faults.append(Fault("status", status=400, detail=detail))
    said = await desk.refusal("generate_video", prompt="a lake", start_image="https://example.com/lake.jpg")

    assert "Change the prompt or the images." in said
    assert ("Luma may not have been able to read the link" in said) == unread


@pytest.mark.parametrize("saving", ["on", "off"])
async def test_a_page_gets_the_file_itself_saved_or_not(open_desk, saving: str) -> None:
    async with open_desk(LUMA_MCP_SAVE=saving) as desk:
        made = await desk.video()
        [content] = (await desk.client.read_resource(f"luma://generations/{made['generation_id']}/media")).contents

    data = base64.b64decode(content.blob)
    assert data[4:8] == b"ftyp"
    if saving == "on":
        assert data == Path(made["file_path"]).read_bytes()


async def test_a_page_gets_no_file_above_twenty_megabytes_and_none_that_is_not_there(desk) -> None:
    made = await desk.video()
    os.truncate(made["file_path"], 21 * 1024**2)
    stuck = await desk.video("[sandbox:stuck]", wait_s=0)

    for name, words in (
        (made["generation_id"], "Use its link"),
        (stuck["generation_id"], "no file yet"),
        (ID, "knows no generation"),
    ):
        with pytest.raises(MCPError, match=words):
            await desk.client.read_resource(f"luma://generations/{name}/media")
