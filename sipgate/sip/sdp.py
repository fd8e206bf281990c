"""Session descriptions (RFC 8866) and the answer of a recording server (RFC 3264, RFC 7866 §9.1).

Every m-line is answered, in order, with a port of its own or 0; what is taken is received only; labels are echoed.
Taken: audio over RTP/AVP, or over RTP/SAVP with a key that can be used (``sdescriptions``), each answered in its own
profile; in the codecs of ``sdp_codecs``. Video and DTLS-SRTP are answered with port 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sipgate.errors import SdpError
from sipgate.sip import sdp_codecs, sdp_rtcp
from sipgate.sip.sdescriptions import PLAIN, SECURE, Crypto, choose
from sipgate.sip.sdp_codecs import OFFERED as OFFERED

MAX_STREAMS = 8  # a conference's; further m-lines are answered with port 0

_PORT = re.compile(r"([0-9]{1,5})(?:/[0-9]{1,5})?")
_CONNECTION = re.compile(r"IN\s+(IP4|IP6)\s+([^\s/]+)(?:/[0-9/]+)?")
_ORIGIN = re.compile(r"\S+ [0-9]+ [0-9]+ IN IP[46] \S+")
_PREFERENCE = re.compile(r"a=recordpref:\s*([a-z]+)", re.IGNORECASE)  # RFC 7866 §7.3.2
_DIRECTIONS = frozenset({"sendonly", "recvonly", "sendrecv", "inactive"})


@dataclass(frozen=True, slots=True, repr=False)
class MediaLine:
    """One m-line, the ``index``-th.

    ``address``: None when the description gives it none. ``label``: RFC 4574's, or None.
    ``codecs``: what we take of it, nothing when there is no codec that can be kept.
    ``crypto``: how its SRTP is keyed, chosen from what is offered; None when it is RTP/AVP or offers nothing usable.
    """

    index: int
    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    address: str | None
    direction: str
    label: str | None
    codecs: sdp_codecs.Codecs
    rtcp: sdp_rtcp.Rtcp = sdp_rtcp.UNKNOWN
    crypto: Crypto | None = None

    @property
    def payload_types(self) -> tuple[tuple[int, str], ...]:
        """What we take of it, in the offerer's order."""
        return self.codecs.taken

    @property
    def refused_codecs(self) -> tuple[str, ...]:
        """Encoding names of which none is taken, where that is why it is refused."""
        return self.codecs.refused if self.kind == "audio" and self.port != 0 else ()

    @property
    def wanted(self) -> bool:
        """Whether it is answered with a port."""
        receivable = self.protocol in PLAIN or (self.protocol in SECURE and self.crypto is not None)
        return self.kind == "audio" and receivable and self.port != 0 and bool(self.payload_types)


@dataclass(frozen=True, slots=True, repr=False)
class Description:
    """A session description, as far as a recording server needs it. ``preferences``: every ``a=recordpref`` of it."""

    media: tuple[MediaLine, ...]
    preferences: frozenset[str] = frozenset()

    def wanted(self) -> tuple[MediaLine, ...]:
        """The m-lines that are answered with a port, in order."""
        return tuple(line for line in self.media if line.wanted)[:MAX_STREAMS]


def parse(data: bytes) -> Description:
    """Read an offer. Raises SdpError naming the line; lines end in CRLF or LF (RFC 8866 §5)."""
    lines = [line.rstrip(" \t") for line in data.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    if not lines or lines[0] != "v=0":
        raise SdpError("the first line is not v=0")
    session: list[str] = []
    sections: list[list[str]] = []
    for line in lines:
        if len(line) < 2 or line[1] != "=":
            raise SdpError("a line is not of the form x=...")
        if line.startswith("m="):
            sections.append([])
        (sections[-1] if sections else session).append(line)
    if not any(line.startswith("o=") and _ORIGIN.fullmatch(line[2:]) for line in session):
        raise SdpError("o= is missing or malformed")
    address, direction = _address(session), _direction(session) or "sendrecv"
    media = (_media(index, section, address, direction) for index, section in enumerate(sections))
    preferences = frozenset(match[1].lower() for line in lines if (match := _PREFERENCE.fullmatch(line)))
    return Description(tuple(_reported(line, session, sections[line.index]) for line in media), preferences)


def answer(
    offered: Description,
    address: str,
    ports: Sequence[int],
    session: int,
    version: int,
    secrets: Mapping[int, bytes] | None = None,
) -> bytes:
    """The answer. ``ports``: one for each of ``offered.wanted()``, in order. ``address``: where RTP is received.

    ``secrets``: our own key for each wanted m-line that has a crypto, by index: we send nothing under it, but RFC 4568
    §5.1.2 wants it.
    """
    taken = dict(zip((line.index for line in offered.wanted()), ports, strict=True))
    media = (text for line in offered.media for text in _answered(line, taken.get(line.index, 0), (secrets or {})))
    return _described(address, session, version, media)


def offer(address: str, ports: Sequence[int], session: int, version: int) -> bytes:
    """An offer of ours: one m-line for each port, received only (RFC 7866 §9.1: to an INVITE that brings none)."""
    return _described(
        address, session, version, (line for port in ports for line in _received(port, sdp_codecs.offered()))
    )


def _described(address: str, session: int, version: int, media: Iterable[str]) -> bytes:
    family = "IP6" if ":" in address else "IP4"
    lines = [
        "v=0",
        f"o=- {session} {version} IN {family} {address}",
        "s=-",
        f"c=IN {family} {address}",
        "t=0 0",
        *media,
    ]
    return ("\r\n".join(lines) + "\r\n").encode("utf-8", "surrogateescape")


def _received(port: int, codecs: sdp_codecs.Codecs, protocol: str = "RTP/AVP") -> list[str]:
    line = f"m=audio {port} {protocol} {' '.join(str(number) for number, _ in codecs.taken)}"
    return [line, *codecs.lines, "a=recvonly"]


def _reported(line: MediaLine, session: Sequence[str], section: Sequence[str]) -> MediaLine:
    return replace(line, rtcp=sdp_rtcp.read(session, section, line.address, line.port))


def _answered(line: MediaLine, port: int, secrets: Mapping[int, bytes]) -> list[str]:
    label = [] if line.label is None else [f"a=label:{line.label}"]
    if port == 0:
        return [f"m={line.kind} 0 {line.protocol} {' '.join(line.formats)}", *label]
    *lines, _ = _received(port, line.codecs, line.protocol)
    if line.crypto is not None:
        lines.append(line.crypto.answered(secrets[line.index]))
    # RFC 3264 §6.1: to an inactive or recvonly offer there is nothing that we could receive.
    receives = line.direction in {"sendonly", "sendrecv"}
    multiplexed = ["a=rtcp-mux"] if line.rtcp.multiplexed else []
    return [*lines, *multiplexed, *label, "a=recvonly" if receives else "a=inactive"]


def _media(index: int, section: list[str], address: str | None, direction: str) -> MediaLine:
    fields = section[0][2:].split()
    if len(fields) < 4 or not (port := _PORT.fullmatch(fields[1])) or int(port[1]) > 65535:
        raise SdpError("m= is malformed")
    formats = tuple(fields[3:])
    directions: list[str] = []
    labels: list[str] = []
    cryptos: list[str] = []
    for line in section:
        if line.startswith("a="):
            name, _, value = line[2:].partition(":")
            if name == "label":
                labels.append(value.strip())
            elif name == "crypto":
                cryptos.append(value)
            elif line[2:] in _DIRECTIONS:
                directions.append(name)
    found = MediaLine(
        index=index,
        kind=fields[0].lower(),
        port=int(port[1]),
        protocol=fields[2].upper(),
        formats=formats,
        address=_address(section) or address,
        direction=directions[0] if directions else direction,
        label=(labels[0] or None) if labels else None,
        codecs=sdp_codecs.read(section, formats),
        crypto=choose(cryptos) if fields[2].upper() in SECURE else None,
    )
    if found.wanted and found.address is None:
        raise SdpError("c= is missing")
    return found


def _address(lines: list[str]) -> str | None:
    for line in lines:
        if line.startswith("c="):
            match = _CONNECTION.fullmatch(line[2:].strip())
            if match is None:
                raise SdpError("c= is malformed")
            return match[2]
    return None


def _direction(lines: list[str]) -> str | None:
    return next((line[2:] for line in lines if line.startswith("a=") and line[2:] in _DIRECTIONS), None)
