"""What the quickstart measures, from outside: the exported film decoded and read, every written file searched."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from deploy.demo.bars import read_bars
from deploy.demo.programs import DemoError

_PADDING_BYTES = 1  # a VP9 show_existing_frame packet: repeats a picture, is none of its own


@dataclass(frozen=True, slots=True)
class Film:
    """What is in an exported WebM. Times in Unix seconds, read off the time bars in the pictures."""

    first_frame_at: float
    last_frame_at: float
    frames: int
    audio_seconds: float
    unread: int


def read_film(export: Path) -> Film:
    """Decode the whole file; raises DemoError when it holds no film with readable bars, or no stereo sound."""
    with av.open(str(export)) as container:
        if not container.streams.video or not container.streams.audio:
            raise DemoError(f"{export}: lacks film or sound")
        if container.streams.audio[0].channels != 2:
            raise DemoError(f"{export}: the sound is not stereo")
        frames = sum(p.size > _PADDING_BYTES for p in container.demux(video=0))
    with av.open(str(export)) as container:
        times = [read_bars(np.asarray(frame.to_ndarray(format="rgb24"))) for frame in container.decode(video=0)]
    with av.open(str(export)) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
        rate = container.streams.audio[0].rate
    seen = [t for t in times if t is not None]
    if not seen:
        raise DemoError(f"{export}: no frame shows readable time bars")
    return Film(min(seen) / 1e9, max(seen) / 1e9, frames, samples / rate, len(times) - len(seen))


def written_files(folders: Iterable[Path]) -> Iterator[Path]:
    """Every regular file below."""
    for folder in folders:
        yield from (path for path in sorted(folder.rglob("*")) if path.is_file())


def traces(words: Iterable[str], folders: Iterable[Path], pages: Iterable[bytes]) -> int:
    """How often any of ``words`` stands, as a whole token, in any byte of the files and pages (ASCII or UTF-16)."""
    patterns = [pattern for word in words for pattern in _patterns(word)]
    haystacks = [*(path.read_bytes() for path in written_files(folders)), *pages]
    return sum(len(pattern.findall(hay)) for hay in haystacks for pattern in patterns)


def _patterns(word: str) -> Iterator[re.Pattern[bytes]]:
    yield re.compile(rb"(?<![0-9A-Za-z])" + re.escape(word.encode()) + rb"(?![0-9A-Za-z])")
    yield re.compile(re.escape(word.encode("utf-16-le")))
