"""Buying: what a request starts from, the purchase, the wait, and the saved file."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio

from ..backends import Backend, api_of, candidates, medias
from ..errors import InvalidRequest, JobFailed, LumaServerError, NotFound, Refused, StillUploading, TooManyRequests
from ..media import guess_type
from ..models import Generation, Media, MediaType, Request
from ..polling import first_gap
from ..pricing import DREAM_MACHINE_RESOLUTIONS, estimate, upper_bound
from . import ANSWER_S, App, Call, ToolContext, app_of, calling
from .confirming import confirm_price, in_words
from .showing import shown, told_by, unanswered

if TYPE_CHECKING:
    from ..jobs import Bought, Order
    from ..journal import Row

_A = {"image": "an image", "video": "a video"}


def one_step_up(resolution: str | None) -> str:
    """The next larger resolution; 1080p where a clip's own is not known."""
    if resolution not in DREAM_MACHINE_RESOLUTIONS:
        return "1080p"
    step = DREAM_MACHINE_RESOLUTIONS.index(resolution) + 1
    if step == len(DREAM_MACHINE_RESOLUTIONS):
        raise InvalidRequest("This clip has the largest resolution, 4k, already. Nothing was sent or charged.")
    return DREAM_MACHINE_RESOLUTIONS[step]


async def own_clip(app: App, text: str, parameter: str) -> Generation:
    """A finished video of Luma's own, that a job may start from."""
    await app.jobs.readable()
    return await _finished(app, await app.generation_id(text, parameter), parameter, "video")


async def _finished(app: App, generation_id: str, parameter: str, kind: MediaType | None) -> Generation:
    generation = await app.get(generation_id)
    if generation.state != "completed":
        todo = (
            "It failed: take another one."
            if generation.state == "failed"
            else f'Call wait_for_generations(generation_ids=["{generation_id}"]) first.'
        )
        raise InvalidRequest(
            f"{parameter}: generation {generation_id} is {generation.state}. Nothing was bought. {todo}"
        )
    if kind and generation.type and generation.type != kind:
        todo = (
            f'To continue it, call extend_video(generation_id="{generation_id}", prompt=…).'
            if kind == "image"
            else "Make a video of it with generate_video(start_image=…)."
        )
        raise InvalidRequest(
            f"{parameter} must be {_A[kind]}, but generation {generation_id} is {_A[generation.type]}. Nothing was "
            f"bought. {todo}"
        )
    return generation


async def media_of(
    call: Call, text: str, parameter: str, kind: MediaType | None, *, weighted: bool = False
) -> tuple[Media, str | None, MediaType]:
    """What a media parameter names, the model that made it, and whether it is a video or an image."""
    app = call.app
    await app.jobs.readable()
    if "agents" in app.settings.apis and app.is_users_own(text):
        return await _local(call, text, parameter, kind)
    reference = app.reference(text, parameter, weighted=weighted)
    if reference.kind == "url":
        kind = kind or guess_type(reference.value)
        if kind is None and "dream_machine" not in app.settings.apis:
            kind = "video"  # what the Agents API reframes
        if kind is None:
            raise InvalidRequest(
                f"The URL in {parameter} does not show whether it is a video or an image. Nothing was sent. Add "
                "media_type=video or media_type=image."
            )
        return Media(url=reference.value, weight=reference.weight), None, kind
    made = await _finished(app, reference.value, parameter, kind)
    return as_media(made, reference.weight), made.model, kind or made.type or "video"


async def _local(call: Call, text: str, parameter: str, kind: MediaType | None) -> tuple[Media, None, MediaType]:
    """A file of the user's, checked and, where it is large, uploaded."""
    if text.lstrip()[:5].lower() != "data:":
        call.app.settings.require("LUMA_MCP_INPUT_DIRS")
        if "#weight=" in text:
            raise InvalidRequest(
                f"{parameter}: a local file takes no weight: the models that take files know none. Nothing was sent."
                " Leave it out and say in the prompt how much the file counts."
            )
    kinds: tuple[MediaType, ...] = (kind,) if kind else ("image", "video")
    file = await call.app.inputs.inspect(text, parameter, kinds, until=call.answer_until)
    call.files.append(file)
    return Media(file=file), None, "video" if file.media_type.startswith("video/") else "image"


_MARGIN_S = 0.2
"""Seconds that a call keeps to say how far its upload is."""


def as_media(made: Generation, weight: float | None = None) -> Media:
    """A finished generation as something to start from."""
    if made.url is None:
        raise InvalidRequest(f"Luma gives no link for generation {made.generation_id}. Nothing was bought.")
    return Media(
        url=made.url,
        generation_id=made.generation_id,
        api=made.api,
        weight=weight,
        aspect_ratio=made.aspect_ratio,
        resolution=made.resolution,
        duration=made.duration,
    )


async def image_of(call: Call, text: str | None, parameter: str, *, weighted: bool = False) -> Media | None:
    """The image that a parameter names, if it names one."""
    return None if text is None else (await media_of(call, text, parameter, "image", weighted=weighted))[0]


async def images_of(
    call: Call, texts: Sequence[str] | None, parameter: str, *, weighted: bool = False
) -> tuple[Media, ...]:
    """The images that a list names."""
    found = [
        await media_of(call, text, f"{parameter}[{number}]", "image", weighted=weighted)
        for number, text in enumerate(texts or ())
    ]
    return tuple(media for media, _, _ in found)


@dataclass(frozen=True)
class Draft:
    """A request that lacks only its model.

    Attributes:
        write: the request with a model.
        models: those that may do it, best first; empty for operations that take none.
        warnings: what the caller should know of it.
    """

    write: Callable[[str], Request]
    models: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


async def buy(
    ctx: ToolContext,
    tool: str,
    make_draft: Callable[[Call], Awaitable[Draft]],
    take: int,
    wait_s: float | None,
) -> Generation:
    """Buy what a tool was asked for, unless it has been bought; wait for it as long as the call may, and save it."""
    from ..jobs import Order  # here, because most servers start without ever buying anything

    app = app_of(ctx)
    settings = app.settings
    settings.require_key()
    settings.require("LUMA_MCP_BUDGET_USD", "LUMA_MCP_CONFIRM_USD", "LUMA_MCP_READ_ONLY", "LUMA_MCP_STATE_DIR")
    async with calling(ctx, app, wait_s) as call:
        try:
            call.say("looking up what it starts from")
            with _free(call.answer_until):
                draft = await make_draft(call)
                backend, request = _chosen(app, draft)
            usd, price = upper_bound(request), estimate(request)
            order = Order(backend, settings.account(backend.api), tool, request, take, usd)
            bought = await app.jobs.earlier(
                order, answer_until=call.answer_until, resend_until=call.wait_until, say=call.say
            )
            if bought is None:
                await app.jobs.allow(usd, call.answer_until)
                await confirm_price(ctx, call, price or usd, in_words(request), published=price is not None)
                order = replace(order, request=await _uploaded(call, request))
                bought = await _sent(app, call, order)
        finally:
            for file in call.files:
                app.inputs.release(file)
        row = bought.row
        warnings = (*draft.warnings, *settings.misspelt)
        more: dict[str, Any] = {"reused": bought.reused or None, "estimated_cost_usd": 0.0 if bought.reused else price}
        if bought.reused and row.generation_id:
            another = f"For another version call again with take={app.journal.next_take(row, request)}."
            warnings = (*warnings, f"{_bought_before(app, row)} {another}")
        elif not bought.reused:
            if price is None:
                warnings = (*warnings, f"It has no published price: it counts ${usd:.2f} in the budget.")
            more["also_running"] = _also_running(app, row)
        if row.generation_id is None:
            made = unanswered(row, bought.trouble, app.journal.next_take(row, request))
            return app.present(made, **more, warnings=(*warnings, *app.journal.notices()))
        generation = told_by(request, bought.generation or shown(row))
        usual = app.usual_seconds(row)
        call.expect(usual and usual - app.age(row))
        generation = await _awaited(app, call, generation, bought.trouble)
        if generation.state == "failed":
            raise _failed(generation)
        call.say("saving")
        generation = await app.saved(generation, call.wait_until)
        sent = () if bought.reused else tuple(media.file.path for media in medias(request) if media.file)
        expected = round(usual) if usual and not generation.finished else None
        warnings = (*warnings, *app.journal.notices())  # which are told once: not before there is a result to hold them
        return app.present(generation, expected_s=expected, files_sent=sent or None, **more, warnings=warnings)


async def _sent(app: App, call: Call, order: "Order") -> "Bought":
    """The purchase, with what else can be said where Luma refuses it."""
    call.say("sending to Luma")
    try:
        return await app.jobs.buy(order, answer_until=call.answer_until, resend_until=call.wait_until, say=call.say)
    except Refused as error:
        uploads = [media.file for media in medias(order.request) if media.file and media.file.file_id]
        if uploads and (error.status == 404 or "file" in str(error).lower()):
            for file in uploads:
                app.inputs.forget(file)
            raise LumaServerError(f"{error} If it is the file: call again, and it is sent anew.") from error
        if not isinstance(error, TooManyRequests) or not error.concurrency:
            raise
        with anyio.CancelScope(deadline=call.limit):
            await app.refresh(app.running()[:_MOST_RUNNING])  # as last seen they may have ended long ago
        running = [str(row.generation_id) for row in app.running()]
        more = f" and {len(running) - 2} more" if len(running) > 2 else ""
        here = f"Running: {', '.join(running[:2])}{more}." if running else "list_generations shows them."
        raise LumaServerError(f"{error} {here}") from error


_MOST_RUNNING, _PROMPT_START = 5, 40


def _also_running(app: App, row: "Row") -> tuple[str, ...] | None:
    """Other purchases that have not ended, so that nobody buys them again for want of an answer."""
    found = []
    for other in app.running(row)[:_MOST_RUNNING]:
        prompt = getattr(other.asked, "prompt", None) or other.tool
        start = prompt if len(prompt) <= _PROMPT_START else prompt[: _PROMPT_START - 1] + "…"
        found.append(f"{other.generation_id}: {start}")
    return tuple(found) or None


def _bought_before(app: App, row: "Row") -> str:
    age = app.age(row)
    if age < 0:
        return "An earlier call bought this, by a clock that was ahead: nothing was charged for this one."
    ago = f"{age:.0f} s" if age < 120 else f"{age / 60:.0f} min"
    return f"An earlier call bought this {ago} ago: nothing was charged for this one."


def check_early(
    call: Call,
    callback_url: str | None,
    kind: MediaType | None = None,
    model: str | None = None,
    prompt: str | None = None,
) -> None:
    """Refuse what needs no question to be refused, before the first question is asked.

    Raises:
        InvalidRequest: the address, the model or the prompt can't work, whatever the request starts from.
    """
    app = call.app
    if callback_url is not None:
        _check_callback(app, callback_url)
    if kind:
        candidates(kind, model, app.settings.apis)
    # The bounds of either API; the one that gets the request may be stricter.
    least, most = (1, 6000) if "agents" in app.settings.apis else (3, 5000)
    if prompt is not None and not least <= len(prompt.strip()) <= most:
        raise InvalidRequest(
            f"prompt is {len(prompt.strip())} characters long; Luma takes {least} to {most:,}. Nothing was sent. "
            "Describe the subject, what it does, the setting and the camera in a sentence or two."
        )


def _check_callback(app: App, callback_url: str) -> None:
    try:
        parts = urlsplit(callback_url)
        host = parts.hostname
    except ValueError:
        host = None
    if host not in app.settings.callback_hosts or parts.scheme != "https" or parts.username:
        raise InvalidRequest(
            "callback_url must be an https URL on one of the hosts in LUMA_MCP_CALLBACK_HOSTS "
            f"({', '.join(app.settings.callback_hosts)}). Nothing was sent."
        )


@contextmanager
def _free(until: float) -> Iterator[None]:
    """What is done before a purchase: it ends in time, and its failures say that nothing was bought."""
    try:
        with anyio.CancelScope(deadline=until):
            yield
            return
    except (InvalidRequest, StillUploading):
        raise
    except LumaServerError as error:
        raise LumaServerError(f"Nothing was bought. {error}") from error
    raise LumaServerError("Nothing was bought: Luma did not answer in time about what this starts from. Call again.")


async def _uploaded(call: Call, request: Request) -> Request:
    """The request with its large local files at Luma, now that nothing speaks against it any more."""
    until = max(call.wait_until, call.answer_until)

    async def ready(media: Media) -> Media:
        if media.file is None:
            return media
        file = await call.app.inputs.upload(media.file, until=until - _MARGIN_S, say=call.say)
        return media.model_copy(update={"file": file})

    changes: dict[str, Media | tuple[Media, ...]] = {}
    with _free(until):
        for name, value in vars(request).items():
            if isinstance(value, Media):
                changes[name] = await ready(value)
            elif isinstance(value, tuple) and all(isinstance(one, Media) for one in value):
                changes[name] = tuple([await ready(one) for one in value])
    # The purchase gets its time, however long the files took.
    call.answer_until = min(call.limit, max(call.answer_until, anyio.current_time() + ANSWER_S))
    return request.model_copy(update=changes)


def _chosen(app: App, draft: Draft) -> tuple[Backend, Request]:
    """The first model that can do what was asked; if none can, the first one's refusal."""
    if not draft.models:
        backend, request = app.dream_machine, draft.write("")
        backend.check(request)
        return backend, request
    refusals = []
    for model in draft.models:
        candidate, request = app.backend(api_of(model)), draft.write(model)
        try:
            candidate.check(request)
        except InvalidRequest as refusal:
            refusals.append(refusal)
        else:
            return candidate, request
    raise refusals[0]


async def _awaited(app: App, call: Call, generation: Generation, trouble: LumaServerError | None) -> Generation:
    """The generation as it stands when it ends, or when the call has waited long enough."""
    assert generation.generation_id is not None
    if trouble is None and (generation.finished or app.is_overdue(generation)):
        return generation
    async with app.watches.watch(generation.generation_id, delay=first_gap()) as watch:
        call.describe = lambda: (watch.generation or generation).state
        with anyio.CancelScope(deadline=call.wait_until):
            await watch.ended.wait()
    latest = watch.generation or generation
    app.remember(latest)
    error = watch.error or (None if watch.generation else trouble)
    if isinstance(error, NotFound):
        raise error
    if error is not None:
        return latest.with_(warnings=(f"The job goes on, but its state is old. {error}",))
    return latest


_ADVICE = {
    "content_moderated": "Change the prompt or the images.",
    "invalid_request": "Change what it names.",
    "generation_failed": "Call again.",
    "output_not_found": "Call again.",
    "rate_limited": "Call again in a minute.",
    "budget_exhausted": "Add credits at Luma first.",
    "image_too_large": "Use a smaller image.",
    "unsupported_format": "Use another file.",
    "corrupt_input": "Use another file.",
}
"""Source: luma-agents 0.5.0, types/generation_failure_code.py; Luma Agents API FAQ for what may be tried again."""


def _failed(generation: Generation) -> JobFailed:
    reason = (generation.failure_reason or generation.failure_code or "Luma gives no reason").rstrip(".")
    refunded = generation.charged == "no"
    cost = (
        "Luma refunds that, so nothing was charged."
        if refunded
        else "Whether it was charged is not known: Luma's platform page shows it."
    )
    moderated = any(word in reason.lower() for word in ("moderat", "blacklist"))
    guess = "Change the prompt or the images." if moderated else "Check the input, or simply call again."
    advice = _ADVICE.get(generation.failure_code or "", guess)
    return JobFailed(f"Generation {generation.generation_id} failed: {reason}. {cost} {advice}")
