"""What weakens protection or widens recording is journalled before it is done; what protects does not wait."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import pytest

from tests.commands.office import PASSWORD, Desk

TODAY = date.today()  # noqa: DTZ011 - enrolments count the server's local days
DAYS = ("--from", str(TODAY), "--until", str(TODAY + timedelta(days=5)))
TERMS = ("--need", "greeting", *DAYS, "--reviewer", "tom")
FILM = ("--trainee", "tess", "--workstation", "desk-1", "--application", "class=Orders")


@dataclass(frozen=True)
class Act:
    """A command that is journalled first, and the entry's kind."""

    words: tuple[str, ...]
    kind: str


WEAKENING = (
    Act(("people", "add", "eve", "--name", "Eve", "--role", "trainee"), "person-added"),
    Act(("people", "password", "tess"), "password-set"),
    Act(("lines", "assign", "tess", "2002"), "line-assigned"),
    Act(("lines", "unexclude", "2", "--as", "ada"), "exclusion-removal-requested"),
    Act(("lines", "confirm", "1", "--as", "dora"), "exclusion-removed"),
    Act(("notice", "acknowledge", "--as", "tess"), "notice-acknowledged"),
    Act(("enrol", "film", *FILM, *TERMS), "enrolment-added"),
    Act(("enrol", "sound", "--line", "2000-2999", *TERMS), "enrolment-added"),
    Act(("gate", "open", "--opinion-on", str(TODAY), "--dpia-version", "1", "--as", "dora"), "gate-opened"),
)
PROTECTING = (
    Act(("lines", "exclude", "2102"), "exclusion-added"),
    Act(("gate", "close"), "gate-closed"),
    Act(("enrol", "end", "1"), "enrolment-ended"),
    Act(("lines", "release", "1"), "line-released"),
    Act(("lines", "keep", "1"), "exclusion-kept"),
    Act(("workstations", "revoke", "desk-1"), "workstation-revoked"),
)


@pytest.fixture
def office(desk: Desk) -> Desk:
    """One in which each of those acts can be done."""
    with desk.stores() as site:
        now, register = site.now_ns(), site.register
        person = {row.login: row.id for row in register.people.all()}
        register.lines.assign(person["tess"], ["2001"], now)
        register.workstations.add("desk-1", now)
        register.workstations.set_certificate("desk-1", b"k" * 32, "PEM")
        for line in ("2100", "2101"):
            register.exclusions.exclude(line, None, now)
        register.exclusions.request_removal(1, person["ada"], now)
        register.notices.publish("notice", now)
        register.enrolments.add_sound(
            lines=["2001"],
            need="greeting",
            starts_on=TODAY,
            ends_on=TODAY,
            reviewer=person["tom"],
            capacity=5,
            at_ns=now,
        )
    return desk


def state(desk: Desk) -> tuple[object, ...]:
    """All that those acts change."""
    with desk.stores() as site:
        register = site.register
        held = (register.people.all(), register.lines.all(), register.exclusions.all(), register.enrolments.all())
        acknowledged = [register.notices.acknowledged(person.id) for person in register.people.all()]
        passwords = [register.people.authenticate(person.login, PASSWORD) for person in register.people.all()]
        return (*held, acknowledged, passwords, register.workstations.all(), register.gate.current())


def break_journal(desk: Desk) -> None:
    with desk.stores() as site:
        site.journal.path.unlink(missing_ok=True)
        site.journal.path.mkdir()


@pytest.mark.parametrize("act", WEAKENING, ids=lambda act: " ".join(act.words[:2]))
def test_it_is_done_and_journalled_once(office: Desk, act: Act) -> None:
    before = state(office)
    assert office(*act.words).status == 0
    assert [kind for kind, _ in office.journal()] == [act.kind]
    assert state(office) != before


@pytest.mark.parametrize("act", WEAKENING, ids=lambda act: " ".join(act.words[:2]))
def test_when_the_journal_cannot_be_written_nothing_is_done(office: Desk, act: Act) -> None:
    break_journal(office)
    before = state(office)
    said = office(*act.words)
    assert said.status == 1
    assert "journal" in said.text
    assert state(office) == before


def test_what_is_refused_is_not_journalled_as_done(office: Desk) -> None:
    for words in (
        ("lines", "confirm", "1", "--as", "ada"),
        ("lines", "assign", "tess", "2001"),
        ("gate", "open", "--opinion-on", str(TODAY), "--dpia-version", "1", "--as", "ada"),
    ):
        assert office(*words).status == 1
    assert office.journal() == []


@pytest.mark.parametrize("act", PROTECTING, ids=lambda act: " ".join(act.words[:2]))
def test_what_protects_is_journalled(office: Desk, act: Act) -> None:
    assert office(*act.words).status == 0
    assert [kind for kind, _ in office.journal()] == [act.kind]


@pytest.mark.parametrize("act", PROTECTING, ids=lambda act: " ".join(act.words[:2]))
def test_what_protects_is_done_though_the_journal_cannot_be_written(office: Desk, act: Act) -> None:
    office("gate", "open", "--opinion-on", str(TODAY), "--dpia-version", "1", "--as", "dora")
    break_journal(office)
    before = state(office)
    assert office(*act.words).status == 1, "the journal's error is told"
    assert state(office) != before
