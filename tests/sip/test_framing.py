"""Messages cut out of a stream."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipgate.sip.framing import Framer
from sipgate.sip.message import MAX_BODY, MAX_HEADER
from tests.peers import sip_messages as sip

FIRST = sip.request(body=b"one\r\n\r\ntwo", content_type="text/plain")
SECOND = sip.request("BYE", sequence=2)


@given(
    cuts=st.lists(st.integers(0, len(FIRST + SECOND)), max_size=8), blank=st.sampled_from([b"", b"\r\n", b"\r\n" * 2])
)
def test_messages_come_out_whole_wherever_the_stream_is_cut(cuts: list[int], blank: bytes) -> None:
    stream = blank + FIRST + blank + SECOND
    framer = Framer()
    edges = [0, *sorted(cuts), len(stream)]
    found = [m for start, end in itertools.pairwise(edges) for m in framer.feed(stream[start:end])]
    assert found == [FIRST, SECOND]
    assert not framer.partial
    assert framer.broken is None


@pytest.mark.parametrize("pieces", [[b"\r\n\r\n"], [b"\r\n", b"\r\n"], [b"\r", b"\n\r", b"\n"]])
def test_a_double_crlf_is_a_ping(pieces: list[bytes]) -> None:
    framer = Framer()
    for piece in pieces:
        assert framer.feed(piece) == []
    assert framer.pings == 1


def test_a_single_crlf_is_no_ping_and_no_message() -> None:
    framer = Framer()
    assert framer.feed(b"\r\n") == []
    assert framer.pings == 0
    assert not framer.partial
    assert framer.feed(SECOND) == [SECOND]


@pytest.mark.parametrize(
    ("stream", "status"),
    [
        pytest.param(b"hello\r\n\r\n", 400, id="garbage"),
        pytest.param(sip.request(drop=["Content-Length"]), 400, id="no Content-Length"),
        pytest.param(sip.request(length="many"), 400, id="a Content-Length that is no number"),
        pytest.param(sip.request(length=str(MAX_BODY + 1)), 413, id="a body beyond all measure"),
        pytest.param(b"x" * (MAX_HEADER + 1), 413, id="a header without an end"),
        pytest.param(b"INVITE sip:a@b SIP/2.0\r\nX: " + b"x" * MAX_HEADER, 413, id="a header beyond all measure"),
    ],
)
def test_a_stream_that_has_lost_its_frame_is_broken_for_good(stream: bytes, status: int) -> None:
    framer = Framer()
    assert framer.feed(FIRST + stream) == [FIRST]
    assert framer.broken is not None
    assert framer.broken[1].sip_status == status
    assert framer.feed(SECOND) == []
