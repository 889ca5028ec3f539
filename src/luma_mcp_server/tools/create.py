"""The paid tools for videos, and for what both kinds share: signatures, and the requests that they make."""

import difflib
import math
from contextlib import suppress
from typing import Annotated, get_args

import anyio
from pydantic import Field

from .. import models
from ..catalog import CONCEPTS, PIXELS, api_of, next_resolution, parse_controls
from ..errors import LumaServerError, refuse
from .call import Call
from .paid import buy, check_call
from .sources import resolve_clip, resolve_keyframes, resolve_media, resolve_optional_image

Prompt = Annotated[str, Field(description="Subject, action, setting, camera, style, in English")]
Image = Annotated[str | None, Field(description="Generation id or image URL")]
Source = Annotated[str, Field(description="Generation id or URL")]
GenerationId = Annotated[str, Field(description="Completed Luma-made video")]
VideoModel = Annotated[str | None, Field(description="Default: the clip's own")]
DynamicRange = Annotated[models.DynamicRange, Field(description="hdr costs 2x, hdr_exr 3x")]
CallbackUrl = Annotated[str | None, Field(description="https URL that Luma notifies of each change")]
Take = Annotated[int, Field(description="Another number buys another version", ge=1, le=999)]
DryRun = Annotated[bool, Field(description="Price it, buy nothing")]
WaitS = Annotated[float | None, Field(description="Seconds to wait", ge=0)]
Made = models.Generation | models.Quote


async def generate_video(
    call: Call,
    prompt: Prompt,
    start_image: Image = None,
    end_image: Image = None,
    keyframes: Annotated[
        list[str] | None,
        Field(description="Up to 64 ids, URLs or paths, each with its second: …#at=1.5", max_length=64),
    ] = None,
    aspect_ratio: Annotated[models.AspectRatio | None, Field(description="Default: the image's, else 16:9")] = None,
    resolution: Annotated[models.Resolution, Field(description="Higher costs more")] = "720p",
    duration: Annotated[models.Duration, Field(description="Length")] = "5s",
    loop: Annotated[bool, Field(description="Seamless; not with two images")] = False,
    dynamic_range: DynamicRange = "sdr",
    concepts: Annotated[list[str] | None, Field(description="Keys from list_camera_motions")] = None,
    model: Annotated[str | None, Field(description="ray-2 (default), ray-flash-2 (a third of the price)")] = None,
    callback_url: CallbackUrl = None,
    take: Take = 1,
    dry_run: DryRun = False,
    wait_s: WaitS = None,
) -> Made:
    """Make a video clip from text, from a start and/or end image, or through keyframes. Costs money."""
    check_call(call)
    start = await resolve_optional_image(call, start_image, "start_image")
    end = await resolve_optional_image(call, end_image, "end_image", first=True)
    pictures = await resolve_keyframes(call, keyframes, 24.0, float(duration[:-1]))
    await _check_concepts(call, concepts)
    return await buy(
        call,
        lambda name: models.VideoRequest(
            model=name,
            prompt=prompt,
            resolution=resolution,
            duration=duration,
            aspect_ratio=aspect_ratio or next((one.aspect_ratio for one in (start, end, *pictures) if one), None),
            start_image=start,
            end_image=end,
            keyframes=pictures,
            loop=loop,
            dynamic_range=dynamic_range,
            concepts=tuple(concepts or ()),
        ),
        kind="video",
    )


async def _check_concepts(call: Call, keys: list[str] | None) -> None:
    """Refuse a key that is not in Luma's own list, or, if that can't be read, one that looks misspelled."""
    listed: tuple[str, ...] = ()
    new = [key for key in keys or () if key not in CONCEPTS]
    if new:
        with anyio.move_on_after(call.services.look_up_s), suppress(LumaServerError):
            listed = await call.services.dream_machine.concepts()
    for key in new:
        close = difflib.get_close_matches(key.lower(), listed or CONCEPTS, 1, 0.7)
        if key not in listed and (listed or close or not key.isidentifier()):
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
    dry_run: DryRun = False,
    wait_s: WaitS = None,
) -> Made:
    """Continue a Luma-made clip by 5 s, after its end or before its start. Costs money."""
    check_call(call)
    clip = await resolve_clip(call, generation_id, "generation_id")
    image = await resolve_optional_image(call, end_image, "end_image", first=True)
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
        warnings=() if clip.resolution else (_ASSUMED,),
    )


async def interpolate_videos(
    call: Call,
    start_generation_id: GenerationId,
    end_generation_id: GenerationId,
    prompt: Annotated[str, Field(description="What happens between them")],
    model: VideoModel = None,
    callback_url: CallbackUrl = None,
    take: Take = 1,
    dry_run: DryRun = False,
    wait_s: WaitS = None,
) -> Made:
    """Make the clip that leads from one clip to another, both made by ray-2 or ray-flash-2. Costs money."""
    check_call(call)
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
        source_model=start.model if start.api == "dream_machine" else None,  # no other API interpolates
        warnings=() if start.resolution else (_ASSUMED,),
    )


_ASSUMED = "The clip's own resolution is not known here: 720p is assumed."


async def modify_video(
    call: Call,
    source: Source,
    mode: Annotated[models.Mode, Field(description="adhere_1 keeps most … reimagine_3 changes most")],
    prompt: Annotated[str, Field(description="The new look, in English")],
    controls: Annotated[
        list[str] | None,
        Field(description="What to keep: pose=precise, depth=0.4, normals=0.2, trajectory=0.5, face=off"),
    ] = None,
    start_image: Annotated[str | None, Field(description="The new first frame: id or URL")] = None,
    keyframes: Annotated[
        list[str] | None,
        Field(description="New looks of frames: URL#at=1.5 or #frame=36", max_length=64),
    ] = None,
    resolution: Annotated[models.Resolution | None, Field(description="Default 720p; higher costs more")] = None,
    dynamic_range: DynamicRange = "sdr",
    model: VideoModel = None,
    callback_url: CallbackUrl = None,
    take: Take = 1,
    dry_run: DryRun = False,
    wait_s: WaitS = None,
) -> Made:
    """Restyle or change a video, keeping its motion. Costs money."""
    check_call(call)
    settings = parse_controls(controls or ())
    video, _ = await resolve_media(call, source, "source", "video")
    start = await resolve_optional_image(call, start_image, "start_image")
    pictures = await resolve_keyframes(call, keyframes, video.rate, video.seconds)
    return await buy(
        call,
        lambda name: models.ModifyVideoRequest(
            model=name,
            source=video,
            mode=mode,
            controls=settings,
            resolution=_resolution(resolution, name),
            prompt=prompt,
            start_image=start,
            keyframes=pictures,
            dynamic_range=dynamic_range,
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
    resolution: Annotated[models.Resolution | None, Field(description="Default 720p; higher costs more")] = None,
    output_format: Annotated[models.OutputFormat | None, Field(description="Images only")] = None,
    start_image: Annotated[str | None, Field(description="First frame, videos only")] = None,
    placement: Annotated[
        str | None,
        Field(description="x,y,width,height of the source as fractions of the new frame: 0,0.25,1,0.5"),
    ] = None,
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
    dry_run: DryRun = False,
    wait_s: WaitS = None,
) -> Made:
    """Change the shape of a video or image; Luma generates what is missing. Centered unless placed. Costs money."""
    check_call(call)
    place = _placement(placement)
    media, kind = await resolve_media(call, source, "source", media_type)
    pixels = {edge: call.arguments[edge] for edge in PIXELS if call.arguments[edge] is not None}
    if media.aspect_ratio == aspect_ratio and not (place or pixels):
        raise refuse(f"The source is {aspect_ratio} already", "Choose another aspect_ratio.")
    if kind == "video" and output_format:
        raise refuse("output_format is for images; this is a video", "Leave it out.")
    if kind == "image" and start_image:
        raise refuse("start_image is for videos; this is an image", "Leave it out.")
    start = await resolve_optional_image(call, start_image, "start_image")
    stretched = _stretched(place, aspect_ratio, media.aspect_ratio)
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
            placement=place,
            pixels=pixels,
        ),
        kind=kind,
        source_model=media.model,
        warnings=(stretched,) if stretched else (),
    )


def _stretched(place: tuple[float, ...] | None, new: str, old: str | None) -> str | None:
    """What to say of a placement that does not keep the shape of the source, where that is known."""
    if place is None or old is None:
        return None
    (across, down), (old_across, old_down) = (map(int, ratio.split(":")) for ratio in (new, old))
    height = place[2] * across / down * old_down / old_across
    if abs(place[3] / height - 1) < 0.05:
        return None
    return f"This stretches the source: a height of {height:.3f} in place of {place[3]:g} keeps its shape."


def _placement(text: str | None) -> tuple[float, float, float, float] | None:
    """Where the source lies: `0,0.25,1,0.5`. Source of the bounds: luma-agents 0.5.0, source_position_param.py."""
    if text is None:
        return None
    try:
        x, y, width, height = map(float, text.strip("[]() ").split(","))
    except ValueError:
        x = math.nan
    if not (math.isfinite(x) and -2 <= x <= 2 and -2 <= y <= 2 and 0 < width <= 2 and 0 < height <= 2):
        raise refuse(
            f"placement={text[:60]!r} is no rectangle that Luma takes",
            "Write x,y,width,height in fractions of the new frame: x and y from -2 to 2, width and height up to 2, "
            "as in 0,0.25,1,0.5.",
        )
    return x, y, width, height


async def upscale_video(
    call: Call,
    generation_id: GenerationId,
    resolution: Annotated[models.Resolution | None, Field(description="Default: one step up")] = None,
    callback_url: CallbackUrl = None,
    take: Take = 1,
    dry_run: DryRun = False,
    wait_s: WaitS = None,
) -> Made:
    """Make a clip of ray-2 or ray-flash-2 larger. Costs money; the price is not published."""
    check_call(call)
    clip = await resolve_clip(call, generation_id, "generation_id")
    larger = next_resolution(clip.resolution)
    sizes = get_args(models.Resolution)
    if resolution and clip.resolution in sizes and sizes.index(resolution) <= sizes.index(clip.resolution):
        raise refuse(f"The clip has {clip.resolution} already", f"Use resolution={larger}, or leave it out.")
    request = models.UpscaleRequest(source=clip, resolution=resolution or larger)
    return await buy(call, lambda _: request)


async def add_audio(
    call: Call,
    generation_id: GenerationId,
    prompt: Annotated[str | None, Field(description="Sounds to add")] = None,
    negative_prompt: Annotated[str | None, Field(description="Sounds to leave out")] = None,
    callback_url: CallbackUrl = None,
    take: Take = 1,
    dry_run: DryRun = False,
    wait_s: WaitS = None,
) -> Made:
    """Add sound to a clip of ray-2 or ray-flash-2. Costs money; the price is not published."""
    check_call(call)
    clip = await resolve_clip(call, generation_id, "generation_id")
    request = models.AudioRequest(source=clip, prompt=prompt, negative_prompt=negative_prompt)
    return await buy(call, lambda _: request)
