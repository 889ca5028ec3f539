"""Saved files: how they are named, found again by generation, and written whole or not at all."""

import os
import re
import secrets
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from ..errors import InvalidRequest, LumaServerError
from ..models import Generation
from .references import IMAGE_ENDINGS, SAVED_NAME, VIDEO_ENDINGS

ENDINGS = {
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/webp": "webp",
    "image/gif": "gif",
}
SIDECARS = {b"v/1\x01": "exr", b"PK\x03\x04": "zip"}
"""What comes beside an HDR clip. Source: fal's documentation of ray-3.2, 2026: one EXR file or a ZIP."""

_SAVED_ENDINGS = (*ENDINGS.values(), *SIDECARS.values())

_FORBIDDEN = re.compile(
    r'[\x00-\x1f\x7f<>:"/\\|?*\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]'
    r"|^$|^[. ]|[. ]$"
    r"|^(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[1-9¹²³])(\.|$)",  # Windows keeps these for devices
    re.IGNORECASE,
)


def chosen_stem(filename: str) -> str:
    """A name that the user chose, without the ending, which the content decides."""
    name = filename.strip()
    stem, dot, ending = name.rpartition(".")
    stem = stem if dot and ending.lower() in VIDEO_ENDINGS + IMAGE_ENDINGS else name
    if _FORBIDDEN.search(stem) or len(stem.encode()) > 200:
        raise InvalidRequest(
            "filename must be a plain file name of at most 200 bytes, without folders or special characters. Nothing "
            "was saved. Choose another name; the folder is LUMA_MCP_OUTPUT_DIR."
        )
    if SAVED_NAME.fullmatch(f"{stem}.mp4"):
        raise InvalidRequest(
            "filename must not end in a generation's id: the file would stand for that generation. Nothing was saved. "
            "Choose another name."
        )
    return stem


def own_stem(generation: Generation) -> str:
    """The name that a file has by itself: the start of the prompt, and the id."""
    words = re.sub(r"[^\w]+", "-", (generation.prompt or "").lower())[:40].strip("-_")
    what = (generation.operation or generation.type or "generation").replace("_", "-")
    return f"{words or what}-{generation.generation_id}"


def saved_files(folder: Path | None, generation_id: str = "") -> dict[str, dict[str, Path]]:
    """The files with names of their own, by generation id and part: "" is the generation itself, "01" its first part.

    With a `generation_id` only that one's. It blocks: call it in a worker thread where the folder may be large.
    """
    found: defaultdict[str, dict[str, Path]] = defaultdict(dict)
    with suppress(OSError):  # no such folder: nothing is saved in it
        for path in sorted(Path(one) for one in os.scandir(folder or "") if generation_id in one.name):
            if (name := SAVED_NAME.fullmatch(path.name)) and name[3] in _SAVED_ENDINGS and path.is_file():
                part = "" if name[2] == "all" else name[2] or ""
                found[name[1].lower()].setdefault(part, path)
    return {name: dict(sorted(files.items())) for name, files in found.items()}


def existing(path: Path) -> Path | None:
    """The file of that name, whatever its ending."""
    there = next(filter(os.path.lexists, (path.with_name(f"{path.name}.{one}") for one in _SAVED_ENDINGS)), None)
    if there and not there.is_file():  # a second file beside it would be saved again and again
        raise LumaServerError(f"{there} is not a file, so nothing was saved. Move it away; until then use the link.")
    return there


def free_name(path: Path, ending: str) -> Path:
    """A name that is not taken: nothing is ever overwritten."""
    names = (path.name if number == 1 else f"{path.name}-{number}" for number in count(1))
    return next(free for name in names if not os.path.lexists(free := path.with_name(f"{name}.{ending}")))


@contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """Where a file is written until it is whole and given its name; if it never is, it is deleted."""
    # Not from `tempfile`: it makes files that only their owner may read, and the saved file would be one.
    part = path.with_name(f"{path.name}-{secrets.token_hex(4)}.part")
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)
