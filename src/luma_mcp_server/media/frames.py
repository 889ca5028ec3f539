"""Frames of videos as images, and what files say of themselves. Needs the `media` extra (av and Pillow)."""

import base64
import hashlib
import shlex
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import refuse
from ..launch import find_source, launch_command
from ..models import FileFacts, LocalFile
from .references import IMAGE_ENDINGS

if TYPE_CHECKING:
    from PIL.Image import Image


def install_line() -> str:
    """How to have the `media` extra, as a sentence."""
    try:
        command = shlex.join(launch_command(find_source(), media=True))
    except LookupError:
        command = "uv run --extra media luma-mcp-server"
    return f"Start this server with its media extra: `{command}`."


def can_read() -> bool:
    """Whether the `media` extra is installed."""
    return all(find_spec(name) for name in ("av", "PIL"))


@dataclass(frozen=True)
class Clip:
    """What a video says of itself.

    Attributes:
        seconds: how long it is.
        rate: frames a second.
    """

    seconds: float
    rate: float


def measure(file: LocalFile, shown: str) -> Clip:
    """How long and how fast a video is. It blocks: call it in a worker thread."""
    with opened(file, shown) as container:
        return measured(container, shown)


def facts(path: Path) -> FileFacts:
    """What a saved video or image says of itself. It blocks: call it in a worker thread.

    Raises `InvalidRequest` if it can't be read.
    """
    if path.suffix[1:] in IMAGE_ENDINGS:
        picture = read_picture(path, path.name)
        return FileFacts(width=picture.width, height=picture.height, codec=str(picture.format).lower())
    with opened(path, path.name) as container:
        clip, stream = measured(container, path.name), container.streams.video[0]
        return FileFacts(
            width=stream.width,
            height=stream.height,
            seconds=round(clip.seconds, 3),
            fps=round(clip.rate, 3),
            codec=stream.codec_context.name,
            sound=bool(container.streams.audio),
        )


def read_picture(source: Path | bytes, shown: str = "The picture") -> "Image":
    """An image, which errors call `shown`. It blocks: call it in a worker thread."""
    from PIL import Image

    try:
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source) as picture:
            picture.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # SyntaxError: a damaged PNG
        raise refuse(f"{shown} could not be read as an image ({type(error).__name__})", "Use another one.") from error
    return picture


def cut(source: LocalFile | Path | bytes, shown: str, at_s: float | None, *, first: bool = False) -> LocalFile:
    """One frame of a video as a JPEG: the first, the last, or the one at so many seconds.

    It blocks: call it in a worker thread. Raises `InvalidRequest`, in which the video is called `shown`, if it has no
    such frame.
    """
    out = BytesIO()
    still(source, shown, 0.0 if at_s is None and first else at_s).save(out, "JPEG", quality=95)
    content = out.getvalue()
    which = f"frame at {at_s:g} s" if at_s is not None else "first frame" if first else "last frame"
    return LocalFile(
        path=f"{which} of {shown}",
        media_type="image/jpeg",
        digest=hashlib.sha256(content).hexdigest(),
        size=len(content),
        data=base64.b64encode(content).decode(),
    )


def still(source: LocalFile | Path | bytes, shown: str, at_s: float | None) -> "Image":
    """The frame of a video at so many seconds, or the last one. It blocks, and raises as `cut` does."""
    import av

    with opened(source, shown) as container:
        clip = measured(container, shown)
        if at_s is not None and at_s > clip.seconds:
            raise refuse(f"#at={at_s:g} is past the end of {shown}, which lasts {clip.seconds:.2f} s", "Use less.")
        wanted, slack_s = clip.seconds if at_s is None else at_s, 0.5 / clip.rate
        stream = container.streams.video[0]
        start = stream.start_time or 0
        with suppress(av.FFmpegError, OSError):  # where nothing can be skipped, all is read
            # The last frames may hang on a key frame well before them.
            container.seek(max(start, start + int((wanted - slack_s) / stream.time_base)), stream=stream)
        picture, found_s = next(_passing(container, [wanted], slack_s), (None, 0.0))
    if picture is None or (wanted == clip.seconds and found_s < clip.seconds - 1.0):
        raise refuse(f"{shown} breaks off before its frame at {wanted:.2f} s", "Use another file.")
    return picture


def spread(source: Path | bytes, shown: str, count: int, side: int) -> list[tuple["Image", float]]:
    """So many frames of a video, evenly spread, with their times in seconds; none has a side longer than that.

    It blocks: call it in a worker thread.
    """
    with opened(source, shown) as container:
        clip = measured(container, shown)
        wanted = [clip.seconds * (number + 0.5) / count for number in range(count)]
        found = []
        for picture, at_s in _passing(container, wanted, 0.5 / clip.rate):
            picture.thumbnail((side, side))  # at once: eighty frames of their own size would fill the memory
            found.append((picture, at_s))
        if not found:
            raise refuse(f"{shown} can't be decoded: it is damaged or cut off", "Delete the file, then save it again.")
        return found


def opened(source: LocalFile | Path | bytes, shown: str) -> Any:
    """A video as PyAV's container, to be closed. It blocks."""
    import av

    if isinstance(source, LocalFile):
        source = base64.b64decode(source.data) if source.data else Path(source.path)
    try:
        # Only the pictures count: a title may be in any encoding.
        return av.open(BytesIO(source) if isinstance(source, bytes) else str(source), metadata_errors="ignore")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise refuse(f"{shown} can't be read as a video ({type(error).__name__})", "Use an MP4.") from error


def measured(container: Any, shown: str) -> Clip:
    """How long and how fast an opened video is."""
    if not container.streams.video:
        raise refuse(f"{shown} has no picture", "Use another one.")
    stream = container.streams.video[0]
    if stream.duration is not None:
        seconds = float(stream.duration * stream.time_base)
    else:
        seconds = (container.duration or 0) / 1e6
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    if seconds <= 0 or rate <= 0:
        raise refuse(f"{shown} does not say how long it is", "Convert it to MP4.")
    return Clip(seconds, rate)


def _passing(container: Any, wanted: list[float], slack_s: float) -> Iterator[tuple["Image", float]]:
    """The frames that are shown at some seconds, in order, or the last ones before, and their own times.

    All in one pass: a short clip may have a single key frame, from which each of them would have to be decoded again.
    """
    import av

    stream, found, found_s = container.streams.video[0], None, 0.0
    start, left = stream.start_time or 0, deque(wanted)
    with suppress(av.FFmpegError, OSError):  # a file that breaks off: what was read counts
        for frame in container.decode(stream):
            time_s = float(((frame.pts or start) - start) * stream.time_base)
            while found is not None and left and time_s > left[0] + slack_s:
                left.popleft()
                yield _upright(found), found_s
            if not left:
                return
            found, found_s = frame, time_s
    for _ in left if found else ():
        yield _upright(found), found_s


def _upright(frame: Any) -> "Image":
    picture: Image = frame.to_image()
    return picture.rotate(frame.rotation, expand=True) if frame.rotation else picture
