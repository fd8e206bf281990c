"""What fuzzing begins with: ours, and, where they lie beside the checkout, the RFCs' torture messages and captures."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from tests.peers import sip_messages as sip
from tests.peers.srtp import Sender

CASES = Path(__file__).parents[3] / "shared" / "cases"
"""The RFCs' own messages may not be copied (shared/cases/README.md): they are read where they are."""
OWN = Path(__file__).parents[1] / "data" / "opensips" / "basic_invite_to_srs.sip"

DICTIONARY = (
    *(
        "SIP/2.0",
        "INVITE",
        "ACK",
        "BYE",
        "CANCEL",
        "OPTIONS",
        "UPDATE",
        "PRACK",
        "z9hG4bK",
        ";tag=",
        ";rport",
        "$T",
        "$B",
    ),
    *("Via: ", "From: ", "To: ", "Call-ID: ", "CSeq: ", "Contact: ", "Content-Length: ", "Content-Type: ", "Require: "),
    *("Session-Expires: 90;refresher=uas", "Supported: timer", "Record-Route: ", "Replaces: ", "Content-Encoding: "),
    *("application/sdp", "application/rs-metadata+xml", "multipart/mixed;boundary=", "handling=optional", "base64"),
    *(
        "m=audio ",
        "RTP/SAVP",
        "a=crypto:1 ",
        "AES_CM_128_HMAC_SHA1_80",
        "AEAD_AES_256_GCM",
        "inline:",
        "|2^20|1:4",
        "m=video 1 RTP/AVP 96",
        "RTP/SAVP",
        "a=rtpmap:",
        "a=label:",
        "a=inactive",
        "a=sendonly",
        "a=crypto:1 ",
    ),
    *("c=IN IP4 0.0.0.0", "c=IN IP6 ::1", "o=- 1 2 IN IP4 1", "a=rtcp-mux", "a=fmtp:", "<participant participant_id="),
    *("<nameID aor=", "<recording>", "<datamode>partial</datamode>", "<participantstreamassoc", "<send>", "<recv>"),
    *("disassociate-time", "<!DOCTYPE", "&amp;", "&#x41;", "sip:", "tel:", "sips:", "x-refci=", "x-nearend", "<!["),
    *("\x1eU", "\x1eT", "\x1eW4", "\x1eW3", "\x1eD", "\x1eA", "\x1eR", "\x1eL", "\x1eX", "\x1eV", "\r\n\r\n", "\r\n "),
)


def _torture() -> list[bytes]:
    folders = (CASES / "rfc4475", CASES / "rfc5118")
    return [path.read_bytes() for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())]


def _opensips() -> list[bytes]:
    """Messages cut out of captures: from a start line on, for as long as they are told to be at most."""
    found = [OWN.read_bytes()]
    for path in sorted((CASES / "opensips").glob("*.pcap")) if (CASES / "opensips").is_dir() else ():
        data, at = path.read_bytes(), 0
        while (at := data.find(b"INVITE sip:srs@", at)) >= 0:
            found.append(data[at : at + 3000])
            at += 3000
    return found


def _plays() -> list[bytes]:
    body, changed = sip.recording_body(), sip.recording_body(sip.sdp(sip.audio(40000, "1", direction="inactive")))
    invite = sip.request(branch="z9hG4bK$B", body=body, content_type=sip.MIXED)
    again: dict[str, Any] = {"branch": "z9hG4bK$B", "to_tag": "$T"}
    ack = sip.request("ACK", **again)
    reinvite = sip.request(**again, sequence=2, body=changed, content_type=sip.MIXED)
    update = sip.request(
        "UPDATE", **again, sequence=3, body=sip.CALLER_AND_CALLEE, content_type="application/rs-metadata+xml"
    )
    bye = sip.request("BYE", **again, sequence=4)
    timed = sip.request(
        branch="z9hG4bKt", body=body, content_type=sip.MIXED, extra=["Session-Expires: 90;refresher=uas"]
    )
    offerless = sip.request(branch="z9hG4bK$B")
    answering = sip.request("ACK", **again, body=sip.TWO_STREAMS, content_type="application/sdp")
    cancel = sip.request("CANCEL", branch="z9hG4bKone")
    waiting = sip.request(body=body, content_type=sip.MIXED)
    stream = b"\x1eT".join([b"", invite, ack, b"\r\n\r\n", reinvite[:200], reinvite[200:], bye])
    scenes = (
        (invite, ack, reinvite, ack, update, bye),
        (invite, reinvite, ack, bye, bye),
        (offerless, answering, update, bye),
        (timed, ack),
        (sip.request("OPTIONS"), invite, invite, ack),
        (
            invite,
            ack,
            offerless.replace(b"\r\nTo: <sip:srs@127.0.0.1>", b"\r\nTo: <sip:srs@127.0.0.1>;tag=$T"),
            answering,
        ),
    )
    found = [b"\x1eU".join(scene) for scene in scenes]
    found += [b"\x1eD\x1eU" + b"\x1eU".join([waiting, cancel]), b"\x1eD\x1eU" + waiting + b"\x1eR\x1eW2"]
    found += [timed + b"\x1eU" + ack + b"\x1eW4\x1eW4", invite + b"\x1eW3\x1eW3", b"\x1eX\x1eU" + invite]
    found += [stream, stream + b"\x1eL1\x1eW2", stream.replace(bye, b"") + b"\x1eL0", b"\x1eS" + invite]
    return found


def _rtp() -> list[bytes]:
    def packets(first: int, second: int, count: int, size: int, tail: bytes = b"") -> bytes:
        heads = [struct.pack("!BBHII", first, second, n, 160 * n, 7) for n in range(count)]
        return b"\0" + b"\x1e".join(head + b"\x55" * size + tail for head in heads)

    key = struct.pack("!BBHIIBBH", 0x80, 101, 9, 800, 7, 5, 0x8A, 400)
    extension = packets(0x90, 0, 2, 0, struct.pack("!HH", 0xBEDE, 1) + b"\x10\xff\0\0" + b"\x55" * 160)
    reports = (
        b"\0" + struct.pack("!BBHI", 0x80, 200, 6, 7) + bytes(20) + b"\x1e" + struct.pack("!BBHI", 0x81, 203, 1, 7)
    )
    secured = [
        Sender(secret=bytes(30)).protect(struct.pack("!BBHII", 0x80, 0, n, 0, 7) + bytes(20)) for n in (65_535, 0)
    ]
    return [
        b"\1" + b"\x1e".join(data for data in secured if b"\x1e" not in data),
        b"\1" + packets(0x90, 0, 2, 60)[1:],
        packets(0x80, 0, 12, 160),
        packets(0x80, 8, 5, 80),
        packets(0xA0, 0, 2, 160, b"\x04"),
        extension,
        reports,
        b"\0" + key,
    ]


def of(target: str) -> list[bytes]:
    """The seeds of a target."""
    messages = [*_torture(), *_opensips()]
    bodies = [message.partition(b"\r\n\r\n")[2] for message in messages]
    if target == "sip":
        return [*_plays(), *messages, *(b"\x1eT" + message for message in messages)]
    if target == "sdp":
        secured = f"{sip.audio().replace('RTP/AVP', 'RTP/SAVP')}\n{Sender(secret=bytes(30)).attribute}|2^31|1:4"
        return [
            sip.TWO_STREAMS,
            sip.sdp(secured, sip.audio(40002, "2")),
            *(body for body in bodies if body.startswith(b"v=0")),
        ]
    if target == "multipart":
        kinds = [sip.MIXED.encode(), b"multipart/mixed;boundary=OSS-unique-boundary-42", b"application/sdp"]
        return [kind + b"\n" + body for kind in kinds for body in [sip.recording_body(), *bodies] if body]
    if target == "metadata":
        found = [body[body.find(b"<?xml") :].partition(b"\r\n--")[0] for body in bodies if b"<?xml" in body]
        return [sip.CALLER_AND_CALLEE, sip.CALLER_AND_CALLEE + b"\x1e" + sip.CALLER_AND_CALLEE, *found]
    return _rtp()
