"""A recording's windows: what comes after its window was sealed, on a machine that does much else."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sipgate.media.codecs import PCMU
from sipgate.media.drain import Drain
from sipgate.media.frames import FILE_NAME, WINDOW_UNITS, LiveFileReader
from sipgate.media.live import LiveRecording
from sipgate.media.store import RING_WINDOWS

SECOND = 1_000_000_000


def test_sound_that_came_after_its_window_was_sealed_is_not_cleared_before_it_is_sealed_again(tmp_path: Path) -> None:
    """The drain was held up, so the ring is made ready far ahead in the middle of a round."""
    drain, key = Drain(4), bytes(32)
    live = LiveRecording.create("0" * 32, drain, tmp_path, key, 0)
    live.begin(0, 0)
    live.advance(1_600_000_000)  # windows 0 to 2 are sealed
    at = 2 % RING_WINDOWS * WINDOW_UNITS
    drain.store.codec[live.call, 0, at : at + WINDOW_UNITS] = PCMU
    drain.late.add((live.call, 2))
    live.make_ready((RING_WINDOWS + 1) * SECOND // 2 - SECOND // 10)  # window 2's place is now another's
    live.finish(5 * SECOND)
    with LiveFileReader(tmp_path / FILE_NAME, key) as kept:
        assert np.all(kept.window(2).codec[0] == PCMU)
        assert not kept.window(2 + RING_WINDOWS).codec.any()
