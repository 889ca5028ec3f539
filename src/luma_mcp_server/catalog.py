"""What Luma's APIs and models can do, tool by tool: which models, parameters and values there are."""

import difflib
import math
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import get_args

from . import models
from .errors import refuse


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
_UNI = "text to image, image references, manga, web search, modify; local files"

_RAY_3 = Model(
    "ray-3.2",
    "agents",
    "video",
    _CLIPS,
    "text, images and keyframes to video, loop, HDR, extend, modify, reframe; local files; silent",
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
_UNI_1 = Model(
    "uni-1",
    "agents",
    "image",
    (*_IMAGES, "extract_layers"),
    f"{_UNI}, layers; cheaper than uni-1-max",
    AGENTS_IMAGE_RATIOS,
)
_UNI_1_MAX = replace(_UNI_1, id="uni-1-max", tools=_IMAGES, can=f"{_UNI}; best quality")

_ORDER = (_RAY_3, _UNI_1, _RAY_2, _RAY_FLASH_2, _PHOTON_1, _PHOTON_FLASH_1, _UNI_1_MAX)
MODELS: dict[str, Model] = {model.id: model for model in _ORDER}
"""The models; of those that serve a tool, the first that there is a key for is its default."""

_FAMILIES: dict[str, tuple[models.MediaType, models.Api]] = {
    "ray-1": ("video", "dream_machine"),
    "ray-2": ("video", "dream_machine"),
    "ray-flash-": ("video", "dream_machine"),
    "ray-": ("video", "agents"),
    "uni-": ("image", "agents"),
    "photon-": ("image", "dream_machine"),
}
"""What a model that is not known here makes, and whose it is, by how its id starts; the first that fits counts."""


def _family(model: str) -> tuple[models.MediaType, models.Api] | tuple[None, None]:
    if known := MODELS.get(model):
        return known.type, known.api
    return next((family for start, family in _FAMILIES.items() if model.startswith(start)), (None, None))


def api_of(model: str) -> models.Api:
    """The API that a model belongs to; Dream Machine for what Luma takes no model for."""
    return _family(model)[1] or "dream_machine"


def models_that(tool: str, kind: models.MediaType, apis: Collection[str]) -> list[str]:
    """The models of these APIs that make such a thing with a tool, or at all if none does with this tool."""
    known = [model for model in MODELS.values() if model.type == kind and model.api in apis]
    return [model.id for model in known if tool in model.tools] or [model.id for model in known]


def choose_model(
    tool: str, kind: models.MediaType, asked: str | None, apis: Collection[str], source_model: str | None = None
) -> str:
    """The model for a job: the one asked for, else `source_model`, else the first that serves the tool.

    A model that is not known here is let through when it is of a known family: Luma may have added it.

    Raises:
        InvalidRequest: the model asked for makes something else, or there is no key for it.
    """
    known = models_that(tool, kind, apis)
    use = f"Use model={' or '.join(known)}."
    if asked is None:
        if not known:
            raise refuse(f"None of your keys reaches a model that makes {kind}s", "get_account shows the keys.")
        maker = MODELS.get(source_model or "")
        return maker.id if maker and maker.type == kind and maker.api in apis else known[0]
    model = asked.strip().lower()
    made, api = _family(model)
    if made != kind or api is None or len(model) > 60:
        close = difflib.get_close_matches(model[:60], known, 1, 0.6)
        use = f"Did you mean {close[0]}?" if close else use
        raise refuse(f"{model[:60]!r} is not {'an' if kind == 'image' else 'a'} {kind} model", use)
    if api not in apis:
        name = "Agents" if api == "agents" else "Dream Machine"
        raise refuse(f"{model} needs a key for Luma's {name} API", use)
    return model


def ratios(model: str) -> tuple[models.AspectRatio, ...]:
    """The shapes that a model makes; none for one that is not known here."""
    return MODELS[model].aspect_ratios if model in MODELS else ()


def usual_seconds(tool: str, model: str | None) -> float | None:
    """How long a tool's job usually takes, in seconds; None where nobody has said."""
    known = MODELS.get(model or "")
    return known.usual_s.get(tool) if known else None


def check_values(request: models.ModelRequest) -> None:
    """Refuse a shape, resolution or length that the request's model does not support; most have a nearest that it does.

    A model that is not known here has those of the first of its API and kind.
    """
    family = _family(request.model)
    model = MODELS.get(request.model) or next(one for one in MODELS.values() if (one.type, one.api) == family)
    supported = {"aspect_ratio": model.aspect_ratios, "resolution": model.resolutions, "duration": model.durations}
    source, longest = getattr(request, "source", None), None
    if isinstance(request, models.ModifyVideoRequest):
        longest = model.longest_modify_s
    elif isinstance(request, models.ReframeRequest) and request.media_type == "video":
        longest = model.longest_reframe_s
    if longest and source and (source.seconds or 0) > longest + 0.1:
        raise refuse(f"{request.model} takes at most {longest} s, and the source lasts {source.seconds:g} s", "Cut it.")
    for parameter, allowed in supported.items():
        value = getattr(request, parameter, None)
        if value is not None and value not in allowed:
            nearest = min(allowed, key=lambda one: abs(math.log(_measure(one) / _measure(value))))
            raise refuse(
                f"{request.model} does not support {parameter}={value}, only {', '.join(allowed)}",
                "",
                parameter,
                nearest,
            )


def _measure(value: str) -> float:
    """What values are compared by: width by height, a number of lines or of seconds; 1 for any other word."""
    found = re.fullmatch(r"([1-9][0-9]*)(?::([1-9][0-9]*)|[ps])", value.replace("4k", "2160p"))
    return int(found[1]) / int(found[2] or 1) if found else 1.0


def check_maker(start: models.Media | None, end: models.Media | None, model: str) -> None:
    """Refuse clips to go on from that the other API made, and say what the whole way is."""
    for clip in (start, end):
        if clip and clip.api != api_of(model):
            able = "ray-2 or ray-flash-2" if api_of(model) == "dream_machine" else model
            needs = f"{model} continues" if not (start and end) else "interpolate_videos joins"
            maker = clip.model or "another model"
            raise refuse(
                f"{needs} only clips made by {able}, and {clip.generation_id} was made by {maker}",
                "Making it again with that model costs as much as a new clip. Instead, generate_video(model=ray-3.2) "
                "goes on from any clip: start_image=<its id> means its last frame, end_image=<its id> its first.",
            )


def next_resolution(resolution: str | None) -> str:
    """The next larger resolution of Dream Machine; 1080p where a clip's own is not known."""
    if resolution not in DREAM_MACHINE_RESOLUTIONS:
        return "1080p"
    step = DREAM_MACHINE_RESOLUTIONS.index(resolution) + 1
    if step == len(DREAM_MACHINE_RESOLUTIONS):
        raise refuse("This clip already has the largest resolution, 4k", "It can be used as it is.")
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

CONTROLS: dict[str, tuple[str, ...] | None] = {
    "pose": ("precise", "coarse"),
    "depth": None,
    "normals": None,
    "trajectory": None,
    "face": (),
}
"""What a video edit keeps of its source, and the words that each takes; None for a number from 0 to 1.

Source: luma-agents 0.5.0, types/advanced_controls_param.py and the types that it names.
"""


def parse_controls(texts: Iterable[str]) -> dict[str, str | float | bool]:
    """Read `pose=precise`, `depth=0.4`, `face` or `face=off`; False stands for off, True for Luma's own value."""
    controls: dict[str, str | float | bool] = {}
    for text in texts:
        name, _, value = (part.strip().lower() for part in text.partition("="))
        if name not in CONTROLS or name in controls:
            close = difflib.get_close_matches(name, CONTROLS, 1, 0.5)
            twice = f"controls names {name} twice" if name in controls else f"controls has no {name[:30]!r}"
            hint = f"Did you mean {close[0]}? " if close and name not in CONTROLS else ""
            raise refuse(twice, f"{hint}There are {', '.join(CONTROLS)}, each once.")
        words = CONTROLS[name]
        if value in ("", "on", "off"):
            controls[name] = value != "off"
        elif words is None and re.fullmatch(r"0|1|[01]?\.[0-9]+|1\.0+", value) and float(value) <= 1:
            controls[name] = float(value)
        elif words and value in words:
            controls[name] = value
        else:
            takes = "a number from 0 to 1" if words is None else " or ".join(words) or "no value"
            raise refuse(f"controls: {name} takes {takes}, or off, not {value[:30]!r}", "")
    return controls


PIXELS = (
    *("x_start", "x_end", "y_start", "y_end"),
    *("grid_position_x", "grid_position_y", "resized_width", "resized_height"),
)
"""Parameters that say in pixels where the source lies in its new frame."""

# By tool, the parameters that one API alone can serve; `callback_url` is Dream Machine's everywhere.
_DREAM_MACHINE_PARAMETERS = {
    "generate_video": ("concepts",),
    "extend_video": ("end_image",),
    "reframe_media": ("media_type", "output_format", "start_image", *PIXELS),
    "generate_image": ("style_ref", "character_refs"),
}
_AGENTS_PARAMETERS = {
    "generate_video": ("keyframes", "dynamic_range"),
    "modify_video": ("resolution", "controls", "keyframes", "dynamic_range"),
    "reframe_media": ("resolution", "placement"),
    "generate_image": ("style", "web_search"),
    "modify_image": ("style", "web_search"),
}


def is_supported(tool: str, apis: Collection[str]) -> bool:
    """Whether any of these APIs can serve a tool."""
    needed = {model.api for model in MODELS.values() if tool in model.tools}
    if tool == "delete_generations":
        needed = {"dream_machine"}
    return not needed or not needed.isdisjoint(apis)


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
    values: dict[str, set[str]] = {
        "aspect_ratio": {ratio for model in serving for ratio in model.aspect_ratios},
        "resolution": {size for model in sized for size in model.resolutions},
        "duration": {length for model in serving for length in model.durations},
        "mode": {mode for mode in get_args(models.Mode) if mode != "auto" or "agents" in apis},
    }
    return {name: allowed for name, allowed in values.items() if allowed}


def restrictions(tool: str, apis: Collection[str]) -> dict[str, str]:
    """Which models alone take a parameter, where the keys reach others too."""
    if len(apis) < 2:
        return {}
    video = any(model.type == "video" for model in models_for(tool, apis))
    agents, dream_machine = ("ray-3.2 only", "ray-2 only") if video else ("uni-… only", "photon-… only")
    shown = dict.fromkeys(_AGENTS_PARAMETERS.get(tool, ()), agents)
    said_once = {"media_type", "output_format", *PIXELS[1:]}
    return shown | {name: dream_machine for name in _DREAM_MACHINE_PARAMETERS.get(tool, ()) if name not in said_once}


def descriptions(tool: str, apis: Collection[str]) -> dict[str, str]:
    """Descriptions of parameters that depend on what the APIs can do."""
    words: dict[str, str] = {}
    if "agents" in apis:
        words = {"source": "Generation id, URL or absolute path"}
        if tool == "generate_image":
            words["image_refs"] = "Up to 9 ids, URLs or paths"
        if tool == "generate_video":
            words |= {
                "start_image": "Image or video: id, URL, path. A video means its last frame, or that at #at=1.5",
                "end_image": "Same as start_image; a video means its first frame",
                "loop": "Seamless; ray-3.2: 5s, no end_image",
                "duration": "10s costs 3x",
            }
        if tool == "modify_video":
            words |= {
                "mode": "adhere_1 keeps most … reimagine_3 changes most; auto: ray-3.2 decides",
                "start_image": "The new first frame: id, URL or path",
            }
    if "dream_machine" not in apis:
        if tool == "reframe_media":
            words["model"] = "ray-3.2"
    elif "agents" in apis:
        if tool == "generate_image":
            words["image_refs"] += "; photon-…: 4, each with #weight=0 to 1"
        if tool == "generate_video":
            words["duration"] = "9s: ray-2; 10s: ray-3.2, 3x the price"
        if tool == "modify_image":
            words["source"] += "; photon-…: #weight=0.1 freer, 1 closer"
    return words
