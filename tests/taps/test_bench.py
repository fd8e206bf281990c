"""``sipgate bench sip``: its figures come from real calls over a real socket."""

from __future__ import annotations

import pytest

from sipgate.errors import PeerError
from sipgate.taps import bench


@pytest.mark.peer
def test_a_small_run_gives_the_promised_figures() -> None:
    figures = bench.run(calls=200, seconds=1.0, held=150)
    assert {"calls_per_second_per_core", "p99_ms_at_200", "kb_sip"} <= figures.keys()
    assert figures["calls_per_second_per_core"] == pytest.approx(200 / figures["cpu_seconds"], rel=0.02)
    assert figures["p50_ms_at_200"] <= figures["p99_ms_at_200"]
    assert 0 <= figures["kb_sip"] <= 30


def test_a_load_that_fails_is_an_error_and_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "LOAD", ("false",))
    with pytest.raises(PeerError, match="ended early"):
        bench.run(calls=1, seconds=1.0, held=1)
