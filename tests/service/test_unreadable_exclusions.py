"""The exclusions file cannot be read: nothing is recorded, people are told where, the last good list still refuses."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.demo.office import DELEGATE_LINE
from deploy.demo.programs import wait_until
from sipgate.phones.recording_client import OngoingCall
from tests.peers.recording_client import needs_pjsua2
from tests.peers.speech import Dialogue
from tests.service.company import TRAINEE, Company, good

pytestmark = pytest.mark.peer


def _remove(path: Path) -> None:
    path.unlink()


def _misspell(path: Path) -> None:
    path.write_text(path.read_text() + "2200-2100  # reversed\n")


def _garble(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\xff\xfe\n")


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


BREAKS: dict[str, Callable[[Path], None]] = {
    "removed": _remove,
    "a bad row": _misspell,
    "not UTF-8": _garble,
    "a folder": _replace_by_folder,
}


@pytest.mark.parametrize("how", BREAKS)
def test_readiness_turns_red_and_says_where_and_every_session_is_refused(company: Company, how: str) -> None:
    before = company.kept()
    with company.exclusions_file() as path:
        BREAKS[how](path)
        wait_until(lambda: company.page("readyz").status_code == 503, "red readiness", 2.0)
        wait_until(lambda: company.offer().status in (503, 603), "the refusal", 2.0)
        company.until_idle()
        before |= company.kept()
        (reason,) = company.page("readyz").json()["reasons"]
        assert str(path) + (":3" if how == "a bad row" else "") in reason
        assert company.metric("sipgate_ready") == 0
        listed = good(company.visit("admin").get("/exclusions")).json()
        assert str(path) in listed["file_error"]
        assert DELEGATE_LINE[0] in str(listed["file"]), "the last good list stays in force"
        answers = [company.offer(), company.offer(DELEGATE_LINE[2], TRAINEE)]
        assert {answer.shape for answer in answers} == {answers[0].shape}
        assert answers[0].status in (503, 603)
        assert company.kept() == before
    assert company.page("readyz").status_code == 200
    assert company.health()["activation gate"][0]


@needs_pjsua2
def test_a_call_under_way_is_recorded_up_to_there_and_its_telephony_goes_on(
    company: Company, long_spoken: Dialogue
) -> None:
    before = company.kept()
    with company.exclusions_file() as path, OngoingCall(company.call(long_spoken)) as ongoing:
        (recording,) = company.kept() - before
        folder = company.folder / "data" / "media" / recording
        wait_until(lambda: (folder / "audio.sealed").stat().st_size > 16_000, "sound on the disk", 10.0)
        _misspell(path)
        wait_until((folder / "metadata.sealed").exists, "the cut", 2.0)
        time.sleep(0.5)  # for so long, at least, the telephones speak on
        report = ongoing.hang_up()
    during = company.kept() - {recording}
    assert not report.hung_up_by_recorder
    row = company.new_recording(during)
    assert row["recording"] == recording
    assert report.answered_at_ns is not None
    assert report.hung_up_at_ns is not None
    assert 1 < row["seconds"] < (report.hung_up_at_ns - report.answered_at_ns) / 1e9 - 0.2
    company.until_idle()
