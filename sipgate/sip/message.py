"""One SIP message: read from bytes, checked, answered (RFC 3261 §7, §8.1.1, §8.2.6, §18.2).

Reading has two steps, so that what is malformed can still be answered with the status that the RFC names:
``split`` cuts bytes into start line, header fields and body, and only fails on what is no SIP at all; ``check``
applies the grammar to the fields that every request must have. ``reply`` echoes fields as they came.

Requests of RFC 2543, with neither branch nor From tag, are taken (RFC 4475 §3.1.1.13); blanks around the start line
and headers of the Request-URI are passed over (§3.1.2.10, §3.1.2.11).

Nothing here puts a field's value into an error: messages end in logs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from sipgate.errors import SipError
from sipgate.sip.grammar import Address, GrammarError, Via, read_address, read_cseq, read_uri, read_via

HeaderFields = Mapping[str, list[str]]
Parsed = TypeVar("Parsed")

MAX_HEADER = 16_384  # bytes up to the empty line; the longest INVITE seen (INTEROP) needs under 2,000
MAX_FIELDS = 256  # header fields; the longest real message has some forty
MAX_BODY = 131_072  # SDP and metadata of a conference; a UDP datagram cannot even hold it

_LONG = {  # RFC 3261 §7.3.3, and the IANA registry's later ones
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}
_NAMES = {  # the long names as they are usually written, to the names under which fields are kept
    name: name.lower()
    for name in (
        *("Via", "From", "To", "Call-ID", "CSeq", "Contact", "Max-Forwards", "Content-Type", "Content-Length"),
        *("Allow", "Supported", "Require", "User-Agent", "Accept", "Record-Route", "Route", "Session-Expires"),
    )
}
_FOLD = re.compile(r"\r\n[ \t]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+")
_PLAIN_URI = re.compile(
    r"sips?:(?:[A-Za-z0-9+._-]+@)?[A-Za-z0-9.]+(?::[0-9]{1,4})?"
)  # most are: no need to look closer
_DIGITS = re.compile(r"[0-9]{1,10}")
_VERSION = re.compile(r"SIP/[0-9]+\.[0-9]+", re.IGNORECASE)
_RPORT = re.compile(r";\s*rport\s*(?=;|$)", re.IGNORECASE)
_TOP_VIA = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*")*')
MAGIC = "z9hG4bK"  # begins every branch of RFC 3261 (§8.1.1.7)
_ONCE = ("from", "to", "call-id", "cseq", "max-forwards", "content-type", "content-length")
_ECHOED = ("via", "from", "to", "call-id", "cseq")
_SPELT = {"call-id": "Call-ID", "cseq": "CSeq"}

PHRASES = {
    100: "Trying",
    200: "OK",
    400: "Bad Request",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    413: "Request Entity Too Large",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    422: "Session Interval Too Small",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    491: "Request Pending",
    500: "Server Internal Error",
    503: "Service Unavailable",
    505: "Version Not Supported",
    603: "Decline",
}


@dataclass(frozen=True, slots=True)
class Flow:
    """Where a message came from, and where what answers it goes.

    ``channel`` is the shell's number of a listening UDP socket or of a connection. ``names``: those of the certificate
    by which the peer proved itself over TLS.
    """

    transport: str
    channel: int
    address: str = field(repr=False)
    port: int = field(repr=False)
    names: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def reliable(self) -> bool:
        """Whether the transport itself repeats what is lost."""
        return self.transport != "udp"


@dataclass(frozen=True, slots=True, repr=False)
class Raw:
    """A message cut up but not understood. ``fields``: lower-case long names. ``flaw``: a line that is no field."""

    start: str
    fields: dict[str, list[str]]
    body: bytes
    flaw: SipError | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """A request whose mandatory fields have been understood."""

    method: str
    uri: str
    fields: dict[str, list[str]]
    body: bytes
    via: Via
    call_id: str
    from_tag: str
    to_tag: str | None
    sequence: int

    def get(self, name: str) -> str | None:
        """The first value of a field (lower-case long name), or None."""
        values = self.fields.get(name)
        return values[0] if values else None

    def tokens(self, name: str) -> list[str]:
        """All comma-separated tokens of a field, in lower case."""
        return [t.strip().lower() for v in self.fields.get(name, ()) for t in v.split(",") if t.strip()]


@dataclass(frozen=True, slots=True, repr=False)
class Response:
    """A response, as far as a client transaction needs it."""

    status: int
    branch: str
    method: str


def split(data: bytes) -> Raw:
    """Cut a whole message. Raises SipError when its header has no end, or ends too late to be read."""
    head, end, body = data.lstrip(b"\r\n").partition(b"\r\n\r\n")
    if not end:
        raise SipError("the header has no end", reason="Bad Request: No Empty Line After Header")
    if len(head) > MAX_HEADER:
        raise SipError("the header is too long", 413, "Request Entity Too Large: Header")
    # Values must be echoed bit by bit, whatever their bytes (RFC 3261 §8.2.6.2).
    text = head.decode("utf-8", "surrogateescape")
    if "\n " in text or "\n\t" in text:
        text = _FOLD.sub(" ", text)
    start, *lines = text.split("\r\n")
    fields: dict[str, list[str]] = {}
    flaw = None
    if len(lines) > MAX_FIELDS:
        flaw = SipError("too many header fields", 413, "Request Entity Too Large: Number Of Header Fields")
    for line in lines[:MAX_FIELDS]:
        written, _, value = line.partition(":")
        name = _NAMES.get(written) or _field_name(line)
        if name is None or "\n" in value or "\r" in value:  # other controls may stand in quoted pairs (§25.1)
            flaw = flaw or SipError("a line of the header is no header field", reason="Bad Header Line")
            continue
        fields.setdefault(name, []).append(value.strip(" \t"))
    if _CONTROL.search(start):
        flaw = flaw or SipError("the start line holds control characters", reason="Bad Start Line")
    return Raw(start, fields, body, flaw)


def _field_name(line: str) -> str | None:
    written, colon, _ = line.partition(":")
    name = written.rstrip(" \t").lower()
    return _LONG.get(name, name) if colon and _TOKEN.fullmatch(name) else None


def beginning(data: bytes) -> bytes:
    """The lines of a header too long to be read that fit into ``MAX_HEADER``, as a message without a body."""
    return data[: max(data.rfind(b"\r\n", 0, MAX_HEADER), 0)] + b"\r\n\r\n"


def check(raw: Raw) -> Request | Response:
    """Understand what every message must have. Raises SipError: the status, and the field in its reason."""
    if raw.flaw is not None:
        raise raw.flaw
    if raw.start.startswith("SIP/2.0 "):
        return _check_response(raw)
    method, uri = _check_start(raw.start)
    for name in _ONCE:
        if len(raw.fields.get(name, ())) > 1:
            raise _bad(name, "Repeated")
    via = _top_via(raw.fields)
    from_tag = _tag(raw.fields, "from")
    if from_tag is None and via.parameters.get("branch", "").startswith(MAGIC):
        raise SipError("From has no tag", reason="Missing Tag In From Header Field")
    call_id = _field(raw.fields, "call-id")
    if not call_id or " " in call_id:
        raise _bad("call-id")
    sequence, of_method = _typed(read_cseq, _field(raw.fields, "cseq"), "cseq")
    if of_method != method:
        raise _bad("cseq")
    _check_uri(uri)
    body = _body(raw)
    return Request(method, uri, raw.fields, body, via, call_id, from_tag or "", _tag(raw.fields, "to"), sequence)


def content_length(fields: HeaderFields) -> int | None:
    """The Content-Length, or None when absent. Raises SipError when it is no number or said twice."""
    values = fields.get("content-length")
    if not values:
        return None
    if len(values) > 1 or not _DIGITS.fullmatch(values[0]):
        raise _bad("content-length")
    return int(values[0])


def address_of(value: str, name: str) -> Address:
    """A name-addr or addr-spec field. Raises SipError naming the field."""
    return _typed(read_address, value, name)


def branch_key(via: Via) -> tuple[str, str, int]:
    """Branch and sent-by, which together name a transaction (RFC 3261 §17.2.3); branch is empty when not RFC 3261's."""
    branch = via.parameters.get("branch", "")
    known = branch.startswith(MAGIC) and len(branch) > len(MAGIC)  # the cookie alone is no branch (RFC 4475 §3.2.1)
    return branch if known else "", via.host, via.port or 5060


def answerable(fields: HeaderFields) -> bool:
    """Whether it is worth answering: what else is missing is said in the answer (RFC 4475 §3.3.1)."""
    return bool(fields.get("via"))


def return_flow(fields: HeaderFields, flow: Flow) -> Flow:
    """Where the response to a request that may be malformed goes: as ``response_flow``, else where it came from."""
    try:
        return flow if flow.reliable else response_flow(_top_via(fields), flow)
    except SipError:
        return flow


def response_flow(via: Via, flow: Flow) -> Flow:
    """Where a response goes (RFC 3261 §18.2.2, RFC 3581 §4).

    Over UDP: to the source's address, and to its port if the client asked so by ``rport``, else to the port of the Via.
    ``maddr`` is not followed: we answer only whom we know.
    """
    if flow.reliable:
        return flow
    port = flow.port if via.parameters.get("rport") == "" else via.port or 5060
    return flow if port == flow.port else Flow(flow.transport, flow.channel, flow.address, port)


def reply(
    fields: HeaderFields,
    flow: Flow,
    status: int,
    *,
    reason: str | None = None,
    to_tag: str | None = None,
    extra: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
) -> bytes:
    """A response that echoes the request's fields (RFC 3261 §8.2.6.2); ``to_tag`` is added where To has none."""
    lines = [f"SIP/2.0 {status} {reason or PHRASES[status]}"]
    for index, value in enumerate(fields.get("via", ())):
        lines.append(f"Via: {_received(value, flow) if index == 0 else value}")
    for name in _ECHOED[1:]:
        for value in fields.get(name, ())[:1]:
            tagged = name == "to" and to_tag is not None and ";tag=" not in value.lower().replace(" ", "")
            lines.append(f"{_SPELT.get(name, name.title())}: {value}{f';tag={to_tag}' if tagged else ''}")
    lines += [f"{name}: {value}" for name, value in extra]
    lines.append(f"Content-Length: {len(body)}\r\n\r\n")
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + body


def _check_start(start: str) -> tuple[str, str]:
    bits = start.split()
    if len(bits) >= 3 and _VERSION.fullmatch(bits[-1]) and bits[-1].upper() != "SIP/2.0":  # §7.1: in any case
        raise SipError("the SIP version is not 2.0", 505)
    if len(bits) != 3 or not _VERSION.fullmatch(bits[2]) or not _TOKEN.fullmatch(bits[0]):
        raise SipError("the request line is malformed", reason="Bad Request-Line")
    return bits[0], bits[1]


def _check_uri(uri: str) -> None:
    if _PLAIN_URI.fullmatch(uri):
        return
    try:
        scheme = read_uri(uri).scheme
    except GrammarError:
        scheme = None
    if scheme is None:
        raise SipError("the Request-URI is malformed", reason="Bad Request-URI")
    if scheme not in {"sip", "sips", "tel"}:
        raise SipError("the scheme of the Request-URI is not supported", 416)


def _check_response(raw: Raw) -> Response:
    code = raw.start[8:11]
    if not re.fullmatch(r"[1-6][0-9][0-9]", code) or raw.start[11:12] not in {"", " "}:
        raise SipError("the status line is malformed")
    via = _top_via(raw.fields)
    _, method = _typed(read_cseq, _field(raw.fields, "cseq"), "cseq")
    return Response(int(code), via.parameters.get("branch", ""), method)


def _body(raw: Raw) -> bytes:
    length = content_length(raw.fields)
    if length is None:
        return raw.body
    if length > len(raw.body):  # RFC 3261 §18.3: the datagram ends before its body does
        raise SipError("the body is shorter than Content-Length", reason="Bad Content-Length Header Field")
    return raw.body[:length]


def _top_via(fields: HeaderFields) -> Via:
    value = _field(fields, "via")
    if "," in value:
        match = _TOP_VIA.match(value)
        value = match[0].strip() if match else value
    return _typed(read_via, value, "via")


def _received(value: str, flow: Flow) -> str:
    match = _TOP_VIA.match(value)
    text = match[0].rstrip() if match else value
    rest = value[match.end() :] if match else ""
    marked, asked = _RPORT.subn(f";rport={flow.port}", text, count=1)
    if (asked or not _sent_by_is(text, flow.address)) and ";received=" not in text.lower():
        marked += f";received={flow.address}"
    return marked + rest


def _sent_by_is(text: str, address: str) -> bool:
    sent_by = text.partition(";")[0].rpartition(" ")[2]
    host = sent_by[1:].partition("]")[0] if sent_by.startswith("[") else sent_by.partition(":")[0]
    return host == address


def _tag(fields: HeaderFields, name: str) -> str | None:
    return address_of(_field(fields, name), name).parameters.get("tag")


def _field(fields: HeaderFields, name: str) -> str:
    values = fields.get(name)
    if not values:
        raise _bad(name, "Missing")
    return values[0]


def _typed(read: Callable[[str], Parsed], value: str, name: str) -> Parsed:
    try:
        return read(value)
    except GrammarError:
        pass  # raised outside, so that the error does not keep the frames, and with them the value, of what was wrong
    raise _bad(name)


def _bad(name: str, how: str = "Bad") -> SipError:
    spelt = _SPELT.get(name, name.title())
    return SipError(f"{how.lower()} {spelt} header field", reason=f"{how} {spelt} Header Field")
