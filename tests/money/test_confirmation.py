"""The question before a purchase above LUMA_MCP_CONFIRM_USD, in both eras of the protocol."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import mcp_types as types
import pytest
from mcp.client import Client
from mcp.client.session import ClientRequestContext
from mcp.server.mcpserver import MCPServer
from mcp.shared.exceptions import MCPError

from luma_mcp_server.sandbox import SANDBOX_KEY
from luma_mcp_server.schema import StrictTool
from luma_mcp_server.settings import Settings
from luma_mcp_server.tools.call import GRACE_S, Call, open_call
from luma_mcp_server.tools.confirmation import confirm_price
from luma_mcp_server.tools.library import Deleted
from luma_mcp_server.tools.services import Services, utc_now

pytestmark = pytest.mark.anyio

ERAS = pytest.mark.parametrize("era", ["legacy", "2026-07-28"])
DEAR = {"prompt": "a lake", "resolution": "1080p", "duration": "9s"}
QUESTION = "A video with ray-2 (1080p, 9s) costs about $2.87. Go on?"


class User:
    """Somebody who is asked, answers alike each time, and may take their time."""

    def __init__(self, answer: types.ElicitResult | types.ErrorData, seconds: float = 0) -> None:
        self.answer, self.seconds = answer, seconds
        self.then: Callable[[], None] = lambda: None
        self.asked: list[types.ElicitRequestFormParams] = []

    async def __call__(
        self, _: ClientRequestContext, question: types.ElicitRequestParams
    ) -> types.ElicitResult | types.ErrorData:
        assert isinstance(question, types.ElicitRequestFormParams)
        self.asked.append(question)
        await anyio.sleep(self.seconds)
        self.then()
        return self.answer

    @property
    def questions(self) -> list[str]:
        return [question.message for question in self.asked]


def says(action: Any, content: Any = None) -> types.ElicitResult:
    return types.ElicitResult(action=action, content=content)


YES = says("accept", {"go_on": True})


@ERAS
@pytest.mark.parametrize("answer", [YES, says("accept", {}), says("accept")], ids=["yes", "empty", "no content"])
async def test_a_dear_job_is_bought_once_the_user_has_said_yes(open_desk, era: str, answer: types.ElicitResult) -> None:
    user = User(answer)
    async with open_desk(era, user, LUMA_MCP_CONFIRM_USD="1") as desk:
        made = await desk.call("generate_video", **DEAR)

        assert made["state"] == "completed"
        assert user.questions == [QUESTION]
        assert desk.charges == len(desk.posts) == 1
    schema = user.asked[0].requested_schema
    assert list(schema["properties"]) == ["go_on"]
    assert schema["properties"]["go_on"]["type"] == "boolean"


@ERAS
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (says("accept", {"go_on": False}), "did not agree"),
        (says("accept", {"go_on": None}), "did not agree"),
        (says("accept", {"go_on": "true"}), "did not agree"),
        (says("accept", {"go_on": 1}), "did not agree"),
        (says("decline"), "did not agree"),
        (says("decline", {"go_on": True}), "did not agree"),
        (says("cancel"), "closed the question without an answer"),
    ],
    ids=repr,
)
async def test_any_other_answer_buys_nothing_and_is_not_to_be_tried_again(
    open_desk, era: str, answer: types.ElicitResult, why: str
) -> None:
    user = User(answer)
    async with open_desk(era, user, LUMA_MCP_CONFIRM_USD="1") as desk:
        assert await desk.refusal("generate_video", **DEAR) == (
            f"A video with ray-2 (1080p, 9s) costs about $2.87, and the user {why}. Nothing was bought. Do not call "
            "again unless the user asks for it."
        )
        assert len(user.asked) == 1
        assert desk.posts == []


@ERAS
@pytest.mark.parametrize("limit", ["off", "2.87", "20"])
async def test_nobody_is_asked_up_to_the_limit(open_desk, era: str, limit: str | None) -> None:
    user = User(says("decline"))
    async with open_desk(era, user, LUMA_MCP_CONFIRM_USD=limit) as desk:
        await desk.call("generate_video", **DEAR)

        assert user.asked == []
        assert desk.charges == 1


@ERAS
@pytest.mark.parametrize(
    "wrong",
    [{"loops": True}, {"take": 0}, {"resolution": "8k"}, {"duration": "10s"}, {"start_image": "no id"}, {"model": "x"}],
    ids=str,
)
async def test_nobody_is_asked_about_a_call_that_can_t_work(open_desk, era: str, wrong: dict[str, Any]) -> None:
    user = User(YES)
    async with open_desk(era, user, LUMA_MCP_CONFIRM_USD="0") as desk:
        await desk.refusal("generate_video", **DEAR | wrong)

        assert user.asked == []


@ERAS
async def test_with_a_limit_of_zero_every_job_is_asked_about_in_its_own_words(open_desk, era: str) -> None:
    user = User(YES)
    async with open_desk(era, user, LUMA_MCP_CONFIRM_USD="0") as desk:
        clip = (await desk.video())["generation_id"]
        picture = (await desk.image())["generation_id"]
        await desk.call("modify_image", source=picture, prompt="snow")
        await desk.call("modify_video", source=clip, mode="flex_1", prompt="snow")
        await desk.call("reframe_media", source=clip, aspect_ratio="9:16")
        await desk.call("reframe_media", source=picture, aspect_ratio="9:16")
        await desk.call("upscale_video", generation_id=clip)
        await desk.call("add_audio", generation_id=clip)

        unpriced = "Luma publishes no price for it: it counts as the same clip made by ray-2"
        assert user.questions == [
            "A video with ray-2 (720p, 5s) costs about $0.71. Go on?",
            "An image with photon-1 costs about $0.0150. Go on?",
            "A modified image with photon-1 costs about $0.0150. Go on?",
            "A modified video with ray-2 (720p, 5s) costs about $1.75. Go on?",
            "A reframed video with ray-2 (720p, 5s) costs about $0.71. Go on?",
            "A reframed image with photon-1 costs about $0.0150. Go on?",
            f"An upscaled video (1080p, 5s) counts as $1.59 ({unpriced}). Go on?",
            f"Audio for a video (720p, 5s) counts as $0.71 ({unpriced}). Go on?",
        ]


@ERAS
async def test_where_the_client_can_t_ask_the_limit_is_a_cap(open_desk, era: str) -> None:
    async with open_desk(era, LUMA_MCP_CONFIRM_USD="1") as desk:
        assert await desk.refusal("generate_video", **DEAR) == (
            "A video with ray-2 (1080p, 9s) costs about $2.87, more than LUMA_MCP_CONFIRM_USD ($1.00) allows without "
            "the user's yes, and this client can't ask the user. Nothing was bought. Make a cheaper call (list_models "
            "has the prices), or tell the user to raise LUMA_MCP_CONFIRM_USD in this server's settings and restart it."
        )
        assert desk.posts == []
        await desk.video()


@ERAS
async def test_unless_set_the_limit_is_two_dollars_and_a_client_that_can_t_ask_is_let_pass(open_desk, era: str) -> None:
    user = User(says("decline"))
    async with open_desk(era, user) as desk:
        assert "costs about $2.87, and the user did not agree" in await desk.refusal("generate_video", **DEAR)
        await desk.video()
        assert len(user.asked) == 1
    async with open_desk(era, beside=desk) as silent:
        assert (await silent.call("generate_video", **DEAR))["estimated_cost_usd"] == 2.87


async def test_a_client_that_fails_to_ask_is_one_that_can_t(open_desk) -> None:
    user = User(types.ErrorData(code=types.INTERNAL_ERROR, message="no window"))
    async with open_desk("legacy", user, LUMA_MCP_CONFIRM_USD="1") as desk:
        assert "this client can't ask the user. Nothing was bought." in await desk.refusal("generate_video", **DEAR)
        assert desk.posts == []


@ERAS
@pytest.mark.parametrize("wait_s", ["0", "45"])
async def test_the_time_that_the_user_takes_counts_for_no_limit(open_desk, era: str, wait_s: str) -> None:
    user = User(YES, seconds=100)
    async with open_desk(era, user, LUMA_MCP_CONFIRM_USD="1", LUMA_MCP_WAIT_S=wait_s) as desk:
        began = anyio.current_time()
        made = await desk.call("generate_video", **DEAR | {"prompt": "a lake [sandbox:stuck]"})

        assert made["generation_id"]
        assert anyio.current_time() - began == pytest.approx(100 + float(wait_s), abs=0.5)
        assert desk.charges == 1


async def test_after_the_answer_the_limits_hold_again(open_desk) -> None:
    user = User(YES, seconds=100)
    async with open_desk("legacy", user, LUMA_MCP_CONFIRM_USD="1") as desk:
        user.then = lambda: setattr(desk.wire, "hanging", True)
        began = anyio.current_time()
        made = await desk.call("generate_video", **DEAR)

        assert made["state"] == "unknown"
        assert anyio.current_time() - began == pytest.approx(145, abs=0.5)


async def test_an_open_question_ends_after_five_minutes(open_desk) -> None:
    async with open_desk("legacy", User(YES, seconds=1000), LUMA_MCP_CONFIRM_USD="1") as desk:
        began = anyio.current_time()
        said = await desk.refusal("generate_video", **DEAR)

        assert "the user did not answer within 300 s. Nothing was bought." in said
        assert anyio.current_time() - began == pytest.approx(300, abs=1)
        assert desk.posts == []


async def test_progress_says_that_the_user_is_waited_for_and_the_job_is_not_late_for_it(open_desk) -> None:
    reports: list[tuple[float, float | None, str | None]] = []

    async def report(progress: float, total: float | None, message: str | None) -> None:
        reports.append((progress, total, message))

    class Real(httpx.AsyncBaseTransport):  # the sandbox's own clips have no usual time
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            request.headers["Authorization"] = f"Bearer {SANDBOX_KEY}"
            return await inner.handle_async_request(request)

    user = User(YES, seconds=100)
    environ = {"LUMA_MCP_CONFIRM_USD": "1", "LUMA_MCP_WAIT_S": "90", "LUMA_API_KEY": "a-real-key"}
    async with open_desk("legacy", user, **environ) as desk:
        inner, desk.wire.inner = desk.wire.inner, Real()
        await desk.client.call_tool("generate_video", DEAR | {"prompt": "[sandbox:stuck]"}, progress_callback=report)

    values = [value for value, _, _ in reports]
    assert values == sorted(set(values))
    asking = [message for value, _, message in reports if 3 < value < 99]
    assert len(asking) > 40
    assert all(message and message.startswith("waiting for the user's answer, ") for message in asking)
    on_time = [(total, message) for value, total, message in reports if 103 < value < 159]
    assert len(on_time) > 20
    assert all(total == 160 and "of about 160 s" in str(message) for total, message in on_time)
    assert {total for value, total, _ in reports if value > 161} == {None}


@pytest.mark.parametrize(
    ("name", "todo"),
    [
        ("slow", "Call again, or raise that limit."),
        (
            "generate_video",
            "It may have been bought all the same: look at list_generations before you call it again.",
        ),
    ],
)
async def test_no_limit_cuts_a_question_short_and_all_are_moved_by_its_time(name: str, todo: str) -> None:
    calls: list[Call] = []

    async def slow(call: Call) -> Deleted:
        """Ask, then hang."""
        calls.append(call)
        await confirm_price(call, 7, "A lake", None)
        await anyio.sleep(1000)
        raise AssertionError("the call outlived its limit")

    slow.__name__ = name

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[Services]:
        async with anyio.create_task_group() as tasks:
            yield Services(Settings(confirm_usd=1), tasks, lambda: pytest.fail("no network"), utc_now)

    marks = types.ToolAnnotations()
    tool = StrictTool.of(
        slow,
        title="Slow",
        annotations=marks,
        open_call=open_call,
        hidden=(),
        values={},
        words={},
        notes={},
        meta={},
    )
    server = MCPServer[Services]("slow", tools=[tool], lifespan=lifespan)
    async with Client(server, mode="legacy", elicitation_callback=User(YES, seconds=100)) as client:
        began = anyio.current_time()
        result = await client.call_tool(name, {})

    assert result.content[0].text == f"{name} had no answer within 45 s (LUMA_MCP_WAIT_S). {todo}"
    assert anyio.current_time() - began == pytest.approx(100 + 45 + GRACE_S, abs=0.1)
    limits = (calls[0].limit - began, calls[0].wait_until - began, calls[0].answer_until - began)
    assert limits == pytest.approx((145, 145, 145), abs=0.1)


Retry = Callable[..., Any]


async def first_round(desk: Any, **arguments: Any) -> types.InputRequiredResult:
    first = await desk.client.session.call_tool("generate_video", arguments, allow_input_required=True)
    assert isinstance(first, types.InputRequiredResult)
    return first


async def test_a_yes_counts_for_the_call_that_was_asked_about_alone(open_desk) -> None:
    async with open_desk(answer=User(YES), LUMA_MCP_CONFIRM_USD="1") as desk:
        state = (await first_round(desk, **DEAR)).request_state
        send: Retry = desk.client.session.call_tool

        for arguments, replayed in ((DEAR | {"resolution": "4k"}, state), (DEAR, f"{state}x"), (DEAR, QUESTION)):
            with pytest.raises(MCPError) as refused:
                await send("generate_video", arguments, input_responses={"confirm": YES}, request_state=replayed)
            assert refused.value.error.code == types.INVALID_PARAMS
        unasked = await send("generate_video", DEAR, input_responses={"confirm": YES}, allow_input_required=True)
        assert isinstance(unasked, types.InputRequiredResult)
        elsewhere = await send(
            "generate_video",
            DEAR,
            input_responses={"other": YES},
            request_state=state,
            allow_input_required=True,
        )
        assert isinstance(elsewhere, types.InputRequiredResult)
        assert desk.posts == []


async def test_a_price_that_has_changed_since_is_asked_about_again(open_desk) -> None:
    async with open_desk(answer=User(YES), LUMA_MCP_CONFIRM_USD="0") as desk:
        clip = await desk.video()
        source = {"source": clip["generation_id"], "mode": "flex_1", "prompt": "snow"}
        send: Retry = desk.client.session.call_tool
        first = await send("modify_video", source, allow_input_required=True)
        assert isinstance(first, types.InputRequiredResult)
        for job in desk.world.jobs.values():
            job.request["resolution"] = "1080p"

        again = await send(
            "modify_video",
            source,
            input_responses={"confirm": YES},
            request_state=first.request_state,
            allow_input_required=True,
        )

        assert isinstance(again, types.InputRequiredResult)
        assert len(desk.posts) == 1


async def test_an_answer_of_another_kind_is_no_yes(open_desk) -> None:
    async with open_desk(answer=User(YES), LUMA_MCP_CONFIRM_USD="1") as desk:
        state = (await first_round(desk, **DEAR)).request_state
        roots = types.ListRootsResult(roots=[])

        result = await desk.client.session.call_tool(
            "generate_video", DEAR, input_responses={"confirm": roots}, request_state=state
        )

        assert "did not agree" in result.content[0].text
        assert desk.posts == []


async def test_two_jobs_that_are_agreed_to_at_once_do_not_exceed_the_budget_together(open_desk) -> None:
    environ = {"LUMA_MCP_CONFIRM_USD": "0.5", "LUMA_MCP_BUDGET_USD": "1"}
    async with open_desk("legacy", User(YES, seconds=10), **environ) as desk:
        refused = []

        async def buy(take: int) -> None:
            result = await desk.raw("generate_video", prompt="a lake", take=take)
            refused.append(result.is_error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(buy, 1)
            tasks.start_soon(buy, 2)

        assert sorted(refused) == [False, True]
        assert desk.charges == 1
