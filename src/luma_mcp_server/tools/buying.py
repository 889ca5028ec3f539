"""Buying: what a request starts from, the purchase, the wait, and the saved file."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import anyio

from ..backends import Backend, api_of, candidates, medias
from ..errors import InvalidRequest, JobFailed, LumaServerError, Refused, StillUploading, TooManyRequests
from ..media import guess_type
from ..models import Api, Generation, Media, MediaType, Request, UpscaleRequest
from ..polling import FIRST_GAP_S, expected_seconds
from ..pricing import DREAM_MACHINE_RESOLUTIONS, estimate
from . import ANSWER_S, App, Call, ToolContext, app_of, calling

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


async def buy(ctx: ToolContext, make_draft: Callable[[Call], Awaitable[Draft]], wait_s: float | None) -> Generation:
    """Buy what a tool was asked for, wait for it as long as the call may, and save it."""
    app = app_of(ctx)
    app.settings.require_key()
    async with calling(ctx, app, wait_s) as call:
        backend, request, warnings = await _prepared(app, call, make_draft)
        call.say("sending to Luma")
        try:
            purchase = await app.jobs.buy(
                backend, request, answer_until=call.answer_until, resend_until=call.wait_until, say=call.say
            )
        except Refused as error:
            uploads = [media.file for media in medias(request) if media.file and media.file.file_id]
            if uploads and (error.status == 404 or "file" in str(error).lower()):
                for file in uploads:
                    app.inputs.forget(file)
                raise LumaServerError(f"{error} If it is the file: call again, and it is sent anew.") from error
            if not isinstance(error, TooManyRequests) or not error.concurrency:
                raise
            running = app.jobs.running()
            more = f" and {len(running) - 2} more" if len(running) > 2 else ""
            here = f"Running here: {', '.join(running[:2])}{more}." if running else "list_generations shows them."
            raise LumaServerError(f"{error} {here}") from error
        price = estimate(request)
        if (generation := purchase.generation) is None:
            return app.present(_unanswered(backend.api, request, purchase.request_id), estimated_cost_usd=price)
        call.expected = None if app.settings.sandbox else expected_seconds(type(request).__name__, generation.model)
        generation = await _awaited(app, call, generation)
        if generation.state == "failed":
            raise _failed(generation)
        call.say("saving")
        generation = await app.saved(generation, call.wait_until)
        where = "get_account shows the balance" if backend.api == "dream_machine" else "Luma's platform page shows it"
        if price is None:
            warnings = (*warnings, f"Its price is not known beforehand; {where}.")
        sent = tuple(media.file.path for media in medias(request) if media.file) or None
        expected = round(call.expected) if call.expected and not generation.finished else None
        return app.present(
            generation, estimated_cost_usd=price, expected_s=expected, files_sent=sent, warnings=warnings
        )


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


async def _prepared(
    app: App, call: Call, make_draft: Callable[[Call], Awaitable[Draft]]
) -> tuple[Backend, Request, tuple[str, ...]]:
    """The request, where it goes, and what to warn of, after the free questions that it takes to write it."""
    call.say("looking up what it starts from")
    call.preparing.deadline = call.answer_until
    with call.preparing:
        try:
            draft = await make_draft(call)
            backend, request = _chosen(app, draft)
            return backend, await _uploaded(call, request), draft.warnings
        except (InvalidRequest, StillUploading):
            raise
        except LumaServerError as error:
            raise LumaServerError(f"Nothing was bought. {error}") from error
        finally:
            for file in call.files:
                app.inputs.release(file)
    raise LumaServerError("Nothing was bought: Luma did not answer in time about what this starts from. Call again.")


async def _uploaded(call: Call, request: Request) -> Request:
    """The request with its large local files at Luma, now that nothing speaks against it any more."""
    until = call.preparing.deadline = max(call.wait_until, call.answer_until)

    async def ready(media: Media) -> Media:
        if media.file is None:
            return media
        file = await call.app.inputs.upload(media.file, until=until - _MARGIN_S, say=call.say)
        return media.model_copy(update={"file": file})

    changes: dict[str, Media | tuple[Media, ...]] = {}
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


def _unanswered(api: Api, request: Request, request_id: str) -> Generation:
    return Generation(
        request_id=request_id,
        api=api,
        state="unknown",
        prompt=request.prompt if not isinstance(request, UpscaleRequest) else None,
        charged="unknown",
        warnings=("Luma has not answered yet. Do not buy it again.",),
        next_step=f'wait_for_generations(generation_ids=["{request_id}"])',
    )


async def _awaited(app: App, call: Call, generation: Generation) -> Generation:
    """The generation as it stands when it ends, or when the call has waited long enough."""
    assert generation.generation_id is not None
    if generation.finished:
        return generation
    async with app.jobs.watch(generation.generation_id, delay=FIRST_GAP_S) as watch:
        call.describe = lambda: (watch.generation or generation).state
        with anyio.CancelScope(deadline=call.wait_until):
            await watch.ended.wait()
    latest = watch.generation or generation
    app.remember(latest)
    if watch.error is not None:
        return latest.with_(warnings=(f"The job goes on, but its state is old. {watch.error}",))
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
