"""Core's effects carried out on a real vault; tap, receiver and link note what they are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from sipgate.core import events as ev
from sipgate.errors import MediaError, StoreError
from sipgate.service.stage import EndedCall, Stage
from sipgate.vault.vault import Vault
from tests.core.world import ANNAS_LINE as LINE
from tests.core.world import CUSTOMER as OUTSIDE
from tests.core.world import NOW, SOUND_POLICY, STREAMS, WITH_KEY, call_between

PORTS = (30000, 30002)


@dataclass
class Tap:
    said: list[tuple[str, int]] = field(default_factory=list)

    def accept(self, session: int, ports: tuple[int, ...]) -> None:
        assert ports == PORTS
        self.said.append(("accept", session))

    def refuse(self, session: int) -> None:
        self.said.append(("refuse", session))

    def unavailable(self, session: int) -> None:
        self.said.append(("unavailable", session))

    def metadata(self, _session: int) -> bytes:
        return b"<recording/>"


@dataclass
class Receiver:
    said: list[str] = field(default_factory=list)
    room: bool = True

    def open(self, *_: Any) -> tuple[int, ...]:
        if not self.room:
            raise MediaError("no port is free")
        return PORTS

    def begin(self, *_: Any) -> None:
        self.said.append("begin")

    def finish(self, *_: Any) -> None:
        self.said.append("finish")

    def discard(self, *_: Any) -> None:
        self.said.append("discard")

    def release(self, *_: Any) -> None:
        self.said.append("release")


@dataclass
class Afterwards:
    said: list[tuple[str, str]] = field(default_factory=list)
    broken: bool = False

    def expect(self, call: EndedCall) -> None:
        self.said.append(("expect", call.recording))

    def finish(self, call: EndedCall) -> None:
        self.said.append(("finish", call.recording))

    def forget(self, recording: str) -> None:
        if self.broken:
            raise StoreError("the index cannot be written")
        self.said.append(("forget", recording))


class Play:
    """A stage under a policy that permits the call between ``OUTSIDE`` and ``LINE``."""

    def __init__(self, folder: Path) -> None:
        self.data, self.keys = folder / "data", folder / "keys"
        self.vault = Vault(self.data, self.keys)
        self.tap, self.receiver, self.afterwards = Tap(), Receiver(), Afterwards()
        self.stage = Stage(
            cast("Any", lambda: NOW), self.vault, cast("Any", self.receiver), cast("Any", None), self.afterwards
        )
        self.stage.start(cast("Any", self.tap))
        self.stage.handle(ev.PolicyChanged(SOUND_POLICY, NOW))

    def offer(self, session: int = 1) -> None:
        parties = call_between(OUTSIDE, LINE)
        self.stage.handle(ev.Offered(session, WITH_KEY.name, parties, STREAMS, NOW, NOW))

    def end(self, session: int = 1) -> None:
        self.stage.handle(ev.Ended(session, NOW + 10**9))

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not holds():
                await asyncio.sleep(0.005)

    async def recording(self) -> str:
        self.offer()
        await self.until(lambda: bool(self.vault.ledger()))
        (name,) = self.vault.recordings()
        return name


@pytest.fixture
async def play(tmp_path: Path) -> AsyncIterator[Play]:
    found = Play(tmp_path)
    yield found
    await asyncio.to_thread(found.stage.stop)


async def test_a_call_from_the_offer_to_the_handover(play: Play) -> None:
    name = await play.recording()
    assert play.tap.said == [("accept", 1)]
    play.end()
    await play.until(lambda: ("finish", name) in play.afterwards.said)
    assert play.receiver.said[:2] == ["begin", "finish"]
    assert play.vault.ledger()[name]["ended_at_ns"] == NOW + 10**9
    with play.vault.open_sealed(name, "metadata.sealed") as sealed:
        assert sealed.read(0, sealed.size) == b"<recording/>"


async def test_without_a_port_the_peer_is_sent_elsewhere_and_no_key_stays(
    play: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    play.receiver.room = False
    play.offer()
    await play.until(lambda: bool(play.tap.said) and not play.vault.recordings())
    assert play.tap.said == [("unavailable", 1)]
    assert play.stage.open_failures == 1
    assert play.stage.calls_under_way == 0
    assert "no port is free" in capsys.readouterr().out
    play.receiver.room = True
    play.offer(2)
    await play.until(lambda: len(play.tap.said) == 2)
    assert play.tap.said[1] == ("accept", 2)


async def test_without_a_disk_for_keys_the_peer_is_sent_elsewhere(
    play: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    (play.keys / "recordings").rmdir()
    (play.keys / "recordings").write_text("not a folder")
    play.offer()
    await play.until(lambda: bool(play.tap.said))
    assert play.tap.said == [("unavailable", 1)]
    assert "could not be recorded" in capsys.readouterr().out


async def test_a_ledger_that_cannot_be_written_ends_the_recording(
    play: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    (play.data / "ledger").rmdir()
    (play.data / "ledger").write_text("not a folder")
    play.offer()
    await play.until(lambda: "finish" in play.receiver.said)
    assert "crash ledger" in capsys.readouterr().out


async def test_a_call_cut_in_the_middle_is_handed_over_only_when_it_ends(play: Play) -> None:
    name = await play.recording()
    play.stage.handle(ev.MediaFailed(name, NOW + 5))
    await play.until(lambda: bool(play.stage._cut))
    assert ("finish", name) not in play.afterwards.said
    play.end()
    assert ("finish", name) in play.afterwards.said


async def test_a_call_cut_and_then_denied_is_never_handed_over(play: Play) -> None:
    name = await play.recording()
    play.stage.handle(ev.MediaFailed(name, NOW + 5))
    await play.until(lambda: bool(play.stage._cut))
    play.stage.handle(ev.PrivateCall(name, NOW + 6))
    play.end()
    await play.until(lambda: not play.vault.recordings())
    assert ("finish", name) not in play.afterwards.said
    assert ("forget", name) in play.afterwards.said
    assert play.vault.ledger() == {}


async def test_events_from_other_threads_are_handled_in_the_order_of_posting(play: Play) -> None:
    handled = asyncio.Event()

    def post() -> None:
        parties = call_between(OUTSIDE, LINE)
        play.stage.post(ev.Offered(1, "nowhere", parties, STREAMS, NOW, NOW))
        play.stage.post(ev.Offered(2, "nowhere", parties, STREAMS, NOW, NOW))
        play.stage.when_handled(handled.set)

    await asyncio.to_thread(post)
    await asyncio.wait_for(handled.wait(), 5)
    assert play.tap.said == [("refuse", 1), ("refuse", 2)]
    assert play.stage.refusals == 2


async def test_nothing_that_fails_comes_before_the_erasure(play: Play) -> None:
    name = await play.recording()
    play.afterwards.broken = True
    with pytest.raises(StoreError):
        play.stage.handle(ev.PrivateCall(name, NOW + 6))
    await play.until(lambda: not play.vault.recordings())
    assert "discard" in play.receiver.said
