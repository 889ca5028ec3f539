"""The figures as one picture: how much of its target each uses up."""

from collections.abc import Sequence
from math import isnan

from PIL import Image, ImageDraw, ImageFont

from .harness import Figure

WIDTH, ROW, MARGIN, TOP = 1200, 34, 32, 104
BARS, FULL = 500, 880  # where bars begin, and where a target is used up
LONGEST = 1.15
INK, GRAY, LINE, KEPT, MISSED = "#1f2430", "#667085", "#d0d5dd", "#5546c8", "#d9480f"


def draw(figures: Sequence[Figure], title: str) -> Image.Image:
    """A bar for each figure that has a target."""
    shown = [one for one in figures if not isnan(one.share)]
    picture = Image.new("RGB", (WIDTH, TOP + ROW * len(shown) + MARGIN), "white")
    pen, large, small = ImageDraw.Draw(picture), ImageFont.load_default(22), ImageFont.load_default(16)
    pen.text((MARGIN, MARGIN - 6), "How much of its target each figure uses up: less is better", INK, large)
    pen.text((MARGIN, MARGIN + 26), title, GRAY, small)
    pen.text((FULL, TOP - 10), "target", GRAY, small, anchor="mb")
    pen.line((FULL, TOP - 6, FULL, picture.height - MARGIN), LINE, 2)
    for place, one in enumerate(shown):
        middle = TOP + ROW * place + ROW // 2
        end = BARS + int((FULL - BARS) * min(one.share, LONGEST))
        pen.text((BARS - 12, middle), one.name, INK, small, anchor="rm")
        pen.rectangle((BARS, middle - 9, max(end, BARS + 2), middle + 9), KEPT if one.share <= 1 else MISSED)
        pen.text((FULL + 80, middle), f"{one.result}, {one.target}", INK, small, anchor="lm")
    return picture
