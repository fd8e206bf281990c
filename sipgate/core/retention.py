"""How long a recording is kept. Pure.

The cap is the CNIL's (R14) and stands here, not in a configuration: no setting, enrolment or stored row prolongs it
(R22). Whatever time a row claims, a recording is due once the cap has passed since the call was answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sipgate.errors import RuleError

DAY_NS = 86_400_000_000_000
CAP_DAYS = 183
CAP_NS = CAP_DAYS * DAY_NS


@dataclass(frozen=True, slots=True)
class Kept:
    """One recording: its name, when its call was answered, when it was to expire (Unix ns)."""

    recording: str
    answered_at_ns: int
    expires_at_ns: int


def expires_at_ns(answered_at_ns: int, days: int) -> int:
    """When a recording expires (Unix ns) whose call was answered then, kept for ``days``. Raises RuleError R14."""
    if not 1 <= days <= CAP_DAYS:
        raise RuleError(f"recordings are kept 1 to {CAP_DAYS} days (R14)")
    return answered_at_ns + days * DAY_NS


def due(recordings: Iterable[Kept], now_ns: int) -> Iterator[str]:
    """The names of those that are to be erased at ``now_ns``, in the order given."""
    return (kept.recording for kept in recordings if now_ns >= min(kept.expires_at_ns, kept.answered_at_ns + CAP_NS))
