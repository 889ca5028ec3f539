"""Saved files by the generation that they belong to, and their posters: small pictures to tell them apart by."""

import base64
import re
import secrets
from collections import defaultdict
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from ..errors import InvalidRequest
from .frames import cut
from .references import IMAGE_ENDINGS, UUID, VIDEO_ENDINGS

_LONGEST_SIDE = 480
_SAVED = re.compile(rf".*-({UUID.pattern})(?:-(all|\d\d).*)?\.(\w+)", re.IGNORECASE)


def saved_files(folder: Path | None) -> dict[str, tuple[Path, ...]]:
    """The files that were saved under their own names, by generation id: the generation itself first, then its parts.

    It blocks: call it in a worker thread.
    """
    found: defaultdict[str, list[tuple[str, Path]]] = defaultdict(list)
    with suppress(OSError):  # no such folder: nothing is saved in it
        for path in folder.iterdir() if folder else ():
            if (match := _SAVED.fullmatch(path.name)) and match[3] != "part":
                part = "" if match[2] == "all" else match[2] or ""
                found[match[1]].append((part, path))
    return {name: tuple(path for _, path in sorted(files)) for name, files in found.items()}


def kind_of(path: Path) -> str | None:
    """Whether a browser shows a file as a video or as an image, by its ending."""
    ending = path.suffix[1:].lower()
    return "video" if ending in VIDEO_ENDINGS else "image" if ending in IMAGE_ENDINGS else None


def poster(source: Path, kept: Path) -> bytes | None:
    """A small JPEG of a video's first frame or of an image, made once and kept; None where it can't be made.

    It needs the `media` extra, and blocks: call it in a worker thread.
    """
    with suppress(OSError):
        return kept.read_bytes()
    from PIL import Image

    try:
        still: Path | BytesIO = source
        if kind_of(source) == "video":
            still = BytesIO(base64.b64decode(cut(source, source.name, None, first=True).data or ""))
        picture = Image.open(still).convert("RGB")
    except (InvalidRequest, OSError, Image.DecompressionBombError):
        return None
    picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    out = BytesIO()
    picture.save(out, "JPEG", quality=82)
    with suppress(OSError):  # a folder that can't be written: made again the next time
        kept.parent.mkdir(exist_ok=True)
        part = kept.with_name(f"{kept.name}-{secrets.token_hex(4)}.part")
        part.write_bytes(out.getvalue())
        part.replace(kept)
    return out.getvalue()
