"""G.711 decodes as ffmpeg decodes it."""

from __future__ import annotations

import av
import numpy as np
import pytest

from sipgate.media.codecs import (
    ABSENT,
    G722,
    G726,
    G726_AAL2,
    G729,
    GSM,
    ILBC,
    OPUS,
    PCMA,
    PCMU,
    SILENCE,
    TABLES,
    TELEPHONE_EVENT,
    codec_number,
    decode,
    durations,
)


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


LASTING = [
    (G729, bytes(10), 80), (G729, bytes(22), 160), (G729, bytes(2), 0), (G729, bytes(11), 0),
    (GSM, bytes(33), 160), (GSM, bytes(66), 320), (GSM, bytes(65), 0),
    (ILBC, bytes(38), 160), (ILBC, bytes(76), 320), (ILBC, bytes(50), 240), (ILBC, bytes(100), 480), (ILBC, b"1", 0),
    (G726[0], bytes(40), 160), (G726[1], bytes(60), 160), (G726[3], bytes(100), 160), (G726[1], bytes(61), 0),
    (OPUS, b"\x78" + bytes(9), 160), (OPUS, b"\x78", 160), (OPUS, b"\xe0" + bytes(9), 20),
    (OPUS, b"\xe8" + bytes(9), 40),
    (OPUS, b"\x79" + bytes(9), 320), (OPUS, b"\x7a" + bytes(9), 320), (OPUS, b"\x7b\x03" + bytes(9), 480),
    (OPUS, b"\x7b\xc6" + bytes(9), 960), (OPUS, b"\x7b\x07" + bytes(9), 0), (OPUS, b"\x7b", 0), (OPUS, b"\x7b\x00", 0),
    (OPUS, b"\x18" + bytes(9), 480), (PCMU, bytes(80), 80), (G722, bytes(160), 160),
]  # fmt: skip


@pytest.mark.parametrize(("codec", "payload", "samples"), LASTING)
def test_what_a_packet_lasts_is_read_from_its_bytes(codec: int, payload: bytes, samples: int) -> None:
    columns = [np.array([payload[n] if n < len(payload) else 0xFF], np.uint8) for n in (0, 1)]
    found = durations(np.array([codec], np.uint8), np.array([len(payload)], np.int64), *columns)
    assert found.tolist() == [samples]


def test_encoding_names_are_read_as_sdp_writes_them() -> None:
    names = ["PCMU", "pcma/8000", "telephone-event", "opus/48000/2", "iLBC", "AAL2-G726-24", "CN", "AMR-WB", ""]
    expected = [PCMU, PCMA, TELEPHONE_EVENT, OPUS, ILBC, G726_AAL2[1], ABSENT, ABSENT, ABSENT]
    assert [codec_number(name) for name in names] == expected
