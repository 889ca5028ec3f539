"""What a backend is, and which model and API a call goes to. The SDKs are imported by the modules below alone."""

from typing import Protocol

from ..errors import InvalidRequest
from ..models import Api, Generation, MediaType, Request
from ..pricing import MODELS


class Backend(Protocol):
    """One of Luma's APIs. What else it can do (list, delete, credits …) are methods that it has or lacks."""

    api: Api

    async def create(self, request: Request) -> Generation:
        """Send one paid request, once.

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


_FAMILIES: dict[MediaType, tuple[str, ...]] = {"video": ("ray-",), "image": ("photon-",)}
_AGENTS_FAMILIES = ("ray-3", "ray-4", "uni-")


def choose_model(kind: MediaType, asked: str | None, of_source: str | None = None) -> str:
    """The model for a job: the one asked for, else that of the generation it starts from, else our first.

    A model that we do not know is let through when it is of a known family: Luma may have added it.

    Raises:
        InvalidRequest: it makes something else, or belongs to an API that can't be asked.
    """
    ours = [model.id for model in MODELS.values() if model.type == kind]
    if asked is None:
        return of_source if of_source in ours else ours[0]
    model = asked.strip().lower()
    if model.startswith(_AGENTS_FAMILIES):
        raise InvalidRequest(
            f"{model[:60]} belongs to Luma's Agents API, which this version does not speak yet. Nothing was sent. "
            f"Use model={' or '.join(ours)}."
        )
    if model not in ours and (not model.startswith(_FAMILIES[kind]) or len(model) > 60):
        raise InvalidRequest(f"{model[:60]!r} is no {kind} model. Nothing was sent. Use model={' or '.join(ours)}.")
    return model
