"""What the sandbox's generations look like: hills at dusk in colors taken from the prompt, and the prompt itself.

Drawing needs the `media` extra (av and Pillow), imported with the first picture. Without it one bundled picture of each
kind stands for all.
"""

import dataclasses
import functools
import hashlib
import importlib.util
import io
import math
import tempfile
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from PIL import Image

FPS = 24
SOUND_RATE = 48_000

# The same for every ratio, like Luma's sizes for reframing. Larger clips are drawn at 720p, to save time.
PIXELS = {"360p": 640 * 360, "540p": 960 * 540, "720p": 1280 * 720, "still": 1024 * 1024}


@dataclasses.dataclass(frozen=True)
class Picture:
    """What to draw. A still lasts 0 seconds."""

    prompt: str
    aspect_ratio: str = "16:9"
    resolution: str = "720p"
    seconds: float = 0.0
    audio: bool = False
    format: Literal["jpg", "png"] = "jpg"

    @property
    def size(self) -> tuple[int, int]:
        """In pixels, both even, as H.264 requires."""
        pixels = PIXELS.get(self.resolution, PIXELS["720p"]) if self.seconds else PIXELS["still"]
        across, down = map(int, self.aspect_ratio.split(":"))
        return round(math.sqrt(pixels * across / down) / 2) * 2, round(math.sqrt(pixels * down / across) / 2) * 2


def can_draw() -> bool:
    """Whether the `media` extra is installed."""
    return all(importlib.util.find_spec(name) for name in ("av", "PIL"))


def bundled(name: str) -> bytes:
    """The picture for an installation that cannot draw."""
    return (Path(__file__).parent / "assets" / f"sandbox.{name.rpartition('.')[2]}").read_bytes()


@functools.lru_cache(maxsize=64)
def draw(picture: Picture, name: str) -> bytes:
    """The file of that name: MP4, JPEG or PNG by its ending."""
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


def paint(picture: Picture) -> "Image.Image":
    """Three ranges of hills under an evening sky, with the prompt at the bottom."""
    from PIL import Image, ImageDraw, ImageOps

    width, height = picture.size
    digest = hashlib.sha256(picture.prompt.encode()).digest()
    hue = round(160 + digest[0] * 0.75)  # from teal over violet to orange
    fade = Image.linear_gradient("L").resize((width, height * 5 // 8), Image.Resampling.BICUBIC)
    scene = Image.new("RGB", picture.size)
    scene.paste(ImageOps.colorize(fade, f"hsv({hue},65%,40%)", f"hsv({hue + 40},45%,98%)", f"hsv({hue + 20},55%,65%)"))
    pen = ImageDraw.Draw(scene)
    for number, value in enumerate((55, 33, 15)):
        crest = []
        for x in range(0, width + 4, 4):
            waves = (math.sin(math.tau * often * x / width + digest[4 * number + often]) / often for often in (1, 2, 3))
            crest.append((x, height * (0.52 + 0.08 * number - 0.05 * sum(waves))))
        pen.polygon([*crest, (width, height), (0, height)], f"hsv({hue - 11 * number},{50 + 10 * number}%,{value}%)")
    _write(pen, picture)
    return scene


def _write(pen: Any, picture: Picture) -> None:
    from PIL import ImageFont

    width, height = picture.size
    unit = min(width, height)
    margin = unit * 0.06
    small, large = (ImageFont.load_default(max(9, unit * share)) for share in (0.034, 0.056))
    label = f"{picture.aspect_ratio}   {picture.resolution}   {picture.seconds:g} s"
    pen.text((width - margin, margin), label if picture.seconds else picture.aspect_ratio, "white", small, anchor="rt")
    left, top, right, bottom = pen.textbbox((margin * 1.3, margin), "SANDBOX", small, anchor="lt")
    pad = margin * 0.3
    pen.rounded_rectangle((left - pad, top - pad, right + pad, bottom + pad), pad, outline="white", width=unit // 300)
    pen.text((left, top), "SANDBOX", "white", small, anchor="lt")
    start = picture.prompt[:200] or " "
    letters = int(0.94 * (width - 2 * margin) * len(start) / large.getlength(start))
    text = textwrap.fill(picture.prompt, max(8, letters), max_lines=4, placeholder=" ...")
    pen.multiline_text((margin, height - margin), text, "white", large, anchor="ld", spacing=unit * 0.017)


def _encode(path: Path, scene: "Image.Image", picture: Picture) -> None:
    """H.264 that every player takes, with a growing progress bar, and a silent track where sound is asked for."""
    import av

    av_frame: Any = av.VideoFrame  # its methods have no types
    width, height = scene.size
    with av.open(path, "w", options={"movflags": "faststart"}) as container:
        video: Any = container.add_stream("libx264", rate=FPS)
        video.width, video.height = scene.size
        video.pix_fmt = "yuv420p"
        video.options = {"preset": "ultrafast", "crf": "25"}
        sound: Any = container.add_stream("aac", rate=SOUND_RATE, layout="mono") if picture.audio else None
        count = round(picture.seconds * FPS)
        for number in range(count):
            scene.paste("white", (0, height - height // 180, round(width * number / count), height))
            container.mux(video.encode(av_frame.from_image(scene)))
        container.mux(video.encode())
        if sound:
            for start in range(0, round(picture.seconds * SOUND_RATE), 1024):
                frame = av.AudioFrame("fltp", "mono", 1024)
                frame.planes[0].update(bytes(4 * 1024))
                frame.sample_rate, frame.pts = SOUND_RATE, start
                container.mux(sound.encode(frame))
            container.mux(sound.encode())
