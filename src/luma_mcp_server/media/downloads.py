"""Finished files on their way to disk, and preview pictures."""

import os
import re
import shutil
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import httpx
from anyio.abc import TaskGroup

from ..errors import InvalidRequest, LumaServerError
from ..models import Generation, Output
from .layers import put_together
from .links import BUFFER_BYTES, Follow, LinkFailed, Links, Renew, Work
from .local_files import HEAD_BYTES, media_type
from .saved import ENDINGS, SIDECARS, chosen_stem, existing, free_name, own_stem, saved_files, unfinished

_MOST_CLIP_BYTES = 200 * 1024**2


class Downloads:
    """The finished files of one server, saved in `folder`.

    Links to `own_host` may be http: the API runs there. `renew` asks for a generation whose link has expired. What the
    `sandbox` makes has that word in front of its name.
    """

    def __init__(
        self,
        http: Callable[[], httpx.AsyncClient],
        folder: Path | None,
        own_host: str | None,
        renew: Callable[[str], Awaitable[Generation]],
        tasks: TaskGroup,
        *,
        sandbox: bool,
    ) -> None:
        self._folder, self._renew, self._prefix = folder, renew, "sandbox-" if sandbox else ""
        self._links = Links(http, own_host)
        self._tasks, self._copying = tasks, anyio.Lock()
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
        return saved_files(self._folder, generation_id).get(generation_id, {}).get("")

    def describe(self, generation_id: str) -> str | None:
        """How far the saving of a generation's file is, in words; None if it is not being saved."""
        return next((job.describe() for stem, job in self._saving.items() if generation_id in stem), None)

    def find(self, generation: Generation) -> Generation:
        """A generation with the files that were saved under its own name."""
        name = str(generation.generation_id)
        files = {part: str(path) for part, path in saved_files(self._folder, name).get(name, {}).items()}
        outputs = tuple(
            one.model_copy(update={"file_path": files.get("" if one.url == generation.url else f"{number:02}")})
            for number, one in enumerate(generation.outputs or (), 1)
        )
        return generation.replace(file_path=files.get(""), outputs=outputs or None)

    async def save(
        self, generation: Generation, filename: str | None = None, follow: Follow = lambda _: None
    ) -> Generation:
        """Save a completed generation, and say where; of several results each has a file of its own.

        The names end in the generation's id, so that each is downloaded only once and can stand for the generation;
        with a `filename`, copies are made under that name, and the result names the copies. A download goes on when
        nobody waits for it any longer; `follow` is told of it.
        """
        chosen, saved = chosen_stem(filename) if filename else None, self.find(generation)
        with self._writable():
            if not all(one.file_path for one in saved.outputs or (saved,)):
                saved = await self._save_all(generation, follow)
            if chosen is None:
                return saved
            async with self._copying:  # one after the other, so that no two take the same name
                return await anyio.to_thread.run_sync(_copied, saved, chosen)

    async def _save_all(self, generation: Generation, follow: Follow) -> Generation:
        stem, renew = self._prefix + own_stem(generation), partial(self._new_link, generation.generation_id)
        if generation.outputs is None:
            return generation.replace(file_path=str(await self._save(generation.url, stem, renew, follow)))
        outputs: list[Output] = []
        for number, output in enumerate(generation.outputs, 1):
            label = re.sub(r"\W+", "-", output.label or "").strip("-")
            name = stem if output.url == generation.url else f"{stem}-{number:02}{label and '-'}{label}"
            path = await self._save(output.url, name, partial(renew, number), follow)
            outputs.append(output.model_copy(update={"file_path": str(path)}))
        file_path = next((one.file_path for one in outputs if one.url == generation.url), None)
        if file_path is None and self._folder:
            file_path = await anyio.to_thread.run_sync(_write_whole, outputs, self._folder / f"{stem}-all")
        return generation.replace(file_path=file_path, outputs=tuple(outputs))

    async def _new_link(self, generation_id: str | None, number: int | None = None) -> str | None:
        """A fresh link to a generation's file, or to that of its results which has this number."""
        generation = await self._renew(str(generation_id))
        return generation.outputs[number - 1].url if generation.outputs and number else generation.url

    async def _save(self, url: str | None, stem: str, renew: Renew, follow: Follow) -> Path:
        if self._folder is None:
            raise LumaServerError("LUMA_MCP_OUTPUT_DIR is not an absolute path. Correct it; until then use the link.")
        if url is None:
            raise LumaServerError("Luma gave no link to the file. Nothing is lost: call get_generation.")
        path = self._folder / stem
        await anyio.Path(self._folder).mkdir(parents=True, exist_ok=True)
        if there := existing(path):
            return there
        if (job := self._saving.get(stem)) is None:
            job = self._saving[stem] = _Saving()
            self._tasks.start_soon(self._run, job, url, path, renew)
        follow(job)
        return await job.result()

    @contextmanager
    def _writable(self) -> Iterator[None]:
        """What keeps a file from being written becomes an error."""
        try:
            yield
        except OSError as error:
            why = self.problem() or (
                f"The file could not be written to {self._folder} ({error.strerror or type(error).__name__}). Free up "
                "space or change the folder (LUMA_MCP_OUTPUT_DIR)."
            )
            raise LumaServerError(f"{why} Until then use the link.") from error

    async def _run(self, job: "_Saving", url: str, path: Path, renew: Renew) -> None:
        try:
            job.path = await self._fetch(url, path, renew, job.follow)
        except Exception as error:  # noqa: BLE001 - handed to the calls that wait, which raise it
            job.error = error
        finally:
            del self._saving[path.name]
            job.ended.set()

    async def content(self, url: str, shown: str, most_bytes: int = _MOST_CLIP_BYTES) -> bytes:
        """What a link leads to; in errors it is called `shown`."""
        data = bytearray()
        try:
            async with self._links.open(url) as response:
                async for chunk in response.aiter_bytes():
                    data += chunk
                    if len(data) > most_bytes:
                        raise InvalidRequest(f"{shown} is larger than {most_bytes >> 20} MB. Use a smaller file.")
        except LinkFailed as error:
            raise LumaServerError(f"{shown} could not be downloaded ({error.why}). Check its link.") from error
        return bytes(data)

    async def picture(self, source: str | None) -> tuple[bytes, str]:
        """A picture by its link or file, and its MIME type."""
        if source is None:
            raise LumaServerError("Luma gave no link to a picture. Call get_generation for a new one.")
        if source.startswith("http"):
            async with self._links.open(source) as response:
                data = await response.aread()
        else:
            data = await anyio.Path(source).read_bytes()
        mime_type = media_type(data[:HEAD_BYTES]) or ""
        if not mime_type.startswith("image/"):
            raise LumaServerError("Luma's link did not lead to a picture. Call get_generation for a new link.")
        return data, mime_type

    async def _fetch(self, url: str, path: Path, renew: Renew, follow: Follow) -> Path:
        """Download a file to a path whose ending its content decides; another server may be doing the same."""
        with unfinished(path) as part:
            with await anyio.to_thread.run_sync(part.open, "x+b", BUFFER_BYTES) as file:
                await self._links.fetch(url, file, renew, follow)
                file.seek(0)
                head = file.read(HEAD_BYTES)
            beside = (ending for mark, ending in SIDECARS.items() if head.startswith(mark))
            ending = ENDINGS.get(media_type(head) or "") or next(beside, None)
            if ending is None:
                raise LumaServerError("Luma's link did not lead to a video or image. get_generation gives a new one.")
            # Nothing is awaited from here on, so that no other call of this server takes the name.
            return existing(path) or part.rename(free_name(path, ending))


@dataclass
class _Saving:
    """A file that is being saved, however many calls wait for it."""

    download: Work | None = None
    path: Path | None = None
    error: Exception | None = None
    ended: anyio.Event = field(default_factory=anyio.Event)

    def follow(self, download: Work) -> None:
        """Report from now on how far this is."""
        self.download = download

    def describe(self) -> str:
        """How far it is, in words."""
        return self.download.describe() if self.download else "saving"

    def progress(self) -> tuple[float, float] | None:
        """How many bytes have arrived, and of how many."""
        return self.download.progress() if self.download else None

    async def result(self) -> Path:
        """The file, once it is saved; raises what has kept it from being saved."""
        await self.ended.wait()
        if self.path is None:
            raise self.error or LumaServerError("The server ended before the file was saved.")
        return self.path


def _write_whole(layers: list[Output], stem: Path) -> str | None:
    """The picture that layers make together, as a file; None where it can't be made. It blocks."""
    if there := existing(stem):
        return str(there)
    if (picture := put_together(layers)) is None:
        return None
    with unfinished(stem) as part:
        with part.open("xb") as file:
            file.write(picture)
        return str(part.rename(free_name(stem, "png")))


def _copied(saved: Generation, chosen: str) -> Generation:
    """A saved generation with copies of its files, under a chosen name. It blocks."""

    def copy(file_path: str | None) -> str | None:
        if file_path is None:
            return None
        path = Path(file_path)
        copied = path.with_name(chosen + path.stem.rpartition(str(saved.generation_id))[2])
        with unfinished(copied) as part:
            shutil.copyfile(path, part)
            return str(part.rename(free_name(copied, path.suffix[1:])))

    paths = {saved.file_path, *(one.file_path for one in saved.outputs or ())}
    copies = {file_path: copy(file_path) for file_path in paths}
    outputs = [one.model_copy(update={"file_path": copies[one.file_path]}) for one in saved.outputs or ()]
    return saved.replace(file_path=copies[saved.file_path], outputs=tuple(outputs) or None)
