"""A film's lease runs from the last packet that was heard: who vanishes without a BYE is not filmed on (R2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from sipgate.core import events as ev
from sipgate.core.resources import RENEW_NS
from sipgate.service.stage import LEASE_NS, Stage
from sipgate.vault.vault import Vault
from tests.core.world import ANNAS_LINE, CUSTOMER, DESK, NOW, POLICY, STREAMS, call_between


class Parts:
    """Tap, receiver, link and afterwards in one, noting what the link is told; ``heard``: the last packet's time."""

    def __init__(self) -> None:
        self.now = self.heard = NOW
        self.told: list[tuple[str, int]] = []

    def open(self, *_: Any) -> tuple[int, ...]:
        return (30000, 30002)

    def heard_at_ns(self, _recording: str) -> int:
        return self.heard

    def start_film(self, _recording: str, _plan: object, _key: bytes, answered_at_ns: int) -> None:
        self.told.append(("start", answered_at_ns))

    def renew_film(self, _recording: str, _workstation: str, lived_at_ns: int) -> None:
        self.told.append(("renew", lived_at_ns))

    def __getattr__(self, _name: str) -> Any:
        return lambda *_args, **_kwargs: None


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[tuple[Parts, Stage]]:
    made = Parts()
    part = cast("Any", made)
    stage = Stage(cast("Any", lambda: made.now), Vault(tmp_path / "d", tmp_path / "k"), part, part, part)
    stage.start(part)
    stage.handle(ev.PolicyChanged(POLICY, NOW))
    stage.handle(ev.WorkstationUp(DESK, "boot", NOW))
    stage.handle(ev.Offered(1, "sbc", call_between(CUSTOMER, ANNAS_LINE), STREAMS, NOW, NOW))
    async with asyncio.timeout(5):
        while not made.told:
            await asyncio.sleep(0.005)
    assert made.told.pop() == ("start", NOW)
    yield made, stage
    await asyncio.to_thread(stage.stop)


def pass_time(parts: tuple[Parts, Stage], *, heard: bool) -> tuple[str, int]:
    """A renewal is due; with or without a packet just before it. What the workstation is told."""
    made, stage = parts
    made.now += RENEW_NS
    if heard:
        made.heard = made.now
    stage._on_timer()
    return made.told.pop()


async def test_while_packets_come_the_lease_runs_from_the_last_of_them(parts: tuple[Parts, Stage]) -> None:
    for _ in range(5):
        assert pass_time(parts, heard=True) == ("renew", parts[0].heard)


async def test_without_packets_the_lease_is_not_prolonged_beyond_the_last_of_them(parts: tuple[Parts, Stage]) -> None:
    pass_time(parts, heard=True)
    last = parts[0].heard
    assert {pass_time(parts, heard=False) for _ in range(10)} == {("renew", last)}
    assert parts[0].now - last > LEASE_NS


async def test_heard_again_after_the_lease_the_film_is_started_again(parts: tuple[Parts, Stage]) -> None:
    while parts[0].now - parts[0].heard <= LEASE_NS:
        pass_time(parts, heard=False)
    assert pass_time(parts, heard=True) == ("start", NOW)
    assert pass_time(parts, heard=True) == ("renew", parts[0].heard)
