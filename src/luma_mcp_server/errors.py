"""Every failure that a caller is told of. Each message says what happened, what it cost and what to do.

`NotSent`, `Refused` and `AnswerLost` are, with success, the four outcomes of a purchase.
"""

import re


class LumaServerError(Exception):
    """The base of all of them; `str(error)` is complete by itself.

    Attributes:
        status: the HTTP status, where Luma answered.
        retry_after: seconds that Luma asked to wait, where it did.
    """

    def __init__(self, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after


class InvalidRequest(LumaServerError):
    """The call can't work as it stands, and nothing was sent.

    Attributes:
        parameter: the one that is wrong, where it is one alone.
        nearest: the value nearest to it that would work.
    """

    parameter: str | None = None
    nearest: str | None = None


def refuse(what: str, instead: str, parameter: str | None = None, nearest: str | None = None) -> InvalidRequest:
    """The refusal of a call before anything is sent: what is wrong, and what to do instead."""
    refusal = InvalidRequest(" ".join(filter(None, (f"{what}. Nothing was sent.", instead))))
    refusal.parameter, refusal.nearest = parameter, nearest
    return refusal


class SettingsError(LumaServerError):
    """A setting that the call needs is missing or unusable; the message names the variable."""


class NotSent(LumaServerError):
    """No byte of the request reached Luma: nothing was charged."""


class Refused(LumaServerError):
    """Luma refused the request: nothing was charged."""


class NotFound(Refused):
    """Luma knows no such generation."""


class WasDeleted(NotFound):
    """A generation that was bought here has been deleted."""


class TooManyRequests(Refused):
    """Luma's limit was reached: with `concurrency` that on jobs at once, otherwise that on requests in a minute."""

    def __init__(self, message: str, *, status: int, retry_after: float | None, concurrency: bool) -> None:
        super().__init__(message, status=status, retry_after=retry_after)
        self.concurrency = concurrency


class AnswerLost(LumaServerError):
    """The request left, and what became of it is not known: time-outs, 5xx, HTML, cut bodies."""


class JournalUnusable(LumaServerError):
    """The journal of purchases can't be opened, read or written. As an error: nothing was sent.

    Attributes:
        warning: the same for a result that does without the journal.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason} Nothing is bought without it: nothing was sent or charged. {remedy}")
        self.warning = f"{reason} Its purchases are missing here, and nothing can be bought. {remedy}"


class StillUploading(LumaServerError):
    """The call's time is over before its file is at Luma; the upload goes on. Nothing was bought."""


def moderation_advice(reason: str) -> str | None:
    """What to do about a reason of Luma's that speaks of its moderation; None for any other."""
    words = reason.lower()
    if "moderat" not in words and "blacklist" not in words:
        return None
    # Source: vmevalkit, 2025-10: "failed to moderate image" for a link into another region of S3.
    unread = " If an image was given by URL, Luma may not have been able to read the link."
    return f"Change the prompt or the images.{unread if 'image' in words or 'frame' in words else ''}"


_SIGNED = re.compile(r"(?<=://)([^\s?#%\"'<>]*)(?:[?#]|%3F)[^\s\"'<>]*|[?&#][^\s=&\"'<>]+=[^\s\"'<>]*", re.IGNORECASE)
"""What may sign a link: all that follows its path, and what looks like a query without one."""

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_LONGEST_QUOTE = 200


def whole_text(text: str) -> str:
    """A text without half characters, which no UTF-8 can carry: a cut-off emoji becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def quote(text: str, *, secret: str = "") -> str:
    """Somebody else's words made fit for a message: one line, no key, no query of a link, at most 200 characters."""
    if secret:
        text = text.replace(secret, "…")
    # Patterns take long for texts of megabytes; what is cut off here is cut off below anyway.
    text = text[: 10 * _LONGEST_QUOTE]
    text = " ".join(_SIGNED.sub(r"\1", _CONTROLS.sub(" ", whole_text(text))).split())
    return text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 1] + "…"
