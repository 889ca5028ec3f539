"""One tool call: its deadlines, and the progress that it reports."""

import math
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
from mcp.server.mcpserver import Context

from ..catalog import usual_seconds
from ..errors import JournalUnusable, LumaServerError
from ..models import REQUESTS
from ..poller import TICK_S, progress
from .services import Services

if TYPE_CHECKING:
    from ..media.links import Work

ToolContext = Context[Services, Any]

MODERN = "2026-07-28"
"""From this version of the protocol on a server asks by its result, and may answer with a task."""

TASKS = "io.modelcontextprotocol/tasks"

ANSWER_S = 5.0
"""Seconds that Luma gets for an answer in a call that is not to wait."""

LEAST_S = 0.8
"""Seconds that a call has at least: with LUMA_MCP_WAIT_S=0 it must still be able to ask Luma something."""

GRACE_S = 0.9
"""Seconds beyond its limit after which a call is ended that has not ended by itself."""


@dataclass
class Call:
    """One tool call. Its deadlines are points on the loop's clock.

    Attributes:
        arguments: all of them, checked.
        limit: when it must answer.
        wait_until: until when it waits for results; the caller may shorten that.
        scope: ends the call at its limit, whatever hangs.
        reporting: ends the progress reports.
    """

    ctx: ToolContext
    services: Services
    tool: str
    arguments: Mapping[str, Any]
    started: float
    limit: float
    wait_until: float
    scope: anyio.CancelScope
    reporting: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    _uncounted_s: float = 0.0
    _expected_s: float | None = None
    _describe: Callable[[], str] | None = None
    _work: "Work | None" = None

    @property
    def answer_until(self) -> float:
        """Until when it waits for Luma's answers to single questions, even if it is not to wait for results."""
        return max(self.wait_until, min(self.limit, self.started + self._uncounted_s + ANSWER_S))

    def say(self, what: str | Callable[[], str]) -> None:
        """Report from now on what the call is waiting for, in a few words."""
        first, self._describe = self._describe is None, what if callable(what) else lambda: what
        if first:
            self.services.tasks.start_soon(self._report)

    def follow(self, work: "Work") -> None:
        """Report from now on how much of some work is done, in place of the time where that is known."""
        self.say(work.describe)
        self._work = work

    async def _report(self) -> None:
        last, offset, followed = -1.0, 0.0, None
        with self.reporting:
            while self._describe:
                if self._work is not followed:
                    followed, offset = self._work, max(last, 0.0)
                elapsed = round(anyio.current_time() - self.started, 1)
                report = progress(elapsed, self._expected_s, self._describe())
                if followed and (measured := followed.progress()):
                    report = offset + measured[0], offset + measured[1], self._describe()
                if report[0] > last:  # the protocol wants progress to grow
                    await self.ctx.report_progress(*report)
                    last = report[0]
                await anyio.sleep(TICK_S)

    async def expect(self, name: str) -> float | None:
        """Seconds that a job such as a purchase's usually takes, for the reports too; of several the longest counts."""
        purchase, usual = None, None
        with suppress(JournalUnusable):  # the result has the warning
            purchase, usual = await self.services.journal.find_timed(name)
        if purchase and usual is None and not self.services.settings.sandbox:
            usual = usual_seconds(purchase.tool, purchase.model)
        if purchase and usual is not None:
            left = anyio.current_time() - self.started + max(0.0, usual - purchase.age(self.services.now()))
            self._expected_s = max(self._expected_s or 0.0, left)
        return usual

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """No deadline ends the call in here, and the time in here counts for none."""
        began, deadline = anyio.current_time(), self.scope.deadline
        self.scope.deadline = math.inf
        try:
            yield
        finally:
            took = anyio.current_time() - began
            self.scope.deadline = deadline + took
            self._uncounted_s += took
            self.limit += took
            self.wait_until += took


def declares_tasks(ctx: ToolContext) -> bool:
    """Whether the client may be answered with a task."""
    can = ctx.client_capabilities
    return (ctx.protocol_version or "") >= MODERN and can is not None and TASKS in (can.extensions or {})


@asynccontextmanager
async def open_call(ctx: ToolContext, tool: str, arguments: Mapping[str, Any]) -> AsyncIterator[Call]:
    """Give a call its deadlines, and end it at its limit with `LumaServerError`."""
    services: Services = ctx.request_context.lifespan_context
    most, wait_s = services.settings.wait_s, arguments.get("wait_s")
    if (tool in REQUESTS or tool == "wait_for_generations") and declares_tasks(ctx):
        most = min(most, ANSWER_S)
    cap, started = max(most, LEAST_S), anyio.current_time()
    wait = most if wait_s is None else min(wait_s, most)
    with anyio.CancelScope(deadline=started + most + GRACE_S) as scope:
        call = Call(ctx, services, tool, arguments, started, started + cap, started + wait, scope)
        try:
            yield call
        finally:
            call.reporting.cancel()
    if scope.cancelled_caught:
        todo = "Call again, or raise that limit."
        if tool in REQUESTS:
            todo = "It may have been bought all the same: look at list_generations before you call it again."
        raise LumaServerError(f"{tool} had no answer within {most:g} s (LUMA_MCP_WAIT_S). {todo}")
