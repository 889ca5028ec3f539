"""The life of a purchase: recorded, sent once, and looked for if Luma's answer is lost.

What became of it is the journal's to say. Here is only what this process is doing about it: its own requests that Luma
has not answered, and the searches for lost ones.
"""

import logging
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import TypeVar

import anyio
from anyio.abc import TaskGroup

from .backends import Backend, Lost
from .errors import (
    AnswerLost,
    InvalidRequest,
    JournalBusy,
    LumaServerError,
    NotFound,
    NotSent,
    Refused,
    TooManyRequests,
)
from .journal import DAY_S, OWNED_S, REPEAT_S, Journal, Row, identity_of, written
from .models import REQUEST_PREFIX, Api, AudioRequest, Generation, ReframeRequest, Request, UpscaleRequest

T = TypeVar("T")

logger = logging.getLogger("luma_mcp_server")

_POST_S = 60.0
"""The longest that a purchase waits for Luma: the HTTP client's 30 s for the answer to begin, and as long for its body,
which never meets the client's time-outs if it trickles in."""

_BUSY_S = 5.0
_BUSY_GAP_S = 0.4
"""How long, and how often, the journal is tried while another process keeps it locked."""

_LATER_S = 5.0
"""Seconds between two later tries to write what Luma has answered."""

_ELSEWHERE_GAP_S = 0.25
"""Seconds between two looks at a row that another process is about to complete."""

_LOOKS_S = (2.0, 5.0, 15.0, 30.0, 60.0)
"""Seconds after an answer was lost at which Luma's list is searched."""

_LATER_LOOKS_S = (0.0, *_LOOKS_S)
"""The same for a later call that needs to know."""


@dataclass(frozen=True)
class Order:
    """What a call wants to buy.

    Attributes:
        backend: where.
        account: whose money it is.
        tool: the tool that was called.
        request: what is sent.
        take: which version of it.
        usd: what it counts in the budget.
    """

    backend: Backend
    account: str
    tool: str
    request: Request
    take: int
    usd: float


@dataclass(frozen=True)
class Bought:
    """What became of a call to buy something.

    Attributes:
        row: the purchase that stands for it.
        reused: an earlier call made that purchase.
        generation: as Luma showed it last; nothing if it has not said an id, or could not be asked.
        trouble: why Luma's answer, to the purchase or to the question how it stands, is missing.
    """

    row: Row
    reused: bool = False
    generation: Generation | None = None
    trouble: LumaServerError | None = None


@dataclass
class Purchase:
    """A purchase about which this process is finding out something.

    Attributes:
        generation: what Luma said, once it has.
        error: why there is no generation.
        answered: set when either is there.
    """

    generation: Generation | None = None
    error: LumaServerError | None = None
    answered: anyio.Event = field(default_factory=anyio.Event)


Find = Callable[[Lost], Awaitable[tuple[Generation | None, bool]]]
"""See `DreamMachine.find`."""


class Jobs:
    """The paid jobs of one server.

    Args:
        journal: the record of them.
        get: asks how a generation stands, whichever API it belongs to.
        finder: what can look for lost purchases in an API, if anything can.
        tasks: where purchases and questions run; its end cuts off all but requests on their way.
        now: the time of day.
    """

    def __init__(
        self,
        journal: Journal,
        get: Callable[[str], Awaitable[Generation]],
        finder: Callable[[Api], Find | None],
        tasks: TaskGroup,
        now: Callable[[], datetime],
    ) -> None:
        self._journal, self._get, self._finder, self._tasks, self._now = journal, get, finder, tasks, now
        self._purchases: dict[str, Purchase] = {}

    # Buying.

    async def earlier(
        self, order: Order, *, answer_until: float, resend_until: float, say: Callable[[str], None]
    ) -> Bought | None:
        """The earlier purchase that stands for the same call, if there is one; the arguments are those of `buy`.

        Raises:
            LumaServerError: there was one, and what became of it forbids to make another.
        """
        find = partial(self._journal.holder, order.account, identity_of(order.request, order.take))
        while True:
            row = await self._patiently(find, answer_until)
            try:
                return await self._standing(row, answer_until) if row else None
            except TooManyRequests as error:
                if error.concurrency or error.retry_after is None:
                    return None
                await self._pause(error, resend_until, say)

    async def readable(self) -> None:
        """Wait until the journal can be read: what it knows of a clip or a link decides what is bought.

        Raises:
            JournalBusy: another process keeps it locked.
        """
        await self._patiently(partial(self._journal.row, ""), float("inf"))

    async def allow(self, usd: float, until: float) -> None:
        """Refuse what the journal would not allow to buy: see `Journal.allow`."""
        await self._patiently(partial(self._journal.allow, usd), until)

    async def buy(
        self, order: Order, *, answer_until: float, resend_until: float, say: Callable[[str], None]
    ) -> Bought:
        """Make a purchase, unless an earlier one stands for it, and wait for Luma's answer.

        Only a 429 is sent again, after the time that Luma named, as it is certain that nothing was bought.

        Args:
            order: what to buy.
            answer_until: how long to wait for the answer, on the loop's clock; the purchase goes on afterwards.
            resend_until: no second try begins after this.
            say: told what is being waited for.

        Raises:
            OverBudget | JournalBusy | InvalidRequest | NotSent | Refused: nothing was bought.
        """
        while True:
            try:
                return await self._bought(order, answer_until)
            except TooManyRequests as error:
                await self._pause(error, resend_until, say)
                answer_until = max(answer_until, resend_until)

    async def _pause(self, error: TooManyRequests, until: float, say: Callable[[str], None]) -> None:
        """Wait as long as Luma asked to; what it named no time for, or too long a one, is raised."""
        pause = max(error.retry_after or 0.0, 1.0)
        if error.concurrency or error.retry_after is None or anyio.current_time() + pause >= until:
            raise error
        say(f"Luma's rate limit: sending again in {pause:.0f} s, nothing bought yet")
        await anyio.sleep(pause)

    async def _bought(self, order: Order, until: float) -> Bought:
        identity = identity_of(order.request, order.take)
        while True:
            held = await self._patiently(partial(self._journal.holder, order.account, identity), until)
            if held and (bought := await self._standing(held, until)):
                return bought
            row, begin = self._row(order, identity), partial(self._journal.begin, instead_of=held.id if held else None)
            if await self._patiently(partial(begin, row), until) is row:
                break
        # Nothing is awaited between the row and its request, so that no cancellation comes between them.
        purchase = self._purchases[row.id] = Purchase()
        self._tasks.start_soon(self._send, order, row, purchase)
        with anyio.CancelScope(deadline=until):
            await purchase.answered.wait()
        if purchase.error is not None and not isinstance(purchase.error, AnswerLost):
            raise purchase.error
        row = _with(self._again(row), purchase.generation)
        return Bought(row, generation=purchase.generation, trouble=purchase.error)

    def _row(self, order: Order, identity: str) -> Row:
        request = order.request
        shape = [
            type(request).__name__,
            *(getattr(request, name, None) for name in ("model", "resolution", "duration")),
        ]
        if isinstance(request, ReframeRequest):
            shape.append(request.media_type)
        return Row(
            id=REQUEST_PREFIX + uuid.uuid4().hex,
            account=order.account,
            api=order.backend.api,
            identity=identity,
            take=order.take,
            tool=order.tool,
            kind=type(request).__name__,
            request=written(request),
            model=None if isinstance(request, UpscaleRequest | AudioRequest) else request.model,
            shape=" ".join(map(str, shape)),
            usd=order.usd,
            submitted_at=self._now().timestamp(),
        )

    async def _send(self, order: Order, row: Row, purchase: Purchase) -> None:
        # The end of the server does not cut this; the end of the process may, and then the row tells of it.
        with anyio.CancelScope(shield=True):
            try:
                with anyio.fail_after(_POST_S):
                    purchase.generation = await order.backend.create(order.request, row.id)
            except (InvalidRequest, NotSent, Refused) as error:
                purchase.error = error
                note = partial(self._journal.refused, row.id, str(error))
            except Exception as error:  # noqa: BLE001 - whatever it was, a job may have been bought
                purchase.error = _lost(error)
                note = partial(self._journal.lost, row.id, str(purchase.error))
            else:
                note = partial(self._journal.taken, row, purchase.generation)
            noted = self._noted(note)
            if not isinstance(purchase.error, AnswerLost):
                purchase.answered.set()  # a journal that is locked need not be waited for
            until = anyio.current_time() + _BUSY_S
            while not noted and anyio.current_time() < until:
                await anyio.sleep(_BUSY_GAP_S)
                noted = self._noted(note)
        while not noted:
            await anyio.sleep(_LATER_S)
            noted = self._noted(note)
        await self._search(row, purchase, _LOOKS_S if isinstance(purchase.error, AnswerLost) else ())

    async def _standing(self, row: Row, until: float) -> Bought | None:
        """A purchase that another call like it gets in place of a new one; nothing if it does not stand any more.

        Raises:
            LumaServerError: it must not be bought again, and there is nothing to show.
        """
        row = await self.settled(row, until)
        if row.generation_id is None:
            stands = not row.finished and self._age(row) < DAY_S
            return Bought(row, reused=True, trouble=AnswerLost(row.said) if row.said else None) if stands else None
        if row.status == "completed" and self._age(row) >= REPEAT_S:
            return None
        generation: Generation | None = None
        trouble: LumaServerError | None = None
        try:
            with anyio.CancelScope(deadline=until):
                generation = await self._get(row.generation_id)
        except NotFound as missing:
            if self._age(row) >= REPEAT_S:
                return None
            raise LumaServerError(
                f"This was bought {self._age(row):.0f} s ago as generation {row.generation_id}, but Luma does not "
                f"know it now. Nothing was charged for this call. take={self._journal.next_take(row)} buys it anew."
            ) from missing
        except LumaServerError as error:
            trouble = error
        row = self._again(row)
        ended = row.status in ("failed", "deleted") or (row.status == "completed" and self._age(row) >= REPEAT_S)
        return None if ended else Bought(row, True, generation, trouble)

    # What became of a purchase.

    async def row(self, request_id: str, until: float) -> Row:
        """The purchase with one of our ids.

        Raises:
            NotFound: there is none.
            JournalBusy: another process keeps the journal locked.
        """
        if (row := await self._patiently(partial(self._journal.row, request_id), until)) is None:
            raise NotFound(
                f"The journal knows no purchase {request_id[:60]} with this key. If it was made with another key or "
                "journal, it may have been charged. list_generations has what this key's journal and Luma know.",
                status=404,
            )
        return row

    async def settled(self, row: Row, until: float) -> Row:
        """A purchase once it is known what became of its request, or as it stands when time is up.

        Args:
            row: the purchase.
            until: how long to wait for that, on the loop's clock.

        Raises:
            NotSent | Refused | InvalidRequest: this process has sent it, and nothing was bought.
        """
        while not row.finished and row.generation_id is None:
            if (purchase := self._purchases.get(row.id)) is None:
                if row.status == "submitting" and abs(self._age(row)) < OWNED_S:  # another process is at it
                    if anyio.current_time() + _ELSEWHERE_GAP_S >= until:
                        break
                    await anyio.sleep(_ELSEWHERE_GAP_S)
                    row = self._again(row)
                    continue
                if row.status == "submitting":
                    with suppress(JournalBusy):  # then the next one to look writes it
                        self._journal.lost(row.id)
                    row = self._again(row)
                if self._finder(row.api) is None or row.asked is None:
                    break
                purchase = self._purchases[row.id] = Purchase()
                self._tasks.start_soon(self._search, row, purchase, _LATER_LOOKS_S)
            with anyio.CancelScope(deadline=until):
                await purchase.answered.wait()
            if purchase.error is not None and not isinstance(purchase.error, AnswerLost):
                raise purchase.error
            return self._again(row)
        return row

    async def _search(self, row: Row, purchase: Purchase, looks: tuple[float, ...]) -> None:
        """Look for a lost purchase in Luma's list, so many seconds from now; then all is known that will be."""
        find, began = self._finder(row.api), anyio.current_time()
        try:
            for look in looks if find else ():
                await anyio.sleep_until(began + look)
                row = self._again(row)
                if row.status == "unknown" and find:
                    await self._look(find, row, purchase)
                    row = self._again(row)
                if row.status != "unknown":
                    break
        except Exception as error:  # noqa: BLE001 - a search that fails must not end the server
            logger.error("A search for a lost purchase failed: %s", type(error).__name__)  # noqa: TRY400 - names no values
        finally:
            del self._purchases[row.id]
            purchase.answered.set()

    async def _look(self, find: Find, row: Row, purchase: Purchase) -> None:
        # A clock set back hides when the search has to begin.
        if row.asked is None or self._age(row) < 0:
            return
        age_s = self._age(row)
        with suppress(LumaServerError):  # the next look, or the next call, asks again
            rivals = partial(self._journal.rivals, row)
            lost = Lost(row.asked, partial(self._age, row), OWNED_S, self._journal.is_known, rivals)
            found, certain = await find(lost)
            if found:
                self._journal.adopt(row.id, found)
                if self._again(row).generation_id == found.generation_id:
                    purchase.generation, purchase.error = found, None
            elif certain:
                self._journal.missed(row, age_s)

    def _again(self, row: Row) -> Row:
        """The purchase as it stands now, with what this process knows of it and could not write yet."""
        with suppress(JournalBusy):
            row = self._journal.row(row.id) or row
        purchase = self._purchases.get(row.id)
        return _with(row, purchase.generation if purchase else None)

    def _age(self, row: Row) -> float:
        return self._now().timestamp() - row.submitted_at

    async def _patiently(self, work: Callable[[], T], until: float) -> T:
        """Use the journal, waiting for another process that keeps it locked, for as long as the call can."""
        until = min(until, anyio.current_time() + _BUSY_S)
        while True:
            try:
                return work()
            except JournalBusy:
                if anyio.current_time() >= until:
                    raise
                await anyio.sleep(_BUSY_GAP_S)

    def _noted(self, write: Callable[[], None]) -> bool:
        """Write what Luma has answered, unless another process is writing. If it fails otherwise the answer counts."""
        try:
            write()
        except JournalBusy:
            return False
        except Exception as error:  # noqa: BLE001 - the answer was paid for and must reach the caller
            logger.error("The journal could not be written: %s", type(error).__name__)  # noqa: TRY400 - names no values
        return True

    async def deleted(self, generation_id: str) -> None:
        """A generation is gone. A journal that stays locked takes it for finished, which does no harm."""
        with suppress(JournalBusy):
            await self._patiently(partial(self._journal.deleted, generation_id), anyio.current_time() + _BUSY_S)


def _with(row: Row, made: Generation | None) -> Row:
    """A purchase with what Luma has answered, where the journal could not be told of it."""
    if made is None or row.generation_id is not None:
        return row
    return replace(row, status="submitted", generation_id=made.generation_id, state=made.state)


def _lost(error: Exception) -> LumaServerError:
    """What to say of a purchase whose answer is lost."""
    if isinstance(error, AnswerLost):
        return error
    if isinstance(error, TimeoutError):
        return AnswerLost(f"Luma's API did not answer within {_POST_S:.0f} s. The job may have been taken and charged.")
    logger.error("A purchase failed: %s", type(error).__name__)
    return AnswerLost(
        f"luma-mcp-server itself failed ({type(error).__name__}). The job may have been taken and charged."
    )
