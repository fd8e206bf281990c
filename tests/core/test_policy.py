"""The decision, row by row of its table, in its order: what denies is asked first, and whatever is unknown denies."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sipgate.core.events import Party, Side
from sipgate.core.policy import (
    Connection,
    Decision,
    FilmPlan,
    Holder,
    Permitted,
    Policy,
    Protected,
    Reason,
    Refused,
    Surroundings,
    decide,
)
from tests.core.world import (
    ANNA,
    ANNA_HOLDS,
    ANNAS_FILM,
    ANNAS_LINE,
    BRUNO,
    BRUNO_HOLDS,
    BRUNOS_LINE,
    COLLEAGUE,
    CUSTOMER,
    DAY,
    DESK,
    FILM_ENROLMENT,
    KEY,
    NOW,
    PLAN,
    POLICY,
    REPRESENTATIVE,
    SOUND,
    SOUND_ENROLMENT,
    SOUND_POLICY,
    call_between,
    lines,
    party,
    shown,
    with_enrolment,
)

ORDINARY = call_between(CUSTOMER, ANNAS_LINE)
AT_HER_DESK = Surroundings(reachable=frozenset({DESK}), keyed=frozenset(Side))
FILMED = Permitted(ANNA, ANNAS_FILM, Side.CALLEE, PLAN, None)


def decided(
    policy: Policy | None = POLICY,
    parties: tuple[Party, ...] = ORDINARY,
    connection: str = "sbc",
    surroundings: Surroundings = AT_HER_DESK,
    at_ns: int = NOW,
) -> Decision:
    return decide(policy, connection, parties, at_ns, surroundings)


def test_an_enrolled_trainees_call_is_permitted_with_film() -> None:
    assert decided() == FILMED


def test_a_sound_enrolment_permits_without_film_when_a_telephone_key_reaches_the_recorder() -> None:
    assert decided(SOUND_POLICY, connection="pbx") == Permitted(ANNA, SOUND, Side.CALLEE, None, KEY)


def test_the_owners_side_is_the_callers_when_she_calls() -> None:
    assert decided(parties=call_between(ANNAS_LINE, CUSTOMER)) == replace(FILMED, side=Side.CALLER)


# --- row 1: any party might be an excluded line ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "parties",
    [
        call_between(REPRESENTATIVE, ANNAS_LINE),
        call_between(ANNAS_LINE, REPRESENTATIVE),
        call_between(CUSTOMER, ANNAS_LINE, REPRESENTATIVE),
        (*ORDINARY, party(Side.CALLER, REPRESENTATIVE)),
        (*ORDINARY, party(Side.CALLEE, REPRESENTATIVE)),
        (party(Side.CALLER, CUSTOMER, REPRESENTATIVE), party(Side.CALLEE, ANNAS_LINE)),
        call_between("tel:0142682100", ANNAS_LINE),
        call_between(CUSTOMER, ANNAS_LINE, "tel:+33-1-42-68-21-00"),
    ],
    ids=[
        "calls",
        "is called",
        "diverts",
        "joins the caller",
        "joins the callee",
        "behind another",
        "outside",
        "asserted",
    ],
)
def test_row_1_a_protected_party_in_any_role_protects_the_call(parties: tuple[Party, ...]) -> None:
    assert decided(parties=parties) == Protected()


@pytest.mark.parametrize(
    "policy",
    [
        replace(POLICY, exclusions_readable=False),
        replace(POLICY, gate_open=False),
        replace(POLICY, connections={}),
        replace(POLICY, enrolments=()),
        replace(POLICY, holders=()),
    ],
    ids=["unreadable", "gate", "connection", "enrolment", "holder"],
)
def test_row_1_goes_before_every_other(policy: Policy) -> None:
    assert decided(policy, call_between(REPRESENTATIVE, "sip:anonymous@anonymous.invalid")) == Protected()


def test_row_1_goes_before_an_enrolment_of_the_same_line() -> None:
    both = replace(POLICY, exclusions=lines("2000-2999"))
    assert decided(both) == Protected()


def test_protected_has_no_fields_so_nothing_can_tell_which_call_it_was() -> None:
    assert Protected() == Protected()
    assert repr(Protected()) == "Protected()"
    assert not Protected.__slots__


# --- rows 2 to 10, each with everything below it in order, and with what the next row would refuse too ---------------


def test_row_2_unreadable_exclusions_refuse_everything() -> None:
    policy = replace(POLICY, exclusions_readable=False, connections={})
    assert decided(policy) == Refused(Reason.EXCLUSIONS_UNREADABLE)


def test_row_2_no_policy_at_all_refuses_everything() -> None:
    assert decided(None) == Refused(Reason.EXCLUSIONS_UNREADABLE)


def test_row_3_a_connection_that_is_not_configured_is_refused() -> None:
    assert decided(replace(POLICY, gate_open=False), connection="stranger") == Refused(Reason.UNKNOWN_CONNECTION)


def test_row_4_a_closed_gate_refuses() -> None:
    parties = call_between(CUSTOMER, "sip:anonymous@anonymous.invalid")
    assert decided(replace(POLICY, gate_open=False), parties) == Refused(Reason.GATE_CLOSED)


@pytest.mark.parametrize(
    "parties",
    [
        (),
        (party(Side.CALLEE, ANNAS_LINE),),
        (party(Side.CALLER, CUSTOMER),),
        call_between("sip:anonymous@anonymous.invalid", ANNAS_LINE),
        call_between(CUSTOMER, "sip:192.0.2.7"),
        (*ORDINARY, party(Side.CALLER)),
        (*ORDINARY, party(Side.CALLEE)),
        (party(None, CUSTOMER), party(Side.CALLEE, ANNAS_LINE)),
        (*ORDINARY, party(None)),
    ],
    ids=[
        "nobody",
        "no caller",
        "no callee",
        "anonymous",
        "an address only",
        "joins",
        "joins callee",
        "no stream",
        "third",
    ],
)
def test_row_5_a_side_that_is_not_identified_refuses(parties: tuple[Party, ...]) -> None:
    assert decided(replace(POLICY, enrolments=()), parties) == Refused(Reason.UNIDENTIFIED)


@pytest.mark.parametrize(
    ("starts_at_ns", "ends_at_ns", "permitted"),
    [(NOW, NOW + 1, True), (NOW + 1, NOW + DAY, False), (NOW - DAY, NOW, False), (NOW - DAY, NOW + 1, True)],
)
def test_row_6_an_enrolment_is_in_force_from_its_start_until_its_end(
    starts_at_ns: int, ends_at_ns: int, permitted: bool
) -> None:
    decision = decided(with_enrolment(starts_at_ns=starts_at_ns, ends_at_ns=ends_at_ns))
    assert decision == (FILMED if permitted else Refused(Reason.NOT_ENROLLED))


@pytest.mark.parametrize(
    "parties",
    [call_between(CUSTOMER, COLLEAGUE), call_between(CUSTOMER, COLLEAGUE, ANNAS_LINE)],
    ids=["another line", "hers without a stream"],
)
def test_row_6_a_call_in_which_no_enrolled_line_speaks_is_refused(parties: tuple[Party, ...]) -> None:
    assert decided(replace(POLICY, holders=()), parties) == Refused(Reason.NOT_ENROLLED)


def test_row_6_a_fresh_install_records_nothing() -> None:
    assert decided(replace(POLICY, enrolments=(), holders=())) == Refused(Reason.NOT_ENROLLED)


@pytest.mark.parametrize(
    "holders",
    [
        (),
        (BRUNO_HOLDS,),
        (ANNA_HOLDS, Holder(BRUNO, lines("2001"), acknowledged=True)),
        (Holder(BRUNO, lines("2001"), acknowledged=False),),
    ],
    ids=["nobody", "of another line", "two", "another person than the trainee"],
)
def test_row_7_a_line_without_one_holder_who_is_the_trainee_is_refused(holders: tuple[Holder, ...]) -> None:
    assert decided(replace(POLICY, holders=holders)) == Refused(Reason.NO_HOLDER)


def test_row_7_a_line_is_held_by_its_identities_and_never_by_a_range() -> None:
    holds_a_range = Holder(ANNA, lines("2000-2999", "20xx", "sip:*@pbx.example"), acknowledged=True)
    assert decided(replace(POLICY, holders=(holds_a_range,))) == Refused(Reason.NO_HOLDER)


def test_row_7_one_holder_known_by_two_identities_is_one() -> None:
    parties = (party(Side.CALLER, CUSTOMER), party(Side.CALLEE, ANNAS_LINE, "tel:+33142682001"))
    assert decided(parties=parties) == FILMED
    assert len(POLICY.holders_of(parties[1].identities)) == 1


def test_row_7_the_sound_of_a_line_belongs_to_whoever_holds_it() -> None:
    policy = replace(SOUND_POLICY, holders=(Holder(BRUNO, lines("2001"), acknowledged=True),))
    assert decided(policy, connection="pbx") == Permitted(BRUNO, SOUND, Side.CALLEE, None, KEY)


def test_row_8_a_holder_who_has_not_acknowledged_the_notice_in_force_is_refused() -> None:
    policy = replace(with_enrolment(capacity=0), holders=(replace(ANNA_HOLDS, acknowledged=False),))
    assert decided(policy) == Refused(Reason.NOT_ACKNOWLEDGED)


@pytest.mark.parametrize(
    ("capacity", "backlog", "live", "permitted"),
    [(3, 2, 0, True), (3, 3, 0, False), (3, 2, 1, False), (3, 0, 2, True), (3, 0, 3, False), (0, 0, 0, False)],
)
def test_row_9_backlog_and_recordings_under_way_fill_the_capacity(
    capacity: int, backlog: int, live: int, permitted: bool
) -> None:
    surroundings = Surroundings(frozenset({DESK}), {ANNAS_FILM: live, SOUND: 99})
    decision = decided(with_enrolment(capacity=capacity, backlog=backlog), surroundings=surroundings)
    assert decision == (FILMED if permitted else Refused(Reason.BACKLOG_FULL))


def test_row_9_a_full_backlog_goes_before_the_missing_key() -> None:
    assert decided(with_enrolment(capacity=0), surroundings=Surroundings()) == Refused(Reason.BACKLOG_FULL)


def test_row_9_does_not_ask_a_call_that_has_its_place_already() -> None:
    surroundings = Surroundings(frozenset({DESK}), {ANNAS_FILM: 5}, admitted=ANNAS_FILM)
    assert decided(with_enrolment(capacity=1, backlog=1), surroundings=surroundings) == FILMED
    assert decided(
        with_enrolment(capacity=1, backlog=1), surroundings=replace(surroundings, admitted=SOUND)
    ) == Refused(Reason.BACKLOG_FULL)


@pytest.mark.parametrize("reachable", [frozenset[str](), frozenset({"desk-of-another"})])
def test_row_10_no_workstation_and_no_telephone_key_refuse(reachable: frozenset[str]) -> None:
    assert decided(surroundings=Surroundings(reachable)) == Refused(Reason.NO_PRIVATE_KEY)


def test_row_10_sound_without_a_telephone_key_is_refused() -> None:
    assert decided(SOUND_POLICY) == Refused(Reason.NO_PRIVATE_KEY)


def test_row_10_an_empty_telephone_key_is_none() -> None:
    policy = replace(SOUND_POLICY, connections={"sbc": Connection("sbc", "")})
    assert decided(policy) == Refused(Reason.NO_PRIVATE_KEY)


def test_row_10_a_telephone_key_alone_permits_the_sound_of_a_film_enrolment() -> None:
    keyed = Surroundings(keyed=frozenset({Side.CALLEE}))
    assert decided(connection="pbx", surroundings=keyed) == Permitted(ANNA, ANNAS_FILM, Side.CALLEE, None, KEY)


@pytest.mark.parametrize("keyed", [frozenset[Side](), frozenset({Side.CALLER})], ids=["nobody's", "the customer's"])
def test_row_10_a_telephone_key_that_the_recorder_would_not_hear_is_none(keyed: frozenset[Side]) -> None:
    assert decided(SOUND_POLICY, connection="pbx", surroundings=Surroundings(keyed=keyed)) == Refused(
        Reason.NO_PRIVATE_KEY
    )


# --- whose extension it is ------------------------------------------------------------------------------------------

AT_HOME = replace(POLICY, domains=frozenset({"pbx.example"}))
FOREIGN = "sip:2001@other-company.example"


def test_row_6_an_extension_of_another_company_is_not_enrolled() -> None:
    assert decided(parties=call_between(CUSTOMER, FOREIGN)) == FILMED, "nobody has said which hosts are the site's"
    assert decided(AT_HOME, call_between(CUSTOMER, FOREIGN)) == Refused(Reason.NOT_ENROLLED)
    assert decided(AT_HOME) == FILMED


def test_row_7_an_extension_of_another_company_holds_no_line_of_ours() -> None:
    by_address = replace(FILM_ENROLMENT, lines=lines("sip:2001@other-company.example"))
    policy = replace(AT_HOME, enrolments=(by_address,))
    assert decided(policy, call_between(CUSTOMER, FOREIGN)) == Refused(Reason.NO_HOLDER)


def test_row_1_an_excluded_extension_is_protected_at_every_host() -> None:
    assert decided(AT_HOME, call_between("sip:2100@other-company.example", ANNAS_LINE)) == Protected()


def test_of_a_call_with_the_same_extension_elsewhere_the_owner_is_ours() -> None:
    assert decided(AT_HOME, call_between(FOREIGN, ANNAS_LINE)) == FILMED


# --- several enrolments, several parties ----------------------------------------------------------------------------


@pytest.mark.parametrize("enrolments", [(SOUND_ENROLMENT, FILM_ENROLMENT), (FILM_ENROLMENT, SOUND_ENROLMENT)])
def test_a_film_enrolment_goes_before_a_sound_enrolment(enrolments: tuple[object, ...]) -> None:
    policy = replace(POLICY, enrolments=enrolments)  # type: ignore[arg-type]  # parametrize loses the type
    assert decided(policy, connection="pbx") == replace(FILMED, telephone_key=KEY)


def test_one_enrolment_that_passes_is_enough() -> None:
    policy = replace(POLICY, enrolments=(replace(FILM_ENROLMENT, capacity=0), SOUND_ENROLMENT))
    assert decided(policy, connection="pbx") == Permitted(ANNA, SOUND, Side.CALLEE, None, KEY)


def test_two_trainees_on_the_telephone_with_each_other_are_refused() -> None:
    decision = decided(SOUND_POLICY, call_between(ANNAS_LINE, BRUNOS_LINE), connection="pbx")
    assert decision == Refused(Reason.TWO_OWNERS)


def test_one_person_on_both_sides_is_one_owner() -> None:
    decision = decided(SOUND_POLICY, call_between(ANNAS_LINE, "sip:+33142682001@sbc"), connection="pbx")
    assert isinstance(decision, Permitted)
    assert decision.owner == ANNA


def test_a_colleague_who_is_not_enrolled_may_be_the_other_side() -> None:
    assert decided(parties=call_between(BRUNOS_LINE, ANNAS_LINE)) == FILMED


def test_of_several_refusals_the_one_that_came_furthest_is_told() -> None:
    other = replace(FILM_ENROLMENT, enrolment=14, trainee=BRUNO, film=FilmPlan("desk-bruno", "class=Crm", 8))
    policy = replace(POLICY, enrolments=(other, FILM_ENROLMENT, replace(other, enrolment=15)))
    assert decided(policy, surroundings=Surroundings()) == Refused(Reason.NO_PRIVATE_KEY)


def test_the_reasons_stand_in_the_order_of_the_table() -> None:
    assert list(Reason) == [
        Reason.EXCLUSIONS_UNREADABLE,
        Reason.UNKNOWN_CONNECTION,
        Reason.GATE_CLOSED,
        Reason.UNIDENTIFIED,
        Reason.NOT_ENROLLED,
        Reason.NO_HOLDER,
        Reason.TWO_OWNERS,
        Reason.NOT_ACKNOWLEDGED,
        Reason.BACKLOG_FULL,
        Reason.NO_PRIVATE_KEY,
    ]


@pytest.mark.parametrize(
    "value", [POLICY, FILMED, ORDINARY, Refused(Reason.NO_HOLDER), POLICY.enrolments, POLICY.holders]
)
def test_repr_of_whatever_decides_shows_no_identity(value: object) -> None:
    for identity in ("2001", "2100", "33612345678", "142682100", "pbx.example"):
        assert identity not in shown(value)
