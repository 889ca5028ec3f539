"""Luma's Agents API: its routes, its files, the media it is given, and what it charges.

Sources: luma-agents 0.5.0 for routes and answers; the guides at docs.agents.lumalabs.ai (error handling, FAQ, pricing)
for the rest. Uploads are refused as S3 refuses a presigned PUT. What is wrong with a body by itself: `agents_bodies`.
"""

import base64
import dataclasses
import hashlib
import ipaddress
import math
import mimetypes
import uuid
from typing import Any, Literal
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import agents_bodies as bodies
from . import pictures
from .pictures import Picture
from .world import LINK_SECONDS, Job, Output, Sandbox, refuse, refuse_storage, timestamp

# Source: FAQ; video editing
LARGEST_MB = {"image": 50, "video": 200}
# Source: luma-agents 0.5.0 types/video_edit_options_param.py; video reframing; FAQ, on extensions
LONGEST_SECONDS = {"video_edit": bodies.LONGEST_EDIT_SECONDS, "video_reframe": 30, "video": 30}

# Cents. Source: pricing. Luma publishes no price for a 360p extension, which is assumed to cost what any other clip
# does, nor for edits of other lengths than 5 and 10 s: each 5 s begun are charged.
GENERATE_CENTS = {"360p": 6.0, "540p": 15.0, "720p": 30.0, "1080p": 120.0}
EDIT_CENTS = {"360p": 54.0, "540p": 72.0, "720p": 108.0, "1080p": 216.0}
REFRAME_CENTS_PER_SECOND = {"360p": 3.0, "540p": 6.0, "720p": 12.0, "1080p": 36.0}
IMAGE_CENTS, REFERENCE_CENTS = {"uni-1": 4.04, "uni-1-max": 10.0}, 0.3
# How many times as much a clip costs in HDR, and with an EXR too. Source: pricing
HDR_FACTOR, EXR_FACTOR = 2, 3
# Luma publishes no price for layers: nominal amounts, so that the ledger shows them.
LAYER_CENTS = {"1k": 5.0, "2k": 10.0}

HEAD_BYTES = 64
INGEST_SECONDS = 2.0

# Source: Luma Agents FAQ, for the images
SIGNATURES = {
    "image/jpeg": (0, b"\xff\xd8\xff"),
    "image/png": (0, b"\x89PNG\r\n\x1a\n"),
    "image/gif": (0, b"GIF8"),
    "image/webp": (8, b"WEBP"),
    "video/webm": (0, b"\x1a\x45\xdf\xa3"),
    "video/mp4": (4, b"ftyp"),
}


def sniffed(content: bytes) -> str | None:
    """The media type that the first bytes show."""
    return next((kind for kind, (place, mark) in SIGNATURES.items() if content.startswith(mark, place)), None)


def same_type(named: str, found: str | None) -> bool:
    """Whether a medium is what it is called. The first bytes do not tell video formats apart."""
    if found is None or found.startswith("video/"):
        return found is not None and named.startswith("video/")
    return named.replace("image/jpg", "image/jpeg") == found


@dataclasses.dataclass
class StoredFile:
    """One file, of which only the first bytes are kept."""

    id: str
    asked: bodies.NewFile
    created_at: float
    ingest_seconds: float
    head: bytes = b""
    size: int = 0
    sha256: str = ""
    completed_at: float | None = None
    deleted_at: float | None = None

    def gone_at(self, now: float) -> float | None:
        """When it was deleted, or expired: Luma may delete it then, and the sandbox does."""
        expires = self.asked.expires_at.timestamp() if self.asked.expires_at else math.inf
        gone = min(expires, math.inf if self.deleted_at is None else self.deleted_at)
        return gone if gone <= now else None

    def state(self, now: float) -> str:
        if self.gone_at(now) is not None:
            return "deleted"
        if self.completed_at is None or now < self.completed_at + self.ingest_seconds:
            return "pending"
        return "ready" if same_type(self.asked.mime_type, sniffed(self.head)) else "failed"

    def shown(self, now: float) -> dict[str, Any]:
        """Source: luma-agents 0.5.0 types/file.py"""
        state, gone = self.state(now), self.gone_at(now)
        return {
            "id": self.id,
            "created_at": timestamp(self.created_at),
            "state": state,
            "failure_reason": "File is not an image or video of its media type" if state == "failed" else None,
            "deleted_at": None if gone is None else timestamp(gone),
            **self.asked.model_dump(mode="json"),
        }

    def headers(self) -> dict[str, str]:
        """What the upload link was signed with."""
        return {"Content-Type": self.asked.mime_type, "x-amz-meta-file-id": self.id}


def routes(world: Sandbox) -> list[Route]:
    """Source: luma-agents 0.5.0 resources. There is no list of generations."""
    api = Agents(world)
    return [
        Route("/generations", api.create, methods=["POST"]),
        Route("/generations/{id:path}", api.get, methods=["GET"]),
        Route("/files", api.create_file, methods=["POST"]),
        Route("/files", api.list_files, methods=["GET"]),
        Route("/files/{id:path}/complete", api.complete_file, methods=["POST"]),
        Route("/files/{id:path}", api.get_file, methods=["GET"]),
        Route("/files/{id:path}", api.delete_file, methods=["DELETE"]),
    ]


def _is_public(host: str) -> bool:
    """Source: FAQ, "What requirements does a reference URL need to meet?" """
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith((".local", ".internal", ".invalid", ".test", ".localhost"))


class Agents:
    """The endpoints."""

    def __init__(self, world: Sandbox) -> None:
        self.world = world

    async def create(self, request: Request) -> Response:
        body = bodies.Generation.model_validate_json(await request.body())
        body.check()
        refuse(body.video.hdr and not self.world.hdr_access, 400, "HDR is not enabled for this API client")
        sources = {place: self._look_at(place, ref, wanted) for place, ref, wanted in body.references()}
        picture, cents = self._order(body, sources)
        job = self.world.buy(request, "agents", body, body.model, picture, cents)
        return JSONResponse(await self._generation(request, job), 201)

    async def get(self, request: Request) -> Response:
        return JSONResponse(await self._generation(request, self.world.find(request.path_params["id"], "agents")))

    async def create_file(self, request: Request) -> Response:
        asked = bodies.NewFile.model_validate_json(await request.body())
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

    async def complete_file(self, request: Request) -> Response:
        file = self._file(request.path_params["id"])
        refuse(not file.size, 400, "File has not been uploaded")
        file.completed_at = file.completed_at or self.world.clock()
        return JSONResponse(file.shown(self.world.clock()))

    async def get_file(self, request: Request) -> Response:
        return JSONResponse(self._file(request.path_params["id"]).shown(self.world.clock()))

    async def delete_file(self, request: Request) -> Response:
        """What is known of the file stays readable."""
        file = self._file(request.path_params["id"])
        file.deleted_at = file.deleted_at or self.world.clock()
        return Response(status_code=204)

    async def list_files(self, request: Request) -> Response:
        """The newest alone: of the pages after the first, and of a filter by purpose, the sandbox knows nothing."""
        page, now = bodies.FilePage.model_validate(dict(request.query_params)), self.world.clock()
        files = [file.shown(now) for file in reversed(self.world.files.values())]
        files = [file for file in files if page.state in (None, file["state"])]
        return JSONResponse({"data": files[: page.limit], "has_more": len(files) > page.limit, "next_cursor": None})

    def _order(self, body: bodies.Generation, sources: dict[str, Picture | None]) -> tuple[Picture, float]:
        """What will be made, and for how many cents. A source from elsewhere is not looked at: 5 s of 16:9."""
        known = sources.get("source")
        source = known or Picture("", seconds=5.0)
        if body.type == bodies.LAYERING:
            size = (body.layering or {}).get("resolution", "1k")
            prompt, count = known.prompt if known else body.prompt, pictures.layer_count(body.prompt)
            picture = Picture(
                prompt, source.aspect_ratio, size, format="png", layers=count, gray=source.gray, version=source.version
            )
            return picture, count * LAYER_CENTS[size]
        if body.output == "image":
            cents = IMAGE_CENTS[body.model] + REFERENCE_CENTS * (len(body.image_ref) + bool(body.source))
            shape = (body.aspect_ratio if body.type == "image" else source.aspect_ratio) or "16:9"
            kind: Literal["jpg", "png"] = "jpg" if body.output_format == "jpeg" else "png"
            manga, version = body.style == "manga", self.world.version(body.prompt)
            return Picture(body.prompt, shape, format=kind, gray=manga, version=version), round(cents, 2)
        if known and body.video.edit:
            body.video.edit.check("edit.keyframes", known.seconds)
        return self._clip(body, sources, source)

    def _clip(
        self, body: bodies.Generation, sources: dict[str, Picture | None], source: Picture
    ) -> tuple[Picture, float]:
        video, edit, position = body.video, body.video.edit or bodies.Edit(), body.video.source_position
        size, ratio, seconds = video.resolution, body.aspect_ratio or "16:9", source.seconds
        if body.type == "video":
            clip = (sources.get("video.start_frame") or sources.get("video.end_frame")) if body.extends else None
            ratio, seconds = (clip.aspect_ratio, clip.seconds) if clip else (ratio, 0.0)
            seconds += video.seconds
            cents = GENERATE_CENTS[size] * (3 if video.duration == "10s" else 1)
        elif body.type == "video_edit":
            ratio, cents = source.aspect_ratio, EDIT_CENTS[size] * math.ceil(seconds / 5)
        else:
            cents = REFRAME_CENTS_PER_SECOND[size] * math.ceil(seconds)
        longest = LONGEST_SECONDS[body.type]
        refuse(seconds > longest, 422, f"Type '{body.type}' supports up to {longest} seconds of video")
        indexes = video.keyframe_indexes or edit.keyframe_indexes or []
        guides = [picture for place, picture in sources.items() if "keyframes[" in place]
        picture = Picture(
            body.prompt,
            ratio,
            size,
            seconds,
            exr=bool(video.exr_export),
            version=self.world.version(body.prompt),
            notes=", ".join([*(["HDR"] if video.hdr else []), *edit.notes]),
            place=(position.x_norm, position.y_norm, position.w_norm, position.h_norm) if position else None,
            keyframes=tuple(zip(indexes, guides, strict=True)),
        )
        return picture, cents * (EXR_FACTOR if video.exr_export else HDR_FACTOR if video.hdr else 1)

    def _file(self, file_id: str, status: int = 404, place: str = "") -> StoredFile:
        file: StoredFile | None = self.world.files.get(file_id)
        if file is None:
            raise HTTPException(status, f"{place}File not found")
        return file

    def _look_at(self, place: str, ref: bodies.MediaRef, wanted: Output) -> Picture | None:
        """Check a medium, and give the picture if the sandbox made it. Source: error handling, 413 and 422"""
        now, picture, found = self.world.clock(), None, None
        kind = "an image" if wanted == "image" else "a video"
        if ref.generation_id is not None:
            job = self.world.find(ref.generation_id, "agents", 400, f"{place}: ")
            refuse(job.state(now) != "completed", 400, f"{place}: generation is not completed")
            refuse(job.output != wanted, 400, f"{place}: generation is not {kind}")
            return job.picture
        if ref.url is not None:
            picture, found = self._fetch(place, ref.url)
        elif ref.data is not None:
            self._decode(place, ref.data, str(ref.media_type), wanted)
        else:
            file = self._file(str(ref.file_id), 400, f"{place}: ")
            refuse(file.state(now) != "ready", 400, f"{place}: file is {file.state(now)}")
            found = file.asked.mime_type
        for media_type in filter(None, (found, ref.media_type)):
            refuse(not media_type.startswith(f"{wanted}/"), 422, f"{place}: content-type is not {kind}")
        return picture

    def _fetch(self, place: str, url: str) -> tuple[Picture | None, str | None]:
        """The media type of a URL, by its ending. The sandbox fetches nothing, and knows only its own links."""
        try:
            parts = urlsplit(url)
        except ValueError:
            parts = urlsplit("")
        job, works = self.world.linked_job(parts.geturl())
        refuse(job and not works, 422, f"{place}: failed to fetch URL (HTTP 403)")
        reachable = job or (parts.scheme == "https" and _is_public(parts.hostname or ""))
        refuse(not reachable, 422, f"{place}: failed to fetch URL")
        return job.picture if job else None, mimetypes.guess_type(parts.path)[0]

    def _decode(self, place: str, data: str, media_type: str, wanted: Output) -> None:
        largest = LARGEST_MB[wanted]
        too_large = len(data) // 4 * 3 - data[-2:].count("=") > largest * 1024**2
        refuse(too_large, 413, f"{place}: {wanted} exceeds {largest} MB limit")
        try:
            content = base64.b64decode(data, validate=True)
        except ValueError:
            refuse(True, 422, f"{place}: invalid base64 data")
        refuse(not same_type(media_type, sniffed(content)), 422, f"{place}: content-type is not {media_type}")

    async def _generation(self, request: Request, job: Job) -> dict[str, Any]:
        """Source: luma-agents 0.5.0 types/generation.py; an empty output, not null: error handling"""
        common, links = self.world.shown(request, job)
        state = common["state"]
        output: list[dict[str, Any]] = [{"type": kind, "url": url} for kind, url in links]
        if links and job.picture.layers:
            layers = await run_in_threadpool(self._layers, job.picture)
            output = [one | {"layer": layer} for one, layer in zip(output, layers, strict=True)]
        return {
            **common,
            "state": "processing" if state == "dreaming" else state,
            "type": job.request["type"],
            "output": output,
            "failure_code": job.failure_code if state == "failed" else None,
        }

    def _layers(self, picture: Picture) -> list[dict[str, Any]]:
        """Source: luma-agents 0.5.0 types/generation_output.py; its bounds: luma-agents-go 0.6.0"""
        shown = []
        for index, (label, description, alpha_hint) in enumerate(pictures.LAYERS[picture.layers]):
            layer = {"index": index, "label": label, "description": description, "alpha_hint": alpha_hint}
            bounds = pictures.layers(picture)[index][1] if self.world.draws else pictures.bundled_bounds()
            shown.append(layer | ({"bounds": bounds} if self.world.bounds else {}))
        return shown


async def receive(request: Request) -> Response:
    """The storage's end of an upload, which may be too big for the memory."""
    world: Sandbox = request.app.state.sandbox
    file_id, headers = request.path_params["file_id"], request.headers
    problem = world.link_problem(f"uploads/{file_id}", request.query_params)
    refuse_storage(problem, 403, "AccessDenied", problem)
    file = world.files[file_id]
    length, due = headers.get("content-length"), file.asked.size_bytes
    refuse_storage(headers.get("authorization"), 400, "InvalidArgument", "Only one auth mechanism allowed")
    unsigned = any(headers.get(name) != value for name, value in file.headers().items())
    refuse_storage(unsigned, 403, "SignatureDoesNotMatch", "The headers are not those that were signed.")
    refuse_storage(length != str(due), 403, "SignatureDoesNotMatch", "The size is not the one that was signed.")
    head, digest, size = b"", hashlib.sha256(), 0
    try:
        async for chunk in request.stream():
            head += chunk[: HEAD_BYTES - len(head)]
            digest.update(chunk)
            size += len(chunk)
    except ClientDisconnect:
        size = -1
    refuse_storage(size != due, 400, "IncompleteBody", "The body is not as long as the Content-Length header says.")
    file.head, file.size, file.sha256 = head, size, digest.hexdigest()
    return Response(headers={"ETag": f'"{file.sha256[:32]}"'})
