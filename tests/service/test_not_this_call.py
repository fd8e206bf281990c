""" "Not this call" when core no longer knows the call: after its end, or from before a restart.

Real vault, register, journal and finishing; the tap, the receiver and the link note what they are told.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from sipgate.core import events as ev
from sipgate.errors import StoreError
from sipgate.service.ended import EndedCall
from sipgate.service.finishing import Finishing
from sipgate.service.recovery import recover
from sipgate.service.stage import Stage
from sipgate.vault.vault import new_recording
from tests.service.test_finishing import DESK, Afterwards
from tests.service.test_stage import Link, Receiver, Tap


class Office(Afterwards):
    """Stage and finishing joined, as the server does."""

    def start(self) -> None:
        self.link, self.receiver = Link(), Receiver()
        parts = (self.site.clock, self.site.vault, cast("Any", self.receiver), cast("Any", self.link))
        self.stage = Stage(cast("Any", parts[0]), *parts[1:], self.finishing)
        self.stage.start(cast("Any", Tap()))

    def deny(self, recording: str) -> None:
        self.stage.handle(ev.PrivateCall(recording, self.site.clock()))

    async def kept_film(self) -> EndedCall:
        call = self.call(DESK)
        self.finishing.finish(call)
        self.part(call)
        await self.making()
        self.workers.done(frames=30)
        await self.until(lambda: bool(self.kept()))
        await self.until(lambda: not self.finishing._tasks)
        return call

    async def gone(self, call: EndedCall) -> None:
        vault = self.site.vault
        await self.until(lambda: not vault.recordings() and not vault.remains() and not self.finishing._leaving)
        assert self.site.register.recordings.get(call.recording) is None
        assert vault.ledger() == {}
        assert self.finishing.filmed_by(call.recording) is None
        assert self.finishing.failures == 0


@pytest.fixture
async def office(site: Any) -> AsyncIterator[Office]:
    found = Office(site)
    found.start()
    yield found
    await asyncio.to_thread(found.stage.stop)


async def test_of_a_recording_in_the_index(office: Office) -> None:
    call = await office.kept_film()
    office.deny(call.recording)
    assert office.link.said == [("discard", call.recording, DESK)]
    await office.gone(call)
    assert [entry["recording"] for entry in office.erased()] == [call.recording]


async def test_of_a_recording_that_is_being_made(office: Office) -> None:
    call = office.call(DESK)
    office.finishing.finish(call)
    office.part(call)
    await office.making()
    office.deny(call.recording)
    assert office.link.said == [("discard", call.recording, DESK)]
    await office.gone(call)
    office.workers.failed(StoreError("its folder is gone"))
    await office.finishing.settle()
    assert office.finishing.failures == 0
    assert office.kept() == office.erased() == []


@pytest.mark.parametrize("kept", [True, False])
async def test_of_a_recording_from_before_a_restart(office: Office, kept: bool) -> None:
    call = await office.kept_film() if kept else office.call(DESK)
    site = office.site
    successor = Finishing(
        cast("Any", site.clock),
        site.vault,
        site.register,
        site.journal,
        office.workers,
        90,
        lambda: None,
        office.said.append,
    )
    office.finishing = successor
    office.start()
    left = recover(site.vault, site.register)
    assert [c.recording for c in (*left.unfinished, *left.awaiting_film)] == [call.recording]
    for unfinished in left.unfinished:
        successor.finish(unfinished)
    for awaiting in left.awaiting_film:
        successor.expect(awaiting)
    assert successor.filmed_by(call.recording) == DESK, "else the workstation would not be believed"
    office.deny(call.recording)
    assert office.link.said == [("discard", call.recording, DESK)]
    await office.gone(call)
    assert len(office.erased()) == kept


async def test_of_a_recording_that_nobody_knows(office: Office) -> None:
    office.deny(new_recording())
    await office.until(lambda: not office.stage.erasures_owed and not office.finishing._leaving)
    assert office.erased() == []
    assert office.link.said == []
