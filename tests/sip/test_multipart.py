"""Bodies of one part and of several."""

from __future__ import annotations

import base64

import pytest

from sipgate.errors import MultipartError, SipError
from sipgate.sip.message import Request, check, split
from sipgate.sip.multipart import Bodies, bodies_of
from tests.peers.sip_messages import MIXED, multipart, request

SDP = ("application/sdp", b"v=0")
XML = ("application/rs-metadata+xml", b"<recording/>")


def _bodies(body: bytes, content_type: str | None = MIXED, extra: list[str] | None = None) -> Bodies:
    found = check(split(request(body=body, content_type=content_type, extra=extra or [])))
    assert isinstance(found, Request)
    return bodies_of(found)


@pytest.mark.parametrize("parts", [[SDP, XML], [XML, SDP], [("text/plain", b"hello"), XML, SDP]])
def test_the_parts_are_found_in_any_order_and_others_are_passed_over(parts: list[tuple[str, bytes]]) -> None:
    assert _bodies(multipart(*parts)) == Bodies(b"v=0", (b"<recording/>",))


@pytest.mark.parametrize(
    ("boundary", "parameter"),
    [
        ("a", "boundary=a"),
        ("a;b c", 'boundary="a;b c"'),
        ("50%41(x)+.*?", 'BOUNDARY="50%41(x)+.*?"'),
        ("--dashes", "x=y; boundary=--dashes"),
        ('quo"te', 'boundary="quo\\"te"'),
    ],
)
def test_any_boundary_delimits(boundary: str, parameter: str) -> None:
    assert _bodies(multipart(SDP, XML, boundary=boundary), f"multipart/mixed; {parameter}").sdp == b"v=0"


def test_a_line_that_only_begins_like_the_boundary_delimits_nothing() -> None:
    inside = b"v=0\r\n--boundary-not\r\nx"
    assert (
        _bodies(multipart(("application/sdp", inside), boundary="boundary"), "multipart/mixed;boundary=boundary").sdp
        == inside
    )


def test_a_single_part_needs_no_wrapper_and_no_body_is_no_part() -> None:
    assert _bodies(b"v=0", "application/SDP; charset=utf-8") == Bodies(b"v=0", ())
    assert _bodies(b"<r/>", "application/rs-metadata") == Bodies(None, (b"<r/>",))
    assert _bodies(b"", None) == Bodies(None, ())


def test_parts_may_be_nested_encoded_and_without_a_space_after_the_colon() -> None:
    inner = multipart(SDP, boundary="inner")
    assert _bodies(multipart(("multipart/related;boundary=inner", inner), XML)).sdp == b"v=0"
    coded = b"--b\r\ncontent-type:application/sdp\r\nContent-Transfer-Encoding:base64\r\n\r\n"
    body = coded + base64.b64encode(b"v=0") + b"\r\n--b--"
    assert _bodies(body, "multipart/mixed;boundary=b").sdp == b"v=0"
    assert _bodies(body.replace(b"\r\n", b"\n"), "multipart/mixed;boundary=b").sdp == b"v=0"


@pytest.mark.parametrize(
    ("body", "content_type", "extra", "status"),
    [
        pytest.param(b"x", None, [], 400, id="a body without Content-Type"),
        pytest.param(b"x", "text/plain", [], 415, id="a body that nobody asked for"),
        pytest.param(
            multipart(("a/b\r\nContent-Disposition: x; handling=required", b"")), MIXED, [], 415, id="a required part"
        ),
        pytest.param(b"x", "nonsense", [], 400, id="a Content-Type that is none"),
        pytest.param(b"x", "multipart/mixed", [], 400, id="no boundary"),
        pytest.param(b"x", 'multipart/mixed;boundary=""', [], 400, id="an empty boundary"),
        pytest.param(multipart(SDP), "multipart/mixed;boundary=" + "x" * 71, [], 400, id="a boundary too long"),
        pytest.param(multipart(SDP), "multipart/mixed;boundary=other", [], 400, id="a boundary that is not there"),
        pytest.param(multipart(SDP)[:-10], MIXED, [], 400, id="no closing delimiter"),
        pytest.param(multipart(), MIXED, [], 400, id="no part"),
        pytest.param(multipart(SDP, SDP), MIXED, [], 400, id="two descriptions"),
        pytest.param(multipart(*[XML] * 17), MIXED, [], 400, id="too many parts"),
        pytest.param(b"--b\r\nContent-Type: a/b\r\n--b--", "multipart/mixed;boundary=b", [], 400, id="a cut part"),
        pytest.param(
            b"--b\r\nnonsense\r\n\r\nx\r\n--b--", "multipart/mixed;boundary=b", [], 400, id="a bad part header"
        ),
        pytest.param(
            multipart(("application/sdp\r\nContent-Transfer-Encoding: base64", b"x")), MIXED, [], 400, id="bad base64"
        ),
        pytest.param(
            multipart(("application/sdp\r\nContent-Transfer-Encoding: x-own", b"x")),
            MIXED,
            [],
            400,
            id="an unknown coding",
        ),
    ],
)
def test_a_malformed_body_gets_the_rfcs_status(
    body: bytes, content_type: str | None, extra: list[str], status: int
) -> None:
    with pytest.raises((MultipartError, SipError)) as caught:
        _bodies(body, content_type, extra)
    assert isinstance(caught.value, MultipartError | SipError)
    assert caught.value.sip_status == status


def test_a_body_that_may_be_ignored_is() -> None:
    assert _bodies(b"x", "text/plain", ["Content-Disposition: render; handling=optional"]) == Bodies(None, ())


def test_parts_nested_without_end_are_refused() -> None:
    body = multipart(SDP)
    for _ in range(4):
        body = multipart((MIXED + "x", body), boundary="test-boundaryx").replace(b"test-boundaryx", b"test-boundaryx")
    with pytest.raises(MultipartError):
        _bodies(body, MIXED + "x")
