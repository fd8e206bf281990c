"""Sealed whole files: written once, read at random, opened only whole and in place.

Format (all that a stranger needs to write a reader)::

    head    magic "SGV1" 4 bytes | salt 32 random bytes
    chunks  AES-256-GCM ciphertext of up to 65536 bytes of the plain content | tag 16 bytes, one after another

* Key of the file: HKDF-SHA256(key, salt, info = "sipgate sealed file v1" ‖ 00 ‖ file name in UTF-8), 32 bytes.
  ``key`` is the recording's data key (or the site key); the *file name* is the last part of the path, so that a file
  put in the place of another one, even of the same recording, does not open.
* Nonce of chunk i (from 0): 7 zero bytes ‖ i as 4 bytes big-endian ‖ 01 for the last chunk, 00 for any other. This is
  the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár: "Online Authenticated-Encryption and its Nonce-Reuse
  Misuse-Resistance", 2015): chunks cannot be reordered, dropped, or cut off at the end. Each file has a key of
  its own (the salt), so a nonce is never used twice.
* Associated data: the head (36 bytes).
* Every chunk but the last holds exactly 65536 bytes of content; the last holds 1 to 65536, or 0 when the whole content
  is empty. So the content's size follows from the file's, and chunk i begins at 36 + i * 65552.

Errors: SealError when a file does not open (altered, cut, another key, another name); StoreError when it cannot be read
or written. Neither tells anything of the content.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sipgate.errors import SealError, StoreError
from sipgate.vault import files

MAGIC = b"SGV1"
SALT_BYTES = 32
HEAD_BYTES = len(MAGIC) + SALT_BYTES
CHUNK_BYTES = 65536
TAG_BYTES = 16
_SEALED_CHUNK = CHUNK_BYTES + TAG_BYTES
_MOST_CHUNKS = 1 << 32


def write_sealed_file(path: Path, key: bytes, chunks: Iterable[bytes]) -> None:
    """Seal ``chunks`` (of any sizes; their concatenation is the content) as ``path``: atomic, durable, 0600.

    ``key``: 32 bytes. What ``chunks`` raises passes through and leaves no file. Raises StoreError.
    """
    files.write_whole(path, _sealed_pieces(path.name, key, chunks))


def _sealed_pieces(name: str, key: bytes, chunks: Iterable[bytes]) -> Iterator[bytes]:
    head = MAGIC + secrets.token_bytes(SALT_BYTES)
    aead = _file_cipher(key, head, name)
    yield head
    waiting, index = bytearray(), 0
    for chunk in chunks:
        waiting += chunk
        # A full chunk is held back until more follows: only then is it known not to be the last.
        while len(waiting) > CHUNK_BYTES:
            yield aead.encrypt(_nonce(index, last=False), bytes(waiting[:CHUNK_BYTES]), head)
            del waiting[:CHUNK_BYTES]
            index += 1
    yield aead.encrypt(_nonce(index, last=True), bytes(waiting), head)


def _file_cipher(key: bytes, head: bytes, name: str) -> AESGCM:
    if len(key) != 32:
        raise ValueError("a key is 32 bytes")
    info = b"sipgate sealed file v1\0" + name.encode()
    return AESGCM(HKDF(hashes.SHA256(), 32, salt=head[len(MAGIC) :], info=info).derive(key))


def _nonce(index: int, *, last: bool) -> bytes:
    if index >= _MOST_CHUNKS:
        raise StoreError("a sealed file holds at most 256 TiB")
    return bytes(7) + index.to_bytes(4, "big") + bytes([last])


class SealedReader:
    """A sealed file, open for random access: ``with SealedReader(path, key) as reader: reader.read(0, reader.size)``.

    Opening authenticates the head, the name, the key and the end of the file; reading authenticates each chunk that it
    touches. It may be used by several threads at once. ``size`` is the content's, in bytes.
    """

    def __init__(self, path: Path, key: bytes) -> None:
        self._path = path
        with files.named(path, "read"):
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self._open(key)
        except BaseException:
            self.close()
            raise

    def _open(self, key: bytes) -> None:
        with files.named(self._path, "read"):
            stored = os.fstat(self._descriptor).st_size - HEAD_BYTES
            self._head = os.pread(self._descriptor, HEAD_BYTES, 0)
        self._chunks = -(-stored // _SEALED_CHUNK)
        self.size = stored - self._chunks * TAG_BYTES
        if not self._head.startswith(MAGIC) or self._chunks < 1 or self.size < 0:
            raise SealError(f"{self._path}: not a sealed file")
        self._cipher = _file_cipher(key, self._head, self._path.name)
        # The flag of the last chunk is what tells a whole file from one that was cut at a chunk's border.
        if not self._chunk(self._chunks - 1) and self._chunks > 1:
            raise SealError(f"{self._path}: not a sealed file")

    def read(self, offset: int, length: int) -> bytes:
        """The content's bytes [offset, offset + length), fewer at its end, none beyond it. Raises SealError."""
        if offset < 0 or length < 0:
            raise ValueError("offset and length count from 0")
        end = min(offset + length, self.size)
        if offset >= end:
            return b""
        first = offset // CHUNK_BYTES
        parts = [self._chunk(index) for index in range(first, -(-end // CHUNK_BYTES))]
        start = offset - first * CHUNK_BYTES
        return b"".join(parts)[start : start + end - offset]

    def chunks(self) -> Iterator[bytes]:
        """The whole content, a chunk at a time."""
        return (self._chunk(index) for index in range(self._chunks))

    def _chunk(self, index: int) -> bytes:
        with files.named(self._path, "read"):
            sealed = os.pread(self._descriptor, _SEALED_CHUNK, HEAD_BYTES + index * _SEALED_CHUNK)
        try:
            return self._cipher.decrypt(_nonce(index, last=index == self._chunks - 1), sealed, self._head)
        except (InvalidTag, ValueError) as error:
            raise SealError(
                f"{self._path}: does not open: altered, cut, or sealed under another key or name"
            ) from error

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> SealedReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
