"""The last seconds of every call's sound, and the one copy that brings a packet to its place.

Writing by position does reordering, duplicates and gaps at once: what never came stays absent. The ring of a call holds
4 s by [call, leg, unit]; windows are cleared before their time comes and sealed after it (``live``).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import Final

import numpy as np
import numpy.typing as npt

from sipgate.media.codecs import ABSENT, SILENCE
from sipgate.media.frames import LEGS, UNIT_BYTES, WINDOW_UNITS, Window

RING_WINDOWS: Final = 8
"""72 kB a call, most of what one costs: ``live`` makes up to 1.5 s of it ready ahead, so sound has a place for 2.5 s
(``place.REACH_NS``), and for as long may the drain be held up."""
RING_UNITS: Final = RING_WINDOWS * WINDOW_UNITS
_RING_BYTES: Final = RING_UNITS * UNIT_BYTES

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Payloads:
    """Payloads to be copied, by array: ``row`` = call * LEGS + leg, ``codec`` number, ``position`` in samples; the
    bytes are ``size`` from ``at`` on in slot ``slot``. Only samples in [``low``, ``high``) are written."""

    row: Ints
    codec: Bytes
    position: Ints
    slot: Ints
    at: Ints
    size: Ints
    low: Ints
    high: Ints

    def only(self, chosen: Ints) -> Payloads:
        """Some of them."""
        return Payloads(*(getattr(self, name)[chosen] for name in self.__slots__))


class Store:
    """The rings of all calls: sound (calls, LEGS, RING_UNITS * 8 bytes) and codec (calls, LEGS, RING_UNITS), uint8."""

    def __init__(self, calls: int = 64) -> None:
        self.sound: Bytes = _rings((calls, LEGS, RING_UNITS * UNIT_BYTES))
        self.codec: Bytes = _rings((calls, LEGS, RING_UNITS))
        self._free = list(range(calls - 1, -1, -1))

    def take(self) -> int:
        """A call's row, empty."""
        if not self._free:
            calls = self.codec.shape[0]
            self.sound, self.codec = _doubled(self.sound), _doubled(self.codec)
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

    def write(self, slots: Bytes, payloads: Payloads) -> None:
        """Copy payloads out of ``slots`` (rows, bytes) to their places.

        Which of two different sounds for one place stands is not defined.
        """
        begin = payloads.position % _RING_BYTES
        whole = (begin % UNIT_BYTES == 0) & (payloads.size % UNIT_BYTES == 0) & (begin + payloads.size <= _RING_BYTES)
        whole &= (payloads.position >= payloads.low) & (payloads.position + payloads.size <= payloads.high)
        first = int(payloads.size[0])
        if whole.all() and (payloads.size == first).all():
            self._write_whole(slots, payloads, first)
            return
        for size in np.unique(payloads.size):
            same = payloads.size == size
            for chosen, write in ((same & whole, self._write_whole), (same & ~whole, self._write_samples)):
                rows = np.flatnonzero(chosen)
                if rows.size:
                    write(slots, payloads.only(rows), int(size))

    def _write_whole(self, slots: Bytes, payloads: Payloads, size: int) -> None:
        """The usual case, whole milliseconds on whole milliseconds: one move a packet.

        The arrays are seen as overlapping items of a packet's size, one at every byte.
        """
        first = payloads.row * _RING_BYTES + payloads.position % _RING_BYTES
        _items(self.sound, size)[first] = _items(slots, size)[payloads.slot * slots.shape[1] + payloads.at]
        units = size // UNIT_BYTES
        codec = _items(self.codec, units)
        unit = first // UNIT_BYTES
        for number in range(1, int(payloads.codec.max()) + 1):
            chosen = unit[payloads.codec == number]
            if chosen.size:
                codec[chosen] = np.full(units, number, np.uint8).view(f"V{units}")

    def _write_samples(self, slots: Bytes, payloads: Payloads, size: int) -> None:
        """Any position and size; the rest of a unit that is touched for the first time is silence."""
        samples = payloads.position[:, np.newaxis] + np.arange(size)
        inside = (samples >= payloads.low[:, np.newaxis]) & (samples < payloads.high[:, np.newaxis])
        ring = (samples % _RING_BYTES + (payloads.row * _RING_BYTES)[:, np.newaxis])[inside]
        codec = np.broadcast_to(payloads.codec[:, np.newaxis], inside.shape)[inside]
        moved = slots[payloads.slot[:, np.newaxis], payloads.at[:, np.newaxis] + np.arange(size)][inside]
        units = ring // UNIT_BYTES
        flat_codec, flat_sound = self.codec.reshape(-1), self.sound.reshape(-1, UNIT_BYTES)
        fresh = flat_codec[units] == ABSENT
        flat_sound[units[fresh]] = SILENCE[codec[fresh]][:, np.newaxis]
        flat_codec[units] = codec
        flat_sound.reshape(-1)[ring] = moved


def _rings(shape: tuple[int, ...]) -> Bytes:
    """Zeros in memory of their own, which the system takes back when they are freed: the heap would keep it."""
    memory = mmap(-1, prod(shape), flags=MAP_PRIVATE | MAP_ANONYMOUS)
    return np.frombuffer(memory, dtype=np.uint8).reshape(shape)


def _doubled(rings: Bytes) -> Bytes:
    """Room for twice as many calls; the new half costs no memory before it is written."""
    found = _rings((2 * len(rings), *rings.shape[1:]))
    found[: len(rings)] = rings
    return found


def _items(array: Bytes, size: int) -> npt.NDArray[np.void]:
    """A contiguous array as items of ``size`` bytes, one beginning at every byte."""
    return np.ndarray((array.size - size + 1,), f"V{size}", buffer=array.data, strides=(1,))
