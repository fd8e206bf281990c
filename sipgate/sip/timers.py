"""Deadlines of a sans-IO protocol: a heap that the caller asks when to come back.

Times are nanoseconds on the server's steady clock. Starting a timer that runs replaces it; a stopped or replaced
entry stays in the heap until its time and is then skipped, which is cheaper than searching for it.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Owner = TypeVar("Owner", bound=Hashable)
Name = TypeVar("Name", bound=Hashable)

MS = 1_000_000
SECOND = 1_000 * MS
T1 = 500 * MS  # RFC 3261 §17.1.1.1: estimate of the round trip
T2 = 4_000 * MS  # longest interval between retransmissions
T4 = 5_000 * MS  # longest time that a message stays in the network


class Timers(Generic[Owner, Name]):
    """Named timers of many owners. Owners are compared by identity or as they define."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Owner, Name]] = []
        self._running: dict[tuple[Owner, Name], int] = {}
        self._serial = 0

    def start(self, owner: Owner, name: Name, at: int) -> None:
        """Run ``name`` for ``owner`` out at ``at``."""
        self._serial += 1
        self._running[owner, name] = self._serial
        heapq.heappush(self._heap, (at, self._serial, owner, name))

    def stop(self, owner: Owner, name: Name) -> None:
        """Stop a timer; one that does not run is left alone."""
        self._running.pop((owner, name), None)

    def next(self) -> int | None:
        """When the next timer runs out, or None."""
        while self._heap:
            at, serial, owner, name = self._heap[0]
            if self._running.get((owner, name)) == serial:
                return at
            heapq.heappop(self._heap)
        return None

    def due(self, now: int) -> Iterator[tuple[Owner, Name]]:
        """Take out, in order, every timer that has run out by ``now``; those started meanwhile count too."""
        while (at := self.next()) is not None and at <= now:
            _, _, owner, name = heapq.heappop(self._heap)
            del self._running[owner, name]
            yield owner, name
