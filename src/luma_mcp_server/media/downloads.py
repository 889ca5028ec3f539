"""Finished files on their way to disk, and preview pictures."""

import os
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from itertools import count
from pathlib import Path
from weakref import WeakValueDictionary

import anyio
import anyio.to_thread
import httpx

from ..errors import InvalidRequest, LumaServerError
from ..models import Generation, Output
from .layers import put_together
from .local_files import HEAD_BYTES, media_type
from .references import IMAGE_ENDINGS, VIDEO_ENDINGS, is_public

_MOST_BYTES = 2 * 1024**3
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
    """The finished files of one server, saved in `folder`. Links to `own_host` may be http: the API runs there."""

    def __init__(self, http: Callable[[], httpx.AsyncClient], folder: Path | None, own_host: str | None) -> None:
        self._http, self._folder, self._own_host = http, folder, own_host
        # Generations that are being saved under their own names: other calls wait for the file.
        self._saving: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()

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
        return next((path for path in files if path.suffix[1:] in _ENDINGS.values()), None)

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

    async def save(self, generation: Generation, filename: str | None = None) -> Generation:
        """Save a completed generation, and say where; of several results each has a file of its own.

        Without a `filename` the name ends in the generation's id, so that it is downloaded only once and the file can
        stand for the generation.
        """
        stem = _chosen_stem(filename) if filename else _own_stem(generation)
        if generation.outputs is None:
            return generation.replace(file_path=str(await self._save(generation.url, stem, once=not filename)))
        outputs: list[Output] = []
        for number, output in enumerate(generation.outputs, 1):
            label = re.sub(r"\W+", "-", output.label or "").strip("-")
            name = stem if output.url == generation.url else f"{stem}-{number:02}{label and '-'}{label}"
            path = await self._save(output.url, name, once=not filename)
            outputs.append(output.model_copy(update={"file_path": str(path)}))
        file_path = next((one.file_path for one in outputs if one.url == generation.url), None)
        if file_path is None and self._folder:
            file_path = await anyio.to_thread.run_sync(
                _write_whole, outputs, self._folder / f"{stem}-all", not filename
            )
        return generation.replace(file_path=file_path, outputs=tuple(outputs))

    async def _save(self, url: str | None, stem: str, *, once: bool) -> Path:
        if self._folder is None:
            raise LumaServerError("LUMA_MCP_OUTPUT_DIR is not an absolute path. Correct it; until then use the link.")
        if url is None:
            raise LumaServerError("Luma gave no link to the file. Nothing is lost: call get_generation.")
        path = self._folder / stem
        try:
            await anyio.Path(self._folder).mkdir(parents=True, exist_ok=True)
            if not once:
                return await self._fetch(url, path, once=False)
            async with self._saving.setdefault(stem, anyio.Lock()):
                return _existing(path) or await self._fetch(url, path, once=True)
        except OSError as error:
            raise LumaServerError(
                f"The file could not be written to {self._folder} ({error.strerror or type(error).__name__}). Free up "
                "space or change the folder (LUMA_MCP_OUTPUT_DIR); until then use the link."
            ) from error

    async def content(self, url: str, shown: str) -> bytes:
        """What a link to a clip leads to; in errors it is called `shown`."""
        data = bytearray()
        try:
            async with self._open(url) as response:
                async for chunk in response.aiter_bytes():
                    data += chunk
                    if len(data) > _MOST_CLIP_BYTES:
                        raise InvalidRequest(f"{shown} is larger than 200 MB. Nothing was bought. Use a shorter clip.")
        except _LinkFailed as error:
            raise LumaServerError(f"{shown} could not be downloaded ({error.why}). Check its link.") from error
        return bytes(data)

    async def picture(self, source: str, most_bytes: int) -> tuple[bytes, str]:
        """A preview picture by its link or file, at most so large, and its MIME type."""
        if source.startswith("http"):
            async with self._open(source) as response:
                data = await response.aread()
        else:
            data = await anyio.Path(source).read_bytes()
        mime_type = media_type(data[:HEAD_BYTES]) or ""
        if not mime_type.startswith("image/"):
            raise LumaServerError("Luma's link did not lead to a picture. Call get_generation for a new link.")
        if len(data) <= most_bytes:
            return data, mime_type
        return await anyio.to_thread.run_sync(_scaled_down, data, most_bytes), "image/jpeg"

    async def _fetch(self, url: str, path: Path, *, once: bool) -> Path:
        """Download a file to a path whose ending its content decides.

        With `once` a file of that name is this one: another server may be saving it as well.
        """
        # Not from `tempfile`: it makes files that only their owner may read, and the saved file would be one.
        part = path.with_name(f"{path.name}-{secrets.token_hex(4)}.part")
        head, written = b"", 0
        try:
            async with self._open(url) as response, await anyio.open_file(part, "xb") as file:
                async for chunk in response.aiter_bytes():
                    head += chunk[: HEAD_BYTES - len(head)]
                    written += len(chunk)
                    if written > _MOST_BYTES:
                        raise LumaServerError("The file is larger than 2 GiB, so it was not saved. Use the link.")
                    await file.write(chunk)
            beside = (ending for mark, ending in _SIDECARS.items() if head.startswith(mark))
            ending = _ENDINGS.get(media_type(head) or "") or next(beside, None)
            if ending is None:
                raise LumaServerError("Luma's link did not lead to a video or image. get_generation gives a new one.")
            # Nothing is awaited from here on, so that no other call of this server takes the name.
            return (_existing(path) if once else None) or part.rename(_free(path, ending))
        finally:
            part.unlink(missing_ok=True)

    @asynccontextmanager
    async def _open(self, url: str) -> AsyncIterator[httpx.Response]:
        try:
            async with self._http().stream("GET", url, follow_redirects=True) as response:
                hops = [hop.url for hop in (*response.history, response)]
                if not all(
                    hop.host == self._own_host or (hop.scheme == "https" and is_public(hop.host)) for hop in hops
                ):
                    raise _LinkFailed("it leads to an address that is not public https")
                if not response.is_success:
                    raise _LinkFailed(f"HTTP {response.status_code}")
                yield response
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _LinkFailed(type(error).__name__) from error


class _LinkFailed(LumaServerError):
    def __init__(self, why: str) -> None:
        super().__init__(
            f"The file could not be downloaded from Luma's link ({why}); it may have expired. Nothing is lost: "
            "download_generation uses a new one."
        )
        self.why = why


def _write_whole(layers: list[Output], stem: Path, once: bool) -> str | None:
    """The picture that layers make together, as a file; None where it can't be made. It blocks."""
    if once and (there := _existing(stem)):
        return str(there)
    if (picture := put_together(layers)) is None:
        return None
    part = stem.with_name(f"{stem.name}-{secrets.token_hex(4)}.part")
    part.write_bytes(picture)
    return str(part.rename(_free(stem, "png")))


def _chosen_stem(filename: str) -> str:
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
    return next(filter(Path.is_file, endings), None)


def _free(path: Path, ending: str) -> Path:
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
