"""Nothing is recorded unless everything holds; and nobody on the wire can tell why a call was declined."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from deploy.demo.office import DELEGATE_LINE
from deploy.demo.programs import DemoError
from tests.service.company import CUSTOMER, TRAINEE, Company, good, today
from tests.service.invites import session

pytestmark = pytest.mark.peer


@pytest.fixture
def declined(company: Company) -> Callable[..., None]:
    """Asserts that a call is declined, that nothing of it is kept, and that it looks like an excluded line's."""
    excluded = company.offer(DELEGATE_LINE[2], TRAINEE)

    def check(caller: str = CUSTOMER, callee: str = TRAINEE) -> None:
        company.until_idle()
        before, about_calls = company.kept(), company.about_calls()
        answer = company.offer(caller, callee)
        assert answer.status == 603
        assert answer.shape == excluded.shape
        assert company.kept() == before
        assert company.about_calls() == about_calls
        assert company.found_of(*answer.traces) == 0

    return check


@pytest.fixture
def main_enrolment(company: Company) -> Iterator[Callable[[], None]]:
    """Ends the enrolments in force; afterwards the usual one is in force again."""

    def end() -> None:
        for number in _in_force(company):
            company.sipgate("enrol", "end", str(number))

    yield end
    end()
    company.enrol_sound("2000-2999")
    if "closed" in _gate(company):
        company.open_gate()
    company.until_answered_with(200)
    company.until_idle()


def _in_force(company: Company) -> list[int]:
    listed = json.loads(company.sipgate("enrol", "list", "--json"))["enrolments"]
    return [row["id"] for row in listed if row["ended_at_ns"] is None]


def _gate(company: Company) -> str:
    try:
        return company.sipgate("gate", "show")
    except DemoError as error:
        return str(error)


def test_a_line_that_nobody_enrolled(declined: Callable[..., None]) -> None:
    declined(callee="sip:3001@pbx.example")


def test_an_enrolled_line_that_is_nobodys(declined: Callable[..., None]) -> None:
    declined(callee="sip:2002@pbx.example")


@pytest.mark.parametrize("unknown", ["sip:anonymous@anonymous.invalid", "sip:unavailable@unknown.invalid"])
def test_a_party_that_cannot_be_identified(declined: Callable[..., None], unknown: str) -> None:
    declined(caller=unknown)


def test_a_notice_of_a_newer_version_that_is_not_acknowledged(company: Company, declined: Callable[..., None]) -> None:
    newer = company.folder / "newer.txt"
    newer.write_text("Another notice.")
    company.sipgate("notice", "publish", str(newer))
    company.until_answered_with(603)
    declined()
    version = good(company.visit("trainee").get("/notice")).json()["version"]
    good(company.visit("trainee").post("/notice/acknowledgement", json={"version": version}))
    assert company.offer().status == 200
    company.until_idle()


def test_a_gate_that_is_closed(company: Company, declined: Callable[..., None]) -> None:
    company.sipgate("gate", "close")
    company.until_answered_with(603)
    declined()
    company.open_gate()
    company.until_answered_with(200)
    company.until_idle()


def test_a_gate_that_a_wider_enrolment_closed_stays_closed_when_that_one_ends(
    company: Company, declined: Callable[..., None]
) -> None:
    wider = company.enrol_sound("3000-3999")
    company.until_answered_with(603)
    declined()
    company.sipgate("enrol", "end", str(wider))
    declined()
    company.open_gate()
    company.until_answered_with(200)
    company.until_idle()


def test_an_enrolment_that_was_ended(
    company: Company, main_enrolment: Callable[[], None], declined: Callable[..., None]
) -> None:
    main_enrolment()
    company.until_answered_with(603)
    declined()


def test_an_enrolment_that_begins_tomorrow(
    company: Company, main_enrolment: Callable[[], None], declined: Callable[..., None]
) -> None:
    company.enrol_sound("2000-2999", starts=today() + timedelta(days=1))
    for number in _in_force(company)[:-1]:
        company.sipgate("enrol", "end", str(number))
    company.until_answered_with(603)
    declined()


def test_a_backlog_that_is_full_until_one_is_reviewed(
    company: Company, main_enrolment: Callable[[], None], declined: Callable[..., None]
) -> None:
    main_enrolment()
    company.until_answered_with(603)
    company.until_idle()
    company.enrol_sound("2000-2999", capacity=1)
    before = company.kept()
    company.until_answered_with(200)
    (recording,) = company.kept() - before
    declined()
    company.new_recording(before)
    declined()
    good(company.visit("trainer").post(f"/recordings/{recording}/reviewed"))
    with session(company.sip_port, CUSTOMER, TRAINEE) as freed:
        assert freed.answer.status == 200
        assert company.offer().status == 603, "the slot is taken while the call lasts, not only once it is kept"
    declined()


@contextmanager
def fresh(folder: Path) -> Iterator[Company]:
    """Installed, running, nothing else done."""
    with ExitStack() as stack:
        company = Company(folder, stack)
        company.configure()
        company.serve()
        yield company


def test_a_fresh_install_records_none_of_a_hundred_calls(tmp_path: Path, company: Company) -> None:
    with fresh(tmp_path / "fresh") as default:
        answers = [default.offer(CUSTOMER, f"sip:{2000 + number}@pbx.example") for number in range(100)]
        assert {answer.shape for answer in answers} == {company.offer(DELEGATE_LINE[2], TRAINEE).shape}
        assert default.kept() == set()
        assert default.journal() == []
        assert default.found_of(*(trace for answer in answers for trace in answer.traces)) == 0
