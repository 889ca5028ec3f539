"""What one server holds. Nothing in it is made before the first call that needs it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from anyio.abc import TaskGroup

from ..apis import LumaApi
from ..errors import LumaServerError, NotFound, SettingsError
from ..media.local_files import LocalFiles
from ..models import Api, Generation
from ..poller import Poller
from ..purchases import Purchases
from ..settings import AGENTS_KEYS_PAGE, DREAM_MACHINE_KEYS_PAGE, Settings, is_loopback

if TYPE_CHECKING:
    import httpx

    from ..apis.agents import Agents
    from ..apis.dream_machine import DreamMachine
    from ..media.downloads import Downloads
    from ..media.films import Films
    from ..purchases.journal import Journal
    from ..purchases.reconcile import ListPage


@dataclass
class Services:
    """What the tools of one server work with. What outlives a call runs in `tasks`, and ends with the server."""

    settings: Settings
    tasks: TaskGroup
    open_http: "Callable[[], httpx.AsyncClient]"
    now: Callable[[], datetime]
    keeping: bool = False
    said_of_tasks: dict[str, tuple[tuple[str, ...] | None, tuple[str, ...]]] = field(default_factory=dict)
    """Local files and warnings that belong to the result of a purchase that was answered with a task."""

    @cached_property
    def http(self) -> "httpx.AsyncClient":
        """The one HTTP client, closed by the server's lifespan."""
        return self.open_http()

    @cached_property
    def dream_machine(self) -> "DreamMachine":
        """The Dream Machine API; `SettingsError` if there is no usable key for it."""
        settings = self.settings
        settings.require_key()
        if settings.api_key is None:
            raise _no_key("Dream Machine API", "LUMA_API_KEY", DREAM_MACHINE_KEYS_PAGE)
        from ..apis.dream_machine import DreamMachine

        instead = "use an Agents model (ray-3.2, uni-1)"
        if settings.agents_key is None:
            instead = f"get an Agents key ({AGENTS_KEYS_PAGE}) and set LUMA_AGENTS_API_KEY"
        return DreamMachine(
            settings.api_key, settings.key_variable, DREAM_MACHINE_KEYS_PAGE, settings.base_url, self.http, instead
        )

    @cached_property
    def agents(self) -> "Agents":
        """The Agents API; `SettingsError` if there is no usable key for it."""
        settings = self.settings
        settings.require_key()
        if settings.agents_key is None:
            raise _no_key("Agents API", "LUMA_AGENTS_API_KEY", AGENTS_KEYS_PAGE)
        from ..apis.agents import Agents

        return Agents(
            settings.agents_key,
            settings.agents_key_variable,
            AGENTS_KEYS_PAGE,
            settings.agents_url,
            self.http,
            self.own_host,
            self.now,
            settings.user,
        )

    def api(self, name: Api) -> LumaApi:
        """One of Luma's APIs, by name."""
        return self.agents if name == "agents" else self.dream_machine

    async def ask(self, generation_id: str, api: Api | None) -> Generation:
        """A generation as Luma shows it now.

        Args:
            generation_id: which.
            api: the API that it belongs to; None asks each that there is a key for, in turn.

        Raises:
            NotFound: none of them knows it.
            LumaServerError: one that might know it could not be asked.
        """
        self.settings.require_key()
        failures: list[LumaServerError] = []
        for name in self.settings.apis if api is None else (api,):
            try:
                return await self.api(name).get(generation_id)
            except LumaServerError as error:
                failures.append(error)
        raise next((error for error in failures if not isinstance(error, NotFound)), failures[0])

    @cached_property
    def journal(self) -> "Journal":
        """The record of the user's purchases."""
        from ..purchases.journal import Journal

        settings = self.settings
        return Journal(
            settings.journal_file,
            self.now,
            [settings.account(api) for api in settings.apis],
            budget_usd=settings.budget_usd,
            budget_spans_accounts=not settings.sandbox,  # each start of the sandbox is an account of its own
        )

    @cached_property
    def purchases(self) -> Purchases:
        """The purchases of this server."""
        list_pages: dict[Api, ListPage] = {}
        if "dream_machine" in self.settings.apis:
            list_pages["dream_machine"] = self.dream_machine.list
        return Purchases(self.journal, self.ask, list_pages, self.tasks, self.now)

    @cached_property
    def poller(self) -> Poller:
        """The generations that calls wait for."""
        return Poller(self.purchases.get, self.tasks)

    @cached_property
    def downloads(self) -> "Downloads":
        """Finished files on their way to disk."""
        from ..media.downloads import Downloads

        return Downloads(
            lambda: self.http,
            self.settings.output_dir,
            self.own_host,
            self.purchases.get,
            self.tasks,
            sandbox=self.settings.sandbox,
        )

    @cached_property
    def films(self) -> "Films":
        """The films that are being made."""
        from ..media.films import Films

        return Films(self.tasks)

    @cached_property
    def local_files(self) -> LocalFiles:
        """The user's files on their way to Luma."""
        return LocalFiles(
            self.settings.input_dirs,
            self.settings.home,
            self.tasks,
            lambda *file: self.agents.upload(*file),
            lambda file_id: self.agents.delete_file(file_id),
            self._uploads_needed,
        )

    async def _uploads_needed(self) -> set[str]:
        """Luma's ids of the uploaded files that jobs under way start from."""
        return {file_id for purchase in await self.journal.unfinished() for file_id in purchase.uploads}

    @property
    def own_host(self) -> str | None:
        """The APIs' host where that is this computer: links to it are in order then."""
        hosts = (urlsplit(url).hostname or "" for url in (self.settings.base_url, self.settings.agents_url))
        return next(filter(is_loopback, hosts), None)

    @property
    def look_up_s(self) -> float:
        """Seconds that Luma gets for an answer that a call can do without."""
        return min(3.0, max(self.settings.wait_s, 1.0) / 2)


def _no_key(api: str, variable: str, page: str) -> SettingsError:
    return SettingsError(f"This needs a key for Luma's {api}. Nothing was sent. Set {variable} to one ({page}).")


def utc_now() -> datetime:
    """The time of day."""
    return datetime.now(UTC)
