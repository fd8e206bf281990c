"""The server's one timeline: nanoseconds since the Unix epoch on a steady clock.

Set from the wall clock once, at start, then carried by CLOCK_MONOTONIC: whatever steps the wall clock later, no call
becomes longer or shorter, and no lease or command lives longer than it should.
"""

from __future__ import annotations

import time


class SteadyClock:
    """``clock()`` is the time in nanoseconds; never goes back."""

    def __init__(self) -> None:
        self._base_ns = time.time_ns() - time.monotonic_ns()

    def __call__(self) -> int:
        return self._base_ns + time.monotonic_ns()
