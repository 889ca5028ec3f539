"""What both SDKs share: their errors become ours, and their answers become plain data that can't do harm.

Both are made by the same generator. A POST has four outcomes: it was not sent, refused, taken, or its answer was lost.
"""

import json
import logging
import re
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from ..errors import (
    AnswerLost,
    LumaServerError,
    NotFound,
    NotSent,
    Refused,
    TooManyRequests,
    moderation_advice,
    quote,
    whole_text,
)

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

_NOTHING_LOST = "Nothing was lost: call again in a little while."
_PERHAPS_CHARGED = "The job may have been taken and charged."
_NAMED_NOTHING = (
    "Luma did not find what the request names",
    "Check its ids (list_generations) and its model (list_models).",
)

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LINK = re.compile(r"https?://[^\s\x00-\x1f\x7f]{1,8184}", re.IGNORECASE)
WORD = re.compile(r"[\w .:/+-]{1,64}")
_LONGEST_PAUSE_S = 86_400.0
_LONGEST_TEXT, _MOST_ITEMS, _DEEPEST, _LARGEST = 10_000, 1_000, 8, 1e15


def cleaned(value: Any, depth: int = 0) -> Any:
    """An answer as plain data: no half characters, nothing endless, no number that JSON can't carry."""
    if hasattr(value, "to_dict"):
        value = dict(value)  # to_dict itself raises where something is nested too deeply
    match value:
        case str():
            return whole_text(value[:_LONGEST_TEXT])
        case bool():
            return value
        case datetime():
            return value.isoformat()
        case int() | float():
            return value if abs(value) < _LARGEST else None
        case Mapping() if depth < _DEEPEST:
            pairs = list(value.items())[:_MOST_ITEMS]
            return {cleaned(name): cleaned(one, depth + 1) for name, one in pairs}
        case list() | tuple() if depth < _DEEPEST:
            return [cleaned(one, depth + 1) for one in value[:_MOST_ITEMS]]
        case _:
            return None


@dataclass(frozen=True)
class Answer:
    """The fields of an object in an answer of Luma's, cleaned. One of another shape than asked for counts as absent."""

    data: Mapping[str, Any]

    @classmethod
    def of(cls, answer: object) -> "Answer":
        """What the SDK gave; without fields for HTML, null and the like, which the SDKs hand through."""
        data = cleaned(answer)
        return cls(data if isinstance(data, Mapping) else {})

    @classmethod
    def of_generation(cls, answer: object) -> "Answer":
        """The same for what must be a generation."""
        found = cls.of(answer)
        if found.id is None:
            raise Unusable(answer)
        return found

    def text(self, name: str) -> str | None:
        """Words of the user's or Luma's, if there are any."""
        value = self.data.get(name)
        return value if isinstance(value, str) and value else None

    def word(self, name: str) -> str | None:
        """One of Luma's own short words, such as a state or a model."""
        return self._matching(WORD, name)

    def link(self, name: str) -> str | None:
        """A link."""
        return self._matching(_LINK, name)

    @property
    def id(self) -> str | None:
        """Luma's id of it."""
        return self._matching(_ID, "id")

    def time(self, name: str) -> datetime | None:
        """A time, to the second."""
        try:
            time = datetime.fromisoformat(self.text(name) or "")
        except ValueError:
            return None
        return time.replace(microsecond=0, tzinfo=time.tzinfo or UTC)

    def inner(self, name: str) -> "Answer":
        """An object in it."""
        return Answer.of(self.data.get(name))

    def list(self, name: str) -> Sequence[Any] | None:
        """A list in it."""
        value = self.data.get(name)
        return value if isinstance(value, list) else None

    def _matching(self, pattern: re.Pattern[str], name: str) -> str | None:
        value = self.data.get(name)
        return value if isinstance(value, str) and pattern.fullmatch(value) else None


class Unusable(ValueError):
    """Raised with an answer whose status is success and whose body is not what was due."""


def answer_time(headers: Mapping[str, str]) -> datetime | None:
    """When an answer was given, by Luma's clock."""
    try:
        time = parsedate_to_datetime(headers.get("date", ""))
    except (TypeError, ValueError, OverflowError):
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def no_generation(generation_id: str) -> tuple[str, str]:
    """What to say of a 404 for a generation, and what to do about it."""
    return (
        f"Luma knows no generation {generation_id}",
        "It was deleted, or belongs to another key; list_generations shows what there is.",
    )


class SdkClient:
    """What the two APIs do alike with their SDKs' answers and errors.

    Args:
        key: the API key, which no message may contain.
        key_variable, keys_page: the environment variable that it came from, and where the user gets another.
        api_error: the SDK's base class of errors.
    """

    def __init__(self, key: str, key_variable: str, keys_page: str, api_error: type[Exception]) -> None:
        self._key, self._key_variable, self._keys_page, self._api_error = key, key_variable, keys_page, api_error
        # Importing an SDK sets these to a level from a variable of its own: they write prompts and signed links.
        for name in (api_error.__module__.partition(".")[0], "httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)

    @contextmanager
    def _translated(
        self,
        *,
        paid: bool = False,
        missing: tuple[str, str] = _NAMED_NOTHING,
        if_lost: str = _NOTHING_LOST,
        hint: str = "",
    ) -> Iterator[None]:
        """Turn the SDK's errors into ours.

        `missing` and `if_lost` are said of a 404 and of a lost answer, `hint` where the API itself may be gone.
        """
        try:
            yield
        except (self._api_error, httpx.InvalidURL, ValueError, RecursionError, OverflowError) as error:
            # The SDKs let through what reading an answer raises: bad JSON, deep nesting, endless numbers.
            if_lost = _PERHAPS_CHARGED if paid else if_lost
            response = getattr(error, "response", None)
            if not isinstance(response, httpx.Response):
                raise self._unanswered(error, paid, if_lost) from error
            detail = _detail(getattr(error, "body", None), self._key)
            raise self._answered(response, detail, paid, missing, if_lost, hint) from error

    def _answered(
        self, response: httpx.Response, detail: str, paid: bool, missing: tuple[str, str], if_lost: str, hint: str
    ) -> LumaServerError:
        """The error for an answer that is no success."""
        status, words, kind = response.status_code, detail.lower(), Refused
        said = f"HTTP {status}: {detail}" if detail else f"HTTP {status}"
        free, hint = " Nothing was charged." if paid else "", f" {hint}" if hint else ""
        retry_after = _retry_after(response.headers)
        if status in (408, 409) or status >= 500 or status < 400:
            what = f"Luma's API did not answer as it should ({said}). {if_lost}{hint}"
            return AnswerLost(what, retry_after=retry_after, status=status)
        if status == 429:
            what, wait = "Luma's rate limit was reached", f"{retry_after:.0f} seconds" if retry_after else "a minute"
            if concurrency := "concurrent" in words:
                what, wait = "Too many of your Luma jobs run at once", "for one to end (wait_for_generations)"
            what = f"{what} ({said}).{free} Wait {wait}, then call again."
            return TooManyRequests(what, status=429, retry_after=retry_after, concurrency=concurrency)
        if status == 402 or "credit" in words:
            status, what, hint = 402, "The Luma account has too little credit", ""
            todo = "Add credits at Luma, or make a cheaper call."
        elif re.search(r"\bhdr\b", words):
            what, hint = "Luma refused the HDR request", ""
            todo = "HDR needs access that Luma grants to an account: ask Luma, or leave out dynamic_range."
        elif advice := moderation_advice(words):
            what, todo, hint = "Luma's moderation refused this", advice, ""
        elif status in (401, 403):
            what = f"Luma refused the API key in {self._key_variable}"
            todo = f"Put a working key there ({self._keys_page}) and restart this server."
        elif status == 404:
            (what, todo), kind = missing, NotFound
        else:
            what, todo = "Luma refused the request", "Change what it names, then call again."
        return kind(f"{what} ({said}).{free} {todo}{hint}", status=status)

    def _unanswered(self, error: Exception, paid: bool, if_lost: str) -> LumaServerError:
        """The error for a request without an answer, or with one that can't be used."""
        cause = error.__cause__
        if isinstance(cause, NEVER_SENT):
            why, todo = _why_unreached(cause)
            free = " Nothing was sent or charged." if paid else ""
            return NotSent(f"Luma's API {why}.{free} {todo}, then call again.")
        if isinstance(error, Unusable):
            answer = cleaned(error.args[0])
            is_page = isinstance(answer, str) and "<" in answer
            shown = "an HTML page" if is_page else quote(repr(answer), secret=self._key)[:80]
            what = f"Luma answered with {shown} where a generation was due"
        elif not isinstance(error, self._api_error):
            what = "Luma's answer was cut off or is no JSON"
        elif isinstance(cause, httpx.TimeoutException):
            what = f"Luma's API did not answer in time ({type(cause).__name__})"
        else:
            what = f"The connection to Luma broke off ({type(cause or error).__name__})"
        return AnswerLost(f"{what}. {if_lost}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what led to it, also where httpcore hides that; each address that was tried has its own."""
    yield error
    for cause in (error.__cause__ or error.__context__, *getattr(error, "exceptions", ())):
        if cause is not None:
            yield from _causes(cause)


def _why_unreached(error: BaseException) -> tuple[str, str]:
    """Why a request never left, and what to do about it."""
    if isinstance(error, httpx.TimeoutException):
        return f"took too long to connect ({type(error).__name__})", "Check the network"
    if isinstance(error, httpx.ProxyError):
        return f"could not be reached: the proxy refused ({quote(str(error))})", "Check HTTPS_PROXY"
    kinds = tuple(_causes(error))
    if any(isinstance(cause, socket.gaierror) for cause in kinds):
        return "could not be reached: the name was not found (DNS)", "Check the network, or the base URL if you set one"
    if any(isinstance(cause, ssl.SSLError) for cause in kinds):
        todo = "If your company's proxy opens connections, put the path of its root certificate into SSL_CERT_FILE"
        return "could not be reached: the certificate was not accepted (TLS)", todo
    if any(isinstance(cause, ConnectionRefusedError) for cause in kinds):
        return (
            "could not be reached: the connection was refused",
            "Check firewall, proxy, or the base URL if you set one",
        )
    return f"could not be reached ({type(error).__name__})", "Check the network"


def _detail(body: object, key: str) -> str:
    """Luma's own words in an error body: `{"detail": text}`, or a list of `{"loc", "msg"}` as FastAPI writes them."""
    body = cleaned(body)
    detail = body.get("detail", body) if isinstance(body, dict) else body
    if isinstance(detail, list):
        detail = "; ".join(map(_complaint, detail))
    if isinstance(detail, str) and detail.lstrip()[:1] == "<":
        return "an HTML page instead of JSON"
    return "" if detail is None else quote(detail if isinstance(detail, str) else json.dumps(detail), secret=key)


def _complaint(part: object) -> str:
    match part:
        case {"loc": [*steps], "msg": what}:
            return f"{'.'.join(str(step) for step in steps if step != 'body')}: {what}"
        case _:
            return str(part)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """`Retry-After`, where it gives seconds, up to a day."""
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds <= _LONGEST_PAUSE_S else None
