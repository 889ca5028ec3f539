"""What the paid tools share: the checks before a purchase, the purchase, the wait, and the saved file."""

from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import anyio

from ..apis import LumaApi
from ..catalog import api_of, candidates
from ..errors import InvalidRequest, JournalUnusable, LumaServerError, Refused, TooManyRequests, refuse
from ..models import MAX_JOB_AGE_S, Generation, MediaType, Request, media_in
from ..poller import first_gap
from ..pricing import estimate, upper_bound
from ..purchases import PurchaseResult
from ..purchases.idempotency import normalized
from ..purchases.purchase import Purchase
from .call import ANSWER_S, Call
from .confirmation import confirm_price, describe
from .results import is_overdue, label, next_take, present, unknown_result
from .services import Services
from .sources import before_purchase, upload_files
from .waiting import refresh, save, wait

_MOST_RUNNING = 5


def check_call(call: Call) -> None:
    """Refuse what can't work, whatever it starts from, before the first question is asked."""
    settings, callback_url = call.services.settings, call.arguments.get("callback_url")
    settings.require_key()
    settings.require(
        "LUMA_MCP_WAIT_S", "LUMA_MCP_BUDGET_USD", "LUMA_MCP_CONFIRM_USD", "LUMA_MCP_READ_ONLY", "LUMA_MCP_JOURNAL"
    )
    call.say("looking up what it starts from")
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
) -> Generation:
    """Buy what a tool was asked for, unless it has been bought; wait for it as long as the call may, and save it.

    Args:
        call: the call.
        request_for: the request for a model.
        kind: what it makes; None if Luma takes no model for it.
        source_model: the model that made what it starts from.
        warnings: said with the result.
    """
    services = call.services
    models = candidates(kind, call.arguments["model"], services.settings.apis, source_model) if kind else ("",)
    api, request = _supported(call, request_for, models)
    price, max_usd = estimate(request), upper_bound(request)
    account = services.settings.account(api.name)
    tool, take = call.tool, call.arguments["take"]
    purchase = Purchase.from_request(request, account=account, api=api.name, tool=tool, take=take, max_usd=max_usd)
    result = await services.purchases.find_reusable(purchase, call.answer_until)
    if result is None:
        await services.journal.check_budget(max_usd)
        await confirm_price(call, price or max_usd, describe(request), published=price is not None)
        with before_purchase(call):
            request = await upload_files(call, request)
        result = await _buy(call, purchase, api, request)
    warnings = (*warnings, *services.settings.misspelled)
    more: dict[str, Any] = {"estimated_cost_usd": price}
    if result.reused:
        more = {"estimated_cost_usd": 0.0, "reused": True}
        if result.purchase.generation_id:
            warnings = (*warnings, await _bought_before(services, result.purchase))
    else:
        others = [label(one) for one in await _running(services) if one.id != result.purchase.id]
        more["also_running"] = tuple(others[:_MOST_RUNNING]) or None
        more["files_sent"] = tuple(media.file.path for media in media_in(request) if media.file) or None
        if price is None:
            warnings = (*warnings, f"It has no published price: it counts as ${max_usd:.2f} in the budget.")
    return await _outcome(call, result, warnings, more)


def _supported(call: Call, request_for: Callable[[str], Request], models: tuple[str, ...]) -> tuple[LumaApi, Request]:
    """The request for the first model that supports it; if none does, the first one's refusal."""
    refusals, callback = [], {"callback_url": call.arguments.get("callback_url")}
    for model in models:
        api = call.services.api(api_of(model) if model else "dream_machine")
        request = normalized(request_for(model).model_copy(update=callback))
        try:
            api.check(request)
        except InvalidRequest as refusal:
            refusals.append(refusal)
        else:
            return api, request
    raise refusals[0]


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
            if media.file:  # Luma may have lost it: the next call sends it again
                services.local_files.forget(media.file)
        raise


async def _outcome(call: Call, result: PurchaseResult, warnings: tuple[str, ...], more: dict[str, Any]) -> Generation:
    """What the call answers: the finished generation with its file, or as it stands when the time is up."""
    services, purchase = call.services, result.purchase
    if purchase.generation_id is None:
        unknown = await unknown_result(services, purchase, result.error)
        return present(services, unknown, warnings=warnings, **more)
    generation = purchase.fill(result.generation) if result.generation else purchase.as_generation()
    usual = await call.expect(purchase)
    if result.error or not (generation.finished or is_overdue(services, generation)):
        generation = await wait(call, purchase.generation_id, generation, delay=first_gap())
    if generation.state == "failed":
        raise _failed(generation)
    call.say("saving")
    generation = await save(call, generation, call.wait_until)
    expected = round(usual) if usual and not generation.finished else None
    return present(services, generation, warnings=warnings, expected_s=expected, **more)


async def _running(services: Services) -> list[Purchase]:
    """Purchases whose jobs had not ended when they were last seen, newest first."""
    try:
        since = services.now().timestamp() - MAX_JOB_AGE_S
        return [one for one in await services.journal.unfinished(since) if one.generation_id]
    except JournalUnusable:
        return []


async def _bought_before(services: Services, purchase: Purchase) -> str:
    age = max(0.0, purchase.age(services.now()))
    ago = f"{age:.0f} s" if age < 120 else f"{age / 60:.0f} min"
    take = await next_take(services, purchase)
    return (
        f"An earlier call bought this {ago} ago: nothing was charged for this one. For another version call again with "
        f"take={take}."
    )


_ADVICE = {
    "content_moderated": "Change the prompt or the images.",
    "rate_limited": "Call again in a minute.",
    "budget_exhausted": "Add credits at Luma first.",
    "image_too_large": "Use a smaller image.",
}
"""Source: luma-agents 0.5.0, types/generation_failure_code.py; Luma Agents API FAQ for what may be tried again."""


def _failed(generation: Generation) -> LumaServerError:
    reason = (generation.failure_reason or generation.failure_code or "Luma gives no reason").rstrip(".")
    cost = (
        "Luma refunds that, so nothing was charged."
        if generation.charged == "no"
        else "Whether it was charged is not known: Luma's platform page shows it."
    )
    moderated = any(word in reason.lower() for word in ("moderat", "blacklist"))
    guess = "Change the prompt or the images." if moderated else "Check the input, or simply call again."
    advice = _ADVICE.get(generation.failure_code or "", guess)
    return LumaServerError(f"Generation {generation.generation_id} failed: {reason}. {cost} {advice}")
