"""One recording while its call lives: its streams, its row in the store, its live file, and which windows are sealed.

A window is sealed as soon as it is ``SETTLE_NS`` past, at the drain that follows: at most 500 + 50 + 250 ms of sound
are not yet in the file when the process is killed. What comes later still is placed as far as the ring reaches, and its
window sealed again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sipgate.media.drain import Drain
from sipgate.media.frames import FILE_NAME, MOST_LOST, WINDOW_NS, WINDOW_SAMPLES, LiveFile
from sipgate.media.store import RING_WINDOWS

SETTLE_NS: Final = 50_000_000
_AHEAD_NS: Final = 1_000_000_000
"""How far before its time a position may lie and still have a place: re-anchoring allows bursts."""


@dataclass
class LiveStream:
    """One stream of the offer: its row in the drain's tables, its port, and which leg it speaks for."""

    row: int
    port: int
    recording: str = field(repr=False)
    sides: tuple[int, ...] = ()
    """Sides whose keys are heard here: one, or both when the peer sends one mix."""


@dataclass
class LiveRecording:
    """``answered_at_ns`` is None until ``begin``. Raises StoreError, SealError as ``LiveFile`` does."""

    recording: str
    drain: Drain
    file: LiveFile
    call: int
    opened_at_ns: int
    mixed: bool = False
    streams: dict[str, LiveStream] = field(default_factory=dict)
    answered_at_ns: int | None = None
    quiet_told: bool = False
    _next: int = 0  # the window that is sealed next
    _ready: int = 0  # the ring is ready for windows before this one

    @classmethod
    def create(cls, recording: str, drain: Drain, folder: Path, data_key: bytes, now_ns: int) -> LiveRecording:
        """Make the live file and take a row of the store."""
        file = LiveFile(folder / FILE_NAME, recording, data_key)
        return cls(recording, drain, file, drain.take_call(), now_ns)

    def begin(self, answered_at_ns: int, now_ns: int) -> None:
        """Sound is kept from ``answered_at_ns`` on."""
        self.answered_at_ns = answered_at_ns
        for stream in self.streams.values():
            self.drain.answered[stream.row] = answered_at_ns
        self.make_ready(min(answered_at_ns, now_ns))  # for what waits since; the drain makes it ready for the rest

    def advance(self, now_ns: int) -> None:
        """Seal what is past, make the ring ready for what comes."""
        if self.answered_at_ns is None:
            return
        self._seal_late()
        while (self._next + 1) * WINDOW_NS + SETTLE_NS <= now_ns - self.answered_at_ns:
            self._seal_next()
        self.make_ready(now_ns)

    def make_ready(self, now_ns: int) -> None:
        """Make the ring ready for what has come until now and comes soon."""
        if self.answered_at_ns is None:
            return
        wanted = max(0, now_ns - self.answered_at_ns + _AHEAD_NS) // WINDOW_NS + 1
        if wanted > self._ready:  # what is cleared now may hold sound that came after its window was sealed
            self._seal_late()
        while wanted > self._next + RING_WINDOWS:
            self._seal_next()
        self._clear_up_to(wanted)

    def finish(self, ended_at_ns: int) -> None:
        """Seal up to the hangup, cut what lies after it, close. What the sockets held must have been drained."""
        try:
            if self.answered_at_ns is not None:
                length_ns = max(0, ended_at_ns - self.answered_at_ns)
                self._seal_late()
                while self._next * WINDOW_NS < max(1, length_ns):
                    self._seal_next()
                self.file.finish(length_ns, self.lost())
        finally:
            self.file.close()

    def interrupt(self, now_ns: int) -> None:
        """The process ends in mid-call: seal all that was received, mark no hangup, close."""
        try:
            self.advance(now_ns)
            if self.answered_at_ns is not None:
                self._seal_next()
        finally:
            self.file.close()

    def lost(self) -> tuple[int, int]:
        """Packets missing by leg."""
        lost, legs, of = [0, 0], self.drain.leg, self.drain.lost
        for stream in self.streams.values():
            lost[legs[stream.row]] += of(stream.row)
        return min(lost[0], MOST_LOST), min(lost[1], MOST_LOST)  # a sender makes its numbers up as it likes

    def heard_at_ns(self) -> int:
        """When the last packet of any stream came; the opening when none did."""
        return max([self.opened_at_ns, *(int(self.drain.heard[s.row]) for s in self.streams.values())])

    def _seal_next(self) -> None:
        if self._next >= self._ready:
            self._clear_up_to(self._next + 1)
        self._seal(self._next)
        self._next += 1
        self.drain.sealed[self.call] = self._next * WINDOW_SAMPLES

    def _seal_late(self) -> None:
        if not self.drain.late:
            return
        late = sorted(window for call, window in self.drain.late if call == self.call)
        for window in late:
            self.drain.late.discard((self.call, window))
            if self._ready - RING_WINDOWS <= window < self._next:
                self._seal(window)

    def _seal(self, window: int) -> None:
        answered = self.answered_at_ns or 0
        self.file.append(self.drain.store.window(self.call, window, answered, self.lost(), self.mixed))

    def _clear_up_to(self, window: int) -> None:
        for number in range(self._ready, window):
            self.drain.store.clear(self.call, number)
        self._ready = max(self._ready, window)
        self.drain.high[self.call] = self._ready * WINDOW_SAMPLES
