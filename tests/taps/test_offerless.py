"""Sessions in which the recorder makes the offer, and the ACK brings the answer (RFC 7866 §9.1, RFC 3261 §13.2.1)."""

from __future__ import annotations

import pytest

from sipgate.core.events import Ended, Offered, PartiesChanged, Side, StreamsChanged
from tests.peers.dialogue import Dialogue, ports_of
from tests.peers.recorder import recorder, udp_client
from tests.peers.sip_messages import (
    CALLER_AND_CALLEE,
    TWO_STREAMS,
    audio,
    field_of,
    recording_body,
    sdp,
    status_of,
    tag_of,
)

METADATA = "application/rs-metadata+xml"


async def test_two_audio_streams_are_offered_received_only_and_nothing_is_heard_before_the_answer() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        offer = await Dialogue(client).ask(body=CALLER_AND_CALLEE, content_type=METADATA, answer_body=TWO_STREAMS)
        assert ports_of(offer) == [30000, 30002]
        assert offer.count(b"a=recvonly") == 2
        offered = found.all(Offered)[0]
        assert [(s.side, s.address, s.port) for s in offered.streams] == [
            (Side.CALLER, "0.0.0.0", 0),
            (Side.CALLEE, "0.0.0.0", 0),
        ]
        assert {party.side for party in offered.parties[:2]} == {Side.CALLER, Side.CALLEE}
        changed = await found.wait_for(StreamsChanged)
    assert [(s.label, s.side, s.address, s.port) for s in changed.streams] == [
        ("#0", Side.CALLER, "127.0.0.1", 40000),
        ("#1", Side.CALLEE, "127.0.0.1", 40002),
    ]


async def test_the_answers_labels_say_whose_voice_a_stream_is() -> None:
    crossed = sdp(audio(40002, "2"), audio(40000, "1"))
    async with recorder() as found, udp_client(found.port("udp")) as client:
        await Dialogue(client).ask(body=CALLER_AND_CALLEE, content_type=METADATA, answer_body=crossed)
        changed = await found.wait_for(StreamsChanged)
    assert [(s.label, s.side) for s in changed.streams] == [("#0", Side.CALLEE), ("#1", Side.CALLER)]


async def test_a_later_offer_with_the_answers_labels_keeps_the_ports() -> None:
    async with recorder(restream=False) as found, udp_client(found.port("udp")) as client:
        dialogue = Dialogue(client)
        await dialogue.ask(answer_body=TWO_STREAMS)
        await found.wait_for(StreamsChanged)
        assert ports_of(await dialogue.ask(body=recording_body())) == [30000, 30002]


async def test_metadata_may_come_with_the_acks_answer_or_later() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        dialogue = Dialogue(client)
        await dialogue.ask(answer_body=TWO_STREAMS)
        await found.wait_for(StreamsChanged)
        assert status_of(await dialogue.ask("UPDATE", CALLER_AND_CALLEE, METADATA)) == 200
        changed = await found.wait_for(PartiesChanged)
    assert [party.side for party in changed.parties[:2]] == [Side.CALLER, Side.CALLEE]


@pytest.mark.parametrize(
    "answer", [b"", b"v=0\r\n", sdp("m=audio 4 RTP/AVP 99")], ids=["none", "malformed", "no codec"]
)
async def test_an_ack_without_a_usable_answer_ends_the_session_with_a_bye(answer: bytes) -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        await Dialogue(client).ask(answer_body=answer)
        await found.wait_for(Ended)
        assert (await client.answer()).startswith(b"BYE ")
        assert found.all(StreamsChanged) == []


@pytest.mark.parametrize(("method", "status"), [("UPDATE", 491), ("INVITE", 491)])
async def test_an_offer_that_crosses_ours_is_pending(method: str, status: int) -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        dialogue = Dialogue(client)
        dialogue.sequence = 1
        answer = await client.ask(dialogue.message("INVITE", b"", ""))
        dialogue.tag = tag_of(field_of(answer, "To"))
        assert status_of(await dialogue.ask(method, TWO_STREAMS, "application/sdp")) == status
        assert status_of(await dialogue.ask("UPDATE", CALLER_AND_CALLEE, METADATA)) == 200
        assert found.all(Ended) == []


async def test_a_re_invite_without_an_offer_gets_our_description_and_its_ack_moves_the_streams() -> None:
    moved = sdp(audio(41000, None), audio(41002, None))
    async with recorder() as found, udp_client(found.port("udp")) as client:
        dialogue = Dialogue(client)
        await dialogue.ask(body=recording_body())
        assert ports_of(await dialogue.ask(answer_body=moved)) == [30000, 30002]
        changed = await found.wait_for(StreamsChanged)
    assert [(s.label, s.side, s.port) for s in changed.streams] == [
        ("1", Side.CALLER, 41000),
        ("2", Side.CALLEE, 41002),
    ]
