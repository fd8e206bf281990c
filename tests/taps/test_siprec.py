"""The SIPREC tap over real sockets: what the peer gets, and what core is told."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import Sequence

import pytest
import structlog.testing

from sipgate import config
from sipgate.core.events import Ended, Offered, PartiesChanged, Side, StreamOffer, StreamsChanged
from sipgate.errors import ConfigurationError
from sipgate.taps.siprec import SiprecTap
from tests.peers import sip_messages as sip
from tests.peers.dialogue import Dialogue, ports_of
from tests.peers.recorder import Recorder, accept, recorder, refuse, udp_client, wait
from tests.peers.sip_messages import MIXED, audio, field_of, metadata, multipart, recording_body, request, status_of


def _places(streams: Sequence[StreamOffer]) -> list[tuple[str, Side | None, int]]:
    return [(stream.label, stream.side, stream.port) for stream in streams]


async def test_an_accepted_session_is_offered_with_its_parties_streams_and_the_moment_of_the_invite() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        before = time.time_ns()
        answer = await Dialogue(client).ask(body=recording_body())
        (offered,) = found.all(Offered)
    assert ports_of(answer) == [30000, 30002]
    assert offered.connection == "pbx"
    assert before <= offered.at_ns <= time.time_ns()
    assert offered.answered_at_ns == offered.at_ns
    assert [(s.label, s.side, s.port) for s in offered.streams] == [
        ("1", Side.CALLER, 40000),
        ("2", Side.CALLEE, 40002),
    ]
    assert {str(i) for i in offered.parties[0].identities} == {"sip:2001@pbx.example", "2001"}
    assert {str(i) for i in offered.parties[1].identities} == {"+33612345678"}
    assert "call-1@pbx" in offered.keys


async def test_a_session_can_be_accepted_later_and_is_told_to_wait() -> None:
    async with recorder(wait) as found, udp_client(found.port("udp")) as client:
        session = Dialogue(client)
        session.sequence = 1
        assert status_of(await client.ask(session.message("INVITE", recording_body(), MIXED))) == 100
        accept(found, found.all(Offered)[0])
        assert status_of(await client.answer()) == 200


async def test_a_session_that_is_wanted_no_more_gets_a_bye_and_is_over_for_core() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        session = Dialogue(client)
        await session.ask(body=recording_body())
        assert status_of(await session.ask("OPTIONS")) == 200  # so the ACK has come, too
        (offered,) = found.all(Offered)
        found.tap.end(offered.session)
        assert (await client.answer()).startswith(b"BYE ")
        assert [event.session for event in found.all(Ended)] == [offered.session]


async def test_a_refusal_by_policy_is_603_and_the_session_is_forgotten() -> None:
    async with recorder(refuse) as found, udp_client(found.port("udp")) as client:
        answer = await Dialogue(client).ask(body=recording_body())
        assert status_of(answer) == 603
        assert found.tap.metadata(found.all(Offered)[0].session) == b""
        found.tap.accept(found.all(Offered)[0].session, [1, 2])
    assert [type(event) for event in found.events] == [Offered]


async def test_no_room_is_503_so_that_the_client_tries_another_recorder() -> None:
    def unavailable(recorder: Recorder, offered: Offered) -> None:
        recorder.tap.unavailable(offered.session)

    async with recorder(unavailable) as found, udp_client(found.port("udp")) as client:
        answer = await Dialogue(client).ask(body=recording_body())
    assert status_of(answer) == 503
    assert field_of(answer, "Retry-After").isdigit()


async def test_while_the_service_is_not_ready_nothing_is_offered() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        found.tap.available = False
        assert not found.tap.available
        assert status_of(await Dialogue(client).ask(body=recording_body())) == 503
        assert found.events == []


async def test_a_stranger_gets_no_answer_over_udp_and_a_closed_connection_over_tcp() -> None:
    async with recorder(peers="192.0.2.0/24") as found, udp_client(found.port("udp")) as client:
        client.send(request("OPTIONS"))
        reader, writer = await asyncio.open_connection("127.0.0.1", found.port("tcp"))
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
        assert client.received.empty()
        assert found.events == []


async def test_a_bye_ends_the_session_when_it_comes() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        session = Dialogue(client)
        await session.ask(body=recording_body())
        before = time.time_ns()
        assert status_of(await session.ask("BYE")) == 200
        ended = found.all(Ended)[0]
    assert ended.session == found.all(Offered)[0].session
    assert before <= ended.at_ns <= time.time_ns()
    assert ended.established


async def test_a_cancelled_session_ends_without_having_been_established() -> None:
    async with recorder(wait) as found, udp_client(found.port("udp")) as client:
        session = Dialogue(client)
        session.sequence = 1
        await client.ask(session.message("INVITE", recording_body(), MIXED))
        cancelled = await client.ask(session.message("CANCEL", b"", "", "z9hG4bK1INVITE"))
        assert {status_of(cancelled), status_of(await client.answer())} == {200, 487}
        (ended,) = found.all(Ended)
        assert not ended.established
        accept(found, found.all(Offered)[0])
        assert client.received.empty()


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
async def test_changed_metadata_gives_the_whole_new_set_of_parties_before_the_answer(method: str) -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        session = Dialogue(client)
        await session.ask(body=recording_body())
        joined = metadata(("p3", "sip:2100@pbx.example", []), mode="partial")
        body = recording_body(metadata_part=joined) if method == "INVITE" else joined
        content_type = MIXED if method == "INVITE" else "application/rs-metadata+xml"
        assert status_of(await session.ask(method, body, content_type)) == 200
        (changed,) = found.all(PartiesChanged)
    texts = [{str(i) for i in party.identities} for party in changed.parties]
    assert texts[:3] == [{"sip:2001@pbx.example", "2001"}, {"+33612345678"}, {"sip:2100@pbx.example", "2100"}]
    assert [party.side for party in changed.parties][:3] == [Side.CALLER, Side.CALLEE, None]
    assert found.all(StreamsChanged) == []


async def test_who_is_named_by_the_header_of_a_later_re_invite_is_a_party_too() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        session = Dialogue(client)
        await session.ask(body=recording_body())
        session.sequence = 2
        message = session.message("INVITE", recording_body(), MIXED)
        answer = await client.ask(message.replace(b"Max-", b"Diversion: <sip:2100@pbx.example>\r\nMax-"))
        assert status_of(answer) == 200
        (changed,) = found.all(PartiesChanged)
    assert "2100" in {str(i) for i in changed.parties[-1].identities}


async def test_metadata_that_becomes_unreadable_leaves_nobody_identified() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        session = Dialogue(client)
        await session.ask(body=recording_body())
        assert status_of(await session.ask("UPDATE", b"<recording", "application/rs-metadata+xml")) == 200
        (changed,) = found.all(PartiesChanged)
    assert all(party.side is None for party in changed.parties)


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(b"<recording", id="broken"),
        pytest.param(b"", id="empty"),
        pytest.param(b"<!DOCTYPE r [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><r>&e;</r>", id="an external entity"),
    ],
)
async def test_a_session_whose_parties_cannot_be_read_is_offered_with_none_identified(document: bytes) -> None:
    async with recorder(refuse) as found, udp_client(found.port("udp")) as client:
        answer = await Dialogue(client).ask(body=recording_body(metadata_part=document))
        assert found.tap.unreadable == 1
    assert status_of(answer) == 603
    assert all(party.side is None for party in found.all(Offered)[0].parties)


async def test_header_fields_never_stand_in_for_metadata_that_nobody_could_read() -> None:
    named = "Remote-Party-ID: <sip:+33612345678@cube>;party=calling, <sip:2001@cube>;party=called"
    async with recorder(refuse) as found, udp_client(found.port("udp")) as client:
        await Dialogue(client).ask(body=recording_body(metadata_part=b"<recording"), extra=[named])
    assert all(party.side is None for party in found.all(Offered)[0].parties)


async def test_a_session_without_metadata_is_offered_with_no_party_on_any_side() -> None:
    async with recorder(refuse) as found, udp_client(found.port("udp")) as client:
        assert status_of(await Dialogue(client).ask(body=sip.TWO_STREAMS, content_type="application/sdp")) == 603
    assert all(party.side is None for party in found.all(Offered)[0].parties)


async def test_a_stream_that_comes_from_elsewhere_is_a_change_and_gets_its_new_port() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        session = Dialogue(client)
        await session.ask(body=recording_body())
        moved = sip.sdp(audio(40000, "1"), audio(41000, "2"))
        answer = await session.ask(body=recording_body(moved))
        (changed,) = found.all(StreamsChanged)
    assert [(s.label, s.side, s.port) for s in changed.streams] == [
        ("1", Side.CALLER, 40000),
        ("2", Side.CALLEE, 41000),
    ]
    assert ports_of(answer) == [30100, 30102]


async def test_another_codec_and_a_further_stream_are_changes() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        session = Dialogue(client)
        await session.ask(body=recording_body())
        await session.ask(body=recording_body(sip.sdp(audio(40000, "1", types="8"), audio(40002, "2"))))
        await session.ask(
            body=recording_body(sip.sdp(audio(40000, "1", types="8"), audio(40002, "2"), audio(40004, "3")))
        )
        first, second = found.all(StreamsChanged)
    assert first.streams[0].payload_types == ((8, "PCMA"),)
    assert [(s.label, s.side) for s in second.streams][2] == ("3", None)


async def test_streams_in_another_order_keep_the_ports_of_their_labels() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        session = Dialogue(client)
        await session.ask(body=recording_body())
        held = sip.sdp(audio(40000, "1", direction="inactive"), audio(40002, "2"), connection="c=IN IP4 0.0.0.0")
        await session.ask(body=recording_body(held))
        await session.ask(body=recording_body(sip.sdp(audio(40002, "2"), audio(40000, "1"))))
        on_hold, changed = found.all(StreamsChanged)
    # What goes on during a hold is heard from where it came before; only reports have nobody to go to.
    assert [(s.label, s.address, s.port, s.rtcp) for s in on_hold.streams] == [
        ("1", "127.0.0.1", 40000, None),
        ("2", "127.0.0.1", 40002, None),
    ]
    assert _places(changed.streams) == [("2", Side.CALLEE, 40002), ("1", Side.CALLER, 40000)]


async def test_a_re_invite_that_nobody_restreams_is_answered_with_the_ports_that_there_are() -> None:
    async with recorder(restream=False) as found, udp_client(found.port("udp")) as client:
        session = Dialogue(client)
        await session.ask(body=recording_body())
        three = sip.sdp(audio(40000, "1"), audio(41000, "2"), audio(40004, "3"))
        assert ports_of(await session.ask(body=recording_body(three))) == [30000, 30002, 0]


async def test_a_stream_without_a_label_is_known_by_its_place() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        session = Dialogue(client)
        await session.ask(body=recording_body(sip.sdp(audio(40000, None), audio(40002, None))))
        assert ports_of(await session.ask(body=recording_body(sip.sdp(audio(0, None), audio(40002, None)))))[0] == 0
        (changed,) = found.all(StreamsChanged)
        assert _places(found.all(Offered)[0].streams)[1] == _places(changed.streams)[0]


async def test_streams_taken_away_are_answered_with_port_0() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        session = Dialogue(client)
        await session.ask(body=recording_body())
        answer = await session.ask(body=recording_body(sip.sdp(audio(0, "1"), audio(0, "2"))))
        assert ports_of(answer) == [0, 0]
        assert found.all(StreamsChanged)[0].streams == ()


async def test_the_raw_metadata_is_kept_document_by_document() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        session = Dialogue(client)
        await session.ask(body=recording_body())
        update = metadata(mode="partial")
        await session.ask("UPDATE", update, "application/rs-metadata+xml")
        assert found.tap.metadata(found.all(Offered)[0].session) == sip.CALLER_AND_CALLEE + update


IPV6_PEER = {"name": "pbx", "addresses": ["::1/128"], "begins": "answer", "announcement": "before-answer"}
SAVP = sip.sdp("m=audio 40000 RTP/SAVP 0\na=label:1")


def _with_an_unknown_part(metadata_part: bytes) -> bytes:
    """Which the client says is required (RFC 5621 §8)."""
    required = "application/x-own\r\nContent-Disposition: render;handling=required"
    parts = (("application/sdp", sip.TWO_STREAMS), (required, b"?"), ("application/rs-metadata+xml", metadata_part))
    return multipart(*parts)


REFUSED = [
    ("SRTP alone", recording_body(SAVP), MIXED, 488, True),
    ("no codec that we have", sip.sdp("m=audio 4 RTP/AVP 4"), "application/sdp", 488, True),
    ("video alone", sip.sdp("m=video 4 RTP/AVP 96"), "application/sdp", 488, True),
    ("a malformed description", recording_body(b"v=0\r\nm=audio"), MIXED, 400, True),
    ("a part that nobody knows", _with_an_unknown_part(sip.CALLER_AND_CALLEE), MIXED, 415, True),
    ("no description at all", multipart(("application/sdp", b"")), MIXED, 400, False),
    ("a malformed multipart", recording_body()[:-20], MIXED, 400, False),
    ("a body of another kind", b"hello", "text/plain", 415, False),
]


@pytest.mark.parametrize(
    ("body", "content_type", "status", "seen"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED]
)
async def test_a_body_that_cannot_be_used_gets_the_rfcs_status_and_is_never_offered_with_streams(
    body: bytes, content_type: str, status: int, *, seen: bool
) -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        answer = await Dialogue(client).ask(body=body, content_type=content_type)
        assert [type(event) for event in found.events] == ([Offered, Ended] if seen else [])
        assert not any(offered.streams for offered in found.all(Offered))
    assert status_of(answer) == status
    if status == 488:
        assert field_of(answer, "Warning").startswith("305 sipgate ")
    if status == 415:
        assert "application/sdp" in field_of(answer, "Accept")


UNKNOWN = "m=audio 40002 RTP/AVP 96\na=rtpmap:96 AMR-WB/16000\na=label:2"
UNWANTED = [
    pytest.param(SAVP, id="SRTP without a key"),
    pytest.param(sip.sdp(UNKNOWN), id="a codec that is not kept"),
    pytest.param(sip.sdp(audio(0, "1"), audio(0, "2")), id="every port 0"),
]


@pytest.mark.parametrize("description", UNWANTED)
async def test_who_takes_part_in_a_session_that_gets_488_is_told_and_that_it_is_over(description: bytes) -> None:
    """Nothing of it is recorded; but it may show a protected party of a call that another session records (R12)."""
    async with recorder() as found, udp_client(found.port("udp")) as client:
        answer = await Dialogue(client).ask(body=recording_body(description))
        offered, ended = found.events
        assert isinstance(offered, Offered)
        assert isinstance(ended, Ended)
        assert found.tap.metadata(offered.session) == b""
        found.tap.accept(offered.session, [])
        found.tap.refuse(offered.session)
        assert client.received.empty()
    assert status_of(answer) == 488
    assert field_of(answer, "Warning").startswith("305 sipgate ")
    assert [{str(i) for i in party.identities} for party in offered.parties[:2]] == [
        {"sip:2001@pbx.example", "2001"},
        {"+33612345678"},
    ]
    assert "call-1@pbx" in offered.keys
    assert (offered.streams, offered.answered_at_ns, offered.half) == ((), None, False)
    assert (ended.session, ended.established) == (offered.session, False)


async def test_half_of_a_call_that_gets_488_is_no_half_that_the_other_waits_for() -> None:
    half = "From: <sip:2001@pbx.example;x-nearend;x-refci=102;x-nearendaddr=2001;x-farendaddr=0612345678>;tag=a"
    async with recorder() as found, udp_client(found.port("udp")) as client:
        for number, line in enumerate((UNKNOWN, audio(40000, None))):
            session = Dialogue(client, f"session-{number}@client")
            session.sequence = 10 * number
            await session.ask(body=sip.sdp(line), content_type="application/sdp", extra=[half], drop=["From"])
        turned_away, taken = found.all(Offered)
    assert (turned_away.half, taken.half) == (False, True)
    assert {key for key in turned_away.keys & taken.keys if "102" in key}
    assert len(found.all(Ended)) == 1


async def test_after_488_the_client_may_offer_the_same_call_again() -> None:
    async with recorder(capacity=1) as found, udp_client(found.port("udp")) as client:
        assert status_of(await Dialogue(client).ask(body=recording_body(SAVP))) == 488
        again = Dialogue(client, "session-2@client")
        again.sequence = 10
        assert ports_of(await again.ask(body=recording_body())) == [30000, 30002]
        first, second = found.all(Offered)
    assert first.session != second.session
    assert second.streams


@pytest.mark.parametrize(("body", "status"), [(sip.sdp(UNKNOWN), 488), (sip.sdp(audio(40000, "1"), UNKNOWN), 200)])
async def test_a_codec_that_cannot_be_kept_is_counted_for_health_by_its_name(body: bytes, status: int) -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        answer = await Dialogue(client).ask(body=recording_body(body))
        assert status_of(answer) == status
        assert found.tap.refused_codecs == {("pbx", "AMR-WB"): 1}


async def test_a_re_invite_that_cannot_be_used_leaves_the_session_as_it_was() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        session = Dialogue(client)
        await session.ask(body=recording_body())
        assert status_of(await session.ask(body=recording_body(SAVP))) == 488
        assert status_of(await session.ask("BYE")) == 200
        assert [type(event) for event in found.events] == [Offered, Ended]


JOINED = metadata(("p3", "sip:2100@pbx.example", []), mode="partial")
TURNED_AWAY = [
    pytest.param(recording_body(sip.sdp(UNKNOWN), JOINED), 488, id="a codec that is not kept"),
    pytest.param(recording_body(SAVP, JOINED), 488, id="SRTP without a key"),
    pytest.param(recording_body(b"v=0\r\nm=audio", JOINED), 400, id="a malformed description"),
    pytest.param(recording_body(b"", JOINED), 400, id="no description at all"),
    pytest.param(_with_an_unknown_part(JOINED), 415, id="a part that nobody knows"),
]


@pytest.mark.parametrize(("body", "status"), TURNED_AWAY)
async def test_who_joins_with_a_re_invite_that_is_turned_away_takes_part_all_the_same(body: bytes, status: int) -> None:
    """The change has happened at the client, whatever we answer: a protected party must not go unseen (R12)."""
    async with recorder() as found, udp_client(found.port("udp")) as client:
        session = Dialogue(client)
        await session.ask(body=recording_body())
        assert status_of(await session.ask(body=body)) == status
        assert status_of(await session.ask("BYE")) == 200
        assert [type(event) for event in found.events] == [Offered, PartiesChanged, Ended]
        (changed,) = found.all(PartiesChanged)
    assert changed.session == found.all(Offered)[0].session
    assert [{str(i) for i in party.identities} for party in changed.parties[:3]] == [
        {"sip:2001@pbx.example", "2001"},
        {"+33612345678"},
        {"sip:2100@pbx.example", "2100"},
    ]
    assert found.all(Ended)[0].established


async def test_who_is_named_by_the_header_of_a_re_invite_that_is_turned_away_is_a_party_too() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        session = Dialogue(client)
        await session.ask(body=recording_body())
        diverted = ["Diversion: <sip:2100@pbx.example>"]
        assert status_of(await session.ask(body=recording_body(SAVP), extra=diverted)) == 488
        (changed,) = found.all(PartiesChanged)
    assert "2100" in {str(i) for i in changed.parties[-1].identities}


async def test_a_re_invite_whose_metadata_cannot_be_found_in_its_body_leaves_nobody_identified() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        session = Dialogue(client)
        await session.ask(body=recording_body())
        assert status_of(await session.ask(body=recording_body(metadata_part=JOINED)[:-20])) == 400
        (changed,) = found.all(PartiesChanged)
        assert found.tap.unreadable == 1
    assert all(party.side is None for party in changed.parties)


async def test_srtp_beside_plain_rtp_is_answered_with_port_0() -> None:
    mixed = sip.sdp(audio(40000, "1"), "m=audio 40002 RTP/SAVP 0\na=label:2")
    async with recorder() as found, udp_client(found.port("udp")) as client:
        assert ports_of(await Dialogue(client).ask(body=recording_body(mixed))) == [30000, 0]
        assert [s.label for s in found.all(Offered)[0].streams] == ["1"]


async def _tcp(found: Recorder, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", found.port("tcp"))
    writer.write(data)
    return reader, writer


def _tcp_invite(port: int) -> bytes:
    return request(transport="TCP", sent_by=f"127.0.0.1:{port}", body=recording_body(), content_type=MIXED)


async def test_over_tcp_garbage_is_answered_400_and_the_connection_closed() -> None:
    async with recorder() as found, asyncio.timeout(5):
        reader, writer = await _tcp(found, request("OPTIONS", transport="TCP") + b"GET / HTTP/1.1\r\n\r\n")
        data = await reader.read()
        writer.close()
    assert [status_of(part) for part in data.split(b"\r\n\r\n") if part] == [200, 400]


async def test_over_tcp_a_ping_gets_its_pong() -> None:
    async with recorder() as found, asyncio.timeout(5):
        reader, writer = await _tcp(found, b"\r\n\r\n")
        assert await reader.readexactly(2) == b"\r\n"
        writer.close()


async def test_a_session_outlives_its_connection_while_the_clients_port_is_there() -> None:
    probed = asyncio.Event()

    def probe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        probed.set()
        writer.close()

    pbx = await asyncio.start_server(probe, "127.0.0.1", 0)
    async with recorder() as found, asyncio.timeout(5):
        reader, writer = await _tcp(found, _tcp_invite(pbx.sockets[0].getsockname()[1]))
        answer = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await probed.wait()
        tag = sip.tag_of(field_of(answer, "To"))
        reader, writer = await _tcp(found, request("BYE", transport="TCP", branch="z9hG4bKb", to_tag=tag, sequence=2))
        assert status_of(await reader.readuntil(b"\r\n\r\n")) == 200
        writer.close()
        assert [event.established for event in found.all(Ended)] == [True]
    pbx.close()


async def test_behind_a_proxy_it_is_the_proxys_port_that_counts() -> None:
    """Kamailio closes an idle connection; the client's own port is none of the proxy's address."""
    probed = asyncio.Event()

    def probe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        probed.set()
        writer.close()

    proxy = await asyncio.start_server(probe, "127.0.0.1", 0)
    route = f"Record-Route: <sip:127.0.0.1:{proxy.sockets[0].getsockname()[1]};transport=tcp;r2=on;lr=on>"
    async with recorder() as found, asyncio.timeout(5):
        invite = _tcp_invite(9).replace(b"Max-Forwards", route.encode() + b"\r\nMax-Forwards")  # 9: nobody is there
        reader, writer = await _tcp(found, invite)
        assert route in (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        writer.close()
        await probed.wait()
        await asyncio.sleep(0.1)
        assert found.all(Ended) == []
    proxy.close()


async def test_a_session_ends_with_its_connection_when_the_client_is_gone() -> None:
    gone = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    port = gone.sockets[0].getsockname()[1]
    gone.close()
    await gone.wait_closed()
    async with recorder() as found:
        reader, writer = await _tcp(found, _tcp_invite(port))
        await reader.readuntil(b"\r\n\r\n")
        assert found.all(Ended) == []
        writer.close()
        assert (await found.wait_for(Ended)).established


async def test_a_connection_that_closes_before_the_answer_ends_the_session() -> None:
    async with recorder(wait) as found:
        _, writer = await _tcp(found, _tcp_invite(5060))
        await found.wait_for(Offered)
        writer.close()
        assert not (await found.wait_for(Ended)).established


async def test_a_port_that_is_taken_is_named_by_its_key() -> None:
    async with recorder() as found:
        listen = [{"port": 0}, {"port": found.port("udp")}]
        tap = SiprecTap(config.Siprec.model_validate({"listen": listen}), "FR", "127.0.0.1", time.time_ns, print)
        with pytest.raises(ConfigurationError, match=r"siprec\.listen\.1"):
            await tap.start()


async def test_nothing_that_is_logged_names_anybody(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with recorder() as found, udp_client(found.port("udp")) as client:
        session = Dialogue(client)
        await session.ask(body=recording_body())
        await session.ask("UPDATE", b"<recording", "application/rs-metadata+xml")
        client.send(b"INVITE 2001")
        await session.ask("BYE")
    shown = re.sub(r"\d{14,}", "", caplog.text + repr(found.events))  # sessions' random numbers, and nanoseconds
    for secret in ("2001", "+336", "session-1", "pbx.example", "call-1"):
        assert secret not in shown


def _damaged(seed: int) -> bytes:
    """A recording session's INVITE with one to five pieces replaced; the same seed, the same bytes."""
    rng = random.Random(seed)
    data = bytearray(
        request(call_id=f"damaged-{seed}", branch=f"z9hG4bK{seed}", body=recording_body(), content_type=MIXED)
    )
    for _ in range(rng.randint(1, 5)):
        start = rng.randrange(len(data))
        data[start : start + rng.choice([0, 1, 2, 20])] = rng.randbytes(rng.choice([0, 1, 2, 8]))
    return bytes(data)


async def test_whatever_comes_the_sockets_go_on_listening_and_nothing_is_raised() -> None:
    raised: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: raised.append(context))
    async with recorder() as found, udp_client(found.port("udp")) as client, asyncio.timeout(30):
        for seed in range(300):
            client.send(_damaged(seed))
            if seed % 10 == 0:
                reader, writer = await _tcp(found, _damaged(seed) + random.Random(seed).randbytes(50) + b"\r\n\r\n")
                writer.close()
        client.send(request("OPTIONS", call_id="still-there", branch="z9hG4bKstill"))
        while field_of(await client.answer(), "Call-ID") != "still-there":
            pass
        reader, writer = await _tcp(found, request("OPTIONS", transport="TCP", branch="z9hG4bKtcp"))
        assert status_of(await reader.readuntil(b"\r\n\r\n")) == 200
        writer.close()
    assert raised == []


async def test_over_ipv6_the_contact_is_written_in_brackets() -> None:
    siprec = {"listen": [{"transport": "tcp", "address": "::1", "port": 0}], "connection": [IPV6_PEER]}
    tap = SiprecTap(config.Siprec.model_validate(siprec), "FR", "127.0.0.1", time.time_ns, print)
    try:
        await tap.start()
    except ConfigurationError:
        pytest.skip("this machine has no IPv6 on its loopback")
    _, _, port = tap.bound[0]
    reader, writer = await asyncio.open_connection("::1", port)
    writer.write(request("OPTIONS", transport="TCP", sent_by="[::1]:5060"))
    async with asyncio.timeout(5):
        answer = await reader.readuntil(b"\r\n\r\n")
    assert field_of(answer, "Contact") == f"<sip:[::1]:{port};transport=tcp>;+sip.srs"
    assert field_of(answer, "Via").endswith(";received=::1")  # rport asks for it (RFC 3581 §4)
    writer.close()
    await tap.stop()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param(
            recording_body(b"v=0\r\nm=audio"), "Bad Session Description: o= is missing or malformed", id="malformed SDP"
        ),
        pytest.param(recording_body(SAVP), "Not Acceptable Here", id="nothing that can be recorded"),
    ],
)
async def test_a_session_turned_away_for_its_form_is_one_log_line_with_peer_and_field(body: bytes, why: str) -> None:
    with structlog.testing.capture_logs() as lines:
        async with recorder() as found, udp_client(found.port("udp")) as client:
            for number in range(3):
                data = request(body=body, content_type=MIXED, call_id=f"c{number}", branch=f"z9hG4bK{number}")
                assert status_of(await client.ask(data)) in {400, 488}
    (line,) = lines
    assert (line["connection"], line["times"]) == ("pbx", 1)
    assert line["why"].startswith(why)


async def test_a_refusal_by_policy_is_no_log_line() -> None:
    with structlog.testing.capture_logs() as lines:
        async with recorder(refuse) as found, udp_client(found.port("udp")) as client:
            assert status_of(await Dialogue(client).ask(body=recording_body())) == 603
    assert lines == []


async def test_beyond_the_declared_capacity_a_client_is_sent_to_another_recorder() -> None:
    async with recorder(capacity=1) as found, udp_client(found.port("udp")) as client:
        await Dialogue(client).ask(body=recording_body())
        second = request(body=recording_body(), content_type=MIXED, call_id="second", branch="z9hG4bKsecond")
        assert status_of(await client.ask(second)) == 503
    assert len(found.all(Offered)) == 1


async def test_a_via_with_an_impossible_port_does_not_close_the_socket() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        via = "Via: SIP/2.0/UDP 127.0.0.1:99999;branch=z9hG4bKx"
        assert status_of(await client.ask(request("OPTIONS", drop=["Via"], extra=[via]))) == 400
        assert status_of(await client.ask(request("OPTIONS", sent_by=client.sent_by))) == 200


async def test_only_of_a_connection_behind_a_nat_may_streams_come_from_elsewhere_in_its_addresses() -> None:
    for behind_nat, networks in ((True, ("127.0.0.0/8",)), (False, ())):
        connections = [{"behind_nat": behind_nat}]
        async with recorder(connections=connections) as found, udp_client(found.port("udp")) as client:
            await Dialogue(client).ask(body=recording_body())
            (offered,) = found.all(Offered)
        assert {stream.networks for stream in offered.streams} == {networks}
