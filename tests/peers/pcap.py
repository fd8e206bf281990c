"""Reads the UDP datagrams of a capture file (libpcap, Ethernet or Linux cooked or raw IPv4). For tests only."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LINK_HEADER = {1: 14, 101: 0, 113: 16, 276: 20}  # LINKTYPE_ETHERNET, RAW, LINUX_SLL, LINUX_SLL2


@dataclass(frozen=True)
class Datagram:
    """One UDP datagram: time in s since the epoch, ports, payload."""

    time: float
    source_port: int
    destination_port: int
    payload: bytes


def datagrams(path: Path) -> Iterator[Datagram]:
    """Every unfragmented IPv4 UDP datagram, in the order of the file."""
    data = path.read_bytes()
    magic = data[:4]
    order = "<" if magic in {b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1"} else ">"
    fraction = 1e-9 if magic in {b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d"} else 1e-6
    (link,) = struct.unpack_from(order + "I", data, 20)
    at = 24
    while at + 16 <= len(data):
        seconds, parts, kept, _ = struct.unpack_from(order + "IIII", data, at)
        packet = data[at + 16 + _LINK_HEADER[link] : at + 16 + kept]
        at += 16 + kept
        if packet[:1] and packet[0] >> 4 == 4 and packet[9] == 17:
            udp = packet[(packet[0] & 15) * 4 :]
            source, destination, length = struct.unpack_from(">HHH", udp)
            yield Datagram(seconds + parts * fraction, source, destination, udp[8:length])


def sip_to(path: Path, port: int) -> list[bytes]:
    """The SIP messages sent to a port (keep-alives left out), in order."""
    return [d.payload for d in datagrams(path) if d.destination_port == port and d.payload.strip()]
