"""Where sound belongs, by example: each row of the table in ``place``."""

from __future__ import annotations

from dataclasses import dataclass

from sipgate.media.place import NOWHERE, TOLERANCE_NS, Arrival, Timeline, difference16, difference32

MS = 1_000_000


@dataclass(frozen=True)
class Heard:
    """One packet of 20 ms: when it came (ms after the answer), and what its header says."""

    arrival_ms: float
    sequence: int
    timestamp: int
    ssrc: int = 7


def positions_ms(*packets: Heard, timeline: Timeline | None = None) -> list[float | None]:
    """Where a timeline places packets that one drain brought, in ms; None for nowhere."""
    placed = (timeline or Timeline()).place(
        [
            Arrival(p.ssrc, p.sequence & 0xFFFF, p.timestamp & 0xFFFFFFFF, int(p.arrival_ms * MS), samples=160)
            for p in packets
        ]
    )
    return [None if at == NOWHERE else at / 8 for at in placed]


def steady(count: int, *, start_ms: float = 0, sequence: int = 0, timestamp: int = 0, ssrc: int = 7) -> list[Heard]:
    """Packets that come every 20 ms as they were spoken."""
    return [Heard(start_ms + 20 * n, sequence + n, timestamp + 160 * n, ssrc) for n in range(count)]


def test_a_steady_stream_lies_where_it_arrived() -> None:
    assert positions_ms(*steady(5, start_ms=100)) == [100, 120, 140, 160, 180]


def test_jitter_does_not_move_sound() -> None:
    packets = [Heard(20 * n + late, n, 160 * n) for n, late in enumerate((0, 15, 3, 120, 100))]
    assert positions_ms(*packets) == [0, 20, 40, 60, 80]


def test_the_first_packet_being_late_does_not_delay_the_rest() -> None:
    first, *rest = steady(5, start_ms=100)
    assert positions_ms(Heard(130, first.sequence, first.timestamp), *rest) == [100, 120, 140, 160, 180]


def test_sequence_numbers_and_timestamps_wrap() -> None:
    assert positions_ms(*steady(4, sequence=65_534, timestamp=2**32 - 200)) == [0, 20, 40, 60]


def test_a_packet_that_comes_late_lies_where_it_was_spoken() -> None:
    packets = steady(30)
    late = packets.pop(3)
    assert positions_ms(*packets, Heard(700, late.sequence, late.timestamp))[-1] == 60


def test_what_a_stalled_network_delivers_at_once_lies_where_it_was_spoken() -> None:
    stalled = [Heard(1000, p.sequence, p.timestamp) for p in steady(50)[10:]]
    assert positions_ms(*steady(10), *stalled)[10:] == [20 * n for n in range(10, 50)]


def test_a_pause_in_which_the_clock_of_the_sender_stands_still_keeps_its_duration() -> None:
    before, after = steady(5), steady(5, start_ms=10_000, sequence=5, timestamp=800)
    assert positions_ms(*before, *after)[5:] == [10_000, 10_020, 10_040, 10_060, 10_080]


def test_a_pause_that_the_timestamps_tell_keeps_its_duration() -> None:
    before, after = steady(5), steady(5, start_ms=10_003, sequence=5, timestamp=80_000)
    assert positions_ms(*before, *after)[5:] == [10_000, 10_020, 10_040, 10_060, 10_080]


def test_a_jump_of_timestamps_does_not_move_sound_from_its_arrival() -> None:
    after = steady(5, start_ms=100, sequence=5, timestamp=3_000_000_000)
    assert positions_ms(*steady(5), *after)[5:] == [100, 120, 140, 160, 180]


def test_a_new_ssrc_is_anchored_to_its_own_arrival() -> None:
    after = steady(3, start_ms=105, sequence=900, timestamp=55, ssrc=8)
    assert positions_ms(*steady(5), *after)[5:] == [105, 125, 145]


def test_a_straggler_of_the_old_ssrc_lies_where_it_was_spoken() -> None:
    packets = steady(5)
    straggler = packets.pop()
    new = steady(3, start_ms=100, ssrc=8)
    late = Heard(115, straggler.sequence, straggler.timestamp)
    assert positions_ms(*packets, new[0], late, *new[1:]) == [0, 20, 40, 60, 100, 80, 120, 140]


def test_one_packet_ahead_of_its_time_among_others_that_agree_is_not_placed() -> None:
    packets = steady(6)
    packets[3] = Heard(60, 3, 900_000)
    assert positions_ms(*packets) == [0, 20, 40, None, 80, 100]


def test_a_stall_that_a_drain_cuts_in_two_moves_nothing() -> None:
    """The first drain brings only the beginning of what the network held back; its end proves the anchor right."""
    timeline = Timeline()
    held_back = [Heard(900, p.sequence, p.timestamp) for p in steady(45)[20:]]
    positions = positions_ms(*steady(20), *held_back[:5], timeline=timeline)
    positions += positions_ms(*held_back[5:], *steady(5, start_ms=900, sequence=45, timestamp=7200), timeline=timeline)
    assert positions == [20 * n for n in range(50)]


def test_a_short_pause_in_which_the_senders_clock_stands_still_is_found_out() -> None:
    timeline = Timeline()
    positions_ms(*steady(5), timeline=timeline)
    found = []
    for drain in range(3):
        after = steady(6, start_ms=600 + 120 * drain, sequence=5 + 6 * drain, timestamp=800 + 960 * drain)
        found += positions_ms(*after, timeline=timeline)
    late = [600 + 20 * n - at for n, at in enumerate(found) if at is not None]
    assert late == [500] * 6 + [0] * 12


def test_an_anchor_that_proves_wrong_is_given_up_for_the_one_before() -> None:
    timeline = Timeline()
    positions_ms(*steady(5), timeline=timeline)
    positions_ms(Heard(2000, 5, 800), Heard(2001, 6, 960), timeline=timeline)  # a stall of 1.9 s, or a pause?
    after = steady(5, start_ms=2020, sequence=101, timestamp=2020 * 8)  # a stall: the anchor was right
    assert positions_ms(*after, timeline=timeline) == [2020, 2040, 2060, 2080, 2100]


def test_an_unbroken_stream_that_comes_earlier_from_some_moment_on_overwrites_nothing() -> None:
    timeline = Timeline()
    slow = [Heard(p.arrival_ms + 300, p.sequence, p.timestamp) for p in steady(20)]
    positions = positions_ms(*slow, timeline=timeline)
    positions += positions_ms(*steady(40, start_ms=400, sequence=20, timestamp=3200), timeline=timeline)
    assert positions == [300 + 20 * n for n in range(60)]


def test_a_jump_of_timestamps_by_little_is_found_out_by_the_sequence() -> None:
    after = steady(15, start_ms=100, sequence=5, timestamp=800 + 250 * 8)
    assert positions_ms(*steady(5), *after)[5:] == [100 + 20 * n for n in range(15)]


def test_when_the_networks_delay_wavers_no_sound_is_lost() -> None:
    """Anchored while the network was slow; then it is fast for a moment, and slow again."""
    delays = [*[400] * 30, 390, 300, 220, 210, 220, 290, *[390] * 20]
    packets = [Heard(20 * n + delay, n, 160 * n) for n, delay in enumerate(delays)]
    assert positions_ms(*packets) == [20 * n + 400 for n in range(len(delays))]


def test_a_clock_that_drifts_is_anchored_again_before_it_is_off_by_more_than_the_tolerance() -> None:
    timeline = Timeline()
    for second in range(600):  # 0.1 % slow: 600 ms in ten minutes
        packets = [Heard((second * 1000 + 20 * n) * 1.001, second * 50 + n, second * 8000 + n * 160) for n in range(50)]
        for packet, at in zip(packets, positions_ms(*packets, timeline=timeline), strict=True):
            assert at is not None
            assert abs(at - packet.arrival_ms) * MS <= TOLERANCE_NS + MS


def test_a_sender_that_begins_again_with_lower_sequence_numbers_is_heard() -> None:
    after = steady(5, start_ms=8_000, sequence=100, timestamp=0)
    assert positions_ms(*steady(5, sequence=300, timestamp=90_000), *after)[5:] == [8000, 8020, 8040, 8060, 8080]


def test_packets_missing_in_the_sequence_are_counted_through_wraps_and_changes_of_ssrc() -> None:
    timeline = Timeline()
    packets = steady(20, sequence=65_530, timestamp=0)
    del packets[4:7]
    positions_ms(*packets, timeline=timeline)
    assert timeline.lost == 3
    positions_ms(*steady(5, start_ms=400, ssrc=8), Heard(520, 6, 960, 8), timeline=timeline)
    assert timeline.lost == 4


def test_a_stream_that_was_never_heard_lost_nothing() -> None:
    assert Timeline().lost == 0


def test_differences_wrap() -> None:
    assert difference32(5, 2**32 - 5) == 10
    assert difference32(2**32 - 5, 5) == -10
    assert difference16(1, 65_535) == 2
