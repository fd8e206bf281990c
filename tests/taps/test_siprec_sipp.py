"""The SIPREC tap against SIPp, a SIP implementation that is not ours, over UDP and TCP."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sipgate.core.events import Ended, KeysChanged, Offered, PartiesChanged, StreamsChanged
from tests.peers.recorder import accept, recorder, refuse, wait
from tests.peers.sipp import ACK, BYE, expect, invite, needs_sipp, pause, receive, remember, run, send

pytestmark = [pytest.mark.peer, needs_sipp]
TRANSPORTS = pytest.mark.parametrize("transport", ["udp", "tcp"])


@TRANSPORTS
async def test_a_call_with_bye(tmp_path: Path, transport: str) -> None:
    async with recorder() as found:
        steps = [invite(), receive(200), ACK, pause(200), BYE, receive(200)]
        await run(tmp_path, found.port(transport), steps, transport=transport)
        assert [type(event) for event in found.events] == [Offered, Ended]
        assert len(found.all(Offered)[0].streams) == 2
        assert found.all(Ended)[0].established


@TRANSPORTS
async def test_an_invite_without_an_offer_whose_answer_comes_in_the_ack(tmp_path: Path, transport: str) -> None:
    async with recorder() as found:
        ack = send("ACK", 1, name="ACK", in_dialog=True, body=True)
        await run(
            tmp_path,
            found.port(transport),
            [send("INVITE", 1), receive(200), ack, BYE, receive(200)],
            transport=transport,
        )
        assert [type(event) for event in found.events] == [Offered, KeysChanged, PartiesChanged, StreamsChanged, Ended]


@TRANSPORTS
async def test_twenty_calls_at_once_are_twenty_sessions(tmp_path: Path, transport: str) -> None:
    async with recorder() as found:
        steps = [invite(), receive(200), ACK, pause(500), BYE, receive(200)]
        await run(tmp_path, found.port(transport), steps, transport=transport, calls=20, rate=100)
        assert len({event.session for event in found.all(Offered)}) == 20
        assert {event.session for event in found.all(Ended)} == {event.session for event in found.all(Offered)}


@TRANSPORTS
async def test_a_refused_call_gets_603(tmp_path: Path, transport: str) -> None:
    async with recorder(refuse) as found:
        steps = [invite(), receive(603), send("ACK", 1, name="INVITE1", in_dialog=True)]
        await run(tmp_path, found.port(transport), steps, transport=transport)
        assert [type(event) for event in found.events] == [Offered]


async def test_a_retransmitted_invite_is_one_session(tmp_path: Path) -> None:
    async with recorder() as found:
        steps = [invite(), receive(200), invite(), invite(), ACK, pause(100), BYE, receive(200)]
        await run(tmp_path, found.port("udp"), steps, repeat=False)
        assert [type(event) for event in found.events] == [Offered, Ended]


async def test_a_lost_ack_makes_the_200_come_again_until_it_is_acknowledged(tmp_path: Path) -> None:
    async with recorder() as found:
        # 200 at 0, 0.5 and 1.5 s; after the ACK no more, or the pause would fail on an unexpected 200.
        steps = [invite(), receive(200), receive(200), receive(200), ACK, pause(2500), BYE, receive(200)]
        await run(tmp_path, found.port("udp"), steps, repeat=False)
        assert found.all(Ended)[0].established


@TRANSPORTS
async def test_a_cancelled_call_gets_200_and_487(tmp_path: Path, transport: str) -> None:
    async with recorder(wait) as found:
        cancel = send("CANCEL", 1, name="INVITE1")
        ack = send("ACK", 1, name="INVITE1", in_dialog=True)
        steps = [invite(), receive(100), cancel, receive(200), receive(487), ack]
        await run(tmp_path, found.port(transport), steps, transport=transport)
        assert [type(event) for event in found.events] == [Offered, Ended]
        assert not found.all(Ended)[0].established


@TRANSPORTS
async def test_options_get_200(tmp_path: Path, transport: str) -> None:
    async with recorder() as found:
        await run(tmp_path, found.port(transport), [send("OPTIONS", 1), receive(200)], transport=transport)
        assert found.events == []


@TRANSPORTS
@pytest.mark.parametrize(
    ("step", "status"),
    [
        pytest.param(send("INVITE", 1, extra=["no header field"]), 400, id="a line that is no header field"),
        pytest.param(send("OPTIONS", 1, extra=["To: <sip:other@h.example>"]), 400, id="two Tos"),
        pytest.param(send("INVITE", 1, extra=["Require: precondition"]), 420, id="an unknown extension"),
        pytest.param(send("PUBLISH", 1), 405, id="an unknown method"),
        pytest.param(send("BYE", 1), 481, id="a BYE of nothing"),
    ],
)
async def test_what_is_malformed_or_unsupported_gets_the_rfcs_status(
    tmp_path: Path, transport: str, step: str, status: int
) -> None:
    async with recorder() as found:
        await run(tmp_path, found.port(transport), [step, receive(status)], transport=transport)
        assert found.events == []


@TRANSPORTS
async def test_a_second_invite_of_the_same_call_is_merged_and_the_first_goes_on(tmp_path: Path, transport: str) -> None:
    async with recorder() as found:
        ack, bye = send("ACK", 1, name="ACK", remembered=True), send("BYE", 2, remembered=True)
        second = [invite(name="again"), receive(482), send("ACK", 1, name="again", in_dialog=True)]
        steps = [invite(), remember(200), ack, *second, bye, receive(200)]
        await run(tmp_path, found.port(transport), steps, transport=transport)
        assert [type(event) for event in found.events] == [Offered, Ended]


@TRANSPORTS
async def test_a_re_invite_keeps_the_session(tmp_path: Path, transport: str) -> None:
    async with recorder() as found:
        again = send("INVITE", 2, in_dialog=True, body=True)
        steps = [invite(), receive(200), ACK, again, receive(200), send("ACK", 2, name="ACK2", in_dialog=True)]
        steps += [send("BYE", 3, in_dialog=True), receive(200)]
        await run(tmp_path, found.port(transport), steps, transport=transport)
        assert [type(event) for event in found.events] == [Offered, Ended]


async def test_a_call_accepted_late_is_told_to_wait_first(tmp_path: Path) -> None:
    async with recorder(wait) as found:
        steps = [invite(), receive(100), receive(200), ACK, BYE, receive(200)]
        client = asyncio.create_task(run(tmp_path, found.port("udp"), steps))
        accept(found, await found.wait_for(Offered))
        await client


@pytest.mark.long
async def test_a_200_that_is_never_acknowledged_ends_in_our_bye_after_32_s(tmp_path: Path) -> None:
    async with recorder() as found:
        steps = [invite(), *[receive(200)] * 11, expect("BYE")]  # 0, 0.5, 1.5, 3.5, then every 4 s
        await run(tmp_path, found.port("udp"), steps, repeat=False, seconds=40)
        assert not (await found.wait_for(Ended)).established
