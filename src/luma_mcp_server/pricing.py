"""What Luma's jobs cost, in US dollars. A price that nobody has published is None, never a guess."""

import math
from collections.abc import Mapping

from . import models
from .catalog import MODELS, Model

# Sources of the prices:
#   [C] Comfy-Org/docs, pricing.mdx and pull request 514, 2025; it matches the dollars of [D]
#   [D] Luma's Dream Machine API documentation, undated copies of about the end of 2025
#   [P] Luma's product page, read 2026-07-09
#   [A] Luma Agents API documentation, pricing page, as read 2026-09-19 and 2026-10-08

PRICES_AS_OF = "2025 (ray-2, ray-flash-2), 2026-07 (photon), 2026-10-08 (ray-3.2, uni)"

PRICE_NOTES = (
    "Dream Machine clips at 16:9. Extending and interpolating cost as much as a new 5s clip; reframing with ray-2 and "
    "ray-flash-2 as much as their clip. HDR costs 2 times, HDR with EXR 3 times the price. Not published: upscale, "
    "audio, layers, HDR of 10s clips, extending in 360p, edits that last neither 5 nor 10 s. Failed jobs are refunded, "
    "with the Agents API moderated and broken ones."
)

_PER_MEGAPIXEL = {
    "ray-2": 0.0064,  # [C]
    "ray-flash-2": 0.0022,  # [C]
}
_PER_MODIFIED_MEGAPIXEL = {
    "ray-2": 0.01582,  # [D]
    "ray-flash-2": 0.00544,  # [D]
}
_PER_IMAGE = {
    "uni-1": 0.0404,  # [A]
    "uni-1-max": 0.10,  # [A]
    "photon-1": 0.015,  # [P]
    "photon-flash-1": 0.004,  # [P]
}
_LARGEST_IMAGE = {
    "photon-1": 0.0182,  # [C]
    "photon-flash-1": 0.0048,  # [C]
}
"""At the rate per million pixels: 2432 x 1024 of them, the most that [D] names."""

_EACH_REFERENCE = 0.0030  # [A]

_PIXELS = {"540p": 960 * 540, "720p": 1280 * 720, "1080p": 1920 * 1080, "4k": 3840 * 2160}
_FRAMES_PER_SECOND = 24
# Luma publishes neither for its Dream Machine models; these reproduce every price that it has published for 16:9.

_Blocks = Mapping[str, Mapping[str, float]]
_RAY_3_CLIP: _Blocks = {
    "5s": {"360p": 0.06, "540p": 0.15, "720p": 0.30, "1080p": 1.20},  # [A]
    "10s": {"360p": 0.18, "540p": 0.45, "720p": 0.90, "1080p": 3.60},  # [A]
}
_RAY_3_EXTENSION: _Blocks = {
    "5s": {"540p": 0.15, "720p": 0.30, "1080p": 1.20},  # [A]; none is published for 360p
}
_RAY_3_EDIT: _Blocks = {
    "5s": {"360p": 0.54, "540p": 0.72, "720p": 1.08, "1080p": 2.16},  # [A]
    "10s": {"360p": 1.08, "540p": 1.44, "720p": 2.16, "1080p": 4.32},  # [A]
}
_HDR_TIMES = {"sdr": 1, "hdr": 2, "hdr_exr": 3}
"""[A] for clips of 5s and edits of 5s; edits of 10s: fal's price list, 2026-09."""

_MOST_LAYERS = 10
"""Source: Luma's node library for Griptape, 2026-07."""

_RAY_3_REFRAME_PER_S = {"360p": 0.03, "540p": 0.06, "720p": 0.12, "1080p": 0.36}  # [A]


def estimate(request: models.Request) -> float | None:
    """What a request costs at the published prices, in US dollars; None where none is published."""
    model = MODELS.get(getattr(request, "model", ""))
    if model is None:
        return None
    resolution, duration = _known(request, "resolution"), _known(request, "duration")
    match request:
        case models.ImageRequest():
            references = len(request.image_refs) + bool(request.source) if model.api == "agents" else 0
            price = _PER_IMAGE.get(model.id)
            return None if price is None else round(price + references * _EACH_REFERENCE, 4)
        case models.ReframeRequest(media_type="image"):
            return _PER_IMAGE.get(model.id)
        case models.ReframeRequest() if model.api == "agents":
            rate, seconds = _RAY_3_REFRAME_PER_S.get(resolution or ""), _seconds(request)
            return round(rate * math.ceil(seconds), 2) if rate and seconds else None
        case models.ModifyVideoRequest() if model.api == "agents":
            price = _RAY_3_EDIT.get(duration or "", {}).get(resolution or "")
            return price and round(price * _HDR_TIMES[request.dynamic_range], 2)
        case models.VideoRequest() if model.api == "agents":
            table = _RAY_3_EXTENSION if request.start_video or request.end_video else _RAY_3_CLIP
            price, times = table.get(duration or "", {}).get(resolution or ""), _HDR_TIMES[request.dynamic_range]
            return None if price is None or (times > 1 and duration != "5s") else round(price * times, 2)
        case models.LayersRequest():
            return None
        case models.ModifyVideoRequest():
            return _clip(_PER_MODIFIED_MEGAPIXEL.get(model.id), resolution, duration)
        case _:
            # Source: [D]: a reframed clip costs as much as one that its model makes.
            return _clip(_PER_MEGAPIXEL.get(model.id), resolution, duration)


def _known(request: models.Request, name: str) -> str | None:
    """A resolution or duration: the request's own, else its source's."""
    value: str | None = getattr(request, name, None) or getattr(getattr(request, "source", None), name, None)
    return value


def _seconds(request: models.Request) -> float | None:
    """The length of what a request makes or starts from, where it is known."""
    known = _known(request, "duration")
    return models.Media(duration=known).seconds


def _clip(rate: float | None, resolution: str | None, duration: str | None) -> float | None:
    """Price of a clip at a rate per million pixels."""
    pixels, seconds = _PIXELS.get(resolution or ""), (duration or "").removesuffix("s")
    if rate is None or pixels is None or not seconds.isdecimal():
        return None
    return round(pixels / 1e6 * _FRAMES_PER_SECOND * int(seconds) * rate, 2)


def upper_bound(request: models.Request) -> float:
    """What a request counts in the budget, in US dollars: its published price, else a bound for it, never zero.

    What is not known of it is taken to be the largest that its model has. Upscaling and audio count as the same clip
    made by ray-2, and a model that is not known here as the one that costs most of those that make the same.
    """
    if price := estimate(request):
        return max(price, _LARGEST_IMAGE.get(getattr(request, "model", ""), 0.0))
    if isinstance(request, models.LayersRequest):
        edited = _PER_IMAGE["uni-1" if request.resolution == "1k" else "uni-1-max"] + _EACH_REFERENCE
        return round(_MOST_LAYERS * edited, 4)
    made = models.makes(request)
    bounds = {model.id: _bound(model, request) for model in MODELS.values() if model.type == made}
    return bounds.get(getattr(request, "model", "ray-2")) or max(bounds.values())


def assumed(request: models.Request) -> str | None:
    """Why a request has no published price, and what it counts as instead; None where it has one."""
    if estimate(request) is not None:
        return None
    if isinstance(request, models.LayersRequest):
        per = "uni-1" if request.resolution == "1k" else "uni-1-max"
        return (
            "Luma publishes no price for layers, and chooses how many there are: it counts as "
            f"{_MOST_LAYERS} images edited by {per}"
        )
    if isinstance(request, models.UpscaleRequest | models.AudioRequest):
        return "Luma publishes no price for it: it counts as the same clip made by ray-2"
    model = MODELS.get(request.model)
    if model is None:
        return f"{request.model} is not known here: it counts as the model that costs most"
    if _seconds(request) is None:
        return f"The length of the source is not known here: {_assumed_s(model, request)} s are assumed"
    return "Luma publishes no price for this length and resolution: it counts as the next that has one"


_LONGEST_S = 10
"""What a clip of unknown length counts as where Luma names no longest source: the longest that one job makes."""


def _bound(model: Model, request: models.Request) -> float:
    if model.type == "image":
        usd = estimate(request.model_copy(update={"model": model.id})) or _PER_IMAGE[model.id]
        return max(usd, _LARGEST_IMAGE.get(model.id, 0.0))
    is_edit, is_reframe = isinstance(request, models.ModifyVideoRequest), isinstance(request, models.ReframeRequest)
    seconds = math.ceil(_seconds(request) or 0) or _assumed_s(model, request)
    # Luma counts begun blocks.
    block, times = ("5s", 1) if seconds <= 5 else ("10s", math.ceil(seconds / 10))
    extends = isinstance(request, models.VideoRequest) and (request.start_video or request.end_video)
    prices = (_RAY_3_EDIT if is_edit else _RAY_3_EXTENSION if extends else _RAY_3_CLIP)[block]
    if model.api == "dream_machine":
        rate = (_PER_MODIFIED_MEGAPIXEL if is_edit else _PER_MEGAPIXEL)[model.id]
        prices, times = {size: _clip(rate, size, f"{seconds}s") or 0.0 for size in _PIXELS}, 1
    elif is_reframe:
        prices, times = _RAY_3_REFRAME_PER_S, seconds
    # The smallest resolution with a price that is not below this one; where Luma says none, it is 1080p.
    size = (_known(request, "resolution") or "1080p").lower()
    larger = _SIZES[_SIZES.index(size) :] if size in _SIZES else ()
    times *= _HDR_TIMES[getattr(request, "dynamic_range", "sdr")]
    return round(times * next((prices[one] for one in larger if one in prices), max(prices.values())), 2)


def _assumed_s(model: Model, request: models.Request) -> int:
    """Seconds that a source of unknown length counts as: the longest that the model takes."""
    longest = None
    if isinstance(request, models.ModifyVideoRequest):
        longest = model.longest_modify_s
    elif isinstance(request, models.ReframeRequest):
        longest = model.longest_reframe_s
    return longest or _LONGEST_S


_SIZES = ("360p", "540p", "720p", "1080p", "4k")


def default_price(model: Model) -> float | None:
    """What its plainest job costs, in US dollars: an image, or a clip of 5s in 720p."""
    return _PER_IMAGE.get(model.id, price_list(model).get("720p 5s"))


def price_list(model: Model) -> dict[str, float]:
    """All the prices of one model, in US dollars, by what is bought."""
    if model.type == "image":
        prices = {"image": _PER_IMAGE[model.id]}
        return prices | {"each reference": _EACH_REFERENCE} if model.api == "agents" else prices
    if model.api == "agents":
        clips = {
            f"{what}{size} {length}": usd
            for what, table in {"": _RAY_3_CLIP, "modify ": _RAY_3_EDIT}.items()
            for length in table
            for size, usd in table[length].items()
        }
        return clips | {f"reframe {size} per s": usd for size, usd in _RAY_3_REFRAME_PER_S.items()}
    made = {
        f"{resolution} {duration}": _clip(_PER_MEGAPIXEL[model.id], resolution, duration)
        for resolution in model.resolutions
        for duration in model.durations
    }
    made["modify 720p 5s"] = _clip(_PER_MODIFIED_MEGAPIXEL[model.id], "720p", "5s")
    return {what: usd for what, usd in made.items() if usd is not None}
