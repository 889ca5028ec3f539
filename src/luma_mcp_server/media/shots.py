"""The clips and the sound track of a film, as it uses them. Needs the `media` extra (av)."""

from collections.abc import Hashable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import refuse
from .frames import measured, opened
from .local_files import HEAD_BYTES, media_type

SOUND_RATE = 48_000

_FADE_S = 0.5
_MISSING_S = 0.5
"""Seconds that a clip may lack at its end: its last picture stands for them."""

_COLORS = ("color_primaries", "color_trc", "colorspace", "color_range")
_SOUND_FORMATS = "mp3,mov,wav,flac,ogg,aac,aiff,matroska,asf"
"""Not everything that FFmpeg reads: a playlist would lead to other files."""


@dataclass(frozen=True)
class Sound:
    """A sound track: of a clip, or one for the whole film. `buffer` is what its frames are, in FFmpeg's words."""

    path: Path
    shown: str
    seconds: float
    buffer: dict[str, str]


@dataclass(frozen=True)
class Shot:
    """A clip as a film uses it.

    Attributes:
        shown: what errors call it.
        size: width and height as it is played, both even.
        turned: how far it is rotated for that, in degrees.
        buffer: what its frames are before that, in FFmpeg's words.
        colors: how its values become colors, by the names that PyAV has for it.
        sound: its own, if it has any.
        layout: everything that two clips must have in common to be joined without encoding; None for one that can't.
    """

    path: Path
    shown: str
    seconds: Fraction
    rate: Fraction
    size: tuple[int, int]
    turned: int
    buffer: dict[str, str]
    colors: dict[str, int]
    sound: Sound | None
    layout: Hashable

    def check_end(self, end: Fraction) -> None:
        """Raise `InvalidRequest` if a clip breaks off at so many seconds."""
        if end < self.seconds - _MISSING_S:
            raise refuse(
                f"{self.shown} breaks off after {float(end):.1f} of {float(self.seconds):.1f} s", "Use another."
            )


@dataclass(frozen=True)
class Plan:
    """What a film is made of; `track` is the sound that plays instead of the clips' own."""

    shots: tuple[Shot, ...]
    crossfade: bool = False
    track: Sound | None = None

    @property
    def rate(self) -> Fraction:
        """Frames a second."""
        return self.shots[0].rate

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.shots[0].size

    @property
    def overlap(self) -> int:
        """How many frames two neighbors share."""
        return round(_FADE_S * self.rate) if self.crossfade else 0

    @cached_property
    def lengths(self) -> list[int]:
        """How many frames of the film each clip lasts."""
        return [max(1, round(shot.seconds * self.rate)) for shot in self.shots]

    @property
    def seconds(self) -> Fraction:
        """How long the film is."""
        return (sum(self.lengths) - self.overlap * (len(self.shots) - 1)) / self.rate

    @property
    def encodes(self) -> bool:
        """Whether the clips have to be encoded again."""
        layouts = {shot.layout for shot in self.shots}
        return self.crossfade or self.track is not None or len(layouts) > 1 or None in layouts

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the film has that nobody asked for."""
        width, height = self.size
        others = [n for n, shot in enumerate(self.shots) if shot.size[0] * height != shot.size[1] * width]
        said = (
            [f"Black bars fill the frame where the shape is not the first clip's: sources{others}."] if others else []
        )
        if self.track and self.track.seconds < self.seconds:
            said.append(f"The sound track lasts only {self.track.seconds:.1f} s; after it the film is silent.")
        return tuple(said)

    def check(self) -> None:
        """Raise `InvalidRequest` for a clip that is too short for its fades."""
        for shot, length in zip(self.shots, self.lengths, strict=True):
            if length < 2 * self.overlap:
                raise refuse(
                    f"{shot.shown} lasts {float(shot.seconds):.2f} s, too short for cross-fades of {_FADE_S} s",
                    "Leave it out, or use transition=cut.",
                )


def measure_shot(path: Path, shown: str) -> Shot:
    """A clip as a film uses it. It blocks. Raises `InvalidRequest` if it can't be used."""
    with path.open("rb") as file:
        found = media_type(file.read(HEAD_BYTES)) or "another format"
    if not found.startswith("video/"):
        raise refuse(f"{shown} contains {found}; films are made of videos", "Use an MP4.")
    with opened(path, shown) as container:
        clip, video = measured(container, shown), container.streams.video[0]
        first = _first(container, video, shown)
        container.seek(0)
        sound = _sound(container, path, shown) if container.streams.audio else None
        size = (first.width // 2 * 2, first.height // 2 * 2)
        return Shot(
            path,
            shown,
            Fraction(clip.seconds).limit_denominator(1_000_000),
            Fraction(clip.rate).limit_denominator(1001),
            size if abs(first.rotation) != 90 else size[::-1],
            first.rotation,
            {
                "video_size": f"{first.width}x{first.height}",
                "pix_fmt": first.format.name,
                "time_base": str(video.time_base),
                "pixel_aspect": "1/1",
            },
            {name: getattr(video.codec_context, name) for name in _COLORS},
            sound,
            None if first.rotation else _layout(video, *container.streams.audio[:1]),
        )


def measure_track(path: Path, shown: str) -> Sound:
    """A sound track for a film. It blocks. Raises `InvalidRequest` if it can't be used."""
    with opened_sound(path, shown) as container:
        return _sound(container, path, shown)


def opened_sound(path: Path, shown: str) -> Any:
    """A file with sound as PyAV's container, to be closed. It blocks."""
    import av

    try:
        container = av.open(str(path), metadata_errors="ignore", options={"format_whitelist": _SOUND_FORMATS})
    except (av.FFmpegError, OSError) as error:
        raise refuse(f"{shown} can't be read as sound", "Use an MP3, M4A or WAV file.") from error
    if not container.streams.audio:
        container.close()
        raise refuse(f"{shown} has no sound", "Use an MP3, M4A or WAV file.")
    return container


def _first(container: Any, stream: Any, shown: str) -> Any:
    """The first frame of a stream."""
    import av

    try:
        return next(container.decode(stream))
    except (av.FFmpegError, StopIteration) as error:
        raise refuse(f"{shown} can't be decoded: it is damaged or cut off", "Use another file.") from error


def _sound(container: Any, path: Path, shown: str) -> Sound:
    stream = container.streams.audio[0]
    first = _first(container, stream, shown)
    buffer = {
        "sample_rate": str(first.sample_rate),
        "sample_fmt": first.format.name,
        "channel_layout": first.layout.name,
        "time_base": str(stream.time_base),
    }
    return Sound(path, shown, (container.duration or 0) / 1e6, buffer)


def _layout(video: Any, *sounds: Any) -> Hashable:
    """What clips that are joined without encoding have in common; None if they can't be."""
    contexts = [stream.codec_context for stream in (video, *sounds)]
    if [one.name for one in contexts] != ["h264", "aac"][: len(contexts)]:
        return None
    common = tuple((one.extradata, stream.time_base) for one, stream in zip(contexts, (video, *sounds), strict=True))
    return (video.average_rate, *common)
