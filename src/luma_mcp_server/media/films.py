"""Films: clips joined into one MP4, in order. Needs the `media` extra (av)."""

import math
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.abc import TaskGroup

from ..errors import LumaServerError
from .frames import opened
from .saved import free_name, unfinished
from .shots import SOUND_RATE, Plan, Shot, Sound, opened_sound

VIDEO_OPTIONS = {"preset": "veryfast", "crf": "18"}
"""No loss that one sees, at several times the speed of playing; the file is larger than it need be."""

SOUND_BITS = 192_000

_END_FADE_S = 1.0
_KEPT_S = 600.0
_ROTATIONS = {90: ["transpose=cclock"], -90: ["transpose=clock"], 180: ["hflip", "vflip"], -180: ["hflip", "vflip"]}


@dataclass
class Job:
    """A film that is being made, or was.

    Attributes:
        done_s: how many of its seconds are made.
        waiting: how many calls wait for it.
        ended: set when there is a `path` or an `error`.
    """

    plan: Plan
    done_s: float = 0.0
    waiting: int = 0
    path: Path | None = None
    error: Exception | None = None
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    ended: anyio.Event = field(default_factory=anyio.Event)
    ended_at: float = math.inf

    def progress(self) -> tuple[float, float]:
        """How many seconds are made, and of how many."""
        return self.done_s, float(self.plan.seconds)

    def describe(self) -> str:
        """The same in words."""
        return "joining: {:.0f} of {:.0f} s of film".format(*self.progress())

    def tell(self, seconds: float) -> None:
        """Say from the worker thread how far it is; this ends the work once the job is cancelled."""
        self.done_s = seconds
        anyio.from_thread.check_cancelled()


class Films:
    """The films that one server makes. One goes on when its call is over; the end of `tasks` ends it."""

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        # By what was asked for, until a call has the result.
        self._jobs: dict[Hashable, Job] = {}

    def find(self, wanted: Hashable) -> Job | None:
        """The film that the same call asked for before, if no call has its result yet: of the last ten minutes."""
        job = self._jobs.get(wanted)
        if job and anyio.current_time() - job.ended_at > _KEPT_S:
            del self._jobs[wanted]
            return None
        return job

    def start(self, wanted: Hashable, plan: Plan, path: Path) -> Job:
        """Begin a film at a path without its ending; another film or file there stays."""
        if wanted not in self._jobs:
            self._jobs[wanted] = Job(plan)
            self._tasks.start_soon(self._make, self._jobs[wanted], path)
        return self._jobs[wanted]

    async def wait(self, wanted: Hashable, job: Job, *, until: float) -> None:
        """Wait for a film up to a point of the loop's clock. The last call that is cancelled here cancels the film.

        Raises what has kept it from being made.
        """
        job.waiting += 1
        try:
            with anyio.CancelScope(deadline=until):
                await job.ended.wait()
        except anyio.get_cancelled_exc_class():
            if job.waiting == 1:
                job.scope.cancel()
                self._jobs.pop(wanted, None)
            raise
        finally:
            job.waiting -= 1
        if job.ended.is_set():
            self._jobs.pop(wanted, None)
        if job.error:
            raise job.error

    async def _make(self, job: Job, path: Path) -> None:
        try:
            with job.scope:
                await anyio.Path(path.parent).mkdir(parents=True, exist_ok=True)
                with unfinished(path) as part:
                    await anyio.to_thread.run_sync(write, job.plan, part, job.tell)
                    # Nothing is awaited from here on, so that no other film takes the name.
                    job.path = part.rename(free_name(path, "mp4"))
        except OSError as error:
            job.error = LumaServerError(
                f"The film could not be written to {path.parent} ({error.strerror or type(error).__name__}). Nothing "
                "is left of it. Free up space or change the folder (LUMA_MCP_OUTPUT_DIR), then call again."
            )
        except Exception as error:  # noqa: BLE001 - passed on to the calls that wait, which raise it
            job.error = error
        job.ended_at = anyio.current_time()
        job.ended.set()


def write(plan: Plan, part: Path, tell: Callable[[float], None]) -> None:
    """Write a film. It blocks: call it in a worker thread.

    Args:
        plan: what it is made of.
        part: the file, whatever its ending.
        tell: called for every frame with the seconds of film that are made; what it raises ends the work.
    """
    import av

    with av.open(str(part), "w", format="mp4", options={"movflags": "faststart"}) as film:
        if plan.encodes:
            _encode(plan, film, tell)
        else:
            _copy(plan, film, tell)


def _copy(plan: Plan, film: Any, tell: Callable[[float], None]) -> None:
    """Join clips that are alike, packet by packet."""
    streams: dict[str, Any] = {}
    start = Fraction(0)
    for shot in plan.shots:
        end = Fraction(0)
        with opened(shot.path, shot.shown) as container:
            wanted = [container.streams.video[0], *container.streams.audio[:1]]
            for one in wanted:
                if one.type not in streams:
                    streams[one.type] = film.add_stream_from_template(one)
            for packet in container.demux(wanted):
                if packet.dts is None:  # the end of a stream
                    continue
                at = packet.pts * packet.time_base
                # An encoder puts a little around the sound, which would fall into the next clip.
                if packet.stream.type == "audio" and not 0 <= at < shot.seconds:
                    continue
                if packet.stream.type == "video":
                    end = max(end, at + packet.duration * packet.time_base)
                shift = round(start / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = streams[packet.stream.type]
                film.mux(packet)
                tell(float(start + end))
        shot.check_end(end)
        start += shot.seconds


def _encode(plan: Plan, film: Any, tell: Callable[[float], None]) -> None:
    """Join clips frame by frame."""
    video = film.add_stream("libx264", rate=plan.rate, options=VIDEO_OPTIONS)
    (video.width, video.height), video.pix_fmt = plan.size, "yuv420p"
    for name, value in plan.shots[0].colors.items():
        setattr(video.codec_context, name, value)
    sound = None
    if plan.track or any(shot.sound for shot in plan.shots):
        sound = film.add_stream("aac", rate=SOUND_RATE, layout="stereo", bit_rate=SOUND_BITS)
    sounds, samples = _sounds(plan), 0
    for number, picture in enumerate(_pictures(plan)):
        picture.pts, picture.time_base = number, 1 / plan.rate
        picture.pict_type = 0  # the encoder would repeat the source's choice
        film.mux(video.encode(picture))
        seconds = (number + 1) / plan.rate
        while sound and samples < seconds * SOUND_RATE and (piece := next(sounds, None)):
            piece.pts, piece.time_base = samples, Fraction(1, SOUND_RATE)
            samples += piece.samples
            film.mux(sound.encode(piece))
        tell(float(seconds))
    for stream in filter(None, (video, sound)):
        film.mux(stream.encode(None))


def _pictures(plan: Plan) -> Iterator[Any]:
    """The frames of a film."""
    overlap, ending = plan.overlap, list[Any]()
    for shot, length in zip(plan.shots, plan.lengths, strict=True):
        frames = _fitted(plan, shot, length)
        if ending:
            yield from _faded(plan, ending, islice(frames, overlap))
        yield from islice(frames, length - (2 * overlap if ending else overlap))
        ending = list(frames)
    yield from ending


def _fitted(plan: Plan, shot: Shot, length: int) -> Iterator[Any]:
    """The frames of a clip at the film's size and rate, exactly so many."""
    import av.filter

    # Each clip has a graph of its own, as a graph keeps the memory of all its frames.
    graph, (width, height) = av.filter.Graph(), plan.size
    source = graph.add("buffer", **shot.buffer)
    steps = [
        *_ROTATIONS.get(shot.turned, ()),
        f"scale={width}:{height}:force_original_aspect_ratio=decrease:force_divisible_by=2",
        f"pad={width}:{height}:-1:-1",
        "setsar=1",
        "format=yuv420p",
        f"fps={plan.rate}:start_time=0",
        "tpad=stop=-1:stop_mode=clone",
        f"trim=end_frame={length}",
        "buffersink",
    ]
    sink = _chained(graph, source, steps)
    graph.configure()
    yield from _filtered([(source, _clip_frames(shot))], sink)


def _faded(plan: Plan, ending: Iterable[Any], beginning: Iterable[Any]) -> Iterator[Any]:
    """The end of a clip fading into the beginning of the next, frame by frame."""
    import av.filter

    graph, rate, (width, height) = av.filter.Graph(), plan.rate, plan.size
    buffer = {"video_size": f"{width}x{height}", "pix_fmt": "yuv420p", "time_base": str(1 / rate)}
    old, new = (graph.add("buffer", **buffer, frame_rate=str(rate)) for _ in range(2))
    fade = graph.add("xfade", f"transition=fade:duration={plan.overlap / float(rate)}:offset=0")
    old.link_to(fade, 0, 0)
    new.link_to(fade, 0, 1)
    sink = _chained(graph, fade, ["buffersink"])
    graph.configure()
    yield from _filtered([(old, _numbered(ending)), (new, _numbered(beginning))], sink)


def _numbered(frames: Iterable[Any]) -> Iterator[Any]:
    for number, frame in enumerate(frames):
        frame.pts = number
        yield frame


def _sounds(plan: Plan) -> Iterator[Any]:
    """The sound of a film, in pieces."""
    import av.filter

    graph, total = av.filter.Graph(), plan.seconds
    if plan.track:
        sounds: list[Sound | None] = [plan.track]
        lengths, last = [total], [f"afade=out:st={max(0.0, float(total) - _END_FADE_S)}:d={_END_FADE_S}"]
    else:
        sounds, last = [shot.sound for shot in plan.shots], []
        lengths = [length / plan.rate for length in plan.lengths]
    sources, ends = [], []
    for sound, seconds in zip(sounds, lengths, strict=True):
        silence = {"sample_rate": str(SOUND_RATE), "channel_layout": "stereo"}
        sources.append(graph.add("abuffer", **sound.buffer) if sound else graph.add("anullsrc", **silence))
        steps = [
            f"aresample={SOUND_RATE}:async=1:first_pts=0",
            "aformat=fltp:channel_layouts=stereo",
            "apad",
            f"atrim=end_sample={round(seconds * SOUND_RATE)}",
        ]
        ends.append(_chained(graph, sources[-1], [*steps, *last]))
    film = ends[0]
    if plan.crossfade:
        for end in ends[1:]:
            fade = graph.add("acrossfade", f"nb_samples={round(plan.overlap * SOUND_RATE / plan.rate)}")
            film.link_to(fade, 0, 0)
            end.link_to(fade, 0, 1)
            film = fade
    else:
        film = graph.add("concat", f"n={len(ends)}:v=0:a=1")
        for number, end in enumerate(ends):
            end.link_to(film, 0, number)
    sink = _chained(graph, film, ["abuffersink"])
    graph.configure()
    parts = [(source, _sound_frames(sound)) for source, sound in zip(sources, sounds, strict=True) if sound]
    yield from _filtered(parts, sink)


def _chained(graph: Any, node: Any, steps: Iterable[str]) -> Any:
    """The last of filters that follow each other."""
    for step in steps:
        name, _, options = step.partition("=")
        following = graph.add(name, options or None)
        node.link_to(following)
        node = following
    return node


def _filtered(parts: Iterable[tuple[Any, Iterator[Any]]], sink: Any) -> Iterator[Any]:
    """What comes out of a graph when the frames of one part after the other go into it."""
    for source, frames in parts:
        for frame in chain(frames, [None]):
            try:
                source.push(frame)
            except EOFError:  # the part has its full length
                break
            yield from _pulled(sink)
    yield from _pulled(sink)


def _pulled(sink: Any) -> Iterator[Any]:
    try:
        while True:
            yield sink.pull()
    except (BlockingIOError, EOFError):  # more frames must go in first; or none are left
        return


def _clip_frames(shot: Shot) -> Iterator[Any]:
    """The pictures of a clip, which must not break off."""
    import av

    end = Fraction(0)
    with opened(shot.path, shot.shown) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        with suppress(av.FFmpegError):  # what it lacks then, is seen below
            for frame in container.decode(stream):
                end = max(end, (frame.pts + frame.duration) * frame.time_base)
                yield frame
    shot.check_end(end)


def _sound_frames(sound: Sound) -> Iterator[Any]:
    """The sound of a file; what is damaged in it is silent."""
    import av

    with opened_sound(sound.path, sound.shown) as container, suppress(av.FFmpegError):
        for packet in container.demux(audio=0):
            with suppress(av.FFmpegError):
                yield from packet.decode()
