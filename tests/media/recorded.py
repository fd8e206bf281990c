"""Recordings made packet by packet, without sockets: real payloads through the store into a live file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sipgate.media.codecs import IS_PACKETS, codec_number, durations
from sipgate.media.finish import sound
from sipgate.media.frames import FILE_NAME, LEGS, UNIT_BYTES, WINDOW_SAMPLES, LiveFile, LiveFileReader
from sipgate.media.store import RING_UNITS, RING_WINDOWS, Payloads, Store, packets_fit

KEY = bytes(range(32))
Samples = npt.NDArray[np.int16]


def lasting(number: int, payload: bytes) -> int:
    """Samples of 125 µs."""
    codec, size = np.array([number], np.uint8), np.array([len(payload)], np.int64)
    first, second = (np.array([payload[n] if n < len(payload) else 0], np.uint8) for n in (0, 1))
    return int(durations(codec, size, first, second)[0])


@dataclass
class Recorded:
    """``put`` packets with rising positions (samples of 125 µs, at most a ring apart), then ``finish``."""

    folder: Path
    store: Store = field(default_factory=lambda: Store(2))
    sealed: int = 0
    ready: int = 0

    def __post_init__(self) -> None:
        self.call = self.store.take()
        self.file = LiveFile(self.folder / FILE_NAME, "ab" * 16, KEY)

    def put(self, leg: int, name: str, position: int, payload: bytes) -> int:
        """Write one packet; returns where the next one begins."""
        number = codec_number(name)
        samples = lasting(number, payload)
        self.advance(position + samples)
        slots = np.zeros((1, 2048), np.uint8)
        slots[0, 16 : 16 + len(payload)] = np.frombuffer(payload, np.uint8)
        high = self.ready * WINDOW_SAMPLES
        low = max(0, high - RING_UNITS * UNIT_BYTES)
        assert position >= low
        figures = (self.call * LEGS + leg, number, position, 0, 16, len(payload), low, high, samples)
        columns = [np.array([figure], np.int64) for figure in figures]
        columns[1] = columns[1].astype(np.uint8)
        payloads = Payloads(*columns)  # type: ignore[arg-type]
        assert not IS_PACKETS[number] or packets_fit(payloads).all()
        self.store.write(slots, payloads)
        return position + samples

    def advance(self, position: int) -> None:
        """Seal what is too far behind, make ready what comes."""
        while self.ready * WINDOW_SAMPLES <= position:
            if self.ready - self.sealed == RING_WINDOWS - 1:
                self.seal()
            self.store.clear(self.call, self.ready)
            self.ready += 1

    def seal(self) -> None:
        """Seal one window."""
        self.file.append(self.store.window(self.call, self.sealed, 1, (0, 0), False))
        self.sealed += 1

    def finish(self, length_ms: int) -> LiveFileReader:
        """Hang up."""
        self.advance(length_ms * UNIT_BYTES)
        while self.sealed < self.ready:
            self.seal()
        self.file.finish(length_ms * 1_000_000, (0, 0))
        self.file.close()
        return LiveFileReader(self.folder / FILE_NAME, KEY)


def linear(live: LiveFileReader) -> Samples:
    """(n, 2): all of it."""
    assert live.length_ns is not None
    return np.concatenate(list(sound(live, live.length_ns, 2)))


def likeness(heard: Samples, said: Samples, most_lag: int) -> tuple[int, float]:
    """(lag in samples, correlation) where ``heard`` fits ``said`` best, within ``most_lag`` samples."""
    first, second = heard.astype(np.float64), said.astype(np.float64)
    size = 1 << (len(first) + len(second)).bit_length()
    products = np.fft.irfft(np.fft.rfft(first, size) * np.conj(np.fft.rfft(second, size)), size)
    lags = [*range(-most_lag, most_lag + 1)]
    lag = max(lags, key=lambda lag: float(products[lag]))
    first, second = first[max(lag, 0) :], second[max(-lag, 0) :]
    common = min(len(first), len(second))
    first, second = first[:common], second[:common]
    energy = float(np.sqrt((first @ first) * (second @ second)))
    return lag, float(first @ second) / energy if energy else 0.0


def without_pauses(spoken: Samples) -> Samples:
    """What of it is speech, by tenths of a second."""
    tenths = spoken.reshape(-1, 800)
    loud: npt.NDArray[np.bool_] = np.abs(tenths.astype(np.float64)).mean(axis=1) > 200
    found: Samples = tenths[loud].reshape(-1)
    return found


def at_rate(samples: Samples, rate: int) -> Samples:
    """8 kHz speech at 8, 16 or 48 kHz, ideally interpolated."""
    if rate == 8000:
        return samples
    spectrum, size = np.fft.rfft(samples.astype(np.float64)), len(samples) * rate // 8000
    wide = np.zeros(size // 2 + 1, complex)
    wide[: len(spectrum)] = spectrum * (rate // 8000)
    return np.asarray(np.clip(np.fft.irfft(wide, size), -32768, 32767), dtype=np.int16)


def spans(packets: Sequence[bytes], number: int) -> list[int]:
    """Where each begins when they follow without a break."""
    return [0, *np.cumsum([lasting(number, packet) for packet in packets]).tolist()][:-1]
