"""MCP tasks: a client that declares them is not kept waiting; it asks how its task stands.

A task is no record of its own. Its id names the generations or purchases that it waits for, and the journal and Luma
say how those stand: so it outlives this server, and every server answers alike. Luma can't cancel a job, so a
cancelled task goes on. Source: modelcontextprotocol/ext-tasks, schema 2026-07-28.
"""

from collections.abc import Sequence
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver import Context
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, CallToolRequestParams, CallToolResult, RequestParams

from ..errors import InvalidRequest, JournalUnusable, LumaServerError, NotFound
from ..media.references import UUID
from ..models import PURCHASE_PREFIX, REQUESTS, Generation, Waited, dollars
from ..schema import failure, success
from .call import TASKS, declares_tasks, open_call
from .library import wait_for_generations
from .paid import failed
from .services import Services

_TTL_MS = 86_400_000
_SEVERAL = "wait:"
"""How the ids of tasks begin that wait for several: what `wait_for_generations` was asked for."""

Request = ServerRequestContext[Services, Any]


class TaskParams(RequestParams):
    """What the three methods are asked with."""

    taskId: str  # noqa: N815 - the protocol's name


class Tasks(Extension):
    """The extension. Legacy connections can't receive a task, and clients that don't declare it never do."""

    identifier = TASKS

    def methods(self) -> Sequence[MethodBinding]:
        """What clients ask with the id of a task."""
        modern = frozenset({"2026-07-28"})
        asked = {"tasks/get": _get, "tasks/cancel": _acknowledge, "tasks/update": _acknowledge}
        return [MethodBinding(name, TaskParams, handler, modern) for name, handler in asked.items()]

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: Request, call_next: CallNext
    ) -> HandlerResult:
        """Answer with a task where the call would have to be made again to go on waiting."""
        result = await call_next(ctx)
        shown = result.structured_content if isinstance(result, CallToolResult) else None
        if not shown or not declares_tasks(Context(request_context=ctx)):
            return result
        if params.name == "wait_for_generations":
            waited = Waited.model_validate(shown)
            names = [one.generation_id or one.request_id for one in waited.generations]
            if waited.finished:
                return result
            return _task(_SEVERAL + ",".join(filter(None, names)), waited.generations, ctx)
        waits = str(shown.get("next_step")).startswith("wait_for_generations")
        if params.name not in REQUESTS or not waits or shown.get("reused"):
            return result
        made = Generation.model_validate(shown)
        task_id = str(made.generation_id or made.request_id)
        # Of the two, neither the journal nor Luma knows.
        ctx.lifespan_context.said_of_tasks[task_id] = made.files_sent, made.warnings or ()
        return _task(task_id, (made,), ctx)


async def _get(ctx: Request, params: TaskParams) -> HandlerResult:
    """How a task stands, and its result once there is one."""
    several, names = params.taskId.startswith(_SEVERAL), _names(params.taskId)
    try:
        async with open_call(Context(request_context=ctx), "wait_for_generations", {"wait_s": 0}) as call:
            waited = await wait_for_generations(call, names)
    except LumaServerError as error:
        ended = isinstance(error, InvalidRequest | NotFound)
        if (ended or not several) and not await _is_known(ctx, names):
            raise _unknown(params.taskId) from error
        if ended:
            return _ended(params.taskId, failure(str(error)), (), ctx)
        # Asked again, it may be answered.
        return _state(params.taskId, str(error), (), ctx) | {"resultType": "complete"}
    made, downloads = waited.generations, ctx.lifespan_context.downloads
    if not waited.finished:
        return _task(params.taskId, made, ctx) | {"resultType": "complete"}
    for one in made:
        if one.state == "completed" and (saving := downloads.describe(str(one.generation_id))):
            return _state(params.taskId, saving, made, ctx) | {"resultType": "complete"}
    if several:
        return _ended(params.taskId, success(waited), made, ctx)
    [one] = made
    files_sent, warnings = ctx.lifespan_context.said_of_tasks.get(params.taskId, (None, ()))
    one = one.replace(files_sent=files_sent, warnings=(*warnings, *(one.warnings or ())) or None)
    return _ended(params.taskId, failure(str(failed(one))) if one.state == "failed" else success(one), made, ctx)


async def _acknowledge(ctx: Request, params: TaskParams) -> HandlerResult:
    """Take note of what changes nothing: Luma goes on with a job, and no task asks for input."""
    names = _names(params.taskId)
    # Those that wait for several may wait for what was bought elsewhere.
    if not params.taskId.startswith(_SEVERAL) and not await _is_known(ctx, names):
        raise _unknown(params.taskId)
    return {"resultType": "complete"}


def _names(task_id: str) -> list[str]:
    """The generations and purchases that a task waits for."""
    names = task_id.removeprefix(_SEVERAL).split(",")
    if len(names) > 50 or not all(UUID.fullmatch(name) or name.startswith(PURCHASE_PREFIX) for name in names):
        raise _unknown(task_id)
    return names


async def _is_known(ctx: Request, names: list[str]) -> bool:
    """Whether a purchase of this account is behind a task, as far as the journal can be read."""
    try:
        return any([await ctx.lifespan_context.journal.find(name) for name in names])
    except JournalUnusable:
        return True


def _unknown(task_id: str) -> MCPError:
    return MCPError(INVALID_PARAMS, f"There is no task {task_id[:60]!r} with this server's keys and journal.")


def _task(task_id: str, generations: Sequence[Generation], ctx: Request) -> dict[str, Any]:
    """A task that is under way, as far as the client need know it."""
    unfinished = [one for one in generations if one.next_step]
    slowest = max(unfinished, key=lambda one: (one.expected_s or 0) - (one.elapsed_s or 0))
    elapsed, expected = slowest.elapsed_s or 0, slowest.expected_s
    words = f"{slowest.state}, {elapsed} s{f' of about {expected} s' if expected else ''}"
    if slowest.state == "unknown" and slowest.warnings:
        words = slowest.warnings[0]
    if len(generations) > 1:
        words = f"{len(generations) - len(unfinished)} of {len(generations)} finished; {words}"
    elif slowest.estimated_cost_usd:
        words += f", {dollars(slowest.estimated_cost_usd)}"
    left = max(0, (expected or elapsed + 15) - elapsed)
    poll = {"pollIntervalMs": 1000 * min(15, max(3, left // 5))}
    return _state(task_id, words, generations, ctx) | poll | {"resultType": "task"}


def _state(task_id: str, words: str, generations: Sequence[Generation], ctx: Request) -> dict[str, Any]:
    now = ctx.lifespan_context.now().replace(microsecond=0)
    created = min((one.created_at for one in generations if one.created_at), default=now)
    return {
        "taskId": task_id,
        "status": "working",
        "statusMessage": words,
        "createdAt": created.replace(microsecond=0).isoformat(),
        "lastUpdatedAt": now.isoformat(),
        "ttlMs": _TTL_MS,
        "pollIntervalMs": 3000,
    }


def _ended(task_id: str, result: CallToolResult, generations: Sequence[Generation], ctx: Request) -> dict[str, Any]:
    shown = result.model_dump(mode="json", by_alias=True, exclude_none=True)
    ended = {"status": "completed", "result": shown, "resultType": "complete"}
    return _state(task_id, "finished", generations, ctx) | ended
