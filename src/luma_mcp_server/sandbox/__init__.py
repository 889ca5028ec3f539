"""A local imitation of Luma's two APIs: it costs nothing, needs no account, and fails when told to.

Users try the server with it, and every test runs on it. It keeps to the loopback address, and it imports nothing else
of this package, so that one mistake cannot hide on both sides. Callbacks are checked but never sent. Both APIs draw on
one balance; neither sees the other's generations.

Words in a prompt make it fail:

    =========================  ===============================================================
    ``[sandbox:moderation]``   the job fails by moderation and is refunded
    ``[sandbox:fail]``         the job fails and is refunded
    ``[sandbox:budget]``       the job fails with budget_exhausted, not refunded (Agents only)
    ``[sandbox:stuck]``        the job stays ``dreaming`` (Agents: ``processing``) for ever
    ``[sandbox:credits]``      402, nothing is bought
    ``[sandbox:rate]``         429 with ``Retry-After: 2`` the first time this prompt is sent
    ``[sandbox:concurrency]``  429 (Agents: with ``Retry-After: 60``), nothing is bought
    =========================  ===============================================================

Everything else that can go wrong between a client and a server is a `Fault`: see `faults.py`.
"""

import contextlib
import dataclasses
import hashlib
import hmac
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from . import pictures
from .faults import Fault, Gate, Received
from .pictures import Picture

if TYPE_CHECKING:
    from .agents_files import StoredFile

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

SANDBOX_KEY = "luma-sandbox-key"
"""The only key that the sandbox's Dream Machine API accepts."""
AGENTS_SANDBOX_KEY = "luma-api-sandbox-key"
"""The only key that the sandbox's Agents API accepts."""

LINK_SECONDS = 3600
QUEUED_SHARE = 0.15
SECONDS = {"video": 6.0, "image": 4.0}
STORAGE_ERROR = '<?xml version="1.0"?><Error><Code>{}</Code><Message>{}</Message></Error>'

# Source: Luma Agents FAQ, "Do I pay for failed generations?"
REFUNDED_CODES = (None, "content_moderated", "generation_failed", "output_not_found")

Api = Literal["dream_machine", "agents"]
Output = Literal["video", "image"]
State = Literal["queued", "dreaming", "completed", "failed"]


@dataclasses.dataclass(frozen=True)
class Job:
    """One generation that was bought. Its state is a question of the time alone."""

    id: str
    output: Output
    model: str
    request: dict[str, Any]
    picture: Picture
    created_at: float
    seconds: float
    cents: float
    failure_reason: str | None = None
    stuck: bool = False
    api: Api = "dream_machine"
    failure_code: str | None = None
    request_id: str | None = None
    """The buyer's X-Request-Id."""

    def state(self, now: float) -> State:
        elapsed = now - self.created_at
        if elapsed < self.seconds * QUEUED_SHARE:
            return "queued"
        if self.stuck or elapsed < self.seconds:
            return "dreaming"
        return "failed" if self.failure_reason else "completed"

    @property
    def files(self) -> dict[str, str]:
        """The job's assets and their file names. Dream Machine's videos have a thumbnail (Luma's own MCP server)."""
        if self.output == "video":
            thumbnail = {"image": "thumbnail.jpg"} if self.api == "dream_machine" else {}
            return {"video": "video.mp4", **thumbnail}
        return {"image": f"image.{self.picture.format}"}


@dataclasses.dataclass(frozen=True)
class Charge:
    """One line of the account book."""

    job_id: str
    cents: float
    at: float
    kind: Literal["charge", "refund"]


class Sandbox:
    """The sandbox's world, which tests may read and steer."""

    def __init__(
        self, clock: Callable[[], float], balance_usd: float, seconds: float | None, limits: bool, draw: bool
    ) -> None:
        self.clock = clock
        self.seconds = seconds
        self.limits = limits
        self.draw = draw
        """False serves the bundled pictures at once: no worker thread, nothing to wait for."""
        self.balance_cents = balance_usd * 100
        self.jobs: dict[str, Job] = {}
        self.deleted: dict[str, Job] = {}
        self.files: dict[str, StoredFile] = {}
        self.ledger: list[Charge] = []
        self.requests: list[Received] = []
        self.faults: list[Fault] = []
        self.rate_limited: set[str] = set()
        self._secret = secrets.token_bytes(32)
        self._media: dict[tuple[str, str], bytes] = {}
        self._drawing: dict[tuple[str, str], threading.Lock] = {}

    def take(self, job: Job) -> None:
        """Take a job on. Source: Luma's FAQ, jobs are charged when submitted and refunded in full when they fail."""
        self.jobs[job.id] = job
        self.book(job.id, -job.cents, job.created_at, "charge")

    def fail(self, job_id: str, reason: str = "Job failed", code: str = "generation_failed") -> None:
        """Make a job fail when its time is over. Only the Agents API has codes."""
        job = self.jobs[job_id]
        failure_code = code if job.api == "agents" else None
        self.jobs[job_id] = dataclasses.replace(job, failure_reason=reason, failure_code=failure_code, stuck=False)

    def delete(self, job_id: str) -> None:
        self.deleted[job_id] = self.jobs.pop(job_id)

    def settle(self) -> None:
        """Book the refunds that are due by now; again and again makes no difference."""
        refunded = {charge.job_id for charge in self.ledger if charge.kind == "refund"}
        for job in (*self.jobs.values(), *self.deleted.values()):
            due = job.failure_code in REFUNDED_CODES and job.id not in refunded
            if due and job.state(self.clock()) == "failed":
                self.book(job.id, job.cents, job.created_at + job.seconds, "refund")

    def book(self, job_id: str, cents: float, at: float, kind: Literal["charge", "refund"]) -> None:
        """Write a line into the account book; `cents` is what the balance gains."""
        # Rounded, because images cost fractions of a cent and the balance is compared with what a job costs.
        self.balance_cents = round(self.balance_cents + cents, 4)
        self.ledger.append(Charge(job_id, abs(cents), at, kind))

    def bought(self) -> list[dict[str, Any]]:
        """Every job that was ever taken, as the account book knows it, oldest first."""
        refunds = {charge.job_id: charge.cents for charge in self.ledger if charge.kind == "refund"}
        jobs = sorted((*self.jobs.values(), *self.deleted.values()), key=lambda job: job.created_at)
        return [
            {
                "id": job.id,
                "api": job.api,
                "request": job.request,
                "request_id": job.request_id,
                "created_at": job.created_at,
                "state": job.state(self.clock()),
                "cents": job.cents,
                "refunded_cents": refunds.get(job.id, 0.0),
                "deleted": job.id in self.deleted,
            }
            for job in jobs
        ]

    def find(self, job_id: str, api: Api) -> Job | None:
        job = self.jobs.get(job_id)
        return job if job and job.api == api else None

    def job_seconds(self, output: Output) -> float:
        return SECONDS[output] if self.seconds is None else self.seconds

    def can_pay(self, prompt: str, cents: float) -> bool:
        return "[sandbox:credits]" not in prompt and cents <= self.balance_cents

    def load(self, api: Api, output: Output | None = None) -> tuple[list[Job], list[Job]]:
        """The jobs that run now, and those that were taken in the last minute, oldest first."""
        now = self.clock()
        jobs = [j for j in self.jobs.values() if j.api == api and output in (None, j.output)]
        gone = [j for j in self.deleted.values() if j.api == api and output in (None, j.output)]
        recent = [job for job in (*jobs, *gone) if now - job.created_at < 60]
        running = [job for job in jobs if job.state(now) in ("queued", "dreaming")]
        return running, sorted(recent, key=lambda job: job.created_at)

    def strikes_rate(self, prompt: str) -> bool:
        """Whether this is the first time that a prompt with the word for it is seen."""
        if "[sandbox:rate]" not in prompt or prompt in self.rate_limited:
            return False
        self.rate_limited.add(prompt)
        return True

    def link(self, request: Request, path: str) -> str:
        """A fresh link to a path of the storage."""
        expires = str(int(self.clock()) + LINK_SECONDS)
        origin = f"{request.url.scheme}://{request.url.netloc}"
        return f"{origin}/{path}?Expires={expires}&Signature={self._sign(path, expires)}"

    def link_refusal(self, path: str, query: Mapping[str, str]) -> str | None:
        """Why a link is not served, or None."""
        expires = query.get("Expires", "")
        if not hmac.compare_digest(self._sign(path, expires).encode(), query.get("Signature", "").encode()):
            return "The signature does not match."
        return "Request has expired." if self.clock() > int(expires) else None

    def linked(self, url: str) -> tuple[Job | None, bool]:
        """The job that a link of ours shows, whichever API made it, and whether the link is served."""
        parts = urlsplit(url)
        steps = parts.path.split("/")
        job = self.jobs.get(steps[2]) if len(steps) == 4 and steps[1] == "media" else None
        return job, job is not None and not self.link_refusal(parts.path[1:], dict(parse_qsl(parts.query)))

    def _sign(self, path: str, expires: str) -> str:
        return hmac.new(self._secret, f"{path}?{expires}".encode(), hashlib.sha256).hexdigest()

    def media(self, job: Job, name: str) -> bytes:
        """One of the job's files, drawn once. It blocks: call it in a worker thread."""
        file = (job.id, name)
        with self._drawing.setdefault(file, threading.Lock()):
            if file not in self._media:
                self._media[file] = pictures.draw(job.picture, name)
        return self._media[file]


def create_sandbox(
    *,
    clock: Callable[[], float] = time.time,
    balance_usd: float = 100.0,
    seconds: float | None = None,
    limits: bool = True,
    draw: bool = True,
) -> Starlette:
    """The sandbox as an ASGI app: Dream Machine below /dream-machine/v1, Agents below /v1.

    Its world is `app.state.sandbox`.

    `clock` gives seconds since 1970; `seconds` is the time that each job takes (otherwise 4 s for images, 6 s for
    videos); `limits=False` lifts the rate and concurrency limits; `draw=False` serves the bundled pictures at once.
    """
    # Here, because they build validators that an import of the sandbox need not pay for.
    from . import agents, agents_files, dream_machine

    world = Sandbox(clock, balance_usd, seconds, limits, draw)
    app = Starlette(
        routes=[
            Mount(
                "/dream-machine/v1",
                routes=dream_machine.routes(world),
                middleware=[Middleware(KeyCheck, refusal=dream_machine.key_refusal)],
            ),
            Mount("/v1", routes=agents.routes(world), middleware=[Middleware(KeyCheck, refusal=agents.key_refusal)]),
            Route("/uploads/{file_id}", agents_files.receive, methods=["PUT"]),
            Route("/media/{job_id}/{name}", _media),
            Route("/sandbox/faults", _add_faults, methods=["POST"]),
            Route("/sandbox/state", _state),
        ],
        middleware=[Middleware(Gate, world=world)],
        exception_handlers={HTTPException: _refuse},
    )
    app.state.sandbox = world
    return app


class KeyCheck:
    """Luma asks for the key everywhere, even at addresses that do not exist."""

    def __init__(self, app: Any, refusal: Callable[[str], str | None]) -> None:
        self.app = app
        self.refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        detail = self.refusal(Request(scope).headers.get("authorization", ""))
        app = JSONResponse({"detail": detail}, 401) if detail else self.app
        await app(scope, receive, send)


def storage_error(status: int, code: str, message: str) -> Response:
    """A refusal in the way of S3."""
    return Response(STORAGE_ERROR.format(code, message), status, media_type="application/xml")


def timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


async def _refuse(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)


async def _media(request: Request) -> Response:
    world: Sandbox = request.app.state.sandbox
    job_id, name = request.path_params["job_id"], request.path_params["name"]
    if refusal := world.link_refusal(f"media/{job_id}/{name}", request.query_params):
        return storage_error(403, "AccessDenied", refusal)
    job = world.jobs.get(job_id)
    if job is None or name not in job.files.values():
        raise HTTPException(404)
    if world.draw and pictures.can_draw():
        from starlette.concurrency import run_in_threadpool

        data = await run_in_threadpool(world.media, job, name)
    else:
        data = pictures.bundled(name)
    return Response(data, media_type=pictures.MEDIA_TYPES[name.rpartition(".")[2]])


async def _add_faults(request: Request) -> Response:
    try:
        faults = TypeAdapter(list[Fault]).validate_json(await request.body())
    except ValidationError as error:
        return JSONResponse({"detail": error.errors(include_url=False, include_context=False)}, 422)
    world: Sandbox = request.app.state.sandbox
    world.faults.extend(faults)
    return JSONResponse({"faults": len(world.faults)}, 201)


async def _state(request: Request) -> Response:
    world: Sandbox = request.app.state.sandbox
    return JSONResponse(
        {
            "balance_cents": world.balance_cents,
            "ledger": [dataclasses.asdict(charge) for charge in world.ledger],
            "requests": [dataclasses.asdict(received) for received in world.requests],
            "jobs": world.bought(),
            "faults": len(world.faults),
        }
    )


@contextlib.contextmanager
def running_sandbox(port: int = 0, **options: Any) -> Iterator[str]:
    """Serve a sandbox on 127.0.0.1 for as long as the block lasts, and give its address. Options: `create_sandbox`."""
    import uvicorn  # here, because importing the sandbox must stay cheap

    app = create_sandbox(**options)

    async def serve(scope: Scope, receive: Receive, send: Any) -> None:
        # `send` is a method of uvicorn's request cycle: the only way to the connection that a fault has to cut.
        scope["extensions"] = {"sandbox.abort": send.__self__.transport.abort}
        await app(scope, receive, send)

    # asyncio turns Nagle's algorithm off only where the protocol is named; with it, answers wait 40 ms.
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        if os.name == "posix":  # elsewhere the option would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            raise OSError(error.errno, f"The sandbox cannot use port {port}: {error.strerror}") from error
        listener.listen(128)
        server = uvicorn.Server(
            uvicorn.Config(
                serve,
                http="h11",
                loop="asyncio",
                lifespan="off",
                ws="none",
                log_config=None,
                log_level="critical",
                access_log=False,
                date_header=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=0,
            )
        )
        thread = threading.Thread(target=server.run, args=([listener],), name="luma-sandbox", daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)
