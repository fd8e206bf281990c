"""All calls at once: events in, effects out, deadlines. The only state in core.

``handle(event)`` takes the time from the event; ``next_deadline()`` and ``handle_deadline(now_ns)`` renew the leases of
films, and see to it that nothing goes on past an enrolment. Every permitted call is decided again at every change of
parties, streams, policy or reach, and whenever an enrolment begins or ends; deny wins (``policy``), and what then
happens is the table of ``call``. Such a moment is handled as of itself, however late the deadline or the next event
comes: what is kept ends with its enrolment to the nanosecond.

A call that is refused leaves nothing here, not even its session number (but see ``join`` for what denies). One that was
permitted and is then denied keeps its session number until the tap no longer sees it, since its ports are freed then,
but nothing of who takes part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, assert_never

from sipgate.core import effects as fx
from sipgate.core import events as ev
from sipgate.core.call import FORGOTTEN, UNDER_WAY, Action, Call, Input, State, keyed_by, step
from sipgate.core.halves import STRANGER, Halves
from sipgate.core.join import RACE_NS, Denial, Joined, Joins
from sipgate.core.policy import (
    Decision,
    Permitted,
    Policy,
    Protected,
    Surroundings,
    decide,
    denies,
    is_stranger,
    moments_of,
)
from sipgate.core.resources import Desks, Places


class Conductor:
    """Decides for all calls. Not thread-safe: ``service`` calls it from one place."""

    def __init__(self, pepper: bytes) -> None:
        """``pepper``: random bytes of this process alone, for what ``join`` remembers."""
        self._joins = Joins(pepper)
        self._policy: Policy | None = None
        self._moments: tuple[int, ...] = ()  # at which enrolments of the policy begin or end, those to come, in order
        self._calls: dict[int, Call] = {}
        self._named: dict[str, Call] = {}  # by recording
        self._places, self._desks, self._halves = Places(), Desks(), Halves()
        self._handlers: dict[type[Any], Callable[[Any], Iterator[fx.Effect]]] = {
            ev.Offered: self._offered,
            ev.Opened: self._opened,
            ev.OpenFailed: self._open_failed,
            ev.Answered: self._answered,
            ev.PartiesChanged: self._parties_changed,
            ev.KeysChanged: self._keys_changed,
            ev.StreamsChanged: self._streams_changed,
            ev.Ended: self._ended,
            ev.DigitPressed: self._digit_pressed,
            ev.MediaFailed: self._media_failed,
            ev.PrivateCall: lambda event: self._not_this_call(event.recording, event.at_ns),
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
        self.forget(event.at_ns)
        return [*self._pass_moments(event.at_ns), *self._handlers[type(event)](event)]

    def forget(self, now_ns: int) -> None:
        """Drop what may no longer be remembered of calls that are over. Call it every second."""
        self._joins.forget(now_ns)

    def next_deadline(self) -> int | None:
        """When ``handle_deadline`` wants to be called (ns, the events' clock), or None."""
        wanted = [c.renew_at_ns for c in self._calls.values() if c.filming]
        wanted += [until] if (until := self._halves.deadline()) is not None else []
        if self._moments and any(c.state in UNDER_WAY for c in self._calls.values()):
            wanted.append(self._moments[0])
        return min(wanted, default=None)

    def handle_deadline(self, now_ns: int) -> list[fx.Effect]:
        """End what may not go on; renew the leases that are due."""
        effects = list(self._pass_moments(now_ns))
        for session in self._halves.given_up(now_ns):
            if self._calls[session].permit == STRANGER:  # whom nobody names, nobody can identify
                effects += self._deny(self._joins.of(session), Denial.STORY, now_ns)
            effects += self._happen(session, Input.LOST, now_ns)
        return [*effects, *self._desks.renew(self._calls.values(), now_ns)]

    def _pass_moments(self, now_ns: int) -> Iterator[fx.Effect]:
        while self._moments and self._moments[0] <= now_ns:
            moment, self._moments = self._moments[0], self._moments[1:]
            yield from self._decide_all_again(moment)

    # --- the tap's events -------------------------------------------------------------------------------------------

    def _offered(self, event: ev.Offered) -> Iterator[fx.Effect]:
        if event.session in self._calls or self._joins.knows(event.session):
            yield fx.Refuse(event.session)
            return
        joined = self._joins.meet(event.keys, event.story_keys)
        decision = self._decide_offer(event, joined)
        stranger = event.named_later and is_stranger(decision)
        if denies(decision) and not stranger and (event.streams or isinstance(decision, Protected)):
            self._joins.deny(joined, Denial.STORY, unseen=True)
        alike = [] if joined.denied else self._recorded_alike(event, joined)
        half = self._halves.other(alike, event)
        if joined.denied:
            self._joins.deny(joined, Denial.CALL)
            yield from [fx.Refuse(event.session)] if event.streams else []
        elif half is not None or not event.streams:
            self._joins.watch(joined, event.session, event.parties)
            yield from self._halves.pair(half, event) if half is not None else ()
        elif stranger:
            yield from self._admit(event, joined, STRANGER)
        elif alike or not isinstance(decision, Permitted):
            self._joins.show(joined, event.parties)
            yield fx.Refuse(event.session)
        else:
            yield from self._admit(event, joined, decision)
        yield from self._joined(joined, event.at_ns, admitted=event.session)
        for call in alike:
            yield from self._answer(call, event.answered_at_ns or self._halves.answer(call, event.at_ns))

    def _decide_offer(self, event: ev.Offered, joined: Joined, of: Call | None = None) -> Decision:
        return self._decide(event.connection, (*event.parties, *joined.others), keyed_by(event), event.at_ns, of)

    def _recorded_alike(self, event: ev.Offered, joined: Joined) -> list[Call]:
        """The sessions of this call that are recorded for the owner whose recording this one would be."""
        calls = [c for s in sorted(joined.sessions) if (c := self._calls[s]).state in UNDER_WAY]
        decided = ((c, self._decide_offer(event, joined, c)) for c in calls)
        return [c for c, decision in decided if isinstance(decision, Permitted) and decision.owner == c.permit.owner]

    def _recorded_for(self, owner: int, joined: Joined) -> bool:
        return any(owner == c.permit.owner for s in joined.sessions if (c := self._calls[s]).state in UNDER_WAY)

    def _admit(self, event: ev.Offered, joined: Joined, permit: Permitted) -> Iterator[fx.Effect]:
        answered, evidence = event.answered_at_ns, joined.answered_at_ns
        if answered is None and evidence is not None and event.at_ns - evidence <= RACE_NS:
            answered = event.at_ns
        call = Call(event.session, event.connection, event.parties, keyed_by(event), permit, answered)
        if event.half or permit == STRANGER:
            call.answered_at_ns = None
            self._halves.wait(call, event, answered is not None)
        self._calls[event.session] = call
        self._joins.add(joined, event.session)
        self._places.take(call)
        yield fx.Open(event.session, event.streams)

    def _joined(self, joined: Joined, at_ns: int, admitted: int | None = None) -> Iterator[fx.Effect]:
        """Something has become known of a call: decide again; deny wins. ``admitted`` has just been decided upon."""
        for session in sorted(joined.sessions - {admitted}):
            yield from self._decide_again(self._calls[session], at_ns)
        yield from self._strike(joined, at_ns)
        for recording, story in self._joins.renamed():
            yield fx.Retell(recording, story)

    def _deny(self, joined: Joined, denial: Denial, at_ns: int) -> Iterator[fx.Effect]:
        self._joins.deny(joined, denial)
        yield from self._strike(joined, at_ns)

    def _strike(self, joined: Joined, at_ns: int) -> Iterator[fx.Effect]:
        sessions, over = self._joins.strike(joined)
        for session in sessions:
            yield from self._happen(session, Input.DENIED, at_ns)
        for recording in over:
            yield from self._discard(recording)
        self._joins.settle(joined, at_ns)

    def _opened(self, event: ev.Opened) -> Iterator[fx.Effect]:
        call = self._calls.get(event.session)
        if call is None or call.recording is not None:
            return
        second = self._halves.second(call)
        call.recording = event.recording
        self._named[event.recording] = call
        yield from self._step(call, Input.OPENED, event.at_ns)
        yield from self._halves.opened(call)
        if call.answered_at_ns is not None:
            yield from self._try_to_begin(call, event.at_ns)
        if second is not None and call.state not in UNDER_WAY:
            self._joins.ended(second, event.at_ns)
            yield fx.Refuse(second)

    def _open_failed(self, event: ev.OpenFailed) -> Iterator[fx.Effect]:
        call = self._calls.get(event.session)
        second = self._halves.second(call) if call is not None else None
        yield from self._happen(event.session, Input.OPEN_FAILED, event.at_ns)
        if second is not None:
            self._joins.ended(second, event.at_ns)
            yield fx.Unavailable(second)

    def _answered(self, event: ev.Answered) -> Iterator[fx.Effect]:
        if event.session in self._calls:
            yield from self._answer(self._calls[event.session], event.at_ns)
        elif self._joins.knows(event.session):  # a tap that sees the signalling alone: all that wait for it
            joined = self._joins.of(event.session)
            joined.answered_at_ns = event.at_ns
            for session in sorted(joined.sessions):
                yield from self._answer(self._calls[session], event.at_ns)

    def _answer(self, call: Call, at_ns: int | None) -> Iterator[fx.Effect]:
        if at_ns is not None and self._halves.alone(call):
            self._halves.answered(call)
        elif at_ns is not None and call.answered_at_ns is None:
            call.answered_at_ns = at_ns
            yield from self._try_to_begin(call, at_ns)

    def _parties_changed(self, event: ev.PartiesChanged) -> Iterator[fx.Effect]:
        if not self._joins.knows(event.session):
            return
        joined, call = self._joins.of(event.session), self._calls.get(event.session)
        connection = call.connection if call is not None else ""
        decision = self._decide(connection, event.parties, frozenset(), event.at_ns)
        waits = call is not None and call.permit == STRANGER and is_stranger(decision)
        if denies(decision) and not waits:
            self._joins.deny(joined, Denial.STORY)
        elif call is None:
            self._joins.watch(joined, event.session, () if joined.denial else event.parties)
        elif call.state not in FORGOTTEN:
            call.parties = event.parties
        yield from self._joined(joined, event.at_ns)

    def _keys_changed(self, event: ev.KeysChanged) -> Iterator[fx.Effect]:
        if self._joins.knows(event.session):
            yield from self._joined(self._joins.meet(event.keys, event.story_keys, event.session), event.at_ns)

    def _streams_changed(self, event: ev.StreamsChanged) -> Iterator[fx.Effect]:
        call = self._calls.get(event.session) or self._halves.first(event.session)
        if call is not None:
            yield from self._halves.restream(call, event.session, event.streams)
            yield from self._decide_again(call, event.at_ns)

    def _ended(self, event: ev.Ended) -> Iterator[fx.Effect]:
        first = self._halves.first(event.session)
        session = first.session if first is not None else event.session
        yield from self._happen(session, Input.ENDED if event.established else Input.FAILED, event.at_ns)
        self._joins.ended(event.session, event.at_ns)

    # --- events about a recording -----------------------------------------------------------------------------------

    def _digit_pressed(self, event: ev.DigitPressed) -> Iterator[fx.Effect]:
        # Keys pressed just before the hangup are heard after it.
        call = self._named.get(event.recording)
        if call is None:
            call = self._places.kept(event.recording)
        elif call.state in FORGOTTEN:
            return
        if call is not None and call.hears(event.side, event.digit):
            yield from self._not_this_call(event.recording, event.at_ns)

    def _media_failed(self, event: ev.MediaFailed) -> Iterator[fx.Effect]:
        if event.recording in self._named:
            yield from self._step(self._named[event.recording], Input.LOST, event.at_ns)

    def _not_this_call(self, recording: str, at_ns: int) -> Iterator[fx.Effect]:
        joined = self._joins.of_recording(recording)
        call = self._named.get(recording)
        if joined is None and call is not None:
            joined = self._joins.of(call.session)
        if joined is not None:
            yield from self._deny(joined, Denial.CALL, at_ns)
        else:
            # Pressed during the call, heard long after its end, when a broker or this server was back. Who may say it
            # of this recording was checked where it was heard (workstations).
            yield from self._discard(recording)

    def _discard(self, recording: str) -> Iterator[fx.Effect]:
        self._places.uncount(recording)
        self._joins.erased(recording)
        yield fx.Discard(recording)

    def _kept(self, event: ev.Kept) -> Iterator[fx.Effect]:
        self._places.uncount(event.recording)
        yield from ()

    # --- events about the world -------------------------------------------------------------------------------------

    def _workstation_up(self, event: ev.WorkstationUp) -> Iterator[fx.Effect]:
        rebooted = self._desks.up(event.workstation, event.boot)
        for call in list(self._calls.values()):
            if rebooted and call.permit.film is not None and call.permit.film.workstation == event.workstation:
                yield from self._decide_again(call, event.at_ns)
                yield from self._desks.start(call, event.at_ns)

    def _workstation_down(self, event: ev.WorkstationDown) -> Iterator[fx.Effect]:
        gone = self._desks.down(event.workstation)
        for call in list(self._calls.values()):
            plan = call.permit.film
            if plan is None or plan.workstation not in gone:
                continue
            self._desks.lapse(call)  # sound goes on only where a telephone key can stop it (R11)
            if call.permit.telephone_key is None:
                yield from self._step(call, Input.LOST, event.at_ns)

    def _policy_changed(self, event: ev.PolicyChanged) -> Iterator[fx.Effect]:
        self._policy = event.policy
        self._moments = moments_of(event.policy, event.at_ns)
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
        of: Call | None = None,
    ) -> Decision:
        admitted = of.permit.enrolment if of is not None else None  # its own place is among those taken
        around = Surroundings(self._desks.free_for(of), self._places.taken, admitted, keyed)
        return decide(self._policy, connection, parties, at_ns, around)

    def _decide_again(self, call: Call, at_ns: int) -> Iterator[fx.Effect]:
        if call.state in FORGOTTEN:
            return
        joined = self._joins.of(call.session)
        decision = self._decide(call.connection, (*call.parties, *joined.others), call.keyed, at_ns, call)
        match decision:
            case _ if call.permit == STRANGER and is_stranger(decision):
                pass  # its parties are to be named yet
            case Permitted() if call.permit == STRANGER and not self._recorded_for(decision.owner, joined):
                yield from self._named_now(call, decision, at_ns)
            case Permitted() if (decision.owner, decision.side) == (call.permit.owner, call.permit.side):
                yield from self._still_permitted(call, decision, at_ns)
            case _ if denies(decision):
                yield from self._deny(joined, Denial.STORY, at_ns)
            case _:
                yield from self._step(call, Input.LOST, at_ns)

    def _named_now(self, call: Call, permit: Permitted, at_ns: int) -> Iterator[fx.Effect]:
        self._places.give_back(call)
        call.permit = permit
        self._places.take(call)
        self._halves.complete(call)
        yield from self._answer(call, self._halves.answer(call, at_ns))

    def _still_permitted(self, call: Call, decision: Permitted, at_ns: int) -> Iterator[fx.Effect]:
        """The sound goes on; the film too, unless its enrolment is what has gone."""
        plan = call.permit.film
        keeps = plan is not None and (decision.film == plan or not self._desks.is_up(plan.workstation))
        if plan is not None and not keeps:
            yield from self._desks.end(call, fx.StopFilm, at_ns)
        call.permit = replace(decision, enrolment=call.permit.enrolment, film=plan if keeps else None)

    # --- stepping ---------------------------------------------------------------------------------------------------

    def _happen(self, session: int, happened: Input, at_ns: int) -> Iterator[fx.Effect]:
        if session in self._calls:
            yield from self._step(self._calls[session], happened, at_ns)

    def _try_to_begin(self, call: Call, at_ns: int) -> Iterator[fx.Effect]:
        # Since the offer an enrolment may have ended, or another call may have taken the workstation.
        yield from self._decide_again(call, at_ns)
        yield from self._step(call, Input.ANSWERED, at_ns)

    def _step(self, call: Call, happened: Input, at_ns: int) -> Iterator[fx.Effect]:
        before = call.state
        call.state, actions = step(before, happened)
        if before in UNDER_WAY and call.state not in UNDER_WAY:
            self._places.give_back(call)
        if call.state in FORGOTTEN:
            call.parties = ()
        for action in actions:
            yield from self._act(call, action, at_ns)
        if call.state in FORGOTTEN and self._places.kept(call.recording or "") is None:
            call.digits = ""
        if call.state is State.GONE:
            self._calls.pop(call.session, None)
            self._named.pop(call.recording or "", None)
            self._joins.ended(call.session, at_ns)
            self._halves.gone(call)

    def _act(self, call: Call, action: Action, at_ns: int) -> Iterator[fx.Effect]:
        recording = call.recording or ""
        match action:
            case Action.UNAVAILABLE:
                yield fx.Unavailable(call.session)
            case Action.BEGIN:
                yield from self._begin(call, recording, at_ns)
            case Action.FINISH:
                self._places.keep(recording, call)
                yield from self._desks.end(call, fx.StopFilm, at_ns)
                yield fx.Finish(recording, at_ns)
            case Action.ERASE:
                yield from self._desks.end(call, fx.DiscardFilm, at_ns)
                yield from self._discard(recording)
            case Action.RELEASE:
                yield fx.Release(call.session)
            case _:
                assert_never(action)

    def _begin(self, call: Call, recording: str, at_ns: int) -> Iterator[fx.Effect]:
        permit, answered = call.permit, call.answered_at_ns or at_ns
        workstation = permit.film.workstation if permit.film else None
        story = self._joins.recorded(call.session, recording)
        yield fx.Begin(
            recording, call.session, call.connection, permit.owner, permit.enrolment, answered, workstation, story
        )
        yield from self._desks.start(call, at_ns)
