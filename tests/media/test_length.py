"""A recording is as long as its call, to 20 ms, and what was said lies where it was said, whatever the network does.

In simulated time: minutes pass in seconds. Each side says a loud syllable of 0.2 s every 5 s and is quiet between.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sipgate.config import Media
from sipgate.core.events import Side
from sipgate.media.place import TOLERANCE_NS
from tests.media.simulated import Heard, record

LOUD, QUIET = bytes([0x80]) * 160, bytes([0xFF]) * 160  # PCMU: full scale, silence
PACKET = 0.02
NETWORK = 0.005
"""Seconds from the sender to us."""
EXACT = 0.020


def speaking(seconds: float, begin: int = 0, ssrc: int = 1) -> list[Heard]:
    """What one side sends from the answer on, as the sender's clock ticks."""
    return [
        Heard(number * PACKET + NETWORK, begin + number, number * 160, LOUD if number % 250 < 10 else QUIET, ssrc)
        for number in range(int(seconds / PACKET))
    ]


def syllables(seconds: float) -> list[float]:
    """When each begins."""
    return [float(at) for at in range(0, int(seconds), 5)]


def lossy(packets: list[Heard]) -> list[Heard]:
    """1 %, never the first of a syllable: what is not there cannot be found."""
    return [p for p in packets if p.sequence % 250 == 0 or random.Random(p.sequence).random() >= 0.01]


def reordered(packets: list[Heard]) -> list[Heard]:
    """Every fifth packet is 50 ms late."""
    return [replace(p, at=p.at + 0.05) if p.sequence % 5 == 3 else p for p in packets]


def repeated(packets: list[Heard]) -> list[Heard]:
    """Every third comes again, 30 ms later."""
    return packets + [replace(p, at=p.at + 0.03) for p in packets if p.sequence % 3 == 0]


def discontinuous(packets: list[Heard]) -> list[Heard]:
    """DTX: silence is not sent, and takes no sequence number (RFC 3551 §4.1)."""
    said = [p for p in packets if p.sound == LOUD]
    return [replace(p, sequence=number) for number, p in enumerate(said)]


def jittery(packets: list[Heard]) -> list[Heard]:
    """Up to 40 ms later than the fastest, at random."""
    return [replace(p, at=p.at + random.Random(p.sequence).random() * 0.04) for p in packets]


def of_changing_ssrc(packets: list[Heard]) -> list[Heard]:
    """Another source every 7 s, each with numbers of its own."""
    return [
        replace(p, ssrc=1 + part, sequence=p.sequence * 3 + 77 * part, stamp=p.stamp + 123_456_789 * part)
        for p in packets
        for part in [int(p.at / 7)]
    ]


def drifting(parts: float) -> Callable[[list[Heard]], list[Heard]]:
    """The sender's clock is fast by so much: it sends earlier and earlier."""
    return lambda packets: [replace(p, at=NETWORK + (p.at - NETWORK) / (1 + parts)) for p in packets]


@pytest.mark.parametrize(
    "happens",
    [lossy, reordered, repeated, discontinuous, jittery, of_changing_ssrc],
    ids=["1 % loss", "reordering", "duplicates", "DTX", "jitter", "changes of SSRC"],
)
def test_what_a_network_does_moves_nothing(
    happens: Callable[[list[Heard]], list[Heard]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = 60.017
    sides = {Side.CALLER: happens(speaking(seconds)), Side.CALLEE: speaking(seconds)}
    found = record(sides, seconds, tmp_path, monkeypatch)
    assert abs(found.seconds() - seconds) <= EXACT
    for side in Side:
        assert found.bursts(side.value) == pytest.approx(syllables(seconds), abs=0.045), side
    if happens is not jittery:
        assert found.bursts(0) == pytest.approx([at + NETWORK for at in syllables(seconds)], abs=EXACT)


@pytest.mark.parametrize("parts", [100e-6, -100e-6], ids=["fast", "slow"])
def test_a_clock_that_drifts_by_100_ppm_over_25_minutes_neither_lengthens_nor_shifts(
    parts: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """150 ms apart by then: the anchor is renewed on the way, and no sound is further from its arrival than that."""
    seconds = 1500.0
    sides = {Side.CALLER: drifting(parts)(speaking(seconds + 1)), Side.CALLEE: speaking(seconds)}
    found = record(sides, seconds, tmp_path, monkeypatch)
    assert abs(found.seconds() - seconds) <= EXACT
    spoken = [at / (1 + parts) + NETWORK for at in syllables(seconds)]
    assert found.bursts(0)[: len(spoken)] == pytest.approx(spoken, abs=TOLERANCE_NS / 1e9 + EXACT)
    assert found.bursts(1) == pytest.approx([at + NETWORK for at in syllables(seconds)], abs=EXACT)


@pytest.mark.parametrize("clock", ["goes on", "stands still", "is another"])
def test_a_hold_of_ten_minutes_keeps_its_duration(clock: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a packet on either side: as long as the default of media.silence_seconds allows, and more."""
    seconds, begins, ends = 640.0, 20.0, 620.0
    sides = {}
    for side in Side:
        packets = speaking(seconds)
        after = [p for p in packets if p.at >= ends]
        if clock == "stands still":
            lost = int((ends - begins) / PACKET)
            after = [replace(p, sequence=p.sequence - lost, stamp=p.stamp - 160 * lost) for p in after]
        elif clock == "is another":
            after = [replace(p, ssrc=9, sequence=p.sequence + 5, stamp=p.stamp + 99_999_999) for p in after]
        sides[side] = [p for p in packets if p.at < begins] + after
    found = record(sides, seconds, tmp_path, monkeypatch, silence=Media().silence_seconds)
    assert found.told == []
    assert abs(found.seconds() - seconds) <= EXACT
    expected = [at + NETWORK for at in syllables(seconds) if at < begins or at >= ends]
    for side in Side:
        assert found.bursts(side.value) == pytest.approx(expected, abs=EXACT)
