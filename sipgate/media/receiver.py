"""Receives the RTP of all recordings: opens ports, drains them all from one thread, has the sound placed and sealed.

The kernel's socket buffer is the queue (DESIGN.md decision 5): every socket is left alone for ``TICK_SECONDS``, then
drained by few system calls into arrays (``recvmmsg``, ``drain``). Threads: the public methods may be called from any;
a lock is held for one pass (a few milliseconds) at a time, never while ``emit`` is called.

A recording's life: ``open`` → (``restream``)* → ``begin`` → (``restream``)* → ``finish`` or ``discard`` → ``release``.
After ``finish`` or ``discard`` its sockets stay open as ``sinks``, so that a peer that goes on sending meets no ICMP
error and its packets reach nobody; after ``release`` a port is closed once quiet for 2 s, and only then used again.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import structlog

from sipgate.config import Media
from sipgate.core.events import DigitPressed, MediaFailed, Side, StreamOffer
from sipgate.errors import MediaError, StoreError
from sipgate.media import recvmmsg
from sipgate.media.codecs import codec_number
from sipgate.media.drain import Drain, ReportWay
from sipgate.media.keys import Digit
from sipgate.media.live import LiveRecording, LiveStream
from sipgate.media.ports import PortPool
from sipgate.media.room import raise_file_limit
from sipgate.media.sinks import Sinks
from sipgate.media.statistics import Statistics

log = structlog.get_logger("sipgate")

TICK_SECONDS: Final = 0.25
_HELD_UP_NS: Final = 500_000_000
"""Since rings were made ready: half of how far they are ready ahead."""
_NICENESS: Final = -10
_LAST_PASSES: Final = 8
"""How many passes a hangup may take: what two kernel buffers hold."""
_SLOW_TICKS: Final = 4
"""Every so many ticks: kernel drops, silent recordings, ports to close."""


@dataclass(frozen=True, slots=True)
class Silent:
    """No RTP came for ``[media] silence_seconds``: the sound is over. ``at_ns``: when the last packet came."""

    recording: str
    at_ns: int


class Receiver:
    """See the module. ``emit`` is called from the drain thread, or within ``finish`` for a key pressed just before."""

    def __init__(
        self,
        media: Media,
        now_ns: Callable[[], int],
        emit: Callable[[DigitPressed | MediaFailed | Silent], None],
    ) -> None:
        self._now_ns = now_ns
        self._emit = emit
        self._silence_ns = int(media.silence_seconds * 1e9)
        self._pool = PortPool(media)
        self._drain = Drain()
        self._drain.prepare = self._prepare
        self._refused: list[MediaFailed] = []
        self._lock = threading.Lock()
        self._recordings: dict[str, LiveRecording] = {}
        self._sockets: dict[int, socket.socket] = {}
        self._controls: dict[int, socket.socket] = {}
        self._owners: dict[int, LiveStream] = {}
        self._sinks = Sinks()
        self._dropped: dict[int, int] = {}
        self._round: deque[int] = deque()
        self._ready_at_ns = now_ns()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._stamping: socket.socket | None = None

    # --- life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the drain thread; allow this process as many open files as the system lets it."""
        raise_file_limit()
        self._stamping = recvmmsg.stamping()
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="media-drain", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Seal what is whole, close every socket and file. What is under way can be finished from its files."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._stamping is not None:
            self._stamping.close()
        self._drain_all()
        with self._lock:
            for live in list(self._recordings.values()):
                self._failed(live, LiveRecording.interrupt, self._now_ns())
                if live.recording in self._recordings:
                    self._part(live)
            for row in list(self._sockets):
                self._close(row)
            self._owners.clear()

    @property
    def running(self) -> bool:
        """Whether sockets are being drained (for health)."""
        return self._thread is not None and self._thread.is_alive()

    def statistics(self) -> Statistics:
        """What became of all datagrams since start."""
        with self._lock:
            return replace(self._drain.statistics, dropped=sum(self._dropped.values()))

    # --- recordings -------------------------------------------------------------------------------------------------

    def open(self, recording: str, streams: Sequence[StreamOffer], key: bytes, folder: Path) -> tuple[int, ...]:
        """Bind one port a stream and make the live file. Nothing is kept before ``begin``.

        ``key``: the recording's data key, 32 bytes. Raises MediaError (no port, or a wrong family), StoreError.
        """
        with self._lock:
            live = LiveRecording.create(recording, self._drain, folder, key, self._now_ns())
            self._recordings[recording] = live
            try:
                return self._receive(live, streams)
            except MediaError:
                self._part(live)
                live.file.close()
                for row in self._sinks.of(recording):
                    self._close(row)  # nobody was told of these ports
                raise

    def begin(self, recording: str, answered_at_ns: int) -> None:
        """Keep sound from ``answered_at_ns`` (server's clock) on; what came before is dropped."""
        with self._lock:
            live = self._recordings.get(recording)
            self._ready_at_ns = min(self._ready_at_ns, answered_at_ns)
            failed = live is not None and self._failed(
                live, lambda live, now: live.begin(answered_at_ns, now), self._now_ns()
            )
        if failed:
            self._emit(MediaFailed(recording, self._now_ns()))

    def restream(self, recording: str, streams: Sequence[StreamOffer]) -> tuple[int, ...]:
        """The peer's streams changed. The same label keeps its port; labels that are gone are heard no more.

        Raises MediaError, also when the recording is not under way.
        """
        events: list[DigitPressed | MediaFailed] = []
        try:
            with self._lock:
                live = self._recordings.get(recording)
                if live is not None:  # what waits was sent under the description before
                    events = self._last_of(live)
                if recording not in self._recordings or live is None:
                    raise MediaError("restream: this recording is not under way")
                return self._receive(live, streams)
        finally:
            for event in events:
                self._emit(event)

    def heard_at_ns(self, recording: str) -> int | None:
        """When the last packet of this recording came (as of the last drain), or it was opened; None: unknown."""
        with self._lock:
            live = self._recordings.get(recording)
            return live.heard_at_ns() if live is not None else None

    def finish(self, recording: str, ended_at_ns: int) -> None:
        """Drain what came until now, seal exactly up to ``ended_at_ns``, stop listening."""
        with self._lock:
            live = self._recordings.get(recording)
            if live is None:
                return
            for stream in live.streams.values():
                self._drain.ended[stream.row] = ended_at_ns
            events = self._last_of(live)
            if live.recording in self._recordings:
                if self._failed(live, LiveRecording.finish, ended_at_ns):
                    events.append(MediaFailed(recording, self._now_ns()))
                else:
                    self._part(live)
        for event in events:
            self._emit(event)

    def discard(self, recording: str) -> None:
        """Forget what is buffered, close the live file (the vault destroys it), stop listening."""
        with self._lock:
            live = self._recordings.get(recording)
            if live is not None:
                self._part(live)
                live.file.close()

    def release(self, recording: str) -> None:
        """The session is over: its ports are closed after 2 s without a packet, then used again."""
        with self._lock:
            live = self._recordings.get(recording)
            if live is not None:
                self._part(live)
                live.file.close()
            self._sinks.release(recording, self._now_ns())

    # --- within the lock --------------------------------------------------------------------------------------------

    def _last_of(self, live: LiveRecording) -> list[DigitPressed | MediaFailed]:
        """What waits in a recording's sockets, as far as a few passes reach."""
        queue, events = deque(stream.row for stream in live.streams.values()), list[DigitPressed | MediaFailed]()
        for _ in range(_LAST_PASSES):
            events += self._drain_pass(queue, held_up=True) if queue else []
        return events

    def _receive(self, live: LiveRecording, offers: Sequence[StreamOffer]) -> tuple[int, ...]:
        # One stream that is nobody's alone is the peer's own mix; beside sided streams it is not understood.
        live.mixed = bool(offers) and all(offer.side is None for offer in offers)
        for label in live.streams.keys() - {offer.label for offer in offers}:
            self._drain.silence(live.streams[label].row)
        for offer in offers:
            stream = live.streams.get(offer.label)
            if stream is None:
                stream = self._bind(live, offer)
            self._point(live, stream, offer)
        return tuple(live.streams[offer.label].port for offer in offers)

    def _bind(self, live: LiveRecording, offer: StreamOffer) -> LiveStream:
        sock, control = self._pool.bind(multiplexed=offer.rtcp_mux)
        row = self._drain.add(sock)
        stream = LiveStream(row, int(sock.getsockname()[1]), live.recording)
        self._sockets[row] = sock
        if control is not None:
            self._controls[row] = control
        self._owners[row] = live.streams[offer.label] = stream
        self._drain.call[row] = live.call
        if live.answered_at_ns is not None:
            self._drain.answered[row] = live.answered_at_ns
        return stream

    def _point(self, live: LiveRecording, stream: LiveStream, offer: StreamOffer) -> None:
        """Accept what the offer announces: nothing from port 0, nor from the null address (RFC 3264 §8.4: on hold)."""
        sides = (Side.CALLER, Side.CALLEE) if live.mixed else (offer.side,)
        stream.sides = tuple(side.value for side in sides if side is not None)
        if offer.port == 0 or offer.address in ("0.0.0.0", "::") or not stream.sides:
            self._drain.silence(stream.row)
            return
        self._drain.leg[stream.row] = 0 if live.mixed else stream.sides[0]
        codecs = {number: codec_number(encoding) for number, encoding in offer.payload_types}
        try:
            self._drain.listen(stream.row, (offer.address, offer.port), codecs, offer.crypto, offer.networks)
        except ValueError as error:
            raise MediaError("a stream comes from an address of another family than media.address") from error
        through = self._sockets[stream.row] if offer.rtcp_mux else self._controls.get(stream.row)
        plain = not offer.crypto and not offer.networks  # a peer of SRTP takes SRTCP alone; for a NAT see ``latch``
        way = ReportWay(through, offer.rtcp) if through is not None and offer.rtcp is not None and plain else None
        self._drain.report(stream.row, way, self._now_ns())

    def _part(self, live: LiveRecording) -> None:
        """The recording is no longer received; its sockets become sinks."""
        del self._recordings[live.recording]
        for stream in live.streams.values():
            self._drain.mute(stream.row)
            del self._owners[stream.row]
            self._sinks.add(stream.row, live.recording)
        self._drain.late = {(call, window) for call, window in self._drain.late if call != live.call}
        self._drain.store.give_back(live.call)

    def _close(self, row: int) -> None:
        self._sinks.remove(row)
        self._drain.remove(row)
        self._sockets.pop(row).close()
        if row in self._controls:
            self._controls.pop(row).close()

    def _failed(self, live: LiveRecording, work: Callable[[LiveRecording, int], None], at_ns: int) -> bool:
        """Do what writes to the live file; when the disk refuses, part from the recording: nothing is half kept."""
        try:
            work(live, at_ns)
        except Exception as error:  # noqa: BLE001 - a defect with one recording does not end all the others
            if not isinstance(error, StoreError):
                log.error("a recording stops: a defect", kind=type(error).__name__)
            live.file.close()
            if live.recording in self._recordings:
                self._part(live)
            return True
        return False

    # --- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with contextlib.suppress(PermissionError):  # sound cannot be asked for again: before all else, where we may
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        due, ticks = time.monotonic(), 0
        try:
            while not self._stopping.is_set():
                self._tick(slow=ticks % _SLOW_TICKS == 0)
                ticks += 1
                due = max(due + TICK_SECONDS, time.monotonic())
                self._stopping.wait(due - time.monotonic())
        finally:
            if not self._stopping.is_set():  # a defect ends the thread: whoever waits for sound must know
                for recording in list(self._recordings):
                    self._emit(MediaFailed(recording, self._now_ns()))

    def _tick(self, *, slow: bool) -> None:
        drained_at = self._now_ns()  # what came later may wait still, and has no place in a window that is sealed
        events: list[DigitPressed | MediaFailed | Silent] = list(self._drain_all())
        events += self._each(LiveRecording.advance, drained_at)
        self._send_reports()
        if slow:
            with self._lock:
                events += self._housekeep(self._now_ns())
        for event in events:
            self._emit(event)

    def _each(self, work: Callable[[LiveRecording, int], None], at_ns: int) -> list[MediaFailed]:
        """Do what may write to live files for every recording, one a lock; tell which failed. A write may take seconds:
        all are made ready for the same moment, which is not the one at which the last is."""
        failures = []
        for recording in list(self._recordings):
            with self._lock:
                live = self._recordings.get(recording)
                if live is not None and self._failed(live, work, at_ns):
                    failures.append(MediaFailed(recording, at_ns))
        self._ready_at_ns = at_ns
        return failures

    def _drain_all(self) -> list[DigitPressed | MediaFailed]:
        """Every socket once, one pass a lock. A flood ends the round before its time; the next tick goes on where this
        one ended, so that no socket waits for ever behind others."""
        with self._lock:
            new = self._sockets.keys() - set(self._round)
            self._round.extend(sorted(new, key=self._drain.call.__getitem__))  # one call's are neighbours
            passes = 8 + len(self._round) // 8
        events: list[DigitPressed | MediaFailed] = []
        while self._round and passes > 0:
            with self._lock:
                held_up = self._now_ns() - self._ready_at_ns > _HELD_UP_NS
                events += self._drain_pass(self._round, held_up=held_up)
            passes -= 1
        return events

    def _send_reports(self) -> None:
        more = True
        while more:
            with self._lock:
                more = self._drain.send_reports(self._clock_ns(), self._now_ns())

    def _drain_pass(self, queue: deque[int], *, held_up: bool) -> list[DigitPressed | MediaFailed]:
        digits = self._drain.some(queue, self._clock_ns(), self._now_ns(), held_up=held_up)
        refused, self._refused = self._refused, []
        return [*self._named(digits), *refused]

    def _prepare(self, calls: Iterable[int], at_ns: int) -> None:
        """Make the rings of these calls ready for what came until then."""
        wanted = set(calls)
        for live in [live for live in self._recordings.values() if live.call in wanted]:
            if self._failed(live, LiveRecording.make_ready, at_ns):
                self._refused.append(MediaFailed(live.recording, self._now_ns()))

    def _clock_ns(self) -> int:
        """The server's clock minus CLOCK_REALTIME, which stamps packets; of three readings the least disturbed."""
        readings = []
        for _ in range(3):
            before, ours, after = time.time_ns(), self._now_ns(), time.time_ns()
            readings.append((after - before, ours - (before + after) // 2))
        return min(readings)[1]

    def _named(self, digits: Sequence[Digit]) -> list[DigitPressed]:
        """Digits as events; of a mix, whose key it was cannot be told, so it counts for both sides."""
        return [
            DigitPressed(owner.recording, Side(side), digit.digit, digit.at_ns)
            for digit in digits
            if (owner := self._owners.get(digit.stream)) is not None
            for side in owner.sides
        ]

    def _housekeep(self, now: int) -> list[DigitPressed | MediaFailed | Silent]:
        for row, sock in self._sockets.items():
            self._dropped[row] = recvmmsg.dropped(sock)
        for sink in self._sinks.due(self._drain.heard, now):
            self._close(sink)
        events: list[DigitPressed | MediaFailed | Silent] = []
        for live in self._recordings.values():
            heard = live.heard_at_ns()
            if not live.quiet_told and now - heard >= self._silence_ns:
                live.quiet_told = True
                events.append(Silent(live.recording, heard))
        return events
