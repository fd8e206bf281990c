"""What is believed of what workstations say."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from capture_client import protocol
from capture_client.protocol import (
    Acknowledged,
    Binding,
    ClockProbe,
    FilmState,
    NotThisCall,
    Presence,
    Ready,
    Report,
)
from sipgate.core.events import PrivateCall, WorkstationDown, WorkstationUp
from sipgate.errors import StoreError
from sipgate.workstations.desks import ClockAsked, Desks, FilmReported, Heard

SECOND = 1_000_000_000
START = 1_800_000_000 * SECOND
SKEW = -12_345 * SECOND
RECORDING = "ab" * 16
TOPIC = "sipgate/desk-1/state"


@dataclass
class Scene:
    """One desk in front of the server, with a hand on the clock."""

    now: int = START
    boot: str = "boot-1"
    counter: int = 0
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    desks: Desks = field(init=False)

    def __post_init__(self) -> None:
        keys = {"desk-1": self.key.public_key().public_bytes_raw()}
        self.desks = Desks(keys.get, {RECORDING: "desk-1"}.get)

    def seal(self, report: Report, counter: int | None = None) -> bytes:
        self.counter += 1
        binding = Binding("desk-1", self.boot, self.counter if counter is None else counter, 0)
        return protocol.seal_message(report, binding, self.key)

    def say(self, report: Report) -> list[Heard]:
        return self.hear(self.seal(report))

    def hear(self, payload: bytes, *, retained: bool = False) -> list[Heard]:
        return self.desks.receive(TOPIC, payload, self.now, retained=retained)

    def become_ready(self) -> list[Heard]:
        self.say(ClockProbe(self.now + SKEW))
        return self.say(Ready(-SKEW, 1000))

    @property
    def ready(self) -> bool:
        (state,) = self.desks.states()
        return state.ready

    def dropped(self) -> dict[str, int]:
        return dict(self.desks.dropped)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_probe_is_answered_to_the_boot_that_asked(scene: Scene) -> None:
    assert scene.say(ClockProbe(5)) == [ClockAsked("desk-1", "boot-1", 5, START)]
    assert scene.desks.bind("desk-1", START, "boot-1") is not None


def test_nobody_is_commanded_before_it_is_ready(scene: Scene) -> None:
    scene.say(Presence(True, "1"))
    scene.say(ClockProbe(START + SKEW))
    assert scene.desks.bind("desk-1", START) is None
    assert scene.desks.bind("desk-2", START) is None


def test_a_fresh_ready_brings_a_workstation_up_once(scene: Scene) -> None:
    assert scene.become_ready() == [WorkstationUp("desk-1", "boot-1", START)]
    scene.now += 2 * SECOND
    assert scene.become_ready() == []


def test_commands_are_bound_to_the_boot_and_rise_even_when_the_server_starts_again(scene: Scene) -> None:
    scene.become_ready()
    first, second = scene.desks.bind("desk-1", START), scene.desks.bind("desk-1", START)
    assert first is not None
    assert second is not None
    assert (first.workstation, first.boot) == ("desk-1", "boot-1")
    assert first.not_after_ns == START + protocol.COMMAND_LIFETIME_NS
    assert second.counter > first.counter
    later = Scene(now=START + 5 * SECOND, counter=100)
    later.become_ready()
    third = later.desks.bind("desk-1", later.now)
    assert third is not None
    assert third.counter > second.counter


def test_what_an_old_boot_said_does_not_bring_it_back(scene: Scene) -> None:
    old = [scene.seal(ClockProbe(scene.now + SKEW)), scene.seal(Ready(-SKEW, 1000)), scene.seal(Presence(True, "1"))]
    scene.now += 60 * SECOND
    scene.boot = "boot-2"
    scene.become_ready()
    scene.now += SECOND
    for payload in old:
        assert not [h for h in scene.hear(payload) if not isinstance(h, ClockAsked)]
    assert scene.dropped() == {"stale": 1}
    bound = scene.desks.bind("desk-1", scene.now)
    assert bound is not None
    assert bound.boot == "boot-2"


def test_a_ready_without_a_probe_or_long_after_it_is_not_believed(scene: Scene) -> None:
    assert scene.say(Ready(-SKEW, 1000)) == []
    scene.say(ClockProbe(scene.now + SKEW))
    scene.now += 4 * SECOND
    assert scene.say(Ready(-SKEW, 1000)) == []
    assert scene.dropped() == {"stale": 2}


@pytest.mark.parametrize("uncertainty", [-1, 10 * SECOND])
def test_a_clock_that_is_not_known_well_is_not_ready(scene: Scene, uncertainty: int) -> None:
    scene.say(ClockProbe(scene.now + SKEW))
    assert scene.say(Ready(-SKEW, uncertainty)) == []
    assert scene.dropped() == {"uncertain": 1}


def test_a_workstation_that_restarted_goes_down_and_comes_up_as_another_boot(scene: Scene) -> None:
    scene.become_ready()
    scene.boot, scene.counter = "boot-2", 0
    assert scene.become_ready() == [
        WorkstationDown("desk-1", START),
        WorkstationUp("desk-1", "boot-2", START),
    ]


def test_the_last_will_of_the_present_boot_takes_it_down_although_it_was_signed_first(scene: Scene) -> None:
    will = scene.seal(Presence(False, "1"))
    scene.become_ready()
    assert scene.hear(will) == [WorkstationDown("desk-1", START)]
    assert not scene.ready


def test_the_last_will_of_an_earlier_boot_takes_nobody_down(scene: Scene) -> None:
    will = scene.seal(Presence(False, "1"))
    scene.boot = "boot-2"
    scene.become_ready()
    assert scene.hear(will) == []
    assert scene.ready


def test_silence_is_down_and_the_next_ready_is_up(scene: Scene) -> None:
    scene.become_ready()
    scene.now += 6 * SECOND
    assert scene.desks.silent(scene.now) == []
    scene.now += 2 * SECOND
    assert scene.desks.silent(scene.now) == [WorkstationDown("desk-1", scene.now)]
    assert scene.desks.silent(scene.now) == []
    assert scene.become_ready() == [WorkstationUp("desk-1", "boot-1", scene.now)]


def test_film_states_are_told_and_shown(scene: Scene) -> None:
    scene.become_ready()
    filming, ack = FilmState(RECORDING, "filming", 7), Acknowledged("start", 3, RECORDING, START)
    assert scene.say(filming) == [FilmReported(RECORDING, filming)]
    assert scene.say(ack) == [FilmReported(RECORDING, ack)]
    assert scene.desks.states()[0].film == "filming"


@pytest.mark.parametrize("report", [FilmState("cd" * 16, "filming"), Acknowledged("stop", 1, "cd" * 16, 1)])
def test_nothing_is_believed_about_a_recording_that_was_not_started_there(scene: Scene, report: Report) -> None:
    scene.become_ready()
    assert scene.say(report) == []
    assert scene.dropped() == {"not filmed there": 1}


def test_a_film_state_of_another_boot_is_dropped(scene: Scene) -> None:
    scene.become_ready()
    scene.boot = "boot-0"
    assert scene.say(FilmState(RECORDING, "stopped")) == []
    assert scene.dropped() == {"another boot": 1}


def test_a_private_call_is_believed_from_any_boot_but_of_that_workstation_only(scene: Scene) -> None:
    assert scene.say(NotThisCall(RECORDING)) == [PrivateCall(RECORDING, START)]
    assert scene.say(NotThisCall("cd" * 16)) == []


def test_a_report_counts_once(scene: Scene) -> None:
    scene.become_ready()
    payload = scene.seal(FilmState(RECORDING, "filming"))
    assert len(scene.hear(payload)) == 1
    assert scene.hear(payload) == []
    assert scene.dropped() == {"replayed": 1}


def test_only_presence_is_believed_when_retained(scene: Scene) -> None:
    assert scene.hear(scene.seal(NotThisCall(RECORDING)), retained=True) == []
    presence = scene.seal(Presence(True, "1"))
    scene.hear(presence, retained=True)
    scene.hear(presence, retained=True)
    assert scene.desks.states()[0].online
    assert scene.dropped() == {"retained": 1}


@pytest.mark.parametrize(
    "report",
    [ClockProbe(2**63), FilmState(RECORDING, "x" * 65), FilmState(RECORDING, "filming", first_frame_ns=-(2**70))],
)
def test_what_no_honest_client_says_is_dropped(scene: Scene, report: Report) -> None:
    scene.become_ready()
    assert scene.say(report) == []
    assert scene.desks.dropped.total() == 1


def test_another_workstations_topic_or_key_makes_a_stranger(scene: Scene) -> None:
    payload = scene.seal(NotThisCall(RECORDING))
    assert scene.desks.receive("sipgate/desk-2/state", payload, START) == []
    assert scene.desks.receive("sipgate/desk-1/state/more", payload, START) == []
    scene.key = Ed25519PrivateKey.generate()
    assert scene.say(NotThisCall(RECORDING)) == []
    assert scene.dropped() == {"stranger": 1, "malformed": 1, "signature": 1}


def test_when_the_register_cannot_be_asked_nothing_is_believed() -> None:
    def unavailable(_: str) -> bytes | None:
        raise StoreError("the register is gone")

    scene = Scene()
    scene.desks = Desks(unavailable, {RECORDING: "desk-1"}.get)
    assert scene.say(NotThisCall(RECORDING)) == []
    assert scene.dropped() == {"register unavailable": 1}


def test_a_workstation_cannot_fill_the_memory_with_boots(scene: Scene) -> None:
    scene.become_ready()
    for number in range(100):
        scene.boot = f"invented-{number}"
        scene.say(ClockProbe(1))
    scene.boot = "boot-1"
    scene.counter -= 1
    assert len(scene.desks._desks["desk-1"].boots) <= 8  # the one thing that cannot be seen from outside
    assert scene.desks.bind("desk-1", START) is not None


@given(st.binary(max_size=300), st.text(max_size=30))
def test_no_message_makes_it_raise(payload: bytes, topic: str) -> None:
    desks = Scene().desks
    assert desks.receive(topic, payload, START) == []
    assert desks.receive(TOPIC, payload, START) == []
