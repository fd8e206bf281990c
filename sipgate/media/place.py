"""Where a packet's sound belongs: by RTP timestamp, on a timeline anchored to arrival; then one copy to that place.

Time here is the call's: nanoseconds, or samples of 125 µs, since the answer on the server's clock.

*Anchor.* An RTP timeline (one SSRC) says how sounds lie to each other, not when they were heard; its first packet's
arrival says when. From then on position = anchor + timestamp difference, whatever the order of arrival. A packet whose
arrival and position differ by at most ``TOLERANCE_NS`` agrees with the anchor. When one does not agree (RFC 3550 leaves
all of these to the sender), then:

=====================================================  ===============================================================
 it is behind the highest sequence number              reordered: the anchor holds
 it is late, and one soon after it agrees              the network stalled, then delivered at once: the anchor holds
 it is early, and one soon after it agrees             its timestamp is wrong: not placed
 its SSRC was heard before, and agrees with that one   the old anchor holds (a straggler, sources that alternate)
 else: new SSRC, timestamp jump, pause, clock drift    anchored again, by the least delayed of the packets soon after
=====================================================  ===============================================================

Anchors lie on whole milliseconds (one unit), so that packets of whole milliseconds are copied in 8-byte words.

*Store.* ``Store`` holds the last 4 s of every call: ``sound`` and ``codec`` by [call, leg, unit of the ring]. Writing
by position does reordering, duplicates and gaps at once: what never came stays absent.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from sipgate.media.codecs import ABSENT, SILENCE
from sipgate.media.frames import LEGS, SAMPLE_NS, UNIT_BYTES, UNIT_NS, WINDOW_NS, WINDOW_UNITS, Window

TOLERANCE_NS: Final = 150_000_000
AHEAD_NS: Final = 200_000_000
"""How far packets after one in question are asked, when they have come already."""
RING_WINDOWS: Final = 8
RING_UNITS: Final = RING_WINDOWS * WINDOW_UNITS
REACH_NS: Final = 3_000_000_000
"""How late a packet may come and still find its place."""
MOST_REORDERED: Final = 300
NOWHERE: Final = np.iinfo(np.int64).min
_REMEMBERED: Final = 4
MOST_DROPOUT: Final = 3000  # RFC 3550 appendix A.1, MAX_DROPOUT

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


def difference32(a: int, b: int) -> int:
    """a - b for RTP timestamps, which wrap (RFC 3550 §5.1)."""
    return ((a - b + 0x80000000) & 0xFFFFFFFF) - 0x80000000


def difference16(a: int, b: int) -> int:
    """a - b for RTP sequence numbers, which wrap."""
    return ((a - b + 0x8000) & 0xFFFF) - 0x8000


class Timeline:
    """The anchors of one stream, and what its sequence numbers say was lost. One packet at a time: the careful way.

    ``ssrc`` is None until the first packet. ``anchor`` is (RTP timestamp, position in samples).
    """

    __slots__ = ("anchor", "base", "counted", "highest", "lost_before", "others", "ssrc")

    def __init__(self) -> None:
        self.ssrc: int | None = None
        self.anchor = (0, 0)
        self.others: dict[int, tuple[int, int]] = {}
        self.base = self.highest = self.counted = self.lost_before = 0

    @property
    def lost(self) -> int:
        """Packets missing in the sequence so far (RFC 3550 appendix A.3); a duplicate hides one."""
        if self.ssrc is None:
            return self.lost_before
        return self.lost_before + max(0, self.highest - self.base + 1 - self.counted)

    def place(self, ssrcs: list[int], sequences: list[int], stamps: list[int], arrivals: list[int]) -> list[int]:
        """Positions in samples, NOWHERE for what cannot be believed. Arrivals in ns after the answer, in order."""
        positions = []
        for i in range(len(ssrcs)):
            positions.append(self._place_one(i, ssrcs, sequences, stamps, arrivals))
            self.count(ssrcs[i], sequences[i])
        return positions

    def count(self, ssrc: int, sequence: int) -> None:
        """A packet came that takes a sequence number, sound or not; stragglers of another SSRC are not counted."""
        if ssrc != self.ssrc:
            return
        ahead = self._ahead(sequence)
        if self.counted and abs(ahead) > MOST_DROPOUT:  # the sender began again without saying so
            self.lost_before = self.lost
            self.counted = 0
        if not self.counted:
            self.base = self.highest = sequence
        elif ahead > 0:
            self.highest += ahead
        self.counted += 1

    def _place_one(self, i: int, ssrcs: list[int], sequences: list[int], stamps: list[int], arrivals: list[int]) -> int:
        ssrc, stamp, arrival = ssrcs[i], stamps[i], arrivals[i]
        if ssrc != self.ssrc:
            old = self.others.get(ssrc)
            if old is not None and abs(_late_by(old, stamp, arrival)) <= TOLERANCE_NS:
                return old[1] + difference32(stamp, old[0])
            return self._begin_anew(i, ssrcs, stamps, arrivals)
        late = _late_by(self.anchor, stamp, arrival)
        position = self.anchor[1] + difference32(stamp, self.anchor[0])
        if abs(late) <= TOLERANCE_NS or (0 < late <= REACH_NS and -MOST_REORDERED <= self._ahead(sequences[i]) <= 0):
            return position
        if self._agreed_soon(i, ssrcs, stamps, arrivals):
            return position if late > 0 else int(NOWHERE)
        return self._begin_anew(i, ssrcs, stamps, arrivals)

    def _ahead(self, sequence: int) -> int:
        return difference16(sequence, self.highest & 0xFFFF)

    def _agreed_soon(self, i: int, ssrcs: list[int], stamps: list[int], arrivals: list[int]) -> bool:
        """Whether a packet that came soon after packet i agrees with the anchor in force."""
        for j in range(i + 1, len(ssrcs)):
            if arrivals[j] - arrivals[i] > AHEAD_NS or ssrcs[j] != self.ssrc:
                return False
            if abs(_late_by(self.anchor, stamps[j], arrivals[j])) <= TOLERANCE_NS:
                return True
        return False

    def _begin_anew(self, i: int, ssrcs: list[int], stamps: list[int], arrivals: list[int]) -> int:
        """Anchor at packet i by the least delayed packet of those soon after it; returns packet i's position."""
        least = previous = 0
        for j in range(i + 1, len(ssrcs)):
            if arrivals[j] - arrivals[i] > AHEAD_NS or ssrcs[j] != ssrcs[i]:
                break
            late = arrivals[j] - arrivals[i] - difference32(stamps[j], stamps[i]) * SAMPLE_NS
            if late < previous - TOLERANCE_NS:  # another jump
                break
            least, previous = min(least, late), late
        if ssrcs[i] != self.ssrc:
            if self.ssrc is not None:
                self.lost_before = self.lost
                self.others.pop(self.ssrc, None)
                self.others[self.ssrc] = self.anchor
                while len(self.others) > _REMEMBERED:
                    del self.others[next(iter(self.others))]
            self.ssrc, self.counted = ssrcs[i], 0
        position = (arrivals[i] + least + UNIT_NS // 2) // UNIT_NS * UNIT_BYTES
        self.anchor = (stamps[i], position)
        return position


def _late_by(anchor: tuple[int, int], stamp: int, arrival: int) -> int:
    """How much later than its position a packet came, ns."""
    return arrival - (anchor[1] + difference32(stamp, anchor[0])) * SAMPLE_NS


class Store:
    """The rings of all calls: sound (calls, LEGS, RING_UNITS * 8 bytes) and codec (calls, LEGS, RING_UNITS), uint8."""

    def __init__(self, calls: int = 64) -> None:
        self.sound: Bytes = np.zeros((calls, LEGS, RING_UNITS * UNIT_BYTES), dtype=np.uint8)
        self.codec: Bytes = np.zeros((calls, LEGS, RING_UNITS), dtype=np.uint8)
        self._free = list(range(calls - 1, -1, -1))

    def take(self) -> int:
        """A call's row, empty."""
        if not self._free:
            calls = self.codec.shape[0]
            self.sound = np.concatenate([self.sound, np.zeros_like(self.sound)])
            self.codec = np.concatenate([self.codec, np.zeros_like(self.codec)])
            self._free = list(range(2 * calls - 1, calls - 1, -1))
        call = self._free.pop()
        self.sound[call] = 0
        self.codec[call] = ABSENT
        return call

    def give_back(self, call: int) -> None:
        """The row is no longer used; what it held is overwritten."""
        self.sound[call] = 0
        self.codec[call] = ABSENT
        self._free.append(call)

    def clear(self, call: int, window: int) -> None:
        """Make the ring ready for a window that was never written."""
        at = window % RING_WINDOWS * WINDOW_UNITS
        self.codec[call, :, at : at + WINDOW_UNITS] = ABSENT
        self.sound[call, :, at * UNIT_BYTES : (at + WINDOW_UNITS) * UNIT_BYTES] = 0

    def window(self, call: int, number: int, answered_at_ns: int, lost: tuple[int, int], mixed: bool) -> Window:
        """A view of one window, to be sealed at once."""
        at = number % RING_WINDOWS * WINDOW_UNITS
        sound = self.sound[call, :, at * UNIT_BYTES : (at + WINDOW_UNITS) * UNIT_BYTES]
        shaped = sound.reshape(LEGS, WINDOW_UNITS, UNIT_BYTES)
        return Window(number, self.codec[call, :, at : at + WINDOW_UNITS], shaped, answered_at_ns, lost, mixed)

    def write(
        self,
        rows: Ints,
        codecs: Bytes,
        positions: Ints,
        slots: Bytes,
        packets: Ints,
        at: Ints,
        sizes: Ints,
        low: Ints,
        high: Ints,
    ) -> None:
        """Copy packets to their places. Which of two different sounds for one place stands is not defined.

        All by packet: ``rows`` = call * LEGS + leg, ``positions`` in samples; the payload is ``slots[packets]``'s
        ``sizes`` bytes from ``at`` on. Only samples in [``low``, ``high``) are written (the ring's reach).
        """
        words = (positions % UNIT_BYTES == 0) & (sizes % UNIT_BYTES == 0) & (at % UNIT_BYTES == 0)
        words &= (positions >= low) & (positions + sizes <= high)
        for size in np.unique(sizes):
            same = sizes == size
            chosen = np.flatnonzero(same & words)
            if chosen.size:
                self._write_words(chosen, int(size) // UNIT_BYTES, rows, codecs, positions, slots, packets, at)
            chosen = np.flatnonzero(same & ~words)
            if chosen.size:
                self._write_bytes(chosen, int(size), rows, codecs, positions, slots, packets, at, low, high)

    def _write_words(
        self,
        chosen: Ints,
        units: int,
        rows: Ints,
        codecs: Bytes,
        positions: Ints,
        slots: Bytes,
        packets: Ints,
        at: Ints,
    ) -> None:
        """The usual case: whole milliseconds on whole milliseconds, eight samples a move."""
        ring = (positions[chosen] // UNIT_BYTES % RING_UNITS)[:, np.newaxis] + np.arange(units)
        ring[ring >= RING_UNITS] -= RING_UNITS
        ring += (rows[chosen] * RING_UNITS)[:, np.newaxis]
        source = slots.view(np.uint64)
        offsets = at[chosen] // UNIT_BYTES
        first = int(offsets[0])
        if (offsets == first).all():
            moved = source[packets[chosen], first : first + units]
        else:
            moved = source[packets[chosen][:, np.newaxis], offsets[:, np.newaxis] + np.arange(units)]
        self.sound.reshape(-1).view(np.uint64)[ring] = moved
        self.codec.reshape(-1)[ring] = codecs[chosen][:, np.newaxis]

    def _write_bytes(
        self,
        chosen: Ints,
        size: int,
        rows: Ints,
        codecs: Bytes,
        positions: Ints,
        slots: Bytes,
        packets: Ints,
        at: Ints,
        low: Ints,
        high: Ints,
    ) -> None:
        """Any position, size and payload offset; the rest of a unit that is touched for the first time is silence."""
        samples = positions[chosen][:, np.newaxis] + np.arange(size)
        inside = (samples >= low[chosen][:, np.newaxis]) & (samples < high[chosen][:, np.newaxis])
        ring = samples % (RING_UNITS * UNIT_BYTES) + (rows[chosen] * RING_UNITS * UNIT_BYTES)[:, np.newaxis]
        codec = np.broadcast_to(codecs[chosen][:, np.newaxis], ring.shape)[inside]
        moved = slots[packets[chosen][:, np.newaxis], at[chosen][:, np.newaxis] + np.arange(size)][inside]
        ring = ring[inside]
        units = ring // UNIT_BYTES
        flat_codec, flat_sound = self.codec.reshape(-1), self.sound.reshape(-1, UNIT_BYTES)
        fresh = flat_codec[units] == ABSENT
        flat_sound[units[fresh]] = SILENCE[codec[fresh]][:, np.newaxis]
        flat_codec[units] = codec
        flat_sound.reshape(-1)[ring] = moved


def window_at(time_ns: int) -> int:
    """The window that holds this moment of the call."""
    return time_ns // WINDOW_NS
