"""The live file: read by a stranger from its specification alone; whole after a crash; cut at the hangup."""

from __future__ import annotations

import os
import resource
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sipgate.errors import SealError, StoreError
from sipgate.media import frames
from sipgate.media.codecs import ABSENT, CONTINUES, OPUS, PCMA, PCMU, SILENCE
from sipgate.media.codecs import KEY as KEYS
from sipgate.media.frames import (
    FRAME_BYTES,
    LEGS,
    UNIT_BYTES,
    WINDOW_NS,
    WINDOW_UNITS,
    LiveFile,
    LiveFileReader,
    Window,
    sealed_length_ns,
)

RECORDING = "00112233445566778899aabbccddeeff"
KEY = bytes(range(32))
ANSWERED = 1_700_000_000_000_000_000
HEAD_BYTES = 56


def window(number: int, seed: int | None = None, **fields: object) -> Window:
    """A window full of random sound, PCMU left and PCMA right."""
    random = np.random.default_rng(number if seed is None else seed)
    codec = np.repeat(np.array([[PCMU], [PCMA]], dtype=np.uint8), WINDOW_UNITS, axis=1)
    sound = random.integers(0, 256, (LEGS, WINDOW_UNITS, UNIT_BYTES), dtype=np.uint8)
    return Window(number, codec, sound, ANSWERED, **fields)  # type: ignore[arg-type]


def same(first: Window, second: Window) -> bool:
    """Whether both hold the same sound."""
    return np.array_equal(first.codec, second.codec) and np.array_equal(first.sound, second.sound)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audio.sealed"


def test_a_stranger_reads_the_file_by_its_specification(path: Path) -> None:
    live = LiveFile(path, RECORDING, KEY)
    live.append(window(0))
    live.append(window(1, lost=(3, 4)))
    live.finish(WINDOW_NS + 1_000_000, (5, 6))
    live.close()

    raw = path.read_bytes()
    magic, layout, recording, salt = struct.unpack(">4sB3x16s32s", raw[:HEAD_BYTES])
    assert (magic, layout, recording.hex()) == (b"SGA1", 2, RECORDING)
    cipher = AESGCM(HKDF(hashes.SHA256(), 32, salt=salt, info=b"sipgate audio v1").derive(KEY))
    assert len(raw) == HEAD_BYTES + 2 * 9060
    frame = raw[HEAD_BYTES + 9060 :]
    counter, number = struct.unpack(">QI", frame[:12])
    plain = cipher.decrypt(bytes(4) + counter.to_bytes(8, "big"), frame[12:], raw[:HEAD_BYTES] + frame[:12])
    flags, plane, answered, length, lost_left, lost_right = struct.unpack(">BB6xqqII", plain[:32])
    assert (number, flags, plane, answered) == (1, 2, 0, ANSWERED)
    assert (length, lost_left, lost_right) == (WINDOW_NS + 1_000_000, 5, 6)
    left = plain[32 : 32 + 4500]
    assert left[:2] == bytes([PCMU, ABSENT])
    assert left[500:508] == window(1).sound[0, 0].tobytes()
    assert not any(left[508:])


def test_every_window_comes_back_and_what_was_not_sealed_is_silence(path: Path) -> None:
    live = LiveFile(path, RECORDING, KEY)
    for number in (0, 1, 3):
        live.append(window(number))
    live.close()
    with LiveFileReader(path, KEY) as reader:
        assert (reader.recording, reader.answered_at_ns) == (RECORDING, ANSWERED)
        assert (reader.length_ns, reader.sealed_ns) == (None, 4 * WINDOW_NS)
        held = list(reader.windows(4 * WINDOW_NS))
    assert [same(held[number], window(number)) for number in (0, 1, 3)] == [True] * 3
    assert not held[2].codec.any()


def test_files_of_the_layout_before_are_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "_LAYOUT", 1)
    live = LiveFile(path, RECORDING, KEY)
    live.append(window(0))
    live.finish(WINDOW_NS, (0, 0))
    live.close()
    assert path.read_bytes()[4] == 1
    with LiveFileReader(path, KEY) as reader:
        assert reader.length_ns == WINDOW_NS
        assert reader.codecs == {PCMU, PCMA}
        assert same(reader.window(0), window(0).until(WINDOW_NS))


def test_a_layout_to_come_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "_LAYOUT", 3)
    LiveFile(path, RECORDING, KEY).close()
    with pytest.raises(SealError, match="layout"):
        LiveFileReader(path, KEY)


def wide(number: int, planes: int, seed: int = 7) -> Window:
    """A window whose packets take several planes."""
    codec = np.full((LEGS, WINDOW_UNITS), OPUS | CONTINUES, np.uint8)
    codec[:, ::20] = OPUS
    sound = np.random.default_rng(seed).integers(0, 256, (LEGS, WINDOW_UNITS, 8 * planes), dtype=np.uint8)
    return Window(number, codec, sound, ANSWERED)


def test_windows_of_several_planes_come_back_whole_also_when_sealed_again_and_cut(path: Path) -> None:
    live = LiveFile(path, RECORDING, KEY)
    for window_, planes in [(0, 1), (1, 3), (0, 2), (2, 4)]:
        live.append(wide(window_, planes))
    live.append(wide(1, 3, seed=8))
    live.finish(2 * WINDOW_NS + 100_000_000, (1, 0))
    live.close()
    with LiveFileReader(path, KEY) as reader:
        assert reader.codecs == {OPUS}
        assert same(reader.window(0), wide(0, 2))
        assert same(reader.window(1), wide(1, 3, seed=8))
        assert same(reader.window(2), wide(2, 4).until(2 * WINDOW_NS + 100_000_000))
        assert not reader.window(2).sound[:, 100:].any()


def test_of_a_window_sealed_again_the_older_sealing_is_blank(path: Path) -> None:
    """A telephone key may have come since, whose tone is in it."""
    live = LiveFile(path, RECORDING, KEY)
    live.append(wide(0, 2))
    older = path.read_bytes()
    live.append(wide(0, 2, seed=8))
    live.close()
    os.truncate(path, len(older))  # as if only the older frames were left
    with LiveFileReader(path, KEY) as reader:
        assert not reader.window(0).sound.any()
    assert path.read_bytes() != older


def test_a_plane_of_another_sealing_is_never_joined_to_a_window(path: Path) -> None:
    """Killed between two writes: the newer plane is there, the window that it belongs to is not."""
    live = LiveFile(path, RECORDING, KEY)
    live.append(wide(0, 2))
    before = path.read_bytes()
    live.append(wide(0, 2, seed=8))
    live.close()
    path.write_bytes(before + path.read_bytes()[len(before) :][:FRAME_BYTES])  # nothing older is blanked before the end
    with LiveFileReader(path, KEY) as reader:
        assert same(reader.window(0), wide(0, 2))
    with path.open("r+b") as file:  # and the older plane is altered
        file.seek(HEAD_BYTES + 100)
        file.write(b"?")
    with LiveFileReader(path, KEY) as reader:
        assert reader.window(0).sound.shape == (LEGS, WINDOW_UNITS, 8)


def test_a_packet_at_the_hangup_goes_whole_and_what_is_before_it_stays() -> None:
    cut = wide(0, 1).until(110_500_000)
    assert cut.codec[0, :100].all()
    assert not cut.codec[0, 100:].any()
    assert not cut.sound[0, 100:].any()
    key = Window(0, np.full((LEGS, WINDOW_UNITS), KEYS | CONTINUES, np.uint8), wide(0, 1).sound, ANSWERED)
    assert key.until(110_500_000).codec[0].tolist() == [KEYS | CONTINUES] * 111 + [0] * 389


def test_of_two_frames_of_a_window_the_later_one_counts(path: Path) -> None:
    live = LiveFile(path, RECORDING, KEY)
    for frame in (window(0), window(1), window(0, seed=99)):
        live.append(frame)
    live.close()
    with LiveFileReader(path, KEY) as reader:
        assert same(reader.window(0), window(0, seed=99))
        assert same(reader.window(1), window(1))


@pytest.mark.parametrize("length_ns", [0, 1, 124_999, 125_000, 300_125_000, WINDOW_NS, WINDOW_NS + 1, 3 * WINDOW_NS])
def test_nothing_after_the_hangup_stays_in_the_file(path: Path, length_ns: int) -> None:
    live = LiveFile(path, RECORDING, KEY)
    for number in range(4):
        live.append(window(number))
    live.append(window(0, seed=77))  # sealed again behind later ones
    live.finish(length_ns, (0, 0))
    live.close()
    samples = length_ns // 125_000
    with LiveFileReader(path, KEY) as reader:
        assert reader.length_ns == length_ns
        for number in range(4):
            held, expected = reader.window(number), window(number, seed=77 if number == 0 else None)
            keep = min(4000, max(0, samples - number * 4000))
            assert np.array_equal(held.sound.reshape(LEGS, -1)[:, :keep], expected.sound.reshape(LEGS, -1)[:, :keep])
            assert not held.codec[:, -(-keep // 8) :].any()
            rest = held.sound.reshape(LEGS, -1)[:, keep : -(-keep // 8) * 8]
            assert (rest == SILENCE[[PCMU, PCMA], None]).all()


def test_no_nonce_is_used_twice_even_when_frames_are_overwritten(path: Path) -> None:
    live = LiveFile(path, RECORDING, KEY)
    before = {}
    for number in range(3):
        live.append(window(number))
        before[number] = struct.unpack_from(">Q", path.read_bytes(), HEAD_BYTES + number * FRAME_BYTES)[0]
    live.finish(2 * WINDOW_NS + 5, (0, 0))
    live.close()
    after = struct.unpack_from(">Q", path.read_bytes(), HEAD_BYTES + 2 * FRAME_BYTES)[0]
    assert len({*before.values(), after}) == 4


def test_a_torn_last_frame_costs_only_itself(path: Path) -> None:
    live = LiveFile(path, RECORDING, KEY)
    for number in range(3):
        live.append(window(number))
    live.close()
    os.truncate(path, HEAD_BYTES + 2 * FRAME_BYTES + 5000)
    with LiveFileReader(path, KEY) as reader:
        assert same(reader.window(1), window(1))
        assert (reader.sealed_ns, reader.damaged) == (2 * WINDOW_NS, 0)
    assert sealed_length_ns(path, KEY) == 2 * WINDOW_NS


@pytest.mark.parametrize("at", [HEAD_BYTES + 3, HEAD_BYTES + 11, HEAD_BYTES + 500, HEAD_BYTES + FRAME_BYTES - 1])
def test_an_altered_frame_does_not_open_and_is_counted(path: Path, at: int) -> None:
    live = LiveFile(path, RECORDING, KEY)
    live.append(window(0))
    live.append(window(1))
    live.close()
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)
    with LiveFileReader(path, KEY) as reader:
        assert reader.damaged == 1
        assert not reader.window(0).codec.any()
        assert same(reader.window(1), window(1))


def test_another_key_another_file_and_no_file_are_errors(path: Path) -> None:
    live = LiveFile(path, RECORDING, KEY)
    live.append(window(0))
    live.close()
    with pytest.raises(SealError, match="another key"):
        LiveFileReader(path, bytes(32))
    path.write_bytes(b"SGA2" + path.read_bytes()[4:])
    with pytest.raises(SealError, match="not a live file"):
        LiveFileReader(path, KEY)
    path.unlink()
    with pytest.raises(StoreError):
        LiveFileReader(path, KEY)


def test_a_frame_of_another_call_does_not_open_in_this_file(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for name in (path, other):
        live = LiveFile(name, RECORDING, KEY)
        live.append(window(0))
        live.append(window(1))
        live.close()
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(mine[: HEAD_BYTES + FRAME_BYTES] + theirs[HEAD_BYTES + FRAME_BYTES :])
    with LiveFileReader(path, KEY) as reader:
        assert reader.damaged == 1


def test_no_sound_is_in_the_file_in_plain(path: Path) -> None:
    live = LiveFile(path, RECORDING, KEY)
    live.append(window(0))
    live.close()
    assert window(0).sound[0, 0].tobytes() not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_second_live_file_of_a_recording_is_refused(path: Path) -> None:
    LiveFile(path, RECORDING, KEY).close()
    with pytest.raises(StoreError):
        LiveFile(path, RECORDING, KEY)


@contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    """The system refuses longer files: a write in the middle of the border comes back short, the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_takes_no_more_is_an_error_and_what_was_sealed_stays_readable(path: Path) -> None:
    live = LiveFile(path, RECORDING, KEY)
    with files_no_longer_than(HEAD_BYTES + FRAME_BYTES + 100):
        live.append(window(0))
        with pytest.raises(StoreError, match="full"):
            live.append(window(1))
    live.close()
    with LiveFileReader(path, KEY) as reader:
        assert same(reader.window(0), window(0))
        assert reader.sealed_ns == WINDOW_NS
