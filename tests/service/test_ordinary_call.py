"""An ordinary call of an enrolled line: recorded whole, seen by those who may, every access on record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sipgate.errors import AccessError
from sipgate.phones.recording_client import CallReport, place
from tests.peers.recording_client import needs_pjsua2
from tests.peers.speech import Dialogue, compare, read_wav
from tests.service.company import Company, read_sound

pytestmark = [pytest.mark.peer, needs_pjsua2]


@dataclass(frozen=True)
class Recorded:
    """One call, its row, its export, and what the journal then held about recordings."""

    report: CallReport
    row: dict[str, Any]
    export: Path
    entries: list[dict[str, Any]]


@pytest.fixture(scope="module")
def recorded(company: Company, spoken: Dialogue, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    before, entries = company.kept(), len(company.about_calls())
    report = place(company.call(spoken))
    row = company.new_recording(before)
    export = tmp_path_factory.mktemp("export") / "export.webm"
    words = ("recordings", "export", row["recording"], "--reason", "to hear both sides", "--to", str(export))
    company.command(*words, login="trainer")
    return Recorded(report, row, export, company.about_calls()[entries:])


def test_left_is_what_the_caller_said_and_right_what_the_callee_said(recorded: Recorded, spoken: Dialogue) -> None:
    left, right = read_sound(recorded.export)
    for heard, said, other in ((left, spoken.caller, spoken.callee), (right, spoken.callee, spoken.caller)):
        lag, likeness = compare(heard, read_wav(said))
        assert likeness > 0.95
        assert 0 <= lag < 0.25
        assert compare(heard, read_wav(other))[1] < 0.5


def test_both_sides_stay_aligned(recorded: Recorded, spoken: Dialogue) -> None:
    lags = [
        compare(heard, read_wav(said))[0]
        for heard, said in zip(read_sound(recorded.export), (spoken.caller, spoken.callee), strict=True)
    ]
    assert abs(lags[0] - lags[1]) <= 0.020


def test_it_is_as_long_as_the_call_by_the_wall_clock(recorded: Recorded) -> None:
    report, row = recorded.report, recorded.row
    assert report.answered_at_ns is not None
    assert report.hung_up_at_ns is not None
    lasted = row["ended_at"] - row["answered_at"]
    # The telephone's own clock: its 200 comes a round trip after the recorder's, its BYE a trip before.
    assert abs(lasted - (report.hung_up_at_ns - report.answered_at_ns) / 1e9) <= 0.050
    assert abs(row["seconds"] - lasted) <= 0.020
    assert abs(read_sound(recorded.export).shape[1] / 8000 - lasted) <= 0.020


def test_the_trainer_and_the_trainee_see_it_and_nobody_else_does(company: Company, recorded: Recorded) -> None:
    name = recorded.row["recording"]
    assert name in company.rows("trainer")
    assert name in company.rows("trainee")
    for login in ("admin", "dpo"):
        assert company.visit(login).get(f"/recordings/{name}").status_code in (403, 404)
        assert name not in company.visit(login).get("/recordings").text


def test_the_admin_cannot_export_it(company: Company, recorded: Recorded, export: Path) -> None:
    words = ("recordings", "export", recorded.row["recording"], "--reason", "curious", "--to", str(export))
    with pytest.raises(AccessError):
        company.sipgate(*words, login="admin")
    assert not export.exists()


def test_the_export_is_journalled_with_a_consultation_and_no_name(company: Company, recorded: Recorded) -> None:
    kinds = [entry["kind"] for entry in recorded.entries]
    assert kinds == ["recording-kept", "viewing"]
    viewing = recorded.entries[1]["fields"]
    assert viewing["recording"] == recorded.row["recording"]
    assert viewing["means"] == "export"
    text = company.sipgate("journal", "show")
    assert not any(account.name in text for account in company.accounts.values())


def test_no_file_holds_the_numbers_of_an_ordinary_call_in_the_clear(company: Company, recorded: Recorded) -> None:
    numbers = ("33639980001", "+33639980001", "0639980001")
    assert company.found_of(*numbers, *recorded.report.traces) == 0


def test_what_is_left_on_the_disk_is_whole(company: Company, recorded: Recorded) -> None:
    company.verify()
    assert recorded.row["recording"] not in company.ledger()
    folder = company.folder / "data" / "media" / recorded.row["recording"]
    assert {path.name for path in folder.iterdir()} == {"metadata.sealed", "recording.webm.sealed"}
