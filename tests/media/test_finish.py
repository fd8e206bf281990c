"""After the call: one sealed WebM, decoded by ffmpeg, whose sound and picture are what was said and shown, and when."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import pickle
import subprocess
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from capture_client.protocol import FilmPacket
from sipgate.errors import SealError, StoreError
from sipgate.media.codecs import PCMA, PCMU
from sipgate.media.film import SHOW_LAST_FRAME
from sipgate.media.finish import Finished, FinishJob, finish_recording, sound
from sipgate.media.frames import FILE_NAME, LEGS, UNIT_BYTES, WINDOW_UNITS, LiveFile, LiveFileReader, Window
from sipgate.vault.sealed import SealedReader
from tests.peers import rtp
from tests.peers.speech import compare, dialogue, read_wav
from tests.peers.vp9_film import film, number_of, write_take

ANSWERED = 1_700_000_000_123_456_789
SECOND = 1_000_000_000

Samples = npt.NDArray[np.int16]


@dataclass
class Recording:
    """A recording's folder as a call left it."""

    folder: Path
    length_ns: int
    name: str = "ef" * 16
    key: bytes = bytes(range(32))
    film_key: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate)

    def hear(self, left: Samples, right: Samples, *, laws: tuple[int, int] = (PCMU, PCMA), mixed: bool = False) -> None:
        """Write the live file of a call in which these were said."""
        live = LiveFile(self.folder / FILE_NAME, self.name, self.key)
        payload_types = {PCMU: rtp.PCMU, PCMA: rtp.PCMA}
        windows = -(-self.length_ns // 500_000_000)
        legs = []
        for samples, law in zip((left, right), laws, strict=True):
            padded = np.zeros(windows * WINDOW_UNITS * UNIT_BYTES, np.int16)
            padded[: samples.size] = samples[: padded.size]
            legs.append(np.frombuffer(rtp.encoded(padded, payload_types[law]), np.uint8))
        codec = np.repeat(np.array(laws, dtype=np.uint8)[:, np.newaxis], WINDOW_UNITS, axis=1)
        for number, block in enumerate(np.split(np.stack(legs), windows, axis=1)):
            shaped = block.reshape(LEGS, WINDOW_UNITS, UNIT_BYTES)
            live.append(Window(number, codec, shaped, ANSWERED, (1, 2), mixed))
        live.finish(self.length_ns, (1, 2))
        live.close()

    def film(self, packets: Sequence[FilmPacket], **how: object) -> None:
        """Upload a take."""
        write_take(self.folder, self.name, self.film_key, packets, **how)  # type: ignore[arg-type]

    def job(self) -> FinishJob:
        """What the service asks for."""
        output = self.folder / "recording.webm.sealed"
        film_key = self.film_key.private_bytes_raw()
        ended = ANSWERED + self.length_ns
        return FinishJob(self.name, self.folder, self.key, film_key, ANSWERED, ended, output)

    def webm(self) -> bytes:
        """The plain WebM."""
        with SealedReader(self.job().output, self.key) as reader:
            return reader.read(0, reader.size)


@pytest.fixture(autouse=True)
def _priority_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests run the work in their own process, whose priority is not theirs to lower."""
    monkeypatch.setattr(os, "setpriority", lambda *_: None)


def heard(webm: bytes) -> Samples:
    """(n, channels) at 48 kHz, as ffmpeg decodes it."""
    with av.open(io.BytesIO(webm), "r") as container:
        blocks = []
        for frame in container.decode(audio=0):
            block = frame.to_ndarray()
            blocks.append(block if frame.format.is_planar else block.reshape(-1, frame.layout.nb_channels).T)
    return np.asarray(np.clip(np.concatenate(blocks, axis=1).T * 32768, -32768, 32767), dtype=np.int16)


def at_8_khz(samples: Samples) -> Samples:
    """One channel, every sixth sample: what is spoken at 8 kHz holds nothing above 4 kHz."""
    return samples[::6]


def probed(webm: bytes, tmp_path: Path) -> dict[str, object]:
    """What ffprobe says of it, every packet read."""
    path = tmp_path / "probed.webm"
    path.write_bytes(webm)
    command = ["ffprobe", "-v", "error", "-show_format", "-show_streams", "-count_frames", "-of", "json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    probe: dict[str, object] = json.loads(done.stdout)
    return probe


def tone(pitch: float, seconds: float) -> Samples:
    return np.asarray(8000 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * 8000)) / 8000), dtype=np.int16)


# --- sound ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length_ns", [40_000_000, 999_999_999, 3 * SECOND, 3_217_345_678])
def test_the_sound_is_exactly_as_long_as_the_call(tmp_path: Path, length_ns: int) -> None:
    recording = Recording(tmp_path, length_ns)
    recording.hear(tone(440, 4), tone(660, 4))
    done = finish_recording(recording.job())
    with LiveFileReader(tmp_path / FILE_NAME, recording.key) as live:
        samples = sum(len(block) for block in sound(live, length_ns, 2))
    assert abs(samples - length_ns / 125_000) <= 1
    assert abs(done.audio_seconds - length_ns / 1e9) <= 1 / 8000
    assert abs(len(heard(recording.webm())) / 48_000 - length_ns / 1e9) <= 0.02


def test_real_speech_is_on_its_own_side_and_in_its_own_time(tmp_path: Path) -> None:
    said = dialogue(tmp_path, 12)
    caller, callee = read_wav(said.caller), read_wav(said.callee)
    recording = Recording(tmp_path, 12 * SECOND)
    recording.hear(caller, callee)
    finish_recording(recording.job())
    left, right = (at_8_khz(channel) for channel in heard(recording.webm()).T)
    for channel, own, other in ((left, caller, callee), (right, callee, caller)):
        lag, likeness = compare(channel, own)
        assert abs(lag) <= 0.002
        assert likeness > 0.95
        assert compare(channel, other)[1] < 0.3


def test_what_one_side_says_is_not_heard_on_the_other(tmp_path: Path) -> None:
    """Crosstalk, by what the right channel changes when the left one falls silent: below -40 dB of the left."""
    said = dialogue(tmp_path, 8)
    caller, callee = read_wav(said.caller), read_wav(said.callee)
    rights = []
    for number, left in enumerate((caller, np.zeros_like(caller))):
        folder = tmp_path / str(number)
        folder.mkdir()
        recording = Recording(folder, 8 * SECOND)
        recording.hear(left, callee)
        finish_recording(recording.job())
        decoded = heard(recording.webm()).astype(np.float64)
        rights.append(decoded[:, 1])
        if number == 0:
            power = float((decoded[:, 0] ** 2).mean())
    leaked = float(((rights[0] - rights[1]) ** 2).mean())
    assert leaked < power * 1e-4


def test_left_and_right_have_a_meaning_to_players(tmp_path: Path) -> None:
    """RFC 7845 §5.1.1.2: mapping family 1, two streams, none coupled."""
    recording = Recording(tmp_path, SECOND)
    recording.hear(tone(440, 1), tone(660, 1))
    finish_recording(recording.job())
    webm = recording.webm()
    head = webm[webm.index(b"OpusHead") :][:21]
    assert head[9] == 2
    assert head[18:21] == bytes([1, 2, 0])


def test_a_mixed_stream_becomes_mono_and_no_feigned_stereo(tmp_path: Path) -> None:
    recording = Recording(tmp_path, SECOND)
    recording.hear(tone(440, 1), np.zeros(8000, np.int16), mixed=True)
    assert finish_recording(recording.job()).channels == 1
    assert heard(recording.webm()).shape[1] == 1


def test_a_call_in_which_nothing_was_received_is_silence_of_its_length(tmp_path: Path) -> None:
    recording = Recording(tmp_path, 2 * SECOND)
    live = LiveFile(tmp_path / FILE_NAME, recording.name, recording.key)
    live.close()
    done = finish_recording(recording.job())
    decoded = heard(recording.webm())
    assert (done.channels, done.audio_seconds, done.frames) == (2, 2.0, 0)
    assert abs(decoded).max() <= 1
    assert abs(len(decoded) - 96_000) < 960


def test_a_file_that_a_crash_left_is_finished_up_to_the_given_end(tmp_path: Path) -> None:
    recording = Recording(tmp_path, 3 * SECOND)
    recording.hear(tone(440, 3), tone(660, 3))
    os.truncate(tmp_path / FILE_NAME, (tmp_path / FILE_NAME).stat().st_size - 5000)  # no final frame, a torn one
    recording.length_ns = 2_400_000_000
    done = finish_recording(recording.job())
    assert (done.audio_seconds, done.lost) == (2.4, (1, 2))
    decoded = heard(recording.webm())
    assert abs(decoded[: 2 * 48_000, 0]).max() > 5000


# --- picture --------------------------------------------------------------------------------------------------------


def shown(webm: bytes) -> list[tuple[float, int, tuple[int, int]]]:
    """(seconds, number on the picture, size) of every picture that a player shows."""
    with av.open(io.BytesIO(webm), "r") as container:
        return [
            (
                float(frame.time or 0),
                number_of(np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)),
                (frame.width, frame.height),
            )
            for frame in container.decode(video=0)
        ]


def test_every_picture_stands_at_the_moment_at_which_it_was_filmed(tmp_path: Path) -> None:
    times = [730, 812, 1500, 1560, 2900, 4400, 4401, 5200]
    recording = Recording(tmp_path, 6 * SECOND)
    recording.hear(tone(440, 6), tone(660, 6))
    recording.film(film(times))
    done = finish_recording(recording.job())
    assert done == Finished(6.0, 2, 8, ANSWERED + 730_000_000, ANSWERED + 5_200_000_000, (1, 2), film_complete=True)
    pictures = shown(recording.webm())
    first_seen = {number: seconds for seconds, number, _ in reversed(pictures)}
    assert first_seen == {number: pytest.approx(at / 1000) for number, at in enumerate(times)}
    for seconds, number, _ in pictures:
        assert times[number] <= seconds * 1000 + 0.5, "no picture is shown before its time"
    gaps = np.diff([seconds for seconds, _, _ in pictures])
    assert gaps.max() <= 0.25, "at least four pictures a second"


def test_sound_and_picture_share_one_timeline(tmp_path: Path) -> None:
    """A click on the sound at the moment of a picture."""
    clicks = np.zeros(8000 * 4, np.int16)
    clicks[int(2.345 * 8000) : int(2.345 * 8000) + 40] = 20_000
    recording = Recording(tmp_path, 4 * SECOND)
    recording.hear(clicks, clicks)
    recording.film(film([500, 2345, 3000]))
    finish_recording(recording.job())
    webm = recording.webm()
    with av.open(io.BytesIO(webm), "r") as container:
        first_audio = float(next(container.decode(audio=0)).time or 0)
    loud = np.flatnonzero(abs(heard(webm)[:, 0].astype(int)) > 5000)
    assert first_audio + loud[0] / 48_000 == pytest.approx(2.345, abs=0.004)
    assert next(seconds for seconds, number, _ in shown(webm) if number == 1) == pytest.approx(2.345, abs=0.001)


def test_the_films_own_packets_are_in_the_webm_unmodified(tmp_path: Path) -> None:
    packets = film([0, 100, 900, 1700])
    recording = Recording(tmp_path, 2 * SECOND)
    recording.hear(tone(440, 2), tone(660, 2))
    recording.film(packets)
    finish_recording(recording.job())
    with av.open(io.BytesIO(recording.webm()), "r") as container:
        muxed = [(bytes(p), p.is_keyframe) for p in container.demux(video=0) if p.size > 1]
    assert muxed == [(p.data, p.key) for p in packets]
    assert SHOW_LAST_FRAME not in [data for data, _ in muxed]


def test_a_window_that_is_resized_in_mid_film_still_plays(tmp_path: Path) -> None:
    small = film([0, 100, 200])
    large = film([1000, 1100, 1900], width=480, height=320, first=3)
    recording = Recording(tmp_path, 2 * SECOND)
    recording.hear(tone(440, 2), tone(660, 2))
    recording.film(small + large)
    finish_recording(recording.job())
    pictures = shown(recording.webm())
    assert sorted({(number, size) for _, number, size in pictures}) == [
        *((number, (320, 200)) for number in range(3)),
        *((number, (480, 320)) for number in range(3, 6)),
    ]
    probed(recording.webm(), tmp_path)


def test_ffprobe_finds_nothing_wrong_a_finite_duration_and_the_cues_in_front(tmp_path: Path) -> None:
    recording = Recording(tmp_path, 5 * SECOND)
    recording.hear(tone(440, 5), tone(660, 5))
    recording.film(film(list(range(100, 4900, 100)), gop=20))
    finish_recording(recording.job())
    webm = recording.webm()
    probe = probed(webm, tmp_path)
    streams = {s["codec_type"]: s for s in probe["streams"]}  # type: ignore[attr-defined]
    assert (streams["audio"]["codec_name"], streams["audio"]["channels"]) == ("opus", 2)
    assert (streams["video"]["codec_name"], streams["video"]["width"]) == ("vp9", 320)
    assert float(probe["format"]["duration"]) == pytest.approx(5, abs=0.02)  # type: ignore[index]
    cues, clusters = webm.find(b"\x1c\x53\xbb\x6b", 150), webm.find(b"\x1f\x43\xb6\x75", 150)
    assert 0 < cues < clusters


def test_a_film_that_cannot_be_opened_costs_only_itself(tmp_path: Path) -> None:
    recording = Recording(tmp_path, SECOND)
    recording.hear(tone(440, 1), tone(660, 1))
    write_take(tmp_path, recording.name, X25519PrivateKey.generate(), film([0, 100]))
    done = finish_recording(recording.job())
    assert (done.frames, done.first_frame_ns, done.last_frame_ns, done.film_complete) == (0, None, None, False)
    assert len(heard(recording.webm())) > 47_000


# --- how it runs ----------------------------------------------------------------------------------------------------


def test_it_runs_in_a_spawned_worker_at_low_priority(tmp_path: Path) -> None:
    recording = Recording(tmp_path, SECOND)
    recording.hear(tone(440, 1), tone(660, 1))
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(finish_recording, recording.job()).result(60).audio_seconds == 1.0
        assert pool.submit(os.getpriority, os.PRIO_PROCESS, 0).result(60) >= 10
        (tmp_path / FILE_NAME).unlink()
        failing = pool.submit(finish_recording, recording.job())
        with pytest.raises(StoreError):
            failing.result(60)


def test_no_plain_sound_or_film_touches_the_disk(tmp_path: Path) -> None:
    packets = film([0, 100, 200])
    recording = Recording(tmp_path, 2 * SECOND)
    recording.hear(tone(440, 2), tone(660, 2))
    recording.film(packets)
    finish_recording(recording.job())
    webm = recording.webm()
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        stored = path.read_bytes()
        assert b"OpusHead" not in stored
        assert packets[0].data[:64] not in stored
        assert webm[1000:1064] not in stored


def test_another_key_is_an_error_and_leaves_no_output(tmp_path: Path) -> None:
    recording = Recording(tmp_path, SECOND)
    recording.hear(tone(440, 1), tone(660, 1))
    recording.key = bytes(32)
    with pytest.raises(SealError):
        finish_recording(recording.job())
    assert not recording.job().output.exists()


def test_the_repr_of_a_job_hides_its_keys(tmp_path: Path) -> None:
    assert "key" not in repr(Recording(tmp_path, SECOND).job())


def test_a_film_that_cannot_be_muxed_does_not_cost_the_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = Recording(tmp_path, 2 * SECOND)
    recording.hear(np.full(16_000, 1000, np.int16), np.full(16_000, 1000, np.int16))
    recording.film(film([0, 500, 1500]))
    monkeypatch.setattr("sipgate.media.finish._image", _refused)
    finished = finish_recording(recording.job())
    assert (finished.frames, finished.film_refused, finished.film_complete) == (0, True, False)
    assert finished.audio_seconds == 2.0
    with av.open(io.BytesIO(recording.webm())) as webm:
        assert [stream.type for stream in webm.streams] == ["audio"]


def test_sound_that_cannot_be_muxed_is_an_error_that_another_process_can_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = Recording(tmp_path, SECOND)
    recording.hear(np.zeros(8000, np.int16), np.zeros(8000, np.int16))
    monkeypatch.setattr("sipgate.media.finish._mux", _refused)
    with pytest.raises(StoreError, match="WebM") as caught:
        finish_recording(recording.job())
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301 - our own


def _refused(*_: object) -> None:
    raise av.error.InvalidDataError(1094995529, "Invalid data found when processing input")
