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
from ..models import Generation
from .local_files import HEAD_BYTES, media_type
from .references import IMAGE_ENDINGS, VIDEO_ENDINGS

_MOST_BYTES = 2 * 1024**3

_ENDINGS = {
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/webp": "webp",
    "image/gif": "gif",
}
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

    def saved(self, generation: Generation) -> Path | None:
        """Where a generation's file is, if it was saved under its own name."""
        return _existing(self._folder / _own_stem(generation)) if self._folder else None

    async def save(self, generation: Generation, filename: str | None = None) -> Path:
        """Save a completed generation.

        Without a `filename` the name ends in the generation's id, so that it is downloaded only once and the file can
        stand for the generation.
        """
        if self._folder is None:
            raise LumaServerError("LUMA_MCP_OUTPUT_DIR is not an absolute path. Correct it; until then use the link.")
        stem = _chosen_stem(filename) if filename else _own_stem(generation)
        if generation.url is None:
            raise LumaServerError("Luma gave no link to the file. Nothing is lost: call get_generation.")
        path = self._folder / stem
        try:
            await anyio.Path(self._folder).mkdir(parents=True, exist_ok=True)
            if filename:
                return await self._fetch(generation.url, path, once=False)
            async with self._saving.setdefault(stem, anyio.Lock()):
                return _existing(path) or await self._fetch(generation.url, path, once=True)
        except OSError as error:
            raise LumaServerError(
                f"The file could not be written to {self._folder} ({error.strerror or type(error).__name__}). Free up "
                "space or change the folder (LUMA_MCP_OUTPUT_DIR); until then use the link."
            ) from error

    async def picture(self, url: str, most_bytes: int) -> tuple[bytes, str]:
        """A preview picture, scaled down if it has more bytes than that, and its MIME type."""
        async with self._open(url) as response:
            data = await response.aread()
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
            ending = _ENDINGS.get(media_type(head) or "")
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
                if not all(hop.scheme == "https" or hop.host == self._own_host for hop in hops):
                    raise LumaServerError(
                        "Luma's link is not https, so it was not used. get_generation gives a new one."
                    )
                if not response.is_success:
                    raise LumaServerError(
                        f"Luma's link was answered with HTTP {response.status_code}; it may have expired. Nothing is "
                        "lost: get_generation gives a new one."
                    )
                yield response
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise LumaServerError(
                f"The download broke off ({type(error).__name__}). Nothing is lost: use download_generation."
            ) from error


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
    endings = (path.with_name(f"{path.name}.{ending}") for ending in _ENDINGS.values())
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
    for side in (1024, 768, 512, 384, 256):
        picture.thumbnail((side, side))
        out = BytesIO()
        picture.save(out, "JPEG", quality=85)
        if out.tell() <= most_bytes:
            return out.getvalue()
    raise LumaServerError("The picture is too large to show. Use download_generation.")
