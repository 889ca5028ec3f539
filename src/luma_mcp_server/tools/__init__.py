"""The tools: plain async functions, and what they share."""

from collections.abc import AsyncIterator, Callable, Iterable
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
from ..errors import AnswerLost, InvalidRequest, JournalBusy, LumaServerError, NotFound, SettingsError
from ..media import Files, Reference, is_local, parse_reference
from ..models import REQUEST_PREFIX, Api, Generation, LocalFile, plain_text, plain_url
from ..polling import MAX_JOB_AGE_S, TICK_S, expected_seconds, progress
from ..settings import AGENTS_KEYS_PAGE, DREAM_MACHINE_KEYS_PAGE, Settings, is_loopback
from .showing import told_by

if TYPE_CHECKING:
    import httpx

    from ..backends.agents import Agents
    from ..backends.dream_machine import DreamMachine
    from ..inputs import Inputs
    from ..jobs import Find, Jobs
    from ..journal import Journal, Row
    from ..watches import Watches

ToolContext = Context["App", Any]

_MOST_SEEN = 10_000

_FOUND_WITHIN_S = 10.0
"""How long after Luma took a job a 404 for it is not final: nobody documents how soon Luma finds and lists it."""


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
    def journal(self) -> "Journal":
        """The record of the user's paid jobs."""
        from ..journal import Journal

        settings = self.settings
        # What the sandbox makes is neither money nor there tomorrow: it has a file of its own.
        name = "sandbox.sqlite3" if settings.sandbox else "journal.sqlite3"
        return Journal(
            settings.state_dir / name if settings.state_dir else None,
            self.now,
            [settings.account(api) for api in settings.apis],
            budget_usd=settings.budget_usd,
            must_last=settings.budget_set and settings.budget_usd is not None,
            counts_all=not settings.sandbox,
        )

    @cached_property
    def jobs(self) -> "Jobs":
        """The paid jobs of this server."""
        from ..jobs import Jobs

        def finder(api: Api) -> "Find | None":
            return self.dream_machine.find if api == "dream_machine" else None

        return Jobs(self.journal, self.get, finder, self.tasks, self.now)

    @cached_property
    def watches(self) -> "Watches":
        """The generations that calls wait for."""
        from ..watches import Watches

        return Watches(self.journal, self.get, self.tasks)

    def age(self, row: "Row") -> float:
        """Seconds since a purchase was made."""
        return self.now().timestamp() - row.submitted_at

    def is_new(self, row: "Row") -> bool:
        """Whether Luma has taken a job so recently that it may not find or list it yet."""
        return abs(self.now().timestamp() - row.made_at) <= _FOUND_WITHIN_S

    def running(self, but: "Row | None" = None) -> "list[Row]":
        """Purchases that had not ended when they were last seen, newest first."""
        return self.journal.running(self.now().timestamp() - MAX_JOB_AGE_S, but.id if but else "")

    def usual_seconds(self, row: "Row") -> float | None:
        """How long such a job takes in all: as it did before, else as others say."""
        usual = self.journal.usual_seconds(row.shape)
        return usual if usual or self.settings.sandbox else expected_seconds(row.kind, row.model)

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

    def remember(self, *generations: Generation) -> None:
        """Note which links and which file are a generation's, so that they can stand for it.

        Links are kept for the next process too, as the same call must not mean something else there; not so a file,
        which may be another one by then.
        """
        new: list[tuple[str, str, str]] = []
        for one in generations:
            if one.generation_id is None or one.api is None:
                continue
            account = self.settings.account(one.api)
            for link in map(_place, filter(None, (one.video_url, one.image_url, one.thumbnail_url))):
                if link not in self.seen:
                    new.append((account, link, one.generation_id))
                    self.seen[link] = one.generation_id
            if one.file_path:
                self.seen[_place(one.file_path)] = one.generation_id
        while len(self.seen) > _MOST_SEEN:
            del self.seen[next(iter(self.seen))]
        if new:
            with suppress(JournalBusy):
                self.journal.note_links(new)

    def owner(self, text: str) -> str | None:
        """The generation that a link or a saved file is known to be of."""
        place = _place(text)
        return self.seen.get(place) or (self.journal.whose(place) if "://" in place else None)

    def saw(self, *generations: Generation) -> None:
        """Note in the journal how generations stand."""
        with suppress(JournalBusy):  # then it is noted the next time
            self.journal.saw(*generations)

    async def refresh(self, rows: "Iterable[Row]") -> set[str]:
        """Ask how purchases stand, once and together, and give the ids that Luma does not know any more.

        Those that have no answer in time stay as they were last seen.
        """
        gone: set[str] = set()

        async def ask(row: "Row") -> None:
            try:
                await self.get(str(row.generation_id))
            except NotFound:
                gone.add(str(row.generation_id))
            except LumaServerError:
                pass

        with anyio.move_on_after(self.look_up_s):
            async with anyio.create_task_group() as tasks:
                for row in rows:
                    tasks.start_soon(ask, row)
        return gone

    async def get(self, generation_id: str) -> Generation:
        """A generation as Luma shows it now, whichever API it belongs to.

        Raises:
            NotFound: no API that there is a key for knows it.
            LumaServerError: an API that might know it could not be asked, or does not find what it has just taken.
        """
        self.settings.require_key()
        row = self.journal.of(generation_id)
        known = row.api if row else self.apis_of.get(generation_id)
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
            for api in self.settings.apis:
                if known in (None, api):
                    tasks.start_soon(ask, api, tasks)
        if not found:
            failure = next((error for error in failures if not isinstance(error, NotFound)), failures[-1])
            if row is None or not isinstance(failure, NotFound):
                raise failure
            if self.is_new(row) and not row.finished:
                raise AnswerLost(
                    f"Luma has just taken generation {generation_id} and does not find it yet. Nothing is lost: ask "
                    "again."
                ) from failure
            bought = f"{datetime.fromtimestamp(row.submitted_at).astimezone():%Y-%m-%d at %H:%M}"
            if row.status == "deleted":
                gone = f"Generation {generation_id}, bought on {bought}, has been deleted. Saved files stay."
                raise NotFound(gone, status=404) from failure
            raise NotFound(f"{failure} This server bought it on {bought}.", status=404) from failure
        generation = found[0]
        self.saw(generation)
        if row and row.asked:
            generation = told_by(row.asked, generation)
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
        """Read what names media or a generation; what is known to be a generation's stands for it.

        Raises:
            InvalidRequest: it names nothing, or a purchase that has no generation yet.
        """
        if text.strip().startswith(REQUEST_PREFIX):
            row = self.journal.row(text.strip())
            if row is None or row.generation_id is None:
                raise InvalidRequest(
                    f"{parameter}: {text.strip()[:60]} has no generation yet. Nothing was sent. "
                    f'wait_for_generations(generation_ids=["{text.strip()[:60]}"]) tells what became of it.'
                )
            text = row.generation_id
        plain, weight = text.strip().partition("#weight=")[::2]
        if known := self.owner(plain):
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
                self.remember(*(await self.dream_machine.list(100, 0))[0])
            except LumaServerError:
                if "agents" not in self.settings.apis:
                    raise  # there is nowhere else that the link could belong to
        if known := self.owner(reference.value):
            return known
        raise InvalidRequest(
            f"{parameter} is a URL of none of your newest 100 generations. Nothing was bought. Use the generation's id "
            "(list_generations). Luma continues only clips that it made: for another, use modify_video, or "
            "generate_video(start_image=…) with an image of its last frame."
        )

    def is_overdue(self, generation: Generation) -> bool:
        """Whether waiting for a job is useless: it is older than Luma keeps one, by its clock and by ours."""
        row = self.journal.of(generation.generation_id) if generation.generation_id else None
        if generation.finished or row is None or generation.created_at is None:
            return False
        return min(self.age(row), (self.now() - generation.created_at).total_seconds()) > MAX_JOB_AGE_S

    def present(self, generation: Generation, **more: Any) -> Generation:
        """A generation as tools show it: with what this server knows beside what Luma said."""
        changes = dict(more)
        warnings = [*(generation.warnings or ()), *changes.pop("warnings", ())]
        if "journal" in vars(self):
            warnings += self.journal.news()
        if not generation.finished and generation.generation_id:
            changes.setdefault("next_step", f'wait_for_generations(generation_ids=["{generation.generation_id}"])')
            age = None
            if row := self.journal.of(generation.generation_id):
                age = self.age(row)  # by the same clock, should it be wrong
            elif generation.created_at:
                age = (self.now() - generation.created_at).total_seconds()
            if age is not None:
                changes["elapsed_s"] = round(max(0.0, age))
            if age is not None and age > MAX_JOB_AGE_S:
                warnings.append("Older than an hour: Luma drops such jobs. Don't wait for it any longer.")
                changes["next_step"] = f'get_generation(generation_id="{generation.generation_id}")'
        if self.settings.sandbox:
            changes["sandbox"] = True
        if generation.prompt:
            changes["prompt"] = plain_text(generation.prompt)
        return generation.with_(**changes, warnings=tuple(warnings) or None)

    async def saved(self, generation: Generation, until: float) -> Generation:
        """The generation with its file, saved by a point of the loop's clock; a failure becomes a warning."""
        if not self.settings.save or generation.state != "completed":
            return generation
        if wrong := self.settings.wrong("LUMA_MCP_SAVE"):
            return generation.with_(warnings=(f"{wrong} Until then no file is saved.",))
        again = f'Call download_generation(generation_id="{generation.generation_id}").'
        path = self.files.saved(generation)
        with anyio.CancelScope(deadline=until):
            try:
                path = path or await self.files.save(generation)
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

    def expect(self, seconds: float | None) -> None:
        """Note that the call should last so much longer; of several jobs the longest counts."""
        if seconds is not None:
            left = anyio.current_time() - self.started + max(0.0, seconds)
            self.expected = max(self.expected or 0.0, left)

    def say(self, what: str) -> None:
        """Note what the call is waiting for."""
        self.describe = lambda: what


ANSWER_S = 5.0
"""Seconds that Luma gets for an answer in a call that is not to wait."""

LEAST_S = 0.8
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
    cap = max(app.settings.wait_s, LEAST_S)
    wait = min(wait_s if wait_s is not None else cap, app.settings.wait_s)
    started = anyio.current_time()
    call = Call(app, started, started + cap, started + wait, started + max(wait, min(cap, ANSWER_S)))
    ticking = anyio.CancelScope()

    async def tick() -> None:
        with ticking:
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
    return plain_url(text) if text[:8].lower().startswith(("http://", "https://")) else text


def utc_now() -> datetime:
    """The time of day."""
    return datetime.now(UTC)
