"""Posters: small pictures to tell saved files apart by. They need the `media` extra."""

from contextlib import suppress
from pathlib import Path

from ..errors import InvalidRequest
from .frames import read_picture, still
from .references import guess_type
from .saved import unfinished
from .sheet import small_jpeg

_LONGEST_SIDE = 480


def poster(source: Path, kept: Path) -> bytes | None:
    """A small JPEG of a video's first frame or of an image, made once and kept; None where it can't be made.

    It blocks: call it in a worker thread.
    """
    with suppress(OSError):
        return kept.read_bytes()
    try:
        if guess_type(source.name) == "video":
            picture = still(source, source.name, 0.0)
        else:
            picture = read_picture(source, source.name)
    except InvalidRequest:
        return None
    small = small_jpeg(picture, _LONGEST_SIDE)
    with suppress(OSError):  # a folder that can't be written: made again the next time
        kept.parent.mkdir(exist_ok=True)
        with unfinished(kept) as part:
            part.write_bytes(small)
            part.replace(kept)
    return small
