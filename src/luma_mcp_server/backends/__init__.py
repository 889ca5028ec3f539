"""What a backend is, and which model and API a call goes to. The SDKs are imported by the modules below alone."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..errors import InvalidRequest
from ..models import Api, Generation, Media, MediaType, Request
from ..pricing import MODELS


class Backend(Protocol):
    """One of Luma's APIs. What else it can do (list, delete, credits …) are methods that it has or lacks."""

    api: Api

    async def ping(self) -> None:
        """Raise if the API does not answer."""
        ...

    def check(self, request: Request) -> None:
        """Raise `InvalidRequest` for what this API documents as refused, or does not have. Free and offline."""
        ...

    async def create(self, request: Request, request_id: str) -> Generation:
        """Send one paid request, once; `request_id` is ours, for tracing where the API takes one.

        Raises:
            InvalidRequest: refused before it is sent.
            NotSent | Refused | AnswerLost: the outcomes that are not a generation.
        """
        ...

    async def get(self, generation_id: str) -> Generation:
        """Ask how a generation stands, with fresh links.

        Raises:
            NotSent | Refused | AnswerLost: Luma could not be asked, said no, or gave no usable answer.
        """
        ...


@dataclass(frozen=True)
class Lost:
    """A purchase whose answer was lost, and what tells its job from others.

    Attributes:
        request: what was sent; its links may lack their queries.
        age_s: tells how many seconds ago it was sent.
        within_s: how many seconds it may have been on its way.
        is_known: whether a generation is another purchase's.
        rivals: tells what else was sent in that time and has no answer; nothing for what can't be read.
    """

    request: Request
    age_s: Callable[[], float]
    within_s: float
    is_known: Callable[[str], bool]
    rivals: Callable[[], Sequence[Request | None]]


_FAMILIES: dict[str, tuple[MediaType, Api]] = {
    "ray-3": ("video", "agents"),
    "ray-": ("video", "dream_machine"),
    "uni-": ("image", "agents"),
    "photon-": ("image", "dream_machine"),
}
"""What a model whose id starts so makes, and whose it is; the first that fits counts."""

_KEY_OF: dict[Api, str] = {"agents": "a key of Luma's Agents API", "dream_machine": "a key of Luma's Dream Machine API"}


def other_api(made_by: str, model: str) -> InvalidRequest:
    """The refusal of a clip that the other API made."""
    return InvalidRequest(
        f"A clip of Luma's {made_by} API can't be continued by {model}. Nothing was sent. Leave model out if one "
        "is named, or make a new clip that starts on an image of its last frame: generate_video(start_image=…)."
    )


def api_of(model: str) -> Api:
    """The API that a model belongs to."""
    return next(api for start, (_, api) in _FAMILIES.items() if model.startswith(start))


def candidates(
    kind: MediaType, asked: str | None, apis: Collection[str], of_source: str | None = None
) -> tuple[str, ...]:
    """The models that may do a job, best first: the one asked for, else the one of its source, else all of ours.

    A model that we do not know is let through when it is of a known family: Luma may have added it.

    Args:
        kind: what is to be made.
        asked: the model that the caller named.
        apis: those that there is a key for.
        of_source: the model of the generation that the job starts from.

    Raises:
        InvalidRequest: the model asked for makes something else, or there is no key for it.
    """
    ours = [model.id for model in MODELS.values() if model.type == kind and model.api in apis]
    if asked is None:
        return (of_source,) if of_source in ours else tuple(ours)
    model = asked.strip().lower()
    made, api = next((known for start, known in _FAMILIES.items() if model.startswith(start)), (None, None))
    if made != kind or api is None or len(model) > 60:
        raise InvalidRequest(f"{model[:60]!r} is no {kind} model. Nothing was sent. Use model={' or '.join(ours)}.")
    if api not in apis:
        raise InvalidRequest(f"{model} needs {_KEY_OF[api]}. Nothing was sent. Use model={' or '.join(ours)}.")
    return (model,)


def medias(request: Request) -> Iterator[Media]:
    """Everything that a request starts from."""
    for value in vars(request).values():
        if isinstance(value, Media):
            yield value
        elif isinstance(value, tuple):
            yield from (one for one in value if isinstance(one, Media))


_NEAREST = {
    "9s": "10s",
    "10s": "9s",
    "4k": "1080p",
    "360p": "540p",
    "9:21": "9:16",
    "4:3": "3:2",
    "3:4": "2:3",
    "21:9": "2:1",
    "3:2": "4:3",
    "2:3": "3:4",
    "2:1": "21:9",
    "3:1": "21:9",
    "1:2": "9:16",
    "1:3": "9:16",
}
"""What one API has and the other lacks, and what comes nearest to it there."""


def one_of(model: str, parameter: str, value: str | None, allowed: tuple[str, ...]) -> None:
    """Refuse a value that a model does not have, and name the nearest that it has.

    Raises:
        InvalidRequest: it is not allowed.
    """
    if value is None or value in allowed:
        return
    nearest = _NEAREST.get(value)
    hint = nearest if nearest in allowed else allowed[0]
    raise InvalidRequest(
        f"{model} has no {parameter} {value}. Nothing was sent. Use {parameter}={hint}; it has {', '.join(allowed)}."
    )
