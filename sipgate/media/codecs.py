"""The codecs that are kept as they come, by number, and what their packets last. Nothing is decoded while calls live.

Elsewhere a codec is its number, which also stands in the sealed file (``frames``): 0 nothing was received; else one of
two geometries:

* *bytes*, 8 a millisecond, each in its own place: G.711 (1 PCMU, 2 PCMA), and 3 G.722, whose RTP clock is 8 kHz though
  it samples at 16 kHz (RFC 3551 §4.5.2);
* *packets*, whole in the milliseconds that they last: 4 G.729, 5 GSM, 6 iLBC, 7 Opus, 8 to 11 G.726 at 16, 24, 32 and
  40 kbit/s packed as RFC 3551 §4.5.4 says, 12 to 15 the same packed as AAL2 does. The millisecond in which a packet
  begins has the number, those that follow have it plus ``CONTINUES``.

``KEY`` marks a telephone key (RFC 4733): when and on which side, never which, and no sound of the same time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

ABSENT: Final = 0
PCMU: Final = 1
PCMA: Final = 2
G722: Final = 3
G729: Final = 4
GSM: Final = 5
ILBC: Final = 6
OPUS: Final = 7
G726: Final = (8, 9, 10, 11)
"""By 2, 3, 4 and 5 bits a sample; packed from the least significant bit on."""
G726_AAL2: Final = (12, 13, 14, 15)
KEY: Final = 0x7E
TELEPHONE_EVENT: Final = 0x7F
"""Marks RFC 4733 payload types in the receiver's tables; never kept as sound."""
CONTINUES: Final = 0x80
"""Added to a number: this millisecond belongs to what began before it."""

SAMPLE_RATE: Final = 8000
SILENCE: Final = np.array([0x00, 0xFF, 0xD5, 0xFA], dtype=np.uint8)
"""The byte that decodes to silence, by codec number; G.722's is its smallest difference in both bands."""

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]


def _flags(*numbers: int) -> Flags:
    table = np.zeros(256, dtype=np.bool_)
    table[list(numbers)] = True
    return table


_PACKETS: Final = (G729, GSM, ILBC, OPUS, *G726, *G726_AAL2)
IS_BYTES: Final = _flags(PCMU, PCMA, G722)
IS_PACKETS: Final = _flags(*_PACKETS)
IS_SOUND: Final = IS_BYTES | IS_PACKETS
IS_REST: Final = _flags(*(number | CONTINUES for number in _PACKETS))
"""By codec number: a packet of sound that began before."""
IS_KEY: Final = _flags(KEY, KEY | CONTINUES)
TICKS: Final = np.where(np.arange(256) == OPUS, 6, 1).astype(np.int64)
"""By codec number: how much an RTP timestamp grows in 125 µs. Opus counts 48 kHz (RFC 7587 §4.1), the others 8 kHz."""

_NAMES: Final = (
    {"PCMU": PCMU, "PCMA": PCMA, "TELEPHONE-EVENT": TELEPHONE_EVENT, "G722": G722, "GSM": GSM, "ILBC": ILBC}
    | {"OPUS": OPUS}
    | dict.fromkeys(("G729", "G729A", "G729B", "G729AB"), G729)  # one bit stream; RFC 4856 §2.1.9 knows the first alone
    | {f"{prefix}G726-{8 * bits}": numbers[bits - 2]
       for prefix, numbers in (("", G726), ("AAL2-", G726_AAL2)) for bits in (2, 3, 4, 5)}
)  # fmt: skip
STATIC: Final = {0: PCMU, 2: G726[2], 3: GSM, 8: PCMA, 9: G722, 18: G729}
"""Payload types that mean a codec by themselves (RFC 3551 §6; 2 is RFC 1890's, still sent)."""


def codec_number(encoding: str) -> int:
    """The number of an encoding name as in SDP (``PCMU``, ``pcma/8000``); ABSENT when it is not kept as sound.

    So is comfort noise (RFC 3389): the time it stands for stays empty, which is silence.
    """
    return _NAMES.get(encoding.partition("/")[0].strip().upper(), ABSENT)


def _mulaw() -> npt.NDArray[np.int16]:
    code = ~np.arange(256, dtype=np.uint8)
    magnitude = (((code & 0x0F).astype(np.int32) << 3) + 0x84) << ((code >> 4) & 0x07)
    return np.where(code & 0x80, 0x84 - magnitude, magnitude - 0x84).astype(np.int16)


def _alaw() -> npt.NDArray[np.int16]:
    code = np.arange(256, dtype=np.uint8) ^ np.uint8(0x55)
    exponent = (code >> 4).astype(np.int32) & 0x07
    mantissa = ((code & 0x0F).astype(np.int32) << 4) + 8
    magnitude = np.where(exponent == 0, mantissa, (mantissa + 0x100) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


TABLES: Final = np.stack([np.zeros(256, dtype=np.int16), _mulaw(), _alaw()])
"""G.711: int16 linear samples, by codec number and byte."""


def decode(codec: Bytes, sound: Bytes) -> npt.NDArray[np.int16]:
    """Linear samples of one leg in G.711 alone: ``codec`` (units,), ``sound`` (units, samples a unit); flat, absent
    units silent."""
    used = np.unique(codec)
    if used.size == 1:
        samples: npt.NDArray[np.int16] = TABLES[int(used[0])][sound].reshape(-1)
    else:
        samples = TABLES[np.repeat(codec, sound.shape[1]), sound.reshape(-1)]
    return samples


# --- what packets last ------------------------------------------------------------------------------------------------

_Lasting = Callable[[Ints, Bytes, Bytes], Ints]
_OPUS_LONGEST: Final = 960
_OPUS_FRAME: Final = np.array(
    [*[80, 160, 320, 480] * 3, *[80, 160] * 2, *[20, 40, 80, 160] * 4], dtype=np.int64
)  # by the TOC byte's five bits of configuration, RFC 6716 §3.1


def _frames(size: int, samples: int, rest: int = 0) -> _Lasting:
    """Frames of ``size`` bytes and ``samples``; ``rest`` more bytes may follow, which last nothing."""

    def lasting(sizes: Ints, _first: Bytes, _second: Bytes) -> Ints:
        return np.where((sizes % size == 0) | (sizes % size == rest), sizes // size * samples, 0)

    return lasting


def _ilbc(sizes: Ints, _first: Bytes, _second: Bytes) -> Ints:
    """Frames of 20 ms or of 30 ms (RFC 3952 §3.1)."""
    return np.where(sizes % 38 == 0, sizes // 38 * 160, np.where(sizes % 50 == 0, sizes // 50 * 240, 0))


def _opus(sizes: Ints, first: Bytes, second: Bytes) -> Ints:
    """RFC 6716 §3.1 and §3.2: the TOC byte says how long a frame is and whether there are one, two, or a count."""
    counted = np.where(sizes > 1, second & 0x3F, 0).astype(np.int64)
    count = np.choose(first & 3, [1, 2, 2, counted])
    found = _OPUS_FRAME[first >> 3] * count
    return np.where(found <= _OPUS_LONGEST, found, 0)


_LASTING: Final[dict[int, _Lasting]] = {
    G729: _frames(10, 80, rest=2),  # annex B: the last frame may be a silence descriptor (RFC 3551 §4.5.6)
    GSM: _frames(33, 160),
    ILBC: _ilbc,
    OPUS: _opus,
} | {number: _frames(bits, 8) for numbers in (G726, G726_AAL2) for bits, number in enumerate(numbers, 2)}


def durations(codecs: Bytes, sizes: Ints, first: Bytes, second: Bytes) -> Ints:
    """How long packets last, in samples of 125 µs, by codec, bytes, and their first two bytes.

    0: nothing of sound in them (a silence descriptor alone), or not a packet of this codec. Numbers that are not kept
    as packets last their bytes.
    """
    found = sizes.copy()
    for number in np.unique(codecs):
        lasting = _LASTING.get(int(number))
        if lasting is not None:
            rows = codecs == number
            found[rows] = lasting(sizes[rows], first[rows], second[rows])
    return found


def lasting(slots: Bytes, codecs: Bytes, at: Ints, sizes: Ints) -> Ints:
    """``durations`` of the payloads that lie in ``slots`` (rows, bytes), ``sizes`` bytes of a row from ``at`` on."""
    rows = np.flatnonzero(IS_PACKETS[codecs] & (sizes > 0))
    if rows.size == 0:
        return sizes
    begin, last = at[rows], slots.shape[1] - 1
    found = sizes.copy()
    found[rows] = durations(codecs[rows], sizes[rows], slots[rows, begin], slots[rows, np.minimum(begin + 1, last)])
    return found
