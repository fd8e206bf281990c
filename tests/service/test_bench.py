"""What a call costs in memory is measured over all that the service keeps for it."""

from __future__ import annotations

import pytest

from sipgate.media.store import RING_WINDOWS
from sipgate.service import bench


@pytest.mark.peer
def test_what_a_call_takes_is_its_ring_and_little_more() -> None:
    figures = bench.run(300, 0.5)
    ring, whole = figures["kb_ring"], figures["kb_per_call"]
    assert ring is not None
    assert whole is not None
    assert ring == pytest.approx(2 * RING_WINDOWS * 500 * 9 / 1000)
    assert 0.9 * ring < whole <= 100
    assert (figures["whole_cpu_ms"] or 0) > 0
