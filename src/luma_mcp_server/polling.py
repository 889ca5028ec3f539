"""When to ask next, and what to say while waiting. No clock, no network, no protocol."""

import random

_FIRST_GAP_S = 2.0
_LATER_GAP_S = 5.0
_LATER_AFTER_S = 180.0
_LONGEST_GAP_S = 30.0

TICK_S = 2.0
"""Seconds between two progress reports, at most."""

MAX_JOB_AGE_S = 3600.0
"""Luma drops jobs that are older. Source: Luma Agents API documentation, FAQ (active-job TTL of one hour)."""


def first_gap() -> float:
    """Seconds to wait before the first question about a new job.

    Spread over a whole gap, as questions in step with their jobs would find those of a whole minute either at their
    very end or, as often, a whole gap later.
    """
    return _FIRST_GAP_S * random.uniform(0.5, 1.5)  # noqa: S311 - spreads load, keeps no secret


def next_gap(elapsed: float, failures: int = 0, retry_after: float | None = None) -> float:
    """Seconds to wait before asking for a generation's state again.

    Args:
        elapsed: seconds since the first question.
        failures: how many questions in a row went unanswered; each one doubles the gap, up to 30 s.
        retry_after: seconds that Luma asked to wait.
    """
    gap = _FIRST_GAP_S if elapsed < _LATER_AFTER_S else _LATER_GAP_S
    gap = max(gap, retry_after or 0.0) * 2.0 ** min(failures, 4)
    # A little jitter keeps fifty waits that began together from asking together.
    return min(gap, _LONGEST_GAP_S) * random.uniform(0.95, 1.05)  # noqa: S311 - spreads load, keeps no secret


def progress(elapsed: float, expected: float | None, what: str) -> tuple[float, float | None, str]:
    """Progress, total and message of one report.

    Args:
        elapsed: seconds since the call began.
        expected: seconds that such jobs take; past them there is no total any more.
        what: what is being waited for, such as `dreaming`.
    """
    if expected is None:
        return elapsed, None, f"{what}, {elapsed:.0f} s so far"
    if elapsed < expected:
        return elapsed, expected, f"{what}, {elapsed:.0f} s of about {expected:.0f} s"
    return elapsed, None, f"{what}, {elapsed:.0f} s so far: longer than usual"


_EXPECTED_S = {
    ("VideoRequest", "ray-2"): 60.0,
    ("VideoRequest", "ray-flash-2"): 60.0,
    ("ReframeRequest", "ray-2"): 170.0,
    ("ReframeRequest", "ray-flash-2"): 70.0,
    ("ImageRequest", "photon-1"): 15.0,
    ("ImageRequest", "photon-flash-1"): 15.0,
}
"""Source: Luma's own MCP server of 2025-04 (videos 15-60 s, images 5-15 s); averages of third parties for reframing."""


def expected_seconds(kind: str, model: str | None) -> float | None:
    """How long a job usually takes, in seconds; nothing where nobody has said.

    Args:
        kind: the name of its request's class.
        model: Luma's name for the model.
    """
    return _EXPECTED_S.get((kind, model or ""))
