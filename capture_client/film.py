"""The camera and the darkroom: two threads, so that a stop is obeyed while a keyframe takes its 55 ms.

The *camera* grabs: at once at the start, then whenever the windows changed, at most ``frames_per_second`` times a
second, and, while nothing changes, the last picture again every second. It looks at the sign before each grab.
The *darkroom* encodes, seals and spools, in the order of what happened. A picture's time is that of its grab, on the
server's clock; every picture outside [answer, hangup] by more than the clock's uncertainty allows is dropped.
"""

from __future__ import annotations

import contextlib
import queue
import select
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from capture_client.darkroom import Confirm, Cut, Darkroom, Finish, Shot
from capture_client.errors import ClientError, DesktopError, SignError, SpoolError
from capture_client.protocol import FilmState
from capture_client.session import ArmCamera, ConfirmFilm, DisarmCamera, EndFilm, EraseFilm, PauseCamera, ResumeCamera
from capture_client.session import StartCamera as StartFilming
from capture_client.spool import Spool
from capture_client.windows import Desktop, Pixels, View

MS = 1_000_000
SETTLE_AT_LEAST_NS = 10 * MS
"""The application's answer to our request to repaint, drawn afresh, rather than what it was about to draw anyway."""
SETTLE_AT_MOST_NS = 40 * MS
INSIST_AFTER_NS = 150 * MS
REPEAT_NS = 1_000 * MS
SIGN_WITHIN_NS = 1_000 * MS
MAXIMUM_WAITING = 8
"""Pictures that may wait for the encoder, which needs time to be loaded at the first one."""
_POLL_SECONDS = 0.003

CameraCommand = ArmCamera | DisarmCamera | StartFilming | ConfirmFilm | PauseCamera | ResumeCamera | EndFilm | EraseFilm


@dataclass(frozen=True, slots=True)
class CameraFailed:
    """The camera cannot go on with this recording; ``reason`` names no call."""

    recording: str
    reason: str


@dataclass(frozen=True, slots=True)
class Studio:
    """What the camera works with. ``now_ns``: the server's clock, with what it may be wrong by."""

    open_desktop: Callable[[], Desktop]
    spool: Spool
    now_ns: Callable[[], int]
    uncertainty_ns: Callable[[], int]
    sign_is_up: Callable[[], bool]
    emit: Callable[[FilmState | CameraFailed], None]
    camera_ended: Callable[[], None]
    """The camera's thread is over: closed, or by a fault of ours."""

    def fail(self, recording: str, reason: str) -> None:
        """Say that this film cannot go on."""
        self.emit(CameraFailed(recording, reason))


@dataclass(slots=True)
class _Film:
    """The film being made."""

    recording: str
    answered_at_ns: int
    interval_ns: int
    view: View
    darkroom: Darkroom
    started_ns: int
    begun_ns: int | None = None
    shot_ns: int = 0
    unsettled_ns: int = 0
    first_ns: int = 0
    frames: int = 0
    state: str = ""
    paused: bool = False
    key_next: bool = True
    size: tuple[int, int] = (400, 640)


class Camera:
    """Commands are queued by any thread and carried out in order by the camera's own."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._commands: queue.SimpleQueue[CameraCommand | None] = queue.SimpleQueue()
        self._ear, self._mouth = socket.socketpair()
        self._ear.setblocking(False)
        self._desktop: Desktop | None = None
        self._plan: ArmCamera | None = None
        self._armed: View | None = None
        self._film: _Film | None = None
        self._darkrooms: list[Darkroom] = []
        self._reason = ""
        self._thread = threading.Thread(target=self._live, name="camera", daemon=True)
        self._thread.start()

    def do(self, command: CameraCommand) -> None:
        """Carry this out next."""
        self._commands.put(command)
        self._mouth.send(b"\0")

    def close(self) -> None:
        """End what is being filmed, keeping what is confirmed, and the threads."""
        self._commands.put(None)
        self._mouth.send(b"\0")
        self._thread.join(10)
        for darkroom in self._darkrooms:
            darkroom.join(10)
        self._ear.close()
        self._mouth.close()

    # --- the camera's thread ----------------------------------------------------------------------------------------

    def _live(self) -> None:
        try:
            self._run()
        finally:
            self._studio.camera_ended()

    def _run(self) -> None:
        with contextlib.suppress(DesktopError):  # said when there is something to film
            self._desktop = self._studio.open_desktop()
        while True:
            self._wait()
            try:
                while not self._commands.empty():
                    command = self._commands.get()
                    if command is None:
                        self._disarm()
                        self._end(None, "stopped")
                        self._drop_desktop()
                        return
                    self._obey(command)
                if self._film is not None:
                    self._shoot(self._film)
                elif self._armed is not None:
                    self._armed.pump()
            except ClientError as error:
                self._fail(str(error), lost=isinstance(error, DesktopError))

    def _wait(self) -> None:
        view = self._film.view if self._film else self._armed
        files: list[socket.socket | View] = [self._ear, view] if view is not None else [self._ear]
        readable, _, _ = select.select(files, [], [], self._pause_seconds())
        if self._ear in readable:
            self._ear.recv(4096)

    def _pause_seconds(self) -> float | None:
        film = self._film
        if film is None or not self._commands.empty():
            return None if film is None and self._commands.empty() else 0
        if not film.shot_ns:
            return _POLL_SECONDS
        wait = film.interval_ns if film.view.changed and not film.paused else REPEAT_NS
        return max(_POLL_SECONDS, (film.shot_ns + wait - self._studio.now_ns()) / 1e9)

    def _obey(self, command: CameraCommand) -> None:
        match command:
            case ArmCamera():
                self._arm(command)
            case DisarmCamera():
                self._disarm()
            case StartFilming():
                self._start(command)
            case EraseFilm(recording):
                if self._film and self._film.recording == recording:
                    self._end(None, "")
                self._studio.spool.erase(recording)
            case _:
                if self._film and self._film.recording == command.recording:
                    self._direct(self._film, command)

    def _direct(self, film: _Film, command: CameraCommand) -> None:
        match command:
            case ConfirmFilm(_, until_ns):
                film.darkroom.do(Confirm(until_ns - self._studio.uncertainty_ns() - film.answered_at_ns))
            case PauseCamera(_, at_ns):
                film.darkroom.do(Cut(at_ns - self._studio.uncertainty_ns() - film.answered_at_ns))
                film.paused, film.key_next = True, True
                self._develop(film, _card(film.size, bars=True))
            case ResumeCamera():
                film.paused, film.key_next, film.shot_ns = False, True, 0
                film.started_ns, film.begun_ns = self._studio.now_ns(), None
            case EndFilm(_, ended_at_ns, state):
                self._end(ended_at_ns, state)

    def _arm(self, plan: ArmCamera) -> None:
        self._disarm()
        self._reason = ""
        self._plan = plan
        if self._film is None:  # two views of one window would fight over what was painted
            self._armed = self._look(plan)

    def _disarm(self) -> None:
        self._plan = None
        if self._armed is not None:
            self._armed.close()
            self._armed = None

    def _look(self, plan: ArmCamera) -> View:
        if self._desktop is not None:
            try:
                return self._desktop.watch(plan.application)
            except DesktopError:  # it may have been lost while nothing was filmed
                self._drop_desktop()
        self._desktop = self._studio.open_desktop()
        return self._desktop.watch(plan.application)

    def _start(self, command: StartFilming) -> None:
        plan, self._plan = self._plan, None
        if plan is None:  # arming failed, which was reported
            self._studio.fail(command.recording, self._reason or "not armed")
            return
        try:
            view, self._armed = self._armed or self._look(plan), None
        except DesktopError as error:
            self._studio.fail(command.recording, str(error))
            raise
        try:
            take = self._studio.spool.begin(command.recording)
            darkroom = Darkroom(command.recording, take, plan.public_key, command.answered_at_ns, self._studio)
        except (SpoolError, ValueError) as error:
            view.close()
            self._studio.fail(command.recording, str(error))
            return
        self._darkrooms = [d for d in self._darkrooms if d.is_alive()] + [darkroom]
        interval = 1_000_000_000 // plan.frames_per_second
        now = self._studio.now_ns()
        self._film = _Film(command.recording, command.answered_at_ns, interval, view, darkroom, now)

    def _shoot(self, film: _Film) -> None:
        """Grab if it is time to."""
        film.view.pump()
        now = self._studio.now_ns()
        if film.shot_ns and now - film.shot_ns >= REPEAT_NS and (film.paused or not film.view.changed):
            self._develop(film, None)
        elif film.paused:
            return
        elif film.begun_ns is None:
            film.view.begin()
            film.begun_ns = self._studio.now_ns()
        elif not self._studio.sign_is_up():
            if film.shot_ns == 0 and now - film.started_ns > SIGN_WITHIN_NS:
                raise SignError("the sign does not come up")
        elif self._due(film, now):
            self._grab(film)

    def _due(self, film: _Film, now: int) -> bool:
        if film.shot_ns:
            waited = now - film.shot_ns - film.interval_ns
            if not film.view.changed or waited < 0 or film.darkroom.waiting >= MAXIMUM_WAITING:
                return False
            film.view.refresh()
            return self._painted(film, now)
        waited = now - (film.begun_ns or now)
        answered = now >= film.answered_at_ns + self._studio.uncertainty_ns()
        return answered and waited >= (SETTLE_AT_LEAST_NS if film.view.settled else SETTLE_AT_MOST_NS)

    @staticmethod
    def _painted(film: _Film, now: int) -> bool:
        """A window that has just come is given the time to paint itself."""
        if film.view.settled:
            film.unsettled_ns = 0
            return True
        film.unsettled_ns = film.unsettled_ns or now
        return now - film.unsettled_ns >= INSIST_AFTER_NS

    def _grab(self, film: _Film) -> None:
        picture = film.view.picture()
        self._develop(film, _card(film.size, bars=False) if picture is None else picture)
        if picture is not None:
            film.size = (picture.shape[0], picture.shape[1])
        self._say(film, "hidden" if picture is None else "filming")
        if film.begun_ns is not None and not film.view.settled and film.shot_ns - film.begun_ns > INSIST_AFTER_NS:
            film.view.insist()

    def _develop(self, film: _Film, picture: Pixels | None) -> None:
        """A picture, or (None) the last one again, taken now."""
        film.shot_ns = max(film.shot_ns + 1, self._studio.now_ns())
        film.darkroom.do(Shot(film.shot_ns - film.answered_at_ns, picture, film.key_next))
        film.key_next = False
        film.first_ns = film.first_ns or film.shot_ns
        film.frames += 1

    def _say(self, film: _Film, state: str) -> None:
        if film.state != state:
            film.state = state
            self._studio.emit(FilmState(film.recording, state, film.first_ns, film.shot_ns, film.frames))

    def _end(self, ended_at_ns: int | None, state: str) -> None:
        film, self._film = self._film, None
        if film is None:
            return
        until = None if ended_at_ns is None else ended_at_ns - self._studio.uncertainty_ns() - film.answered_at_ns
        film.darkroom.do(Finish(until, state))
        film.view.close()
        if self._plan is not None and self._armed is None:
            self._armed = self._look(self._plan)

    def _fail(self, reason: str, *, lost: bool) -> None:
        self._reason = reason
        film, self._film = self._film, None
        if film is not None:
            film.darkroom.do(Finish(None, "failed"))
            self._studio.fail(film.recording, reason)
        if lost:
            self._plan = self._armed = None
            self._drop_desktop()
        elif film is not None:
            film.view.close()

    def _drop_desktop(self) -> None:
        if self._desktop is not None:
            self._desktop.close()
            self._desktop = None


def _card(size: tuple[int, int], *, bars: bool) -> Pixels:
    """What is filmed where nothing may be: dark grey, with two bars for a pause, or a frame for a hidden window."""
    height, width = size
    card = np.full((height, width, 4), 0x30, np.uint8)
    y, x, unit = height // 2, width // 2, max(4, min(height, width) // 24)
    if bars:
        card[y - 2 * unit : y + 2 * unit, x - 2 * unit : x - unit] = 0x90
        card[y - 2 * unit : y + 2 * unit, x + unit : x + 2 * unit] = 0x90
    else:
        card[y - 2 * unit : y + 2 * unit, x - 3 * unit : x + 3 * unit] = 0x90
        card[y - 2 * unit + 2 : y + 2 * unit - 2, x - 3 * unit + 2 : x + 3 * unit - 2] = 0x30
    return card
