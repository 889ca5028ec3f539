"""The tool that makes a film of clips, on this computer."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import anyio
import anyio.to_thread
from pydantic import Field

from ..errors import LumaServerError, refuse
from ..media.frames import can_read, install_line
from ..media.references import UUID
from ..models import PURCHASE_PREFIX, Value
from .call import Call
from .library import completed
from .sources import resolve_id

if TYPE_CHECKING:
    from ..media.films import Job


class Film(Value):
    """A film, or how far it is.

    Attributes:
        file_path: absent while it is being made.
        seconds: how long it is.
        done_s: how many of these seconds are made, while it is being made.
        clips: of how many it consists.
        reencoded: whether the clips were encoded again; where they are alike they are copied as they are.
    """

    file_path: str | None = None
    seconds: float
    done_s: float | None = None
    width: int
    height: int
    clips: int
    reencoded: bool
    sandbox: bool | None = None
    warnings: tuple[str, ...] | None = None
    next_step: str | None = None


async def join_videos(
    call: Call,
    sources: Annotated[list[str], Field(description="2 to 50 ids or absolute paths", min_length=2, max_length=50)],
    filename: Annotated[str | None, Field(description="Without folder")] = None,
    transition: Annotated[Literal["cut", "crossfade"], Field(description="From clip to clip")] = "cut",
    audio: Annotated[str | None, Field(description="Path of a track that replaces their sound")] = None,
) -> Film:
    """Join clips into one MP4 in the first one's size. Free."""
    from ..media.saved import chosen_stem
    from ..media.shots import Plan, measure_shot, measure_track

    services, settings = call.services, call.services.settings
    settings.require("LUMA_MCP_WAIT_S", "LUMA_MCP_OUTPUT_DIR")
    if not can_read():
        raise LumaServerError(f"Joining videos needs the media extra. {install_line()}")
    wanted = (tuple(sources), filename, transition, audio)
    job = services.films.find(wanted)
    if job is None:
        folder = settings.output_dir
        assert folder
        own_name = f"{'sandbox-' if settings.sandbox else ''}film-{services.now().astimezone():%Y%m%d-%H%M%S}"
        path = folder / (chosen_stem(filename) if filename else own_name)
        call.say("looking at the clips")
        paths = await _clips(call, sources)
        sound = await _file(call, audio, "audio") if audio else None

        def plan() -> Plan:
            shots = [measure_shot(path, f"sources[{number}] ({path.name})") for number, path in enumerate(paths)]
            track = measure_track(sound, f"audio ({sound.name})") if sound else None
            return Plan(tuple(shots), transition == "crossfade", track)

        planned = await anyio.to_thread.run_sync(plan, abandon_on_cancel=True)
        planned.check()
        job = services.films.start(wanted, planned, path)
    call.follow(job)
    await services.films.wait(wanted, job, until=call.wait_until)
    return _shown(job, sandbox=settings.sandbox)


def _shown(job: "Job", *, sandbox: bool) -> Film:
    width, height = job.plan.size
    return Film(
        file_path=str(job.path) if job.path else None,
        seconds=round(float(job.plan.seconds), 2),
        done_s=None if job.path else round(job.done_s, 2),
        width=width,
        height=height,
        clips=len(job.plan.shots),
        reencoded=job.plan.encodes,
        sandbox=sandbox or None,
        warnings=job.plan.warnings or None,
        next_step=None if job.path else "join_videos with the same arguments goes on waiting",
    )


async def _clips(call: Call, sources: Sequence[str]) -> list[Path]:
    """The files of all clips, by the end of the call."""
    with anyio.CancelScope(deadline=call.limit):
        return [await _clip(call, text.strip(), f"sources[{number}]") for number, text in enumerate(sources)]
    raise LumaServerError("The clips could not be saved here in time. Nothing is lost: call again to save the rest.")


async def _clip(call: Call, name: str, parameter: str) -> Path:
    """The file of a clip; that of a generation is saved first if it is not yet."""
    downloads, is_link = call.services.downloads, re.match("https?:", name)
    if not (is_link or UUID.fullmatch(name) or name.startswith(PURCHASE_PREFIX)):
        if not re.search(r"[\\/]", name):
            raise refuse(
                f"{parameter} is neither a generation id nor an absolute path",
                "list_generations shows ids (36 characters); write a path in full, or start it with ~/.",
            )
        return await _file(call, name, parameter)
    if is_link and await call.services.journal.find(name) is None:
        raise refuse(f"{parameter} is a link to no generation that was bought here", "Save the clip and give its path.")
    if saved := downloads.saved(await resolve_id(call, name, parameter)):
        return saved
    generation = await completed(call, name, parameter)
    if generation.type != "video":
        raise refuse(f"{parameter}: generation {name} is an image", "Films are made of videos.")
    call.say("saving the clips")
    file_path = (await downloads.save(generation)).file_path
    assert file_path
    return Path(file_path)


async def _file(call: Call, text: str, parameter: str) -> Path:
    """A local file, from the folders for input or from that for output."""
    settings = call.services.settings
    settings.require("LUMA_MCP_INPUT_DIRS")
    return await call.services.local_files.locate(text, parameter, *filter(None, (settings.output_dir,)))
