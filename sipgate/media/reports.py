"""Receiver reports of every stream under way (RFC 3550 §6): when one is due, what it says, and its sending.

About every 5 s and at random, as two members of a session do (§6.2: Tmin = 5 s, which our bandwidth never exceeds;
§6.3.1). A report goes where the peer's description says that it wants RTCP, from the RTP port where both are
multiplexed (RFC 5761), else from the port above, and only

* while the call is one that is being recorded: from the answer on, until ``finish``, ``discard``, or a hold; the
  callers of ``forget`` see to that, and a row without a destination is never due;
* to where the stream comes from: not before RTP of its own was heard, so that a description that names somebody else's
  address cannot make us send there.

Its CNAME is random for every stream (RFC 7022 §4.2), so it tells nothing. Of the peer's RTCP a sender report gives LSR
and DLSR, and BYE takes a source out of our reports until another comes: it never ends a recording, since a sender that
changes its SSRC says BYE for the old one. Nothing of RTCP is ever sound, or counts as having heard some.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import socket
import struct
from typing import Final

import numpy as np
import numpy.typing as npt

from sipgate.errors import MediaError
from sipgate.media import rtcp
from sipgate.media.place import Counts
from sipgate.media.recvmmsg import ROWS, SO_TIMESTAMPNS

NEVER: Final = np.iinfo(np.int64).max
INTERVAL_NS: Final = 5_000_000_000
_COMPENSATION: Final = 1.21828  # e - 3/2, RFC 3550 §6.3.1
_MOST_AT_ONCE: Final = 128
_MOST_WAITING: Final = 8
_GAIN: Final = 15 / 16
_WEIGHTS: Final = (1 / _GAIN) ** np.arange(ROWS)
_DECAYS: Final = _GAIN ** np.arange(ROWS + 1)
_NO_SOURCE: Final = -1
_QUARTER_BIT: Final = 28  # 2 ** 28 ns = 268 ms

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class Reports:
    """By stream (a row of the drain's tables). Not thread-safe: the receiver holds a lock."""

    def __init__(self, streams: int) -> None:
        self.jitter: npt.NDArray[np.float64] = np.zeros(streams)
        """RFC 3550 appendix A.8, in RTP timestamp units."""
        self._cname: npt.NDArray[np.bytes_] = np.zeros(streams, dtype=f"S{rtcp.CNAME_CHARACTERS}")
        self._use(np.zeros((9, streams), dtype=np.int64))
        self._due[:] = NEVER
        self._ways: dict[int, tuple[socket.socket, tuple[str, int], socket.socket | None]] = {}

    def _use(self, tables: Ints) -> None:
        self._tables = tables
        self._due, self._own, self._gone, self._sr, self._sr_from, self._sr_at, *before = tables
        self._expected, self._received, self._base = before

    def grow(self) -> None:
        """Room for twice as many streams."""
        size = len(self.jitter)
        self.jitter = np.concatenate([self.jitter, np.zeros_like(self.jitter)])
        self._cname = np.concatenate([self._cname, np.zeros_like(self._cname)])
        self._use(np.hstack([self._tables, np.zeros_like(self._tables)]))
        self._due[size:] = NEVER

    def begin(self, stream: int) -> None:
        """A new stream in this row; nothing is sent for it before ``aim``."""
        self.jitter[stream] = 0
        self._tables[:, stream] = 0
        self._due[stream], self._gone[stream], self._sr_from[stream] = NEVER, _NO_SOURCE, _NO_SOURCE
        self._own[stream] = secrets.randbits(32)
        self._cname[stream] = secrets.token_urlsafe(12).encode()

    def aim(self, stream: int, through: socket.socket, to: tuple[str, int], now_ns: int, *, apart: bool) -> None:
        """Report to ``to``; ``apart``: ``through`` is a port for RTCP alone, so the peer's RTCP waits there."""
        self._ways[stream] = (through, to, through if apart else None)
        if self._due[stream] == NEVER:
            self._due[stream] = now_ns + _interval() // 2  # §6.2: half of it before the first

    def forget(self, stream: int) -> None:
        """No more reports."""
        self._ways.pop(stream, None)
        self._due[stream] = NEVER

    # --- what is heard ----------------------------------------------------------------------------------------------

    def samples(self, at_ns: int) -> bool:
        """Whether packets that came now are heard for jitter: those of a quarter of each second, as all would be a
        twentieth of what a packet costs. Longer than a tick, so every stream is among them."""
        return at_ns & 3 << _QUARTER_BIT == 0

    def hear(self, streams: Ints, ssrcs: Ints, stamps: Ints, samples: Ints) -> None:
        """RTP that came, the packets of one stream one after the other: ``samples`` is when, on the RTP clock."""
        if len(streams) < 2:  # a pass of one packet says nothing of the time between two
            return
        transit = samples - stamps
        apart = np.abs(((transit[1:] - transit[:-1] + 0x80000000) & 0xFFFFFFFF) - 0x80000000)
        same = streams[1:] == streams[:-1]
        starts = np.concatenate([[0], np.flatnonzero(~same) + 1])
        weighed = np.zeros(len(streams))
        weighed[1:] = apart * _WEIGHTS[1 : len(streams)] * (same & (ssrcs[1:] == ssrcs[:-1]))
        lasts = np.append(starts[1:], len(streams)) - 1
        of = streams[starts]
        self.jitter[of] = self.jitter[of] * _DECAYS[lasts - starts] + np.add.reduceat(weighed, starts) * (
            _DECAYS[lasts] * (1 - _GAIN)
        )

    def control(self, stream: int, datagram: bytes, at_ns: int) -> None:
        """RTCP of the stream's own source."""
        with contextlib.suppress(MediaError):
            for packet in rtcp.parse(datagram):
                if isinstance(packet, rtcp.SenderReport):
                    self._sr[stream] = packet.ntp >> 16 & 0xFFFFFFFF
                    self._sr_from[stream], self._sr_at[stream] = packet.sender, at_ns
                elif isinstance(packet, rtcp.Goodbye) and packet.sources:
                    self._gone[stream] = packet.sources[0]

    # --- what is said -----------------------------------------------------------------------------------------------

    def due(self, now_ns: int) -> Ints:
        """Streams whose report is due, some at a time; asked again, the next ones, if those were told of."""
        found: Ints = np.flatnonzero(self._due <= now_ns)[:_MOST_AT_ONCE]
        return found

    def send(self, streams: Ints, permitted: Flags, counts: Counts, now_ns: int, clock_ns: int) -> int:
        """Send the reports of those that are ``permitted``; plan the next of all. Returns how many were sent.

        ``clock_ns`` = server's clock minus CLOCK_REALTIME.
        """
        for stream in streams:
            self._due[stream] = now_ns + _interval()
            self._take_waiting(int(stream), now_ns, clock_ns)
        streams, counts = streams[permitted], counts.only(permitted)
        sent = 0
        for stream, report in zip(streams, self.reports(streams, counts, now_ns), strict=True):
            through, to, _ = self._ways[int(stream)]
            with contextlib.suppress(OSError):  # not there, not reachable, no room: the next one may do
                through.sendto(report, to)
                sent += 1
        return sent

    def reports(self, streams: Ints, counts: Counts, now_ns: int) -> list[bytes]:
        """The datagrams; what was counted counts as told."""
        anew = counts.base != self._base[streams]
        self._expected[streams[anew]] = self._received[streams[anew]] = 0
        expected = np.where(counts.received > 0, counts.highest - counts.base + 1, 0)
        known = self._sr_from[streams] == counts.ssrc
        delay = (now_ns - self._sr_at[streams]) * 65_536 // 1_000_000_000
        datagrams = rtcp.receiver_reports(
            self._own[streams],
            counts.ssrc,
            rtcp.lost_word(expected, counts.received, self._expected[streams], self._received[streams]),
            counts.highest,
            self.jitter[streams].astype(np.int64),
            np.where(known, self._sr[streams], 0),
            np.where(known, np.maximum(delay, 0), 0),
            self._cname[streams],
        )
        fresh = (counts.received != self._received[streams]) & (counts.ssrc != self._gone[streams])
        self._gone[streams] = _NO_SOURCE  # who goes on sending after all is told of again
        self._base[streams], self._expected[streams], self._received[streams] = counts.base, expected, counts.received
        size = datagrams.dtype.itemsize
        whole = datagrams.tobytes()
        rows = [whole[at : at + size] for at in range(0, len(whole), size)]
        return [row if told else rtcp.without_block(row) for row, told in zip(rows, fresh, strict=True)]

    def _take_waiting(self, stream: int, now_ns: int, clock_ns: int) -> None:
        """What waits in a port for RTCP alone, each stamped by the kernel when it came."""
        way = self._ways.get(stream)
        if way is None or way[2] is None:
            return
        for _ in range(_MOST_WAITING):
            try:
                datagram, ancillary, _, source = way[2].recvmsg(1500, 64)
            except OSError:  # nothing waits
                return
            if source[:2] != way[1]:
                continue
            stamps = [data for level, kind, data in ancillary if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS)]
            seconds, nanoseconds = struct.unpack("=qq", stamps[0]) if stamps else divmod(now_ns - clock_ns, 10**9)
            self.control(stream, datagram, seconds * 10**9 + nanoseconds + clock_ns)


def _interval() -> int:
    """RFC 3550 §6.3.1: at random, so that many reports do not fall together."""
    return int(INTERVAL_NS * (0.5 + random.random()) / _COMPENSATION)  # noqa: S311 - spreads load, keeps no secret
