"""All calls at once: events in, effects out, deadlines. The only state in core.

``handle(event)`` takes the time from the event; ``next_deadline()`` and ``handle_deadline(now_ns)`` renew the leases of
films, and see to it that nothing goes on past an enrolment. Every permitted call is decided again at every change of
parties, streams, policy or reach, and whenever an enrolment begins or ends; deny wins (``policy``), and what then
happens is the table of ``call``. Such a moment is handled as of itself, however late the deadline or the next event
comes: what is kept ends with its enrolment to the nanosecond.

A call that is refused leaves nothing here, not even its session number. One that was permitted and is then denied keeps
its session number until the tap no longer sees it, since its ports are freed then, but nothing of who takes part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, assert_never

from sipgate.core import effects as fx
from sipgate.core import events as ev
from sipgate.core.call import Action, Input, State, step
from sipgate.core.policy import (
    Decision,
    FilmPlan,
    Permitted,
    Policy,
    Protected,
    Reason,
    Refused,
    Surroundings,
    decide,
)

_K = TypeVar("_K")

TELEPHONE_EVENT = "telephone-event"
"""RFC 4733 §2.4."""

RENEW_NS = 1_500_000_000
"""How often a film's lease (5 s) is renewed: two renewals may be lost."""

_DENIES_ALL = frozenset({Reason.UNIDENTIFIED})
"""Refusals in mid-call after which nothing may remain: whoever joined could be protected."""

_UNDER_WAY = frozenset({State.OPENING, State.WAITING, State.RECORDING})
"""Something of the call is being, or may yet be, recorded."""

_FORGOTTEN = frozenset({State.DOOMED, State.ABANDONED, State.SPENT, State.GONE})
"""Nothing of the call will be kept: it is not decided again, and who takes part is no longer known here."""


@dataclass(slots=True)
class _Call:
    """One permitted call.

    ``filming``: the plan under which a lease is being renewed; ``filmed_on``: the workstation that may hold film of it.
    ``digits``: the last telephone keys on the owner's side, as many as the key has.
    """

    session: int
    connection: str
    parties: tuple[ev.Party, ...] = field(repr=False)
    keyed: frozenset[ev.Side]
    permit: Permitted
    answered_at_ns: int | None
    state: State = State.OPENING
    recording: str | None = None
    filming: FilmPlan | None = None
    filmed_on: str | None = None
    renew_at_ns: int = 0
    digits: str = field(default="", repr=False)


def keyed_sides(streams: Iterable[ev.StreamOffer]) -> frozenset[ev.Side]:
    """The sides whose telephone keys would be heard; a mixed stream carries those of both."""
    heard = [s for s in streams if any(name.lower() == TELEPHONE_EVENT for _, name in s.payload_types)]
    return frozenset(side for s in heard for side in ([s.side] if s.side is not None else ev.Side))


def _count(table: dict[_K, int], key: _K, by: int) -> None:
    table[key] = table.get(key, 0) + by
    if not table[key]:
        del table[key]


class Conductor:
    """Decides for all calls. Not thread-safe: ``service`` calls it from one place."""

    def __init__(self) -> None:
        self._policy: Policy | None = None
        self._moments: tuple[int, ...] = ()  # at which enrolments of the policy begin or end, those to come, in order
        self._calls: dict[int, _Call] = {}
        self._workstations: dict[str, str] = {}
        self._uncounted: dict[str, _Call] = {}
        # Of all calls, kept up to date so that a decision costs the same however many there are:
        self._named: dict[str, _Call] = {}  # by recording
        self._places: dict[int, int] = {}  # taken, by enrolment: calls under way, and recordings not yet counted
        self._filming: dict[str, int] = {}  # calls being filmed, by workstation
        self._handlers: dict[type[Any], Callable[[Any], Iterator[fx.Effect]]] = {
            ev.Offered: self._offered,
            ev.Opened: self._opened,
            ev.OpenFailed: self._open_failed,
            ev.Answered: self._answered,
            ev.PartiesChanged: self._parties_changed,
            ev.StreamsChanged: self._streams_changed,
            ev.Ended: self._ended,
            ev.DigitPressed: self._digit_pressed,
            ev.MediaFailed: self._media_failed,
            ev.PrivateCall: self._private_call,
            ev.Kept: self._kept,
            ev.WorkstationUp: self._workstation_up,
            ev.WorkstationDown: self._workstation_down,
            ev.PolicyChanged: self._policy_changed,
        }

    @property
    def calls_under_way(self) -> int:
        """How many permitted calls are being observed: an aggregate for health, never more."""
        return len(self._calls)

    def handle(self, event: ev.Event) -> list[fx.Effect]:
        """Take one event, give the effects to carry out, in order."""
        return [*self._pass_moments(event.at_ns), *self._handlers[type(event)](event)]

    def next_deadline(self) -> int | None:
        """When ``handle_deadline`` wants to be called (ns, the events' clock), or None."""
        wanted = [c.renew_at_ns for c in self._calls.values() if c.filming]
        if self._moments and any(c.state in _UNDER_WAY for c in self._calls.values()):
            wanted.append(self._moments[0])
        return min(wanted, default=None)

    def handle_deadline(self, now_ns: int) -> list[fx.Effect]:
        """End what may not go on; renew the leases that are due."""
        effects = list(self._pass_moments(now_ns))
        due = [c for c in self._calls.values() if c.filming and c.renew_at_ns <= now_ns]
        for call in due:
            call.renew_at_ns = now_ns + RENEW_NS
        renewed = [fx.RenewFilm(c.recording, c.filming.workstation) for c in due if c.filming and c.recording]
        return [*effects, *renewed]

    def _pass_moments(self, now_ns: int) -> Iterator[fx.Effect]:
        while self._moments and self._moments[0] <= now_ns:
            moment, *later = self._moments
            self._moments = tuple(later)
            yield from self._decide_all_again(moment)

    # --- the tap's events -------------------------------------------------------------------------------------------

    def _offered(self, event: ev.Offered) -> Iterator[fx.Effect]:
        keyed = keyed_sides(event.streams)
        decision = self._decide(event.connection, event.parties, keyed, event.at_ns)
        if event.half or event.session in self._calls or not isinstance(decision, Permitted):
            yield fx.Refuse(event.session)
            return
        self._calls[event.session] = _Call(
            event.session, event.connection, event.parties, keyed, decision, event.answered_at_ns
        )
        _count(self._places, decision.enrolment, 1)
        yield fx.Open(event.session, event.streams)

    def _opened(self, event: ev.Opened) -> Iterator[fx.Effect]:
        call = self._calls.get(event.session)
        if call is None or call.recording is not None:
            return
        call.recording = event.recording
        self._named[event.recording] = call
        yield from self._step(call, Input.OPENED, event.at_ns)
        if call.answered_at_ns is not None:
            yield from self._try_to_begin(call, event.at_ns)

    def _open_failed(self, event: ev.OpenFailed) -> Iterator[fx.Effect]:
        yield from self._happen(event.session, Input.OPEN_FAILED, event.at_ns)

    def _answered(self, event: ev.Answered) -> Iterator[fx.Effect]:
        call = self._calls.get(event.session)
        if call is not None and call.answered_at_ns is None:
            call.answered_at_ns = event.at_ns
            yield from self._try_to_begin(call, event.at_ns)

    def _parties_changed(self, event: ev.PartiesChanged) -> Iterator[fx.Effect]:
        call = self._calls.get(event.session)
        if call is not None and call.state not in _FORGOTTEN:
            call.parties = event.parties
            yield from self._decide_again(call, event.at_ns)

    def _streams_changed(self, event: ev.StreamsChanged) -> Iterator[fx.Effect]:
        call = self._calls.get(event.session)
        if call is None:
            return
        if call.recording is not None:
            yield fx.Restream(call.recording, event.streams)
        call.keyed = keyed_sides(event.streams)
        yield from self._decide_again(call, event.at_ns)

    def _ended(self, event: ev.Ended) -> Iterator[fx.Effect]:
        yield from self._happen(event.session, Input.ENDED if event.established else Input.FAILED, event.at_ns)

    # --- events about a recording -----------------------------------------------------------------------------------

    def _digit_pressed(self, event: ev.DigitPressed) -> Iterator[fx.Effect]:
        # Keys pressed just before the hangup are heard after it.
        call = self._of_recording(event.recording)
        if call is None:
            call = self._uncounted.get(event.recording)
        elif call.state in _FORGOTTEN:
            return
        if call is None or event.side is not call.permit.side:
            return
        key = call.permit.telephone_key
        if not key:
            return
        call.digits = (call.digits + event.digit)[-len(key) :]
        if call.digits == key:
            yield from self._not_this_call(event.recording, event.at_ns)

    def _media_failed(self, event: ev.MediaFailed) -> Iterator[fx.Effect]:
        call = self._of_recording(event.recording)
        if call is not None:
            yield from self._step(call, Input.LOST, event.at_ns)

    def _private_call(self, event: ev.PrivateCall) -> Iterator[fx.Effect]:
        yield from self._not_this_call(event.recording, event.at_ns)

    def _not_this_call(self, recording: str, at_ns: int) -> Iterator[fx.Effect]:
        call = self._of_recording(recording)
        if call is not None:
            yield from self._step(call, Input.DENIED, at_ns)
        else:
            # Pressed during the call, heard after its end: at once, or when a broker or this server was back. Who may
            # say it of this recording was checked where it was heard (workstations).
            self._uncount(recording)
            yield fx.Discard(recording)

    def _kept(self, event: ev.Kept) -> Iterator[fx.Effect]:
        self._uncount(event.recording)
        yield from ()

    # --- events about the world -------------------------------------------------------------------------------------

    def _workstation_up(self, event: ev.WorkstationUp) -> Iterator[fx.Effect]:
        rebooted = self._workstations.get(event.workstation) != event.boot
        self._workstations[event.workstation] = event.boot
        for call in list(self._calls.values()):
            if rebooted and call.permit.film is not None and call.permit.film.workstation == event.workstation:
                yield from self._decide_again(call, event.at_ns)
                yield from self._start_film(call, event.at_ns)

    def _workstation_down(self, event: ev.WorkstationDown) -> Iterator[fx.Effect]:
        gone = set(self._workstations) if event.workstation is None else {event.workstation}
        for workstation in gone:
            self._workstations.pop(workstation, None)
        for call in list(self._calls.values()):
            plan = call.permit.film
            if plan is None or plan.workstation not in gone:
                continue
            # The workstation's own lease ends the film. Sound goes on only where a telephone key can stop it (R11).
            self._set_filming(call, None)
            if call.permit.telephone_key is None:
                yield from self._step(call, Input.LOST, event.at_ns)

    def _policy_changed(self, event: ev.PolicyChanged) -> Iterator[fx.Effect]:
        self._policy = event.policy
        moments = {moment for e in event.policy.enrolments for moment in (e.starts_at_ns, e.ends_at_ns)}
        self._moments = tuple(sorted(moment for moment in moments if moment > event.at_ns))
        yield from self._decide_all_again(event.at_ns)

    def _decide_all_again(self, at_ns: int) -> Iterator[fx.Effect]:
        for call in list(self._calls.values()):
            yield from self._decide_again(call, at_ns)

    # --- deciding ---------------------------------------------------------------------------------------------------

    def _decide(
        self,
        connection: str,
        parties: tuple[ev.Party, ...],
        keyed: frozenset[ev.Side],
        at_ns: int,
        of: _Call | None = None,
    ) -> Decision:
        own = of.filming.workstation if of is not None and of.filming else None
        busy = {desk for desk, calls in self._filming.items() if calls > (desk == own)}
        reachable = frozenset(self._workstations) - busy
        admitted = of.permit.enrolment if of is not None else None  # its own place is among those taken
        return decide(self._policy, connection, parties, at_ns, Surroundings(reachable, self._places, admitted, keyed))

    def _decide_again(self, call: _Call, at_ns: int) -> Iterator[fx.Effect]:
        if call.state in _FORGOTTEN:
            return
        decision = self._decide(call.connection, call.parties, call.keyed, at_ns, call)
        match decision:
            case Permitted() if (decision.owner, decision.side) == (call.permit.owner, call.permit.side):
                yield from self._still_permitted(call, decision, at_ns)
            case Protected():
                yield from self._step(call, Input.DENIED, at_ns)
            case Refused(reason) if reason in _DENIES_ALL:
                yield from self._step(call, Input.DENIED, at_ns)
            case _:
                yield from self._step(call, Input.LOST, at_ns)

    def _still_permitted(self, call: _Call, decision: Permitted, at_ns: int) -> Iterator[fx.Effect]:
        """The sound goes on; the film too, unless its enrolment is what has gone."""
        plan = call.permit.film
        keeps = plan is not None and (decision.film == plan or plan.workstation not in self._workstations)
        if plan is not None and not keeps:
            yield from self._end_film(call, fx.StopFilm, at_ns)
        call.permit = replace(decision, enrolment=call.permit.enrolment, film=plan if keeps else None)

    # --- stepping ---------------------------------------------------------------------------------------------------

    def _of_recording(self, recording: str) -> _Call | None:
        return self._named.get(recording)

    def _happen(self, session: int, happened: Input, at_ns: int) -> Iterator[fx.Effect]:
        call = self._calls.get(session)
        if call is not None:
            yield from self._step(call, happened, at_ns)

    def _try_to_begin(self, call: _Call, at_ns: int) -> Iterator[fx.Effect]:
        # Since the offer an enrolment may have ended, or another call may have taken the workstation.
        yield from self._decide_again(call, at_ns)
        yield from self._step(call, Input.ANSWERED, at_ns)

    def _step(self, call: _Call, happened: Input, at_ns: int) -> Iterator[fx.Effect]:
        before = call.state
        call.state, actions = step(before, happened)
        if before in _UNDER_WAY and call.state not in _UNDER_WAY:
            _count(self._places, call.permit.enrolment, -1)
        if call.state in _FORGOTTEN:
            call.parties = ()
        for action in actions:
            yield from self._act(call, action, at_ns)
        if call.state in _FORGOTTEN and call.recording not in self._uncounted:
            call.digits = ""
        if call.state is State.GONE:
            self._calls.pop(call.session, None)
            self._named.pop(call.recording or "", None)

    def _act(self, call: _Call, action: Action, at_ns: int) -> Iterator[fx.Effect]:
        recording = call.recording or ""
        match action:
            case Action.UNAVAILABLE:
                yield fx.Unavailable(call.session)
            case Action.BEGIN:
                yield from self._begin(call, recording, at_ns)
            case Action.FINISH:
                self._uncounted[recording] = call
                _count(self._places, call.permit.enrolment, 1)
                yield from self._end_film(call, fx.StopFilm, at_ns)
                yield fx.Finish(recording, at_ns)
            case Action.ERASE:
                self._uncount(recording)
                yield from self._end_film(call, fx.DiscardFilm, at_ns)
                yield fx.Discard(recording)
            case Action.RELEASE:
                yield fx.Release(call.session)
            case _:
                assert_never(action)

    def _begin(self, call: _Call, recording: str, at_ns: int) -> Iterator[fx.Effect]:
        permit, answered = call.permit, call.answered_at_ns or at_ns
        workstation = permit.film.workstation if permit.film else None
        yield fx.Begin(recording, call.session, call.connection, permit.owner, permit.enrolment, answered, workstation)
        yield from self._start_film(call, at_ns)

    def _start_film(self, call: _Call, at_ns: int) -> Iterator[fx.Effect]:
        plan, recording, answered_at_ns = call.permit.film, call.recording, call.answered_at_ns
        if plan is None or recording is None or answered_at_ns is None or call.state is not State.RECORDING:
            return
        if plan.workstation not in self._workstations:
            return  # when it comes back, this call is decided again
        self._set_filming(call, plan)
        call.filmed_on, call.renew_at_ns = plan.workstation, at_ns + RENEW_NS
        yield fx.StartFilm(recording, plan, answered_at_ns)

    def _set_filming(self, call: _Call, plan: FilmPlan | None) -> None:
        if call.filming is not None:
            _count(self._filming, call.filming.workstation, -1)
        if plan is not None:
            _count(self._filming, plan.workstation, 1)
        call.filming = plan

    def _uncount(self, recording: str) -> None:
        call = self._uncounted.pop(recording, None)
        if call is not None:
            _count(self._places, call.permit.enrolment, -1)

    def _end_film(self, call: _Call, how: type[fx.StopFilm] | type[fx.DiscardFilm], at_ns: int) -> Iterator[fx.Effect]:
        stopped = call.permit.film is None
        self._set_filming(call, None)
        call.permit = replace(call.permit, film=None)
        if call.filmed_on is None or call.recording is None:
            return
        if how is fx.DiscardFilm:
            yield fx.DiscardFilm(call.recording, call.filmed_on)
        elif not stopped:
            yield fx.StopFilm(call.recording, call.filmed_on, at_ns)
