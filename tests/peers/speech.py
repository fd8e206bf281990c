"""Measures of speech: is this what was said, and when did it begin."""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sipgate.phones.speech import RATE, Turn, write_dialogue

_SPEECH = 300
"""A mean amplitude that no pause reaches."""

Samples = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Dialogue:
    """Both sides of a conversation as WAVs, and who speaks when."""

    caller: Path
    callee: Path
    seconds: float
    turns: tuple[Turn, ...]


def dialogue(folder: Path, seconds: float) -> Dialogue:
    """Real speech of so many seconds, in ``folder``."""
    caller, callee = folder / "caller.wav", folder / "callee.wav"
    return Dialogue(caller, callee, seconds, write_dialogue(caller, callee, seconds))


def read_wav(path: Path) -> Samples:
    """An 8 kHz 16-bit mono WAV's samples."""
    with wave.open(str(path), "rb") as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (RATE, 2, 1)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16)


def piecewise(heard: Samples, said: Samples) -> float:
    """The median likeness of the half seconds in which something is said, each where it fits best within 0.5 s: what
    a telephone's jitter buffer moves by a frame on a busy machine is still what was said."""
    half, around = RATE // 2, RATE // 2
    found = []
    for start in range(0, said.size - half + 1, half):
        piece = said[start : start + half]
        if np.abs(piece.astype(np.float64)).mean() > _SPEECH:
            found.append(compare(heard[max(0, start - around) : start + half + around], piece)[1])
    return float(np.median(found))


def compare(heard: Samples, said: Samples) -> tuple[float, float]:
    """(lag, likeness): by how many seconds ``heard`` is later than ``said`` where they fit best, and the normalised
    correlation (1.0: the same but for loudness) over the part that both then have."""
    size = 1 << (heard.size + said.size - 1).bit_length()
    products = np.fft.irfft(
        np.fft.rfft(heard.astype(np.float64), size) * np.conj(np.fft.rfft(said.astype(np.float64), size)), size
    )
    lag = int(products.argmax())
    if lag > size // 2:
        lag -= size
    first, second = heard[max(lag, 0) :].astype(np.float64), said[max(-lag, 0) :].astype(np.float64)
    common = min(first.size, second.size)
    first, second = first[:common], second[:common]
    energy = float(np.sqrt((first @ first) * (second @ second)))
    return lag / RATE, float(first @ second) / energy if energy else 0.0
