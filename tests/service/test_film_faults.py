"""Broker gone, client killed, "not this call": the film ends by itself, and what may be kept is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from capture_client.protocol import LEASE_SECONDS
from deploy.demo.programs import wait_until
from sipgate.phones.recording_client import OngoingCall
from tests.peers.recording_client import needs_pjsua2
from tests.peers.speech import Dialogue
from tests.peers.xserver import wait_for_window, windows, xdotool
from tests.service.filmed import KEYLESS, FilmedCompany

pytestmark = [pytest.mark.peer, needs_pjsua2]

SIGN = "SipgateSign"


@pytest.fixture
def whole(filmed: FilmedCompany) -> Iterator[FilmedCompany]:
    """The company, its desk ready; so again afterwards."""
    filmed.until_filming_is_possible()
    yield filmed
    filmed.until_filming_is_possible()
    wait_until(lambda: filmed.metric("sipgate_calls") == 0, "the end of all calls", 10.0)


def _sign_gone(company: FilmedCompany, within: float) -> None:
    wait_until(lambda: not windows(company.display, SIGN), "the sign's going", within)


def test_the_broker_goes_the_film_ends_within_the_lease_and_the_sound_goes_on(
    whole: FilmedCompany, long_spoken: Dialogue, export: Path
) -> None:
    before = whole.kept()
    with OngoingCall(whole.call(long_spoken)) as ongoing:
        (recording,) = whole.kept() - before
        whole.until_filmed(recording)
        whole.stop_broker()
        lost_at = time.time()
        try:
            wait_until(lambda: not whole.health()["MQTT broker"][0], "health", 5.0)
            assert "telephone key" in whole.health()["MQTT broker"][1]
            assert not whole.health()["workstation desk-1"][0]
            _sign_gone(whole, LEASE_SECONDS + 3)
            report = ongoing.hang_up()
        finally:
            whole.start_broker()
    row, film = whole.whole(before, export)
    assert report.answered_at_ns is not None
    assert report.hung_up_at_ns is not None
    assert abs(row["seconds"] - (report.hung_up_at_ns - report.answered_at_ns) / 1e9) < 0.05
    assert film.times[0] < lost_at
    assert film.times[-1] <= lost_at + LEASE_SECONDS
    assert row["ended_at"] - film.times[-1] > 0.1, "the call went on after the film"
    whole.until_filming_is_possible()
    assert whole.health()["MQTT broker"][0]


def test_the_broker_is_back_and_the_next_call_is_filmed(whole: FilmedCompany, spoken: Dialogue, export: Path) -> None:
    whole.stop_broker()
    wait_until(lambda: whole.metric("sipgate_broker_connected") == 0, "the loss of the broker", 5.0)
    whole.start_broker()
    whole.until_filming_is_possible()
    before = whole.kept()
    with OngoingCall(whole.call(spoken)) as ongoing:
        ongoing.wait()
    row, film = whole.whole(before, export)
    assert len(film.times) >= 20
    assert film.times[0] >= row["answered_at"]


def test_the_broker_goes_and_no_telephone_key_is_there_so_the_sound_ends_too(
    whole: FilmedCompany, long_spoken: Dialogue, export: Path
) -> None:
    before = whole.kept()
    with OngoingCall(whole.call(long_spoken, local_address=KEYLESS)) as ongoing:
        (recording,) = whole.kept() - before
        whole.until_filmed(recording)
        whole.stop_broker()
        lost_at = time.time()
        try:
            metadata = whole.film_folder(recording).with_name("metadata.sealed")
            wait_until(metadata.exists, "the end of the recording", 5.0)
            _sign_gone(whole, LEASE_SECONDS + 3)
            report = ongoing.hang_up()
        finally:
            whole.start_broker()
    assert not report.hung_up_by_recorder
    row, film = whole.whole(before, export)
    assert lost_at - 0.5 < row["ended_at"] < lost_at + 2
    assert film.times[-1] <= row["ended_at"]
    assert film.times[0] < lost_at


def test_without_a_broker_a_call_that_no_key_reaches_is_declined(whole: FilmedCompany, spoken: Dialogue) -> None:
    before = whole.kept()
    whole.stop_broker()
    try:
        wait_until(lambda: whole.metric("sipgate_broker_connected") == 0, "the loss of the broker", 5.0)
        with OngoingCall(whole.call(spoken, local_address=KEYLESS)) as ongoing:
            assert ongoing.wait().status == 603
    finally:
        whole.start_broker()
    assert whole.kept() == before


def test_the_client_is_killed_and_its_film_lacks_a_second_at_most_and_goes_on_when_it_is_back(
    whole: FilmedCompany, long_spoken: Dialogue, export: Path
) -> None:
    before = whole.kept()
    with OngoingCall(whole.call(long_spoken)) as ongoing:
        (recording,) = whole.kept() - before
        whole.until_filmed(recording, segments=2)
        assert whole.client is not None
        killed_at = time.time()
        whole.client.kill()
        whole.start_client()
        wait_for_window(whole.display, SIGN)
        takes = whole.film_folder(recording)
        wait_until(lambda: len(list(takes.glob("*/000000.seg"))) == 2, "film of a second take", 20.0)
        back_at = time.time()
        ongoing.hang_up()
    row, film = whole.whole(before, export)
    first = [at for at in film.times if at <= killed_at]
    second = [at for at in film.times if at > killed_at]
    print(f"\nfilm before the kill lacks {(killed_at - first[-1]) * 1000:.0f} ms")
    assert killed_at - first[-1] <= 1.0
    assert second
    assert second[0] < back_at
    assert row["answered_at"] <= film.times[0]
    assert film.times[-1] <= row["ended_at"]


def test_the_client_is_killed_and_uploads_what_it_had_when_it_is_back_after_the_call(
    whole: FilmedCompany, long_spoken: Dialogue, export: Path
) -> None:
    before = whole.kept()
    assert whole.client is not None
    with OngoingCall(whole.call(long_spoken)) as ongoing:
        (recording,) = whole.kept() - before
        whole.until_filmed(recording)
        whole.client.kill()
        killed_at = time.time()
        ongoing.hang_up()
    whole.start_client()
    row, film = whole.whole(before, export)
    assert row["film"]
    assert killed_at - film.times[-1] <= 1.0


def test_the_server_is_killed_the_film_ends_within_the_lease_and_both_are_finished(
    whole: FilmedCompany, long_spoken: Dialogue, export: Path
) -> None:
    before = whole.kept()
    assert whole.server is not None
    with OngoingCall(whole.call(long_spoken)) as ongoing:
        (recording,) = whole.kept() - before
        whole.until_filmed(recording, segments=2)
        killed_at = time.time()
        whole.server.kill()
        _sign_gone(whole, LEASE_SECONDS + 3)
        ongoing.hang_up()
    whole.serve()
    row, film = whole.whole(before, export)
    assert killed_at - 1.0 <= row["ended_at"] <= killed_at + 0.1
    assert row["answered_at"] <= film.times[0]
    assert killed_at - 1.5 <= film.times[-1] <= row["ended_at"]
    whole.verify()


@pytest.mark.parametrize("how", ["a click on the sign", "the key"])
def test_not_this_call_at_the_desk_erases_everything_on_both_sides(
    whole: FilmedCompany, long_spoken: Dialogue, how: str
) -> None:
    before, about_calls = whole.kept(), whole.about_calls()
    with OngoingCall(whole.call(long_spoken)) as ongoing:
        (recording,) = whole.kept() - before
        whole.until_filmed(recording)
        if how == "the key":
            xdotool(whole.display, "key", "ctrl+alt+p")
        else:
            sign = wait_for_window(whole.display, SIGN)
            xdotool(whole.display, "mousemove", "--window", sign, 10, 10, "click", 1)
        pressed_at = time.monotonic()
        wait_until(lambda: whole.kept() == before, "the erasure", 10.0)
        print(f"\n{how}: erased on the server after {time.monotonic() - pressed_at:.2f} s")
        report = ongoing.hang_up()
    assert not report.hung_up_by_recorder
    wait_until(lambda: not list((whole.desk / "spool").rglob("*.seg")), "the desk's erasure", 3.0)
    assert whole.kept() == before
    assert whole.about_calls() == about_calls
    assert whole.found_of(recording, *report.traces) == 0
