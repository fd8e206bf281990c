"""The one place where the client's parts are made and joined: the session decides, everything else obeys."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

from capture_client.clock import ServerClock, local_now_ns
from capture_client.enrolment import Enrolment
from capture_client.errors import ClientError, DesktopError
from capture_client.film import Camera, CameraFailed, Studio
from capture_client.indicator import Sign
from capture_client.journal import LocalJournal
from capture_client.link import Broker, Link
from capture_client.protocol import ClockProbe, ClockReply, FilmState, Ready
from capture_client.session import (
    Action,
    EraseFilm,
    HearClock,
    HideSign,
    Note,
    Send,
    Session,
    ShowSign,
    ShowSpared,
)
from capture_client.spool import Spool
from capture_client.uploads import Uploader
from capture_client.windows import open_desktop

_DETAIL = 60
_FAREWELL_SECONDS = 2.0
_TICK_SECONDS = 0.1
"""While a film runs, the lease is looked at so often."""


class Client:
    """One run. Make and run it in an event loop."""

    def __init__(self, enrolment: Enrolment) -> None:
        """Raises ClientError where nothing could ever be filmed, or the folder is in use."""
        self._loop = asyncio.get_running_loop()
        folder = enrolment.folder
        self._journal = LocalJournal(folder)
        self._lock = _only_one(folder / "lock")
        self._clock = ServerClock()
        boot, key = secrets.token_hex(16), enrolment.own_key()
        self._session = Session(enrolment.workstation, boot, enrolment.command_public_key())
        self._spool = Spool(folder / "spool", self._in_loop(self._wake_uploader))
        self._uploader = Uploader(enrolment, self._spool, self._journal.write)
        broker = Broker(
            enrolment.mqtt_host,
            enrolment.mqtt_port,
            enrolment.mqtt_version,
            enrolment.mqtt_context(),
            enrolment.workstation,
        )
        self._link = Link(broker, boot, key, self._received, self._probe)
        self._sign = self._make_sign()
        self._camera = Camera(
            Studio(
                open_desktop,
                self._spool,
                self._server_ns,
                lambda: self._clock.uncertainty_ns(local_now_ns()),
                lambda: self._sign.is_up,
                lambda said: self._call_soon(lambda: self._camera_said(said)),
                self._in_loop(lambda: self._must_end("the camera ended")),
            )
        )
        self._tick: asyncio.TimerHandle | None = None
        self._ended: asyncio.Future[None] = self._loop.create_future()

    async def run(self) -> None:
        """Until the process is told to end (SIGTERM, SIGINT). Raises ClientError when it cannot go on."""
        for name in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(name, self._end)
        self._journal.write("started")
        tasks = [asyncio.create_task(self._link.run()), asyncio.create_task(self._uploader.run())]
        try:
            done, _ = await asyncio.wait([self._ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await task  # a task that ended by itself has failed: say how
        finally:
            self._end()
            self._do(self._session.leave())
            await asyncio.to_thread(self._camera.close)
            await self._link.drain(_FAREWELL_SECONDS)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            self._sign.close()
            self._journal.write("stopped")
            os.close(self._lock)

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def _must_end(self, why: str) -> None:
        """Better no client, which the server sees, than one that films nothing or cannot be stopped by its key."""
        if not self._ended.done():
            self._journal.write(why)
            self._ended.set_exception(ClientError(why))

    # --- what comes in ----------------------------------------------------------------------------------------------

    def _received(self, payload: bytes) -> None:
        local = local_now_ns()
        self._do(self._session.receive(payload, self._clock.server_ns(local), self._clock.uncertainty_ns(local)))

    def _probe(self) -> ClockProbe:
        return self._clock.probe(local_now_ns())

    def _wake_uploader(self) -> None:
        self._uploader.spool_changed()

    def _camera_said(self, said: FilmState | CameraFailed) -> None:
        if isinstance(said, FilmState):
            self._link.send(said)
        elif self._session.filming == said.recording:
            self._link.send(FilmState(said.recording, "failed", detail=said.reason[:_DETAIL]))
            self._do(self._session.camera_failed(said.recording))

    def _pressed(self) -> None:
        self._do(self._session.not_this_call(self._clock.server_ns(local_now_ns())))

    def _sign_lost(self) -> None:
        self._do(self._session.sign_lost())

    def _ticked(self) -> None:
        self._tick = None
        self._do(self._session.tick(self._server_ns()))

    # --- what is done -----------------------------------------------------------------------------------------------

    def _do(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Send(report):
                    self._link.send(report)
                case Note(check):
                    self._journal.write(f"refused: {check}")
                case HearClock(reply):
                    self._hear_clock(reply)
                case ShowSign(paused):
                    self._sign.show(paused=paused)
                case HideSign():
                    self._sign.hide()
                case ShowSpared():
                    self._sign.show_spared()
                case EraseFilm(recording):
                    self._camera.do(action)
                    self._spool.erase(recording)  # now, before anybody is told; the camera's thread does it again
                case _:
                    self._camera.do(action)
        if self._session.filming is not None and self._tick is None:
            self._tick = self._loop.call_later(_TICK_SECONDS, self._ticked)

    def _hear_clock(self, reply: ClockReply) -> None:
        local = local_now_ns()
        if self._clock.hear(reply, local):
            self._journal.write("the server's clock is another one now")
            self._do(self._session.clock_stepped())
        self._link.server_heard()
        self._do(self._session.say_again())
        offset = self._clock.offset_ns
        if offset is not None:
            self._link.send(Ready(offset, self._clock.uncertainty_ns(local)))

    def _server_ns(self) -> int:
        return self._clock.server_ns(local_now_ns()) or 0

    def _make_sign(self) -> Sign:
        display = os.environ.get("DISPLAY")
        if not display:
            raise DesktopError("no X11 display: DISPLAY is not set")
        gone = self._in_loop(lambda: self._must_end("the X server is gone"))
        sign = Sign(display, self._in_loop(self._pressed), self._in_loop(self._sign_lost), gone)
        if not sign.key_taken:
            self._journal.write("Ctrl+Alt+P belongs to another program; the click on the sign works")
        return sign

    def _in_loop(self, call: Callable[[], None]) -> Callable[[], None]:
        return lambda: self._call_soon(call)

    def _call_soon(self, call: Callable[[], None]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call)


def _only_one(path: Path) -> int:
    """A lock that lasts as long as the process: two clients on one spool would declare each other's takes ended."""
    import fcntl

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise ClientError(f"{path.parent}: another capture-client runs with this folder") from error
    return descriptor
