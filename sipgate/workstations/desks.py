"""What the workstations have said, and what of it is believed. No loop, no socket, no clock: time is an argument.

A report is believed when it came on the topic of the workstation that signed it, with the key that the register holds
for it, and:

* ``ClockProbe`` is answered, whatever boot it is of: an answer to what was replayed helps nobody;
* ``Ready`` makes its boot the *current* one, if that boot's latest probe plus the offset is now (see
  ``capture_client.protocol``): commands are bound to the current boot;
* ``FilmState`` and ``Acknowledged`` must be of the current boot, newer than all before, about a recording that was
  started on this workstation;
* ``Presence`` off line must be of the current boot. It may be older than others: a Last Will is signed beforehand;
* ``NotThisCall`` need only be about a recording that was started on this workstation: said again it means the same,
  and a wish for privacy is not lost to formalities.

Anything else is dropped and counted by a word that names no one.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from capture_client import protocol
from capture_client.protocol import Binding, ProtocolViolation, Report
from sipgate.core.events import PrivateCall, WorkstationDown, WorkstationUp
from sipgate.errors import SipgateError

FRESH_NS = protocol.COMMAND_LIFETIME_NS
"""How far a boot's own reckoning of the server's time may be off: more, and it is an old recording of it."""
MAXIMUM_UNCERTAINTY_NS = 500_000_000
_MAXIMUM_PAYLOAD = 16 * 1024
_MAXIMUM_TEXT = 64
_BOOTS = 8


@dataclass(frozen=True, slots=True)
class WorkstationStatus:
    """What health shows of a workstation. ``offset_ns`` = server's clock - workstation's, None until it is known."""

    name: str
    online: bool
    ready: bool
    offset_ns: int | None
    uncertainty_ns: int | None
    film: str
    heard_at_ns: int


@dataclass(frozen=True, slots=True)
class ClockAsked:
    """A probe to be answered at once, to the boot that sent it. ``t1``: when it came."""

    workstation: str
    boot: str
    t0: int
    t1: int


@dataclass(frozen=True, slots=True)
class FilmReported:
    """What a camera, or the obedience to a command, says about a recording."""

    recording: str
    report: protocol.FilmState | protocol.Acknowledged


Heard = WorkstationUp | WorkstationDown | PrivateCall | ClockAsked | FilmReported


@dataclass(slots=True)
class _Boot:
    counter: int = -1
    probe: tuple[int, int] | None = None
    """t0 on the workstation's clock, and when it came on the server's."""


@dataclass(slots=True)
class _Desk:
    online: bool = False
    ready: bool = False
    boot: str = ""
    boots: OrderedDict[str, _Boot] = field(default_factory=OrderedDict)
    offset_ns: int | None = None
    uncertainty_ns: int | None = None
    film: str = ""
    heard_at_ns: int = 0
    commanded: int = 0

    def known_boot(self, boot: str) -> _Boot:
        """The memory of this boot; the oldest other one is forgotten when there are many."""
        found = self.boots.setdefault(boot, _Boot())
        self.boots.move_to_end(boot)
        if self.boot in self.boots:
            self.boots.move_to_end(self.boot)
        while len(self.boots) > _BOOTS:
            self.boots.popitem(last=False)
        return found


class Desks:
    """All workstations that have ever been heard of by this process."""

    def __init__(self, workstation_key: Callable[[str], bytes | None], filmed_by: Callable[[str], str | None]) -> None:
        """``workstation_key``: the raw Ed25519 key that the register holds for a name. ``filmed_by``: on which
        workstation a recording was started."""
        self._key = workstation_key
        self._filmed_by = filmed_by
        self._desks: dict[str, _Desk] = {}
        self.dropped: Counter[str] = Counter()
        """How many messages were not believed, by reason."""

    def receive(self, topic: str, payload: bytes, at_ns: int, *, retained: bool = False) -> list[Heard]:
        """Take one message that came at ``at_ns`` (server's clock); what follows from it. Never raises."""
        try:
            name, report, binding = self._verified(topic, payload)
            return list(self._believed(name, report, binding, at_ns, retained=retained))
        except ProtocolViolation as reason:
            self.dropped[str(reason)] += 1
        except SipgateError:
            self.dropped["register unavailable"] += 1
        return []

    def silent(self, now_ns: int) -> list[Heard]:
        """Whoever has said nothing for SILENCE_SECONDS is down: call it every second."""
        oldest = now_ns - int(protocol.SILENCE_SECONDS * 1e9)
        return [heard for name, d in self._desks.items() if d.heard_at_ns < oldest for heard in _down(name, d, now_ns)]

    def lost(self) -> None:
        """The broker is out of reach, so all of them are."""
        for desk in self._desks.values():
            desk.online = desk.ready = False

    def bind(self, workstation: str, now_ns: int, boot: str | None = None) -> Binding | None:
        """The binding of the next command to the current boot (or to ``boot``); None when none is known to be ready.

        Counters are times, so that they go on rising when this process is started again and the workstation is not.
        """
        desk = self._desks.get(workstation)
        if desk is None or (boot is None and not desk.ready):
            return None
        desk.commanded = max(desk.commanded + 1, now_ns)
        return Binding(workstation, boot or desk.boot, desk.commanded, now_ns + protocol.COMMAND_LIFETIME_NS)

    def states(self) -> list[WorkstationStatus]:
        """All of them, by name."""
        return [
            WorkstationStatus(name, d.online, d.ready, d.offset_ns, d.uncertainty_ns, d.film, d.heard_at_ns)
            for name, d in sorted(self._desks.items())
        ]

    # --- what is believed -----------------------------------------------------------------------------------------

    def _verified(self, topic: str, payload: bytes) -> tuple[str, Report, Binding]:
        levels = topic.split("/")
        if len(levels) != 3 or len(payload) > _MAXIMUM_PAYLOAD:
            raise ProtocolViolation("malformed")
        name = levels[1]
        key = self._key(name) if protocol.report_sender(payload) == name else None
        if key is None:
            raise ProtocolViolation("stranger")
        report, binding = protocol.open_report(payload, Ed25519PublicKey.from_public_bytes(key))
        if binding.workstation != name:
            raise ProtocolViolation("stranger")
        if not (_sane(report) and _sane(binding)):
            raise ProtocolViolation("malformed")
        return name, report, binding

    def _believed(self, name: str, report: Report, binding: Binding, at_ns: int, *, retained: bool) -> Iterator[Heard]:
        desk = self._desks.setdefault(name, _Desk())
        if isinstance(report, protocol.Presence):
            yield from self._presence(name, desk, report, binding, at_ns, retained=retained)
            return
        if retained:
            raise ProtocolViolation("retained")
        if isinstance(report, protocol.NotThisCall):
            self._must_film(name, report.recording)
            yield PrivateCall(report.recording, at_ns)
            return
        boot = self._newer(desk, binding)
        if isinstance(report, protocol.ClockProbe):
            boot.probe = (report.t0, at_ns)
            self._heard(desk, binding, at_ns)
            yield ClockAsked(name, binding.boot, report.t0, at_ns)
        elif isinstance(report, protocol.Ready):
            yield from self._ready(name, desk, report, binding, at_ns)
        else:
            if binding.boot != desk.boot:
                raise ProtocolViolation("another boot")
            self._must_film(name, report.recording)
            self._heard(desk, binding, at_ns)
            if isinstance(report, protocol.FilmState):
                desk.film = report.state
            yield FilmReported(report.recording, report)

    def _presence(
        self, name: str, desk: _Desk, report: protocol.Presence, binding: Binding, at_ns: int, *, retained: bool
    ) -> Iterator[Heard]:
        if report.online:
            if not retained:
                self._newer(desk, binding)
            desk.online = True
        elif desk.boot in ("", binding.boot):
            yield from _down(name, desk, at_ns)
            desk.online = False
        else:
            raise ProtocolViolation("another boot")

    def _ready(self, name: str, desk: _Desk, report: protocol.Ready, binding: Binding, at_ns: int) -> Iterator[Heard]:
        probe = desk.known_boot(binding.boot).probe
        if probe is None or abs(probe[0] + report.offset_ns - probe[1]) > FRESH_NS or at_ns - probe[1] > FRESH_NS:
            raise ProtocolViolation("stale")
        if not 0 <= report.uncertainty_ns <= MAXIMUM_UNCERTAINTY_NS:
            raise ProtocolViolation("uncertain")
        if binding.boot != desk.boot:
            yield from _down(name, desk, at_ns)
            desk.boot, desk.film = binding.boot, ""
        desk.offset_ns, desk.uncertainty_ns = report.offset_ns, report.uncertainty_ns
        desk.online, desk.heard_at_ns = True, at_ns
        if not desk.ready:
            desk.ready = True
            yield WorkstationUp(name, binding.boot, at_ns)

    @staticmethod
    def _newer(desk: _Desk, binding: Binding) -> _Boot:
        boot = desk.known_boot(binding.boot)
        if binding.counter <= boot.counter:
            raise ProtocolViolation("replayed")
        boot.counter = binding.counter
        return boot

    @staticmethod
    def _heard(desk: _Desk, binding: Binding, at_ns: int) -> None:
        if binding.boot == desk.boot:
            desk.heard_at_ns = at_ns

    def _must_film(self, name: str, recording: str) -> None:
        if self._filmed_by(recording) != name:
            raise ProtocolViolation("not filmed there")


def _down(name: str, desk: _Desk, at_ns: int) -> Iterator[Heard]:
    if desk.ready:
        desk.ready = desk.online = False
        desk.film = ""
        yield WorkstationDown(name, at_ns)


def _sane(message: Report | Binding) -> bool:
    """No longer than what the real client sends."""
    texts = (getattr(message, part.name) for part in fields(message))
    return all(len(text) <= _MAXIMUM_TEXT for text in texts if isinstance(text, str))
