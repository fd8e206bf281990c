"""Sockets that their recording no longer needs, and when each may be closed.

They stay open until the session is over, so that a peer that goes on sending meets no ICMP error, and then until its
last packets came: only a port that is quiet is used again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sipgate.media.store import Ints

QUIET_NS: Final = 2_000_000_000
LONGEST_NS: Final = 64_000_000_000
"""After which a port is closed all the same: who still sends then will not stop."""


@dataclass
class _Sink:
    """``released_at_ns``: None until the session is over."""

    recording: str
    released_at_ns: int | None = None


class Sinks:
    """By their rows in the drain's tables."""

    def __init__(self) -> None:
        self._sinks: dict[int, _Sink] = {}

    def add(self, row: int, recording: str) -> None:
        """A recording that is over leaves this one behind."""
        self._sinks[row] = _Sink(recording)

    def of(self, recording: str) -> list[int]:
        """All that it left."""
        return [row for row, sink in self._sinks.items() if sink.recording == recording]

    def release(self, recording: str, now_ns: int) -> None:
        """Its session is over: they may be closed as soon as they are quiet."""
        for row in self.of(recording):
            if self._sinks[row].released_at_ns is None:
                self._sinks[row].released_at_ns = now_ns

    def due(self, heard: Ints, now_ns: int) -> list[int]:
        """Which are to be closed now; ``heard``: by row, when anything last came."""
        released = {row: sink.released_at_ns for row, sink in self._sinks.items() if sink.released_at_ns is not None}
        return [
            row
            for row, since in released.items()
            if now_ns - max(since, int(heard[row])) >= QUIET_NS or now_ns - since >= LONGEST_NS
        ]

    def remove(self, row: int) -> None:
        """It is closed; perhaps its recording needed it still."""
        self._sinks.pop(row, None)
