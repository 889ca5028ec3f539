"""What Luma's models can do and what their jobs cost. A price that nobody has published is nothing, never a guess."""

import math
import re
from collections.abc import Collection
from dataclasses import dataclass

from .models import (
    Api,
    AspectRatio,
    AudioRequest,
    Duration,
    ImageRequest,
    Media,
    MediaType,
    ModifyVideoRequest,
    ReframeRequest,
    Request,
    Resolution,
    UpscaleRequest,
    VideoRequest,
)

# Sources of the prices:
#   [C] Comfy-Org/docs, pricing.mdx and pull request 514, 2025; it matches the dollars of [D]
#   [D] Luma's Dream Machine API documentation, undated copies of about the end of 2025
#   [P] Luma's product page, read 2026-07-09
#   [A] Luma Agents API documentation, pricing page, as read 2026-09-19 and 2026-10-08

PRICES_AS_OF = "2025 (ray-2, ray-flash-2), 2026-07 (photon), 2026-10-08 (ray-3.2, uni)"

PRICE_NOTES = (
    "Dream Machine clips at 16:9. Extending and interpolating cost as much as a new 5s clip; reframing with ray-2 and "
    "ray-flash-2 as much as their clip. Not published: upscale, audio, extending in 360p, edits that last "
    "neither 5 nor 10 s. Failed jobs are refunded, with the Agents API moderated and broken ones."
)

_PIXELS: dict[str, int] = {"540p": 960 * 540, "720p": 1280 * 720, "1080p": 1920 * 1080, "4k": 3840 * 2160}
_FRAMES_PER_SECOND = 24
# Luma publishes neither for its Dream Machine models; these reproduce every price that it has published for 16:9.


@dataclass(frozen=True)
class Model:
    """One of Luma's models.

    Prices are in US dollars; a letter behind each names its source, listed above.
    """

    id: str
    api: Api
    type: MediaType
    can: str
    """What it does, in words for a model to choose by."""

    per_megapixel: float | None = None
    per_modified_megapixel: float | None = None
    per_image: float | None = None
    per_largest_image: float | None = None
    """At the rate per million pixels, where that is more: 2432 x 1024 of them, the most that [D] names."""

    aspect_ratios: tuple[AspectRatio, ...] = ()
    resolutions: tuple[Resolution, ...] = ()
    durations: tuple[Duration, ...] = ()
    longest_modify_s: int | None = None
    longest_reframe_s: int | None = None
    """Longest source, in seconds. Source: Luma's Dream Machine API documentation, modify and reframe pages."""


_VIDEO = "text or images to video, loop, concepts, extend, interpolate, modify, reframe; upscale and audio on its clips"
_IMAGE = "text to image, image, style and character references, modify, reframe"
_RAY_3 = "text or images to video, loop, extend, modify, reframe; local files; silent"
_UNI = "text to image, image references, modify; local files"
DREAM_MACHINE_RATIOS: tuple[AspectRatio, ...] = ("1:1", "16:9", "9:16", "4:3", "3:4", "21:9", "9:21")
DREAM_MACHINE_RESOLUTIONS: tuple[Resolution, ...] = ("540p", "720p", "1080p", "4k")
DREAM_MACHINE_DURATIONS: tuple[Duration, ...] = ("5s", "9s")
# Source: lumaai 1.21.0, types/generations/video_create_params.py.

AGENTS_VIDEO_RATIOS: tuple[AspectRatio, ...] = ("16:9", "9:16", "1:1", "4:3", "3:4", "21:9")
AGENTS_IMAGE_RATIOS: tuple[AspectRatio, ...] = ("16:9", "9:16", "1:1", "3:2", "2:3", "2:1", "1:2", "3:1", "1:3")
AGENTS_RESOLUTIONS: tuple[Resolution, ...] = ("360p", "540p", "720p", "1080p")
AGENTS_DURATIONS: tuple[Duration, ...] = ("5s", "10s")
# Source: Luma Agents API documentation, error handling and image generation guide; luma-agents 0.5.0, types.

MODELS: dict[str, Model] = {
    model.id: model
    for model in (
        Model(
            "ray-3.2",
            "agents",
            "video",
            _RAY_3,
            aspect_ratios=AGENTS_VIDEO_RATIOS,
            resolutions=AGENTS_RESOLUTIONS,
            durations=AGENTS_DURATIONS,
            longest_modify_s=18,
            longest_reframe_s=30,
        ),
        Model(
            "uni-1",
            "agents",
            "image",
            f"{_UNI}; cheaper",
            per_image=0.0404,  # [A]
            aspect_ratios=AGENTS_IMAGE_RATIOS,
        ),
        Model(
            "ray-2",
            "dream_machine",
            "video",
            f"{_VIDEO}; best quality",
            per_megapixel=0.0064,  # [C]
            per_modified_megapixel=0.01582,  # [D]
            aspect_ratios=DREAM_MACHINE_RATIOS,
            resolutions=DREAM_MACHINE_RESOLUTIONS,
            durations=DREAM_MACHINE_DURATIONS,
            longest_modify_s=10,
            longest_reframe_s=10,
        ),
        Model(
            "ray-flash-2",
            "dream_machine",
            "video",
            f"{_VIDEO}; faster, a third of the price",
            per_megapixel=0.0022,  # [C]
            per_modified_megapixel=0.00544,  # [D]
            aspect_ratios=DREAM_MACHINE_RATIOS,
            resolutions=DREAM_MACHINE_RESOLUTIONS,
            durations=DREAM_MACHINE_DURATIONS,
            longest_modify_s=15,
            longest_reframe_s=30,
        ),
        Model(
            "photon-1",
            "dream_machine",
            "image",
            f"{_IMAGE}; best quality",
            per_image=0.015,  # [P]
            per_largest_image=0.0182,  # [C]
            aspect_ratios=DREAM_MACHINE_RATIOS,
        ),
        Model(
            "photon-flash-1",
            "dream_machine",
            "image",
            f"{_IMAGE}; faster, cheaper",
            per_image=0.004,  # [P]
            per_largest_image=0.0048,  # [C]
            aspect_ratios=DREAM_MACHINE_RATIOS,
        ),
        Model(
            "uni-1-max",
            "agents",
            "image",
            f"{_UNI}; best quality",
            per_image=0.10,  # [A]
            aspect_ratios=AGENTS_IMAGE_RATIOS,
        ),
    )
}
"""The models, in the order in which they are taken when a call names none."""

_RAY_3_CLIP = {
    "5s": {"360p": 0.06, "540p": 0.15, "720p": 0.30, "1080p": 1.20},  # [A]
    "10s": {"360p": 0.18, "540p": 0.45, "720p": 0.90, "1080p": 3.60},  # [A]
}
_RAY_3_EDIT = {
    "5s": {"360p": 0.54, "540p": 0.72, "720p": 1.08, "1080p": 2.16},  # [A]
    "10s": {"360p": 1.08, "540p": 1.44, "720p": 2.16, "1080p": 4.32},  # [A]
}
_RAY_3_REFRAME_PER_S = {"360p": 0.03, "540p": 0.06, "720p": 0.12, "1080p": 0.36}  # [A]
_UNI_NEXT_REF = 0.0030  # [A]


def _agents(request: Request) -> float | None:
    """Price of a job of the Agents API, in dollars; nothing for lengths that it names no price for."""
    match request:
        case VideoRequest():
            if request.start_video or request.end_video:
                # One block of 5s; no price is published for extending in 360p.
                return None if request.resolution == "360p" else _RAY_3_CLIP["5s"].get(request.resolution)
            return _RAY_3_CLIP.get(request.duration, {}).get(request.resolution)
        case ModifyVideoRequest():
            return _RAY_3_EDIT.get(request.source.duration or "", {}).get(request.resolution or "")
        case ReframeRequest():
            seconds = (request.source.duration or "").removesuffix("s")
            rate = _RAY_3_REFRAME_PER_S.get(request.resolution or "")
            return round(rate * int(seconds), 2) if rate and seconds.isdecimal() else None
        case ImageRequest():
            model = MODELS.get(request.model)
            references = len(request.image_refs) + bool(request.source)
            return round(model.per_image + references * _UNI_NEXT_REF, 4) if model and model.per_image else None
        case _:
            return None


def _clip(rate: float | None, resolution: str | None, duration: str | None) -> float | None:
    """Price of a clip at a rate per million pixels, in dollars."""
    pixels, seconds = _PIXELS.get(resolution or ""), (duration or "").removesuffix("s")
    if rate is None or pixels is None or not seconds.isdecimal():
        return None
    return round(pixels / 1e6 * _FRAMES_PER_SECOND * int(seconds) * rate, 2)


def estimate(request: Request) -> float | None:
    """What a request costs at the published prices, in US dollars; nothing where none is published."""
    model = None if isinstance(request, UpscaleRequest | AudioRequest) else MODELS.get(request.model)
    if model is None or model.api == "agents":
        return _agents(request) if model else None
    match request:
        case VideoRequest():
            return _clip(model.per_megapixel, request.resolution, request.duration)
        case ImageRequest():
            return model.per_image
        case ModifyVideoRequest():
            return _clip(model.per_modified_megapixel, request.source.resolution, request.source.duration)
        case ReframeRequest():
            # Source: Luma's Dream Machine API documentation: a reframed clip costs as much as one that its model makes.
            clip = _clip(model.per_megapixel, request.source.resolution, request.source.duration)
            return model.per_image if request.media_type == "image" else clip
        case _:
            return None


_LONGEST_S = 10
"""Seconds that a clip of unknown length counts as where Luma names no longest: the longest that one job makes."""


def upper_bound(request: Request) -> float:
    """What a request counts in the budget, in US dollars: its published price, else a bound for it, never zero.

    An image whose price follows its pixels, which Luma does not say, counts as the largest.
    A job without a published price counts as the same clip generated anew by its model, at the request's resolution,
    else the source's, else 1080p; as long as the source, else as the longest that is taken. Where a dearer table is
    published for what is done, that table counts: an edit of unknown length at the rates of edits, a reframing at
    those of reframing. A length between two blocks of the Agents API counts as the longer one, a longer clip as several
    of 10 s. Upscaling and audio have no model of their own and count as ray-2, the dearest that makes their clips. A
    model that is not known here counts as the dearest one that makes the same.
    """
    if price := estimate(request):
        known = MODELS.get(getattr(request, "model", ""))
        return max(price, known.per_largest_image or 0.0 if known else 0.0)
    is_image = isinstance(request, ImageRequest) or (
        isinstance(request, ReframeRequest) and request.media_type == "image"
    )
    kind: MediaType = "image" if is_image else "video"
    if isinstance(request, UpscaleRequest | AudioRequest):
        model = MODELS["ray-2"]
    elif (known := MODELS.get(request.model)) is not None and known.type == kind:
        model = known
    else:
        same = [request.model_copy(update={"model": one.id}) for one in MODELS.values() if one.type == kind]
        return max(map(upper_bound, same))
    if model.per_image is not None:
        return model.per_image  # a picture
    source: Media = getattr(request, "source", None) or Media()
    size: str | None = getattr(request, "resolution", None) or source.resolution
    longest = {ModifyVideoRequest: model.longest_modify_s, ReframeRequest: model.longest_reframe_s}.get(type(request))
    seconds = _seconds(getattr(request, "duration", None) or source.duration, longest or _LONGEST_S)
    if model.api == "dream_machine":
        modified = isinstance(request, ModifyVideoRequest)
        usd = _clip(
            model.per_modified_megapixel if modified else model.per_megapixel, _size(size, _PIXELS), f"{seconds}s"
        )
        assert usd
        return usd
    if isinstance(request, ReframeRequest):
        return round(_RAY_3_REFRAME_PER_S[_size(size, _RAY_3_REFRAME_PER_S)] * seconds, 2)
    blocks = _RAY_3_EDIT if isinstance(request, ModifyVideoRequest) else _RAY_3_CLIP
    block, times = ("5s", 1) if seconds <= 5 else ("10s", math.ceil(seconds / 10))
    return round(blocks[block][_size(size, blocks[block])] * times, 2)


_SIZES = ("360p", "540p", "720p", "1080p", "4k")


def _size(size: str | None, priced: Collection[str]) -> str:
    """The smallest resolution with a price that is not below this one; an unknown one may be the largest."""
    size = (size or "1080p").lower()
    least = _SIZES.index(size) if size in _SIZES else len(_SIZES)
    return next((one for one in _SIZES[least:] if one in priced), [one for one in _SIZES if one in priced][-1])


def _seconds(length: str | None, longest: int) -> int:
    """A length in whole seconds, begun ones included; an unknown one is the longest."""
    found = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]+)?) ?s?", length or "")
    return (math.ceil(float(found[1])) if found else 0) or longest


def default_price(model: Model) -> float | None:
    """What its plainest job costs, in US dollars: an image, or a clip of 5s in 720p."""
    return model.per_image if model.per_image is not None else price_list(model).get("720p 5s")


def price_list(model: Model) -> dict[str, float]:
    """All the prices of one model, in US dollars, by what is bought."""
    if model.per_image is not None:
        return {"image": model.per_image} | ({"each reference": _UNI_NEXT_REF} if model.api == "agents" else {})
    if model.api == "agents":
        tables = {"": _RAY_3_CLIP, "modify ": _RAY_3_EDIT}
        clips = {
            f"{what}{size} {length}": usd
            for what, table in tables.items()
            for length in table
            for size, usd in table[length].items()
        }
        return clips | {f"reframe {size} per s": usd for size, usd in _RAY_3_REFRAME_PER_S.items()}
    made = {
        f"{resolution} {duration}": price
        for resolution in model.resolutions
        for duration in model.durations
        if (price := _clip(model.per_megapixel, resolution, duration)) is not None
    }
    modified = _clip(model.per_modified_megapixel, "720p", "5s")
    return made if modified is None else {**made, "modify 720p 5s": modified}
