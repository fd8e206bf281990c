"""Core's effects carried out on a real vault; tap, receiver and link note what they are told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from sipgate.core import events as ev
from sipgate.errors import ErasedError, MediaError, StoreError
from sipgate.media.receiver import Silent
from sipgate.service.ended import EndedCall
from sipgate.service.stage import CUT_WAIT_SECONDS, Stage
from sipgate.vault.sealed import write_sealed_file
from sipgate.vault.vault import Vault
from tests.core.world import ANNAS_LINE as LINE
from tests.core.world import CUSTOMER as OUTSIDE
from tests.core.world import NOW, REPRESENTATIVE, SECOND, SOUND_POLICY, STREAMS, WITH_KEY, call_between

PORTS = (30000, 30002)


@dataclass
class Tap:
    said: list[tuple[str, int]] = field(default_factory=list)
    ports: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def accept(self, session: int, ports: tuple[int, ...]) -> None:
        self.ports[session] = ports
        self.said.append(("accept", session))

    def restreamed(self, session: int, ports: tuple[int, ...]) -> None:
        self.ports[session] = ports

    def refuse(self, session: int) -> None:
        self.said.append(("refuse", session))

    def unavailable(self, session: int) -> None:
        self.said.append(("unavailable", session))

    def end(self, session: int) -> None:
        self.said.append(("end", session))

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

    def restream(self, _recording: str, streams: tuple[ev.StreamOffer, ...]) -> tuple[int, ...]:
        if not self.room:
            raise MediaError("no port is free")
        return tuple(40000 + 2 * index for index in range(len(streams)))

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
    stories: dict[str, str] = field(default_factory=dict)

    def expect(self, call: EndedCall) -> None:
        self.said.append(("expect", call.recording))

    def finish(self, call: EndedCall) -> None:
        self.said.append(("finish", call.recording))

    def filmed_by(self, _recording: str) -> str | None:
        return None

    def retell(self, recording: str, story: str) -> None:
        self.stories[recording] = story

    def forget(self, recording: str, *, expired: bool = False) -> None:
        assert not expired
        if self.broken:
            raise StoreError("the index cannot be written")
        self.said.append(("forget", recording))


@dataclass
class Link:
    said: list[tuple[str, str, str]] = field(default_factory=list)

    def filmed_by(self, _recording: str) -> str | None:
        return None

    def discard_film(self, recording: str, workstation: str) -> None:
        self.said.append(("discard", recording, workstation))


class Play:
    """A stage under a policy that permits the call between ``OUTSIDE`` and ``LINE``."""

    def __init__(self, folder: Path) -> None:
        self.data, self.keys = folder / "data", folder / "keys"
        self.vault = Vault(self.data, self.keys)
        self.tap, self.receiver, self.afterwards, self.link = Tap(), Receiver(), Afterwards(), Link()
        self.stage = Stage(
            cast("Any", lambda: NOW), self.vault, cast("Any", self.receiver), cast("Any", self.link), self.afterwards
        )
        self.stage.start(cast("Any", self.tap))
        self.stage.handle(ev.PolicyChanged(SOUND_POLICY, NOW))

    def offer(self, session: int = 1, *keys: str) -> None:
        parties, own = call_between(OUTSIDE, LINE), frozenset(keys)
        self.stage.handle(ev.Offered(session, WITH_KEY.name, parties, STREAMS, NOW, NOW, own))

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


async def test_a_decided_erasure_waits_for_no_other_calls_disk(play: Play) -> None:
    name = await play.recording()
    held = threading.Event()
    play.stage._to_disk(name, lambda: held.wait(5), lambda _: None)
    try:
        play.stage.handle(ev.PrivateCall(name, NOW + 6))
        await play.until(lambda: not play.vault.recordings() and not play.vault.remains())
        assert not held.is_set()
    finally:
        held.set()


async def test_a_ledger_entry_that_is_written_during_the_erasure_does_not_stay(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, erased = threading.Event(), threading.Event()

    def slowly(path: Path, key: bytes, chunks: Any) -> None:
        if path.parent.name == "ledger":
            writing.set()
            assert erased.wait(5)
        write_sealed_file(path, key, chunks)

    monkeypatch.setattr("sipgate.vault.vault.write_sealed_file", slowly)
    play.offer()
    await play.until(writing.is_set)
    (name,) = play.vault.recordings()
    play.stage.handle(ev.PrivateCall(name, NOW + 6))
    await play.until(lambda: not play.vault.recordings() and not play.vault.remains())
    assert list((play.data / "ledger").iterdir()) == []
    erased.set()
    await asyncio.to_thread(play.stage.stop)
    assert list((play.data / "ledger").iterdir()) == []


async def test_a_ledger_entry_put_after_the_erasure_finds_no_key(play: Play) -> None:
    name = await play.recording()
    play.vault.destroy(name)
    with pytest.raises(ErasedError):
        play.vault.ledger_put(name, {"owner": 1})
    assert list((play.data / "ledger").iterdir()) == []


async def test_an_erasure_that_the_disk_refuses_stays_owed_until_it_is_done(
    play: Play, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = await play.recording()
    tried = []

    def destroy(recording: str) -> None:
        tried.append(recording)
        if len(tried) < 4:
            raise StoreError(f"{recording}: cannot be destroyed") from OSError(5, "Input/output error")
        Vault.destroy(play.vault, recording)

    monkeypatch.setattr(play.vault, "destroy", destroy)
    play.stage.handle(ev.PrivateCall(name, NOW + 6))
    await play.until(lambda: len(tried) == 2)
    assert play.stage.erasures_owed == 1
    play.end()
    while play.stage.erasures_owed:
        play.stage.erase_again()
        await asyncio.sleep(0.01)
    assert not play.vault.recordings()
    assert ("finish", name) not in play.afterwards.said
    said = capsys.readouterr().out
    assert said.count("Input/output error") == 1
    assert name not in said


async def test_an_end_written_while_it_is_erased_is_not_handed_over(play: Play) -> None:
    name = await play.recording()
    held = threading.Event()
    play.stage._to_disk(name, lambda: held.wait(5), lambda _: None)
    play.stage.handle(ev.MediaFailed(name, NOW + 5))
    play.stage.handle(ev.PrivateCall(name, NOW + 6))
    held.set()
    await play.until(lambda: "finish" in play.receiver.said and not play.stage.erasures_owed)
    await asyncio.to_thread(play.stage.stop)
    await asyncio.sleep(0)
    assert play.stage._cut == {}
    assert ("finish", name) not in play.afterwards.said


async def test_an_end_that_fails_because_it_is_erased_meanwhile_is_no_log_line_and_not_handed_over(
    play: Play, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line would tell that somebody denied this call (R12)."""
    name = await play.recording()
    writing, erased, written, told = (threading.Event() for _ in range(4))

    def write(recording: str, file: str, _: bytes) -> None:
        writing.set()
        assert erased.wait(5)
        raise StoreError(f"{recording}/{file}: cannot be written: No such file or directory")

    def release(_: str) -> None:  # what the disk does next for this recording
        written.set()
        assert told.wait(5)

    monkeypatch.setattr(play.vault, "write_sealed", write)
    monkeypatch.setattr(play.receiver, "release", release)
    play.end()
    await play.until(writing.is_set)
    play.stage.handle(ev.PrivateCall(name, NOW + 2 * SECOND))
    await play.until(lambda: not play.vault.recordings() and not play.stage.erasures_owed)
    erased.set()
    await play.until(written.is_set)
    await asyncio.sleep(0.01)
    told.set()
    assert ("finish", name) not in play.afterwards.said
    assert capsys.readouterr().out == ""


async def test_an_end_that_a_disk_refuses_is_a_log_line_and_handed_over_all_the_same(
    play: Play, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = await play.recording()

    def write(*_: object) -> None:
        raise StoreError("cannot be written: Input/output error")

    monkeypatch.setattr(play.vault, "write_sealed", write)
    play.end()
    await play.until(lambda: ("finish", name) in play.afterwards.said)
    assert "Input/output error" in capsys.readouterr().out


async def erased(play: Play) -> None:
    await play.recording()
    play.stage.handle(ev.PartiesChanged(1, call_between(OUTSIDE, REPRESENTATIVE), NOW + SECOND))
    await play.until(lambda: not play.vault.recordings() and not play.stage.erasures_owed)


async def cut(play: Play) -> None:
    play.stage.handle(ev.MediaFailed(await play.recording(), NOW + SECOND))
    await play.until(lambda: bool(play.stage._cut))


@pytest.mark.parametrize("over", [erased, cut])
async def test_a_change_of_a_session_whose_recording_is_over_is_no_log_line(
    play: Play, over: Callable[[Play], Awaitable[None]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing receives it any more; a line at every hold would tell which call was denied (R12)."""
    await over(play)
    capsys.readouterr()
    play.receiver.room = False
    play.stage.handle(ev.StreamsChanged(1, STREAMS[:1], NOW + 2 * SECOND))
    assert capsys.readouterr().out == ""
    assert play.tap.said == [("accept", 1)]


async def test_a_change_of_a_recorded_session_that_finds_no_port_is_a_log_line(
    play: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    await play.recording()
    play.receiver.room = False
    play.stage.handle(ev.StreamsChanged(1, STREAMS[:1], NOW + 2 * SECOND))
    assert "no port is free" in capsys.readouterr().out
    assert play.tap.said == [("accept", 1), ("unavailable", 1)]


async def silent(play: Play) -> str:
    name = await play.recording()
    play.stage.post(Silent(name, NOW + SECOND))
    await play.until(lambda: bool(play.stage._cut))
    return name


async def test_silence_ends_the_recording_at_the_last_packet_and_is_handed_over_when_the_session_ends(
    play: Play,
) -> None:
    name = await silent(play)
    assert play.vault.ledger()[name]["ended_at_ns"] == NOW + SECOND
    assert play.stage.calls_under_way == 1
    assert ("finish", name) not in play.afterwards.said
    assert "release" not in play.receiver.said
    play.stage.handle(ev.Ended(1, NOW + 60 * SECOND))
    assert ("finish", name) in play.afterwards.said
    assert play.stage.calls_under_way == 0


async def test_who_joins_after_a_silence_still_denies_all_of_the_call(play: Play) -> None:
    name = await silent(play)
    parties = call_between(OUTSIDE, REPRESENTATIVE)
    play.stage.handle(ev.PartiesChanged(1, parties, NOW + 30 * SECOND))
    await play.until(lambda: not play.vault.recordings())
    play.end()
    assert ("finish", name) not in play.afterwards.said
    assert play.vault.ledger() == {}


async def test_a_session_that_never_ends_holds_a_cut_recording_back_for_ten_minutes_at_most(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert CUT_WAIT_SECONDS == 600
    monkeypatch.setattr("sipgate.service.stage.CUT_WAIT_SECONDS", 0.05)
    name = await silent(play)
    await play.until(lambda: ("finish", name) in play.afterwards.said)
    await play.until(lambda: "release" in play.receiver.said)
    assert ("end", 1) in play.tap.said
    play.stage.handle(ev.PrivateCall(name, NOW + 30 * SECOND))
    await play.until(lambda: not play.vault.recordings())
    assert play.afterwards.said[-1] == ("forget", name)
    play.end()
    assert play.afterwards.said.count(("finish", name)) == 1


async def test_an_erased_call_s_session_that_nobody_ends_is_ended_after_as_long(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sipgate.service.stage.CUT_WAIT_SECONDS", 0.05)
    name = await play.recording()
    play.stage.handle(ev.PrivateCall(name, NOW + SECOND))
    await play.until(lambda: ("end", 1) in play.tap.said)
    play.end()
    assert play.stage.calls_under_way == 0


async def test_calls_that_turn_out_to_belong_together_get_one_story_in_ledger_and_index(play: Play) -> None:
    for session in (1, 2):
        play.offer(session, f"call-{session}")
        await play.until(lambda: len(play.vault.ledger()) == session)  # noqa: B023 - in its own turn
    older, newer = (play.stage._recording_of[session] for session in (1, 2))
    stories = {name: entry["story"] for name, entry in play.vault.ledger().items()}
    assert stories[older] != stories[newer]
    play.stage.handle(ev.KeysChanged(2, frozenset({"call-2"}), frozenset({"call-1"}), NOW))
    await play.until(lambda: play.vault.ledger()[newer]["story"] == stories[older])
    play.end(2)
    await play.until(lambda: play.vault.ledger()[newer]["ended_at_ns"] is not None)
    assert play.vault.ledger()[newer]["story"] == stories[older]


async def test_a_recording_that_has_ended_is_told_to_belong_to_an_older_story(play: Play) -> None:
    for session in (1, 2):
        play.offer(session, f"call-{session}")
        await play.until(lambda: len(play.vault.ledger()) == session)  # noqa: B023 - in its own turn
    older, newer = (play.stage._recording_of[session] for session in (1, 2))
    story = play.vault.ledger()[older]["story"]
    play.end(2)
    play.stage.handle(ev.KeysChanged(1, frozenset({"call-1"}), frozenset({"call-2"}), NOW))
    assert play.afterwards.stories == {newer: story}


async def halved(play: Play) -> str:
    """Both halves of a call, the second one's session being 2."""
    parties, keys = call_between(OUTSIDE, LINE), frozenset({"refci"})
    for session, stream in enumerate(STREAMS, 1):
        offered = ev.Offered(session, WITH_KEY.name, parties, (stream,), NOW, NOW, keys, half=True)
        play.stage.handle(offered)
        await play.until(lambda: 1 in play.tap.ports)
    return play.stage._recording_of[1]


async def test_each_half_of_a_call_is_told_its_own_port(play: Play) -> None:
    await halved(play)
    assert play.tap.said == [("accept", 1), ("accept", 2)]
    assert play.tap.ports[2] == (40002,)
    await play.until(lambda: bool(play.vault.ledger()))
    for session, stream in enumerate(STREAMS, 1):
        play.stage.handle(ev.StreamsChanged(session, (stream,), NOW))
    assert play.tap.ports == {1: (40000,), 2: (40002,)}


async def test_where_the_second_half_finds_no_port_nothing_of_the_first_is_kept(play: Play) -> None:
    parties, keys = call_between(OUTSIDE, LINE), frozenset({"refci"})
    play.stage.handle(ev.Offered(1, WITH_KEY.name, parties, STREAMS[:1], NOW, NOW, keys, half=True))
    await play.until(lambda: 1 in play.tap.ports)
    play.receiver.room = False
    play.stage.handle(ev.Offered(2, WITH_KEY.name, parties, STREAMS[1:], NOW, NOW, keys, half=True))
    assert ("unavailable", 2) in play.tap.said
    await play.until(lambda: play.stage.calls_under_way == 0 and not play.vault.recordings())
    await play.until(lambda: not play.vault.ledger())
    assert not [said for said in play.afterwards.said if said[0] == "finish"]
    play.receiver.room = True
    play.end()
    play.offer(2)  # a number drawn again is a new session to core: it has forgotten that one
    await play.until(lambda: len(play.tap.said) == 3)
    assert play.tap.said[2] == ("accept", 2)
