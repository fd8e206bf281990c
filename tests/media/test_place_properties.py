"""Any order, duplicates, loss and jumps: the arithmetic on arrays against slow models written for these tests alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sipgate.media.codecs import PCMA, PCMU, SILENCE
from sipgate.media.frames import LEGS, UNIT_BYTES, WINDOW_SAMPLES
from sipgate.media.place import NOWHERE, Arrival, Timeline, Timelines
from sipgate.media.store import RING_UNITS, RING_WINDOWS, Payloads, Store

MS = 1_000_000
JITTER_MS = 60


@dataclass(frozen=True)
class Arrived:
    """One packet: when it was sent (ms on the call's true timeline), when it came, its header, its spurt."""

    sent_ms: int
    arrival_ns: int
    sequence: int
    timestamp: int
    ssrc: int
    spurt: int
    samples: int


@st.composite
def streams_of_spurts(draw: st.DrawFn) -> list[Arrived]:
    """Spurts of packets of any packet time: between them the sender's clock stands still, jumps or gets a new SSRC;
    within them packets are delayed, lost and given twice."""
    arrived: list[Arrived] = []
    sent_ms, ssrc = draw(st.integers(0, 500)), draw(st.integers(0, 2**32 - 1))
    sequence, timestamp = draw(st.integers(0, 65535)), draw(st.integers(0, 2**32 - 1))
    for spurt in range(draw(st.integers(1, 3))):
        packet_ms = draw(st.sampled_from([10, 20, 30, 40, 60]))
        for _ in range(draw(st.integers(3, 12))):
            for delay in draw(st.lists(st.integers(0, JITTER_MS), max_size=2)):  # none: lost; two: given twice
                arrival = (sent_ms + delay) * MS + draw(st.integers(0, MS - 1))
                arrived.append(Arrived(sent_ms, arrival, sequence, timestamp, ssrc, spurt, 8 * packet_ms))
            sent_ms += packet_ms
            sequence, timestamp = (sequence + 1) & 0xFFFF, (timestamp + 8 * packet_ms) & 0xFFFFFFFF
        # Beyond all doubt: farther than the tolerance, the jitter of both sides, and what a stall could explain; and
        # so that two in a row, all between them lost, never come to nearly nothing.
        match draw(st.sampled_from(["clock stands still", "clock jumps", "new ssrc"])):
            case "clock stands still":
                sent_ms += draw(st.integers(1300, 9000))
            case "clock jumps":
                sent_ms += 2 * JITTER_MS
                timestamp = (timestamp + draw(st.integers(400_000, 2**31 - 400_000))) & 0xFFFFFFFF
            case _:
                sent_ms += 2 * JITTER_MS
                ssrc = (ssrc + 1 + spurt) & 0xFFFFFFFF
                sequence, timestamp = draw(st.integers(0, 65535)), draw(st.integers(0, 2**32 - 1))
    return sorted(arrived, key=lambda packet: packet.arrival_ns)


def arrival(packet: Arrived) -> Arrival:
    return Arrival(packet.ssrc, packet.sequence, packet.timestamp, packet.arrival_ns, packet.samples)


def place(packets: list[Arrived], cuts: list[int]) -> list[int]:
    """Positions, when the packets come in drains that end at ``cuts``."""
    timelines = Timelines(2)
    timelines.begin(1)
    positions: list[int] = []
    for begin, end in zip([0, *cuts], [*cuts, len(packets)], strict=True):
        rows = packets[begin:end]
        streams = np.ones(len(rows), dtype=np.int64)
        ssrcs, sequences, stamps, arrivals, sizes, ticks = (
            np.array([arrival(packet) for packet in rows], dtype=np.int64).reshape(-1, 6).T
        )
        sound = np.ones(len(rows), dtype=np.bool_)
        positions += timelines.positions(streams, ssrcs, sequences, stamps, arrivals, sizes, sound, ticks).tolist()
    return positions


@given(streams_of_spurts(), st.data())
@settings(deadline=None)
def test_within_a_spurt_sound_lies_as_it_was_spoken_and_no_spurt_is_far_from_its_arrival(
    packets: list[Arrived], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(packets)), max_size=4)))
    by_spurt: dict[int, set[int]] = {}
    for packet, position in zip(packets, place(packets, cuts), strict=True):
        assert position != NOWHERE
        assert position % UNIT_BYTES == 0
        by_spurt.setdefault(packet.spurt, set()).add(position - 8 * packet.sent_ms)
    for offsets in by_spurt.values():
        assert len(offsets) == 1, "a channel neither speeds up nor slows down"
        assert -8 <= offsets.pop() <= 8 * (2 * JITTER_MS + 150)


@given(streams_of_spurts(), st.data())
@settings(deadline=None)
def test_arithmetic_on_arrays_and_the_careful_way_agree(packets: list[Arrived], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(packets)), max_size=4)))
    timeline, expected = Timeline(), []
    for begin, end in zip([0, *cuts], [*cuts, len(packets)], strict=True):
        rows = packets[begin:end]
        expected += timeline.place([arrival(packet) for packet in rows])
    assert place(packets, cuts) == expected


@dataclass(frozen=True)
class Written:
    """One packet to be copied: leg, where to, how many samples, and where its payload begins in its slot."""

    leg: int
    position: int
    size: int
    at: int


positions_to_write = st.integers(-400, 2 * RING_UNITS * UNIT_BYTES) | st.integers(0, 4000).map(lambda n: n * UNIT_BYTES)
packets_to_write = st.lists(
    st.builds(
        Written,
        leg=st.integers(0, LEGS - 1),
        position=positions_to_write,
        size=st.sampled_from([80, 160, 240, 320]) | st.integers(1, 400),
        at=st.sampled_from([16, 16, 20, 23]),
    ),
    min_size=1,
    max_size=30,
)


def spoken(leg: int, moment: int) -> int:
    """What is said is a function of the moment: duplicates and overlaps agree, as on a network."""
    return (moment * 7 + leg * 101 + (moment >> 8)) & 0xFF


def written(packets: list[Written], codec: int, low: int, high: int) -> Store:
    """A store after these packets, in its first row."""
    slots = np.zeros((len(packets), 512), dtype=np.uint8)
    for row, packet in enumerate(packets):
        said = [spoken(packet.leg, packet.position + n) for n in range(packet.size)]
        slots[row, packet.at : packet.at + packet.size] = said
    store, count = Store(2), len(packets)
    assert store.take() == 0
    rows, positions, at, sizes = np.array([(p.leg, p.position, p.at, p.size) for p in packets], dtype=np.int64).T
    codecs = np.full(count, codec, dtype=np.uint8)
    reach = np.full(count, low), np.full(count, high)
    store.write(slots, Payloads(rows, codecs, positions, np.arange(count), at, sizes, *reach, sizes))
    return store


@given(packets_to_write, st.integers(0, 4), st.sampled_from([PCMU, PCMA]))
@settings(deadline=None)
def test_the_store_holds_each_sample_at_its_place_and_nothing_else(
    packets: list[Written], window: int, codec: int
) -> None:
    """The slow model goes sample by sample; a unit that is touched in part is silent in the rest."""
    high = (window + RING_WINDOWS) * WINDOW_SAMPLES
    low = max(0, high - RING_UNITS * UNIT_BYTES)
    codecs = np.zeros((LEGS, RING_UNITS), dtype=np.uint8)
    sound = np.zeros((LEGS, RING_UNITS * UNIT_BYTES), dtype=np.uint8)
    moments = sorted({(p.leg, p.position + n) for p in packets for n in range(p.size) if low <= p.position + n < high})
    for leg, moment in moments:
        unit = (moment - low) // UNIT_BYTES
        if codecs[leg, unit] == 0:
            codecs[leg, unit] = codec
            sound[leg, unit * UNIT_BYTES : (unit + 1) * UNIT_BYTES] = SILENCE[codec]
        sound[leg, moment - low] = spoken(leg, moment)
    store = written(packets, codec, low, high)
    held = [store.window(0, low // WINDOW_SAMPLES + n, 0, (0, 0), False) for n in range(RING_WINDOWS)]
    assert np.array_equal(np.concatenate([h.codec for h in held], axis=1), codecs)
    assert np.array_equal(np.concatenate([h.sound.reshape(LEGS, -1) for h in held], axis=1), sound)
