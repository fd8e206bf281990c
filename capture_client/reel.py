"""One take's packets into sealed segments of at most half a second. No threads, no clock: times are ``pts_ns``.

A segment is sealed and spooled as soon as it is full, so that a crash loses half a second; its packets stay in memory
until the server has said that the call still lived then. Only that *releases* the segment for upload. A hangup or a
pause that lies in what was not yet released cuts it: the segments concerned are removed, and what remains of them is
sealed again, under a fresh key, since a nonce must never be used twice.
"""

from __future__ import annotations

from dataclasses import dataclass

from capture_client.protocol import FilmPacket, SegmentSealer
from capture_client.spool import Take

SEGMENT_NS = 500_000_000
SHOW_AGAIN = b"\x88"
"""A VP9 frame header with show_existing_frame of slot 0 (VP9 bitstream §6.2): the last picture, shown once more."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What of a film was kept: pts of its first and last frame, how many."""

    first_ns: int | None
    last_ns: int | None
    frames: int


class Reel:
    """The newest packets of one take."""

    def __init__(self, recording: str, take: Take, public_key: bytes) -> None:
        """Raises ValueError when ``public_key`` is no usable X25519 key."""
        self._recording, self._take, self._public_key = recording, take, public_key
        self._sealer = SegmentSealer(recording, take.name, public_key)
        self._open: list[FilmPacket] = []
        self._sealed: list[list[FilmPacket]] = []  # not released yet
        self._released = 0  # segments
        self._first: int | None = None
        self._last: FilmPacket | None = None
        self._released_frames = 0

    @property
    def seal_due_ns(self) -> int | None:
        """The pts at which ``seal`` should be called; None: nothing is waiting."""
        return self._open[0].pts_ns + SEGMENT_NS if self._open else None

    def add(self, packet: FilmPacket) -> None:
        """Packets in rising order of pts. Raises SpoolError."""
        due = self.seal_due_ns
        if due is not None and packet.pts_ns >= due:
            self.seal()
        self._open.append(packet)

    def seal(self) -> None:
        """Close the segment at hand and make it durable."""
        if self._open:
            index = self._released + len(self._sealed)
            self._take.write(index, self._sealer.seal(index, self._open))
            self._sealed.append(self._open)
            self._open = []

    def confirm(self, until_ns: int) -> None:
        """The call still lived at ``until_ns``: segments that lie wholly before it may be uploaded."""
        before = self._released
        while self._sealed and self._sealed[0][-1].pts_ns <= until_ns:
            packets = self._sealed.pop(0)
            self._first = packets[0].pts_ns if self._first is None else self._first
            self._last = packets[-1]
            self._released_frames += len(packets)
            self._released += 1
        if self._released > before:
            self._take.release(self._released)

    def cut(self, from_ns: int) -> None:
        """Drop what was filmed at ``from_ns`` and later, as far as it was not released."""
        self._open = [p for p in self._open if p.pts_ns < from_ns]
        if not (self._sealed and self._sealed[-1][-1].pts_ns >= from_ns):
            return
        while self._sealed and self._sealed[-1][-1].pts_ns >= from_ns:
            packets = self._sealed.pop()
            self._take.remove(self._released + len(self._sealed))
            self._open = [p for p in packets if p.pts_ns < from_ns]
        self._sealer = SegmentSealer(self._recording, self._take.name, self._public_key)

    def finish(self, ended_ns: int | None) -> Kept:
        """The film is over: at ``ended_ns``, or (None) at what was released last. The last picture stays until then."""
        if ended_ns is None:
            self.cut(-(1 << 62))
        else:
            self.cut(ended_ns)
            kept = [packet for segment in [*self._sealed, self._open] for packet in segment]
            last = kept[-1] if kept else self._last
            if last is not None and last.pts_ns < ended_ns - 1:
                self.add(FilmPacket(False, ended_ns - 1, last.width, last.height, SHOW_AGAIN))
            self.seal()
            self.confirm(ended_ns)
        self._take.finish(self._released)
        return Kept(self._first, self._last.pts_ns if self._last else None, self._released_frames)
