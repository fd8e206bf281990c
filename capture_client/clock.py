"""The server's clock as seen from this workstation, measured as NTP does (RFC 5905 §8). Pure: time comes in.

The workstation's own clock runs on while it sleeps and is never set, so a user or ntpd stepping the wall clock
changes nothing here.
"""

from __future__ import annotations

import time

from capture_client.protocol import ClockProbe, ClockReply

DRIFT = 100e-6
"""Quartz clocks drift by less than 100 parts per million: how fast an old measurement grows uncertain."""
PROBE_LIFETIME_NS = 5_000_000_000
UNKNOWN_NS = 1 << 62


def local_now_ns() -> int:
    """This workstation's own clock: nanoseconds since it was switched on; on Linux asleep or awake."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return time.monotonic_ns()


class ServerClock:
    """Keeps the measurement with the smallest uncertainty, which grows with age; a reply counts only once."""

    def __init__(self) -> None:
        self._waiting: list[int] = []
        self._measured: tuple[int, int, int] | None = None  # offset, uncertainty, local time of the measurement

    def probe(self, local_ns: int) -> ClockProbe:
        """What to send now."""
        self._waiting = [t0 for t0 in self._waiting if local_ns - t0 < PROBE_LIFETIME_NS] + [local_ns]
        return ClockProbe(local_ns)

    def hear(self, reply: ClockReply, local_ns: int) -> bool:
        """Take in a reply. True when it proves that the server's clock is not the one measured before."""
        if reply.t0 not in self._waiting or local_ns - reply.t0 >= PROBE_LIFETIME_NS or reply.t2 < reply.t1:
            return False
        self._waiting.remove(reply.t0)
        offset = (reply.t1 - reply.t0 + reply.t2 - local_ns) // 2
        uncertainty = max(0, (local_ns - reply.t0) - (reply.t2 - reply.t1)) // 2 + 1
        known = self._measured
        stepped = known is not None and abs(offset - known[0]) > uncertainty + self.uncertainty_ns(local_ns)
        if known is None or stepped or uncertainty <= self.uncertainty_ns(local_ns):
            self._measured = (offset, uncertainty, local_ns)
        return stepped

    @property
    def offset_ns(self) -> int | None:
        """Server's clock minus this one; None before the first reply."""
        return self._measured[0] if self._measured else None

    def server_ns(self, local_ns: int) -> int | None:
        """The server's time at a local time; None before the first reply."""
        return local_ns + self._measured[0] if self._measured else None

    def uncertainty_ns(self, local_ns: int) -> int:
        """By how much ``server_ns`` can be wrong, either way."""
        if self._measured is None:
            return UNKNOWN_NS
        _, uncertainty, at = self._measured
        return uncertainty + int(abs(local_ns - at) * DRIFT)
