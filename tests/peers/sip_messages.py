"""SIP messages as a recording client writes them, for tests. Every part can be replaced."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

BOUNDARY = "test-boundary"


def request(
    method: str = "INVITE",
    *,
    uri: str = "sip:srs@127.0.0.1",
    branch: str = "z9hG4bKone",
    sent_by: str = "127.0.0.1:5060",
    transport: str = "UDP",
    call_id: str = "session-1@client",
    from_tag: str = "client",
    to_tag: str | None = None,
    sequence: int = 1,
    cseq_method: str | None = None,
    extra: Iterable[str] = (),
    drop: Iterable[str] = (),
    body: bytes = b"",
    content_type: str | None = None,
    length: str | None = None,
) -> bytes:
    """A request; ``extra`` lines are added, fields whose name begins one of ``drop`` are left out."""
    lines = [
        f"Via: SIP/2.0/{transport} {sent_by};branch={branch};rport",
        "Max-Forwards: 70",
        f"From: <sip:src@127.0.0.1>;tag={from_tag}",
        f"To: <sip:srs@127.0.0.1>{f';tag={to_tag}' if to_tag else ''}",
        f"Call-ID: {call_id}",
        f"CSeq: {sequence} {cseq_method or method}",
        f"Contact: <sip:src@{sent_by}>;+sip.src",
        f"Content-Length: {len(body) if length is None else length}",
    ]
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}")
    kept = [line for line in lines if not any(line.startswith(name + ":") for name in drop)]
    return "\r\n".join([f"{method} {uri} SIP/2.0", *kept, *extra, "", ""]).encode() + body


def sdp(*media: str, origin: str = "o=- 1 1 IN IP4 127.0.0.1", connection: str = "c=IN IP4 127.0.0.1") -> bytes:
    """A session description of the given sections (each from its m-line on, lines separated by newlines)."""
    lines = ["v=0", origin, "s=-", connection, "t=0 0", *(line for section in media for line in section.split("\n"))]
    return "\r\n".join([*lines, ""]).encode()


def audio(port: int = 40000, label: str | None = "1", types: str = "0 101", direction: str = "sendonly") -> str:
    """An m-line of G.711 with telephone-event."""
    lines = [f"m=audio {port} RTP/AVP {types}", "a=rtpmap:0 PCMU/8000", "a=rtpmap:8 PCMA/8000"]
    lines += ["a=rtpmap:101 telephone-event/8000", f"a={direction}"]
    return "\n".join([*lines, *([f"a=label:{label}"] if label is not None else [])])


def metadata(
    *participants: tuple[str, str, Sequence[str]],
    mode: str = "complete",
    namespace: str = "urn:ietf:params:xml:ns:recording:1",
    session_id: str = "call-1@pbx",
    extra: str = "",
) -> bytes:
    """An rs-metadata document: (participant id, AOR, labels that it sends) each; stream ids are ``s`` + label."""
    parts = [f"<?xml version='1.0'?><recording xmlns='{namespace}'><datamode>{mode}</datamode>"]
    parts.append(f"<session session_id='a'><sipSessionID>{session_id}</sipSessionID></session>")
    for identifier, aor, labels in participants:
        parts.append(f"<participant participant_id='{identifier}'><nameID aor='{aor}'/></participant>")
        parts += [f"<stream stream_id='s{label}' session_id='a'><label>{label}</label></stream>" for label in labels]
        sends = "".join(f"<send>s{label}</send>" for label in labels)
        parts.append(f"<participantstreamassoc participant_id='{identifier}'>{sends}</participantstreamassoc>")
    return "".join([*parts, extra, "</recording>"]).encode()


CALLER_AND_CALLEE = metadata(("p1", "sip:2001@pbx.example", ["1"]), ("p2", "tel:+33612345678", ["2"]))
TWO_STREAMS = sdp(audio(40000, "1"), audio(40002, "2"))


def multipart(*parts: tuple[str, bytes], boundary: str = BOUNDARY) -> bytes:
    """A multipart body of (content type, content)."""
    found = b"".join(
        f"--{boundary}\r\nContent-Type: {kind}\r\n\r\n".encode() + content + b"\r\n" for kind, content in parts
    )
    return found + f"--{boundary}--\r\n".encode()


def recording_body(sdp_part: bytes = TWO_STREAMS, metadata_part: bytes = CALLER_AND_CALLEE) -> bytes:
    """SDP and metadata."""
    return multipart(("application/sdp", sdp_part), ("application/rs-metadata+xml", metadata_part))


MIXED = f"multipart/mixed;boundary={BOUNDARY}"


def status_of(response: bytes) -> int:
    """The status code of a response."""
    return int(response.split(b" ", 2)[1])


def field_of(message: bytes, name: str) -> str:
    """The first value of a header field, or an empty string."""
    for line in message.partition(b"\r\n\r\n")[0].decode("utf-8", "replace").split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.strip().lower() == name.lower():
            return value.strip()
    return ""


def tag_of(value: str) -> str:
    """The tag of a To or From."""
    return value.partition(";tag=")[2].partition(";")[0]
