"""Arbitrary and mutated bytes: only documented errors, always legal answers, and never an end of service."""

from __future__ import annotations

import contextlib
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from sipgate.errors import MetadataError, MultipartError, SdpError, SipError
from sipgate.sip import sdp
from sipgate.sip.call import Invited
from sipgate.sip.framing import Framer
from sipgate.sip.message import Flow, Request, check, split
from sipgate.sip.multipart import bodies_of, parse_content_type
from sipgate.sip.rsmetadata import Metadata
from sipgate.sip.uas import UserAgentServer
from tests.peers import sip_messages as sip

OPENSIPS = (Path(__file__).parents[1] / "data" / "opensips" / "basic_invite_to_srs.sip").read_bytes()
SEEDS = [
    OPENSIPS,
    sip.request(body=sip.recording_body(), content_type=sip.MIXED),
    sip.request("BYE", to_tag="t"),
    sip.request("CANCEL"),
    sip.request("ACK"),
    sip.request("OPTIONS"),
    sip.request("UPDATE", to_tag="t", body=sip.CALLER_AND_CALLEE, content_type="application/rs-metadata+xml"),
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h.example;branch=z9hG4bKx\r\nCSeq: 1 BYE\r\n\r\n",
]
TROUBLE = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b'"',
    b"<",
    b">",
    b";",
    b",",
    b":",
    b"=",
    b"%00",
    b"\xff",
    b"\xc3",
    b"self",
    b"&",
    b"--",
]
UDP = Flow("udp", 1, "127.0.0.1", 5060)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A real message with pieces cut out, doubled, moved or replaced."""
    data = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 60)))
        piece = draw(st.one_of(st.sampled_from(TROUBLE), st.binary(max_size=8), st.just(data[start:end] * 2)))
        data = data[:start] + piece + data[end:]
    return data


MESSAGES = st.one_of(mutated(), st.binary(max_size=400))


def _server() -> UserAgentServer:
    return UserAgentServer(lambda: "drawn", lambda flow: "<sip:srs@h.example>", lambda flow: "UDP h.example")


@settings(max_examples=400, deadline=None)
@given(st.lists(MESSAGES, min_size=1, max_size=4))
def test_a_server_takes_any_bytes_and_answers_only_with_sip(messages: list[bytes]) -> None:
    uas = _server()
    for now, data in enumerate(messages):
        for event in uas.receive(data, UDP, now):
            if isinstance(event, Invited):
                uas.answer(event.call, b"", now)
    uas.handle_timer(10**12)
    for data, flow in uas.outgoing():
        assert data.startswith((b"SIP/2.0 ", b"BYE "))
        assert not data.startswith(b"SIP/2.0 500 Server Internal Error\r\n")
        head = data.partition(b"\r\n\r\n")[0]
        assert b"\n" not in head.replace(b"\r\n", b"")
        assert flow.address == "127.0.0.1"
    assert uas.receive(sip.request("OPTIONS", call_id="alive", branch="z9hG4bKalive"), UDP, 10**12) == []
    assert sip.status_of(uas.outgoing()[-1][0]) == 200


@settings(max_examples=300, deadline=None)
@given(MESSAGES)
def test_reading_a_message_and_its_bodies_raises_only_what_is_documented(data: bytes) -> None:
    with contextlib.suppress(SipError, MultipartError, SdpError, MetadataError):
        message = check(split(data))
        if isinstance(message, Request):
            bodies = bodies_of(message)
            if bodies.sdp is not None:
                offer = sdp.parse(bodies.sdp)
                sdp.answer(offer, "127.0.0.1", [1] * len(offer.wanted()), 1, 0)
            for document in bodies.metadata:
                Metadata().update(document)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """``whole`` with one piece replaced."""
    start = draw(st.integers(0, len(whole)))
    end = draw(st.integers(start, min(len(whole), start + 40)))
    return whole[:start] + draw(st.one_of(st.sampled_from(TROUBLE), st.binary(max_size=6))) + whole[end:]


@settings(max_examples=300, deadline=None)
@given(st.one_of(damaged(sip.TWO_STREAMS), st.binary(max_size=200)))
def test_a_description_is_read_or_refused_and_what_is_read_can_be_answered(data: bytes) -> None:
    with contextlib.suppress(SdpError):
        offer = sdp.parse(data)
        answer = sdp.parse(sdp.answer(offer, "127.0.0.1", [4000] * len(offer.wanted()), 1, 0))
        assert [line.kind for line in answer.media] == [line.kind for line in offer.media]


@settings(max_examples=300, deadline=None)
@given(st.one_of(damaged(sip.CALLER_AND_CALLEE), st.binary(max_size=200)))
def test_metadata_is_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(MetadataError):
        Metadata().update(data)


@given(st.text(max_size=80))
def test_a_content_type_is_read_or_refused(value: str) -> None:
    with contextlib.suppress(MultipartError):
        kind, _ = parse_content_type(value)
        assert "/" in kind


@settings(deadline=None)
@given(st.lists(MESSAGES, max_size=5))
def test_a_stream_is_framed_or_broken(pieces: list[bytes]) -> None:
    framer = Framer()
    uas = _server()
    for piece in pieces:
        for message in framer.feed(piece):
            uas.receive(message, UDP, 0)
    if framer.broken is not None:
        head, error = framer.broken
        uas.refuse_unframed(head, error, UDP)
        assert sip.status_of(uas.outgoing()[-1][0]) in {400, 413}
