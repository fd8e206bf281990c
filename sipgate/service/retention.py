"""What has been kept long enough (R14): recordings in the index, and calls that never reached it.

A call that could never be finished has no row, and must not for that be kept for ever: its ledger entry says when it
was answered, and it goes when it would have gone with a row.
"""

from __future__ import annotations

from collections.abc import Iterator

import structlog
from sqlalchemy.exc import SQLAlchemyError

from sipgate.core.retention import Kept, due, expires_at_ns
from sipgate.errors import SipgateError
from sipgate.register.register import Register
from sipgate.service.clock import SteadyClock
from sipgate.vault.vault import Vault

log = structlog.get_logger("sipgate")


class Retention:
    """Says what is due; ``stage`` erases it."""

    def __init__(self, clock: SteadyClock, vault: Vault, register: Register, days: int) -> None:
        self._clock, self._vault, self._register, self._days = clock, vault, register, days

    def due(self) -> frozenset[str]:
        """The recordings to be erased now. Blocks on the disk. What cannot be read is said, and looked at next time."""
        found: set[str] = set()
        for kept in (self._indexed, self._unfinished):
            try:
                found.update(due(kept(), self._clock()))
            except (SipgateError, SQLAlchemyError) as error:
                log.error("retention could not look at everything; it does so again", reason=type(error).__name__)
        return frozenset(found)

    def _indexed(self) -> Iterator[Kept]:
        for row in self._register.recordings.all():
            yield Kept(row.recording, row.answered_at_ns, row.expires_at_ns)

    def _unfinished(self) -> Iterator[Kept]:
        known = {row.recording for row in self._register.recordings.all()}
        for recording, entry in self._vault.ledger().items():
            answered_at_ns = entry["answered_at_ns"]
            if recording not in known and isinstance(answered_at_ns, int):
                yield Kept(recording, answered_at_ns, expires_at_ns(answered_at_ns, self._days))
