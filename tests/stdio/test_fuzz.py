"""Lines that no client should write: every request is answered, the server lives on, and stderr stays empty."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import MODERN, Server

ID = "00000000-0000-4000-8000-000000000000"
PING = {"2025-11-25": "ping", MODERN: "prompts/list"}
"""The lightest request of a version."""

# Hypothesis tries the words of our sources too: no key, which may stand nowhere, is as short as these.
TEXT = st.text(max_size=10)
# Some lines the SDK drops unseen, as it can't read them; no request here is one: params that are no object, lone
# surrogates, more than some 200 levels, numbers of more than 4,300 digits.
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
PARAMS: dict[str, dict[str, Any]] = {
    "initialize": {
        "protocolVersion": "2025-11-25",
        "capabilities": {"roots": {"listChanged": True}},
        "clientInfo": {"name": "test", "version": "1"},
    },
    "ping": {},
    "server/discover": {},
    "tools/list": {"cursor": "1"},
    "resources/list": {},
    "resources/templates/list": {},
    "resources/read": {"uri": f"luma://generations/{ID}"},
    "prompts/list": {},
    "prompts/get": {"name": "storyboard", "arguments": {"idea": "a lake"}},
    "completion/complete": {
        "ref": {"type": "ref/prompt", "name": "storyboard"},
        "argument": {"name": "idea", "value": "a"},
    },
    "logging/setLevel": {"level": "info"},
    "tasks/get": {"taskId": ID},
    "tasks/cancel": {"taskId": ID},
    "tasks/update": {"taskId": ID, "inputResponses": {}},
}
VALUES = st.sampled_from([ID, "a lake", "ray-2", "720p", "5s", "16:9", 0, 1, True, [ID], ["a.mp4"], "/a.png", "data:,"])


@st.composite
def spoiled(draw: st.DrawFn, right: Any) -> Any:
    """A value with junk in place of one of its parts, or beside them."""
    if not isinstance(right, dict):
        return draw(JUNK)
    name = draw(st.sampled_from([*right, "x"]))
    return {**right, name: draw(spoiled(right.get(name)))}


def requests(server: Server) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """Methods with their params, right or with a part of them spoiled, which may be the envelope of the version."""
    right = [(method, st.just(params)) for method, params in PARAMS.items()]
    for tool in server.result(server.ask("tools/list"))["tools"]:
        schema = tool["inputSchema"]
        required = schema.get("required", [])
        few = st.fixed_dictionaries(dict.fromkeys(required, VALUES))
        many = st.dictionaries(st.sampled_from([*schema["properties"], "x"]), VALUES | JUNK, max_size=5)
        arguments = few | st.builds(dict.__or__, few, many)
        right.append(("tools/call", st.fixed_dictionaries({"name": st.just(tool["name"]), "arguments": arguments})))
    enveloped = [(method, params.map(server.enveloped)) for method, params in right]
    return st.one_of(st.tuples(st.just(method), params | params.flatmap(spoiled)) for method, params in enveloped)


CALL = b'{"jsonrpc":"2.0","id":-1,"method":"tools/call","params":'
HUGE = 300_000
LINES = [
    CALL,
    CALL + b"[" * HUGE,
    CALL + b'{"x":' * HUGE,
    CALL + b'{"name":"get_account","arguments":' + b'{"x":' * 500 + b"1" + b"}" * 502,
    CALL + b'"' + b"x" * HUGE + b'"}',
    CALL + b"9" * HUGE + b"}",
    b"\xff" * HUGE,
    b"\r" * 1000,
    b'{"jsonrpc":"2.0","id":true,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":null,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":{},"method":"ping"}',
    b'{"jsonrpc":"1.0","id":-1,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":0,"result":[]}',
    b'{"jsonrpc":"2.0","id":"x","error":{"code":"x"}}',
]
NOTIFICATIONS = st.one_of(
    spoiled({"jsonrpc": "2.0", "method": f"notifications/{name}", "params": {"requestId": 0, "progressToken": 0}})
    for name in ("cancelled", "progress", "initialized", "roots/list_changed", "x")
)
BATCHES = st.lists(st.fixed_dictionaries({"jsonrpc": st.just("2.0"), "id": JUNK, "method": st.just("ping")}))
NO_REQUESTS = (
    st.sampled_from(LINES)
    | st.binary(max_size=200).filter(lambda line: b"\n" not in line)
    | (JUNK | BATCHES | NOTIFICATIONS).map(lambda value: json.dumps(value).encode())
)
IDS = st.integers(2**31, 2**80) | TEXT.map("id {}".format)
"""Other ids than those of the pings."""


@pytest.fixture(scope="module", params=list(PING))
def server(serve: Callable[..., Server], request: pytest.FixtureRequest) -> Server:
    # Calls answer at once, and what they bought is not watched afterwards.
    return serve(version=request.param, shake=False, LUMA_MCP_WAIT_S="0", LUMA_MCP_SAVE="off")


@pytest.mark.parametrize("examples", [150, pytest.param(2_000, marks=pytest.mark.long)])
def test_whatever_is_written_every_request_is_answered_and_the_server_lives_on(server: Server, examples: int) -> None:
    if server.version != MODERN:
        server.shake_hands()
    asked = st.dictionaries(IDS, requests(server), max_size=12)

    @settings(
        max_examples=examples, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(asked, st.lists(NO_REQUESTS, max_size=4))
    def write(asked: dict[str | int, tuple[str, dict[str, Any]]], lines: list[bytes]) -> None:
        for line in lines:
            server.line(line)
        for number, (method, params) in asked.items():
            server.send(method, params, id=number)

        assert "result" in server.answer(server.ask(PING[server.version]))
        for number in asked:
            answer = json.dumps(server.answer(number))
            assert "Traceback" not in answer
            assert "itself failed" not in answer
        assert server.errors.read_bytes() == b""

    write()


def test_a_server_that_is_greeted_wrongly_can_still_be_greeted(serve: Callable[..., Server]) -> None:
    server = serve(shake=False)
    hello = PARAMS["initialize"]
    wrong = [("tools/list", {}), *(("initialize", hello | {name: junk}) for name in hello for junk in (7, [], None))]
    numbers = [server.ask(method, **params) for method, params in wrong]

    assert all(server.answer(number)["error"]["message"] for number in numbers)
    server.shake_hands()
    assert "result" in server.answer(server.ask("ping"))
    assert server.hang_up() == 0
    assert server.errors.read_bytes() == b""
