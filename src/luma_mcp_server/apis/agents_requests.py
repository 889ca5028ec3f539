"""Requests in the Agents API's words, and what Luma documents as refused. Pure; luma-agents is not imported here."""

from typing import Any

from .. import models
from ..catalog import check_maker, check_values
from ..errors import refuse
from ..models import Media, Request, media_in

Body = dict[str, Any]


def to_body(request: Request) -> Body:
    """A request as the arguments of the SDK's one create call. Pure.

    Source: luma-agents 0.5.0, types/generation_create_params.py and types/video_options_param.py.
    """
    if isinstance(request, models.UpscaleRequest | models.AudioRequest):
        raise refuse("This needs a Dream Machine clip", "Luma's Agents API neither upscales nor adds audio.")
    check(request)
    match request:
        case models.VideoRequest():
            body: Body = {"type": "video", "aspect_ratio": request.aspect_ratio, "video": _video(request)}
        case models.ImageRequest():
            body = {
                "type": "image_edit" if request.source else "image",
                "aspect_ratio": request.aspect_ratio,
                "source": _reference(request.source),
                "image_ref": [_link(media) for media in request.image_refs] or None,
                "style": request.style,
                "web_search": request.web_search or None,
                "output_format": {"jpg": "jpeg", "png": "png", None: None}[request.output_format],
            }
        case models.ModifyVideoRequest():
            body = {"type": "video_edit", "source": _clip(request.source), "video": _edit(request)}
        case models.ReframeRequest():
            names = ("x_norm", "y_norm", "w_norm", "h_norm")
            position = (
                {"source_position": dict(zip(names, request.placement, strict=True))} if request.placement else {}
            )
            body = {
                "type": "video_reframe",
                "source": _clip(request.source),
                "aspect_ratio": request.aspect_ratio,
                "video": {"resolution": request.resolution, **position},
            }
        case models.LayersRequest():
            body = {
                "type": "layering",
                "source": _link(request.source),  # the SDK documents no id here
                "layering": {"resolution": request.resolution},
            }
    body |= {"model": request.model, "prompt": request.prompt or _PROMPTS[type(request)]}
    return {name: value for name, value in body.items() if value is not None}


_PROMPTS: dict[type[Request], str] = {
    models.ReframeRequest: "Continue the scene naturally into the new frame",
    models.LayersRequest: "Separate the image into its natural layers",
}
"""Sent where the caller gives none: this API requires a prompt for everything."""

_FRAMES = {"5s": 120, "10s": 240}
"""Position of the last frame. Source: luma-agents 0.5.0 types/video_options_param.py (24 frames a second)."""


def _video(request: models.VideoRequest) -> Body:
    video: Body = {"resolution": request.resolution, "duration": request.duration} | _HDR[request.dynamic_range]
    images = {0: request.start_image, _FRAMES.get(request.duration, 0): request.end_image}
    pinned = {index: _link(media) for index, media in images.items() if media}
    if request.duration == "10s" and pinned:
        # start_frame and end_frame are for 5s alone; the same frames as keyframes also work for 10s.
        return video | {"keyframes": list(pinned.values()), "keyframe_indexes": list(pinned)}
    video |= _keyframes(request.keyframes)
    frames = {
        "start_frame": _reference(request.start_video) or _link(request.start_image),
        "end_frame": _reference(request.end_video) or _link(request.end_image),
    }
    return video | {name: frame for name, frame in frames.items() if frame} | ({"loop": True} if request.loop else {})


def _edit(request: models.ModifyVideoRequest) -> Body:
    edit: Body = {"auto_controls": True} if request.mode == "auto" else {"strength": request.mode}
    if request.controls:
        edit["controls"] = {
            name: {"enabled": value is not False} | ({} if isinstance(value, bool) else {_CONTROLS[name]: value})
            for name, value in request.controls.items()
        }
    start = {"start_frame": _link(request.start_image)} if request.start_image else {}
    hdr = _HDR[request.dynamic_range]
    return {"resolution": request.resolution, "edit": edit | _keyframes(request.keyframes), **start, **hdr}


def _keyframes(media: tuple[Media, ...]) -> Body:
    if not media:
        return {}
    return {"keyframes": [_link(one) for one in media], "keyframe_indexes": [one.frame for one in media]}


_HDR: dict[str, Body] = {"sdr": {}, "hdr": {"hdr": True}, "hdr_exr": {"hdr": True, "exr_export": True}}

_CONTROLS = {"pose": "strength", "depth": "blur", "normals": "augmentation", "trajectory": "sparsity"}
"""What Luma calls the value of each control. Source: luma-agents 0.5.0, types/*_control_param.py."""


def _link(media: Media | None) -> Body | None:
    """An image where this API takes no generation id for one: `generation_id` as a frame means extending a clip."""
    if media is None or media.file is None:
        return {"url": media.url} if media else None
    if media.file.file_id:
        return {"file_id": media.file.file_id}
    return {"data": media.file.data, "media_type": media.file.media_type}


def _reference(media: Media | None) -> Body | None:
    """A source: by id where it is one of this API's own."""
    if media and media.generation_id and media.api == "agents":
        return {"generation_id": media.generation_id}
    return _link(media)


def _clip(media: Media) -> Body:
    source = _reference(media) or {}
    # Luma wants to know before it fetches; a wrong subtype is not known to matter.
    return source | {"media_type": "video/mp4"} if "url" in source else source


MAX_PROMPT, MAX_LAYERS_PROMPT = 6000, 500
"""Characters. Sources: Luma Agents API documentation, error handling; luma-agents 0.5.0 on `layering`."""

_MOST_REFS = {"image": 9, "image_edit": 8}
"""Source: luma-agents 0.5.0, types/generation_create_params.py."""


def check(request: models.ModelRequest) -> None:
    """Refuse what Luma documents as refused, and what this API does not have."""
    if request.callback_url:
        raise refuse("callback_url is for Dream Machine models", "Leave it out, or use model=ray-2.")
    prompt, most = request.prompt or "", MAX_LAYERS_PROMPT if isinstance(request, models.LayersRequest) else MAX_PROMPT
    if len(prompt) > most or not (prompt.strip() or type(request) in _PROMPTS):
        long = f"{len(prompt):,} characters long" if prompt else "empty"
        raise refuse(f"prompt is {long}; {request.model} takes 1 to {most:,} characters", "", "prompt")
    if any(media.weight is not None for media in media_in(request)):
        raise refuse("#weight=… is for Dream Machine models", "Leave it out and say in the prompt how much it counts.")
    match request:
        case models.VideoRequest():
            _check_video(request)
        case models.ImageRequest():
            _check_image(request)
        case models.ModifyVideoRequest():
            _check_edit(request)
        case models.ReframeRequest():
            _check_reframe(request)
    if not isinstance(request, models.LayersRequest):  # its resolutions are a clip's of another kind
        check_values(request)


def _check_video(request: models.VideoRequest) -> None:
    model, hdr = request.model, request.dynamic_range != "sdr"
    check_maker(request.start_video, request.end_video, model)
    if request.concepts:
        raise refuse(f"{model} does not support concepts", "Write the camera motion into the prompt.", "concepts")
    ends = [end for end in (request.start_image, request.end_image, request.start_video, request.end_video) if end]
    if (request.start_video or request.end_video) and len(ends) > 1:
        raise refuse(
            f"{model} extends a clip by its prompt alone, to no image and to no other clip",
            "To lead from one clip to another use generate_video: start_image takes a clip's id for its last frame, "
            "end_image for its first.",
        )
    if request.keyframes and ends:
        raise refuse(
            "keyframes can't be combined with start_image or end_image",
            "Make them keyframes: #at=0 is the start, #at=5 the end of a 5s clip.",
        )
    if request.loop and (request.duration == "10s" or request.end_image or request.end_video or request.keyframes):
        too_long = request.duration == "10s" and not (request.end_image or request.end_video or request.keyframes)
        nearest = ("duration", "5s") if too_long else (None, None)
        raise refuse(f"{model} loops only 5s clips without end_image and keyframes", "Leave out loop.", *nearest)
    if hdr and request.loop:
        raise refuse(f"{model} makes no HDR loops", "Leave out loop or dynamic_range.")
    if hdr and request.resolution in ("360p", "540p"):
        raise refuse(f"{model} makes HDR in 720p and 1080p, not {request.resolution}", "", "resolution", "720p")
    if hdr and request.duration == "10s" and not (request.keyframes or ends):
        raise refuse(
            f"{model} makes HDR clips of 10s only from images",
            "Give start_image or keyframes.",
            "duration",
            "5s",
        )


def _check_image(request: models.ImageRequest) -> None:
    model = request.model
    if request.character_refs:
        raise refuse(
            f"{model} does not support character_refs",
            "Put them into image_refs and say in the prompt that it is that person.",
            "character_refs",
        )
    if request.style_ref:
        raise refuse(
            f"{model} does not support style_ref",
            "Put it into image_refs and say in the prompt to take its style.",
            "style_ref",
        )
    if request.style == "manga" and not request.source and request.aspect_ratio not in _MANGA_RATIOS:
        raise refuse(
            f"style=manga is made in {', '.join(filter(None, _MANGA_RATIOS))}, not {request.aspect_ratio}",
            "Leave aspect_ratio out to have Luma pick one.",
            "aspect_ratio",
            "2:3",
        )
    most = _MOST_REFS["image_edit" if request.source else "image"]
    if len(request.image_refs) > most:
        raise refuse(f"{model} takes at most {most} reference images here", "Leave some out.")


_MANGA_RATIOS = (None, "2:3", "9:16", "1:2", "1:3")
"""Source: ComfyUI's Luma nodes, 2026-08; Luma's image guide has a column for it."""


def _check_edit(request: models.ModifyVideoRequest) -> None:
    if request.mode == "auto" and request.controls:
        raise refuse(
            "mode=auto chooses the controls itself", "Leave controls out, or use one of the nine strengths.", "controls"
        )
    if request.keyframes and request.start_image:
        raise refuse("keyframes can't be combined with start_image", "Make it a keyframe: #at=0 is the first frame.")


def _check_reframe(request: models.ReframeRequest) -> None:
    model = request.model
    if request.media_type == "image":
        raise refuse(
            f"{model} can't reframe images", "modify_image draws it again as the prompt says, in its own shape."
        )
    if request.resolution == "1080p" and request.aspect_ratio in ("9:16", "3:4"):
        raise refuse(f"{model} reframes to {request.aspect_ratio} up to 720p", "", "resolution", "720p")
    if request.pixels:
        raise refuse(
            f"{model} takes no placement in pixels",
            "Use placement, in fractions of the frame, or leave it out to have the source centered.",
        )
    if request.start_image:
        raise refuse(f"{model} takes no start_image when it reframes", "Leave it out.", "start_image")
