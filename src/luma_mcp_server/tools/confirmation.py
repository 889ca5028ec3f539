"""The user's yes to a price above `LUMA_MCP_CONFIRM_USD`, in both eras of the protocol."""

import anyio
from mcp.shared.exceptions import MCPError
from mcp_types import ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequests, InputRequiredResult

from .. import models
from ..errors import LumaServerError
from ..schema import InputRequired
from .call import MODERN, Call

ANSWER_LIMIT_S = 300.0
"""Seconds that the user has, where the call stays open meanwhile. Otherwise the SDK keeps a question for 600 s."""

_KEY = "confirm"
_WHAT = {
    models.VideoRequest: "A video",
    models.ImageRequest: "An image",
    models.ModifyVideoRequest: "A modified video",
    models.UpscaleRequest: "An upscaled video",
    models.AudioRequest: "Audio for a video",
    models.LayersRequest: "The layers of an image",
}
_FORM = {
    "type": "object",
    "properties": {
        "go_on": {"type": "boolean", "title": "Go on", "description": "Buy it at this price", "default": True}
    },
}


def describe(request: models.Request) -> str:
    """What a request buys, for the user: `A video with ray-2 (1080p, 9s)`."""
    if isinstance(request, models.ReframeRequest):
        what = f"A reframed {request.media_type}"
    elif isinstance(request, models.ImageRequest) and request.source:
        what = "A modified image"
    else:
        what = _WHAT[type(request)]
    model, source = getattr(request, "model", None), getattr(request, "source", None)
    sizes = [getattr(request, name, None) or getattr(source, name, None) for name in ("resolution", "duration")]
    if (dynamic_range := getattr(request, "dynamic_range", "sdr")) != "sdr":
        sizes.append(dynamic_range)
    known = ", ".join(filter(None, sizes))
    return f"{what}{f' with {model}' if model else ''}{f' ({known})' if known else ''}"


def above_limit(call: Call, usd: float) -> bool:
    """Whether a price in US dollars needs the user's yes."""
    limit = call.services.settings.confirm_usd
    return limit is not None and usd > limit


def can_ask(call: Call) -> bool:
    """Whether the client can ask the user."""
    can = call.ctx.client_capabilities.elicitation if call.ctx.client_capabilities else None
    return can is not None and (can.form is not None or can.url is None)


def cannot_ask(call: Call, usd: float, what: str, assumed: str | None) -> str:
    """The refusal of a price in US dollars that needs a yes which nobody can be asked for."""
    limit = models.dollars(call.services.settings.confirm_usd or 0.0)
    return (
        f"{_costs(usd, what, assumed)}, more than LUMA_MCP_CONFIRM_USD ({limit}) allows without the user's yes, and "
        "this client can't ask the user. Nothing was bought. Make a cheaper call (list_models has the prices), or tell "
        "the user to raise LUMA_MCP_CONFIRM_USD in this server's settings and restart it."
    )


def _costs(usd: float, what: str, assumed: str | None) -> str:
    price = models.dollars(usd)
    return f"{what} counts as {price} ({assumed})" if assumed else f"{what} costs about {price}"


async def confirm_price(call: Call, usd: float, what: str, assumed: str | None) -> None:
    """Return if a price in US dollars needs no yes, or has the user's; the time to answer counts for no deadline.

    Where nobody can be asked, a limit that the user has set holds; the default lets the call pass.

    Args:
        call: the call.
        usd: the price.
        what: what it is for.
        assumed: why the price is a bound, where none is published.

    Raises:
        LumaServerError: the user said no, gave no answer, or can't be asked.
        InputRequired: the client has to ask the user and to call again.
    """
    ctx, settings = call.ctx, call.services.settings
    if not above_limit(call, usd):
        return
    costs = _costs(usd, what, assumed)
    if not can_ask(call):
        if settings.confirm_is_cap:
            raise LumaServerError(cannot_ask(call, usd, what, assumed))
        return
    question = ElicitRequestFormParams(message=f"{costs}. Go on?", requested_schema=_FORM)
    if (ctx.protocol_version or "") >= MODERN:
        answer = (ctx.input_responses or {}).get(_KEY)
        # The SDK seals the state and ties it to the tool and its arguments; what else decides the price is in it.
        if answer is None or ctx.request_state != question.message:
            asked: InputRequests = {_KEY: ElicitRequest(params=question)}
            raise InputRequired(InputRequiredResult(input_requests=asked, request_state=question.message))
    else:
        answer = None
        call.say("waiting for the user's answer")
        try:
            with call.uncounted(), anyio.move_on_after(ANSWER_LIMIT_S):
                # `ctx.elicit` would not tell a yes without content from one with content that does not fit.
                answer = await ctx.session.elicit_form(question.message, question.requested_schema, ctx.request_id)
        except (MCPError, ValueError) as error:  # ValueError: what came is no answer in the protocol's terms
            raise LumaServerError(cannot_ask(call, usd, what, assumed)) from error
    if no := _not_agreed(answer):
        raise LumaServerError(
            f"{costs}, and the user {no}. Nothing was bought. Do not call again unless the user asks for it."
        )


def _not_agreed(answer: object) -> str | None:
    """What the user did instead of agreeing; the form's only field may be left out, since yes is its default."""
    if answer is None:
        return f"did not answer within {ANSWER_LIMIT_S:.0f} s"
    if isinstance(answer, ElicitResult) and answer.action == "cancel":
        return "closed the question without an answer"
    if isinstance(answer, ElicitResult) and answer.action == "accept":
        return None if (answer.content or {}).get("go_on", True) is True else "did not agree"
    return "did not agree"
