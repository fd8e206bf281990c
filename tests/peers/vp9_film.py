"""A synthetic film as a workstation sends it: the client's encoder, sealed segments of takes.

Every picture shows its own number as 16 black or white bars over the moving content, and can be read back.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from capture_client.encoder import Encoder
from capture_client.protocol import FilmPacket, SegmentSealer

_BARS = 16
Picture = npt.NDArray[np.uint8]


def picture(number: int, width: int, height: int, *, busy: bool = False) -> Picture:
    """RGB: text-like rows that change with ``number`` (all of them when ``busy``), and the bars."""
    random = np.random.default_rng(number if busy else 0)
    image = np.full((height, width, 3), 235, np.uint8)
    for row in range(60, height - 12, 16):
        letters = np.repeat(random.integers(0, 2, width // 4 + 1) * 200, 4)[: width - 40]
        image[row : row + 8, 20 : 20 + len(letters)] = (255 - letters)[np.newaxis, :, np.newaxis]
    at = 20 + number * 7 % (width - 60)
    image[height - 12 :, at : at + 20] = (42, 157, 143)
    bar = width // _BARS
    for bit in range(_BARS):
        image[:40, bit * bar : (bit + 1) * bar] = 255 if number >> bit & 1 else 0
    return image


def number_of(image: Picture) -> int:
    """The number that the bars of a picture show."""
    bar = image.shape[1] // _BARS
    return sum((int(image[20, bit * bar + bar // 2].mean()) > 127) << bit for bit in range(_BARS))


def film(
    times_ms: Sequence[int], *, width: int = 320, height: int = 200, first: int = 0, gop: int = 600, busy: bool = False
) -> list[FilmPacket]:
    """Pictures ``first``, ``first`` + 1, … filmed at these moments of the call, the first a keyframe."""
    encoder, packets = Encoder(), []
    for number, at in enumerate(times_ms):
        image = picture(first + number, width, height, busy=busy)
        pixels = np.dstack([image[:, :, ::-1], np.full((height, width), 255, np.uint8)])
        data, key = encoder.encode(np.ascontiguousarray(pixels), at * 1_000_000, number % gop == 0)
        packets.append(FilmPacket(key, at * 1_000_000, width, height, data))
    return packets


def write_take(
    folder: Path,
    recording: str,
    private_key: X25519PrivateKey,
    packets: Sequence[FilmPacket],
    *,
    packets_a_segment: int = 10,
    missing: Iterable[int] = (),
    ended: bool = True,
) -> Path:
    """Seal a take below ``folder`` (a recording's), leave segments out, and say that it ended; returns its folder."""
    take = folder / "film" / secrets.token_hex(16)
    take.mkdir(parents=True)
    sealer = SegmentSealer(recording, take.name, private_key.public_key().public_bytes_raw())
    parts = [list(packets[at : at + packets_a_segment]) for at in range(0, len(packets), packets_a_segment)]
    for index, part in enumerate(parts):
        if index not in set(missing):
            (take / f"{index:06d}.seg").write_bytes(sealer.seal(index, part))
    if ended:
        (take / "end.json").write_text(json.dumps({"segments": len(parts)}))
    return take
