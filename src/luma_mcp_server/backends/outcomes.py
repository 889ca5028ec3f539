"""What both backends need: the one place where the errors of Luma's SDKs become ours, and odd answers are read."""

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from ..errors import AnswerLost, LumaServerError, NotFound, NotSent, Refused, TooManyRequests, quote
from ..models import plain_text

NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.InvalidURL,
)
"""Causes of a failure after which nothing can have reached Luma. Every other one leaves that open."""


def quiet(sdk: str) -> None:
    """Silence the loggers that importing an SDK sets to a variable of its own: they write prompts and signed links."""
    for name in (sdk, "httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)


def translate(
    error: Exception, *, paid: bool, key: str, key_variable: str, keys_page: str, if_gone: str = ""
) -> LumaServerError:
    """Turn an error of a Luma SDK (both are made by the same generator) into one of ours.

    Args:
        error: an `APIError` of the SDK, or what `json` raised for a body that is none.
        paid: the request would have bought something.
        key: the API key, which no message may contain.
        key_variable: the variable that holds it.
        keys_page: where the user gets another.
        if_gone: what to do where the answer looks as if the API or the model had been retired.
    """
    response = getattr(error, "response", None)
    if not isinstance(response, httpx.Response):
        return _without_response(error, paid)
    status, detail = response.status_code, _detail(getattr(error, "body", None), key)
    said = f"HTTP {status}: {detail}" if detail else f"HTTP {status}"
    free = " Nothing was charged." if paid else ""
    words = detail.lower()
    gone = status == 410 or 300 <= status < 400 or (paid and status in (403, 404))
    gone = gone or any(word in words for word in _RETIRED)
    gone = gone or (paid and "model" in words and any(word in words for word in _NOT_THERE))
    if_gone = f" {if_gone}" if gone and if_gone else ""
    if status in (408, 409) or status >= 500 or status < 400:
        return AnswerLost(
            f"Luma's API did not answer as it should ({said}).{_perhaps_charged(paid)}{if_gone}",
            retry_after=_seconds(response.headers),
        )
    if status == 402 or (status != 429 and "credit" in words):
        return Refused(
            f"The Luma account has too little credit ({said}).{free} Add credits at Luma, then call again.", status=402
        )
    if status == 401 or (status == 403 and "moderat" not in words):
        return Refused(
            f"Luma refused the API key in {key_variable} ({said}).{free} Put a working key there ({keys_page}) and "
            f"restart this server.{if_gone}",
            status=status,
        )
    if status == 404 and paid:
        return NotFound(
            f"Luma did not find what the request names ({said}).{free} Check its ids (list_generations) and its model "
            f"(list_models).{if_gone}",
            status=status,
        )
    if status == 404:
        return NotFound(
            f"Luma knows no such generation ({said}). It was deleted, or belongs to another key; "
            "list_generations shows those that there are.",
            status=status,
        )
    if status == 429:
        return _too_many(response.headers, said, words, free)
    if "moderat" in words or "blacklist" in words:
        return Refused(
            f"Luma's moderation refused this ({said}).{free} Change the prompt or the images.", status=status
        )
    return Refused(
        f"Luma refused the request ({said}).{free}{if_gone or ' Change what it names, then call again.'}", status=status
    )


def unusable(what: object, *, paid: bool, key: str) -> AnswerLost:
    """The error for a successful status whose body is no generation."""
    shown = "an HTML page" if isinstance(what, str) and "<" in what else quote(repr(what), secret=key)[:80]
    return AnswerLost(f"Luma answered with {shown} where a generation was due.{_perhaps_charged(paid)}")


_RETIRED = ("retire", "deprecat", "sunset", "no longer", "discontinu", "end of life", "shut down", "migrate")
"""Words of an API or a model that is gone. Luma has published none for its Dream Machine API."""


_NOT_THERE = ("unknown", "not available", "unavailable", "not supported", "removed", "not found")
"""Words of a model that is gone, where they are said of a model."""


NOTHING_LOST = " Nothing was lost: call again in a little while."


def _perhaps_charged(paid: bool) -> str:
    if not paid:
        return NOTHING_LOST
    return " The job may have been taken and charged."


def _without_response(error: Exception, paid: bool) -> LumaServerError:
    cause = error.__cause__
    if isinstance(cause, NEVER_SENT):
        why = "took too long to connect" if isinstance(cause, httpx.TimeoutException) else "could not be reached"
        free = " Nothing was sent or charged." if paid else ""
        return NotSent(f"Luma's API {why} ({type(cause).__name__}).{free} Check the network, then call again.")
    if isinstance(error, ValueError | RecursionError):
        what = "Luma's answer was cut off or is no JSON"
    elif isinstance(cause, httpx.TimeoutException):
        what = f"Luma's API did not answer in time ({type(cause).__name__})"
    else:
        what = f"The connection to Luma broke off ({type(cause or error).__name__})"
    return AnswerLost(f"{what}.{_perhaps_charged(paid)}")


def _too_many(headers: Mapping[str, str], said: str, words: str, free: str) -> TooManyRequests:
    retry_after, concurrency = _seconds(headers), "concurrent" in words
    if concurrency:
        message = (
            f"Too many of your Luma jobs run at once ({said}).{free} Wait for one to end (wait_for_generations), then "
            "call again."
        )
    else:
        wait = f"{retry_after:.0f} seconds" if retry_after else "a minute"
        message = f"Luma's rate limit was reached ({said}).{free} Wait {wait}, then call again."
    return TooManyRequests(message, status=429, retry_after=retry_after, concurrency=concurrency)


def _detail(body: object, key: str) -> str:
    """Luma's own words in an error body: `{"detail": text}`, or a list of `{"loc", "msg"}` as FastAPI writes them."""
    detail = body.get("detail", body) if isinstance(body, dict) else body
    if isinstance(detail, list):
        parts = [
            f"{'.'.join(str(step) for step in part.get('loc', ()) if step != 'body')}: {part.get('msg')}"
            if isinstance(part, dict) and isinstance(part.get("loc", ()), list)
            else str(part)
            for part in detail
        ]
        detail = "; ".join(parts)
    if isinstance(detail, str) and detail.lstrip()[:1] == "<":
        return "an HTML page instead of JSON"
    return "" if detail is None else quote(detail if isinstance(detail, str) else json.dumps(detail), secret=key)


def _seconds(headers: Mapping[str, str]) -> float | None:
    """`Retry-After` in seconds; a date is counted from the answer's own `Date`."""
    text = headers.get("retry-after", "")
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(text) - parsedate_to_datetime(headers.get("date", ""))).total_seconds()
        except (TypeError, ValueError):
            return None
    return seconds if 0 <= seconds < float("inf") else None


def date_of(headers: Mapping[str, str]) -> datetime | None:
    """When an answer was given, by Luma's clock, if it says so."""
    try:
        date = parsedate_to_datetime(headers.get("date", ""))
    except (TypeError, ValueError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def text_of(data: object, name: str) -> str | None:
    """A field of an answer, where it is text that says something."""
    value = data.get(name) if isinstance(data, Mapping) else None
    return value if isinstance(value, str) and value else None


def to_time(value: object) -> datetime | None:
    """A time of an answer, to the second, where it is one."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value.replace(microsecond=0, tzinfo=value.tzinfo or UTC)


_TELLING = (dict, list, bool)
"""Kinds of fields that nobody fills in for another: an image, concepts, a loop."""

_UNLESS_SAID = {"aspect_ratio": "16:9", "format": "jpg", "prompt": "", "negative_prompt": ""}
"""What Luma takes for these where they are left out. Source: Luma's Dream Machine API documentation."""


def fits(sent: Any, echoed: Any) -> bool | None:
    """Whether an echo is that of what was sent; nothing where it leaves out what would tell."""
    if isinstance(sent, Mapping):
        if not isinstance(echoed, Mapping):
            return None
        # What one has and the other lacks.
        more = [(name, value) for name, value in sent.items() if echoed.get(name) is None]
        more += [(name, value) for name, value in echoed.items() if name not in sent and value]
        if any(isinstance(value, _TELLING) or _UNLESS_SAID.get(name, value) != value for name, value in more):
            return False
        return _all_fit([fits(value, echoed.get(name)) for name, value in sent.items()])
    if echoed is None:
        return None
    if isinstance(sent, list) and isinstance(echoed, list):
        return len(sent) == len(echoed) and _all_fit([fits(*pair) for pair in zip(sent, echoed, strict=True)])
    if isinstance(sent, str) and isinstance(echoed, str):
        return plain_text(sent).split() == plain_text(echoed).split()
    return bool(sent == echoed)


def _all_fit(found: Sequence[bool | None]) -> bool | None:
    return False if False in found else None if None in found else True
