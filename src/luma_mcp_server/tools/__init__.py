"""The tools: plain async functions, and what they share."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
from anyio.abc import TaskGroup
from mcp.server.mcpserver import Context

from ..errors import InvalidRequest, LumaServerError
from ..jobs import Jobs
from ..media import Files, Reference, parse_reference
from ..models import Generation
from ..polling import MAX_JOB_AGE_S, TICK_S, progress
from ..settings import Settings, is_loopback

if TYPE_CHECKING:
    import httpx

    from ..backends.dream_machine import DreamMachine
    from .account import CameraMotions

ToolContext = Context["App", Any]

_MOST_SEEN = 10_000


@dataclass
class App:
    """What the tools of one server work with. Nothing in it is made before the first call that needs it."""

    settings: Settings
    tasks: TaskGroup
    open_http: Callable[[], "httpx.AsyncClient"]
    now: Callable[[], datetime]
    seen: dict[str, str] = field(default_factory=dict)
    """Links without query, and paths of saved files: the generations they belong to."""

    camera: "CameraMotions | None" = None
    """Luma's words for the camera, once it has said them."""

    @cached_property
    def http(self) -> "httpx.AsyncClient":
        """The one HTTP client, closed by the server's lifespan."""
        return self.open_http()

    @cached_property
    def dream_machine(self) -> "DreamMachine":
        """The Dream Machine backend.

        Raises:
            SettingsError: the key is missing or can't be used.
        """
        key = self.settings.require_key()
        from ..backends.dream_machine import DreamMachine

        return DreamMachine(key, self.settings.key_variable, self.settings.base_url, self.http)

    @cached_property
    def jobs(self) -> Jobs:
        """The paid jobs of this server."""
        return Jobs(lambda: self.dream_machine, self.tasks)

    @cached_property
    def files(self) -> Files:
        """Downloads of this server."""
        return Files(lambda: self.http, self.settings.output_dir, self.own_host)

    @property
    def own_host(self) -> str | None:
        """The API's host where that is this computer: links to it are in order then."""
        host = urlsplit(self.settings.base_url).hostname or ""
        return host if is_loopback(host) else None

    def remember(self, generation: Generation) -> None:
        """Note which links and which file are a generation's, so that they can stand for it."""
        if generation.generation_id is None:
            return
        for place in (generation.video_url, generation.image_url, generation.thumbnail_url, generation.file_path):
            if place:
                self.seen[without_query(place)] = generation.generation_id
        while len(self.seen) > _MOST_SEEN:
            del self.seen[next(iter(self.seen))]

    async def get(self, generation_id: str) -> Generation:
        """A generation as Luma shows it now."""
        generation = await self.dream_machine.get(generation_id)
        self.remember(generation)
        return generation

    def reference(self, text: str, parameter: str, *, media: bool = True, weighted: bool = False) -> Reference:
        """Read what names media or a generation; a known link or file of a generation stands for it."""
        plain, weight = text.strip().partition("#weight=")[::2]
        if known := self.seen.get(without_query(plain)):
            text = f"{known}#weight={weight}" if weight else known
        return parse_reference(text, parameter, media=media, weighted=weighted, own_host=self.own_host)

    async def generation_id(self, text: str, parameter: str = "generation_id") -> str:
        """The id that a parameter names, by itself or as one of the generation's links.

        Raises:
            InvalidRequest: it is no id, and no link of a generation that can be found.
        """
        reference = self.reference(text, parameter, media=False)
        if reference.kind == "generation":
            return reference.value
        for generation in (await self.dream_machine.list(100, 0))[0]:
            self.remember(generation)
        if known := self.seen.get(without_query(reference.value)):
            return known
        raise InvalidRequest(
            f"{parameter} is a URL that belongs to none of your newest 100 generations. Nothing was sent. Use the "
            "generation's id; list_generations shows it."
        )

    def present(self, generation: Generation, **more: Any) -> Generation:
        """A generation as tools show it: with what this server knows beside what Luma said."""
        now, changes = self.now(), dict(more)
        warnings = [*(generation.warnings or ()), *changes.pop("warnings", ())]
        if not generation.finished and generation.generation_id:
            changes.setdefault("next_step", f'wait_for_generations(generation_ids=["{generation.generation_id}"])')
            if generation.created_at:
                age = max(0.0, (now - generation.created_at).total_seconds())
                changes["elapsed_s"] = round(age)
                if age > MAX_JOB_AGE_S:
                    warnings.append("Older than an hour: Luma drops such jobs. Don't wait for it any longer.")
                    changes["next_step"] = f'get_generation(generation_id="{generation.generation_id}")'
        if self.settings.sandbox:
            changes["sandbox"] = True
        return generation.with_(**changes, warnings=tuple(warnings) or None)

    async def saved(self, generation: Generation, until: float) -> Generation:
        """The generation with its file, saved by a point of the loop's clock; a failure becomes a warning."""
        if not self.settings.save or generation.state != "completed":
            return generation
        again = f'Call download_generation(generation_id="{generation.generation_id}").'
        path = None
        with anyio.CancelScope(deadline=until):
            try:
                path = await self.files.save(generation)
            except LumaServerError as error:
                return generation.with_(warnings=(str(error),))
        if path is None:
            return generation.with_(warnings=(f"There was no time left to save the file. {again}",))
        saved = generation.with_(file_path=str(path))
        self.remember(saved)
        return saved


@dataclass(slots=True)
class Call:
    """One call's time, and what it is doing, for progress.

    Attributes:
        started: when it arrived, on the loop's clock.
        limit: when the call must answer, on the loop's clock.
        wait_until: until when it waits for results; the caller may shorten that.
        answer_until: until when it waits for Luma's answers to single questions, even if it is not to wait.
        describe: says what it is waiting for, in a few words.
        expected: seconds that it should take.
    """

    started: float
    limit: float
    wait_until: float
    answer_until: float
    describe: Callable[[], str] = lambda: "starting"
    expected: float | None = None

    def say(self, what: str) -> None:
        """Note what the call is waiting for."""
        self.describe = lambda: what


_ANSWER_S = 5.0
"""Seconds that Luma gets for an answer in a call that is not to wait."""

_LEAST_S = 0.8
"""Seconds that a call has at least: with LUMA_MCP_WAIT_S=0 it must still be able to ask."""


@asynccontextmanager
async def calling(ctx: ToolContext, app: App, wait_s: float | None) -> AsyncIterator[Call]:
    """Give a call its limits, and report its progress while it lasts.

    Args:
        ctx: where progress goes.
        app: the server.
        wait_s: how long the caller wants to wait, in seconds.
    """
    app.settings.require("LUMA_MCP_WAIT_S")
    cap = max(app.settings.wait_s, _LEAST_S)
    wait = min(wait_s if wait_s is not None else cap, app.settings.wait_s)
    started = anyio.current_time()
    call = Call(started, started + cap, started + wait, started + max(wait, min(cap, _ANSWER_S)))
    ticking = anyio.CancelScope()

    async def tick() -> None:
        with ticking, suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):  # the client is gone
            while True:
                elapsed = round(anyio.current_time() - started, 1)
                await ctx.report_progress(*progress(elapsed, call.expected, call.describe()))
                await anyio.sleep(TICK_S)

    app.tasks.start_soon(tick)
    try:
        yield call
    finally:
        ticking.cancel()


def app_of(ctx: ToolContext) -> App:
    """The server that a call came to."""
    return ctx.request_context.lifespan_context


def without_query(url: str) -> str:
    """A link without what changes each time it is made anew."""
    return url.partition("?")[0].partition("#")[0].strip()


def utc_now() -> datetime:
    """The time of day."""
    return datetime.now(UTC)
