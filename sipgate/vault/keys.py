"""The keys of one recording: one for what the server writes, a pair for what the workstation films."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from sipgate.errors import SealError

KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class RecordingKeys:
    """``data_key``: AES-256 for the server's sealed files. ``film_private``, ``film_public``: raw X25519 (RFC 7748)."""

    data_key: bytes = field(repr=False)
    film_private: bytes = field(repr=False)
    film_public: bytes = field(repr=False)

    @classmethod
    def new(cls) -> RecordingKeys:
        """Fresh random keys."""
        return cls._of(secrets.token_bytes(KEY_BYTES), X25519PrivateKey.generate())

    @classmethod
    def _of(cls, data_key: bytes, film: X25519PrivateKey) -> RecordingKeys:
        return cls(data_key, film.private_bytes_raw(), film.public_key().public_bytes_raw())

    def to_bytes(self) -> bytes:
        """``data_key`` ‖ ``film_private``: what is wrapped and stored (64 bytes)."""
        return self.data_key + self.film_private

    @classmethod
    def from_bytes(cls, raw: bytes) -> RecordingKeys:
        """The reverse of ``to_bytes``; the public key is derived. Raises SealError when the length is wrong."""
        if len(raw) != 2 * KEY_BYTES:
            raise SealError("a wrapped key holds 64 bytes; this one does not")
        return cls._of(raw[:KEY_BYTES], X25519PrivateKey.from_private_bytes(raw[KEY_BYTES:]))
