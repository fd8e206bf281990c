"""What a workstation may film, and when it must not; any order of commands and events. R1, R2, R9, R11, R19."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field, replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from capture_client.protocol import (
    COMMAND_LIFETIME_NS,
    LEASE_SECONDS,
    Acknowledged,
    Arm,
    Binding,
    ClockReply,
    Command,
    Disarm,
    Discard,
    NotThisCall,
    Pause,
    Renew,
    Resume,
    Start,
    Stop,
    seal_message,
)
from capture_client.session import (
    MAXIMUM_UNCERTAINTY_NS,
    SPARED_NS,
    Action,
    ArmCamera,
    ConfirmFilm,
    DisarmCamera,
    EndFilm,
    EraseFilm,
    HearClock,
    HideSign,
    Note,
    PauseCamera,
    ResumeCamera,
    Send,
    Session,
    ShowSign,
    ShowSpared,
    StartCamera,
)

SERVER = Ed25519PrivateKey.generate()
STRANGER = Ed25519PrivateKey.generate()
SECOND = 1_000_000_000
LEASE = int(LEASE_SECONDS * SECOND)
NOW = 1_800_000_000 * SECOND
R1, R2, R3 = "1" * 32, "2" * 32, "3" * 32
KEY = base64.b64encode(bytes(range(32))).decode()


@dataclass
class Desk:
    """A session, and a server that binds its commands correctly."""

    now_ns: int = NOW
    counter: int = 0
    session: Session = field(default_factory=lambda: Session("desk-1", "boot-1", SERVER.public_key()))

    def binding(self) -> Binding:
        self.counter += 1
        return Binding("desk-1", "boot-1", self.counter, self.now_ns + COMMAND_LIFETIME_NS)

    def say(self, command: Command, binding: Binding | None = None, key: Ed25519PrivateKey = SERVER) -> list[Action]:
        payload = seal_message(command, binding or self.binding(), key)
        return self.session.receive(payload, self.now_ns, 1000)

    def film(self, recording: str = R1) -> None:
        self.say(arm(recording))
        actions = self.say(Start(recording, self.now_ns))
        assert StartCamera(recording, self.now_ns) in actions


def arm(recording: str = R1, application: str = "class=Crm", fps: int = 10, key: str = KEY) -> Arm:
    return Arm(recording, application, fps, key)


def notes(actions: list[Action]) -> list[str]:
    return [a.check for a in actions if isinstance(a, Note)]


def obeyed(actions: list[Action]) -> list[Action]:
    """Without the acknowledgement."""
    return [a for a in actions if not (isinstance(a, Send) and isinstance(a.report, Acknowledged))]


def test_arm_then_start_films_with_the_sign_up_first_and_each_is_acknowledged() -> None:
    desk = Desk()
    armed = desk.say(arm())
    assert isinstance(armed[0], ArmCamera)
    assert armed[-1] == Send(Acknowledged("arm", 1, R1, NOW, ""))
    started = desk.say(Start(R1, NOW - 7))
    assert started == [ShowSign(False), StartCamera(R1, NOW - 7), Send(Acknowledged("start", 2, R1, NOW, "filming"))]


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"workstation": "desk-2"}, "for another workstation"),
        ({"boot": "boot-0"}, "for another boot"),
        ({"counter": 0}, "replayed"),
        ({"not_after_ns": NOW - 1}, "expired"),
    ],
)
def test_a_command_that_is_not_bound_to_here_and_now_is_ignored_and_noted(
    change: dict[str, str | int], check: str
) -> None:
    desk = Desk()
    desk.say(arm())
    assert desk.say(Start(R1, NOW), replace(desk.binding(), **change)) == [Note(check)]  # type: ignore[arg-type]
    assert desk.session.filming is None


def test_the_same_command_delivered_twice_is_obeyed_once() -> None:
    desk = Desk()
    payload = seal_message(arm(), desk.binding(), SERVER)
    assert not notes(desk.session.receive(payload, NOW, 0))
    assert desk.session.receive(payload, NOW, 0) == [Note("replayed")]


@pytest.mark.parametrize("payload", [b"", b"{}", b"\xff\x00", b'{"body":"e30=","signature":""}', b"[" * 5000])
def test_what_is_no_envelope_is_ignored_and_noted(payload: bytes) -> None:
    (note,) = Desk().session.receive(payload, NOW, 0)
    assert isinstance(note, Note)


def test_a_command_signed_by_somebody_else_is_ignored_and_uses_up_no_counter() -> None:
    desk = Desk()
    desk.say(arm())
    forged = Binding("desk-1", "boot-1", 10**15, NOW + COMMAND_LIFETIME_NS)
    assert desk.say(Start(R1, NOW), forged, STRANGER) == [Note("signature")]
    assert StartCamera(R1, NOW) in desk.say(Start(R1, NOW))


def test_before_the_clock_is_known_only_its_reply_is_heard() -> None:
    desk = Desk()
    reply = ClockReply(1, 2, 3)
    assert desk.session.receive(seal_message(arm(), desk.binding(), SERVER), None, 0) == [Note("clock not known yet")]
    assert desk.session.receive(seal_message(reply, desk.binding(), SERVER), None, 0) == [HearClock(reply)]


def test_a_clocks_reply_is_heard_when_our_idea_of_the_time_is_wrong() -> None:
    desk = Desk()
    stale = replace(desk.binding(), not_after_ns=NOW - 10**15)
    assert desk.say(ClockReply(1, 2, 3), stale) == [HearClock(ClockReply(1, 2, 3))]


@pytest.mark.parametrize(
    ("command", "check"),
    [
        (arm(fps=3), "frames per second"),
        (arm(fps=31), "frames per second"),
        (arm(key="AAAA"), "recording's key"),
        (arm(key="!"), "recording's key"),
        (arm(application="title=*"), "application: give program= or class="),
        (arm(application="screen=all"), "application: screen is none of program=, class=, title="),
        (arm(recording="../../etc"), "field recording"),
    ],
)
def test_what_may_never_be_filmed_is_not_armed(command: Arm, check: str) -> None:
    assert Desk().say(command) == [Note(check)]


@pytest.mark.parametrize("lease", [0.0, -1.0, LEASE_SECONDS + 0.001, 1e300])
def test_a_lease_longer_than_the_contracts_is_refused(lease: float) -> None:
    desk = Desk()
    desk.say(arm())
    assert desk.say(Start(R1, NOW, lease)) == [Note("lease")]


def test_no_start_without_arm_nor_with_another_recordings() -> None:
    desk = Desk()
    assert desk.say(Start(R1, NOW)) == [Note("start without arm")]
    desk.say(arm(R2))
    assert desk.say(Start(R1, NOW)) == [Note("start without arm")]


def test_no_start_with_a_clock_that_is_too_uncertain_or_an_answer_to_come() -> None:
    desk = Desk()
    desk.say(arm())
    start = seal_message(Start(R1, NOW), desk.binding(), SERVER)
    assert desk.session.receive(start, NOW, MAXIMUM_UNCERTAINTY_NS + 1) == [Note("clock too uncertain")]
    assert desk.say(Start(R1, NOW + SECOND)) == [Note("answered in the future")]


def test_the_lease_runs_out_unless_renewed_and_counts_from_when_the_server_spoke() -> None:
    desk = Desk()
    desk.film()
    desk.now_ns += 4 * SECOND
    assert ConfirmFilm(R1, desk.now_ns - SECOND) in desk.say(Renew(R1, at_ns=desk.now_ns - SECOND))
    assert desk.session.tick(desk.now_ns + LEASE - SECOND - 1) == []
    assert desk.session.tick(desk.now_ns + LEASE - SECOND) == [EndFilm(R1, None, "lease-expired"), HideSign()]
    assert desk.session.filming is None


def test_a_renewal_never_confirms_the_future() -> None:
    desk = Desk()
    desk.film()
    assert ConfirmFilm(R1, NOW) in desk.say(Renew(R1, at_ns=NOW + 60 * SECOND))
    assert desk.session.tick(NOW + LEASE - 1) == []
    assert desk.session.tick(NOW + LEASE) == [EndFilm(R1, None, "lease-expired"), HideSign()]


def test_after_a_lost_lease_the_same_call_may_be_filmed_again() -> None:
    desk = Desk()
    desk.film()
    desk.session.tick(NOW + LEASE)
    assert obeyed(desk.say(Renew(R1, at_ns=NOW))) == []
    desk.film()


@pytest.mark.parametrize("end", [Stop(R1, NOW), Discard(R1)])
def test_what_was_stopped_or_discarded_is_never_filmed_again(end: Command) -> None:
    desk = Desk()
    desk.film()
    desk.say(end)
    assert desk.session.filming is None
    assert desk.say(arm()) == [Note("over")]
    assert desk.say(Start(R1, NOW)) == [Note("over")]


def test_a_stop_ends_at_the_hangup_and_hides_the_sign() -> None:
    desk = Desk()
    desk.film()
    assert obeyed(desk.say(Stop(R1, NOW - 5))) == [EndFilm(R1, NOW - 5, "stopped"), HideSign()]


def test_a_stop_of_what_was_only_armed_lets_go_of_the_window() -> None:
    desk = Desk()
    desk.say(arm())
    assert obeyed(desk.say(Stop(R1, NOW))) == [DisarmCamera(R1)]
    desk.say(arm(R2))
    assert obeyed(desk.say(Disarm(R2))) == [DisarmCamera(R2)]
    assert desk.say(Start(R2, NOW)) == [Note("start without arm")]


def test_a_newer_call_ends_the_former_film_at_its_own_answer() -> None:
    desk = Desk()
    desk.film(R1)
    desk.say(arm(R2))
    desk.now_ns += SECOND
    answered = desk.now_ns - 3
    actions = obeyed(desk.say(Start(R2, answered)))
    assert actions == [EndFilm(R1, answered, "stopped"), ShowSign(False), StartCamera(R2, answered)]
    assert desk.say(arm(R1)) == [Note("over")]


def test_pause_and_resume_blank_and_say_so_on_the_sign() -> None:
    desk = Desk()
    desk.film()
    assert obeyed(desk.say(Pause(R1, NOW - 9))) == [PauseCamera(R1, NOW - 9), ShowSign(paused=True)]
    assert obeyed(desk.say(Pause(R1, NOW))) == []
    assert obeyed(desk.say(Resume(R1, NOW))) == [ShowSign(paused=False), ResumeCamera(R1)]
    assert obeyed(desk.say(Resume(R1, NOW))) == []
    assert obeyed(desk.say(Pause(R2, NOW))) == []


def test_the_stop_key_erases_before_it_tells_and_notes_nothing() -> None:
    desk = Desk()
    desk.film()
    assert desk.session.not_this_call(NOW) == [EraseFilm(R1), HideSign(), Send(NotThisCall(R1))]
    assert desk.say(arm()) == [Note("over")]


def test_the_stop_key_is_said_again_until_the_server_shows_that_it_heard() -> None:
    desk = Desk()
    desk.film()
    desk.session.not_this_call(NOW)
    for _ in range(3):
        assert desk.session.say_again() == [Send(NotThisCall(R1))]
    desk.say(Discard(R1))
    assert desk.session.say_again() == []


def test_it_is_not_said_for_ever() -> None:
    desk = Desk()
    desk.film()
    desk.session.not_this_call(NOW)
    assert sum(len(desk.session.say_again()) for _ in range(1000)) < 100


def test_the_stop_key_reaches_a_call_whose_film_has_ended_by_itself() -> None:
    desk = Desk()
    desk.film()
    desk.session.camera_failed(R1)
    assert desk.session.not_this_call(NOW) == [EraseFilm(R1), Send(NotThisCall(R1))]


def test_the_stop_key_before_a_call_spares_that_call_alone() -> None:
    desk = Desk()
    assert desk.session.not_this_call(None) == []
    assert desk.session.not_this_call(NOW) == [ShowSpared()]
    assert obeyed(desk.say(arm(R1))) == [Send(NotThisCall(R1))]
    assert desk.say(Start(R1, NOW)) == [Note("over")]
    desk.film(R2)


def test_a_spared_call_that_does_not_come_is_forgotten() -> None:
    desk = Desk()
    desk.session.not_this_call(NOW)
    desk.now_ns += SPARED_NS
    desk.film()


@pytest.mark.parametrize(
    ("happens", "state"),
    [
        (Session.sign_lost, "indicator-lost"),
        (Session.clock_stepped, "failed"),
        (Session.leave, "stopped"),
        (lambda s: s.camera_failed(R1), "failed"),
    ],
)
def test_what_ends_a_film_by_itself_keeps_only_what_is_confirmed(happens: object, state: str) -> None:
    assert callable(happens)
    desk = Desk()
    assert happens(desk.session) == []
    desk.film()
    assert happens(desk.session) == [EndFilm(R1, None, state), HideSign()]
    assert desk.session.filming is None


def test_a_camera_that_failed_with_a_former_film_does_not_end_this_one() -> None:
    desk = Desk()
    desk.film(R2)
    assert desk.session.camera_failed(R1) == []
    assert desk.session.filming == R2


# --- any order of anything ------------------------------------------------------------------------------------------

RECORDINGS = st.sampled_from([R1, R2, R3])
TIMES = st.integers(NOW - 20 * SECOND, NOW + 20 * SECOND)
COMMANDS = st.one_of(
    st.builds(arm, RECORDINGS, fps=st.integers(0, 40)),
    st.builds(Disarm, RECORDINGS),
    st.builds(Start, RECORDINGS, TIMES, st.floats(-1, 9)),
    st.builds(Renew, RECORDINGS, st.floats(-1, 9), TIMES),
    st.builds(Pause, RECORDINGS, TIMES),
    st.builds(Resume, RECORDINGS, TIMES),
    st.builds(Stop, RECORDINGS, TIMES),
    st.builds(Discard, RECORDINGS),
)
EVENTS = st.sampled_from(["sign_lost", "clock_stepped", "key", "camera_failed", "tick"])
STEPS = st.lists(
    st.tuples(
        st.integers(0, 2 * SECOND),
        st.one_of(COMMANDS, EVENTS),
        st.sampled_from(["good"] * 8 + ["forged", "expired", "replayed"]),
    ),
    max_size=60,
)


@dataclass
class Watcher:
    """Carries actions out in its head, and objects to what must not be."""

    desk: Desk = field(default_factory=Desk)
    armed: str | None = None
    filming: str | None = None
    sign: bool = False
    gone: set[str] = field(default_factory=set)
    alive_ns: int = 0

    def take(self, actions: list[Action]) -> None:
        for action in actions:
            self.begin(action)
            self.end(action)
        assert self.desk.session.filming == self.filming
        assert self.filming is None or self.sign

    def begin(self, action: Action) -> None:
        match action:
            case ArmCamera(recording, _, fps, key):
                assert recording not in self.gone
                assert 4 <= fps <= 30
                assert len(key) == 32
                self.armed = recording
            case StartCamera(recording, answered):
                assert self.filming is None, "two films"
                assert self.sign, "no sign"
                assert self.armed == recording
                assert recording not in self.gone
                assert answered <= self.desk.now_ns + 1000
                self.armed, self.filming, self.alive_ns = None, recording, self.desk.now_ns
            case ConfirmFilm(recording, until):
                assert self.filming == recording
                assert until <= self.desk.now_ns
                self.alive_ns = max(self.alive_ns, self.desk.now_ns)
            case ShowSign():
                self.sign = True

    def end(self, action: Action) -> None:
        match action:
            case DisarmCamera(recording):
                assert self.armed == recording
                self.armed = None
            case EndFilm(recording, ended, state):
                assert self.filming == recording
                assert ended is None or ended <= self.desk.now_ns + 1000
                self.filming = None
                if state == "stopped":
                    self.gone.add(recording)
            case EraseFilm(recording):
                self.gone.add(recording)
                self.filming = None if self.filming == recording else self.filming
            case HideSign():
                assert self.filming is None
                self.sign = False
            case Send(NotThisCall(recording)):
                self.gone.add(recording)
            case Note(check):
                assert not any(r in check for r in (R1, R2, R3))


def happen(watcher: Watcher, what: Command | str, how: str) -> list[Action]:
    desk, session = watcher.desk, watcher.desk.session
    match what:
        case "sign_lost":
            return session.sign_lost()
        case "clock_stepped":
            return session.clock_stepped()
        case "key":
            return session.not_this_call(desk.now_ns)
        case "camera_failed":
            return session.camera_failed(watcher.filming or R1)
        case "tick":
            return session.tick(desk.now_ns)
    assert not isinstance(what, str)
    before = session.filming
    binding = desk.binding()
    if how == "good":
        return desk.say(what, binding)
    bad = {"expired": replace(binding, not_after_ns=desk.now_ns - 1), "replayed": replace(binding, counter=-1)}
    actions = desk.say(what, bad.get(how, binding), STRANGER if how == "forged" else SERVER)
    assert [type(a) for a in actions] == [Note]
    assert session.filming == before
    return actions


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_no_order_of_commands_and_events_films_what_must_not_be_filmed(
    steps: list[tuple[int, Command | str, str]],
) -> None:
    watcher = Watcher()
    for passed, what, how in steps:
        watcher.desk.now_ns += passed
        watcher.take(watcher.desk.session.tick(watcher.desk.now_ns))
        watcher.take(happen(watcher, what, how))
        if watcher.filming is not None:
            assert watcher.desk.now_ns < watcher.alive_ns + LEASE + 1, "filming without a lease"


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(payload: bytes) -> None:
    actions = Desk().session.receive(payload, NOW, 0)
    assert [type(a) for a in actions] == [Note]
