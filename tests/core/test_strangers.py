"""A session whose parties are named once it stands (Avaya): opened for nobody, and nothing kept before they are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sipgate.core import effects as fx
from sipgate.core.events import Party, Side
from sipgate.core.halves import STRANGER_NS
from tests.core.world import (
    ANNA,
    ANNAS_FILM,
    ANNAS_LINE,
    COLLEAGUE,
    CUSTOMER,
    DESK,
    PLAN,
    REPRESENTATIVE,
    SECOND,
    SOUND,
    SOUND_POLICY,
    STREAMS,
    Company,
    call_between,
    name,
    party,
    with_enrolment,
)

NAMELESS = (party(Side.CALLER), party(Side.CALLEE))
ONE_NAMED = (party(Side.CALLER, CUSTOMER), party(Side.CALLEE))
ANNAS = call_between(CUSTOMER, ANNAS_LINE)
R1, R2 = name(1), name(2)


@pytest.fixture
def company() -> Company:
    return Company(SOUND_POLICY, workstations=())


def unnamed(
    company: Company, session: int = 1, parties: tuple[Party, ...] = NAMELESS, answered: bool = True
) -> list[fx.Effect]:
    at_ns = company.now + SECOND if answered else None
    return company.offered(session, parties, "pbx", at_ns, keys="call", later=True)


def test_it_begins_when_its_parties_are_named(company: Company) -> None:
    assert unnamed(company) == [fx.Open(1, STREAMS)]
    assert company.opened() == []
    assert company.parties(ONE_NAMED) == []
    assert company.parties(ANNAS) == [fx.Begin(R1, 1, "pbx", ANNA, SOUND, company.now, None)]
    assert company.ended() == [fx.Finish(R1, company.now), fx.Release(1)]


def test_named_while_it_is_being_opened(company: Company) -> None:
    unnamed(company)
    assert company.parties(ANNAS) == []
    named = company.now
    assert company.opened() == [fx.Begin(R1, 1, "pbx", ANNA, SOUND, named, None)]


def test_the_answer_may_come_before_the_names_or_after_them(company: Company) -> None:
    unnamed(company, answered=False)
    company.opened()
    assert company.answered() == []
    (begun,) = company.parties(ANNAS)
    assert isinstance(begun, fx.Begin)
    other = Company(SOUND_POLICY, workstations=())
    unnamed(other, answered=False)
    other.opened()
    assert other.parties(ANNAS) == []
    (begun,) = other.answered()
    assert isinstance(begun, fx.Begin)


def test_its_owner_is_filmed_from_then_on() -> None:
    company = Company()
    unnamed(company)
    company.opened()
    assert company.parties(ANNAS) == [
        fx.Begin(R1, 1, "pbx", ANNA, ANNAS_FILM, company.now, DESK),
        fx.StartFilm(R1, PLAN, company.now),
    ]


def test_a_protected_party_among_the_names_denies_the_call(company: Company) -> None:
    unnamed(company)
    company.opened()
    assert company.parties(call_between(CUSTOMER, REPRESENTATIVE)) == [fx.Discard(R1)]
    assert company.offered(2, ANNAS, "pbx", keys="call") == [fx.Refuse(2)]
    assert company.ended() == [fx.Release(1)]


def test_a_protected_party_beside_one_without_a_name_is_refused(company: Company) -> None:
    assert unnamed(company, parties=(party(Side.CALLER), party(Side.CALLEE, REPRESENTATIVE))) == [fx.Refuse(1)]


def test_whoever_is_not_enrolled_is_erased_once_named(company: Company) -> None:
    unnamed(company)
    company.opened()
    assert company.parties(call_between(CUSTOMER, COLLEAGUE)) == [fx.Discard(R1)]


def test_whoever_loses_the_name_again_is_denied(company: Company) -> None:
    unnamed(company)
    company.opened()
    company.parties(ANNAS)
    assert company.parties(ONE_NAMED) == [fx.Discard(R1)]


def test_without_names_it_is_erased_after_some_seconds(company: Company) -> None:
    unnamed(company)
    offered = company.now
    company.opened()
    assert company.conductor.next_deadline() == offered + STRANGER_NS
    assert company.conductor.handle_deadline(offered + STRANGER_NS) == [fx.Discard(R1)]
    assert company.conductor.next_deadline() is None
    assert company.parties(ANNAS) == []
    assert company.ended() == [fx.Release(1)]


@pytest.mark.parametrize("still", [True, False], ids=["under way", "ended"])
def test_whom_nobody_names_denies_the_other_sessions_of_the_call(company: Company, still: bool) -> None:
    unnamed(company)
    offered = company.now
    company.opened()
    company.offered(2, ANNAS, "pbx", keys="call")
    company.opened(2)
    assert [type(e) for e in company.answered(2)] == [fx.Begin]
    if not still:
        assert company.ended(2) == [fx.Finish(R2, company.now), fx.Release(2)]
    company.now = offered + STRANGER_NS
    assert company.conductor.handle_deadline(company.now) == [fx.Discard(R1), fx.Discard(R2)]
    assert company.offered(3, ANNAS, "pbx", keys="call") == [fx.Refuse(3)]
    assert company.parties(ANNAS) == []
    assert company.ended() == [fx.Release(1)]
    assert company.offered(4, ANNAS, "pbx", keys="call") == [fx.Refuse(4)]


def test_whom_nobody_named_while_it_was_being_opened_denies_them_too(company: Company) -> None:
    unnamed(company)
    offered = company.now
    company.offered(2, ANNAS, "pbx", keys="call")
    company.opened(2)
    company.answered(2)
    assert company.conductor.handle_deadline(offered + STRANGER_NS) == [fx.Discard(R2)]
    assert company.opened() == [fx.Discard(R1)]


def test_a_half_that_waits_in_vain_denies_nobody(company: Company) -> None:
    company.offered(1, ANNAS, "pbx", half=True, keys="call", streams=STREAMS[:1])
    company.opened()
    assert company.conductor.handle_deadline(company.now + STRANGER_NS) == [fx.Discard(R1)]
    assert company.offered(2, ANNAS, "pbx", keys="call") == [fx.Open(2, STREAMS)]


def test_it_takes_no_place_before_it_is_named() -> None:
    company = Company(with_enrolment(SOUND_POLICY, capacity=1), workstations=())
    unnamed(company)
    company.opened()
    assert company.offered(2, ANNAS, "pbx", keys="another") == [fx.Open(2, STREAMS)]
    assert company.parties(ANNAS) == [fx.Discard(R1)], "the place is taken"


def test_it_gives_the_place_back(company: Company) -> None:
    unnamed(company)
    company.opened()
    company.parties(ANNAS)
    company.private()
    company.ended()
    assert company.conductor._places.taken == {}


def test_named_as_what_another_session_records_it_is_one_too_many(company: Company) -> None:
    unnamed(company)
    company.opened()
    assert company.offered(2, ANNAS, "pbx", keys="call") == [fx.Open(2, STREAMS)]
    company.opened(2)
    assert company.parties(ANNAS) == [fx.Discard(R1)]
    assert company.offered(3, ANNAS, "pbx", keys="call") == [fx.Refuse(3)]


def test_it_may_end_without_ever_having_been_named(company: Company) -> None:
    unnamed(company)
    company.opened()
    assert company.ended() == [fx.Discard(R1), fx.Release(1)]
    assert company.conductor._places.taken == {}


def test_the_gate_may_close_meanwhile(company: Company) -> None:
    unnamed(company)
    company.opened()
    assert company.policy(replace(SOUND_POLICY, gate_open=False)) == [fx.Discard(R1)]
