"""Nobody drains for a while, one disk write takes seconds, a call's news comes late: what the kernel holds is kept.

In simulated time, every packet's sound another: what is kept is compared bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sipgate.core.events import MediaFailed, Side
from sipgate.errors import MediaError
from sipgate.media.drain import Drain
from sipgate.media.frames import MOST_LOST, LiveFile
from sipgate.media.live import LiveRecording
from sipgate.media.receiver import Silent
from sipgate.media.sinks import LONGEST_NS, QUIET_NS
from tests.media.conftest import noise
from tests.media.simulated import SECOND, START, Call, Heard, Simulation, simulated

CALLS = 6
"""More than fit into one pass, when all that waited 10 s is read."""


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulation]:
    with simulated(monkeypatch) as simulation:
        yield simulation


def talk(seconds: float, begins: float = 0.001) -> list[Heard]:
    """One side of a call: a packet every 20 ms."""
    return [Heard(begins + n * 0.02, n, n * 160, noise(0.02)) for n in range(int((seconds - begins) * 50))]


def both(seconds: float) -> dict[Side, list[Heard]]:
    """Both sides of a call."""
    return {side: talk(seconds) for side in Side}


def said(packets: list[Heard]) -> bytes:
    """All of it."""
    return b"".join(packet.sound for packet in packets)


class Calls:
    """Some at once, and what was said in them."""

    def __init__(self, simulation: Simulation, folder: Path, seconds: float, count: int = CALLS) -> None:
        self.spoken = [both(seconds) for _ in range(count)]
        self.all = [simulation.open(sides, folder / str(n)) for n, sides in enumerate(self.spoken)]

    def whole(self) -> list[bool]:
        """Of which of them every byte was kept, and nothing else."""
        kept = [call.kept() for call in self.all]
        return [
            all(found.bytes_of(side.value) == said(sides[side]) for side in Side)
            for found, sides in zip(kept, self.spoken, strict=True)
        ]


@pytest.mark.parametrize("held", [3, 6, 10])
def test_nothing_is_lost_when_nobody_drains_for_seconds(simulation: Simulation, tmp_path: Path, held: float) -> None:
    calls = Calls(simulation, tmp_path, 2 + held + 2)
    for call in calls.all:
        simulation.begin(call)
    simulation.run(2)
    simulation.hold(held)
    simulation.run(2 + held + 2.5)
    simulation.finish(*calls.all, at=2 + held + 2.5)
    assert all(calls.whole())
    assert simulation.receiver.statistics().misplaced == 0


@pytest.mark.parametrize("held", [1, 5, 10])
def test_nothing_is_lost_when_the_hangup_ends_the_hold(simulation: Simulation, tmp_path: Path, held: float) -> None:
    calls = Calls(simulation, tmp_path, 2 + held, count=2)
    for call in calls.all:
        simulation.begin(call)
    simulation.run(2)
    simulation.finish(*calls.all, at=2 + held)
    assert all(calls.whole())


@pytest.mark.parametrize("late", [0.5, 4])
def test_nothing_is_lost_when_the_answer_is_told_late_and_nobody_drained(
    simulation: Simulation, tmp_path: Path, late: float
) -> None:
    calls = Calls(simulation, tmp_path, late + 2, count=2)
    simulation.hold(late)
    for call in calls.all:
        simulation.begin(call)
    simulation.run(late + 2.5)
    simulation.finish(*calls.all, at=late + 2.5)
    assert all(calls.whole())


@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize("seconds", [1.5, 3])
def test_nothing_is_lost_when_one_write_takes_seconds(
    simulation: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, before: int
) -> None:
    """The other calls' rings are made ready before it or after it, as it is one of the first writes or of the last."""
    calls = Calls(simulation, tmp_path, 8)
    for call in calls.all:
        simulation.begin(call)
    simulation.run(3.25)
    write, slow = LiveFile._write, [before]

    def writes(file: LiveFile, data: bytes, offset: int) -> None:
        if slow and slow[0] == 0:
            slow.clear()
            simulation.hold(seconds)
        slow[:] = [left - 1 for left in slow]
        write(file, data, offset)

    monkeypatch.setattr(LiveFile, "_write", writes)
    simulation.run(8.5)
    assert not slow
    simulation.finish(*calls.all, at=8.5)
    assert all(calls.whole())


def test_more_lost_than_a_file_can_say_is_the_most_that_it_can(
    simulation: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sender makes its sequence numbers up as it likes: that ends neither the call nor the drain."""
    calls = Calls(simulation, tmp_path, 2, count=2)
    for call in calls.all:
        simulation.begin(call)
    monkeypatch.setattr(Drain, "lost", lambda *_: MOST_LOST + 1)
    simulation.run(2.5)
    simulation.finish(*calls.all, at=2.5)
    assert simulation.told == []
    assert [call.kept().lost for call in calls.all] == [(MOST_LOST, MOST_LOST)] * 2
    assert all(calls.whole())


@pytest.mark.parametrize("when", ["in a tick", "held up", "at the hangup"])
def test_a_defect_with_one_recording_ends_that_one_alone_and_is_told(
    simulation: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    calls = Calls(simulation, tmp_path, 8, count=3)
    for call in calls.all:
        simulation.begin(call)
    simulation.run(2)
    monkeypatch.setattr(LiveRecording, "lost", defect_of(calls.all[1], LiveRecording.lost))
    if when == "held up":
        simulation.hold(2.1)  # so long that a ring is full in mid-drain
    if when != "at the hangup":
        simulation.run(8.5)
    simulation.finish(*calls.all, at=8.5)
    (told,) = simulation.told
    assert isinstance(told, MediaFailed)
    assert told.recording == calls.all[1].recording
    assert calls.whole() == [True, False, True]


def defect_of(
    call: Call, lost: Callable[[LiveRecording], tuple[int, int]]
) -> Callable[[LiveRecording], tuple[int, int]]:
    """As ``lost``, but of one call."""

    def fails(live: LiveRecording) -> tuple[int, int]:
        if live.recording == call.recording:
            raise ZeroDivisionError
        return lost(live)

    return fails


def test_when_the_machines_clock_is_set_back_nobody_is_heard_in_the_future(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What waited then bears stamps of an hour ahead: a call that falls silent after it is told of in time."""
    with simulated(monkeypatch, silence=2) as simulation:
        call = simulation.open(sides := both(3), tmp_path)
        simulation.begin(call)
        simulation.run(2)
        simulation.hold(0.125)
        simulation.set_back(3600)
        for at in (2.25, 2.5, 6):
            simulation.run(at)
            heard = simulation.receiver.heard_at_ns(call.recording)
            assert heard is not None
            assert heard <= START + min(at, 3) * SECOND
        (told,) = simulation.told
        assert isinstance(told, Silent)
        simulation.finish(call, at=6)
        assert [call.kept().bytes_of(side.value) for side in Side] == [said(sides[side]) for side in Side]


def test_a_port_to_which_a_stranger_keeps_sending_is_closed_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    longest = LONGEST_NS / SECOND
    assert longest > 2 * QUIET_NS / SECOND
    with simulated(monkeypatch, ports=2) as simulation:
        call = simulation.open(both(2 * longest), tmp_path / "1")
        simulation.begin(call)
        simulation.finish(call, at=1)
        simulation.receiver.release(call.recording)
        simulation.run(longest)
        with pytest.raises(MediaError, match="in use"):
            simulation.open(both(0), tmp_path / "2")
        simulation.run(1 + longest + 1)
        simulation.open(both(0), tmp_path / "3")
