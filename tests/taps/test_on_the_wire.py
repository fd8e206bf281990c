"""What the recording server sends, captured on the loopback and read back by tshark: well formed, and what it did."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from dataclasses import dataclass

import pytest

from sipgate.core.events import Offered
from tests.peers.conversation import Client, Sent, conversing
from tests.peers.recorder import Recorder, accept, recorder, refuse
from tests.peers.sip_messages import audio, metadata, multipart, recording_body, sdp
from tests.peers.wire import Frame, capture, dissect, needs_capture

pytestmark = [pytest.mark.peer, needs_capture]

FIELDS = (
    *("udp.srcport", "tcp.srcport", "sip.Status-Code", "sip.Method", "sip.CSeq", "sip.to.tag", "sip.Call-ID"),
    *(
        "sip.response-request",
        "sdp.media.media",
        "sdp.media.port",
        "sdp.media.proto",
        "sdp.media_attr",
        "sdp.owner.sessionid",
    ),
    *("sdp.owner.version", "sip.Retry-After", "sip.Contact"),
)
VIDEO = "m=video 40004 RTP/AVP 96\na=rtpmap:96 H264/90000\na=label:3"
KEY = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd"
SECURED = sdp(audio(40000, "1"), f"m=audio 40002 RTP/SAVP 0 101\na=rtpmap:101 telephone-event/8000\na=label:2\n{KEY}")
SILENT = sdp(audio(40000, "1"), VIDEO, audio(40002, "caller-leg"))
NOTHING = sdp("m=audio 40000 RTP/AVP 99\na=rtpmap:99 unheard-of/8000")


@dataclass
class Wire:
    """Both transports, what was sent of each, and every frame."""

    udp: Sent
    tcp: Sent
    frames: list[Frame]
    events: list[object]

    def of(self, transport: str) -> Sent:
        return self.udp if transport == "udp" else self.tcp

    def from_server(self, transport: str) -> list[Frame]:
        return [f for f in self.frames if f.one(f"{transport}.srcport") == str(self.of(transport).port)]

    def responses(self, transport: str, call: str) -> list[Frame]:
        return [f for f in self.from_server(transport) if f.one("sip.Call-ID") == call and f.one("sip.Status-Code")]


def _decide(found: Recorder, offered: Offered) -> None:
    """By the call's name."""
    name = next(key for key in offered.keys if key.startswith(("t-", "u-")))
    if name.endswith("refused"):
        refuse(found, offered)
    elif not name.endswith("cancelled"):
        accept(found, offered)


async def _converse(found: Recorder, client: Client, prefix: str) -> None:
    """Everything that the server can be brought to send."""

    async def ask(name: str, method: str, sequence: int = 1, body: bytes = b"", **more: str) -> int:
        return await client.ask(f"{prefix}-{name}", method, sequence, body, **more)

    assert await ask("ping", "OPTIONS") == 200
    assert await ask("call", "INVITE", 1, recording_body(SILENT)) == 200
    held = sdp(audio(40000, "1", direction="inactive"), VIDEO, audio(40002, "caller-leg"))
    assert await ask("call", "INVITE", 2, recording_body(held)) == 200
    more = sdp(audio(40000, "1"), VIDEO, audio(40002, "caller-leg"), audio(40006, "late"))
    assert await ask("call", "UPDATE", 3, recording_body(more)) == 200
    assert await ask("call", "OPTIONS", 4) == 200
    assert await ask("call", "BYE", 5) == 200
    assert await ask("call", "BYE", 6) == 481
    assert await ask("secured", "INVITE", 1, recording_body(SECURED)) == 200
    assert await ask("secured", "BYE", 2) == 200
    assert await ask("refused", "INVITE", 1, recording_body()) == 603
    assert await ask("unheard", "INVITE", 1, recording_body(NOTHING)) == 488
    assert await ask("strange", "INVITE", 1, recording_body(), extra="Require: precondition") == 420
    assert await ask("publish", "PUBLISH") == 405
    assert await ask("soon", "INVITE", 1, recording_body(), extra="Supported: timer\r\nSession-Expires: 10") == 422
    assert await ask("form", "INVITE", 1, multipart(("application/sdp", b"v=1"))) == 400
    assert await ask("kind", "INVITE", 1, b"x", kind="text/plain") == 415
    assert await client.cancelled(f"{prefix}-cancelled") == 487
    found.tap.available = False
    assert await ask("full", "INVITE", 1, recording_body()) == 503
    assert await ask("full-ping", "OPTIONS") == 503
    found.tap.available = True
    assert (
        await ask("offered", "INVITE", 1, multipart(("application/rs-metadata+xml", metadata(("a", "sip:1@x", [])))))
        == 200
    )
    client.answer(await client.expect("BYE"))  # its ACK brings no answer to the offer


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Wire:
    file = tmp_path_factory.mktemp("wire") / "loopback.pcapng"

    async def run() -> Wire:
        async with recorder(_decide) as found:
            udp, tcp = Sent(found.port("udp")), Sent(found.port("tcp"))
            with capture(file, udp.port, tcp.port):
                async with conversing("udp", udp) as client:
                    await _converse(found, client, "u-" + secrets.token_hex(4))
                    client.write(b"OPTIONS sip:x SIP/2.0\r\nContent-Length: abc\r\n\r\n")
                async with conversing("tcp", tcp) as client:
                    await _converse(found, client, "t-" + secrets.token_hex(4))
            rules = (f"udp.port=={udp.port},sip", f"tcp.port=={tcp.port},sip")
            return Wire(udp, tcp, dissect(file, FIELDS, "sip", *rules), list(found.events))

    return asyncio.run(run())


TRANSPORTS = pytest.mark.parametrize("transport", ["udp", "tcp"])


def test_tshark_complains_of_what_is_malformed(wire: Wire) -> None:
    """Or the next test could not fail."""
    assert [f for f in wire.frames if f.complaints and f not in wire.from_server("udp")] != []


@TRANSPORTS
def test_nothing_that_the_server_sends_is_malformed_or_worth_a_warning(wire: Wire, transport: str) -> None:
    sent = wire.from_server(transport)
    assert [(f.one("sip.Status-Code"), f.one("sip.CSeq"), f.complaints) for f in sent if f.complaints] == []
    statuses = Counter(f.one("sip.Status-Code") or f.one("sip.Method") for f in sent)
    assert set(statuses) >= {
        *("100", "200", "400", "405", "415", "420", "422", "481", "487", "488", "503", "603"),
        "BYE",
    }
    # Never a re-INVITE (old OpenSIPS ignores it, and its recording stops).
    assert {f.one("sip.Method") for f in sent} == {"", "BYE"}


@TRANSPORTS
def test_every_request_has_one_final_response_with_its_cseq(wire: Wire, transport: str) -> None:
    asked = Counter((call, sequence) for call, sequence in wire.of(transport).requests if "ACK" not in sequence)
    finals = [f for f in wire.from_server(transport) if f.one("sip.Status-Code") >= "200"]
    answered = Counter((f.one("sip.Call-ID"), f.one("sip.CSeq")) for f in finals if f.one("sip.Call-ID"))
    assert answered == asked


@TRANSPORTS
def test_the_ports_and_labels_that_it_says_are_those_that_were_opened(wire: Wire, transport: str) -> None:
    first, held, grown, _, _, _ = _final(wire, transport, "-call")
    assert _media(first) == [("audio", "30000", "1"), ("video", "0", "3"), ("audio", "30002", "caller-leg")]
    assert _media(held) == _media(first)
    assert _media(grown) == [
        ("audio", "30100", "1"),
        ("video", "0", "3"),
        ("audio", "30102", "caller-leg"),
        ("audio", "30104", "late"),
    ]
    assert first.one("sdp.owner.sessionid") == held.one("sdp.owner.sessionid") == grown.one("sdp.owner.sessionid")
    versions = [int(frame.one("sdp.owner.version")) for frame in (first, held, grown)]
    assert versions == [versions[0], versions[0] + 1, versions[0] + 2]


@TRANSPORTS
def test_a_dialog_keeps_its_tag_and_no_two_dialogs_share_one(wire: Wire, transport: str) -> None:
    *of_one, gone = [frame.one("sip.to.tag") for frame in _final(wire, transport, "-call")]
    assert len(set(of_one)) == 1
    assert gone == of_one[0]
    sent = [f for f in wire.from_server(transport) if f.one("sip.Status-Code") >= "200" and f.one("sip.Call-ID")]
    tags = {(f.one("sip.Call-ID"), f.one("sip.to.tag")) for f in sent}
    assert len({tag for _, tag in tags}) == len({call for call, _ in tags}) == len(tags)
    assert all(tag for _, tag in tags)


def test_wireshark_pairs_every_response_with_its_request(wire: Wire) -> None:
    """It does so for INVITE and BYE, over UDP."""
    answers = [f for f in wire.from_server("udp") if f.one("sip.CSeq").partition(" ")[2] in {"INVITE", "BYE"}]
    paired = [(f.one("sip.CSeq"), bool(f.one("sip.response-request"))) for f in answers if f.one("sip.Status-Code")]
    assert len(paired) > 10
    assert [sequence for sequence, request in paired if not request] == []


@TRANSPORTS
def test_who_is_sent_elsewhere_hears_when_to_come_back_and_contacts_name_the_port_that_listens(
    wire: Wire, transport: str
) -> None:
    full = [*_final(wire, transport, "-full"), *_final(wire, transport, "-full-ping")]
    assert [(f.one("sip.Status-Code"), f.one("sip.Retry-After")) for f in full] == [("503", "5")] * 2
    found = {contact for f in wire.from_server(transport) for contact in f.all("sip.Contact")}
    over = ";transport=tcp" if transport == "tcp" else ""
    assert found == {f"<sip:127.0.0.1:{wire.of(transport).port}{over}>;+sip.srs"}


@TRANSPORTS
def test_each_m_line_is_answered_in_its_own_profile_with_one_key_of_ours(wire: Wire, transport: str) -> None:
    answer = _final(wire, transport, "-secured")[0]
    assert answer.all("sdp.media.proto") == ["RTP/AVP", "RTP/SAVP"]
    (ours,) = [text for text in answer.all("sdp.media_attr") if text.startswith("crypto:")]
    assert ours.startswith("crypto:1 AES_CM_128_HMAC_SHA1_80 inline:")
    assert ours != KEY.removeprefix("a=")


def _final(wire: Wire, transport: str, name: str) -> list[Frame]:
    """The final responses of the call of that name, in order."""
    sent = [f for f in wire.from_server(transport) if f.one("sip.Call-ID").endswith(name)]
    return [f for f in sent if f.one("sip.Status-Code") >= "200"]


def _media(frame: Frame) -> list[tuple[str, str, str]]:
    """Kind, port and label of each m-line; every one has a label here."""
    labels = [text.partition(":")[2] for text in frame.all("sdp.media_attr") if text.startswith("label:")]
    return list(zip(frame.all("sdp.media.media"), frame.all("sdp.media.port"), labels, strict=True))
