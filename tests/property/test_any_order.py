"""Whatever comes in, in whatever order: what goes out keeps the rules.

Events of three calls, two desks and changing rules are drawn at random; each effect is checked against ``oracle``, a
model of the rules of its own. ``./deploy/check --long`` draws more, and longer, histories.
"""

from __future__ import annotations

import pickle
from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, assert_never

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sipgate.core import effects as fx
from sipgate.core import events as ev
from sipgate.core.conductor import Conductor
from sipgate.core.events import Side, StreamOffer
from sipgate.core.policy import Refused
from sipgate.core.resources import RENEW_NS
from tests.core.world import shown
from tests.property.oracle import (
    DESKS,
    KEY,
    KEYS,
    PEOPLE,
    SECOND,
    START,
    Enrolled,
    Grant,
    Present,
    Rules,
    grant,
    protected,
    unidentified,
    world_parties,
    world_policy,
)

STREAMS = (
    StreamOffer("1", Side.CALLER, "192.0.2.1", 4000, ((0, "PCMU"), (101, "telephone-event"))),
    StreamOffer("0", Side.CALLEE, "192.0.2.1", 4002, ((0, "PCMU"), (101, "telephone-event"))),
)
SOON = START + 25 * SECOND + SECOND // 2
PICK = st.integers(0, 5)
WAYS = st.integers(0, 9)
OTHERS = st.sampled_from(["customer", "customer", "colleague", "bruno", "nobody", "representative", *PEOPLE])
OWNERS = st.sampled_from(["anna", "anna", "anna", "bruno", *PEOPLE])
JOINING = st.lists(
    st.tuples(st.sampled_from([Side.CALLER, Side.CALLEE, None]), st.sampled_from(list(PEOPLE))), max_size=2
)


@st.composite
def presents(draw: st.DrawFn) -> Present:
    """Who takes part: mostly an enrolled person and a customer, sometimes anybody."""
    voices = [(Side.CALLER, draw(OTHERS)), (Side.CALLEE, draw(OWNERS))]
    if draw(st.booleans()):
        voices = [(Side.CALLER, voices[1][1]), (Side.CALLEE, voices[0][1])]
    joining = draw(JOINING) if draw(st.integers(0, 3)) == 0 else []
    return (*voices, *joining)


@dataclass
class Call:
    """What the model knows of one session that was offered and permitted."""

    session: int
    connection: str
    present: Present
    grant: Grant
    answered_at_ns: int | None
    open: bool = False
    begun: bool = False
    denied: bool = False
    """Nothing of it may ever be kept: somebody protected or unknown took part, or it was private."""
    cut: bool = False
    """It may not go on, but what there is may be kept."""
    finished: bool = False
    discarded: bool = False
    film_desk: str | None = None
    """Where it may be filmed, whether it is or not."""
    filming: str | None = None
    renew_at_ns: int = 0
    filmed: set[str] = field(default_factory=set)

    @property
    def recording(self) -> str:
        return f"{self.session:032x}"

    @property
    def over(self) -> bool:
        return self.denied or self.cut

    @property
    def host(self) -> str:
        return f"s{self.session}.example"


class AnyOrder(RuleBasedStateMachine):
    """Draws events, keeps the model beside the conductor, and checks every effect."""

    def __init__(self) -> None:
        super().__init__()
        self.conductor = Conductor(b"drawn for a test")
        self.now = START
        self.law: Rules | None = None
        self.desks: dict[str, str] = {}
        self.sessions = 0
        self.calls: list[Call] = []
        self.ended: list[Call] = []
        self.uncounted: dict[str, int] = {}
        self.boots = 0
        self.moments: list[int] = []

    # --- what happens -----------------------------------------------------------------------------------------------

    @initialize(desk=st.booleans(), ruled=st.sampled_from([True, True, True, False]))
    def open_for_business(self, desk: bool, ruled: bool) -> None:
        if ruled:
            self.change_rules(Rules())
        if desk:
            self.desk_up("anna")

    @precondition(lambda self: len(self.calls) < 4)
    @rule(
        present=presents(),
        connection=st.sampled_from(["pbx", "pbx", "sbc", "stranger"]),
        answered=st.booleans(),
        way=WAYS,
    )
    def offer(self, present: Present, connection: str, answered: bool, way: int) -> None:
        now = self._tick()
        self.sessions += 1
        session = self.sessions
        permitted = self._grant(connection, present)
        parties = world_parties(present, f"s{session}.example", way)
        effects = self._handle(ev.Offered(session, connection, parties, STREAMS, now if answered else None, now))
        if permitted is None:
            assert effects == [fx.Refuse(session)]
            return
        assert effects == [fx.Open(session, STREAMS)]
        answered_at = now if answered else None
        self.calls.append(Call(session, connection, present, permitted, answered_at, film_desk=permitted.desk))

    @precondition(lambda self: len(self.calls) < 4)
    @rule(connection=st.sampled_from(["pbx", "sbc"]), way=WAYS, calling=st.booleans(), answer=st.booleans())
    def ordinary_call(self, connection: str, way: int, calling: bool, answer: bool) -> None:
        """So that histories go further than to refusals."""
        if connection == "pbx" and self.law != Rules():
            self.change_rules(Rules())
        if DESKS["anna"] not in self.desks:
            self.desk_up("anna")
        sides = ("anna", "customer") if calling else ("customer", "anna")
        before = len(self.calls)
        self.offer(tuple(zip(Side, sides, strict=True)), connection, answered=False, way=way)
        if len(self.calls) > before:
            self._open(self.calls[-1])
            if answer:
                self._answer(self.calls[-1])

    @precondition(lambda self: self.calls)
    @rule(pick=PICK, present=presents())
    def offer_a_number_in_use(self, pick: int, present: Present) -> None:
        call, now = self._picked(pick), self._tick()
        event = ev.Offered(call.session, "pbx", world_parties(present, "late.example", pick), STREAMS, None, now)
        assert self._handle(event) == [fx.Refuse(call.session)]

    @precondition(lambda self: any(not c.open for c in self.calls))
    @rule(pick=PICK)
    def opened(self, pick: int) -> None:
        opening = [c for c in self.calls if not c.open]
        self._open(opening[pick % len(opening)])

    def _open(self, call: Call) -> None:
        now = self._tick()
        call.open = True
        self._try_to_begin(call)
        effects = self._handle(ev.Opened(call.session, call.recording, now))
        self._check(effects, call)
        assert call.begun is (call.answered_at_ns is not None and not call.over)
        if call.over:
            assert call.discarded
            self._check_gone_if_ended(call, effects)

    @precondition(lambda self: any(not c.open for c in self.calls))
    @rule(pick=PICK)
    def open_failed(self, pick: int) -> None:
        opening = [c for c in self.calls if not c.open]
        call = opening[pick % len(opening)]
        effects = self._handle(ev.OpenFailed(call.session, self._tick()))
        assert effects == ([] if call in self.ended else [fx.Unavailable(call.session)])
        self._forget(call)

    @precondition(lambda self: self.calls)
    @rule(pick=PICK)
    def answered(self, pick: int) -> None:
        self._answer(self._picked(pick))

    def _answer(self, call: Call) -> None:
        now, first = self._tick(), call.answered_at_ns is None
        if first:
            call.answered_at_ns = now
            self._try_to_begin(call)
        effects = self._handle(ev.Answered(call.session, now))
        assert first or effects == []
        self._check(effects, call)
        assert call.begun or not call.open or call.over

    @precondition(lambda self: self.calls)
    @rule(pick=PICK, present=presents(), way=WAYS)
    def parties_change(self, pick: int, present: Present, way: int) -> None:
        call, now = self._picked(pick), self._tick()
        call.present = present
        self._judge(call)
        self._check(self._handle(ev.PartiesChanged(call.session, world_parties(present, call.host, way), now)), call)

    @precondition(lambda self: self.calls)
    @rule(pick=PICK, present=presents(), who=st.sampled_from(["representative", "nobody", "customer", "colleague"]))
    def somebody_joins(self, pick: int, present: Present, who: str) -> None:
        self.parties_change(pick, (*self._picked(pick).present, (list(Side)[pick % 2], who)), pick)

    @precondition(lambda self: self.calls)
    @rule(pick=PICK)
    def streams_change(self, pick: int) -> None:
        call, now = self._picked(pick), self._tick()
        self._judge(call)
        effects = self._handle(ev.StreamsChanged(call.session, STREAMS, now))
        assert effects[:1] == ([fx.Restream(call.recording, STREAMS)] if call.open else [])
        self._check(effects[1:], call)

    @precondition(lambda self: self.calls)
    @rule(pick=PICK, established=st.sampled_from([True, True, True, False]))
    def end(self, pick: int, established: bool) -> None:
        call = self._picked(pick)
        if call in self.ended:
            assert self._handle(ev.Ended(call.session, self._tick(), established)) == []
            return
        self._end(call, established=established)

    def _end(self, call: Call, *, established: bool) -> None:
        now = self._tick()
        self.ended.append(call)
        was_begun, was_over = call.begun, call.over
        call.denied |= not established or not was_begun
        call.cut = True
        effects = self._handle(ev.Ended(call.session, now, established))
        self._check(effects, call)
        self._check_gone_if_ended(call, effects)
        if was_begun and not was_over and established:
            assert call.finished
            assert not call.discarded

    @precondition(lambda self: any(c.open for c in self.calls))
    @rule(pick=PICK, own_side=st.booleans(), digits=st.sampled_from([KEY, "1" + KEY, "*", "9"]))
    def press(self, pick: int, own_side: bool, digits: str) -> None:
        call = self._picked_open(pick)
        side = call.grant.side if own_side else next(s for s in Side if s is not call.grant.side)
        already = call.denied
        effects = [
            effect
            for digit in digits
            for effect in self._digit(call, side, digit, last=digit == KEY[-1] and digits.endswith(KEY) and own_side)
        ]
        if digits.endswith(KEY) and own_side and KEYS[call.connection]:
            assert call.discarded
        elif digits == "*" or not own_side or KEYS[call.connection] is None:
            assert effects == []
        assert not already or effects == []

    def _digit(self, call: Call, side: Side, digit: str, *, last: bool) -> list[fx.Effect]:
        # "9" may complete a key whose beginning was pressed earlier: the model leaves that open.
        completes = side is call.grant.side and digit == KEY[-1] and KEYS[call.connection] is not None
        now, before = self._tick(), call.denied
        call.denied |= completes
        effects = self._handle(ev.DigitPressed(call.recording, side, digit, now))
        if completes and not last and not effects:
            call.denied = before
        self._check(effects, call)
        return effects

    def _picked_open(self, pick: int) -> Call:
        calls = [c for c in self.calls if c.open]
        return calls[pick % len(calls)]

    @precondition(lambda self: any(c.open for c in self.calls))
    @rule(pick=PICK)
    def media_failed(self, pick: int) -> None:
        call, now = self._picked_open(pick), self._tick()
        call.denied |= not call.begun
        call.cut = True
        self._check(self._handle(ev.MediaFailed(call.recording, now)), call)

    @precondition(lambda self: any(c.open for c in self.calls))
    @rule(pick=PICK)
    def private(self, pick: int) -> None:
        call, now = self._picked_open(pick), self._tick()
        call.denied = True
        self._check(self._handle(ev.PrivateCall(call.recording, now)), call)
        assert call.discarded

    @precondition(lambda self: self.uncounted)
    @rule(data=st.data(), private=st.booleans(), counted_first=st.booleans())
    def afterwards(self, data: st.DataObject, private: bool, counted_first: bool) -> None:
        recording = data.draw(st.sampled_from(sorted(self.uncounted)))
        under_way = any(c.recording == recording for c in self.calls)
        number = self.uncounted[recording]
        if private and not under_way:
            now = self._tick()
            del self.uncounted[recording]
            assert self._handle(ev.PrivateCall(recording, now)) == [fx.Discard(recording)]
            return
        if counted_first and self.law is not None:
            counted = tuple(replace(e, backlog=e.backlog + 1) if e.number == number else e for e in self.law.enrolled)
            self.change_rules(replace(self.law, enrolled=counted))
        now = self._tick()
        self.uncounted.pop(recording, None)
        assert self._handle(ev.Kept(recording, now)) == []

    @rule(who=st.sampled_from(list(DESKS)), same_boot=st.booleans())
    def desk_up(self, who: str, same_boot: bool = False) -> None:
        desk, now = DESKS[who], self._tick()
        if not same_boot or not self.boots:
            self.boots += 1
        boot = f"boot-{self.boots}"
        news = self.desks.get(desk) != boot
        self.desks[desk] = boot
        effects = self._handle(ev.WorkstationUp(desk, boot, now))
        assert news or effects == []
        for call in self._calls():
            if news and call.film_desk == desk:
                self._judge(call)
            self._check([e for e in effects if getattr(e, "recording", None) == call.recording], call)

    @rule(who=st.sampled_from([*DESKS, None]))
    def desk_down(self, who: str | None) -> None:
        now = self._tick()
        gone = set(self.desks) if who is None else {DESKS[who]}
        for desk in gone:
            self.desks.pop(desk, None)
        for call in self._calls():
            if call.filming in gone:
                call.filming = None
            if not call.over and KEYS[call.connection] is None and call.grant.desk in gone:
                # Only the film on this desk permitted it.
                self._judge(call)
        effects = self._handle(ev.WorkstationDown(None if who is None else DESKS[who], now))
        self._check_all(effects)

    @rule(
        rules=st.sampled_from(
            [
                Rules(),
                Rules(),
                Rules(readable=False),
                Rules(gate=False),
                Rules(excluded=frozenset({"representative", "second representative"})),
                Rules(excluded=frozenset({"representative", "colleague"})),
                Rules(acknowledged=frozenset({2})),
                Rules(holds={"bruno": (2,)}),
                Rules(holds={"anna": (2,), "bruno": (2,)}),
                Rules(holds={"anna": (1, 2), "bruno": (2,)}),
                Rules(connections=frozenset({"sbc"})),
                Rules(enrolled=()),
                Rules(enrolled=(Enrolled(1, ("anna",), film=True), Enrolled(3, ("bruno",), film=True))),
                Rules(enrolled=(Enrolled(2, ("anna", "bruno"), film=False, capacity=1),)),
                Rules(enrolled=(Enrolled(1, ("anna",), film=True, ends_at_ns=START + 40 * SECOND),)),
                Rules(
                    enrolled=(*Rules().enrolled[1:], Enrolled(1, ("anna",), film=True, ends_at_ns=START + 20 * SECOND))
                ),
                Rules(
                    enrolled=(Enrolled(1, ("anna",), film=True), Enrolled(3, ("bruno",), film=False, starts_at_ns=SOON))
                ),
                Rules(enrolled=(Enrolled(1, ("anna",), film=True, backlog=9),)),
            ]
        )
    )
    def change_rules(self, rules: Rules) -> None:
        now = self._tick()
        self.law = rules
        of_enrolments = {moment for e in rules.enrolled for moment in (e.starts_at_ns, e.ends_at_ns)}
        self.moments = sorted(moment for moment in of_enrolments if moment > now)
        assert world_policy(rules).exclusions or not rules.excluded
        effects_of: list[Call] = list(self._calls())
        effects = self._handle(ev.PolicyChanged(world_policy(rules), now))
        for call in effects_of:
            # One after the other, as a film that ends makes a desk free for the next.
            self._judge(call)
            self._check([e for e in effects if getattr(e, "recording", None) == call.recording], call)

    @rule(nanoseconds=st.sampled_from([SECOND, RENEW_NS, 3 * SECOND, 20 * SECOND]))
    def nothing_happens_for(self, nanoseconds: int) -> None:
        """But the deadlines, each at its time."""
        until = self.now + nanoseconds
        while (deadline := self._next_deadline()) is not None and deadline <= until:
            self.now = deadline
            self._deadline(deadline)
            assert self.conductor.handle_deadline(deadline) == []
        self.now = until
        self.moments = [moment for moment in self.moments if moment > until]  # while nobody was on the telephone

    def _next_deadline(self) -> int | None:
        wanted = [c.renew_at_ns for c in self._calls() if c.filming]
        if any(not c.over and c not in self.ended for c in self._calls()):
            wanted += self.moments[:1]
        deadline = self.conductor.next_deadline()
        assert deadline == min(wanted, default=None)
        return deadline

    def _deadline(self, late_ns: int) -> None:
        """It is ``self.now``, at which an enrolment may begin or end; the conductor hears of it at ``late_ns``."""
        elsewhere = deepcopy(self.conductor, {id(self.conductor._policy): self.conductor._policy})
        effects = self.conductor.handle_deadline(late_ns)
        renewals = [e for e in effects if isinstance(e, fx.RenewFilm)]
        rest = effects[: len(effects) - len(renewals)]
        assert elsewhere.handle(ev.WorkstationDown("nobody's", late_ns)) == rest, "an event brings the same with it"
        if self.now in self.moments:
            self.moments.remove(self.now)
            for call in self._calls():
                self._judge(call)
                self._check([e for e in rest if getattr(e, "recording", None) == call.recording], call)
        else:
            assert rest == []
        due = [c for c in self._calls() if c.filming and c.renew_at_ns <= late_ns]
        for call in due:
            call.renew_at_ns = late_ns + RENEW_NS
        assert renewals == [fx.RenewFilm(c.recording, c.filming) for c in due if c.filming]

    @rule(session=st.integers(1, 40), way=WAYS)
    def late(self, session: int, way: int) -> None:
        """Nothing that comes of a session that is over, or never was, does anything: but the wish that it be erased."""
        if any(c.session == session for c in self.calls) or f"{session:032x}" in self.uncounted:
            return
        recording, now = f"{session:032x}", self._tick()
        parties = world_parties([(Side.CALLER, "customer"), (Side.CALLEE, "anna")], "late.example", way)
        events: list[ev.Event] = [
            ev.Opened(session, recording, now),
            ev.OpenFailed(session, now),
            ev.Answered(session, now),
            ev.PartiesChanged(session, parties, now),
            ev.StreamsChanged(session, STREAMS, now),
            ev.DigitPressed(recording, Side.CALLEE, "9", now),
            ev.MediaFailed(recording, now),
            ev.PrivateCall(recording, now),
            ev.Kept(recording, now),
            ev.Ended(session, now),
        ]
        event = events[way % len(events)]
        erased = [fx.Discard(recording)] if isinstance(event, ev.PrivateCall) else []
        assert self._handle(event) == erased

    # --- the model --------------------------------------------------------------------------------------------------

    def _tick(self) -> int:
        """A second passes; the deadlines in it come late, at its end."""
        until = self.now + SECOND
        while self.moments and self.moments[0] <= until:
            self.now = self.moments[0]
            self._deadline(until)
        self.now = until
        return until

    def _picked(self, pick: int) -> Call:
        calls = self._calls()
        return calls[pick % len(calls)]

    def _forget(self, call: Call) -> None:
        self.calls.remove(call)

    def _calls(self) -> list[Call]:
        return list(self.calls)

    def _handle(self, event: ev.Event) -> list[fx.Effect]:
        effects = self.conductor.handle(event)
        for hidden in (".example", "1426821"):
            assert hidden not in shown(event) + shown(effects)
        return effects

    def _taken(self, but: Call | None) -> Counter[int]:
        taken = Counter(self.uncounted.values())
        taken.update(c.grant.enrolment for c in self._calls() if c is not but and not c.over)
        return taken

    def _grant(self, connection: str, present: Present, of: Call | None = None) -> Grant | None:
        busy = {c.filming for c in self._calls() if c is not of}
        admitted = of.grant.enrolment if of is not None else None
        return grant(self.law, connection, present, self.now, set(self.desks) - busy, self._taken(of), admitted)

    def _judge(self, call: Call) -> None:
        """What becomes of ``call`` by the rules, now."""
        if call.denied or call in self.ended:
            return
        if protected(self.law, call.present):
            call.denied = True
            return
        now = self._grant(call.connection, call.present, call)
        if now is not None and (now.owner, now.side) == (call.grant.owner, call.grant.side):
            if call.film_desk in self.desks and now.desk != call.film_desk:
                call.film_desk = None
            return
        readable = self.law is not None and self.law.readable and self.law.gate
        configured = self.law is not None and call.connection in self.law.connections
        if not call.begun or (readable and configured and unidentified(call.present)):
            call.denied = True
        call.cut = True

    def _try_to_begin(self, call: Call) -> None:
        if not call.over and call.open and call.answered_at_ns is not None:
            self._judge(call)

    # --- what is done -----------------------------------------------------------------------------------------------

    def _check_all(self, effects: list[fx.Effect]) -> None:
        for call in self._calls():
            self._check([e for e in effects if getattr(e, "recording", None) == call.recording], call)

    def _check(self, effects: list[fx.Effect], call: Call) -> None:
        for effect in effects:
            self._check_one(effect, call)
        if call.open:
            assert call.discarded or not call.denied, "what is denied is erased at once"
            assert call.finished or call.discarded or not (call.begun and call.cut), "what is cut is finished at once"

    def _check_one(self, effect: fx.Effect, call: Call) -> None:
        match effect:
            case fx.Begin():
                self._check_begin(effect, call)
            case fx.StartFilm():
                self._check_film(effect, call)
            case fx.StopFilm():
                assert effect.workstation in call.filmed
                assert effect.ended_at_ns == self.now
                call.filming = None
            case fx.DiscardFilm():
                assert effect.workstation in call.filmed
                assert call.denied
                call.filming = None
            case fx.Finish():
                assert call.begun
                assert call.cut
                assert not call.denied
                assert not call.finished
                assert effect.ended_at_ns == self.now
                call.finished = True
                self.uncounted[call.recording] = call.grant.enrolment
            case fx.Discard():
                assert call.open
                assert call.denied
                assert not call.discarded
                call.discarded = True
                self.uncounted.pop(call.recording, None)
            case fx.Release():
                assert call in self.ended
            case (
                fx.Retell() | fx.Attach() | fx.Restream() | fx.Open() | fx.Refuse() | fx.Unavailable() | fx.RenewFilm()
            ):
                raise AssertionError("not here")
            case _:
                assert_never(effect)

    def _check_begin(self, effect: fx.Begin, call: Call) -> None:
        assert call.open
        assert not call.begun
        assert not call.over
        assert not protected(self.law, call.present)
        permitted = self._grant(call.connection, call.present, call)
        assert permitted is not None
        assert effect == fx.Begin(
            call.recording,
            call.session,
            call.connection,
            permitted.owner,
            call.grant.enrolment,
            call.answered_at_ns or 0,
            effect.workstation,
        )
        assert call.answered_at_ns is not None
        assert effect.workstation in (None, *DESKS.values())
        call.begun = True

    def _check_film(self, effect: fx.StartFilm, call: Call) -> None:
        permitted = self._grant(call.connection, call.present, call)
        assert call.begun
        assert not call.over
        assert permitted is not None
        assert permitted.desk == effect.plan.workstation
        assert effect.plan.workstation in self.desks
        assert effect.answered_at_ns == call.answered_at_ns
        assert all(c is call or c.filming != effect.plan.workstation for c in self._calls())
        call.filming, call.renew_at_ns = effect.plan.workstation, self.now + RENEW_NS
        call.filmed.add(effect.plan.workstation)

    def _check_gone_if_ended(self, call: Call, effects: list[fx.Effect]) -> None:
        released = effects.count(fx.Release(call.session))
        assert released == (call in self.ended and call.open)
        if released:
            assert call.finished or call.discarded
            self._forget(call)

    # --- always -----------------------------------------------------------------------------------------------------

    @invariant()
    def refused_and_denied_calls_leave_no_memory(self) -> None:
        state: dict[str, Any] = {
            k: v for k, v in vars(self.conductor).items() if k not in {"_policy", "_moments", "_handlers"}
        }
        memory = pickle.dumps(state)
        known = {c.host.encode() for c in self._calls() if not c.denied}
        for session in range(1, self.sessions + 1):
            host = f"s{session}.example".encode()
            assert host not in memory or host in known
        assert b"late.example" not in memory
        if not known:
            assert b"1426821" not in memory

    @invariant()
    def the_conductor_shows_nobody(self) -> None:
        text = "".join(map(shown, (self.conductor, self.conductor._policy, self.conductor._calls)))
        for hidden in (".example", "1426821", "2001"):
            assert hidden not in text

    @invariant()
    def every_call_under_way_is_one_that_was_permitted(self) -> None:
        assert self.conductor.calls_under_way == len(self.calls)

    def teardown(self) -> None:
        for call in self._calls():
            if not call.open:
                self._open(call)
            if call not in self.ended:
                self._end(call, established=True)
        assert not self.calls
        assert self.conductor.calls_under_way == 0
        assert self.conductor.next_deadline() is None


@pytest.mark.timeout(600)  # half a minute alone; several on a machine that does much else
class TestAnyOrder(AnyOrder.TestCase):  # type: ignore[misc,valid-type]  # made by Hypothesis at run time
    settings = settings(max_examples=200, stateful_step_count=45)


@pytest.mark.long
@pytest.mark.timeout(3600)
class TestAnyOrderAtLength(AnyOrder.TestCase):  # type: ignore[misc,valid-type]  # as above
    settings = settings.get_profile("long")


def test_a_refusal_tells_nothing_of_the_call() -> None:
    assert not any("identit" in name for name in Refused.__slots__)
