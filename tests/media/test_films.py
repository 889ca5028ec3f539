"""Films: clips joined into one file, looked at and listened to as they come out."""

import math
from array import array
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import av
import pytest
from PIL import Image

from luma_mcp_server.sandbox import AGENTS_SANDBOX_KEY

pytestmark = pytest.mark.anyio

SOUND_RATE = 48_000
RED, GREEN, BLUE = (200, 30, 30), (30, 160, 30), (30, 30, 200)
BLACK = (0, 0, 0)


def sound_of(frequency: float, seconds: float) -> Iterator[av.AudioFrame]:
    for start in range(0, round(seconds * SOUND_RATE), 1024):
        frame = av.AudioFrame("fltp", "stereo", 1024)
        frame.sample_rate, frame.pts = SOUND_RATE, start
        wave = (0.5 * math.sin(math.tau * frequency * (start + n) / SOUND_RATE) for n in range(1024))
        data = array("f", wave).tobytes()
        for plane in frame.planes:
            plane.update(data)
        yield frame


@pytest.fixture
def clip(tmp_path: Path) -> Callable[..., str]:
    """Makes a clip of one color, with a tone if asked for, and gives its path."""

    def made(
        name: str,
        color: tuple[int, int, int] = RED,
        seconds: float = 2,
        size: tuple[int, int] = (320, 180),
        rate: int = 24,
        tone: float | None = None,
        colorspace: int = 2,
    ) -> str:
        path = tmp_path / name
        with av.open(str(path), "w", options={"movflags": "faststart"}) as file:
            video: Any = file.add_stream("libx264", rate=rate, options={"preset": "ultrafast"})
            video.width, video.height = size
            video.codec_context.colorspace = colorspace
            audio: Any = file.add_stream("aac", rate=SOUND_RATE, layout="stereo") if tone else None
            for _ in range(round(seconds * rate)):
                file.mux(video.encode(av.VideoFrame.from_image(Image.new("RGB", size, color))))
            file.mux(video.encode())
            if audio and tone:
                for frame in sound_of(tone, seconds):
                    file.mux(audio.encode(frame))
                file.mux(audio.encode())
        return str(path)

    return made


@pytest.fixture
def track(tmp_path: Path) -> Callable[[float], str]:
    """Makes a sound track of so many seconds, and gives its path."""

    def made(seconds: float) -> str:
        path = tmp_path / "track.wav"
        with av.open(str(path), "w") as file:
            audio: Any = file.add_stream("pcm_s16le", rate=SOUND_RATE, layout="stereo")
            for frame in sound_of(440, seconds):
                file.mux(audio.encode(frame))
        return str(path)

    return made


def pictures(path: str) -> list[Image.Image]:
    with av.open(path) as file:
        return [frame.to_image() for frame in file.decode(video=0)]


def loudness(path: str, start: float, end: float) -> float:
    """The loudest sample between two times, 0 to 1."""
    with av.open(path) as file:
        pieces = (bytes(frame.planes[0])[: 4 * frame.samples] for frame in file.decode(audio=0))
        samples = array("f", b"".join(pieces))
    return max(map(abs, samples[round(start * SOUND_RATE) : round(end * SOUND_RATE)]))


def near(pixel: Any, color: tuple[int, int, int]) -> bool:
    return all(abs(one - other) < 12 for one, other in zip(pixel, color, strict=True))


def between(color: tuple[int, int, int], other: tuple[int, int, int]) -> tuple[int, int, int]:
    first, second, third = ((one + another) // 2 for one, another in zip(color, other, strict=True))
    return first, second, third


def boxes(path: str) -> list[bytes]:
    """The kinds of the boxes that an MP4 consists of, in order."""
    data, found, at = Path(path).read_bytes(), [], 0
    while at < len(data):
        found.append(data[at + 4 : at + 8])
        at += int.from_bytes(data[at : at + 4], "big")
    return found


def packets(path: str) -> list[bytes]:
    with av.open(path) as file:
        return [bytes(packet) for packet in file.demux(video=0) if packet.size]


async def test_generations_are_joined_in_order(agents_desk) -> None:
    agents_desk.world.draw = True
    made = [(await agents_desk.video(prompt))["file_path"] for prompt in ("first", "second")]

    film = await agents_desk.call("join_videos", sources=[Path(path).stem[-36:] for path in made], filename="film.mp4")

    assert film == {
        "file_path": str(agents_desk.folder / "film.mp4"),
        "seconds": 10.0,
        "width": 1280,
        "height": 720,
        "clips": 2,
        "reencoded": False,
        "sandbox": True,
    }
    shown = pictures(film["file_path"])
    assert len(shown) == 240
    for path, start in zip(made, (0, 120), strict=True):
        clip = pictures(path)
        for number in (0, 60, 119):
            assert near(shown[start + number].getpixel((640, 100)), clip[number].getpixel((640, 100)))
            assert shown[start + number].getpixel((640, 718)) == clip[number].getpixel((640, 718))


async def test_a_generation_that_is_not_saved_yet_is_saved_first(open_desk) -> None:
    async with open_desk(LUMA_MCP_SAVE="off") as desk:
        made = await desk.video()
        assert not desk.folder.exists()

        film = await desk.call("join_videos", sources=[made["generation_id"], made["video_url"]])

        assert len(list(desk.folder.glob(f"*-{made['generation_id']}.mp4"))) == 1
        assert Path(film["file_path"]).name.startswith("sandbox-film-2026")


async def test_no_key_is_needed_to_join_files(open_desk, clip) -> None:
    async with open_desk(LUMA_API_KEY=None) as desk:
        film = await desk.call("join_videos", sources=[clip("a.mp4"), clip("b.mp4", GREEN)])

        assert film["seconds"] == 4
        assert desk.wire.sent == []


async def test_other_shapes_are_fitted_with_bars_and_other_rates_resampled(desk, clip) -> None:
    clips = [clip("a.mp4"), clip("tall.mp4", GREEN, size=(180, 320), rate=30), clip("c.mp4", BLUE, size=(640, 360))]

    film = await desk.call("join_videos", sources=clips)

    assert film["warnings"] == ["Black bars fill the frame where the shape is not the first clip's: sources[1]."]
    assert (film["width"], film["height"], film["seconds"], film["reencoded"]) == (320, 180, 6.0, True)
    shown = pictures(film["file_path"])
    assert [picture.size for picture in shown] == [(320, 180)] * 144
    for start, color, edge in ((0, RED, RED), (48, GREEN, BLACK), (96, BLUE, BLUE)):
        for picture in (shown[start], shown[start + 47]):
            assert near(picture.getpixel((160, 90)), color)
            assert near(picture.getpixel((20, 90)), edge)
            assert near(picture.getpixel((300, 90)), edge)


async def test_a_clip_that_a_phone_has_turned_stands_upright(desk, clip) -> None:
    path = Path(clip("turned.mp4"))
    data = path.read_bytes()
    matrix = data.index(b"tkhd") + 4 + 40
    turned = b"".join(number.to_bytes(4, "big", signed=True) for number in (0, 65536, 0, -65536, 0, 0, 0, 0, 2**30))
    path.write_bytes(data[:matrix] + turned + data[matrix + 36 :])

    film = await desk.call("join_videos", sources=[str(path), clip("wide.mp4", GREEN)])

    assert (film["width"], film["height"]) == (180, 320)
    shown = pictures(film["file_path"])
    assert near(shown[0].getpixel((90, 10)), RED)
    assert near(shown[60].getpixel((90, 10)), BLACK)


async def test_a_picture_that_stands_for_seconds_is_no_clip_that_breaks_off(desk, clip) -> None:
    film = await desk.call("join_videos", sources=[clip("a.mp4"), clip("slow.mp4", GREEN, rate=1)])

    shown = pictures(film["file_path"])
    assert len(shown) == 96
    assert near(shown[95].getpixel((160, 90)), GREEN)


async def test_colors_are_read_as_those_of_the_first_clip(desk, clip) -> None:
    clips = [clip(f"{number}.mp4", colorspace=1) for number in range(2)]

    film = await desk.call("join_videos", sources=clips, transition="crossfade")

    with av.open(film["file_path"]) as file:
        assert file.streams.video[0].codec_context.colorspace == 1


async def test_a_crossfade_takes_half_a_second_of_both_clips(desk, clip) -> None:
    clips = [clip("a.mp4"), clip("b.mp4", GREEN), clip("c.mp4", BLUE, seconds=1)]

    film = await desk.call("join_videos", sources=clips, transition="crossfade")

    assert film["seconds"] == 4
    shown = [picture.getpixel((160, 90)) for picture in pictures(film["file_path"])]
    assert len(shown) == 96
    assert near(shown[35], RED)
    assert near(shown[42], between(RED, GREEN))
    assert near(shown[48], GREEN)
    assert near(shown[71], GREEN)
    assert near(shown[78], between(GREEN, BLUE))
    assert near(shown[84], BLUE)
    greener = [green for _, green, _ in shown[36:48]]
    assert greener == sorted(greener)


async def test_own_sound_is_kept_and_a_clip_without_any_is_silent(desk, clip) -> None:
    clips = [clip("a.mp4", tone=440), clip("b.mp4", GREEN), clip("c.mp4", BLUE, tone=880)]

    film = await desk.call("join_videos", sources=clips)

    assert loudness(film["file_path"], 0.1, 1.9) == pytest.approx(0.5, abs=0.1)
    assert loudness(film["file_path"], 2.2, 3.8) < 0.01
    assert loudness(film["file_path"], 4.2, 5.9) == pytest.approx(0.5, abs=0.1)


async def test_sound_is_crossfaded_with_its_picture(desk, clip) -> None:
    clips = [clip("a.mp4", tone=440), clip("b.mp4", GREEN), clip("c.mp4", BLUE, tone=880)]

    film = await desk.call("join_videos", sources=clips, transition="crossfade")

    assert loudness(film["file_path"], 1.73, 1.77) == pytest.approx(0.25, abs=0.07)
    assert loudness(film["file_path"], 2.1, 2.9) < 0.01
    assert loudness(film["file_path"], 3.23, 3.27) == pytest.approx(0.25, abs=0.07)
    assert loudness(film["file_path"], 3.6, 4.9) == pytest.approx(0.5, abs=0.1)


async def test_a_sound_track_replaces_own_sound_and_fades_out_at_the_end(desk, clip, track) -> None:
    clips = [clip("a.mp4", tone=440), clip("b.mp4", GREEN)]

    film = await desk.call("join_videos", sources=clips, audio=track(10))

    assert "warnings" not in film
    assert loudness(film["file_path"], 2.2, 2.9) == pytest.approx(0.5, abs=0.1)
    assert loudness(film["file_path"], 3.45, 3.55) == pytest.approx(0.25, abs=0.1)
    assert loudness(film["file_path"], 3.97, 4.0) < 0.05
    with av.open(film["file_path"]) as file:
        assert file.duration / 1e6 == pytest.approx(4, abs=0.05)


async def test_a_sound_track_that_is_too_short_is_told(desk, clip, track) -> None:
    film = await desk.call("join_videos", sources=[clip("a.mp4"), clip("b.mp4")], audio=track(1))

    assert film["warnings"] == ["The sound track lasts only 1.0 s; after it the film is silent."]
    assert loudness(film["file_path"], 0.1, 0.9) == pytest.approx(0.5, abs=0.1)
    assert loudness(film["file_path"], 1.2, 3.9) < 0.01


async def test_clips_that_are_alike_are_copied_without_encoding_and_in_step_with_their_sound(desk, clip) -> None:
    clips = [clip(f"{number}.mp4", color, tone=440) for number, color in enumerate((RED, GREEN, BLUE))]

    film = await desk.call("join_videos", sources=clips)

    assert film["reencoded"] is False
    assert packets(film["file_path"]) == [packet for path in clips for packet in packets(path)]
    with av.open(film["file_path"]) as file:
        times = [frame.pts * frame.time_base for frame in file.decode(video=0)]
        file.seek(0)
        sounds = [frame.pts / SOUND_RATE for frame in file.decode(audio=0)]
    assert times == pytest.approx([number / 24 for number in range(144)])
    assert max(after - before for before, after in pairwise(sounds)) < 0.045


async def test_clips_of_the_same_size_that_were_encoded_in_another_way_are_encoded_again(desk, clip) -> None:
    film = await desk.call("join_videos", sources=[clip("a.mp4"), clip("b.mp4", GREEN, rate=25)])

    assert film["reencoded"] is True
    assert len(pictures(film["file_path"])) == 96


@pytest.mark.parametrize("transition", ["cut", "crossfade"])
async def test_a_film_can_be_played_before_all_of_it_is_there(desk, clip, transition: str) -> None:
    film = await desk.call("join_videos", sources=[clip("a.mp4"), clip("b.mp4")], transition=transition)

    assert film["reencoded"] is (transition == "crossfade")
    found = boxes(film["file_path"])
    assert found.index(b"moov") < found.index(b"mdat")


async def test_nothing_is_overwritten_and_no_link_followed(desk, clip, tmp_path) -> None:
    clips = [clip("a.mp4"), clip("b.mp4")]
    elsewhere = tmp_path / "elsewhere.mp4"
    desk.folder.mkdir()
    (desk.folder / "film.mp4").symlink_to(elsewhere)

    made = [(await desk.call("join_videos", sources=clips, filename="film"))["file_path"] for _ in range(2)]

    assert made == [str(desk.folder / name) for name in ("film-2.mp4", "film-3.mp4")]
    assert not elsewhere.exists()


async def test_a_file_in_the_output_folder_may_be_joined_where_others_may_not(open_desk, clip) -> None:
    async with open_desk(LUMA_MCP_INPUT_DIRS="off") as desk:
        outside = clip("a.mp4")
        desk.folder.mkdir()
        inside = Path(outside).rename(desk.folder / "a.mp4")
        clip("a.mp4")

        assert (await desk.call("join_videos", sources=[str(inside)] * 2))["clips"] == 2
        assert "outside the folders" in await desk.refusal("join_videos", sources=[str(inside), outside])


async def test_a_film_goes_on_when_its_call_is_over_and_the_same_call_has_it_then(open_desk, clip) -> None:
    async with open_desk(LUMA_MCP_WAIT_S="0") as desk:
        arguments = {"sources": [clip("a.mp4"), clip("b.mp4")], "transition": "crossfade", "filename": "film"}

        begun = await desk.call("join_videos", **arguments)
        await anyio.sleep(1)
        film = await desk.call("join_videos", **arguments)

        assert "file_path" not in begun
        assert begun["seconds"] == 3.5
        assert begun["done_s"] < 3.5
        assert begun["next_step"].startswith("join_videos with the same arguments")
        assert film["file_path"] == str(desk.folder / "film.mp4")
        assert [path.name for path in desk.folder.iterdir()] == ["film.mp4"]


async def until_it_is_being_made(desk: Any) -> None:
    """No timer can tell: time stands still while a worker is at work."""
    while not any(path.stat().st_size for path in desk.folder.glob("*.part")):
        await anyio.lowlevel.checkpoint()


@pytest.fixture
def long(clip: Callable[..., str]) -> dict[str, Any]:
    """The arguments of a film that is not made before a test is over."""
    return {"sources": [clip("long.mp4", seconds=10, size=(1280, 720))] * 50, "transition": "crossfade"}


async def test_progress_tells_how_much_of_the_film_is_made(desk, long) -> None:
    seen: list[tuple[float, float | None, str | None]] = []

    async def note(*report: Any) -> None:
        seen.append(report)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.client.call_tool, "join_videos", long)
        await until_it_is_being_made(desk)
        tasks.start_soon(lambda: desk.client.call_tool("join_videos", long, progress_callback=note))
        while not seen:
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()

    done, whole, words = seen[0]
    assert whole == 475.5
    assert words == f"joining: {done:.0f} of {whole:.0f} s of film"


async def test_a_cancelled_film_ends_at_once_and_leaves_nothing(desk, long) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.client.call_tool, "join_videos", long)
        await until_it_is_being_made(desk)
        tasks.cancel_scope.cancel()

    await anyio.sleep(1)  # no second passes before the worker has ended
    assert list(desk.folder.iterdir()) == []


async def test_a_film_ends_with_its_server_and_leaves_nothing(open_desk, long) -> None:
    async with open_desk(LUMA_MCP_WAIT_S="0") as desk:
        await desk.call("join_videos", **long)
        await until_it_is_being_made(desk)

    assert list(desk.folder.iterdir()) == []


async def test_a_film_that_another_call_waits_for_outlives_the_call_that_asked_for_it(desk, clip) -> None:
    arguments = {"sources": [clip("a.mp4", size=(1280, 720))] * 3, "transition": "crossfade"}
    films = []

    async def join(scope: anyio.CancelScope) -> None:
        with scope:
            films.append(await desk.call("join_videos", **arguments))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(join, first := anyio.CancelScope())
        await until_it_is_being_made(desk)
        tasks.start_soon(join, anyio.CancelScope())
        for _ in range(100):  # until the second call has come in
            await anyio.lowlevel.checkpoint()
        first.cancel()

    assert first.cancelled_caught
    assert [Path(film["file_path"]) for film in films] == list(desk.folder.iterdir())


async def test_a_bad_number_of_clips_is_refused(desk, clip) -> None:
    path = clip("a.mp4")

    assert "sources needs at least 2 items." in await desk.refusal("join_videos", sources=[path])
    assert "sources takes at most 50 items." in await desk.refusal("join_videos", sources=[path] * 51)
    assert not desk.folder.exists()


async def test_a_clip_that_can_not_be_used_is_named_and_nothing_is_written(desk, clip, tmp_path) -> None:
    good = clip("good.mp4")
    whole = Path(good).read_bytes()
    Image.new("RGB", (64, 64)).save(tmp_path / "picture.png")
    files = {
        "empty.mp4": (b"", "contains another format; films are made of videos"),
        "noise.mp4": (whole[:40] + b"x" * 4000, "has no picture"),
        "cut.mp4": (whole[: len(whole) // 2], "is damaged or cut off|breaks off after"),
        "list.mp4": (b"#EXTM3U\n#EXTINF:1,\ngood.mp4\n", "contains another format"),
        "picture.mp4": ((tmp_path / "picture.png").read_bytes(), "contains image/png; films are made of videos"),
    }
    for name, (data, words) in files.items():
        (tmp_path / name).write_bytes(data)
        said = await desk.refusal("join_videos", sources=[good, str(tmp_path / name)])
        assert any(word in said for word in words.split("|")), said
        assert "sources[1]" in said
        assert "Nothing was sent." in said

    said = await desk.refusal("join_videos", sources=[good, str(tmp_path / "missing.mp4")])
    assert "sources[1]" in said
    assert "No such file" in said
    assert "is not an absolute path" in await desk.refusal("join_videos", sources=[good, "clips/good.mp4"])
    for neither in ("good.mp4", "abc", "00000000-0000-4000-8000-00000000000"):
        said = await desk.refusal("join_videos", sources=[good, neither])
        assert said.startswith("sources[1] is neither a generation id nor an absolute path. Nothing was sent.")
    assert "special file" in await desk.refusal("join_videos", sources=[good, str(tmp_path)])
    assert "Save the clip and give its path" in await desk.refusal(
        "join_videos", sources=[good, "https://example.com/a.mp4"]
    )
    assert list(desk.folder.glob("*")) == []


async def test_a_clip_that_breaks_off_in_its_middle_is_refused_and_nothing_is_left(desk, clip, tmp_path) -> None:
    good = clip("good.mp4", seconds=5)
    data = Path(good).read_bytes()
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(data[: len(data) - (len(data) - data.index(b"mdat")) // 3])

    for transition in ("cut", "crossfade"):
        said = await desk.refusal("join_videos", sources=[good, str(broken)], transition=transition)

        assert "sources[1] (broken.mp4) breaks off after" in said
    assert list(desk.folder.iterdir()) == []


async def test_a_clip_is_too_short_to_be_crossfaded_but_not_to_be_joined(desk, clip) -> None:
    clips = [clip("a.mp4"), clip("short.mp4", GREEN, seconds=0.5)]

    said = await desk.refusal("join_videos", sources=clips, transition="crossfade")
    film = await desk.call("join_videos", sources=clips)

    assert "sources[1] (short.mp4) lasts 0.50 s, too short for cross-fades" in said
    assert film["seconds"] == 2.5


async def test_a_generation_that_is_no_finished_video_is_refused(open_desk, clip) -> None:
    good = clip("good.mp4")
    async with open_desk(LUMA_MCP_SAVE="off") as desk:
        image = (await desk.image())["generation_id"]
        stuck = (await desk.video("[sandbox:stuck]", wait_s=0))["generation_id"]
        await desk.raw("generate_video", prompt="[sandbox:moderation]")
        [failed] = [
            row["generation_id"] for row in (await desk.call("list_generations", state="failed"))["generations"]
        ]
        deleted = (await desk.video("deleted"))["generation_id"]
        await desk.call("delete_generations", generation_ids=[deleted])
        for made, words in (
            (image, "is an image"),
            (stuck, "so it has no file yet. Call wait_for_generations"),
            (failed, "failed, so it has no file. Use another one"),
            (deleted, "has been deleted"),
            ("00000000-0000-4000-8000-000000000000", "00000000-0000-4000-8000-000000000000"),
        ):
            assert words in await desk.refusal("join_videos", sources=[good, made])
        assert list(desk.folder.glob("*")) == []


@pytest.mark.parametrize("content", ["no sound at all" * 100, "ffconcat version 1.0\nfile track.wav\n"])
async def test_a_sound_track_that_can_not_be_used_is_refused(desk, clip, track, tmp_path, content: str) -> None:
    clips = [clip("a.mp4"), clip("b.mp4")]
    track(2)
    (tmp_path / "track.mp3").write_text(content)

    assert "audio (a.mp4) has no sound" in await desk.refusal("join_videos", sources=clips, audio=clips[0])
    said = await desk.refusal("join_videos", sources=clips, audio=str(tmp_path / "track.mp3"))
    assert "audio (track.mp3) can't be read as sound" in said
    assert "is not an absolute path" in await desk.refusal("join_videos", sources=clips, audio="track.mp3")
    assert not desk.folder.exists()


@pytest.mark.parametrize("name", ["..", "a/b", "con", "x" * 300, "...", "a\0b"])
async def test_a_filename_is_a_plain_name(desk, clip, name: str) -> None:
    said = await desk.refusal("join_videos", sources=[clip("a.mp4"), clip("b.mp4")], filename=name)

    assert "filename must be a plain file name" in said
    assert not desk.folder.exists()


async def test_an_unknown_transition_is_refused(desk, clip) -> None:
    said = await desk.refusal("join_videos", sources=[clip("a.mp4"), clip("b.mp4")], transition="crosfade")

    assert "transition must be one of 'cut', 'crossfade' (did you mean crossfade?)" in said


async def test_a_folder_that_can_not_be_written_is_named(open_desk, clip, tmp_path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    async with open_desk(LUMA_API_KEY=AGENTS_SANDBOX_KEY, LUMA_MCP_OUTPUT_DIR=str(blocked)) as desk:
        said = await desk.refusal("join_videos", sources=[clip("a.mp4"), clip("b.mp4")])

        assert f"could not be written to {blocked}" in said
        assert "LUMA_MCP_OUTPUT_DIR" in said
