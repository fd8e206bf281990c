"""Every codec, by a real encoder, is heard again where and as it was said; and nothing else is ever heard."""

from __future__ import annotations

import secrets
from itertools import pairwise, permutations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from sipgate.media import decoding
from sipgate.media.codecs import IS_PACKETS, KEY, OPUS, codec_number
from sipgate.media.frames import LEGS, UNIT_BYTES, LiveFileReader
from tests.media.recorded import Recorded, at_rate, lasting, likeness, linear, spans, without_pauses
from tests.peers.encoders import RATES, encode, g729_with_silence
from tests.peers.speech import dialogue, read_wav

Samples = npt.NDArray[np.int16]
EVERY = [  # how alike at least: the reference decoder of iLBC itself comes to 0.70
    ("PCMU", 20, 0.99),
    ("PCMA", 20, 0.99),
    ("G722", 20, 0.99),
    ("G722", 10, 0.99),
    ("GSM", 20, 0.9),
    ("G729", 10, 0.6),
    ("G729", 20, 0.6),
    ("G729", 60, 0.6),
    ("iLBC", 20, 0.55),
    ("iLBC", 30, 0.55),
    ("iLBC", 60, 0.55),
    ("opus", 10, 0.99),
    ("opus", 20, 0.99),
    ("opus", 60, 0.99),
    *[(f"{packing}G726-{rate}", 20, least) for packing in ("", "AAL2-") for rate, least in
      ((16, 0.93), (24, 0.96), (32, 0.98), (40, 0.98))],
]  # fmt: skip


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """12 s of real speech without its longer pauses, 8 kHz."""
    return without_pauses(read_wav(dialogue(tmp_path_factory.mktemp("speech"), 60).caller))[:96_000]


def encoded(name: str, speech: Samples, packet_ms: int = 20, **options: str) -> list[bytes]:
    return encode(name, at_rate(speech, RATES.get(name, 8000)), packet_ms, **options)


def kept(folder: Path, name: str, packets: list[bytes], begin_ms: int = 0) -> LiveFileReader:
    recorded, at = Recorded(folder), 8 * begin_ms
    for packet in packets:
        at = recorded.put(0, name, at, packet)
    return recorded.finish(-(-at // 8))


@pytest.mark.parametrize(("name", "packet_ms", "least"), EVERY)
def test_what_was_said_is_heard_at_its_moment(
    tmp_path: Path, speech: Samples, name: str, packet_ms: int, least: float
) -> None:
    speech = speech[:40_000]
    packets = encoded(name, speech, packet_ms)
    assert len(packets) * packet_ms > 4500
    with kept(tmp_path, name, packets, begin_ms=730) as live:
        heard = linear(live)
        rate = RATES.get(name, 8000)
        assert live.length_ns is not None
        assert abs(len(heard) - live.length_ns * rate // 10**9) <= 1
    lag, found = likeness(heard[730 * rate // 1000 :, 0], at_rate(speech, rate), rate // 10)
    assert (lag, found >= least) == (0, True), found
    assert not heard[: 720 * rate // 1000].any()
    assert not heard[:, 1].any()


@pytest.mark.parametrize("application", ["voip", "audio", "lowdelay"])
@pytest.mark.parametrize("packet_ms", ["2.5", "5", "40"])
def test_opus_is_in_its_place_however_its_encoder_was_set(
    tmp_path: Path, speech: Samples, application: str, packet_ms: str
) -> None:
    """An encoder for low delay looks ahead by 4 ms less, which no packet says."""
    packets = encoded("opus", speech[:32_000], 20, application=application, frame_duration=packet_ms)
    assert lasting(OPUS, packets[0]) == float(packet_ms) * 8
    with kept(tmp_path, "opus", packets) as live:
        lag, found = likeness(linear(live)[:, 0], at_rate(speech[:32_000], 48_000), 4800)
    assert -192 <= lag <= 0
    assert found > 0.9


@pytest.mark.parametrize(
    ("packet_ms", "bit_rate", "planes"), [("2.5", "256000", 9), ("20", "256000", 7), ("60", "128000", 3)]
)
def test_opus_packets_larger_than_the_time_they_last_are_kept_whole(
    tmp_path: Path, speech: Samples, packet_ms: str, bit_rate: str, planes: int
) -> None:
    packets = encoded("opus", speech[:40_000], 20, bit_rate=bit_rate, frame_duration=packet_ms)
    assert max(map(len, packets)) > float(packet_ms) * 8
    with kept(tmp_path, "opus", packets) as live:
        assert max(window.sound.shape[2] for window in live.windows(5 * 10**9)) <= 8 * planes
        lag, found = likeness(linear(live)[:, 0], at_rate(speech[:40_000], 48_000), 4800)
    assert found > 0.99, lag


@pytest.mark.parametrize("name", ["opus", "G722"])
def test_a_long_stream_does_not_drift(tmp_path: Path, speech: Samples, name: str) -> None:
    minute = np.tile(speech, 4)
    rate = RATES[name]
    with kept(tmp_path, name, encoded(name, minute)) as live:
        heard = linear(live)[:, 0]
    lag, found = likeness(heard[-8 * rate :], at_rate(minute, rate)[len(heard) - 8 * rate :], rate // 10)
    assert abs(lag) <= 1
    assert found > 0.9


# --- changes --------------------------------------------------------------------------------------------------------

KINDS = ["PCMU", "G722", "GSM", "G729", "iLBC", "opus", "G726-32"]


@pytest.mark.parametrize(("first", "second"), [*permutations(KINDS, 2)])
def test_a_codec_changes_in_mid_call_to_any_other(tmp_path: Path, speech: Samples, first: str, second: str) -> None:
    recorded, at = Recorded(tmp_path), 0
    parts = [(first, speech[:8_000]), (second, speech[8_000:16_000]), (first, speech[16_000:24_000])]
    for name, said in parts:
        begin = at
        for packet in encoded(name, said):
            at = recorded.put(0, name, at, packet)
        at = begin + 8_000
    with recorded.finish(3000) as live:
        heard = linear(live)[:, 0]
        rate = decoding.rate_of(live.codecs)
    for number, (name, said) in enumerate(parts):
        lag, found = likeness(heard[number * rate : (number + 1) * rate], at_rate(said, rate), rate // 50)
        assert abs(lag) <= rate // 1000
        assert found > {"iLBC": 0.15, "G729": 0.4}.get(name, 0.8), name


def test_a_part_in_a_narrow_codec_sounds_alike_beside_a_wide_one(tmp_path: Path, speech: Samples) -> None:
    """Interpolated: as loud, not shifted, and nothing above 4 kHz."""
    recorded, at = Recorded(tmp_path), 0
    recorded.put(1, "opus", 0, encoded("opus", speech[:16_000])[0])
    for packet in encoded("PCMU", speech[:32_000]):
        at = recorded.put(0, "PCMU", at, packet)
    with recorded.finish(4000) as live:
        heard = linear(live)[:, 0]
    said = at_rate(speech[:32_000], 48_000)
    lag, found = likeness(heard, said, 480)
    assert lag == 0
    assert found > 0.99
    assert np.std(heard) == pytest.approx(np.std(said), rel=0.02)
    spectrum = np.abs(np.fft.rfft(heard.astype(np.float64)))
    assert spectrum[5000 * 4 :].max() < spectrum.max() / 300


# --- gaps -----------------------------------------------------------------------------------------------------------


def test_g729_with_annex_b_keeps_its_pauses_as_long_as_they_were(tmp_path: Path, speech: Samples) -> None:
    """Silence descriptors of two bytes, alone or behind a frame, and nothing at all in between."""
    recorded = Recorded(tmp_path)
    quiet = np.zeros(16_000, np.int16)
    said = np.concatenate([speech[:16_000], quiet, speech[16_000:32_000], quiet, speech[32_000:64_000]])
    frames = g729_with_silence(said)
    pairs = [frames[n] + frames[n + 1] for n in range(0, len(frames) - 1, 2)]
    descriptors = 0
    for number, payload in enumerate(pairs):
        descriptors += len(payload) % 10 == 2
        if payload and lasting(codec_number("G729"), payload):
            recorded.put(0, "G729", 160 * number, payload)
    assert descriptors > 1
    assert sum(not payload for payload in pairs) > 50
    with recorded.finish(12_000) as live:
        heard = linear(live)[:, 0]
    lag, found = likeness(heard, said, 800)
    assert (lag, len(heard)) == (0, 96_000)
    assert found > 0.6


def test_opus_with_dtx_keeps_its_pauses_as_long_as_they_were(tmp_path: Path, speech: Samples) -> None:
    said = np.concatenate([speech[:32_000], np.zeros(24_000, np.int16), speech[32_000:48_000]])
    packets = encoded("opus", said, application="voip", bit_rate="24000")
    recorded = Recorded(tmp_path)
    for number, (at, packet) in enumerate(zip(spans(packets, OPUS), packets, strict=True)):
        if not 205 <= number < 345:
            recorded.put(0, "opus", at, packet)
        elif number % 20 == 0:  # every 400 ms, RFC 6716 §3.2.1: a frame of no bytes behind its TOC
            recorded.put(0, "opus", at, packet[:1])
    with recorded.finish(9000) as live:
        lag, found = likeness(linear(live)[:, 0], at_rate(said, 48_000), 4800)
    assert abs(lag) <= 48
    assert found > 0.8


@pytest.mark.parametrize("name", ["opus", "G722", "G729", "GSM", "iLBC", "G726-32"])
def test_lost_packets_are_silence_and_shift_nothing(tmp_path: Path, speech: Samples, name: str) -> None:
    speech = speech[:40_000]
    packets = encoded(name, speech)
    recorded = Recorded(tmp_path)
    for number, packet in enumerate(packets):
        if number % 50 not in (10, 11):
            recorded.put(0, name, 160 * number, packet)
    with recorded.finish(5000) as live:
        heard = linear(live)[:, 0]
    rate = RATES.get(name, 8000)
    lag, found = likeness(heard, at_rate(speech, rate), rate // 50)
    assert lag == 0
    assert found > 0.5
    assert not heard[rate * 218 // 1000 : rate * 230 // 1000].any()


def test_what_no_decoder_takes_is_silence_and_hurts_nothing(tmp_path: Path) -> None:
    recorded, at = Recorded(tmp_path), 0
    for name, size in [("opus", 60), ("iLBC", 38), ("GSM", 33), ("G729", 20), ("G722", 160), ("G726-24", 60)] * 30:
        payload = secrets.token_bytes(size)
        if name == "opus":
            payload = b"\x7b\x41" + payload  # code 3, one padded frame whose padding is nonsense
        at = recorded.put(0, name, at, payload)
    with recorded.finish(at // 8) as live:
        assert len(linear(live)) == at * 6


# --- torn packets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_what_is_left_of_a_packet_that_was_written_over_is_never_taken_for_one(tmp_path: Path, seed: int) -> None:
    """Packets of all sizes and codecs over one another, in any order, in one write or in several."""
    random = np.random.default_rng(seed)
    recorded = Recorded(tmp_path)
    recorded.advance(12_000)
    written: set[bytes] = set()
    for _ in range(400):
        name = str(random.choice(["PCMU", "G722", "G729", "GSM", "iLBC", "opus", "opus", "G726-32"]))
        size = {"G729": 10, "GSM": 33, "iLBC": 38, "G726-32": 4, "opus": 1}.get(name, 8)
        payload = random.bytes(size * int(random.integers(1, 5)) if name != "opus" else int(random.integers(2, 900)))
        if name == "opus":
            payload = bytes([random.choice([0x78, 0x70, 0x18, 0xE8, 0xE0])]) + payload[1:]
        position = int(random.integers(0, 8000)) // (1 if name in ("PCMU", "G722") else 8)
        position = position * 8 if name not in ("PCMU", "G722") else position
        try:
            recorded.put(0, name, position, payload)
        except AssertionError:  # larger than all planes
            continue
        written.add(payload)
    with recorded.finish(1200) as live:
        windows = list(live.windows(1200 * 10**6))
    found = 0
    for this, following in pairwise(windows):
        codec = np.concatenate([this.codec[0], following.codec[0]])
        for unit in np.flatnonzero(IS_PACKETS[this.codec[0]]).tolist():
            packet = decoding._packet(codec, (this.sound[0], following.sound[0]), unit)
            if packet is not None:
                assert packet[0] in written
                found += 1
    assert found > 3


def test_a_packet_that_the_hangup_cut_is_left_out(tmp_path: Path, speech: Samples) -> None:
    packets = encoded("GSM", speech)
    recorded = Recorded(tmp_path)
    for number, packet in enumerate(packets[:60]):
        recorded.put(0, "GSM", 160 * number, packet)
    with recorded.finish(1010) as live:
        window = live.window(2)
        assert not window.codec.any()
        assert not window.sound.any()
        assert len(linear(live)) == 8080


def test_the_same_bytes_behind_a_packet_are_zero_not_another_calls(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    recorded.put(0, "G729", 0, b"\x11" * 20)
    with recorded.finish(20) as live:
        held = live.window(0).sound[0].reshape(-1)
    assert bytes(held[:23]) == b"\x00\x14\x14" + b"\x11" * 20
    assert not held[23:].any()


# --- telephone keys -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["PCMU", "G722", "opus", "G729"])
def test_nothing_is_heard_of_the_time_of_a_key_whatever_comes_before_or_after_it(
    tmp_path: Path, speech: Samples, name: str
) -> None:
    loud = np.asarray(8000 * np.sin(2 * np.pi * 770 * np.arange(32_000) / 8000), dtype=np.int16)
    packets = encoded(name, loud)
    recorded = Recorded(tmp_path)
    places = spans(packets, codec_number(name))
    for at, packet in list(zip(places, packets, strict=True))[:75]:
        recorded.put(0, name, at, packet)
    changed = recorded.store.mask(recorded.call * LEGS, 1003, 943, 1163)
    assert changed[0] <= 943
    assert changed[1] >= 1163
    for at, packet in list(zip(places, packets, strict=True))[40:]:  # again, and what follows
        recorded.put(0, name, at, packet)
    with recorded.finish(3000) as live:
        heard = linear(live)[:, 0]
        rate = decoding.rate_of(live.codecs)
        assert [key for window in live.windows(3 * 10**9) for key in window.keys] == [(0, 1003)]
        codec = np.concatenate([window.codec[0] for window in live.windows(3 * 10**9)])
        held = np.concatenate([window.sound[0] for window in live.windows(3 * 10**9)])
    assert set(codec[943:1163].tolist()) == {KEY, KEY | 0x80}
    assert not held[943:1163].any()
    assert not heard[943 * rate // 1000 : 1163 * rate // 1000].any()
    assert np.abs(heard[900 * rate // 1000 : 915 * rate // 1000]).max() > 4000
    assert np.abs(heard[1190 * rate // 1000 : 1220 * rate // 1000]).max() > 4000


def test_keys_pressed_one_after_the_other_stay_apart_and_those_of_the_other_side_stay_its_own(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    recorded.advance(12_000)
    for leg, start in [(0, 300), (0, 400), (1, 350), (0, 500)]:
        recorded.store.mask(recorded.call * LEGS + leg, start, start - 60, start + 110)
    with recorded.finish(1000) as live:
        keys = [key for window in live.windows(10**9) for key in window.keys]
    assert keys == [(0, 300), (0, 400), (1, 350), (0, 500)]


def test_a_key_that_is_pressed_a_thousand_times_a_second_costs_no_more_than_some(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    recorded.advance(30_000)
    for start in range(1000):
        recorded.store.mask(recorded.call * LEGS, start, max(0, start - 60), start + 60)
    assert len(recorded.store._masks[recorded.call * LEGS]) <= 64
    recorded.put(0, "PCMU", 0, b"\x11" * UNIT_BYTES * 40)
    with recorded.finish(2000) as live:
        assert not live.window(0).sound.any()
