"""The values that travel through the server: requests in, generations out. All are frozen."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

# What either API has. Source: lumaai 1.21.0, types/generations/*_params.py and types/generation.py; luma-agents 0.5.0,
# types/generation_create_params.py, types/video_resolution.py and types/video_duration.py.
Api = Literal["dream_machine", "agents"]
MediaType = Literal["video", "image"]
AspectRatio = Literal["1:1", "16:9", "9:16", "4:3", "3:4", "21:9", "9:21", "3:2", "2:3", "2:1", "1:2", "3:1", "1:3"]
Resolution = Literal["360p", "540p", "720p", "1080p", "4k"]
Duration = Literal["5s", "9s", "10s"]
OutputFormat = Literal["jpg", "png"]
Strength = Literal[
    "adhere_1", "adhere_2", "adhere_3", "flex_1", "flex_2", "flex_3", "reimagine_1", "reimagine_2", "reimagine_3"
]
Mode = Literal[Strength, "auto"]
DynamicRange = Literal["sdr", "hdr", "hdr_exr"]
Style = Literal["auto", "manga"]
LayerResolution = Literal["1k", "2k"]
State = Literal["queued", "dreaming", "completed", "failed"]
Direction = Literal["forward", "backward"]

PURCHASE_PREFIX = "request-"  # how the ids of purchases begin

MAX_JOB_AGE_S = 3600.0
"""Luma drops jobs that are older. Source: Luma Agents API documentation, FAQ (active-job TTL of one hour)."""


def plain_url(url: str) -> str:
    """A link without what may sign it, and without a password."""
    scheme, slashes, rest = url.partition("?")[0].partition("#")[0].partition("://")
    host, slash, path = rest.partition(";")[0].partition("/")
    return f"{scheme}{slashes}{host.rpartition('@')[2]}{slash}{path}"


def plain_text(text: str) -> str:
    """A text whose links are plain."""
    return re.sub(r"https?://\S+", lambda link: plain_url(link[0]), text, flags=re.IGNORECASE)


def rounded(usd: float) -> float:
    """An amount in US dollars as it is shown: to the cent, below ten cents to a hundredth of one."""
    return round(usd, 2 if usd >= 0.1 else 4)


def dollars(usd: float) -> str:
    """An amount in words: $2.87, $0.06, $0.0464."""
    return f"${usd:.2f}" if round(usd, 2) == rounded(usd) else f"${usd:.4f}"


class Value(BaseModel):
    """Frozen, and strict about its fields. Built on first use: the tool list needs none of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class LocalFile(Value):
    """A file of the user's, ready to be sent: inline, or uploaded before.

    Attributes:
        media_type: MIME type, by its content.
        digest: SHA-256 of its content.
        size: in bytes.
        data: its content in base64, where it is small enough to travel inside a request.
        file_id: Luma's id of the uploaded file, otherwise.
    """

    path: str
    media_type: str
    digest: str
    size: int
    data: str | None = Field(default=None, repr=False)
    file_id: str | None = None


class Media(Value):
    """A picture or clip that a request starts from: a link, or a local file.

    Attributes:
        generation_id: the generation whose link `url` is; it belongs to `api`, and `model` made it.
        weight: how much it counts, 0 to 1.
        at_s: which moment of a video is meant, or where a keyframe sits, in seconds.
        frame: the same as a number of frames from the start.
        rate: frames a second of a video, where it is known.
        aspect_ratio: like `resolution` and `duration` the generation's, where Luma says them: they decide the price.
    """

    url: str = ""
    file: LocalFile | None = None
    generation_id: str | None = None
    api: Api | None = None
    model: str | None = None
    weight: float | None = None
    at_s: float | None = None
    frame: int | None = None
    rate: float | None = None
    aspect_ratio: str | None = None
    resolution: str | None = None
    duration: str | None = None

    @property
    def seconds(self) -> float | None:
        """How long a clip is, where that is known."""
        length = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]+)?) ?s?", self.duration or "")
        return float(length[1]) if length else None


class _Request(Value):
    callback_url: str | None = None


class VideoRequest(_Request):
    """A new clip: from text, from images, after `start_video`, before `end_video`, or between the two."""

    model: str
    prompt: str
    resolution: str
    duration: str
    aspect_ratio: str | None = None
    start_image: Media | None = None
    end_image: Media | None = None
    start_video: Media | None = None
    end_video: Media | None = None
    keyframes: tuple[Media, ...] = ()
    loop: bool = False
    dynamic_range: DynamicRange = "sdr"
    concepts: tuple[str, ...] = ()


class ImageRequest(_Request):
    """A new image, or a changed one if it has a `source`."""

    model: str
    prompt: str
    source: Media | None = None
    image_refs: tuple[Media, ...] = ()
    style_ref: Media | None = None
    character_refs: tuple[Media, ...] = ()
    aspect_ratio: str | None = None
    style: Style | None = None
    web_search: bool = False
    output_format: OutputFormat | None = None


class ModifyVideoRequest(_Request):
    """A clip in another style, its motion kept as far as `mode` says, and each of `controls` as far as its value."""

    model: str
    source: Media
    mode: Mode
    prompt: str
    controls: dict[str, str | float | bool] = {}
    resolution: str | None = None
    start_image: Media | None = None
    keyframes: tuple[Media, ...] = ()
    dynamic_range: DynamicRange = "sdr"


class ReframeRequest(_Request):
    """A clip or picture in another shape.

    Attributes:
        placement: left edge, top edge, width and height of the source, in fractions of the new frame.
        pixels: the same in pixels, by Luma's names of the edges.
    """

    model: str
    media_type: MediaType
    source: Media
    aspect_ratio: AspectRatio
    prompt: str | None = None
    resolution: str | None = None
    placement: tuple[float, float, float, float] | None = None
    pixels: dict[str, int] = {}
    output_format: OutputFormat | None = None
    start_image: Media | None = None


class LayersRequest(_Request):
    """An image taken apart into layers."""

    model: str
    source: Media
    prompt: str | None = None
    resolution: LayerResolution = "1k"


class UpscaleRequest(_Request):
    """A generated clip in a higher resolution."""

    source: Media
    resolution: str


class AudioRequest(_Request):
    """Sound for a generated clip."""

    source: Media
    prompt: str | None = None
    negative_prompt: str | None = None


ModelRequest = VideoRequest | ImageRequest | ModifyVideoRequest | ReframeRequest | LayersRequest
Request = ModelRequest | UpscaleRequest | AudioRequest
REQUESTS: dict[str, type[Request]] = {
    "generate_video": VideoRequest,
    "extend_video": VideoRequest,
    "interpolate_videos": VideoRequest,
    "modify_video": ModifyVideoRequest,
    "reframe_media": ReframeRequest,
    "upscale_video": UpscaleRequest,
    "add_audio": AudioRequest,
    "generate_image": ImageRequest,
    "modify_image": ImageRequest,
    "extract_layers": LayersRequest,
}
"""What each paid tool asks for. The tool's name is the operation's, in both APIs."""


def makes(request: Request) -> MediaType:
    """What comes of a request."""
    if isinstance(request, ReframeRequest):
        return request.media_type
    return "image" if isinstance(request, ImageRequest | LayersRequest) else "video"


def media_in(request: Request) -> Iterator[Media]:
    """Everything that a request starts from."""
    for value in vars(request).values():
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, Media):
                yield one


class Output(Value):
    """One of several results of a generation.

    Attributes:
        type: Luma's word for what it is.
        label, description: what a layer shows.
        edge: how a layer ends: soft (hair, glass), hard, or none (the background).
        bounds: where a layer lies in its canvas: x, y, width, height, canvas_width, canvas_height, in pixels.
    """

    type: str
    url: str | None = None
    file_path: str | None = None
    label: str | None = None
    description: str | None = None
    edge: str | None = None
    bounds: dict[str, int] | None = None


class FileFacts(Value):
    """What a saved file says of itself; an image has no seconds, frame rate (`fps`) or sound."""

    width: int
    height: int
    seconds: float | None = None
    fps: float | None = None
    codec: str
    sound: bool | None = None


class Generation(Value):
    """One generation, as every tool shows it. Absent fields are left out.

    Attributes:
        request_id: the purchase's, in place of `generation_id` while Luma has not said one.
        state: one of `State`, a new word of Luma's, `unknown` (a purchase whose answer was lost), or `not found`.
        operation: the name of the tool that makes such a thing.
        outputs: all results where there are several; layers from front to back.
        file_path: the saved file; of layers, the picture that they make together.
        media: what that file says of itself, where the call has saved or found it and the `media` extra can read it.
        estimated_cost_usd: the published price.
        reused: an earlier purchase of the same call: this one cost nothing.
        arguments: those that it was bought with, sources as ids.
        files_sent: local files that went to Luma for it.
        also_running: ids of other unfinished purchases, with the start of their prompts.
    """

    generation_id: str | None = None
    request_id: str | None = None
    api: Api | None = None
    type: MediaType | None = None
    state: str
    operation: str | None = None
    model: str | None = None
    prompt: str | None = None
    aspect_ratio: str | None = None
    resolution: str | None = None
    duration: str | None = None
    created_at: datetime | None = None
    elapsed_s: int | None = None
    expected_s: int | None = None
    video_url: str | None = None
    image_url: str | None = None
    thumbnail_url: str | None = None
    outputs: tuple[Output, ...] | None = None
    url_expires_at: datetime | None = None
    file_path: str | None = None
    media: FileFacts | None = None
    failure_code: str | None = None
    failure_reason: str | None = None
    charged: Literal["yes", "no", "unknown"] | None = None
    estimated_cost_usd: float | None = None
    reused: bool | None = None
    arguments: dict[str, Any] | None = None
    files_sent: tuple[str, ...] | None = None
    sandbox: bool | None = None
    also_running: tuple[str, ...] | None = None
    warnings: tuple[str, ...] | None = None
    next_step: str | None = None

    @property
    def finished(self) -> bool:
        """Whether waiting any longer is useless. A state that nobody has documented is unfinished."""
        return self.state in ("completed", "failed")

    @property
    def url(self) -> str | None:
        """Link to the clip or picture itself."""
        return self.video_url or self.image_url

    def replace(self, **changes: Any) -> "Generation":
        """A copy with other fields."""
        return self.model_copy(update=changes)


@dataclass(frozen=True)
class Page:
    """A page of Luma's list of generations, in Luma's order.

    Attributes:
        answered_at: when Luma gave it, by Luma's clock, where it says so.
        unusable: how many entries were left out because nobody can say which generations they are.
    """

    generations: tuple[Generation, ...]
    has_more: bool
    answered_at: datetime | None = None
    unusable: int = 0


class Quote(Value):
    """What a call would buy. Nothing was bought.

    Attributes:
        estimated_cost_usd: the published price, in US dollars; absent where there is none.
        counts_usd: what it would count in the budget.
        assumed: why the two differ.
        budget_left_usd: what the budget allows; absent without a budget.
        allowed: whether the call would be bought, by the budget and by `LUMA_MCP_CONFIRM_USD`.
        asks_user: whether the user would be asked first.
        generation_id: the generation that the call would return instead of buying one; `request_id` for a purchase
            of which nobody knows yet whether Luma has taken it.
    """

    dry_run: bool = True
    operation: str
    model: str | None = None
    aspect_ratio: str | None = None
    resolution: str | None = None
    duration: str | None = None
    estimated_cost_usd: float | None = None
    counts_usd: float
    assumed: str | None = None
    budget_left_usd: float | None = None
    allowed: bool
    asks_user: bool
    generation_id: str | None = None
    request_id: str | None = None
    arguments: dict[str, Any] | None = None
    files_sent: tuple[str, ...] | None = None
    sandbox: bool | None = None
    warnings: tuple[str, ...] | None = None


class GenerationList(Value):
    """A page of generations, without links."""

    generations: tuple[Generation, ...]
    has_more: bool
    next_offset: int | None = None
    sandbox: bool | None = None
    warnings: tuple[str, ...] | None = None


class Waited(Value):
    """How several generations stand after a wait; `finished` when waiting any longer is useless."""

    generations: tuple[Generation, ...]
    finished: bool
    next_step: str | None = None
