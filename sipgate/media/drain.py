"""From sockets to the store: one pass over about two thousand datagrams of many streams, as arrays.

``Drain`` knows every stream as one row of its tables. A pass checks each datagram's source, reads its RTP header
(RFC 3550 §5.1), asks whether its moment is one to be kept, finds its position (``place``: by arithmetic where it agrees
with the stream's anchor, one by one where it does not), and lets the store copy it. Telephone keys (RFC 4733) come out
as ``Digit``, once each. Of a key only its moment is kept, and no sound of its time: the tone that a gateway lets
through beside its events tells it too, and it may be of a card number.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from sipgate.core.events import MediaKey
from sipgate.media import codecs as kinds
from sipgate.media.codecs import ABSENT, IS_PACKETS, IS_SOUND, OPUS, TELEPHONE_EVENT, TICKS
from sipgate.media.frames import LEGS, SAMPLE_NS, UNIT_BYTES, WINDOW_SAMPLES
from sipgate.media.keys import Digit, Keys
from sipgate.media.latch import Latches
from sipgate.media.place import NOWHERE, Timelines
from sipgate.media.recvmmsg import EVERY_V4, EVERY_V6, FULL, PAD, ROWS, SLOT, Batch, source_words
from sipgate.media.reports import Reports
from sipgate.media.rtcp import SHORTEST
from sipgate.media.srtp import Unprotector
from sipgate.media.statistics import Statistics
from sipgate.media.store import RING_UNITS, Bytes, Ints, Payloads, Store, packets_fit

NEVER: Final = np.iinfo(np.int64).max
_RTP_HEADER: Final = 12
_NO_CALL: Final = -1
_SLICE_NS: Final = 500_000_000
"""What waited longer is placed by parts of its arrival: the ring is made ready for each, not for now."""
_ASKED: Final = 16  # packets of a secured stream, each pass, that may show its source


class ReportWay(NamedTuple):
    """Through which socket of ours, and where to, a stream's receiver reports go."""

    through: socket.socket
    to: tuple[str, int]


class Drain:
    """Tables of streams, and the passes over what they received. Not thread-safe: the receiver holds a lock."""

    def __init__(self, streams: int = 128) -> None:
        self.store = Store()
        self.statistics = Statistics()
        self.late: set[tuple[int, int]] = set()
        """(call, window) that got sound after they were sealed; the receiver seals them again and clears this."""
        self.prepare: Callable[[Iterable[int], int], None] = lambda _calls, _at_ns: None
        """Asked to make the rings of these calls ready for what came until then; may mute streams."""
        self.high: Ints = np.zeros(64, dtype=np.int64)
        """By call: the sample up to which the ring is ready."""
        self.sealed: Ints = np.zeros(64, dtype=np.int64)
        """By call: the sample up to which windows are sealed."""
        self._batch = Batch()
        self._timelines = Timelines(streams)
        self._reports = Reports(streams)
        self._srtp = Unprotector()
        self._keys = Keys()
        self._sockets: dict[int, socket.socket] = {}
        self._latches = Latches()
        self._wide = False  # whether any socket ever was of IPv6
        self._free: list[int] = []
        self._make_tables(streams)

    def _make_tables(self, streams: int) -> None:
        self._free = list(range(streams - 1, -1, -1))
        self.call: Ints = np.full(streams, _NO_CALL, dtype=np.int64)
        self.leg: Ints = np.zeros(streams, dtype=np.int64)
        self.answered: Ints = np.full(streams, NEVER, dtype=np.int64)
        self.ended: Ints = np.full(streams, NEVER, dtype=np.int64)
        self.heard: Ints = np.zeros(streams, dtype=np.int64)
        """By stream: when RTP of its own last came, or, without a call, anything (Unix ns, our clock)."""
        self._expected = np.zeros((streams, 4), dtype=np.uint64)
        self._mask = np.zeros((streams, 4), dtype=np.uint64)
        self._open: npt.NDArray[np.bool_] = np.zeros(streams, dtype=np.bool_)
        self._secured: npt.NDArray[np.bool_] = np.zeros(streams, dtype=np.bool_)
        self._codecs: Bytes = np.zeros((streams, 128), dtype=np.uint8)

    _TABLES: Final = ("call", "leg", "answered", "ended", "heard", "_expected", "_mask", "_open", "_secured", "_codecs")

    # --- streams ----------------------------------------------------------------------------------------------------

    def add(self, sock: socket.socket) -> int:
        """A row for a socket; it hears nothing until ``listen``."""
        if not self._free:
            old = {name: getattr(self, name) for name in self._TABLES}
            size = len(self.call)
            self._make_tables(2 * size)
            self._timelines.grow()
            self._reports.grow()
            for name, table in old.items():
                getattr(self, name)[:size] = table
            self._free = list(range(2 * size - 1, size - 1, -1))
        stream = self._free.pop()
        for name in self._TABLES:
            getattr(self, name)[stream] = 0
        self.mute(stream)
        self._sockets[stream] = sock
        self._wide |= sock.family != socket.AF_INET
        self._timelines.begin(stream)
        self._reports.begin(stream)
        self._keys.begin(stream)
        return stream

    def listen(
        self,
        stream: int,
        source: tuple[str, int],
        payload_types: Mapping[int, int],
        crypto: Sequence[MediaKey] = (),
        networks: Sequence[str] = (),
    ) -> None:
        """Accept RTP from ``source`` alone. ``payload_types``: codec numbers; static ones mean theirs by themselves.

        ``networks``: or from the first source in them that sends (``latch``).
        ``crypto``: then only SRTP that is authentic under one of these keys. Raises ValueError when the address is of
        another family than the socket, MediaError when a key cannot be used.
        """
        self._secure(stream, crypto)
        expected, mask = source_words(*source, self._sockets[stream].family)
        self._expected[stream], self._mask[stream] = expected, mask
        self._latches.wait(stream, networks, self._sockets[stream].family)
        self._open[stream] = True
        self._codecs[stream] = ABSENT
        for payload_type, codec in (kinds.STATIC | dict(payload_types)).items():
            self._codecs[stream, payload_type & 0x7F] = codec

    def report(self, stream: int, way: ReportWay | None, now_ns: int) -> None:
        """Send the stream's receiver reports this way from now on; None: none."""
        if way is None:
            self._reports.forget(stream)
        else:
            self._reports.aim(stream, way.through, way.to, now_ns, apart=way.through is not self._sockets[stream])

    def send_reports(self, clock_ns: int, now_ns: int) -> bool:
        """Send some of the reports that are due; False when none is. ``clock_ns``, ``now_ns``: as for ``some``."""
        due = self._reports.due(now_ns)
        if due.size:
            permitted = self._open[due] & (self.answered[due] <= now_ns) & (self.heard[due] > 0)
            self._reports.send(due, permitted, self._timelines.counts(due), now_ns, clock_ns)
        return bool(due.size)

    def _secure(self, stream: int, crypto: Sequence[MediaKey]) -> None:
        if crypto:
            self._secured[stream] = True  # first: what fails now leaves a stream of which nothing is kept
            self._srtp.secure(stream, crypto)
        else:
            self._secured[stream] = False
            self._srtp.forget(stream)

    def silence(self, stream: int) -> None:
        """Accept nothing for now: the peer says that it does not send."""
        self._open[stream] = False
        self._latches.forget(stream)
        self._reports.forget(stream)

    def mute(self, stream: int) -> None:
        """Part from the call: what comes is read and forgotten."""
        self.silence(stream)
        self._srtp.forget(stream)
        self.call[stream] = _NO_CALL
        self.answered[stream] = self.ended[stream] = NEVER

    def remove(self, stream: int) -> None:
        """Forget the row; the socket is the caller's to close."""
        self.mute(stream)
        del self._sockets[stream]
        self._timelines.end(stream)
        self._free.append(stream)

    def lost(self, stream: int) -> int:
        """Packets missing in the stream's sequence numbers."""
        return self._timelines.lost(stream)

    def take_call(self) -> int:
        """A call's row in the store."""
        call = self.store.take()
        while call >= len(self.high):
            self.high, self.sealed = (np.concatenate([a, np.zeros_like(a)]) for a in (self.high, self.sealed))
        self.high[call] = self.sealed[call] = 0
        return call

    # --- passes -----------------------------------------------------------------------------------------------------

    def some(self, queue: deque[int], clock_ns: int, now_ns: int, *, held_up: bool = False) -> list[Digit]:
        """Drain streams off ``queue`` until a pass is full or none is left, and carry the pass out.

        ``clock_ns`` = server's clock minus CLOCK_REALTIME; ``now_ns`` on the server's clock. ``held_up``: rings are not
        ready for all that waits; the streams of one call, neighbours in ``queue``, then come in one pass.
        """
        batch, streams, counts = self._batch, [], []
        sockets, receive, begun, last = self._sockets, batch.receive, 0, _NO_CALL
        while queue and batch.filled < FULL:
            call = int(self.call[queue[0]])
            if held_up and call != last:
                if 2 * batch.filled - begun > ROWS:  # another call like the last one would be torn
                    break
                begun, last = batch.filled, call
            stream = queue.popleft()
            sock = sockets.get(stream)
            got = receive(sock.fileno()) if sock is not None else 0
            if got:
                streams.append(stream)
                counts.append(got)
                if batch.filled == ROWS:  # this one may hold more: after the others
                    queue.append(stream)
        if not streams:
            return []
        digits = self._pass(np.repeat(np.array(streams), counts), clock_ns, now_ns, held_up=held_up)
        batch.reset()
        return digits

    def _pass(self, stream: Ints, clock_ns: int, now_ns: int, *, held_up: bool) -> list[Digit]:
        batch, filled = self._batch, self._batch.filled
        headers, lengths = batch.headers[:filled], batch.lengths
        arrivals = batch.arrivals(now_ns - clock_ns) + clock_ns
        np.minimum(arrivals, now_ns, out=arrivals)  # the machine's clock may be set back
        version2 = headers["first"] >> 6 == 2
        ours = self._open[stream] & self._from_source(stream)
        control = self._control(version2 & ours & (lengths >= SHORTEST), stream, lengths, arrivals)
        rtp = (lengths >= _RTP_HEADER) & version2 & ~control
        genuine, replayed = self._genuine(stream, rtp & ours, lengths, now_ns)
        heard = genuine | (self.call[stream] == _NO_CALL)
        np.maximum.at(self.heard, stream[heard], arrivals[heard])
        at, sizes = self._payloads(headers["first"], lengths, rtp)
        codecs = np.where(genuine, self._codecs[stream, headers["second"] & 0x7F], np.uint8(ABSENT))
        digits = self._keys.told(self._batch, np.flatnonzero(codecs == TELEPHONE_EVENT), stream, at, sizes, arrivals)
        live = genuine & (arrivals >= self.answered[stream]) & (arrivals <= self.ended[stream])
        samples = kinds.lasting(self._batch.slots, codecs, at, sizes)
        sound = live & IS_SOUND[codecs] & (samples > 0)
        kept, chosen = 0, np.flatnonzero(live)
        for part in self._parts(chosen, stream, arrivals) if held_up else [chosen]:
            kept += self._place(part, sound[part], stream, arrivals, codecs, at, sizes, samples) if part.size else 0
        counts = [int(np.count_nonzero(mask)) for mask in (rtp, rtp & ours, genuine, live, sound)]
        old = self.statistics
        self.statistics = replace(
            old,
            received=old.received + filled,
            control=old.control + int(np.count_nonzero(control)),
            malformed=old.malformed + filled - counts[0] - int(np.count_nonzero(control)),
            foreign=old.foreign + counts[0] - counts[1],
            unauthentic=old.unauthentic + counts[1] - counts[2] - replayed,
            replayed=old.replayed + replayed,
            idle=old.idle + counts[2] - counts[3],
            other=old.other + counts[3] - counts[4],
            misplaced=old.misplaced + counts[4] - kept,
            kept=old.kept + kept,
        )
        return digits

    def _parts(self, chosen: Ints, stream: Ints, arrivals: Ints) -> Iterator[Ints]:
        """These rows by when they came, the rings of their calls made ready for each part."""
        part = arrivals[chosen] // _SLICE_NS
        for number in np.unique(part).tolist():
            rows = chosen[part == number]
            self.prepare(np.unique(self.call[stream[rows]]).tolist(), (number + 1) * _SLICE_NS)
            yield rows[self.call[stream[rows]] != _NO_CALL]  # a file that refuses ends its call

    def _from_source(self, stream: Ints) -> npt.NDArray[np.bool_]:
        """Which rows came from where their stream's description says; of IPv4 one word tells."""
        names = self._batch.names[: self._batch.filled]
        if self._latches:
            self._latch(stream, names)
        if self._wide:
            every: npt.NDArray[np.bool_] = ((names & self._mask[stream]) == self._expected[stream]).all(axis=1)
            return every
        first: npt.NDArray[np.bool_] = (names[:, 0] & self._mask[stream, 0]) == self._expected[stream, 0]
        return first

    def _latch(self, stream: Ints, names: npt.NDArray[np.uint64]) -> None:
        """Let streams behind a NAT choose their source, by their first packet of a codec that was offered."""
        headers, lengths = self._batch.headers[: self._batch.filled], self._batch.lengths
        sound = (lengths > _RTP_HEADER) & (headers["first"] >> 6 == 2)
        sound &= self._codecs[stream, headers["second"] & 0x7F] != ABSENT
        for waiting in self._latches.among(stream[sound]):
            rows = np.flatnonzero(sound & (stream == waiting))
            if self._secured[waiting]:
                rows, slots = rows[:_ASKED], self._batch.slots
                rows = rows[[self._srtp.recognises(slots, lengths, int(row), waiting) for row in rows]]
            exact = ((names[rows] & self._mask[waiting]) == self._expected[waiting]).all(axis=1)
            chosen = self._latches.first(waiting, names[rows], exact)
            if chosen is None:
                continue
            self._latches.forget(waiting)
            if not exact[chosen]:
                head = EVERY_V6 if self._sockets[waiting].family == socket.AF_INET6 else EVERY_V4
                self._mask[waiting], self._expected[waiting] = head, names[rows[chosen]] & head

    def _control(
        self, valid: npt.NDArray[np.bool_], stream: Ints, lengths: Ints, arrivals: Ints
    ) -> npt.NDArray[np.bool_]:
        """Which rows are RTCP (RFC 5761 §4: a second byte of 192 to 223, unless it was offered as a payload type).

        That of secured streams would have to be SRTCP, which is not read: anybody could have sent it.
        """
        second = self._batch.headers["second"][: self._batch.filled]
        control: npt.NDArray[np.bool_] = valid & (second & 0xE0 == 0xC0)
        if control.any():
            control &= self._codecs[stream, second & 0x7F] == ABSENT
            rows = np.flatnonzero(control & ~self._secured[stream])
            for row in rows[-_ASKED:]:  # reading one may take 0.4 ms, and they come every 5 s
                end = PAD + min(int(lengths[row]), SLOT)
                self._reports.control(int(stream[row]), self._batch.slots[row, PAD:end].tobytes(), int(arrivals[row]))
        return control

    def _genuine(
        self, stream: Ints, ours: npt.NDArray[np.bool_], lengths: Ints, now_ns: int
    ) -> tuple[npt.NDArray[np.bool_], int]:
        """Which rows are their sender's: SRTP is decrypted in its slot, and its ``lengths`` are those of the RTP."""
        rows = np.flatnonzero(ours & self._secured[stream])
        if rows.size == 0:
            return ours, 0
        opened = self._srtp.unprotect(self._batch.slots, lengths, rows, stream[rows], now_ns)
        genuine = ours & ~self._secured[stream]
        genuine[opened.rows] = True
        return genuine, opened.replayed

    def _payloads(self, first: Bytes, lengths: Ints, rtp: npt.NDArray[np.bool_]) -> tuple[Ints, Ints]:
        """Where each row's payload begins in its slot, and its size; CSRCs, extension and padding are rare."""
        at = np.full(len(lengths), PAD + _RTP_HEADER, dtype=np.int64)
        sizes = lengths - _RTP_HEADER
        for row in np.flatnonzero(rtp & (first != 0x80)):
            slot, bits, end = self._batch.slots[row], int(first[row]), PAD + int(lengths[row])
            begin = PAD + _RTP_HEADER + 4 * (bits & 0x0F)
            if bits & 0x10 and begin + 4 <= end:
                begin += 4 + 4 * (int(slot[begin + 2]) << 8 | int(slot[begin + 3]))
            if bits & 0x20:
                end -= int(slot[end - 1])
            at[row], sizes[row] = begin, max(0, end - begin)
        return at, sizes

    def _place(
        self,
        chosen: Ints,
        sound: npt.NDArray[np.bool_],
        stream: Ints,
        arrivals: Ints,
        codecs: Bytes,
        at: Ints,
        sizes: Ints,
        samples: Ints,
    ) -> int:
        """Positions of the chosen rows, and the copy; returns how many were kept."""
        streams = stream[chosen]
        headers = self._batch.headers  # field by field: rows of it are whole slots
        ssrcs, sequences, stamps = (headers[name][chosen].astype(np.int64) for name in ("ssrc", "sequence", "stamp"))
        since = arrivals[chosen] - self.answered[streams]
        lasting, kind = samples[chosen], codecs[chosen]
        ticks = TICKS[kind] if (kind == OPUS).any() else None
        if self._reports.samples(int(arrivals[0])):
            came = since if ticks is None else since * ticks
            self._reports.hear(streams[sound], ssrcs[sound], stamps[sound], came[sound] // SAMPLE_NS)
        positions = self._timelines.positions(streams, ssrcs, sequences, stamps, since, lasting, sound, ticks)
        calls = self.call[streams]
        high = self.high[calls]
        low = np.maximum(0, high - RING_UNITS * UNIT_BYTES)
        ends = positions + lasting
        fits = sound & (positions != NOWHERE) & (positions < high) & (ends > low)
        rows = calls * LEGS + self.leg[streams]
        payloads = Payloads(rows, kind, positions, chosen, at[chosen], sizes[chosen], low, high, lasting)
        if IS_PACKETS[kind].any():
            fits &= packets_fit(payloads) | ~IS_PACKETS[kind]
        fit = np.flatnonzero(fits)
        if fit.size:
            self.store.write(self._batch.slots, payloads.only(fit))
        for i in fit[positions[fit] < self.sealed[calls[fit]]]:
            self._came_late(int(calls[i]), int(max(0, positions[i])), int(ends[i]))
        events = np.flatnonzero((kind == TELEPHONE_EVENT) & (sizes[chosen] >= 4))
        if events.size:
            marked = self._keys.mark(
                self.store, self._timelines, self._batch, payloads.only(events), streams[events], since[events]
            )
            for row, begin, end in marked:
                self._came_late(row // LEGS, begin * UNIT_BYTES, end * UNIT_BYTES)
        return int(fit.size)

    def _came_late(self, call: int, begin: int, end: int) -> None:
        """Samples [begin, end) of a call changed, perhaps after they were sealed."""
        for window in range(begin // WINDOW_SAMPLES, (end - 1) // WINDOW_SAMPLES + 1):
            if window * WINDOW_SAMPLES < self.sealed[call]:
                self.late.add((call, window))
