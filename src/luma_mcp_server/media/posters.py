"""Posters: small pictures to tell saved files apart by. They need the `media` extra."""

import base64
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from ..errors import InvalidRequest
from .frames import cut
from .references import guess_type
from .saved import unfinished

_LONGEST_SIDE = 480


def poster(source: Path, kept: Path) -> bytes | None:
    """A small JPEG of a video's first frame or of an image, made once and kept; None where it can't be made.

    It blocks: call it in a worker thread.
    """
    with suppress(OSError):
        return kept.read_bytes()
    from PIL import Image

    try:
        still: Path | BytesIO = source
        if guess_type(source.name) == "video":
            still = BytesIO(base64.b64decode(cut(source, source.name, None, first=True).data or ""))
        picture = Image.open(still).convert("RGB")
    except (InvalidRequest, OSError, Image.DecompressionBombError):
        return None
    picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    out = BytesIO()
    picture.save(out, "JPEG", quality=82)
    with suppress(OSError):  # a folder that can't be written: made again the next time
        kept.parent.mkdir(exist_ok=True)
        with unfinished(kept) as part:
            part.write_bytes(out.getvalue())
            part.replace(kept)
    return out.getvalue()
