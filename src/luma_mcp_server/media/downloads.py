"""Finished files on their way to disk, and preview pictures."""

import os
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from itertools import count
from pathlib import Path

import anyio
import anyio.to_thread
import httpx
from anyio.abc import TaskGroup

from ..errors import InvalidRequest, LumaServerError
from ..models import Generation, Output
from .layers import put_together
from .links import MB, LinkFailed, Links, Renew, Say
from .local_files import HEAD_BYTES, media_type
from .references import IMAGE_ENDINGS, VIDEO_ENDINGS

_MOST_CLIP_BYTES = 200 * 1024**2

_ENDINGS = {
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/webp": "webp",
    "image/gif": "gif",
}
_SIDECARS = {b"v/1\x01": "exr", b"PK\x03\x04": "zip"}
"""What comes beside an HDR clip. Source: fal's documentation of ray-3.2, 2026: one EXR file or a ZIP."""

_FORBIDDEN = re.compile(
    r'[\x00-\x1f\x7f<>:"/\\|?*\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]'
    r"|^$|^[. ]|[. ]$"
    r"|^(con|prn|aux|nul|com[1-9]|lpt[1-9])(\.|$)",  # Windows keeps these for devices
    re.IGNORECASE,
)


class Downloads:
    """The finished files of one server, saved in `folder`.

    Links to `own_host` may be http: the API runs there. `renew` asks for a generation whose link has expired.
    """

    def __init__(
        self,
        http: Callable[[], httpx.AsyncClient],
        folder: Path | None,
        own_host: str | None,
        renew: Callable[[str], Awaitable[Generation]],
        tasks: TaskGroup,
    ) -> None:
        self._folder, self._renew = folder, renew
        self._links = Links(http, own_host)
        self._tasks = tasks
        self._saving: dict[str, _Saving] = {}  # by name without ending: what is being saved under its own name

    def problem(self) -> str | None:
        """Why no file can be saved, as far as can be seen without trying."""
        folders = (self._folder, *self._folder.parents) if self._folder else ()
        there = next((path for path in folders if os.access(path, os.F_OK)), None)
        if there is None or (there.is_dir() and os.access(there, os.W_OK)):
            return None
        why = "can't be written to" if there.is_dir() else "is not a folder"
        return f"LUMA_MCP_OUTPUT_DIR is {self._folder}, but {there} {why}. Correct it, then restart this server."

    def saved(self, generation_id: str) -> Path | None:
        """Where a generation's file is, if it was saved under its own name."""
        if self._folder is None:
            return None
        files = sorted((*self._folder.glob(f"*-{generation_id}.*"), *self._folder.glob(f"*-{generation_id}-all.png")))
        return next((path for path in files if path.suffix[1:] in _ENDINGS.values() and path.is_file()), None)

    def progress(self, generation_id: str) -> str | None:
        """How far the saving of a generation's file is, in words; None if it is not being saved."""
        return next((job.describe() for stem, job in self._saving.items() if generation_id in stem), None)

    def find(self, generation: Generation) -> Generation:
        """A generation with the files that were saved under its own name."""
        name, folder = str(generation.generation_id), self._folder
        path = self.saved(name)
        file_path = str(path) if path else None
        if not generation.outputs or not folder:
            return generation.replace(file_path=file_path)

        def file_of(number: int, output: Output) -> str | None:
            if output.url == generation.url:
                return file_path
            return next((str(one) for one in folder.glob(f"*-{name}-{number:02}*") if one.suffix != ".part"), None)

        numbered = enumerate(generation.outputs, 1)
        outputs = [one.model_copy(update={"file_path": file_of(number, one)}) for number, one in numbered]
        return generation.replace(file_path=file_path, outputs=tuple(outputs))

    async def save(self, generation: Generation, filename: str | None = None, say: Say = lambda _: None) -> Generation:
        """Save a completed generation, and say where; of several results each has a file of its own.

        Without a `filename` the name ends in the generation's id, so that it is downloaded only once and the file can
        stand for the generation. It goes on when nobody waits for it any longer. `say` is told how far it is.
        """
        stem = chosen_stem(filename) if filename else _own_stem(generation)
        save, renew = partial(self._save, once=not filename, say=say), partial(self._new_link, generation.generation_id)
        if generation.outputs is None:
            return generation.replace(file_path=str(await save(generation.url, stem, renew)))
        outputs: list[Output] = []
        for number, output in enumerate(generation.outputs, 1):
            label = re.sub(r"\W+", "-", output.label or "").strip("-")
            name = stem if output.url == generation.url else f"{stem}-{number:02}{label and '-'}{label}"
            path = await save(output.url, name, partial(renew, number))
            outputs.append(output.model_copy(update={"file_path": str(path)}))
        file_path = next((one.file_path for one in outputs if one.url == generation.url), None)
        if file_path is None and self._folder:
            file_path = await anyio.to_thread.run_sync(
                _write_whole, outputs, self._folder / f"{stem}-all", not filename
            )
        return generation.replace(file_path=file_path, outputs=tuple(outputs))

    async def _new_link(self, generation_id: str | None, number: int | None = None) -> str | None:
        """A fresh link to a generation's file, or to that of its results which has this number."""
        generation = await self._renew(str(generation_id))
        return generation.outputs[number - 1].url if generation.outputs and number else generation.url

    async def _save(self, url: str | None, stem: str, renew: Renew, *, once: bool, say: Say) -> Path:
        if self._folder is None:
            raise LumaServerError("LUMA_MCP_OUTPUT_DIR is not an absolute path. Correct it; until then use the link.")
        if url is None:
            raise LumaServerError("Luma gave no link to the file. Nothing is lost: call get_generation.")
        path = self._folder / stem
        try:
            await anyio.Path(self._folder).mkdir(parents=True, exist_ok=True)
            if not once:
                return await self._fetch(url, path, renew, say, once=False)
            if there := _existing(path):
                return there
            if (job := self._saving.get(stem)) is None:
                job = self._saving[stem] = _Saving()
                self._tasks.start_soon(self._run, job, url, path, renew)
            say(lambda: job.describe())
            return await job.result()
        except OSError as error:
            raise LumaServerError(
                f"The file could not be written to {self._folder} ({error.strerror or type(error).__name__}). Free up "
                "space or change the folder (LUMA_MCP_OUTPUT_DIR); until then use the link."
            ) from error

    async def _run(self, job: "_Saving", url: str, path: Path, renew: Renew) -> None:
        try:
            job.path = await self._fetch(url, path, renew, job.say, once=True)
        except Exception as error:  # noqa: BLE001 - handed to the calls that wait, which raise it
            job.error = error
        finally:
            del self._saving[path.name]
            job.ended.set()

    async def content(self, url: str, shown: str) -> bytes:
        """What a link to a clip leads to; in errors it is called `shown`."""
        data = bytearray()
        try:
            async with self._links.open(url) as response:
                async for chunk in response.aiter_bytes():
                    data += chunk
                    if len(data) > _MOST_CLIP_BYTES:
                        raise InvalidRequest(f"{shown} is larger than 200 MB. Use a shorter clip.")
        except LinkFailed as error:
            raise LumaServerError(f"{shown} could not be downloaded ({error.why}). Check its link.") from error
        return bytes(data)

    async def picture(self, source: str, most_bytes: int) -> tuple[bytes, str]:
        """A preview picture by its link or file, at most so large, and its MIME type."""
        if source.startswith("http"):
            async with self._links.open(source) as response:
                data = await response.aread()
        else:
            data = await anyio.Path(source).read_bytes()
        mime_type = media_type(data[:HEAD_BYTES]) or ""
        if not mime_type.startswith("image/"):
            raise LumaServerError("Luma's link did not lead to a picture. Call get_generation for a new link.")
        if len(data) <= most_bytes:
            return data, mime_type
        return await anyio.to_thread.run_sync(_scaled_down, data, most_bytes), "image/jpeg"

    async def _fetch(self, url: str, path: Path, renew: Renew, say: Say, *, once: bool) -> Path:
        """Download a file to a path whose ending its content decides.

        With `once` a file of that name is this one: another server may be saving it as well.
        """
        part = _part(path)
        try:
            with await anyio.to_thread.run_sync(part.open, "x+b", MB) as file:
                await self._links.fetch(url, file, renew, say)
                file.seek(0)
                head = file.read(HEAD_BYTES)
            beside = (ending for mark, ending in _SIDECARS.items() if head.startswith(mark))
            ending = _ENDINGS.get(media_type(head) or "") or next(beside, None)
            if ending is None:
                raise LumaServerError("Luma's link did not lead to a video or image. get_generation gives a new one.")
            # Nothing is awaited from here on, so that no other call of this server takes the name.
            return (_existing(path) if once else None) or part.rename(free_name(path, ending))
        finally:
            part.unlink(missing_ok=True)


@dataclass
class _Saving:
    """A file that is being saved, however many calls wait for it."""

    describe: Callable[[], str] = lambda: "saving"
    path: Path | None = None
    error: Exception | None = None
    ended: anyio.Event = field(default_factory=anyio.Event)

    def say(self, describe: Callable[[], str]) -> None:
        """Say from now on how far it is."""
        self.describe = describe

    async def result(self) -> Path:
        """The file, once it is saved; raises what has kept it from being saved."""
        await self.ended.wait()
        if self.path is None:
            raise self.error or LumaServerError("The server ended before the file was saved.")
        return self.path


def _part(path: Path) -> Path:
    """Where a file is written until it is whole; opened with `x`, so that nothing that is there is written to."""
    # Not from `tempfile`: it makes files that only their owner may read, and the saved file would be one.
    return path.with_name(f"{path.name}-{secrets.token_hex(4)}.part")


def _write_whole(layers: list[Output], stem: Path, once: bool) -> str | None:
    """The picture that layers make together, as a file; None where it can't be made. It blocks."""
    if once and (there := _existing(stem)):
        return str(there)
    if (picture := put_together(layers)) is None:
        return None
    part = _part(stem)
    try:
        with part.open("xb") as file:
            file.write(picture)
        return str(part.rename(free_name(stem, "png")))
    finally:
        part.unlink(missing_ok=True)


def chosen_stem(filename: str) -> str:
    """A name that the user chose, without the ending, which the content decides."""
    name = filename.strip()
    stem, dot, ending = name.rpartition(".")
    stem = stem if dot and ending.lower() in VIDEO_ENDINGS + IMAGE_ENDINGS else name
    if _FORBIDDEN.search(stem) or len(stem.encode()) > 200:
        raise InvalidRequest(
            "filename must be a plain file name of at most 200 bytes, without folders or special characters. Nothing "
            "was saved. Choose another name; the folder is LUMA_MCP_OUTPUT_DIR."
        )
    return stem


def _own_stem(generation: Generation) -> str:
    """The start of the prompt and the id."""
    words = re.sub(r"[^\w]+", "-", (generation.prompt or "").lower())[:40].strip("-_")
    return f"{words or generation.type or 'generation'}-{generation.generation_id}"


def _existing(path: Path) -> Path | None:
    """The file of that name, whatever its ending."""
    endings = (path.with_name(f"{path.name}.{ending}") for ending in (*_ENDINGS.values(), *_SIDECARS.values()))
    there = next(filter(os.path.lexists, endings), None)
    if there and not there.is_file():  # a second file beside it would be saved again and again
        raise LumaServerError(f"{there} is not a file, so nothing was saved. Move it away; until then use the link.")
    return there


def free_name(path: Path, ending: str) -> Path:
    """A name that is not taken: nothing is ever overwritten."""
    names = (path.name if number == 1 else f"{path.name}-{number}" for number in count(1))
    return next(free for name in names if not os.path.lexists(free := path.with_name(f"{name}.{ending}")))


def _scaled_down(data: bytes, most_bytes: int) -> bytes:
    try:
        from PIL import Image
    except ImportError:
        raise LumaServerError(
            "The picture is too large to show. Install luma-mcp-server[media] to have it scaled down, or use the link."
        ) from None
    try:
        picture = Image.open(BytesIO(data)).convert("RGB")
    except (OSError, Image.DecompressionBombError) as error:
        raise LumaServerError(f"The picture could not be read ({type(error).__name__}). Call again.") from error
    for side in (1568, 1280, 1024, 768, 512, 384, 256):
        picture.thumbnail((side, side))
        out = BytesIO()
        picture.save(out, "JPEG", quality=85)
        if out.tell() <= most_bytes:
            return out.getvalue()
    raise LumaServerError("The picture is too large to show. Use download_generation.")
