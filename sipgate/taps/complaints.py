"""One log line for what a peer does wrong: the connection, the status, and the field. Never about whom.

The same complaint is repeated once a minute at most, with how often it happened meanwhile. Refusals by policy are no
complaints: they leave no line (R12).
"""

from __future__ import annotations

import structlog

from sipgate.sip.message import PHRASES

log = structlog.get_logger("sipgate")

_QUIET_NS = 60_000_000_000
_KINDS = 1000  # a peer cannot make us remember more


class Complaints:
    """Counts and tells."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, int, str], tuple[int, int]] = {}

    def add(self, connection: str, status: int, reason: str | None, now_ns: int) -> None:
        """A request of a connection got a status; ``reason`` names the field."""
        key = (connection, status, reason or PHRASES[status])
        since, unsaid = self._told.get(key, (0, 0))
        if since and now_ns - since < _QUIET_NS:
            self._told[key] = (since, unsaid + 1)
            return
        if len(self._told) >= _KINDS:
            self._told.clear()
        self._told[key] = (now_ns, 0)
        log.warning("a request was turned away", connection=connection, status=status, why=key[2], times=unsaid + 1)
