"""Several sessions of one call over the wire, and calls that belong together: what is kept, and what of it nothing."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from deploy.demo.programs import wait_until
from tests.service.company import CUSTOMER, TRAINEE, Company, read_sound, recording_company
from tests.service.invites import Session

pytestmark = pytest.mark.peer

COLLEAGUE = "sip:3001@pbx.example"
DELEGATE = "sip:20417@pbx.example"
BUZZ = b"\x90" * 8 + b"\x10" * 8
"""500 Hz, at 8,000 of 32,767."""
JOINED = "".join(
    f"<participantsessionassoc participant_id='{p}' session_id='a'><associate-time>2026-11-22T09:00:00Z"
    "</associate-time></participantsessionassoc>"
    for p in ("p1", "p2")
)


def call_id() -> str:
    return f"{secrets.token_hex(8)}@pbx.example"


def group() -> str:
    return f"<group group_id='{secrets.token_urlsafe(16)}=='/>"


def listed(company: Company) -> dict[str, dict[str, Any]]:
    """As a script reads it."""
    said = json.loads(company.sipgate("recordings", "list", "--json", login="trainer"))
    return {row["recording"]: row for row in said["recordings"]}


def sealed(company: Company, before: set[str]) -> str:
    """The recording that is being made, once its key is there."""
    wait_until(lambda: len(company.kept() - before) == 1, "a recording", 5.0)
    (name,) = company.kept() - before
    return name


class Traces:
    """What would show that sessions of a call had been there."""

    def __init__(self, company: Company) -> None:
        company.until_idle()
        self.company, self.kept, self.about = company, company.kept(), company.about_calls()

    def nothing_of(self, *sessions: Session) -> None:
        company = self.company
        wait_until(lambda: company.kept() == self.kept, "the erasure", 5.0)
        for session in sessions:
            if session.answer.status == 200:
                session.hang_up()
        company.until_idle()
        assert company.kept() == self.kept
        assert company.about_calls() == self.about
        words = [trace for session in sessions for trace in session.answer.traces]
        assert company.found_of("33639980001", "20417", *words) == 0


def test_an_attended_transfer_gives_two_recordings_of_one_story(company: Company) -> None:
    """The call, held; the consultation in the same group; then another call that has nothing to do with them."""
    company.until_idle()
    before, belongs = set(listed(company)), group()
    with_customer = company.open_session(belongs=belongs)
    with_customer.sound(0.4)
    consultation = company.open_session(TRAINEE, COLLEAGUE, belongs=belongs)
    consultation.sound(0.4)
    consultation.hang_up()
    with_customer.hang_up()
    apart = company.open_session(belongs=group())
    apart.sound(0.2)
    apart.hang_up()
    company.until_idle()
    rows = [row for name, row in listed(company).items() if name not in before]
    assert len(rows) == 3
    newest, *story = rows
    assert len({row["story"] for row in story}) == 1
    assert newest["story"] != story[0]["story"]
    assert not {row["story"] for row in rows} & {row["recording"] for row in rows}
    assert {"recording", "story", "answered_at", "ended_at", "audio_seconds", "channels", "film"} <= rows[0].keys()


def test_calls_that_turn_out_later_to_belong_together_are_told_as_one_story(company: Company) -> None:
    """Also the one that is finished and indexed by then; the ledger's entry of the other does not matter any more."""
    company.until_idle()
    before, first_id, second_id = set(listed(company)), call_id(), call_id()
    for call in (first_id, second_id):
        session = company.open_session(call=call)
        session.sound(0.2)
        session.hang_up()
    company.until_idle()
    rows = [row for name, row in listed(company).items() if name not in before]
    assert len({row["story"] for row in rows}) == 2
    third = company.open_session(headers=[f"Replaces: {first_id};to-tag=1;from-tag=2"], call=second_id)
    third.hang_up()
    wait_until(
        lambda: len({row["story"] for name, row in listed(company).items() if name not in before}) == 1,
        "one story",
        5.0,
    )
    company.until_idle()


def test_two_recorders_sessions_of_one_call_are_one_recording(company: Company) -> None:
    traces, call = Traces(company), call_id()
    first = company.open_session(call=call)
    name = sealed(company, traces.kept)
    second = company.open_session("tel:0639980001", TRAINEE, call=call)
    refusal = company.offer(CUSTOMER, COLLEAGUE)
    assert (second.answer.status, refusal.status) == (603, 603)
    assert second.answer.shape == refusal.shape
    second.close()
    first.sound(0.3)
    first.hang_up()
    company.until_idle()
    assert company.kept() - traces.kept == {name}
    assert name in company.rows()


@pytest.mark.parametrize("belonging", ["the call", "its group"])
def test_a_protected_party_in_a_second_session_destroys_what_the_first_records(
    company: Company, belonging: str
) -> None:
    traces, belongs, call = Traces(company), group(), call_id()
    first = company.open_session(call=call, belongs=belongs)
    name = sealed(company, traces.kept)
    first.sound(0.3)
    keys = list((company.folder / "keys").rglob(f"{name}*"))
    assert keys
    second = company.open_session(call=call if belonging == "the call" else None, belongs=belongs, callee=DELEGATE)
    assert second.answer.status == 603
    wait_until(lambda: not any(path.exists() for path in keys), "the key's destruction", 5.0)
    again = company.open_session(call=call)
    assert again.answer.status == 603, "it does not come back by another session"
    traces.nothing_of(first, second, again)
    second.close()
    again.close()


def test_whichever_recorder_is_quicker(company: Company) -> None:
    traces, call = Traces(company), call_id()
    first = company.open_session(call=call, callee=DELEGATE)
    second = company.open_session(call=call)
    assert (first.answer.status, second.answer.status) == (603, 603)
    assert first.answer.shape == second.answer.shape
    traces.nothing_of(first, second)
    first.close()
    second.close()


def test_a_protected_party_who_joins_one_session_destroys_what_was_finished_of_the_same_call(company: Company) -> None:
    """A client that opens a new session for each change of parties: the first was hung up, and is being kept."""
    traces, call = Traces(company), call_id()
    first = company.open_session(call=call)
    name = sealed(company, traces.kept)
    first.sound(0.3)
    first.hang_up()
    second = company.open_session(call=call)
    assert second.answer.status == 200
    assert second.tell("", DELEGATE) == 200
    wait_until(lambda: company.kept() == traces.kept, "the erasure of both", 5.0)
    assert not list((company.folder / "keys").rglob(f"{name}*"))
    second.hang_up()
    company.until_idle()
    assert name not in company.rows()
    assert company.found_of("33639980001", "20417", *second.answer.traces, *first.answer.traces) == 0


# --- CUCM: a session for each voice ---------------------------------------------------------------------------------


def voices(company: Company, near_end: str = TRAINEE) -> tuple[Session, Session]:
    """Near and far end of one call of the customer with the trainee."""
    refci = str(secrets.randbelow(10**8) + 10**8)
    near = company.open_session("0639980001", near_end, call=refci, end="x-nearend")
    far = company.open_session("0639980001", near_end, call=refci, end="x-farend")
    return near, far


def test_cucms_two_voices_are_one_recording_left_the_caller(company: Company, export: Path) -> None:
    company.until_idle()
    before = set(company.rows())
    near, far = voices(company)
    assert (near.answer.status, far.answer.status) == (200, 200)
    speaking = Thread(target=near.sound, args=(0.8, BUZZ))
    speaking.start()
    far.sound(0.8, b"\xff")
    speaking.join()
    far.hang_up()
    near.hang_up()
    row = company.new_recording(before)
    assert row["channels"] == 2
    company.export(row["recording"], export)
    caller, callee = (np.abs(side[800:4000]) for side in read_sound(export))
    assert np.median(callee) > 1000, "the near end is the trainee, who was called"
    assert np.median(caller) < 200


def test_one_of_cucms_voices_alone_is_never_kept(company: Company) -> None:
    traces = Traces(company)
    near = company.open_session("0639980001", TRAINEE, call="123456789", end="x-nearend")
    assert near.answer.status == 200
    near.sound(0.3, BUZZ)
    near.hang_up()
    traces.nothing_of()
    assert company.found_of(*near.answer.traces) == 0


def test_of_a_protected_lines_voices_neither_is_taken(company: Company) -> None:
    traces = Traces(company)
    near, far = voices(company, DELEGATE)
    assert (near.answer.status, far.answer.status) == (603, 603)
    traces.nothing_of(near, far)
    near.close()
    far.close()


# --- when is the answer? --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def early(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """A company whose SBC opens its sessions at the 183; its metadata shows the answer."""
    with ExitStack() as stack:
        changes = {'begins = "answer"': 'begins = "metadata"\nparties = "later"'}
        yield recording_company(tmp_path_factory.mktemp("early"), stack, changes)


def test_sound_from_before_the_answer_is_never_kept(early: Company, export: Path) -> None:
    """Loud before, silent after: no loud sample may be in what is kept, and its length is that of the rest."""
    early.until_idle()
    before = set(early.rows())
    session = early.open_session()
    assert session.answer.status == 200
    session.sound(0.6, BUZZ)
    assert session.tell(JOINED) == 200
    session.sound(0.8, b"\xff")
    session.hang_up()
    row = early.new_recording(before)
    early.export(row["recording"], export)
    heard = read_sound(export)
    assert 0.7 <= row["seconds"] <= 1.3
    assert heard.shape[1] >= 0.6 * 8000
    assert np.abs(heard).max() < 2000, "of the buzz"


def test_a_call_that_is_never_answered_leaves_nothing(early: Company) -> None:
    traces = Traces(early)
    session = early.open_session()
    session.sound(0.3, BUZZ)
    sealed(early, traces.kept)
    session.hang_up()
    traces.nothing_of()


def test_parties_who_are_named_once_the_session_stands(early: Company) -> None:
    """Avaya: nothing from before the names is kept, and a protected name leaves nothing at all."""
    early.until_idle()
    before = set(early.rows())
    session = early.open_session("", "", belongs=JOINED)
    assert session.answer.status == 200
    session.sound(0.5, BUZZ)
    assert session.name(CUSTOMER, TRAINEE, JOINED) == 200
    session.sound(0.6)
    session.hang_up()
    assert 0.5 <= early.new_recording(before)["seconds"] <= 1.0
    traces = Traces(early)
    protected = early.open_session("", "", belongs=JOINED)
    sealed(early, traces.kept)
    assert protected.name(CUSTOMER, DELEGATE, JOINED) == 200
    traces.nothing_of(protected)


def test_a_session_that_begins_with_everybody_joined_is_answered(early: Company) -> None:
    early.until_idle()
    before = set(early.rows())
    session = early.open_session(belongs=JOINED)
    session.sound(0.4)
    session.hang_up()
    assert early.new_recording(before)["seconds"] > 0.3
