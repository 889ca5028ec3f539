"""Local files and `data:` URIs as inputs: checked, read once, and sent to Luma beforehand where they are large."""

import base64
import hashlib
import os
import re
import stat
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection
from contextlib import aclosing
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO
from urllib.parse import unquote

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from .errors import InvalidRequest, LumaServerError, StillUploading, quote
from .media import sniff
from .models import LocalFile, MediaType

INLINE_BYTES = 4 * 1024**2
"""Content up to this size travels inside the request."""

CHUNK_BYTES = 1024**2
_HEAD_BYTES = 258
"""What tells the type. A multiple of three, so that base64 can be cut there."""

_MB = 1024**2
_MOST_MB: dict[MediaType, int] = {"image": 50, "video": 200}
"""Source: Luma Agents API documentation, error handling (images) and video editing (videos)."""

_FORMATS: dict[MediaType, str] = {"image": "an image (JPEG, PNG, WebP, GIF)", "video": "a video (MP4, MOV, WebM)"}
_NO_VIDEO = re.compile(rb"hei|hev|avi|mif1|msf1|M4A|M4B|crx|jxl")
"""How brands begin that use the container of MP4 for pictures or for sound alone."""

_CLIENT_SIDE = re.compile(r"/mnt/(user-data|data|skills)/|/home/(claude|oai)/")
"""Where clients keep files of their own that nobody else sees."""

_OPEN_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOFOLLOW", "O_BINARY"))
"""What took the file's place since it was looked at must neither block us nor lead elsewhere."""

Upload = Callable[[int, str, str, AsyncIterator[bytes]], Awaitable[str]]
"""Sends size, MIME type, name and content to Luma, and gives the id of the file when it is ready."""


@dataclass(frozen=True)
class _Source:
    """Content that was checked and hashed.

    Attributes:
        path: the file, links resolved, or `data:`.
        name: what Luma is told as its name.
        open: opens it for reading.
        identity: what shows that the file is still the one that was hashed.
        data: base64, where it is small.
    """

    path: str
    name: str
    media_type: str
    digest: str
    size: int
    open: Callable[[], IO[bytes]]
    identity: tuple[int, ...] | None = None
    data: str | None = None


@dataclass
class _Running:
    """An upload under way.

    Attributes:
        sent: bytes that have left.
        listeners: told of progress.
        ended: set when there is a `file_id` or an `error`.
    """

    source: _Source
    sent: int = 0
    listeners: list[Callable[[str], None]] = field(default_factory=list)
    file_id: str | None = None
    error: Exception | None = None
    ended: anyio.Event = field(default_factory=anyio.Event)

    @property
    def words(self) -> str:
        size = self.source.size
        if self.sent >= size:
            return f"uploaded {size / _MB:.0f} MB, Luma is checking the file"
        return f"uploading {self.sent / _MB:.0f} of {size / _MB:.0f} MB"


class Inputs:
    """Local files of the user's on their way to Luma.

    Args:
        folders: where they may lie; with none, no local file is read.
        home: what `~` means.
        tasks: where uploads run; its end cuts them off.
        upload: sends one file.
    """

    def __init__(self, folders: tuple[Path, ...], home: Path | None, tasks: TaskGroup, upload: Upload) -> None:
        self._folders, self._home, self._tasks, self._upload = folders, home, tasks, upload
        self._running: dict[str, _Running] = {}
        # By digest. How long Luma keeps a file is not known: an id that it refuses is forgotten.
        self._sources: dict[str, _Source] = {}
        self._held = Counter[str]()
        self._ready: dict[str, str] = {}

    async def inspect(self, text: str, parameter: str, kinds: Collection[MediaType], *, until: float) -> LocalFile:
        """Read and check what a parameter names. Nothing is sent: a large file has neither data nor id yet.

        Args:
            text: an absolute path, one that starts with `~/`, or a `data:` URI.
            parameter: its name, for messages.
            kinds: what may be meant.
            until: when to give up, on the loop's clock.

        Raises:
            InvalidRequest: it can't be used.
        """
        source = None
        with anyio.CancelScope(deadline=until):
            source = await anyio.to_thread.run_sync(self._read, text.strip(), parameter, kinds, abandon_on_cancel=True)
        if source is None:
            raise LumaServerError(
                f"There was no time left to read {parameter}. Nothing was bought. Allow more time (wait_s, "
                "LUMA_MCP_WAIT_S), or copy the file to a faster disk."
            )
        self._sources[source.digest] = source
        self._held[source.digest] += 1
        return LocalFile(
            path=source.path,
            media_type=source.media_type,
            digest=source.digest,
            size=source.size,
            data=source.data,
            file_id=self._ready.get(source.digest),
        )

    async def upload(self, file: LocalFile, *, until: float, say: Callable[[str], None]) -> LocalFile:
        """The file, at Luma if it is too large to travel inside a request.

        Args:
            file: what `inspect` gave.
            until: when to give up waiting, on the loop's clock; the upload goes on.
            say: told how far it is.

        Raises:
            InvalidRequest: the file has changed; nothing was bought.
            StillUploading: there was no time left; the same call again joins the upload, or finds it ready.
            LumaServerError: the upload failed; the next call tries again.
        """
        if file.data is not None or file.file_id is not None:
            return file
        return file.model_copy(update={"file_id": await self._sent(self._sources[file.digest], until, say)})

    def release(self, file: LocalFile) -> None:
        """Let go of what `inspect` read, once for each time; an upload under way has its own hold of it."""
        self._held[file.digest] -= 1
        if self._held[file.digest] <= 0:
            del self._held[file.digest], self._sources[file.digest]

    def forget(self, file: LocalFile) -> None:
        """Send the file anew the next time: Luma did not know its id any more."""
        self._ready.pop(file.digest, None)

    async def _sent(self, source: _Source, until: float, say: Callable[[str], None]) -> str:
        running = self._running.get(source.digest)
        if running is None:
            running = self._running[source.digest] = _Running(source)
            self._tasks.start_soon(self._send, running)
        say(running.words)
        running.listeners.append(say)
        try:
            with anyio.CancelScope(deadline=until):
                await running.ended.wait()
        finally:
            running.listeners.remove(say)
        if running.error:
            raise running.error
        if running.file_id is None:
            raise StillUploading(
                f"{quote(source.path)} is on its way to Luma: {running.words}. Nothing was bought. Make the same call "
                "again: the upload goes on meanwhile, and the call finds it."
            )
        return running.file_id

    async def _send(self, running: _Running) -> None:
        source = running.source
        try:
            with await anyio.to_thread.run_sync(_reopened, source) as file:
                async with aclosing(_chunks(running, file)) as chunks:
                    running.file_id = await self._upload(source.size, source.media_type, source.name, chunks)
            self._ready[source.digest] = running.file_id
        except Exception as error:  # noqa: BLE001 - handed to the calls that wait, which raise it
            running.error = error
        del self._running[source.digest]
        running.ended.set()

    def _read(self, text: str, parameter: str, kinds: Collection[MediaType]) -> _Source:
        """Everything before the upload. It blocks: call it in a worker thread."""
        if text[:5].lower() == "data:":
            return _read_data(text[5:], parameter, kinds)
        shown = f"{parameter} ({quote(text)})"
        try:
            path = self._find(text, shown)
            with _open(path, shown) as file:
                return _read_file(file, path, parameter, shown, kinds)
        except (FileNotFoundError, NotADirectoryError):
            raise _no(f"{shown} does not exist on the computer that this server runs on", "Check the path.") from None
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise _no(f"{shown} can't be read ({why})", "Check the path and its permissions.") from None
        except (ValueError, RuntimeError):  # NUL or half characters; links in a circle before Python 3.13
            raise _no(f"{parameter} is a path that can't exist", "Check the path.") from None

    def _find(self, text: str, shown: str) -> Path:
        """The file that a path means, links resolved, if it may be read."""
        if not self._folders:
            raise _no("Local files are switched off", "LUMA_MCP_INPUT_DIRS names the folders that they may come from.")
        if text[:5].lower() == "file:":
            raise _no(f"{shown} is a file: URL", "Write the plain path instead, without file:// and with no %20.")
        if text[:2] in ("\\\\", "//", "\\/", "/\\"):
            raise _no(f"{shown} is a network path", "Copy the file to this computer and name that copy.")
        if os.name != "nt" and re.match(r"[A-Za-z]:[\\/]", text):
            raise _no(
                f"{shown} is a Windows path, but this server runs on another system",
                "Name the file by its path there; in WSL drive C: is /mnt/c.",
            )
        path = Path(text)
        if self._home and text[:1] == "~" and text[1:2] in ("", "/", os.sep):
            path = self._home / text[1:].lstrip("/" + os.sep)
        if (client_side := _CLIENT_SIDE.match(text)) and not Path(client_side[0]).exists():
            raise _no(
                f"{shown} lies in your client's own sandbox, which this server can't see",
                "Ask the user for the file's path on this computer, or for a public https URL.",
            )
        if not path.is_absolute():
            raise _no(f"{shown} is no absolute path on this computer", "Write it in full, or start it with ~/.")
        real, folders = path.resolve(), [folder.resolve() for folder in self._folders]
        below = [real.relative_to(folder).parts for folder in folders if real.is_relative_to(folder)]
        if not below:
            lexical = ".." not in path.parts and any(map(path.is_relative_to, (*self._folders, *folders)))
            how = "leads, by a link, out of" if lexical else "is not in"
            names = ", ".join(map(str, self._folders))
            raise _no(
                f"{shown} {how} the folders that local files may come from ({names})",
                "Copy it there, or add its folder to LUMA_MCP_INPUT_DIRS.",
            )
        if all(any(part.startswith(".") for part in parts) for parts in below):
            raise _no(f"{shown} is hidden or in a hidden folder", "Copy it to another folder and name that copy.")
        _check_regular(real.stat(), shown)  # never opened otherwise: a pipe would block, a device may act
        return real


def _no(what: str, instead: str) -> InvalidRequest:
    return InvalidRequest(f"{what}. Nothing was sent. {instead}")


def _check_regular(status: os.stat_result, shown: str) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise _no(f"{shown} is a folder", "Name one file in it.")
    if not stat.S_ISREG(status.st_mode):
        raise _no(f"{shown} is no regular file", "Save its content in one and name that.")


def _open(path: Path, shown: str) -> IO[bytes]:
    file = os.fdopen(os.open(path, _OPEN_FLAGS), "rb", buffering=0)
    try:
        _check_regular(os.fstat(file.fileno()), shown)
    except InvalidRequest:
        file.close()
        raise
    return file


def _identity(file: IO[bytes]) -> tuple[int, ...]:
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _read_file(file: IO[bytes], path: Path, parameter: str, shown: str, kinds: Collection[MediaType]) -> _Source:
    identity = _identity(file)
    size = left = os.fstat(file.fileno()).st_size
    media_type = _check(file.read(_HEAD_BYTES), size, parameter, shown, kinds)
    file.seek(0)
    digest, content = hashlib.sha256(), bytearray()
    while left and (chunk := file.read(min(CHUNK_BYTES, left))):
        left -= len(chunk)
        digest.update(chunk)
        if size <= INLINE_BYTES:
            content += chunk
    if left or _identity(file) != identity:
        raise _no(f"{shown} is being changed at this moment", "Call again when it is finished.")
    # A name may hold bytes that are no text.
    place, name = (os.fsencode(text).decode(errors="replace") for text in (path, path.name))
    return _Source(
        place,
        name,
        media_type,
        digest.hexdigest(),
        size,
        open=lambda: _open(path, shown),
        identity=identity,
        data=base64.b64encode(content).decode() if content else None,
    )


def _read_data(text: str, parameter: str, kinds: Collection[MediaType]) -> _Source:
    shown = f"{parameter} (a data: URI)"
    head, comma, payload = text.partition(",")
    named, *flags = (part.strip().lower() for part in head.split(";"))
    if not comma or "base64" not in flags:
        raise _no(f"{shown} is not in base64", "Write data:image/png;base64, and the content in base64 behind it.")
    payload = "".join(unquote(payload).split())
    size = len(payload) * 3 // 4 - payload[-2:].count("=")
    try:
        start = base64.b64decode(payload[: _HEAD_BYTES // 3 * 4], validate=True)
        media_type = _check(start, size, parameter, shown, kinds)
        content = base64.b64decode(payload, validate=True)
    except ValueError:
        raise _no(f"{shown} holds broken base64", "Encode the whole file anew, or name it by its path.") from None
    # Videos are often called MP4 whatever they are.
    is_video = named.startswith("video/") and media_type.startswith("video/")
    if named and not is_video and named.replace("/jpg", "/jpeg") != media_type:
        raise _no(f"{shown} is called {quote(named)} but holds {media_type}", f"Write data:{media_type};base64,… .")
    return _Source(
        "data:",
        f"input.{media_type.partition('/')[2]}",
        media_type,
        hashlib.sha256(content).hexdigest(),
        len(content),
        open=lambda: BytesIO(content),
        data=base64.b64encode(content).decode() if len(content) <= INLINE_BYTES else None,
    )


def _check(head: bytes, size: int, parameter: str, shown: str, kinds: Collection[MediaType]) -> str:
    """The MIME type of content that the parameter takes."""
    if not size:
        raise _no(f"{shown} is empty", "Name another file.")
    wanted = " or ".join(words for kind, words in _FORMATS.items() if kind in kinds)
    media_type = _media_type(head)
    if media_type is None:
        raise _no(f"{shown} is not {wanted} by its content", "Convert it, whatever its name ends in, or name another.")
    kind: MediaType = "video" if media_type.startswith("video") else "image"
    if kind not in kinds:
        raise _no(f"{shown} is {_FORMATS[kind].split(' (')[0]} by its content", f"{parameter} takes {wanted}.")
    if size > _MOST_MB[kind] * _MB:
        raise _no(
            f"{shown} has {size / _MB:,.0f} MB, and Luma takes at most {_MOST_MB[kind]} MB of {kind}",
            "Make it smaller.",
        )
    return media_type


def _media_type(head: bytes) -> str | None:
    ending = sniff(head)
    if ending == "mp4":
        brand = head[8:12]
        return None if _NO_VIDEO.match(brand) else "video/quicktime" if brand == b"qt  " else "video/mp4"
    if ending == "webm":
        return "video/webm" if b"webm" in head else None  # Matroska begins in the same way
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "image/gif"
    return f"image/{ending.replace('jpg', 'jpeg')}" if ending else None


def _reopened(source: _Source) -> IO[bytes]:
    try:
        return source.open()
    except (OSError, InvalidRequest):
        raise _changed(source) from None


async def _chunks(running: _Running, file: IO[bytes]) -> AsyncGenerator[bytes, None]:
    source = running.source

    def read() -> bytes:
        try:
            chunk = file.read(min(CHUNK_BYTES, source.size - running.sent))
            # Looked at before the last piece is handed over, so that no changed file is ever whole at Luma.
            if not chunk or (source.identity and _identity(file) != source.identity):
                raise _changed(source)
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise InvalidRequest(f"{quote(source.path)} could not be read ({why}). Nothing was bought.") from None
        return chunk

    while running.sent < source.size:
        chunk = await anyio.to_thread.run_sync(read)
        yield chunk
        running.sent += len(chunk)
        for say in running.listeners:
            say(running.words)


def _changed(source: _Source) -> InvalidRequest:
    return InvalidRequest(
        f"{quote(source.path)} was changed while it was being sent. Nothing was bought. Call again when it is finished."
    )
