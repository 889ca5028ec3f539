"""The tools that buy something. Each builds one request value; `buy` does the rest."""

from typing import Annotated

from pydantic import Field

from ..backends import api_of, candidates
from ..errors import InvalidRequest
from ..models import (
    AspectRatio,
    AudioRequest,
    Direction,
    Duration,
    Generation,
    ImageRequest,
    MediaType,
    Mode,
    ModifyVideoRequest,
    OutputFormat,
    Placement,
    ReframeRequest,
    Resolution,
    UpscaleRequest,
    VideoRequest,
)
from . import Call, ToolContext
from .account import concepts_of
from .buying import Draft, as_media, buy, check_early, image_of, images_of, media_of, one_step_up, own_clip

Prompt = Annotated[str, Field(description="Subject, action, setting, camera, style, in English")]
Image = Annotated[str | None, Field(description="Generation id or image URL")]
Source = Annotated[str, Field(description="Generation id or URL")]
GenerationId = Annotated[str, Field(description="Completed Luma-made video")]
VideoModel = Annotated[str | None, Field(description="Default: the clip's own")]
ImageModel = Annotated[str | None, Field(description="photon-1 (default), photon-flash-1 (cheaper)")]
Format = Annotated[OutputFormat | None, Field(description="Default: the model's")]
CallbackUrl = Annotated[str | None, Field(description="https URL that Luma tells each change")]
Take = Annotated[int, Field(description="Another number buys another version", ge=1, le=999)]
WaitS = Annotated[float | None, Field(description="Longest wait in seconds; 0 = none", ge=0)]


async def generate_video(
    ctx: ToolContext,
    prompt: Prompt,
    start_image: Image = None,
    end_image: Image = None,
    aspect_ratio: Annotated[AspectRatio | None, Field(description="Default: the image's, else 16:9")] = None,
    resolution: Annotated[Resolution, Field(description="Dearer each step")] = "720p",
    duration: Annotated[Duration, Field(description="Length")] = "5s",
    loop: Annotated[bool, Field(description="Seamless; not with two images")] = False,
    concepts: Annotated[list[str] | None, Field(description="Keys from list_camera_motions")] = None,
    model: Annotated[str | None, Field(description="ray-2 (default), ray-flash-2 (a third of the price)")] = None,
    callback_url: CallbackUrl = None,
    take: Take = 1,
    wait_s: WaitS = None,
) -> Generation:
    """Make a video clip from text, or from a start and/or end image. Costs money."""

    async def draft(call: Call) -> Draft:
        check_early(call, callback_url, "video", model, prompt)
        start = await image_of(call, start_image, "start_image")
        end = await image_of(call, end_image, "end_image")
        keys = await concepts_of(call.app, concepts or ())
        models = candidates("video", model, call.app.settings.apis)
        return Draft(
            lambda name: VideoRequest(
                model=name,
                prompt=prompt,
                resolution=resolution,
                duration=duration,
                aspect_ratio=aspect_ratio or next((image.aspect_ratio for image in (start, end) if image), None),
                start_image=start,
                end_image=end,
                loop=loop,
                concepts=keys,
                callback_url=callback_url,
            ),
            models,
        )

    return await buy(ctx, "generate_video", draft, take, wait_s)


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

    async def draft(call: Call) -> Draft:
        check_early(call, callback_url, "video", model, prompt)
        clip = await own_clip(call.app, generation_id, "generation_id")
        image = await image_of(call, end_image, "end_image")
        source, forward = as_media(clip), direction == "forward"
        models = candidates("video", model, call.app.settings.apis, clip.model)
        return Draft(
            lambda name: VideoRequest(
                model=name,
                prompt=prompt,
                resolution=clip.resolution or "720p",
                duration="5s",
                aspect_ratio=clip.aspect_ratio,
                start_video=source if forward else None,
                end_video=None if forward else source,
                start_image=None if forward else image,
                end_image=image if forward else None,
                loop=loop,
                callback_url=callback_url,
            ),
            models,
            () if clip.resolution else ("The clip's own resolution is not known here: 720p was asked for.",),
        )

    return await buy(ctx, "extend_video", draft, take, wait_s)


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

    async def draft(call: Call) -> Draft:
        check_early(call, callback_url, "video", model, prompt)
        call.app.reference(end_generation_id, "end_generation_id", media=False)
        start = await own_clip(call.app, start_generation_id, "start_generation_id")
        end = await own_clip(call.app, end_generation_id, "end_generation_id")
        models = candidates("video", model, ("dream_machine",), start.model)
        return Draft(
            lambda name: VideoRequest(
                model=name,
                prompt=prompt,
                resolution=start.resolution or "720p",
                duration="5s",
                aspect_ratio=start.aspect_ratio,
                start_video=as_media(start),
                end_video=as_media(end),
                callback_url=callback_url,
            ),
            models,
        )

    return await buy(ctx, "interpolate_videos", draft, take, wait_s)


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
    """Restyle or change a video, keeping its motion. Costs money."""

    async def draft(call: Call) -> Draft:
        check_early(call, callback_url, "video", model, prompt)
        media, of_source, _ = await media_of(call, source, "source", "video")
        start = await image_of(call, start_image, "start_image")
        models = candidates("video", model, call.app.settings.apis, of_source)
        return Draft(
            lambda name: ModifyVideoRequest(
                model=name,
                source=media,
                mode=mode,
                resolution=_size(resolution, name),
                prompt=prompt,
                start_image=start,
                callback_url=callback_url,
            ),
            models,
        )

    return await buy(ctx, "modify_video", draft, take, wait_s)


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
    """Change the shape of a video or image; Luma fills in what is missing. Centred unless placed. Costs money."""

    async def draft(call: Call) -> Draft:
        check_early(call, callback_url)
        media, of_source, kind = await media_of(call, source, "source", media_type)
        if kind == "video" and output_format:
            raise InvalidRequest("output_format is for images; this is a video. Nothing was sent. Leave it out.")
        if kind == "image" and start_image:
            raise InvalidRequest("start_image is for videos; this is an image. Nothing was sent. Leave it out.")
        start = await image_of(call, start_image, "start_image")
        models = candidates(kind, model, call.app.settings.apis, of_source)
        return Draft(
            lambda name: ReframeRequest(
                model=name,
                media_type=kind,
                resolution=_size(resolution, name),
                source=media,
                aspect_ratio=aspect_ratio,
                prompt=prompt or None,
                output_format=output_format,
                start_image=start,
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
            ),
            models,
        )

    return await buy(ctx, "reframe_media", draft, take, wait_s)


async def upscale_video(
    ctx: ToolContext,
    generation_id: GenerationId,
    resolution: Annotated[Resolution | None, Field(description="Default: one step up")] = None,
    callback_url: CallbackUrl = None,
    take: Take = 1,
    wait_s: WaitS = None,
) -> Generation:
    """Make a Luma-made clip sharper. Costs money; the price is not published."""

    async def draft(call: Call) -> Draft:
        check_early(call, callback_url)
        clip = await own_clip(call.app, generation_id, "generation_id")
        request = UpscaleRequest(
            source=as_media(clip),
            resolution=resolution or one_step_up(clip.resolution),
            callback_url=callback_url,
        )
        return Draft(lambda _: request)

    return await buy(ctx, "upscale_video", draft, take, wait_s)


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

    async def draft(call: Call) -> Draft:
        check_early(call, callback_url)
        clip = await own_clip(call.app, generation_id, "generation_id")
        request = AudioRequest(
            source=as_media(clip),
            prompt=prompt or None,
            negative_prompt=negative_prompt or None,
            callback_url=callback_url,
        )
        return Draft(lambda _: request)

    return await buy(ctx, "add_audio", draft, take, wait_s)


References = Annotated[list[str] | None, Field(description="As in generate_image")]


async def generate_image(
    ctx: ToolContext,
    prompt: Prompt,
    image_refs: Annotated[
        list[str] | None, Field(description="Up to 4 ids or URLs; #weight=0 to 1 may follow each")
    ] = None,
    style_ref: Annotated[str | None, Field(description="Style to take: id or URL, #weight too")] = None,
    character_refs: Annotated[list[str] | None, Field(description="Up to 4 ids or URLs of one person")] = None,
    aspect_ratio: Annotated[AspectRatio | None, Field(description="Default 16:9")] = None,
    output_format: Format = None,
    model: ImageModel = None,
    callback_url: CallbackUrl = None,
    take: Take = 1,
    wait_s: WaitS = None,
) -> Generation:
    """Make an image from text and reference images. Costs money."""

    async def draft(call: Call) -> Draft:
        check_early(call, callback_url, "image", model, prompt)
        refs = await images_of(call, image_refs, "image_refs", weighted=True)
        style = await image_of(call, style_ref, "style_ref", weighted=True)
        people = await images_of(call, character_refs, "character_refs")
        models = candidates("image", model, call.app.settings.apis)
        return Draft(
            lambda name: ImageRequest(
                model=name,
                prompt=prompt,
                image_refs=refs,
                style_ref=style,
                character_refs=people,
                aspect_ratio=aspect_ratio,
                output_format=output_format,
                callback_url=callback_url,
            ),
            models,
        )

    return await buy(ctx, "generate_image", draft, take, wait_s)


async def modify_image(
    ctx: ToolContext,
    source: Annotated[str, Field(description="Id or URL; #weight=0.1 behind it: freer, 1: closer")],
    prompt: Annotated[str, Field(description="What to change, in English")],
    image_refs: References = None,
    output_format: Format = None,
    model: ImageModel = None,
    callback_url: CallbackUrl = None,
    take: Take = 1,
    wait_s: WaitS = None,
) -> Generation:
    """Change an image as told. Costs money."""

    async def draft(call: Call) -> Draft:
        check_early(call, callback_url, "image", model, prompt)
        media, of_source, _ = await media_of(call, source, "source", "image", weighted=True)
        refs = await images_of(call, image_refs, "image_refs", weighted=True)
        models = candidates("image", model, call.app.settings.apis, of_source)
        return Draft(
            lambda name: ImageRequest(
                model=name,
                prompt=prompt,
                source=media,
                image_refs=refs,
                aspect_ratio=media.aspect_ratio,
                output_format=output_format,
                callback_url=callback_url,
            ),
            models,
        )

    return await buy(ctx, "modify_image", draft, take, wait_s)


def _size(resolution: str | None, model: str) -> str | None:
    """The resolution to ask a model for: Dream Machine's modify and reframe take none."""
    return resolution or ("720p" if api_of(model) == "agents" else None)
