"""The server's clock, measured as NTP does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from capture_client.clock import DRIFT, PROBE_LIFETIME_NS, ServerClock, local_now_ns
from capture_client.protocol import ClockReply

MS = 1_000_000
OFFSET = 1_800_000_000_000 * MS


def exchange(clock: ServerClock, local: int, out: int, back: int, offset: int = OFFSET, took: int = 1000) -> bool:
    """A probe that was ``out`` ns on its way, and its reply ``back`` ns."""
    probe = clock.probe(local)
    t1 = probe.t0 + out + offset
    return clock.hear(ClockReply(probe.t0, t1, t1 + took), local + out + took + back)


def test_nothing_is_known_before_the_first_reply() -> None:
    clock = ServerClock()
    assert clock.server_ns(5) is None
    assert clock.offset_ns is None
    assert clock.uncertainty_ns(5) > 10**18


@given(
    st.lists(st.tuples(st.integers(0, 200 * MS), st.integers(0, 200 * MS), st.integers(1, 3000 * MS)), min_size=1),
    st.integers(-(10**19), 10**19),
)
def test_the_true_offset_always_lies_within_the_uncertainty(trips: list[tuple[int, int, int]], offset: int) -> None:
    clock, local = ServerClock(), 0
    for out, back, pause in trips:
        assert not exchange(clock, local, out, back, offset)
        assert clock.offset_ns is not None
        local += out + back + pause
        assert abs(clock.offset_ns - offset) <= clock.uncertainty_ns(local)


def test_a_better_measurement_replaces_and_a_worse_one_does_not() -> None:
    clock = ServerClock()
    exchange(clock, 0, 30 * MS, 10 * MS)
    exchange(clock, 100 * MS, MS, MS)
    assert clock.offset_ns == OFFSET
    exchange(clock, 200 * MS, 30 * MS, 10 * MS)
    assert clock.offset_ns == OFFSET


def test_an_old_measurement_grows_uncertain_by_the_drift_of_quartz() -> None:
    clock = ServerClock()
    exchange(clock, 0, MS, MS)
    measured_at = 2 * MS + 1000
    fresh = clock.uncertainty_ns(measured_at)
    assert clock.uncertainty_ns(measured_at + 10**9) - fresh == int(10**9 * DRIFT)


def test_a_server_with_another_clock_is_noticed_and_believed() -> None:
    clock = ServerClock()
    exchange(clock, 0, MS, MS)
    assert exchange(clock, 100 * MS, MS, MS, OFFSET + 50 * MS)
    assert clock.server_ns(0) == OFFSET + 50 * MS
    assert not exchange(clock, 200 * MS, MS, MS, OFFSET + 50 * MS)


def test_a_reply_counts_once_and_only_to_a_probe_of_the_last_seconds() -> None:
    clock = ServerClock()
    probe = clock.probe(0)
    reply = ClockReply(probe.t0, OFFSET, OFFSET)
    clock.hear(reply, PROBE_LIFETIME_NS)
    assert clock.server_ns(0) is None
    clock.hear(reply, 10)
    before = clock.offset_ns
    assert before == OFFSET - 5
    assert not clock.hear(reply, 1000)
    assert not clock.hear(ClockReply(77, 1, 1), 1000)
    assert clock.offset_ns == before


def test_a_reply_that_was_sent_before_the_question_came_is_no_reply() -> None:
    clock = ServerClock()
    probe = clock.probe(0)
    assert not clock.hear(ClockReply(probe.t0, OFFSET + 5, OFFSET), 10)
    assert clock.offset_ns is None


def test_the_workstations_own_clock_never_goes_back() -> None:
    times = [local_now_ns() for _ in range(100)]
    assert times == sorted(times)
