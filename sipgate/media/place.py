"""Where a packet's sound belongs: by RTP timestamp, on a timeline anchored to arrival.

Time here is the call's: nanoseconds, or samples of 125 µs, since the answer on the server's clock.

*Anchor.* An RTP timeline (one SSRC) says how sounds lie to each other, not when they were heard; its first packet's
arrival says when. From then on position = anchor + timestamp difference, whatever the order of arrival. A packet whose
arrival and position differ by at most ``TOLERANCE_NS`` agrees with the anchor. When one does not agree (RFC 3550 leaves
all of these to the sender), then:

=====================================================  ===============================================================
 it is behind the highest sequence number              reordered: the anchor holds
 it is late, and one soon after it agrees              the network stalled, then delivered at once: the anchor holds
 it is early, and one soon after it agrees             the network's delay wavers: the anchor holds
 it is early by more than 0.9 s, and the same          its timestamp is wrong: not placed
 its SSRC was heard before, and agrees with that one   the old anchor holds (a straggler, sources that alternate)
 else: new SSRC, timestamp jump, pause, clock drift    anchored again, by the least delayed of the packets soon after
=====================================================  ===============================================================

Anchors lie on whole milliseconds (one unit), so that packets of whole milliseconds fill whole units.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from sipgate.media.frames import SAMPLE_NS, UNIT_BYTES, UNIT_NS

TOLERANCE_NS: Final = 150_000_000
AHEAD_NS: Final = 200_000_000
"""How far packets after one in question are asked, when they have come already."""
EARLIEST_NS: Final = 900_000_000
"""How early a packet may come and still find its place; the ring is ready for a little more."""
REACH_NS: Final = 6_000_000_000
"""How late a packet may come and still find its place."""
MOST_REORDERED: Final = 300
NOWHERE: Final = np.iinfo(np.int64).min
_REMEMBERED: Final = 4
MOST_DROPOUT: Final = 3000  # RFC 3550 appendix A.1, MAX_DROPOUT

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


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
            return position if late > -EARLIEST_NS else int(NOWHERE)
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


class Timelines:
    """The timelines of all streams: by arithmetic on arrays for those that agree with their anchors, which is most."""

    def __init__(self, streams: int) -> None:
        self._careful: dict[int, Timeline] = {}
        self._anchored: Flags = np.zeros(streams, dtype=np.bool_)
        self._ssrc, self._stamp, self._position, self._highest, self._counted = np.zeros((5, streams), dtype=np.int64)

    def grow(self) -> None:
        """Room for twice as many streams."""
        self._anchored = np.concatenate([self._anchored, np.zeros_like(self._anchored)])
        tables = np.stack([self._ssrc, self._stamp, self._position, self._highest, self._counted])
        self._ssrc, self._stamp, self._position, self._highest, self._counted = np.hstack(
            [tables, np.zeros_like(tables)]
        )

    def begin(self, stream: int) -> None:
        """A new stream in this row."""
        self._careful[stream] = Timeline()
        self._anchored[stream] = False
        for table in (self._ssrc, self._stamp, self._position, self._highest, self._counted):
            table[stream] = 0

    def end(self, stream: int) -> None:
        """The row is free."""
        del self._careful[stream]

    def lost(self, stream: int) -> int:
        """Packets missing in the stream's sequence numbers so far."""
        return self._timeline(stream).lost

    def positions(
        self, streams: Ints, ssrcs: Ints, sequences: Ints, stamps: Ints, arrivals: Ints, sound: Flags
    ) -> Ints:
        """Positions in samples, NOWHERE for what cannot be believed; meaningless where not ``sound``.

        All by packet, in order of arrival within a stream. ``arrivals``: ns after the answer. Packets that are not
        ``sound`` only take a sequence number.
        """
        same = self._anchored[streams] & (ssrcs == self._ssrc[streams])
        ahead = ((sequences - self._highest[streams] + 0x8000) & 0xFFFF) - 0x8000
        positions = self._position[streams] + ((stamps - self._stamp[streams] + 0x80000000) & 0xFFFFFFFF) - 0x80000000
        agrees = np.abs(arrivals - positions * SAMPLE_NS) <= TOLERANCE_NS
        fine = same & (np.abs(ahead) <= MOST_DROPOUT) & (agrees | ~sound)
        careful = np.unique(streams[sound & ~fine])
        fast = fine & ~np.isin(streams, careful) if careful.size else fine
        np.maximum.at(self._highest, streams[fast], (self._highest[streams] + ahead)[fast])
        np.add.at(self._counted, streams[fast], 1)
        for stream in careful:
            mine = streams == stream
            rows, others = np.flatnonzero(mine & sound), np.flatnonzero(mine & ~sound)
            timeline = self._timeline(int(stream))
            positions[rows] = timeline.place(
                ssrcs[rows].tolist(), sequences[rows].tolist(), stamps[rows].tolist(), arrivals[rows].tolist()
            )
            for row in others:
                timeline.count(int(ssrcs[row]), int(sequences[row]))
            self._take_over(int(stream), timeline)
        return positions

    def _timeline(self, stream: int) -> Timeline:
        """The stream's timeline, brought up to date with what the arithmetic counted."""
        timeline = self._careful[stream]
        timeline.highest, timeline.counted = int(self._highest[stream]), int(self._counted[stream])
        return timeline

    def _take_over(self, stream: int, timeline: Timeline) -> None:
        self._anchored[stream] = timeline.ssrc is not None
        self._ssrc[stream] = timeline.ssrc or 0
        self._stamp[stream], self._position[stream] = timeline.anchor
        self._highest[stream], self._counted[stream] = timeline.highest, timeline.counted
