"""MCP tasks: clients that declare them go on at once, and ask how their task stands."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import anyio
import httpx
import pytest
from mcp.client.extension import ClientExtension, ResultClaim
from mcp.shared.exceptions import MCPError
from mcp_types import ElicitResult, Request, RequestParams, Result
from PIL import Image
from pydantic import ConfigDict

from luma_mcp_server.sandbox import AGENTS_SANDBOX_KEY, Fault

from ..conftest import Desk, OpenDesk

pytestmark = pytest.mark.anyio

ID = "00000000-0000-4000-8000-000000000000"
"""No generation's."""


class CreatedTask(Result):
    """What a call that is not done answers with."""

    result_type: Literal["task"] = "task"
    model_config = ConfigDict(extra="allow")


class Tasks(ClientExtension):
    """A client that declares tasks, and hands them to the test as they came."""

    identifier = "io.modelcontextprotocol/tasks"

    def claims(self) -> Sequence[ResultClaim[Any]]:
        async def resolve(task: CreatedTask, _: Any) -> Any:
            from mcp_types import CallToolResult

            shown = task.model_dump(by_alias=True, mode="json", exclude_none=True)
            return CallToolResult(content=[], structured_content=shown)

        return [ResultClaim(result_type="task", model=CreatedTask, resolve=resolve)]


class TaskParams(RequestParams):
    taskId: str  # noqa: N815 - the protocol's name


class Answer(Result):
    model_config = ConfigDict(extra="allow")


async def ask(desk: Desk, task_id: str, method: str = "tasks/get") -> dict[str, Any]:
    """A task as it stands."""
    request = Request[TaskParams, str](method=method, params=TaskParams(taskId=task_id))
    answer = await desk.client.session.send_request(request, Answer)
    return answer.model_dump(by_alias=True, mode="json", exclude_none=True)


@pytest.fixture
def open_tasks(open_desk: OpenDesk) -> OpenDesk:
    """Opens a desk whose client declares tasks."""

    @asynccontextmanager
    async def opened(**options: Any) -> AsyncIterator[Desk]:
        async with open_desk(extensions=[Tasks()], **options) as desk:
            yield desk

    return opened


async def start(desk: Desk, prompt: str = "a lake", **arguments: Any) -> dict[str, Any]:
    """What a call to make a video answers with."""
    result = await desk.raw("generate_video", prompt=prompt, **arguments)
    assert result.structured_content is not None, result.content
    return {name: value for name, value in result.structured_content.items() if name != "_meta"}


async def test_what_is_not_done_within_five_seconds_is_a_task_and_its_result_that_of_the_call(open_tasks) -> None:
    async with open_tasks() as desk:
        desk.world.seconds = 60
        began = anyio.current_time()

        task = await start(desk)

        assert anyio.current_time() - began == pytest.approx(5, abs=0.2)
        [row] = desk.rows()
        assert task == {
            "resultType": "task",
            "taskId": row["generation_id"],
            "status": "working",
            "statusMessage": "queued, 5 s, $0.71",
            "createdAt": "2026-09-21T14:13:20+00:00",
            "lastUpdatedAt": "2026-09-21T14:13:25+00:00",
            "ttlMs": 86_400_000,
            "pollIntervalMs": 3000,
        }
        await anyio.sleep(30)
        working = await ask(desk, task["taskId"])
        assert (working["status"], working["resultType"]) == ("working", "complete")
        assert working["statusMessage"].startswith("dreaming, 35 s")
        assert "result" not in working
        await anyio.sleep(30)

        done = await ask(desk, task["taskId"])

        assert (done["status"], done["createdAt"]) == ("completed", task["createdAt"])
        made = done["result"]["structuredContent"]
        assert (made["state"], made["generation_id"]) == ("completed", task["taskId"])
        assert made["file_path"]
        assert made["arguments"]["prompt"] == "a lake"
        assert desk.charges == 1


async def test_what_is_done_or_reused_or_refused_is_answered_inline(open_tasks) -> None:
    async with open_tasks() as desk:
        desk.world.seconds = 0.5
        assert (await start(desk))["state"] == "completed"
        assert (await start(desk))["reused"] is True
        desk.world.seconds = 600
        task = await start(desk, "another")
        assert task["resultType"] == "task"
        again = await start(desk, "another")
        assert (again["reused"], again["generation_id"]) == (True, task["taskId"])
        assert (await desk.raw("generate_video", prompt="a lake [sandbox:credits]")).is_error
        assert (await start(desk, "a price", dry_run=True))["dry_run"] is True
        shown = await desk.call("get_generation", generation_id=task["taskId"])
        assert shown["state"] == "queued"


async def test_a_task_says_how_long_such_jobs_take(open_tasks) -> None:
    async with open_tasks() as desk:
        desk.world.seconds = 60
        for number in range(5):
            task = await start(desk, f"lake {number}")
            await anyio.sleep(60)
            await ask(desk, task["taskId"])
        task = await start(desk)
        await anyio.sleep(10)

        working = await ask(desk, task["taskId"])

        assert working["statusMessage"].startswith("dreaming, 15 s of about 6")
        assert working["pollIntervalMs"] > 3000


async def test_a_failed_job_is_a_completed_task_with_an_error(open_tasks) -> None:
    async with open_tasks() as desk:
        desk.world.seconds = 20
        task = await start(desk, "a lake [sandbox:moderation]")
        await anyio.sleep(20)

        done = await ask(desk, task["taskId"])

        assert (done["status"], done["result"]["isError"]) == ("completed", True)
        assert "Luma refunds that, so nothing was charged" in done["result"]["content"][0]["text"]


async def test_waiting_for_several_is_one_task(open_tasks) -> None:
    async with open_tasks() as desk:
        desk.world.seconds = 30
        ids = [(await start(desk, prompt))["taskId"] for prompt in ("one", "two")]
        result = await desk.raw("wait_for_generations", generation_ids=ids)
        task = result.structured_content
        assert task["resultType"] == "task"
        assert "0 of 2 finished" in task["statusMessage"]
        await anyio.sleep(30)

        done = await ask(desk, task["taskId"])

        waited = done["result"]["structuredContent"]
        assert waited["finished"] is True
        assert [one["generation_id"] for one in waited["generations"]] == ids
        assert all(one["file_path"] for one in waited["generations"])


async def test_a_task_is_taken_up_by_the_next_server_and_two_servers_give_one_answer(open_tasks, open_desk) -> None:
    async with open_tasks() as desk:
        desk.world.seconds = 60
        task = await start(desk)
    async with open_tasks(beside=desk) as one, open_tasks(beside=desk) as other:
        first, second = await ask(one, task["taskId"]), await ask(other, task["taskId"])
        assert first["status"] == second["status"] == "working"
        await anyio.sleep(60)
        first, second = await ask(one, task["taskId"]), await ask(other, task["taskId"])
        assert first["result"] == second["result"]


async def test_a_lost_answer_is_a_task_until_the_list_tells(open_tasks) -> None:
    async with open_tasks() as desk:
        desk.wire.after.append(httpx.ReadTimeout("slow"))
        desk.wire.delays["GET"] = (0, 0)
        desk.world.faults.append(Fault("status", "GET", path="/generations", status=503, times=4))
        task = await start(desk)
        assert task["taskId"].startswith("request-")
        assert "may have been taken and charged" in task["statusMessage"]
        await anyio.sleep(60)

        assert (await ask(desk, task["taskId"]))["result"]["structuredContent"]["state"] == "completed"

        desk.world.faults.append(Fault("status", status=502))
        task = await start(desk, "never taken")
        await anyio.sleep(120)
        done = await ask(desk, task["taskId"])
        assert "was not bought" in done["result"]["content"][0]["text"]
        assert desk.charges == 1


async def test_waiting_for_what_turns_out_not_to_be_bought_ends_with_an_error(open_tasks) -> None:
    async with open_tasks() as desk:
        desk.world.faults.append(Fault("status", status=502))
        lost = await start(desk, "never taken")
        await anyio.sleep(120)

        waited = await ask(desk, f"wait:{lost['taskId']}")

        assert waited["status"] == "completed"
        assert waited["result"]["isError"]
        assert "was not bought" in waited["result"]["content"][0]["text"]


async def test_a_task_is_not_done_before_its_file_is_saved(open_tasks) -> None:
    class Slow(httpx.AsyncBaseTransport):
        def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
            self.inner = inner

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if "/media/" in request.url.path:
                await anyio.sleep(28)
            return await self.inner.handle_async_request(request)

    async with open_tasks() as desk:
        desk.wire.inner = Slow(desk.wire.inner)
        desk.world.seconds = 10
        task = await start(desk)
        await anyio.sleep(10)

        shown = await ask(desk, task["taskId"])
        assert shown["status"] == "working"
        assert shown["statusMessage"].startswith("saving")
        await anyio.sleep(30)
        result = (await ask(desk, task["taskId"]))["result"]["structuredContent"]
        assert Path(result["file_path"]).is_file()


async def test_what_was_said_with_a_purchase_is_in_the_result_of_its_task(open_tasks, tmp_path) -> None:
    picture = tmp_path / "lake.png"
    Image.new("RGB", (640, 360)).save(picture)
    async with open_tasks(LUMA_API_KEY=AGENTS_SANDBOX_KEY, LUMA_MCP_INPUT_DIRS=str(tmp_path)) as desk:
        desk.world.seconds = 10
        task = await start(desk, start_image=str(picture))
        await anyio.sleep(20)

        result = (await ask(desk, task["taskId"]))["result"]["structuredContent"]
        assert result["files_sent"] == [str(picture)]


@pytest.mark.parametrize("wrong", [{"LUMA_MCP_SAVE": "flase"}, {"LUMA_MCP_OUTPUT_DIR": "not/absolute"}])
async def test_a_setting_that_is_misspelled_saves_nothing_behind_the_user_s_back(open_desk, wrong) -> None:
    async with open_desk(**wrong) as desk:
        await desk.video(wait_s=0)
        await anyio.sleep(60)

        assert "watching" not in await desk.call("get_account")
        assert not desk.folder.exists()


async def test_a_task_that_nobody_knows_of_another_account_or_malformed_is_an_error(open_tasks, tmp_path) -> None:
    async with open_tasks() as desk:
        desk.world.seconds = 60
        task = await start(desk)
        async with open_tasks(beside=desk, LUMA_API_KEY=AGENTS_SANDBOX_KEY) as stranger:
            for method in ("tasks/get", "tasks/cancel", "tasks/update"):
                with pytest.raises(MCPError, match="There is no task"):
                    await ask(stranger, task["taskId"], method)
        for task_id in (ID, "request-1", "last", "", "wait:", f"wait:{ID}", "x" * 10_000, ",".join([ID] * 60)):
            with pytest.raises(MCPError, match="There is no task"):
                await ask(desk, task_id)


async def test_a_cancelled_or_updated_task_is_acknowledged_and_goes_on(open_tasks) -> None:
    async with open_tasks() as desk:
        desk.world.seconds = 20
        task = await start(desk)
        for method in ("tasks/cancel", "tasks/update"):
            assert "status" not in await ask(desk, task["taskId"], method)
        await anyio.sleep(20)

        assert (await ask(desk, task["taskId"]))["status"] == "completed"


async def test_the_user_is_asked_before_there_is_a_task(open_tasks) -> None:
    answers = [ElicitResult(action="decline"), ElicitResult(action="accept")]

    async def user(*_: object) -> ElicitResult:
        return answers.pop(0)

    async with open_tasks(answer=user, LUMA_MCP_CONFIRM_USD="0.5") as desk:
        desk.world.seconds = 60
        said = await desk.refusal("generate_video", prompt="a lake")
        assert "did not agree" in said
        assert (await start(desk))["resultType"] == "task"


@pytest.mark.parametrize("hanging", ["GET", "POST"])
async def test_a_call_answers_within_six_seconds_whatever_luma_does(open_tasks, hanging: str) -> None:
    async with open_tasks() as desk:
        desk.world.seconds = 60
        image = (await desk.raw("generate_image", prompt="a lake")).structured_content["taskId"]
        await anyio.sleep(60)
        desk.wire.delays[hanging] = (100, 0)
        began = anyio.current_time()

        await desk.raw("generate_video", prompt="a lake", start_image=image)

        assert anyio.current_time() - began < 6


async def test_luma_is_asked_once_however_many_ask_at_a_time(open_tasks) -> None:
    async with open_tasks() as desk:
        desk.world.seconds = 60
        task = await start(desk)
        await anyio.sleep(12)  # the watch over what nobody waits for asks after 15 s
        desk.wire.sent.clear()

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(ask, desk, task["taskId"])
        await ask(desk, task["taskId"])

        assert len(desk.wire.sent) == 1
        await anyio.sleep(2)
        await ask(desk, task["taskId"])
        assert len(desk.wire.sent) == 2


async def test_luma_s_trouble_leaves_a_task_working(open_tasks) -> None:
    async with open_tasks() as desk:
        desk.world.seconds = 20
        task = await start(desk)
        await anyio.sleep(20)
        desk.wire.gone = True
        working = await ask(desk, task["taskId"])
        assert working["status"] == "working"
        assert "could not be reached" in working["statusMessage"]
        desk.wire.gone = False
        await anyio.sleep(2)

        assert (await ask(desk, task["taskId"]))["status"] == "completed"


@pytest.mark.parametrize("era", ["legacy", "2026-07-28"])
async def test_a_client_without_tasks_is_answered_as_ever(open_desk, era: str) -> None:
    async with open_desk(era) as desk:
        desk.world.seconds = 60
        began = anyio.current_time()
        made = await desk.video()

        assert anyio.current_time() - began == pytest.approx(45, abs=0.1)
        assert made["next_step"].startswith("wait_for_generations")
        with pytest.raises(MCPError):
            await ask(desk, made["generation_id"]) if era == "legacy" else await ask(desk, ID)


# What nobody waits for is kept.


def saved(desk: Desk) -> int:
    return len(list(desk.folder.glob("*"))) if desk.folder.exists() else 0


@pytest.mark.parametrize("left", ["wait_s", "cancelled", "timed out"])
async def test_the_file_of_a_job_that_nobody_waits_for_is_saved(open_desk, left: str) -> None:
    async with open_desk() as desk:
        desk.world.seconds = 70
        if left == "cancelled":
            with anyio.move_on_after(3):
                await desk.video()
        else:
            await desk.video(**({"wait_s": 0} if left == "wait_s" else {}))
        assert (await desk.call("get_account"))["watching"] == 1
        await anyio.sleep(100)

        assert saved(desk) == 1
        assert "watching" not in await desk.call("get_account")
        assert [row["status"] for row in desk.rows()] == ["completed"]
        sent = len(desk.wire.sent)
        await anyio.sleep(3600)
        assert len(desk.wire.sent) == sent


async def test_what_failed_or_never_ends_is_not_watched_for_ever(desk) -> None:
    await desk.video("[sandbox:fail]", wait_s=0)
    await desk.video("[sandbox:stuck]", wait_s=0)
    await anyio.sleep(60)
    assert (await desk.call("get_account"))["watching"] == 1
    await anyio.sleep(3600)

    assert "watching" not in await desk.call("get_account")
    assert saved(desk) == 0


async def test_a_server_that_is_not_to_save_watches_nothing(open_desk) -> None:
    async with open_desk(LUMA_MCP_SAVE="off") as desk:
        await desk.video(wait_s=0)
        sent = len(desk.wire.sent)
        await anyio.sleep(100)

        assert len(desk.wire.sent) == sent
        assert saved(desk) == 0


async def test_a_watched_job_survives_luma_s_trouble_and_a_full_folder(open_desk, tmp_path) -> None:
    async with open_desk() as desk:
        (tmp_path / "Luma").write_text("no folder")
        await desk.video(wait_s=0)
        desk.wire.gone = True
        await anyio.sleep(60)
        desk.wire.gone = False
        await anyio.sleep(60)
        (tmp_path / "Luma").unlink()
        await anyio.sleep(120)

        assert saved(desk) == 1
