"""VP9 as the film has it, decoded by FFmpeg."""

from __future__ import annotations

import subprocess
import sys

import av
import numpy as np
import pytest
from av.video.codeccontext import VideoCodecContext

from capture_client.encoder import KEYFRAME_EVERY, Encoder
from capture_client.reel import SHOW_AGAIN
from capture_client.windows import Pixels

MS = 1_000_000


def form(number: int, width: int = 320, height: int = 200) -> Pixels:
    """A form in which something is typed."""
    picture = np.full((height, width, 4), 0xE0, np.uint8)
    picture[20:40, 20 : 20 + number % 250] = (0x20, 0x80, 0xC0, 0)
    return picture


def decoder() -> VideoCodecContext:
    found = av.CodecContext.create("vp9", "r")
    assert isinstance(found, VideoCodecContext)
    return found


def test_a_keyframe_comes_first_every_hundred_pictures_and_when_asked_for() -> None:
    encoder = Encoder()
    keys = [n for n in range(210) if encoder.encode(form(n), n * 100 * MS, key=n == 150)[1]]
    assert keys[:3] == [0, KEYFRAME_EVERY, 150]
    assert len(keys) in (3, 4)


def test_every_picture_is_one_frame_at_once_and_looks_like_itself() -> None:
    encoder, player = Encoder(), decoder()
    for number in range(30):
        data, _ = encoder.encode(form(number * 8), number * 100 * MS, key=False)
        (frame,) = player.decode(av.Packet(data))
        seen = frame.to_ndarray(format="bgr24").astype(np.int16)
        assert np.abs(seen - form(number * 8)[..., :3]).mean() < 3


def test_the_last_picture_is_what_slot_0_shows_again_throughout() -> None:
    encoder, player = Encoder(), decoder()
    for number in range(KEYFRAME_EVERY + 20):
        data, _ = encoder.encode(form(number * 3), number * 100 * MS, key=False)
        (frame,) = player.decode(av.Packet(data))
        (again,) = player.decode(av.Packet(SHOW_AGAIN))
        assert np.array_equal(frame.to_ndarray(), again.to_ndarray())


def test_another_size_begins_with_a_keyframe() -> None:
    encoder, player = Encoder(), decoder()
    sizes = []
    for number, width in enumerate((320, 320, 402)):
        data, key = encoder.encode(form(number, width), number * 100 * MS, key=False)
        (frame,) = player.decode(av.Packet(data))
        sizes.append((frame.width, key))
    assert sizes == [(320, True), (320, False), (402, True)]


def test_pictures_in_the_same_millisecond_are_still_frames_of_their_own() -> None:
    encoder = Encoder()
    assert all(encoder.encode(form(n), 5 * MS, key=False)[0] for n in range(5))


@pytest.mark.parametrize("module", ["capture_client.film", "capture_client.client"])
def test_pyav_is_not_loaded_before_there_is_a_picture(module: str) -> None:
    script = f"import sys, {module}; sys.exit('av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
