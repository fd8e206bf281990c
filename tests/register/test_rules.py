"""What may be enrolled, signed, excluded: every rule that the register holds, each by the error that names it."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipgate.core.lines import parse_selector
from sipgate.errors import LineSyntaxError, RegisterError, RuleError
from sipgate.register.exclusions import REQUEST_STANDS_NS
from sipgate.register.gate import covers
from sipgate.register.models import Base
from sipgate.register.rows import ExclusionRow, Line
from tests.register.site import DAY, FORM, NOW, TODAY, Site, days

# --- R9: notice ------------------------------------------------------------------------------------------------------


def test_without_a_notice_nobody_has_acknowledged(site: Site) -> None:
    assert site.register.notices.current() is None
    assert not site.register.notices.acknowledged(site.trainee)
    with pytest.raises(RuleError, match="R9"):
        site.register.notices.acknowledge(site.trainee, 1, NOW)


def test_an_acknowledgement_holds_for_its_version_alone(site: Site) -> None:
    notices = site.register.notices
    first = notices.publish("We record calls for training.", NOW)
    notices.acknowledge(site.trainee, first, NOW)
    notices.acknowledge(site.trainee, first, NOW + 1)
    assert notices.acknowledged(site.trainee)
    assert not notices.acknowledged(site.other_trainee)
    second = notices.publish("We record calls and film the order form.", NOW)
    assert not notices.acknowledged(site.trainee)
    with pytest.raises(RuleError, match="R9"):
        notices.acknowledge(site.trainee, first, NOW)
    current = notices.current()
    assert current is not None
    assert (current.version, current.text) == (second, "We record calls and film the order form.")


def test_an_empty_notice_and_a_stranger_are_refused(site: Site) -> None:
    with pytest.raises(RuleError, match="R9"):
        site.register.notices.publish(" \n", NOW)
    with pytest.raises(RegisterError):
        site.register.notices.acknowledge(99, 1, NOW)


# --- lines -----------------------------------------------------------------------------------------------------------


def test_a_line_is_known_by_its_normal_forms_and_released(site: Site) -> None:
    line = site.register.lines.assign(site.trainee, ["2001", "01 42 68 53 01", "sip:anna@PBX.example", "2001"], NOW)
    assert line.identities == ("2001", "+33142685301", "sip:anna@pbx.example")
    assert site.register.lines.all() == site.register.lines.of(site.trainee) == (line,)
    assert site.register.lines.of(site.other_trainee) == ()
    site.register.lines.release(line.id, NOW)
    assert site.register.lines.all() == ()
    with pytest.raises(RegisterError, match="not assigned"):
        site.register.lines.release(line.id, NOW)
    site.line("2001", person=site.other_trainee)


def test_one_identity_is_one_persons_however_it_is_written(site: Site) -> None:
    line = site.line("2001", "+33142685301")
    with pytest.raises(RegisterError, match=f"line {line}'s already"):
        site.line("2002", "01 42 68 53 01", person=site.other_trainee)


@pytest.mark.parametrize("identities", [["2000-2999"], ["21xx"], ["sip:*@pbx.example"], ["no number at all"]])
def test_a_line_is_one_line(site: Site, identities: list[str]) -> None:
    with pytest.raises(LineSyntaxError):
        site.register.lines.assign(site.trainee, identities, NOW)


def test_a_line_has_an_identity_and_a_trainee(site: Site) -> None:
    with pytest.raises(RegisterError, match="at least one identity"):
        site.register.lines.assign(site.trainee, [], NOW)
    with pytest.raises(RegisterError, match="person 99"):
        site.register.lines.assign(99, ["2001"], NOW)


def test_only_trainees_hold_lines_that_are_recorded(site: Site) -> None:
    for person in (site.trainer, site.admin, site.dpo):
        with pytest.raises(RuleError, match="R4"):
            site.line("2001", person=person)


# --- R3, R4, R5: enrolments ------------------------------------------------------------------------------------------


def test_a_film_enrolment_is_of_one_trainee_workstation_and_application(site: Site) -> None:
    enrolled = site.film()
    row = site.register.enrolments.get(enrolled.id)
    assert (row.kind, row.trainee, row.workstation, row.application) == ("film", site.trainee, "desk-1", FORM)
    assert row.lines == ("2001", "+33142685301"), "all identities of the trainee's lines when none is named"
    assert (row.starts_on, row.ends_on, row.capacity, row.backlog) == (TODAY, days(30), 5, 0)
    assert (row.need, row.reviewer, row.ended_at_ns) == ("the order form", site.trainer, None)


def test_a_sound_enrolment_is_of_lines_and_of_nobody(site: Site) -> None:
    row = site.register.enrolments.get(site.sound("2000-2999", "0142685*", "sip:*@sales.example").id)
    assert (row.kind, row.trainee, row.workstation, row.application) == ("sound", None, None, None)
    assert row.lines == ("2000-2999", "0142685*", "sip:*@sales.example")


TERMS = [
    ({"need": "  "}, "states its need"),
    ({"starts_on": days(2), "ends_on": days(1)}, "ends before it starts"),
    ({"ends_on": days(183)}, "lasts 183 days at most"),
    ({"starts_on": days(-9), "ends_on": days(-1)}, "last day has passed"),
    ({"starts_on": days(183), "ends_on": days(184)}, "starts within 183 days"),
    ({"reviewer": 3}, "role trainer"),
    ({"reviewer": 5}, "role trainer"),
]


@pytest.mark.parametrize(("changes", "why"), TERMS)
def test_terms_that_r4_does_not_allow_are_refused_for_film_and_sound(
    site: Site, changes: dict[str, Any], why: str
) -> None:
    for enrol in (site.film, lambda **terms: site.sound("2001", **terms)):
        with pytest.raises(RuleError, match=f"{why}.*R4"):
            enrol(**changes)
    assert site.register.enrolments.all() == ()


@pytest.mark.parametrize("capacity", [0, -1, 201])
def test_a_backlog_is_what_a_reviewer_can_analyse(site: Site, capacity: int) -> None:
    for enrol in (site.film, lambda **terms: site.sound("2001", **terms)):
        with pytest.raises(RuleError, match="R5"):
            enrol(capacity=capacity)


@pytest.mark.parametrize("changes", [{"ends_on": days(182)}, {"ends_on": TODAY}, {"capacity": 200}, {"capacity": 1}])
def test_terms_at_the_edge_are_allowed(site: Site, changes: dict[str, Any]) -> None:
    site.sound("2001", **changes)


def test_a_film_needs_a_trainee_who_holds_the_line(site: Site) -> None:
    site.register.workstations.add("desk-1", NOW)
    site.line("2001")
    for changes, why in (
        ({"trainee": site.trainer}, "role trainee"),
        ({"trainee": site.other_trainee}, "holds no line"),
        ({"lines": ["2002"]}, "lines that the trainee holds"),
        ({"workstation": "desk-9"}, "not in the register"),
    ):
        with pytest.raises(RuleError, match=f"{why}.*R4"):
            site.film(**changes)
    with pytest.raises(LineSyntaxError):
        site.film(lines=["2000-2999"])
    assert site.register.enrolments.get(site.film(lines=["2001"]).id).lines == ("2001",)


@pytest.mark.parametrize("application", ["", "title=Orders*", "screen=1", "class"])
def test_a_film_is_of_one_application_never_of_a_screen(site: Site, application: str) -> None:
    with pytest.raises(RuleError, match="R3"):
        site.film(application=application)


def test_a_sound_enrolment_names_lines(site: Site) -> None:
    with pytest.raises(RuleError, match="R4"):
        site.sound()
    with pytest.raises(LineSyntaxError):
        site.sound("2999-2000")


def test_an_enrolment_is_ended_once(site: Site) -> None:
    enrolled = site.sound("2001")
    site.register.enrolments.end(enrolled.id, NOW)
    assert site.register.enrolments.get(enrolled.id).ended_at_ns == NOW
    for unknown in (enrolled.id, 99):
        with pytest.raises(RegisterError, match="not in force"):
            site.register.enrolments.end(unknown, NOW)
    with pytest.raises(RegisterError, match="not in the register"):
        site.register.enrolments.get(99)


def test_enrolling_an_excluded_line_warns_and_a_range_over_it_does_not(site: Site) -> None:
    site.register.exclusions.exclude("2100", site.admin, NOW)
    in_file = (parse_selector("2200", "FR"),)
    assert site.sound("2000-2999", "21xx", file_exclusions=in_file).warnings == ()
    assert site.sound("2000", "2100", "2200", file_exclusions=in_file).warnings == (
        "line 2 of 3 is excluded: it is never recorded, whatever is enrolled",
        "line 3 of 3 is excluded: it is never recorded, whatever is enrolled",
    )
    site.line("2001", "2100")
    assert len(site.film().warnings) == 1


def test_purpose_score_and_the_like_have_no_place_in_the_schema() -> None:
    columns = {f"{table.name}.{column.name}" for table in Base.metadata.tables.values() for column in table.columns}
    words = (
        "purpose",
        "score",
        "rank",
        "rating",
        "emotion",
        "appraisal",
        "grade",
        "shared",
        "call_id",
        "number_dialled",
    )
    assert [column for column in columns if any(word in column for word in words)] == []


# --- R13: the gate ---------------------------------------------------------------------------------------------------


def test_a_fresh_install_has_a_closed_gate(site: Site) -> None:
    assert site.register.gate.current() is None


def test_the_gate_is_opened_over_what_is_enrolled(site: Site) -> None:
    site.film()
    site.sound("2000-2999")
    ended = site.sound("3000-3999")
    site.register.enrolments.end(ended.id, NOW)
    scope = site.register.gate.scope(NOW)
    assert (scope.applications, scope.lines) == ((FORM,), ("2000-2999",))
    gate = site.register.gate.open(date(2025, 10, 1), "3.1", site.dpo, NOW)
    assert gate == site.register.gate.current()
    assert (gate.applications, gate.lines, gate.dpia_version) == ((FORM,), ("2000-2999",), "3.1")


def test_an_enrolment_that_is_over_is_in_no_scope(site: Site) -> None:
    site.sound("2000-2999", ends_on=days(1))
    assert site.register.gate.scope(NOW + DAY).lines == ("2000-2999",)
    assert site.register.gate.scope(NOW + 2 * DAY).lines == ()


@pytest.mark.parametrize("person", ["trainer", "trainee", "admin"])
def test_only_a_dpo_signs_off(site: Site, person: str) -> None:
    with pytest.raises(RuleError, match="R13"):
        site.register.gate.open(TODAY, "3.1", getattr(site, person), NOW)
    assert site.register.gate.current() is None


def test_an_opinion_of_the_past_and_a_dpia_are_needed(site: Site) -> None:
    with pytest.raises(RuleError, match=r"future.*R13"):
        site.register.gate.open(days(1), "3.1", site.dpo, NOW)
    with pytest.raises(RuleError, match=r"DPIA.*R13"):
        site.register.gate.open(TODAY, " ", site.dpo, NOW)
    with pytest.raises(RegisterError):
        site.register.gate.open(TODAY, "3.1", 99, NOW)


def test_another_application_closes_the_gate_and_a_covered_one_does_not(site: Site) -> None:
    site.film()
    site.open_gate()
    assert not site.film(need="again").gate_closed
    assert site.register.gate.current() is not None
    assert site.film(application="class=Mail").gate_closed
    assert site.register.gate.current() is None
    assert not site.film(application="class=Chat").gate_closed, "it is closed already"


def test_a_line_outside_closes_the_gate_and_one_inside_does_not(site: Site) -> None:
    site.sound("2000-2999")
    site.open_gate()
    for inside in ("2000", "2000-2999", "2100-2199", "21xx"):
        assert not site.sound(inside).gate_closed
    assert site.sound("2001", "3000").gate_closed
    assert site.register.gate.current() is None


def test_a_film_signed_is_no_sound_signed(site: Site) -> None:
    site.film()
    site.open_gate()
    assert site.sound("2001").gate_closed


def test_ending_the_wider_enrolment_opens_nothing_a_signature_does(site: Site) -> None:
    site.sound("2000-2999")
    site.open_gate()
    wide = site.sound("3000-3999")
    site.register.enrolments.end(wide.id, NOW)
    assert site.register.gate.current() is None
    site.open_gate()
    assert not site.sound("2000").gate_closed


def test_a_gate_opened_over_nothing_is_closed_by_the_first_enrolment(site: Site) -> None:
    site.open_gate()
    assert site.sound("2001").gate_closed


def test_a_gate_is_opened_anew_or_withdrawn(site: Site) -> None:
    site.sound("2000-2999")
    site.open_gate()
    again = site.register.gate.open(TODAY, "3.2", site.dpo, NOW + 1)
    assert site.register.gate.current() == again
    site.register.gate.close(NOW + 2)
    site.register.gate.close(NOW + 3)
    assert site.register.gate.current() is None


@pytest.mark.parametrize(
    ("outer", "inner", "covered"),
    [
        ("2001", "2001", True),
        ("2001", "2002", False),
        ("2000-2999", "2500", True),
        ("2000-2999", "3000", False),
        ("2000-2999", "2000-2999", True),
        ("2000-2999", "2100-2200", True),
        ("2000-2999", "1999-2200", False),
        ("2000-2999", "2100-3000", False),
        ("2000-2999", "20000-29999", False),
        ("2xxx", "21xx", True),
        ("2xxx", "2100-2199", True),
        ("21xx", "2xxx", False),
        ("21xx", "21xx", True),
        ("2100-2199", "21xx", True),
        ("2100-2198", "21xx", False),
        ("2xxx", "2500", True),
        ("+33142685*", "+33142685301", True),
        ("+33142685*", "+331426853xx", False),
        ("2001", "2000-2999", False),
        ("sip:*@pbx.example", "sip:anna@pbx.example", True),
        ("sip:*@pbx.example", "sip:anna@other.example", False),
        ("sip:*@pbx.example", "2001", False),
        ("2000-2999", "sip:2001@pbx.example", False),
        ("sip:anna@pbx.example", "sip:*@pbx.example", False),
    ],
)
def test_what_a_signature_covers(outer: str, inner: str, covered: bool) -> None:
    # Of what cannot be told (a pattern with an open end), the answer is no: the gate closes and somebody looks.
    assert covers(parse_selector(outer, "FR"), parse_selector(inner, "FR")) is covered


@given(outer=st.tuples(st.integers(2000, 2099), st.integers(2000, 2099)), number=st.integers(1990, 2110))
def test_a_covered_range_holds_nothing_that_its_cover_does_not(outer: tuple[int, int], number: int) -> None:
    first, last = sorted(outer)
    cover = parse_selector(f"{first}-{last}", "FR")
    inner = parse_selector(f"{min(number, last)}-{max(number, last)}", "FR")
    assert covers(cover, inner) is (first <= number <= last)


# --- R12: exclusions -------------------------------------------------------------------------------------------------


def test_adding_takes_one_person_or_the_servers_own_command_line(site: Site) -> None:
    row = site.register.exclusions.exclude("01 42 68 53 00", site.trainee, NOW)
    assert (row.text, row.added_by, row.added_at_ns) == ("+33142685300", site.trainee, NOW)
    other = site.register.exclusions.exclude("21xx", None, NOW)
    assert site.register.exclusions.all() == (row, other)
    assert site.register.exclusions.selectors() == (parse_selector("+33142685300", "FR"), parse_selector("21xx", "FR"))
    with pytest.raises(RegisterError):
        site.register.exclusions.exclude("2001", 99, NOW)


def test_removing_takes_two_people(site: Site) -> None:
    exclusions = site.register.exclusions
    row = exclusions.exclude("2100", site.admin, NOW)
    with pytest.raises(RuleError, match=r"nobody has requested.*R12"):
        exclusions.confirm_removal(row.id, site.other_admin, NOW)
    exclusions.request_removal(row.id, site.admin, NOW)
    assert exclusions.all()[0].removal_requested_by == site.admin
    assert len(exclusions.selectors()) == 1, "protected until it is confirmed"
    with pytest.raises(RuleError, match=r"two people.*R12"):
        exclusions.confirm_removal(row.id, site.admin, NOW)
    exclusions.confirm_removal(row.id, site.other_admin, NOW)
    assert exclusions.all() == ()
    with pytest.raises(RegisterError, match="not on the list"):
        exclusions.request_removal(row.id, site.admin, NOW)


def test_an_admin_and_the_dpo_are_two_people_and_nobody_else_removes(site: Site) -> None:
    row = site.register.exclusions.exclude("2100", None, NOW)
    for person in (site.trainer, site.trainee):
        with pytest.raises(RuleError, match="R12"):
            site.register.exclusions.request_removal(row.id, person, NOW)
        with pytest.raises(RuleError, match="R12"):
            site.register.exclusions.confirm_removal(row.id, person, NOW)
    site.register.exclusions.request_removal(row.id, site.dpo, NOW)
    site.register.exclusions.confirm_removal(row.id, site.admin, NOW)
    assert site.register.exclusions.all() == ()


def test_excluding_again_voids_a_removal_that_was_requested(site: Site) -> None:
    exclusions = site.register.exclusions
    row = exclusions.exclude("0142685300", None, NOW)
    exclusions.request_removal(row.id, site.admin, NOW)
    assert exclusions.exclude("+33 1 42 68 53 00", None, NOW + 1) == row
    with pytest.raises(RuleError, match="R12"):
        exclusions.confirm_removal(row.id, site.other_admin, NOW + 1)


def test_a_request_is_withdrawn_or_forgotten_after_a_month(site: Site) -> None:
    exclusions = site.register.exclusions
    row = exclusions.exclude("2100", None, NOW)
    exclusions.request_removal(row.id, site.admin, NOW)
    exclusions.cancel_removal(row.id)
    with pytest.raises(RuleError, match="R12"):
        exclusions.confirm_removal(row.id, site.other_admin, NOW)
    exclusions.request_removal(row.id, site.admin, NOW)
    with pytest.raises(RuleError, match="R12"):
        exclusions.confirm_removal(row.id, site.other_admin, NOW + REQUEST_STANDS_NS)


def test_the_id_of_a_removed_exclusion_is_never_anothers(site: Site) -> None:
    exclusions = site.register.exclusions
    row = exclusions.exclude("2100", None, NOW)
    exclusions.request_removal(row.id, site.admin, NOW)
    exclusions.confirm_removal(row.id, site.dpo, NOW)
    assert exclusions.exclude("2101", None, NOW).id > row.id


def test_a_line_that_cannot_be_read_is_not_excluded_and_not_repeated(site: Site) -> None:
    with pytest.raises(LineSyntaxError) as found:
        site.register.exclusions.exclude("canary-2100", None, NOW)
    assert "canary" not in str(found.value)


def test_no_repr_shows_a_line() -> None:
    rows: list[object] = [
        Line(1, 1, ("+33142685300",), NOW),
        ExclusionRow(1, "+33142685300", 1, NOW),
    ]
    assert not [row for row in rows if "33142685300" in repr(row)]
