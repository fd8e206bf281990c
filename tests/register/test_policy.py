"""What the register says, as core decides by it: from an empty one, which records nothing, to one call permitted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from sipgate.core.events import Party, Side
from sipgate.core.lines import Selector, identities_of, parse_selector
from sipgate.core.policy import (
    Connection,
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
from sipgate.register.days import ends_at_ns, starts_at_ns
from tests.register.site import DAY, FORM, NOW, TODAY, Site, days

AGENT, CUSTOMER, COUNCIL = "sip:2001@pbx.example", "sip:+33612345678@trunk.example", "sip:2100@pbx.example"
REACHABLE = Surroundings(reachable=frozenset({"desk-1"}), keyed=frozenset(Side))


def policy_of(
    site: Site, at_ns: int = NOW, file: Sequence[Selector] = (), *, readable: bool = True, key: str | None = "*9"
) -> Policy:
    return site.register.policy(
        now_ns=at_ns,
        connections={"pbx": Connection("pbx", key)},
        file_exclusions=file,
        file_readable=readable,
        frames_per_second=10,
        domains=frozenset(),
    )


def decision(site: Site, caller: str = CUSTOMER, callee: str = AGENT, at_ns: int = NOW, **policy: Any) -> Decision:
    parties = [Party(side, identities_of(uri, "FR")) for side, uri in zip(Side, (caller, callee), strict=True)]
    return decide(policy_of(site, at_ns, **policy), "pbx", parties, at_ns, REACHABLE)


@pytest.fixture
def ready(site: Site) -> Site:
    """Everything that a sound recording of 2001 needs, and nothing more."""
    site.line("2001")
    site.sound("2000-2999")
    site.register.notices.acknowledge(site.trainee, site.register.notices.publish("notice", NOW), NOW)
    site.open_gate()
    return site


def test_a_fresh_install_records_nothing(site: Site) -> None:
    policy = policy_of(site)
    assert (policy.gate_open, policy.enrolments, policy.holders) == (False, (), ())
    assert decision(site) == Refused(Reason.GATE_CLOSED)


def test_with_every_condition_met_the_sound_is_permitted_and_is_the_holders(ready: Site) -> None:
    assert decision(ready) == Permitted(ready.trainee, 1, Side.CALLEE, None, "*9")


def test_a_film_is_permitted_for_its_trainee_with_its_plan(ready: Site) -> None:
    film = ready.film().id
    ready.open_gate()
    plan = FilmPlan("desk-1", FORM, 10)
    assert decision(ready) == Permitted(ready.trainee, film, Side.CALLEE, plan, "*9")


UNDO: list[tuple[Callable[[Site], object], Reason]] = [
    (lambda s: s.register.gate.close(NOW), Reason.GATE_CLOSED),
    (lambda s: s.sound("3000"), Reason.GATE_CLOSED),
    (lambda s: s.register.enrolments.end(1, NOW), Reason.NOT_ENROLLED),
    (lambda s: s.register.lines.release(1, NOW), Reason.NO_HOLDER),
    (lambda s: s.register.notices.publish("a new notice", NOW), Reason.NOT_ACKNOWLEDGED),
]


@pytest.mark.parametrize(("undo", "reason"), UNDO)
def test_any_condition_taken_away_stops_it_and_raises_the_revision(
    ready: Site, undo: Callable[[Site], object], reason: Reason
) -> None:
    before = ready.register.revision()
    undo(ready)
    assert decision(ready) == Refused(reason)
    assert ready.register.revision() > before


def test_a_full_backlog_stops_it_and_one_review_frees_a_place(ready: Site) -> None:
    for name in "abcde":
        ready.recording(name * 32, 1)
    assert decision(ready) == Refused(Reason.BACKLOG_FULL)
    before = ready.register.revision()
    ready.register.recordings.mark_reviewed("a" * 32, ready.trainer, NOW)
    assert isinstance(decision(ready), Permitted)
    assert ready.register.revision() > before


def test_an_exclusion_protects_from_the_list_and_from_the_file_within_any_range(ready: Site) -> None:
    assert isinstance(decision(ready, callee="sip:2001@pbx.example"), Permitted)
    ready.register.exclusions.exclude("2100", ready.admin, NOW)
    assert decision(ready, caller=COUNCIL) == Protected()
    assert decision(ready, file=[parse_selector("2001", "FR")]) == Protected()


def test_an_unreadable_file_records_nothing_and_what_was_read_last_still_protects(ready: Site) -> None:
    assert decision(ready, readable=False) == Refused(Reason.EXCLUSIONS_UNREADABLE)
    assert decision(ready, readable=False, file=[parse_selector("2001", "FR")]) == Protected()


def test_an_enrolment_is_in_force_from_its_first_local_day_to_its_last(ready: Site) -> None:
    ready.register.enrolments.end(1, NOW)
    ready.sound("2000-2999", starts_on=days(2), ends_on=days(3))
    (enrolment,) = policy_of(ready).enrolments
    assert (enrolment.starts_at_ns, enrolment.ends_at_ns) == (starts_at_ns(days(2)), starts_at_ns(days(4)))
    for moment, permitted in (
        (starts_at_ns(days(2)) - 1, False),
        (starts_at_ns(days(2)), True),
        (ends_at_ns(days(3)) - 1, True),
        (ends_at_ns(days(3)), False),
    ):
        assert isinstance(decision(ready, at_ns=moment), Permitted) is permitted
    assert policy_of(ready, ends_at_ns(days(3))).enrolments == ()


def test_each_person_holds_their_own_line_and_acknowledges_for_themselves(ready: Site) -> None:
    ready.line("2002", person=ready.other_trainee)
    assert [(one.person, one.acknowledged) for one in policy_of(ready).holders] == [
        (ready.trainee, True),
        (ready.other_trainee, False),
    ]
    assert decision(ready, callee="sip:2002@pbx.example") == Refused(Reason.NOT_ACKNOWLEDGED)


REVISING: list[Callable[[Site], object]] = [
    lambda s: s.register.exclusions.exclude("2100", None, NOW),
    lambda s: s.register.notices.publish("another", NOW),
    lambda s: s.register.lines.assign(s.other_trainee, ["2002"], NOW),
    lambda s: s.sound("2001"),
    lambda s: s.open_gate(),
    lambda s: s.recording("f" * 32, 1),
]


@pytest.mark.parametrize("change", REVISING)
def test_every_change_that_could_alter_the_policy_raises_the_revision(
    ready: Site, change: Callable[[Site], object]
) -> None:
    before = ready.register.revision()
    change(ready)
    assert ready.register.revision() > before


def test_what_cannot_alter_the_policy_leaves_the_revision(ready: Site) -> None:
    ready.recording("f" * 32, 1)
    before = ready.register.revision()
    ready.register.workstations.add("desk-7", NOW)
    ready.register.consultations.of("f" * 32)
    ready.register.people.change_password(ready.trainee, "another long password")
    policy_of(ready)
    assert ready.register.revision() == before


def test_removing_an_exclusion_raises_the_revision(ready: Site) -> None:
    row = ready.register.exclusions.exclude("2100", None, NOW)
    ready.register.exclusions.request_removal(row.id, ready.admin, NOW)
    before = ready.register.revision()
    ready.register.exclusions.confirm_removal(row.id, ready.dpo, NOW)
    assert ready.register.revision() > before
    assert isinstance(decision(ready, callee=AGENT), Permitted)


def test_the_repr_of_a_policy_shows_no_line(ready: Site) -> None:
    ready.register.exclusions.exclude("+33142685300", None, NOW)
    shown = repr(policy_of(ready))
    assert "2001" not in shown
    assert "33142685300" not in shown


def test_a_day_is_the_servers_local_one_also_when_it_has_23_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    from time import tzset

    monkeypatch.setenv("TZ", "Europe/Paris")
    tzset()
    try:
        spring = TODAY.replace(year=2026, month=3, day=29)
        assert ends_at_ns(spring) - starts_at_ns(spring) == 23 * DAY // 24
        assert starts_at_ns(TODAY.replace(month=7, day=1)) % DAY == 22 * DAY // 24
    finally:
        monkeypatch.undo()
        tzset()
