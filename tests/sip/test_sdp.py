"""Offers read, answers written."""

from __future__ import annotations

import pytest

from sipgate.errors import SdpError
from sipgate.sip import sdp
from tests.peers.sip_messages import audio
from tests.peers.sip_messages import sdp as description


def _answer(offer: bytes, ports: list[int]) -> list[str]:
    return sdp.answer(sdp.parse(offer), "192.0.2.1", ports, 1, 0).decode().split("\r\n")


def test_every_m_line_is_answered_with_its_own_port_and_its_label() -> None:
    assert _answer(description(audio(40000, "caller"), audio(40002, "0")), [30000, 30002]) == [
        "v=0",
        "o=- 1 0 IN IP4 192.0.2.1",
        "s=-",
        "c=IN IP4 192.0.2.1",
        "t=0 0",
        "m=audio 30000 RTP/AVP 0 101",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
        "a=label:caller",
        "a=recvonly",
        "m=audio 30002 RTP/AVP 0 101",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
        "a=label:0",
        "a=recvonly",
        "",
    ]


def test_what_is_not_wanted_keeps_its_place_with_port_0() -> None:
    video = "m=video 50000 RTP/AVP 96\na=rtpmap:96 H264/90000\na=label:3"
    srtp = "m=audio 50002 RTP/SAVP 0\na=label:4"
    speex = "m=audio 50004 RTP/AVP 96\na=rtpmap:96 speex/16000"
    gone = "m=audio 0 RTP/AVP 0\na=label:5"
    offer = description(video, audio(40000, "1"), srtp, speex, gone, "m=application 9 TCP/WSS/BFCP *")
    assert [line for line in _answer(offer, [30000]) if line.startswith("m=")] == [
        "m=video 0 RTP/AVP 96",
        "m=audio 30000 RTP/AVP 0 101",
        "m=audio 0 RTP/SAVP 0",
        "m=audio 0 RTP/AVP 96",
        "m=audio 0 RTP/AVP 0",
        "m=application 0 TCP/WSS/BFCP *",
    ]


def test_an_rtpmap_that_cannot_be_read_takes_its_payload_type_away_and_nothing_else() -> None:
    offer = sdp.parse(
        description("m=audio 4 RTP/AVP 0 8\na=rtpmap:0 PCMU\na=rtpmap:zero", "m=video 6 RTP/AVP 31\na=rtpmap:31 LPC")
    )
    assert offer.media[0].payload_types == ((8, "PCMA"),)
    assert not offer.media[1].wanted


@pytest.mark.parametrize(
    ("offered", "answered"),
    [("sendonly", "recvonly"), ("sendrecv", "recvonly"), ("inactive", "inactive"), ("recvonly", "inactive")],
)
def test_a_recorder_only_receives(offered: str, answered: str) -> None:
    assert f"a={answered}" in _answer(description(audio(direction=offered)), [30000])


def test_a_direction_of_the_session_holds_for_its_m_lines() -> None:
    offer = b"v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\na=inactive\r\nm=audio 4 RTP/AVP 8\r\n"
    line = sdp.parse(offer).media[0]
    assert (line.direction, line.address, line.payload_types) == ("inactive", "192.0.2.9", ((8, "PCMA"),))


def test_codecs_are_taken_in_the_offerers_order_and_events_alone_do_not_suffice() -> None:
    both = sdp.parse(description(audio(types="8 101 0 4"))).media[0]
    assert both.payload_types == ((8, "PCMA"), (101, "telephone-event"), (0, "PCMU"))
    events = sdp.parse(description(audio(types="101"))).media[0]
    assert not events.wanted


def test_a_static_number_mapped_to_something_else_is_something_else() -> None:
    line = sdp.parse(description("m=audio 4 RTP/AVP 0\na=rtpmap:0 PCMU/16000")).media[0]
    assert not line.wanted


def test_at_most_eight_streams_are_taken() -> None:
    offer = sdp.parse(description(*(audio(40000 + 2 * n, str(n)) for n in range(10))))
    assert len(offer.wanted()) == 8


def test_lines_may_end_in_a_line_feed_alone_and_ipv6_is_answered_in_kind() -> None:
    offer = description(audio(), connection="c=IN IP6 2001:db8::1").replace(b"\r\n", b"\n")
    parsed = sdp.parse(offer)
    assert parsed.media[0].address == "2001:db8::1"
    assert b"c=IN IP6 2001:db8::2\r\n" in sdp.answer(parsed, "2001:db8::2", [30000], 1, 0)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        pytest.param(b"", "v=0", id="empty"),
        pytest.param(b"v=1\r\n", "v=0", id="another version"),
        pytest.param(b"v=0\r\ns=-\r\n", "o=", id="no origin"),
        pytest.param(description(origin="o=- one 1 IN IP4 h"), "o=", id="a malformed origin"),
        pytest.param(description("nonsense"), "x=", id="a line that is none"),
        pytest.param(description("m=audio"), "m=", id="a cut m-line"),
        pytest.param(description("m=audio 70000 RTP/AVP 0"), "m=", id="a port beyond 65535"),
        pytest.param(description("m=audio x RTP/AVP 0"), "m=", id="a port that is no number"),
        pytest.param(description(audio(), connection="c=IN IP9 x"), "c=", id="a malformed connection"),
        pytest.param(description(audio(), connection="a=x"), "c=", id="no connection at all"),
        pytest.param(b"\xff\xfe\x00", "v=0", id="no text"),
    ],
)
def test_a_malformed_description_is_refused_and_the_line_named(data: bytes, named: str) -> None:
    with pytest.raises(SdpError, match=named):
        sdp.parse(data)


@pytest.mark.parametrize(
    ("lines", "multiplexed", "to"),
    [
        ("", False, ("192.0.2.1", 40001)),
        ("a=rtcp:41000", False, ("192.0.2.1", 41000)),
        ("a=rtcp:41000 IN IP4 192.0.2.1", False, ("192.0.2.1", 41000)),
        ("a=rtcp:41000 IN IP4 192.0.2.99", False, None),  # somebody else, who has asked for nothing
        ("a=rtcp:99999", False, None),
        ("a=rtcp-mux", True, ("192.0.2.1", 40000)),
        ("a=rtcp-mux\na=rtcp:41000", True, ("192.0.2.1", 40000)),
        ("b=RR:0", False, None),
        ("b=RR:4000", False, ("192.0.2.1", 40001)),
        ("c=IN IP4 0.0.0.0\na=rtcp-mux", True, None),
    ],
)
def test_receiver_reports_go_where_the_m_line_says(lines: str, multiplexed: bool, to: tuple[str, int] | None) -> None:
    offered = sdp.parse(
        f"v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\nm=audio 40000 RTP/AVP 0\n{lines}".encode()
    )
    assert (offered.media[0].rtcp.multiplexed, offered.media[0].rtcp.to) == (multiplexed, to)
    assert (b"a=rtcp-mux" in sdp.answer(offered, "192.0.2.2", [30000], 1, 1)) == multiplexed


def test_reports_that_the_session_does_not_want_are_wanted_where_an_m_line_says_so() -> None:
    head = "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nb=RR:0\nt=0 0\n"
    offered = sdp.parse(f"{head}m=audio 40000 RTP/AVP 0\nm=audio 40002 RTP/AVP 0\nb=RR:800\n".encode())
    assert [line.rtcp.to for line in offered.media] == [None, ("192.0.2.1", 40003)]


def test_a_port_that_is_refused_is_not_multiplexed() -> None:
    offered = sdp.parse(
        b"v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\nm=video 40000 RTP/AVP 31\na=rtcp-mux\n"
    )
    assert b"a=rtcp-mux" not in sdp.answer(offered, "192.0.2.2", [], 1, 1)
