"""A contact sheet: frames of a video, each stamped with its time, or several generations, a row each. Needs Pillow."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

LARGEST_SIDE, MOST_BYTES = 1568, 200_000
"""What a model takes in without having it scaled down, and what fits beside other results."""

_GAP, _LABEL = 6, 26


@dataclass(frozen=True)
class Row:
    """One generation: its label, and its pictures, each with the words stamped on it."""

    label: str
    pictures: Sequence[tuple["Image", str]]


def contact_sheet(rows: Sequence[Row]) -> bytes:
    """The rows as one JPEG of at most 200 KB and 1,568 px a side. It blocks: call it in a worker thread."""
    from PIL import Image, ImageDraw, ImageFont

    if len(rows) == 1:  # the frames of one video fill a square best
        [row] = rows
        across = math.ceil(math.sqrt(len(row.pictures)))
        lines = [row.pictures[start : start + across] for start in range(0, len(row.pictures), across)]
        labels = [""] * len(lines)
    else:
        lines, labels = [row.pictures for row in rows], [row.label for row in rows]
        across = max(map(len, lines))
    head = _LABEL if any(labels) else 0
    shapes = [max(picture.height / picture.width for picture, _ in line) for line in lines]  # of each line the tallest
    room = LARGEST_SIDE - _GAP - len(lines) * (_GAP + head)
    widest = max(picture.width for line in lines for picture, _ in line)
    width = max(16, min(widest, (LARGEST_SIDE - _GAP) // across - _GAP, int(room / sum(shapes))))
    heights = [head + max(16, int(width * shape)) + _GAP for shape in shapes]
    sheet = Image.new("RGB", (across * (width + _GAP) + _GAP, _GAP + sum(heights)), "#202024")
    pen, small, top = ImageDraw.Draw(sheet), ImageFont.load_default(16), _GAP
    for line, label, height in zip(lines, labels, heights, strict=True):
        pen.text((_GAP, top + 3), label, "white", small)
        for place, (picture, words) in enumerate(line):
            left, fitted = _GAP + place * (width + _GAP), picture.convert("RGB")
            fitted.thumbnail((width, height))
            sheet.paste(fitted, (left, top + head))
            if words:
                box = pen.textbbox((left + 6, top + head + 4), words, small)
                pen.rectangle((box[0] - 4, box[1] - 3, box[2] + 4, box[3] + 3), "black")
                pen.text((left + 6, top + head + 4), words, "white", small)
        top += height
    return small_jpeg(sheet)


def small_jpeg(picture: "Image", side: int = LARGEST_SIDE) -> bytes:
    """A picture as a JPEG of at most 200 KB and so many pixels a side. It blocks."""
    picture = picture.convert("RGB")
    picture.thumbnail((side, side))
    while True:
        for quality in (85, 70, 50):
            out = BytesIO()
            picture.save(out, "JPEG", quality=quality)
            if out.tell() <= MOST_BYTES:
                return out.getvalue()
        picture.thumbnail((picture.width * 3 // 4, picture.height * 3 // 4))
