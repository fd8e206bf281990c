"""A hundred calls at once, from a load generator that shares no code with sipgate: nothing lost, lengths exact.

The figures are printed, not asserted: how fast a machine is, is no property of the program.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sipgate.media import baselines, bench, load
from sipgate.media.codecs import PCMU
from sipgate.media.finish import sound
from sipgate.media.frames import FILE_NAME, LiveFile, LiveFileReader, Window
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
    whole = seconds + bench.WARM_UP_SECONDS
    results = [bench.one_run(CALLS, seconds, LOAD, received_whole(whole, torn[run])) for run in range(runs)]
    middle = sorted(results, key=lambda result: result.cpu_seconds)[runs // 2]
    alone = CALLS * seconds / middle.cpu_seconds
    all_in = CALLS * seconds / (middle.cpu_seconds + middle.softirq_seconds)
    with capsys.disabled():
        print(
            f"\n{CALLS} calls of {seconds:g} s, {runs} runs: sent {sum(r.sent for r in results)}, kept "
            f"{sum(r.kept for r in results)}, lost {sum(r.lost for r in results)}; worst |length - call| "
            f"{max(r.length_error_ms for r in results):.3f} ms; median {middle.cpu_seconds:.2f} CPU-s + "
            f"{middle.softirq_seconds:.2f} softirq; calls a core: {alone:.0f} receiver only, "
            f"{all_in:.0f} with softirq; {middle.once_ms:.2f} ms a call once; "
            f"the sender's worst lateness {max(r.behind_ms for r in results):.0f} ms"
        )
    for result, pieces in zip(results, torn, strict=True):
        # A sender that stalls for longer than a network does cannot show where its sound belongs.
        assert not pieces or result.behind_ms > 100
        assert result.sent == CALLS * 2 * int(whole * 50)
        assert (result.lost, result.kernel_drops) == (0, 0)
        assert result.length_error_ms <= 20


def test_a_hundred_calls_for_five_seconds_lose_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    measured(5, 1, capsys)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_hundred_calls_for_thirty_seconds_lose_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    measured(30, 3, capsys)


def test_the_commands_figures_come_from_its_own_sender_whose_content_is_checked() -> None:
    figures = bench.run(5, 1, runs=2, beside=False)
    assert (figures["sent"], figures["lost"], figures["torn"]) == (2 * 5 * 2 * 100, 0, 0)
    assert 0 < figures["calls_per_core_all_in"] <= figures["calls_per_core_with_softirq"]
    assert figures["calls_per_core_with_softirq"] <= figures["calls_per_core_receiver"]
    assert figures["calls_per_core_receiver"] == pytest.approx(5 / figures["cpu_seconds"], rel=0.05)


def test_srtp_is_measured_in_the_same_way_and_its_content_checked_too() -> None:
    figures = bench.run(5, 1, runs=1, beside=False, srtp=True)
    assert (figures["sent"], figures["lost"], figures["torn"]) == (5 * 2 * 100, 0, 0)
    assert figures["srtp"] == "AES_CM_128_HMAC_SHA1_80"
    assert figures["calls_per_core_receiver"] > 0


def test_a_packet_that_is_missing_or_another_streams_is_torn(tmp_path: Path) -> None:
    def written(name: str, spoil: Callable[[np.ndarray[tuple[int, ...], np.dtype[np.void]]], None]) -> int:
        units = np.zeros((2, 25 * load.UNITS), dtype=load.UNIT)
        units["stream"] = [[6], [7]]
        units["number"] = np.arange(25 * load.UNITS) // load.UNITS
        spoil(units)
        codec = np.ones((2, 500), dtype=np.uint8)
        codec[units["none"] == 1] = 0
        sound = units.view(np.uint8).reshape(2, 500, 8)
        (tmp_path / name).mkdir()
        with contextlib.closing(LiveFile(tmp_path / name / FILE_NAME, "00" * 16, bytes(32))) as file:
            file.append(Window(0, codec, sound, 1))
            file.finish(500_000_000, (0, 0))
        with LiveFileReader(tmp_path / name / FILE_NAME, bytes(32)) as live:
            return bench.check_content(3, live)

    def missing(units: np.ndarray[tuple[int, ...], np.dtype[np.void]]) -> None:
        units["none"][0, 40:60] = 1

    def anothers(units: np.ndarray[tuple[int, ...], np.dtype[np.void]]) -> None:
        units["stream"][1, 100] = 6

    assert written("whole", lambda _: None) == 0
    assert written("missing", missing) == 1
    assert written("another's", anothers) == 1


@pytest.mark.parametrize(
    ("name", "program", "measure"),
    [
        ("asyncio", None, lambda: baselines.asyncio_recorder(3)),
        ("gstreamer", "gst-launch-1.0", lambda: baselines.gstreamer(3)),
        ("rtpengine", "rtpengine", lambda: baselines.rtpengine(3)),
    ],
)
def test_another_recorder_is_measured_by_what_it_kept_or_said_to_be_missing(
    name: str, program: str | None, measure: Callable[[], baselines.Baseline], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "SECONDS", 1.0)
    found = measure()
    assert found.name == name
    if program is not None and shutil.which(program) is None:
        assert found.why_not is not None
        assert found.calls_per_core is None
    else:
        assert found.lost is not None
        assert found.lost < 3 * 2 * 100 // 2
        assert found.cpu_seconds > 0
        assert found.calls_per_core is not None
