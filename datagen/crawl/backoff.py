"""How long to wait before the next try: exponential with full jitter, or what the server asks."""

from __future__ import annotations

import datetime
import email.utils
import random


def delay_s(attempt: int, first_s: float, most_s: float) -> float:
    """Seconds before try number `attempt` + 1 (0 has just failed): uniform between 0 and first_s * 2**attempt."""
    return random.uniform(0, min(most_s, first_s * 2 ** min(attempt, 30)))


def retry_after_s(value: str | None, now: datetime.datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks to wait, in its form of seconds or of a date; None where it is none."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        then = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=datetime.UTC)
    return max(0.0, (then - (now or datetime.datetime.now(datetime.UTC))).total_seconds())
