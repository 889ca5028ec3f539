"""What a model reads when Luma fails: what happened, whether it was charged, what to do. And what Luma receives."""

import socket
from typing import Any

import pytest
from dirty_equals import IsPartialDict, IsStr

KEY = "luma-sandbox-key"
LINK = "https://cdn.example.com/a.mp4?Expires=1&Signature=c2VjcmV0"
FREE = "Nothing was charged"


@pytest.fixture(scope="module")
def server(serve):
    return serve(LUMA_MCP_WAIT_S="2", LUMA_MCP_SAVE="off")


@pytest.fixture(scope="module")
def hasty(serve):
    """Answers before it has looked for what was lost."""
    return serve(LUMA_MCP_WAIT_S="1", LUMA_MCP_SAVE="off")


def status(number: int, detail: Any, **more: Any) -> dict[str, Any]:
    return {"kind": "status", "status": number, "detail": detail, **more}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (status(401, "Invalid API key is provided"), ["API key in LUMA_API_KEY", FREE, "lumalabs.ai", "restart"]),
        (status(402, "Insufficient credits"), ["too little credit", FREE, "Add credits", "The balance is $"]),
        (status(403, "Forbidden"), ["HTTP 403: Forbidden", "API key in LUMA_API_KEY", FREE, "working key"]),
        (status(404, "Not found"), ["HTTP 404: Not found", FREE]),
        (status(400, "Prompt moderation failed"), ["moderation refused", FREE, "Change the prompt"]),
        (
            status(422, [{"type": "missing", "loc": ["body", "keyframes", "frame0"], "msg": "Field required"}]),
            ["HTTP 422: keyframes.frame0: Field required", FREE, "call again"],
        ),
        (status(422, f"{KEY} can't read {LINK}"), ["can't read https://cdn.example.com/a.mp4", FREE]),
        (status(429, "Rate limit exceeded"), ["rate limit", FREE, "Wait a minute, then call again"]),
        (
            status(429, "Rate limit exceeded", headers={"Retry-After": "60"}),
            ["rate limit", FREE, "Wait 60 seconds, then call again"],
        ),
        (status(429, "Too many concurrent jobs"), ["run at once", FREE, "wait_for_generations"]),
    ],
    ids=lambda value: f"{value['kind']}-{value.get('status', '')}" if isinstance(value, dict) else "",
)
def test_a_failed_purchase_is_told_once_and_sent_once(server, world, fault: dict[str, Any], words: list[str]) -> None:
    prompt = f"a lake and {len(world.requests())}"
    world.fault(**fault)

    said = server.refusal("generate_image", prompt=prompt)

    for word in words:
        assert word in said
    assert said.count("charged") == 1
    assert len(world.posts(prompt)) == 1
    assert world.state()["faults"] == 0


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (status(500, f"Broken: {KEY} {LINK}", after=True), "HTTP 500: Broken: … https://cdn.example.com/a.mp4"),
        (status(503, None, body="no route to upstream"), "HTTP 503"),
        ({"kind": "html"}, "HTTP 502: an HTML page"),
        ({"kind": "cut", "after": True}, "broke off"),
        ({"kind": "drop"}, "broke off"),
        ({"kind": "drop", "after": True}, "broke off"),
        ({"kind": "null", "after": True}, "where a generation was due"),
    ],
    ids=lambda value: f"{value['kind']}-{value.get('status', '')}" if isinstance(value, dict) else "",
)
def test_a_lost_answer_is_a_result_that_says_so_and_how_it_goes_on(hasty, world, fault: dict[str, Any], words) -> None:
    prompt = f"a lake and {len(world.requests())}"
    world.fault(**fault)

    made = hasty.call("generate_image", prompt=prompt)

    assert made == IsPartialDict(state="unknown", charged="unknown")
    assert words in made["warnings"][0]
    assert "may have been taken and charged. Luma's list is searched for it" in made["warnings"][0]
    assert KEY not in str(made)
    assert "Signature" not in str(made)
    assert made["next_step"] == f'wait_for_generations(generation_ids=["{made["request_id"]}"])'
    assert len(world.posts(prompt)) == 1


def test_a_busy_luma_is_asked_again_after_the_time_that_it_named(server, world) -> None:
    world.fault(**status(429, "Rate limit exceeded", headers={"Retry-After": "1"}))

    assert server.call("generate_image", prompt="patience")["state"] == "completed"
    assert len(world.posts("patience")) == 2


def test_a_purchase_without_an_answer_at_the_limit_is_a_result_to_wait_with(server, world) -> None:
    world.fault(kind="hang", times=2)
    calls = [
        server.begin("generate_image", prompt="no answer"),
        server.begin("generate_image", prompt="no answer at once", wait_s=0),
    ]

    for call in calls:
        made = server.end(call)
        name = made["request_id"]
        assert made == IsPartialDict(
            state="unknown",
            charged="unknown",
            warnings=[IsStr(regex="Luma has not answered yet: .* The same call buys nothing meanwhile.")],
            next_step=f'wait_for_generations(generation_ids=["{name}"])',
        )
        assert "generation_id" not in made
        assert name == IsStr(regex=r"request-[0-9a-f]{32}")
        assert server.call("get_generation", generation_id=name) == IsPartialDict(state="unknown", request_id=name)
    assert len(world.posts("no answer")) == len(world.posts("no answer at once")) == 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (status(404, "Generation not found"), ["no such generation", "list_generations"]),
        (status(500, "Internal server error"), ["HTTP 500", "call again"]),
        ({"kind": "html"}, ["an HTML page", "call again"]),
        ({"kind": "cut"}, ["broke off", "call again"]),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_a_failed_question_costs_nothing_and_says_so(server, world, fault: dict[str, Any], words: list[str]) -> None:
    job = server.call("generate_image", prompt="to be asked about")["generation_id"]
    world.fault(method="GET", path=job, **fault)

    said = server.refusal("get_generation", generation_id=job)

    for word in words:
        assert word in said
    assert server.call("get_generation", generation_id=job)["state"] == "completed", "and the next one is answered"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"promt": "a lake"}, ["'promt'", "did you mean prompt?"]),
        ({"prompt": "a lake", "aspect": "1:1"}, ["'aspect'", "did you mean aspect_ratio?"]),
        ({"prompt": "a lake", "wait_s": "soon"}, ["wait_s must be a number"]),
    ],
    ids=str,
)
def test_a_wrong_argument_is_refused_unsent(server, world, arguments: dict[str, Any], words: list[str]) -> None:
    before = len(world.requests())

    said = server.refusal("generate_image", **arguments)

    for word in [*words, "Nothing was sent"]:
        assert word in said
    assert len(world.requests()) == before


def test_nobody_at_the_port_is_an_error_that_costs_nothing(serve, world) -> None:
    with socket.socket() as unused:  # bound and never listening
        unused.bind(("127.0.0.1", 0))
        server = serve(LUMAAI_BASE_URL=f"http://127.0.0.1:{unused.getsockname()[1]}/v1")
        for tool, arguments in (("generate_video", {"prompt": "a lake"}), ("list_generations", {})):
            assert "could not be reached (ConnectError)" in server.refusal(tool, **arguments)
        assert "Nothing was sent or charged" in server.refusal("generate_video", prompt="a lake")
        [standing] = server.call("get_account")["apis"]
        assert standing == IsPartialDict(configured=True, reachable=False)
