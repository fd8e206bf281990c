"""One call in several sessions is one recording, related calls are one story, and whoever denies one denies it all."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sipgate.core import effects as fx
from sipgate.core import join
from sipgate.core.events import Party, Side
from sipgate.core.join import DENIED_NS, LINGER_NS, LONGEST_STORY, RACE_NS
from tests.core.world import (
    ANNAS_LINE,
    BRUNOS_LINE,
    COLLEAGUE,
    CUSTOMER,
    DESK,
    REPRESENTATIVE,
    SECOND,
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

ANNAS = call_between(CUSTOMER, ANNAS_LINE)
BRUNOS = call_between(CUSTOMER, BRUNOS_LINE)
PROTECTED = call_between(CUSTOMER, REPRESENTATIVE)
NAMELESS = (party(Side.CALLER, CUSTOMER), party(Side.CALLEE))
R1, R2, R3 = name(1), name(2), name(3)
EITHER_ORDER = pytest.mark.parametrize(("over", "on"), [("a", "b"), ("b", "a")])
DENIES = pytest.mark.parametrize("parties", [PROTECTED, NAMELESS], ids=["protected", "not identified"])


def sound_company() -> Company:
    """Anna's and Bruno's sound is recorded, over a connection that passes telephone keys."""
    return Company(SOUND_POLICY, workstations=())


def record(
    company: Company, session: int, keys: str = "call", parties: tuple[Party, ...] = ANNAS, story_keys: str = ""
) -> str:
    """A session that is recorded; gives its story."""
    offered = company.offered(session, parties, "pbx", keys=keys, story_keys=story_keys)
    assert offered[0] == fx.Open(session, STREAMS)
    company.opened(session)
    (begun,) = [e for e in company.answered(session) if isinstance(e, fx.Begin)]
    return begun.story


def offer(
    company: Company, session: int, keys: str = "call", parties: tuple[Party, ...] = ANNAS, story_keys: str = ""
) -> list[fx.Effect]:
    return company.offered(session, parties, "pbx", keys=keys, story_keys=story_keys)


def assert_nothing_is_remembered(company: Company) -> None:
    joins = company.conductor._joins
    assert (joins._calls, joins._named, joins._of, joins._recorded, joins._over) == ({}, {}, {}, {}, [])


# --- one call, one recording ----------------------------------------------------------------------------------------


def test_two_recorders_sessions_of_one_call_are_one_recording() -> None:
    company = sound_company()
    record(company, 1, "call-id refci")
    assert offer(company, 2, "refci other") == [fx.Refuse(2)]
    assert offer(company, 3, "other") == [fx.Refuse(3)], "what the second showed is known too"
    assert company.ended(1) == [fx.Finish(R1, company.now), fx.Release(1)]


def test_without_a_key_in_common_they_are_two() -> None:
    company = sound_company()
    assert record(company, 1, "a") != record(company, 2, "b")


def test_after_the_first_has_ended_another_session_of_the_call_is_a_further_recording_of_the_story() -> None:
    company = sound_company()
    story = record(company, 1)
    company.ended(1)
    assert record(company, 2) == story


def test_where_the_first_was_cut_the_next_session_is_recorded() -> None:
    """A client that vanished is replaced by its stand-in: the first one's silence has cut it."""
    company = sound_company()
    story = record(company, 1)
    company.media_failed(1)
    assert record(company, 2) == story


def test_a_transfer_under_the_same_call_id_is_a_recording_for_each_owner_in_one_story() -> None:
    company = sound_company()
    story = record(company, 1, parties=ANNAS)
    assert record(company, 2, parties=BRUNOS) == story
    assert company.ended(1) == [fx.Finish(R1, company.now), fx.Release(1)]
    assert company.ended(2) == [fx.Finish(R2, company.now), fx.Release(2)]


def test_a_second_session_that_shows_another_enrolled_person_on_the_other_side_cuts_the_first() -> None:
    """Both parties are enrolled: it would be neither's own."""
    company = sound_company()
    record(company, 1)
    assert offer(company, 2, parties=call_between(BRUNOS_LINE, ANNAS_LINE)) == [
        fx.Refuse(2),
        fx.Finish(R1, company.now),
    ]


def test_a_refused_session_of_a_call_that_nobody_records_leaves_nothing_that_could_join() -> None:
    company = sound_company()
    assert offer(company, 1, "call", call_between(CUSTOMER, COLLEAGUE), "group") == [fx.Refuse(1)]
    assert record(company, 2, "call", story_keys="group")


@EITHER_ORDER
def test_what_has_ended_goes_on_with_the_call_that_it_turns_out_to_be(over: str, on: str) -> None:
    company = sound_company()
    story = record(company, 1, over)
    company.ended(1)
    record(company, 2, on)
    assert fx.Refuse(3) in offer(company, 3, "a b")
    company.tick(LINGER_NS / SECOND)
    company.conductor.forget(company.now)
    assert offer(company, 4, over) == [fx.Refuse(4)]
    assert company.ended(2) == [fx.Finish(R2, company.now), fx.Release(2)]
    company.tick(LINGER_NS / SECOND - 10)
    assert record(company, 5, over) == story
    company.ended(5)
    company.conductor.forget(company.now + LINGER_NS)
    assert_nothing_is_remembered(company)


# --- deny wins ------------------------------------------------------------------------------------------------------


@DENIES
def test_a_second_session_that_shows_a_protected_party_discards_the_recording_under_way(
    parties: tuple[Party, ...],
) -> None:
    company = sound_company()
    record(company, 1)
    assert offer(company, 2, parties=parties) == [fx.Refuse(2), fx.Discard(R1)]
    assert company.ended(1) == [fx.Release(1)]


@DENIES
def test_in_the_other_order_the_second_session_is_refused(parties: tuple[Party, ...]) -> None:
    company = sound_company()
    assert offer(company, 1, parties=parties) == [fx.Refuse(1)]
    assert offer(company, 2) == [fx.Refuse(2)]
    assert offer(company, 3, "another") == [fx.Open(3, STREAMS)]


def test_a_denied_call_is_taken_to_be_over_after_some_hours() -> None:
    company = sound_company()
    offer(company, 1, parties=PROTECTED)
    company.tick(DENIED_NS / SECOND)
    assert offer(company, 2) == [fx.Open(2, STREAMS)]


def test_the_session_that_shows_two_to_be_one_call_brings_the_denial_of_one_to_the_other() -> None:
    company = sound_company()
    offer(company, 1, "a", PROTECTED)
    record(company, 2, "b")
    assert offer(company, 3, "a b") == [fx.Refuse(3), fx.Discard(R2)]
    assert offer(company, 4, "b") == [fx.Refuse(4)]


@EITHER_ORDER
def test_a_call_that_goes_on_is_not_forgotten_with_what_had_ended_of_it(over: str, on: str) -> None:
    company = sound_company()
    record(company, 1, over)
    company.ended(1)
    record(company, 2, on)
    assert fx.Refuse(3) in offer(company, 3, "a b")
    company.tick(LINGER_NS / SECOND)
    company.conductor.forget(company.now)
    assert offer(company, 4, on, PROTECTED) == [fx.Refuse(4), fx.Discard(R2), fx.Discard(R1)]
    assert company.ended(2) == [fx.Release(2)]
    company.conductor.forget(company.now + DENIED_NS)
    assert_nothing_is_remembered(company)


def test_what_was_finished_of_the_same_call_goes_as_well() -> None:
    company = sound_company()
    record(company, 1)
    company.ended(1)
    company.kept(1)
    assert offer(company, 2, parties=PROTECTED) == [fx.Refuse(2), fx.Discard(R1)]


def test_a_protected_party_who_joins_one_session_discards_what_all_others_of_the_call_recorded() -> None:
    company = sound_company()
    record(company, 1)
    record(company, 2, parties=BRUNOS)
    assert company.parties(PROTECTED, 2) == [fx.Discard(R1), fx.Discard(R2)]
    assert offer(company, 3) == [fx.Refuse(3)]


def test_also_when_that_session_is_itself_not_recorded_any_more() -> None:
    company = sound_company()
    record(company, 1)
    offer(company, 2, parties=BRUNOS)
    company.opened(2)
    company.media_failed(2)
    assert company.parties(PROTECTED, 2) == [fx.Discard(R1)]


def test_a_party_whom_only_the_refused_session_showed_is_protected_in_mid_call() -> None:
    company = sound_company()
    record(company, 1)
    offer(company, 2, parties=call_between(CUSTOMER, ANNAS_LINE, STRANGER))
    policy = replace(SOUND_POLICY, exclusions=lines("2100", "+33698765432"))
    assert company.policy(policy) == [fx.Discard(R1)]


def test_a_client_that_gives_all_its_calls_one_key_slows_no_decision_down() -> None:
    company = sound_company()
    record(company, 1)
    for session in range(2, 200):
        assert offer(company, session, parties=call_between(f"sip:+336{session:08}@x", COLLEAGUE)) == [
            fx.Refuse(session)
        ]
    assert len(company.conductor._joins.of(1).others) <= 18
    assert offer(company, 200, parties=PROTECTED) == [fx.Refuse(200), fx.Discard(R1)]


def test_what_a_refused_session_showed_is_forgotten_with_the_call() -> None:
    company = sound_company()
    record(company, 1)
    offer(company, 2, parties=call_between(CUSTOMER, ANNAS_LINE, STRANGER))
    company.ended(1)
    company.policy(replace(SOUND_POLICY, exclusions=lines("2100", "+33698765432")))
    assert record(company, 3)


def test_calls_of_the_story_that_go_on_when_a_protected_party_joins_one_go_too_and_those_before_stay() -> None:
    company = sound_company()
    record(company, 1, "a", story_keys="group")
    company.ended(1)
    record(company, 2, "b", story_keys="group")
    assert offer(company, 3, "c", PROTECTED, "group") == [fx.Refuse(3), fx.Discard(R2)]
    assert offer(company, 4, "d", story_keys="group") == [fx.Refuse(4)], "the refused call may still go on"
    assert company.private(1) == [fx.Discard(R1)]


def test_once_the_protected_call_is_seen_to_end_the_story_goes_on_without_it() -> None:
    company = sound_company()
    story = record(company, 1, "a", story_keys="group")
    record(company, 2, "b", story_keys="group")
    company.parties(PROTECTED, 2)
    assert offer(company, 3, "c", story_keys="group") == [fx.Refuse(3)]
    company.ended(2)
    assert record(company, 4, "d", story_keys="group") == story
    assert offer(company, 5, "b", story_keys="group") == [fx.Refuse(5)], "the call itself stays denied"


def test_not_this_call_holds_for_every_session_of_the_call_and_for_no_other_call_of_the_story() -> None:
    company = sound_company()
    record(company, 1, "a", story_keys="group")
    record(company, 2, "a", BRUNOS, "group")
    record(company, 3, "c", story_keys="group")
    assert company.private(1) == [fx.Discard(R1), fx.Discard(R2)]
    assert offer(company, 4, "a") == [fx.Refuse(4)]
    assert company.ended(3) == [fx.Finish(R3, company.now), fx.Release(3)]


def test_not_this_call_said_after_its_end_holds_for_the_part_that_goes_on() -> None:
    company = sound_company()
    record(company, 1)
    company.ended(1)
    record(company, 2, parties=BRUNOS)
    assert company.private(1) == [fx.Discard(R2), fx.Discard(R1)]


def test_not_this_call_said_before_the_answer() -> None:
    company = sound_company()
    offer(company, 1)
    company.opened(1)
    assert company.private(1) == [fx.Discard(R1)]
    assert offer(company, 2) == [fx.Refuse(2)]


# --- stories --------------------------------------------------------------------------------------------------------


def test_calls_of_one_group_are_one_story_whose_name_says_nothing() -> None:
    company = sound_company()
    story = record(company, 1, "a", story_keys="group")
    company.ended(1)
    assert record(company, 2, "b", BRUNOS, "group") == story
    assert record(company, 3, "c") != story
    assert re.fullmatch("[0-9a-f]{32}", story)
    other = sound_company()
    other.conductor._joins._pepper = b"of another process"
    assert record(other, 1, "a", story_keys="group") != story


def test_a_call_that_replaces_another_is_of_its_story() -> None:
    """``Replaces`` names the other call by its Call-ID."""
    company = sound_company()
    story = record(company, 1, "consultation")
    assert record(company, 2, "b", BRUNOS, "consultation") == story


def test_an_attended_transfer_makes_one_story_of_two_that_had_begun_apart() -> None:
    company = sound_company()
    first = record(company, 1, "a", story_keys="end-1")
    company.ended(1)
    second = record(company, 2, "b", story_keys="end-2")
    assert first != second
    effects = offer(company, 3, "c", BRUNOS, "end-1 end-2")
    assert effects == [fx.Open(3, STREAMS), fx.Retell(R2, first)]
    assert record(company, 4, "d", call_between(STRANGER, ANNAS_LINE), "end-2") == first


def test_when_both_were_one_call_it_is_the_older_story_too() -> None:
    company = sound_company()
    first = record(company, 1, "a")
    second = record(company, 2, "b", BRUNOS)
    assert first != second
    assert company.keys(2, "a b") == [fx.Retell(R2, first)]
    assert company.private(2) == [fx.Discard(R1), fx.Discard(R2)]
    assert company.keys(77, "a") == []


def test_what_a_session_turns_out_to_belong_to_can_deny_it() -> None:
    company = sound_company()
    offer(company, 1, "a", PROTECTED)
    record(company, 2, "b")
    assert company.keys(2, "b", "a") == [fx.Discard(R2)]
    company.ended(2)


def test_some_time_after_its_last_call_a_story_is_over() -> None:
    company = sound_company()
    story = record(company, 1, "a", story_keys="group")
    company.ended(1)
    company.tick(LINGER_NS / SECOND - 10)
    assert record(company, 2, "b", story_keys="group") == story
    company.ended(2)
    company.tick(LINGER_NS / SECOND)
    assert record(company, 3, "a", story_keys="group") != story


def test_a_call_that_came_to_nothing_begins_no_story() -> None:
    company = sound_company()
    offer(company, 1, "a", story_keys="group")
    company.open_failed(1)
    offer(company, 2, "b", story_keys="group")
    company.opened(2)
    company.ended(2)
    offer(company, 3, "c", story_keys="group")
    company.ended(3)
    company.opened(3)
    company.conductor.forget(company.now)
    assert_nothing_is_remembered(company)


def test_a_group_that_a_client_gives_to_all_its_calls_is_no_story() -> None:
    company = Company(with_enrolment(SOUND_POLICY, capacity=2 * LONGEST_STORY), workstations=())
    of = [record(company, n, f"call-{n}", story_keys="always") for n in range(1, LONGEST_STORY + 2)]
    assert len(set(of)) == 2
    assert of[-1] != of[0]
    for session in range(1, LONGEST_STORY + 2):
        company.ended(session)
    company.conductor.forget(company.now + LINGER_NS)
    assert not company.conductor._joins._named


def test_no_more_than_so_many_ended_calls_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join, "_REMEMBERED", 2)
    company = sound_company()
    for session in (1, 2, 3):
        offer(company, session, f"call-{session}", PROTECTED)
    assert offer(company, 4, "call-3") == [fx.Refuse(4)]
    assert offer(company, 5, "call-1") == [fx.Open(5, STREAMS)]


def test_a_denied_call_that_is_offered_again_and_again_pushes_no_other_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join, "_REMEMBERED", 2)
    company = sound_company()
    offer(company, 1, "one", PROTECTED)
    for session in range(2, 30):
        assert offer(company, session, "another", ANNAS if session % 2 else PROTECTED) == [fx.Refuse(session)]
    assert offer(company, 30, "one") == [fx.Refuse(30)]
    company.tick(DENIED_NS / SECOND - 60)
    assert offer(company, 31, "another") == [fx.Refuse(31)], "it is known as long after the last time, but for a minute"
    company.conductor.forget(company.now + DENIED_NS)
    assert_nothing_is_remembered(company)


def test_what_refused_calls_named_leaves_a_story_that_goes_on() -> None:
    company = sound_company()
    story = record(company, 1, "a", story_keys="group")
    joins = company.conductor._joins
    for session in range(2, 80):
        parties = call_between(CUSTOMER, COLLEAGUE)
        assert offer(company, session, f"call-{session}", parties, f"group a end-{session}") == [fx.Refuse(session)]
        assert len(joins._calls) == 1
        assert len(joins._named) == len(joins.of(1).story.keys) == 2
    assert record(company, 80, "b", BRUNOS, "group") == story
    assert record(company, 81, "c", call_between(STRANGER, ANNAS_LINE), "a") == story


def test_what_a_call_named_that_is_over_leaves_a_story_that_goes_on() -> None:
    company = sound_company()
    story = record(company, 1, "a", story_keys="group end-1")
    company.ended(1)
    assert record(company, 2, "b", story_keys="group") == story
    company.tick(LINGER_NS / SECOND)
    assert record(company, 3, "c", BRUNOS, "end-1") != story, "what the first call alone was known by"
    assert record(company, 4, "d", call_between(STRANGER, ANNAS_LINE), "group") == story


def test_repr_shows_no_key_and_nobody() -> None:
    company = sound_company()
    record(company, 1, "secret-call-id", story_keys="secret-group")
    offer(company, 2, "secret-call-id", call_between(CUSTOMER, ANNAS_LINE, STRANGER))
    joined = company.conductor._joins.of(1)
    for hidden in ("secret", "612345678", "698765432", "2001"):
        assert hidden not in shown(joined) + shown(joined.story) + shown(company.conductor._joins)


# --- when is the answer? --------------------------------------------------------------------------------------------


def test_a_session_that_begins_at_the_answer_tells_one_that_began_early() -> None:
    company = sound_company()
    offer(company, 1)
    company.opened(1)
    answered = company.now + SECOND
    effects = company.offered(2, ANNAS, "pbx", answered, keys="call")
    assert effects[0] == fx.Refuse(2)
    assert isinstance(effects[1], fx.Begin)
    assert (effects[1].recording, effects[1].answered_at_ns) == (R1, answered)
    assert company.offered(3, ANNAS, "pbx", company.now, keys="call") == [fx.Refuse(3)], "answered already"


def test_another_owners_answer_is_not_the_answer() -> None:
    company = sound_company()
    offer(company, 1)
    company.opened(1)
    assert company.offered(2, BRUNOS, "pbx", company.now, keys="call") == [fx.Open(2, STREAMS)]
    assert company.opened(2)
    assert company.ended(1) == [fx.Discard(R1), fx.Release(1)]


def watch(company: Company, session: int, parties: tuple[Party, ...] = ANNAS, keys: str = "call") -> list[fx.Effect]:
    """A tap that sees the signalling alone."""
    return company.offered(session, parties, "pbx", keys=keys, streams=())


@pytest.mark.parametrize("signalling_first", [True, False])
def test_a_tap_that_sees_the_signalling_tells_the_answer(signalling_first: bool) -> None:
    company = sound_company()
    if signalling_first:
        assert watch(company, 9) == []
    offer(company, 1)
    company.opened(1)
    if not signalling_first:
        assert watch(company, 9) == []
    (begun,) = company.answered(9)
    assert isinstance(begun, fx.Begin)
    assert (begun.recording, begun.answered_at_ns) == (R1, company.now)
    assert company.ended(9) == []
    assert company.ended(1) == [fx.Finish(R1, company.now), fx.Release(1)]


def test_the_answer_may_be_seen_a_moment_before_the_session_is_offered() -> None:
    company = sound_company()
    watch(company, 9)
    company.answered(9)
    company.tick(RACE_NS / SECOND - 1)
    offer(company, 1)
    (begun,) = company.opened(1)
    assert isinstance(begun, fx.Begin)
    assert begun.answered_at_ns == company.now - SECOND


def test_an_answer_of_long_ago_is_not_that_of_a_session_that_begins_to_ring_now() -> None:
    company = sound_company()
    watch(company, 9)
    company.answered(9)
    company.tick(RACE_NS / SECOND)
    offer(company, 1, parties=BRUNOS)
    assert company.opened(1) == []


def test_whom_such_a_tap_shows_is_protected_in_every_order() -> None:
    company = sound_company()
    assert watch(company, 9, PROTECTED) == []
    assert offer(company, 1) == [fx.Refuse(1)]
    other = sound_company()
    record(other, 1)
    assert watch(other, 9, PROTECTED) == [fx.Discard(R1)]
    third = sound_company()
    record(third, 1)
    watch(third, 9)
    assert third.parties(PROTECTED, 9) == [fx.Discard(R1)]
    assert third.parties(ANNAS, 9) == []
    assert offer(third, 2) == [fx.Refuse(2)]


def test_whom_such_a_tap_cannot_name_yet_it_may_name_later() -> None:
    company = sound_company()
    watch(company, 9, NAMELESS)
    company.parties(ANNAS, 9)
    assert record(company, 1)
    assert company.parties(NAMELESS, 9) == [fx.Discard(R1)]


def test_a_call_that_such_a_tap_alone_sees_is_forgotten_with_its_end() -> None:
    company = sound_company()
    watch(company, 9)
    assert company.keys(9, "call more", "group") == []
    company.ended(9)
    assert not company.conductor._joins._calls
    watch(company, 10, PROTECTED)
    company.ended(10)
    assert offer(company, 1) == [fx.Refuse(1)]


@EITHER_ORDER
def test_a_call_that_such_a_tap_alone_still_sees_is_not_forgotten_with_what_had_ended_of_it(over: str, on: str) -> None:
    company = sound_company()
    record(company, 1, over)
    company.ended(1)
    transferred = call_between(CUSTOMER, COLLEAGUE)
    watch(company, 8, transferred, on)
    assert offer(company, 3, "a b", transferred) == [fx.Refuse(3)]
    company.tick(LINGER_NS / SECOND)
    assert company.parties(PROTECTED, 8) == [fx.Discard(R1)]


def test_two_calls_of_which_such_a_tap_shows_that_they_are_one_keep_the_last_answer() -> None:
    company = sound_company()
    watch(company, 8, keys="a")
    company.answered(8)
    watch(company, 9, keys="b")
    company.answered(9)
    company.keys(9, "a")
    assert offer(company, 1, "b") == [fx.Open(1, STREAMS)]
    assert company.opened(1)


# --- whatever the order ---------------------------------------------------------------------------------------------

KEYS = st.lists(st.sampled_from("abcde"), min_size=1, max_size=2, unique=True)
STORY_KEYS = st.lists(st.sampled_from("UVWXa"), max_size=2, unique=True)


class Seen:
    """What the model knows of one session that was offered."""

    def __init__(self, session: int, keys: set[str], story_keys: set[str]) -> None:
        self.session, self.keys, self.story_keys = session, keys, story_keys
        self.open = self.begun = self.gone = self.recorded = False
        self.lost = False
        self.denies = self.privately = self.unseen = False


class AnyOrder(RuleBasedStateMachine):
    """Sessions of several calls and stories come, are answered, joined, denied and end, all within the time that calls
    are remembered. The model knows nothing but who shares a key with whom, and works it out anew after every event."""

    def __init__(self) -> None:
        super().__init__()
        self.company = sound_company()
        self.seen: list[Seen] = []
        self.kept: set[str] = set()

    def closure(self, start: Seen, *, story: bool) -> list[Seen]:
        group = [start]
        for one in group:
            for other in self.seen:
                shared = one.keys & other.keys
                if story:
                    shared = (one.keys | one.story_keys) & (other.keys | other.story_keys)
                if shared and other not in group:
                    group.append(other)
        return group

    def work_out(self) -> None:
        for one in self.live():
            group = self.closure(one, story=True)
            one.privately |= any(o.denies and (o.unseen or not o.gone) for o in group)
        for one in self.seen:
            if any(o.denies or o.privately for o in self.closure(one, story=False)):
                one.lost = True

    def do(self, effects: list[fx.Effect]) -> None:
        for effect in effects:
            match effect:
                case fx.Finish(recording):
                    self.kept.add(recording)
                case fx.Discard(recording):
                    self.kept.discard(recording)
                case _:
                    pass
        self.work_out()

    def live(self) -> list[Seen]:
        return [s for s in self.seen if s.recorded and not s.gone]

    @precondition(lambda self: len(self.seen) < 12)
    @rule(keys=KEYS, story=STORY_KEYS, who=st.sampled_from([ANNAS, ANNAS, BRUNOS, PROTECTED, NAMELESS]))
    def offer(self, keys: list[str], story: list[str], who: tuple[Party, ...]) -> None:
        one = Seen(len(self.seen) + 1, set(keys), set(story))
        self.seen.append(one)
        one.denies = one.unseen = who in (PROTECTED, NAMELESS)
        effects = offer(self.company, one.session, " ".join(keys), who, " ".join(story))
        one.recorded = fx.Open(one.session, STREAMS) in effects
        assert not (one.recorded and one.denies)
        group = self.closure(one, story=True)
        one.privately = any(o.denies and (o.unseen or not o.gone) for o in group)
        self.do(effects)
        if one.recorded:
            assert not one.lost
            self.do(self.company.opened(one.session))
            self.do(self.company.answered(one.session))

    @precondition(lambda self: self.live())
    @rule(data=st.data(), keys=KEYS, story=STORY_KEYS)
    def keys(self, data: st.DataObject, keys: list[str], story: list[str]) -> None:
        one = data.draw(st.sampled_from(self.live()))
        one.keys |= set(keys)
        one.story_keys |= set(story)
        self.do(self.company.keys(one.session, " ".join(keys), " ".join(story)))

    @precondition(lambda self: self.live())
    @rule(data=st.data(), who=st.sampled_from([ANNAS, BRUNOS, PROTECTED, NAMELESS]))
    def parties(self, data: st.DataObject, who: tuple[Party, ...]) -> None:
        one = data.draw(st.sampled_from(self.live()))
        one.denies |= who in (PROTECTED, NAMELESS)
        self.do(self.company.parties(who, one.session))

    @precondition(lambda self: self.seen)
    @rule(data=st.data())
    def private(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.seen))
        if one.recorded and not one.lost:
            one.privately = True
            self.do(self.company.private(one.session))

    @precondition(lambda self: self.live())
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.live()))
        effects = self.company.ended(one.session)
        one.gone = True
        self.do(effects)

    @invariant()
    def nothing_of_a_denied_call_is_kept_or_goes_on(self) -> None:
        for one in self.seen:
            if one.lost:
                assert name(one.session) not in self.kept
                call = self.company.conductor._calls.get(one.session)
                assert call is None or call.recording is None or call.state.name == "SPENT"

    @invariant()
    def what_nobody_denied_is_kept(self) -> None:
        for one in self.seen:
            if one.recorded and one.gone and not one.lost:
                assert name(one.session) in self.kept

    @invariant()
    def one_call_has_one_story(self) -> None:
        for one in self.live():
            for other in self.live():
                if other in self.closure(one, story=True):
                    joins = self.company.conductor._joins
                    assert joins.of(one.session).story is joins.of(other.session).story

    def teardown(self) -> None:
        for one in self.live():
            self.company.ended(one.session)
        self.company.conductor.forget(self.company.now + DENIED_NS + LINGER_NS)
        assert_nothing_is_remembered(self.company)


class TestAnyOrder(AnyOrder.TestCase):  # type: ignore[misc,valid-type]  # made by Hypothesis at run time
    """A sample of some seconds: ``tests/property/test_any_join.py`` draws more under ``--long``."""

    settings = settings(max_examples=40, stateful_step_count=25)


def test_film_goes_with_the_call_it_belongs_to() -> None:
    company = Company()
    company.recording(1, "pbx", keys="call")
    assert company.offered(2, PROTECTED, "pbx", keys="call") == [
        fx.Refuse(2),
        fx.DiscardFilm(R1, DESK),
        fx.Discard(R1),
    ]
