"""What Luma's models can do and what their jobs cost. A price that nobody has published is nothing, never a guess."""

from dataclasses import dataclass

from .models import (
    Api,
    AudioRequest,
    Duration,
    ImageRequest,
    MediaType,
    ModifyVideoRequest,
    ReframeRequest,
    Request,
    Resolution,
    UpscaleRequest,
    VideoRequest,
)

PRICES_AS_OF = "2025 (video), 2026-07-09 (images)"

_PIXELS: dict[str, int] = {"540p": 960 * 540, "720p": 1280 * 720, "1080p": 1920 * 1080, "4k": 3840 * 2160}
_FRAMES_PER_SECOND = 24
# Luma publishes neither; these sizes and this rate reproduce every price that it has published for 16:9.


@dataclass(frozen=True, slots=True)
class Model:
    """One of Luma's models.

    Prices are in US dollars. Source of the video rates: Comfy-Org/docs pricing.mdx and its pull request 514, 2025,
    which match the dollars in Luma's Dream Machine documentation; of the image prices: Luma's product page, read
    2026-07-09.
    """

    id: str
    api: Api
    type: MediaType
    can: str
    """What it does, in words for a model to choose by."""

    per_megapixel: float | None = None
    per_modified_megapixel: float | None = None
    per_image: float | None = None
    resolutions: tuple[Resolution, ...] = ()
    durations: tuple[Duration, ...] = ()
    longest_modify_s: int | None = None
    longest_reframe_s: int | None = None
    """Longest source, in seconds. Source: Luma's Dream Machine API documentation, modify and reframe pages."""


_VIDEO = "text or images to video, loop, concepts, extend, interpolate, modify, reframe; upscale and audio on its clips"
_IMAGE = "text to image, image, style and character references, modify, reframe"
_SIZES: tuple[Resolution, ...] = ("540p", "720p", "1080p", "4k")
_LENGTHS: tuple[Duration, ...] = ("5s", "9s")

MODELS: dict[str, Model] = {
    model.id: model
    for model in (
        Model(
            "ray-2",
            "dream_machine",
            "video",
            f"{_VIDEO}; best quality",
            0.0064,
            0.01582,
            None,
            _SIZES,
            _LENGTHS,
            10,
            10,
        ),
        Model(
            "ray-flash-2",
            "dream_machine",
            "video",
            f"{_VIDEO}; faster, a third of the price",
            0.0022,
            0.00544,
            None,
            _SIZES,
            _LENGTHS,
            15,
            30,
        ),
        Model("photon-1", "dream_machine", "image", f"{_IMAGE}; best quality", per_image=0.015),
        Model("photon-flash-1", "dream_machine", "image", f"{_IMAGE}; faster, cheaper", per_image=0.004),
    )
}
"""The models, in the order in which they are taken when a call names none."""


def _clip(rate: float | None, resolution: str | None, duration: str | None) -> float | None:
    """Price of a clip at a rate per million pixels, in dollars."""
    pixels, seconds = _PIXELS.get(resolution or ""), (duration or "").removesuffix("s")
    if rate is None or pixels is None or not seconds.isdigit():
        return None
    return round(pixels / 1e6 * _FRAMES_PER_SECOND * int(seconds) * rate, 2)


def estimate(request: Request) -> float | None:
    """What a request costs at the published prices, in US dollars; nothing where none is published."""
    model = None if isinstance(request, UpscaleRequest | AudioRequest) else MODELS.get(request.model)
    if model is None:
        return None
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


def price_list(model: Model) -> dict[str, float]:
    """All the prices of one model, in US dollars, by what is bought."""
    if model.per_image is not None:
        return {"image": model.per_image}
    made = {
        f"{resolution} {duration}": price
        for resolution in model.resolutions
        for duration in model.durations
        if (price := _clip(model.per_megapixel, resolution, duration)) is not None
    }
    modified = _clip(model.per_modified_megapixel, "720p", "5s")
    return made if modified is None else {**made, "modify 720p 5s": modified}
