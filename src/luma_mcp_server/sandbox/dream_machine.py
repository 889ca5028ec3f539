"""Luma's Dream Machine API: its routes, and what it refuses.

Sources: lumaai 1.21.0 for routes and answers; Luma's Dream Machine docs for the sentences of its refusals; Luma's
rate-limits page; Luma's FAQ for charging. What Luma leaves open or contradicts itself about is accepted.
"""

import dataclasses
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import bodies
from .pictures import Picture
from .world import Job, Sandbox, refuse

# Source: ComfyUI's Luma nodes, 2025-05
CONCEPTS = """
    aerial aerial_drone bolt_cam crane_down crane_up dolly_zoom elevator_doors eye_level ground_level handheld
    high_angle low_angle orbit_left orbit_right over_the_shoulder overhead pan_left pan_right pedestal_down
    pedestal_up pov pull_out push_in roll_left roll_right selfie static tilt_down tilt_up tiny_planet truck_left
    truck_right zoom_in zoom_out
"""

# Cents. Source: Comfy-Org's price table of 2025, which states Luma's rates per million pixels; images: Luma's product
# page. Every ratio is assumed to have as many pixels as 16:9.
CENTS_PER_MEGAPIXEL = {"ray-2": 0.64, "ray-flash-2": 0.22}
MODIFY_CENTS_PER_MEGAPIXEL = {"ray-2": 1.582, "ray-flash-2": 0.544}
IMAGE_CENTS = {"photon-1": 1.5, "photon-flash-1": 0.4}
PIXELS = {"540p": 960 * 540, "720p": 1280 * 720, "1080p": 1920 * 1080, "4k": 3840 * 2160}
FRAMES_PER_SECOND = 24
# Luma publishes no price for these two: nominal amounts, so that the ledger shows them.
UPSCALE_CENTS, AUDIO_CENTS = 20.0, 10.0

# Source: Luma's Dream Machine docs, longest source in seconds
LONGEST_SOURCE = {"modify_video": {"ray-2": 10, "ray-flash-2": 15}, "reframe_video": {"ray-2": 10, "ray-flash-2": 30}}
# Source: Luma's Dream Machine docs. A loop with an end image alone is contradictory there, so it passes.
NO_LOOP: dict[tuple[str | None, str | None], str] = {
    ("image", "image"): "keyframes",
    (None, "generation"): "extend reverse",
    ("generation", "image"): "interpolate video to image",
    ("image", "generation"): "interpolate image to video",
    ("generation", "generation"): "interpolate between two videos",
}

Endpoint = Callable[[Request], Awaitable[Response]]


def routes(world: Sandbox) -> list[Route]:
    """Source: lumaai 1.21.0 resources"""
    api = DreamMachine(world)
    table: list[tuple[str, str, Endpoint]] = [
        ("POST", "/generations/video", api.create_video),
        ("POST", "/generations/video/modify", api.rework(bodies.Modify)),
        ("POST", "/generations/video/reframe", api.rework(bodies.ReframeVideo)),
        ("POST", "/generations/image", api.create_image),
        ("POST", "/generations/image/reframe", api.rework(bodies.ReframeImage)),
        ("GET", "/generations", api.list),
        ("GET", "/generations/concepts/list", _answers(CONCEPTS.split())),
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


def _check_prompt(prompt: str | None, required: bool = False) -> None:
    refuse(required and not prompt, 400, "Prompt is required")
    refuse(prompt and len(prompt) < 3, 400, "Prompt is too short, minimum length is 3 characters")
    refuse(prompt and len(prompt) > 5000, 400, "Prompt is too long, maximum length is 5000 characters")


def _video_cents(rates: dict[str, float], model: str, resolution: str, seconds: float) -> float:
    return float(round(rates[model] * PIXELS[resolution] * FRAMES_PER_SECOND * seconds / 1e6))


class DreamMachine:
    """The endpoints."""

    def __init__(self, world: Sandbox) -> None:
        self.world = world

    async def create_video(self, request: Request) -> Response:
        body = bodies.Video.model_validate_json(await request.body())
        frames = (body.keyframes.frame0, body.keyframes.frame1) if body.keyframes else (None, None)
        start, end = (frame.type if frame else None for frame in frames)
        _check_prompt(body.prompt, required="image" not in (start, end))
        refuse(body.keyframes and not any(frames), 400, "No keyframes provided")
        no_loop = NO_LOOP.get((start, end))
        refuse(body.loop and no_loop, 400, f"Loop is not supported for {no_loop}")
        clips = [self._own_video(frame.id, 400) for frame in frames if isinstance(frame, bodies.GenerationKeyframe)]
        seconds = float((body.duration or "5s")[:-1])
        resolution = body.resolution or "720p"
        # One clip is extended; between two clips a new one is made.
        before = clips[0].picture.seconds if len(clips) == 1 else 0.0
        ratio = clips[0].picture.aspect_ratio if clips else body.aspect_ratio or "16:9"
        prompt = body.prompt or ""
        picture = Picture(prompt, ratio, resolution, before + seconds, version=self.world.version(prompt))
        cents = _video_cents(CENTS_PER_MEGAPIXEL, body.model, resolution, seconds)
        return self._buy(request, body, body.model, picture, cents)

    async def create_image(self, request: Request) -> Response:
        body = bodies.Image.model_validate_json(await request.body())
        reference = body.image_ref or body.style_ref or body.character_ref or body.modify_image_ref
        _check_prompt(body.prompt, required=not reference)
        prompt, ratio = body.prompt or "", body.aspect_ratio or "16:9"
        picture = Picture(prompt, ratio, format=body.format or "jpg", version=self.world.version(prompt))
        return self._buy(request, body, body.model, picture, IMAGE_CENTS[body.model])

    def rework(self, kind: type[bodies.Modify | bodies.ReframeVideo | bodies.ReframeImage]) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            body = kind.model_validate_json(await request.body())
            _check_prompt(body.prompt)
            own, _ = self.world.linked_job(body.media.url)
            source = own.picture if own else Picture("")
            ratio = source.aspect_ratio if isinstance(body, bodies.Modify) else body.aspect_ratio
            prompt = body.prompt or source.prompt
            if isinstance(body, bodies.ReframeImage):
                picture = Picture(prompt, ratio, format=body.format or "jpg", version=source.version)
                return self._buy(request, body, body.model, picture, IMAGE_CENTS[body.model])
            seconds = source.seconds or 5.0  # a clip from elsewhere is not looked at: 5 seconds of 720p
            longest = LONGEST_SOURCE[body.generation_type][body.model]
            refuse(seconds > longest, 400, f"Video is too long, maximum duration is {longest} seconds")
            rates = MODIFY_CENTS_PER_MEGAPIXEL if isinstance(body, bodies.Modify) else CENTS_PER_MEGAPIXEL
            cents = _video_cents(rates, body.model, source.resolution, seconds)
            picture = Picture(prompt, ratio, source.resolution, seconds, version=source.version)
            return self._buy(request, body, body.model, picture, cents)

        return endpoint

    async def upscale(self, request: Request) -> Response:
        body = bodies.Upscale.model_validate_json(await request.body())
        source = self._own_video(request.path_params["id"], 404)
        steps = [*PIXELS, "4k"]
        better = steps[steps.index(source.picture.resolution) + 1]
        picture = dataclasses.replace(source.picture, resolution=body.resolution or better)
        return self._buy(request, body, source.model, picture, UPSCALE_CENTS)

    async def add_audio(self, request: Request) -> Response:
        body = bodies.Audio.model_validate_json(await request.body())
        source = self._own_video(request.path_params["id"], 404)
        picture = dataclasses.replace(source.picture, audio=True)
        return self._buy(request, body, source.model, picture, AUDIO_CENTS)

    async def get(self, request: Request) -> Response:
        return JSONResponse(self._generation(request, self.world.find(request.path_params["id"], "dream_machine")))

    async def list(self, request: Request) -> Response:
        page = bodies.Page.model_validate(dict(request.query_params))
        newest_first = [job for job in reversed(self.world.jobs.values()) if job.api == "dream_machine"]
        shown = newest_first[page.offset : page.offset + page.limit]
        generations = [self._generation(request, job) for job in shown]
        count = {"count": len(newest_first), "has_more": page.offset + page.limit < len(newest_first)}
        return JSONResponse({"generations": generations, **count, **page.model_dump()})

    async def delete(self, request: Request) -> Response:
        self.world.delete(self.world.find(request.path_params["id"], "dream_machine").id)
        return Response(status_code=204)

    async def credits(self, _request: Request) -> Response:
        return JSONResponse({"credit_balance": self.world.balance_cents})

    def _own_video(self, job_id: str, status_if_unknown: int) -> Job:
        job = self.world.find(job_id, "dream_machine", status_if_unknown)
        refuse(job.output != "video", 400, f"Generation {job_id} is not a video")
        refuse(job.state(self.world.clock()) != "completed", 400, f"Generation {job_id} is not completed")
        return job

    def _buy(self, request: Request, body: BaseModel, model: str, picture: Picture, cents: float) -> Response:
        job = self.world.buy(request, "dream_machine", body, model, picture, cents)
        links = re.findall(r'"(https?://[^"]+)"', json.dumps({**job.request, "prompt": None}))
        if any(own and not works for own, works in map(self.world.linked_job, links)):
            self.world.fail(job.id, "Failed to read user input frames")
        return JSONResponse(self._generation(request, self.world.jobs[job.id]), 200 if request.path_params else 201)

    def _generation(self, request: Request, job: Job) -> dict[str, Any]:
        """Source: lumaai 1.21.0 types/generation.py"""
        common, links = self.world.shown(request, job)
        return {**common, "assets": dict(links) or None, "generation_type": job.output, "request": job.request}
