"""A small company for the tests of what decides: its people, lines, workstations and a representative."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sipgate.core import effects as fx
from sipgate.core import events as ev
from sipgate.core.conductor import Conductor
from sipgate.core.events import Party, Side, StreamOffer
from sipgate.core.lines import SelectorSet, identities_of, parse_selector
from sipgate.core.policy import Connection, Enrolment, FilmPlan, Holder, Policy

ANNA, BRUNO = 1, 2
ANNAS_FILM, SOUND, BRUNOS_FILM = 11, 12, 13
DESK = "desk-anna"
PLAN = FilmPlan(DESK, "class=Crm", 8)
CUSTOMER = "sip:+33612345678@carrier.example"
STRANGER = "sip:+33698765432@carrier.example"
ANNAS_LINE = "sip:2001@pbx.example"
BRUNOS_LINE = "sip:2002@pbx.example"
COLLEAGUE = "sip:3001@pbx.example"
REPRESENTATIVE = "sip:2100@pbx.example"
KEY = "**9"

STREAMS = (
    StreamOffer("1", Side.CALLER, "192.0.2.1", 4000, ((0, "PCMU"), (101, "telephone-event"))),
    StreamOffer("0", Side.CALLEE, "192.0.2.1", 4002, ((8, "PCMA"), (101, "telephone-event"))),
)

SECOND = 1_000_000_000
DAY = 86_400 * SECOND
NOW = 20_000 * DAY


def shown(value: object) -> str:
    """All that a log line could show of ``value``, but for addresses in memory, whose digits mean nothing."""
    return re.sub(r"\b0x[0-9a-f]+", "0x", f"{value!r} {value}")


def lines(*texts: str) -> SelectorSet:
    return SelectorSet(parse_selector(t, "FR") for t in texts)


def party(side: Side | None, *uris: str) -> Party:
    return Party(side, frozenset(i for uri in uris for i in identities_of(uri, "FR")))


def call_between(caller: str, callee: str, *others: str) -> tuple[Party, ...]:
    return (party(Side.CALLER, caller), party(Side.CALLEE, callee), *(party(None, o) for o in others))


FILM_ENROLMENT = Enrolment(
    ANNAS_FILM, lines("2001"), NOW - DAY, NOW + DAY, capacity=10, backlog=0, trainee=ANNA, film=PLAN
)
SOUND_ENROLMENT = Enrolment(SOUND, lines("2000-2999"), NOW - DAY, NOW + DAY, capacity=10, backlog=0)
ANNA_HOLDS = Holder(ANNA, lines("2001", "+33142682001"), acknowledged=True)
BRUNO_HOLDS = Holder(BRUNO, lines("2002", "+33142682002"), acknowledged=True)
NO_KEY = Connection("sbc", None)
WITH_KEY = Connection("pbx", KEY)

POLICY = Policy(
    exclusions=lines("2100", "+33142682100"),
    exclusions_readable=True,
    gate_open=True,
    enrolments=(FILM_ENROLMENT,),
    holders=(ANNA_HOLDS, BRUNO_HOLDS),
    connections={"sbc": NO_KEY, "pbx": WITH_KEY},
)
"""Anna's calls on 2001 may be filmed; ``pbx`` passes telephone keys, ``sbc`` does not; 2100 is protected."""

SOUND_POLICY = replace(POLICY, enrolments=(SOUND_ENROLMENT,))
"""The sound of 2000-2999 may be recorded."""


def with_enrolment(policy: Policy = POLICY, **changes: Any) -> Policy:
    """``policy`` whose first enrolment differs."""
    return replace(policy, enrolments=(replace(policy.enrolments[0], **changes), *policy.enrolments[1:]))


class Company:
    """A conductor under a policy, and a clock that moves a second with every event."""

    def __init__(self, policy: Policy | None = POLICY, workstations: Iterable[str] = (DESK,)) -> None:
        self.conductor = Conductor(b"drawn for a test")
        self.now = NOW
        if policy is not None:
            self.policy(policy)
        for workstation in workstations:
            self.up(workstation)

    def _handle(self, event: ev.Event) -> list[fx.Effect]:
        return self.conductor.handle(event)

    def tick(self, seconds: float = 1.0) -> int:
        self.now += round(seconds * SECOND)
        return self.now

    def policy(self, policy: Policy) -> list[fx.Effect]:
        return self._handle(ev.PolicyChanged(policy, self.tick()))

    def up(self, workstation: str = DESK, boot: str = "boot-1") -> list[fx.Effect]:
        return self._handle(ev.WorkstationUp(workstation, boot, self.tick()))

    def down(self, workstation: str | None = DESK) -> list[fx.Effect]:
        return self._handle(ev.WorkstationDown(workstation, self.tick()))

    def offered(
        self,
        session: int = 1,
        parties: tuple[Party, ...] | None = None,
        connection: str = "sbc",
        answered_at_ns: int | None = None,
        *,
        half: bool = False,
        keys: str | None = None,
        story_keys: str = "",
        streams: tuple[StreamOffer, ...] = STREAMS,
        later: bool = False,
    ) -> list[fx.Effect]:
        """``keys`` and ``story_keys``: words; without them the call has a key of its own."""
        parties = call_between(CUSTOMER, ANNAS_LINE) if parties is None else parties
        own = frozenset([f"call-id-{session}"] if keys is None else keys.split())
        belongs, now = frozenset(story_keys.split()), self.tick()
        return self._handle(
            ev.Offered(session, connection, parties, streams, answered_at_ns, now, own, half, belongs, later)
        )

    def keys(self, session: int, keys: str, story_keys: str = "") -> list[fx.Effect]:
        own, belongs = frozenset(keys.split()), frozenset(story_keys.split())
        return self._handle(ev.KeysChanged(session, own, belongs, self.tick()))

    def opened(self, session: int = 1, recording: str | None = None) -> list[fx.Effect]:
        return self._handle(ev.Opened(session, recording or name(session), self.tick()))

    def open_failed(self, session: int = 1) -> list[fx.Effect]:
        return self._handle(ev.OpenFailed(session, self.tick()))

    def answered(self, session: int = 1) -> list[fx.Effect]:
        return self._handle(ev.Answered(session, self.tick()))

    def parties(self, parties: tuple[Party, ...], session: int = 1) -> list[fx.Effect]:
        return self._handle(ev.PartiesChanged(session, parties, self.tick()))

    def streams(self, streams: tuple[StreamOffer, ...] = STREAMS, session: int = 1) -> list[fx.Effect]:
        return self._handle(ev.StreamsChanged(session, streams, self.tick()))

    def ended(self, session: int = 1, *, established: bool = True) -> list[fx.Effect]:
        return self._handle(ev.Ended(session, self.tick(), established))

    def digits(self, digits: str, side: Side = Side.CALLEE, session: int = 1) -> list[fx.Effect]:
        return [
            effect
            for digit in digits
            for effect in self._handle(ev.DigitPressed(name(session), side, digit, self.tick()))
        ]

    def media_failed(self, session: int = 1) -> list[fx.Effect]:
        return self._handle(ev.MediaFailed(name(session), self.tick()))

    def private(self, session: int = 1) -> list[fx.Effect]:
        return self._handle(ev.PrivateCall(name(session), self.tick()))

    def kept(self, session: int = 1) -> list[fx.Effect]:
        return self._handle(ev.Kept(name(session), self.tick()))

    def recording(self, session: int = 1, connection: str = "sbc", **offer: Any) -> list[fx.Effect]:
        """A call is offered, opened and answered; gives what the answer led to."""
        self.offered(session, connection=connection, **offer)
        self.opened(session)
        return self.answered(session)


def name(session: int) -> str:
    """The recording of ``session``."""
    return f"{session:032x}"
