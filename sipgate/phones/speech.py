"""Real speech for telephones to say: two voices, arranged as a dialogue.

The voices are Debian's package ``pocketsphinx-testdata``: a LibriVox reader of "Sense and Sensibility" (public domain)
for the callee, and another man calling out playing cards (CMU Sphinx, BSD) for the caller. The caller speaks first,
0.2 s after the start; the sides take turns, and every third turn cuts 0.3 s into the one before it, as people do.
The same length gives the same sound. After about 35 s the material comes round again.
"""

from __future__ import annotations

import wave
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from sipgate.errors import PeerError

RATE = 8000
VOICES = Path("/usr/share/pocketsphinx/test/data")
_CALLER, _CALLEE = "cards/*.wav", "librivox/*.wav"

_LEAD = RATE * 2 // 10  # samples before the first word
_PAUSE = RATE // 4
_OVERLAP = RATE * 3 // 10
_LONGEST_TURN = RATE * 3
_BLOCK = RATE // 20  # over which loudness is judged
_PEAK = 0.5 * 32767

_Samples = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Turn:
    """Who speaks from when to when: side 0 is the caller, 1 the callee; times in seconds from the start."""

    side: int
    begins: float
    ends: float


def write_dialogue(caller_wav: Path, callee_wav: Path, seconds: float, voices: Path = VOICES) -> tuple[Turn, ...]:
    """Write both sides of one conversation, each an 8 kHz 16-bit mono WAV of exactly ``seconds``; say who speaks when.

    Raises PeerError, naming the Debian package to install, when there are no voices.
    """
    length = round(seconds * RATE)
    sides = np.zeros((2, length), np.int16)
    spoken = [cycle(_turns_of(voices, pattern)) for pattern in (_CALLER, _CALLEE)]
    turns: list[Turn] = []
    at, number = _LEAD, 0
    while at < length:
        side = number % 2
        words = next(spoken[side])[: length - at]
        sides[side, at : at + words.size] = words
        turns.append(Turn(side, at / RATE, (at + words.size) / RATE))
        number += 1
        at += words.size + (-_OVERLAP if number % 3 == 0 else _PAUSE)
    for path, samples in zip((caller_wav, callee_wav), sides, strict=True):
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(samples.astype("<i2").tobytes())
    return tuple(turns)


def _turns_of(voices: Path, pattern: str) -> list[_Samples]:
    paths = sorted(voices.glob(pattern))
    if not paths:
        raise PeerError(f"{voices}: no speech there; install it: apt-get install pocketsphinx-testdata")
    return [turn for path in paths for turn in _split(_even(_trim(_decode(path))))]


def _decode(path: Path) -> _Samples:
    """8 kHz mono, by FFmpeg's resampler (low-pass included)."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    blocks: list[npt.NDArray[np.int16]] = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            blocks += [made.to_ndarray()[0] for made in resampler.resample(frame)]
    blocks += [made.to_ndarray()[0] for made in resampler.resample(None)]
    return np.concatenate(blocks).astype(np.int16)


def _trim(samples: _Samples) -> _Samples:
    """Without the near-silence before the first and after the last word."""
    loud = np.flatnonzero(_loudness(samples) > 0.05 * _loudness(samples).max())
    return samples[loud[0] * _BLOCK : (loud[-1] + 1) * _BLOCK]


def _even(samples: _Samples) -> _Samples:
    """All voices equally loud."""
    gain = _PEAK / float(np.abs(samples.astype(np.int32)).max())
    return (samples * gain).astype(np.int16)


def _split(samples: _Samples) -> Iterator[_Samples]:
    """No turn longer than three seconds: cut where it is quietest in the second half of what would be one."""
    while samples.size > _LONGEST_TURN:
        first = _LONGEST_TURN // 2 // _BLOCK
        last = min(_LONGEST_TURN, samples.size - _LONGEST_TURN // 4)  # leaves no crumb behind
        quietest = first + int(_loudness(samples[:last])[first:].argmin())
        cut = quietest * _BLOCK + _BLOCK // 2
        yield samples[:cut]
        samples = samples[cut:]
    yield samples


def _loudness(samples: _Samples) -> npt.NDArray[np.float64]:
    whole = samples[: samples.size // _BLOCK * _BLOCK].reshape(-1, _BLOCK).astype(np.float64)
    loudness: npt.NDArray[np.float64] = np.sqrt((whole**2).mean(axis=1))
    return loudness
