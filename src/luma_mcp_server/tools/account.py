"""The tools that say what there is: models, camera motions, the account. None of them costs money."""

from collections.abc import Collection
from contextlib import suppress
from typing import Any

import anyio

from ..catalog import CAMERA_MOTIONS, CAMERA_MOTIONS_AS_OF, CONCEPTS, CONCEPTS_AS_OF, MODELS
from ..errors import JournalUnusable, LumaServerError, Refused
from ..models import Api, Value
from ..pricing import PRICE_NOTES, PRICES_AS_OF, price_list
from ..purchases.purchase import DAY_S
from ..settings import AGENTS_KEYS_PAGE
from .call import Call
from .results import label
from .services import Services


class Models(Value):
    """What can be made, and for how much."""

    models: tuple[dict[str, Any], ...]
    prices: str


class CameraMotions(Value):
    """Words and keys for the camera, and where they come from."""

    camera_motions: tuple[str, ...] = CAMERA_MOTIONS
    camera_motions_source: str = f"known list of {CAMERA_MOTIONS_AS_OF}"
    concepts: tuple[str, ...] = CONCEPTS
    concepts_source: str = f"known list of {CONCEPTS_AS_OF}"
    use: str = "Write a motion into the prompt ('camera orbit left'), or pass a concept in generate_video's concepts."


class ApiStanding(Value):
    """How one of Luma's APIs stands; `files_at_luma` is how many uploaded files lie there, up to 100."""

    api: str
    configured: bool
    reachable: bool | None = None
    key_accepted: bool | None = None
    balance_usd: float | None = None
    balance_note: str | None = None
    files_at_luma: int | None = None
    message: str | None = None


class Account(Value):
    """What there is to spend, and where things go. Sums are at the upper bounds of the prices.

    Attributes:
        spent_today_usd: since midnight here.
        assumed_24h_usd: how much of `spent_24h_usd` is for jobs without a published price, at their upper bounds.
        spent_24h_by_user_usd: by `LUMA_MCP_USER`.
        budget_usd: the most that may be spent in `budget_window`.
        in_flight: purchases that a server is sending just now: their ids, with the start of their prompts.
        watching: how many purchases of this server are asked about, to save their files.
        unknown: purchases of the last 24 hours whose answer was lost: they may have been charged.
        journal: the file with the record of all purchases.
    """

    apis: tuple[ApiStanding, ...]
    spent_today_usd: float | None = None
    spent_24h_usd: float | None = None
    assumed_24h_usd: float | None = None
    spent_24h_by_user_usd: dict[str, float] | None = None
    spent_total_usd: float | None = None
    budget_usd: float | None = None
    budget_left_usd: float | None = None
    budget_window: str | None = None
    in_flight: tuple[str, ...] | None = None
    watching: int | None = None
    unknown: tuple[str, ...] | None = None
    sandbox: bool | None = None
    journal: str | None = None
    output_dir: str | None = None
    warnings: tuple[str, ...] | None = None


def models(apis: Collection[str]) -> Models:
    """All models of these APIs (of both, if there is no key) with sizes, lengths and prices."""
    limits = ("aspect_ratios", "resolutions", "durations", "longest_modify_s", "longest_reframe_s")
    rows = []
    for model in MODELS.values():
        if not apis or model.api in apis:
            row = {"model": model.id, "api": model.api, "makes": model.type, "can": model.can}
            row |= {name: getattr(model, name) for name in limits} | {"usd": price_list(model)}
            rows.append({name: value for name, value in row.items() if value})
    return Models(models=tuple(rows), prices=f"US dollars, as published {PRICES_AS_OF}. {PRICE_NOTES}")


async def list_models(call: Call) -> Models:
    """Models, what each can do, sizes, lengths, prices. Free."""
    return models(call.services.settings.apis)


async def list_camera_motions(call: Call) -> CameraMotions:
    """Camera motions (words for the prompt) and concept keys. Free."""
    services = call.services
    if services.settings.apis == ("agents",):
        return CameraMotions(concepts=(), use="Write a motion into the prompt ('camera orbit left').")
    # Luma's API lost its list of camera motions on 2025-04-28. Source: lumaai-api's openapi.yaml; lumaai 1.8.0.
    if "dream_machine" in services.settings.apis:
        with anyio.move_on_after(services.look_up_s), suppress(LumaServerError):
            return CameraMotions(concepts=await services.dream_machine.concepts(), concepts_source="Luma, now")
    return CameraMotions()


async def get_account(call: Call) -> Account:
    """Check whether each key works; show balance, spending, budget, open purchases, output folder. Free."""
    services, settings = call.services, call.services.settings
    # What can't be used is a warning, never an error.
    warnings = [*settings.problems.values(), *settings.misspelled]
    if not settings.read_only and (unwritable := services.downloads.problem()):
        warnings.append(unwritable)
    standings: dict[Api, ApiStanding] = {}

    async def ask(api: Api) -> None:
        standings[api] = await _standing(services, api)

    async with anyio.create_task_group() as tasks:
        for api in settings.apis:
            tasks.start_soon(ask, api)
    apis = tuple(standings[api] for api in settings.apis)
    if not apis:
        try:
            settings.require_key()
        except LumaServerError as error:
            apis = (ApiStanding(api="none", configured=False, message=str(error)),)
    spent: dict[str, Any] = {}
    try:
        spent = await _spent(services)
    except JournalUnusable as error:
        if not settings.wrong("LUMA_MCP_JOURNAL"):  # that has said it
            warnings.append(error.warning)
    return Account(
        apis=apis,
        **spent,
        sandbox=settings.sandbox or None,
        output_dir=str(settings.output_dir) if settings.output_dir else None,
        warnings=tuple(dict.fromkeys(warnings)) or None,
    )


async def _spent(services: Services) -> dict[str, Any]:
    """What the journal knows, as fields of an `Account`."""
    journal, settings, now = services.journal, services.settings, services.now()
    today, day, assumed, total, by_user = await journal.spending()
    unresolved = [one for one in await journal.unfinished(now.timestamp() - DAY_S) if one.unresolved]
    spent: dict[str, Any] = {
        "spent_today_usd": round(today, 2),
        "spent_24h_usd": round(day, 2),
        "assumed_24h_usd": round(assumed, 2) or None,
        "spent_24h_by_user_usd": {user or "nobody named": round(usd, 2) for user, usd in by_user.items()}
        if any(by_user)
        else None,
        "spent_total_usd": round(total, 2),
        "in_flight": tuple(label(one) for one in unresolved if one.in_flight(now)) or None,
        "unknown": tuple(label(one) for one in unresolved if not one.in_flight(now)) or None,
        "watching": (len(services.purchases.unsaved) if services.keeping else 0) or None,
        "journal": str(journal.path),
    }
    # Nothing is bought while a limit can't be read: then there is no budget to show.
    if settings.budget_usd is not None and not settings.wrong("LUMA_MCP_BUDGET_USD"):
        spent["budget_usd"] = settings.budget_usd
        spent["budget_left_usd"] = round(max(0.0, settings.budget_usd - day), 2)
        spent["budget_window"] = "any 24 hours: a purchase stops counting a day after it was made"
    return spent


async def _standing(services: Services, api: Api) -> ApiStanding:
    found: dict[str, Any] = {"reachable": False, "message": "It did not answer in time."}
    with anyio.move_on_after(services.look_up_s):
        try:
            if api == "dream_machine":
                await services.dream_machine.ping()
                found["reachable"] = True
                found["balance_usd"] = await services.dream_machine.balance_usd()
            else:
                found |= {"files_at_luma": await services.agents.count_files(), "reachable": True}
                found["balance_note"] = f"Luma's Agents API does not tell the balance: {AGENTS_KEYS_PAGE} shows it."
            found |= {"key_accepted": True, "message": None}
        except LumaServerError as error:
            found["message"] = str(error)
            found["reachable"] |= isinstance(error, Refused)
            found["key_accepted"] = False if error.status in (401, 403) else None
    return ApiStanding(api=api, configured=True, **found)
