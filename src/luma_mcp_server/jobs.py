"""The life of a paid job in this process: sent once, then asked about until it ends."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup

from .backends import Backend
from .errors import AnswerLost, NotFound, NotSent, TooManyRequests
from .models import Generation, Request
from .polling import next_gap

REQUEST_PREFIX = "request-"

_FOUND_WITHIN_S = 10.0
"""How long a 404 for a new generation is not final: nobody documents how soon Luma finds it."""


@dataclass
class Purchase:
    """One paid request. It runs apart from the call that made it, so that no time limit cuts it off.

    Attributes:
        request_id: ours, to ask for it while Luma has not answered.
        generation: what Luma said, once it has.
        error: why there is no generation.
        answered: set when either is there.
    """

    request_id: str
    request: Request
    generation: Generation | None = None
    error: Exception | None = None
    answered: anyio.Event = field(default_factory=anyio.Event)


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


class Jobs:
    """The paid jobs of one server.

    Args:
        get: asks how a generation stands, whichever API it belongs to.
        taken: told of each generation as soon as Luma has taken it, and gives it back with what is known of it.
        tasks: where purchases and questions run; its end cuts them off.
    """

    def __init__(
        self,
        get: Callable[[str], Awaitable[Generation]],
        taken: Callable[[Generation, Request], Generation],
        tasks: TaskGroup,
    ) -> None:
        self._get, self._taken, self._tasks = get, taken, tasks
        self._purchases: dict[str, Purchase] = {}
        self._watches: dict[str, Watch] = {}
        self._bought: dict[str, float] = {}

    async def buy(
        self,
        backend: Backend,
        request: Request,
        *,
        answer_until: float,
        resend_until: float,
        say: Callable[[str], None],
    ) -> Purchase:
        """Send a request and wait for Luma's answer.

        Only a 429 is sent again, after the time that Luma named, as it is certain that nothing was bought.

        Args:
            backend: where.
            request: what to buy.
            answer_until: how long to wait for the answer, on the loop's clock; the purchase goes on afterwards.
            resend_until: no second try begins after this.
            say: told what is being waited for.

        Returns:
            The purchase, without a generation if Luma has not answered in time.

        Raises:
            InvalidRequest | NotSent | Refused | AnswerLost: nothing was made, or nobody knows.
        """
        while True:
            purchase = Purchase(REQUEST_PREFIX + uuid.uuid4().hex, request)
            self._purchases[purchase.request_id] = purchase
            self._tasks.start_soon(self._send, backend, purchase)
            with anyio.CancelScope(deadline=answer_until):
                await purchase.answered.wait()
            if purchase.answered.is_set():
                del self._purchases[purchase.request_id]
            if (error := purchase.error) is None:
                return purchase
            if not isinstance(error, TooManyRequests) or error.concurrency or error.retry_after is None:
                raise error
            pause = max(error.retry_after, 1.0)
            if anyio.current_time() + pause >= resend_until:
                raise error
            say(f"Luma's rate limit: sending again in {pause:.0f} s, nothing bought yet")
            await anyio.sleep(pause)
            answer_until = max(answer_until, resend_until)

    async def _send(self, backend: Backend, purchase: Purchase) -> None:
        try:
            generation = await backend.create(purchase.request, purchase.request_id)
            self._bought[generation.generation_id or ""] = anyio.current_time()
            purchase.generation = self._taken(generation, purchase.request)
        except Exception as error:  # noqa: BLE001 - handed to the call that waits, which raises it
            purchase.error = error
        purchase.answered.set()

    def purchase(self, request_id: str) -> Purchase:
        """The purchase with one of our ids.

        Raises:
            NotFound: this process has made none such.
        """
        try:
            return self._purchases[request_id]
        except KeyError:
            raise NotFound(
                f"This server knows no purchase {request_id}; it forgets them when it ends. list_generations shows "
                "what Luma took.",
                status=404,
            ) from None

    def unanswered(self) -> list[Purchase]:
        """Purchases that Luma has neither answered nor refused."""
        return [purchase for purchase in self._purchases.values() if not purchase.answered.is_set()]

    def running(self) -> list[str]:
        """Ids of the generations that calls are waiting for now."""
        return [name for name, watch in self._watches.items() if not watch.ended.is_set()]

    @asynccontextmanager
    async def watch(self, generation_id: str, *, delay: float = 0.0) -> AsyncIterator[Watch]:
        """Ask about a generation, on and on, while at least one caller is inside.

        Args:
            generation_id: which.
            delay: seconds before the first question.
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
            await anyio.sleep(delay)
            while not watch.ended.is_set():
                retry_after = None
                try:
                    watch.generation = await self._get(generation_id)
                    watch.error, failures = None, 0
                    if watch.generation.finished:
                        watch.ended.set()
                except (NotSent, AnswerLost, TooManyRequests, NotFound) as error:
                    watch.error, failures = error, failures + 1
                    retry_after = error.retry_after if isinstance(error, AnswerLost | TooManyRequests) else None
                    age = anyio.current_time() - self._bought.get(generation_id, float("-inf"))
                    if isinstance(error, NotFound) and age > _FOUND_WITHIN_S:
                        watch.ended.set()
                except Exception as error:  # noqa: BLE001 - handed to the calls that wait, which raise it
                    watch.error = error
                    watch.ended.set()
                watch.asked.set()
                if not watch.ended.is_set():
                    await anyio.sleep(next_gap(anyio.current_time() - started, failures, retry_after))
