"""A sealed file opens whole and in its place, or not at all."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sipgate.errors import SealError, StoreError
from sipgate.vault.sealed import CHUNK_BYTES, SealedReader, write_sealed_file

KEY = bytes(range(32))
SEALED_CHUNK = 65536 + 16


def content_of(path: Path, key: bytes = KEY) -> bytes:
    with SealedReader(path, key) as reader:
        return reader.read(0, reader.size)


def a_stranger_reads(path: Path, key: bytes) -> bytes:
    """A reader written from the module's docstring alone."""
    raw = path.read_bytes()
    assert raw[:4] == b"SGV1"
    info = b"sipgate sealed file v1" + b"\x00" + path.name.encode()
    cipher = AESGCM(HKDF(hashes.SHA256(), 32, raw[4:36], info).derive(key))
    body, plain, index = raw[36:], b"", 0
    while body:
        chunk, body = body[:65552], body[65552:]
        plain += cipher.decrypt(bytes(7) + index.to_bytes(4, "big") + (b"\x00" if body else b"\x01"), chunk, raw[:36])
        index += 1
    return plain


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 200_000])
def test_what_was_sealed_comes_back_and_a_stranger_reads_it_by_the_specification(tmp_path: Path, size: int) -> None:
    plain = os.urandom(size)
    path = tmp_path / "a.sealed"
    write_sealed_file(path, KEY, [plain[:10], plain[10:70_000], b"", plain[70_000:]])
    assert content_of(path) == plain
    assert a_stranger_reads(path, KEY) == plain
    with SealedReader(path, KEY) as reader:
        assert reader.size == size
        assert b"".join(reader.chunks()) == plain


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(offset=st.integers(0, 210_000), length=st.integers(0, 210_000))
def test_any_range_is_what_a_slice_of_the_content_would_be(tmp_path: Path, offset: int, length: int) -> None:
    plain = bytes(range(256)) * 782
    path = tmp_path / "a.sealed"
    if not path.exists():
        write_sealed_file(path, KEY, [plain])
    with SealedReader(path, KEY) as reader:
        assert reader.read(offset, length) == plain[offset : offset + length]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(0, 90_000), max_size=5))
def test_how_the_content_is_cut_into_chunks_by_the_caller_does_not_matter(tmp_path: Path, sizes: list[int]) -> None:
    path = tmp_path / "a.sealed"
    write_sealed_file(path, KEY, (bytes([i]) * size for i, size in enumerate(sizes)))
    assert content_of(path) == b"".join(bytes([i]) * size for i, size in enumerate(sizes))


def test_a_range_reads_only_its_own_chunks(tmp_path: Path) -> None:
    path = tmp_path / "a.sealed"
    write_sealed_file(path, KEY, [bytes(3 * CHUNK_BYTES)])
    spoil(path, 36 + 10)
    with SealedReader(path, KEY) as reader:
        assert reader.read(CHUNK_BYTES, CHUNK_BYTES) == bytes(CHUNK_BYTES)
        with pytest.raises(SealError):
            reader.read(CHUNK_BYTES - 1, 1)


def test_negative_offsets_are_the_callers_mistake(tmp_path: Path) -> None:
    path = tmp_path / "a.sealed"
    write_sealed_file(path, KEY, [b"x"])
    with SealedReader(path, KEY) as reader, pytest.raises(ValueError, match="count from 0"):
        reader.read(-1, 2)


def spoil(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize("at", [0, 3, 4, 35, 36, 36 + SEALED_CHUNK - 1, 36 + SEALED_CHUNK, -17, -1])
def test_one_altered_bit_anywhere_is_found(tmp_path: Path, at: int) -> None:
    path = tmp_path / "a.sealed"
    write_sealed_file(path, KEY, [bytes(CHUNK_BYTES + 1000)])
    spoil(path, at)
    with pytest.raises(SealError):
        content_of(path)


@pytest.mark.parametrize(
    "kept", [0, 3, 36, 40, 36 + 15, 36 + SEALED_CHUNK, 36 + SEALED_CHUNK + 5, 36 + 2 * SEALED_CHUNK]
)
def test_a_file_that_was_cut_does_not_even_open(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "a.sealed"
    write_sealed_file(path, KEY, [bytes(2 * CHUNK_BYTES + 1000)])
    os.truncate(path, kept)
    with pytest.raises(SealError):
        SealedReader(path, KEY)


def test_bytes_put_behind_the_end_are_found(tmp_path: Path) -> None:
    path = tmp_path / "a.sealed"
    write_sealed_file(path, KEY, [bytes(1000)])
    for extra in (b"x", bytes(16), bytes(SEALED_CHUNK)):
        copy = tmp_path / "copy" / "a.sealed"
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes() + extra)
        with pytest.raises(SealError):
            SealedReader(copy, KEY)


def test_chunks_that_changed_places_are_found(tmp_path: Path) -> None:
    path = tmp_path / "a.sealed"
    write_sealed_file(path, KEY, [b"a" * CHUNK_BYTES, b"b" * CHUNK_BYTES, b"c"])
    raw = path.read_bytes()
    first, second, rest = (
        raw[36 : 36 + SEALED_CHUNK],
        raw[36 + SEALED_CHUNK :][:SEALED_CHUNK],
        raw[36 + 2 * SEALED_CHUNK :],
    )
    path.write_bytes(raw[:36] + second + first + rest)
    with SealedReader(path, KEY) as reader, pytest.raises(SealError):
        reader.read(0, 1)


def test_a_file_put_in_the_place_of_another_under_the_same_key_does_not_open(tmp_path: Path) -> None:
    write_sealed_file(tmp_path / "a.sealed", KEY, [b"one"])
    os.replace(tmp_path / "a.sealed", tmp_path / "b.sealed")
    with pytest.raises(SealError):
        SealedReader(tmp_path / "b.sealed", KEY)


def test_a_chunk_of_another_file_of_the_same_name_and_key_is_found(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    mine, other = tmp_path / "a.sealed", tmp_path / "x" / "a.sealed"
    for path in (mine, other):
        write_sealed_file(path, KEY, [b"the same content"])
    mine.write_bytes(mine.read_bytes()[:36] + other.read_bytes()[36:])
    with pytest.raises(SealError):
        SealedReader(mine, KEY)


def test_another_key_opens_nothing(tmp_path: Path) -> None:
    write_sealed_file(tmp_path / "a.sealed", KEY, [b"one"])
    with pytest.raises(SealError):
        SealedReader(tmp_path / "a.sealed", bytes(32))


def test_the_same_content_sealed_twice_shares_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.sealed"
    write_sealed_file(path, KEY, [bytes(1000)])
    before = path.read_bytes()
    write_sealed_file(path, KEY, [bytes(1000)])
    assert before[36:] != path.read_bytes()[36:]


def test_a_sealed_file_is_private_and_holds_no_plaintext(tmp_path: Path) -> None:
    write_sealed_file(tmp_path / "a.sealed", KEY, [b"canary" * 1000])
    assert (tmp_path / "a.sealed").stat().st_mode & 0o777 == 0o600
    assert b"canary" not in (tmp_path / "a.sealed").read_bytes()


def test_when_the_source_fails_the_old_file_stays_and_nothing_else_does(tmp_path: Path) -> None:
    path = tmp_path / "a.sealed"
    write_sealed_file(path, KEY, [b"old"])

    def failing() -> Iterator[bytes]:
        yield bytes(100_000)
        raise SealError("the source")

    with pytest.raises(SealError, match="the source"):
        write_sealed_file(path, KEY, failing())
    assert content_of(path) == b"old"
    assert os.listdir(tmp_path) == ["a.sealed"]


def test_a_missing_file_or_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"none\.sealed: cannot be read"):
        SealedReader(tmp_path / "none.sealed", KEY)
    with pytest.raises(StoreError, match="cannot be written"):
        write_sealed_file(tmp_path / "none" / "a.sealed", KEY, [b""])


def test_a_key_of_another_length_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        write_sealed_file(tmp_path / "a.sealed", b"short", [b""])
    assert os.listdir(tmp_path) == []


_FULL = """
import resource, sys
from pathlib import Path
from sipgate.errors import StoreError
from sipgate.vault.sealed import write_sealed_file
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_sealed_file(Path(sys.argv[1]), bytes(range(32)), [bytes(400_000)])
except StoreError as error:
    print(error)
"""


def test_a_disk_that_fills_half_way_leaves_the_old_file_and_says_so(tmp_path: Path) -> None:
    # RLIMIT_FSIZE makes the kernel refuse the write in the middle of the file, as a full disk does.
    path = tmp_path / "a.sealed"
    write_sealed_file(path, KEY, [b"old"])
    ran = subprocess.run([sys.executable, "-c", _FULL, str(path)], capture_output=True, text=True, check=True)
    assert "a.sealed: cannot be written: File too large" in ran.stdout
    assert content_of(path) == b"old"
    assert os.listdir(tmp_path) == ["a.sealed"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100_000
