"""Faults, in process and over real sockets."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import lumaai
import pytest
from dirty_equals import IsPartialDict

from luma_mcp_server.sandbox import SANDBOX_KEY, Fault, Received, running_sandbox

from .conftest import Studio

pytestmark = pytest.mark.anyio

VIDEO = {"model": "ray-2", "prompt": "a quiet lake"}
KEY = {"Authorization": f"Bearer {SANDBOX_KEY}"}


# In process


async def test_a_fault_before_the_api_buys_nothing(studio: Studio) -> None:
    studio.world.faults.append(Fault("status", status=500, detail="Internal error"))
    with pytest.raises(lumaai.InternalServerError, match="Internal error"):
        await studio.start()
    assert studio.world.jobs == {}


async def test_a_fault_after_the_api_has_bought_the_job(studio: Studio) -> None:
    studio.world.faults.append(Fault("html", after=True))
    with pytest.raises(lumaai.InternalServerError, match="502 Bad Gateway"):
        await studio.start()
    assert len(studio.world.jobs) == len(studio.world.ledger) == 1


async def test_a_fault_strikes_as_often_as_it_says(studio: Studio) -> None:
    studio.world.faults.append(Fault("status", status=503, times=2))
    statuses = [(await studio.post("/generations/video", VIDEO)).status_code for _ in range(3)]
    assert statuses == [503, 503, 201]


async def test_a_fault_strikes_only_where_method_and_path_fit(studio: Studio) -> None:
    studio.world.faults += [Fault("status", method="GET", path="/credits"), Fault("hang", method="PUT")]
    assert (await studio.start()).state == "queued"
    assert (await studio.luma.ping.check()).message == "pong"
    with pytest.raises(lumaai.InternalServerError):
        await studio.luma.credits.get()


@pytest.mark.parametrize(
    ("fault", "status", "header", "body"),
    [
        (Fault("status", status=422, detail=["bad"], headers={"Retry-After": "9"}), 422, "9", '{"detail": ["bad"]}'),
        (Fault("status", status=410, body="Gone fishing"), 410, None, "Gone fishing"),
        (Fault("empty", after=True), 201, None, ""),
        (Fault("null", after=True), 201, None, "null"),
        (Fault("redirect", detail="/elsewhere", headers={"Retry-After": "1"}), 307, "1", ""),
    ],
)
async def test_an_answer_can_be_anything(
    studio: Studio, fault: Fault, status: int, header: str | None, body: str
) -> None:
    studio.world.faults.append(fault)
    answer = await studio.post("/generations/video", VIDEO)
    assert (answer.status_code, answer.headers.get("retry-after"), answer.text) == (status, header, body)
    assert answer.headers.get("location") == ("/elsewhere" if fault.kind == "redirect" else None)
    assert len(studio.world.jobs) == fault.after


async def test_a_cut_body_is_broken_json_in_process_too(studio: Studio) -> None:
    studio.world.faults.append(Fault("cut", after=True))
    answer = await studio.post("/generations/video", VIDEO)
    assert answer.status_code == 201
    assert len(answer.content) < int(answer.headers["content-length"])
    with pytest.raises(json.JSONDecodeError):
        answer.json()


async def test_a_dropped_connection_is_a_connection_error_to_the_sdk(studio: Studio) -> None:
    studio.world.faults.append(Fault("drop", after=True))
    with pytest.raises(lumaai.APIConnectionError):
        await studio.start()
    assert len(studio.world.jobs) == 1


async def test_faults_can_be_added_and_the_state_read_over_http(studio: Studio) -> None:
    ordered = await studio.http.post("/sandbox/faults", json=[{"kind": "null", "after": True}], headers={})
    assert (ordered.status_code, ordered.json()) == (201, {"faults": 1})
    await studio.post("/generations/video?a=1", VIDEO)
    state = (await studio.http.get("/sandbox/state")).json()
    assert (state["balance_cents"], state["faults"]) == (9_929, 0)
    [job] = state["jobs"]
    assert job == IsPartialDict(api="dream_machine", request=IsPartialDict(VIDEO), state="queued", deleted=False)
    assert (job["cents"], job["refunded_cents"], job["request_id"]) == (71, 0, None)
    assert [(charge["cents"], charge["kind"]) for charge in state["ledger"]] == [(71, "charge")]
    path = "/dream-machine/v1/generations/video"
    noted = {"method": "POST", "path": path, "query": {"a": "1"}, "body": VIDEO, "request_id": None}
    assert state["requests"] == [noted]


async def test_a_misspelled_fault_is_refused(studio: Studio) -> None:
    for wrong in ({"kind": "explode"}, {"kind": "null", "afterwards": True}):
        assert (await studio.http.post("/sandbox/faults", json=[wrong])).status_code == 422
    assert studio.world.faults == []


async def test_requests_are_noted_even_when_they_are_lost(studio: Studio) -> None:
    studio.world.faults.append(Fault("status"))
    await studio.post("/generations/video", VIDEO)
    assert studio.world.requests == [Received("POST", "/dream-machine/v1/generations/video", {}, VIDEO)]


async def test_the_key_is_kept_nowhere(studio: Studio) -> None:
    await studio.start()
    assert SANDBOX_KEY not in (await studio.http.get("/sandbox/state")).text


# Over real sockets


@contextmanager
def connected(**fault: Any) -> Iterator[httpx.Client]:
    with running_sandbox(seconds=0) as address, httpx.Client(base_url=address, headers=KEY, timeout=5) as http:
        if fault:
            http.post("/sandbox/faults", json=[fault]).raise_for_status()
        yield http


def create(http: httpx.Client, **options: Any) -> httpx.Response:
    return http.post("/dream-machine/v1/generations/video", json=VIDEO, **options)


def jobs(http: httpx.Client) -> int:
    return len(http.get("/sandbox/state").json()["jobs"])


def test_a_cut_body_over_a_socket_is_a_protocol_error() -> None:
    with connected(kind="cut", after=True) as http:
        with pytest.raises(httpx.RemoteProtocolError, match="peer closed connection"):
            create(http)
        assert jobs(http) == 1


@pytest.mark.parametrize(("after", "bought"), [(False, 0), (True, 1)])
def test_a_drop_over_a_socket_ends_without_a_byte(after: bool, bought: int) -> None:
    with connected(kind="drop", after=after) as http:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            create(http)
        assert jobs(http) == bought


def test_a_hang_over_a_socket_lasts_until_the_client_gives_up() -> None:
    with connected(kind="hang", after=True) as http:
        with pytest.raises(httpx.ReadTimeout):
            create(http, timeout=0.05)
        assert jobs(http) == 1


def test_a_stopping_server_drops_what_hangs() -> None:
    seen: list[type[Exception]] = []

    def wait_for_an_answer(address: str) -> None:
        try:
            httpx.get(f"{address}/dream-machine/v1/ping", headers=KEY, timeout=30)
        except httpx.HTTPError as error:
            seen.append(type(error))

    with running_sandbox() as address:
        httpx.post(f"{address}/sandbox/faults", json=[{"kind": "hang", "method": "GET"}])
        waiting = threading.Thread(target=wait_for_an_answer, args=[address])
        waiting.start()
        while not httpx.get(f"{address}/sandbox/state").json()["requests"]:
            pass
    waiting.join(5)
    assert seen
    assert seen[0] in (httpx.ReadError, httpx.RemoteProtocolError)


def test_a_slow_body_arrives_byte_by_byte() -> None:
    with connected(kind="slow", after=True, pause=0.0001) as http:
        request = http.build_request("POST", "/dream-machine/v1/generations/video", json=VIDEO)
        answer = http.send(request, stream=True)
        pieces = list(answer.iter_raw())
        assert len(pieces) > 1
        assert len(b"".join(pieces)) == int(answer.headers["content-length"])
        assert json.loads(b"".join(pieces))["state"] == "completed"


def test_the_address_is_on_the_loopback_and_freed_afterwards() -> None:
    with running_sandbox() as address:
        assert address.startswith("http://127.0.0.1:")
        port = int(address.rpartition(":")[2])
    with running_sandbox(port) as again:
        assert again == address


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    for fault in ({"kind": "drop"}, {"kind": "cut"}, {"kind": "html"}):
        with connected(**fault) as http:
            try:
                create(http)
            except httpx.HTTPError:
                continue
    with running_sandbox() as address:
        socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))).close()
    assert capfd.readouterr() == ("", "")
