"""Carries core's effects to the parts, and the parts' events to core. It decides nothing.

All of it happens in the event loop's thread, but for what waits on a disk (keys, crash ledger, the receiver's tail),
which goes to worker threads, in order for each recording (``lanes``), and erasures, which wait for nobody
(``erasing``). Events from other threads come in by ``post``.

What a crash must not lose is written before it is needed: the recording's key before its ports are opened; the ledger
entry when recording begins. A crash before the entry is written leaves a key and a folder that nobody claims, and
``recovery`` erases those: failing closed.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import structlog

from capture_client.protocol import LEASE_SECONDS
from sipgate.core import effects as fx
from sipgate.core import events as ev
from sipgate.core.conductor import Conductor
from sipgate.errors import ErasedError, MediaError, StoreError
from sipgate.media.receiver import Receiver, Silent
from sipgate.service.clock import SteadyClock
from sipgate.service.ended import EndedCall
from sipgate.service.erasing import Eraser
from sipgate.service.lanes import Lanes
from sipgate.taps.siprec import SiprecTap
from sipgate.vault.keys import RecordingKeys
from sipgate.vault.vault import Vault, new_recording
from sipgate.workstations.link import WorkstationLink

log = structlog.get_logger("sipgate")

LEASE_NS = int(LEASE_SECONDS * 1e9)

CUT_WAIT_SECONDS = 600.0
"""How long what was cut (silence, a failed disk, no key in reach) waits for the end of its session before it is
journalled. Until the session ends it can be denied all the same: then it is erased, and the journal says so. As long
waits the session of an erased call. Then we end the session: its client may have vanished without a word."""


class Afterwards(Protocol):
    """Who takes over when a call has ended (``finishing.Finishing``)."""

    def expect(self, call: EndedCall) -> None:
        """This call has ended; its film may still come."""

    def finish(self, call: EndedCall) -> None:
        """Its sound is on the disk: keep this call's recording."""

    def filmed_by(self, recording: str) -> str | None:
        """The workstation that filmed this ended call, while its film may still come."""

    def retell(self, recording: str, story: str) -> None:
        """It belongs to another story than was said. Must not block."""

    def forget(self, recording: str, *, expired: bool = False) -> None:
        """It is erased, or being erased: take it out of the index, if it is there. Must not block."""


@dataclass(slots=True)
class _Live:
    """One recording whose session is still being observed."""

    session: int
    keys: RecordingKeys
    begun: EndedCall | None = None
    film: fx.StartFilm | None = None
    lived_at_ns: int = 0
    erased: bool = False


class Stage:
    """Core's hands. ``start`` must have been called before the first event."""

    def __init__(
        self,
        clock: SteadyClock,
        vault: Vault,
        receiver: Receiver,
        link: WorkstationLink,
        afterwards: Afterwards,
    ) -> None:
        self._clock, self._vault, self._receiver, self._link = clock, vault, receiver, link
        self._afterwards = afterwards
        self._conductor = Conductor(secrets.token_bytes(32))
        self._tap: SiprecTap | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._eraser = Eraser(vault, receiver.discard)
        self._disk = Lanes()
        self._live: dict[str, _Live] = {}
        self._recording_of: dict[int, str] = {}
        self._cut: dict[str, EndedCall] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.refusals = 0
        self.open_failures = 0
        self._carriers: dict[type[Any], Callable[[Any], None]] = {
            fx.Open: self._open,
            fx.Refuse: self._refuse,
            fx.Unavailable: self._unavailable,
            fx.Begin: self._begin,
            fx.Retell: self._retell,
            fx.Restream: self._restream,
            fx.Attach: self._attach,
            fx.StartFilm: self._start_film,
            fx.RenewFilm: self._renew_film,
            fx.StopFilm: lambda e: self._link.stop_film(e.recording, e.workstation, e.ended_at_ns),
            fx.DiscardFilm: lambda e: self._link.discard_film(e.recording, e.workstation),
            fx.Finish: self._finish,
            fx.Discard: self._discard,
            fx.Release: self._release,
        }

    def start(self, tap: SiprecTap) -> None:
        """Take the tap and the running loop."""
        self._tap, self._loop = tap, asyncio.get_running_loop()

    def stop(self) -> None:
        """Wait for the disk; carry out nothing more."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop = None  # ports that are opened from here on begin nothing: their keys are erased at the next start
        self._disk.stop()
        self._eraser.stop()

    @property
    def calls_under_way(self) -> int:
        """How many permitted calls are observed now."""
        return self._conductor.calls_under_way

    @property
    def erasures_owed(self) -> int:
        """How many decided erasures the disk has not let happen."""
        return self._eraser.owed

    def erase_again(self) -> None:
        """Try again what could not be erased, and forget what may not be remembered any more; every second. Does not
        block."""
        self._eraser.again()
        self._conductor.forget(self._clock())

    def expire(self, recording: str) -> None:
        """It has been kept for as long as it may be: erase it (R14)."""
        self._eraser.erase(recording)
        self._afterwards.forget(recording, expired=True)

    def filmed_by(self, recording: str) -> str | None:
        """The workstation that may upload film of a recording under way."""
        live = self._live.get(recording)
        return live.begun.workstation if live is not None and live.begun is not None else None

    # --- events in --------------------------------------------------------------------------------------------------

    def post(self, event: ev.Event | Silent) -> None:
        """Give an event from any thread; it is handled in the loop, in order of posting."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._take, event)

    def when_handled(self, then: Callable[[], None]) -> None:
        """Call ``then`` (in the loop's thread) when every event posted before has been handled."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(then)

    def _take(self, event: ev.Event | Silent) -> None:
        if isinstance(event, Silent):
            live = self._live.get(event.recording)
            if live is not None:
                # The sound is over, the session is not: whoever joins it, or objects, can still deny all of it.
                self.handle(ev.MediaFailed(event.recording, event.at_ns))
            return
        self.handle(event)

    def handle(self, event: ev.Event) -> None:
        """Let core handle an event, here and now, and carry out what it says. In the loop's thread only."""
        self._carry_out(self._conductor.handle(event))

    def _carry_out(self, effects: list[fx.Effect]) -> None:
        for effect in effects:
            self._carriers[type(effect)](effect)
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._conductor.next_deadline()
        if deadline is not None and self._loop is not None:
            delay = max(0.0, (deadline - self._clock()) / 1e9)
            self._timer = self._loop.call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._carry_out(self._conductor.handle_deadline(self._clock()))

    # --- effects out ------------------------------------------------------------------------------------------------

    def _to_disk(self, recording: str, work: Callable[[], Any], then: Callable[[asyncio.Future[Any]], None]) -> None:
        if self._loop is not None:
            self._loop.run_in_executor(self._disk.of(recording), work).add_done_callback(then)

    def _open(self, effect: fx.Open) -> None:
        recording = new_recording()

        def work() -> tuple[RecordingKeys, tuple[int, ...]]:
            keys = self._vault.create(recording)
            folder = self._vault.folder(recording)
            return keys, self._receiver.open(recording, effect.streams, keys.data_key, folder)

        if self._loop is not None:
            opening = self._loop.run_in_executor(self._disk.opening, work)
            opening.add_done_callback(lambda done: self._opened(effect.session, recording, done))

    def _opened(
        self, session: int, recording: str, done: asyncio.Future[tuple[RecordingKeys, tuple[int, ...]]]
    ) -> None:
        error = done.exception()
        if isinstance(error, StoreError | MediaError):
            self.open_failures += 1
            log.error("a call could not be recorded", reason=str(error))
            self._eraser.erase(recording)
            self.handle(ev.OpenFailed(session, self._clock()))
            return
        keys, ports = done.result()
        self._live[recording] = _Live(session, keys)
        self._recording_of[session] = recording
        # First, so that sound is kept from the answer on before the peer knows where to send it.
        self.handle(ev.Opened(session, recording, self._clock()))
        if self._tap is not None:
            self._tap.accept(session, ports)

    def _refuse(self, effect: fx.Refuse) -> None:
        self.refusals += 1  # one aggregate for every reason; never a line in a log (R12)
        if self._tap is not None:
            self._tap.refuse(effect.session)

    def _unavailable(self, effect: fx.Unavailable) -> None:
        if self._tap is not None:
            self._tap.unavailable(effect.session)

    def _begin(self, effect: fx.Begin) -> None:
        live = self._live[effect.recording]
        live.begun = EndedCall(
            effect.recording,
            effect.owner,
            effect.enrolment,
            effect.workstation,
            effect.answered_at_ns,
            None,
            effect.story,
        )
        self._receiver.begin(effect.recording, effect.answered_at_ns)
        self._write_entry(live.begun)

    def _write_entry(self, call: EndedCall) -> None:
        self._to_disk(
            call.recording,
            lambda: self._vault.ledger_put(call.recording, call.entry()),
            lambda done: self._ledger_written(call.recording, done),
        )

    def _retell(self, effect: fx.Retell) -> None:
        live = self._live.get(effect.recording)
        if live is not None and live.begun is not None and live.begun.ended_at_ns is None:
            live.begun = replace(live.begun, story=effect.story)
            self._write_entry(live.begun)
        else:
            self._afterwards.retell(effect.recording, effect.story)

    def _ledger_written(self, recording: str, done: asyncio.Future[None]) -> None:
        error = done.exception()
        if isinstance(error, StoreError) and not isinstance(error, ErasedError):
            log.error("the crash ledger cannot be written: the recording stops", reason=str(error))
            self.handle(ev.MediaFailed(recording, self._clock()))

    def _restream(self, effect: fx.Restream) -> None:
        live = self._live.get(effect.recording)
        if live is None or self._tap is None:
            return
        session = live.session if effect.session is None else effect.session
        try:
            ports = self._receiver.restream(effect.recording, effect.streams)
        except MediaError as error:
            if live.erased or (live.begun is not None and live.begun.ended_at_ns is not None):
                return  # nothing listens any more, and no line may say so (R12); the tap answers by itself
            log.error("a changed session cannot be received", reason=str(error))
            self._tap.unavailable(session)
            return
        self._tap.restreamed(session, ports[effect.first : effect.last])

    def _attach(self, effect: fx.Attach) -> None:
        live = self._live.get(effect.recording)
        if live is None or self._tap is None:
            return
        try:
            ports = self._receiver.restream(effect.recording, effect.streams)
        except MediaError as error:
            log.error("the other half of a call cannot be received: nothing of it is kept", reason=str(error))
            self._tap.unavailable(effect.session)
            self.post(ev.Ended(effect.session, self._clock(), False))  # both: the tap has forgotten this one
            return
        self._tap.accept(effect.session, ports[effect.first :])

    def _start_film(self, effect: fx.StartFilm) -> None:
        live = self._live[effect.recording]
        live.film, live.lived_at_ns = effect, self._clock()
        self._link.start_film(effect.recording, effect.plan, live.keys.film_public, effect.answered_at_ns)

    def _renew_film(self, effect: fx.RenewFilm) -> None:
        """A lease runs from the last packet that was heard, not from now: an SRC that vanished without a BYE ends the
        film within the lease (R2). Heard again after a longer silence, the film begins a new take."""
        live = self._live[effect.recording]
        lived_at_ns = self._receiver.heard_at_ns(effect.recording) or self._clock()
        lapsed = lived_at_ns - live.lived_at_ns > LEASE_NS
        live.lived_at_ns = max(live.lived_at_ns, lived_at_ns)
        if lapsed and live.film is not None:
            self._start_film(live.film)
        else:
            self._link.renew_film(effect.recording, effect.workstation, live.lived_at_ns)

    def _finish(self, effect: fx.Finish) -> None:
        live = self._live[effect.recording]
        if live.begun is None or self._tap is None:
            return
        live.begun = call = replace(live.begun, ended_at_ns=effect.ended_at_ns)
        self._afterwards.expect(call)
        metadata = self._tap.metadata(live.session)

        def work() -> None:
            try:
                self._receiver.finish(effect.recording, effect.ended_at_ns)
                self._vault.ledger_put(effect.recording, call.entry())
                self._vault.write_sealed(effect.recording, "metadata.sealed", metadata)
            except StoreError:
                self._vault.folder(effect.recording)  # ErasedError: denied meanwhile, its folder went under our hands
                raise

        self._to_disk(call.recording, work, lambda done: self._finished(call, done))

    def _finished(self, call: EndedCall, done: asyncio.Future[None]) -> None:
        error = done.exception()
        live = self._live.get(call.recording)
        if isinstance(error, ErasedError) or self._eraser.owes(call.recording) or (live is not None and live.erased):
            return
        if isinstance(error, StoreError):
            log.error("the end of a recording cannot be written in full", reason=str(error))
        if live is not None:
            # Cut while the call goes on: until its end it may still be denied, so it must not yet be journalled. But a
            # session whose BYE never comes must not hold it back, and its ports, for ever.
            self._cut[call.recording] = call
            self._wait(call.recording)
        else:
            self._afterwards.finish(call)

    def _wait(self, recording: str) -> None:
        if self._loop is not None:
            self._loop.call_later(CUT_WAIT_SECONDS, self._wait_no_longer, recording)

    def _wait_no_longer(self, recording: str) -> None:
        """Nothing more comes of these sessions. A client that vanished over UDP would never end them: they would take
        up capacity, and who took part would be known here, until the next start."""
        for session in [session for session, name in self._recording_of.items() if name == recording]:
            if self._tap is not None:
                self._tap.end(session)
        call = self._cut.pop(recording, None)
        if call is not None:
            self._to_disk(recording, lambda: self._receiver.release(recording), _say_store_error)
            self._afterwards.finish(call)

    def _discard(self, effect: fx.Discard) -> None:
        self._eraser.erase(effect.recording)  # before all else: nothing that fails may come before it
        # A ledger entry or metadata being written at this moment lands after it: ciphertext that nothing opens any
        # more, but a file. What the recording's lane was given so far is done when this runs.
        self._to_disk(effect.recording, lambda: self._eraser.erase(effect.recording), _say_store_error)
        live = self._live.get(effect.recording)
        if live is not None:
            live.erased = True
            self._wait(effect.recording)
        else:  # "not this call" after its end, or after a restart: core knows nothing of its film, so it is said here
            filmed_by = self._afterwards.filmed_by(effect.recording) or self._link.filmed_by(effect.recording)
            if filmed_by is not None:
                self._link.discard_film(effect.recording, filmed_by)
        self._cut.pop(effect.recording, None)
        self._afterwards.forget(effect.recording)

    def _release(self, effect: fx.Release) -> None:
        recording = self._recording_of.pop(effect.session, None)
        if recording is not None:
            self._live.pop(recording, None)
            self._to_disk(recording, lambda: self._receiver.release(recording), _say_store_error)
            if recording in self._cut:
                self._afterwards.finish(self._cut.pop(recording))


def _say_store_error(done: asyncio.Future[None]) -> None:
    error = done.exception()
    if isinstance(error, StoreError):
        log.error("a session's end could not be carried out in full", reason=str(error))
    elif error is not None:
        raise error
