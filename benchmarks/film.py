"""What films and contact sheets take: cross-fades against the ffmpeg command for the same, cuts against copying."""

import array
import math
import multiprocessing
import random
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import av
from PIL import Image

from luma_mcp_server.media.films import SOUND_BITS, VIDEO_OPTIONS, write
from luma_mcp_server.media.frames import spread
from luma_mcp_server.media.sheet import LARGEST_SIDE, Row, contact_sheet
from luma_mcp_server.media.shots import SOUND_RATE, Plan, measure_shot

from .harness import Figure, elapsed_ms, medians, peak_mb, table

MB = 1024**2
CLIPS, SECONDS, SIZE, FPS = 10, 5, (1280, 720), 24
FADE_S = 0.5
RUNS = 3


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


def sheet(clips: list[Path]) -> None:
    side = LARGEST_SIDE // (3 if len(clips) == 1 else 9)
    rows = [(path.name, spread(path, path.name, 9, side)) for path in clips]
    contact_sheet([Row(name, [(picture, "") for picture, _ in found]) for name, found in rows])


def crossfaded(clips: list[Path], folder: Path) -> list[Figure]:
    name, film = f"a film of {CLIPS} clips of {SECONDS} s, cross-faded", folder / "film.mp4"
    before = peak_mb()
    join(clips, film, crossfade=True)
    memory = Figure(f"memory of {name}", peak_mb() - before, "MB", at_most=300, note="720p")
    if not shutil.which("ffmpeg"):
        return [memory, Figure(f"{name}, to ffmpeg", note="ffmpeg is missing")]
    ours, theirs = medians(
        RUNS,
        lambda: elapsed_ms(lambda: join(clips, film, crossfade=True)),
        lambda: elapsed_ms(lambda: with_ffmpeg(clips, folder / "theirs.mp4")),
    )
    note = f"{ours / 1000:.1f} s, ffmpeg {theirs / 1000:.1f} s; {RUNS} alternating runs"
    return [memory, Figure(f"{name}, to ffmpeg", ours / theirs, at_most=1.3, note=note)]


def cut(clips: list[Path], folder: Path) -> Figure:
    plan = Plan(tuple(measure_shot(path, path.name) for path in clips))
    ours, copying = medians(
        RUNS,
        lambda: elapsed_ms(lambda: write(plan, folder / "film.mp4", lambda _: None)),
        lambda: elapsed_ms(lambda: copy(clips, folder / "copy.mp4")),
    )
    size = sum(path.stat().st_size for path in clips) / MB
    note = f"nothing is encoded; {size:.0f} MB, copied in {copying / 1000:.2f} s; {RUNS} alternating runs"
    return Figure("the same joined by cuts", ours / 1000, "s", note=note)


def sheets(clips: list[Path]) -> list[Figure]:
    one, nine = medians(
        RUNS,
        lambda: elapsed_ms(lambda: sheet(clips[:1]), time.process_time),
        lambda: elapsed_ms(lambda: sheet(clips[:9]), time.process_time),
    )
    return [
        Figure("contact sheet of a clip", one / 1000, "s", at_most=1, note="CPU; nine frames"),
        Figure("contact sheet of nine clips", nine / 1000, "s", at_most=4, note="CPU; nine frames of each"),
    ]


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = [folder / f"{number}.mp4" for number in range(CLIPS)]
        maker = multiprocessing.get_context("spawn").Process(target=make_clips, args=(clips,))
        maker.start()  # apart, so that its memory does not count
        maker.join()
        return [*crossfaded(clips, folder), cut(clips, folder), *sheets(clips)]


if __name__ == "__main__":
    print(table(measure()))
