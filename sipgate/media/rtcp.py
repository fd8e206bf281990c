"""RTCP (RFC 3550 §6) as bytes and as values: what a recorder reads of its peer's reports, and its own. Pure.

``parse`` reads a compound packet and leaves out what a recorder has no use for (other packet types, SDES items but
CNAME); it takes any order, as reduced-size RTCP (RFC 5506) comes without a report in front. ``receiver_reports`` writes
the reports of many streams at once: an array of datagrams, one a row::

    RR    V=2 RC=1, 201, 7 | our SSRC | SSRC, fraction and total lost, highest sequence, jitter, LSR, DLSR
    SDES  V=2 SC=1, 202, 6 | our SSRC, CNAME, 16, <16 characters>, end, padding
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from sipgate.errors import MediaError

SENDER_REPORT: Final = 200
RECEIVER_REPORT: Final = 201
DESCRIPTION: Final = 202
GOODBYE: Final = 203
CNAME_CHARACTERS: Final = 16
SHORTEST: Final = 8
_VERSION: Final = 0x80
_PADDED: Final = 0x20
_CNAME: Final = 1
_BLOCK: Final = struct.Struct("!IIIIII")
_SENDER: Final = struct.Struct("!QIII")
_REPORT: Final = np.dtype(
    [
        ("first", "u1"),
        ("kind", "u1"),
        ("words", ">u2"),
        ("sender", ">u4"),
        ("source", ">u4"),
        ("lost", ">u4"),
        ("highest", ">u4"),
        ("jitter", ">u4"),
        ("last_sr", ">u4"),
        ("delay", ">u4"),
        ("sdes", ">u4"),
        ("sdes_sender", ">u4"),
        ("item", ">u2"),
        ("cname", f"S{CNAME_CHARACTERS}"),
        ("end", ">u2"),
    ]
)
_BARE: Final = struct.pack("!BBH", _VERSION, RECEIVER_REPORT, 1)

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Block:
    """What a receiver says of one source (§6.4.1). ``fraction``: lost of 256 since the last report; ``lost``: in all,
    less than 0 after duplicates; ``jitter`` in RTP timestamp units; ``delay`` since ``last_sr`` in 1/65536 s."""

    source: int
    fraction: int
    lost: int
    highest: int
    jitter: int
    last_sr: int = 0
    delay: int = 0


@dataclass(frozen=True, slots=True)
class SenderReport:
    """§6.4.1. ``ntp``: 64 bits, seconds since 1900 in the upper half."""

    sender: int
    ntp: int
    stamp: int
    packets: int
    octets: int
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    """§6.4.2."""

    sender: int
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class Description:
    """§6.5: the CNAME of each source that tells one. It can name a person: not in ``repr``."""

    cnames: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Goodbye:
    """§6.6: these sources send no more."""

    sources: tuple[int, ...]


Packet = SenderReport | ReceiverReport | Description | Goodbye


def parse(datagram: bytes) -> tuple[Packet, ...]:
    """The packets of a compound one, in order. Raises MediaError when it is none (RFC 3550 appendix A.2)."""
    return tuple(_packets(datagram))


def _packets(datagram: bytes) -> Iterator[Packet]:
    at = 0
    while at < len(datagram):
        if len(datagram) - at < 4:
            raise MediaError("RTCP: a header is cut off")
        first, kind, words = struct.unpack_from("!BBH", datagram, at)
        end = at + 4 * (words + 1)
        if first & 0xC0 != _VERSION or end > len(datagram):
            raise MediaError("RTCP: the version is not 2, or a length is wrong")
        body = datagram[at + 4 : end]
        if first & _PADDED:
            body = _unpadded(body, last=end == len(datagram))
        try:
            found = _packet(kind, first & 0x1F, body)
        except (struct.error, IndexError) as error:
            raise MediaError("RTCP: a packet is shorter than its counts say") from error
        if found is not None:
            yield found
        at = end


def _unpadded(body: bytes, *, last: bool) -> bytes:
    if not last or not body or not 0 < body[-1] <= len(body) or body[-1] % 4:
        raise MediaError("RTCP: the padding is wrong")
    return body[: -body[-1]]


def _packet(kind: int, count: int, body: bytes) -> Packet | None:
    if kind == SENDER_REPORT:
        sender, ntp, stamp, packets, octets = struct.unpack_from("!IQIII", body)
        return SenderReport(sender, ntp, stamp, packets, octets, _blocks(body, 24, count))
    if kind == RECEIVER_REPORT:
        return ReceiverReport(struct.unpack_from("!I", body)[0], _blocks(body, 4, count))
    if kind == DESCRIPTION:
        return Description(tuple(_chunks(body, count)))
    if kind == GOODBYE:
        return Goodbye(struct.unpack_from(f"!{count}I", body))
    return None


def _blocks(body: bytes, at: int, count: int) -> tuple[Block, ...]:
    found = []
    for number in range(count):
        source, lost, highest, jitter, last_sr, delay = _BLOCK.unpack_from(body, at + 24 * number)
        total = lost & 0xFFFFFF
        found.append(Block(source, lost >> 24, total - (total >> 23 << 24), highest, jitter, last_sr, delay))
    return tuple(found)


def _chunks(body: bytes, count: int) -> Iterator[tuple[int, str]]:
    at = 0
    for _ in range(count):
        (source,) = struct.unpack_from("!I", body, at)
        at += 4
        while body[at] != 0:
            item, size = body[at], body[at + 1]
            if at + 2 + size > len(body):
                raise IndexError
            if item == _CNAME:
                yield source, body[at + 2 : at + 2 + size].decode("utf-8", "replace")
            at += 2 + size
        at += 4 - at % 4


def build(packets: Iterable[Packet]) -> bytes:
    """A compound packet. Raises ValueError or struct.error for values that have no room in it."""
    return b"".join(_built(packet) for packet in packets)


def _built(packet: Packet) -> bytes:
    match packet:
        case SenderReport():
            body = struct.pack("!I", packet.sender)
            body += _SENDER.pack(packet.ntp, packet.stamp, packet.packets, packet.octets)
            return _headed(SENDER_REPORT, len(packet.blocks), body + _built_blocks(packet.blocks))
        case ReceiverReport():
            body = struct.pack("!I", packet.sender) + _built_blocks(packet.blocks)
            return _headed(RECEIVER_REPORT, len(packet.blocks), body)
        case Description():
            return _headed(DESCRIPTION, len(packet.cnames), b"".join(_chunk(*cname) for cname in packet.cnames))
        case Goodbye():
            return _headed(GOODBYE, len(packet.sources), struct.pack(f"!{len(packet.sources)}I", *packet.sources))


def _headed(kind: int, count: int, body: bytes) -> bytes:
    if count > 0x1F:
        raise ValueError("a packet holds 31 blocks, chunks or sources at most")
    return struct.pack("!BBH", _VERSION | count, kind, len(body) // 4) + body


def _built_blocks(blocks: Iterable[Block]) -> bytes:
    return b"".join(
        _BLOCK.pack(b.source, b.fraction << 24 | b.lost & 0xFFFFFF, b.highest, b.jitter, b.last_sr, b.delay)
        for b in blocks
    )


def _chunk(source: int, cname: str) -> bytes:
    text = cname.encode()
    body = struct.pack("!IBB", source, _CNAME, len(text)) + text
    return body + bytes(4 - len(body) % 4)


def receiver_reports(
    sender: Ints,
    source: Ints,
    lost: Ints,
    highest: Ints,
    jitter: Ints,
    last_sr: Ints,
    delay: Ints,
    cname: npt.NDArray[np.bytes_],
) -> npt.NDArray[np.void]:
    """Reports of one block each, one a row; ``lost``: fraction and total, as ``lost_word`` makes them."""
    reports = np.zeros(len(sender), dtype=_REPORT)
    reports["first"], reports["kind"], reports["words"] = _VERSION | 1, RECEIVER_REPORT, 7
    reports["sdes"] = (_VERSION | 1) << 24 | DESCRIPTION << 16 | 6
    reports["item"] = _CNAME << 8 | CNAME_CHARACTERS
    reports["sender"] = reports["sdes_sender"] = sender
    reports["source"], reports["lost"], reports["cname"] = source, lost, cname
    reports["highest"], reports["jitter"] = highest & 0xFFFFFFFF, jitter & 0xFFFFFFFF
    reports["last_sr"], reports["delay"] = last_sr & 0xFFFFFFFF, delay & 0xFFFFFFFF
    return reports


def lost_word(expected: Ints, received: Ints, expected_before: Ints, received_before: Ints) -> Ints:
    """Fraction lost since the last report and the total, as one word (RFC 3550 appendix A.3)."""
    total = np.clip(expected - received, -0x800000, 0x7FFFFF)
    due, missing = expected - expected_before, (expected - expected_before) - (received - received_before)
    fraction = np.where((due > 0) & (missing > 0), (missing << 8) // np.maximum(due, 1), 0)
    word: Ints = np.minimum(fraction, 255) << 24 | total & 0xFFFFFF
    return word


def without_block(report: bytes) -> bytes:
    """A report of ``receiver_reports`` for a stream that was not heard since the last one (§6.4.2: RC = 0)."""
    return _BARE + report[4:8] + report[32:]
