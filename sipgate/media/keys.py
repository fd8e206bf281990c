"""Telephone keys (RFC 4733): that one was pressed is kept, and when, and on which side; which it was is not.

It may have been of a card number. So nothing of a key's digit is written, and no sound of its time is kept either: many
a gateway lets the tone through beside its events, or its beginning, until it knows it for one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from sipgate.media.frames import SAMPLE_NS, UNIT_BYTES
from sipgate.media.place import TOLERANCE_NS, Timelines
from sipgate.media.recvmmsg import Batch
from sipgate.media.store import Ints, Payloads, Store

DIGITS: Final = "0123456789*#ABCD"
"""By event, RFC 4733 §3.2."""
_MARGIN: Final = 60
"""Units before and after a key of which no sound is kept."""
_LONGEST: Final = 8000
"""Samples that an event of no known timeline may have lasted before it came."""


@dataclass(frozen=True, slots=True)
class Digit:
    """A telephone key on one stream, at the first packet of its event (ns since the epoch, server's clock)."""

    stream: int
    digit: str = field(repr=False)
    at_ns: int


class Keys:
    """The last keys of each stream, so that all packets of one event are one key, which marks one moment."""

    def __init__(self) -> None:
        self._told: dict[int, deque[tuple[int, int]]] = {}  # by stream: SSRC and timestamp of events
        self._pressed: dict[int, tuple[tuple[int, int], int]] = {}  # by stream: its event, and the sample

    def begin(self, stream: int) -> None:
        """A new stream in this row."""
        self._pressed.pop(stream, None)
        self._told[stream] = deque(maxlen=8)

    def told(self, batch: Batch, rows: Ints, streams: Ints, at: Ints, sizes: Ints, arrivals: Ints) -> list[Digit]:
        """The keys of these rows that were not told yet: every packet of one event has its timestamp (§2.3)."""
        digits = []
        for row in rows:
            which, header = int(streams[row]), batch.headers[row]
            name = (int(header["ssrc"]), int(header["stamp"]))
            event = int(batch.slots[row, at[row]]) if sizes[row] >= 4 else 255
            if event < len(DIGITS) and name not in self._told[which]:
                self._told[which].append(name)
                digits.append(Digit(which, DIGITS[event], int(arrivals[row])))
        return digits

    def mark(
        self, store: Store, timelines: Timelines, batch: Batch, events: Payloads, streams: Ints, since: Ints
    ) -> Iterator[tuple[int, int, int]]:
        """Mark events in the store, rows of four bytes and more; give (row, unit, end) of what that changed.

        ``since``: when they came, ns after the answer. An event's timestamp is its beginning (§2.3), on the sound's
        timeline unless its arrival belies that.
        """
        for i, stream in enumerate(streams.tolist()):
            payload, header = batch.slots[events.slot[i], events.at[i] :], batch.headers[events.slot[i]]
            if payload[0] >= len(DIGITS):
                continue
            lasted = (int(payload[2]) << 8 | int(payload[3])) // timelines.ticks(stream)
            name, came = (int(header["ssrc"]), int(header["stamp"])), int(since[i]) // SAMPLE_NS
            known, start = self._pressed.get(stream, (None, 0))
            if known != name:
                placed = timelines.position(stream, *name)
                if placed is None or abs(came - placed - lasted) * SAMPLE_NS > TOLERANCE_NS:
                    lasted = min(lasted, _LONGEST)
                    placed = came - lasted
                start = placed
                self._pressed[stream] = name, start
            low, high = -(-int(events.low[i]) // UNIT_BYTES), int(events.high[i]) // UNIT_BYTES
            first = start // UNIT_BYTES
            begin, end = max(low, first - _MARGIN), min(high, (start + lasted) // UNIT_BYTES + _MARGIN)
            if begin < end:
                row = int(events.row[i])
                changed = store.mask(row, first, begin, end)
                yield row, max(0, changed[0]), changed[1]
