"""Asking how generations stand: when to ask next, what progress to report, and one asker per generation."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup

from .errors import AnswerLost, NotSent, TooManyRequests
from .models import Generation

_FIRST_GAP_S = 2.0
_LATER_GAP_S = 5.0
_LATER_AFTER_S = 180.0
_LONGEST_GAP_S = 30.0

_RECENT_S = 2.0
"""Seconds within which an answer of Luma's need not be asked for again."""

TICK_S = 2.0
"""Seconds between two progress reports, at most."""


def first_gap() -> float:
    """Seconds to wait before the first question about a new job, spread so that jobs are not asked about in step."""
    return _FIRST_GAP_S * random.uniform(0.5, 1.5)  # noqa: S311 - spreads load, keeps no secret


def next_gap(elapsed: float, failures: int = 0, retry_after: float | None = None) -> float:
    """Seconds to wait before the next question, `elapsed` seconds after the first; failures in a row double them."""
    gap = _FIRST_GAP_S if elapsed < _LATER_AFTER_S else _LATER_GAP_S
    gap = max(gap, retry_after or 0.0) * 2.0 ** min(failures, 4)
    # A little jitter keeps fifty waits that began together from asking together.
    return min(gap, _LONGEST_GAP_S) * random.uniform(0.95, 1.05)  # noqa: S311 - spreads load, keeps no secret


def progress(elapsed: float, expected: float | None, what: str) -> tuple[float, float | None, str]:
    """Progress, total and message of one report; no total is given once the `expected` seconds are over."""
    if expected is not None and elapsed < expected:
        return elapsed, round(expected, 1), f"{what}, {elapsed:.0f} s of about {expected:.0f} s"
    late = "" if expected is None else ": longer than usual"
    return elapsed, None, f"{what}, {elapsed:.0f} s so far{late}"


@dataclass
class Watch:
    """One generation that is being asked about, however many calls wait for it."""

    generation: Generation | None = None
    error: Exception | None = None  # why the last question had no answer; final if `ended` is set
    asked: anyio.Event = field(default_factory=anyio.Event)  # set after the first answer or error
    ended: anyio.Event = field(default_factory=anyio.Event)  # set when asking on is useless
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    waiters: int = 0


class Poller:
    """The generations that calls wait for; the end of `tasks` ends the questions about them."""

    def __init__(self, get: Callable[[str], Awaitable[Generation]], tasks: TaskGroup) -> None:
        self._get, self._tasks = get, tasks
        self._watches: dict[str, Watch] = {}
        self._recent: dict[str, tuple[float, Generation]] = {}  # what was answered, and when, by generation

    def is_watched(self, generation_id: str) -> bool:
        """Whether a call is waiting for a generation."""
        return generation_id in self._watches

    @asynccontextmanager
    async def watch(self, generation_id: str, *, delay: float = 0.0) -> AsyncIterator[Watch]:
        """Ask about a generation, on and on, while at least one caller is inside.

        `delay` is seconds before the first question, for a generation that is known to be unfinished.
        """
        watch = self._watches.get(generation_id)
        if watch is None:
            watch = self._watches[generation_id] = Watch()
            asked_at, generation = self._recent.get(generation_id, (-_RECENT_S, None))
            if (age := anyio.current_time() - asked_at) < _RECENT_S:
                watch.generation, delay = generation, max(delay, _RECENT_S - age)
                watch.asked.set()
            if watch.generation and watch.generation.finished:
                watch.ended.set()
            else:
                self._tasks.start_soon(self._ask, generation_id, watch, delay)
        watch.waiters += 1
        try:
            yield watch
        finally:
            watch.waiters -= 1
            if not watch.waiters:
                watch.scope.cancel()
                del self._watches[generation_id]

    def _remember(self, generation_id: str, generation: Generation) -> None:
        now = anyio.current_time()
        self._recent = {name: one for name, one in self._recent.items() if now - one[0] < _RECENT_S}
        self._recent[generation_id] = now, generation

    async def _ask(self, generation_id: str, watch: Watch, delay: float) -> None:
        with watch.scope:
            started, failures = anyio.current_time(), 0
            await anyio.sleep(delay)
            while True:
                retry_after = None
                try:
                    watch.generation = await self._get(generation_id)
                    watch.error, failures = None, 0
                    self._remember(generation_id, watch.generation)
                    if watch.generation.finished:
                        break
                except (NotSent, AnswerLost, TooManyRequests) as error:
                    watch.error, failures = error, failures + 1
                    retry_after = None if isinstance(error, NotSent) else error.retry_after
                except Exception as error:  # noqa: BLE001 - handed to the calls that wait, which raise it
                    watch.error = error
                    break
                watch.asked.set()
                await anyio.sleep(next_gap(anyio.current_time() - started, failures, retry_after))
            watch.asked.set()
            watch.ended.set()
