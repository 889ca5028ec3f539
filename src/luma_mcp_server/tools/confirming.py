"""The user's yes to a price above `LUMA_MCP_CONFIRM_USD`, in both eras of the protocol."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
from mcp.shared.exceptions import MCPError
from mcp_types import ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequests, InputRequiredResult

from ..errors import NotAgreed
from ..models import AudioRequest, ImageRequest, ModifyVideoRequest, ReframeRequest, Request, UpscaleRequest, dollars
from ..schema import InputRequired, call_scope
from . import Call, ToolContext

ANSWER_LIMIT_S = 300.0
"""Seconds that the user has, where the call stays open meanwhile. Otherwise the SDK keeps a question for 600 s."""

_MODERN = "2026-07-28"
"""From this version of the protocol on a server asks by its result, and the client calls again with the answer."""

_KEY = "confirm"
_FORM = {
    "type": "object",
    "properties": {
        "go_on": {"type": "boolean", "title": "Go on", "description": "Buy it at this price", "default": True}
    },
}


def in_words(request: Request) -> str:
    """What a request buys, for the user: `A video with ray-2 (1080p, 9s)`."""
    match request:
        case ImageRequest():
            what = "A changed image" if request.source else "An image"
        case ModifyVideoRequest():
            what = "A changed video"
        case ReframeRequest():
            what = "A reframed image" if request.media_type == "image" else "A reframed video"
        case UpscaleRequest():
            what = "A sharper video"
        case AudioRequest():
            what = "Sound for a video"
        case _:
            what = "A video"
    model, source = getattr(request, "model", None), getattr(request, "source", None)
    sizes = [getattr(request, name, None) or getattr(source, name, None) for name in ("resolution", "duration")]
    known = ", ".join(filter(None, sizes))
    return f"{what}{f' with {model}' if model else ''}{f' ({known})' if known else ''}"


async def confirm_price(ctx: ToolContext, call: Call, usd: float, what: str, *, published: bool = True) -> None:
    """Return if a price needs no yes, or has the user's; to be called before anything is bought.

    Args:
        ctx: how the user is asked.
        call: its limits are moved by the time that the answer takes.
        usd: the price in US dollars, or a bound for it.
        what: what it is the price of, as the start of a sentence.
        published: whether it is Luma's price.

    Raises:
        NotAgreed: the user said no, gave no answer, or can't be asked.
        InputRequired: the client has to ask the user and to call again.
    """
    limit = call.app.settings.confirm_usd
    if limit is None or usd <= limit:
        return
    price = dollars(usd)
    costs = f"{what} costs about {price}" if published else f"{what} has no published price and counts as {price}"
    cannot_ask = NotAgreed(
        f"{costs}, more than LUMA_MCP_CONFIRM_USD ({dollars(limit)}) allows without the user's yes, and this client "
        "can't ask the user. Nothing was bought. Make a cheaper call (list_models has the prices), or tell the user to "
        "raise LUMA_MCP_CONFIRM_USD in this server's settings and restart it."
    )
    can = ctx.client_capabilities.elicitation if ctx.client_capabilities else None
    if can is None or (can.form is None and can.url is not None):
        raise cannot_ask
    question = ElicitRequestFormParams(message=f"{costs}. Go on?", requested_schema=_FORM)
    if (ctx.protocol_version or "") >= _MODERN:
        answer = (ctx.input_responses or {}).get(_KEY)
        # The SDK seals the state and ties it to the tool and its arguments; what else decides the price is in it.
        if answer is None or ctx.request_state != question.message:
            asked: InputRequests = {_KEY: ElicitRequest(params=question)}
            raise InputRequired(InputRequiredResult(input_requests=asked, request_state=question.message))
    else:
        try:
            answer = await _asked(ctx, call, question)
        except MCPError as error:
            raise cannot_ask from error
    if _agreed(answer):
        return
    no = "did not agree"
    if answer is None:
        no = f"did not answer within {ANSWER_LIMIT_S:.0f} s"
    elif isinstance(answer, ElicitResult) and answer.action == "cancel":
        no = "closed the question without an answer"
    raise NotAgreed(f"{costs}, and the user {no}. Nothing was bought. Do not call again unless the user asks for it.")


async def _asked(ctx: ToolContext, call: Call, question: ElicitRequestFormParams) -> ElicitResult | None:
    """The user's answer, while the call stays open; none if there was none in time.

    `ctx.elicit` would not tell a yes without content from one with content that does not fit.
    """
    describe = call.describe
    call.say("waiting for the user's answer")
    with _uncounted(call), anyio.move_on_after(ANSWER_LIMIT_S):
        try:
            answer: ElicitResult = await ctx.session.elicit_form(
                question.message, question.requested_schema, ctx.request_id
            )
        except ValueError:  # what came is no answer in the protocol's terms
            answer = ElicitResult(action="decline")
        finally:
            call.describe = describe
        return answer
    return None


def _agreed(answer: object) -> bool:
    """Whether it is a yes; the form's only field may be left out, since yes is its default."""
    said = answer.content or {} if isinstance(answer, ElicitResult) and answer.action == "accept" else {"go_on": False}
    return said.get("go_on", True) is True


@contextmanager
def _uncounted(call: Call) -> Iterator[None]:
    """No limit of the call ends it in here, and the time in here counts for none of them."""
    began, scope = anyio.current_time(), call_scope.get()
    deadline, scope.deadline = scope.deadline, math.inf
    try:
        yield
    finally:
        took = anyio.current_time() - began
        scope.deadline = deadline + took
        call.limit += took
        call.wait_until += took
        call.answer_until += took
