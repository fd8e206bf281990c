"""From what was kept to linear samples, after the call: one leg, window by window, whatever codecs it changes between.

Every codec's sound goes to a *lane* of its own rate (8, 16 or 48 kHz), at the place where it was spoken: a decoder
gives its sound out late by a number of samples, which is taken off. Lanes of lower rates are interpolated (windowed
sinc of linear phase, so that nothing is shifted) and added up. What is absent is silence; so is a packet that is not
whole or that its decoder does not take. Decoders keep their state over gaps, and begin anew when the codec changes:
then their first samples, which come of no sound, are left out, so that they do not lie on what was before.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Final, cast

import av
import numpy as np
import numpy.typing as npt
from av.audio.codeccontext import AudioCodecContext
from av.error import FFmpegError

from sipgate.media.codecs import (
    ABSENT,
    CONTINUES,
    G722,
    G726,
    G726_AAL2,
    G729,
    GSM,
    ILBC,
    IS_BYTES,
    IS_KEY,
    IS_PACKETS,
    OPUS,
    SAMPLE_RATE,
    TABLES,
)
from sipgate.media.frames import PACKET_HEAD, UNIT_BYTES, WINDOW_UNITS, blank

Samples = npt.NDArray[np.int16]
Bytes = npt.NDArray[np.uint8]

RATES: Final = {G722: 16_000, OPUS: 48_000}
"""Samples a second that a codec decodes to; 8000 for the others."""
_WINDOWS: Final = 4
"""In a lane: two behind the one that is being decoded, and the one after it."""
_REACH: Final = 16
"""Samples on each side that an interpolated one is made of."""
_DELAYS: Final = {G722: 22, G729: 40, OPUS: 312}
"""By how many samples of its own rate a codec's sound comes out late: its filters, and what encoders look ahead (one of
Opus that is set to the lowest delay, 192 less). Measured: tests/media/test_decoding.py."""


def rate_of(codecs: Iterable[int]) -> int:
    """Samples a second that are needed for all of these codecs."""
    return max((RATES.get(codec, SAMPLE_RATE) for codec in codecs), default=SAMPLE_RATE)


class _Decoder:
    """One codec's state, from its first packet on."""

    def __init__(self, codec: int, size: int) -> None:
        self._codec = codec
        self._context = _context(codec, size)
        self._frame = {G729: 10, GSM: 33, ILBC: 38 if size % 38 == 0 else 50}.get(codec, 0)
        self.delay = _DELAYS.get(codec, 0)
        self.rate = RATES.get(codec, SAMPLE_RATE)
        self.due = 0
        """The sample of the lane at which what it gives next is due, should nothing be missing."""

    def takes(self, codec: int, size: int) -> bool:
        """Whether this goes on where the last packet ended."""
        return codec == self._codec and (codec != ILBC or size % self._frame == 0)

    def decode(self, payload: bytes) -> Samples:
        """Samples of a payload; what cannot be decoded is left out."""
        frames = [payload]
        if self._frame:  # a rest is a silence descriptor, which ffmpeg does not know
            frames = [payload[at : at + self._frame] for at in range(0, len(payload) - self._frame + 1, self._frame)]
        found: list[Samples] = []
        for frame in frames:
            try:
                blocks = self._context.decode(av.Packet(frame))
                found += [np.asarray(block.to_ndarray().reshape(-1), dtype=np.int16) for block in blocks]
            except FFmpegError:
                break  # what follows in the same packet would be out of place
        return np.concatenate(found) if found else np.zeros(0, np.int16)


def _context(codec: int, size: int) -> AudioCodecContext:
    for name, numbers in (("g726le", G726), ("g726", G726_AAL2)):
        if codec in numbers:  # bits a sample can only be said to the demuxer
            options = {"code_size": str(numbers.index(codec) + 2)}
            with av.open(io.BytesIO(bytes(64)), format=name, options=options) as container:
                return container.streams.audio[0].codec_context
    name = {G722: "g722", G729: "g729", GSM: "gsm", ILBC: "ilbc", OPUS: "libopus"}[codec]
    context = cast("AudioCodecContext", av.CodecContext.create(name, "r"))
    context.sample_rate, context.layout = RATES.get(codec, SAMPLE_RATE), "mono"
    if codec == ILBC:  # ffmpeg tells its modes apart by this
        context.bit_rate = 15_200 if size % 38 == 0 else 13_333
    return context


class Leg:
    """Decodes one leg. Give it the windows in order, and two more at the end: each gives the one before the last."""

    BEHIND: Final = 2

    def __init__(self, rate: int, codecs: Iterable[int]) -> None:
        self._rate = rate
        rates = {RATES.get(codec, SAMPLE_RATE) for codec in codecs} | {rate}
        self._lanes = {own: np.zeros(_WINDOWS * WINDOW_UNITS * own // 1000, np.int16) for own in rates}
        empty = blank(0, 0)
        self._held = [(empty.codec[0], empty.sound[0])] * _WINDOWS
        self._decoder: _Decoder | None = None

    def window(self, codec: Bytes, sound: Bytes) -> Samples:
        """Take a window, (units,) and (units, 8 a plane); give the samples of the one before the last that came."""
        self._held = [*self._held[1:], (codec, sound)]
        for lane in self._lanes.values():
            lane[: -len(lane) // _WINDOWS] = lane[len(lane) // _WINDOWS :]
            lane[-len(lane) // _WINDOWS :] = 0
        if self._decoder is not None:
            self._decoder.due -= WINDOW_UNITS * self._decoder.rate // 1000
        self._decode()
        size = WINDOW_UNITS * self._rate // 1000
        mixed = np.zeros(size, np.float32)
        for own, lane in self._lanes.items():
            mixed += _interpolated(lane, len(lane) // _WINDOWS, self._rate // own)
        found = np.clip(np.rint(mixed), -32768, 32767).astype(np.int16)
        found.reshape(WINDOW_UNITS, -1)[IS_KEY[self._held[1][0]]] = 0
        return found

    def _decode(self) -> None:
        """The last window but one, whose packets may reach into the last."""
        (codec, sound), (next_codec, next_sound) = self._held[2:]
        view = np.concatenate([codec, next_codec])
        before = np.concatenate([[ABSENT], codec[:-1]])
        for unit in np.flatnonzero(IS_PACKETS[codec] | (IS_BYTES[codec] & (codec != before))).tolist():
            number = int(codec[unit])
            if IS_PACKETS[number]:
                packet = _packet(view, (sound, next_sound), unit)
                if packet is not None:
                    self._put(number, unit, *packet)
            else:
                others = np.flatnonzero(codec[unit:] != number)
                run = sound[unit : unit + int(others[0]) if others.size else None, :UNIT_BYTES]
                self._put(number, unit, run.tobytes(), len(run))

    def _put(self, codec: int, unit: int, payload: bytes, units: int) -> None:
        """The samples of ``payload`` at their place, of which ``units`` follow before something else does."""
        rate = RATES.get(codec, SAMPLE_RATE)
        begin, skip, delay = (2 * WINDOW_UNITS + unit) * rate // 1000, 0, 0
        most = units * rate // 1000
        if codec < len(TABLES):
            self._decoder = None
            samples: Samples = TABLES[codec][np.frombuffer(payload, np.uint8)]
        else:
            decoder = self._decoder
            if decoder is None or not decoder.takes(codec, len(payload)):
                decoder = self._decoder = _Decoder(codec, len(payload))
                skip = decoder.delay
            elif 0 < decoder.due - begin < rate // 1000:  # Opus may last parts of a unit
                begin = decoder.due
            samples, delay = decoder.decode(payload), decoder.delay
            decoder.due = begin + len(samples)
            if 0 < len(samples) - most < rate // 1000:
                most = len(samples)
        samples = samples[:most]
        self._lanes[rate][begin - delay + skip : begin - delay + len(samples)] = samples[skip:]


def _packet(codec: Bytes, sound: tuple[Bytes, Bytes], unit: int) -> tuple[bytes, int] | None:
    """The payload of the packet that begins in a unit of two windows, and how many units are its own; None: torn."""
    head = sound[0][unit]
    size, span = int(head[0]) << 8 | int(head[1]), int(head[2])
    own = codec[unit + 1 : unit + max(1, span)] == codec[unit] | CONTINUES
    count = 1 + (len(own) if own.all() else int(np.argmin(own)))
    needed = min(span, -(-(PACKET_HEAD + size) // UNIT_BYTES))
    if size == 0 or count < needed or (count < span and codec[unit + count] == ABSENT):
        return None
    mine = [
        window[max(0, unit - at) : max(0, unit + span - at)]
        for at, window in zip((0, WINDOW_UNITS), sound, strict=True)
    ]
    planes = min(window.shape[1] for window in mine if len(window)) // UNIT_BYTES
    raw = b"".join(
        window[:, plane * UNIT_BYTES : (plane + 1) * UNIT_BYTES].tobytes() for plane in range(planes) for window in mine
    )
    payload = raw[PACKET_HEAD : PACKET_HEAD + size]
    return (payload, count) if len(payload) == size else None


def _interpolated(lane: Samples, begin: int, times: int) -> npt.NDArray[np.float32]:
    """The lane's second window at ``times`` its rate."""
    size = len(lane) // _WINDOWS
    if times == 1:
        return lane[begin : begin + size].astype(np.float32)
    held = lane[begin - _REACH : begin + size + _REACH].astype(np.float32)
    found = np.zeros((size, times), np.float32)
    if held.any():
        for phase, taps in enumerate(_taps(times)):
            found[:, phase] = np.convolve(held, taps, "valid")[:size]
    return found.reshape(-1)


def _taps(times: int) -> Iterator[npt.NDArray[np.float32]]:
    """By phase: the weights of the samples around the one whose place is phase / times before the one made."""
    for phase in range(times):
        distance = np.arange(-_REACH, _REACH + 1) + phase / times
        weights = np.sinc(distance) * np.kaiser(2 * _REACH + 1, 6)
        yield (weights / weights.sum()).astype(np.float32)
