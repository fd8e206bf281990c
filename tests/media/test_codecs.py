"""G.711 decodes as ffmpeg decodes it."""

from __future__ import annotations

import av
import numpy as np
import pytest

from sipgate.media.codecs import ABSENT, PCMA, PCMU, SILENCE, TABLES, TELEPHONE_EVENT, codec_number, decode


@pytest.mark.parametrize(("codec", "name"), [(PCMU, "pcm_mulaw"), (PCMA, "pcm_alaw")])
def test_every_byte_decodes_to_what_ffmpeg_makes_of_it(codec: int, name: str) -> None:
    context = av.CodecContext.create(name, "r")
    assert isinstance(context, av.AudioCodecContext)
    context.sample_rate, context.layout = 8000, "mono"
    (frame,) = context.decode(av.Packet(bytes(range(256))))
    assert TABLES[codec].tolist() == frame.to_ndarray()[0].tolist()


def test_a_change_of_codec_within_a_block_is_followed_unit_by_unit() -> None:
    codec = np.array([PCMU, PCMA, ABSENT, PCMU], dtype=np.uint8)
    sound = np.arange(32, dtype=np.uint8).reshape(4, 8)
    expected = [*TABLES[PCMU][sound[0]], *TABLES[PCMA][sound[1]], *[0] * 8, *TABLES[PCMU][sound[3]]]
    assert decode(codec, sound).tolist() == expected
    assert decode(codec[:1], sound[:1]).tolist() == expected[:8]


@pytest.mark.parametrize("codec", [PCMU, PCMA])
def test_the_silence_byte_is_silent(codec: int) -> None:
    assert abs(int(TABLES[codec][SILENCE[codec]])) <= 8


def test_encoding_names_are_read_as_sdp_writes_them() -> None:
    names = ["PCMU", "pcma/8000", "telephone-event", "opus", ""]
    assert [codec_number(name) for name in names] == [PCMU, PCMA, TELEPHONE_EVENT, ABSENT, ABSENT]
