"""Reading, checking and answering one message."""

from __future__ import annotations

import contextlib
import time

import pytest

from sipgate.errors import SipError
from sipgate.sip.message import MAX_FIELDS, MAX_HEADER, Flow, Request, Response, check, reply, return_flow, split
from tests.peers import sip_messages as sip

UDP = Flow("udp", 1, "192.0.2.7", 6060)


def _check(data: bytes) -> Request:
    found = check(split(data))
    assert isinstance(found, Request)
    return found


def test_a_request_is_understood() -> None:
    found = _check(sip.request(sequence=7, to_tag="ours", body=b"x", content_type="text/plain"))
    assert (found.method, found.sequence, found.from_tag, found.to_tag) == ("INVITE", 7, "client", "ours")
    assert found.call_id == "session-1@client"
    assert found.body == b"x"


def test_compact_names_folded_lines_and_blanks_around_colons_are_read() -> None:
    data = (
        b"\r\nBYE sip:srs@127.0.0.1 SIP/2.0\r\nv : SIP/2.0/UDP 127.0.0.1:5060\r\n ;branch=z9hG4bKa\r\n"
        b"f:<sip:a@b.example>;tag=1\r\nt:\r\n\t<sip:c@d.example>;tag=2\r\ni:call\r\nCSEQ:  3\t BYE\r\nl:0\r\n\r\n"
    )
    found = _check(data)
    assert (found.method, found.call_id, found.sequence, found.to_tag) == ("BYE", "call", 3, "2")


def test_a_datagram_longer_than_its_content_length_is_cut() -> None:
    assert _check(sip.request(body=b"body and more", content_type="text/plain", length="4")).body == b"body"


MALFORMED = [
    ("no Via", sip.request(drop=["Via"]), 400, "Missing Via"),
    ("no From", sip.request(drop=["From"]), 400, "Missing From"),
    ("no To", sip.request(drop=["To"]), 400, "Missing To"),
    ("no Call-ID", sip.request(drop=["Call-ID"]), 400, "Missing Call-ID"),
    ("no CSeq", sip.request(drop=["CSeq"]), 400, "Missing CSeq"),
    ("a From without a tag", sip.request(drop=["From"], extra=["From: <sip:a@b.example>"]), 400, "Tag In From"),
    ("a From that is none", sip.request(drop=["From"], extra=['From: "open <sip:a@b>']), 400, "Bad From"),
    ("an empty parameter", sip.request(drop=["To"], extra=["To: <sip:a@b.example>;;x=1"]), 400, "Bad To"),
    ("what is no parameter", sip.request(drop=["To"], extra=["To: <sip:a@b.example> x"]), 400, "Bad To"),
    ("a port beyond all ports", sip.request(drop=["To"], extra=["To: <sip:a@b.example:99999>"]), 400, "Bad To"),
    ("an open bracket", sip.request(drop=["To"], extra=["To: <sip:a@b.example"]), 400, "Bad To"),
    ("too many fields", sip.request(extra=["X: y"] * MAX_FIELDS), 413, "Number Of Header Fields"),
    ("two CSeqs", sip.request(extra=["CSeq: 2 INVITE"]), 400, "Repeated CSeq"),
    ("two Call-IDs", sip.request(extra=["i: other"]), 400, "Repeated Call-ID"),
    ("a CSeq of another method", sip.request(cseq_method="BYE"), 400, "Bad CSeq"),
    ("a CSeq of 2**31", sip.request(sequence=2**31), 400, "Bad CSeq"),
    ("a Via of no transport", sip.request(drop=["Via"], extra=["Via: SIP/2.0 127.0.0.1"]), 400, "Bad Via"),
    ("a body shorter than it says", sip.request(body=b"x", length="9"), 400, "Bad Content-Length"),
    ("a negative length", sip.request(length="-1"), 400, "Bad Content-Length"),
    ("two lengths", sip.request(extra=["l: 3"]), 400, "Repeated Content-Length"),
    ("a line without a colon", sip.request(extra=["nonsense"]), 400, "Bad Header Line"),
    ("a bare line feed in a value", sip.request(extra=["Subject: a\nb: c"]), 400, "Bad Header Line"),
    ("another version", sip.request().replace(b"SIP/2.0\r\n", b"SIP/7.0\r\n", 1), 505, ""),
    ("another scheme", sip.request(uri="soap.beep://192.0.2.1"), 416, ""),
    ("a Request-URI in brackets", sip.request(uri="<sip:a@b.example>"), 400, "Request-URI"),
    ("a space in the Request-URI", sip.request(uri="sip:a@b.example; lr"), 400, "Request-Line"),
    ("no Request-URI", sip.request(uri=""), 400, "Request-Line"),
    ("a header beyond all measure", sip.request(extra=["X: " + "x" * MAX_HEADER]), 413, "Header"),
]


@pytest.mark.parametrize(("data", "status", "named"), [pytest.param(*row[1:], id=row[0]) for row in MALFORMED])
def test_what_is_malformed_gets_the_rfcs_status_and_names_the_field(data: bytes, status: int, named: str) -> None:
    with pytest.raises(SipError) as caught:
        _check(data)
    assert caught.value.sip_status == status
    assert named in (caught.value.reason or "")


def test_no_error_quotes_a_value_even_in_what_caused_it() -> None:
    secret = "sip:+33142685300@[not-an-address"
    with pytest.raises(SipError) as caught:
        _check(sip.request(drop=["From"], extra=[f"From: <{secret}>;tag=1"]))
    assert "3314" not in f"{caught.value!r} {caught.value.reason}"
    assert caught.value.__cause__ is None


def test_an_error_keeps_no_frame_that_holds_the_value() -> None:
    with pytest.raises(SipError) as caught:
        _check(sip.request(drop=["From"], extra=["From: <sip:+33142685300@[h>;tag=1"]))
    assert caught.value.__context__ is None


TAKEN = [
    (
        "a host name with an underscore",
        "Via: SIP/2.0/UDP media_srv-1.pbx_lan:5060;branch=z9hG4bK1",
        "host",
        "media_srv-1.pbx_lan",
    ),
    ("a branch with @ and =", "Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK@a=b:c[1]", "branch", "z9hG4bK@a=b:c[1]"),
    ("a semicolon at the end", "Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1;", "branch", "z9hG4bK1"),
    ("tabs and blanks", "Via: SIP / 2.0 / udp\t192.0.2.9 : 5062 ; branch = z9hG4bK1", "branch", "z9hG4bK1"),
]


@pytest.mark.parametrize(("line", "what", "read"), [pytest.param(*row[1:], id=row[0]) for row in TAKEN])
def test_a_via_of_real_equipment_is_read(line: str, what: str, read: str) -> None:
    via = _check(sip.request(drop=["Via"], extra=[line])).via
    assert (via.host if what == "host" else via.parameters[what]) == read


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("<sip:2001@pbx_1.lan>;tag=1", id="a host name with an underscore"),
        pytest.param("Ren\xe9 M\xfcller <sip:2001@pbx.example>;tag=1", id="an unquoted display name beyond ASCII"),
        pytest.param(
            "M\xfcller, Ren\xe9 (Sales) <sip:2001@pbx.example>;tag=1", id="an unquoted display name with a comma"
        ),
        pytest.param('"a \\" < b" <sip:2001@pbx.example;user=phone>;x="y;tag=2";tag=1', id="quotes within quotes"),
        pytest.param("sip:2001@pbx.example;tag=1", id="no brackets"),
        pytest.param("< sip:2001@pbx.example > ; tag = 1", id="blanks within brackets"),
        pytest.param("<sip:2001@pbx.example?Diversion=%3Csip:x%3E>;tag=1", id="escaped headers"),
        pytest.param("<sip:+33142685300;phone-context=x@pbx.example:5061>;tag=1", id="a number with a context"),
        pytest.param("<tel:+33-1-42-68-53-00;ext=5>;tag=1", id="a tel URI"),
        pytest.param("<sip:2001@[2001:db8::1]:5060>;tag=1;self=1", id="IPv6, and a parameter called self"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_an_address_of_real_equipment_is_read(value: str, encoding: str) -> None:
    data = sip.request(drop=["From"]).replace(b"\r\nMax-", b"\r\nFrom:" + value.encode(encoding) + b"\r\nMax-", 1)
    assert _check(data).from_tag == "1"


BLANKS = [
    b" ",
    b"\t",
    b"\r\n ",
    b";",
    b",",
    b"-",
    b".",
    b"1.",
    b"a-",
    b":",
    b"<",
    b'"',
    b'\\"',
    b"=",
    b"%4",
    b"::",
    b"[1:",
]


@pytest.mark.parametrize("piece", BLANKS)
@pytest.mark.parametrize("name", [b"Via", b"From", b"To", b"Contact", b"CSeq", b"Call-ID"])
def test_no_value_takes_long_to_read(piece: bytes, name: bytes) -> None:
    run = piece * (MAX_HEADER // 2 // len(piece))
    good = sip.request()
    values = [b"SIP/2.0/UDP " + run, b"<sip:a@" + run + b">;tag=1", b'"' + run + b"<sip:a@b>", b"1 " + run, run]
    started = time.process_time()
    for value in values:
        before, _, after = good.partition(name + b": ")
        with contextlib.suppress(SipError):
            check(split(before + name + b": " + value + after[after.index(b"\r\n") :]))
    assert time.process_time() - started < 2


def test_what_has_no_end_of_header_is_no_message() -> None:
    with pytest.raises(SipError):
        split(b"INVITE sip:srs@127.0.0.1 SIP/2.0\r\nVia: ")


def test_a_response_is_known_by_its_branch_and_method() -> None:
    data = b"SIP/2.0 405 No\r\nVia: SIP/2.0/UDP h.example;branch=z9hG4bKx\r\nCSeq: 1 BYE\r\n\r\n"
    assert check(split(data)) == Response(405, "z9hG4bKx", "BYE")


def test_an_answer_echoes_the_fields_as_they_came_and_adds_our_tag() -> None:
    extra = ["Via: SIP/2.0/UDP proxy.example;branch=z9hG4bK0", "Record-Route: <sip:p@h.example;lr>"]
    found = _check(sip.request(extra=extra))
    data = reply(found.fields, UDP, 200, to_tag="ours", body=b"sdp", extra=[("Content-Type", "application/sdp")])
    assert data.decode().split("\r\n") == [
        "SIP/2.0 200 OK",
        "Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKone;rport=6060;received=192.0.2.7",
        "Via: SIP/2.0/UDP proxy.example;branch=z9hG4bK0",
        "From: <sip:src@127.0.0.1>;tag=client",
        "To: <sip:srs@127.0.0.1>;tag=ours",
        "Call-ID: session-1@client",
        "CSeq: 1 INVITE",
        "Content-Type: application/sdp",
        "Content-Length: 3",
        "",
        "sdp",
    ]


def test_a_to_tag_that_is_there_stays() -> None:
    found = _check(sip.request("BYE", to_tag="theirs"))
    assert sip.field_of(reply(found.fields, UDP, 481, to_tag="ours"), "To").endswith(";tag=theirs")


def test_two_vias_in_one_line_are_told_apart() -> None:
    vias = 'Via: SIP/2.0/UDP 192.0.2.7:6060;branch=z9hG4bKa;x="a,b", SIP/2.0/TCP q.example;branch=z9hG4bKb'
    found = _check(sip.request(drop=["Via"], extra=[vias]))
    assert found.via.parameters["branch"] == "z9hG4bKa"
    assert sip.field_of(reply(found.fields, UDP, 200), "Via") == vias.partition(": ")[2]


def test_bytes_that_are_no_utf_8_are_echoed_as_they_came() -> None:
    found = _check(sip.request(drop=["From"]).replace(b"Max-", b'From: "Ren\xe9" <sip:r@h.example>;tag=1\r\nMax-'))
    assert b'"Ren\xe9"' in reply(found.fields, UDP, 200)


@pytest.mark.parametrize(
    ("via", "port"),
    [
        ("SIP/2.0/UDP 127.0.0.1:5099;branch=z9hG4bKa;rport", 6060),
        ("SIP/2.0/UDP 127.0.0.1:5099;rport;branch=z9hG4bKa", 6060),
        ("SIP/2.0/UDP 127.0.0.1:5099;branch=z9hG4bKa", 5099),
        ("SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKa", 5060),
    ],
)
def test_over_udp_the_answer_goes_to_the_sources_address_and_the_port_that_via_asks_for(via: str, port: int) -> None:
    flow = return_flow({"via": [via]}, UDP)
    assert (flow.address, flow.port) == ("192.0.2.7", port)


def test_a_flow_does_not_show_whom_it_leads_to() -> None:
    assert "192.0.2.7" not in repr(UDP)
