"""The files of Luma's Agents API: registered, uploaded to storage, ingested, used, deleted.

Source: luma-agents 0.5.0 resources/files.py. What is refused at the upload is what S3 refuses of a presigned PUT.
"""

import dataclasses
import hashlib
import uuid
from typing import Any

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from . import LINK_SECONDS, Sandbox, storage_error, timestamp
from . import agents_bodies as bodies
from .bodies import read

KEPT_BYTES = 4 * 1024**2
HEAD_BYTES = 64
INGEST_SECONDS = 2.0

SIGNATURES = {
    "image/jpeg": b"\xff\xd8\xff",
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/gif": b"GIF8",
    "video/webm": b"\x1a\x45\xdf\xa3",
}


def sniffed(content: bytes) -> str | None:
    """The media type that the first bytes speak of. Images: those that Luma Agents' FAQ names."""
    if content[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"AVI ": "video/x-msvideo"}.get(content[8:12])
    if content[4:8] == b"ftyp":  # the same container holds HEIC and AVIF pictures
        return None if content[8:12] in (b"heic", b"heix", b"avif", b"mif1") else "video/mp4"
    return next((kind for kind, start in SIGNATURES.items() if content.startswith(start)), None)


def same_type(named: str, found: str | None) -> bool:
    """Whether a medium is what it is called. Videos differ too little in their first bytes to be told apart."""
    if found is None or found.startswith("video/"):
        return found is not None and named.startswith("video/")
    return named.replace("image/jpg", "image/jpeg") == found


@dataclasses.dataclass
class StoredFile:
    """One file. Of more than 4 MB only the first bytes are kept."""

    id: str
    asked: bodies.NewFile
    created_at: float
    ingest_seconds: float
    content: bytes = b""
    size: int = 0
    sha256: str = ""
    completed_at: float | None = None
    deleted_at: float | None = None

    @property
    def fits(self) -> bool:
        return same_type(self.asked.mime_type, sniffed(self.content))

    def state(self, now: float) -> str:
        expires = self.asked.expires_at
        if self.deleted_at is not None or (expires and now >= expires.timestamp()):
            return "deleted"
        if self.completed_at is None or now < self.completed_at + self.ingest_seconds:
            return "pending"
        return "ready" if self.fits else "failed"

    def shown(self, now: float) -> dict[str, Any]:
        """Source: luma-agents 0.5.0 types/file.py"""
        state = self.state(now)
        return {
            "id": self.id,
            "created_at": timestamp(self.created_at),
            "state": state,
            "deleted_at": timestamp(self.deleted_at) if self.deleted_at is not None else None,
            "failure_reason": "File is not an image or video of its media type" if state == "failed" else None,
            **self.asked.model_dump(mode="json"),
        }

    def headers(self) -> dict[str, str]:
        """What the link for the upload was signed with."""
        return {"Content-Type": self.asked.mime_type, "x-amz-meta-file-id": self.id}


class Files:
    """The endpoints."""

    def __init__(self, world: Sandbox) -> None:
        self.world = world

    async def create(self, request: Request) -> Response:
        if not request.headers.get("content-type", "").startswith("application/json"):
            raise HTTPException(415, "The sandbox takes presigned uploads only: send application/json")
        asked = await read(request, bodies.invalid, bodies.NewFile)
        now, world = self.world.clock(), self.world
        ingest = INGEST_SECONDS if world.seconds is None else min(world.seconds, INGEST_SECONDS)
        file = StoredFile(str(uuid.uuid4()), asked, now, ingest)
        world.files[file.id] = file
        upload = {
            "url": world.link(request, f"uploads/{file.id}"),
            "method": "PUT",
            "headers": file.headers(),
            "expires_at": timestamp(int(now) + LINK_SECONDS),
        }
        return JSONResponse({"id": file.id, "state": "pending", "file": file.shown(now), "upload": upload}, 201)

    async def complete(self, request: Request) -> Response:
        file = self._known(request)
        if not file.size:
            raise HTTPException(400, "File has not been uploaded")
        if file.completed_at is None:
            file.completed_at = self.world.clock()
        return JSONResponse(file.shown(self.world.clock()))

    async def get(self, request: Request) -> Response:
        file = self.world.files.get(request.path_params["id"]) or self._known(request)
        return JSONResponse(file.shown(self.world.clock()))

    async def list(self, request: Request) -> Response:
        """Newest first; deleted files are shown to those who ask for them."""
        try:
            page = bodies.FilePage.model_validate(dict(request.query_params))
        except ValidationError as error:
            raise bodies.invalid(error) from None
        now, ids = self.world.clock(), list(reversed(self.world.files))
        if page.cursor is not None and page.cursor not in ids:
            raise HTTPException(400, "Invalid cursor")
        older = ids[ids.index(page.cursor) + 1 :] if page.cursor else ids
        files = [self.world.files[id_].shown(now) for id_ in older]
        files = [file for file in files if page.purpose in (None, file["purpose"])]
        files = [file for file in files if (file["state"] == page.state if page.state else file["state"] != "deleted")]
        shown, more = files[: page.limit], len(files) > page.limit
        return JSONResponse({"data": shown, "has_more": more, "next_cursor": shown[-1]["id"] if more else None})

    async def delete(self, request: Request) -> Response:
        self._known(request).deleted_at = self.world.clock()
        return Response(status_code=204)

    def _known(self, request: Request) -> StoredFile:
        file = self.world.files.get(request.path_params["id"])
        if file is None or file.state(self.world.clock()) == "deleted":
            raise HTTPException(404, "File not found")
        return file


async def receive(request: Request) -> Response:
    """The storage's end of an upload. Never more than 4 MB of it are in memory."""
    world: Sandbox = request.app.state.sandbox
    file_id = request.path_params["file_id"]
    if refusal := world.link_refusal(f"uploads/{file_id}", request.query_params):
        return storage_error(403, "AccessDenied", refusal)
    file = world.files[file_id]
    if request.headers.get("authorization"):
        return storage_error(400, "InvalidArgument", "Only one auth mechanism allowed")
    if any(request.headers.get(name) != value for name, value in file.headers().items()):
        return storage_error(403, "SignatureDoesNotMatch", "The headers are not those that were signed.")
    if (length := request.headers.get("content-length")) is None:
        return storage_error(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
    if int(length) != file.asked.size_bytes:
        return storage_error(403, "SignatureDoesNotMatch", "The size is not the one that was signed.")
    content, digest, size = bytearray(), hashlib.sha256(), 0
    try:
        async for chunk in request.stream():
            content += chunk[: KEPT_BYTES - len(content)]
            digest.update(chunk)
            size += len(chunk)
    except ClientDisconnect:
        size = -1
    if size != file.asked.size_bytes:
        return storage_error(400, "IncompleteBody", "The body is not as long as the Content-Length header says.")
    file.content = bytes(content if size <= KEPT_BYTES else content[:HEAD_BYTES])
    file.size, file.sha256 = size, digest.hexdigest()
    return Response(headers={"ETag": f'"{file.sha256[:32]}"'})
