"""The values that travel through the server: requests in, generations out. All are frozen."""

import re
from datetime import datetime
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Api = Literal["dream_machine", "agents"]
MediaType = Literal["video", "image"]
AspectRatio = Literal["1:1", "16:9", "9:16", "4:3", "3:4", "21:9", "9:21", "3:2", "2:3", "2:1", "1:2", "3:1", "1:3"]
Resolution = Literal["360p", "540p", "720p", "1080p", "4k"]
Duration = Literal["5s", "9s", "10s"]
OutputFormat = Literal["jpg", "png"]
Mode = Literal[
    "adhere_1", "adhere_2", "adhere_3", "flex_1", "flex_2", "flex_3", "reimagine_1", "reimagine_2", "reimagine_3"
]
State = Literal["queued", "dreaming", "completed", "failed"]
Direction = Literal["forward", "backward"]
# What either API has. Source: lumaai 1.21.0, types/generations/*_params.py and types/generation.py; luma-agents 0.5.0,
# types/generation_create_params.py, types/video_resolution.py and types/video_duration.py.


REQUEST_PREFIX = "request-"
"""How the names of purchases begin that have no generation id."""


def plain_url(url: str) -> str:
    """A link without what may sign it, and without a password."""
    scheme, slashes, rest = url.partition("?")[0].partition("#")[0].partition("://")
    host, slash, path = rest.partition(";")[0].partition("/")
    return f"{scheme}{slashes}{host.rpartition('@')[2]}{slash}{path}"


def plain_text(text: str) -> str:
    """A text whose links are plain."""
    return re.sub(r"https?://\S+", lambda link: plain_url(link[0]), text, flags=re.IGNORECASE)


def dollars(usd: float) -> str:
    """An amount with the digits that tell it from its neighbours: $2.87, $0.0464."""
    return f"${usd:.2f}" if round(usd, 2) == round(usd, 4) else f"${usd:.4f}"


class Value(BaseModel):
    """Frozen, and strict about its fields. Built on first use: the tool list needs none of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class LocalFile(Value):
    """A file of the user's, ready to be sent: inline, or uploaded before."""

    path: str
    media_type: str
    """MIME type, by its content."""

    digest: str
    """SHA-256 of its content."""

    size: int
    """Bytes."""

    data: str | None = Field(default=None, repr=False)
    """Its content in base64, where it is small enough to travel inside a request."""

    file_id: str | None = None
    """Luma's id of the uploaded file, otherwise."""


class Media(Value):
    """A picture or clip that a request starts from: a link, or a local file."""

    url: str = ""
    file: LocalFile | None = None
    generation_id: str | None = None
    """The generation whose link `url` is."""

    api: Api | None = None
    """The API that this generation belongs to."""

    weight: float | None = None
    """How much it counts, 0 to 1."""

    aspect_ratio: str | None = None
    resolution: str | None = None
    duration: str | None = None
    """Shape, resolution and length of the generation, where Luma says them: they decide the price."""


class VideoRequest(Value):
    """A new clip: from text, from images, from the end or the start of an earlier clip, or between two."""

    model: str
    prompt: str
    resolution: str
    duration: str
    aspect_ratio: str | None = None
    start_image: Media | None = None
    end_image: Media | None = None
    start_video: Media | None = None
    """The generation that the new clip goes on from."""

    end_video: Media | None = None
    """The generation that the new clip leads to."""

    loop: bool = False
    concepts: tuple[str, ...] = ()
    callback_url: str | None = None


class ImageRequest(Value):
    """A new image, or a changed one if it has a `source`."""

    model: str
    prompt: str
    source: Media | None = None
    image_refs: tuple[Media, ...] = ()
    style_ref: Media | None = None
    character_refs: tuple[Media, ...] = ()
    aspect_ratio: str | None = None
    output_format: OutputFormat | None = None
    callback_url: str | None = None


class ModifyVideoRequest(Value):
    """A clip in another style, its motion kept as far as `mode` says."""

    model: str
    source: Media
    mode: Mode
    prompt: str
    resolution: str | None = None
    start_image: Media | None = None
    callback_url: str | None = None


class Placement(Value):
    """Where the source lies in the new frame, in pixels."""

    x_start: int | None = None
    x_end: int | None = None
    y_start: int | None = None
    y_end: int | None = None
    grid_position_x: int | None = None
    grid_position_y: int | None = None
    resized_width: int | None = None
    resized_height: int | None = None


class ReframeRequest(Value):
    """A clip or picture in another shape, with what was missing filled in."""

    model: str
    media_type: MediaType
    source: Media
    aspect_ratio: AspectRatio
    prompt: str | None = None
    resolution: str | None = None
    placement: Placement = Placement()
    output_format: OutputFormat | None = None
    start_image: Media | None = None
    callback_url: str | None = None


class UpscaleRequest(Value):
    """A generated clip in a higher resolution."""

    source: Media
    resolution: str
    callback_url: str | None = None


class AudioRequest(Value):
    """Sound for a generated clip."""

    source: Media
    prompt: str | None = None
    negative_prompt: str | None = None
    callback_url: str | None = None


Request = VideoRequest | ImageRequest | ModifyVideoRequest | ReframeRequest | UpscaleRequest | AudioRequest
REQUESTS: dict[str, type[Request]] = {kind.__name__: kind for kind in get_args(Request)}


class Generation(Value):
    """One generation, as every tool shows it. Absent fields are left out."""

    generation_id: str | None = None
    request_id: str | None = None
    """Ours, in place of `generation_id` while Luma has not said one."""

    api: Api | None = None
    type: MediaType | None = None
    state: str
    """One of `State`, Luma's own word where it is a new one, or `unknown` for a purchase without an answer."""

    operation: str | None = None
    """Luma's name for what was done where `type` does not tell it all, such as `upscale_video`."""

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
    url_expires_at: datetime | None = None
    file_path: str | None = None
    failure_code: str | None = None
    failure_reason: str | None = None
    charged: Literal["yes", "no", "unknown"] | None = None
    estimated_cost_usd: float | None = None
    reused: bool | None = None
    """An earlier purchase of the same call: this one cost nothing."""

    files_sent: tuple[str, ...] | None = None
    """Local files that went to Luma for it."""

    sandbox: bool | None = None
    also_running: tuple[str, ...] | None = None
    """Ids of other unfinished purchases, with the start of their prompts."""

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

    def with_(self, **changes: Any) -> "Generation":
        """A copy with other fields."""
        return self.model_copy(update=changes)


class GenerationList(Value):
    """A page of generations, without links."""

    generations: tuple[Generation, ...]
    has_more: bool
    next_offset: int | None = None
    sandbox: bool | None = None
    warnings: tuple[str, ...] | None = None


class Waited(Value):
    """How several generations stand after a wait."""

    generations: tuple[Generation, ...]
    finished: bool
    """Whether waiting any longer is useless: they have completed or failed, or nobody can say what became of them."""

    next_step: str | None = None
