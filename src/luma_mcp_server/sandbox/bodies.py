"""The bodies that Luma's Dream Machine API takes.

Sources: the types of lumaai 1.21.0 for fields and values; Luma's Dream Machine docs for lengths. A `resolution` or
`duration` outside the listed values is refused, though the SDK leaves them open.
"""

from collections.abc import Callable
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request


def _http_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError("URL must begin with http:// or https://")
    return text


Ratio = Literal["1:1", "16:9", "9:16", "4:3", "3:4", "21:9", "9:21"]
Resolution = Literal["540p", "720p", "1080p", "4k"]
RayModel = Literal["ray-2", "ray-flash-2"]
PhotonModel = Literal["photon-1", "photon-flash-1"]
Url = Annotated[str, AfterValidator(_http_url)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


AnyBody = TypeVar("AnyBody", bound=Body)


async def read(request: Request, invalid: Callable[[ValidationError], Exception], body: type[AnyBody]) -> AnyBody:
    """The body of a request; `invalid` says in the words of its API what is wrong with it."""
    try:
        return body.model_validate_json(await request.body())
    except ValidationError as error:
        raise invalid(error) from None


class ImageKeyframe(Body):
    type: Literal["image"]
    url: Url


class GenerationKeyframe(Body):
    type: Literal["generation"]
    id: str


Keyframe = Annotated[ImageKeyframe | GenerationKeyframe, Field(discriminator="type")]


class Keyframes(Body):
    frame0: Keyframe | None = None
    frame1: Keyframe | None = None


class Concept(Body):
    key: str


class Media(Body):
    url: Url


class WeightedImage(Body):
    url: Url
    weight: Annotated[float, Field(ge=0, le=1)] | None = None


class Identity(Body):
    images: Annotated[list[Url], Field(max_length=4)] | None = None


class CharacterRef(Body):
    identity0: Identity | None = None


class JobBody(Body):
    callback_url: Url | None = None
    prompt: str | None = None


class Video(JobBody):
    """Source: lumaai 1.21.0 video_create_params.py"""

    generation_type: Literal["video"] = "video"
    model: RayModel
    aspect_ratio: Ratio | None = "16:9"
    resolution: Resolution | None = None
    duration: Literal["5s", "9s"] | None = None
    loop: bool | None = None
    keyframes: Keyframes | None = None
    concepts: list[Concept] | None = None


class Image(JobBody):
    """Source: lumaai 1.21.0 image_create_params.py; at most 4 references: Luma's Dream Machine docs"""

    generation_type: Literal["image"] = "image"
    model: PhotonModel
    aspect_ratio: Ratio | None = "16:9"
    format: Literal["jpg", "png"] | None = None
    image_ref: Annotated[list[WeightedImage], Field(max_length=4)] | None = None
    style_ref: list[WeightedImage] | None = None
    character_ref: CharacterRef | None = None
    modify_image_ref: WeightedImage | None = None
    sync: bool | None = None
    sync_timeout: float | None = None


class Upscale(Body):
    """Source: lumaai 1.21.0 generation_upscale_params.py"""

    generation_type: Literal["upscale_video"] = "upscale_video"
    resolution: Resolution | None = None
    callback_url: Url | None = None


class Audio(JobBody):
    """Source: lumaai 1.21.0 generation_audio_params.py"""

    generation_type: Literal["add_audio"] = "add_audio"
    negative_prompt: str | None = None


class Modify(JobBody):
    """Source: lumaai 1.21.0 video_modify_params.py"""

    generation_type: Literal["modify_video"]
    model: RayModel
    media: Media
    first_frame: Media | None = None
    mode: Literal[
        "adhere_1", "adhere_2", "adhere_3", "flex_1", "flex_2", "flex_3", "reimagine_1", "reimagine_2", "reimagine_3"
    ]


class Reframe(JobBody):
    aspect_ratio: Ratio
    media: Media
    grid_position_x: int | None = None
    grid_position_y: int | None = None
    x_start: int | None = None
    x_end: int | None = None
    y_start: int | None = None
    y_end: int | None = None
    resized_width: int | None = None
    resized_height: int | None = None


class ReframeVideo(Reframe):
    """Source: lumaai 1.21.0 video_reframe_params.py"""

    generation_type: Literal["reframe_video"]
    model: RayModel
    first_frame: Media | None = None


class ReframeImage(Reframe):
    """Source: lumaai 1.21.0 image_reframe_params.py"""

    generation_type: Literal["reframe_image"]
    model: PhotonModel
    format: Literal["jpg", "png"] | None = None


class Page(BaseModel):
    """The defaults are those of lumaai-api's openapi.yaml; the upper limit is ours, Luma states none."""

    limit: int = Field(100, ge=1, le=100)
    offset: int = Field(0, ge=0)
