"""Buying: what a request starts from, the purchase, the wait, and the saved file."""

from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

import anyio

from ..errors import InvalidRequest, JobFailed, LumaServerError, TooManyRequests
from ..media import guess_type
from ..models import RESOLUTIONS, Generation, Media, MediaType, Request, UpscaleRequest
from ..polling import expected_seconds
from ..pricing import estimate
from . import App, Call, ToolContext, app_of, calling

_A = {"image": "an image", "video": "a video"}


def one_step_up(resolution: str | None) -> str:
    """The next larger resolution; 1080p where a clip's own is not known."""
    if resolution not in RESOLUTIONS:
        return "1080p"
    step = RESOLUTIONS.index(resolution) + 1
    if step == len(RESOLUTIONS):
        raise InvalidRequest("This clip has the largest resolution, 4k, already. Nothing was sent or charged.")
    return RESOLUTIONS[step]


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
    app: App, text: str, parameter: str, kind: MediaType | None, *, weighted: bool = False
) -> tuple[Media, str | None, MediaType]:
    """What a media parameter names, the model that made it, and whether it is a video or an image."""
    reference = app.reference(text, parameter, weighted=weighted)
    if reference.kind == "url":
        if (kind := kind or guess_type(reference.value)) is None:
            raise InvalidRequest(
                f"The URL in {parameter} does not show whether it is a video or an image. Nothing was sent. Add "
                "media_type=video or media_type=image."
            )
        return Media(url=reference.value, weight=reference.weight), None, kind
    made = await _finished(app, reference.value, parameter, kind)
    if (url := made.url) is None:
        raise InvalidRequest(f"{parameter}: Luma gives no link for generation {reference.value}. Nothing was bought.")
    media = Media(
        url=url,
        generation_id=reference.value,
        weight=reference.weight,
        aspect_ratio=made.aspect_ratio,
        resolution=made.resolution,
        duration=made.duration,
    )
    return media, made.model, kind or made.type or "video"


async def image_of(app: App, text: str | None, parameter: str, *, weighted: bool = False) -> Media | None:
    """The image that a parameter names, if it names one."""
    return None if text is None else (await media_of(app, text, parameter, "image", weighted=weighted))[0]


async def images_of(
    app: App, texts: Sequence[str] | None, parameter: str, *, weighted: bool = False
) -> tuple[Media, ...]:
    """The images that a list names."""
    found = [
        await media_of(app, text, f"{parameter}[{number}]", "image", weighted=weighted)
        for number, text in enumerate(texts or ())
    ]
    return tuple(media for media, _, _ in found)


async def buy(ctx: ToolContext, make_request: Callable[[App], Awaitable[Request]], wait_s: float | None) -> Generation:
    """Buy what a tool was asked for, wait for it as long as the call may, and save it."""
    app = app_of(ctx)
    app.settings.require_key()
    async with calling(ctx, app, wait_s) as call:
        request = await _prepared(app, call, make_request)
        _check_callback(app, request.callback_url)
        call.say("sending to Luma")
        try:
            purchase = await app.jobs.buy(
                request, answer_until=call.answer_until, resend_until=call.wait_until, say=call.say
            )
        except TooManyRequests as error:
            if not error.concurrency:
                raise
            running = app.jobs.running()
            more = f" and {len(running) - 2} more" if len(running) > 2 else ""
            here = f"Running here: {', '.join(running[:2])}{more}." if running else "list_generations shows them."
            raise LumaServerError(f"{error} {here}") from error
        price = estimate(request)
        if (generation := purchase.generation) is None:
            return app.present(_unanswered(request, purchase.request_id), estimated_cost_usd=price)
        call.expected = None if app.settings.sandbox else expected_seconds(type(request).__name__, generation.model)
        generation = await _awaited(app, call, generation)
        if generation.state == "failed":
            raise _failed(generation)
        call.say("saving")
        generation = await app.saved(generation, call.wait_until)
        unpriced = () if price is not None else ("The price of this is not published; get_account shows the balance.",)
        return app.present(generation, estimated_cost_usd=price, warnings=unpriced)


def _check_callback(app: App, callback_url: str | None) -> None:
    if callback_url is None:
        return
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


async def _prepared(app: App, call: Call, make_request: Callable[[App], Awaitable[Request]]) -> Request:
    """The request, after the free questions that it takes to write it."""
    call.say("looking up what it starts from")
    with anyio.CancelScope(deadline=call.limit):
        try:
            return await make_request(app)
        except InvalidRequest:
            raise
        except LumaServerError as error:
            raise LumaServerError(f"Nothing was bought. {error}") from error
    raise LumaServerError("Nothing was bought: Luma did not answer in time about what this starts from. Call again.")


def _unanswered(request: Request, request_id: str) -> Generation:
    return Generation(
        request_id=request_id,
        api="dream_machine",
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
    async with app.jobs.watch(generation.generation_id, fresh=True) as watch:
        call.describe = lambda: (watch.generation or generation).state
        with anyio.CancelScope(deadline=call.wait_until):
            await watch.ended.wait()
    latest = watch.generation or generation
    app.remember(latest)
    if watch.error is not None:
        return latest.with_(warnings=(f"The job goes on, but its state is old. {watch.error}",))
    return latest


def _failed(generation: Generation) -> JobFailed:
    reason = generation.failure_reason or generation.failure_code or "Luma gives no reason"
    cost = {"no": "Luma refunds failed jobs, so nothing was charged.", "yes": "It was charged."}.get(
        generation.charged or "", "Whether it was charged is not known: get_account shows the balance."
    )
    moderated = any(word in reason.lower() for word in ("moderat", "blacklist"))
    todo = "Change the prompt or the images" if moderated else "Check the input, or simply call again"
    return JobFailed(f"Generation {generation.generation_id} failed: {reason}. {cost} {todo}.")
