"""Luma's two APIs. The SDKs are imported by the modules below alone, and no object of theirs leaves this package."""

from typing import Protocol

from ..models import Api, Generation, Request


class LumaApi(Protocol):
    """One of Luma's APIs. What else it can do (list, delete, balance, upload) are methods that it has or lacks."""

    name: Api

    def check(self, request: Request) -> None:
        """Raise `InvalidRequest` for what this API documents as refused, or does not support. Free and offline."""

    async def create(self, request: Request, purchase_id: str) -> Generation:
        """Send one paid request, once; the purchase's id goes along where the API takes one for tracing.

        Raises:
            InvalidRequest: refused before it is sent.
            NotSent | Refused | AnswerLost: the outcomes that are not a generation.
        """

    async def get(self, generation_id: str) -> Generation:
        """Ask how a generation stands, with fresh links. Raises what `create` does once it has sent."""
