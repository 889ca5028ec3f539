"""The tools that buy something. Each builds one request value; `_buy` does the rest."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated
from urllib.parse import urlsplit

import anyio
from pydantic import Field

from ..errors import InvalidRequest, JobFailed, LumaServerError, TooManyRequests, quote
from ..models import (
    RESOLUTIONS,
    AspectRatio,
    AudioRequest,
    Direction,
    Duration,
    Generation,
    ImageRequest,
    Media,
    MediaType,
    Mode,
    ModifyVideoRequest,
    OutputFormat,
    Placement,
    ReframeRequest,
    Request,
    Resolution,
    UpscaleRequest,
    VideoRequest,
)
from ..polling import expected_seconds
from ..pricing import estimate
from . import App, Call, ToolContext, app_of, calling

Prompt = Annotated[str, Field(description="Subject, action, setting, camera, style, in English")]
Image = Annotated[str | None, Field(description="Generation id or image URL")]
Source = Annotated[str, Field(description="Generation id or URL")]
GenerationId = Annotated[str, Field(description="Completed Luma-made video")]
VideoModel = Annotated[str | None, Field(description="ray-2, or ray-flash-2 (cheaper)")]
ImageModel = Annotated[str | None, Field(description="photon-1, or photon-flash-1 (cheaper)")]
Format = Annotated[OutputFormat | None, Field(description="Default jpg")]
CallbackUrl = Annotated[str | None, Field(description="https URL that Luma tells each change")]
Take = Annotated[int, Field(description="2, 3 …: further versions of the same", ge=1)]
WaitS = Annotated[float | None, Field(description="Seconds to wait for the result", ge=0)]


async def generate_video(
    ctx: ToolContext,
    prompt: Prompt,
    start_image: Image = None,
    end_image: Image = None,
    aspect_ratio: Annotated[AspectRatio | None, Field(description="Default 16:9")] = None,
    resolution: Annotated[Resolution, Field(description="Dearer each step")] = "720p",
    duration: Annotated[Duration, Field(description="Length")] = "5s",
    loop: Annotated[bool, Field(description="Seamless; not with two images")] = False,
    concepts: Annotated[list[str] | None, Field(description="Keys from list_camera_motions")] = None,
    model: VideoModel = None,
    callback_url: CallbackUrl = None,
    take: Take = 1,
    wait_s: WaitS = None,
) -> Generation:
    """Make a video clip from text, or from a start and/or end image. Costs money."""

    async def request(app: App) -> Request:
        return VideoRequest(
            model=_model("video", model),
            prompt=prompt,
            resolution=resolution,
            duration=duration,
            aspect_ratio=aspect_ratio,
            start_image=await _image(app, start_image, "start_image"),
            end_image=await _image(app, end_image, "end_image"),
            loop=loop,
            concepts=tuple(concepts or ()),
            callback_url=callback_url,
        )

    return await _buy(ctx, "video", request, wait_s, callback_url)


async def extend_video(
    ctx: ToolContext,
    generation_id: GenerationId,
    prompt: Annotated[str, Field(description="What happens there, in English")],
    direction: Annotated[Direction, Field(description="backward = what came before")] = "forward",
    end_image: Annotated[str | None, Field(description="Image at the new end: generation id or URL")] = None,
    loop: Annotated[bool, Field(description="Lead back to the clip's start")] = False,
    model: VideoModel = None,
    callback_url: CallbackUrl = None,
    take: Take = 1,
    wait_s: WaitS = None,
) -> Generation:
    """Continue a Luma-made clip by 5 s, after its end or before its start. Costs money."""

    async def request(app: App) -> Request:
        clip = await _clip(app, generation_id, "generation_id")
        image = await _image(app, end_image, "end_image")
        forward = direction == "forward"
        return VideoRequest(
            model=_model("video", model, clip.model),
            prompt=prompt,
            resolution=clip.resolution or "720p",
            duration="5s",
            aspect_ratio=clip.aspect_ratio,
            start_video=clip.generation_id if forward else None,
            end_video=None if forward else clip.generation_id,
            start_image=None if forward else image,
            end_image=image if forward else None,
            loop=loop,
            callback_url=callback_url,
        )

    return await _buy(ctx, "extend", request, wait_s, callback_url)


async def interpolate_videos(
    ctx: ToolContext,
    start_generation_id: GenerationId,
    end_generation_id: GenerationId,
    prompt: Annotated[str, Field(description="What happens between them")],
    model: VideoModel = None,
    callback_url: CallbackUrl = None,
    take: Take = 1,
    wait_s: WaitS = None,
) -> Generation:
    """Make the clip that leads from one Luma-made clip to another. Costs money."""

    async def request(app: App) -> Request:
        start = await _clip(app, start_generation_id, "start_generation_id")
        end = await _clip(app, end_generation_id, "end_generation_id")
        return VideoRequest(
            model=_model("video", model, start.model),
            prompt=prompt,
            resolution=start.resolution or "720p",
            duration="5s",
            aspect_ratio=start.aspect_ratio,
            start_video=start.generation_id,
            end_video=end.generation_id,
            callback_url=callback_url,
        )

    return await _buy(ctx, "video", request, wait_s, callback_url)


async def modify_video(
    ctx: ToolContext,
    source: Source,
    mode: Annotated[Mode, Field(description="How freely: adhere < flex < reimagine, 1 < 3")],
    prompt: Annotated[str, Field(description="The new look, in English")],
    start_image: Annotated[str | None, Field(description="How its first frame shall look: id or URL")] = None,
    resolution: Annotated[Resolution | None, Field(description="Agents models only")] = None,
    model: VideoModel = None,
    callback_url: CallbackUrl = None,
    take: Take = 1,
    wait_s: WaitS = None,
) -> Generation:
    """Restyle or change a video, keeping its motion. At most 10 s with ray-2, 15 s with ray-flash-2. Costs money."""
    _refuse_resolution(resolution, "modify_video")

    async def request(app: App) -> Request:
        media, of_source, _ = await _media(app, source, "source", "video")
        return ModifyVideoRequest(
            model=_model("video", model, of_source),
            source=media,
            mode=mode,
            prompt=prompt,
            start_image=await _image(app, start_image, "start_image"),
            callback_url=callback_url,
        )

    return await _buy(ctx, "modify", request, wait_s, callback_url)


async def reframe_media(
    ctx: ToolContext,
    source: Source,
    aspect_ratio: Annotated[AspectRatio, Field(description="New shape")],
    media_type: Annotated[MediaType | None, Field(description="Say it if the URL does not show it")] = None,
    prompt: Annotated[str | None, Field(description="What fills the new space")] = None,
    resolution: Annotated[Resolution | None, Field(description="Agents models only")] = None,
    output_format: Annotated[OutputFormat | None, Field(description="Images only")] = None,
    start_image: Annotated[str | None, Field(description="First frame, videos only")] = None,
    x_start: Annotated[int | None, Field(description="Source's left edge in the new frame, px")] = None,
    x_end: Annotated[int | None, Field(description="Its right edge, px")] = None,
    y_start: Annotated[int | None, Field(description="Its top edge, px")] = None,
    y_end: Annotated[int | None, Field(description="Its bottom edge, px")] = None,
    grid_position_x: Annotated[int | None, Field(description="Source's x position, px")] = None,
    grid_position_y: Annotated[int | None, Field(description="Its y position, px")] = None,
    resized_width: Annotated[int | None, Field(description="Source's new width, px")] = None,
    resized_height: Annotated[int | None, Field(description="Its new height, px")] = None,
    model: Annotated[str | None, Field(description="ray-… for video, photon-… for image")] = None,
    callback_url: CallbackUrl = None,
    take: Take = 1,
    wait_s: WaitS = None,
) -> Generation:
    """Change the shape of a video or image; Luma fills in what is missing. Centred by itself. Costs money."""
    _refuse_resolution(resolution, "reframe_media")

    async def request(app: App) -> Request:
        media, of_source, kind = await _media(app, source, "source", media_type)
        if kind == "video" and output_format:
            raise InvalidRequest("output_format is for images; this is a video. Nothing was sent. Leave it out.")
        if kind == "image" and start_image:
            raise InvalidRequest("start_image is for videos; this is an image. Nothing was sent. Leave it out.")
        return ReframeRequest(
            model=_model(kind, model, of_source),
            media_type=kind,
            source=media,
            aspect_ratio=aspect_ratio,
            prompt=prompt,
            output_format=output_format,
            start_image=await _image(app, start_image, "start_image"),
            placement=Placement(
                x_start=x_start,
                x_end=x_end,
                y_start=y_start,
                y_end=y_end,
                grid_position_x=grid_position_x,
                grid_position_y=grid_position_y,
                resized_width=resized_width,
                resized_height=resized_height,
            ),
            callback_url=callback_url,
        )

    return await _buy(ctx, "reframe", request, wait_s, callback_url)


async def upscale_video(
    ctx: ToolContext,
    generation_id: GenerationId,
    resolution: Annotated[Resolution | None, Field(description="Default: one step up")] = None,
    callback_url: CallbackUrl = None,
    take: Take = 1,
    wait_s: WaitS = None,
) -> Generation:
    """Make a Luma-made clip sharper. Costs money; the price is not published."""

    async def request(app: App) -> Request:
        clip = await _clip(app, generation_id, "generation_id")
        return UpscaleRequest(
            generation_id=str(clip.generation_id),
            resolution=resolution or _one_step_up(clip.resolution),
            callback_url=callback_url,
        )

    return await _buy(ctx, "upscale", request, wait_s, callback_url)


async def add_audio(
    ctx: ToolContext,
    generation_id: GenerationId,
    prompt: Annotated[str | None, Field(description="What is heard")] = None,
    negative_prompt: Annotated[str | None, Field(description="What is not")] = None,
    callback_url: CallbackUrl = None,
    take: Take = 1,
    wait_s: WaitS = None,
) -> Generation:
    """Add sound to a Luma-made clip. Costs money; the price is not published."""

    async def request(app: App) -> Request:
        clip = await _clip(app, generation_id, "generation_id")
        return AudioRequest(
            generation_id=str(clip.generation_id),
            prompt=prompt,
            negative_prompt=negative_prompt,
            callback_url=callback_url,
        )

    return await _buy(ctx, "audio", request, wait_s, callback_url)


References = Annotated[list[str] | None, Field(description="Generation ids or URLs to draw on, up to 4")]


async def generate_image(
    ctx: ToolContext,
    prompt: Prompt,
    image_refs: Annotated[
        list[str] | None, Field(description="Up to 4 generation ids or URLs; weigh one by #weight=0.8 behind it")
    ] = None,
    style_ref: Annotated[str | None, Field(description="Image whose style to take")] = None,
    character_refs: Annotated[list[str] | None, Field(description="Up to 4 images of one person to show")] = None,
    aspect_ratio: Annotated[AspectRatio | None, Field(description="Default 16:9")] = None,
    output_format: Format = None,
    model: ImageModel = None,
    callback_url: CallbackUrl = None,
    take: Take = 1,
    wait_s: WaitS = None,
) -> Generation:
    """Make an image from text and reference images. Costs money."""

    async def request(app: App) -> Request:
        return ImageRequest(
            model=_model("image", model),
            prompt=prompt,
            image_refs=await _images(app, image_refs, "image_refs", weighted=True),
            style_ref=await _image(app, style_ref, "style_ref", weighted=True),
            character_refs=await _images(app, character_refs, "character_refs"),
            aspect_ratio=aspect_ratio,
            output_format=output_format,
            callback_url=callback_url,
        )

    return await _buy(ctx, "image", request, wait_s, callback_url)


async def modify_image(
    ctx: ToolContext,
    source: Annotated[str, Field(description="Generation id or image URL; #weight=0.1 behind it: freer than 1")],
    prompt: Annotated[str, Field(description="What to change, in English")],
    image_refs: References = None,
    output_format: Format = None,
    model: ImageModel = None,
    callback_url: CallbackUrl = None,
    take: Take = 1,
    wait_s: WaitS = None,
) -> Generation:
    """Change an image as told. Costs money."""

    async def request(app: App) -> Request:
        media, of_source, _ = await _media(app, source, "source", "image", weighted=True)
        return ImageRequest(
            model=_model("image", model, of_source),
            prompt=prompt,
            source=media,
            image_refs=await _images(app, image_refs, "image_refs", weighted=True),
            output_format=output_format,
            callback_url=callback_url,
        )

    return await _buy(ctx, "image", request, wait_s, callback_url)


def _model(kind: MediaType, asked: str | None, of_source: str | None = None) -> str:
    from ..backends import choose_model

    return choose_model(kind, asked, of_source)


def _refuse_resolution(resolution: str | None, tool: str) -> None:
    if resolution is not None:
        raise InvalidRequest(
            f"{tool} keeps the source's resolution with Luma's Dream Machine models. Nothing was sent. Leave"
            " resolution out; upscale_video makes a finished clip larger."
        )


def _one_step_up(resolution: str | None) -> str:
    if resolution not in RESOLUTIONS:
        return "1080p"
    step = RESOLUTIONS.index(resolution) + 1
    if step == len(RESOLUTIONS):
        raise InvalidRequest("This clip has the largest resolution, 4k, already. Nothing was sent or charged.")
    return RESOLUTIONS[step]


async def _clip(app: App, text: str, parameter: str) -> Generation:
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
            f"{parameter} must be a{'n image' if kind == 'image' else ' video'}, but generation {generation_id} is a"
            f"{'n image' if generation.type == 'image' else ' video'}. Nothing was bought. {todo}"
        )
    return generation


async def _media(
    app: App, text: str, parameter: str, kind: MediaType | None, *, weighted: bool = False
) -> tuple[Media, str | None, MediaType]:
    """What a media parameter names, the model that made it, and whether it is a video or an image."""
    from ..media import guess_type

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
        resolution=made.resolution,
        duration=made.duration,
    )
    return media, made.model, kind or made.type or "video"


async def _image(app: App, text: str | None, parameter: str, *, weighted: bool = False) -> Media | None:
    return None if text is None else (await _media(app, text, parameter, "image", weighted=weighted))[0]


async def _images(
    app: App, texts: Sequence[str] | None, parameter: str, *, weighted: bool = False
) -> tuple[Media, ...]:
    found = [
        await _media(app, text, f"{parameter}[{number}]", "image", weighted=weighted)
        for number, text in enumerate(texts or ())
    ]
    return tuple(media for media, _, _ in found)


async def _buy(
    ctx: ToolContext,
    kind: str,
    make_request: Callable[[App], Awaitable[Request]],
    wait_s: float | None,
    callback_url: str | None,
) -> Generation:
    """Buy what a tool was asked for, wait for it as long as the call may, and save it."""
    app = app_of(ctx)
    app.settings.require_key()
    async with calling(ctx, app, wait_s) as call:
        _check_callback(app, callback_url)
        request = await _prepared(app, call, make_request)
        call.say("sending to Luma")
        try:
            purchase = await app.jobs.buy(
                request, answer_until=call.answer_until, resend_until=call.wait_until, say=call.say
            )
        except TooManyRequests as error:
            if not (error.concurrency and (running := app.jobs.running())):
                raise
            raise LumaServerError(f"{error} This server waits for {', '.join(running[:5])}.") from error
        price = estimate(request)
        if (generation := purchase.generation) is None:
            return app.present(_unanswered(request, purchase.request_id), estimated_cost_usd=price)
        call.expected = None if app.settings.sandbox else expected_seconds(kind, generation.model)
        generation = await _awaited(app, call, generation)
        if generation.state == "failed":
            raise _failed(generation)
        call.say("saving")
        generation = await app.saved(generation, call.wait_until)
        unpriced = () if price is not None else ("Luma publishes no price for this; get_account shows the balance.",)
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
    return JobFailed(f"Generation {generation.generation_id} failed: {quote(reason)}. {cost} {todo}.")
