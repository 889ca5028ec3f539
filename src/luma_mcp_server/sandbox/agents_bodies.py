"""The bodies that Luma's Agents API takes, and what it says of those that it does not take.

Sources: luma-agents 0.5.0 types, for fields, values and bounds; the guides at docs.agents.lumalabs.ai (error handling,
FAQ, video generation, editing and reframing) for statuses, sentences and exclusions. Where they give no sentence it is
ours. What they leave open is accepted, but a parameter of images is refused for videos, and the other way round.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException

from . import Output
from .bodies import Body

IMAGE_TYPES = ("image", "image_edit")
VIDEO_TYPES = ("video", "video_edit", "video_reframe")
# Source: luma-agents 0.5.0 types/model.py. Layering is not granted to the sandbox's key.
MODELS = {"uni-1": IMAGE_TYPES, "uni-1-max": IMAGE_TYPES, "ray-3.2": VIDEO_TYPES}
# Source: error handling, and video generation. An edit keeps the ratio of its source, whatever is asked.
IMAGE_RATIOS = ("3:1", "2:1", "16:9", "3:2", "1:1", "2:3", "9:16", "1:2", "1:3")
VIDEO_RATIOS = ("9:16", "3:4", "1:1", "4:3", "16:9", "21:9")
RATIOS = {"image": IMAGE_RATIOS, "video": VIDEO_RATIOS, "video_reframe": VIDEO_RATIOS}
MANGA_RATIOS = (None, "2:3", "9:16", "1:2", "1:3")
# Source: FAQ, "How many reference images can I pass?"
REFERENCES = {"image": 9, "image_edit": 8}
# Source: video generation, editing and reframing: which types take a field
TAKEN_BY: dict[str, tuple[str, ...]] = {
    "image_ref": IMAGE_TYPES,
    "style": IMAGE_TYPES,
    "output_format": IMAGE_TYPES,
    "web_search": IMAGE_TYPES,
    "layering": (),
    "video": VIDEO_TYPES,
    "loop": ("video",),
    "keyframes": ("video",),
    "start_frame": ("video", "video_edit"),
    "end_frame": ("video",),
    "hdr": ("video", "video_edit"),
    "exr_export": ("video", "video_edit"),
    "source_position": ("video_reframe",),
    "edit": ("video_edit",),
}
# Source: luma-agents 0.5.0 types/video_options_param.py; video generation, "Constraint matrix"
EXCLUSIONS = """
    10s+hdr 10s+start_frame 10s+end_frame 10s+loop loop+hdr loop+end_frame loop+keyframes keyframes+start_frame
    keyframes+end_frame 360p+hdr 540p+hdr extension+hdr
"""
LONGEST_EDIT_SECONDS = 18

Share = Annotated[float, Field(ge=0, le=1)]
Place = Annotated[float, Field(ge=-2, le=2)]
Size = Annotated[float, Field(ge=0, le=2)]
Resolution = Literal["360p", "540p", "720p", "1080p"]
Purpose = Literal["input", "reference"]
Strength = Literal[
    "adhere_1", "adhere_2", "adhere_3", "flex_1", "flex_2", "flex_3", "reimagine_1", "reimagine_2", "reimagine_3"
]


def invalid(error: ValidationError) -> HTTPException:
    """A detail is always a sentence. Source: error handling"""
    first = error.errors()[0]
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])
    return HTTPException(400, f"{''.join(steps).lstrip('.') or 'body'}: {first['msg']}")


def refuse(broken: object, sentence: str, status: int = 422) -> None:
    if broken:
        raise HTTPException(status, sentence)


class MediaRef(Body):
    """Source: types/image_ref_param.py"""

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    generation_id: str | None = None
    file_id: str | None = None

    def check(self, place: str, wanted: Output) -> None:
        """Source: error handling and FAQ, malformed references; types/image_ref_param.py"""
        given = [name for name in ("url", "data", "generation_id", "file_id") if getattr(self, name) is not None]
        refuse(given == ["url", "data"], f"{place}: provide either 'url' or 'data', not both", 400)
        refuse(not given, f"{place}: provide either 'url' or 'data', not neither", 400)
        refuse(len(given) > 1, f"{place}: provide exactly one of {', '.join(given)}", 400)
        typed = given == ["data"] or (given == ["url"] and wanted == "video")
        refuse(typed and not self.media_type, f"{place}: 'media_type' is required with '{given[0]}'", 400)


class Control(Body):
    enabled: bool | None = None


class Depth(Control):
    blur: Share | None = None


class Normals(Control):
    augmentation: Share | None = None


class Pose(Control):
    strength: Literal["precise", "coarse"] | None = None


class Trajectory(Control):
    sparsity: Share | None = None


class Controls(Body):
    """Source: types/advanced_controls_param.py"""

    depth: Depth | None = None
    face: Control | None = None
    normals: Normals | None = None
    pose: Pose | None = None
    trajectory: Trajectory | None = None


class Anchored(Body):
    """Guide frames and their places."""

    keyframes: Annotated[list[MediaRef], Field(min_length=1, max_length=64)] | None = None
    keyframe_indexes: list[Annotated[int, Field(ge=0)]] | None = None

    def check(self, place: str, seconds: float) -> None:
        indexes, last = self.keyframe_indexes or [], round(24 * seconds)
        refuse(len(self.keyframes or []) != len(indexes), f"{place} and keyframe_indexes differ in length")
        refuse(len(set(indexes)) != len(indexes), f"{place}: keyframe_indexes must be unique")
        refuse(max(indexes, default=0) > last, f"{place}: keyframe_indexes must be between 0 and {last}")


class Edit(Anchored):
    """Source: types/video_edit_options_param.py"""

    auto_controls: bool | None = None
    strength: Strength | None = None
    controls: Controls | None = None


class SourcePosition(Body):
    """Source: types/source_position_param.py"""

    x_norm: Place
    y_norm: Place
    w_norm: Size
    h_norm: Size


class Video(Anchored):
    """Source: types/video_options_param.py; defaults: Luma Agents docs, video generation"""

    resolution: Resolution | None = None
    duration: Literal["5s", "10s"] | None = None
    loop: bool | None = None
    hdr: bool | None = None
    exr_export: bool | None = None
    start_frame: MediaRef | None = None
    end_frame: MediaRef | None = None
    source_position: SourcePosition | None = None
    edit: Edit | None = None

    @property
    def size(self) -> Resolution:
        return self.resolution or "720p"

    @property
    def seconds(self) -> float:
        return 10.0 if self.duration == "10s" else 5.0


class Layering(Body):
    resolution: Literal["1k", "2k"] = "1k"


class Generation(Body):
    """Source: types/generation_create_params.py"""

    prompt: str = ""
    model: str = "uni-1"
    type: str = "image"
    aspect_ratio: str | None = None
    source: MediaRef | None = None
    image_ref: Annotated[list[MediaRef], Field(default_factory=list)]
    style: Literal["auto", "manga"] = "auto"
    output_format: Literal["png", "jpeg"] | None = None
    web_search: bool = False
    layering: Layering | None = None
    user_id: str | None = None
    video: Video | None = None

    @property
    def output(self) -> Output:
        return "image" if self.type in IMAGE_TYPES else "video"

    @property
    def options(self) -> Video:
        return self.video or Video()

    @property
    def extends(self) -> bool:
        """A generation as a frame of a new video is the clip to make longer."""
        frames = (self.options.start_frame, self.options.end_frame)
        return self.type == "video" and any(frame and frame.generation_id for frame in frames)

    def references(self) -> Iterator[tuple[str, MediaRef, Output]]:
        """Every medium: its place, itself, and of what kind it has to be."""
        video = self.options
        if self.source:
            yield "source", self.source, self.output
        for place, frame in (("video.start_frame", video.start_frame), ("video.end_frame", video.end_frame)):
            if frame:
                yield place, frame, "video" if self.extends and frame.generation_id else "image"
        edit = video.edit or Edit()
        lists = {
            "image_ref": self.image_ref,
            "video.keyframes": video.keyframes,
            "video.edit.keyframes": edit.keyframes,
        }
        for place, refs in lists.items():
            yield from ((f"{place}[{number}]", ref, "image") for number, ref in enumerate(refs or []))

    def check(self) -> None:
        """What is wrong whatever the media are."""
        self._check_parameters()
        self._check_combinations()
        for place, ref, wanted in self.references():
            ref.check(place, wanted)

    def _check_parameters(self) -> None:
        """Source: error handling, 400"""
        kind = self.type
        refuse(self.model not in MODELS, f"Unknown model: {self.model}", 400)
        refuse(kind not in MODELS[self.model], f"Type '{kind}' is not supported for model '{self.model}'", 400)
        refuse(not 1 <= len(self.prompt) <= 6000, "Prompt must be between 1 and 6000 characters", 400)
        refuse(kind == "video_reframe" and not self.aspect_ratio, f"aspect_ratio is required for type '{kind}'", 400)
        valid = RATIOS.get(kind)
        if valid and self.aspect_ratio and self.aspect_ratio not in valid:
            listed = ", ".join(sorted(valid, key=lambda ratio: ratio.split(":")))
            raise HTTPException(400, f"Invalid aspect_ratio '{self.aspect_ratio}'. Valid: {listed}")
        if kind in ("image", "video"):
            others = "type 'image_edit'" if kind == "image" else "types 'video_edit' and 'video_reframe'"
            refuse(self.source, f"source is only valid for {others}", 400)
        else:
            refuse(not self.source, f"source is required for type '{kind}'", 400)
        most, slot = REFERENCES.get(kind, 0), " (source occupies one slot)" if kind == "image_edit" else ""
        too_many = kind in REFERENCES and len(self.image_ref) > most
        refuse(too_many, f"{kind} supports up to {most} reference images{slot}", 400)

    def _check_combinations(self) -> None:
        kind, video, edit = self.type, self.options, self.options.edit
        given = {name for part in (self, video) for name, value in part if value and value != "auto"}
        for name in TAKEN_BY:
            refuse(name in given and kind not in TAKEN_BY[name], f"{name} is not supported for type '{kind}'")
        manga = kind == "image" and self.style == "manga"
        refuse(manga and self.aspect_ratio not in MANGA_RATIOS, "style 'manga' requires a portrait aspect_ratio")
        if kind == "video":
            given |= {str(video.duration), video.size, "extension" if self.extends else ""}
            for one, other in (pair.split("+") for pair in EXCLUSIONS.split()):
                refuse({one, other} <= given, f"{other} is not supported with {one}")
            refuse(self.extends and {"start_frame", "end_frame"} <= given, "An extension takes no other frame")
        refuse(video.exr_export and not video.hdr, "exr_export requires hdr")
        refuse(video.hdr, "HDR is not enabled for this API client", 400)
        upright = kind == "video_reframe" and self.aspect_ratio in ("9:16", "3:4")
        refuse(upright and video.size == "1080p", f"1080p is not available for aspect_ratio '{self.aspect_ratio}'")
        video.check("keyframes", video.seconds)
        if edit:
            manual = edit.strength or edit.controls
            refuse(edit.auto_controls and manual, "auto_controls is not supported with strength or controls")
            refuse(edit.keyframes and video.start_frame, "edit.keyframes is not supported with start_frame")
            edit.check("edit.keyframes", LONGEST_EDIT_SECONDS)


class NewFile(Body):
    """Source: types/file_create_params.py"""

    mime_type: Annotated[str, Field(pattern=r"^\w+/[\w.+-]+$")]
    size_bytes: Annotated[int, Field(ge=1, le=5 * 1024**3)]
    purpose: Purpose = "input"
    filename: str | None = None
    expires_at: AwareDatetime | None = None
    user_id: str | None = None


class FilePage(BaseModel):
    """Source: types/file_list_params.py"""

    cursor: str | None = None
    limit: int = Field(25, ge=1, le=100)
    purpose: Purpose | None = None
    state: Literal["pending", "ready", "failed", "deleted"] | None = None
