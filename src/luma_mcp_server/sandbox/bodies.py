"""The bodies that Luma's Dream Machine API takes, and what both APIs' bodies share.

Sources: the types of lumaai 1.21.0 for fields and values; Luma's Dream Machine docs for the most references. A
`resolution` or `duration` outside the listed values is refused, though the SDK leaves them open, and so is `sync`,
because the sandbox never blocks.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Ratio = Literal["1:1", "16:9", "9:16", "4:3", "3:4", "21:9", "9:21"]
Resolution = Literal["540p", "720p", "1080p", "4k"]
RayModel = Literal["ray-2", "ray-flash-2"]
PhotonModel = Literal["photon-1", "photon-flash-1"]
Strength = Literal[
    "adhere_1", "adhere_2", "adhere_3", "flex_1", "flex_2", "flex_3", "reimagine_1", "reimagine_2", "reimagine_3"
]
Share = Annotated[float, Field(ge=0, le=1)]
Url = Annotated[str, Field(pattern=r"(?i)^https?://[^/?#]")]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


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


class WeightedImage(Media):
    weight: Share | None = None


class Identity(Body):
    images: Annotated[list[Url], Field(max_length=4)] | None = None


class CharacterRef(Body):
    identity0: Identity | None = None


class JobBody(Body):
    callback_url: Url | None = None
    prompt: str | None = None


class Video(JobBody):
    generation_type: Literal["video"] = "video"
    model: RayModel
    aspect_ratio: Ratio | None = "16:9"
    resolution: Resolution | None = None
    duration: Literal["5s", "9s"] | None = None
    loop: bool | None = None
    keyframes: Keyframes | None = None
    concepts: list[Concept] | None = None


class Image(JobBody):
    generation_type: Literal["image"] = "image"
    model: PhotonModel
    aspect_ratio: Ratio | None = "16:9"
    format: Literal["jpg", "png"] | None = None
    image_ref: Annotated[list[WeightedImage], Field(max_length=4)] | None = None
    style_ref: list[WeightedImage] | None = None
    character_ref: CharacterRef | None = None
    modify_image_ref: WeightedImage | None = None


class Upscale(Body):
    generation_type: Literal["upscale_video"] = "upscale_video"
    resolution: Resolution | None = None
    callback_url: Url | None = None


class Audio(JobBody):
    generation_type: Literal["add_audio"] = "add_audio"
    negative_prompt: str | None = None


class Modify(JobBody):
    generation_type: Literal["modify_video"]
    model: RayModel
    media: Media
    first_frame: Media | None = None
    mode: Strength


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
    generation_type: Literal["reframe_video"]
    model: RayModel
    first_frame: Media | None = None


class ReframeImage(Reframe):
    generation_type: Literal["reframe_image"]
    model: PhotonModel
    format: Literal["jpg", "png"] | None = None


class Page(BaseModel):
    # Defaults: lumaai-api's openapi.yaml. The upper limit is ours; Luma states none.
    limit: int = Field(100, ge=1, le=100)
    offset: int = Field(0, ge=0)
