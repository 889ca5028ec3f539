"""What films and contact sheets take: cross-fades against the ffmpeg command for the same, cuts against copying.

Without ffmpeg on the PATH the comparison with it is left out.
"""

import array
import math
import multiprocessing
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import av
from PIL import Image

from luma_mcp_server.media.films import SOUND_BITS, VIDEO_OPTIONS, write
from luma_mcp_server.media.frames import spread
from luma_mcp_server.media.sheet import LARGEST_SIDE, Row, contact_sheet
from luma_mcp_server.media.shots import SOUND_RATE, Plan, measure_shot

MB = 1024**2
CLIPS, SECONDS, SIZE, FPS = 10, 5, (1280, 720), 24
FADE_S = 0.5


def peak_mb() -> float:
    """The most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (MB if sys.platform == "darwin" else 1024)


def make_clip(path: Path, number: int) -> None:
    """A clip that moves and is not easy to encode, with a tone."""
    rng = random.Random(number)
    small = Image.frombytes("RGB", (96, 54), rng.randbytes(96 * 54 * 3))
    scene = small.resize((SIZE[0] + 240, SIZE[1] + 120), Image.Resampling.BICUBIC)
    grain = Image.effect_noise(scene.size, 60).convert("RGB")
    scene = Image.blend(scene, grain, 0.2)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as file:
        video = file.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "18"})
        (video.width, video.height), video.pix_fmt = SIZE, "yuv420p"
        audio = file.add_stream("aac", rate=SOUND_RATE, layout="stereo")
        for n in range(SECONDS * FPS):
            left, top = n + rng.randrange(100), rng.randrange(100)  # it shakes, so that it takes bits
            picture = scene.crop((left, top, left + SIZE[0], top + SIZE[1]))
            file.mux(video.encode(av.VideoFrame.from_image(picture)))
        file.mux(video.encode())
        for start in range(0, SECONDS * SOUND_RATE, 1024):
            frame = av.AudioFrame("fltp", "stereo", 1024)
            frame.sample_rate, frame.pts = SOUND_RATE, start
            wave = array.array("f", (0.3 * math.sin(0.01 * (number + 3) * (start + n)) for n in range(1024)))
            for plane in frame.planes:
                plane.update(wave.tobytes())
            file.mux(audio.encode(frame))
        file.mux(audio.encode())


def make_clips(paths: list[Path]) -> None:
    for number, path in enumerate(paths):
        make_clip(path, number)


def join(clips: list[Path], out: Path, *, crossfade: bool) -> None:
    plan = Plan(tuple(measure_shot(path, path.name) for path in clips), crossfade)
    assert plan.encodes is crossfade
    write(plan, out, lambda _: None)


def with_ffmpeg(clips: list[Path], out: Path) -> None:
    steps, video, audio = [], "[0:v]", "[0:a]"
    for number in range(1, len(clips)):
        at = number * (SECONDS - FADE_S)
        steps += [f"{video}[{number}:v]xfade=fade:{FADE_S}:{at}[v{number}]"]
        steps += [f"{audio}[{number}:a]acrossfade=d={FADE_S}[a{number}]"]
        video, audio = f"[v{number}]", f"[a{number}]"
    inputs = [word for path in clips for word in ("-i", str(path))]
    coded = ["-c:v", "libx264", *(word for name, value in VIDEO_OPTIONS.items() for word in (f"-{name}", value))]
    coded += ["-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", str(SOUND_BITS), "-movflags", "faststart"]
    maps = ["-filter_complex", ";".join(steps), "-map", video, "-map", audio]
    subprocess.run(["ffmpeg", "-v", "error", "-y", *inputs, *maps, *coded, str(out)], check=True)


def copy(clips: list[Path], out: Path) -> None:
    with out.open("wb") as file:
        for path in clips:
            with path.open("rb") as clip:
                shutil.copyfileobj(clip, file, MB)


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    began = clock()
    work()
    return clock() - began


def compare(name: str, ours: Callable[[], object], other: str, theirs: Callable[[], object], rounds: int = 5) -> None:
    """Print medians of alternating runs, and their ratio."""
    mine, others = [], []
    for _ in range(rounds):
        mine.append(seconds(ours))
        others.append(seconds(theirs))
    print(f"{name:44}{median(mine):11.3f} s")
    print(f"{other:44}{median(others):11.3f} s{median(mine) / median(others):11.2f} times as long")


def sheet(clips: list[Path]) -> None:
    side = LARGEST_SIDE // (3 if len(clips) == 1 else 9)
    rows = [(path.name, spread(path, path.name, 9, side)) for path in clips]
    contact_sheet([Row(name, [(picture, "") for picture, _ in found]) for name, found in rows])


def main(folder: Path) -> None:
    clips = [folder / f"{number}.mp4" for number in range(CLIPS)]
    maker = multiprocessing.get_context("spawn").Process(target=make_clips, args=(clips,))
    maker.start()  # apart, so that its memory does not count
    maker.join()
    film, theirs = folder / "film.mp4", folder / "theirs.mp4"
    before = peak_mb()
    join(clips, film, crossfade=True)
    print(f"{'memory that ten cross-faded clips take':44}{peak_mb() - before:11.0f} MB (target: below 300)")
    if shutil.which("ffmpeg"):
        name = f"{CLIPS} clips of {SECONDS} s in 720p, cross-faded"
        compare(name, lambda: join(clips, film, crossfade=True), "ffmpeg", lambda: with_ffmpeg(clips, theirs), 3)
        print("target: at most 1.3 times as long")
    else:
        print("ffmpeg is not on the PATH: not compared with it")
    plan = Plan(tuple(measure_shot(path, path.name) for path in clips))
    size = sum(path.stat().st_size for path in clips) / MB
    name = f"{size:.0f} MB joined by cuts"
    compare(name, lambda: write(plan, film, lambda _: None), "copied to one file", lambda: copy(clips, theirs))
    for count, target in ((1, 1), (9, 4)):
        chosen = clips[:count]
        took = min(seconds(partial(sheet, chosen), time.process_time) for _ in range(3))
        print(f"{f'nine frames of each of {count}':44}{took:11.2f} s of CPU (target: below {target})")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
