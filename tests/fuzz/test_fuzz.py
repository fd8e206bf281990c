"""Fuzzing guided by coverage, a bounded sample of it: ``./deploy/check --long`` goes on to ten million messages."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from sipgate.sip import message, uas
from sipgate.sip.transaction import Transactions
from sipgate.sip.uas import UserAgentServer
from sipgate.taps.complaints import Complaints
from sipgate.taps.siprec import SiprecTap
from tests.fuzz import seeds, sip

TOP = Path(__file__).parents[2]
MESSAGES = {"sip": 12_000, "sdp": 10_000, "multipart": 8_000, "metadata": 3_000, "rtp": 8_000}
TAKES = {
    "sip": ("sip", "take"),
    "sdp": ("parts", "take_sdp"),
    "multipart": ("parts", "take_multipart"),
    "metadata": ("parts", "take_metadata"),
    "rtp": ("parts", "take_rtp"),
}
needs_atheris = pytest.mark.skipif(find_spec("atheris") is None, reason="atheris has no wheel for this Python")


def take_of(target: str) -> Callable[[bytes], int]:
    module, function = TAKES[target]
    found: Callable[[bytes], int] = getattr(importlib.import_module(f"tests.fuzz.{module}"), function)
    return found


@pytest.mark.parametrize("target", MESSAGES)
def test_what_fuzzing_begins_with_is_taken_by_itself(target: str) -> None:
    begins = seeds.of(target)
    assert len(begins) >= 2
    assert sum(take_of(target)(seed) for seed in begins) >= len(begins)


@needs_atheris
@pytest.mark.parametrize("target", MESSAGES)
def test_fuzzed_messages_meet_only_documented_errors_and_leave_nothing_behind(target: str) -> None:
    wanted = MESSAGES[target]
    command = [sys.executable, "-m", "tests.fuzz.run", target, str(wanted), "--seed", "3", "--seconds", "60"]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=110, check=False)
    assert done.stdout, done.stderr[-2000:]
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert report["findings"] == []
    assert report["messages"] >= wanted or report["seconds"] >= 60.0
    assert report["objects"] < 500, "Python's heap grows with the number of messages"


def _dropped(*_: object, **__: object) -> None:
    """In place of what forgets or checks."""


def _answers_to_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SiprecTap, "_admits", lambda *_: True)


def _forgets_no_dialog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UserAgentServer, "_forget", UserAgentServer._stop_repeating)


def _forgets_no_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Transactions, "_forget", _dropped)


def _another_status(monkeypatch: pytest.MonkeyPatch) -> None:
    reply = message.reply
    monkeypatch.setattr(uas, "reply", lambda *a, **k: reply(*a, **k).replace(b"SIP/2.0 200 OK", b"SIP/2.0 299 OK"))


def _echoed_into_the_header(monkeypatch: pytest.MonkeyPatch) -> None:
    reply = message.reply
    monkeypatch.setattr(uas, "reply", lambda *a, **k: reply(*a, **k).replace(b"Allow: ", b"Allow\n: "))


def _told_with_values(monkeypatch: pytest.MonkeyPatch) -> None:
    add = Complaints.add
    monkeypatch.setattr(
        Complaints, "add", lambda me, c, status, why, now: add(me, c, status, f"{why} {sip.Play.performed}", now)
    )


@pytest.mark.parametrize(
    "defect",
    [
        _answers_to_strangers,
        _forgets_no_dialog,
        _forgets_no_transaction,
        _another_status,
        _echoed_into_the_header,
        _told_with_values,
    ],
)
def test_a_defect_that_is_built_in_is_noticed(
    defect: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sip, "complaints", set())
    monkeypatch.setattr(sip, "MOST_COMPLAINTS", 40)
    defect(monkeypatch)
    with pytest.raises(AssertionError):
        any(sip.take(seed) < 0 for seed in seeds.of("sip"))
