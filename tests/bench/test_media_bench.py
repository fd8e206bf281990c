"""A hundred calls at once, from a load generator that shares no code with sipgate: nothing lost, lengths exact.

The figures are printed, not asserted: how fast a machine is, is no property of the program.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest

from sipgate.media import bench
from sipgate.media.codecs import PCMU
from sipgate.media.finish import sound
from sipgate.media.frames import LiveFileReader
from tests.bench.rtp_load import spoken

LOAD = (sys.executable, "-m", "tests.bench.rtp_load")
CALLS = 100


def received_whole(seconds: float, torn: list[int]) -> bench.Inspect:
    """Checks of each call: the sound exactly as long as the call; in ``torn`` those not bit for bit in one piece."""

    def inspect(call: int, live: LiveFileReader) -> None:
        assert live.length_ns is not None
        windows = list(live.windows(live.length_ns))
        for leg in range(2):
            codec = np.concatenate([window.codec[leg] for window in windows])
            held = np.concatenate([window.sound[leg] for window in windows])[codec == PCMU]
            present = np.flatnonzero(codec)
            if held.tobytes() != spoken(2 * call + leg, seconds) or present[-1] - present[0] + 1 != len(present):
                torn.append(call)
        samples = sum(len(block) for block in sound(live, live.length_ns, 2))
        assert abs(samples / 8000 - live.length_ns / 1e9) < 0.020
        assert live.lost == (0, 0)

    return inspect


def measured(seconds: float, runs: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Run, print, and assert what must be so on any machine."""
    torn: list[list[int]] = [[] for _ in range(runs)]
    results = [bench.one_run(CALLS, seconds, LOAD, received_whole(seconds, torn[run])) for run in range(runs)]
    middle = sorted(results, key=lambda result: result.cpu_seconds)[runs // 2]
    alone = CALLS * seconds / middle.cpu_seconds
    all_in = CALLS * seconds / (middle.cpu_seconds + middle.softirq_seconds)
    with capsys.disabled():
        print(
            f"\n{CALLS} calls of {seconds:g} s, {runs} runs: sent {sum(r.sent for r in results)}, kept "
            f"{sum(r.kept for r in results)}, lost {sum(r.lost for r in results)}; worst |length - call| "
            f"{max(r.length_error_ms for r in results):.3f} ms; median {middle.cpu_seconds:.2f} CPU-s + "
            f"{middle.softirq_seconds:.2f} softirq; calls a core: {alone:.0f} receiver only, "
            f"{all_in:.0f} with softirq; {middle.finish_ms:.2f} ms a hangup; "
            f"the sender's worst lateness {max(r.behind_ms for r in results):.0f} ms"
        )
    for result, pieces in zip(results, torn, strict=True):
        # A sender that stalls for longer than a network does cannot show where its sound belongs.
        assert not pieces or result.behind_ms > 100
        assert result.sent == CALLS * 2 * int(seconds * 50)
        assert (result.lost, result.kernel_drops) == (0, 0)
        assert result.length_error_ms <= 20


def test_a_hundred_calls_for_five_seconds_lose_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    measured(5, 1, capsys)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_hundred_calls_for_thirty_seconds_lose_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    measured(30, 3, capsys)


def test_the_commands_figures_come_from_its_own_sender() -> None:
    figures = bench.run(5, 1, runs=2)
    assert (figures["sent"], figures["lost"]) == (2 * 5 * 2 * 50, 0)
    assert 0 < figures["calls_per_core_with_softirq"] <= figures["calls_per_core_receiver_only"]
