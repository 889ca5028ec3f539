"""A local imitation of Luma's two APIs: free, no account needed, and it fails on request.

Users try the server with it, and every test runs on it. It listens on the loopback address only, and imports nothing
else of this package but the web server, so that one mistake cannot hide on both sides. Callbacks are checked but never
sent. Both APIs share one balance; neither sees the other's generations.

Words in a prompt make it fail; everything else that can go wrong is a `Fault` (see `faults.py`):

    =========================  ===============================================================
    ``[sandbox:moderation]``   the job fails moderation and is refunded
    ``[sandbox:fail]``         the job fails and is refunded
    ``[sandbox:budget]``       the job fails with budget_exhausted, not refunded (Agents only)
    ``[sandbox:stuck]``        the job stays ``dreaming`` (Agents: ``processing``) forever
    ``[sandbox:credits]``      402, nothing is charged
    ``[sandbox:rate]``         429 with ``Retry-After: 2`` the first time this prompt is sent
    ``[sandbox:concurrency]``  429 (Agents: with ``Retry-After: 60``), nothing is charged
    =========================  ===============================================================
"""

import contextlib
import hashlib
import mimetypes
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router
from starlette.types import Receive, Scope, Send

from ..loopback import serving
from . import pictures
from .faults import Fault, Gate, Received
from .world import Charge, Job, Sandbox, refuse_storage

__all__ = [
    "AGENTS_SANDBOX_KEY",
    "SANDBOX_KEY",
    "Charge",
    "Fault",
    "Job",
    "Received",
    "Sandbox",
    "create_sandbox",
    "running_sandbox",
]

# The only keys that the sandbox's Dream Machine and Agents APIs accept
SANDBOX_KEY, AGENTS_SANDBOX_KEY = "luma-sandbox-key", "luma-api-sandbox-key"


def create_sandbox(
    *,
    clock: Callable[[], float] = time.time,
    balance_usd: float = 100.0,
    seconds: float | None = None,
    limits: bool = True,
    draw: bool = True,
) -> Starlette:
    """The sandbox as an ASGI app: Dream Machine below /dream-machine/v1, Agents below /v1.

    Its state is `app.state.sandbox`. `clock` gives seconds since 1970; `seconds` is how long each job takes (default:
    4 for images, 6 for videos); `limits=False` lifts the rate and concurrency limits; `draw=False` serves bundled
    pictures at once.
    """
    # Here, because they build validators that an import of the sandbox need not pay for.
    from . import agents, dream_machine

    world = Sandbox(clock, balance_usd * 100, seconds, limits, draw)
    app = Starlette(
        routes=[
            # Sources of the sentences: lumaai-api openapi.yaml, the example of its error schema; Agents: error handling
            Mount("/dream-machine/v1", Locked(dream_machine.routes(world), SANDBOX_KEY, "Invalid API key is provided")),
            Mount("/v1", Locked(agents.routes(world), AGENTS_SANDBOX_KEY, "Missing or invalid API key")),
            Route("/uploads/{file_id}", agents.receive, methods=["PUT"]),
            Route("/media/{job_id}/{name}", _media),
            Route("/sandbox/faults", _add_faults, methods=["POST"]),
            Route("/sandbox/state", _state),
        ],
        middleware=[Middleware(Gate, world=world)],
        exception_handlers={HTTPException: _refused, ValidationError: _invalid},
    )
    app.state.sandbox = world
    return app


class Locked:
    """Luma asks for the key everywhere, even at addresses that do not exist."""

    def __init__(self, routes: list[Route], key: str, sentence: str) -> None:
        self.app = Router(routes)
        self.key = key
        self.refusal = JSONResponse({"detail": sentence}, 401)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        accepted = Request(scope).headers.get("authorization") == f"Bearer {self.key}"
        await (self.app if accepted else self.refusal)(scope, receive, send)


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.detail.startswith("<?xml"):
        return Response(error.detail, error.status_code, media_type="application/xml")
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    """A body that does not fit. Agents: a sentence (source: error handling); else FastAPI's list."""
    assert isinstance(error, ValidationError)
    wrong = error.errors(include_url=False, include_context=False, include_input=False)
    if request.url.path.startswith("/v1/"):
        steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in wrong[0]["loc"])
        return JSONResponse({"detail": f"{''.join(steps).lstrip('.') or 'body'}: {wrong[0]['msg']}"}, 400)
    place = "query" if request.method == "GET" else "body"
    return JSONResponse({"detail": [{**one, "loc": [place, *one["loc"]]} for one in wrong]}, 422)


async def _media(request: Request) -> Response:
    world: Sandbox = request.app.state.sandbox
    job_id, name = request.path_params["job_id"], request.path_params["name"]
    problem = world.link_problem(f"media/{job_id}/{name}", request.query_params)
    refuse_storage(problem, 403, "AccessDenied", problem)
    job = world.jobs.get(job_id)
    if job is None or name not in [file for _, file in job.files]:
        raise HTTPException(404)
    data = await run_in_threadpool(pictures.draw, job.picture, name) if world.draws else pictures.bundled(name)
    # Not every system knows EXR.
    return _stored(request, data, "image/aces" if name.endswith(".exr") else mimetypes.guess_type(name)[0])


def _stored(request: Request, data: bytes, media_type: str | None) -> Response:
    """A file, or its rest from one byte on, as S3 serves them. Source: RFC 9110, sections 13.1.5 and 14."""
    etag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
    headers = {"ETag": etag, "Accept-Ranges": "bytes"}
    asked = re.fullmatch(r"bytes=([0-9]+)-", request.headers.get("range", ""))
    if not asked or request.headers.get("if-range", etag) != etag:
        return Response(data, 200, headers, media_type)
    first, size = int(asked[1]), len(data)
    refuse_storage(first >= size, 416, "InvalidRange", "The requested range is not satisfiable")
    return Response(data[first:], 206, {**headers, "Content-Range": f"bytes {first}-{size - 1}/{size}"}, media_type)


async def _add_faults(request: Request) -> Response:
    world: Sandbox = request.app.state.sandbox
    world.faults += TypeAdapter(list[Fault]).validate_json(await request.body())
    return JSONResponse({"faults": len(world.faults)}, 201)


async def _state(request: Request) -> Response:
    return JSONResponse(request.app.state.sandbox.report())


@contextlib.contextmanager
def running_sandbox(port: int = 0, **options: Any) -> Iterator[str]:
    """Serve a sandbox on 127.0.0.1 while the block runs, and give its address. Options: `create_sandbox`."""
    app = create_sandbox(**options)

    async def serve(scope: Scope, receive: Receive, send: Any) -> None:
        # `send` is a method of uvicorn's request cycle: the only way to the connection that a fault has to cut.
        scope["extensions"] = {"sandbox.abort": send.__self__.transport.abort}
        await app(scope, receive, send)

    with serving(serve, port) as origin:
        yield origin
