"""CUCM's near and far end: a session for each voice, one recording; a half alone is never kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sipgate.core import effects as fx
from sipgate.core import events as ev
from sipgate.core.events import Party, Side, StreamOffer
from sipgate.core.halves import HALF_NS
from tests.core.world import (
    ANNA,
    ANNAS_LINE,
    CUSTOMER,
    REPRESENTATIVE,
    SECOND,
    SOUND,
    SOUND_POLICY,
    STREAMS,
    Company,
    call_between,
    name,
    with_enrolment,
)

ANNAS = call_between(CUSTOMER, ANNAS_LINE)
FAR, NEAR = (replace(stream, label="#0") for stream in STREAMS)
BOTH = (NEAR, replace(FAR, label="other #0"))
MUTE = replace(FAR, payload_types=((0, "PCMU"),))
R1 = name(1)


def half(
    company: Company, session: int, stream: StreamOffer, parties: tuple[Party, ...] = ANNAS, answered: bool = True
) -> list[fx.Effect]:
    at_ns = company.now + SECOND if answered else None
    return company.offered(session, parties, "pbx", at_ns, half=True, keys="refci", streams=(stream,))


@pytest.fixture
def company() -> Company:
    return Company(SOUND_POLICY, workstations=())


def both(company: Company) -> None:
    half(company, 1, NEAR)
    company.opened(1)
    half(company, 2, FAR)


def test_the_second_half_is_attached_to_the_first_ones_recording_and_is_the_answer(company: Company) -> None:
    assert half(company, 1, NEAR) == [fx.Open(1, (NEAR,))]
    assert company.opened(1) == []
    assert half(company, 2, FAR) == [
        fx.Attach(2, R1, BOTH, 1),
        fx.Begin(R1, 1, "pbx", ANNA, SOUND, company.now, None),
    ]
    assert company.ended(1) == [fx.Finish(R1, company.now), fx.Release(1)]
    assert company.ended(2) == []
    assert company.conductor.calls_under_way == 0


def test_the_second_may_come_before_the_first_is_open(company: Company) -> None:
    half(company, 1, NEAR)
    assert half(company, 2, FAR) == []
    answered = company.now
    assert company.opened(1) == [
        fx.Attach(2, R1, BOTH, 1),
        fx.Begin(R1, 1, "pbx", ANNA, SOUND, answered, None),
    ]


def test_either_half_ends_the_call(company: Company) -> None:
    both(company)
    assert company.ended(2) == [fx.Finish(R1, company.now), fx.Release(1)]
    assert company.ended(1) == []
    joins, halves = company.conductor._joins, company.conductor._halves
    assert (halves._first, halves._streams, joins._of) == ({}, {}, {})


def test_a_second_half_that_never_came_to_stand_erases(company: Company) -> None:
    both(company)
    assert company.ended(2, established=False) == [fx.Discard(R1), fx.Release(1)]


def test_a_half_alone_is_erased_after_some_seconds_and_the_other_one_comes_too_late(company: Company) -> None:
    half(company, 1, NEAR)
    offered = company.now
    company.opened(1)
    assert company.answered(1) == [], "half a call has no answer"
    assert company.conductor.next_deadline() == offered + HALF_NS
    assert company.conductor.handle_deadline(offered + HALF_NS) == [fx.Discard(R1)]
    assert company.conductor.next_deadline() is None
    company.now = offered + HALF_NS
    assert half(company, 2, FAR) == [fx.Open(2, (FAR,))]
    assert company.ended(1) == [fx.Release(1)]
    company.opened(2)
    assert company.ended(2) == [fx.Discard(name(2)), fx.Release(2)]


def test_a_half_that_ends_alone_leaves_nothing(company: Company) -> None:
    half(company, 1, NEAR)
    company.opened(1)
    assert company.ended(1) == [fx.Discard(R1), fx.Release(1)]
    assert company.conductor.next_deadline() is None


@pytest.mark.parametrize("order", ["first", "second", "joins the first", "joins the second"])
def test_a_protected_party_of_either_half_denies_both(company: Company, order: str) -> None:
    protected = call_between(CUSTOMER, REPRESENTATIVE)
    if order == "first":
        assert half(company, 1, NEAR, protected) == [fx.Refuse(1)]
        assert half(company, 2, FAR) == [fx.Refuse(2)]
    elif order == "second":
        half(company, 1, NEAR)
        company.opened(1)
        assert half(company, 2, FAR, protected) == [fx.Refuse(2), fx.Discard(R1)]
    else:
        both(company)
        assert company.parties(protected, 1 if order == "joins the first" else 2) == [fx.Discard(R1)]
        assert company.ended(2) == [fx.Release(1)]


def deny_or_end(company: Company, how: str) -> list[fx.Effect]:
    """Something that leaves nothing of a call to be recorded."""
    protected = call_between(CUSTOMER, REPRESENTATIVE)
    match how:
        case "the first ends":
            return company.ended(1)
        case "the second ends":
            return company.ended(2)
        case "a protected party joins the first":
            return company.parties(protected, 1)
        case "a protected party joins the second":
            return company.parties(protected, 2)
        case _:
            return company.policy(replace(SOUND_POLICY, gate_open=False))


ENDS = ["the first ends", "the second ends"]
HOW = [*ENDS, "a protected party joins the first", "a protected party joins the second", "the gate closes"]


def assert_no_half_is_known(company: Company) -> None:
    joins, halves = company.conductor._joins, company.conductor._halves
    assert (halves._first, halves._second, halves._streams, joins._of) == ({}, {}, {}, {})
    assert company.conductor.calls_under_way == 0


@pytest.mark.parametrize("how", HOW)
def test_a_second_half_is_refused_whose_first_came_to_nothing_while_it_was_opened(company: Company, how: str) -> None:
    half(company, 1, NEAR)
    assert half(company, 2, FAR) == []
    assert deny_or_end(company, how) == []
    released = [fx.Release(1)] if how in ENDS else []
    assert company.opened(1) == [fx.Discard(R1), *released, fx.Refuse(2)]
    assert not company.conductor._joins.knows(2)
    company.ended(1)
    company.ended(2)
    assert_no_half_is_known(company)


@pytest.mark.parametrize("how", ["", *HOW])
def test_where_the_first_half_cannot_be_opened_both_are_unavailable(company: Company, how: str) -> None:
    half(company, 1, NEAR)
    half(company, 2, FAR)
    if how:
        deny_or_end(company, how)
    ended = [] if how in ENDS else [fx.Unavailable(1)]  # there the first one's tap waits for nothing
    assert company.open_failed(1) == [*ended, fx.Unavailable(2)]
    assert not company.conductor._joins.knows(2)
    assert (company.ended(2), company.ended(1), company.open_failed(1)) == ([], [], [])
    assert_no_half_is_known(company)


def test_a_first_half_that_came_to_nothing_alone_answers_for_no_other(company: Company) -> None:
    half(company, 1, NEAR)
    assert company.open_failed(1) == [fx.Unavailable(1)]
    half(company, 3, NEAR)
    company.ended(3)
    assert company.opened(3) == [fx.Discard(name(3)), fx.Release(3)]
    assert company.open_failed(3) == []
    assert_no_half_is_known(company)


def test_the_same_voice_twice_is_not_the_other_half(company: Company) -> None:
    half(company, 1, NEAR)
    assert half(company, 2, NEAR) == [fx.Refuse(2)]
    company.opened(1)
    assert half(company, 3, FAR)[0] == fx.Attach(3, R1, BOTH, 1)
    assert half(company, 4, FAR) == [fx.Refuse(4)]


def test_a_session_with_both_voices_is_not_the_other_half(company: Company) -> None:
    half(company, 1, NEAR)
    assert company.offered(2, ANNAS, "pbx", keys="refci") == [fx.Refuse(2)]


def test_the_last_place_of_a_backlog_is_for_both_halves() -> None:
    company = Company(with_enrolment(SOUND_POLICY, capacity=1), workstations=())
    half(company, 1, NEAR)
    company.opened(1)
    assert half(company, 2, FAR)[0] == fx.Attach(2, R1, BOTH, 1)


def test_whether_a_telephone_key_is_heard_is_known_with_both(company: Company) -> None:
    """Anna is the near end: of the far end alone nobody knows whether her keys will be heard."""
    half(company, 1, MUTE)
    company.opened(1)
    mute_too = replace(NEAR, payload_types=((8, "PCMA"),))
    effects = half(company, 2, mute_too)
    assert [type(e) for e in effects] == [fx.Attach, fx.Discard]
    other = Company(SOUND_POLICY, workstations=())
    half(other, 1, MUTE)
    other.opened(1)
    assert [type(e) for e in half(other, 2, NEAR)] == [fx.Attach, fx.Begin]
    assert other.digits("**9") == [fx.Discard(R1)]


def test_changed_streams_of_either_are_received_with_those_of_the_other(company: Company) -> None:
    half(company, 1, NEAR)
    moved_near, moved_far = replace(NEAR, port=5000), replace(FAR, port=5002)
    assert company.streams((moved_near,), 1) == []
    company.opened(1)
    assert company.streams((moved_near,), 1) == [fx.Restream(R1, (moved_near,), None, 0, 1)]
    half(company, 2, FAR)
    other = replace(moved_far, label="other #0")
    assert company.streams((moved_far,), 2) == [fx.Restream(R1, (moved_near, other), 2, 1, None)]
    assert company.streams((NEAR,), 1) == [fx.Restream(R1, (NEAR, other), None, 0, 1)]


def test_a_connection_that_begins_early_waits_for_the_answer_with_both(company: Company) -> None:
    half(company, 1, NEAR, answered=False)
    company.opened(1)
    assert half(company, 2, FAR, answered=False) == [fx.Attach(2, R1, BOTH, 1)]
    (begun,) = company.answered(2)
    assert isinstance(begun, fx.Begin)
    assert begun.answered_at_ns == company.now


def test_a_session_number_that_the_second_half_has_is_in_use(company: Company) -> None:
    both(company)
    assert company.offered(2, ANNAS, "pbx", keys="another") == [fx.Refuse(2)]
    assert company.conductor.handle(ev.Ended(2, company.tick())) == [fx.Finish(R1, company.now), fx.Release(1)]


def test_an_answer_that_came_while_the_first_half_waited_is_not_lost(company: Company) -> None:
    half(company, 1, NEAR, answered=False)
    company.opened(1)
    assert company.answered(1) == []
    attached, begun = half(company, 2, FAR, answered=False)
    assert attached == fx.Attach(2, R1, BOTH, 1)
    assert isinstance(begun, fx.Begin)
    assert begun.answered_at_ns == company.now


def test_sides_are_those_of_the_voices() -> None:
    assert (NEAR.side, FAR.side) == (Side.CALLEE, Side.CALLER)
