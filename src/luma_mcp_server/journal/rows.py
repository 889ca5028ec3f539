"""One purchase as the journal keeps it, and what makes two purchases the same."""

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..models import REQUESTS, Api, LocalFile, Media, Request, plain_text, plain_url


@dataclass(frozen=True)
class Row:
    """One paid job. Times are seconds since 1970, by this computer's clock."""

    id: str
    """`request-…`, which names the purchase as long as there is no generation id."""

    account: str
    """API, base URL and a digest of the key."""

    api: Api
    identity: str
    """Digest of the request as it was sent, and the take: see `identity_of`."""

    take: int
    tool: str
    kind: str
    """The name of the request's class."""

    request: str
    """The request as JSON, without secrets."""

    model: str | None
    shape: str
    """What decides how long it takes: kind, model, resolution, length."""

    usd: float
    """What it counts in the budget: the upper bound of its price."""

    submitted_at: float
    status: str = "submitting"
    generation_id: str | None = None
    state: str | None = None
    """Luma's word, as last seen."""

    taken_at: float | None = None
    """When Luma answered; nothing for one that was found later."""

    took_s: float | None = None
    """How long the job took, where its end was seen soon after it came."""

    refunded: int = 0
    looks: int = 0
    """How many lists of Luma's did not show it."""

    holds: int = 1
    """Whether it stands for its identity: no other such purchase is made meanwhile."""

    said: str | None = None
    """Why it was refused, or what is known of its lost answer."""

    @cached_property
    def asked(self) -> Request | None:
        """The request; nothing where another version of this server wrote what this one can't read."""
        with suppress(KeyError, ValueError):
            return REQUESTS[self.kind].model_validate_json(self.request)
        return None

    @property
    def wish(self) -> str:
        """Its identity without the take."""
        return self.identity.partition(" ")[0]

    @property
    def made_at(self) -> float:
        """When Luma took the job, as far as is known."""
        return self.taken_at or self.submitted_at

    @property
    def finished(self) -> bool:
        """Whether its job has ended, or never began."""
        return self.status not in ("submitting", "submitted", "unknown")


def identity_of(request: Request, take: int) -> str:
    """What makes a purchase the same as another: the request as it is sent, and the take.

    A link to a generation changes each time it is made, and a local file may move: they count by generation id and by
    content.
    """

    def named(value: Any) -> Any:
        match value:
            case Media(generation_id=str(name)):
                what: Any = {"generation": name}
            case Media(file=LocalFile(digest=digest)):
                what = {"file": digest}
            case Media(url=url):
                what = {"url": url}
            case tuple():
                return [named(one) for one in value]
            case _:
                return value.model_dump() if hasattr(value, "model_dump") else value
        return what | {"weight": value.weight}

    told = {name: named(value) for name, value in vars(request).items()}
    text = json.dumps([type(request).__name__, told], sort_keys=True)
    return f"{hashlib.sha256(text.encode()).hexdigest()} {take}"


def written(request: Request) -> str:
    """A request as the journal keeps it: JSON without secrets."""

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(plain(one) for one in value)
        if isinstance(value, str):
            return plain_text(value)
        if not isinstance(value, Media):
            return value
        file = value.file and value.file.model_copy(update={"data": None, "path": ""})
        return value.model_copy(update={"url": plain_url(value.url), "file": file})

    changes = {name: plain(value) for name, value in vars(request).items()} | {"callback_url": None}
    return request.model_copy(update=changes).model_dump_json(exclude_defaults=True)
