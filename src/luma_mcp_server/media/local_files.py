"""Local files and `data:` URIs on their way to Luma: found, checked, hashed, and uploaded if they are large."""

import base64
import hashlib
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field
from io import BufferedReader, BytesIO
from pathlib import Path

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from ..errors import InvalidRequest, StillUploading, quote, refuse
from ..models import LocalFile, MediaType
from .references import CLIENT_SIDE, expand_home, is_data_uri

INLINE_BYTES = 4 * 1024**2
"""Files up to this size, all of a request's together, travel inside it."""

_KEEP_S = 900.0
"""Seconds that an uploaded file is kept for the next call: the same clip is often tried in several ways."""

CHUNK_BYTES = 1024**2
HEAD_BYTES = 256
"""How much of a file shows its type."""

_MB = 1024**2
_MOST_MB: dict[MediaType, int] = {"image": 50, "video": 200}
"""Source: Luma Agents API documentation, error handling (images) and video editing (videos)."""

_FORMATS: dict[MediaType, str] = {"image": "an image (JPEG, PNG, WebP, GIF)", "video": "a video (MP4, MOV, WebM)"}
_NO_VIDEO = re.compile(rb"hei|hev|avi|mif1|msf1|M4A|M4B|crx|jxl")
"""Brands that use the MP4 container for pictures or for sound alone begin like this."""

Upload = Callable[[int, str, str, AsyncIterator[bytes]], Awaitable[str]]
"""Sends size, MIME type, name and content to Luma, and returns the file's id once it can be used."""


@dataclass
class _Transfer:
    """A file on its way to Luma, or there.

    Attributes:
        sent: bytes that were handed to the connection.
        used_at: when a call last wanted it, on the loop's clock.
        ended: set when there is a `file_id` or an `error`.
    """

    file: LocalFile
    sent: int = 0
    used_at: float = 0.0
    file_id: str | None = None
    error: Exception | None = None
    ended: anyio.Event = field(default_factory=anyio.Event)

    def progress(self) -> str:
        size = self.file.size
        if self.sent >= size:
            return f"uploaded {size / _MB:.0f} MB, Luma is checking the file"
        return f"uploading {self.sent / _MB:.0f} of {size / _MB:.0f} MB"


class LocalFiles:
    """The user's files on their way to Luma, from `folders` alone. The end of `tasks` cuts off what is under way.

    What was uploaded is deleted at Luma a quarter of an hour after its last use and at the end of `tasks`, unless
    `needed` names it for a job that is under way.
    """

    def __init__(
        self,
        folders: tuple[Path, ...],
        home: Path | None,
        tasks: TaskGroup,
        upload: Upload,
        delete: Callable[[str], Awaitable[None]],
        needed: Callable[[], Awaitable[Collection[str]]],
    ) -> None:
        self._folders, self._home, self._tasks = folders, home, tasks
        self._upload, self._delete, self._needed = upload, delete, needed
        # By digest. Nobody documents how long Luma keeps a file: one whose id it refuses is forgotten.
        self._transfers: dict[str, _Transfer] = {}

    async def inspect(self, text: str, parameter: str, kinds: Collection[MediaType]) -> LocalFile:
        """Read and check what a parameter names: a path, or a `data:` URI. Nothing is sent."""
        return await anyio.to_thread.run_sync(self._read, text.strip(), parameter, kinds, abandon_on_cancel=True)

    async def locate(self, text: str, parameter: str, *more: Path) -> Path:
        """The file whose path a parameter gives, whatever it holds; it may also be in one of the folders `more`."""
        shown = f"{parameter} ({quote(text)})"

        def find() -> Path:
            with _readable(shown):
                path = self._find(text.strip(), shown, *more)
                with path.open("rb"):
                    return path

        return await anyio.to_thread.run_sync(find, abandon_on_cancel=True)

    async def upload(self, file: LocalFile, *, until: float, say: Callable[[Callable[[], str]], None]) -> LocalFile:
        """The file with Luma's id.

        Raises:
            InvalidRequest: the file changed or could not be read; nothing was bought.
            StillUploading: there was no time left; the same call again joins the upload, or finds it finished.
            LumaServerError: the upload failed; the next call tries again.
        """
        transfer = self._transfers.get(file.digest)
        if transfer is None:
            transfer = self._transfers[file.digest] = _Transfer(file)
            self._tasks.start_soon(self._send, transfer)
        transfer.used_at = anyio.current_time()
        say(transfer.progress)
        with anyio.CancelScope(deadline=until):
            await transfer.ended.wait()
        if transfer.error:
            raise transfer.error
        if transfer.file_id is None:
            raise StillUploading(
                f"{quote(file.path)} is still on its way to Luma ({transfer.progress()}). Nothing was bought. Make the "
                "same call again: the upload continues in the meantime."
            )
        return file.model_copy(update={"file_id": transfer.file_id, "data": None})

    def forget(self, file_id: str | None) -> None:
        """Upload the file with that id at Luma again next time: Luma no longer has it."""
        self._transfers = {digest: one for digest, one in self._transfers.items() if one.file_id != file_id}

    async def _send(self, transfer: _Transfer) -> None:
        file = transfer.file
        name = f"input.{file.media_type.partition('/')[2]}" if is_data_uri(file.path) else Path(file.path).name
        try:
            async with aclosing(_chunks(transfer)) as chunks:
                transfer.file_id = await self._upload(file.size, file.media_type, name, chunks)
            transfer.file = file.model_copy(update={"data": None})
        except Exception as error:  # noqa: BLE001 - passed on to the calls that wait, which raise it
            transfer.error = error
            del self._transfers[file.digest]
        transfer.ended.set()
        if transfer.file_id:
            await self._delete_unused(transfer, transfer.file_id)

    async def _delete_unused(self, transfer: _Transfer, file_id: str) -> None:
        with suppress(Exception):  # whatever fails here, Luma deletes it a day after the upload
            try:
                while await self._in_use(transfer):  # noqa: ASYNC110 - no event says that time has passed
                    await anyio.sleep(_KEEP_S)
            finally:
                # The server may be ending.
                with anyio.CancelScope(shield=True, deadline=anyio.current_time() + 1.0):
                    if file_id not in await self._needed():
                        self.forget(file_id)
                        await self._delete(file_id)

    async def _in_use(self, transfer: _Transfer) -> bool:
        lately = anyio.current_time() < transfer.used_at + _KEEP_S
        return lately or transfer.file_id in await self._needed()

    def _read(self, text: str, parameter: str, kinds: Collection[MediaType]) -> LocalFile:
        """Everything before the upload. It blocks: call it in a worker thread."""
        if is_data_uri(text):
            shown = f"{parameter} (a data: URI)"
            return _inspected(BytesIO(_decoded(text, shown)), "data:", parameter, shown, kinds)
        shown = f"{parameter} ({quote(text)})"
        with _readable(shown):
            path = self._find(text, shown)
            with path.open("rb") as file:
                return _inspected(file, str(path), parameter, shown, kinds)

    def _find(self, text: str, shown: str, *more: Path) -> Path:
        """The file that a path leads to, with links resolved, if it may be read."""
        if not self._folders and not more:
            raise refuse("Local files are turned off", "Set LUMA_MCP_INPUT_DIRS to the folders they may come from.")
        path = self._absolute(text, shown).resolve()
        folders = [folder.resolve() for folder in (*self._folders, *more)]
        below = [path.relative_to(folder).parts for folder in folders if path.is_relative_to(folder)]
        if not below:
            raise refuse(
                f"{shown} is outside the folders that local files may come from "
                f"({', '.join(map(str, (*self._folders, *more)))}), or a link that leads outside",
                "Copy it to one of them, or add its folder to LUMA_MCP_INPUT_DIRS.",
            )
        if all(any(part.startswith(".") for part in parts) for parts in below):
            raise refuse(f"{shown} is hidden or in a hidden folder", "Copy it somewhere else and name the copy.")
        path.stat()  # why it can't be read, where that is so
        if not path.is_file():  # never opened: a pipe would block, a device may act
            raise refuse(f"{shown} is a folder or a special file", "Name one regular file.")
        return path

    def _absolute(self, text: str, shown: str) -> Path:
        if text[:5].lower() == "file:":
            raise refuse(f"{shown} is a file: URL", "Write the plain path, without file:// and without %20.")
        if re.match(r"[\\/]{2}", text):
            raise refuse(f"{shown} is a network path", "Copy the file to this computer and name the copy.")
        if os.name != "nt" and re.match(r"[A-Za-z]:[\\/]", text):
            raise refuse(
                f"{shown} is a Windows path, but this server runs on another system",
                "Give the file's path on that system; in WSL, drive C: is /mnt/c.",
            )
        if (client_side := CLIENT_SIDE.match(text)) and not Path(client_side[0]).exists():
            raise refuse(
                f"{shown} is in your client's own sandbox, which this server can't see",
                "Ask the user for the file's path on this computer or for a public https URL.",
            )
        path = expand_home(text, self._home)
        if not path.is_absolute():
            raise refuse(f"{shown} is not an absolute path", "Write it in full, or start it with ~/.")
        return path


def media_type(head: bytes) -> str | None:
    """The MIME type of a video or image by its first `HEAD_BYTES`; None for anything else."""
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        return None if _NO_VIDEO.match(brand) else "video/quicktime" if brand == b"qt  " else "video/mp4"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "video/webm" if b"webm" in head else None  # Matroska begins in the same way
    if head[:3] == b"\xff\xd8\xff":
        return "image/jpeg"
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return "image/png"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "image/gif"
    return "image/webp" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None


@contextmanager
def _readable(shown: str) -> Iterator[None]:
    """Whatever keeps a file from being read becomes a refusal."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:  # NUL; links in a circle before Python 3.13
        why = getattr(error, "strerror", None) or "not a valid path"
        raise refuse(
            f"{shown} can't be read on the computer this server runs on ({why})",
            "Check the path and its permissions.",
        ) from None


def _decoded(uri: str, shown: str) -> bytes:
    head, _, payload = uri.partition(",")
    if "base64" not in head.lower():
        raise refuse(f"{shown} is not in base64", "Write data:image/png;base64, followed by the content in base64.")
    try:
        return base64.b64decode("".join(payload.split()), validate=True)
    except ValueError:
        raise refuse(f"{shown} is broken base64", "Encode the whole file again, or give its path.") from None


def _inspected(
    file: BufferedReader | BytesIO, path: str, parameter: str, shown: str, kinds: Collection[MediaType]
) -> LocalFile:
    """A file whose content the parameter takes. What it is labeled as, or its name ends in, does not count."""
    size = file.seek(0, os.SEEK_END)
    if not size:
        raise refuse(f"{shown} is empty", "Name another file.")
    file.seek(0)
    mime_type = media_type(file.read(HEAD_BYTES)) or ""
    kind = next((kind for kind in kinds if mime_type.startswith(kind)), None)
    if kind is None:
        raise refuse(
            f"{shown} contains {mime_type or 'another format'}, but {parameter} takes "
            f"{' or '.join(_FORMATS[kind] for kind in kinds)}",
            "Convert it (renaming is not enough), or name another file.",
        )
    if size > _MOST_MB[kind] * _MB:
        raise refuse(
            f"{shown} is {size / _MB:,.1f} MB, but Luma takes at most {_MOST_MB[kind]} MB for {kind}s",
            "Make it smaller.",
        )
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    data = base64.b64encode(file.read()).decode() if size <= INLINE_BYTES or is_data_uri(path) else None
    return LocalFile(path=path, media_type=mime_type, digest=digest, size=size, data=data)


async def _chunks(transfer: _Transfer) -> AsyncGenerator[bytes, None]:
    """The content of a file, which must be as long as it was when it was inspected."""
    file, path = transfer.file, Path(transfer.file.path)
    with suppress(OSError):
        opened = BytesIO(base64.b64decode(file.data)) if file.data else await anyio.to_thread.run_sync(path.open, "rb")
        with opened as content:
            while chunk := await anyio.to_thread.run_sync(content.read, CHUNK_BYTES):
                transfer.sent += len(chunk)
                if transfer.sent > file.size:
                    break
                yield chunk
    if transfer.sent != file.size:
        raise InvalidRequest(
            f"{quote(file.path)} changed or disappeared while it was being sent. Nothing was bought. Call again once "
            "it no longer changes."
        )
