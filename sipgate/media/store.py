"""The last seconds of every call's sound, and the one copy that brings a packet to its place.

Writing by position does reordering, duplicates and gaps at once: what never came stays absent. The ring of a call holds
4 s by [call, leg, unit]; windows are cleared before their time comes and sealed after it (``live``).

A packet of a codec with packets lies whole in the units that it lasts, as ``frames`` describes. Opus alone can be
larger (above 62 kbit/s); no offer tells beforehand, and what a recorder answers reaches no telephone, so it cannot ask
for less. So a call whose packets outgrow their units is given further rows, *planes*, when the first such packet comes:
plane n holds the packet's bytes from n times what its units hold on. Who sends no such packets pays nothing for them.

Whatever is written later stands, wholly: every packet begins with its own head, so what is left of one that was written
over shows (``decoding``). Where a telephone key was pressed (``mask``) nothing is left, nor comes later.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import Final

import numpy as np
import numpy.typing as npt

from sipgate.media.codecs import ABSENT, CONTINUES, IS_KEY, IS_PACKETS, IS_REST, KEY, SILENCE
from sipgate.media.frames import LEGS, PACKET_HEAD, UNIT_BYTES, WINDOW_UNITS, Window

RING_WINDOWS: Final = 8
"""72 kB a call, most of what one costs: ``live`` makes up to 1.5 s of it ready ahead, so sound has a place for 2.5 s
(``place.REACH_NS``), and for as long may the drain be held up."""
RING_UNITS: Final = RING_WINDOWS * WINDOW_UNITS
_RING_BYTES: Final = RING_UNITS * UNIT_BYTES
MOST_PLANES: Final = 9
"""Opus' largest frame, 1275 bytes in 20 ms (RFC 6716 §3.2.1), needs eight."""
_MOST_MASKS: Final = 64
LONGEST_PACKET: Final = 255
"""Units; it is written in one byte."""

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Payloads:
    """Payloads to be copied, by array: ``row`` = call * LEGS + leg, ``codec`` number, ``position`` and what they last
    (``samples``) in samples of 125 µs; the bytes are ``size`` from ``at`` on in slot ``slot``. Only samples in
    [``low``, ``high``) are written; packets that are not wholly in there, not at all."""

    row: Ints
    codec: Bytes
    position: Ints
    slot: Ints
    at: Ints
    size: Ints
    low: Ints
    high: Ints
    samples: Ints

    def only(self, chosen: Ints) -> Payloads:
        """Some of them."""
        return Payloads(*(getattr(self, name)[chosen] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class _Mask:
    """A telephone key on a row: ``start``, and the units [``begin``, ``end``) of which no sound is kept."""

    start: int
    begin: int
    end: int


class Store:
    """The rings of all calls: sound (calls, LEGS, RING_UNITS * 8 bytes) and codec (calls, LEGS, RING_UNITS), uint8."""

    def __init__(self, calls: int = 64) -> None:
        self.sound: Bytes = _rings((calls, LEGS, RING_UNITS * UNIT_BYTES))
        self.codec: Bytes = _rings((calls, LEGS, RING_UNITS))
        self._free = list(range(calls - 1, -1, -1))
        self._planes: dict[int, list[int]] = {}
        self._masks: dict[int, list[_Mask]] = {}

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
        for row in (call, *self._planes.pop(call, ())):
            self.sound[row] = 0
            self.codec[row] = ABSENT
            self._free.append(row)
        for leg in range(LEGS):
            self._masks.pop(call * LEGS + leg, None)

    def clear(self, call: int, window: int) -> None:
        """Make the ring ready for a window that was never written."""
        at = window % RING_WINDOWS * WINDOW_UNITS
        self.codec[call, :, at : at + WINDOW_UNITS] = ABSENT
        for row in (call, *self._planes.get(call, ())):
            self.sound[row, :, at * UNIT_BYTES : (at + WINDOW_UNITS) * UNIT_BYTES] = 0
        over = (window + 1 - RING_WINDOWS) * WINDOW_UNITS
        for row in range(call * LEGS, (call + 1) * LEGS):
            if row in self._masks:
                held = (replace(mask, begin=max(mask.begin, over)) for mask in self._masks[row])
                self._masks[row] = [mask for mask in held if mask.begin < mask.end]

    def window(self, call: int, number: int, answered_at_ns: int, lost: tuple[int, int], mixed: bool) -> Window:
        """One window, to be sealed at once: a view of the ring where the call has no planes."""
        at = number % RING_WINDOWS * WINDOW_UNITS
        where = slice(at * UNIT_BYTES, (at + WINDOW_UNITS) * UNIT_BYTES)
        planes = [
            self.sound[row, :, where].reshape(LEGS, WINDOW_UNITS, UNIT_BYTES)
            for row in (call, *self._planes.get(call, ()))
        ]
        shaped = planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)
        return Window(number, self.codec[call, :, at : at + WINDOW_UNITS], shaped, answered_at_ns, lost, mixed)

    def write(self, slots: Bytes, payloads: Payloads) -> None:
        """Copy payloads out of ``slots`` (rows, bytes) to their places.

        Which of two different sounds for one place stands is not defined. Packets must fit (``packets_fit``).
        """
        rows = payloads.row if self._masks else None
        packets = IS_PACKETS[payloads.codec]
        if packets.any():
            self._write_packets(slots, payloads.only(np.flatnonzero(packets)))
            payloads = payloads.only(np.flatnonzero(~packets))
        self._write_bytes(slots, payloads)
        if rows is not None:
            for row in self._masks.keys() & set(rows.tolist()):
                for mask in self._masks[row]:
                    self._apply(row, mask)

    def mask(self, row: int, start: int, begin: int, end: int) -> tuple[int, int]:
        """A telephone key from unit ``start`` of the call on: nothing of [``begin``, ``end``) is kept, now or later.

        The ring must be ready for these units, fewer than it holds. Returns which units this changed at most.
        """
        mask = _Mask(start, begin, end)
        masks = self._masks.setdefault(row, [])
        if mask not in masks:
            masks[:] = [known for known in masks if known.start != start or known.end > end]
            masks.append(mask)
            if len(masks) > _MOST_MASKS:  # nobody presses so many: one for the first two, and all between them
                first, second = masks[:2]
                masks[:2] = [_Mask(first.start, min(first.begin, second.begin), max(first.end, second.end))]
        return self._apply(row, mask)

    def _apply(self, row: int, mask: _Mask) -> tuple[int, int]:
        """Packets that reach into the masked units go whole: their bytes lie at their beginnings."""
        codec = self.codec.reshape(-1, RING_UNITS)[row]
        first, last = mask.begin, mask.end
        while IS_REST[codec[first % RING_UNITS]] and mask.begin - first < LONGEST_PACKET:
            first -= 1
        while IS_REST[codec[last % RING_UNITS]] and last - mask.end < LONGEST_PACKET:
            last += 1
        units = np.arange(first, last)
        inside = units[mask.begin - first : mask.end - first] % RING_UNITS
        units %= RING_UNITS
        keys = inside[IS_KEY[codec[inside]]]
        known = codec[keys]
        codec[units] = ABSENT
        codec[inside] = KEY | CONTINUES
        codec[keys] = known
        if mask.begin <= mask.start < mask.end:
            codec[mask.start % RING_UNITS] = KEY
        call, leg = divmod(row, LEGS)
        for plane in (call, *self._planes.get(call, ())):
            self.sound[plane, leg].reshape(RING_UNITS, UNIT_BYTES)[units] = 0
        return first, last

    def _write_bytes(self, slots: Bytes, payloads: Payloads) -> None:
        begin = payloads.position % _RING_BYTES
        whole = (begin % UNIT_BYTES == 0) & (payloads.size % UNIT_BYTES == 0) & (begin + payloads.size <= _RING_BYTES)
        whole &= (payloads.position >= payloads.low) & (payloads.position + payloads.size <= payloads.high)
        kinds = payloads.size << 8 | payloads.codec
        if whole.all() and (kinds == kinds[:1]).all():
            if len(kinds):
                self._write_whole(slots, payloads, int(kinds[0]) >> 8)
            return
        for kind in np.unique(kinds):
            same, size = kinds == kind, kind >> 8
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
        _items(self.codec, units)[first // UNIT_BYTES] = np.full(units, payloads.codec[0], np.uint8).view(f"V{units}")

    def _write_samples(self, slots: Bytes, payloads: Payloads, size: int) -> None:
        """Any position and size; the rest of a unit that held none of this codec is silence."""
        samples = payloads.position[:, np.newaxis] + np.arange(size)
        inside = (samples >= payloads.low[:, np.newaxis]) & (samples < payloads.high[:, np.newaxis])
        ring = (samples % _RING_BYTES + (payloads.row * _RING_BYTES)[:, np.newaxis])[inside]
        codec = np.broadcast_to(payloads.codec[:, np.newaxis], inside.shape)[inside]
        moved = slots[payloads.slot[:, np.newaxis], payloads.at[:, np.newaxis] + np.arange(size)][inside]
        units = ring // UNIT_BYTES
        flat_codec, flat_sound = self.codec.reshape(-1), self.sound.reshape(-1, UNIT_BYTES)
        fresh = flat_codec[units] != codec
        flat_sound[units[fresh]] = SILENCE[codec[fresh]][:, np.newaxis]
        flat_codec[units] = codec
        flat_sound.reshape(-1)[ring] = moved

    def _write_packets(self, slots: Bytes, payloads: Payloads) -> None:
        spans = _spans(payloads.position, payloads.samples)
        begin = payloads.position // UNIT_BYTES % RING_UNITS
        usual = (payloads.size + PACKET_HEAD <= spans * UNIT_BYTES) & (begin + spans <= RING_UNITS)
        usual &= payloads.slot * slots.shape[1] + payloads.at + spans * UNIT_BYTES <= slots.size
        kinds = spans << 8 | payloads.codec
        for kind in np.unique(kinds[usual]):
            self._write_alike(slots, payloads.only(np.flatnonzero(usual & (kinds == kind))), int(kind >> 8))
        for row in np.flatnonzero(~usual):
            self._write_packet(slots, payloads.only(np.array([row])), int(spans[row]))

    def _write_alike(self, slots: Bytes, payloads: Payloads, span: int) -> None:
        """The usual case, of one codec and duration: one move a packet. Behind its end the units are zero."""
        width = span * UNIT_BYTES
        room = width - PACKET_HEAD
        held = _items(slots, room)[payloads.slot * slots.shape[1] + payloads.at].view(np.uint8).reshape(-1, room)
        moved = np.empty((len(held), width), dtype=np.uint8)
        moved[:, 0], moved[:, 1], moved[:, 2] = payloads.size >> 8, payloads.size & 0xFF, span
        own = np.arange(room, dtype=np.int16) < payloads.size.astype(np.int16)[:, np.newaxis]
        np.multiply(held, own.view(np.uint8), out=moved[:, PACKET_HEAD:])
        first = payloads.row * RING_UNITS + payloads.position // UNIT_BYTES % RING_UNITS
        _items(self.sound, width)[first * UNIT_BYTES] = moved.view(f"V{width}").reshape(-1)
        _items(self.codec, span)[first] = _marks(int(payloads.codec[0]), span).view(f"V{span}")

    def _write_packet(self, slots: Bytes, payloads: Payloads, span: int) -> None:
        """One that goes over the ring's end, or is larger than its units."""
        row, codec, position, slot, at, size = (int(getattr(payloads, name)[0]) for name in payloads.__slots__[:6])
        planes = -(-(size + PACKET_HEAD) // (span * UNIT_BYTES))
        raw = np.zeros((planes, span, UNIT_BYTES), dtype=np.uint8)
        head = np.array([size >> 8, size & 0xFF, span], dtype=np.uint8)
        raw.reshape(-1)[: PACKET_HEAD + size] = np.concatenate([head, slots[slot, at : at + size]])
        call, leg = divmod(row, LEGS)
        units = (position // UNIT_BYTES + np.arange(span)) % RING_UNITS
        mine = self._planes.get(call, [])
        while len(mine) < planes - 1:
            mine = [*mine, self.take()]
            self._planes[call] = mine
        for plane, held in zip((call, *mine), raw, strict=False):
            self.sound[plane, leg].reshape(RING_UNITS, UNIT_BYTES)[units] = held
        self.codec[call, leg, units] = _marks(codec, span)


def packets_fit(payloads: Payloads) -> npt.NDArray[np.bool_]:
    """Which of these, if they are packets, can be kept: wholly in [low, high), and not too large."""
    spans = _spans(payloads.position, payloads.samples)
    inside = (payloads.position >= payloads.low) & (payloads.position + payloads.samples <= payloads.high)
    room = spans * UNIT_BYTES * MOST_PLANES - PACKET_HEAD
    fit: npt.NDArray[np.bool_] = inside & (spans > 0) & (spans <= LONGEST_PACKET) & (payloads.size <= room)
    return fit


def _spans(position: Ints, samples: Ints) -> Ints:
    """Units that packets take: Opus' of 2.5 ms two and three in turn."""
    return (position + samples) // UNIT_BYTES - position // UNIT_BYTES


def _marks(codec: int, span: int) -> Bytes:
    marks = np.full(span, codec | CONTINUES, dtype=np.uint8)
    marks[0] = codec
    return marks


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
