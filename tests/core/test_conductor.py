"""Stories of calls: what comes in, and all that is then done, in order."""

from __future__ import annotations

import gc
import pickle
from copy import deepcopy
from dataclasses import replace

import pytest

from sipgate.core import effects as fx
from sipgate.core import events as ev
from sipgate.core.conductor import Conductor
from sipgate.core.events import Party, Side
from sipgate.core.halves import Halves
from sipgate.core.join import DENIED_NS, LINGER_NS, Joins
from sipgate.core.lines import SelectorSet
from sipgate.core.policy import Policy
from sipgate.core.resources import RENEW_NS, Desks, Places
from tests.core.world import (
    ANNA,
    ANNAS_FILM,
    ANNAS_LINE,
    BRUNO,
    BRUNOS_LINE,
    COLLEAGUE,
    CUSTOMER,
    DAY,
    DESK,
    KEY,
    NOW,
    PLAN,
    POLICY,
    REPRESENTATIVE,
    SECOND,
    SOUND,
    SOUND_ENROLMENT,
    SOUND_POLICY,
    STRANGER,
    STREAMS,
    Company,
    call_between,
    lines,
    name,
    party,
    shown,
    with_enrolment,
)

R1, R2 = name(1), name(2)
ENROLMENT_ENDS = NOW + DAY
JOINED = {
    "calls": call_between(REPRESENTATIVE, ANNAS_LINE),
    "is called": call_between(CUSTOMER, REPRESENTATIVE),
    "joins the caller": (*call_between(CUSTOMER, ANNAS_LINE), party(Side.CALLER, REPRESENTATIVE)),
    "joins the callee": (*call_between(CUSTOMER, ANNAS_LINE), party(Side.CALLEE, REPRESENTATIVE)),
    "diverted or referred": call_between(CUSTOMER, ANNAS_LINE, REPRESENTATIVE),
    "by another identity": call_between(CUSTOMER, ANNAS_LINE, "tel:0142682100"),
}
EXCLUDES_CUSTOMER = replace(POLICY, exclusions=lines("2100", "+33612345678"))


def sound_company(policy: Policy = SOUND_POLICY) -> Company:
    return Company(policy, workstations=())


# --- an ordinary call -----------------------------------------------------------------------------------------------


def test_an_ordinary_call_is_recorded_and_filmed_from_answer_to_hangup() -> None:
    company = Company()
    assert company.offered() == [fx.Open(1, STREAMS)]
    assert company.opened() == []
    begun = company.answered()
    answered = company.now
    assert begun == [
        fx.Begin(R1, 1, "sbc", ANNA, ANNAS_FILM, answered, DESK),
        fx.StartFilm(R1, PLAN, answered),
    ]
    assert company.ended() == [fx.StopFilm(R1, DESK, company.now), fx.Finish(R1, company.now), fx.Release(1)]
    assert company.conductor.calls_under_way == 0


def test_a_call_already_answered_when_it_is_offered_begins_when_it_is_opened_from_its_answer_on() -> None:
    company = Company()
    company.offered(answered_at_ns=NOW)
    assert company.opened() == [fx.Begin(R1, 1, "sbc", ANNA, ANNAS_FILM, NOW, DESK), fx.StartFilm(R1, PLAN, NOW)]


def test_a_call_answered_while_it_is_being_opened_begins_at_its_answer() -> None:
    company = Company()
    company.offered()
    assert company.answered() == []
    answered = company.now
    assert company.opened()[0] == fx.Begin(R1, 1, "sbc", ANNA, ANNAS_FILM, answered, DESK)


def test_sound_alone_is_recorded_without_film() -> None:
    company = sound_company()
    assert company.recording(connection="pbx") == [fx.Begin(R1, 1, "pbx", ANNA, SOUND, company.now, None)]
    assert company.ended() == [fx.Finish(R1, company.now), fx.Release(1)]


def test_a_call_that_is_never_answered_leaves_nothing() -> None:
    company = Company()
    company.offered()
    company.opened()
    assert company.ended() == [fx.Discard(R1), fx.Release(1)]


def test_a_session_that_never_came_to_stand_is_erased() -> None:
    company = Company()
    company.recording()
    assert company.ended(established=False) == [fx.DiscardFilm(R1, DESK), fx.Discard(R1), fx.Release(1)]


def test_a_call_that_ends_while_it_is_being_opened_is_erased_as_soon_as_it_is_open() -> None:
    company = Company()
    company.offered(answered_at_ns=NOW)
    assert company.ended() == []
    assert company.opened() == [fx.Discard(R1), fx.Release(1)]


def test_a_call_that_cannot_be_opened_is_turned_away_so_that_the_peer_fails_over() -> None:
    company = Company()
    company.offered()
    assert company.open_failed() == [fx.Unavailable(1)]
    assert company.conductor.calls_under_way == 0


def test_changed_streams_are_received_from_then_on_and_answered_even_when_nothing_is_kept() -> None:
    company = Company()
    changed = (replace(STREAMS[0], port=5000), STREAMS[1])
    company.recording()
    assert company.streams(changed) == [fx.Restream(R1, changed)]
    company.private()
    assert company.streams() == [fx.Restream(R1, STREAMS)]
    company.ended()
    assert company.streams() == []


def test_streams_cannot_change_before_the_call_is_open() -> None:
    company = Company()
    company.offered()
    assert company.streams() == []


# --- refused --------------------------------------------------------------------------------------------------------


def test_before_any_policy_is_known_every_call_is_refused() -> None:
    assert Company(None).offered() == [fx.Refuse(1)]


@pytest.mark.parametrize("parties", [*JOINED.values(), call_between(CUSTOMER, COLLEAGUE), ()])
def test_a_protected_and_a_merely_refused_call_get_the_same_answer(parties: tuple[Party, ...]) -> None:
    company = Company()
    assert company.offered(parties=parties) == [fx.Refuse(1)]
    assert company.conductor.calls_under_way == 0
    assert company.ended() == []


def test_a_session_number_that_is_in_use_is_refused_and_the_call_under_way_goes_on() -> None:
    company = Company()
    company.recording()
    assert company.offered() == [fx.Refuse(1)]
    assert company.ended()[-2:] == [fx.Finish(R1, company.now), fx.Release(1)]


def memory_of(conductor: Conductor) -> bytes:
    """All that a conductor remembers but its policy, and how many calls there have been."""
    state = {k: v for k, v in vars(conductor).items() if k not in {"_policy", "_moments", "_handlers"}}
    kinds = {type(v) for v in state.values()}
    assert kinds == {dict, Joins, Halves, Places, Desks}, "somebody has given the conductor another kind of memory"
    copied = deepcopy(state)
    copied["_joins"]._stories = copied["_joins"]._count = 0
    return pickle.dumps(copied)


def test_a_refused_call_leaves_no_memory() -> None:
    company = Company()
    before = memory_of(company.conductor)
    parties = call_between("sip:3456@secret.example", "sip:3001@also-secret.example")
    assert company.offered(987_654_321, parties) == [fx.Refuse(987_654_321)]
    company.answered(987_654_321)
    company.parties(parties, 987_654_321)
    company.ended(987_654_321)
    assert memory_of(company.conductor) == before
    assert not [r for r in gc.get_referrers(parties) if type(r).__module__.startswith("sipgate")]


def test_a_protected_call_leaves_digests_of_its_keys_that_nobody_can_read_and_in_the_end_nothing() -> None:
    company = Company()
    before = memory_of(company.conductor)
    parties = call_between("sip:2100@secret.example", "sip:2001@also-secret.example")
    assert company.offered(987_654_321, parties) == [fx.Refuse(987_654_321)]
    memory = memory_of(company.conductor)
    for trace in (b"secret", b"2100", b"2001", b"call-id", pickle.dumps(987_654_321)[2:-1]):
        assert trace not in memory
    assert len(memory) < len(before) + 1000
    assert not [r for r in gc.get_referrers(parties) if type(r).__module__.startswith("sipgate")]
    company.conductor.forget(company.now + DENIED_NS)
    assert memory_of(company.conductor) == before


@pytest.mark.parametrize("when", ["opening", "open", "recording"])
def test_a_protected_party_who_joined_is_not_remembered_while_the_call_lasts(when: str) -> None:
    company = Company()
    company.offered()
    if when != "opening":
        company.opened()
    if when == "recording":
        company.answered()
    company.parties(call_between("sip:2100@secret.example", ANNAS_LINE))
    company.parties(call_between("sip:2100@again.example", "sip:also-secret@x.example"))
    memory = memory_of(company.conductor)
    for trace in (b"secret", b"2100", b"again", b"33612345678", b"2001"):
        assert trace not in memory


def test_a_finished_call_leaves_only_what_counts_until_it_is_kept() -> None:
    company = Company()
    before = memory_of(company.conductor)
    company.recording()
    company.ended()
    assert b"2001" not in memory_of(company.conductor)
    company.kept()
    assert b"call-id" not in memory_of(company.conductor)
    company.conductor.forget(company.now + LINGER_NS)
    assert memory_of(company.conductor) == before


def test_repr_shows_nothing_of_a_call() -> None:
    company = Company()
    company.recording()
    call = company.conductor._calls[1]
    for text in (shown(company.conductor), shown(call)):
        assert "2001" not in text
        assert "33612345678" not in text


# --- R12: a protected party joins -----------------------------------------------------------------------------------


@pytest.mark.parametrize("parties", JOINED.values(), ids=JOINED.keys())
def test_a_protected_party_joining_in_mid_call_discards_the_whole_of_it(parties: tuple[Party, ...]) -> None:
    company = Company()
    company.recording()
    assert company.parties(parties) == [fx.DiscardFilm(R1, DESK), fx.Discard(R1)]
    assert company.parties(call_between(CUSTOMER, ANNAS_LINE)) == [], "their leaving brings nothing back"
    assert company.conductor.next_deadline() is None
    assert company.ended() == [fx.Release(1)]


@pytest.mark.parametrize("parties", JOINED.values(), ids=JOINED.keys())
def test_a_protected_party_joining_before_the_answer_means_that_nothing_begins(parties: tuple[Party, ...]) -> None:
    company = Company()
    company.offered()
    company.opened()
    assert company.parties(parties) == [fx.Discard(R1)]
    assert company.answered() == []
    assert company.ended() == [fx.Release(1)]


def test_a_protected_party_joining_while_the_call_is_being_opened_dooms_it() -> None:
    company = Company()
    company.offered(answered_at_ns=NOW)
    assert company.parties(JOINED["calls"]) == []
    assert company.parties(call_between(CUSTOMER, ANNAS_LINE)) == []
    assert company.opened() == [fx.Discard(R1)]
    assert company.ended() == [fx.Release(1)]


def test_somebody_who_cannot_be_identified_joining_discards_the_whole_since_it_could_be_anybody() -> None:
    company = Company()
    company.recording()
    joined = (*call_between(CUSTOMER, ANNAS_LINE), party(Side.CALLEE, "sip:anonymous@anonymous.invalid"))
    assert company.parties(joined) == [fx.DiscardFilm(R1, DESK), fx.Discard(R1)]


def test_a_line_excluded_in_mid_call_discards_the_call() -> None:
    company = Company()
    company.recording()
    assert company.policy(EXCLUDES_CUSTOMER) == [fx.DiscardFilm(R1, DESK), fx.Discard(R1)]


@pytest.mark.parametrize("parties", JOINED.values(), ids=JOINED.keys())
def test_a_protected_party_joining_after_the_recording_was_cut_still_discards_it(parties: tuple[Party, ...]) -> None:
    company = Company()
    company.recording()
    company.policy(replace(POLICY, gate_open=False))
    assert company.parties(parties) == [fx.DiscardFilm(R1, DESK), fx.Discard(R1)]
    assert company.ended() == [fx.Release(1)]


def test_a_line_excluded_after_the_recording_was_cut_and_kept_still_discards_it() -> None:
    company = Company()
    company.recording()
    company.media_failed()
    company.kept()
    assert company.policy(EXCLUDES_CUSTOMER) == [fx.DiscardFilm(R1, DESK), fx.Discard(R1)]
    assert company.ended() == [fx.Release(1)]


def test_a_recording_that_was_cut_stays_cut_when_the_parties_change_harmlessly() -> None:
    company = Company()
    company.recording()
    company.media_failed()
    assert company.parties(call_between(STRANGER, ANNAS_LINE)) == []
    assert company.policy(POLICY) == []
    assert company.ended() == [fx.Release(1)]


# --- what was permitted stops being so ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "policy",
    [
        replace(POLICY, enrolments=()),
        replace(POLICY, holders=()),
        replace(POLICY, gate_open=False),
        replace(POLICY, exclusions_readable=False),
        replace(POLICY, connections={}),
        replace(POLICY, holders=(replace(POLICY.holders[0], acknowledged=False),)),
        replace(with_enrolment(trainee=BRUNO), holders=(replace(POLICY.holders[0], person=BRUNO),)),
    ],
    ids=["enrolment removed", "line released", "gate", "unreadable", "connection", "notice republished", "new holder"],
)
def test_a_call_no_longer_permitted_is_cut_and_what_there_is_of_it_is_kept(policy: Policy) -> None:
    company = Company()
    company.recording()
    assert company.policy(policy) == [fx.StopFilm(R1, DESK, company.now), fx.Finish(R1, company.now)]
    assert company.policy(POLICY) == [], "it does not begin again"
    assert company.ended() == [fx.Release(1)]


def test_a_call_no_longer_permitted_before_its_answer_is_erased() -> None:
    company = Company()
    company.offered()
    company.opened()
    assert company.policy(replace(POLICY, enrolments=())) == [fx.Discard(R1)]


def test_a_call_transferred_away_from_the_enrolled_line_is_cut() -> None:
    company = Company()
    company.recording()
    assert company.parties(call_between(CUSTOMER, COLLEAGUE)) == [
        fx.StopFilm(R1, DESK, company.now),
        fx.Finish(R1, company.now),
    ]


def test_a_call_transferred_to_another_enrolled_person_is_cut_since_it_would_not_be_their_own() -> None:
    company = sound_company()
    company.recording(connection="pbx")
    assert company.parties(call_between(CUSTOMER, BRUNOS_LINE)) == [fx.Finish(R1, company.now)]


def test_a_call_in_which_the_other_side_changes_goes_on() -> None:
    company = Company()
    company.recording()
    assert company.parties(call_between(STRANGER, ANNAS_LINE)) == []
    assert company.ended()[1] == fx.Finish(R1, company.now)


def test_an_enrolment_that_ended_between_offer_and_answer_begins_nothing() -> None:
    company = Company(with_enrolment(ends_at_ns=NOW + 5 * SECOND))
    company.offered()
    company.opened()
    company.tick(10)
    assert company.answered() == [fx.Discard(R1)]
    assert company.ended() == [fx.Release(1)]


def test_a_film_enrolment_removed_where_the_sound_is_enrolled_too_ends_the_film_alone_and_once() -> None:
    both = replace(POLICY, enrolments=(*POLICY.enrolments, SOUND_ENROLMENT))
    company = Company(both)
    company.recording(connection="pbx")
    assert company.policy(SOUND_POLICY) == [fx.StopFilm(R1, DESK, company.now)]
    assert company.conductor.next_deadline() == ENROLMENT_ENDS, "no lease is renewed"
    assert company.up(boot="boot-2") == []
    assert company.ended() == [fx.Finish(R1, company.now), fx.Release(1)]


def test_a_film_that_was_ended_is_still_discarded_with_its_call() -> None:
    company = Company(replace(POLICY, enrolments=(*POLICY.enrolments, SOUND_ENROLMENT)))
    company.recording(connection="pbx")
    company.policy(SOUND_POLICY)
    assert company.private() == [fx.DiscardFilm(R1, DESK), fx.Discard(R1)]


def test_sound_that_can_no_longer_be_written_is_kept_as_far_as_it_came() -> None:
    company = Company()
    company.recording()
    assert company.media_failed() == [fx.StopFilm(R1, DESK, company.now), fx.Finish(R1, company.now)]
    assert company.media_failed() == []
    assert company.ended() == [fx.Release(1)]


def test_a_cut_session_that_turns_out_never_to_have_stood_is_erased() -> None:
    company = Company()
    company.recording()
    company.media_failed()
    assert company.ended(established=False) == [fx.DiscardFilm(R1, DESK), fx.Discard(R1), fx.Release(1)]


# --- the film's lease, and workstations that come and go -------------------------------------------------------------


def test_a_lease_is_renewed_while_the_call_lives_and_no_longer() -> None:
    company = Company()
    assert company.conductor.next_deadline() is None
    company.recording()
    due = company.now + RENEW_NS
    assert company.conductor.next_deadline() == due
    assert company.conductor.handle_deadline(due - 1) == []
    assert company.conductor.handle_deadline(due) == [fx.RenewFilm(R1, DESK)]
    assert company.conductor.next_deadline() == due + RENEW_NS
    company.ended()
    assert company.conductor.next_deadline() is None
    assert company.conductor.handle_deadline(due + 10 * RENEW_NS) == []


def test_two_renewals_may_be_lost_before_the_lease_of_five_seconds_ends() -> None:
    assert 3 * RENEW_NS < 5 * SECOND


@pytest.mark.parametrize("gone", [DESK, None], ids=["workstation", "broker"])
def test_a_workstation_lost_where_no_telephone_key_reaches_the_recorder_cuts_the_sound_too(gone: str | None) -> None:
    company = Company()
    company.recording(connection="sbc")
    assert company.down(gone) == [fx.StopFilm(R1, DESK, company.now), fx.Finish(R1, company.now)]
    assert company.conductor.next_deadline() is None
    assert company.ended() == [fx.Release(1)]


@pytest.mark.parametrize("gone", [DESK, None], ids=["workstation", "broker"])
def test_a_workstation_lost_where_a_telephone_key_reaches_the_recorder_lets_the_sound_go_on(gone: str | None) -> None:
    company = Company()
    company.recording(connection="pbx")
    assert company.down(gone) == []
    assert company.conductor.next_deadline() == ENROLMENT_ENDS, "no lease is renewed"
    assert company.ended() == [fx.StopFilm(R1, DESK, company.now), fx.Finish(R1, company.now), fx.Release(1)]


def test_a_workstation_lost_before_the_answer_erases_where_no_telephone_key_reaches() -> None:
    company = Company()
    company.offered()
    company.opened()
    assert company.down() == [fx.Discard(R1)]
    assert company.answered() == []


def test_a_workstation_lost_while_the_call_is_being_opened_dooms_it_where_no_telephone_key_reaches() -> None:
    company = Company()
    company.offered()
    assert company.down() == []
    assert company.opened() == [fx.Discard(R1)]


def test_another_workstation_lost_concerns_no_call_of_this_one() -> None:
    company = Company(workstations=(DESK, "desk-other"))
    company.recording()
    assert company.down("desk-other") == []
    assert company.down("desk-never-seen") == []
    assert company.conductor.next_deadline() is not None


def test_a_workstation_lost_before_the_answer_films_nothing_until_it_is_back() -> None:
    company = Company()
    company.offered(connection="pbx")
    company.opened()
    company.down()
    begun = company.answered()
    answered = company.now
    assert begun == [fx.Begin(R1, 1, "pbx", ANNA, ANNAS_FILM, answered, DESK)]
    assert company.conductor.next_deadline() == ENROLMENT_ENDS, "no lease is renewed"
    assert company.up() == [fx.StartFilm(R1, PLAN, answered)]


@pytest.mark.parametrize("boot", ["boot-1", "boot-2"], ids=["the same boot", "a new boot"])
def test_a_workstation_back_in_mid_call_films_on(boot: str) -> None:
    company = Company()
    company.recording(connection="pbx")
    answered = company.now
    company.down()
    assert company.up(boot=boot) == [fx.StartFilm(R1, PLAN, answered)]
    assert company.conductor.next_deadline() == company.now + RENEW_NS


def test_a_new_boot_without_a_loss_that_anybody_saw_is_started_again_and_a_repeated_one_is_not() -> None:
    company = Company()
    company.recording()
    answered = company.now
    assert company.up(boot="boot-2") == [fx.StartFilm(R1, PLAN, answered)]
    assert company.up(boot="boot-2") == []


def test_a_workstation_that_comes_up_before_the_answer_waits_for_it() -> None:
    company = Company()
    company.offered(connection="pbx")
    company.opened()
    assert company.up(boot="boot-2") == []
    assert fx.StartFilm(R1, PLAN, company.now + SECOND) in company.answered()


def test_a_workstation_that_comes_up_after_the_recording_was_discarded_or_cut_films_nothing() -> None:
    company = Company()
    company.recording(1)
    company.private(1)
    assert company.up(boot="boot-2") == []
    company.recording(2)
    company.media_failed(2)
    assert company.up(boot="boot-3") == []


def test_a_workstation_back_after_its_enrolment_was_removed_films_nothing() -> None:
    company = Company(replace(POLICY, enrolments=(*POLICY.enrolments, SOUND_ENROLMENT)))
    company.recording(connection="pbx")
    company.down()
    assert company.policy(SOUND_POLICY) == []
    assert company.up() == [fx.StopFilm(R1, DESK, company.now)]
    assert company.conductor.next_deadline() == ENROLMENT_ENDS, "no lease is renewed"


def test_a_workstation_back_after_the_enrolment_has_ended_cuts_the_call() -> None:
    company = Company(with_enrolment(ends_at_ns=NOW + 20 * SECOND))
    company.recording(connection="pbx")
    company.down()
    company.tick(30)
    assert company.up() == [fx.StopFilm(R1, DESK, NOW + 20 * SECOND), fx.Finish(R1, NOW + 20 * SECOND)]


# --- enrolments begin and end in mid-call -----------------------------------------------------------------------------

AT = NOW + 20 * SECOND
ENDS_SOON = with_enrolment(ends_at_ns=AT)
CUT_AT_ITS_END = [fx.StopFilm(R1, DESK, AT), fx.Finish(R1, AT)]


def test_a_call_is_cut_when_its_enrolment_ends_though_nothing_else_happens() -> None:
    company = Company(ENDS_SOON)
    company.recording()
    deadlines = []
    while (due := company.conductor.next_deadline()) is not None:
        deadlines.append((due, company.conductor.handle_deadline(due)))
    assert deadlines[-1] == (AT, CUT_AT_ITS_END)
    assert {type(effect) for _, effects in deadlines[:-1] for effect in effects} == {fx.RenewFilm}
    assert company.ended() == [fx.Release(1)]


def test_it_ends_with_its_enrolment_however_late_the_deadline_comes() -> None:
    company = Company(ENDS_SOON)
    company.recording()
    assert company.conductor.handle_deadline(AT - 1) == [fx.RenewFilm(R1, DESK)]
    assert company.conductor.handle_deadline(AT + 7 * SECOND) == CUT_AT_ITS_END
    assert company.conductor.next_deadline() is None


def test_an_event_that_comes_before_the_late_deadline_brings_the_end_with_it() -> None:
    company = Company(ENDS_SOON)
    company.recording()
    company.tick(30)
    assert company.ended() == [*CUT_AT_ITS_END, fx.Release(1)]


def test_a_call_that_waits_for_its_answer_is_erased_when_its_enrolment_ends_and_one_that_opens_is_doomed() -> None:
    company = Company(with_enrolment(ends_at_ns=AT, capacity=2))
    company.offered(1, connection="pbx")
    company.opened(1)
    company.offered(2, connection="pbx")
    assert company.conductor.next_deadline() == AT
    assert company.conductor.handle_deadline(AT) == [fx.Discard(R1)]
    company.tick(30)
    assert company.opened(2) == [fx.Discard(R2)]


def test_a_call_that_another_enrolment_permits_too_goes_on_and_only_its_film_ends() -> None:
    company = Company(replace(ENDS_SOON, enrolments=(*ENDS_SOON.enrolments, SOUND_ENROLMENT)))
    company.recording(connection="pbx")
    company.conductor.handle_deadline(AT - 1)
    assert company.conductor.handle_deadline(AT) == [fx.StopFilm(R1, DESK, AT)]
    assert company.conductor.next_deadline() == ENROLMENT_ENDS
    assert company.conductor.handle_deadline(ENROLMENT_ENDS) == [fx.Finish(R1, ENROLMENT_ENDS)]


def test_a_call_is_cut_when_an_enrolment_of_the_other_side_begins_and_it_would_be_neithers_own() -> None:
    brunos = replace(SOUND_ENROLMENT, lines=lines("2002"), starts_at_ns=AT)
    company = Company(replace(POLICY, enrolments=(*POLICY.enrolments, brunos)))
    company.recording(connection="pbx", parties=call_between(BRUNOS_LINE, ANNAS_LINE))
    company.conductor.handle_deadline(AT - 1)
    assert company.conductor.handle_deadline(AT) == CUT_AT_ITS_END


def test_a_call_that_was_cut_waits_for_no_enrolments_end() -> None:
    company = sound_company(with_enrolment(SOUND_POLICY, ends_at_ns=AT))
    company.recording(connection="pbx")
    company.media_failed()
    assert company.conductor.next_deadline() is None
    assert company.conductor.handle_deadline(AT) == []


def test_an_enrolment_that_was_prolonged_ends_no_call() -> None:
    company = Company(ENDS_SOON)
    company.recording(connection="sbc")
    company.policy(POLICY)
    assert company.conductor.handle_deadline(AT) == [fx.RenewFilm(R1, DESK)]


# --- two calls on one workstation -----------------------------------------------------------------------------------


def test_a_second_call_is_not_filmed_while_the_workstation_films_the_first() -> None:
    company = Company()
    company.recording(1, "pbx")
    assert company.recording(2, "pbx") == [fx.Begin(R2, 2, "pbx", ANNA, ANNAS_FILM, company.now, None)]
    assert company.ended(2) == [fx.Finish(R2, company.now), fx.Release(2)]
    assert company.conductor.handle_deadline(company.now + RENEW_NS) == [fx.RenewFilm(R1, DESK)]


def test_a_second_call_that_no_key_could_stop_is_refused() -> None:
    company = Company()
    company.recording(1)
    assert company.offered(2) == [fx.Refuse(2)]
    company.ended(1)
    assert company.offered(2) == [fx.Open(2, STREAMS)]


def test_of_two_calls_offered_together_the_first_to_be_answered_is_filmed() -> None:
    company = Company()
    for session in (1, 2):
        company.offered(session, connection="pbx")
        company.opened(session)
    assert fx.StartFilm(R2, PLAN, company.now + SECOND) in company.answered(2)
    assert company.answered(1) == [fx.Begin(R1, 1, "pbx", ANNA, ANNAS_FILM, company.now, None)]


def test_of_two_calls_offered_together_the_second_begins_not_at_all_when_no_key_could_stop_it() -> None:
    company = Company()
    for session in (1, 2):
        company.offered(session)
        company.opened(session)
    company.answered(2)
    assert company.answered(1) == [fx.Discard(R1)]


def test_of_two_calls_that_waited_for_the_workstation_one_is_filmed() -> None:
    company = Company()
    for session in (1, 2):
        company.offered(session, connection="pbx")
        company.opened(session)
    company.down()
    company.answered(1)
    answered = company.now
    company.answered(2)
    assert company.up() == [fx.StartFilm(R1, PLAN, answered)]


# --- R5: the backlog ------------------------------------------------------------------------------------------------


def test_a_recording_under_way_takes_a_place_from_its_offer_on() -> None:
    company = sound_company(with_enrolment(SOUND_POLICY, capacity=1))
    assert company.offered(1, connection="pbx") == [fx.Open(1, STREAMS)]
    assert company.offered(2, connection="pbx") == [fx.Refuse(2)]


def test_a_finished_recording_keeps_its_place_until_the_policy_counts_it() -> None:
    policy = with_enrolment(SOUND_POLICY, capacity=1)
    company = sound_company(policy)
    company.recording(1, "pbx")
    company.ended(1)
    assert company.offered(2, connection="pbx") == [fx.Refuse(2)], "finished, not yet kept"
    company.policy(with_enrolment(policy, backlog=1))
    company.kept(1)
    assert company.offered(3, connection="pbx") == [fx.Refuse(3)], "kept, not yet reviewed"
    company.policy(with_enrolment(policy, backlog=0))
    assert company.offered(4, connection="pbx") == [fx.Open(4, STREAMS)], "reviewed"


@pytest.mark.parametrize("how", ["private", "never answered", "could not be opened", "doomed", "private after"])
def test_what_is_not_kept_frees_its_place(how: str) -> None:
    company = sound_company(with_enrolment(SOUND_POLICY, capacity=1))
    company.offered(1, connection="pbx")
    match how:
        case "private":
            company.opened()
            company.private()
        case "never answered":
            company.opened()
            company.ended()
        case "could not be opened":
            company.open_failed()
        case "doomed":
            company.parties(JOINED["calls"])
        case "private after":
            company.opened()
            company.answered()
            company.ended()
            company.private()
    assert company.offered(2, connection="pbx") == [fx.Open(2, STREAMS)]


def test_a_cut_recording_takes_one_place_until_the_policy_counts_it_and_none_beside() -> None:
    policy = with_enrolment(SOUND_POLICY, capacity=2)
    company = sound_company(policy)
    company.recording(1, "pbx")
    company.media_failed(1)
    assert company.offered(2, connection="pbx") == [fx.Open(2, STREAMS)]
    assert company.offered(3, connection="pbx") == [fx.Refuse(3)]
    company.policy(with_enrolment(policy, backlog=1))
    company.kept(1)
    company.open_failed(2)
    assert company.offered(4, connection="pbx") == [fx.Open(4, STREAMS)]


def test_a_backlog_that_fills_blocks_the_next_call_and_cuts_none_under_way() -> None:
    policy = with_enrolment(SOUND_POLICY, capacity=2)
    company = sound_company(policy)
    company.recording(1, "pbx")
    company.recording(2, "pbx")
    company.ended(1)
    # The index counts the first already, and the conductor still does until it hears Kept.
    assert company.policy(with_enrolment(policy, backlog=1)) == []
    company.kept(1)
    assert company.policy(with_enrolment(policy, backlog=2)) == []
    assert company.offered(3, connection="pbx") == [fx.Refuse(3)]
    assert company.ended(2) == [fx.Finish(R2, company.now), fx.Release(2)]


def test_the_place_that_was_taken_stays_the_same_enrolments_for_the_whole_call() -> None:
    both = replace(SOUND_POLICY, enrolments=(SOUND_ENROLMENT, replace(SOUND_ENROLMENT, enrolment=99, capacity=1)))
    company = sound_company(both)
    company.recording(1, "pbx")
    company.policy(replace(both, enrolments=both.enrolments[1:]))
    assert company.offered(2, connection="pbx") == [fx.Open(2, STREAMS)]


# --- R11: private calls ---------------------------------------------------------------------------------------------


def test_the_telephone_key_on_the_owners_side_discards_the_call() -> None:
    company = Company()
    company.recording(connection="pbx")
    assert company.digits(KEY, Side.CALLEE) == [fx.DiscardFilm(R1, DESK), fx.Discard(R1)]
    assert company.digits(KEY, Side.CALLEE) == []
    assert company.ended() == [fx.Release(1)]


def test_the_telephone_key_works_before_the_answer_and_on_the_callers_side_when_the_owner_calls() -> None:
    company = Company()
    company.offered(connection="pbx", parties=call_between(ANNAS_LINE, CUSTOMER))
    company.opened()
    assert company.digits(KEY, Side.CALLER) == [fx.Discard(R1)]
    assert company.answered() == []


@pytest.mark.parametrize(
    ("digits", "discards"),
    [("**9", True), ("***9", True), ("12**9", True), ("**8", False), ("*9*", False), ("**", False)],
)
def test_the_key_is_the_last_digits_that_were_pressed(digits: str, discards: bool) -> None:
    company = sound_company()
    company.recording(connection="pbx")
    assert company.digits(digits) == ([fx.Discard(R1)] if discards else [])


def test_the_other_side_cannot_press_the_key() -> None:
    company = sound_company()
    company.recording(connection="pbx")
    assert company.digits(KEY, Side.CALLER) == []
    company.digits("*", Side.CALLEE)
    company.digits("*", Side.CALLER)
    assert company.digits("*9", Side.CALLEE) == [fx.Discard(R1)], "nor come between the owner's digits"


def test_digits_mean_nothing_where_no_key_is_declared_or_no_such_recording_is_known() -> None:
    company = Company()
    company.recording(connection="sbc")
    assert company.digits(KEY) == []
    assert company.digits(KEY, session=77) == []


def test_the_key_pressed_before_the_hangup_and_heard_after_it_discards_the_call() -> None:
    company = sound_company()
    company.recording(connection="pbx")
    company.digits(KEY[:-1])
    company.ended()
    assert company.digits(KEY[-1], Side.CALLER) == []
    assert company.digits(KEY[-1]) == [fx.Discard(R1)]
    assert company.digits(KEY) == []
    assert company.kept() == []


def test_a_key_heard_after_the_recording_was_kept_does_nothing() -> None:
    company = sound_company()
    company.recording(connection="pbx")
    company.ended()
    company.kept()
    assert company.digits(KEY) == []


def test_a_private_call_is_discarded_in_the_call_and_before_its_answer() -> None:
    company = Company()
    company.recording(1)
    assert company.private(1) == [fx.DiscardFilm(R1, DESK), fx.Discard(R1)]
    assert company.private(1) == []
    assert company.ended(1) == [fx.Release(1)]
    company.offered(2)
    company.opened(2)
    assert company.private(2) == [fx.Discard(R2)]


def test_a_private_call_heard_of_just_after_the_end_is_discarded_and_never_kept() -> None:
    company = Company()
    company.recording()
    company.ended()
    assert company.private() == [fx.Discard(R1)]
    assert company.kept() == []


def test_a_private_call_heard_of_after_the_recording_was_cut_is_discarded_once() -> None:
    company = Company()
    company.recording()
    company.media_failed()
    assert company.private() == [fx.DiscardFilm(R1, DESK), fx.Discard(R1)]
    assert company.private() == []
    assert company.ended() == [fx.Release(1)]


def test_a_private_call_heard_of_after_it_was_kept_is_discarded_all_the_same() -> None:
    company = Company()
    company.recording()
    company.ended()
    company.kept()
    assert company.private() == [fx.Discard(R1)]


def test_a_private_call_of_a_predecessors_recording_is_discarded() -> None:
    assert Company().private() == [fx.Discard(R1)]


def test_streams_without_telephone_events_end_what_only_a_telephone_key_could_stop() -> None:
    company = sound_company()
    company.recording(connection="pbx")
    silent = tuple(replace(stream, payload_types=((0, "PCMU"),)) for stream in STREAMS)
    assert company.streams(silent) == [fx.Restream(R1, silent), fx.Finish(R1, company.now)]


# --- late, repeated and unknown events ------------------------------------------------------------------------------


def test_events_of_unknown_sessions_and_recordings_do_nothing() -> None:
    company = Company()
    before = memory_of(company.conductor)
    for effects in (
        company.opened(9),
        company.open_failed(9),
        company.answered(9),
        company.parties(call_between(CUSTOMER, ANNAS_LINE), 9),
        company.streams(session=9),
        company.ended(9),
        company.digits(KEY, session=9),
        company.media_failed(9),
        company.kept(9),
    ):
        assert effects == []
    assert memory_of(company.conductor) == before


def test_repeated_events_do_nothing() -> None:
    company = Company()
    company.offered()
    company.opened()
    assert company.opened() == []
    assert company.open_failed() == []
    company.answered()
    answered = company.now
    assert company.answered() == []
    assert company.opened() == []
    assert company.up() == []
    assert company.policy(POLICY) == []
    assert company.parties(call_between(CUSTOMER, ANNAS_LINE)) == []
    assert company.conductor.next_deadline() == answered + RENEW_NS
    company.ended()
    assert company.ended() == []
    assert company.answered() == []


def test_a_second_name_for_a_recording_that_is_open_changes_nothing() -> None:
    company = Company()
    company.recording()
    assert company.opened(recording=name(2)) == []
    assert company.ended()[1] == fx.Finish(R1, company.now)


def test_the_effects_of_one_call_concern_no_other() -> None:
    company = Company(replace(SOUND_POLICY, enrolments=(replace(SOUND_ENROLMENT, ends_at_ns=NOW + 10 * DAY),)))
    company.recording(1, "pbx")
    company.recording(2, "pbx", parties=call_between(STRANGER, BRUNOS_LINE))
    assert company.conductor.calls_under_way == 2
    assert company.private(1) == [fx.Discard(R1)]
    assert company.ended(2) == [fx.Finish(R2, company.now), fx.Release(2)]
    assert company.conductor.calls_under_way == 1


@pytest.mark.parametrize(
    "event",
    [
        ev.Offered(1, "sbc", call_between(CUSTOMER, ANNAS_LINE), STREAMS, None, NOW, frozenset({"2001-call-id"})),
        ev.PartiesChanged(1, call_between(CUSTOMER, ANNAS_LINE), NOW),
        ev.DigitPressed(R1, Side.CALLEE, "7", NOW),
        ev.PolicyChanged(replace(POLICY, exclusions=SelectorSet(())), NOW),
    ],
    ids=lambda e: type(e).__name__,
)
def test_repr_of_an_event_shows_no_identity_and_no_digit(event: ev.Event) -> None:
    for hidden in ("2001", "33612345678", "call-id", "digit", "pbx.example"):
        assert hidden not in shown(event)
