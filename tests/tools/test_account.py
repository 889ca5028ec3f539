"""What the server says about keys, balance, models and camera motions."""

from typing import Any

import anyio
import httpx
import pytest
from dirty_equals import IsStr

from luma_mcp_server.sandbox import SANDBOX_KEY, Fault

pytestmark = pytest.mark.anyio


async def test_the_account_shows_that_luma_answers_accepts_the_key_and_holds_credit(desk) -> None:
    await desk.video()

    assert await desk.call("get_account") == {
        "apis": [
            {
                "api": "dream_machine",
                "configured": True,
                "reachable": True,
                "key_accepted": True,
                "balance_usd": 99.29,
            }
        ],
        "spent_today_usd": 0.71,
        "spent_24h_usd": 0.71,
        "spent_total_usd": 0.71,
        "budget_usd": 20.0,
        "budget_left_usd": 19.29,
        "budget_window": "any 24 hours: a purchase stops counting a day after it was made",
        "sandbox": True,
        "journal": str(desk.folder.with_name(".luma-mcp") / "journal-sandbox.sqlite3"),
        "output_dir": str(desk.folder),
    }
    paths = [received.path.rpartition("/")[2] for received in desk.world.requests]
    assert {"ping", "credits"} <= set(paths)


@pytest.mark.parametrize(
    ("faults", "told"),
    [
        ([("ping", 401), ("credits", 401)], {"reachable": True, "key_accepted": False}),
        ([("credits", 403)], {"reachable": True, "key_accepted": False}),
        ([("credits", 500)], {"reachable": True}),
        ([("ping", 500)], {"reachable": False}),
    ],
)
async def test_the_account_tells_apart_what_does_not_work(desk, faults: Any, told: dict[str, Any]) -> None:
    desk.world.faults.extend(Fault("status", "GET", path=path, status=status, detail="no") for path, status in faults)

    [standing] = (await desk.call("get_account"))["apis"]

    assert standing == {"api": "dream_machine", "configured": True, "message": IsStr(), **told}


@pytest.mark.parametrize(
    ("trouble", "message"), [("gone", "could not be reached"), ("hanging", "It did not answer in time.")]
)
async def test_the_account_without_an_answer_from_luma_says_so(desk, trouble: str, message: str) -> None:
    setattr(desk.wire, trouble, True)

    [standing] = (await desk.call("get_account"))["apis"]

    assert standing["reachable"] is False
    assert message in standing["message"]


async def test_the_account_works_without_a_key_and_lists_all_that_is_wrong(open_desk) -> None:
    async with open_desk(LUMA_API_KEY=None, LUMA_MCP_SAVE="maybe", LUMA_MCP_WAITS="9") as desk:
        shown = await desk.call("get_account")

        assert shown["apis"][0]["configured"] is False
        assert "No Luma API key is set" in shown["apis"][0]["message"]
        assert shown["warnings"] == [
            "LUMA_MCP_SAVE must be on or off. Correct it, then restart this server.",
            "LUMA_MCP_WAITS is not a setting of this server: is it misspelled?",
        ]


@pytest.mark.parametrize("text", ["on", "as you like"])
async def test_a_read_only_server_has_only_tools_that_read_and_a_doubtful_one_says_why(open_desk, text: str) -> None:
    async with open_desk(LUMA_MCP_READ_ONLY=text) as desk:
        tools = (await desk.client.list_tools()).tools
        assert [tool.name for tool in tools] == [
            "get_generation",
            "wait_for_generations",
            "list_generations",
            "preview_generations",
            "list_models",
            "list_camera_motions",
            "get_account",
        ]
        assert all(tool.annotations and tool.annotations.read_only_hint for tool in tools)
        assert "generate_video" in await desk.refusal("generate_video", prompt="a lake")
        assert desk.wire.sent == []
        warnings = (await desk.call("get_account")).get("warnings", [])
        assert [warning[:18] for warning in warnings] == ([] if text == "on" else ["LUMA_MCP_READ_ONLY"])


async def test_waiting_saves_nothing_on_a_read_only_server(open_desk) -> None:
    async with open_desk(LUMA_MCP_READ_ONLY="on") as desk:
        async with httpx.AsyncClient(transport=desk.wire, headers={"Authorization": f"Bearer {SANDBOX_KEY}"}) as http:
            body = {"prompt": "a quiet lake", "model": "ray-2", "resolution": "720p", "duration": "5s"}
            made = await http.post("http://127.0.0.1:8642/dream-machine/v1/generations/video", json=body)
            bought = made.raise_for_status().json()

        [waited] = (await desk.call("wait_for_generations", generation_ids=[bought["id"]]))["generations"]

        assert waited["state"] == "completed"
        assert waited["video_url"]
        assert "file_path" not in waited
        assert not desk.folder.exists()


async def test_models_have_sizes_lengths_and_the_published_prices(desk) -> None:
    shown = await desk.call("list_models")

    rows = {row["model"]: row for row in shown["models"]}
    assert list(rows) == ["ray-2", "ray-flash-2", "photon-1", "photon-flash-1"]
    # Source: Comfy-Org/docs pull request 514 and Luma's Dream Machine documentation.
    assert rows["ray-2"]["usd"] == {
        "540p 5s": 0.40,
        "540p 9s": 0.72,
        "720p 5s": 0.71,
        "720p 9s": 1.27,
        "1080p 5s": 1.59,
        "1080p 9s": 2.87,
        "4k 5s": 6.37,
        "4k 9s": 11.47,
        "modify 720p 5s": 1.75,
    }
    assert rows["ray-flash-2"]["usd"]["4k 9s"] == 3.94
    assert rows["ray-flash-2"]["usd"]["modify 720p 5s"] == 0.60
    assert rows["photon-flash-1"]["usd"] == {"image": 0.004}
    assert "Not published: upscale, audio" in shown["prices"]


async def test_a_folder_that_no_file_can_be_saved_in_is_a_warning(open_desk, tmp_path) -> None:
    (tmp_path / "regular").write_text("")
    async with open_desk(LUMA_MCP_OUTPUT_DIR=str(tmp_path / "regular" / "clips")) as desk:
        [said] = (await desk.call("get_account"))["warnings"]
    async with open_desk(LUMA_MCP_OUTPUT_DIR=str(tmp_path / "to" / "be" / "made")) as desk:
        assert "warnings" not in await desk.call("get_account")

    assert f"{tmp_path / 'regular'} is not a folder" in said
    assert "LUMA_MCP_OUTPUT_DIR" in said


async def test_concepts_are_luma_s_own_and_camera_motions_a_known_list_with_its_date(desk) -> None:
    shown = await desk.call("list_camera_motions")

    assert shown["concepts_source"] == "Luma, now"
    assert "dolly_zoom" in shown["concepts"]
    assert shown["camera_motions_source"] == "known list of 2024-09"
    assert "orbit left" in shown["camera_motions"]


async def test_the_known_concepts_with_their_date_stand_in_for_what_luma_does_not_answer(desk, open_desk) -> None:
    desk.world.faults.append(Fault("status", "GET", path="concepts", status=404))
    assert (await desk.call("list_camera_motions"))["concepts_source"] == "known list of 2025-05"
    async with open_desk(LUMA_API_KEY=None) as keyless:
        assert (await keyless.call("list_camera_motions"))["concepts_source"] == "known list of 2025-05"


async def test_a_luma_that_hangs_delays_the_known_words_by_three_seconds_at_most(desk) -> None:
    desk.wire.hanging = True
    started = anyio.current_time()

    shown = await desk.call("list_camera_motions")

    assert shown["concepts_source"] == "known list of 2025-05"
    assert anyio.current_time() - started <= 3.1


async def test_the_account_tells_published_from_assumed_spending(desk) -> None:
    clip = await desk.video()
    assert "assumed_24h_usd" not in await desk.call("get_account")

    await desk.call("upscale_video", generation_id=clip["generation_id"])

    account = await desk.call("get_account")
    assert (account["spent_24h_usd"], account["assumed_24h_usd"]) == (2.3, 1.59)


async def test_a_key_that_is_refused_is_told_where_old_and_new_ones_come_from(desk) -> None:
    desk.world.faults.append(Fault("status", status=401, detail="Invalid API key"))

    said = await desk.refusal("generate_video", prompt="a lake")

    assert "existing keys: lumalabs.ai/dream-machine/api/keys; new keys: platform.lumalabs.ai" in said
