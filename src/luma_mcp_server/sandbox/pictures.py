"""What the sandbox's generations look like: a landscape in colours taken from the prompt, and the prompt itself.

Drawing needs the `media` extra (av and Pillow), which is imported when the first picture is drawn. Without it one
bundled picture of each kind stands for all.
"""

import colorsys
import contextlib
import dataclasses
import hashlib
import importlib.util
import io
import math
import tempfile
import textwrap
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from PIL import Image

MEDIA_TYPES = {"mp4": "video/mp4", "jpg": "image/jpeg", "png": "image/png"}
Colour = tuple[int, int, int]
FPS = 24
SOUND_RATE = 48_000

SYSTEM_FONTS = ("NotoSansCJK-Regular.ttc", "YuGothM.ttc", "Hiragino Sans GB.ttc", "Arial Unicode.ttf", "DejaVuSans.ttf")

# As many pixels for every ratio, like the sizes that Luma publishes for reframing. Above 720p nothing is gained but
# waiting, so bigger clips are drawn at 720p.
PIXELS = {"360p": 640 * 360, "540p": 960 * 540, "720p": 1280 * 720, "still": 1024 * 1024}


@dataclasses.dataclass(frozen=True)
class Picture:
    """What to draw. A still lasts no seconds."""

    prompt: str
    aspect_ratio: str = "16:9"
    resolution: str = "720p"
    seconds: float = 0.0
    audio: bool = False
    format: Literal["jpg", "png"] = "jpg"

    @property
    def size(self) -> tuple[int, int]:
        """In pixels, both even, because H.264 asks for it."""
        pixels = PIXELS.get(self.resolution, PIXELS["720p"]) if self.seconds else PIXELS["still"]
        across, down = map(int, self.aspect_ratio.split(":"))
        return round(math.sqrt(pixels * across / down) / 2) * 2, round(math.sqrt(pixels * down / across) / 2) * 2


def can_draw() -> bool:
    """Whether the `media` extra is installed."""
    return all(importlib.util.find_spec(name) for name in ("av", "PIL"))


def bundled(name: str) -> bytes:
    """The picture for an installation that cannot draw."""
    return (Path(__file__).parent / "assets" / f"sandbox.{name.rpartition('.')[2]}").read_bytes()


def draw(picture: Picture, name: str) -> bytes:
    """The file of that name: MP4, JPEG or PNG by its ending."""
    label = f"{picture.aspect_ratio}   {picture.resolution}   {picture.seconds:g} s" if picture.seconds else ""
    scene = Scene(picture.size, picture.prompt, label or picture.aspect_ratio)
    if name.endswith(".mp4"):
        return encode(scene, picture.seconds, picture.audio)
    still = scene.at(0.4, 0.4 * picture.seconds, progress=bool(picture.seconds))
    if picture.seconds:
        still.thumbnail((640, 640))
    data = io.BytesIO()
    still.save(data, "PNG" if name.endswith(".png") else "JPEG", quality=90)
    return data.getvalue()


def encode(scene: "Scene", seconds: float, audio: bool = False, **options: str) -> bytes:
    """H.264 that every player takes, with a quiet tone if there is to be sound."""
    # A file, because moving the index to the front means reading the clip again.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clip.mp4")
        _encode(path, scene, seconds, audio, {"preset": "ultrafast", "crf": "25"} | options)
        return path.read_bytes()


def _encode(path: Path, scene: "Scene", seconds: float, audio: bool, options: dict[str, str]) -> None:
    import av

    av_frame: Any = av.VideoFrame  # its methods have no types
    with av.open(path, "w", options={"movflags": "faststart"}) as container:
        video: Any = container.add_stream("libx264", rate=FPS)
        video.width, video.height = scene.size
        video.pix_fmt = "yuv420p"
        video.options = options
        sound: Any = container.add_stream("aac", rate=SOUND_RATE, layout="mono") if audio else None
        count = round(seconds * FPS)
        for number in range(count):
            frame = av_frame.from_image(scene.at(number / count, number / FPS))
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if sound:
            for start in range(0, round(seconds * SOUND_RATE), 1024):
                container.mux(sound.encode(_tone(start)))
            container.mux(sound.encode())


def _tone(start: int) -> Any:
    import av

    wave = array("f", (0.04 * math.sin(math.tau * 220 * n / SOUND_RATE) for n in range(start, start + 1024)))
    frame = av.AudioFrame("fltp", "mono", 1024)
    frame.planes[0].update(wave.tobytes())
    frame.sample_rate, frame.pts = SOUND_RATE, start
    return frame


class Scene:
    """A sun that wanders over three ranges of hills; everything that stands still is drawn once."""

    def __init__(self, size: tuple[int, int], prompt: str, label: str) -> None:
        from PIL import Image

        self.size = width, height = size
        digest = hashlib.sha256(prompt.encode()).digest()
        hue, shift = 0.45 + digest[0] / 255 * 0.53, 0.05 + digest[1] / 255 * 0.05  # from teal over violet to orange
        sky = Image.new("RGB", (1, 3))
        for row, (saturation, value) in enumerate([(0.65, 0.42), (0.55, 0.75), (0.45, 0.98)]):
            sky.putpixel((0, row), _colour(hue + shift * row, saturation, value))
        self._sky = sky.resize((width, height), Image.Resampling.BICUBIC, box=(0, 0.4, 1, 2.4))
        across = round(min(width, height) * 0.8)
        glow = Image.radial_gradient("L").point([round(255 * max(0.0, 1 - level / 181) ** 2.2) for level in range(256)])
        self._glow = glow.resize((across, across), Image.Resampling.BICUBIC)
        self._sun = Image.new("RGB", (across, across), _colour(0.12, 0.2, 1.0))
        self._hills = [self._range(number, hue, digest) for number in range(3)]
        page = self._written(prompt, label)
        self._words = []
        for top, bottom in ((0, height // 3), (height // 3, height)):  # in two parts, because pasting costs by area
            part = page.crop((0, top, width, bottom))
            if box := part.getbbox():
                self._words.append(((box[0], top + box[1]), part.crop(box)))

    def at(self, part: float, seconds: float, progress: bool = True) -> "Image.Image":
        """The picture when that part of the clip has passed; the hills move by the second."""
        width, height = self.size
        frame = self._sky.copy()
        across = self._glow.width
        x = round(width * (0.12 + 0.76 * part) - across / 2)
        y = round(height * (0.36 - 0.14 * math.sin(math.pi * part)) - across / 2)
        frame.paste(self._sun, (x, y), self._glow)
        for number, (top, colour, crest) in enumerate(self._hills):
            left = round(seconds * width * 0.02 * (number + 1) ** 1.5) % width
            frame.paste(colour, (0, top), crest.crop((left, 0, left + width, crest.height)))
            below = top + crest.height
            frame.paste(colour, (0, below, width, height if number == 2 else min(height, below + height // 6)))
        for corner, words in self._words:
            frame.paste("white", corner, words)
        if progress:
            frame.paste("white", (0, height - max(2, height // 180), round(width * part), height))
        return frame

    def _range(self, number: int, hue: float, digest: bytes) -> tuple[int, Colour, "Image.Image"]:
        """One range of hills: where it begins, its colour, and its crest, two screens wide so that it never ends."""
        from PIL import Image, ImageDraw

        width, height = self.size
        tall = round(height * 0.2)
        crest = Image.new("L", (2 * width, tall))
        phases = [byte / 255 * math.tau for byte in digest[4 + 4 * number : 8 + 4 * number]]
        waves = [(1 + number % 2, 0.22), (3, 0.15), (5 + number, 0.08), (11, 0.025)]
        line = []
        for x in range(0, 2 * width + 4, 4):
            turns = [
                math.sin(math.tau * often * x / width + phase) for (often, _), phase in zip(waves, phases, strict=True)
            ]
            line.append((x, tall * (0.5 - sum(size * turn for (_, size), turn in zip(waves, turns, strict=True)))))
        ImageDraw.Draw(crest).polygon([*line, (2 * width, tall), (0, tall)], fill=255)
        colour = _colour(hue - 0.03 * number, 0.5 + 0.1 * number, (0.55, 0.33, 0.15)[number])
        return round(height * (0.42 + 0.08 * number)), colour, crest

    def _written(self, prompt: str, label: str) -> "Image.Image":
        from PIL import Image, ImageDraw

        width, height = self.size
        unit = min(width, height)
        margin = round(unit * 0.06)
        page = Image.new("L", self.size)
        pen = ImageDraw.Draw(page)
        small = _font(unit * 0.034)
        mark = pen.textbbox((margin + unit * 0.02, margin + unit * 0.012), "SANDBOX", small)
        pad = unit * 0.018
        pen.rounded_rectangle(
            (mark[0] - pad, mark[1] - pad, mark[2] + pad, mark[3] + pad),
            unit * 0.02,
            outline=230,
            width=max(1, unit // 300),
        )
        pen.text((margin + unit * 0.02, margin + unit * 0.012), "SANDBOX", 230, small)
        pen.text((width - margin, margin + unit * 0.012), label, 200, small, anchor="ra")
        for scale in (0.068, 0.056, 0.046, 0.038):
            font = _font(unit * scale, prompt)
            lines = _wrapped(prompt, font, width - 2 * margin)
            if len(lines) * unit * scale * 1.3 < height * 0.27:
                break
        room = int(height * 0.27 / (unit * scale * 1.3))
        if len(lines) > room:
            lines = [*lines[: room - 1], lines[room - 1].rstrip() + " ..."]
        pen.multiline_text(
            (margin, height - margin), "\n".join(lines), 255, font, anchor="ld", spacing=unit * scale * 0.3
        )
        return page


def _colour(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _font(size: float, text: str = "") -> Any:
    """Pillow's own font knows Latin letters only; for others one of the system's is looked for."""
    from PIL import ImageFont

    if any(ord(letter) > 0x24F for letter in text):
        for name in SYSTEM_FONTS:
            with contextlib.suppress(OSError):
                return ImageFont.truetype(name, max(9, round(size)))
    return ImageFont.load_default(max(9, round(size)))


def _wrapped(text: str, font: Any, width: float) -> list[str]:
    start = text[:200] or " "
    return textwrap.wrap(text, max(8, int(0.94 * width * len(start) / font.getlength(start))))
