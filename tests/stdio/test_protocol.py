"""Every version of the protocol, and lines that are not the protocol."""

import json

import pytest
from dirty_equals import IsPartialDict

OLDER = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
MODERN = "2026-07-28"
URL = "https://example.com/lake.jpg"


@pytest.fixture(scope="module")
def server(serve):
    return serve(LUMA_MCP_SAVE="off")


@pytest.fixture(scope="module")
def servers(serve):
    return {version: serve(version=version, shake=False) for version in (*OLDER, MODERN)}


def bodies(world, prompt: str) -> list[dict[str, object]]:
    return [post["body"] for post in world.posts(prompt)]


@pytest.mark.parametrize("version", [*OLDER, MODERN])
def test_a_client_of_any_version_can_list_and_call_tools(servers, world, version: str) -> None:
    server = servers[version]
    if version in OLDER:
        hello = server.shake_hands()
        assert hello["protocolVersion"] == version
        assert hello["serverInfo"]["name"] == "luma"
        assert len(hello["instructions"].split()) <= 120
    else:
        discovered = server.result(server.ask("server/discover"))
        assert MODERN in discovered["supportedVersions"]

    assert len(server.result(server.ask("tools/list"))["tools"]) == 19
    assert server.call("get_account")["apis"] == [IsPartialDict(key_accepted=True)]
    made = server.call("generate_image", prompt=f"a lake for {version}", wait_s=5)
    assert made["state"] == "completed"
    assert len(world.posts(f"a lake for {version}")) == 1
    assert server.hang_up() == 0
    assert server.errors.read_bytes() == b"", "a server with nothing to complain of says nothing"


@pytest.mark.parametrize("version", ["2025-11-25", MODERN])
@pytest.mark.parametrize(("modes", "asked"), [({"url": {}}, False), ({}, True), ({"form": {}, "url": {}}, True)])
def test_only_a_client_with_forms_is_asked_about_a_price(
    serve, world, version: str, modes: dict[str, object], asked: bool
) -> None:
    server = serve(version=version, shake=False, LUMA_MCP_CONFIRM_USD="0")
    prompt = f"a dear lake {version} {modes}"
    call = {"name": "generate_image", "arguments": {"prompt": prompt}}
    if version == MODERN:
        envelope = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": modes}}
        result = server.result(server.ask("tools/call", **call, _meta=envelope))
        assert (result["resultType"] == "input_required") is asked
        text = json.dumps(result)
    else:
        server.shake_hands(elicitation=modes)
        number = server.ask("tools/call", **call)
        if asked:
            question = server.asked("elicitation/create")
            server.reply(question, action="decline")
            assert "costs about $0.0150. Go on?" in question["params"]["message"]
        result = server.result(number)
        assert result["isError"]
        text = result["content"][0]["text"]

    assert ("this client can't ask the user. Nothing was bought." in text) is not asked
    assert ("the user did not agree. Nothing was bought." in text) is (asked and version != MODERN)
    assert world.posts(prompt) == []


@pytest.mark.parametrize("token", ["text", 7])
def test_progress_carries_the_token_of_its_call(server, token: str | int) -> None:
    done = server.end(server.begin("generate_image", token=token, prompt="a lake"))

    tokens = [one["params"]["progressToken"] for one in server.notifications if one["method"].endswith("/progress")]
    assert done["state"] == "completed"
    assert token in tokens


@pytest.mark.parametrize(
    "line",
    [
        b"not JSON at all",
        b"",
        b"{}",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe\x00",
        b'{"jsonrpc":"2.0"}',
        b'{"jsonrpc":"2.0","id":null,"method":"tools/list"}',
        b'{"jsonrpc":"2.0","method":"no/such/thing"}',
        b'{"jsonrpc":"2.0","id":"unasked","result":{}}',
        b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]',
        b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"never seen"}}',
        b"[" * 100_000,
    ],
    ids=lambda line: line[:24].decode(errors="replace") or "empty",
)
def test_a_server_outlives_junk(server, line: bytes) -> None:
    server.line(line)

    assert len(server.result(server.ask("tools/list"))["tools"]) == 19


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("no/such/method", {}),
        ("tools/call", {}),
        ("tools/call", {"name": "generate_image", "arguments": "prompt"}),
        ("tools/call", {"name": ["generate_image"], "arguments": {}}),
        ("resources/read", {"uri": "luma://nothing"}),
        ("resources/read", {"uri": "luma://generations/00000000-0000-4000-8000-000000000000"}),
        ("prompts/get", {"name": "no such prompt"}),
    ],
)
def test_a_request_that_makes_no_sense_is_answered_with_an_error(server, method: str, params) -> None:
    assert server.answer(server.ask(method, **params))["error"]["message"]


def test_a_tool_that_does_not_exist_is_an_error_that_names_it(server) -> None:
    answer = server.answer(server.begin("generate_film", prompt="a lake"))

    assert "generate_film" in json.dumps(answer)
    assert answer.get("error") or answer["result"]["isError"]


def test_eight_megabytes_of_prompt_are_refused_unsent(server, world) -> None:
    before = len(world.requests())

    said = server.refusal("generate_image", prompt="x" * 8_000_000)

    assert "8,000,000 characters" in said
    assert "Nothing was sent" in said
    assert len(said) < 300
    assert len(world.requests()) == before


@pytest.mark.parametrize(
    "prompt",
    [
        "two\nlines\r\nand\ttabs",
        "\"quotes\" 'of' `every` \\kind\\",
        "🛶 ein See — 静かな湖",
        "\x00\x01\x1b[31m\x7f\u2028\u2029\ufeff lake",
        '["a", "b"]',
        "null",
        "12345",
    ],
)
def test_a_prompt_reaches_luma_letter_by_letter(server, world, prompt: str) -> None:
    made = server.call("generate_image", prompt=prompt)

    assert made["prompt"] == prompt
    assert len(world.posts(prompt)) == 1


def test_null_is_the_same_as_leaving_out(server, world) -> None:
    names = ("image_refs", "style_ref", "character_refs", "aspect_ratio", "output_format", "model", "take", "wait_s")

    server.call("generate_image", prompt="left out")
    server.call("generate_image", prompt="nulls", **dict.fromkeys(names))

    assert bodies(world, "nulls") == [bodies(world, "left out")[0] | {"prompt": "nulls"}]


def test_a_list_may_come_as_json_text(server, world) -> None:
    server.call("generate_image", prompt="as text", image_refs=json.dumps([URL, f"{URL}#weight=0.5"]))

    assert bodies(world, "as text")[0]["image_ref"] == [{"url": URL}, {"url": URL, "weight": 0.5}]


def test_a_prompt_with_a_wrong_argument_is_refused_without_a_traceback(serve) -> None:
    server = serve()

    error = server.answer(server.ask("prompts/get", name="storyboard", arguments={"shot": "my words"}))["error"]

    assert server.hang_up() == 0
    assert b"my words" not in server.errors.read_bytes()
    assert "my words" not in error["message"]
