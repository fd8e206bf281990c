"""Through sockets, receiver and finishing: calls in every codec, real encoders, real time."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from sipgate.core.events import Side
from sipgate.media.codecs import IS_SOUND, OPUS, TICKS, codec_number
from sipgate.media.finish import KEYS_FILE, FinishJob, finish_recording
from sipgate.media.frames import FILE_NAME, LiveFileReader
from sipgate.vault.sealed import SealedReader
from tests.media.conftest import NEAR, SECOND, Call, noise, offer, soon
from tests.media.recorded import Samples, at_rate, lasting, likeness, without_pauses
from tests.media.test_finish import heard
from tests.peers.encoders import RATES, encode
from tests.peers.rtp import Voice, packet
from tests.peers.speech import dialogue, read_wav

TYPES = {
    "PCMU": 0,
    "GSM": 3,
    "PCMA": 8,
    "G722": 9,
    "G729": 18,
    "opus": 96,
    "iLBC": 97,
    "G726-32": 98,
    "CN": 13,
    "telephone-event": 101,
}
OFFERED = tuple((number, name) for name, number in TYPES.items())


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """4 s of real speech without its longer pauses, 8 kHz."""
    return without_pauses(read_wav(dialogue(tmp_path_factory.mktemp("speech"), 30).caller))[:32_000]


@pytest.fixture(autouse=True)
def _priority_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.setpriority", lambda *_: None)


def opened(call: Call) -> Call:
    """Each voice offers every codec."""
    offers = [replace(offer(v, s), payload_types=OFFERED) for v, s in zip(call.voices, Side, strict=False)]
    ports = call.receiver.open(call.recording, offers, call.key, call.folder)
    for voice, port in zip(call.voices, ports, strict=True):
        voice.destination = port
    return call


def of(voice: Voice, name: str, payload: bytes) -> bytes:
    """A voice's next packet, which is not counted yet."""
    return packet(
        payload, payload_type=TYPES[name], sequence=voice.sequence, timestamp=voice.timestamp, ssrc=voice.ssrc
    )


def stream(voice: Voice, name: str, payloads: list[bytes], begin_ms: float = 0) -> list[tuple[float, bytes]]:
    """(ms when it is sent, datagram) of a voice's next packets; its clock changes with the codec (RFC 7160)."""
    number, due = codec_number(name), begin_ms
    found: list[tuple[float, bytes]] = []
    for payload in payloads:
        found.append((due, of(voice, name, payload)))
        samples = lasting(number, payload)
        voice.skip(1, samples * int(TICKS[number]))
        due += samples / 8
    return found


def send(streams: list[tuple[Voice, list[tuple[float, bytes]]]]) -> int:
    """All of them in real time; returns when that began (Unix ns)."""
    start = time.time_ns()
    for due, _, voice, datagram in sorted(
        (due, voice.ssrc, voice, datagram) for voice, packets in streams for due, datagram in packets
    ):
        time.sleep(max(0, start + due * 1e6 - time.time_ns()) / 1e9)
        voice.send_raw(datagram)
    return start


def finished(call: Call, length: int) -> tuple[Samples, FinishJob]:
    """The WebM's sound at 48 kHz, (n, 2)."""
    secret = X25519PrivateKey.generate().private_bytes_raw()
    ended = call.answered_at_ns + length
    output = call.folder / "recording.webm.sealed"
    job = FinishJob(call.recording, call.folder, call.key, secret, call.answered_at_ns, ended, output)
    done = finish_recording(job)
    assert abs(done.audio_seconds - length / 1e9) < 0.001
    with SealedReader(output, call.key) as reader:
        sound = heard(reader.read(0, reader.size))
    assert abs(len(sound) / 48_000 - length / 1e9) <= 0.02
    return sound, job


def test_calls_in_every_codec_are_heard_where_and_as_they_were_spoken(
    new_call: Callable[[int], Call], speech: Samples
) -> None:
    names = [name for name in TYPES if IS_SOUND[codec_number(name)]]
    calls = [opened(new_call(2)) for _ in names]
    said = [encode(name, at_rate(speech[:16_000], RATES.get(name, 8000))) for name in names]
    other = encode("PCMU", speech[16_000:])
    streams = []
    for call, name, payloads in zip(calls, names, said, strict=True):
        call.voices[0].ssrc, call.voices[1].ssrc = 2 * calls.index(call), 2 * calls.index(call) + 1
        call.begin()
        streams += [(call.voices[0], stream(call.voices[0], name, payloads))]
        streams += [(call.voices[1], stream(call.voices[1], "PCMU", other))]
    began = send(streams)
    for call, name in zip(calls, names, strict=True):
        length = call.finish()
        with LiveFileReader(call.folder / FILE_NAME, call.key) as live:
            assert live.codecs == {codec_number(name), codec_number("PCMU")}
            assert live.lost == (0, 0)
        sound, _ = finished(call, length)
        begin = (began - call.answered_at_ns) * 48 // 10**6
        places = []
        for side, spoken in enumerate([speech[:16_000], speech[16_000:]]):
            lag, found = likeness(sound[:, side], at_rate(spoken, 48_000), 48_000 // 2)
            assert abs(lag - begin) < NEAR * 48_000
            assert found > ({"iLBC": 0.4, "G729": 0.5, "GSM": 0.8}.get(name, 0.9) if side == 0 else 0.9), name
            places.append(lag)
        assert abs(places[0] - places[1]) <= 0.005 * 48_000, "both began at once"


def test_a_telephone_changes_through_all_codecs_in_one_call_under_one_ssrc(call: Call, speech: Samples) -> None:
    opened(call)
    call.begin()
    voice, due = call.voices[0], 0.0
    packets: list[tuple[float, bytes]] = []
    parts: list[tuple[float, str, Samples]] = []
    for number, name in enumerate(["PCMU", "opus", "G722", "iLBC", "opus", "GSM", "G729"]):
        said = speech[number * 4000 : number * 4000 + 4000]
        payloads = encode(name, at_rate(said, RATES.get(name, 8000)))
        packets += stream(voice, name, payloads, due)
        parts.append((due, name, said))
        due += 20 * len(payloads)
    began = send([(voice, packets)])
    sound, _ = finished(call, call.finish())
    begin = (began - call.answered_at_ns) * 48 // 10**6
    for at, name, said in parts:
        first = begin + round(at * 48)
        lag, found = likeness(sound[max(0, first - 4800) : first + 24_000 + 4800, 0], at_rate(said, 48_000), 9600)
        assert abs(lag - min(first, 4800)) <= NEAR * 48_000
        assert found > {"iLBC": 0.1, "G729": 0.2, "GSM": 0.6}.get(name, 0.6), (name, lag)
    assert call.receiver.statistics().misplaced == 0


def test_comfort_noise_takes_its_time_and_is_never_heard(call: Call) -> None:
    opened(call)
    call.begin()
    voice = call.voices[0]
    tone = np.asarray(8000 * np.sin(2 * np.pi * 440 / 8000 * np.arange(1600)), dtype=np.int16)
    said = encode("PCMU", tone)
    sound = stream(voice, "PCMU", said)
    quiet = []
    for number in range(3):
        quiet += [(200.0 + 100 * number, of(voice, "CN", noise(0.002)))]
        voice.skip(1, 800)
    again = stream(voice, "PCMU", said, 500)
    send([(voice, sound + quiet + again)])
    length = call.finish()
    kept = call.kept()
    assert kept.bytes_of(0) == 2 * b"".join(said)
    assert kept.lost == (0, 0)
    place = int(np.flatnonzero(kept.codec[0])[0])
    assert not kept.codec[0, place + 200 : place + 500].any()
    heard_of, _ = finished(call, length)
    assert np.abs(heard_of[(place + 220) * 48 : (place + 480) * 48, 0]).max() < 200
    assert np.abs(heard_of[(place + 520) * 48 : (place + 680) * 48, 0]).max() > 7000


def test_of_a_key_its_moment_is_sealed_and_neither_its_digit_nor_its_tone_is_anywhere(call: Call) -> None:
    """A gateway that sends events and lets the tone through beside them, wholly."""
    opened(call)
    call.begin()
    voice = call.voices[0]
    pitches = np.arange(16_000)
    dtmf = 6000 * (np.sin(2 * np.pi * 770 / 8000 * pitches) + np.sin(2 * np.pi * 1336 / 8000 * pitches))
    beside = 3000 * np.sin(2 * np.pi * 440 / 8000 * pitches)
    pressed = (pitches >= 6400) & (pitches < 7360)  # 800 to 920 ms
    said = np.asarray(np.where(pressed, dtmf, beside), dtype=np.int16)
    sound = stream(voice, "PCMU", encode("PCMU", said))
    stamp = voice.timestamp - 16_000 + 6400
    events, voice.timestamp = [], stamp
    for number in range(9):
        lasted = struct.pack("!BBH", 5, (0x80 if number > 5 else 0) | 10, 160 * min(6, number + 1))
        events += [(800.0 + 20 * number, of(voice, "telephone-event", lasted))]
        voice.skip(1, 0)
    began = send([(voice, sound + events)])
    spoken, job = finished(call, call.finish())
    place = (began - call.answered_at_ns) / 1e6
    with SealedReader(job.folder / KEYS_FILE, call.key) as reader:
        (key,) = json.loads(reader.read(0, reader.size))["keys"]
    assert key["side"] == "caller"
    assert abs(key["at_ms"] - place - 800) < NEAR * 1000
    assert key.keys() == {"side", "at_ms"}
    tone, other = (loudness(spoken[:, 0], pitch) for pitch in (770, 440))
    assert tone < other / 20
    for path in job.folder.iterdir():
        assert b'"keys"' not in path.read_bytes()


def test_a_recording_without_keys_has_no_file_of_them_and_neither_has_one_that_is_finished_again(call: Call) -> None:
    opened(call)
    call.begin(ago_ns=SECOND)
    call.voices[0].send(noise(0.02))
    (call.folder / KEYS_FILE).write_bytes(b"of an attempt before")
    _, job = finished(call, call.finish())
    assert not (job.folder / KEYS_FILE).exists()


def test_an_attacker_who_sends_any_bytes_as_any_codec_ends_nothing(call: Call) -> None:
    opened(call)
    call.begin()
    voice, random = call.voices[0], np.random.default_rng(7)
    before = call.receiver.statistics().received
    for number in range(600):
        head = packet(
            b"",
            payload_type=int(random.choice([0, 3, 9, 18, 96, 97, 98, 101])),
            sequence=number,
            timestamp=160 * number,
        )
        first = bytes([0x80 | int(random.integers(0, 64))]) if number % 3 == 0 else b"\x80"
        size = 1520 if number % 5 == 0 else int(random.integers(0, 1500))
        voice.send_raw(first + head[1:] + random.bytes(size))
        if number % 50 == 0:
            time.sleep(0.05)
    soon(lambda: call.receiver.statistics().received >= before + 600)
    assert call.receiver.running
    voice.ssrc = 77
    (_, good), *_ = stream(voice, "opus", [bytes([0x78]) + bytes(30)])
    kept = call.receiver.statistics().kept
    voice.send_raw(good)
    soon(lambda: call.receiver.statistics().kept == kept + 1)
    finished(call, call.finish())


def loudness(sound: Samples, pitch: float) -> float:
    """Of one pitch at 48 kHz, anywhere in it: the loudest of its 50 ms."""
    blocks = sound[: len(sound) // 2400 * 2400].reshape(-1, 2400).astype(np.float64) * np.hanning(2400)
    return float(np.abs(blocks @ np.exp(-2j * np.pi * pitch / 48_000 * np.arange(2400))).max())


def test_opus_is_told_by_its_clock() -> None:
    assert int(TICKS[OPUS]) == 6
    assert int(TICKS[codec_number("G722")]) == 1
