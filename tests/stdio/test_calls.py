"""Calls that are given up, and two servers that do the same work at once."""

from pathlib import Path

import httpx
import pytest
from dirty_equals import IsPartialDict


@pytest.fixture(scope="module")
def server(serve):
    return serve()


def test_a_cancelled_wait_is_not_answered_and_asks_luma_no_more(server, world) -> None:
    given_up, other = (
        server.call("generate_image", prompt=f"[sandbox:stuck] {name}", wait_s=0)["generation_id"]
        for name in ("given up", "other")
    )
    wait = server.begin("wait_for_generations", generation_ids=[given_up], token="given up")
    world.until(lambda: world.gets(given_up))
    server.call("get_generation", generation_id=given_up)  # its answer comes after that of the wait's question

    server.send("notifications/cancelled", {"requestId": wait, "reason": "the user pressed Esc"})
    server.call("list_models")
    asked, reported = world.gets(given_up), len(server.notifications)
    server.call("wait_for_generations", generation_ids=[other], wait_s=2.5)  # long enough for another question

    assert world.gets(other) >= 2
    assert world.gets(given_up) == asked
    assert not server.answered(wait)
    assert all(one["params"]["progressToken"] != "given up" for one in server.notifications[reported:])
    assert server.call("get_generation", generation_id=given_up)["state"] == "dreaming", "the job goes on"


def test_a_purchase_that_is_cancelled_under_way_is_made_once_and_can_be_found(server, world) -> None:
    world.fault(kind="slow", after=True, pause=0.001)
    purchase = server.begin("generate_image", prompt="bought and given up")
    world.until(lambda: world.posts("bought and given up"))

    server.send("notifications/cancelled", {"requestId": purchase})

    [found] = server.call("list_generations", limit=1)["generations"]
    assert found["prompt"] == "bought and given up"
    assert len(world.posts("bought and given up")) == 1
    assert not server.answered(purchase)


def test_two_servers_that_wait_for_the_same_clip_both_get_a_whole_file(serve, record, world) -> None:
    home = record.home()
    servers = [serve(home=home) for _ in range(2)]
    made = servers[0].call("generate_video", prompt="for both", resolution="540p", wait_s=0)
    waits = [server.begin("wait_for_generations", generation_ids=[made["generation_id"]]) for server in servers]
    answers = [server.end(wait) for server, wait in zip(servers, waits, strict=True)]

    for answer in answers:
        assert answer == IsPartialDict(finished=True)
        [generation] = answer["generations"]
        whole = httpx.get(generation["video_url"], trust_env=False).content
        assert (home / generation["file_path"]).read_bytes() == whole
    files = list((home / "Luma").iterdir())
    assert {path.suffix for path in files} == {".mp4"}
    assert {path.read_bytes() for path in files} == {whole}
    assert len(world.posts("for both")) == 1


def test_a_download_whose_connection_is_cut_is_taken_up_again(server, world) -> None:
    made = server.call("generate_video", prompt="cut off twice", resolution="540p", wait_s=0)
    world.fault(kind="cut", method="GET", path="/media/", times=2)

    waited = server.call("wait_for_generations", generation_ids=[made["generation_id"]])

    [generation] = waited["generations"]
    whole = httpx.get(generation["video_url"], trust_env=False).content
    assert Path(generation["file_path"]).read_bytes() == whole
    assert generation["media"] == IsPartialDict(seconds=5.0, codec="h264")
