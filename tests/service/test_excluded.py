"""A representative's line takes part: declined before anything is opened, and nowhere a trace that there was a call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from deploy.demo.office import DELEGATE_LINE
from sipgate.phones.recording_client import place
from tests.peers.recording_client import needs_pjsua2
from tests.peers.speech import Dialogue
from tests.service.company import CUSTOMER, TRAINEE, Company
from tests.service.invites import Answer

pytestmark = pytest.mark.peer

ROWS = """
2150-2159                   # union rooms
+33199003*                  # a block of the works council
sip:*@council.example       # its own host
"""
FORMS = {
    "the extension": "sip:20417@pbx.example",
    "the extension on another host": "sip:20417@sbc.example:5080;user=phone",
    "the public number": "tel:+33199020417",
    "the public number as dialled at home": "sip:0199020417@sbc.example",
    "the public number as dialled abroad": "sip:0033199020417@sbc.example",
    "the address, escaped": "sip:%32%30417@pbx.example",
    "a number of the range": "sip:2155@pbx.example",
    "a number of the pattern": "tel:+33199003123",
    "somebody on the host": "sip:anybody@council.example",
}
NEIGHBOURS = ("sip:20418@pbx.example", "tel:+33199020418", "sip:2160@pbx.example", "sip:anybody@office.example")
HEADERS = ("Diversion", "P-Asserted-Identity", "Remote-Party-ID", "History-Info", "Referred-By")
PLACES = ("caller", "callee", *HEADERS)
WORDS = (
    *("20417", "33199020417", "0199020417", "0033199020417", "%32%30417", "33199003123", "council.example"),
    *("2155", "union rooms", "works council"),
)


@dataclass(frozen=True)
class Outcome:
    """What came back, for each (form, place), and what there was before and after."""

    answers: dict[tuple[str, str], Answer]
    before: tuple[set[str], int, float]
    after: tuple[set[str], int, float]


@pytest.fixture(scope="module")
def offered(company: Company) -> Iterator[Outcome]:
    """Every form in every place, the other party being an enrolled trainee whose calls are recorded."""
    with company.exclusions_file() as path:
        path.write_text(path.read_text() + ROWS)
        company.until_answered_with(603, caller=FORMS["somebody on the host"])
        before = _there_is(company)
        answers = {(form, place): _offer(company, FORMS[form], place) for form in FORMS for place in PLACES}
        yield Outcome(answers, before, _there_is(company))


def _there_is(company: Company) -> tuple[set[str], int, float]:
    return company.kept(), len(company.journal()), company.metric("sipgate_open_failures_total")


def _offer(company: Company, who: str, place: str) -> Answer:
    if place == "caller":
        return company.offer(who, TRAINEE)
    if place == "callee":
        return company.offer(TRAINEE, who)
    return company.offer(CUSTOMER, TRAINEE, (f"{place}: <{who}>;reason=unconditional",))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("form", FORMS)
def test_it_is_declined(offered: Outcome, form: str, place: str) -> None:
    assert offered.answers[form, place].status == 603


def test_all_refusals_look_alike(offered: Outcome) -> None:
    assert len({answer.shape for answer in offered.answers.values()}) == 1


def test_nothing_is_kept_and_nothing_is_journalled(offered: Outcome) -> None:
    assert offered.after == offered.before


def test_a_search_of_everything_written_finds_nothing_of_them(company: Company, offered: Outcome) -> None:
    traces = [trace for answer in offered.answers.values() for trace in answer.traces]
    assert company.found_of(*WORDS, *traces) == 0


def test_the_search_would_find_it(company: Company) -> None:
    leak = company.logs / "leak.log"
    leak.write_text("INVITE from 20417")
    try:
        assert company.found_of("20417") == 1
    finally:
        leak.unlink()


@pytest.mark.parametrize("neighbour", NEIGHBOURS)
def test_its_neighbours_are_recorded(company: Company, offered: Outcome, neighbour: str) -> None:
    assert company.offer(neighbour, TRAINEE).status == 200
    company.until_idle()


@needs_pjsua2
@pytest.mark.parametrize("outgoing", [True, False], ids=["it calls", "it is called"])
def test_a_real_recording_client_is_declined_and_its_call_leaves_nothing(
    company: Company, spoken: Dialogue, *, outgoing: bool
) -> None:
    before, entries = company.kept(), company.journal()
    parties = (DELEGATE_LINE[2], TRAINEE) if outgoing else (TRAINEE, DELEGATE_LINE[2])
    report = place(company.call(spoken, *parties))
    assert (report.status, report.packets) == (603, (0, 0))
    assert company.kept() == before
    assert company.journal() == entries
    assert company.found_of(*WORDS, *report.traces) == 0
