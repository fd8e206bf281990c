"""The codecs that are kept as they come, one byte a sample at 8 kHz, and their decoding by table (ITU-T G.711).

Elsewhere a codec is its number: 0 nothing was received, 1 PCMU, 2 PCMA. Other codecs come with a geometry of their own.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

ABSENT: Final = 0
PCMU: Final = 1
PCMA: Final = 2
TELEPHONE_EVENT: Final = 255
"""Marks RFC 4733 payload types in the receiver's tables; never kept as sound."""

SAMPLE_RATE: Final = 8000
SILENCE: Final = np.array([0x00, 0xFF, 0xD5], dtype=np.uint8)
"""The byte that decodes to silence, by codec number."""

_NAMES: Final = {"PCMU": PCMU, "PCMA": PCMA, "TELEPHONE-EVENT": TELEPHONE_EVENT}


def codec_number(encoding: str) -> int:
    """The number of an encoding name as in SDP (``PCMU``, ``pcma/8000``); ABSENT when it is not kept."""
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
"""int16 linear samples, by codec number and byte."""


def decode(codec: npt.NDArray[np.uint8], sound: npt.NDArray[np.uint8]) -> npt.NDArray[np.int16]:
    """Linear samples of one leg: ``codec`` (units,), ``sound`` (units, samples a unit); flat, absent units silent."""
    used = np.unique(codec)
    if used.size == 1:
        samples: npt.NDArray[np.int16] = TABLES[int(used[0])][sound].reshape(-1)
    else:
        samples = TABLES[np.repeat(codec, sound.shape[1]), sound.reshape(-1)]
    return samples
