"""What one SRTP master key makes: session keys (RFC 3711 §4.3, RFC 6188, RFC 7714 §11) and the ciphers under them.

A master key is used for the whole of a session here (key derivation rate 0), whatever lifetime its offer states: it is
the sender who must change it in time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sipgate.core.events import MediaKey
from sipgate.errors import MediaError
from sipgate.sip.sdescriptions import SUITES, Suite

BLOCK: Final = 16
SHA1_BYTES: Final = 20
_ENCRYPTION, _AUTHENTICATION, _SALT = 0x00, 0x01, 0x02  # §4.3.2, labels
_HMAC_BLOCK: Final = 64


def derive(master: bytes, salt: bytes, label: int, size: int) -> bytes:
    """``size`` bytes of the key stream AES-CM makes under ``master`` for this label (§4.3.1, §4.3.3), at index 0."""
    nonce = int.from_bytes(salt.ljust(14, b"\0"), "big") ^ label << 48
    encryptor = Cipher(algorithms.AES(master), modes.CTR((nonce << 16).to_bytes(BLOCK, "big"))).encryptor()
    return encryptor.update(bytes(size))


class SessionKeys:
    """The keys of one direction under one master key, as ``of`` makes them. ``mki``: what its packets name them by.

    ``nonce``: the salt as an integer, in its place in AES-CM's 128-bit counter block, or in GCM's 96-bit nonce.
    """

    def __init__(self, suite: Suite, encryption: bytes, authentication: bytes, salt: bytes, mki: bytes = b"") -> None:
        self.aead, self.tag, self.mki = suite.aead, suite.tag, mki
        self.nonce = int.from_bytes(salt, "big") << (0 if suite.aead else 16)
        self._gcm = AESGCM(encryption) if suite.aead else None
        # One encryptor serves for good, as ECB has no state; ECB of counters is what counter mode is.
        encryptor = Cipher(algorithms.AES(encryption), modes.ECB()).encryptor()  # noqa: S305
        self.key_stream: Callable[[bytes | memoryview], bytes] = encryptor.update
        padded = authentication.ljust(_HMAC_BLOCK, b"\0")
        inner, outer = (
            hashlib.sha1(bytes(byte ^ pad for byte in padded), usedforsecurity=False) for pad in (0x36, 0x5C)
        )
        self.keyed = inner, outer
        """HMAC-SHA1's two states under the key (RFC 2104 §4): to be copied, which costs half of ``hmac.digest``."""

    @classmethod
    def of(cls, offered: MediaKey) -> SessionKeys:
        """Raises MediaError for a suite that is unknown, or a key of the wrong length."""
        suite = SUITES.get(offered.suite)
        if suite is None or len(offered.secret) != suite.key + suite.salt:
            raise MediaError("SRTP: no such suite, or a key of another length than its own")
        master, salt = offered.secret[: suite.key], offered.secret[suite.key :]
        encryption, authentication, nonce = (
            derive(master, salt, label, size)
            for label, size in ((_ENCRYPTION, suite.key), (_AUTHENTICATION, SHA1_BYTES), (_SALT, suite.salt))
        )
        return cls(suite, encryption, authentication, nonce, offered.mki)

    def hmac(self, message: bytes | memoryview) -> bytes:
        """HMAC-SHA1 (RFC 2104)."""
        inner, outer = (state.copy() for state in self.keyed)
        inner.update(message)
        outer.update(inner.digest())
        return outer.digest()

    def opened(self, ssrc: int, index: int, sealed: memoryview, header: memoryview) -> bytes | None:
        """AES-GCM's payload (RFC 7714 §8.1), None when ``sealed`` (with its tag) or ``header`` is not authentic."""
        if self._gcm is None:
            return None
        nonce = self.nonce ^ ssrc << 48 ^ index
        try:
            return self._gcm.decrypt(nonce.to_bytes(12, "big"), sealed, header)
        except InvalidTag:
            return None
