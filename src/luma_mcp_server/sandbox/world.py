"""What the sandbox remembers: jobs, files, the account, and the secret that signs its links."""

import dataclasses
import hashlib
import hmac
import math
import secrets
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request

from .faults import Fault, Received, readable
from .pictures import Picture, can_draw

LINK_SECONDS = 3600
QUEUED_SHARE = 0.15
SECONDS = {"video": 6.0, "image": 4.0}
# Jobs at once, and jobs per minute. Sources: Luma's rate-limits page, "Build" tier; Luma Agents docs, error handling
LIMITS = {"video": (10, 20), "image": (40, 80), "agents": (10, 30)}
# Failure reason and code by word. Source of the Agents API's: error handling, "Possible failure reasons"
FAILURES: dict[str, dict[str, tuple[str, str | None]]] = {
    "dream_machine": {"moderation": ("Frame moderation failed", None), "fail": ("Job failed", None)},
    "agents": {
        "moderation": ("Generation output was flagged by our content moderation system.", "content_moderated"),
        "fail": ("Generation failed", "generation_failed"),
        "budget": ("Insufficient credits to complete this generation.", "budget_exhausted"),
    },
}
# Source: Luma Agents FAQ, "Do I pay for failed generations?"
REFUNDED_CODES = (None, "content_moderated", "generation_failed", "output_not_found")

Api = Literal["dream_machine", "agents"]
Output = Literal["video", "image"]


@dataclasses.dataclass(frozen=True)
class Job:
    """One purchased generation. Its state follows from the time alone."""

    id: str
    api: Api
    model: str
    request: dict[str, Any]
    picture: Picture
    created_at: float
    seconds: float
    cents: float
    failure_reason: str | None
    failure_code: str | None
    request_id: str | None  # the buyer's X-Request-Id

    @property
    def output(self) -> Output:
        return "video" if self.picture.seconds else "image"

    @property
    def queue(self) -> str:
        """What Luma limits together: on Dream Machine videos and images separately, on Agents everything."""
        return "agents" if self.api == "agents" else self.output

    def state(self, now: float) -> Literal["queued", "dreaming", "completed", "failed"]:
        elapsed = now - self.created_at
        if elapsed < self.seconds * QUEUED_SHARE:
            return "queued"
        if elapsed < self.seconds:
            return "dreaming"
        stuck = "[sandbox:stuck]" in self.request.get("prompt", "")
        return "failed" if self.failure_reason else "dreaming" if stuck else "completed"

    @property
    def files(self) -> list[tuple[str, str]]:
        """Kind and file name of each output. Dream Machine's videos have a thumbnail (source: Luma's MCP server)."""
        picture = self.picture
        if picture.layers:
            return [("image", f"layer-{index}.png") for index in range(picture.layers)]
        if self.output == "image":
            return [("image", f"image.{picture.format}")]
        # What Luma calls the type of an EXR is not known.
        beside = [("exr", "video.exr")] if picture.exr else [("image", "thumbnail.jpg")] * (self.api == "dream_machine")
        return [("video", "video.mp4"), *beside]


@dataclasses.dataclass(frozen=True)
class Charge:
    """One line of the ledger."""

    job_id: str
    cents: float
    at: float
    kind: Literal["charge", "refund"]


@dataclasses.dataclass
class Sandbox:
    """The sandbox's state, which tests may read and change. The first fields: `create_sandbox`."""

    clock: Callable[[], float]
    balance_cents: float
    seconds: float | None
    limits: bool
    draw: bool
    hdr_access: bool = True  # Luma grants it to each client
    bounds: bool = True  # whether layers tell their place, which the Python SDK's types do not know
    jobs: dict[str, Job] = dataclasses.field(default_factory=dict)
    deleted: dict[str, Job] = dataclasses.field(default_factory=dict)
    files: dict[str, Any] = dataclasses.field(default_factory=dict)  # `agents.StoredFile`, by id
    ledger: list[Charge] = dataclasses.field(default_factory=list)
    requests: list[Received] = dataclasses.field(default_factory=list)
    faults: list[Fault] = dataclasses.field(default_factory=list)
    rate_limited: set[str] = dataclasses.field(default_factory=set)
    secret: bytes = dataclasses.field(default_factory=lambda: secrets.token_bytes(32))

    @property
    def draws(self) -> bool:
        return self.draw and can_draw()

    def buy(self, request: Request, api: Api, body: BaseModel, model: str, picture: Picture, cents: float) -> Job:
        """Take a job and charge for it, or refuse it."""
        echo = readable(body.model_dump_json(exclude_none=True).encode())
        prompt = echo.get("prompt", "")
        failures = FAILURES[api]
        reason, code = next((failures[word] for word in failures if f"[sandbox:{word}]" in prompt), (None, None))
        seconds = SECONDS["video" if picture.seconds else "image"] if self.seconds is None else self.seconds
        job = Job(
            id=str(uuid.uuid4()),
            api=api,
            model=model,
            request=echo,
            picture=picture,
            created_at=self.clock(),
            seconds=seconds,
            cents=cents,
            failure_reason=reason,
            failure_code=code,
            request_id=request.headers.get("x-request-id"),
        )
        self._check_limits(job, prompt)
        broke = "[sandbox:credits]" in prompt or cents > self.balance_cents
        refuse(broke, 402, "Insufficient credits. Please add credits to continue.")
        self.jobs[job.id] = job
        self._book(job, "charge", -cents, job.created_at)
        return job

    def version(self, prompt: str) -> int:
        """How many jobs have asked for the same so far."""
        return sum(job.picture.prompt == prompt for job in self.jobs.values())

    def _check_limits(self, job: Job, prompt: str) -> None:
        """Sentences and headers: Luma Agents docs, error handling. Dream Machine's are not documented."""
        now = job.created_at
        at_once, per_minute = LIMITS[job.queue]
        rivals = [one for one in (*self.jobs.values(), *self.deleted.values()) if one.queue == job.queue]
        recent = sorted(one.created_at for one in rivals if now - one.created_at < 60)
        wait = math.ceil(recent[0] + 60 - now) if self.limits and len(recent) >= per_minute else 0
        if "[sandbox:rate]" in prompt and prompt not in self.rate_limited:
            self.rate_limited.add(prompt)
            wait = 2
        refuse(wait, 429, "Rate limit exceeded", {"Retry-After": str(wait)})
        running = [one for one in rivals if one.id in self.jobs and one.state(now) in ("queued", "dreaming")]
        full = "[sandbox:concurrency]" in prompt or (self.limits and len(running) >= at_once)
        refuse(full, 429, "Too many concurrent jobs", {"Retry-After": "60"} if job.api == "agents" else None)

    def find(self, job_id: str, api: Api, status: int = 404, place: str = "") -> Job:
        job = self.jobs.get(job_id)
        if job is None or job.api != api:
            raise HTTPException(status, f"{place}Generation not found")
        return job

    def shown(self, request: Request, job: Job) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """What both APIs say of a job, and once it is completed the kind of each output with a fresh link."""
        state = job.state(self.clock())
        common = {
            "id": job.id,
            "state": state,
            "model": job.model,
            "created_at": timestamp(job.created_at),
            "failure_reason": job.failure_reason if state == "failed" else None,
        }
        links = [(kind, self.link(request, f"media/{job.id}/{name}")) for kind, name in job.files]
        return common, links if state == "completed" else []

    def fail(self, job_id: str, reason: str = "Job failed", code: str = "generation_failed") -> None:
        """Make a job fail once its time is up. Only the Agents API has codes."""
        job = self.jobs[job_id]
        failure_code = code if job.api == "agents" else None
        self.jobs[job_id] = dataclasses.replace(job, failure_reason=reason, failure_code=failure_code)

    def delete(self, job_id: str) -> None:
        self.deleted[job_id] = self.jobs.pop(job_id)

    def settle(self) -> None:
        """Book the refunds that are due by now. Source: Luma's FAQ, failed jobs are refunded in full."""
        refunded = {charge.job_id for charge in self.ledger if charge.kind == "refund"}
        for job in (*self.jobs.values(), *self.deleted.values()):
            due = job.failure_code in REFUNDED_CODES and job.id not in refunded
            if due and job.state(self.clock()) == "failed":
                self._book(job, "refund", job.cents, job.created_at + job.seconds)

    def _book(self, job: Job, kind: Literal["charge", "refund"], cents: float, at: float) -> None:
        # Rounded, because images cost fractions of a cent and the balance is compared with prices.
        self.balance_cents = round(self.balance_cents + cents, 4)
        self.ledger.append(Charge(job.id, job.cents, at, kind))

    def report(self) -> dict[str, Any]:
        """What GET /sandbox/state answers: every job ever taken, oldest first, and the rest."""
        refunds = {charge.job_id: charge.cents for charge in self.ledger if charge.kind == "refund"}
        jobs = []
        for job in sorted((*self.jobs.values(), *self.deleted.values()), key=lambda job: job.created_at):
            state, refunded = job.state(self.clock()), refunds.get(job.id, 0.0)
            changing = {"state": state, "refunded_cents": refunded, "deleted": job.id in self.deleted}
            jobs.append(dataclasses.asdict(job) | changing)
        return {
            "balance_cents": self.balance_cents,
            "ledger": [dataclasses.asdict(charge) for charge in self.ledger],
            "requests": [dataclasses.asdict(received) for received in self.requests],
            "jobs": jobs,
            "files": [file.shown(self.clock()) for file in self.files.values()],
            "faults": len(self.faults),
        }

    def link(self, request: Request, path: str) -> str:
        """A fresh signed link to a path of the storage."""
        expires = str(int(self.clock()) + LINK_SECONDS)
        origin = f"{request.url.scheme}://{request.url.netloc}"
        return f"{origin}/{path}?Expires={expires}&Signature={self._sign(path, expires)}"

    def link_problem(self, path: str, query: Mapping[str, str]) -> str | None:
        """Why a link is not served, or None."""
        expires = query.get("Expires", "")
        if not hmac.compare_digest(self._sign(path, expires).encode(), query.get("Signature", "").encode()):
            return "The signature does not match."
        return "Request has expired." if self.clock() > int(expires) else None

    def linked_job(self, url: str) -> tuple[Job | None, bool]:
        """The job of either API that a link of the sandbox shows, and whether the link still works."""
        parts = urlsplit(url)
        steps = parts.path.split("/")
        job = self.jobs.get(steps[2]) if len(steps) == 4 and steps[1] == "media" else None
        return job, job is not None and not self.link_problem(parts.path[1:], dict(parse_qsl(parts.query)))

    def _sign(self, path: str, expires: str) -> str:
        return hmac.new(self.secret, f"{path}?{expires}".encode(), hashlib.sha256).hexdigest()


def refuse(broken: object, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
    if broken:
        raise HTTPException(status, detail, headers)


def refuse_storage(broken: object, status: int, code: str, message: str | None) -> None:
    """Refuse in the style of S3, whose errors are XML."""
    refuse(broken, status, f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>')


def timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
