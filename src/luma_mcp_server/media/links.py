"""What links lead to: over https alone, and into a file in pieces, taken up again until it is whole."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import BinaryIO, Protocol

import anyio
import anyio.lowlevel
import httpx

from ..errors import LumaServerError
from .references import is_public

MB = 1024**2
_MOST_BYTES = 2 * 1024**3
_MOST_BREAKS = 3
_MOST_REDIRECTS = 5

BUFFER_BYTES = 256 * 1024
"""What is written to a disk at once: fast enough, and no other call waits long for it."""

_TURNS = 2
"""Turns of the event loop that other calls get after each piece: without them a ping, which takes about ten turns,
waits for ten pieces; with more of them the download slows down (benchmarks/download.py)."""

Renew = Callable[[], Awaitable[str | None]]


class Work(Protocol):
    """Something that takes its time."""

    def describe(self) -> str:
        """How far it is, in words."""

    def progress(self) -> tuple[float, float] | None:
        """How much is done, and of how much, where that is known."""


Follow = Callable[[Work], None]
"""Is told what to report the progress of."""


class LinkFailed(LumaServerError):
    """A link did not lead to a file, for the reason `why`; `status` where that was an answer."""

    def __init__(self, why: str, status: int | None = None) -> None:
        super().__init__(
            f"The file could not be downloaded from Luma's link ({why}); it may have expired. Nothing is lost: "
            "download_generation uses a new one.",
            status=status,
        )
        self.why = why


class _Broken(LinkFailed):
    """The connection broke, or the answer can't be used: the next one may be better."""


class Links:
    """Links of the user's and of Luma's. Those to `own_host` may be http: the API runs there."""

    def __init__(self, http: Callable[[], httpx.AsyncClient], own_host: str | None) -> None:
        self._http, self._own_host = http, own_host

    @asynccontextmanager
    async def open(self, url: str, headers: dict[str, str] | None = None) -> AsyncIterator[httpx.Response]:
        """What a link leads to; `LinkFailed` if that is nothing, or elsewhere than on public https."""
        try:
            response = await self._followed(url, headers)
            try:
                if not response.is_success:
                    raise LinkFailed(f"HTTP {response.status_code}", response.status_code)
                yield response
            finally:
                await response.aclose()
        except httpx.TransportError as error:
            raise _Broken(type(error).__name__) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise LinkFailed(type(error).__name__) from error

    async def _followed(self, url: str, headers: dict[str, str] | None) -> httpx.Response:
        """The answer at the end of all redirects; each address is looked at before anything is sent there."""
        http = self._http()
        request = http.build_request("GET", url, headers=headers)
        for _ in range(_MOST_REDIRECTS + 1):
            to = request.url
            if to.host != self._own_host and not (to.scheme == "https" and is_public(to.host)):
                raise LinkFailed("it leads to an address that is not public https")
            response = await http.send(request, stream=True, follow_redirects=False)
            if response.next_request is None:
                return response
            await response.aclose()
            request = response.next_request
        raise LinkFailed("it is redirected too often")

    async def fetch(self, url: str, file: BinaryIO, renew: Renew, follow: Follow) -> None:
        """Write what a link leads to into a new file that is buffered well; `follow` is told of it.

        A broken connection is taken up where it broke, until it breaks three times in a row without a byte more. A link
        that has expired is renewed once.
        """
        download, renewed, breaks = _Download(file), False, 0
        follow(download)
        while True:
            before = download.most
            try:
                async with self.open(url, download.headers) as response:
                    return await download.take(response)
            except _Broken:
                breaks = breaks + 1 if download.most == before else 1
                if breaks == _MOST_BREAKS:
                    raise
                await anyio.sleep(breaks)
            except LinkFailed as error:
                if error.status != 403 or renewed:
                    raise
                url, renewed = await renew() or url, True


class _Download:
    """A file on its way: what has arrived, and what tells whether the next answer goes on with it."""

    def __init__(self, file: BinaryIO) -> None:
        self.most = 0  # the most that ever arrived: without more than that, trying again is no progress
        self._file, self._arrived = file, 0
        self._length: int | None = None
        self._etag: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What to ask for: the rest."""
        headers = {"Accept-Encoding": "identity"}  # so that lengths and places are those of the file
        if self._arrived:
            headers["Range"] = f"bytes={self._arrived}-"
            if self._etag:
                headers["If-Range"] = self._etag
        return headers

    def progress(self) -> tuple[float, float] | None:
        """How many bytes have arrived, and of how many."""
        return (self._arrived, self._length) if self._length else None

    def describe(self) -> str:
        """The same in words."""
        whole = f" of {self._length / MB:.0f}" if self._length else ""
        return f"saving, {self._arrived / MB:.0f}{whole} MB" if self._arrived else "saving"

    async def take(self, response: httpx.Response) -> None:
        """Write what this answer has of the file; `_Broken` unless the file is whole then."""
        if response.status_code == 206:
            self._go_on(response.headers.get("content-range", ""))
        else:
            self._start_over(response.headers.get("content-length", ""), response.headers.get("etag", ""))
        async for chunk in response.aiter_raw():
            self._file.write(chunk)
            self._arrived += len(chunk)
            for _ in range(_TURNS):
                await anyio.lowlevel.checkpoint()
            self.most = max(self.most, self._arrived)
            if max(self._arrived, self._length or 0) > _MOST_BYTES:
                raise LumaServerError("The file is larger than 2 GiB, so it was not saved. Use the link.")
        if self._length not in (None, self._arrived):
            raise _Broken(f"it ended after {self._arrived} of {self._length} bytes")
        self._file.flush()

    def _go_on(self, content_range: str) -> None:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", content_range)
        if not found or int(found[1]) != self._arrived or self._length not in (None, int(found[2])):
            self._start_over()  # the next request asks for the whole file
            raise _Broken("it answered with another part of the file")
        self._length = int(found[2])

    def _start_over(self, length: str = "", etag: str = "") -> None:
        self._file.seek(0)
        self._file.truncate()
        self._arrived = 0
        self._length = int(length) if length.isdecimal() else None
        self._etag = etag if etag.startswith('"') else None  # a weak one does not tell files apart
