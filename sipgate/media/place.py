"""Where a packet's sound belongs: by RTP timestamp, on a timeline anchored to arrival.

Time here is the call's: nanoseconds, or samples of 125 µs, since the answer on the server's clock.

*Anchor.* An RTP timeline (one SSRC) says how sounds lie to each other, not when they were heard; its first packet's
arrival says when. From then on position = anchor + timestamp difference, whatever the order of arrival. A packet whose
arrival and position differ by at most ``TOLERANCE_NS`` agrees with the anchor. When one does not agree (RFC 3550 leaves
all of these to the sender), then:

=======================================================  =============================================================
 it is behind the highest sequence number                reordered: the anchor holds
 one soon after it agrees                                the network stalled, or its delay wavers: the anchor holds
 the same, and it is early by more than 0.9 s            its timestamp is wrong: not placed
 an anchor from before agrees, of its SSRC               that one is in force again (a straggler, sources in turn)
 it is early by up to 0.4 s and follows without a break  the anchor was late, but holds: else sound would be overwritten
 it is late by up to 0.6 s, for less than 150 ms yet     not to be judged before more has come: the anchor holds
 else: new SSRC or clock, jump, pause, clock drift       anchored again, by the least delayed of the packets soon after
=======================================================  =============================================================

Anchors lie on whole milliseconds (one unit), so that packets of whole milliseconds fill whole units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from sipgate.media.frames import SAMPLE_NS, UNIT_BYTES, UNIT_NS

TOLERANCE_NS: Final = 150_000_000
AHEAD_NS: Final = 200_000_000
"""How far packets after one in question are asked, when they have come already."""
EARLIEST_NS: Final = 900_000_000
"""How early a packet may come and still find its place; the ring is ready for a little more."""
REACH_NS: Final = 2_500_000_000
"""How late a packet may come and still find its place: what the ring holds (4 s) but for what it is ready ahead."""
EARLY_NS: Final = 400_000_000
"""How early the packets of an unbroken stream may come for good, before they are moved over sound placed already."""
LONGEST_STALL_NS: Final = 600_000_000
"""What comes this late without warning may be a stall of the network; later than that it is a pause."""
DOUBT_NS: Final = 150_000_000
_FORGOTTEN_NS: Final = 2_000_000_000
MOST_REORDERED: Final = 300
NOWHERE: Final = int(np.iinfo(np.int64).min)
_NOT_BEGUN: Final = NOWHERE + 1
_REMEMBERED: Final = 4
_ASKED: Final = 64
MOST_DROPOUT: Final = 3000  # RFC 3550 appendix A.1, MAX_DROPOUT

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def difference32(a: int, b: int) -> int:
    """a - b for RTP timestamps, which wrap (RFC 3550 §5.1)."""
    return ((a - b + 0x80000000) & 0xFFFFFFFF) - 0x80000000


def difference16(a: int, b: int) -> int:
    """a - b for RTP sequence numbers, which wrap."""
    return ((a - b + 0x8000) & 0xFFFF) - 0x8000


class Arrival(NamedTuple):
    """What placing needs of one packet: its header, when it came (ns after the answer), how many samples of 125 µs it
    lasts, and by how many ticks its RTP clock counts one."""

    ssrc: int
    sequence: int
    stamp: int
    at_ns: int
    samples: int
    ticks: int = 1


class Anchor(NamedTuple):
    """This RTP timestamp of this SSRC, counted by this clock, is this sample of the call."""

    ssrc: int
    stamp: int
    position: int
    ticks: int = 1

    def of(self, packet: Arrival) -> bool:
        """Whether the packet is counted by this clock: a codec of another rate counts anew (RFC 7160 §3)."""
        return packet.ssrc == self.ssrc and packet.ticks == self.ticks

    def place(self, packet: Arrival) -> int:
        """The packet's position, if this anchor holds."""
        return self.position + difference32(packet.stamp, self.stamp) // self.ticks

    def late_by(self, packet: Arrival) -> int:
        """How much later than its position the packet came, ns."""
        return packet.at_ns - self.place(packet) * SAMPLE_NS

    def agrees(self, packet: Arrival) -> bool:
        """Whether the packet came when it should have."""
        return self.of(packet) and abs(self.late_by(packet)) <= TOLERANCE_NS


class Timeline:
    """The anchors of one stream, and what its sequence numbers say was lost. One packet at a time: the careful way."""

    __slots__ = ("_before", "_doubt", "anchor", "base", "counted", "highest", "lost_before", "newest")

    def __init__(self) -> None:
        self.anchor: Anchor | None = None
        self.base = self.highest = self.counted = self.lost_before = 0
        self.newest = 0
        """The timestamp of the packet with the highest sequence number."""
        self._before: list[Anchor] = []
        self._doubt: tuple[int, int] | None = None

    @property
    def lost(self) -> int:
        """Packets missing in the sequence so far (RFC 3550 appendix A.3); a duplicate hides one."""
        return self.lost_before + (max(0, self.highest - self.base + 1 - self.counted) if self.counted else 0)

    def place(self, packets: Sequence[Arrival], following: Sequence[Arrival] = ()) -> list[int]:
        """Positions in samples, NOWHERE for what cannot be believed. Packets in order of arrival, ``following`` are
        those after them, which are asked and not placed."""
        positions, known = [], [*packets, *following]
        for i, packet in enumerate(packets):
            positions.append(self._place_one(packet, known[i + 1 : i + 1 + _ASKED]))
            highest = self.highest
            self.count(packet.ssrc, packet.sequence)
            if self.highest != highest or self.counted == 1:
                self.newest = packet.stamp
        return positions

    def count(self, ssrc: int, sequence: int) -> None:
        """A packet came that takes a sequence number, sound or not; stragglers of another SSRC are not counted."""
        if self.anchor is None or ssrc != self.anchor.ssrc:
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

    def _ahead(self, sequence: int) -> int:
        return difference16(sequence, self.highest & 0xFFFF)

    def _place_one(self, packet: Arrival, following: Sequence[Arrival]) -> int:
        anchor = self.anchor
        for known in [anchor, *self._before] if anchor is not None else []:
            if known.agrees(packet):
                return self._return_to(known).place(packet)
        if anchor is None or not anchor.of(packet):
            return self._begin_anew(packet, following)
        late, ahead = anchor.late_by(packet), self._ahead(packet.sequence)
        soon = [other for other in following if other.at_ns - packet.at_ns <= AHEAD_NS and other.ssrc == packet.ssrc]
        if any(anchor.agrees(other) for other in soon):
            return anchor.place(packet) if late > -EARLIEST_NS else NOWHERE
        reordered = 0 < late <= REACH_NS and -MOST_REORDERED <= ahead <= 0
        expected = ahead * packet.samples * packet.ticks
        unbroken = -EARLY_NS <= late < 0 and expected == difference32(packet.stamp, self.newest)
        if reordered or unbroken or (-EARLY_NS <= late <= LONGEST_STALL_NS and self._in_doubt(packet, soon)):
            return anchor.place(packet)
        return self._begin_anew(packet, soon)

    def _return_to(self, known: Anchor) -> Anchor:
        """An anchor that holds; one of the present SSRC's from before is in force again."""
        if self.anchor is not None and known.ssrc == self.anchor.ssrc and known != self.anchor:
            self._before = [self.anchor, *(other for other in self._before if other != known)]
            self.anchor = known
        return known

    def _in_doubt(self, packet: Arrival, soon: Sequence[Arrival]) -> bool:
        """Whether a disagreement is too young to be judged: what would decide it may come with the next drain."""
        first, last = self._doubt or (packet.at_ns, packet.at_ns)
        if packet.at_ns - last > _FORGOTTEN_NS:
            first = packet.at_ns
        self._doubt = (first, packet.at_ns)
        return max([packet.at_ns, *(other.at_ns for other in soon)]) - first < DOUBT_NS

    def _begin_anew(self, packet: Arrival, following: Sequence[Arrival]) -> int:
        """Anchor at this packet, by the least delayed of those soon after it; returns its position."""
        here = Anchor(packet.ssrc, packet.stamp, 0, packet.ticks)
        came = here.late_by(packet)
        least = previous = came
        for other in following:
            late = here.late_by(other)
            if other.at_ns - packet.at_ns > AHEAD_NS or not here.of(other) or late < previous - TOLERANCE_NS:
                break  # too late to tell, or another jump
            least, previous = min(least, late), late
        if self.anchor is not None:
            self._before = [self.anchor, *self._before][:_REMEMBERED]
        if self.anchor is None or packet.ssrc != self.anchor.ssrc:
            self.lost_before, self.counted = self.lost, 0
        self._doubt = None
        self.anchor = here._replace(position=(least + UNIT_NS // 2) // UNIT_NS * UNIT_BYTES)
        return self.anchor.position


class Counts(NamedTuple):
    """By stream, of the SSRC in force: what its sequence numbers say. ``highest`` counts on beyond 65535 (extended, RFC
    3550 §6.4.1); ``received`` with duplicates, so it can be more than were expected."""

    ssrc: Ints
    base: Ints
    highest: Ints
    received: Ints

    def only(self, chosen: Flags) -> Counts:
        """Some of the streams."""
        return Counts(*(column[chosen] for column in self))


class Timelines:
    """The timelines of all streams: by arithmetic on arrays for those that agree with their anchors, which is most."""

    def __init__(self, streams: int) -> None:
        self._careful: dict[int, Timeline] = {}
        self._anchored: Flags = np.zeros(streams, dtype=np.bool_)
        self._paced = False  # whether any stream ever had a clock of its own
        self._use(np.ones((7, streams), dtype=np.int64))

    def grow(self) -> None:
        """Room for twice as many streams."""
        self._anchored = np.concatenate([self._anchored, np.zeros_like(self._anchored)])
        self._use(np.hstack([self._tables, np.ones_like(self._tables)]))

    def _use(self, tables: Ints) -> None:
        self._tables = tables
        self._ssrc, self._stamp, self._position, self._ticks, self._highest, self._counted, self._newest = tables

    def begin(self, stream: int) -> None:
        """A new stream in this row."""
        self._careful[stream] = Timeline()
        self._anchored[stream] = False
        self._tables[:, stream] = 0
        self._ticks[stream] = 1

    def end(self, stream: int) -> None:
        """The row is free."""
        del self._careful[stream]

    def lost(self, stream: int) -> int:
        """Packets missing in the stream's sequence numbers so far: ``Timeline.lost`` by what the arithmetic counted."""
        timeline, counted = self._careful[stream], int(self._counted[stream])
        missing = int(self._highest[stream]) - timeline.base + 1 - counted if counted else 0
        return timeline.lost_before + max(0, missing)

    def counts(self, streams: Ints) -> Counts:
        """What receiver reports say; all zero for a stream that was never heard."""
        base = np.array([self._careful[int(stream)].base for stream in streams], dtype=np.int64)
        return Counts(self._ssrc[streams], base, self._highest[streams], self._counted[streams])

    def position(self, stream: int, ssrc: int, stamp: int) -> int | None:
        """Where this timestamp is by the anchor in force, or None when there is none for this SSRC."""
        if not self._anchored[stream] or ssrc != self._ssrc[stream]:
            return None
        return int(self._position[stream]) + difference32(stamp, int(self._stamp[stream])) // self.ticks(stream)

    def ticks(self, stream: int) -> int:
        """By how much the stream's RTP clock grows in a sample of 125 µs."""
        return int(self._ticks[stream])

    def positions(
        self,
        streams: Ints,
        ssrcs: Ints,
        sequences: Ints,
        stamps: Ints,
        arrivals: Ints,
        samples: Ints,
        sound: Flags,
        ticks: Ints | None = None,
    ) -> Ints:
        """Positions in samples, NOWHERE for what cannot be believed; meaningless where not ``sound``.

        All by packet, in order of arrival within a stream. ``arrivals``: ns after the answer; ``samples`` of 125 µs
        that a packet lasts; ``ticks`` of its RTP clock in one, 1 for all if left out. Packets that are not ``sound``
        only take a sequence number.
        """
        paced = np.ones_like(streams) if ticks is None else ticks
        columns = (ssrcs, sequences, stamps, arrivals, samples, paced)
        anchored = self._anchored[streams]
        begun = None if anchored.all() else self._begin_new(streams, columns, sound)
        clock = None if ticks is None and not self._paced else self._ticks[streams]
        same = ssrcs == self._ssrc[streams]
        if begun is not None:
            same &= self._anchored[streams] & (begun == _NOT_BEGUN)
        highest = self._highest[streams]
        ahead = ((sequences - highest + 0x8000) & 0xFFFF) - 0x8000
        since = ((stamps - self._stamp[streams] + 0x80000000) & 0xFFFFFFFF) - 0x80000000
        positions: Ints = self._position[streams] + (since if clock is None else since // clock)
        agrees = np.abs(arrivals - positions * SAMPLE_NS) <= TOLERANCE_NS
        if clock is not None:
            agrees &= paced == clock
        fine = same & (np.abs(ahead) <= MOST_DROPOUT) & (agrees | ~sound)
        if fine.all():  # nearly always: every step on arrays less counts
            self._count(streams, highest + ahead, stamps, sound & (ahead > 0))
            return positions
        begins = np.zeros(len(streams), dtype=np.bool_) if begun is None else begun != _NOT_BEGUN
        careful = np.unique(streams[sound & ~fine & ~begins])
        fast = fine & ~np.isin(streams, careful)
        self._count(streams[fast], (highest + ahead)[fast], stamps[fast], (sound & (ahead > 0))[fast])
        for stream in careful:
            mine = (streams == stream) & ~begins
            self._with_care(
                int(stream), columns, np.flatnonzero(mine & sound), np.flatnonzero(mine & ~sound), positions
            )
        return positions if begun is None else np.where(begins, begun, positions)

    def _with_care(self, stream: int, columns: tuple[Ints, ...], rows: Ints, others: Ints, positions: Ints) -> None:
        """One stream's packets one by one: ``rows`` are sound, ``others`` only take a sequence number."""
        timeline, (ssrcs, sequences, *_) = self._timeline(stream), columns
        positions[rows] = timeline.place(_arrivals(columns, rows))
        for row in others:
            timeline.count(int(ssrcs[row]), int(sequences[row]))
        self._take_over(stream, timeline)

    def _count(self, streams: Ints, highest: Ints, stamps: Ints, newer: Flags) -> None:
        """Packets that agree with their anchors."""
        np.maximum.at(self._highest, streams, highest)
        np.add.at(self._counted, streams, 1)
        self._newest[streams[newer]] = stamps[newer]

    def _begin_new(self, streams: Ints, columns: tuple[Ints, ...], sound: Flags) -> Ints:
        """Anchor streams that were never heard by their first sound, so that the rest of a thousand calls that begin at
        once is arithmetic too. By row: its position, NOWHERE for what came before it, _NOT_BEGUN for all others."""
        begun = np.full(len(streams), _NOT_BEGUN)
        for stream in np.unique(streams[sound & ~self._anchored[streams]]):
            mine = np.flatnonzero(streams == stream)
            rows = mine[sound[mine]]
            timeline = self._timeline(int(stream))
            first, *following = _arrivals(columns, rows[: 1 + _ASKED])
            begun[mine[mine < rows[0]]] = NOWHERE
            (begun[rows[0]],) = timeline.place([first], following)
            self._take_over(int(stream), timeline)
        return begun

    def _timeline(self, stream: int) -> Timeline:
        """The stream's timeline, brought up to date with what the arithmetic counted."""
        timeline = self._careful[stream]
        timeline.highest, timeline.counted = int(self._highest[stream]), int(self._counted[stream])
        timeline.newest = int(self._newest[stream])
        return timeline

    def _take_over(self, stream: int, timeline: Timeline) -> None:
        anchor = timeline.anchor
        if anchor is not None:
            self._anchored[stream] = True
            self._ssrc[stream], self._stamp[stream], self._position[stream], self._ticks[stream] = anchor
            self._paced |= anchor.ticks != 1
        self._highest[stream], self._counted[stream] = timeline.highest, timeline.counted
        self._newest[stream] = timeline.newest


def _arrivals(columns: tuple[Ints, ...], rows: Ints) -> list[Arrival]:
    return [Arrival(*row) for row in zip(*(column[rows].tolist() for column in columns), strict=True)]
