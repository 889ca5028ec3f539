"""What the paid tools share: the checks before a purchase, the purchase, the wait, and the saved file."""

from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import anyio

from ..apis import LumaApi
from ..catalog import api_of, choose_model, models_that
from ..errors import (
    InvalidRequest,
    JournalUnusable,
    LumaServerError,
    Refused,
    TooManyRequests,
    moderation_advice,
    refuse,
)
from ..models import MAX_JOB_AGE_S, Generation, MediaType, Quote, Request, dollars, media_in, rounded
from ..poller import first_gap
from ..pricing import assumed, estimate, upper_bound
from ..purchases import PurchaseResult
from ..purchases.idempotency import normalized
from ..purchases.purchase import Purchase, over_budget
from .call import ANSWER_S, Call
from .confirmation import above_limit, can_ask, cannot_ask, confirm_price, describe
from .keeping import start_keeping
from .results import is_overdue, label, next_take, present, unknown_result
from .services import Services
from .sources import before_purchase, upload_files
from .waiting import refresh, save, wait

_MOST_RUNNING = 5
_OLD_S = 30.0


def check_call(call: Call) -> None:
    """Refuse what can't work, whatever it starts from, before the first question is asked."""
    settings, callback_url = call.services.settings, call.arguments.get("callback_url")
    settings.require_key()
    settings.require_limits()
    settings.require("LUMA_MCP_WAIT_S", "LUMA_MCP_JOURNAL", "LUMA_MCP_USER")
    call.say("preparing")
    if callback_url is not None:
        _check_callback(callback_url, settings.callback_hosts)


def _check_callback(callback_url: str, hosts: tuple[str, ...]) -> None:
    try:
        parts = urlsplit(callback_url)
        host = parts.hostname
    except ValueError:
        host = None
    if host not in hosts or parts.scheme != "https" or parts.username:
        raise refuse(
            f"callback_url is not an https URL on one of the hosts in LUMA_MCP_CALLBACK_HOSTS ({', '.join(hosts)})",
            "Use one of those hosts, or leave it out.",
        )


async def buy(
    call: Call,
    request_for: Callable[[str], Request],
    *,
    kind: MediaType | None = None,
    source_model: str | None = None,
    warnings: tuple[str, ...] = (),
) -> Generation | Quote:
    """Buy what a tool was asked for, unless it has been bought; wait for it as long as the call may, and save it.

    With `dry_run` nothing is bought, and the answer says what would be.

    Args:
        call: the call.
        request_for: the request for a model.
        kind: what it makes; None if Luma takes no model for it.
        source_model: the model that made what it starts from.
        warnings: said with the result.
    """
    services = call.services
    api, request = _checked(call, request_for, kind, source_model)
    price, max_usd, why = estimate(request), upper_bound(request), assumed(request)
    purchase_of = partial(
        Purchase.from_request,
        account=services.settings.account(api.name),
        api=api.name,
        tool=call.tool,
        take=call.arguments["take"],
        max_usd=max_usd,
        price_usd=price,
        user=services.settings.user,
    )
    purchase = purchase_of(request)
    result = await services.purchases.find_reusable(purchase, call.answer_until)
    if call.arguments["dry_run"]:
        return await _quote(call, purchase, request, result, warnings)
    if result is None:
        await services.journal.check_budget(max_usd)
        await confirm_price(call, max_usd if price is None else price, describe(request), why)
        with before_purchase(call):
            request = await upload_files(call, request)
        result = await _buy(call, purchase_of(request), api, request)
    more: dict[str, Any] = {}
    if result.reused:
        more = {"estimated_cost_usd": 0.0, "reused": True, "charged": None}
        if result.purchase.generation_id:
            warnings = (*warnings, await _bought_before(services, result.purchase))
    else:
        more["also_running"] = await _also_running(services, result.purchase)
        more["files_sent"] = _files_in(request)
        if why:
            warnings = (*warnings, f"{why}, {dollars(max_usd)}.")
    return await _outcome(call, result, warnings, more)


def _checked(
    call: Call, request_for: Callable[[str], Request], kind: MediaType | None, source_model: str | None
) -> tuple[LumaApi, Request]:
    """The request for the call's model, and that model's API; refused with what would work, and for how much."""
    services, arguments = call.services, call.arguments
    apis, callback = services.settings.apis, {"callback_url": arguments.get("callback_url")}

    def checked(model: str, **changes: Any) -> tuple[LumaApi, Request]:
        api = services.api(api_of(model))
        request = normalized(request_for(model).model_copy(update=callback | changes))
        api.check(request)
        return api, request

    model = choose_model(call.tool, kind, arguments.get("model"), apis, source_model) if kind else ""
    try:
        return checked(model)
    except InvalidRequest as refusal:
        nearest = _nearest(refusal, lambda **changes: checked(model, **changes)[1])
        others = models_that(call.tool, kind, apis) if kind else []
        ways = (str(refusal), nearest, _others(refusal, others, lambda other: checked(other)[1], also=bool(nearest)))
        raise InvalidRequest(" ".join(filter(None, ways))) from None


def _nearest(refusal: InvalidRequest, checked: Callable[..., Request]) -> str:
    """The nearest value that would work, and its price."""
    if refusal.parameter is None or refusal.nearest is None:
        return ""
    value = f"{refusal.parameter}={refusal.nearest}"
    use = "Use" if str(refusal).endswith("Nothing was sent.") else "Or use"
    try:
        return f"{use} {value} ({_price(checked(**{refusal.parameter: refusal.nearest}))})."
    except InvalidRequest:
        return f"{use} {value}."  # something else is wrong, too


def _others(refusal: InvalidRequest, models: list[str], checked: Callable[[str], Request], *, also: bool) -> str:
    """The models that make exactly this, and their prices; or what is too short for the only one that could."""
    able, too_short = [], ""
    for model in models:
        try:
            able.append(f"{model} ({_price(checked(model))})")
        except InvalidRequest as no:
            if no.parameter == "prompt" and refusal.parameter != "prompt":
                too_short = too_short or f"{model} could, but {str(no).partition('.')[0]}."
    if not able:
        return "" if also else too_short
    also = also or not str(refusal).endswith("Nothing was sent.")
    return f"{'Or use' if also else 'Use'} model={' or '.join(able)} to get exactly this."


def _price(request: Request) -> str:
    price = estimate(request)
    return f"up to {dollars(upper_bound(request))}" if price is None else dollars(price)


async def _quote(
    call: Call, purchase: Purchase, request: Request, earlier: PurchaseResult | None, warnings: tuple[str, ...]
) -> Quote:
    """What the call would buy; nothing if an earlier purchase answers it."""
    services, settings = call.services, call.services.settings
    left = await services.journal.budget_left()
    price, counts, why = purchase.price_usd, purchase.max_usd, assumed(request)
    if earlier:
        price, counts, why = 0.0, 0.0, None
        said = await unknown_result(services, earlier.purchase, earlier.error)
        known = earlier.purchase.generation_id
        warnings = (*warnings, await _bought_before(services, earlier.purchase)) if known else said.warnings or ()
    elif why is None and price is not None and counts > price:
        why = "It counts at the largest size that Luma makes"
    costs = counts if price is None else price
    asks = above_limit(call, costs)
    if left is not None and counts > left:
        warnings = (*warnings, over_budget(counts, left, settings.budget_usd or 0.0))
    elif asks and not can_ask(call):
        unasked = (
            f"Above LUMA_MCP_CONFIRM_USD ({dollars(settings.confirm_usd or 0.0)}), but this client can't ask: it buys."
        )
        refusal = cannot_ask(call, costs, describe(request), assumed(request))
        warnings = (*warnings, refusal if settings.confirm_is_cap else unasked)
    fields: dict[str, Any] = {
        name: getattr(request, name, None) for name in ("model", "aspect_ratio", "resolution", "duration")
    }
    return Quote(
        **fields,
        operation=call.tool,
        estimated_cost_usd=None if price is None else rounded(price),
        counts_usd=rounded(counts),
        assumed=why,
        budget_left_usd=None if left is None else round(left, 2),
        allowed=(left is None or counts <= left) and (not asks or can_ask(call) or not settings.confirm_is_cap),
        asks_user=asks and can_ask(call),
        arguments=purchase.arguments,
        files_sent=_files_in(request),
        generation_id=earlier.purchase.generation_id if earlier else None,
        request_id=earlier.purchase.id if earlier and not earlier.purchase.generation_id else None,
        sandbox=settings.sandbox or None,
        warnings=warnings or None,
    )


async def _buy(call: Call, purchase: Purchase, api: LumaApi, request: Request) -> PurchaseResult:
    """The purchase, with what else can be said where Luma refuses it."""
    call.say("sending to Luma")
    services = call.services
    # The POST gets its time, however long the uploads took.
    until = min(call.limit, max(call.answer_until, anyio.current_time() + ANSWER_S))
    try:
        return await services.purchases.buy(
            purchase, partial(api.create, request), until=until, resend_until=call.wait_until, say=call.say
        )
    except TooManyRequests as error:
        if not error.concurrency:
            raise
        await refresh(services, (await _running(services))[:_MOST_RUNNING])  # as last seen they may have ended long ago
        running = [str(one.generation_id) for one in await _running(services)]
        more = f" and {len(running) - 2} more" if len(running) > 2 else ""
        here = f"Running: {', '.join(running[:2])}{more}." if running else "list_generations shows them."
        raise LumaServerError(f"{error} {here}") from error
    except Refused:
        for media in media_in(request):
            if media.file and media.file.file_id:  # Luma may have lost it: the next call sends it again
                services.local_files.forget(media.file.file_id)
        raise
    finally:
        start_keeping(services)


async def _outcome(call: Call, result: PurchaseResult, warnings: tuple[str, ...], more: dict[str, Any]) -> Generation:
    """What the call answers: the finished generation with its file, or as it stands when the time is up."""
    services, purchase = call.services, result.purchase
    if purchase.generation_id is None:
        unknown = await unknown_result(services, purchase, result.error)
        return present(services, unknown, warnings=warnings, **more)
    generation = purchase.fill(result.generation) if result.generation else purchase.as_generation()
    usual = await call.expect(purchase.id)
    if result.error or not (generation.finished or is_overdue(services, generation)):
        generation = await wait(call, purchase.generation_id, generation, delay=first_gap())
    if generation.state == "failed":
        services.purchases.unsaved.discard(purchase.id)
        raise failed(generation)
    call.say("saving")
    generation = await save(call, generation, call.wait_until, call.follow)
    if all(one.file_path for one in generation.outputs or (generation,)):
        services.purchases.unsaved.discard(purchase.id)
    expected = round(usual) if usual and not generation.finished else None
    return present(services, generation, warnings=warnings, expected_s=expected, **more)


def _files_in(request: Request) -> tuple[str, ...] | None:
    """The local files that a request sends, or parts of which; None without any."""
    return tuple(media.file.path for media in media_in(request) if media.file) or None


async def _running(services: Services) -> list[Purchase]:
    """Purchases whose jobs had not ended when they were last seen, newest first."""
    try:
        since = services.now().timestamp() - MAX_JOB_AGE_S
        return [one for one in await services.journal.unfinished(since) if one.generation_id]
    except JournalUnusable:
        return []


async def _also_running(services: Services, purchase: Purchase) -> tuple[str, ...] | None:
    """What else is unfinished, asked about where nobody has for a while."""
    others = [one for one in await _running(services) if one.id != purchase.id][:_MOST_RUNNING]
    if old := [one for one in others if services.purchases.unseen_s(one) > _OLD_S]:
        await refresh(services, old)
        unfinished = {one.id for one in await _running(services)}
        others = [one for one in others if one.id in unfinished]
    return tuple(map(label, others)) or None


async def _bought_before(services: Services, purchase: Purchase) -> str:
    age = max(0.0, purchase.age(services.now()))
    ago = f"{age:.0f} s" if age < 120 else f"{age / 60:.0f} min"
    take = await next_take(services, purchase)
    return (
        f"An earlier call bought this {ago} ago: the same call costs nothing. For another version call again with "
        f"take={take}."
    )


_ADVICE = {
    "content_moderated": "Change the prompt or the images.",
    "rate_limited": "Call again in a minute.",
    "budget_exhausted": "Add credits at Luma first.",
    "image_too_large": "Use a smaller image.",
}
"""Source: luma-agents 0.5.0, types/generation_failure_code.py; Luma Agents API FAQ for what may be tried again."""


def failed(generation: Generation) -> LumaServerError:
    """What to say of a failed job."""
    reason = (generation.failure_reason or generation.failure_code or "Luma gives no reason").rstrip(".")
    cost = (
        "Luma refunds that, so nothing was charged."
        if generation.charged == "no"
        else "Whether it was charged is not known: Luma's platform page shows it."
    )
    guess = moderation_advice(reason) or "Check the input, or simply call again."
    advice = _ADVICE.get(generation.failure_code or "", guess)
    return LumaServerError(f"Generation {generation.generation_id} failed: {reason}. {cost} {advice}")
