"""Time written as black and white bars, so that a film of a window shows when each of its pictures was painted.

32 columns x 2 rows of cells, 16 x 16 pixels each, at ``ORIGIN`` of the window: 48 bits of Unix time in units of 100 µs,
then 16 bits of CRC-16/CCITT over them, most significant bit first; white is 1. A read that catches a cell neither black
nor white, or a sum that is wrong (half old, half new), gives None. Large cells survive VP9's 4:2:0 and quantisation.

``cells`` needs the standard library alone, for Debian's own Python; ``read_bars`` needs numpy.
"""

from __future__ import annotations

from binascii import crc_hqx
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

ORIGIN = (16, 16)
CELL = 16
COLUMNS = 32
ROWS = 2
UNIT_NS = 100_000
_TIME_BITS, _SUM_BITS = 48, 16
_BLACK, _WHITE = 80, 176


def cells(time_ns: int) -> list[bool]:
    """The cells for a Unix time, row by row; True is white."""
    units = time_ns // UNIT_NS
    word = units << _SUM_BITS | crc_hqx(units.to_bytes(_TIME_BITS // 8, "big"), 0xFFFF)
    bits = _TIME_BITS + _SUM_BITS
    return [bool(word >> (bits - 1 - place) & 1) for place in range(bits)]


def read_bars(frame: npt.NDArray[np.uint8], origin: tuple[int, int] = ORIGIN) -> int | None:
    """The Unix time in ns that a picture (height x width x 3, 8 bits) shows, rounded down to 100 µs; None: none."""
    left, top = origin
    width, height, inset = COLUMNS * CELL, ROWS * CELL, CELL // 4
    area = frame[top : top + height, left : left + width].mean(axis=2)
    if area.shape != (height, width):
        return None
    inner = area.reshape(ROWS, CELL, COLUMNS, CELL)[:, inset:-inset, :, inset:-inset]
    darkest, lightest = inner.min(axis=(1, 3)).ravel(), inner.max(axis=(1, 3)).ravel()
    white = darkest > _WHITE
    if not (white | (lightest < _BLACK)).all():
        return None
    word = 0
    for bit in white.tolist():
        word = word << 1 | bit
    units = word >> _SUM_BITS
    if crc_hqx(units.to_bytes(_TIME_BITS // 8, "big"), 0xFFFF) != word & 0xFFFF:
        return None
    return units * UNIT_NS
