"""What the sandbox's generations look like: hills at dusk in colors taken from the prompt, and the prompt itself.

Drawing needs the `media` extra (av and Pillow), imported with the first picture. Without it one bundled picture of each
kind stands for all.
"""

import array
import dataclasses
import functools
import hashlib
import importlib.util
import io
import math
import struct
import tempfile
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from PIL import Image

FPS = 24
SOUND_RATE = 48_000

# The same for every ratio, like Luma's sizes for reframing. Larger clips are drawn at 720p, to save time.
PIXELS = {"360p": 640 * 360, "540p": 960 * 540, "720p": 1280 * 720, "still": 1024 * 1024, "2k": 2048 * 2048}

# A set of three or four layers, front to back: label, description, edges
CAPTION = ("caption", "White letters: the prompt, the word SANDBOX and the ratio", "soft")
SKY = ("sky", "An evening sky above a bright horizon", "none")
LAYERS = {
    3: [CAPTION, ("hills", "Three ranges of hills", "hard"), SKY],
    4: [
        CAPTION,
        ("near hills", "Two dark ranges of hills", "hard"),
        ("far hills", "A pale range of hills", "hard"),
        SKY,
    ],
}
# From the front: which of the three ranges of hills are in each layer
RANGES = {3: [range(3)], 4: [range(1, 3), range(1)]}

# Frames on either side of an anchor that show its keyframe
NEAR = 3


@dataclasses.dataclass(frozen=True)
class Picture:
    """What to draw. A still lasts 0 seconds."""

    prompt: str
    aspect_ratio: str = "16:9"
    resolution: str = "720p"
    seconds: float = 0.0
    audio: bool = False
    format: Literal["jpg", "png"] = "jpg"
    gray: bool = False
    notes: str = ""
    layers: int = 0
    exr: bool = False
    version: int = 0  # of the same prompt: no two jobs of Luma's look alike
    place: tuple[float, float, float, float] | None = None  # left, top, width and height as shares, of an outline
    keyframes: tuple[tuple[int, "Picture | None"], ...] = ()  # frame numbers, and what is known of the pictures

    @property
    def size(self) -> tuple[int, int]:
        """In pixels, both even, as H.264 requires."""
        kind = self.resolution if self.seconds or self.resolution == "2k" else "still"
        pixels = PIXELS.get(kind, PIXELS["720p"])
        across, down = map(int, self.aspect_ratio.split(":"))
        return round(math.sqrt(pixels * across / down) / 2) * 2, round(math.sqrt(pixels * down / across) / 2) * 2


def can_draw() -> bool:
    """Whether the `media` extra is installed."""
    return all(importlib.util.find_spec(name) for name in ("av", "PIL"))


def bundled(name: str) -> bytes:
    """The file for an installation that cannot draw."""
    return (Path(__file__).parent / "assets" / f"sandbox.{name.rpartition('.')[2]}").read_bytes()


def bundled_bounds() -> dict[str, int]:
    width, height = struct.unpack(">II", bundled("layer.png")[16:24])
    return _bounds((width, height), (0, 0, width, height))


def _bounds(canvas: tuple[int, int], box: tuple[int, int, int, int]) -> dict[str, int]:
    left, top, right, bottom = box
    place = {"x": left, "y": top, "width": right - left, "height": bottom - top}
    return {"canvas_width": canvas[0], "canvas_height": canvas[1], **place}


def layer_count(prompt: str) -> int:
    return 3 + len(prompt) % 2


@functools.lru_cache(maxsize=64)
def draw(picture: Picture, name: str) -> bytes:
    """The file of that name: MP4, JPEG, PNG or EXR by its ending. The EXR is always the bundled one."""
    if name.endswith(".exr"):
        return bundled(name)
    if picture.layers:
        return layers(picture)[int(name.removeprefix("layer-").removesuffix(".png"))][0]
    scene = paint(picture)
    if name.endswith(".mp4"):
        # A file, because moving the index to the front means reading the clip again.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "clip.mp4")
            _encode(path, scene, picture)
            return path.read_bytes()
    if picture.seconds:
        scene.thumbnail((640, 640))
    data = io.BytesIO()
    scene.save(data, "PNG" if name.endswith(".png") else "JPEG", quality=90)
    return data.getvalue()


@functools.lru_cache(maxsize=8)
def layers(picture: Picture) -> list[tuple[bytes, dict[str, int]]]:
    """The parts of the scene front to back, each cropped to what is visible of it: a PNG and its bounds."""
    from PIL import Image, ImageDraw

    parts = [Image.new("RGBA", picture.size) for _ in range(picture.layers - 1)]
    _write(ImageDraw.Draw(parts[0]), picture)
    for part, ranges in zip(parts[1:], RANGES[picture.layers], strict=True):
        _raise_hills(ImageDraw.Draw(part), picture, ranges)
    made = []
    for part in (*parts, _sky(picture).convert("RGBA")):
        box = part.getchannel("A").getbbox()
        assert box
        data = io.BytesIO()
        part.crop(box).save(data, "PNG", compress_level=1)
        made.append((data.getvalue(), _bounds(picture.size, box)))
    return made


def paint(picture: Picture) -> "Image.Image":
    """Three ranges of hills under an evening sky, with the prompt at the bottom."""
    from PIL import ImageDraw

    scene = _sky(picture)
    pen = ImageDraw.Draw(scene)
    _raise_hills(pen, picture, range(3))
    if picture.place:
        left, top, across, down = picture.place
        corners = (left, top, left + across, top + down)
        outline = [share * side for share, side in zip(corners, scene.size * 2, strict=True)]
        pen.rectangle(outline, outline="white", width=min(scene.size) // 120)
    _write(pen, picture)
    return scene


def _look(picture: Picture) -> tuple[int, bytes]:
    """The scene's hue, from teal over violet to orange, and what else is left to chance."""
    digest = hashlib.sha256((picture.prompt + "+" * picture.version).encode()).digest()
    return round(160 + digest[0] * 0.75), digest


def _color(picture: Picture, hue: int, saturation: int, value: int) -> str:
    return f"hsv({hue},{0 if picture.gray else saturation}%,{value}%)"


def _sky(picture: Picture) -> "Image.Image":
    from PIL import Image, ImageOps

    width, height = picture.size
    hue, _ = _look(picture)
    fade = Image.linear_gradient("L").resize((width, height * 5 // 8), Image.Resampling.BICUBIC)
    top, bottom, middle = (
        _color(picture, hue + turn, *look) for turn, *look in ((0, 65, 40), (40, 45, 98), (20, 55, 65))
    )
    scene = Image.new("RGB", picture.size)
    scene.paste(ImageOps.colorize(fade, top, bottom, mid=middle))
    return scene


def _raise_hills(pen: Any, picture: Picture, ranges: Iterable[int]) -> None:
    width, height = picture.size
    hue, digest = _look(picture)
    for number in ranges:
        crest = []
        for x in range(0, width + 4, 4):
            waves = (math.sin(math.tau * often * x / width + digest[4 * number + often]) / often for often in (1, 2, 3))
            crest.append((x, height * (0.52 + 0.08 * number - 0.05 * sum(waves))))
        color = _color(picture, hue - 11 * number, 50 + 10 * number, (55, 33, 15)[number])
        pen.polygon([*crest, (width, height), (0, height)], color)


def _write(pen: Any, picture: Picture) -> None:
    from PIL import ImageFont

    width, height = picture.size
    unit = min(width, height)
    margin = unit * 0.06
    small, large = (ImageFont.load_default(max(9, unit * share)) for share in (0.034, 0.056))
    label = f"{picture.aspect_ratio}   {picture.resolution}   {picture.seconds:g} s"
    pen.text((width - margin, margin), label if picture.seconds else picture.aspect_ratio, "white", small, anchor="rt")
    pen.text((width - margin, margin * 1.9), picture.notes, "white", small, anchor="rt")
    left, top, right, bottom = pen.textbbox((margin * 1.3, margin), "SANDBOX", small, anchor="lt")
    pad = margin * 0.3
    pen.rounded_rectangle((left - pad, top - pad, right + pad, bottom + pad), pad, outline="white", width=unit // 300)
    pen.text((left, top), "SANDBOX", "white", small, anchor="lt")
    start = picture.prompt[:200] or " "
    letters = int(0.94 * (width - 2 * margin) * len(start) / large.getlength(start))
    text = textwrap.fill(picture.prompt, max(8, letters), max_lines=4, placeholder=" ...")
    # Above what players lay over the bottom of a clip.
    pen.multiline_text((margin, height * 0.82), text, "white", large, anchor="ld", spacing=unit * 0.017)


def _frames(picture: Picture, scene: "Image.Image") -> "Iterator[Image.Image]":
    """The scene with the sun crossing its sky, and near each anchor its keyframe.

    Below them a progress bar grows, with a tick for each anchor.
    """
    width, height = scene.size
    count, shown, frame = round(picture.seconds * FPS), None, scene
    anchors = [index for index, _ in picture.keyframes]
    sun = _sun(min(scene.size) // 8)
    for number in range(count):
        nearest = min(range(len(anchors)), key=lambda place: abs(anchors[place] - number), default=None)
        near = nearest if nearest is not None and abs(anchors[nearest] - number) <= NEAR else None
        if near != shown or not number:
            shown, frame = near, scene if near is None else _keyframe(picture, near)
            for anchor in anchors:
                tick = min(round(width * anchor / count), width - 4)
                frame.paste("white", (tick, height - height // 36, tick + 4, height))
        frame.paste("white", (0, height - height // 180, round(width * number / count), height))
        left, top = round((width - sun.width) * (0.1 + 0.8 * number / count)), round(height * 0.18)
        behind = frame.crop((left, top, left + sun.width, top + sun.height))
        frame.paste("white", (left, top), sun)
        yield frame
        frame.paste(behind, (left, top))


def _sun(size: int) -> "Image.Image":
    """A disk, as a mask."""
    from PIL import Image, ImageDraw

    disk = Image.new("L", (4 * size, 4 * size))
    ImageDraw.Draw(disk).ellipse((0, 0, 4 * size - 1, 4 * size - 1), 230)
    return disk.resize((size, size))


def _keyframe(picture: Picture, place: int) -> "Image.Image":
    """What is known of the picture, or the same scene in another hue."""
    from PIL import ImageOps

    own = picture.keyframes[place][1]
    if own:
        return ImageOps.pad(paint(own), picture.size)
    return paint(dataclasses.replace(picture, prompt=f"keyframe {place + 1}"))


def _encode(path: Path, scene: "Image.Image", picture: Picture) -> None:
    """H.264 that every player takes, with a low tone where sound is asked for."""
    import av

    av_frame: Any = av.VideoFrame  # its methods have no types
    with av.open(path, "w", options={"movflags": "faststart"}) as container:
        video: Any = container.add_stream("libx264", rate=FPS)
        video.width, video.height = scene.size
        video.pix_fmt = "yuv420p"
        video.options = {"preset": "ultrafast", "crf": "25"}
        sound: Any = container.add_stream("aac", rate=SOUND_RATE, layout="mono") if picture.audio else None
        for frame in _frames(picture, scene):
            container.mux(video.encode(av_frame.from_image(frame)))
        container.mux(video.encode())
        if sound:
            for start in range(0, round(picture.seconds * SOUND_RATE), 1024):
                tone = (0.1 * math.sin(math.tau * 220 * (start + step) / SOUND_RATE) for step in range(1024))
                piece = av.AudioFrame("fltp", "mono", 1024)
                piece.planes[0].update(array.array("f", tone).tobytes())
                piece.sample_rate, piece.pts = SOUND_RATE, start
                container.mux(sound.encode(piece))
            container.mux(sound.encode())
