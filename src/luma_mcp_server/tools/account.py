"""The tools that say what there is: models, camera motions, the account. None of them costs money."""

import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from typing import Any

import anyio

from ..errors import InvalidRequest, LumaServerError, Refused
from ..models import Api, Value
from ..pricing import MODELS, PRICE_NOTES, PRICES_AS_OF, price_list
from ..settings import AGENTS_URL, DREAM_MACHINE_URL
from . import App, ToolContext, app_of

CONCEPTS = """
    aerial aerial_drone bolt_cam crane_down crane_up dolly_zoom elevator_doors eye_level ground_level handheld
    high_angle low_angle orbit_left orbit_right over_the_shoulder overhead pan_left pan_right pedestal_down
    pedestal_up pov pull_out push_in roll_left roll_right selfie static tilt_down tilt_up tiny_planet truck_left
    truck_right zoom_in zoom_out
""".split()  # noqa: SIM905 - thirty-four lines of one word each say no more
LIVE = "Luma, now"
CONCEPTS_AS_OF = "2025-05"
"""Source: ComfyUI's Luma nodes, 2025-05."""

CAMERA_MOTIONS = [
    word.replace("_", " ")
    for word in """
    static move_left move_right move_up move_down push_in pull_out zoom_in zoom_out pan_left pan_right
    orbit_left orbit_right crane_up crane_down
    """.split()  # noqa: SIM905 - as above
]
CAMERA_MOTIONS_AS_OF = "2024-09"
"""Source: lumaai's enumeration of 2024-09, removed from the SDK in 1.8.0."""


class Models(Value):
    """What can be made, and for how much."""

    models: tuple[dict[str, Any], ...]
    prices: str


class CameraMotions(Value):
    """Words and keys for the camera, and where they come from."""

    camera_motions: tuple[str, ...]
    camera_motions_source: str
    concepts: tuple[str, ...]
    concepts_source: str
    use: str = "Write a motion into the prompt ('camera orbit left'), or pass a concept in generate_video's concepts."


class ApiStanding(Value):
    """How one of Luma's APIs stands."""

    api: str
    configured: bool
    reachable: bool | None = None
    key_accepted: bool | None = None
    balance_usd: float | None = None
    message: str | None = None


class Account(Value):
    """What there is to spend, and where things go."""

    apis: tuple[ApiStanding, ...]
    spent_today_usd: float | None = None
    """Since midnight here; like the other sums at the upper bounds of the prices."""

    spent_24h_usd: float | None = None
    spent_total_usd: float | None = None
    budget_usd: float | None = None
    """The most that may be spent in 24 hours."""

    budget_left_usd: float | None = None
    sandbox: bool | None = None
    journal: str | None = None
    """The file with the record of all purchases."""

    output_dir: str | None = None
    warnings: tuple[str, ...] | None = None


def models(apis: Collection[str]) -> Models:
    """All models of these APIs (of both, if there is no key) with sizes, lengths and prices."""
    rows = []
    for model in MODELS.values():
        if apis and model.api not in apis:
            continue
        row = {
            "model": model.id,
            "api": model.api,
            "makes": model.type,
            "can": model.can,
            "aspect_ratios": model.aspect_ratios,
            "resolutions": model.resolutions,
            "durations": model.durations,
            "longest_modify_s": model.longest_modify_s,
            "longest_reframe_s": model.longest_reframe_s,
            "usd": price_list(model),
        }
        rows.append({name: value for name, value in row.items() if value})
    return Models(models=tuple(rows), prices=f"US dollars, as published {PRICES_AS_OF}. {PRICE_NOTES}")


async def list_models(ctx: ToolContext) -> Models:
    """Models, what each can do, sizes, lengths, prices. Free."""
    return models(app_of(ctx).settings.apis)


async def list_camera_motions(ctx: ToolContext) -> CameraMotions:
    """Camera motions (words for the prompt) and concept keys. Free."""
    app = app_of(ctx)
    words = await _camera_words(app)
    if app.settings.apis == ("agents",):
        return words.model_copy(update={"concepts": (), "use": "Write a motion into the prompt ('camera orbit left')."})
    return words


async def _camera_words(app: App) -> CameraMotions:
    """Luma's words where it answers, asked once for each of the two lists; else the known ones with their date."""
    questions: dict[str, Callable[[], Awaitable[tuple[str, ...]]]] = {}
    with suppress(LumaServerError):
        backend = app.dream_machine
        questions = {"motions": backend.camera_motions, "concepts": backend.concepts}

    async def ask(name: str, question: Callable[[], Awaitable[tuple[str, ...]]]) -> None:
        try:
            app.camera_words[name] = await question()
        except Refused:
            app.camera_words[name] = ()  # a list that is gone stays gone
        except LumaServerError:
            pass

    with anyio.move_on_after(app.look_up_s):
        async with anyio.create_task_group() as tasks:
            for name, question in questions.items():
                if name not in app.camera_words:
                    tasks.start_soon(ask, name, question)
    motions, concepts = (app.camera_words.get(name, ()) for name in ("motions", "concepts"))
    return CameraMotions(
        camera_motions=motions or tuple(CAMERA_MOTIONS),
        camera_motions_source=LIVE if motions else f"known list of {CAMERA_MOTIONS_AS_OF}",
        concepts=concepts or tuple(CONCEPTS),
        concepts_source=LIVE if concepts else f"known list of {CONCEPTS_AS_OF}",
    )


async def concepts_of(app: App, keys: Sequence[str]) -> tuple[str, ...]:
    """Concept keys that Luma has, as far as anyone knows.

    The known ones pass unasked. About others Luma is asked (its list is free), so that a misspelt one is not paid for.

    Raises:
        InvalidRequest: Luma has no such concept; or it did not answer, and the key looks like a misspelt one.
    """
    unknown = [key for key in keys if key not in CONCEPTS]
    if not unknown:
        return tuple(keys)
    for key in unknown:
        if not re.fullmatch(r"\w+", key):
            raise InvalidRequest(
                f"Luma has no concept {key[:60]!r}: keys look like dolly_zoom. Nothing was sent. "
                "list_camera_motions has them all."
            )
    import difflib  # here, because most servers never need it

    words = await _camera_words(app)
    for key in unknown:
        close = difflib.get_close_matches(key, words.concepts, 1, 0.7)
        if key not in words.concepts and (close or words.concepts_source == LIVE):
            hint = f"Did you mean {close[0]}?" if close else "list_camera_motions has them all."
            raise InvalidRequest(f"Luma has no concept {key[:60]!r}. Nothing was sent. {hint}")
    return tuple(keys)


async def get_account(ctx: ToolContext) -> Account:
    """Key accepted? Balance, spending, budget, where files are saved. Free."""
    return await account(app_of(ctx))


async def account(app: App) -> Account:
    """How the account stands; what can't be used is a warning, never an error."""
    settings = app.settings
    warnings = list(dict.fromkeys(problem.sentence for problem in settings.problems))
    warnings += settings.misspelt
    if not settings.read_only and (unwritable := app.files.problem()):
        warnings.append(unwritable)
    standings = [ApiStanding(api=api, configured=True, reachable=False) for api in settings.apis]

    async def ask(number: int, api: Api) -> None:
        with anyio.move_on_after(app.look_up_s) as late:
            standings[number] = await _standing(app, api)
        if late.cancelled_caught:
            standings[number] = standings[number].model_copy(update={"message": "It did not answer in time."})

    async with anyio.create_task_group() as tasks:
        for number, api in enumerate(settings.apis):
            tasks.start_soon(ask, number, api)
    if not standings:
        try:
            settings.require_key()
        except LumaServerError as error:
            standings = [ApiStanding(api="none", configured=False, message=str(error))]
    spent: dict[str, Any] = {}
    try:
        spending = app.journal.spending()
        # Nothing is bought while a limit can't be read: then there is no budget to show.
        budget = None if settings.wrong("LUMA_MCP_BUDGET_USD") else app.journal.budget_usd
        spent = {
            "spent_today_usd": round(spending.today, 2),
            "spent_24h_usd": round(spending.day, 2),
            "spent_total_usd": round(spending.total, 2),
            "budget_usd": budget,
            "budget_left_usd": None if budget is None else round(max(0.0, budget - spending.day), 2),
            "journal": "in memory" if app.journal.problem else str(app.journal.path),
        }
        if not settings.wrong("LUMA_MCP_STATE_DIR"):  # that has said it
            warnings += app.journal.notices()
    except LumaServerError as error:
        warnings.append(str(error))
    return Account(
        apis=tuple(standings),
        **spent,
        sandbox=settings.sandbox or None,
        output_dir=str(settings.output_dir) if settings.output_dir else None,
        warnings=tuple(warnings) or None,
    )


async def _standing(app: App, api: Api) -> ApiStanding:
    standing = ApiStanding(api=api, configured=True)
    try:
        await app.backend(api).ping()
        standing = standing.model_copy(update={"reachable": True})
        # The Agents API tells no balance; its ping is refused where the key is.
        known = {"key_accepted": True} if api == "agents" else {"balance_usd": await app.dream_machine.balance_usd()}
    except LumaServerError as error:
        status = getattr(error, "status", None)
        url = app.settings.agents_url if api == "agents" else app.settings.base_url
        message = str(error)
        if status == 404 and url not in (DREAM_MACHINE_URL, AGENTS_URL):
            message = f"Nothing of Luma's API is at {url} (HTTP 404): is its path whole?"
        if api == "dream_machine" and status in (403, 404) and app.dream_machine.if_gone not in message:
            message = f"{message} {app.dream_machine.if_gone}"
        told: dict[str, Any] = {"message": message, "reachable": standing.reachable or status is not None}
        if status in (401, 403):
            told["key_accepted"] = False
        return standing.model_copy(update=told)
    return standing.model_copy(update={"key_accepted": True} | known)
