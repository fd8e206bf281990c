"""What has been kept long enough goes, in the index or not; what cannot be removed stops nothing (R14)."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from typing import Any, cast

import pytest

from sipgate.core.retention import CAP_NS, DAY_NS
from sipgate.errors import StoreError
from sipgate.service.ended import EndedCall
from sipgate.service.finishing import PARTS_HOURS
from sipgate.service.retention import Retention
from tests.console.site import Site
from tests.service.test_not_this_call import Office

DAYS = 90


@pytest.fixture
def office(site: Site) -> Office:
    found = Office(site)
    found.finishing._clock = cast("Any", site.clock)
    return found


def retention(site: Site) -> Retention:
    return Retention(cast("Any", site.clock), site.vault, site.register, DAYS)


def parts_had_their_time(site: Site) -> None:
    site.clock.ns += (PARTS_HOURS + 1) * 3600 * 10**9


async def kept_film(office: Office) -> EndedCall:
    office.start()
    call = await office.kept_film()
    await asyncio.to_thread(office.stage.stop)
    return call


async def test_what_expires_leaves_vault_and_index_and_the_journal_says_so(office: Office) -> None:
    site = office.site
    recording = site.record("tom")
    office.start()
    assert retention(site).due() == frozenset()
    site.clock.ns += 31 * DAY_NS
    assert retention(site).due() == {recording}
    office.stage.expire(recording)
    await office.until(lambda: not office.finishing._leaving and not site.vault.recordings())
    assert site.register.recordings.all() == ()
    assert [entry["recording"] for entry in site.journalled("recording-expired")] == [recording]
    assert retention(site).due() == frozenset()
    await asyncio.to_thread(office.stage.stop)


async def test_what_could_never_be_finished_goes_when_it_would_have_gone_with_a_row(office: Office) -> None:
    site = office.site
    call = office.call()
    office.start()
    site.clock.ns = call.answered_at_ns + DAYS * DAY_NS - 1
    assert retention(site).due() == frozenset()
    site.clock.ns += 1
    assert retention(site).due() == {call.recording}
    office.stage.expire(call.recording)
    await office.until(lambda: not office.finishing._leaving and not site.vault.recordings())
    assert site.vault.ledger() == {}
    assert site.journalled() == [], "it was never said to be kept"
    await asyncio.to_thread(office.stage.stop)


async def test_a_film_that_is_waited_for_is_kept_as_its_row_says(office: Office) -> None:
    call = await kept_film(office)
    assert list(office.site.vault.ledger()) == [call.recording]
    office.site.clock.ns = call.answered_at_ns + DAYS * DAY_NS - 1
    assert retention(office.site).due() == frozenset()
    office.site.clock.ns = call.answered_at_ns + CAP_NS
    assert retention(office.site).due() == {call.recording}


def test_a_register_that_cannot_be_read_is_said_and_stops_nothing(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    with sqlite3.connect(site.folder / "register.db") as connection:
        connection.execute("ALTER TABLE recording RENAME TO hidden")
    connection.close()
    assert retention(site).due() == frozenset()
    assert "retention" in capsys.readouterr().out


async def test_parts_of_a_film_that_was_erased_meanwhile_stop_nothing(office: Office) -> None:
    call = await kept_film(office)
    office.site.vault.destroy(call.recording)
    parts_had_their_time(office.site)
    office.finishing.retire()
    assert office.finishing.filmed_by(call.recording) is None


async def test_parts_that_cannot_be_removed_stop_nothing_and_go_the_next_time(
    office: Office, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call = await kept_film(office)
    parts_had_their_time(office.site)
    with monkeypatch.context() as broken:
        broken.setattr(office.site.vault, "ledger_remove", _refused)
        office.finishing.retire()
    assert "cannot be removed" in capsys.readouterr().out
    office.finishing.retire()
    assert office.site.vault.ledger() == {}
    assert not (office.site.vault.folder(call.recording) / "film").exists()


def _refused(_recording: str) -> None:
    raise OSError(30, "Read-only file system")


async def test_what_could_not_be_finished_keeps_its_parts(office: Office) -> None:
    call = replace(office.call(), ended_at_ns=office.site.clock())
    office.finishing.finish(call)
    await office.making()
    office.workers.failed(StoreError("disk full"))
    await office.finishing.settle()
    parts_had_their_time(office.site)
    office.finishing.retire()
    assert list(office.site.vault.ledger()) == [call.recording]
