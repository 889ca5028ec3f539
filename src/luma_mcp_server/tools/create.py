"""The tools that buy something. Each builds one request value; `buy` does the rest."""

from typing import Annotated

from pydantic import Field

from ..backends import choose_model
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
    Request,
    Resolution,
    UpscaleRequest,
    VideoRequest,
)
from . import App, ToolContext
from .account import concepts_of
from .buying import buy, image_of, images_of, media_of, one_step_up, own_clip

Prompt = Annotated[str, Field(description="Subject, action, setting, camera, style, in English")]
Image = Annotated[str | None, Field(description="Generation id or image URL")]
Source = Annotated[str, Field(description="Generation id or URL")]
GenerationId = Annotated[str, Field(description="Completed Luma-made video")]
VideoModel = Annotated[str | None, Field(description="Default: the clip's own")]
ImageModel = Annotated[str | None, Field(description="photon-1 (default), photon-flash-1 (cheaper)")]
Format = Annotated[OutputFormat | None, Field(description="Default jpg")]
CallbackUrl = Annotated[str | None, Field(description="https URL that Luma tells each change")]
Take = Annotated[int, Field(description="Number of this version; one job per call", ge=1)]
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

    async def request(app: App) -> Request:
        start = await image_of(app, start_image, "start_image")
        end = await image_of(app, end_image, "end_image")
        return VideoRequest(
            model=choose_model("video", model),
            prompt=prompt,
            resolution=resolution,
            duration=duration,
            aspect_ratio=aspect_ratio or next((image.aspect_ratio for image in (start, end) if image), None),
            start_image=start,
            end_image=end,
            loop=loop,
            concepts=await concepts_of(app, concepts or ()),
            callback_url=callback_url,
        )

    return await buy(ctx, request, wait_s)


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
        clip = await own_clip(app, generation_id, "generation_id")
        image = await image_of(app, end_image, "end_image")
        forward = direction == "forward"
        return VideoRequest(
            model=choose_model("video", model, clip.model),
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

    return await buy(ctx, request, wait_s)


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
        start = await own_clip(app, start_generation_id, "start_generation_id")
        end = await own_clip(app, end_generation_id, "end_generation_id")
        return VideoRequest(
            model=choose_model("video", model, start.model),
            prompt=prompt,
            resolution=start.resolution or "720p",
            duration="5s",
            aspect_ratio=start.aspect_ratio,
            start_video=start.generation_id,
            end_video=end.generation_id,
            callback_url=callback_url,
        )

    return await buy(ctx, request, wait_s)


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
        media, of_source, _ = await media_of(app, source, "source", "video")
        return ModifyVideoRequest(
            model=choose_model("video", model, of_source),
            source=media,
            mode=mode,
            prompt=prompt,
            start_image=await image_of(app, start_image, "start_image"),
            callback_url=callback_url,
        )

    return await buy(ctx, request, wait_s)


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
    _refuse_resolution(resolution, "reframe_media")

    async def request(app: App) -> Request:
        media, of_source, kind = await media_of(app, source, "source", media_type)
        if kind == "video" and output_format:
            raise InvalidRequest("output_format is for images; this is a video. Nothing was sent. Leave it out.")
        if kind == "image" and start_image:
            raise InvalidRequest("start_image is for videos; this is an image. Nothing was sent. Leave it out.")
        return ReframeRequest(
            model=choose_model(kind, model, of_source),
            media_type=kind,
            source=media,
            aspect_ratio=aspect_ratio,
            prompt=prompt or None,
            output_format=output_format,
            start_image=await image_of(app, start_image, "start_image"),
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

    return await buy(ctx, request, wait_s)


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
        clip = await own_clip(app, generation_id, "generation_id")
        return UpscaleRequest(
            generation_id=str(clip.generation_id),
            resolution=resolution or one_step_up(clip.resolution),
            callback_url=callback_url,
        )

    return await buy(ctx, request, wait_s)


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
        clip = await own_clip(app, generation_id, "generation_id")
        return AudioRequest(
            generation_id=str(clip.generation_id),
            prompt=prompt or None,
            negative_prompt=negative_prompt or None,
            callback_url=callback_url,
        )

    return await buy(ctx, request, wait_s)


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

    async def request(app: App) -> Request:
        return ImageRequest(
            model=choose_model("image", model),
            prompt=prompt,
            image_refs=await images_of(app, image_refs, "image_refs", weighted=True),
            style_ref=await image_of(app, style_ref, "style_ref", weighted=True),
            character_refs=await images_of(app, character_refs, "character_refs"),
            aspect_ratio=aspect_ratio,
            output_format=output_format,
            callback_url=callback_url,
        )

    return await buy(ctx, request, wait_s)


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

    async def request(app: App) -> Request:
        media, of_source, _ = await media_of(app, source, "source", "image", weighted=True)
        return ImageRequest(
            model=choose_model("image", model, of_source),
            prompt=prompt,
            source=media,
            image_refs=await images_of(app, image_refs, "image_refs", weighted=True),
            aspect_ratio=media.aspect_ratio,
            output_format=output_format,
            callback_url=callback_url,
        )

    return await buy(ctx, request, wait_s)


def _refuse_resolution(resolution: str | None, tool: str) -> None:
    if resolution is not None:
        raise InvalidRequest(
            f"{tool} keeps the source's resolution with Luma's Dream Machine models. Nothing was sent. Leave"
            " resolution out; upscale_video makes a finished clip larger."
        )
