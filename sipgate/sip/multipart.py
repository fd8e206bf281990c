"""Bodies of several parts (RFC 2046 §5.1, RFC 5621): any order, any boundary, nested; or one part without a wrapper."""

from __future__ import annotations

import binascii
import quopri
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sipgate.errors import MultipartError, SipError
from sipgate.sip.message import Request

SDP = "application/sdp"
METADATA = frozenset({"application/rs-metadata+xml", "application/rs-metadata"})  # the latter: early drafts
ACCEPT = "application/sdp, application/rs-metadata+xml, multipart/mixed"

_REST_OF_LINE = re.compile(rb"(--)?[ \t]*(?=\r?\n|\Z)")
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_FOLD = re.compile(r"\r?\n[ \t]+")
_MAX_PARTS = 16
_MAX_DEPTH = 3
_TYPE = re.compile(r"\s*([A-Za-z0-9!#$&^_.+\-]+/[A-Za-z0-9!#$&^_.+\-]+)\s*")
_PARAMETER = re.compile(r';\s*([A-Za-z0-9!#$%&\'*+.^_`|~\-]+)\s*(?:=\s*("(?:[^"\\]|\\.)*"|[^";]*))?\s*')


@dataclass(frozen=True, slots=True, repr=False)
class Part:
    """One body part: media type in lower case, whether it may be ignored (RFC 5621 §8), its bytes."""

    media_type: str
    optional: bool
    data: bytes


@dataclass(frozen=True, slots=True, repr=False)
class Bodies:
    """What a recording session's request carries: at most one SDP, any number of metadata documents."""

    sdp: bytes | None
    metadata: tuple[bytes, ...]


def bodies_of(request: Request) -> Bodies:
    """Find SDP and metadata in a request.

    Raises SipError (400 or 415, its fields named) and MultipartError. Parts that nobody needs are passed over, unless
    the peer says that they are required.
    """
    if not request.body:
        return Bodies(None, ())
    content_type = request.get("content-type")
    if content_type is None:
        raise SipError("a body needs Content-Type", reason="Missing Content-Type Header Field")
    sdp: bytes | None = None
    metadata: list[bytes] = []
    disposition = request.get("content-disposition") or ""
    for part in _parts(content_type, disposition, "", request.body, 0):
        if part.media_type == SDP:
            if sdp is not None:
                raise MultipartError("two session descriptions in one body")
            sdp = part.data
        elif part.media_type in METADATA:
            metadata.append(part.data)
        elif not part.optional:
            raise SipError("Content-Type is not supported", 415, "Unsupported Media Type: Content-Type")
    return Bodies(sdp, tuple(metadata))


def metadata_within(request: Request) -> tuple[bytes, ...]:
    """The metadata documents of any request, one that is turned away for its body included, as far as they can be cut
    out of it; where that ends early, an empty one is the last: there may have been more."""
    found: list[bytes] = []
    content_type = request.get("content-type")
    try:
        parts = _parts(content_type, "", "", request.body, 0) if request.body and content_type else ()
        found.extend(part.data for part in parts if part.media_type in METADATA)
    except MultipartError:
        found.append(b"")
    return tuple(found)


def parse_content_type(value: str) -> tuple[str, Mapping[str, str]]:
    """``type/subtype`` in lower case and its parameters, quotes taken off. Raises MultipartError."""
    match = _TYPE.match(value)
    if match is None:
        raise MultipartError("Content-Type is malformed")
    return match[1].lower(), _parameters(value, match.end())


def _parameters(value: str, start: int) -> dict[str, str]:
    found: dict[str, str] = {}
    while start < len(value):
        match = _PARAMETER.match(value, start)
        if match is None:
            raise MultipartError("a parameter of a body's header is malformed")
        text = (match[2] or "").strip()
        if text.startswith('"'):
            text = re.sub(r"\\(.)", r"\1", text[1:-1])
        found.setdefault(match[1].lower(), text)
        start = match.end()
    return found


def _parts(content_type: str, disposition: str, encoding: str, data: bytes, depth: int) -> Iterator[Part]:
    media_type, parameters = parse_content_type(content_type)
    data = _decoded(data, encoding.strip().lower())
    if not media_type.startswith("multipart/"):
        yield Part(media_type, _may_be_ignored(disposition, depth), data)
        return
    boundary = parameters.get("boundary", "")
    if not 1 <= len(boundary) <= 70:  # RFC 2046 §5.1.1
        raise MultipartError("Content-Type names no usable boundary")
    if depth == _MAX_DEPTH:
        raise MultipartError("multipart bodies are nested too deeply")
    for fields, content in _cut(data, boundary):
        yield from _parts(
            fields.get("content-type", "text/plain"),
            fields.get("content-disposition", ""),
            fields.get("content-transfer-encoding", ""),
            content,
            depth + 1,
        )


def _cut(data: bytes, boundary: str) -> Iterator[tuple[dict[str, str], bytes]]:
    opened: int | None = None
    parts = 0
    for start, end, closes in _delimiters(data, b"--" + boundary.encode("utf-8", "surrogateescape")):
        if opened is not None:
            parts += 1
            if parts > _MAX_PARTS:
                raise MultipartError("too many body parts")
            yield _part(data[opened:start])
        if closes:
            break
        opened = end
    else:
        raise MultipartError("the boundary of Content-Type does not end the body")
    if not parts:
        raise MultipartError("a multipart body has no part")


def _delimiters(data: bytes, mark: bytes) -> Iterator[tuple[int, int, bool]]:
    """Lines that are ``mark``: where the line break before begins, where the one after begins, whether it closes."""
    at = data.find(mark)
    while at >= 0:
        rest = _REST_OF_LINE.match(data, at + len(mark))
        if rest is not None and (at == 0 or data[at - 1] == 0x0A):
            start = at - 2 if data[max(at - 2, 0) : at] == b"\r\n" else max(at - 1, 0)
            yield start, rest.end(), rest[1] is not None
        at = data.find(mark, at + len(mark))


def _part(text: bytes) -> tuple[dict[str, str], bytes]:
    text = text[2:] if text.startswith(b"\r\n") else text[1:]
    if text.startswith((b"\r\n", b"\n")):
        return {}, text.lstrip(b"\r").removeprefix(b"\n")
    blank = _BLANK_LINE.search(text)
    if blank is None:
        raise MultipartError("a body part has no empty line after its header")
    head = _FOLD.sub(" ", text[: blank.start()].decode("utf-8", "surrogateescape"))
    fields: dict[str, str] = {}
    for line in head.replace("\r\n", "\n").split("\n"):
        name, colon, value = line.partition(":")
        if not colon:
            raise MultipartError("a line of a body part's header is no header field")
        fields.setdefault(name.strip().lower(), value.strip())
    return fields, text[blank.end() :]


def _may_be_ignored(disposition: str, depth: int) -> bool:
    """A body is required unless it says otherwise (RFC 3261 §20.11); a mere part of one, only if it says so."""
    said = disposition.lower().replace(" ", "")
    return "handling=optional" in said or (depth > 0 and "handling=required" not in said)


def _decoded(data: bytes, encoding: str) -> bytes:
    if encoding in {"", "7bit", "8bit", "binary"}:
        return data
    if encoding == "quoted-printable":
        return quopri.decodestring(data)
    if encoding == "base64":
        try:
            return binascii.a2b_base64(data)
        except binascii.Error:
            raise MultipartError("a body part is not the base64 that it says it is") from None
    raise MultipartError("Content-Transfer-Encoding is not supported")
