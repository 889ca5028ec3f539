"""Every failure that a caller is told of. Each message says what happened, what it cost and what to do.

    LumaServerError
    ├── InvalidRequest      refused here, before any request
    ├── SettingsError       a variable is missing or can't be used
    ├── NotSent             the request never reached Luma: nothing was charged
    ├── Refused             Luma answered no: nothing was charged
    │   ├── NotFound        404
    │   └── TooManyRequests 429, with the seconds to wait if Luma named them
    ├── AnswerLost          the request left, but no usable answer came back: a job may have been bought
    ├── OverBudget          the user's budget does not allow it: nothing was sent
    ├── JournalBusy         another program keeps the journal locked: nothing was sent
    ├── StillUploading      a local file is not at Luma yet, and the upload goes on: nothing was bought
    ├── NotAgreed           the user did not agree to the price, or could not be asked: nothing was bought
    └── JobFailed           Luma took the job, and it failed

`NotSent`, `Refused` and `AnswerLost` are, with success, the four outcomes of a purchase.
"""

import re


class LumaServerError(Exception):
    """The base of all of them; `str(error)` is complete by itself."""


class InvalidRequest(LumaServerError):
    """The call can't work as it stands, and nothing was sent."""


class SettingsError(LumaServerError):
    """A setting that the call needs is missing or unusable; the message names the variable."""


class NotSent(LumaServerError):
    """No byte of the request reached Luma."""


class Refused(LumaServerError):
    """Luma refused the request.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class NotFound(Refused):
    """Luma knows no such generation."""


class TooManyRequests(Refused):
    """Luma's limit was reached.

    Attributes:
        retry_after: seconds to wait, where Luma named them.
        concurrency: the limit is on jobs that run at once, not on requests in a minute.
    """

    def __init__(self, message: str, *, status: int, retry_after: float | None, concurrency: bool) -> None:
        super().__init__(message, status=status)
        self.retry_after = retry_after
        self.concurrency = concurrency


class AnswerLost(LumaServerError):
    """The request left, and what became of it is not known: time-outs, 5xx, HTML, cut bodies.

    Attributes:
        retry_after: seconds that Luma asked to wait before asking again.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class OverBudget(LumaServerError):
    """What the call would count is more than is left of the budget."""


class JournalBusy(LumaServerError):
    """The record of paid jobs can't be written just now."""


class StillUploading(LumaServerError):
    """The call's time is over before its file is at Luma; the upload goes on. Nothing was bought."""


class NotAgreed(LumaServerError):
    """The price is above what the user wants to be asked about, and there is no yes to it. Nothing was bought."""


class JobFailed(LumaServerError):
    """A generation ended as failed."""


_SIGNED = re.compile(r"(?<=://)([^\s?#%\"'<>]*)(?:[?#]|%3F)[^\s\"'<>]*|[?&#][^\s=&\"'<>]+=[^\s\"'<>]*", re.IGNORECASE)
"""What may sign a link: all that follows its path, and what looks like a query without one."""

_LONGEST_QUOTE = 200


def quote(text: str, *, secret: str = "") -> str:
    """Somebody else's words made fit for a message: one line, no key, no query of a link, at most 200 characters."""
    if secret:
        text = text.replace(secret, "…")
    # Patterns take long for texts of megabytes; what is cut off here is cut off below anyway.
    text = text[: 10 * _LONGEST_QUOTE]
    text = " ".join(_SIGNED.sub(r"\1", text).split())
    return text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 1] + "…"
