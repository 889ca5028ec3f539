"""What nobody waits for is kept: unfinished purchases are asked about while the server lives, and their files saved."""

import anyio

from ..errors import LumaServerError
from ..models import MAX_JOB_AGE_S
from .services import Services

_GAP_S = 15.0


def keep_purchases(services: Services) -> None:
    """Keep what this server buys from now on, where finished files are to be saved."""
    if services.settings.save and not services.keeping:
        services.keeping = True
        services.tasks.start_soon(_keep_all, services)


async def _keep_all(services: Services) -> None:
    """Ask about this server's purchases until each has ended and is saved, or Luma has dropped it."""
    unkept = services.purchases.unkept
    while services.keeping:
        await anyio.sleep(_GAP_S)
        async with anyio.create_task_group() as tasks:
            for purchase_id in list(unkept):
                tasks.start_soon(_keep, services, purchase_id)
        services.keeping = bool(unkept)


async def _keep(services: Services, purchase_id: str) -> None:
    unkept, done = services.purchases.unkept, False
    try:
        purchase = await services.journal.find(purchase_id)
        if (
            purchase is None
            or purchase.age(services.now()) > MAX_JOB_AGE_S
            or (purchase.finished and purchase.status != "completed")
            or (purchase.status == "completed" and services.downloads.saved(str(purchase.generation_id)))
        ):
            done = True
        elif purchase.generation_id and not services.poller.is_watched(purchase.generation_id):
            async with services.poller.watch(purchase.generation_id) as watch:
                await watch.asked.wait()
            generation = None if watch.error else watch.generation
            if generation and generation.state == "completed":
                await services.downloads.save(generation)
            done = generation is not None and generation.finished
    except LumaServerError:
        pass  # the next round asks again
    except Exception:  # noqa: BLE001 - whatever fails here must not end the server
        done = True
    if done:
        unkept.discard(purchase_id)
