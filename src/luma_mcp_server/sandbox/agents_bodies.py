"""The bodies that Luma's Agents API takes, and what it says of those that it refuses.

Sources: luma-agents 0.5.0 types, for fields, values and bounds; the guides at docs.agents.lumalabs.ai (error handling,
FAQ, video generation, editing and reframing) for statuses, sentences, defaults and exclusions. Sentences that they do
not give are our own. What they leave open is accepted, but image parameters are refused for videos and vice versa.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from .bodies import Body, Share, Strength
from .world import Output, refuse

IMAGE_TYPES = ("image", "image_edit")
LAYERING = "layering"
VIDEO_TYPES = ("video", "video_edit", "video_reframe")
# Source: luma-agents 0.5.0 types/model.py and generation_create_params.py
MODELS = {"uni-1": (*IMAGE_TYPES, LAYERING), "uni-1-max": IMAGE_TYPES, "ray-3.2": VIDEO_TYPES}
# Source: error handling, and video generation. An edit keeps the ratio of its source, whatever is asked.
VIDEO_RATIOS = "1:1 16:9 21:9 3:4 4:3 9:16"
RATIOS = {"image": "1:1 1:2 1:3 16:9 2:1 2:3 3:1 3:2 9:16", "video": VIDEO_RATIOS, "video_reframe": VIDEO_RATIOS}
MANGA_RATIOS = (None, "2:3", "9:16", "1:2", "1:3")
# Source: FAQ, "How many reference images can I pass?"
REFERENCES = {"image": 9, "image_edit": 8}
# Source: luma-agents 0.5.0 types; video generation, editing and reframing: the optional fields of each type
TAKES = {
    "image": "aspect_ratio image_ref style output_format web_search",
    "image_edit": "aspect_ratio image_ref style output_format web_search",
    "video": "aspect_ratio video loop keyframes start_frame end_frame hdr exr_export",
    "video_edit": "aspect_ratio video start_frame hdr exr_export edit",
    "video_reframe": "aspect_ratio video source_position",
    LAYERING: "layering",
}
OPTIONAL = set(" ".join(TAKES.values()).split())
# For type=video. Whether an edit can be HDR below 720p is contradictory, so it passes.
# Source: luma-agents 0.5.0 types/video_options_param.py; video generation, "Constraint matrix"
EXCLUSIONS = """
    10s+hdr 10s+start_frame 10s+end_frame 10s+loop loop+hdr loop+end_frame loop+keyframes keyframes+start_frame
    keyframes+end_frame 360p+hdr 540p+hdr extension+hdr
"""
# Source: luma-agents 0.5.0 types/advanced_controls_param.py: each control's own option, beside `enabled`
CONTROLS = {"depth": "blur", "face": "", "normals": "augmentation", "pose": "strength", "trajectory": "sparsity"}
LONGEST_EDIT_SECONDS = 18

Place = Annotated[float, Field(ge=-2, le=2)]
Size = Annotated[float, Field(ge=0, le=2)]
FileState = Literal["pending", "ready", "failed", "deleted"]


class MediaRef(Body):
    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    generation_id: str | None = None
    file_id: str | None = None

    def check(self, place: str, wanted: Output) -> None:
        """Source: error handling and FAQ, malformed references"""
        given = [name for name in ("url", "data", "generation_id", "file_id") if getattr(self, name) is not None]
        refuse(given == ["url", "data"], 400, f"{place}: provide either 'url' or 'data', not both")
        refuse(not given, 400, f"{place}: provide either 'url' or 'data', not neither")
        refuse(len(given) > 1, 400, f"{place}: provide exactly one of {', '.join(given)}")
        typed = given == ["data"] or (given == ["url"] and wanted == "video")
        refuse(typed and not self.media_type, 400, f"{place}: 'media_type' is required with '{given[0]}'")


class Control(Body):
    enabled: bool | None = None
    blur: Share | None = None
    augmentation: Share | None = None
    sparsity: Share | None = None
    strength: Literal["precise", "coarse"] | None = None


class Anchored(Body):
    """Guide frames and their places."""

    keyframes: Annotated[list[MediaRef], Field(min_length=1, max_length=64)] | None = None
    keyframe_indexes: list[Annotated[int, Field(ge=0)]] | None = None

    def check(self, place: str, seconds: float) -> None:
        indexes, last = self.keyframe_indexes or [], round(24 * seconds)
        refuse(len(self.keyframes or []) != len(indexes), 422, f"{place} and keyframe_indexes differ in length")
        refuse(len(set(indexes)) != len(indexes), 422, f"{place}: keyframe_indexes must be unique")
        refuse(max(indexes, default=0) > last, 422, f"{place}: keyframe_indexes must be between 0 and {last}")


class Edit(Anchored):
    auto_controls: bool | None = None
    strength: Strength | None = None
    controls: dict[str, Control] | None = None

    @property
    def notes(self) -> list[str]:
        """How the source is to be kept, in a few words."""
        active = [name for name, control in (self.controls or {}).items() if control.enabled is not False]
        return [note for note in ("auto controls" * bool(self.auto_controls), self.strength, *active) if note]


class SourcePosition(Body):
    x_norm: Place
    y_norm: Place
    w_norm: Size
    h_norm: Size


class Video(Anchored):
    resolution: Literal["360p", "540p", "720p", "1080p"] = "720p"
    duration: Literal["5s", "10s"] = "5s"
    loop: bool | None = None
    hdr: bool | None = None
    exr_export: bool | None = None
    start_frame: MediaRef | None = None
    end_frame: MediaRef | None = None
    source_position: SourcePosition | None = None
    edit: Edit | None = None

    @property
    def seconds(self) -> float:
        return float(self.duration[:-1])


class Generation(Body):
    prompt: str = ""
    model: str = "uni-1"
    type: str = "image"
    aspect_ratio: str | None = None
    source: MediaRef | None = None
    image_ref: Annotated[list[MediaRef], Field(default_factory=list)]
    style: Literal["auto", "manga"] = "auto"
    output_format: Literal["png", "jpeg"] | None = None
    web_search: bool = False
    layering: dict[Literal["resolution"], Literal["1k", "2k"]] | None = None
    user_id: str | None = None
    video: Annotated[Video, Field(default_factory=Video)]

    @property
    def output(self) -> Output:
        return "video" if self.type in VIDEO_TYPES else "image"

    @property
    def extends(self) -> bool:
        """A generation as a frame of a new video is the clip to make longer."""
        frames = (self.video.start_frame, self.video.end_frame)
        return self.type == "video" and any(frame and frame.generation_id for frame in frames)

    def references(self) -> Iterator[tuple[str, MediaRef, Output]]:
        """Every medium: its place, itself, and which kind it has to be."""
        video, edit = self.video, self.video.edit or Edit()
        if self.source:
            yield "source", self.source, self.output
        for place, frame in (("video.start_frame", video.start_frame), ("video.end_frame", video.end_frame)):
            if frame:
                yield place, frame, "video" if self.extends and frame.generation_id else "image"
        lists = (("image_ref", self.image_ref), ("video.keyframes", video.keyframes))
        for place, refs in (*lists, ("video.edit.keyframes", edit.keyframes)):
            yield from ((f"{place}[{number}]", ref, "image") for number, ref in enumerate(refs or []))

    def check(self) -> None:
        """Refuse what is wrong whatever the media are."""
        self._check_parameters()
        self._check_combinations()
        for place, ref, wanted in self.references():
            ref.check(place, wanted)

    def _check_parameters(self) -> None:
        """Source: error handling, 400"""
        kind, ratio = self.type, self.aspect_ratio
        refuse(self.model not in MODELS, 400, f"Unknown model: {self.model}")
        refuse(kind not in MODELS[self.model], 400, f"Type '{kind}' is not supported for model '{self.model}'")
        longest = 500 if kind == LAYERING else 6000
        refuse(not 1 <= len(self.prompt) <= longest, 400, f"Prompt must be between 1 and {longest} characters")
        refuse(kind == "video_reframe" and not ratio, 400, f"aspect_ratio is required for type '{kind}'")
        valid = RATIOS.get(kind, ratio or "").split()
        refuse(ratio and ratio not in valid, 400, f"Invalid aspect_ratio '{ratio}'. Valid: {', '.join(valid)}")
        takes_source = kind not in ("image", "video")
        refuse(takes_source and not self.source, 400, f"source is required for type '{kind}'")
        others = "type 'image_edit'" if kind == "image" else "types 'video_edit' and 'video_reframe'"
        refuse(self.source and not takes_source, 400, f"source is only valid for {others}")
        most, slot = REFERENCES.get(kind, 0), " (source occupies one slot)" if kind == "image_edit" else ""
        too_many = kind in REFERENCES and len(self.image_ref) > most
        refuse(too_many, 400, f"{kind} supports up to {most} reference images{slot}")

    def _check_combinations(self) -> None:
        kind, video, edit = self.type, self.video, self.video.edit
        given = {name for part in (self, video) for name in part.model_fields_set if getattr(part, name)}
        given -= {"style"} if self.style == "auto" else set()
        unfit = sorted((OPTIONAL & given).difference(TAKES[kind].split()))
        refuse(unfit, 422, f"{', '.join(unfit)} is not supported for type '{kind}'")
        manga = kind == "image" and self.style == "manga"
        refuse(manga and self.aspect_ratio not in MANGA_RATIOS, 422, "style 'manga' requires a portrait aspect_ratio")
        if kind == "video":
            # With keyframes a clip may last 10 s and be HDR. Source: luma-agents 0.5.0 types/video_options_param.py
            given |= {video.resolution, "extension" if self.extends else "", "" if video.keyframes else video.duration}
            for one, other in (pair.split("+") for pair in EXCLUSIONS.split()):
                refuse({one, other} <= given, 422, f"{other} is not supported with {one}")
            refuse(self.extends and {"start_frame", "end_frame"} <= given, 422, "An extension takes no other frame")
        refuse(video.exr_export and not video.hdr, 422, "exr_export requires hdr")
        upright = kind == "video_reframe" and self.aspect_ratio in ("9:16", "3:4")
        refuse(
            upright and video.resolution == "1080p",
            422,
            f"1080p is not available for aspect_ratio '{self.aspect_ratio}'",
        )
        video.check("keyframes", video.seconds)
        if edit:
            manual = edit.strength or edit.controls
            refuse(edit.auto_controls and manual, 422, "auto_controls is not supported with strength or controls")
            refuse(edit.keyframes and video.start_frame, 422, "edit.keyframes is not supported with start_frame")
            edit.check("edit.keyframes", LONGEST_EDIT_SECONDS)
            for name, control in (edit.controls or {}).items():
                fits = name in CONTROLS and control.model_fields_set <= {"enabled", CONTROLS[name]}
                refuse(not fits, 400, f"video.edit.controls.{name}: Extra inputs are not permitted")


class NewFile(Body):
    mime_type: Annotated[str, Field(pattern=r"^\w+/[\w.+-]+$")]
    size_bytes: Annotated[int, Field(ge=1, le=5 * 1024**3)]
    purpose: Literal["input", "reference"] = "input"
    filename: str | None = None
    user_id: str | None = None
    expires_at: AwareDatetime | None = None


class FilePage(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: int = Field(25, ge=1, le=100)
    state: FileState | None = None
