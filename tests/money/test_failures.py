"""What a call says when Luma, or the way to it, fails: one request, one clear sentence, and whether it was charged."""

from typing import Any

import anyio
import httpx
import pytest

from luma_mcp_server.sandbox import Fault

pytestmark = pytest.mark.anyio

HTML = "<html><body>Bad gateway</body></html>"
DETAILS = [{"loc": ["body", "resolution"], "msg": "Input should be '540p'", "type": "literal_error"}]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"status": 400, "detail": "Loop is not supported"}, "HTTP 400: Loop is not supported"),
        ({"status": 401, "detail": "Invalid API key"}, "refused the API key in LUMA_API_KEY"),
        ({"status": 403, "detail": "Suspended"}, "refused the API key in LUMA_API_KEY"),
        ({"status": 402, "detail": "Insufficient credits"}, "too little credit"),
        ({"status": 404, "detail": "Not found"}, "did not find what the request names"),
        ({"status": 422, "detail": DETAILS}, "resolution: Input should be '540p'"),
        ({"status": 400, "detail": "Prompt moderation failed"}, "moderation refused this"),
        ({"status": 429, "detail": "Rate limit exceeded"}, "Wait a minute, then call again"),
        ({"status": 429, "detail": "Too many concurrent jobs"}, "run at once"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
async def test_a_refused_purchase_is_sent_once_and_says_that_nothing_was_charged(
    desk, fault: dict[str, Any], words: str
) -> None:
    desk.world.faults.append(Fault(**({"kind": "status"} | fault)))

    said = await desk.refusal("generate_video", prompt="a lake")

    assert words in said
    assert "Nothing was charged" in said
    assert "Traceback" not in said
    assert len(desk.posts) == 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"status": 500, "detail": "boom"}, "HTTP 500: boom"),
        ({"status": 408, "detail": "timeout"}, "HTTP 408"),
        ({"status": 409, "detail": "conflict"}, "HTTP 409"),
        ({"kind": "html"}, "an HTML page instead of JSON"),
        ({"status": 200, "body": HTML}, "an HTML page where a generation was due"),
        ({"kind": "cut"}, "cut off"),
        ({"kind": "empty"}, "cut off"),
        ({"kind": "null"}, "where a generation was due"),
        ({"status": 200, "detail": "ok"}, "where a generation was due"),
        ({"kind": "redirect"}, "HTTP 307"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
async def test_a_purchase_without_a_usable_answer_is_sent_once_and_may_have_been_charged(
    desk, fault: dict[str, Any], words: str
) -> None:
    desk.world.faults.append(Fault(**({"kind": "status"} | fault)))

    made = await desk.call("generate_video", prompt="a lake")

    assert (made["state"], made["charged"]) == ("unknown", "unknown")
    assert words in made["warnings"][0]
    assert "The job may have been taken and charged." in made["warnings"][0]
    assert made["next_step"] == f'wait_for_generations(generation_ids=["{made["request_id"]}"])'
    assert len(desk.posts) == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (httpx.ConnectError("refused"), "could not be reached (ConnectError). Nothing was sent or charged"),
        (httpx.ConnectTimeout("slow"), "took too long to connect (ConnectTimeout). Nothing was sent or charged"),
        (httpx.PoolTimeout("full"), "took too long to connect (PoolTimeout). Nothing was sent or charged"),
    ],
)
async def test_a_request_that_never_left_was_not_charged(desk, error: Exception, words: str) -> None:
    desk.wire.before.append(error)

    assert words in await desk.refusal("generate_video", prompt="a lake")
    assert len(desk.wire.sent) == 1
    assert desk.charges == 0


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (httpx.ReadTimeout("slow"), "did not answer in time (ReadTimeout)"),
        (httpx.RemoteProtocolError("closed"), "broke off (RemoteProtocolError)"),
        (httpx.ReadError("reset"), "broke off (ReadError)"),
        (httpx.WriteError("reset"), "broke off (WriteError)"),
    ],
)
async def test_a_lost_answer_is_looked_for_and_not_asked_for_again(desk, error: Exception, words: str) -> None:
    desk.wire.after.append(error)
    desk.world.faults.append(Fault("status", "GET", path="/generations", status=503, times=99))

    made = await desk.call("generate_video", prompt="a lake")

    assert words in made["warnings"][0]
    assert (made["state"], desk.charges, len(desk.posts)) == ("unknown", 1, 1)
    desk.world.faults.clear()
    assert (await desk.call("generate_video", prompt="a lake"))["state"] == "completed"
    assert (desk.charges, len(desk.posts)) == (1, 1)


async def test_a_rate_limit_with_retry_after_is_waited_out_within_the_limit(desk) -> None:
    seen: list[str | None] = []

    async def note(_: float, __: float | None, message: str | None) -> None:
        seen.append(message)

    desk.world.faults.append(Fault("status", status=429, detail="Slow down", headers={"Retry-After": "9"}))
    result = await desk.client.call_tool("generate_video", {"prompt": "a lake"}, progress_callback=note)

    assert result.structured_content["state"] == "completed"
    assert len(desk.posts) == 2
    assert desk.charges == 1
    assert any("sending again in 9 s, nothing bought yet" in str(message) for message in seen)


async def test_a_rate_limit_that_names_no_time_to_wait_is_not_hammered(desk) -> None:
    busy = Fault("status", status=429, detail="Slow down", headers={"Retry-After": "0"}, times=1000)
    desk.world.faults.append(busy)

    await desk.refusal("generate_video", prompt="a lake", wait_s=5)

    assert len(desk.posts) <= 6


async def test_a_rate_limit_longer_than_the_call_is_told_at_once(desk) -> None:
    desk.world.faults.append(Fault("status", status=429, detail="Slow down", headers={"Retry-After": "60"}))
    started = anyio.current_time()

    assert "Wait 60 seconds, then call again" in await desk.refusal("generate_video", prompt="a lake")
    assert anyio.current_time() - started < 1


async def test_a_call_cancelled_while_it_waits_out_a_rate_limit_buys_nothing(desk) -> None:
    desk.world.faults.append(Fault("status", status=429, detail="Slow down", headers={"Retry-After": "20"}))
    with anyio.move_on_after(5):
        await desk.call("generate_video", prompt="a lake")
    await anyio.sleep(60)

    assert len(desk.posts) == 1


async def test_too_many_jobs_at_once_are_not_said_to_be_those_that_have_ended(desk) -> None:
    ended = await desk.video(wait_s=0)
    running = await desk.call("generate_video", prompt="a lake [sandbox:stuck]", wait_s=0)
    await anyio.sleep(60)

    said = await desk.refusal("generate_video", prompt="a lake [sandbox:concurrency]")

    assert running["generation_id"] in said
    assert ended["generation_id"] not in said


async def test_too_many_jobs_at_once_name_those_that_this_server_waits_for(desk) -> None:
    running = await desk.call("generate_video", prompt="a lake [sandbox:stuck]", wait_s=0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: desk.call("wait_for_generations", generation_ids=[running["generation_id"]]))
        await anyio.sleep(3)
        said = await desk.refusal("generate_video", prompt="a lake [sandbox:concurrency]")

    assert "run at once" in said
    assert running["generation_id"] in said


async def test_too_little_credit_is_told_with_what_to_do(desk) -> None:
    desk.world.balance_cents = 12

    said = await desk.refusal("generate_video", prompt="a lake")

    assert "too little credit (HTTP 402" in said
    assert "Add credits at Luma, or make a cheaper call" in said


async def test_luma_s_words_lose_the_key_and_the_queries_of_links_and_are_cut(desk) -> None:
    detail = f"no luma-sandbox-key for https://cdn.example.com/a.mp4?Signature=abc {'x' * 1000}"
    desk.world.faults.append(Fault("status", status=400, detail=detail))

    said = await desk.refusal("generate_video", prompt="a lake")

    assert "no … for https://cdn.example.com/a.mp4 xxx" in said
    assert len(said) < 500


@pytest.mark.parametrize(
    "words",
    [
        "https://a.com/x-?Signature=SECRET",
        "https://a.com/x(1)?X-Amz-Signature=SECRET",
        "https://a.com/x%3FSignature%3DSECRET",
        "x&Signature=SECRET",
        "https://a.com/x?SECRET",
        "https://a.com/x#SECRET",
    ],
)
async def test_no_way_of_writing_a_signed_link_gets_through(desk, words: str) -> None:
    desk.world.faults.append(Fault("status", status=400, detail=f"can't read {words} today"))

    said = await desk.refusal("generate_video", prompt="a lake")

    assert "SECRET" not in said
    assert "today" in said


@pytest.mark.parametrize("link", ["https://[bad/a.mp4", "https://1.1.1.1:bad/a.mp4", "https://1.1.1.1/\x01"])
async def test_an_odd_link_of_a_paid_job_costs_the_file_and_not_the_id(desk, link: str) -> None:
    made = await desk.video(wait_s=0)
    body = {"id": made["generation_id"], "state": "completed", "generation_type": "video", "assets": {"video": link}}

    class Odd(httpx.AsyncBaseTransport):
        async def handle_async_request(self, _: httpx.Request) -> httpx.Response:
            return httpx.Response(200, json=body)

    desk.wire.inner = Odd()

    waited = await desk.call("wait_for_generations", generation_ids=[made["generation_id"]])

    assert waited["generations"][0]["state"] == "completed"
    assert waited["generations"][0]["warnings"]


async def test_a_paid_request_waits_as_short_for_a_connection_as_any_other(desk) -> None:
    await desk.video(wait_s=0)

    assert desk.wire.sent[0].extensions["timeout"]["connect"] == 5


def named(tool: str, name: str) -> dict[str, Any]:
    return {"generation_ids": [name]} if tool.endswith("s") else {"generation_id": name}


@pytest.mark.parametrize("tool", ["get_generation", "preview_generations", "download_generation"])
async def test_reading_says_what_failed_and_that_nothing_was_lost(desk, tool: str) -> None:
    made = await desk.video(wait_s=0)
    desk.world.faults.append(Fault("html", "GET", path=made["generation_id"]))

    said = await desk.refusal(tool, **named(tool, made["generation_id"]))

    assert "an HTML page instead of JSON" in said
    assert "Nothing was lost" in said
    assert "charged" not in said


async def test_a_deletion_without_an_answer_may_have_been_done_and_calling_again_tells(desk) -> None:
    name = (await desk.video())["generation_id"]
    desk.world.faults.append(Fault("status", "DELETE", status=502, after=True))

    said = await desk.refusal("delete_generations", generation_ids=[name])

    assert "HTTP 502" in said
    assert "It may have been deleted: call again to make sure." in said
    assert "Nothing was lost" not in said
    assert (await desk.call("delete_generations", generation_ids=[name]))["deleted"] == [name]


async def test_a_source_that_can_not_be_looked_up_means_that_nothing_was_bought(desk) -> None:
    clip = (await desk.video())["generation_id"]
    desk.world.faults.append(Fault("status", "GET", path=clip, status=503))

    said = await desk.refusal("extend_video", generation_id=clip, prompt="it goes on")

    assert said.startswith("Nothing was bought. ")
    assert desk.charges == 1


@pytest.mark.parametrize(
    "answer",
    [
        {"id": "00000000-0000-4000-8000-000000000000", "state": "paused"},
        {"id": "00000000-0000-4000-8000-000000000000", "state": None, "assets": "none", "request": []},
        {"id": "00000000-0000-4000-8000-000000000000", "state": "completed", "created_at": "yesterday", "assets": [1]},
        {"id": "00000000-0000-4000-8000-000000000000", "state": "failed", "failure_reason": {"code": 1}},
        {"id": "00000000-0000-4000-8000-000000000000", "state": "dreaming", "request": {"keyframes": {"frame0": 1}}},
    ],
)
async def test_an_answer_of_another_shape_is_shown_as_far_as_it_goes(desk, answer: dict[str, Any]) -> None:
    class Odd(httpx.AsyncBaseTransport):
        async def handle_async_request(self, _: httpx.Request) -> httpx.Response:
            return httpx.Response(200, json=answer)

    desk.wire.inner = Odd()

    shown = await desk.call("get_generation", generation_id=answer["id"])

    assert shown["generation_id"] == answer["id"]
    assert shown["state"] == (answer["state"] or "unknown")


async def test_a_refusal_for_want_of_credit_does_not_wait_for_a_balance_that_trickles_in(desk) -> None:
    class Trickle(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await anyio.sleep(70 if request.url.path.endswith("/credits") else 0)
            return await inner.handle_async_request(request)

    inner, desk.wire.inner = desk.wire.inner, Trickle()
    started = anyio.current_time()

    said = await desk.refusal("generate_video", prompt="a lake [sandbox:credits]")

    assert "too little credit" in said
    assert anyio.current_time() - started < 5
