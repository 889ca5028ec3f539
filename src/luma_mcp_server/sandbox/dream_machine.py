"""Luma's Dream Machine API: its routes, and what it refuses.

Sources: lumaai 1.21.0 for routes and answers; Luma's Dream Machine docs for the sentences of its refusals; Luma's
rate-limits page; Luma's FAQ for charging. What Luma leaves open or contradicts itself about is accepted.
"""

import dataclasses
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import SANDBOX_KEY, Job, Output, Sandbox, bodies, timestamp
from .pictures import Picture

# Source: ComfyUI's Luma nodes, 2025-05
CONCEPTS = """
    aerial aerial_drone bolt_cam crane_down crane_up dolly_zoom elevator_doors eye_level ground_level handheld
    high_angle low_angle orbit_left orbit_right over_the_shoulder overhead pan_left pan_right pedestal_down
    pedestal_up pov pull_out push_in roll_left roll_right selfie static tilt_down tilt_up tiny_planet truck_left
    truck_right zoom_in zoom_out
"""
# Source: lumaai's own list of 2024-09, which it dropped in 1.8
CAMERA_MOTIONS = """
    static move_left move_right move_up move_down push_in pull_out zoom_in zoom_out pan_left pan_right orbit_left
    orbit_right crane_up crane_down
"""

# Source: Luma's rate-limits page, "Build" tier: (jobs at once, creates per minute)
LIMITS = {"video": (10, 20), "image": (40, 80)}

# Cents. Source: Comfy-Org's price table of 2025, which states Luma's rates per million pixels; images: Luma's product
# page. Every ratio is taken to have as many pixels as 16:9.
CENTS_PER_MEGAPIXEL = {"ray-2": 0.64, "ray-flash-2": 0.22}
MODIFY_CENTS_PER_MEGAPIXEL = {"ray-2": 1.582, "ray-flash-2": 0.544}
IMAGE_CENTS = {"photon-1": 1.5, "photon-flash-1": 0.4}
PIXELS = {"540p": 960 * 540, "720p": 1280 * 720, "1080p": 1920 * 1080, "4k": 3840 * 2160}
FRAMES_PER_SECOND = 24
# Luma publishes no price for these two: nominal amounts, so that they are seen in the ledger.
UPSCALE_CENTS, AUDIO_CENTS = 20.0, 10.0

# Source: Luma's Dream Machine docs, longest source in seconds
LONGEST_SOURCE = {
    "modify_video": {"ray-2": 10, "ray-flash-2": 15},
    "reframe_video": {"ray-2": 10, "ray-flash-2": 30},
}
READ_FAILURE = "Failed to read user input frames"
FAILURES = {"[sandbox:moderation]": "Frame moderation failed", "[sandbox:fail]": "Job failed"}

Endpoint = Callable[[Request], Awaitable[Response]]


def key_refusal(authorization: str) -> str | None:
    """Source: lumaai-api openapi.yaml, the example of its error schema"""
    return None if authorization == f"Bearer {SANDBOX_KEY}" else "Invalid API key is provided"


def routes(world: Sandbox) -> list[Route]:
    """Source: lumaai 1.21.0 resources; POST /generations is the path that lumaai used up to 1.10."""
    api = DreamMachine(world)
    table: list[tuple[str, str, Endpoint]] = [
        ("POST", "/generations", api.create_video),
        ("POST", "/generations/video", api.create_video),
        ("POST", "/generations/video/modify", api.modify_video),
        ("POST", "/generations/video/reframe", api.reframe_video),
        ("POST", "/generations/image", api.create_image),
        ("POST", "/generations/image/reframe", api.reframe_image),
        ("GET", "/generations", api.list),
        ("GET", "/generations/concepts/list", _answers(CONCEPTS.split())),
        ("GET", "/generations/camera_motion/list", _answers(CAMERA_MOTIONS.split())),
        ("GET", "/generations/{id:path}", api.get),
        ("DELETE", "/generations/{id:path}", api.delete),
        ("POST", "/generations/{id:path}/upscale", api.upscale),
        ("POST", "/generations/{id:path}/audio", api.add_audio),
        ("GET", "/credits", api.credits),
        ("GET", "/ping", _answers({"message": "pong"})),
    ]
    return [Route(path, endpoint, methods=[method]) for method, path, endpoint in table]


def _answers(content: Any) -> Endpoint:
    async def answer(_request: Request) -> Response:
        return JSONResponse(content)

    return answer


def _invalid(error: ValidationError, place: str = "body") -> HTTPException:
    """FastAPI's list of what is wrong."""
    wrong = error.errors(include_url=False, include_context=False, include_input=False)
    detail = [{**one, "loc": [place, *one["loc"]]} for one in wrong]
    return HTTPException(422, detail)  # type: ignore[arg-type]  # starlette says str, and passes on anything


def _check_prompt(prompt: str | None, required: bool) -> None:
    if not prompt and required:
        raise HTTPException(400, "Prompt is required")
    if prompt and len(prompt) < 3:
        raise HTTPException(400, "Prompt is too short, minimum length is 3 characters")
    if prompt and len(prompt) > 5000:
        raise HTTPException(400, "Prompt is too long, maximum length is 5000 characters")


def _check_loop(*kinds: str | None) -> None:
    """Source: Luma's Dream Machine docs. A loop with an end image alone is contradictory there, so it passes."""
    forbidden: dict[tuple[str | None, ...], str] = {
        ("image", "image"): "keyframes",
        (None, "generation"): "extend reverse",
        ("generation", "image"): "interpolate video to image",
        ("image", "generation"): "interpolate image to video",
        ("generation", "generation"): "interpolate between two videos",
    }
    if why := forbidden.get(kinds):
        raise HTTPException(400, f"Loop is not supported for {why}")


def _links(value: Any) -> Iterator[str]:
    """Every URL in a request."""
    if isinstance(value, str):
        if value.startswith(("http://", "https://")):
            yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _links(part)


def _video_cents(rates: dict[str, float], model: str, resolution: str, seconds: float) -> float:
    return float(round(rates[model] * PIXELS[resolution] * FRAMES_PER_SECOND * seconds / 1e6))


class DreamMachine:
    """The endpoints."""

    def __init__(self, world: Sandbox) -> None:
        self.world = world

    async def create_video(self, request: Request) -> Response:
        body = await bodies.read(request, _invalid, bodies.Video)
        frames = body.keyframes
        start, end = (frames.frame0, frames.frame1) if frames else (None, None)
        kinds = (start.type if start else None, end.type if end else None)
        _check_prompt(body.prompt, required="image" not in kinds)
        if frames and not (start or end):
            raise HTTPException(400, "No keyframes provided")
        if body.loop:
            _check_loop(*kinds)
        sources = [
            self._own_video(frame.id, 400) for frame in (start, end) if isinstance(frame, bodies.GenerationKeyframe)
        ]
        seconds = float((body.duration or "5s")[:-1])
        resolution = body.resolution or "720p"
        picture = Picture(body.prompt or "", body.aspect_ratio or "16:9", resolution, seconds)
        if sources:
            # One clip is made longer; between two clips a new one is made.
            before = sources[0].picture.seconds if len(sources) == 1 else 0.0
            picture = Picture(body.prompt or "", sources[0].picture.aspect_ratio, resolution, before + seconds)
        cents = _video_cents(CENTS_PER_MEGAPIXEL, body.model, resolution, seconds)
        return self._take(request, body, body.model, picture, cents)

    async def modify_video(self, request: Request) -> Response:
        body = await bodies.read(request, _invalid, bodies.Modify)
        _check_prompt(body.prompt, required=False)
        source = self._source(body)
        picture = Picture(body.prompt or source.prompt, source.aspect_ratio, source.resolution, source.seconds)
        cents = _video_cents(MODIFY_CENTS_PER_MEGAPIXEL, body.model, source.resolution, source.seconds)
        return self._take(request, body, body.model, picture, cents)

    async def reframe_video(self, request: Request) -> Response:
        body = await bodies.read(request, _invalid, bodies.ReframeVideo)
        _check_prompt(body.prompt, required=False)
        source = self._source(body)
        picture = Picture(body.prompt or source.prompt, body.aspect_ratio, source.resolution, source.seconds)
        cents = _video_cents(CENTS_PER_MEGAPIXEL, body.model, source.resolution, source.seconds)
        return self._take(request, body, body.model, picture, cents)

    async def create_image(self, request: Request) -> Response:
        body = await bodies.read(request, _invalid, bodies.Image)
        reference = body.image_ref or body.style_ref or body.character_ref or body.modify_image_ref
        _check_prompt(body.prompt, required=not reference)
        picture = Picture(body.prompt or "", body.aspect_ratio or "16:9", format=body.format or "jpg")
        # With `sync` the answer is the finished image; here nothing is gained by making anyone wait for it.
        seconds = 0.0 if body.sync else None
        return self._take(request, body, body.model, picture, IMAGE_CENTS[body.model], seconds=seconds)

    async def reframe_image(self, request: Request) -> Response:
        body = await bodies.read(request, _invalid, bodies.ReframeImage)
        _check_prompt(body.prompt, required=False)
        own, _ = self.world.linked(body.media.url)
        prompt = body.prompt or (own.picture.prompt if own else "")
        picture = Picture(prompt, body.aspect_ratio, format=body.format or "jpg")
        return self._take(request, body, body.model, picture, IMAGE_CENTS[body.model])

    async def upscale(self, request: Request) -> Response:
        body = await bodies.read(request, _invalid, bodies.Upscale)
        source = self._own_video(request.path_params["id"], 404)
        steps = list(PIXELS)
        better = steps[min(steps.index(source.picture.resolution) + 1, len(steps) - 1)]
        picture = dataclasses.replace(source.picture, resolution=body.resolution or better)
        return self._take(request, body, source.model, picture, UPSCALE_CENTS, status=200)

    async def add_audio(self, request: Request) -> Response:
        body = await bodies.read(request, _invalid, bodies.Audio)
        source = self._own_video(request.path_params["id"], 404)
        picture = dataclasses.replace(source.picture, audio=True)
        return self._take(request, body, source.model, picture, AUDIO_CENTS, status=200)

    async def get(self, request: Request) -> Response:
        return JSONResponse(self._generation(request, self._known(request.path_params["id"], 404)))

    async def list(self, request: Request) -> Response:
        try:
            page = bodies.Page.model_validate(dict(request.query_params))
        except ValidationError as error:
            raise _invalid(error, "query") from None
        newest_first = [job for job in reversed(self.world.jobs.values()) if job.api == "dream_machine"]
        shown = newest_first[page.offset : page.offset + page.limit]
        return JSONResponse(
            {
                "generations": [self._generation(request, job) for job in shown],
                "count": len(newest_first),
                "has_more": page.offset + page.limit < len(newest_first),
                "limit": page.limit,
                "offset": page.offset,
            }
        )

    async def delete(self, request: Request) -> Response:
        self.world.delete(self._known(request.path_params["id"], 404).id)
        return Response(status_code=204)

    async def credits(self, _request: Request) -> Response:
        return JSONResponse({"credit_balance": self.world.balance_cents})

    def _known(self, job_id: str, status: int) -> Job:
        if job := self.world.find(job_id, "dream_machine"):
            return job
        raise HTTPException(status, "Generation not found")

    def _own_video(self, job_id: str, status_if_unknown: int) -> Job:
        job = self._known(job_id, status_if_unknown)
        if job.output != "video":
            raise HTTPException(400, f"Generation {job_id} is not a video")
        if job.state(self.world.clock()) != "completed":
            raise HTTPException(400, f"Generation {job_id} is not completed")
        return job

    def _source(self, body: bodies.Modify | bodies.ReframeVideo) -> Picture:
        """The clip to start from. One from elsewhere is taken unseen, as 5 seconds of 720p."""
        own, _ = self.world.linked(body.media.url)
        if own is None or own.output != "video":
            return Picture("", seconds=5.0)
        longest = LONGEST_SOURCE[body.generation_type][body.model]
        if own.picture.seconds > longest:
            raise HTTPException(400, f"Video is too long, maximum duration is {longest} seconds")
        return own.picture

    def _unreadable(self, url: str) -> bool:
        """A link of ours that would not be served. Luma would fetch it, and fail."""
        own, served = self.world.linked(url)
        return own is not None and not served

    def _take(
        self,
        request: Request,
        body: BaseModel,
        model: str,
        picture: Picture,
        cents: float,
        *,
        status: int = 201,
        seconds: float | None = None,
    ) -> Response:
        echo = body.model_dump(exclude_none=True)
        prompt = echo.get("prompt", "")
        output: Output = "video" if picture.seconds else "image"
        self._check_limits(prompt, output)
        if not self.world.can_pay(prompt, cents):
            raise HTTPException(402, "Insufficient credits")
        if seconds is None:
            seconds = self.world.job_seconds(output)
        reason = next((FAILURES[tag] for tag in FAILURES if tag in prompt), None)
        if any(self._unreadable(url) for url in _links({**echo, "prompt": None})):
            reason = READ_FAILURE
        stuck = "[sandbox:stuck]" in prompt
        now = self.world.clock()
        name = request.headers.get("x-request-id")
        job = Job(str(uuid.uuid4()), output, model, echo, picture, now, seconds, cents, reason, stuck, request_id=name)
        self.world.take(job)
        return JSONResponse(self._generation(request, job), status)

    def _check_limits(self, prompt: str, output: Output) -> None:
        if self.world.strikes_rate(prompt):
            raise HTTPException(429, "Rate limit exceeded", {"Retry-After": "2"})
        at_once, per_minute = LIMITS[output]
        running, recent = self.world.load("dream_machine", output)
        if "[sandbox:concurrency]" in prompt or (self.world.limits and len(running) >= at_once):
            raise HTTPException(429, f"Too many concurrent jobs, the limit is {at_once} {output} jobs")
        if self.world.limits and len(recent) >= per_minute:
            raise HTTPException(429, f"Rate limit exceeded, the limit is {per_minute} {output} requests per minute")

    def _generation(self, request: Request, job: Job) -> dict[str, Any]:
        """Source: lumaai 1.21.0 types/generation.py"""
        state = job.state(self.world.clock())
        assets = {asset: self.world.link(request, f"media/{job.id}/{name}") for asset, name in job.files.items()}
        return {
            "id": job.id,
            "generation_type": job.output,
            "state": state,
            "failure_reason": job.failure_reason if state == "failed" else None,
            "created_at": timestamp(job.created_at),
            "assets": assets if state == "completed" else None,
            "model": job.model,
            "request": job.request,
        }
