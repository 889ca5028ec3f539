"""How a generation is shown: with what this server knows beside what Luma says."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from ..errors import JournalUnusable
from ..models import MAX_JOB_AGE_S, Generation, plain_text
from ..purchases.purchase import Purchase
from ..settings import AGENTS_KEYS_PAGE
from .services import Services

_PROMPT_START = 40


def present(
    services: Services, generation: Generation, *, warnings: tuple[str, ...] = (), **changes: Any
) -> Generation:
    """A generation as tools show it; `changes` are further fields."""
    said = [*(generation.warnings or ()), *warnings]
    name, age = generation.generation_id, _age_s(services, generation)
    if name and not generation.finished:
        changes.setdefault("next_step", wait_for(name))
        if age is not None:
            changes["elapsed_s"] = round(max(0.0, age))
        if is_overdue(services, generation):
            said.append("Older than an hour: Luma drops such jobs. Do not wait for it any longer.")
            changes["next_step"] = f'get_generation(generation_id="{name}")'
    if generation.state == "completed" and not generation.file_path:
        generation = services.downloads.find(generation)
        files = [one.file_path for one in generation.outputs or ()]
        if not generation.file_path and not any(files) and not said:
            settings = services.settings
            off = "read-only" if settings.read_only else "saving is off"
            said.append("No saved file here." if settings.save else f"Not saved: {off}.")
    if services.settings.sandbox:
        changes["sandbox"] = True
    if generation.prompt:
        changes["prompt"] = plain_text(generation.prompt)
    return generation.replace(**changes, warnings=tuple(dict.fromkeys(said)) or None)


def is_overdue(services: Services, generation: Generation) -> bool:
    """Whether waiting for a job is useless: it is older than Luma keeps one."""
    age = _age_s(services, generation)
    return not generation.finished and age is not None and age > MAX_JOB_AGE_S


def _age_s(services: Services, generation: Generation) -> float | None:
    created = generation.created_at
    return (services.now() - created).total_seconds() if created else None


def wait_for(*names: str) -> str:
    """The call that waits for generations or purchases."""
    listed = ",".join(f'"{name}"' for name in names)
    return f"wait_for_generations(generation_ids=[{listed}])"


def label(purchase: Purchase) -> str:
    """A purchase in a list of those that are not finished: its id and the start of its prompt."""
    prompt = purchase.prompt or purchase.tool
    start = prompt if len(prompt) <= _PROMPT_START else prompt[: _PROMPT_START - 1] + "…"
    return f"{purchase.generation_id or purchase.id}: {start}"


async def next_take(services: Services, purchase: Purchase) -> int:
    """A take that would buy another version: the next one, where the journal can't say."""
    with suppress(JournalUnusable):
        return await services.journal.next_take(purchase)
    return purchase.take + 1


async def unknown_result(services: Services, purchase: Purchase, trouble: Exception | None = None) -> Generation:
    """A purchase of which nobody knows yet whether Luma has taken it; without `trouble` the answer may still come."""
    pending = purchase.status == "submitting" and trouble is None
    counts = purchase.answers(services.now())
    same = "The same call buys nothing meanwhile" if counts else "The same call buys it again"
    why = f"Luma has not answered yet: nobody knows whether it was taken and charged. {same}."
    if not pending:
        lost = trouble or purchase.note or "Luma's answer was lost: the job may have been taken and charged."
        todo = (
            f"This API has no list to find it in: look at {AGENTS_KEYS_PAGE}."
            if purchase.api == "agents"
            else "Luma's list is searched for it while you wait."
        )
        why = f"{lost} {todo} {same}."
        if counts:
            take = await next_take(services, purchase)
            why = (
                f"{lost} {todo} It counts in the budget for 24 hours. {same}; take={take} would, perhaps a second one."
            )
    unknown = Generation(
        request_id=purchase.id,
        api=purchase.api,
        state="unknown",
        model=purchase.model,
        prompt=purchase.prompt,
        created_at=datetime.fromtimestamp(int(purchase.submitted_at), UTC),
        charged="unknown",
        warnings=(why,),
        next_step=wait_for(purchase.id) if pending or purchase.api != "agents" else None,
    )
    return purchase.fill(unknown)
