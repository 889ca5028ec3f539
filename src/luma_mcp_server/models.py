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
Mode = Literal[
    "adhere_1", "adhere_2", "adhere_3", "flex_1", "flex_2", "flex_3", "reimagine_1", "reimagine_2", "reimagine_3"
]
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


def dollars(usd: float) -> str:
    """An amount with the digits that tell it from its neighbors: $2.87, $0.0464."""
    return f"${usd:.2f}" if round(usd, 2) == round(usd, 4) else f"${usd:.4f}"


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
        aspect_ratio: like `resolution` and `duration` the generation's, where Luma says them: they decide the price.
    """

    url: str = ""
    file: LocalFile | None = None
    generation_id: str | None = None
    api: Api | None = None
    model: str | None = None
    weight: float | None = None
    aspect_ratio: str | None = None
    resolution: str | None = None
    duration: str | None = None


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
    loop: bool = False
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
    output_format: OutputFormat | None = None


class ModifyVideoRequest(_Request):
    """A clip in another style, its motion kept as far as `mode` says."""

    model: str
    source: Media
    mode: Mode
    prompt: str
    resolution: str | None = None
    start_image: Media | None = None


class ReframeRequest(_Request):
    """A clip or picture in another shape; `placement` is where it lies in the new frame: pixels by Luma's names."""

    model: str
    media_type: MediaType
    source: Media
    aspect_ratio: AspectRatio
    prompt: str | None = None
    resolution: str | None = None
    placement: dict[str, int] = {}
    output_format: OutputFormat | None = None
    start_image: Media | None = None


class UpscaleRequest(_Request):
    """A generated clip in a higher resolution."""

    source: Media
    resolution: str


class AudioRequest(_Request):
    """Sound for a generated clip."""

    source: Media
    prompt: str | None = None
    negative_prompt: str | None = None


ModelRequest = VideoRequest | ImageRequest | ModifyVideoRequest | ReframeRequest  # those that take a model
Request = ModelRequest | UpscaleRequest | AudioRequest
OPERATIONS: dict[str, type[Request]] = {
    "video": VideoRequest,
    "image": ImageRequest,
    "modify_video": ModifyVideoRequest,
    "reframe_video": ReframeRequest,
    "reframe_image": ReframeRequest,
    "upscale_video": UpscaleRequest,
    "add_audio": AudioRequest,
}
"""Luma's names for what a request asks for. Source: lumaai 1.21.0, types/generation.py, `generation_type`."""


def media_in(request: Request) -> Iterator[Media]:
    """Everything that a request starts from."""
    for value in vars(request).values():
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, Media):
                yield one


class Generation(Value):
    """One generation, as every tool shows it. Absent fields are left out.

    Attributes:
        request_id: the purchase's, in place of `generation_id` while Luma has not said one.
        state: one of `State`, Luma's own word where it is a new one, or `unknown` for a purchase without an answer.
        operation: Luma's name for what was done where `type` does not tell it all, such as `upscale_video`.
        reused: an earlier purchase of the same call: this one cost nothing.
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
    url_expires_at: datetime | None = None
    file_path: str | None = None
    failure_code: str | None = None
    failure_reason: str | None = None
    charged: Literal["yes", "no", "unknown"] | None = None
    estimated_cost_usd: float | None = None
    reused: bool | None = None
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

    def with_(self, **changes: Any) -> "Generation":
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


class Deleted(Value):
    """The ids of generations that were deleted, and those that were not, each with the reason in its warnings."""

    deleted: tuple[str, ...]
    failed: tuple[Generation, ...] | None = None
    sandbox: bool | None = None
