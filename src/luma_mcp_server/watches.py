"""Generations that calls wait for: each is asked about by one asker, however many wait."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup

from .errors import AnswerLost, JournalBusy, NotSent, TooManyRequests
from .journal import Journal
from .models import Generation
from .polling import next_gap

_SEEN_WITHIN_S = 5.0
"""An end that is seen so soon after the job was still unfinished tells how long such jobs take."""


@dataclass
class Watch:
    """One generation that is being asked about, however many calls wait for it.

    Attributes:
        generation: as last seen.
        error: why the last question had no answer; final if `ended` is set.
        asked: set after the first answer or error.
        ended: set when asking on is useless.
    """

    generation: Generation | None = None
    error: Exception | None = None
    asked: anyio.Event = field(default_factory=anyio.Event)
    ended: anyio.Event = field(default_factory=anyio.Event)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    waiters: int = 0


class Watches:
    """The generations that are waited for.

    Args:
        journal: told how long jobs take.
        get: asks how a generation stands, whichever API it belongs to.
        tasks: where the questions run; its end cuts them off.
    """

    def __init__(self, journal: Journal, get: Callable[[str], Awaitable[Generation]], tasks: TaskGroup) -> None:
        self._journal, self._get, self._tasks = journal, get, tasks
        self._watches: dict[str, Watch] = {}

    @asynccontextmanager
    async def watch(self, generation_id: str, *, delay: float = 0.0) -> AsyncIterator[Watch]:
        """Ask about a generation, on and on, while at least one caller is inside.

        Args:
            generation_id: which.
            delay: seconds before the first question, for one that is known to be unfinished.
        """
        watch = self._watches.get(generation_id)
        if watch is None:
            watch = self._watches[generation_id] = Watch()
            self._tasks.start_soon(self._ask, generation_id, watch, delay)
        watch.waiters += 1
        try:
            yield watch
        finally:
            watch.waiters -= 1
            if not watch.waiters:
                watch.scope.cancel()
                if self._watches.get(generation_id) is watch:
                    del self._watches[generation_id]

    async def _ask(self, generation_id: str, watch: Watch, delay: float) -> None:
        with watch.scope:
            started, failures = anyio.current_time(), 0
            unfinished_at = started if delay else float("-inf")
            await anyio.sleep(delay)
            while not watch.ended.is_set():
                retry_after = None
                try:
                    watch.generation = await self._get(generation_id)
                    watch.error, failures = None, 0
                    if watch.generation.finished:
                        watch.ended.set()
                        if anyio.current_time() - unfinished_at <= _SEEN_WITHIN_S:
                            with suppress(JournalBusy):
                                self._journal.ended_now(generation_id)
                    unfinished_at = anyio.current_time()
                except (NotSent, AnswerLost, TooManyRequests) as error:
                    watch.error, failures = error, failures + 1
                    retry_after = None if isinstance(error, NotSent) else error.retry_after
                except Exception as error:  # noqa: BLE001 - handed to the calls that wait, which raise it
                    watch.error = error
                    watch.ended.set()
                watch.asked.set()
                if not watch.ended.is_set():
                    await anyio.sleep(next_gap(anyio.current_time() - started, failures, retry_after))
