"""Luma's Agents API: its routes, the media it is given, what it charges, and how much at once it takes.

Sources: luma-agents 0.5.0 for routes and answers; the guides at docs.agents.lumalabs.ai (error handling, rate limits,
FAQ, pricing) for the rest. What is wrong with a body by itself is said in `agents_bodies`.
"""

import base64
import ipaddress
import math
import mimetypes
import uuid
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import AGENTS_SANDBOX_KEY, Job, Output, Sandbox, timestamp
from . import agents_bodies as bodies
from .agents_bodies import refuse
from .agents_files import Files, same_type, sniffed
from .bodies import read
from .faults import without_media
from .pictures import MEDIA_TYPES, Picture

# Source: error handling: (jobs at once, creates per minute) for all kinds together
AT_ONCE, PER_MINUTE = 10, 30

# Source: FAQ; video editing
LARGEST_MB = {"image": 50, "video": 200}
# Source: luma-agents 0.5.0 types/video_edit_options_param.py; video reframing; FAQ, on extensions
LONGEST_SECONDS = {"video_edit": bodies.LONGEST_EDIT_SECONDS, "video_reframe": 30, "video": 30}

# Cents. Source: pricing. Luma publishes no price for a 360p extension, which is taken to cost what any other clip does,
# nor for edits of other lengths than 5 and 10 s: each begun block of 5 s is charged.
GENERATE_CENTS = {"360p": 6.0, "540p": 15.0, "720p": 30.0, "1080p": 120.0}
TEN_SECONDS_TIMES = 3
EDIT_CENTS = {"360p": 54.0, "540p": 72.0, "720p": 108.0, "1080p": 216.0}
REFRAME_CENTS_PER_SECOND = {"360p": 3.0, "540p": 6.0, "720p": 12.0, "1080p": 36.0}
IMAGE_CENTS, REFERENCE_CENTS = {"uni-1": 4.04, "uni-1-max": 10.0}, 0.3

TAGS = {
    "[sandbox:moderation]": "content_moderated",
    "[sandbox:fail]": "generation_failed",
    "[sandbox:budget]": "budget_exhausted",
}
# Source: error handling, "Possible failure reasons"
REASONS = {
    "content_moderated": "Generation output was flagged by our content moderation system.",
    "generation_failed": "Generation failed",
    "budget_exhausted": "Insufficient credits to complete this generation.",
}


def key_refusal(authorization: str) -> str | None:
    """Source: error handling, 401"""
    if not authorization.startswith("Bearer luma-api-"):
        return "Missing or invalid API key"
    return None if authorization == f"Bearer {AGENTS_SANDBOX_KEY}" else "Invalid API key"


def routes(world: Sandbox) -> list[Route]:
    """Source: luma-agents 0.5.0 resources. There is no list of generations, and nothing deletes one."""
    api, files = Agents(world), Files(world)
    return [
        Route("/generations", api.create, methods=["POST"]),
        Route("/generations/{id:path}", api.get, methods=["GET"]),
        Route("/files", files.create, methods=["POST"]),
        Route("/files", files.list, methods=["GET"]),
        Route("/files/{id:path}/complete", files.complete, methods=["POST"]),
        Route("/files/{id:path}", files.get, methods=["GET"]),
        Route("/files/{id:path}", files.delete, methods=["DELETE"]),
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
        body = await read(request, bodies.invalid, bodies.Generation)
        body.check()
        sources = {place: self._look_at(place, ref, wanted) for place, ref, wanted in body.references()}
        picture, cents = self._order(body, sources)
        limits = self._check_limits(body.prompt)
        if not self.world.can_pay(body.prompt, cents):
            raise HTTPException(402, "Insufficient credits. Please add credits to continue.")
        code = next((TAGS[tag] for tag in TAGS if tag in body.prompt), None)
        job = Job(
            id=str(uuid.uuid4()),
            output=body.output,
            model=body.model,
            request=without_media(body.model_dump(exclude_none=True)),
            picture=picture,
            created_at=self.world.clock(),
            seconds=self.world.job_seconds(body.output),
            cents=cents,
            failure_reason=REASONS[code] if code else None,
            stuck="[sandbox:stuck]" in body.prompt,
            api="agents",
            failure_code=code,
            request_id=request.headers.get("x-request-id"),
        )
        self.world.take(job)
        return JSONResponse(self._generation(request, job), 201, limits)

    async def get(self, request: Request) -> Response:
        if job := self.world.find(request.path_params["id"], "agents"):
            return JSONResponse(self._generation(request, job))
        raise HTTPException(404, "Generation not found")

    def _order(self, body: bodies.Generation, sources: dict[str, Picture | None]) -> tuple[Picture, float]:
        """What will be made, and for how many cents. A source from elsewhere is taken unseen, as 5 s of 16:9."""
        ratio, size = body.aspect_ratio or "16:9", body.options.size
        source = sources.get("source") or Picture("", seconds=5.0)
        if body.output == "image":
            cents = IMAGE_CENTS[body.model] + REFERENCE_CENTS * (len(body.image_ref) + bool(body.source))
            shape = ratio if body.type == "image" else source.aspect_ratio
            return Picture(body.prompt, shape, format="jpg" if body.output_format == "jpeg" else "png"), round(cents, 2)
        seconds = source.seconds
        if body.type == "video":
            clip = (sources.get("video.start_frame") or sources.get("video.end_frame")) if body.extends else None
            ratio, seconds = (clip.aspect_ratio, clip.seconds) if clip else (ratio, 0.0)
            seconds += body.options.seconds
            cents = GENERATE_CENTS[size] * (TEN_SECONDS_TIMES if body.options.seconds == 10 else 1)
        elif body.type == "video_edit":
            ratio, cents = source.aspect_ratio, EDIT_CENTS[size] * math.ceil(seconds / 5)
        else:
            cents = REFRAME_CENTS_PER_SECOND[size] * math.ceil(seconds)
        longest = LONGEST_SECONDS[body.type]
        refuse(seconds > longest, f"Type '{body.type}' supports up to {longest} seconds of video")
        return Picture(body.prompt, ratio, size, seconds), cents

    def _look_at(self, place: str, ref: bodies.MediaRef, wanted: Output) -> Picture | None:
        """Check a medium; what the sandbox made itself it knows. Source: error handling, 413 and 422"""
        now, picture, found = self.world.clock(), None, None
        article = "an" if wanted == "image" else "a"
        if ref.generation_id is not None:
            job = self.world.find(ref.generation_id, "agents")
            if job is None:
                raise HTTPException(400, f"{place}: Generation not found")
            refuse(job.state(now) != "completed", f"{place}: generation is not completed", 400)
            refuse(job.output != wanted, f"{place}: generation is not {article} {wanted}", 400)
            return job.picture
        if ref.url is not None:
            picture, found = self._fetch(place, ref.url)
        elif ref.data is not None:
            self._decode(place, ref.data, str(ref.media_type), wanted)
        else:
            file = self.world.files.get(str(ref.file_id))
            if file is None:
                raise HTTPException(400, f"{place}: File not found")
            refuse(file.state(now) != "ready", f"{place}: file is {file.state(now)}", 400)
            found = file.asked.mime_type
        for media_type in filter(None, (found, ref.media_type)):
            refuse(not media_type.startswith(f"{wanted}/"), f"{place}: content-type is not {article} {wanted}")
        return picture

    def _fetch(self, place: str, url: str) -> tuple[Picture | None, str | None]:
        """The media type of a URL, by its ending. The sandbox fetches nothing, and knows nothing but its own links."""
        try:
            parts = urlsplit(url)
        except ValueError:
            raise HTTPException(422, f"{place}: failed to fetch URL") from None
        job, served = self.world.linked(url)
        if job:
            refuse(not served, f"{place}: failed to fetch URL (HTTP 403)")
            return job.picture, MEDIA_TYPES[parts.path.rpartition(".")[2]]
        reachable = parts.scheme == "https" and _is_public(parts.hostname or "")
        refuse(not reachable, f"{place}: failed to fetch URL")
        return None, mimetypes.guess_type(parts.path)[0]

    def _decode(self, place: str, data: str, media_type: str, wanted: Output) -> None:
        largest = LARGEST_MB[wanted]
        too_large = len(data) // 4 * 3 - data[-2:].count("=") > largest * 1024**2
        refuse(too_large, f"{place}: {wanted} exceeds {largest} MB limit", 413)
        try:
            found = sniffed(base64.b64decode(data, validate=True))
        except ValueError:
            raise HTTPException(422, f"{place}: invalid base64 data") from None
        refuse(not same_type(media_type, found), f"{place}: content-type is not {media_type}")

    def _check_limits(self, prompt: str) -> dict[str, str]:
        """The headers that go with a job that is taken. Source: error handling, 429; rate limits and headers"""
        now = self.world.clock()
        running, recent = self.world.load("agents")
        oldest = recent[0].created_at if recent else now
        headers = {
            "X-RateLimit-Limit": str(PER_MINUTE),
            "X-RateLimit-Remaining": str(max(0, PER_MINUTE - len(recent) - 1)),
            "X-RateLimit-Reset": str(math.ceil(oldest + 60)),
        }
        struck = self.world.strikes_rate(prompt)
        if struck or (self.world.limits and len(recent) >= PER_MINUTE):
            wait = 2 if struck else max(1, math.ceil(oldest + 60 - now))
            refused = {"Retry-After": str(wait), "X-RateLimit-Remaining": "0"}
            raise HTTPException(429, "Rate limit exceeded", headers | refused)
        if "[sandbox:concurrency]" in prompt or (self.world.limits and len(running) >= AT_ONCE):
            raise HTTPException(429, "Too many concurrent jobs", {"Retry-After": "60"})
        return headers

    def _generation(self, request: Request, job: Job) -> dict[str, Any]:
        """Source: luma-agents 0.5.0 types/generation.py; an empty output, not null: error handling"""
        state = job.state(self.world.clock())
        links = {kind: self.world.link(request, f"media/{job.id}/{name}") for kind, name in job.files.items()}
        return {
            "id": job.id,
            "type": job.request["type"],
            "state": "processing" if state == "dreaming" else state,
            "model": job.model,
            "created_at": timestamp(job.created_at),
            "output": [{"type": kind, "url": url} for kind, url in links.items()] if state == "completed" else [],
            "failure_reason": job.failure_reason if state == "failed" else None,
            "failure_code": job.failure_code if state == "failed" else None,
        }
