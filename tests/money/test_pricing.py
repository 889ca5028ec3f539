"""What a job counts as before it is bought."""

from typing import Any

import pytest

from luma_mcp_server.models import (
    AudioRequest,
    ImageRequest,
    Media,
    ModifyVideoRequest,
    ReframeRequest,
    Request,
    UpscaleRequest,
    VideoRequest,
)
from luma_mcp_server.pricing import MODELS, estimate, upper_bound

URL = Media(url="https://example.com/a")


def clip(resolution: str | None = None, duration: str | None = None) -> Media:
    return URL.model_copy(update={"resolution": resolution, "duration": duration})


def video(model: str, resolution: str = "720p", duration: str = "5s", **more: Any) -> VideoRequest:
    return VideoRequest(model=model, prompt="a lake", resolution=resolution, duration=duration, **more)


def image(model: str, **more: Any) -> ImageRequest:
    return ImageRequest(model=model, prompt="a lake", **more)


def edit(model: str, source: Media, resolution: str | None = None) -> ModifyVideoRequest:
    return ModifyVideoRequest(model=model, source=source, mode="flex_1", prompt="snow", resolution=resolution)


def reframe(model: str, source: Media, resolution: str | None = None, media_type: Any = "video") -> ReframeRequest:
    return ReframeRequest(model=model, source=source, media_type=media_type, aspect_ratio="9:16", resolution=resolution)


@pytest.mark.parametrize(
    ("request_", "usd"),
    [
        (video("ray-2", "1080p", "9s"), 2.87),
        (video("ray-3.2", "1080p", "10s"), 3.60),
        (image("uni-1", image_refs=(URL, URL)), 0.0464),
        (edit("ray-2", clip("720p", "5s")), 1.75),
        (reframe("ray-3.2", clip("720p", "7s"), "1080p"), 2.52),
    ],
)
def test_a_published_price_is_what_a_job_counts(request_: Request, usd: float) -> None:
    assert upper_bound(request_) == estimate(request_) == usd


def test_an_image_whose_price_follows_its_unknown_size_counts_as_the_largest() -> None:
    for model, price, usd in (("photon-1", 0.015, 0.0182), ("photon-flash-1", 0.004, 0.0048)):
        for request in (image(model), reframe(model, URL, media_type="image")):
            assert (estimate(request), upper_bound(request)) == (price, usd)


@pytest.mark.parametrize(
    ("request_", "usd"),
    [
        # Luma publishes no price for these: the clip counts as made anew with ray-2.
        (UpscaleRequest(source=clip("720p", "5s"), resolution="1080p"), 1.59),
        (UpscaleRequest(source=clip(), resolution="4k"), 12.74),
        (AudioRequest(source=clip("720p", "9s")), 1.27),
        (AudioRequest(source=clip()), 3.19),
        (video("ray-3.2", "360p", start_video=clip("360p", "5s")), 0.15),
        # Lengths between and beyond the blocks of the Agents API.
        (edit("ray-3.2", clip("720p", "3s"), "720p"), 1.08),
        (edit("ray-3.2", clip("720p", "7s"), "720p"), 2.16),
        (edit("ray-3.2", clip("720p", "5.04s"), "720p"), 2.16),
        (edit("ray-3.2", clip("720p", "18s"), "720p"), 4.32),
        (video("ray-3.2", "720p", "9s"), 0.90),
        # Of unknown length: the longest that the model takes, at the rates of what is done.
        (edit("ray-3.2", URL, "540p"), 2.88),
        (edit("ray-2", URL), 7.87),
        (edit("ray-2", clip(None, "5s")), 3.94),
        (edit("ray-flash-2", clip("720p")), 1.80),
        (reframe("ray-3.2", URL, "540p"), 1.80),
        (reframe("ray-flash-2", URL), 3.28),
        # What only the other API makes, or nobody: the next larger resolution, the largest if there is none.
        (edit("ray-2", clip("360p", "5s")), 0.98),
        (edit("ray-3.2", clip("4k", "5s")), 2.16),
        (video("ray-2", "8k"), 6.37),
        # Models that are not known here: the dearest that makes the same.
        (video("ray-4"), 0.71),
        (video("ray-3.9", "360p"), 0.40),
        (video("ray-4", "1080p", "10s"), 3.60),
        (edit("ray-4", URL), 8.64),
        (image("photon-2"), 0.10),
        (image("uni-2", image_refs=(URL,)), 0.103),
        (reframe("photon-2", URL, media_type="image"), 0.10),
    ],
)
def test_a_job_without_a_published_price_counts_as_its_clip_made_anew(request_: Request, usd: float) -> None:
    assert estimate(request_) is None
    assert upper_bound(request_) == usd


@pytest.mark.parametrize("length", ["0s", "soon", "", "-5s", "²s"])
def test_a_length_that_is_none_counts_as_the_longest_that_the_model_takes(length: str) -> None:
    for model, longest in (("ray-2", "10s"), ("ray-3.2", "18s")):
        assert upper_bound(edit(model, clip("720p", length), "720p")) == upper_bound(
            edit(model, clip("720p", longest), "720p")
        )
    assert upper_bound(reframe("ray-3.2", clip("720p", length), "720p")) == 3.60


@pytest.mark.parametrize("model", [*MODELS, "ray-3.9", "ray-4", "uni-2", "photon-2"])
def test_every_job_of_every_model_counts_something_and_never_less_than_its_price(model: str) -> None:
    for size in ("360p", "540p", "720p", "1080p", "4k", "8k", None):
        for length in ("0s", "1s", "5s", "7s", "9s", "10s", "60s", None):
            source = clip(size, length)
            requests: list[Request] = [
                edit(model, source),
                edit(model, source, size),
                reframe(model, source, size),
                reframe(model, source, media_type="image"),
                image(model, source=source),
                UpscaleRequest(source=source, resolution=size or "4k"),
                AudioRequest(source=source),
            ]
            if size and length:
                requests.append(video(model, size, length))
            for one in requests:
                assert upper_bound(one) >= max(estimate(one) or 0, 0.004)
