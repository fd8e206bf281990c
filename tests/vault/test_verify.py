"""`vault verify` opens everything, and names what does not open by recording and file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from capture_client.protocol import FilmPacket, SegmentSealer
from sipgate.errors import SealError
from sipgate.vault.vault import Vault
from sipgate.vault.verify import Problem, verify

ID = "0123456789abcdef0123456789abcdef"
OTHER = "f" * 32
TAKE = "ab" * 16


def check_audio(path: Path, data_key: bytes) -> None:
    """Stands for the media's own check of its own format."""
    if path.read_bytes() != b"sound" + data_key[:4]:
        raise SealError("no")


def segment(recording: str, index: int, public_key: bytes) -> bytes:
    sealer = SegmentSealer(recording, TAKE, public_key)
    return sealer.seal(index, [FilmPacket(True, 1, 640, 480, b"frame")])


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    vault = Vault(tmp_path / "data", tmp_path / "keys")
    for recording in (ID, OTHER):
        keys = vault.create(recording)
        vault.write_sealed(recording, "metadata.sealed", b"<recording/>")
        vault.write_sealed(recording, "recording.webm.sealed", bytes(200_000))
        (vault.folder(recording) / "audio.sealed").write_bytes(b"sound" + keys.data_key[:4])
        take = vault.folder(recording) / "film" / TAKE
        take.mkdir(parents=True)
        for index in range(2):
            (take / f"{index:06d}.seg").write_bytes(segment(recording, index, keys.film_public))
        (take / "end.json").write_text(json.dumps({"segments": 2}))
    return vault


def found(vault: Vault) -> list[Problem]:
    return verify(vault, {"audio.sealed": check_audio})


def test_when_everything_opens_there_is_no_problem(vault: Vault) -> None:
    assert found(vault) == []


def flip(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("file", "at"),
    [
        ("metadata.sealed", -1),
        ("recording.webm.sealed", 100_000),
        ("audio.sealed", 0),
        (f"film/{TAKE}/000001.seg", -1),
        (f"film/{TAKE}/000001.seg", 0),
    ],
)
def test_one_altered_byte_in_any_file_is_found_and_the_file_named(vault: Vault, file: str, at: int) -> None:
    flip(vault.folder(ID) / file, at)
    (problem,) = found(vault)
    assert (problem.recording, problem.file) == (ID, file)
    assert str(problem) == f"recording {ID}: {file}: does not open: altered, cut, or another recording's"


def test_an_altered_key_is_found(vault: Vault, tmp_path: Path) -> None:
    flip(tmp_path / "keys" / "recordings" / f"{ID}.key", -1)
    assert [str(problem) for problem in found(vault)] == [
        f"recording {ID}: its key does not open: altered, or wrapped under another site key"
    ]


def put_plaintext(folder: Path) -> None:
    (folder / "recording.webm").write_bytes(b"plain")


def put_link(folder: Path) -> None:
    (folder / "other.sealed").symlink_to("/etc/passwd")


def leave_temporary(folder: Path) -> None:
    (folder / ".metadata.sealed.tmp-0011223344556677").write_bytes(b"half")


def exchange_segments(folder: Path) -> None:
    os.replace(folder / "film" / TAKE / "000000.seg", folder / "film" / TAKE / "000002.seg")


def spoil_end(folder: Path) -> None:
    (folder / "film" / TAKE / "end.json").write_text("[]")


def cut_end(folder: Path) -> None:
    (folder / "film" / TAKE / "end.json").write_text('{"segm')


@pytest.mark.parametrize(
    ("harm", "file", "text"),
    [
        (put_plaintext, "recording.webm", "unknown: nothing here writes such a file"),
        (put_link, "other.sealed", "a link: nothing in the vault is one"),
        (leave_temporary, ".metadata.sealed.tmp-0011223344556677", "left by a write that a crash cut short"),
        (exchange_segments, f"film/{TAKE}/000002.seg", "in the place of another segment"),
        (spoil_end, f"film/{TAKE}/end.json", "not the end of a take"),
        (cut_end, f"film/{TAKE}/end.json", "not the end of a take"),
    ],
)
def test_what_does_not_belong_there_is_named(vault: Vault, harm: Callable[[Path], None], file: str, text: str) -> None:
    harm(vault.folder(OTHER))
    (problem,) = found(vault)
    assert (problem.recording, problem.file) == (OTHER, file)
    assert problem.text.startswith(text)


def test_media_without_a_key_and_a_key_without_media_are_named(vault: Vault, tmp_path: Path) -> None:
    (tmp_path / "keys" / "recordings" / f"{ID}.key").unlink()
    os.rename(tmp_path / "data" / "media" / OTHER, tmp_path / "moved")
    assert [problem.text for problem in found(vault)] == [
        "media without a key: erased, its removal was cut short",
        "a key without a folder: the media are missing",
    ]


def test_a_destroyed_recording_is_no_problem(vault: Vault) -> None:
    vault.destroy(ID)
    assert found(vault) == []
