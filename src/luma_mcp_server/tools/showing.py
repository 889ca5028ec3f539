"""How a purchase is shown: what its request says of it, and what the journal knows where Luma says nothing."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ..models import Generation, Request, VideoRequest
from ..settings import AGENTS_KEYS_PAGE

if TYPE_CHECKING:
    from ..journal import Row

_SAID = ("prompt", "aspect_ratio", "resolution", "duration")
"""Fields that a request, or what it starts from, tells of a generation."""


def told_by(request: Request, generation: Generation) -> Generation:
    """A generation with what its request says of it, where Luma does not."""
    source = getattr(request, "source", None)
    said = {name: getattr(request, name, None) or getattr(source, name, None) for name in _SAID}
    if isinstance(request, VideoRequest) and (request.start_video or request.end_video):
        said["duration"] = None  # it is longer than what was asked for
    return generation.with_(**{name: value for name, value in said.items() if not getattr(generation, name)})


def shown(row: "Row") -> Generation:
    """A purchase as the journal knows it."""
    if row.generation_id is None:
        return unanswered(row, None, row.take + 1)
    generation = Generation(
        generation_id=row.generation_id,
        api=row.api,
        type="image" if row.kind == "ImageRequest" else getattr(row.asked, "media_type", "video"),
        state=row.state or "unknown",
        model=row.model,
        created_at=datetime.fromtimestamp(int(row.submitted_at), UTC),
        charged="no" if row.refunded else None,
    )
    return told_by(row.asked, generation) if row.asked else generation


def unanswered(row: "Row", trouble: Exception | None, next_take: int) -> Generation:
    """A purchase of which nobody knows yet whether Luma has taken it.

    Args:
        row: the purchase.
        trouble: what became of Luma's answer; nothing if it may still come.
        next_take: the take that would buy it anyway.
    """
    open_ = row.status == "submitting" and trouble is None
    same = "The same call buys nothing meanwhile"
    why = f"Luma has not answered yet: nobody knows whether it was taken and charged. {same}."
    if not open_:
        lost = trouble or row.said or "Luma's answer was never noted: the job may have been taken and charged."
        way = (
            f"This API has no list to find it in: look at {AGENTS_KEYS_PAGE}. For 24 hours it counts in the budget."
            if row.api == "agents"
            else "Luma's list is searched for it while you wait."
        )
        why = f"{lost} {way} {same}; take={next_take} would, perhaps a second one."
    return Generation(
        request_id=row.id,
        api=row.api,
        state="unknown",
        model=row.model,
        prompt=getattr(row.asked, "prompt", None),
        created_at=datetime.fromtimestamp(int(row.submitted_at), UTC),
        charged="unknown",
        warnings=(why,),
        next_step=f'wait_for_generations(generation_ids=["{row.id}"])' if open_ or row.api != "agents" else None,
    )
