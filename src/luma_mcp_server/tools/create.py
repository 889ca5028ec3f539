"""The paid tools: signatures and requests, nothing else."""

import difflib
from typing import Annotated

from pydantic import Field

from .. import models
from ..catalog import CONCEPTS, PLACEMENT, api_of, next_resolution
from ..errors import refuse
from .call import Call
from .paid import buy, check_call
from .sources import resolve_clip, resolve_id, resolve_image, resolve_images, resolve_media

Prompt = Annotated[str, Field(description="Subject, action, setting, camera, style, in English")]
Image = Annotated[str | None, Field(description="Generation id or image URL")]
Source = Annotated[str, Field(description="Generation id or URL")]
GenerationId = Annotated[str, Field(description="Completed Luma-made video")]
VideoModel = Annotated[str | None, Field(description="Default: the clip's own")]
ImageModel = Annotated[str | None, Field(description="photon-1 (default), photon-flash-1 (cheaper)")]
Format = Annotated[models.OutputFormat | None, Field(description="Default: the model's")]
CallbackUrl = Annotated[str | None, Field(description="https URL that Luma notifies of each change")]
Take = Annotated[int, Field(description="Another number buys another version", ge=1, le=999)]
WaitS = Annotated[float | None, Field(description="Longest wait in seconds; 0 = none", ge=0)]


async def generate_video(
    call: Call,
    prompt: Prompt,
    start_image: Image = None,
    end_image: Image = None,
    aspect_ratio: Annotated[models.AspectRatio | None, Field(description="Default: the image's, else 16:9")] = None,
    resolution: Annotated[models.Resolution, Field(description="Higher costs more")] = "720p",
    duration: Annotated[models.Duration, Field(description="Length")] = "5s",
    loop: Annotated[bool, Field(description="Seamless; not with two images")] = False,
    concepts: Annotated[list[str] | None, Field(description="Keys from list_camera_motions")] = None,
    model: Annotated[str | None, Field(description="ray-2 (default), ray-flash-2 (a third of the price)")] = None,
    callback_url: CallbackUrl = None,
    take: Take = 1,
    wait_s: WaitS = None,
) -> models.Generation:
    """Make a video clip from text, or from a start and/or end image. Costs money."""
    check_call(call)
    start = await resolve_image(call, start_image, "start_image")
    end = await resolve_image(call, end_image, "end_image")
    _check_concepts(concepts)
    return await buy(
        call,
        lambda name: models.VideoRequest(
            model=name,
            prompt=prompt,
            resolution=resolution,
            duration=duration,
            aspect_ratio=aspect_ratio or next((image.aspect_ratio for image in (start, end) if image), None),
            start_image=start,
            end_image=end,
            loop=loop,
            concepts=tuple(concepts or ()),
        ),
        kind="video",
    )


def _check_concepts(keys: list[str] | None) -> None:
    """Refuse a key that looks like a misspelled one; Luma may have new ones."""
    for key in keys or ():
        close = difflib.get_close_matches(key.lower(), CONCEPTS, 1, 0.7)
        if key not in CONCEPTS and (close or not key.isidentifier()):
            hint = f"Did you mean {close[0]}?" if close else "list_camera_motions has them all."
            raise refuse(f"Luma has no concept {key[:60]!r}", hint)


async def extend_video(
    call: Call,
    generation_id: GenerationId,
    prompt: Annotated[str, Field(description="What happens there, in English")],
    direction: Annotated[models.Direction, Field(description="backward = what came before")] = "forward",
    end_image: Annotated[str | None, Field(description="Image at the new end: generation id or URL")] = None,
    loop: Annotated[bool, Field(description="Lead back to the clip's start")] = False,
    model: VideoModel = None,
    callback_url: CallbackUrl = None,
    take: Take = 1,
    wait_s: WaitS = None,
) -> models.Generation:
    """Continue a Luma-made clip by 5 s, after its end or before its start. Costs money."""
    check_call(call)
    clip = await resolve_clip(call, generation_id, "generation_id")
    image = await resolve_image(call, end_image, "end_image")
    forward = direction == "forward"
    return await buy(
        call,
        lambda name: models.VideoRequest(
            model=name,
            prompt=prompt,
            resolution=clip.resolution or "720p",
            duration="5s",
            aspect_ratio=clip.aspect_ratio,
            start_video=clip if forward else None,
            end_video=None if forward else clip,
            start_image=None if forward else image,
            end_image=image if forward else None,
            loop=loop,
        ),
        kind="video",
        source_model=clip.model,
        warnings=() if clip.resolution else ("The clip's own resolution is not known here: 720p was asked for.",),
    )


async def interpolate_videos(
    call: Call,
    start_generation_id: GenerationId,
    end_generation_id: GenerationId,
    prompt: Annotated[str, Field(description="What happens between them")],
    model: VideoModel = None,
    callback_url: CallbackUrl = None,
    take: Take = 1,
    wait_s: WaitS = None,
) -> models.Generation:
    """Make the clip that leads from one Luma-made clip to another. Costs money."""
    check_call(call)
    await resolve_id(call, end_generation_id, "end_generation_id")  # if malformed, refused before the other is read
    start = await resolve_clip(call, start_generation_id, "start_generation_id")
    end = await resolve_clip(call, end_generation_id, "end_generation_id")
    return await buy(
        call,
        lambda name: models.VideoRequest(
            model=name,
            prompt=prompt,
            resolution=start.resolution or "720p",
            duration="5s",
            aspect_ratio=start.aspect_ratio,
            start_video=start,
            end_video=end,
        ),
        kind="video",
        source_model=start.model,
    )


async def modify_video(
    call: Call,
    source: Source,
    mode: Annotated[models.Mode, Field(description="adhere_1 keeps most … reimagine_3 changes most")],
    prompt: Annotated[str, Field(description="The new look, in English")],
    start_image: Annotated[str | None, Field(description="The new first frame: id or URL")] = None,
    resolution: Annotated[models.Resolution | None, Field(description="ray-3.2 only")] = None,
    model: VideoModel = None,
    callback_url: CallbackUrl = None,
    take: Take = 1,
    wait_s: WaitS = None,
) -> models.Generation:
    """Restyle or change a video, keeping its motion. Costs money."""
    check_call(call)
    video, _ = await resolve_media(call, source, "source", "video")
    start = await resolve_image(call, start_image, "start_image")
    return await buy(
        call,
        lambda name: models.ModifyVideoRequest(
            model=name,
            source=video,
            mode=mode,
            resolution=_resolution(resolution, name),
            prompt=prompt,
            start_image=start,
        ),
        kind="video",
        source_model=video.model,
    )


def _resolution(resolution: str | None, model: str) -> str | None:
    """The resolution to ask a model for: Dream Machine's modify and reframe take none."""
    return resolution or ("720p" if api_of(model) == "agents" else None)


async def reframe_media(
    call: Call,
    source: Source,
    aspect_ratio: Annotated[models.AspectRatio, Field(description="New shape")],
    media_type: Annotated[models.MediaType | None, Field(description="Needed if the URL has no file extension")] = None,
    prompt: Annotated[str | None, Field(description="What fills the new space")] = None,
    resolution: Annotated[models.Resolution | None, Field(description="ray-3.2 only")] = None,
    output_format: Annotated[models.OutputFormat | None, Field(description="Images only")] = None,
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
) -> models.Generation:
    """Change the shape of a video or image; Luma fills in what is missing. Centered unless placed. Costs money."""
    check_call(call)
    media, kind = await resolve_media(call, source, "source", media_type)
    if kind == "video" and output_format:
        raise refuse("output_format is for images; this is a video", "Leave it out.")
    if kind == "image" and start_image:
        raise refuse("start_image is for videos; this is an image", "Leave it out.")
    start = await resolve_image(call, start_image, "start_image")
    return await buy(
        call,
        lambda name: models.ReframeRequest(
            model=name,
            media_type=kind,
            resolution=_resolution(resolution, name),
            source=media,
            aspect_ratio=aspect_ratio,
            prompt=prompt,
            output_format=output_format,
            start_image=start,
            placement={edge: call.arguments[edge] for edge in PLACEMENT if call.arguments[edge] is not None},
        ),
        kind=kind,
        source_model=media.model,
    )


async def upscale_video(
    call: Call,
    generation_id: GenerationId,
    resolution: Annotated[models.Resolution | None, Field(description="Default: one step up")] = None,
    callback_url: CallbackUrl = None,
    take: Take = 1,
    wait_s: WaitS = None,
) -> models.Generation:
    """Make a Luma-made clip sharper. Costs money; the price is not published."""
    check_call(call)
    clip = await resolve_clip(call, generation_id, "generation_id")
    request = models.UpscaleRequest(source=clip, resolution=resolution or next_resolution(clip.resolution))
    return await buy(call, lambda _: request)


async def add_audio(
    call: Call,
    generation_id: GenerationId,
    prompt: Annotated[str | None, Field(description="Sounds to add")] = None,
    negative_prompt: Annotated[str | None, Field(description="Sounds to leave out")] = None,
    callback_url: CallbackUrl = None,
    take: Take = 1,
    wait_s: WaitS = None,
) -> models.Generation:
    """Add sound to a Luma-made clip. Costs money; the price is not published."""
    check_call(call)
    clip = await resolve_clip(call, generation_id, "generation_id")
    request = models.AudioRequest(source=clip, prompt=prompt, negative_prompt=negative_prompt)
    return await buy(call, lambda _: request)


async def generate_image(
    call: Call,
    prompt: Prompt,
    image_refs: Annotated[
        list[str] | None, Field(description="Up to 4 ids or URLs; #weight=0 to 1 may follow each")
    ] = None,
    style_ref: Annotated[str | None, Field(description="Style to copy: id or URL, #weight too")] = None,
    character_refs: Annotated[list[str] | None, Field(description="Up to 4 ids or URLs of one person")] = None,
    aspect_ratio: Annotated[models.AspectRatio | None, Field(description="Default 16:9")] = None,
    output_format: Format = None,
    model: ImageModel = None,
    callback_url: CallbackUrl = None,
    take: Take = 1,
    wait_s: WaitS = None,
) -> models.Generation:
    """Make an image from text and reference images. Costs money."""
    check_call(call)
    refs = await resolve_images(call, image_refs, "image_refs", weighted=True)
    style = await resolve_image(call, style_ref, "style_ref", weighted=True)
    people = await resolve_images(call, character_refs, "character_refs")
    return await buy(
        call,
        lambda name: models.ImageRequest(
            model=name,
            prompt=prompt,
            image_refs=refs,
            style_ref=style,
            character_refs=people,
            aspect_ratio=aspect_ratio,
            output_format=output_format,
        ),
        kind="image",
    )


async def modify_image(
    call: Call,
    source: Annotated[str, Field(description="Id or URL; #weight=0.1 after it: freer, 1: closer")],
    prompt: Annotated[str, Field(description="What to change, in English")],
    image_refs: Annotated[list[str] | None, Field(description="As in generate_image")] = None,
    output_format: Format = None,
    model: ImageModel = None,
    callback_url: CallbackUrl = None,
    take: Take = 1,
    wait_s: WaitS = None,
) -> models.Generation:
    """Edit an image as described. Costs money."""
    check_call(call)
    image, _ = await resolve_media(call, source, "source", "image", weighted=True)
    refs = await resolve_images(call, image_refs, "image_refs", weighted=True)
    return await buy(
        call,
        lambda name: models.ImageRequest(
            model=name,
            prompt=prompt,
            source=image,
            image_refs=refs,
            aspect_ratio=image.aspect_ratio,
            output_format=output_format,
        ),
        kind="image",
        source_model=image.model,
    )
