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
        (
            status(402, "Insufficient credits"),
            ["too little credit", FREE, "Add credits"],
        ),
        (status(422, f"{KEY} can't read {LINK}"), ["can't read https://cdn.example.com/a.mp4", FREE]),
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
        ({"kind": "html"}, "HTTP 502: an HTML page"),
        ({"kind": "cut", "after": True}, "broke off"),
        ({"kind": "drop", "after": True}, "broke off"),
    ],
    ids=lambda value: f"{value['kind']}-{value.get('status', '')}" if isinstance(value, dict) else "",
)
def test_a_lost_answer_is_a_result_that_says_so_and_how_it_goes_on(hasty, world, fault: dict[str, Any], words) -> None:
    prompt = f"a lake and {len(world.requests())}"
    world.fault(**fault)

    made = hasty.call("generate_image", prompt=prompt)

    assert made == IsPartialDict(state="unknown", charged="unknown")
    assert words in made["warnings"][0]
    assert "may have been taken and charged" in made["warnings"][0]
    assert "Luma's list is searched for it" in made["warnings"][0]
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


def test_nobody_at_the_port_is_an_error_that_costs_nothing(serve, world) -> None:
    with socket.socket() as unused:  # bound and never listening
        unused.bind(("127.0.0.1", 0))
        server = serve(LUMAAI_BASE_URL=f"http://127.0.0.1:{unused.getsockname()[1]}/v1")
        for tool, arguments in (("generate_video", {"prompt": "a lake"}), ("list_generations", {})):
            assert "could not be reached: the connection was refused" in server.refusal(tool, **arguments)
        assert "Nothing was sent or charged" in server.refusal("generate_video", prompt="a lake")
        [standing] = server.call("get_account")["apis"]
        assert standing == IsPartialDict(configured=True, reachable=False)
