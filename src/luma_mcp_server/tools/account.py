"""The tools that say what there is: models, camera motions, the account. None of them costs money."""

import difflib
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import anyio

from ..errors import InvalidRequest, LumaServerError
from ..models import Value
from ..pricing import MODELS, PRICES_AS_OF, price_list
from . import App, ToolContext, app_of

LOOK_UP_S = 3.0
"""How long Luma gets to answer about words that we know ourselves."""

CONCEPTS = [
    "aerial",
    "aerial_drone",
    "bolt_cam",
    "crane_down",
    "crane_up",
    "dolly_zoom",
    "elevator_doors",
    "eye_level",
    "ground_level",
    "handheld",
    "high_angle",
    "low_angle",
    "orbit_left",
    "orbit_right",
    "over_the_shoulder",
    "overhead",
    "pan_left",
    "pan_right",
    "pedestal_down",
    "pedestal_up",
    "pov",
    "pull_out",
    "push_in",
    "roll_left",
    "roll_right",
    "selfie",
    "static",
    "tilt_down",
    "tilt_up",
    "tiny_planet",
    "truck_left",
    "truck_right",
    "zoom_in",
    "zoom_out",
]
LIVE = "Luma, now"
CONCEPTS_AS_OF = "2025-05"
"""Source: ComfyUI's Luma nodes, 2025-05."""

CAMERA_MOTIONS = [
    "static",
    "move left",
    "move right",
    "move up",
    "move down",
    "push in",
    "pull out",
    "zoom in",
    "zoom out",
    "pan left",
    "pan right",
    "orbit left",
    "orbit right",
    "crane up",
    "crane down",
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
    sandbox: bool | None = None
    output_dir: str | None = None
    warnings: tuple[str, ...] | None = None


def models() -> Models:
    """All models with sizes, lengths and prices."""
    rows = []
    for model in MODELS.values():
        row = {
            "model": model.id,
            "makes": model.type,
            "can": model.can,
            "resolutions": model.resolutions,
            "durations": model.durations,
            "longest_modify_s": model.longest_modify_s,
            "longest_reframe_s": model.longest_reframe_s,
            "usd": price_list(model),
        }
        rows.append({name: value for name, value in row.items() if value})
    return Models(
        models=tuple(rows),
        prices=f"US dollars, 16:9, as published {PRICES_AS_OF}. Extending and interpolating cost as much as a new 5s"
        " clip, reframing as much as its model's clip. Upscale and audio: not published. Failed jobs are refunded.",
    )


async def list_models(ctx: ToolContext) -> Models:
    """Models, what each can do, sizes, lengths, prices. Free."""
    return models()


async def list_camera_motions(ctx: ToolContext) -> CameraMotions:
    """Camera motions (words for the prompt) and concept keys. Free."""
    return await _camera_words(app_of(ctx))


async def _camera_words(app: App) -> CameraMotions:
    if app.camera is None:
        motions, concepts = await _live_words(app)
        found = CameraMotions(
            camera_motions=motions or tuple(CAMERA_MOTIONS),
            camera_motions_source=LIVE if motions else f"known list of {CAMERA_MOTIONS_AS_OF}",
            concepts=concepts or tuple(CONCEPTS),
            concepts_source=LIVE if concepts else f"known list of {CONCEPTS_AS_OF}",
        )
        if not (motions and concepts):
            return found
        app.camera = found
    return app.camera


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
    words = await _camera_words(app)
    for key in unknown:
        close = difflib.get_close_matches(key, words.concepts, 1, 0.7)
        if key not in words.concepts and (close or words.concepts_source == LIVE):
            hint = f"Did you mean {close[0]}?" if close else "list_camera_motions has them all."
            raise InvalidRequest(f"Luma has no concept {key[:60]!r}. Nothing was sent. {hint}")
    return tuple(keys)


async def _live_words(app: App) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Motions and concepts as Luma lists them now; empty where it does not answer, or there is no key."""
    found: dict[str, tuple[str, ...]] = {}

    async def ask(name: str, question: Callable[[], Awaitable[tuple[str, ...]]]) -> None:
        with suppress(LumaServerError):
            found[name] = await question()

    with suppress(LumaServerError):
        backend = app.dream_machine
        with anyio.move_on_after(LOOK_UP_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask, "motions", backend.camera_motions)
                tasks.start_soon(ask, "concepts", backend.concepts)
    return found.get("motions", ()), found.get("concepts", ())


async def get_account(ctx: ToolContext) -> Account:
    """Is the key accepted, what is the balance, where are files saved? Free."""
    return await account(app_of(ctx))


async def account(app: App) -> Account:
    """How the account stands; what can't be used is a warning, never an error."""
    settings = app.settings
    warnings = [problem.sentence for problem in settings.problems]
    warnings += [f"{name} is no setting of this server: is it misspelt?" for name in settings.unknown_variables]
    standings = [await _dream_machine(app)]
    if settings.agents_key_variable:
        message = f"This version does not speak the Agents API yet, so {settings.agents_key_variable} is not used."
        standings.append(ApiStanding(api="agents", configured=True, message=message))
    return Account(
        apis=tuple(standings),
        sandbox=settings.sandbox or None,
        output_dir=str(settings.output_dir) if settings.output_dir else None,
        warnings=tuple(warnings) or None,
    )


async def _dream_machine(app: App) -> ApiStanding:
    try:
        backend = app.dream_machine
    except LumaServerError as error:
        return ApiStanding(api="dream_machine", configured=False, message=str(error))
    standing = ApiStanding(api="dream_machine", configured=True)
    try:
        await backend.ping()
        standing = standing.model_copy(update={"reachable": True})
        balance = await backend.balance_usd()
    except LumaServerError as error:
        status = getattr(error, "status", None)
        told: dict[str, Any] = {"message": str(error), "reachable": standing.reachable or status is not None}
        if status in (401, 403):
            told["key_accepted"] = False
        return standing.model_copy(update=told)
    return standing.model_copy(update={"key_accepted": True, "balance_usd": balance})
