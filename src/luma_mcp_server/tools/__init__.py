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

from ..backends import Backend
from ..errors import InvalidRequest, LumaServerError, NotFound, SettingsError
from ..jobs import Jobs
from ..media import Files, Reference, is_local, parse_reference
from ..models import Api, Generation, LocalFile, Request, VideoRequest
from ..polling import MAX_JOB_AGE_S, TICK_S, progress
from ..settings import AGENTS_KEYS_PAGE, DREAM_MACHINE_KEYS_PAGE, Settings, is_loopback

if TYPE_CHECKING:
    import httpx

    from ..backends.agents import Agents
    from ..backends.dream_machine import DreamMachine
    from ..inputs import Inputs

ToolContext = Context["App", Any]

_MOST_SEEN = 10_000
_SAID = ("prompt", "aspect_ratio", "resolution", "duration")
"""Fields that a request, or what it starts from, tells of a generation."""


@dataclass
class App:
    """What the tools of one server work with. Nothing in it is made before the first call that needs it."""

    settings: Settings
    tasks: TaskGroup
    open_http: Callable[[], "httpx.AsyncClient"]
    now: Callable[[], datetime]
    seen: dict[str, str] = field(default_factory=dict)
    """Links without query, and paths of saved files: the generations they belong to."""

    apis_of: dict[str, Api] = field(default_factory=dict)
    """Ids of generations that were asked for, and the API that knew them."""

    made: dict[str, Generation] = field(default_factory=dict)
    """Generations that this process bought, as last seen, with what their requests say of them."""

    camera_words: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Luma's words for the camera, once it has said them; empty for a list that it does not have any more."""

    @cached_property
    def http(self) -> "httpx.AsyncClient":
        """The one HTTP client, closed by the server's lifespan."""
        return self.open_http()

    @cached_property
    def dream_machine(self) -> "DreamMachine":
        """The Dream Machine backend.

        Raises:
            SettingsError: there is no usable key for it.
        """
        self.settings.require_key()
        if self.settings.api_key is None:
            raise SettingsError(
                "This needs a key of Luma's Dream Machine API: the Agents API can't do it. Nothing was sent. Set "
                f"LUMA_API_KEY to one ({DREAM_MACHINE_KEYS_PAGE}), and LUMA_AGENTS_API_KEY to the other."
            )
        from ..backends.dream_machine import DreamMachine

        if_gone = (
            "Luma may have retired this: use an Agents model (ray-3.2, uni-1)."
            if self.settings.agents_key
            else f"Luma may have retired this: get an Agents key ({AGENTS_KEYS_PAGE}) and set LUMA_AGENTS_API_KEY."
        )
        settings = self.settings
        return DreamMachine(self.settings.api_key, settings.key_variable, settings.base_url, self.http, if_gone)

    @cached_property
    def agents(self) -> "Agents":
        """The Agents backend.

        Raises:
            SettingsError: there is no usable key for it.
        """
        settings = self.settings
        settings.require_key()
        if settings.agents_key is None:
            raise SettingsError(
                f"This needs a key of Luma's Agents API. Nothing was sent. Set LUMA_AGENTS_API_KEY "
                f"({AGENTS_KEYS_PAGE})."
            )
        from ..backends.agents import Agents

        return Agents(settings.agents_key, settings.agents_key_variable, settings.agents_url, self.http, self.now)

    def backend(self, api: Api) -> Backend:
        """The backend of one API."""
        return self.agents if api == "agents" else self.dream_machine

    @cached_property
    def jobs(self) -> Jobs:
        """The paid jobs of this server."""
        return Jobs(self.get, self.note_purchase, self.tasks)

    @property
    def look_up_s(self) -> float:
        """How long Luma gets for an answer that a call can do without, in seconds."""
        return min(3.0, max(self.settings.wait_s, 1.0) / 2)

    @cached_property
    def files(self) -> Files:
        """Downloads of this server."""
        return Files(lambda: self.http, self.settings.output_dir, self.own_host)

    @cached_property
    def inputs(self) -> "Inputs":
        """Local files on their way to Luma."""
        from ..inputs import Inputs

        async def upload(size: int, media_type: str, filename: str, chunks: AsyncIterator[bytes]) -> str:
            return await self.agents.upload(size, media_type, filename, chunks)

        return Inputs(self.settings.input_dirs, self.settings.home, self.tasks, upload)

    @property
    def own_host(self) -> str | None:
        """The APIs' host where that is this computer: links to it are in order then."""
        hosts = (urlsplit(url).hostname or "" for url in (self.settings.base_url, self.settings.agents_url))
        return next(filter(is_loopback, hosts), None)

    def remember(self, generation: Generation) -> None:
        """Note which links and which file are a generation's, so that they can stand for it."""
        if generation.generation_id is None:
            return
        for place in (generation.video_url, generation.image_url, generation.thumbnail_url, generation.file_path):
            if place:
                self.seen[_place(place)] = generation.generation_id
        while len(self.seen) > _MOST_SEEN:
            del self.seen[next(iter(self.seen))]

    def note_purchase(self, generation: Generation, request: Request) -> Generation:
        """The generation with what its request says of it, kept since Luma's answers may not say it again."""
        assert generation.generation_id is not None
        source = getattr(request, "source", None)
        said = {name: getattr(request, name, None) or getattr(source, name, None) for name in _SAID}
        if isinstance(request, VideoRequest) and (request.start_video or request.end_video):
            said["duration"] = None  # it is longer than what was asked for
        noted = generation.with_(**{name: value for name, value in said.items() if not getattr(generation, name)})
        self.made[generation.generation_id] = noted
        self.apis_of[generation.generation_id] = generation.api or "dream_machine"
        return noted

    async def get(self, generation_id: str) -> Generation:
        """A generation as Luma shows it now, whichever API it belongs to.

        Raises:
            NotFound: no API that there is a key for knows it.
            LumaServerError: an API that might know it could not be asked.
        """
        self.settings.require_key()
        known = self.apis_of.get(generation_id)
        found: list[Generation] = []
        failures: list[LumaServerError] = []

        async def ask(api: Api, tasks: TaskGroup) -> None:
            try:
                found.append(await self.backend(api).get(generation_id))
                self.apis_of[generation_id] = api
                tasks.cancel_scope.cancel()
            except LumaServerError as error:
                failures.append(error)

        # Both at once, so that an API that hangs does not hide what the other knows.
        async with anyio.create_task_group() as tasks:
            for api in (known,) if known else self.settings.apis:
                tasks.start_soon(ask, api, tasks)
        if not found:
            raise next((error for error in failures if not isinstance(error, NotFound)), failures[-1])
        generation = found[0]
        if (made := self.made.get(generation_id)) is not None:
            said = {name: getattr(made, name) for name in _SAID if not getattr(generation, name)}
            generation = self.made[generation_id] = generation.with_(**said)
        self.remember(generation)
        return generation

    def is_users_own(self, text: str) -> bool:
        """Whether a parameter names a file of the user's, or holds one, and not what was made here.

        A `#weight=…` may be a weight or a part of the name, so both readings must say so.
        """
        where = self.settings.output_dir, self.settings.home
        plain = text.strip().partition("#weight=")[0]
        return all(is_local(one, *where) and _place(one) not in self.seen for one in (text, plain))

    def reference(self, text: str, parameter: str, *, media: bool = True, weighted: bool = False) -> Reference:
        """Read what names media or a generation; a known link or file of a generation stands for it."""
        plain, weight = text.strip().partition("#weight=")[::2]
        if known := self.seen.get(_place(plain)):
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
        if "dream_machine" in self.settings.apis:
            try:
                for generation in (await self.dream_machine.list(100, 0))[0]:
                    self.remember(generation)
            except LumaServerError:
                if "agents" not in self.settings.apis:
                    raise  # there is nowhere else that the link could belong to
        if known := self.seen.get(_place(reference.value)):
            return known
        raise InvalidRequest(
            f"{parameter} is a URL of none of your newest 100 generations. Nothing was sent. Use the generation's id "
            "(list_generations). Luma continues only clips that it made: for another, use modify_video, or "
            "generate_video(start_image=…) with an image of its last frame."
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
        try:
            self.settings.require("LUMA_MCP_SAVE")
        except SettingsError as error:
            return generation.with_(warnings=(str(error),))
        again = f'Call download_generation(generation_id="{generation.generation_id}").'
        path = None
        with anyio.CancelScope(deadline=until):
            try:
                path = await self.files.save(generation)
            except LumaServerError as error:
                return generation.with_(warnings=(str(error),))
            except Exception as error:  # noqa: BLE001 - a paid job's id must reach the caller, whatever fails here
                return generation.with_(warnings=(f"The file was not saved ({type(error).__name__}). {again}",))
        if path is None:
            return generation.with_(warnings=(f"There was no time left to save the file. {again}",))
        saved = generation.with_(file_path=str(path))
        self.remember(saved)
        return saved


@dataclass
class Call:
    """One call's time, and what it is doing, for progress.

    Attributes:
        app: the server.
        started: when it arrived, on the loop's clock.
        limit: when the call must answer, on the loop's clock.
        wait_until: until when it waits for results; the caller may shorten that.
        answer_until: until when it waits for Luma's answers to single questions, even if it is not to wait.
        describe: says what it is waiting for, in a few words.
        expected: seconds that it should take.
    """

    app: App
    started: float
    limit: float
    wait_until: float
    answer_until: float
    describe: Callable[[], str] = lambda: "starting"
    expected: float | None = None
    files: list[LocalFile] = field(default_factory=list)
    """Local files that it looked at."""

    preparing: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """Ends the free questions before a purchase; an upload may lengthen it."""

    def say(self, what: str) -> None:
        """Note what the call is waiting for."""
        self.describe = lambda: what


ANSWER_S = 5.0
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
    call = Call(app, started, started + cap, started + wait, started + max(wait, min(cap, ANSWER_S)))
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


def _place(text: str) -> str:
    """A link without what changes each time it is made anew; a path as it is, since `#` and `?` may be part of it."""
    text = text.strip()
    return text.partition("?")[0].partition("#")[0] if text.startswith(("http://", "https://")) else text


def utc_now() -> datetime:
    """The time of day."""
    return datetime.now(UTC)
