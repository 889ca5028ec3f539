"""The figures as one picture: how much of its target each uses up."""

from collections.abc import Sequence
from math import ceil, isnan

from PIL import Image, ImageDraw, ImageFont

from .harness import Figure

MARGIN, GAP, ROW, TOP = 32, 24, 46, 132
TARGET, MOST = 340, 1.3  # how long the bar of a target is that is just met, and the largest share that is drawn
INK, GRAY, LINE, KEPT, MISSED = "#1f2430", "#667085", "#d0d5dd", "#5546c8", "#d9480f"
LARGE, MEDIUM, SMALL = (ImageFont.load_default(size) for size in (22, 16, 13))
HEADING = "How much of its target each figure uses up: less is better"
LEGEND = (("target met", KEPT), ("target missed", MISSED))
SWATCH = 22  # a square of its color, and the space behind it


def draw(figures: Sequence[Figure], title: str) -> Image.Image:
    """A bar for each figure that has a target. The columns are as wide as their texts."""
    shown = [one for one in figures if not isnan(one.share)]
    legend = sum(SWATCH + _width(MEDIUM, words) + GAP for words, _ in LEGEND)
    names = max(_width(MEDIUM, *(one.name for one in shown)), _width(SMALL, *(one.note for one in shown)), legend)
    bars = MARGIN + names + GAP
    measured = bars + round(TARGET * MOST) + GAP
    targets = measured + _width(MEDIUM, "measured", *(one.result for one in shown)) + GAP
    right = targets + _width(MEDIUM, "target", *(one.target for one in shown))
    width = MARGIN + max(right, MARGIN + _width(LARGE, HEADING), MARGIN + _width(MEDIUM, title))
    picture = Image.new("RGB", (width, TOP + ROW * len(shown) + MARGIN), "white")
    pen = ImageDraw.Draw(picture)

    pen.text((MARGIN, MARGIN - 6), HEADING, INK, LARGE)
    pen.text((MARGIN, MARGIN + 26), title, GRAY, MEDIUM)
    heads, left = TOP - 14, MARGIN
    for words, color in LEGEND:
        pen.rectangle((left, heads - 12, left + 13, heads + 1), color)
        pen.text((left + SWATCH, heads), words, INK, MEDIUM, anchor="ls")
        left += SWATCH + _width(MEDIUM, words) + GAP
    pen.text((bars + TARGET, heads), "target", GRAY, MEDIUM, anchor="ms")
    pen.text((measured, heads), "measured", GRAY, MEDIUM, anchor="ls")
    pen.text((targets, heads), "target", GRAY, MEDIUM, anchor="ls")
    pen.line((bars + TARGET, TOP - 6, bars + TARGET, picture.height - MARGIN), LINE, 2)

    for place, one in enumerate(shown):
        middle, missed = TOP + ROW * place + ROW // 2, one.share > 1
        end = bars + max(2, round(TARGET * min(one.share, MOST)))
        pen.text((MARGIN, middle - (9 if one.note else 0)), one.name, INK, MEDIUM, anchor="lm")
        pen.text((MARGIN, middle + 10), one.note, GRAY, SMALL, anchor="lm")
        pen.rectangle((bars, middle - 10, end, middle + 10), MISSED if missed else KEPT)
        if one.share > MOST:  # a gap near its end says that the bar would go on
            pen.line((end - 14, middle + 11, end - 8, middle - 11), "white", 5)
        pen.text((measured, middle), one.result, MISSED if missed else INK, MEDIUM, anchor="lm")
        pen.text((targets, middle), one.target, GRAY, MEDIUM, anchor="lm")
    return picture


def _width(font: ImageFont.FreeTypeFont | ImageFont.ImageFont, *texts: str) -> int:
    """That of the longest text."""
    return ceil(max((font.getlength(text) for text in texts), default=0))
