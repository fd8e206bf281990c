"""What this workstation may film, and when it must not: (command | tick | event, now) -> actions. No I/O, no clock.

``now_ns`` is always the server's time as measured (``clock.ServerClock``); None while it is not known yet, and then
nothing but the measuring of the clock is obeyed.

::

              arm                    start (armed, key, sign)            pause / resume
    nothing ───────▶ armed ─────────────────────────────▶ filming ◀──────────────────▶ paused
       ▲   disarm      │                                     │
       │   ◀───────────┘          stop, newer start          │ lease over, sign lost, camera failed, clock stepped
       │   ◀─────────────────────────────────────────────────┤
       │   stop, discard                                     ▼
       └───────────────────────────────────────────────── unfilmed   (the call lives on; the stop key still reaches it)

From every state, ``discard`` and the person's "not this call" lead to nothing, with what was filmed destroyed.

Decided here:

- One film at a time. A newer call's start ends the former film: what the window shows from then on is the newer
  caller's, and has no place in the former recording.
- A recording that was stopped, discarded or taken back is never filmed again, whatever is sent. After a lost lease it
  may be: the call may have gone on.
- ``EndFilm(ended_at_ns=None)`` keeps only what the server has confirmed to lie before any hangup.
- "Not this call" is said again until the server's ``discard`` shows that it was heard: it stops the sound too.
- Pressed while no call is known, the key spares the next call (R11: before or during the call).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import deque
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from capture_client.protocol import (
    LEASE_SECONDS,
    MINIMUM_FRAMES_PER_SECOND,
    Acknowledged,
    Application,
    Arm,
    Binding,
    ClockReply,
    Command,
    Disarm,
    Discard,
    NotThisCall,
    Pause,
    ProtocolViolation,
    Renew,
    Report,
    Resume,
    Start,
    Stop,
    check,
    open_command,
)

MAXIMUM_FRAMES_PER_SECOND = 30
MAXIMUM_UNCERTAINTY_NS = 250_000_000
"""With a clock known worse than this, nobody can say which frames lie before the hangup: nothing is filmed."""
SPARED_NS = 120_000_000_000
"""How long a key pressed before a call waits for that call."""
_RECORDING = re.compile(r"[0-9a-f]{32}")
_FORGOTTEN = 256
_SAID_AGAIN = 60
"""How often: with the clock's replies, every two seconds."""


# --- actions: what the shell carries out, in order -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ArmCamera:
    """Find the application's windows; capture nothing."""

    recording: str
    application: Application
    frames_per_second: int
    public_key: bytes


@dataclass(frozen=True, slots=True)
class DisarmCamera:
    """Let go of the windows."""

    recording: str


@dataclass(frozen=True, slots=True)
class StartCamera:
    """Film what was armed, once the sign is on the screen."""

    recording: str
    answered_at_ns: int


@dataclass(frozen=True, slots=True)
class ConfirmFilm:
    """What was filmed up to ``until_ns`` lies before any hangup: it may leave this workstation."""

    recording: str
    until_ns: int


@dataclass(frozen=True, slots=True)
class PauseCamera:
    """Drop what was filmed after ``at_ns``; a blank picture until resumed."""

    recording: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class ResumeCamera:
    """Film again, beginning with a keyframe."""

    recording: str


@dataclass(frozen=True, slots=True)
class EndFilm:
    """Stop. Keep what lies before ``ended_at_ns``; None: only what is confirmed. ``state`` is the report's word."""

    recording: str
    ended_at_ns: int | None
    state: str


@dataclass(frozen=True, slots=True)
class EraseFilm:
    """Stop, and destroy all that was filmed of this recording."""

    recording: str


@dataclass(frozen=True, slots=True)
class ShowSign:
    """The sign on the screen: filming, or paused."""

    paused: bool


@dataclass(frozen=True, slots=True)
class HideSign:
    """No film any more."""


@dataclass(frozen=True, slots=True)
class ShowSpared:
    """Tell the person that the next call will not be recorded."""


@dataclass(frozen=True, slots=True)
class HearClock:
    """A reply for ``clock.ServerClock``."""

    reply: ClockReply


@dataclass(frozen=True, slots=True)
class Send:
    """Report to the server."""

    report: Report


@dataclass(frozen=True, slots=True)
class Note:
    """A line for the local journal: which check a command failed. Never anything about a call."""

    check: str


Action = (
    ArmCamera
    | DisarmCamera
    | StartCamera
    | ConfirmFilm
    | PauseCamera
    | ResumeCamera
    | EndFilm
    | EraseFilm
    | ShowSign
    | HideSign
    | ShowSpared
    | HearClock
    | Send
    | Note
)


@dataclass(slots=True)
class _Film:
    recording: str
    lease_until_ns: int
    paused: bool = False


@dataclass(slots=True)
class Session:
    """One run of the client: its boot id, the commands' counter, and the call at hand."""

    workstation: str
    boot: str
    command_key: Ed25519PublicKey
    _last_counter: int = -1
    _armed: str | None = None
    _film: _Film | None = None
    _unfilmed: str | None = None
    _spared_until_ns: int = 0
    _unheard: dict[str, int] = field(default_factory=dict)
    _gone: deque[str] = field(default_factory=lambda: deque(maxlen=_FORGOTTEN))

    @property
    def filming(self) -> str | None:
        """The recording being filmed or paused."""
        return self._film.recording if self._film else None

    def receive(self, payload: bytes, now_ns: int | None, uncertainty_ns: int) -> list[Action]:
        """An envelope arrived. What fails a check is ignored, and noted."""
        try:
            command, binding = open_command(payload, self.command_key)
            self._check(command, binding, now_ns)
            self._last_counter = binding.counter
            if isinstance(command, ClockReply):
                return [HearClock(command)]
            if now_ns is None:
                raise ProtocolViolation("clock not known yet")
            if not _RECORDING.fullmatch(command.recording):
                raise ProtocolViolation("field recording")
            actions = self._obey(command, now_ns, uncertainty_ns)
        except ProtocolViolation as refused:
            return [Note(str(refused))]
        detail = "filming" if self.filming == command.recording else ""
        return [*actions, Send(Acknowledged(command.VERB, binding.counter, command.recording, now_ns, detail))]

    def _check(self, command: Command, binding: Binding, now_ns: int | None) -> None:
        # A clock's reply shows its age by the probe that it answers, and must be heard when our clock is wrong.
        timeless = isinstance(command, ClockReply) or now_ns is None
        check(
            binding,
            workstation=self.workstation,
            boot=self.boot,
            last_counter=self._last_counter,
            server_now_ns=binding.not_after_ns if timeless or now_ns is None else now_ns,
        )

    def _obey(self, command: Command, now_ns: int, uncertainty_ns: int) -> list[Action]:
        match command:
            case Arm():
                return self._arm(command, now_ns)
            case Start():
                return self._start(command, now_ns, uncertainty_ns)
            case Renew():
                return self._renew(command, now_ns)
            case Pause() | Resume():
                return self._pause(command, now_ns)
            case Stop():
                return self._stop(command, now_ns)
            case Discard():
                self._unheard.pop(command.recording, None)
                return self._erase(command.recording)
            case Disarm():
                return self._disarm(command.recording)
        raise ProtocolViolation("unknown verb")

    # --- commands ---------------------------------------------------------------------------------------------------

    def _arm(self, command: Arm, now_ns: int) -> list[Action]:
        application = Application.parse(command.application)
        if not MINIMUM_FRAMES_PER_SECOND <= command.frames_per_second <= MAXIMUM_FRAMES_PER_SECOND:
            raise ProtocolViolation("frames per second")
        try:
            public_key = base64.b64decode(command.public_key, validate=True)
        except (ValueError, binascii.Error) as error:
            raise ProtocolViolation("recording's key") from error
        if len(public_key) != 32:
            raise ProtocolViolation("recording's key")
        self._allow(command.recording)
        if self.filming == command.recording:
            raise ProtocolViolation("already filming")
        if now_ns < self._spared_until_ns:
            self._spared_until_ns = 0
            self._gone.append(command.recording)
            return [self._not_this_call(command.recording)]
        self._armed = command.recording
        return [ArmCamera(command.recording, application, command.frames_per_second, public_key)]

    def _start(self, command: Start, now_ns: int, uncertainty_ns: int) -> list[Action]:
        self._allow(command.recording)
        if self._armed != command.recording:
            raise ProtocolViolation("start without arm")
        lease_ns = _lease_ns(command.lease_seconds)
        if uncertainty_ns > MAXIMUM_UNCERTAINTY_NS:
            raise ProtocolViolation("clock too uncertain")
        if command.answered_at_ns > now_ns + uncertainty_ns:
            raise ProtocolViolation("answered in the future")
        actions: list[Action] = []
        if self._film is not None:
            actions.append(EndFilm(self._film.recording, command.answered_at_ns, "stopped"))
            self._gone.append(self._film.recording)
        self._armed = self._unfilmed = None
        self._film = _Film(command.recording, now_ns + lease_ns)
        return [*actions, ShowSign(paused=False), StartCamera(command.recording, command.answered_at_ns)]

    def _renew(self, command: Renew, now_ns: int) -> list[Action]:
        film, lease_ns = self._film, _lease_ns(command.lease_seconds)
        if film is None or film.recording != command.recording:
            return []  # the film ended by itself, which was reported; the server may not have heard yet
        lived_at_ns = min(command.at_ns, now_ns)
        film.lease_until_ns = max(film.lease_until_ns, (lived_at_ns or now_ns) + lease_ns)
        return [ConfirmFilm(command.recording, lived_at_ns)] if lived_at_ns > 0 else []

    def _pause(self, command: Pause | Resume, now_ns: int) -> list[Action]:
        if self._film is None or self._film.recording != command.recording:
            return []
        paused = isinstance(command, Pause)
        if paused == self._film.paused:
            return []
        self._film.paused = paused
        if paused:
            return [PauseCamera(command.recording, min(command.at_ns, now_ns)), ShowSign(paused=True)]
        return [ShowSign(paused=False), ResumeCamera(command.recording)]

    def _stop(self, command: Stop, now_ns: int) -> list[Action]:
        filming = self.filming == command.recording
        actions = self._disarm(command.recording)
        self._forget(command.recording)
        if not filming:
            return actions
        return [EndFilm(command.recording, min(command.ended_at_ns, now_ns), "stopped"), HideSign()]

    def _disarm(self, recording: str) -> list[Action]:
        if self._armed != recording:
            return []
        self._armed = None
        return [DisarmCamera(recording)]

    def _erase(self, recording: str) -> list[Action]:
        hide: list[Action] = [HideSign()] if self.filming == recording else []
        actions = self._disarm(recording)
        self._forget(recording)
        return [*actions, EraseFilm(recording), *hide]

    # --- what happens here ------------------------------------------------------------------------------------------

    def tick(self, now_ns: int) -> list[Action]:
        """Time went by: the lease may be over."""
        if self._film is None or now_ns < self._film.lease_until_ns:
            return []
        return self._end_by_itself("lease-expired")

    def camera_failed(self, recording: str) -> list[Action]:
        """The camera cannot go on."""
        return self._end_by_itself("failed") if self.filming == recording else []

    def sign_lost(self) -> list[Action]:
        """The sign is not on the screen any more: no sign, no film (R9)."""
        return self._end_by_itself("indicator-lost") if self._film else []

    def clock_stepped(self) -> list[Action]:
        """The server's clock is another one now: the film's timeline would be wrong."""
        return self._end_by_itself("failed") if self._film else []

    def leave(self) -> list[Action]:
        """The client is told to end."""
        return self._end_by_itself("stopped") if self._film else []

    def not_this_call(self, now_ns: int | None) -> list[Action]:
        """The person's key or click. No reason asked, nothing noted, nothing counted."""
        recording = self.filming or self._unfilmed or self._armed
        if recording is not None:
            return [*self._erase(recording), self._not_this_call(recording)]
        if now_ns is None:
            return []
        self._spared_until_ns = now_ns + SPARED_NS
        return [ShowSpared()]

    def say_again(self) -> list[Action]:
        """What the server has not shown to have heard."""
        self._unheard = {recording: left - 1 for recording, left in self._unheard.items() if left}
        return [Send(NotThisCall(recording)) for recording in self._unheard]

    def _not_this_call(self, recording: str) -> Send:
        self._unheard[recording] = _SAID_AGAIN
        return Send(NotThisCall(recording))

    def _end_by_itself(self, state: str) -> list[Action]:
        if self._film is None:
            return []
        recording, self._film = self._film.recording, None
        self._unfilmed = recording
        return [EndFilm(recording, None, state), HideSign()]

    def _allow(self, recording: str) -> None:
        if recording in self._gone:
            raise ProtocolViolation("over")

    def _forget(self, recording: str) -> None:
        if recording not in self._gone:
            self._gone.append(recording)
        if self.filming == recording:
            self._film = None
        if self._unfilmed == recording:
            self._unfilmed = None


def _lease_ns(seconds: float) -> int:
    if not 0 < seconds <= LEASE_SECONDS:
        raise ProtocolViolation("lease")
    return int(seconds * 1e9)
