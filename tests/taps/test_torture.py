"""The torture messages of RFC 4475 and RFC 5118, one by one: what each gets from a recording server, and why.

Where an RFC leaves the choice between refusing and inferring what was meant, the call is not lost: what cannot be
mistaken is taken. REGISTER and MESSAGE are understood and get 405: this is no registrar.

The RFCs' own messages may not be copied: they are read where they lie beside the checkout. ``OWN`` says the same in
messages of our own, written from the RFCs' descriptions.
"""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path

import pytest

from sipgate.errors import SipError
from sipgate.sip.call import Invited
from sipgate.sip.capabilities import companions
from sipgate.sip.framing import Framer
from sipgate.sip.message import Flow, Request, check, split
from sipgate.sip.multipart import bodies_of
from sipgate.sip.uas import UserAgentServer
from sipgate.taps.offers import read_offer
from tests.peers.sip_messages import audio, field_of, request, sdp, status_of

CASES = Path(__file__).parents[3] / "shared" / "cases"
NO_CASES = "the RFCs' messages may not be copied, and ../shared/cases does not lie beside this checkout"
UDP = Flow("udp", 1, "192.0.2.1", 5060)

OFFERED = "its session is offered"
NOTHING = "no answer"
Outcome = int | str

# RFC 4475: name -> (what it gets, what a field of the answer must say, section and reason).
RFC4475: dict[str, tuple[Outcome, str, str]] = {
    "wsinv": (481, "", "3.1.1.1: folds and blanks everywhere; its To tag names a dialog that is not there"),
    "intmeth": (405, "Allow: INVITE", "3.1.1.2: every character that a method, a URI, a quoted string may hold"),
    "esc01": (OFFERED, "", "3.1.1.3: valid escapes in URIs"),
    "escnull": (405, "Allow: INVITE", "3.1.1.4: escaped nulls in URIs"),
    "esc02": (405, "Allow: INVITE", "3.1.1.5: % is a character of a method, not an escape: this is no REGISTER"),
    "lwsdisp": (200, "", "3.1.1.6: no blank between display name and <"),
    "longreq": (OFFERED, "", "3.1.1.7: long values in header fields"),
    "dblreq": (405, "Allow: INVITE", "3.1.1.8: what follows the Content-Length of a datagram is left alone"),
    "semiuri": (200, "", "3.1.1.9: semicolons in the user part"),
    "transports": (200, "", "3.1.1.10: Vias of many transports"),
    "mpart01": (405, "Allow: INVITE", "3.1.1.11: a multipart MESSAGE with binary parts"),
    "unreason": (NOTHING, "", "3.1.1.12: a response's unusual reason phrase"),
    "noreason": (NOTHING, "", "3.1.1.13: a response without a reason phrase"),
    "badinv01": (400, "Via", "3.1.2.1: extraneous separators"),
    "clerr": (400, "Content-Length", "3.1.2.2: Content-Length beyond the datagram"),
    "ncl": (400, "Content-Length", "3.1.2.3: negative Content-Length"),
    "scalar02": (400, "CSeq", "3.1.2.4: scalar fields beyond their ranges"),
    "scalarlg": (NOTHING, "", "3.1.2.5: a response with such fields"),
    "quotbal": (400, "To", "3.1.2.6: an unterminated quoted string"),
    "ltgtruri": (400, "Request-URI", "3.1.2.7: < and > around the Request-URI"),
    "lwsruri": (400, "Request-Line", "3.1.2.8: blanks within the Request-URI"),
    "lwsstart": (OFFERED, "", "3.1.2.9: several blanks in the start line: what is meant is plain"),
    "trws": (200, "", "3.1.2.10: blanks at the start line's end: what is meant is plain"),
    "escruri": (OFFERED, "", "3.1.2.11: headers in the Request-URI are passed over, never honoured"),
    "baddate": (OFFERED, "", "3.1.2.12: a Date that is not in GMT, and that nobody reads"),
    "regbadct": (405, "Allow: INVITE", "3.1.2.13: a Contact of a REGISTER, not ours to read"),
    "badaspec": (200, "", "3.1.2.14: blanks within < and >: what is meant is plain"),
    "baddn": (200, "", "3.1.2.15: a display name that wants quotes: what is meant is plain"),
    "badvers": (505, "", "3.1.2.16: another version of SIP"),
    "mismatch01": (400, "CSeq", "3.1.2.17: methods of start line and CSeq differ"),
    "mismatch02": (400, "CSeq", "3.1.2.18: the same with an unknown method"),
    "bigcode": (NOTHING, "", "3.1.2.19: a response's status beyond all range"),
    "badbranch": (200, "", "3.2.1: the magic cookie alone is no branch"),
    "insuf": (400, "Missing", "3.3.1: fields that every request must have are missing"),
    "unkscm": (416, "", "3.3.2: an unknown scheme in the Request-URI"),
    "novelsc": (416, "", "3.3.3: a scheme that is known, but not to SIP"),
    "unksm2": (405, "Allow: INVITE", "3.3.4: unknown schemes in From, To and Contact do not matter"),
    "bext01": (420, "Unsupported: no", "3.3.5: unknown extensions in Require, named in the answer"),
    "invut": (415, "application/sdp", "3.3.6: an unknown content type; Accept says what is known"),
    "regaut01": (405, "Allow: INVITE", "3.3.7: an unknown scheme of authorisation"),
    "multi01": (400, "Repeated", "3.3.8: fields that may stand once stand twice"),
    "mcl01": (400, "Content-Length", "3.3.9: two lengths"),
    "bcast": (NOTHING, "", "3.3.10: a response whose Via names a broadcast address"),
    "zeromf": (200, "", "3.3.11: Max-Forwards 0 does not matter to the last server"),
    "cparam01": (405, "Allow: INVITE", "3.3.12: an unknown parameter of a REGISTER's Contact"),
    "cparam02": (405, "Allow: INVITE", "3.3.13: the same within < and >"),
    "regescrt": (405, "Allow: INVITE", "3.3.14: headers in a REGISTER's Contact"),
    "sdp01": (406, "Accept", "3.3.15: Accept leaves no room for an SDP answer"),
    "inv2543": (OFFERED, "", "3.4.1: an INVITE of RFC 2543: no From tag, no branch, no Content-Length"),
}
RFC5118: dict[str, tuple[Outcome, str, str]] = {
    "ipv6-good": (405, "Allow: INVITE", "4.1: an IPv6 reference"),
    "ipv6-bad": (400, "Request-URI", "4.2: an IPv6 address without brackets in a URI"),
    "port-ambiguous": (405, "Allow: INVITE", "4.3: 5070 is a part of the address"),
    "port-unambiguous": (405, "Allow: INVITE", "4.4: 5070 is the port"),
    "via-received-param-with-delim": (481, "", "4.5: received= with brackets"),
    "via-received-param-no-delim": (200, "", "4.5: received= without brackets"),
    "ipv6-in-sdp": (OFFERED, "", "4.6: IPv6 in the session description"),
    "mult-ip-in-header": (481, "", "4.7: IPv4 and IPv6 in the Vias"),
    "mult-ip-in-sdp": (OFFERED, "", "4.8: IPv4 and IPv6 in one session description"),
    "ipv4-mapped-ipv6": (OFFERED, "", "4.9: IPv4-mapped addresses"),
    "ipv6-bug-abnf-3-colons": (200, "", "4.10: the third colon of RFC 3261's grammar must be borne"),
    "ipv6-correct-abnf-2-colons": (200, "", "4.10: and the right form taken"),
}

SDP = sdp(audio(49217, "1"))
TYPE = "application/sdp"
RESPONSE = (
    b"Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKr1\r\nFrom: <sip:a@h.example>;tag=1\r\nTo: <sip:b@h.example>;tag=2\r\n"
)
_RESPONSE_END = b"Call-ID: own\r\nCSeq: 5 INVITE\r\nContent-Length: 0\r\n\r\n"


def _invite(**changes: object) -> bytes:
    return request(body=SDP, content_type=TYPE, **changes)  # type: ignore[arg-type]


def _options(*extra: str, drop: tuple[str, ...] = (), uri: str = "sip:srs@h.example") -> bytes:
    return request("OPTIONS", uri=uri, extra=extra, drop=drop)


def _register(contact: str) -> bytes:
    return request("REGISTER", uri="sip:h.example", drop=["Contact"], extra=[contact])


_WSINV = (
    b"INVITE sip:rec@chair.h.example;novel SIP/2.0\r\nTO :\r\n sip:rec@chair.h.example ;  tag   = 77a\r\n"
    b'from  : "R \\\\\\""     <sip:r@h.example>\r\n  ;\r\n  tag = 9\r\nMaX-fOrWaRdS: 0070\r\nCall-ID: own.ws\r\n'
    b"Content-Length   : 0\r\ncseq: 0009\r\n  INVITE\r\nVia  : SIP  /   2.0\r\n /UDP\r\n    192.0.2.2;branch=390x\r\n"
    b"s :\r\nOdd: ;;,,;;,;\r\nv:  SIP  / 2.0  / TCP   q.h.example  ;\r\n  branch  =   z9hG4bK9  ,\r\n"
    b' SIP / 2.0 / UDP 192.0.2.3 ; branch=\r\n z9hG4bK3\r\nm:"Q \\"" <sip:r@h.example> ; new =\r\n  x ; q = 0.3\r\n\r\n'
)
_METHOD = "!Odd-Method0123456789_*+`.%of'~"
OWN: dict[str, bytes] = {
    "wsinv": _WSINV,
    "intmeth": request(
        _METHOD,
        uri="sip:1_odd~(a-b!c)&d't+e$/f?,/;;*:&g+h=1,i!*j$k~l_m.(n'o)@h.example",
        drop=["To", "Call-ID"],
        extra=[
            'To: "A:\\\x07 B:\\\x00" <sip:1_odd.URI~(a)&b?,/;;*@h.example>',
            "Call-ID: w%ZK-!.*_+'@`~)(><:\\/\"][?}{",
        ],
    ),
    "esc01": _invite(
        uri="sip:sips%3Auser%40h.example@h.example",
        drop=["To", "Contact"],
        extra=["To: sip:%75se%72@h.example", "Contact:\r\n  <sip:cal%6Cer@h.example;%6C%72;n%61me=v%61lue%25%34%31>"],
    ),
    "escnull": _register("Contact: <sip:%00%00@h.example>"),
    "esc02": request("RE%47IST%45R", extra=["C%6Fntact: <sip:b@h.example>"]),
    "lwsdisp": _options("From: caller<sip:a@h.example>;tag=3", drop=("From",)),
    "longreq": _invite(
        drop=["From"], extra=[f"F: sip:{'long' * 50}@h.example;tag={'12' * 80};{'name' * 40}", "Novel: " + "v" * 900]
    ),
    "dblreq": request("REGISTER", drop=["Contact"]) + b"\r\n" + _invite(branch="z9hG4bKtwo", call_id="two"),
    "semiuri": _options(uri="sip:user;par=u%40h.example@h.example"),
    "transports": _options(
        *(f"Via: SIP/2.0/{t} t.h.example;branch=z9hG4bK{t}" for t in ("SCTP", "TLS", "UNKNOWN", "TCP"))
    ),
    "mpart01": request(
        "MESSAGE",
        content_type="multipart/mixed;boundary=7a9c",
        body=b"--7a9c\r\nContent-Type: application/octet-stream\r\n\r\n0\x82\x00\xff\r\n\x80\r\n--7a9c--\r\n",
    ),
    "unreason": "SIP/2.0 200 = 2**3 * 5**2 \u0446\u0435\u043b\u043e\r\n".encode() + RESPONSE + _RESPONSE_END,
    "noreason": b"SIP/2.0 100 \r\n" + RESPONSE + _RESPONSE_END,
    "badinv01": _invite(drop=["Via"], extra=["Via: SIP/2.0/UDP 192.0.2.15;;,;,,"]),
    "clerr": _invite(drop=["Content-Length"], extra=["Content-Length: 9999"]),
    "ncl": _invite(drop=["Content-Length"], extra=["Content-Length: -999"]),
    "scalar02": request(
        "REGISTER", drop=["CSeq"], extra=["CSeq: 36893488147419103299 REGISTER", "Expires: 1" + "0" * 99]
    ),
    "scalarlg": b"SIP/2.0 503 No\r\n" + RESPONSE + _RESPONSE_END.replace(b"CSeq: 5", b"CSeq: 9292394834772304023399"),
    "quotbal": _invite(drop=["To"], extra=['To: "Mr. R <sip:r@h.example>']),
    "ltgtruri": _invite(uri="<sip:srs@h.example>"),
    "lwsruri": _invite(uri="sip:srs@h.example; lr"),
    "lwsstart": _invite().replace(b"INVITE sip:srs@127.0.0.1 SIP", b"INVITE  sip:srs@127.0.0.1  SIP", 1),
    "trws": _options().replace(b" SIP/2.0\r\n", b" SIP/2.0  \r\n", 1),
    "escruri": _invite(uri="sip:srs@h.example?Route=%3Csip:h.example%3E"),
    "baddate": _invite(extra=["Date: Sat, 01 Jan 2011 16:00:00 CET"]),
    "regbadct": _register("Contact: sip:a@h.example?Route=%3Csip:b.example%3E"),
    "badaspec": _options('To: "W, T" < sip:t@h.example >', drop=("To",)),
    "baddn": _options("From: Bell, A. <sip:b@h.example>;tag=4", "To: W, T <sip:t@h.example>", drop=("From", "To")),
    "badvers": _options().replace(b"SIP/2.0", b"SIP/7.0"),
    "mismatch01": request("OPTIONS", cseq_method="INVITE"),
    "mismatch02": request("NOVELTY", cseq_method="INVITE"),
    "bigcode": b"SIP/2.0 4294967399 no\r\n" + RESPONSE + _RESPONSE_END,
    "badbranch": request("OPTIONS", branch="z9hG4bK"),
    "insuf": _invite(drop=["From", "To", "Call-ID"]),
    "unkscm": _options(uri="nobodyknows:opaque"),
    "novelsc": _options(uri="soap.beep://192.0.2.9:3002"),
    "unksm2": request(
        "REGISTER",
        drop=["From", "To", "Contact"],
        extra=["To: isbn:2983792800", "From: <http://h.example>;tag=3", "Contact: <name:John_S>"],
    ),
    "bext01": _options("Require: nothingSupportsThis, norThis", "Proxy-Require: noProxy"),
    "invut": request(body=b"<audio/>", content_type="application/novel"),
    "regaut01": request("REGISTER", extra=["Authorization: Novel opaque-data=here"]),
    "multi01": _invite(extra=["CSeq: 59 INVITE", "Call-ID: other", "To: <sip:o@h.example>", "Max-Forwards: 5"]),
    "mcl01": _options("Content-Length: 13", "Content-Length: 5", drop=("Content-Length",)),
    "bcast": b"SIP/2.0 200 OK\r\n" + RESPONSE.replace(b"192.0.2.9", b"255.255.255.255") + _RESPONSE_END,
    "zeromf": _options("Max-Forwards: 0", drop=("Max-Forwards",)),
    "cparam01": _register("Contact: sip:+19725550000@gw.h.example;novel"),
    "cparam02": _register("Contact: <sip:+19725550000@gw.h.example;novel>"),
    "regescrt": _register("Contact: <sip:a@h.example?Route=%3Csip:b.example%3E>"),
    "sdp01": _invite(extra=["Accept: text/novel"]),
    "inv2543": _invite(
        drop=["Via", "From", "Contact", "Content-Length", "Max-Forwards"],
        extra=["Via: SIP/2.0/UDP gw.h.example", "From: <sip:+13035550000@h.example;user=phone>"],
    ),
    "ipv6-good": request("REGISTER", uri="sip:[2001:db8::11]", sent_by="[2001:db8::9:2]"),
    "ipv6-bad": request("REGISTER", uri="sip:2001:db8::11"),
    "port-ambiguous": request("REGISTER", uri="sip:[2001:db8::11:5070]"),
    "port-unambiguous": request("REGISTER", uri="sip:[2001:db8::11]:5070"),
    "via-received-param-with-delim": request("BYE", to_tag="t", branch="z9hG4bKd;received=[2001:db8::9:254]"),
    "via-received-param-no-delim": request("OPTIONS", branch="z9hG4bKn;received=2001:db8::9:254"),
    "ipv6-in-sdp": request(
        body=sdp("m=audio 6000 RTP/AVP 0", origin="o=a 9 0 IN IP6 2001:db8::21", connection="c=IN IP6 2001:db8::21"),
        content_type=TYPE,
    ),
    "mult-ip-in-header": request(
        "BYE",
        to_tag="t",
        sent_by="[2001:db8::9:2]:6050",
        extra=[
            "Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKb",
            "Via: SIP/2.0/TCP [2001:db8::9:3];branch=z9hG4bKc;received=192.0.2.8",
        ],
    ),
    "mult-ip-in-sdp": request(
        body=b"v=0\r\no=b 2 1 IN IP4 h.example\r\ns=\r\nt=0 0\r\nm=audio 22334 RTP/AVP 0\r\nc=IN IP4 192.0.2.9\r\n"
        b"m=video 6024 RTP/AVP 107\r\nc=IN IP6 2001:db8::2\r\na=rtpmap:107 H263-1998/90000\r\n",
        content_type=TYPE,
    ),
    "ipv4-mapped-ipv6": request(
        sent_by="[::ffff:192.0.2.10]:19823",
        body=sdp(
            "m=audio 6000 RTP/AVP 0", origin="o=a 9 0 IN IP6 ::ffff:192.0.2.9", connection="c=IN IP6 ::ffff:192.0.2.9"
        ),
        content_type=TYPE,
    ),
    "ipv6-bug-abnf-3-colons": _options(
        "To: sip:u@[2001:db8:::192.0.2.9]", drop=("To",), uri="sip:u@[2001:db8:::192.0.2.9]"
    ),
    "ipv6-correct-abnf-2-colons": _options(
        "To: sip:u@[2001:db8::192.0.2.9]", drop=("To",), uri="sip:u@[2001:db8::192.0.2.9]"
    ),
}
EXPECTED = RFC4475 | RFC5118


def _what_it_gets(data: bytes, flow: Flow = UDP) -> tuple[Outcome, bytes]:
    """What a message gets from a fresh server, and the answer."""
    numbers = count(1)
    uas = UserAgentServer(lambda: f"drawn{next(numbers)}", lambda _: "<sip:srs@h.example>", lambda _: "UDP h.example")
    for event in uas.receive(data, flow, 0):
        assert isinstance(event, Invited)
        try:
            assert read_offer(event.request).description is not None
        except SipError as error:
            uas.reject(event.call, error.sip_status, 0, error.reason, companions(error, event.request))
        else:
            return OFFERED, b""
    answers = [answer for answer, _ in uas.outgoing()]
    assert len(answers) <= 1
    return (status_of(answers[0]), answers[0]) if answers else (NOTHING, b"")


def _agrees(name: str, data: bytes) -> None:
    outcome, said, _ = EXPECTED[name]
    got, answer = _what_it_gets(data)
    assert got == outcome
    assert said.encode() in answer.partition(b"\r\n\r\n")[0]
    assert not re.search(rb"SIP/2.0 5[0-9][0-9]", answer) or got == 505


def test_every_message_of_the_rfcs_has_a_variant_of_our_own() -> None:
    assert set(OWN) == set(EXPECTED)
    assert (len(RFC4475), len(RFC5118)) == (49, 12)


@pytest.mark.parametrize("name", EXPECTED)
def test_our_own_variant_gets_what_the_rfc_says(name: str) -> None:
    _agrees(name, OWN[name])


@pytest.mark.skipif(not CASES.is_dir(), reason=NO_CASES)
@pytest.mark.parametrize("name", RFC4475)
def test_the_message_of_rfc_4475_gets_what_it_says(name: str) -> None:
    _agrees(name, (CASES / "rfc4475" / f"{name}.dat").read_bytes())


@pytest.mark.skipif(not CASES.is_dir(), reason=NO_CASES)
@pytest.mark.parametrize("name", RFC5118)
def test_the_message_of_rfc_5118_gets_what_it_says(name: str) -> None:
    _agrees(name, (CASES / "rfc5118" / name).read_bytes())


def _sources(name: str, folder: str = "rfc4475", suffix: str = ".dat") -> list[bytes]:
    file = CASES / folder / (name + suffix)
    return [OWN[name], *([file.read_bytes()] if file.exists() else [])]


def test_dblreq_in_a_stream_is_two_requests() -> None:
    for data in _sources("dblreq"):
        first, second = Framer().feed(data)
        assert _what_it_gets(first)[0] == 405
        assert second.startswith(b"INVITE ")


def test_clerr_in_a_stream_waits_for_the_rest_of_its_body() -> None:
    for data in _sources("clerr"):
        framer = Framer()
        assert framer.feed(data) == []
        assert framer.partial


def test_mpart01_is_cut_into_its_parts_though_they_are_binary() -> None:
    for data in _sources("mpart01"):
        message = check(split(data))
        assert isinstance(message, Request)
        assert bodies_of(message).sdp is None


def test_bext01_gets_all_its_unknown_extensions_back() -> None:
    _, answer = _what_it_gets(OWN["bext01"])
    assert field_of(answer, "Unsupported") == "northis, nothingsupportsthis"


def test_badbranch_twice_from_different_callers_is_two_requests() -> None:
    uas = UserAgentServer(lambda: "drawn", lambda _: "<sip:srs@h.example>", lambda _: "UDP h.example")
    for call_id in ("one", "two"):
        uas.receive(request("OPTIONS", branch="z9hG4bK", call_id=call_id), UDP, 0)
    assert [field_of(answer, "Call-ID") for answer, _ in uas.outgoing()] == ["one", "two"]


def test_esc02_is_no_register_though_it_looks_like_one_unescaped() -> None:
    message = check(split(OWN["esc02"]))
    assert isinstance(message, Request)
    assert message.method == "RE%47IST%45R"
