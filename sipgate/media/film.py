"""A film's sealed segments, as workstations sent them, to the VP9 packets of one stream on the call's timeline.

Folder: ``film/<take>/<index, 6 digits>.seg`` and, once a take is whole, ``film/<take>/end.json`` ``{"segments": n}``. A
take is one run of the camera; several follow each other in time (the client was killed, and came back). Where a segment
is missing or does not open, the film goes on at the next keyframe. Frames outside [0, length] are dropped (RULES R2).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from capture_client.protocol import FilmPacket, ProtocolViolation, open_segment, segment_name

SHOW_LAST_FRAME: Final = b"\x88"
"""VP9 uncompressed header (specification §6.2): frame marker 2, profile 0, show_existing_frame, reference slot 0."""
PADDED_FRAMES_PER_SECOND: Final = 10
"""Gaps are filled to this rate, since Chromium 156 shows frames of a sparse film early (LAB.md §11): at most 627 ms
without padding, 64 at 4 a second, 12 at 10, 15 at 20, measured on pictures about a second apart. 13 bytes each."""


@dataclass(frozen=True, slots=True)
class Film:
    """Packets in order of time, the first a keyframe; ``complete``: every segment of every take was there."""

    packets: tuple[FilmPacket, ...]
    complete: bool


def read_film(folder: Path, recording: str, private_key: bytes, length_ns: int) -> Film:
    """Read ``folder`` (``…/film``; it may be absent). ``private_key``: the recording's X25519 key, 32 bytes."""
    key = X25519PrivateKey.from_private_bytes(private_key)
    takes, complete = [], True
    for take in sorted(path for path in folder.glob("*") if path.is_dir()):
        packets, whole = _read_take(take, recording, key, length_ns)
        complete &= whole
        if packets:
            takes.append(packets)
    return Film(tuple(_one_after_another(takes)), complete)


def _read_take(take: Path, recording: str, key: X25519PrivateKey, length_ns: int) -> tuple[list[FilmPacket], bool]:
    packets: list[FilmPacket] = []
    expected, waiting, whole = 0, True, True
    for path in sorted(take.glob("*.seg")):
        segment = _open(path, recording, take.name, key)
        if segment is None or int(path.stem) != expected:
            waiting, whole = True, False
        expected = int(path.stem) + 1
        for packet in segment or []:
            if packet.key:
                waiting = False
            if packet.pts_ns > length_ns:
                break
            if packet.pts_ns < 0:  # before the answer: what depends on it cannot be shown either
                waiting = True
            elif not waiting:
                packets.append(packet)
    return packets, whole and _segments_promised(take) == expected


def _open(path: Path, recording: str, take: str, key: X25519PrivateKey) -> list[FilmPacket] | None:
    try:
        sealed = path.read_bytes()
        name = segment_name(sealed)
        if (name.recording, name.take, name.index) != (recording, take, int(path.stem)):
            return None
        return open_segment(sealed, key)
    except (OSError, ProtocolViolation, ValueError):
        return None


def _segments_promised(take: Path) -> int | None:
    try:
        promised = json.loads((take / "end.json").read_bytes())["segments"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return promised if isinstance(promised, int) else None


def _one_after_another(takes: Sequence[list[FilmPacket]]) -> Iterator[FilmPacket]:
    """Takes by their beginning; each lasts until the next one begins. Times never repeat or go back."""
    ordered = sorted(takes, key=lambda packets: packets[0].pts_ns)
    for index, packets in enumerate(ordered):
        end = ordered[index + 1][0].pts_ns if index + 1 < len(ordered) else None
        yield from (packet for packet in packets if end is None or packet.pts_ns < end)


@dataclass(frozen=True, slots=True)
class TimedPacket:
    """One packet for the container; ``pts_ms`` rises strictly."""

    pts_ms: int
    key: bool
    data: bytes


def padded(packets: Sequence[FilmPacket]) -> Iterator[TimedPacket]:
    """The film's own packets unmodified, and between them, where they are sparse, the last image shown again."""
    step = round(1000 / PADDED_FRAMES_PER_SECOND)
    before: int | None = None
    for packet in packets:
        at = packet.pts_ns // 1_000_000
        if before is not None:
            at = max(at, before + 1)
            for pad in range(before + step, at - step // 2, step):
                yield TimedPacket(pad, False, SHOW_LAST_FRAME)
        yield TimedPacket(at, packet.key, packet.data)
        before = at
