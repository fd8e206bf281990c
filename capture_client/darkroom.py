"""What becomes of the camera's pictures: encoded, sealed, spooled, in a thread that lives as long as the film."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from capture_client.encoder import Encoder
from capture_client.errors import ClientError, SpoolError
from capture_client.protocol import FilmPacket, FilmState
from capture_client.reel import Reel
from capture_client.spool import Take
from capture_client.windows import Pixels

if TYPE_CHECKING:
    from capture_client.film import Studio


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture (None: the last one again) at ``pts_ns`` after the answer."""

    pts_ns: int
    picture: Pixels | None
    key: bool


@dataclass(frozen=True, slots=True)
class Confirm:
    """The call still lived at ``pts_ns``."""

    pts_ns: int


@dataclass(frozen=True, slots=True)
class Cut:
    """Drop what was taken at ``pts_ns`` or later."""

    pts_ns: int


@dataclass(frozen=True, slots=True)
class Finish:
    """The film is over, at ``pts_ns`` or (None) at what was confirmed. ``state`` is reported; empty: nothing is."""

    pts_ns: int | None
    state: str


_Work = Shot | Confirm | Cut | Finish


class Darkroom:
    """One film's. Commands are queued by the camera and carried out in order."""

    def __init__(self, recording: str, take: Take, public_key: bytes, answered_at_ns: int, studio: Studio) -> None:
        """Raises ValueError when ``public_key`` is no usable key."""
        self._recording, self._answered_at_ns, self._studio = recording, answered_at_ns, studio
        self._reel = Reel(recording, take, public_key)
        self._encoder = Encoder()
        self._last: Pixels | None = None
        self._work: queue.SimpleQueue[_Work] = queue.SimpleQueue()
        self._failed = False
        self._thread = threading.Thread(target=self._live, name="darkroom", daemon=True)
        self._thread.start()

    def do(self, work: _Work) -> None:
        """Carry this out next."""
        self._work.put(work)

    @property
    def waiting(self) -> int:
        """How much is queued."""
        return self._work.qsize()

    def is_alive(self) -> bool:
        """Whether the film is still being finished."""
        return self._thread.is_alive()

    def join(self, seconds: float) -> None:
        """Wait for the end."""
        self._thread.join(seconds)

    def _live(self) -> None:
        finished = False
        try:
            self._run()
            finished = True
        finally:
            if not finished:
                self._studio.fail(self._recording, "darkroom")

    def _run(self) -> None:
        while True:
            try:
                work = self._work.get(timeout=self._seconds_until_due())
            except queue.Empty:
                self._guarded(self._reel.seal)
                continue
            match work:
                case Shot():
                    self._guarded(partial(self._develop, work))
                case Confirm(pts_ns):
                    self._reel.confirm(pts_ns)
                case Cut(pts_ns):
                    self._reel.cut(pts_ns)
                case Finish():
                    self._finish(work)
                    return

    def _seconds_until_due(self) -> float | None:
        due = self._reel.seal_due_ns
        if due is None or self._failed:
            return None
        return max(0.0, (self._answered_at_ns + due - self._studio.now_ns()) / 1e9)

    def _develop(self, shot: Shot) -> None:
        if shot.picture is not None:
            self._last = shot.picture
        if self._last is None:
            return
        data, key = self._encoder.encode(self._last, shot.pts_ns, shot.key)
        height, width = self._last.shape[:2]
        self._reel.add(FilmPacket(key, shot.pts_ns, width, height, data))

    def _guarded(self, step: Callable[[], None]) -> None:
        """After a failure nothing is kept any more; the session is told, and ends the film."""
        if self._failed:
            return
        try:
            step()
        except ClientError as error:
            self._failed = True
            self._studio.fail(self._recording, str(error))

    def _finish(self, finish: Finish) -> None:
        state = "failed" if self._failed and finish.state else finish.state
        try:
            kept = self._reel.finish(None if self._failed else finish.pts_ns)
        except SpoolError:  # the take's end is declared when the spool is opened next
            return
        if state:
            first, last = (0 if t is None else self._answered_at_ns + t for t in (kept.first_ns, kept.last_ns))
            self._studio.emit(FilmState(self._recording, state, first, last, kept.frames))
