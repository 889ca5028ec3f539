"""Tasks through a real pipe: a server that is killed, and the next one that takes them up."""

from typing import Any

import pytest

from .conftest import MODERN

TASKS = {"io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}}


@pytest.fixture
def start(serve, record):
    home = record.home()
    return lambda: serve(version=MODERN, home=home, shake=False)


def begin(server: Any, prompt: str) -> dict[str, Any]:
    """What the call to make a video answers with."""
    number = server.ask(
        "tools/call", name="generate_video", arguments={"prompt": prompt, "wait_s": 0}, _meta=dict(TASKS)
    )
    result: dict[str, Any] = server.answer(number)["result"]
    return result


def get(server: Any, task_id: str) -> dict[str, Any]:
    answer: dict[str, Any] = server.answer(server.ask("tasks/get", taskId=task_id, _meta=dict(TASKS)))
    return answer


def test_the_server_says_that_it_speaks_tasks(start) -> None:
    server = start()
    found = server.answer(server.ask("server/discover"))["result"]

    assert found["capabilities"]["extensions"]["io.modelcontextprotocol/tasks"] == {}


def test_a_task_outlives_the_server_that_made_it(start, world) -> None:
    first = start()
    task = begin(first, "a kite that outlives its server [sandbox:stuck]")
    assert task["resultType"] == "task", task
    first.process.kill()
    first.process.wait()

    stuck = get(start(), task["taskId"])["result"]

    assert stuck["status"] == "working"
    assert "dreaming" in stuck["statusMessage"]
    assert len(world.posts("a kite that outlives its server [sandbox:stuck]")) == 1


def test_an_unknown_task_is_a_protocol_error(start) -> None:
    answer = get(start(), "00000000-0000-4000-8000-000000000000")

    assert answer["error"]["code"] == -32602
    assert "There is no task" in answer["error"]["message"]
