"""Calls of a real recording client in other codecs than G.711, through the whole service to the export."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sipgate.phones.recording_client import Codec, OngoingCall
from tests.peers.recording_client import needs_pjsua2
from tests.peers.speech import Dialogue, compare, read_wav
from tests.service.company import Company, read_sound

pytestmark = [pytest.mark.peer, needs_pjsua2]


@pytest.mark.parametrize(
    ("codec", "least"),
    [
        ("G722", 0.95),
        pytest.param("GSM", 0.85, marks=pytest.mark.long),
        pytest.param("iLBC", 0.5, marks=pytest.mark.long),
    ],
)
def test_a_call_is_recorded_in_the_codec_that_the_client_has(
    company: Company, spoken: Dialogue, export: Path, codec: Codec, least: float
) -> None:
    before = company.kept()
    with OngoingCall(company.call(spoken, codecs=(codec,), seconds=4.5)) as call:
        time.sleep(3.5)
        call.press("5")
        report = call.wait(30)
    assert report.status == 200
    row = company.new_recording(before)
    words = ("recordings", "export", row["recording"], "--reason", "to hear both sides", "--to", str(export))
    company.command(*words, login="trainer")
    lags = []
    for heard, said in zip(read_sound(export), (spoken.caller, spoken.callee), strict=True):
        lag, likeness = compare(heard, read_wav(said))
        assert likeness > least
        assert 0 <= lag < 0.25
        lags.append(lag)
    assert abs(lags[0] - lags[1]) <= 0.020
    lasted = row["ended_at"] - row["answered_at"]
    assert abs(row["seconds"] - lasted) <= 0.020
    assert len(list(company.folder.rglob(f"{row['recording']}/keys.sealed"))) == 1
    company.verify()
