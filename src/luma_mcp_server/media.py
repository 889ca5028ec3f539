"""Media on the way in (what a parameter names) and on the way out (saved files, preview pictures)."""

import ipaddress
import os
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urljoin, urlsplit
from weakref import WeakValueDictionary

import anyio

from .errors import InvalidRequest, LumaServerError
from .models import Generation

if TYPE_CHECKING:
    import httpx

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_SAVED_NAME = re.compile(rf"(?:.*-)?({UUID.pattern})\.\w+", re.IGNORECASE)
_PATH = re.compile(r"[A-Za-z]:[\\/]|[/~\\.]|file:", re.IGNORECASE)
_LONGEST_URL = 8192

VIDEO_ENDINGS = ("mp4", "mov", "webm", "m4v", "mkv", "avi")
IMAGE_ENDINGS = ("jpg", "jpeg", "png", "webp", "gif", "avif", "heic")


class FileFailed(LumaServerError):
    """A file could not be fetched or written. The generation itself is safe at Luma."""


@dataclass(frozen=True)
class Reference:
    """What a media parameter names: a generation, or a URL.

    Attributes:
        kind: what `value` is.
        value: the id in lower case, or the URL.
        weight: 0 to 1, where one was written behind it.
    """

    kind: Literal["generation", "url"]
    value: str
    weight: float | None = None


def parse_reference(
    text: str, parameter: str, *, media: bool = True, weighted: bool = False, own_host: str | None = None
) -> Reference:
    """Read a media parameter.

    Args:
        text: a generation id, a URL or the path of a file that we saved; `#weight=0.8` may follow where allowed.
        parameter: its name, for messages.
        media: whether an image or video may be meant that Luma has not made.
        weighted: whether a weight has a meaning there.
        own_host: a host of this computer that may be named nevertheless, since the API is on it.

    Raises:
        InvalidRequest: it is none of these, or Luma could not fetch it.
    """
    value, marked, weight_text = text.strip().partition("#weight=")
    if weighted and not marked and re.search(r"#\w+=", value):
        marked = "a misspelt one"
    weight = _weight(weight_text, parameter, weighted) if marked else None
    if UUID.fullmatch(value):
        return Reference("generation", value.lower(), weight)
    if media and value[:5].lower() == "data:":
        raise InvalidRequest(
            f"{parameter} holds the image itself, but Luma's Dream Machine API fetches images by URL. Nothing was sent."
            " Put it at a public https URL, or use an Agents key (ray-3.2, uni-1)."
        )
    if _PATH.match(value) and (saved := _SAVED_NAME.fullmatch(re.split(r"[\\/]", value)[-1])):
        return Reference("generation", saved[1].lower(), weight)
    if media and _PATH.match(value):
        raise InvalidRequest(_local_file(value, parameter))
    _check_url(value, parameter, own_host)
    return Reference("url", value, weight)


def is_local(text: str, saved_in: Path | None, home: Path | None) -> bool:
    """Whether a parameter names a file of the user's, or holds one: no URL, no id, and nothing that we saved.

    Args:
        text: the parameter.
        saved_in: the folder that we save to.
        home: what `~` means.
    """
    value = text.strip()
    if value[:5].lower() == "data:":
        return True
    if not _PATH.match(value):
        return False
    path = home / value[2:] if home and value.startswith(("~/", "~\\")) else Path(value)
    if saved_in is None or _SAVED_NAME.fullmatch(path.name) is None:
        return True
    return path.parent.resolve() != saved_in.resolve()


def _weight(text: str, parameter: str, weighted: bool) -> float:
    if not weighted:
        raise InvalidRequest(f"{parameter} takes no weight. Nothing was sent. Leave out #weight=….")
    try:
        weight = float(text)
    except ValueError:
        weight = -1.0
    # Source of the range: ComfyUI's Luma nodes; Luma publishes none.
    if not 0 <= weight <= 1:
        raise InvalidRequest(f"{parameter}: a weight is a number from 0 to 1, as in #weight=0.8. Nothing was sent.")
    return weight


def _local_file(path: str, parameter: str) -> str:
    there = (
        "That path is inside your client's own sandbox, which this server can't see; and Luma's"
        if path.startswith("/mnt/")
        else "Luma's"
    )
    return (
        f"{parameter} is a local file. {there} Dream Machine API fetches media by URL alone. Nothing was sent. "
        "Put the file at a public https URL, or use an Agents key (ray-3.2, uni-1 take local files)."
    )


def _check_url(url: str, parameter: str, own_host: str | None) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or re.search(r"\s", url) or len(url) > _LONGEST_URL:
        raise InvalidRequest(
            f"{parameter} is neither a generation id (36 characters; list_generations shows them) nor an https URL. "
            "Nothing was sent."
        )
    if not _public(host) and host != own_host:
        raise InvalidRequest(
            f"{parameter} names an address that only your own network can reach, so Luma can't fetch it. "
            "Nothing was sent. Use a public https URL."
        )


def _public(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return host != "localhost" and not host.endswith((".localhost", ".local", ".internal"))


def guess_type(url: str) -> Literal["video", "image"] | None:
    """What a URL's ending says that it is."""
    ending = urlsplit(url).path.rpartition(".")[2].lower()
    return "video" if ending in VIDEO_ENDINGS else "image" if ending in IMAGE_ENDINGS else None


def sniff(head: bytes) -> str | None:
    """File ending for the first bytes of a video or image; nothing for anything else."""
    if head[4:8] == b"ftyp":
        return "mp4"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "webm"
    if head[:3] == b"\xff\xd8\xff":
        return "jpg"
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    return "webp" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None


_MAX_DOWNLOAD = 2 * 1024**3
_MAX_REDIRECTS = 5
_MAX_PREVIEW = 700_000
"""Bytes. Claude Desktop drops results above 1 MB, and base64 adds a third."""

_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*\u200e\u200f\u202a-\u202e\u2066-\u2069]')


class Files:
    """Downloads of one server.

    Args:
        http: gives the shared client.
        folder: where files go; none if the setting can't be used.
        own_host: a host of this computer that links may lead to, since the API is on it.
    """

    def __init__(self, http: Callable[[], "httpx.AsyncClient"], folder: Path | None, own_host: str | None) -> None:
        self._http, self._folder, self._own_host = http, folder, own_host
        self._saving: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()
        """Generations that are being saved under their own names: whoever else wants one waits for its file."""

    def problem(self) -> str | None:
        """Why no file can be saved, as far as that is seen without trying."""
        folders = (self._folder, *self._folder.parents) if self._folder else ()
        there = next((path for path in folders if os.access(path, os.F_OK)), None)
        if there is None or (there.is_dir() and os.access(there, os.W_OK)):
            return None
        why = "can't be written" if there.is_dir() else "is not a folder"
        return f"LUMA_MCP_OUTPUT_DIR is {self._folder}, but {there} {why}. Correct it, then restart this server."

    async def save(self, generation: Generation, filename: str | None = None) -> Path:
        """Save a completed generation, and say where.

        Without a `filename` the name ends in the generation's id: the same generation is then fetched once, and its
        file can stand for it.

        Raises:
            InvalidRequest: `filename` is no file name.
            FileFailed: it could not be fetched or written.
        """
        if self._folder is None:
            raise FileFailed("LUMA_MCP_OUTPUT_DIR is not an absolute path. Correct it; until then use the link.")
        stem = _stem(filename) if filename else _default_stem(generation)
        url = generation.url
        if url is None:
            raise FileFailed("Luma gave no link to the file. Ask again with get_generation.")
        try:
            await anyio.Path(self._folder).mkdir(parents=True, exist_ok=True)
            if filename:
                return await self._fetch(url, stem)
            async with self._saving.setdefault(stem, anyio.Lock()):
                return self.saved(generation) or await self._fetch(url, stem, generation)
        except OSError as error:
            raise FileFailed(
                f"The file could not be written to {self._folder} ({error.strerror or type(error).__name__}). "
                "Free or change that folder (LUMA_MCP_OUTPUT_DIR); until then use the link."
            ) from error

    def saved(self, generation: Generation) -> Path | None:
        """Where a generation's file is, if it was saved under its own name."""
        if self._folder is None:
            return None
        stem = _default_stem(generation)
        names = (self._folder / f"{stem}.{ending}" for ending in ("mp4", "jpg", "png", "webp", "webm"))
        return next((path for path in names if path.is_file()), None)

    async def _fetch(self, url: str, stem: str, named_for: Generation | None = None) -> Path:
        import httpx

        assert self._folder is not None
        try:
            async with self._open(url) as response:
                chunks = response.aiter_bytes()
                head = b""
                while len(head) < 12 and (chunk := await anext(chunks, b"")):
                    head += chunk
                if (ending := sniff(head)) is None:
                    raise FileFailed("Luma's link did not lead to a video or an image. Ask again with get_generation.")
                part, path = _reserve(self._folder, stem, ending)
                try:
                    written = len(head)
                    async with await anyio.open_file(part, "wb") as file:
                        await file.write(head)
                        async for chunk in chunks:
                            written += len(chunk)
                            if written > _MAX_DOWNLOAD:
                                raise FileFailed("The file is larger than 2 GiB and was not saved: use the link.")
                            await file.write(chunk)
                    if named_for is None:
                        part.rename(path)
                    else:  # another server may have saved it; its part file, or one left behind, leaves the name free
                        path = self.saved(named_for) or part.replace(self._folder / f"{stem}.{ending}")
                        part.unlink(missing_ok=True)
                except BaseException:
                    part.unlink(missing_ok=True)
                    raise
                return path
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise FileFailed(
                f"The download broke off ({type(error).__name__}). Nothing is lost: call download_generation."
            ) from error

    async def picture(self, url: str) -> tuple[bytes, str]:
        """A preview picture and its MIME type, small enough for every client.

        Raises:
            FileFailed: it could not be fetched, is no picture, or is too large without the `media` extra.
        """
        import httpx

        data = b""
        try:
            async with self._open(url) as response:
                async for chunk in response.aiter_bytes():
                    data += chunk
                    if len(data) > 40 * _MAX_PREVIEW:
                        raise FileFailed("The picture is too large to show. Use download_generation.")
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise FileFailed(f"The picture could not be fetched ({type(error).__name__}). Call again.") from error
        ending = sniff(data)
        if ending not in ("jpg", "png", "webp"):
            raise FileFailed("Luma's link did not lead to a picture. Ask again with get_generation.")
        if len(data) <= _MAX_PREVIEW:
            return data, f"image/{ending.replace('jpg', 'jpeg')}"
        return await anyio.to_thread.run_sync(_shrink, data), "image/jpeg"

    @asynccontextmanager
    async def _open(self, url: str) -> "AsyncIterator[httpx.Response]":
        http, hops = self._http(), 0
        while True:
            await self._check_host(url)
            response = await http.send(http.build_request("GET", url), stream=True)
            try:
                if response.has_redirect_location and hops < _MAX_REDIRECTS:
                    url, hops = urljoin(url, response.headers["location"]), hops + 1
                    continue
                if not response.is_success:
                    raise FileFailed(
                        f"The link was answered with HTTP {response.status_code}; it may have expired. Nothing is "
                        "lost: get_generation gives a fresh one."
                    )
                yield response
                return
            finally:
                await response.aclose()

    async def _check_host(self, url: str) -> None:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if host == self._own_host:
            return
        if parts.scheme != "https":
            raise FileFailed("Luma's link is not https, so it was not followed.")
        try:
            found = await anyio.getaddrinfo(host, parts.port or 443, type=socket.SOCK_STREAM)
        except OSError:
            return  # behind a proxy names may not resolve here; a real failure shows at the connection
        if not all(_public(str(address[0]).partition("%")[0]) for *_, address in found):
            raise FileFailed("Luma's link leads to an address of a private network, so it was not followed.")


def _stem(filename: str) -> str:
    """A name that the user chose, without an ending that we will set."""
    name = filename.strip()
    stem, dot, ending = name.rpartition(".")
    stem = stem if dot and ending.lower() in VIDEO_ENDINGS + IMAGE_ENDINGS else name
    if (
        not stem.strip(". ")
        or stem != stem.strip(". ")
        or _FORBIDDEN.search(stem)
        or stem.partition(".")[0].lower() in _RESERVED
        or len(stem.encode()) > 200
    ):
        raise InvalidRequest(
            "filename must be a plain file name, at most 200 bytes, without folders or special characters; the folder"
            " is LUMA_MCP_OUTPUT_DIR. Nothing was saved."
        )
    return stem


def _default_stem(generation: Generation) -> str:
    words = re.sub(r"[^\w]+", "-", (generation.prompt or "").lower())[:40].strip("-_")
    return "-".join(filter(None, (words or generation.type, generation.generation_id)))


def _reserve(folder: Path, stem: str, ending: str) -> tuple[Path, Path]:
    """A part file that is ours alone, and the free name that it will get: nothing is ever overwritten."""
    for number in count(1):
        path = folder / (f"{stem}.{ending}" if number == 1 else f"{stem}-{number}.{ending}")
        part = path.with_name(path.name + ".part")
        if path.exists():
            continue
        try:
            part.touch(exist_ok=False)
        except FileExistsError:
            continue
        # Whoever held the part file before us may have finished in between.
        if not path.exists():
            return part, path
        part.unlink()
    raise AssertionError("count() does not end")


def _shrink(data: bytes) -> bytes:
    try:
        from PIL import Image
    except ImportError:
        raise FileFailed(
            "The picture is too large to show. Install luma-mcp-server[media] to have it made smaller, or use the link."
        ) from None
    try:
        with Image.open(BytesIO(data)) as picture:
            picture.thumbnail((1024, 1024))
            out = BytesIO()
            picture.convert("RGB").save(out, "JPEG", quality=85)
            return out.getvalue()
    except (OSError, Image.DecompressionBombError) as error:
        raise FileFailed(f"The picture could not be read ({type(error).__name__}). Call again.") from error
