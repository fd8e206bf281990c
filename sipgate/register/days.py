"""Days and nanoseconds. A day is the server's local one: that is what the admin who writes a date means."""

from __future__ import annotations

import time
from datetime import date, timedelta


def day_of(at_ns: int) -> date:
    """The local day of a moment (Unix ns)."""
    local = time.localtime(at_ns // 1_000_000_000)
    return date(local.tm_year, local.tm_mon, local.tm_mday)


def starts_at_ns(day: date) -> int:
    """The first moment (Unix ns) of a local day."""
    return int(time.mktime((day.year, day.month, day.day, 0, 0, 0, 0, 0, -1))) * 1_000_000_000


def ends_at_ns(day: date) -> int:
    """The first moment (Unix ns) after a local day, however many hours it has."""
    return starts_at_ns(day + timedelta(days=1))
