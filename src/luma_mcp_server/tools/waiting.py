"""Waiting for a generation as long as a call may, and saving its file."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from ..errors import InvalidRequest, LumaServerError, NotFound
from ..media.frames import can_read, facts
from ..models import Generation
from ..purchases.purchase import Purchase
from .call import Call
from .results import is_overdue
from .services import Services

if TYPE_CHECKING:
    from ..media.links import Follow


async def wait(
    call: Call, generation_id: str, last_seen: Generation | None = None, *, delay: float = 0.0
) -> Generation:
    """A generation as it stands when it ends, or when the call has waited long enough.

    The first question is asked after `delay` seconds. Raises `LumaServerError` if Luma does not know it, or has never
    answered.
    """
    async with call.services.poller.watch(generation_id, delay=delay) as watch:
        if last_seen:
            call.say(lambda: (watch.generation or last_seen).state)
        else:
            with anyio.CancelScope(deadline=call.answer_until):
                await watch.asked.wait()
        if watch.generation is None or not is_overdue(call.services, watch.generation):
            with anyio.CancelScope(deadline=call.wait_until):
                await watch.ended.wait()
    generation = watch.generation or last_seen
    if generation is None:
        raise watch.error or LumaServerError(f"Luma did not answer about {generation_id} in time. Call again.")
    if isinstance(watch.error, NotFound):
        raise watch.error
    if watch.error is not None:
        why = str(watch.error) if isinstance(watch.error, LumaServerError) else type(watch.error).__name__
        return _warned(generation, f"The job goes on, but this state is old. {why}")
    return generation


async def refresh(services: Services, purchases: Iterable[Purchase]) -> None:
    """Ask how jobs stand, once and together; the journal notes what is answered in time."""

    async def ask(generation_id: str) -> None:
        with suppress(LumaServerError):
            await services.purchases.get(generation_id)

    with anyio.move_on_after(services.look_up_s):
        async with anyio.create_task_group() as tasks:
            for purchase in purchases:
                if purchase.generation_id:
                    tasks.start_soon(ask, purchase.generation_id)


async def save(call: Call, generation: Generation, until: float, follow: "Follow") -> Generation:
    """The generation with its file, saved by a point of the loop's clock; a failure becomes a warning."""
    settings, downloads = call.services.settings, call.services.downloads
    if not settings.save or generation.state != "completed":
        return generation
    found, warning = downloads.find(generation), f"The file is still being saved. {_again(generation)}"
    if all(one.file_path for one in found.outputs or (found,)):
        return await with_facts(found)
    if wrong := settings.wrong("LUMA_MCP_SAVE"):
        return _warned(generation, f"{wrong} Until then no file is saved.")
    with anyio.CancelScope(deadline=until):
        try:
            found, warning = await downloads.save(generation, follow=follow), ""
        except LumaServerError as error:
            warning = str(error)
        except Exception as error:  # noqa: BLE001 - a paid job's id must reach the caller, whatever fails here
            warning = f"The file was not saved ({type(error).__name__}). {_again(generation)}"
    return _warned(downloads.find(generation), warning) if warning else await with_facts(found)


async def with_facts(generation: Generation) -> Generation:
    """The generation with what its saved file says of itself, or with a warning if that can't be read.

    Only calls that save do this: others answer too often to open the file each time.
    """
    if not generation.file_path or not can_read():
        return generation
    try:
        found = await anyio.to_thread.run_sync(facts, Path(generation.file_path), abandon_on_cancel=True)
    except InvalidRequest:
        return _warned(generation, "The file was saved, but can't be read. Compare it with the link before you use it.")
    return generation.replace(media=found)


def _again(generation: Generation) -> str:
    return f'Call download_generation(generation_id="{generation.generation_id}").'


def _warned(generation: Generation, warning: str) -> Generation:
    return generation.replace(warnings=(*(generation.warnings or ()), warning))
