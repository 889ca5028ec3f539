"""How money is spent: each purchase is written down, sent once, and reconciled if Luma's answer is lost.

What became of a purchase is the journal's to say. Here is what this process is doing about it: its own POSTs that Luma
has not answered, and its looks at Luma's list.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskGroup

from ..errors import (
    AnswerLost,
    InvalidRequest,
    JournalUnusable,
    LumaServerError,
    NotFound,
    NotSent,
    Refused,
    TooManyRequests,
    WasDeleted,
)
from ..models import MAX_JOB_AGE_S, Api, Generation
from .purchase import Purchase
from .reconcile import LOOKS_S, ListPage, reconcile

if TYPE_CHECKING:  # SQLite is loaded for the first call that needs it
    from .journal import Journal

logger = logging.getLogger("luma_mcp_server")

_POST_S = 60.0
"""The longest that a POST may take: the HTTP client's 30 s for the answer to begin, and as long for its body."""

_ELSEWHERE_GAP_S = 0.25
"""Seconds between two looks at a row that another process is about to complete."""

_NEVER_NOTED = "Luma's answer was never noted: the job may have been taken and charged."

_FOUND_WITHIN_S = 10.0
"""How long a 404 for a new job is not final: nobody documents how soon Luma finds it."""

Send = Callable[[str], Awaitable[Generation]]
"""Sends a POST that carries the purchase's id, and gives Luma's answer."""

Get = Callable[[str, Api | None], Awaitable[Generation]]
"""Asks how a generation stands; the API is the one that it is known to belong to."""


@dataclass(frozen=True)
class PurchaseResult:
    """The purchase that answers a call to buy something; an earlier call made it if `reused`.

    `error` says why Luma's answer, to the POST or to the question how the job stands, is missing.
    """

    purchase: Purchase
    generation: Generation | None = None
    error: LumaServerError | None = None
    reused: bool = False


@dataclass
class _InFlight:
    """A purchase that this process is finding out about; `answered` is set when all is known that will be."""

    generation: Generation | None = None
    error: LumaServerError | None = None
    answered: anyio.Event = field(default_factory=anyio.Event)


class Purchases:
    """The purchases of one server. `list_pages` holds the APIs that have a list of generations.

    POSTs and looks at Luma's list run in `tasks`; its end cuts off all but POSTs on their way.
    """

    def __init__(
        self,
        journal: "Journal",
        get: Get,
        list_pages: Mapping[Api, ListPage],
        tasks: TaskGroup,
        now: Callable[[], datetime],
    ) -> None:
        self.journal, self._get, self._list_pages, self._tasks, self._now = journal, get, list_pages, tasks, now
        self._in_flight: dict[str, _InFlight] = {}
        self.unsaved: set[str] = set()  # purchases of this server whose files are not known to be saved
        self._seen_at: dict[str, float] = {}  # by generation: when Luma was last asked about it, if it is unfinished

    async def find_reusable(self, purchase: Purchase, until: float) -> PurchaseResult | None:
        """The earlier purchase that answers the same call, if there is one.

        What became of it is waited for until a point of the loop's clock. Raises as `buy` does if this process has sent
        it and nothing was bought.
        """
        earlier = await self.journal.active_purchase(purchase)
        if earlier is None:
            return None
        earlier = await self._resolve(earlier, until)
        generation = None
        error: LumaServerError | None = AnswerLost(earlier.note) if earlier.note else None
        if earlier.generation_id and earlier.answers(self._now()):
            try:
                with anyio.CancelScope(deadline=until):
                    generation = await self.get(earlier.generation_id)
            except NotFound as missing:
                if not earlier.finished and earlier.age(self._now()) < MAX_JOB_AGE_S:
                    # Perhaps Luma's trouble, and not the user's deletion: that must not buy it twice.
                    raise LumaServerError(
                        f"{missing} It was unfinished when last seen, so the same call buys nothing yet; another take "
                        "would."
                    ) from missing
                await self.journal.record_deleted(earlier.generation_id)
            except LumaServerError as failure:
                error = failure
            earlier = await self._reread(earlier)
        return PurchaseResult(earlier, generation, error, reused=True) if earlier.answers(self._now()) else None

    async def buy(
        self, purchase: Purchase, send: Send, *, until: float, resend_until: float, say: Callable[[str], None]
    ) -> PurchaseResult:
        """Make a purchase, unless an earlier one answers it, and wait for Luma's answer.

        Only a 429 is sent again, after the time that Luma named, as it is certain that nothing was bought.

        Args:
            until: how long to wait for the answer, on the loop's clock; the purchase goes on afterwards.
            resend_until: no second POST begins after this.

        Raises:
            LumaServerError | JournalUnusable | InvalidRequest | NotSent | Refused: nothing was bought.
        """
        while True:
            purchase = purchase.submitted(self._now())
            flight = None
            try:
                with anyio.CancelScope(shield=True):  # no cancellation comes between the row and its POST
                    if await self.journal.reserve(purchase) is purchase:
                        self.unsaved.add(purchase.id)
                        flight = self._in_flight[purchase.id] = _InFlight()
                        self._tasks.start_soon(self._send, purchase, send, flight)
                if flight:
                    bought = await self._answered(purchase, flight, until)
                    if flight.generation and bought.generation_id is None:  # the journal could not be written
                        bought = replace(bought, status="accepted", generation_id=flight.generation.generation_id)
                    if bought.status == "rejected":
                        raise Refused(f"{bought.note} Make the same call again to buy it.")
                    return PurchaseResult(bought, flight.generation, flight.error)
                if earlier := await self.find_reusable(purchase, until):
                    return earlier
            except TooManyRequests as error:
                pause = max(error.retry_after or 0.0, 1.0)
                if error.concurrency or error.retry_after is None or anyio.current_time() + pause >= resend_until:
                    raise
                say(f"Luma's rate limit: sending again in {pause:.0f} s, nothing bought yet")
                await anyio.sleep(pause)
                until = max(until, resend_until)

    async def _answered(self, purchase: Purchase, flight: _InFlight, until: float) -> Purchase:
        """Wait for what becomes of a POST; raise if nothing was bought."""
        with anyio.CancelScope(deadline=until):
            await flight.answered.wait()
        if flight.error is not None and not isinstance(flight.error, AnswerLost):
            raise flight.error
        return await self._reread(purchase)

    async def _send(self, purchase: Purchase, send: Send, flight: _InFlight) -> None:
        # The end of the server does not cut this; the end of the process may, and then the row is the record.
        with anyio.CancelScope(shield=True):
            try:
                with anyio.fail_after(_POST_S):
                    flight.generation = await send(purchase.id)
            except (InvalidRequest, NotSent, Refused, AnswerLost) as error:
                flight.error = error
            except Exception as error:  # noqa: BLE001 - whatever it was, a job may have been bought
                why = f"luma-mcp-server itself failed ({type(error).__name__})"
                if isinstance(error, TimeoutError):
                    why = f"Luma's API did not answer within {_POST_S:.0f} s"
                flight.error = AnswerLost(f"{why}. The job may have been taken and charged.")
            try:
                if flight.generation:
                    await self.journal.accept(purchase.id, flight.generation)
                elif isinstance(flight.error, AnswerLost):
                    await self.journal.mark_unknown(purchase.id, str(flight.error))
                else:
                    await self.journal.reject(purchase.id, str(flight.error))
            except JournalUnusable as error:  # the answer was paid for and must reach the caller
                flight.generation = flight.generation and flight.generation.replace(warnings=(error.warning,))
        await self._reconcile(purchase, flight, LOOKS_S if isinstance(flight.error, AnswerLost) else ())

    async def _reconcile(self, purchase: Purchase, flight: _InFlight, looks: tuple[float, ...]) -> None:
        """Look in Luma's list, so many seconds from now, until the outcome is known."""
        list_page, began = self._list_pages.get(purchase.api), anyio.current_time()
        try:
            for look in looks:
                if list_page is None or not purchase.unresolved:
                    break
                await anyio.sleep_until(began + look)
                with suppress(LumaServerError):  # the next look, or the next call, asks again
                    await reconcile(purchase, list_page, self.journal, self._now)
                purchase = await self._reread(purchase)
        except Exception as error:  # noqa: BLE001 - a look that fails must not end the server
            logger.error("Reconciling a purchase failed: %s", type(error).__name__)  # noqa: TRY400 - names no values
        finally:
            del self._in_flight[purchase.id]
            flight.answered.set()

    async def find(self, purchase_id: str, until: float) -> Purchase:
        """The purchase with one of our ids, as `_resolve` gives it; raises `InvalidRequest` if nothing was bought."""
        if (purchase := await self.journal.find(purchase_id)) is None:
            raise NotFound(
                f"The journal knows no purchase {purchase_id[:60]} with this key. If it was made with another key or "
                "journal, it may have been charged. list_generations shows what this key's journal and Luma know.",
                status=404,
            )
        try:
            purchase = await self._resolve(purchase, until)
            why = purchase.note if purchase.status == "rejected" else None
        except (InvalidRequest, Refused, NotSent) as error:
            why = str(error)
        if why:
            raise InvalidRequest(f"{purchase_id} was not bought. {why} Make the same call again to buy it.")
        return purchase

    async def _resolve(self, purchase: Purchase, until: float) -> Purchase:
        """A purchase once its outcome is known, or as it stands when time is up; raises as `_answered` does."""
        while purchase.id not in self._in_flight and purchase.in_flight(self._now()):  # another process is at it
            if anyio.current_time() + _ELSEWHERE_GAP_S >= until:
                return purchase
            await anyio.sleep(_ELSEWHERE_GAP_S)
            purchase = await self._reread(purchase)
        if not purchase.unresolved:
            return purchase
        if purchase.id not in self._in_flight and purchase.status == "submitting":
            await self.journal.mark_unknown(purchase.id, _NEVER_NOTED)
        if (flight := self._in_flight.get(purchase.id)) is None:  # asked only now: two calls must not both look
            flight = self._in_flight[purchase.id] = _InFlight()
            self._tasks.start_soon(self._reconcile, purchase, flight, (0.0, *LOOKS_S))
        return await self._answered(purchase, flight, until)

    async def get(self, generation_id: str) -> Generation:
        """A generation as Luma shows it now, with what its purchase says of it; the journal notes how it stands."""
        purchase, warnings = None, tuple[str, ...]()
        try:
            purchase = await self.journal.find(generation_id)
        except JournalUnusable as error:
            warnings = (error.warning,)
        try:
            generation = await self._get(generation_id, purchase.api if purchase else None)
        except NotFound as missing:
            if purchase is None:
                raise
            raise self.explain_missing(purchase, missing) from missing
        if purchase:
            self._seen_at[generation_id] = anyio.current_time()
            if generation.finished:
                del self._seen_at[generation_id]
            if purchase.state != generation.state or (generation.url and purchase.media_url is None):
                with suppress(JournalUnusable):
                    await self.journal.record_states([generation])
            generation = purchase.fill(generation)
        return generation.replace(warnings=warnings or generation.warnings)

    def unseen_s(self, purchase: Purchase) -> float:
        """Seconds since this process last saw how a purchase's job stands."""
        seen_at = self._seen_at.get(purchase.generation_id or "")
        return purchase.age(self._now()) if seen_at is None else anyio.current_time() - seen_at

    def explain_missing(self, purchase: Purchase, missing: NotFound) -> LumaServerError:
        """What to say of a generation that Luma does not know, though it was bought here."""
        taken_at = purchase.accepted_at or purchase.submitted_at
        if self._now().timestamp() - taken_at < _FOUND_WITHIN_S and not purchase.finished:
            return AnswerLost(
                f"Luma has just taken generation {purchase.generation_id} and does not find it yet. Nothing is lost: "
                "call again."
            )
        bought = f"{datetime.fromtimestamp(purchase.submitted_at).astimezone():%Y-%m-%d at %H:%M}"
        if purchase.status == "deleted":
            words = f"Generation {purchase.generation_id}, bought on {bought}, has been deleted. Saved files stay."
            return WasDeleted(words, status=404)
        return NotFound(f"{missing} This server bought it on {bought}.", status=404)

    async def _reread(self, purchase: Purchase) -> Purchase:
        """The purchase as it stands now; as it was, where the journal can't be read."""
        with suppress(JournalUnusable):
            return await self.journal.find(purchase.id) or purchase
        return purchase
