"""One purchase: one row of the journal, one POST."""

import uuid
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal

from ..models import (
    PURCHASE_PREFIX,
    REQUESTS,
    Api,
    Generation,
    Media,
    Request,
    VideoRequest,
    dollars,
    makes,
    media_in,
    rounded,
)
from .idempotency import idempotency_key, redacted

DAY_S = 24 * 3600.0
"""Seconds that an unknown purchase counts in the budget and blocks the same call."""

SUBMITTING_S = 90.0
"""Seconds that a row `submitting` belongs to the process that wrote it: longer than any POST can last."""

REUSE_S = 15 * 60.0
"""Seconds after its purchase that a finished generation is returned for the same call."""

Status = Literal["submitting", "unknown", "accepted", "rejected", "completed", "failed", "deleted"]
"""What is known of a purchase.

    submitting ─┬─> accepted ─┬─> completed ──> deleted
                │             └─> failed
                ├─> rejected    refused by Luma, or never sent: not charged
                └─> unknown ──┬─> accepted   found in Luma's list
                              └─> rejected   certainly not in Luma's list: not charged
"""


@dataclass(frozen=True)
class Purchase:
    """One purchase, as the journal keeps it. Times are seconds since 1970, by this computer's clock.

    Attributes:
        id: `request-…`, which names the purchase as long as there is no generation id.
        account: API, base URL and a digest of the key.
        idempotency_key: digest of the normalized request; with account and take it makes two calls the same purchase.
        tool: the name of the tool, and of what was bought.
        request: the request as JSON, without secrets.
        resolution, duration: what decides, with tool and model, how long the job takes.
        max_usd: what it counts in the budget: the upper bound of its price.
        price_usd: its published price; None where there is none.
        user: who bought it, where several share a key.
        state: Luma's word, as last seen.
        accepted_at: when Luma answered; None for a job that was found later.
        took_s: seconds that the job took, where its end was seen within ten minutes.
        media_url: link to the result, without its query.
        note: why it was rejected, or what is known of its lost answer.
    """

    id: str
    account: str
    api: Api
    idempotency_key: str
    take: int
    tool: str
    request: str
    model: str | None
    resolution: str | None
    duration: str | None
    max_usd: float
    price_usd: float | None = None
    user: str | None = None
    submitted_at: float = 0.0
    status: Status = "submitting"
    generation_id: str | None = None
    state: str | None = None
    accepted_at: float | None = None
    took_s: float | None = None
    refunded: bool = False
    media_url: str | None = None
    note: str | None = None

    @classmethod
    def from_request(
        cls,
        request: Request,
        *,
        account: str,
        api: Api,
        tool: str,
        take: int,
        max_usd: float,
        price_usd: float | None,
        user: str | None,
    ) -> "Purchase":
        """A purchase that may be made; `submitted` gives it its id and its time."""
        source = getattr(request, "source", None)
        return cls(
            id="",
            account=account,
            api=api,
            idempotency_key=idempotency_key(request),
            take=take,
            tool=tool,
            request=redacted(request).model_dump_json(exclude_defaults=True),
            model=getattr(request, "model", None),
            resolution=getattr(request, "resolution", None) or getattr(source, "resolution", None),
            duration=getattr(request, "duration", None) or getattr(source, "duration", None),
            max_usd=max_usd,
            price_usd=price_usd,
            user=user,
        )

    def submitted(self, now: datetime) -> "Purchase":
        """The purchase for one POST."""
        return replace(self, id=PURCHASE_PREFIX + uuid.uuid4().hex, submitted_at=now.timestamp())

    @cached_property
    def parsed_request(self) -> Request | None:
        """The request; None where another version of this server wrote what this one can't read."""
        with suppress(KeyError, ValueError):
            return REQUESTS[self.tool].model_validate_json(self.request)
        return None

    @property
    def prompt(self) -> str | None:
        """What it asks for, in words."""
        return getattr(self.parsed_request, "prompt", None)

    @property
    def arguments(self) -> dict[str, Any] | None:
        """The tool's arguments that make this purchase, with sources as ids."""
        request = self.parsed_request
        return _arguments(self.tool, self.api, request) | {"take": self.take} if request else None

    @property
    def uploads(self) -> set[str]:
        """Luma's ids of the files that were uploaded for it."""
        files = (media.file for media in media_in(self.parsed_request)) if self.parsed_request else ()
        return {file.file_id for file in files if file and file.file_id}

    @property
    def unresolved(self) -> bool:
        """Whether nobody knows yet if Luma took it."""
        return self.status in ("submitting", "unknown")

    @property
    def finished(self) -> bool:
        """Whether its job has ended, or never began."""
        return self.status not in ("submitting", "unknown", "accepted")

    def age(self, now: datetime) -> float:
        """Seconds since it was made."""
        return now.timestamp() - self.submitted_at

    def in_flight(self, now: datetime) -> bool:
        """Whether a process is waiting for Luma's answer."""
        return self.status == "submitting" and self.age(now) < SUBMITTING_S

    def answers(self, now: datetime) -> bool:
        """Whether the same call gets this purchase instead of another one."""
        longest = {"submitting": float("inf"), "accepted": float("inf"), "unknown": DAY_S, "completed": REUSE_S}
        return self.age(now) < longest.get(self.status, 0.0)

    def as_generation(self) -> Generation:
        """The generation as far as the journal knows it; only for a purchase that Luma took."""
        generation = Generation(
            generation_id=self.generation_id,
            api=self.api,
            type=makes(request) if (request := self.parsed_request) else None,
            state=self.state or "unknown",
            model=self.model,
            created_at=datetime.fromtimestamp(int(self.submitted_at), UTC),
            charged="no" if self.refunded else None,
        )
        return self.fill(generation)

    def fill(self, generation: Generation) -> Generation:
        """A generation with what its request says of it, where Luma does not."""
        request = self.parsed_request
        if request is None:
            return generation
        places = request, getattr(request, "source", None)
        said = {
            name: next((value for one in places if (value := getattr(one, name, None))), None)
            for name in ("prompt", "aspect_ratio", "resolution", "duration")
        }
        if isinstance(request, VideoRequest) and (request.start_video or request.end_video):
            del said["duration"]  # longer than what was asked for
        return generation.replace(
            operation=self.tool,
            estimated_cost_usd=None if self.price_usd is None else rounded(self.price_usd),
            arguments=self.arguments,
            **{name: value for name, value in said.items() if not getattr(generation, name)},
        )


def over_budget(max_usd: float, left_usd: float, budget_usd: float) -> str:
    """What to say of a purchase that would exceed the budget."""
    return (
        f"This counts as {dollars(max_usd)}, but only {dollars(left_usd)} is left of the budget of "
        f"{dollars(budget_usd)} in 24 hours (LUMA_MCP_BUDGET_USD). Nothing was sent or charged. Tell the user, who can "
        "raise that variable and restart this server, or wait; get_account shows the spending."
    )


_PARAMETERS: dict[str, dict[str, str | None]] = {
    "extend_video": {
        "start_video": "generation_id",
        "end_video": "generation_id",
        "start_image": "end_image",
        **dict.fromkeys(("resolution", "duration", "aspect_ratio")),
    },
    "interpolate_videos": {
        "start_video": "start_generation_id",
        "end_video": "end_generation_id",
        **dict.fromkeys(("resolution", "duration", "aspect_ratio")),
    },
    "upscale_video": {"source": "generation_id"},
    "add_audio": {"source": "generation_id"},
    "modify_image": {"aspect_ratio": None},
    "extract_layers": {"model": None},
}
"""How a tool calls fields of its request, where it has another name for them, or None for one that it has not."""


def _arguments(tool: str, api: Api, request: Request) -> dict[str, Any]:
    """The arguments that make a tool ask for this; of local files the journal keeps no path."""
    names = _PARAMETERS.get(tool, {}) | ({"media_type": None} if api == "agents" else {})
    found: dict[str, Any] = {}
    for name, value in request:
        parameter = names.get(name, name)
        if parameter and value != type(request).model_fields[name].default:
            found[parameter] = _argument(name, value)
    if tool == "extend_video":
        found["direction"] = "forward" if getattr(request, "start_video", None) else "backward"
    pixels: dict[str, int] = found.pop("pixels", {})
    return found | pixels


def _argument(name: str, value: Any) -> Any:
    match name, value:
        case _, Media():
            known_as = value.generation_id or value.url or f"a local file ({value.file and value.file.media_type})"
            marks = {"weight": value.weight, "at": value.at_s, "frame": value.frame}
            return known_as + "".join(f"#{mark}={number:g}" for mark, number in marks.items() if number is not None)
        case "controls", dict():
            words = {True: "on", False: "off"}
            return [f"{one}={words[how] if isinstance(how, bool) else how}" for one, how in value.items()]
        case "placement", tuple():
            return ",".join(f"{one:g}" for one in value)
        case _, tuple():
            return [_argument(name, one) for one in value]
    return value
