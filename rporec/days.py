"""Dates and seconds: every time in the tables is whole seconds since 1970 UTC, every day a UTC day."""

from __future__ import annotations

import datetime as dt

DAY = 86_400  # seconds
EARLIEST = 631_152_000  # 1990-01-01: an earlier time is a wrong unit or a default
LATEST = 4_102_444_800  # 2100-01-01; a greater number is no time in seconds


def midnight(date: str) -> int:
    """Return the second at which a date (YYYY-MM-DD) begins."""
    return int(dt.datetime.combine(dt.date.fromisoformat(date), dt.time(tzinfo=dt.UTC)).timestamp())


def iso(seconds: int) -> str:
    """Return a moment as text: a date, or date and time where it is no midnight; a far one as its number."""
    try:
        moment = dt.datetime.fromtimestamp(seconds, tz=dt.UTC)
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s"
    return moment.date().isoformat() if seconds % DAY == 0 else moment.strftime("%Y-%m-%dT%H:%M:%S")
