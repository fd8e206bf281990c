"""The last seconds of every call's sound, and the one copy that brings a packet to its place.

Writing by position does reordering, duplicates and gaps at once: what never came stays absent. The ring of a call holds
4 s by [call, leg, unit]; windows are cleared before their time comes and sealed after it (``live``).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from sipgate.media.codecs import ABSENT, SILENCE
from sipgate.media.frames import LEGS, UNIT_BYTES, WINDOW_UNITS, Window

RING_WINDOWS: Final = 8
RING_UNITS: Final = RING_WINDOWS * WINDOW_UNITS

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


class Store:
    """The rings of all calls: sound (calls, LEGS, RING_UNITS * 8 bytes) and codec (calls, LEGS, RING_UNITS), uint8."""

    def __init__(self, calls: int = 64) -> None:
        self.sound: Bytes = np.zeros((calls, LEGS, RING_UNITS * UNIT_BYTES), dtype=np.uint8)
        self.codec: Bytes = np.zeros((calls, LEGS, RING_UNITS), dtype=np.uint8)
        self._free = list(range(calls - 1, -1, -1))

    def take(self) -> int:
        """A call's row, empty."""
        if not self._free:
            calls = self.codec.shape[0]
            self.sound = np.concatenate([self.sound, np.zeros_like(self.sound)])
            self.codec = np.concatenate([self.codec, np.zeros_like(self.codec)])
            self._free = list(range(2 * calls - 1, calls - 1, -1))
        call = self._free.pop()
        self.sound[call] = 0
        self.codec[call] = ABSENT
        return call

    def give_back(self, call: int) -> None:
        """The row is no longer used; what it held is overwritten."""
        self.sound[call] = 0
        self.codec[call] = ABSENT
        self._free.append(call)

    def clear(self, call: int, window: int) -> None:
        """Make the ring ready for a window that was never written."""
        at = window % RING_WINDOWS * WINDOW_UNITS
        self.codec[call, :, at : at + WINDOW_UNITS] = ABSENT
        self.sound[call, :, at * UNIT_BYTES : (at + WINDOW_UNITS) * UNIT_BYTES] = 0

    def window(self, call: int, number: int, answered_at_ns: int, lost: tuple[int, int], mixed: bool) -> Window:
        """A view of one window, to be sealed at once."""
        at = number % RING_WINDOWS * WINDOW_UNITS
        sound = self.sound[call, :, at * UNIT_BYTES : (at + WINDOW_UNITS) * UNIT_BYTES]
        shaped = sound.reshape(LEGS, WINDOW_UNITS, UNIT_BYTES)
        return Window(number, self.codec[call, :, at : at + WINDOW_UNITS], shaped, answered_at_ns, lost, mixed)

    def write(
        self,
        rows: Ints,
        codecs: Bytes,
        positions: Ints,
        slots: Bytes,
        packets: Ints,
        at: Ints,
        sizes: Ints,
        low: Ints,
        high: Ints,
    ) -> None:
        """Copy packets to their places. Which of two different sounds for one place stands is not defined.

        All by packet: ``rows`` = call * LEGS + leg, ``positions`` in samples; the payload is ``slots[packets]``'s
        ``sizes`` bytes from ``at`` on. Only samples in [``low``, ``high``) are written (the ring's reach).
        """
        words = (positions % UNIT_BYTES == 0) & (sizes % UNIT_BYTES == 0) & (at % UNIT_BYTES == 0)
        words &= (positions >= low) & (positions + sizes <= high)
        for size in np.unique(sizes):
            same = sizes == size
            chosen = np.flatnonzero(same & words)
            if chosen.size:
                self._write_words(chosen, int(size) // UNIT_BYTES, rows, codecs, positions, slots, packets, at)
            chosen = np.flatnonzero(same & ~words)
            if chosen.size:
                self._write_bytes(chosen, int(size), rows, codecs, positions, slots, packets, at, low, high)

    def _write_words(
        self,
        chosen: Ints,
        units: int,
        rows: Ints,
        codecs: Bytes,
        positions: Ints,
        slots: Bytes,
        packets: Ints,
        at: Ints,
    ) -> None:
        """The usual case: whole milliseconds on whole milliseconds, eight samples a move."""
        ring = (positions[chosen] // UNIT_BYTES % RING_UNITS)[:, np.newaxis] + np.arange(units)
        ring[ring >= RING_UNITS] -= RING_UNITS
        ring += (rows[chosen] * RING_UNITS)[:, np.newaxis]
        source = slots.view(np.uint64)
        offsets = at[chosen] // UNIT_BYTES
        first = int(offsets[0])
        if (offsets == first).all():
            moved = source[packets[chosen], first : first + units]
        else:
            moved = source[packets[chosen][:, np.newaxis], offsets[:, np.newaxis] + np.arange(units)]
        self.sound.reshape(-1).view(np.uint64)[ring] = moved
        self.codec.reshape(-1)[ring] = codecs[chosen][:, np.newaxis]

    def _write_bytes(
        self,
        chosen: Ints,
        size: int,
        rows: Ints,
        codecs: Bytes,
        positions: Ints,
        slots: Bytes,
        packets: Ints,
        at: Ints,
        low: Ints,
        high: Ints,
    ) -> None:
        """Any position, size and payload offset; the rest of a unit that is touched for the first time is silence."""
        samples = positions[chosen][:, np.newaxis] + np.arange(size)
        inside = (samples >= low[chosen][:, np.newaxis]) & (samples < high[chosen][:, np.newaxis])
        ring = samples % (RING_UNITS * UNIT_BYTES) + (rows[chosen] * RING_UNITS * UNIT_BYTES)[:, np.newaxis]
        codec = np.broadcast_to(codecs[chosen][:, np.newaxis], ring.shape)[inside]
        moved = slots[packets[chosen][:, np.newaxis], at[chosen][:, np.newaxis] + np.arange(size)][inside]
        ring = ring[inside]
        units = ring // UNIT_BYTES
        flat_codec, flat_sound = self.codec.reshape(-1), self.sound.reshape(-1, UNIT_BYTES)
        fresh = flat_codec[units] == ABSENT
        flat_sound[units[fresh]] = SILENCE[codec[fresh]][:, np.newaxis]
        flat_codec[units] = codec
        flat_sound.reshape(-1)[ring] = moved
