"""What nobody waits for is kept: unfinished purchases are asked about while the server lives, and their files saved."""

import anyio

from ..errors import LumaServerError
from ..models import MAX_JOB_AGE_S, Generation
from .services import Services

_GAP_S = 15.0
_LONGEST_GAP_S = 600.0


def start_keeping(services: Services) -> None:
    """Keep what this server buys from now on, where finished files are to be saved."""
    settings = services.settings
    unusable = settings.wrong("LUMA_MCP_SAVE", "LUMA_MCP_OUTPUT_DIR")
    if settings.save and not unusable and not services.keeping:
        services.keeping = True
        services.tasks.start_soon(_keep_all, services)


async def _keep_all(services: Services) -> None:
    """Ask about this server's purchases until each has ended and is saved, or Luma has dropped it."""
    unsaved, gaps, due = services.purchases.unsaved, dict[str, float](), dict[str, float]()

    async def keep(purchase_id: str) -> None:
        try:
            generation = await _ended(services, purchase_id)
            if generation and generation.state == "completed" and not await _save(services, generation):
                # Where a disk is full, each try fills it once more.
                gaps[purchase_id] = min(2 * gaps.get(purchase_id, _GAP_S), _LONGEST_GAP_S)
                due[purchase_id] = anyio.current_time() + gaps[purchase_id]
                return
        except LumaServerError:
            return  # the next round asks again
        except Exception:  # noqa: BLE001 - whatever fails here must not end the server
            generation = None
        if generation is None or generation.finished:
            unsaved.discard(purchase_id)

    while services.keeping:
        await anyio.sleep(_GAP_S)
        async with anyio.create_task_group() as tasks:
            for purchase_id in list(unsaved):
                if anyio.current_time() >= due.get(purchase_id, 0.0):
                    tasks.start_soon(keep, purchase_id)
        services.keeping = bool(unsaved)


async def _ended(services: Services, purchase_id: str) -> Generation | None:
    """A purchase's generation as it stands; None if there is nothing more to come of it."""
    purchase = await services.journal.find(purchase_id)
    if (
        purchase is None
        or purchase.age(services.now()) > MAX_JOB_AGE_S
        or (purchase.finished and purchase.status != "completed")
    ):
        return None
    if purchase.generation_id is None or services.poller.is_watched(purchase.generation_id):
        return purchase.as_generation().replace(state="unknown")
    async with services.poller.watch(purchase.generation_id) as watch:
        await watch.asked.wait()
    if watch.error or watch.generation is None:
        raise watch.error or LumaServerError("Luma did not answer.")
    return watch.generation


async def _save(services: Services, generation: Generation) -> bool:
    """Whether all files are saved now. A download that takes longer goes on."""
    try:
        with anyio.move_on_after(_GAP_S):
            await services.downloads.save(generation)
            return True
    except LumaServerError:
        pass
    return False
