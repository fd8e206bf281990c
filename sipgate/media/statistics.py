"""What became of every datagram."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Statistics:
    """Datagrams since start, by what became of them. ``dropped`` never reached us: the kernel's buffer was full."""

    received: int = 0
    kept: int = 0
    foreign: int = 0
    """From elsewhere than the offer says."""
    malformed: int = 0
    control: int = 0
    """RTCP on the port of the RTP (RFC 5761)."""
    unauthentic: int = 0
    """In a stream of SRTP, and not shown to be its sender's: forged, altered, plain, under a key not offered."""
    replayed: int = 0
    """SRTP that came a second time: the network's duplicates, or somebody's."""
    idle: int = 0
    """Of no recording, or outside [answer, hangup]."""
    other: int = 0
    """Telephone events, comfort noise, codecs that are not kept, packets that are not of their codec."""
    misplaced: int = 0
    """Too late, or with a timestamp that cannot be."""
    dropped: int = 0
