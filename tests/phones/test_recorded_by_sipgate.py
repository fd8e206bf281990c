"""The recording client against sipgate's own recording server, with bare sockets in the place of its media."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

import pytest

from sipgate import config
from sipgate.core.events import Ended, Event, Offered, Side
from sipgate.core.lines import SelectorSet, parse_selector
from sipgate.phones.recording_client import OngoingCall, place
from sipgate.taps.siprec import SiprecTap
from tests.peers.recording_client import needs_pjsua2, recorded_call
from tests.peers.rtp_sink import keys, sound, two_sinks
from tests.peers.speech import Dialogue, compare, read_wav

pytestmark = [pytest.mark.peer, needs_pjsua2]

MILLISECOND = 1_000_000
Transport = Literal["udp", "tcp"]


@dataclass
class Recorder:
    """A tap that decides as ``decide`` says, and what it has seen."""

    tap: SiprecTap
    uri: str
    seen: list[Event] = field(default_factory=list)

    async def until(self, kind: type[Event]) -> None:
        async with asyncio.timeout(5):
            while not any(isinstance(event, kind) for event in self.seen):
                await asyncio.sleep(0.01)


@asynccontextmanager
async def recorder(transport: Transport, decide: Callable[[SiprecTap, Offered], None]) -> AsyncIterator[Recorder]:
    seen: list[Event] = []

    def emit(event: Event) -> None:
        seen.append(event)
        if isinstance(event, Offered):
            decide(tap, event)

    settings = config.Siprec.model_validate(
        {
            "listen": [{"transport": transport, "port": 0}],
            "connection": [
                {"name": "pbx", "addresses": ["127.0.0.1"], "begins": "answer", "announcement": "before-answer"}
            ],
        }
    )
    tap = SiprecTap(settings, "FR", "127.0.0.1", time.time_ns, emit)
    await tap.start()
    try:
        yield Recorder(tap, f"sip:recorder@127.0.0.1:{tap.bound[0][2]}", seen)
    finally:
        await tap.stop()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_it_sees_who_speaks_where_and_hears_them(spoken: Dialogue, transport: Transport) -> None:
    with two_sinks() as sinks:

        def accept(tap: SiprecTap, offered: Offered) -> None:
            tap.accept(offered.session, [sink.port for sink in sinks])

        async with recorder(transport, accept) as peer:
            report = await asyncio.to_thread(place, recorded_call(peer.uri, spoken, transport=transport))
            await peer.until(Ended)
        received = [sink.packets() for sink in sinks]
    offered, ended = peer.seen
    assert isinstance(offered, Offered)
    assert isinstance(ended, Ended)
    assert report.status == 200
    assert [(stream.label, stream.side) for stream in offered.streams] == [("1", Side.CALLER), ("2", Side.CALLEE)]
    for side, number in ((Side.CALLER, "+33612345678"), (Side.CALLEE, "2101")):
        line = SelectorSet([parse_selector(number, "FR")])
        assert [party.side for party in offered.parties if line.matches(party.identities)] == [side]
    for packets, count, said in zip(received, report.packets, (spoken.caller, spoken.callee), strict=True):
        assert len(packets) == count
        assert compare(sound(packets), read_wav(said))[1] > 0.99
    assert report.answered_at_ns is not None
    assert report.hung_up_at_ns is not None
    assert offered.answered_at_ns is not None
    assert 0 <= report.answered_at_ns - offered.answered_at_ns < 100 * MILLISECOND
    assert ended.established
    assert 0 <= ended.at_ns - report.hung_up_at_ns < 100 * MILLISECOND


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_what_it_may_not_record_it_declines(spoken: Dialogue, transport: Transport) -> None:
    async with recorder(transport, lambda tap, offered: tap.refuse(offered.session)) as peer:
        report = await asyncio.to_thread(place, recorded_call(peer.uri, spoken, transport=transport))
    assert (report.status, report.answered_at_ns, report.packets) == (603, None, (0, 0))


async def test_a_recorder_without_room_sends_the_client_elsewhere(spoken: Dialogue) -> None:
    async with recorder("udp", lambda tap, offered: tap.unavailable(offered.session)) as peer:
        report = await asyncio.to_thread(place, recorded_call(peer.uri, spoken))
    assert report.status == 503


async def test_who_diverted_the_call_is_one_of_its_parties(spoken: Dialogue) -> None:
    async with recorder("udp", lambda tap, offered: tap.refuse(offered.session)) as peer:
        diverted = (("Diversion", "<sip:2100@pbx.example>;reason=no-answer"),)
        await asyncio.to_thread(place, recorded_call(peer.uri, spoken, headers=diverted))
    (offered,) = peer.seen
    assert isinstance(offered, Offered)
    line = SelectorSet([parse_selector("2100", "FR")])
    assert [party.side for party in offered.parties if line.matches(party.identities)] == [None]


async def test_a_key_pressed_in_mid_call_arrives_in_its_sides_stream(spoken: Dialogue) -> None:
    with two_sinks() as sinks:

        def accept(tap: SiprecTap, offered: Offered) -> None:
            tap.accept(offered.session, [sink.port for sink in sinks])

        async with recorder("udp", accept) as peer:
            ongoing = OngoingCall(recorded_call(peer.uri, spoken))
            await asyncio.to_thread(ongoing.start)
            ongoing.press("*9", "callee")
            await asyncio.to_thread(ongoing.wait)
        offered = peer.seen[0]
        assert isinstance(offered, Offered)
        agreed = [{name: number for number, name in stream.payload_types} for stream in offered.streams]
        pressed = [keys(s.packets(), a["telephone-event"]) for s, a in zip(sinks, agreed, strict=True)]
    assert pressed == ["", "*9"]
