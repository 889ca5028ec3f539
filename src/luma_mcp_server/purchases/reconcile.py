"""Reconciling: what became of a purchase whose answer was lost, as far as Luma's list of generations shows it."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING

from ..models import Generation, Page, plain_text
from .purchase import DAY_S, SUBMITTING_S, Purchase

if TYPE_CHECKING:
    from .journal import Journal

ListPage = Callable[[int, int], Awaitable[Page]]
"""Gives a page of Luma's list for a limit and an offset."""

LOOKS_S = (2.0, 5.0, 15.0, 30.0, 60.0)
"""Seconds after the POST at which Luma's list is read."""

_ABSENT_AFTER_S = 60.0
"""A list read so long after the POST shows the job, if Luma has taken it."""

_DOUBT_S = 600.0
"""A job that fits but was created so much earlier or later leaves open which purchase it is."""

_SLACK_S = 2.0
"""Luma's times are cut to whole seconds."""

_PAGE, _MOST_PAGES = 100, 10


async def reconcile(purchase: Purchase, list_page: ListPage, journal: "Journal", now: Callable[[], datetime]) -> None:
    """Look once in Luma's list for an unknown purchase, and note in the journal what it shows.

    One job that fits, that no purchase has, and that no other unresolved purchase fits: it is the one. None that fits,
    in a complete list read late enough: it was not bought. Anything else leaves it unknown.
    """
    age_s = purchase.age(now())
    listed, complete, ahead_s = await _list_back(purchase, list_page, now)
    submitted_at = purchase.submitted_at + ahead_s  # by Luma's clock, as the jobs' times are
    fitting = {
        str(job.generation_id): job
        for job in listed
        if _may_be(purchase, job) and abs(_created(job, submitted_at) - submitted_at) <= _DOUBT_S
    }
    for name in await journal.owned(fitting):  # only now: the list was on its way
        del fitting[name]
    if not fitting:
        if complete and age_s >= _ABSENT_AFTER_S:
            await journal.reject(purchase.id, "Luma's list does not show it: nothing was charged.")
        return
    unresolved = await journal.unresolved(purchase.api, purchase.submitted_at - DAY_S)
    rivals = [one for one in unresolved if one.id != purchase.id and _looks(one) == _looks(purchase)]
    [job, *others] = fitting.values()
    says_all = all(said or not wanted for said, wanted in zip(_looks(job), _looks(purchase), strict=True))
    on_its_way = -_SLACK_S <= _created(job, float("inf")) - submitted_at <= SUBMITTING_S
    if says_all and on_its_way and not others and not rivals:
        await journal.accept(purchase.id, job, found_later=True)
        return
    note = f"Luma's answer was lost. Its list shows what may be this purchase: {', '.join(list(fitting)[:5])}."
    await journal.mark_unknown(purchase.id, f"{note} get_generation shows each.")


async def _list_back(
    purchase: Purchase, list_page: ListPage, now: Callable[[], datetime]
) -> tuple[list[Generation], bool, float]:
    """Luma's generations back to a purchase, whether none can be missing, and by how much Luma's clock is ahead.

    Luma's order is not documented: only a list that has been newest first so far may end before its last page.
    """
    listed: list[Generation] = []
    ahead_s, read, all_usable = 0.0, 0, True
    for number in range(_MOST_PAGES):
        page = await list_page(_PAGE, read)
        if number == 0 and page.answered_at:
            ahead_s = (page.answered_at - now()).total_seconds()
        listed += page.generations
        read += len(page.generations) + page.unusable
        all_usable = all_usable and not page.unusable
        times = [_created(job, float("inf")) for job in listed]
        newest_first = times == sorted(times, reverse=True)
        far_enough = times and times[-1] < purchase.submitted_at + ahead_s - _DOUBT_S
        if not page.has_more or (newest_first and far_enough):
            return listed, all_usable, ahead_s
    return listed, False, ahead_s


def _created(job: Generation, if_unknown: float) -> float:
    return job.created_at.timestamp() if job.created_at else if_unknown


_SAME_AT_LUMA = {
    "extend_video": "generate_video",
    "interpolate_videos": "generate_video",
    "modify_image": "generate_image",
}
"""Tools that Luma's list does not tell apart for certain."""


def _looks(one: Purchase | Generation) -> tuple[str | None, str | None, str | None]:
    """What tells one job from another: operation, model, and prompt with plain links and single spaces."""
    operation = one.tool if isinstance(one, Purchase) else one.operation
    prompt = " ".join(plain_text(one.prompt or "").split()) or None
    return _SAME_AT_LUMA.get(operation or "", operation), one.model, prompt


def _may_be(purchase: Purchase, job: Generation) -> bool:
    """Whether nothing that a listed job says speaks against its being the purchase's."""
    pairs = zip(_looks(job), _looks(purchase), strict=True)
    return all(said is None or wanted is None or said == wanted for said, wanted in pairs)
