"""What Luma's APIs and models can do, tool by tool: the one place to change for a new model, value or parameter."""

import math
import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from . import models
from .errors import InvalidRequest, refuse


@dataclass(frozen=True)
class Model:
    """One of Luma's models; its prices are in `pricing`.

    Attributes:
        tools: those that it serves.
        can: what it does, in words for a model to choose by.
        longest_modify_s: longest source that it modifies, in seconds; `longest_reframe_s` is the same for reframing.
            Source: Luma's Dream Machine API documentation, modify and reframe pages.
        usual_s: seconds that a tool's job usually takes. Source: Luma's own MCP server of 2025-04 (videos 15-60 s,
            images 5-15 s); averages of third parties for reframing.
    """

    id: str
    api: models.Api
    type: models.MediaType
    tools: tuple[str, ...]
    can: str
    aspect_ratios: tuple[models.AspectRatio, ...]
    resolutions: tuple[models.Resolution, ...] = ()
    durations: tuple[models.Duration, ...] = ()
    longest_modify_s: int | None = None
    longest_reframe_s: int | None = None
    usual_s: dict[str, float] = field(default_factory=dict)


# Source: lumaai 1.21.0, types/generations/video_create_params.py.
DREAM_MACHINE_RATIOS: tuple[models.AspectRatio, ...] = ("1:1", "16:9", "9:16", "4:3", "3:4", "21:9", "9:21")
DREAM_MACHINE_RESOLUTIONS: tuple[models.Resolution, ...] = ("540p", "720p", "1080p", "4k")
DREAM_MACHINE_DURATIONS: tuple[models.Duration, ...] = ("5s", "9s")

# Source: Luma Agents API documentation, error handling and image generation guide; luma-agents 0.5.0, types.
AGENTS_VIDEO_RATIOS: tuple[models.AspectRatio, ...] = ("16:9", "9:16", "1:1", "4:3", "3:4", "21:9")
AGENTS_IMAGE_RATIOS: tuple[models.AspectRatio, ...] = ("16:9", "9:16", "1:1", "3:2", "2:3", "2:1", "1:2", "3:1", "1:3")
AGENTS_RESOLUTIONS: tuple[models.Resolution, ...] = ("360p", "540p", "720p", "1080p")
AGENTS_DURATIONS: tuple[models.Duration, ...] = ("5s", "10s")

_CLIPS = ("generate_video", "extend_video", "modify_video", "reframe_media")
_IMAGES = ("generate_image", "modify_image")

_RAY = "text or images to video, loop, concepts, extend, interpolate, modify, reframe; upscale and audio on its clips"
_PHOTON = "text to image, image, style and character references, modify, reframe"
_UNI = "text to image, image references, modify; local files"

_RAY_3 = Model(
    "ray-3.2",
    "agents",
    "video",
    _CLIPS,
    "text or images to video, loop, extend, modify, reframe; local files; silent",
    AGENTS_VIDEO_RATIOS,
    AGENTS_RESOLUTIONS,
    AGENTS_DURATIONS,
    longest_modify_s=18,
    longest_reframe_s=30,
)
_RAY_2 = Model(
    "ray-2",
    "dream_machine",
    "video",
    (*_CLIPS, "interpolate_videos", "upscale_video", "add_audio"),
    f"{_RAY}; best quality",
    DREAM_MACHINE_RATIOS,
    DREAM_MACHINE_RESOLUTIONS,
    DREAM_MACHINE_DURATIONS,
    longest_modify_s=10,
    longest_reframe_s=10,
    usual_s={"generate_video": 60.0, "extend_video": 60.0, "interpolate_videos": 60.0, "reframe_media": 170.0},
)
_RAY_FLASH_2 = replace(
    _RAY_2,
    id="ray-flash-2",
    can=f"{_RAY}; faster, a third of the price",
    longest_modify_s=15,
    longest_reframe_s=30,
    usual_s={**_RAY_2.usual_s, "reframe_media": 70.0},
)
_PHOTON_1 = Model(
    "photon-1",
    "dream_machine",
    "image",
    (*_IMAGES, "reframe_media"),
    f"{_PHOTON}; best quality",
    DREAM_MACHINE_RATIOS,
    usual_s={"generate_image": 15.0, "modify_image": 15.0},
)
_PHOTON_FLASH_1 = replace(_PHOTON_1, id="photon-flash-1", can=f"{_PHOTON}; faster, cheaper")
_UNI_1 = Model("uni-1", "agents", "image", _IMAGES, f"{_UNI}; cheaper than uni-1-max", AGENTS_IMAGE_RATIOS)
_UNI_1_MAX = replace(_UNI_1, id="uni-1-max", can=f"{_UNI}; best quality")

_ORDER = (_RAY_3, _UNI_1, _RAY_2, _RAY_FLASH_2, _PHOTON_1, _PHOTON_FLASH_1, _UNI_1_MAX)
MODELS: dict[str, Model] = {model.id: model for model in _ORDER}
"""The models, in the order in which they are taken when a call names none."""

_FAMILIES: dict[str, tuple[models.MediaType, models.Api]] = {
    "ray-3": ("video", "agents"),
    "ray-": ("video", "dream_machine"),
    "uni-": ("image", "agents"),
    "photon-": ("image", "dream_machine"),
}
"""What a model whose id starts so makes, and whose it is; the first that fits counts."""


def api_of(model: str) -> models.Api:
    """The API that a model belongs to."""
    return next(api for start, (_, api) in _FAMILIES.items() if model.startswith(start))


def candidates(
    kind: models.MediaType, asked: str | None, apis: Collection[str], source_model: str | None = None
) -> tuple[str, ...]:
    """The models that may do a job, best first: the one asked for, else `source_model`, else all of these APIs.

    A model that is not known here is let through when it is of a known family: Luma may have added it.

    Raises:
        InvalidRequest: the model asked for makes something else, or there is no key for it.
    """
    known = [model.id for model in MODELS.values() if model.type == kind and model.api in apis]
    if asked is None:
        return (source_model,) if source_model in known else tuple(known)
    model = asked.strip().lower()
    use = f"Use model={' or '.join(known)}."
    made, api = next((family for start, family in _FAMILIES.items() if model.startswith(start)), (None, None))
    if made != kind or api is None or len(model) > 60:
        raise refuse(f"{model[:60]!r} is not {'an' if kind == 'image' else 'a'} {kind} model", use)
    if api not in apis:
        name = "Agents" if api == "agents" else "Dream Machine"
        raise refuse(f"{model} needs a key for Luma's {name} API", use)
    return (model,)


def usual_seconds(tool: str, model: str | None) -> float | None:
    """How long a tool's job usually takes, in seconds; None where nobody has said."""
    known = MODELS.get(model or "")
    return known.usual_s.get(tool) if known else None


def check_values(request: models.ModelRequest) -> None:
    """Refuse a shape, resolution or length that the request's model does not support, and name the nearest.

    A model that is not known here has those of the first of its API and kind.
    """
    made, api = next(family for start, family in _FAMILIES.items() if request.model.startswith(start))
    model = MODELS.get(request.model) or next(one for one in MODELS.values() if (one.type, one.api) == (made, api))
    supported = {"aspect_ratio": model.aspect_ratios, "resolution": model.resolutions, "duration": model.durations}
    for parameter, allowed in supported.items():
        value = getattr(request, parameter, None)
        if value is not None and value not in allowed:
            nearest = min(allowed, key=lambda one: abs(math.log(_measure(one) / _measure(value))))
            raise refuse(
                f"{request.model} does not support {parameter}={value}",
                f"Use {parameter}={nearest}; it supports {', '.join(allowed)}.",
            )


def _measure(value: str) -> float:
    """What values are compared by: width by height, a number of lines or of seconds; 1 for any other word."""
    found = re.fullmatch(r"([1-9][0-9]*)(?::([1-9][0-9]*)|[ps])", value.replace("4k", "2160p"))
    return int(found[1]) / int(found[2] or 1) if found else 1.0


def wrong_api(made_by: str, model: str) -> InvalidRequest:
    """The refusal of a clip that the other API made."""
    return refuse(
        f"A clip of Luma's {made_by} API can't be continued by {model}",
        "Leave out model if it is given, or make a new clip that starts on an image of its last frame: "
        "generate_video(start_image=…).",
    )


def next_resolution(resolution: str | None) -> str:
    """The next larger resolution of Dream Machine; 1080p where a clip's own is not known."""
    if resolution not in DREAM_MACHINE_RESOLUTIONS:
        return "1080p"
    step = DREAM_MACHINE_RESOLUTIONS.index(resolution) + 1
    if step == len(DREAM_MACHINE_RESOLUTIONS):
        raise InvalidRequest("This clip already has the largest resolution, 4k. Nothing was sent or charged.")
    return DREAM_MACHINE_RESOLUTIONS[step]


# Source: ComfyUI's Luma nodes, 2025-05.
CONCEPTS_AS_OF = "2025-05"
CONCEPTS = tuple(
    """
    aerial aerial_drone bolt_cam crane_down crane_up dolly_zoom elevator_doors eye_level ground_level handheld
    high_angle low_angle orbit_left orbit_right over_the_shoulder overhead pan_left pan_right pedestal_down
    pedestal_up pov pull_out push_in roll_left roll_right selfie static tilt_down tilt_up tiny_planet truck_left
    truck_right zoom_in zoom_out
    """.split()  # noqa: SIM905 - thirty-four lines of one word each say no more
)

# Source: lumaai's enumeration of 2024-09, removed from the SDK in 1.8.0.
CAMERA_MOTIONS_AS_OF = "2024-09"
CAMERA_MOTIONS = tuple(
    word.replace("_", " ")
    for word in """
    static move_left move_right move_up move_down push_in pull_out zoom_in zoom_out pan_left pan_right
    orbit_left orbit_right crane_up crane_down
    """.split()  # noqa: SIM905 - as above
)

_DREAM_MACHINE_TOOLS = ("interpolate_videos", "upscale_video", "add_audio", "delete_generations")

PLACEMENT = (
    *("x_start", "x_end", "y_start", "y_end"),
    *("grid_position_x", "grid_position_y", "resized_width", "resized_height"),
)
"""Parameters that say where the source lies in its new frame."""

# By tool, the parameters that one API alone can serve; `callback_url` is Dream Machine's everywhere.
_DREAM_MACHINE_PARAMETERS = {
    "generate_video": ("concepts",),
    "extend_video": ("end_image",),
    "reframe_media": ("media_type", "output_format", "start_image", *PLACEMENT),
    "generate_image": ("style_ref", "character_refs"),
}
_AGENTS_PARAMETERS = {"modify_video": ("resolution",), "reframe_media": ("resolution",)}


def is_supported(tool: str, apis: Collection[str]) -> bool:
    """Whether any of these APIs can serve a tool."""
    return "dream_machine" in apis or tool not in _DREAM_MACHINE_TOOLS


def unsupported_parameters(tool: str, apis: Collection[str]) -> set[str]:
    """Parameters of a tool that none of these APIs can serve."""
    hidden = set() if "agents" in apis else set(_AGENTS_PARAMETERS.get(tool, ()))
    return hidden if "dream_machine" in apis else {*hidden, *_DREAM_MACHINE_PARAMETERS.get(tool, ()), "callback_url"}


def models_for(tool: str, apis: Collection[str]) -> list[Model]:
    """The models of these APIs that serve a tool."""
    return [model for model in MODELS.values() if tool in model.tools and model.api in apis]


def supported_values(tool: str, apis: Collection[str]) -> dict[str, set[str]]:
    """The values that the models of a tool support, by parameter."""
    serving = models_for(tool, apis)
    sized = models_for(tool, ("agents",)) if "resolution" in _AGENTS_PARAMETERS.get(tool, ()) else serving
    return {
        "aspect_ratio": {ratio for model in serving for ratio in model.aspect_ratios},
        "resolution": {size for model in sized for size in model.resolutions},
        "duration": {length for model in serving for length in model.durations},
    }


def descriptions(tool: str, apis: Collection[str]) -> dict[str, str]:
    """Descriptions of parameters that depend on what the APIs can do."""
    words = {"model": "ray-3.2"} if tool == "reframe_media" and "dream_machine" not in apis else {}
    if "agents" in apis:
        words |= {
            "source": "Generation id, URL or absolute path",
            "start_image": "Generation id, image URL or absolute path",
            "image_refs": "Up to 9 ids, URLs or paths",
        }
        if tool == "generate_video":
            words["end_image"] = "Same as start_image"
    return words
