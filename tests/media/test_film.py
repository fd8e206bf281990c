"""Sealed segments to the packets of one stream: takes in order, holes, what lies outside the call, what is altered."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from capture_client.protocol import FilmPacket
from sipgate.media.film import SHOW_LAST_FRAME, padded, read_film
from tests.peers.vp9_film import film, number_of, write_take

RECORDING = "cd" * 16
SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def key() -> X25519PrivateKey:
    return X25519PrivateKey.generate()


def packets(*times_ms: int, keys: tuple[int, ...] = (0,)) -> list[FilmPacket]:
    """Packets that need not be VP9."""
    return [FilmPacket(n in keys, at * 1_000_000, 320, 200, b"%d" % at) for n, at in enumerate(times_ms)]


def times(folder: Path, key: X25519PrivateKey, length_ns: int = 100 * SECOND) -> tuple[list[int], bool]:
    """(ms of every packet read, whether the film is complete)."""
    read = read_film(folder / "film", RECORDING, key.private_bytes_raw(), length_ns)
    return [packet.pts_ns // 1_000_000 for packet in read.packets], read.complete


def test_a_recording_without_a_film_has_an_empty_complete_one(tmp_path: Path, key: X25519PrivateKey) -> None:
    assert times(tmp_path, key) == ([], True)


def test_a_take_comes_back_unmodified(tmp_path: Path, key: X25519PrivateKey) -> None:
    filmed = packets(*range(0, 2500, 100))
    write_take(tmp_path, RECORDING, key, filmed)
    read = read_film(tmp_path / "film", RECORDING, key.private_bytes_raw(), 100 * SECOND)
    assert (list(read.packets), read.complete) == (filmed, True)


def test_frames_outside_the_call_are_dropped(tmp_path: Path, key: X25519PrivateKey) -> None:
    write_take(tmp_path, RECORDING, key, packets(-100, -1, 0, 1000, 2000, 2001, 3000, keys=(0, 2)))
    assert times(tmp_path, key, 2 * SECOND) == ([0, 1000, 2000], True)


def test_what_depends_on_a_frame_before_the_answer_is_not_shown(tmp_path: Path, key: X25519PrivateKey) -> None:
    write_take(tmp_path, RECORDING, key, packets(-100, 0, 100, 200, keys=(0, 3)))
    assert times(tmp_path, key)[0] == [200]


def test_after_a_missing_segment_the_film_goes_on_at_the_next_keyframe(tmp_path: Path, key: X25519PrivateKey) -> None:
    filmed = packets(*range(0, 1000, 100), keys=(0, 7))
    write_take(tmp_path, RECORDING, key, filmed, packets_a_segment=2, missing=[1])
    assert times(tmp_path, key) == ([0, 100, 700, 800, 900], False)


def test_an_altered_segment_counts_as_missing(tmp_path: Path, key: X25519PrivateKey) -> None:
    take = write_take(tmp_path, RECORDING, key, packets(*range(0, 600, 100), keys=(0, 4)), packets_a_segment=2)
    segment = take / "000001.seg"
    segment.write_bytes(segment.read_bytes()[:-1] + b"\0")
    assert times(tmp_path, key) == ([0, 100, 400, 500], False)


def test_a_segment_under_anothers_name_counts_as_missing(tmp_path: Path, key: X25519PrivateKey) -> None:
    take = write_take(tmp_path, RECORDING, key, packets(*range(0, 400, 100), keys=(0, 2)), packets_a_segment=2)
    (take / "000001.seg").rename(take / "000002.seg")
    assert times(tmp_path, key) == ([0, 100], False)


def test_the_tail_that_never_came_makes_a_film_incomplete(tmp_path: Path, key: X25519PrivateKey) -> None:
    write_take(tmp_path, RECORDING, key, packets(*range(0, 400, 100)), packets_a_segment=2, missing=[1])
    assert times(tmp_path, key) == ([0, 100], False)


def test_a_take_that_did_not_say_that_it_ended_is_incomplete(tmp_path: Path, key: X25519PrivateKey) -> None:
    take = write_take(tmp_path, RECORDING, key, packets(0, 100), ended=False)
    assert times(tmp_path, key) == ([0, 100], False)
    (take / "end.json").write_text("[]")
    assert times(tmp_path, key) == ([0, 100], False)


def test_takes_follow_each_other_in_time_each_until_the_next_begins(tmp_path: Path, key: X25519PrivateKey) -> None:
    write_take(tmp_path, RECORDING, key, packets(500, 600, 700))
    write_take(tmp_path, RECORDING, key, packets(0, 100, 510, 600))
    assert times(tmp_path, key) == ([0, 100, 500, 600, 700], True)


def test_the_film_of_another_recordings_key_does_not_open(tmp_path: Path, key: X25519PrivateKey) -> None:
    write_take(tmp_path, RECORDING, X25519PrivateKey.generate(), packets(0, 100))
    assert times(tmp_path, key) == ([], False)


def test_gaps_are_padded_with_one_byte_packets_and_nothing_else_changes() -> None:
    filmed = packets(0, 40, 1040, 1041)
    stream = list(padded(filmed))
    assert [(p.pts_ms, p.data) for p in stream if p.data != SHOW_LAST_FRAME] == [
        (p.pts_ns // 10**6, p.data) for p in filmed
    ]
    pads = [p.pts_ms for p in stream if p.data == SHOW_LAST_FRAME]
    assert pads == list(range(140, 1040, 100))
    every = [p.pts_ms for p in stream]
    assert all(0 < later - before <= 150 for before, later in pairwise(every))


def test_frames_within_one_millisecond_keep_their_order() -> None:
    filmed = [FilmPacket(n == 0, 5_000_000 + n, 320, 200, b"x") for n in range(3)]
    assert [p.pts_ms for p in padded(filmed)] == [5, 6, 7]


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("gop", [600, 7])
def test_with_the_clients_encoder_slot_0_always_holds_the_last_frame(busy: bool, gop: int) -> None:
    """What padding stands on: shown again is exactly the frame before, and what follows decodes as without padding."""
    rate = np.random.default_rng(1).integers(20, 900, 40)
    filmed = film([int(at) for at in np.cumsum(rate)], gop=gop, busy=busy)
    plain = [decoded(packet.data, context) for context in [decoder()] for packet in filmed]
    context, before, shown = decoder(), None, []
    for packet in padded(filmed):
        image = decoded(packet.data, context)
        if packet.data == SHOW_LAST_FRAME:
            assert before is not None
            assert np.array_equal(image, before)
        else:
            shown.append(image)
        before = image
    assert all(np.array_equal(one, other) for one, other in zip(plain, shown, strict=True))
    assert [number_of(image) for image in shown] == list(range(40))


def decoder() -> av.VideoCodecContext:
    context = av.CodecContext.create("vp9", "r")
    assert isinstance(context, av.VideoCodecContext)
    context.thread_count = 1
    return context


def decoded(data: bytes, context: av.VideoCodecContext) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    (frame,) = context.decode(av.Packet(data))
    return np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
