"""What the server says about keys, balance, models and camera motions."""

from typing import Any

import anyio
import pytest
from dirty_equals import IsStr

from luma_mcp_server.sandbox import Fault

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
        "sandbox": True,
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


async def test_the_account_without_network_says_so(desk) -> None:
    desk.wire.gone = True

    [standing] = (await desk.call("get_account"))["apis"]

    assert standing["reachable"] is False
    assert "could not be reached" in standing["message"]


async def test_the_account_works_without_a_key_and_lists_all_that_is_wrong(open_desk) -> None:
    async with open_desk(LUMA_API_KEY=None, LUMA_MCP_SAVE="maybe", LUMA_MCP_WAITS="9") as desk:
        shown = await desk.call("get_account")

        assert shown["apis"][0]["configured"] is False
        assert "No Luma API key is set" in shown["apis"][0]["message"]
        assert shown["warnings"] == [
            "LUMA_MCP_SAVE must be on or off. Nothing was sent: correct it, then restart.",
            "LUMA_MCP_WAITS is no setting of this server: is it misspelt?",
        ]


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


async def test_camera_motions_and_concepts_are_asked_for_once_while_luma_answers(desk) -> None:
    first = await desk.call("list_camera_motions")
    again = await desk.call("list_camera_motions")

    assert first == again
    assert first["camera_motions_source"] == first["concepts_source"] == "Luma, now"
    assert "dolly_zoom" in first["concepts"]
    assert len(desk.world.requests) == 2


async def test_the_known_words_with_their_date_stand_in_for_what_luma_does_not_answer(open_desk) -> None:
    async with open_desk() as desk:
        desk.world.faults.append(Fault("status", "GET", path="camera_motion", status=404))
        shown = await desk.call("list_camera_motions")
        assert shown["camera_motions_source"] == "known list of 2024-09"
        assert "orbit left" in shown["camera_motions"]
        assert shown["concepts_source"] == "Luma, now"
    async with open_desk(LUMA_API_KEY=None) as desk:
        assert (await desk.call("list_camera_motions"))["concepts_source"] == "known list of 2025-05"


async def test_a_luma_that_hangs_delays_the_known_words_by_three_seconds_at_most(desk) -> None:
    desk.wire.hanging = True
    started = anyio.current_time()

    shown = await desk.call("list_camera_motions")

    assert shown["concepts_source"] == "known list of 2025-05"
    assert anyio.current_time() - started <= 3.1
