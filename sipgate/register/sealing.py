"""Values that the database holds sealed: lines' identities, exclusions, pseudonym secrets.

So no byte of the database, its log or its backups shows a number (R12), and a copy without the keys' folder tells no
line and leads from no pseudonym to a person.

Format of a sealed value::

    salt 16 random bytes | AES-256-GCM ciphertext of the value | tag 16 bytes

key = HMAC-SHA256(secret, "sipgate register v1" ‖ 00 ‖ place ‖ 00 ‖ salt), nonce = 12 zero bytes, associated data =
place. Each value has a key of its own, so no nonce is used twice; ``place`` (such as ``exclusion``) says in which
column it may stand.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sipgate.errors import SealError

_SALT_BYTES = 16


class Sealing:
    """Seals and opens values under the register's secret (32 bytes)."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32:
            raise ValueError("the register's secret is 32 bytes")
        self._secret = secret

    def seal(self, place: str, value: bytes) -> bytes:
        """The value, sealed for that place."""
        salt = secrets.token_bytes(_SALT_BYTES)
        return salt + self._cipher(place, salt).encrypt(bytes(12), value, place.encode())

    def open(self, place: str, sealed: bytes) -> bytes:
        """The value back. Raises SealError when it was altered, moved, or sealed under another secret."""
        salt, rest = sealed[:_SALT_BYTES], sealed[_SALT_BYTES:]
        try:
            return self._cipher(place, salt).decrypt(bytes(12), rest, place.encode())
        except (InvalidTag, ValueError) as error:
            raise SealError("a sealed value of the register does not open: is the keys' folder this site's?") from error

    def _cipher(self, place: str, salt: bytes) -> AESGCM:
        purpose = b"sipgate register v1\0" + place.encode() + b"\0" + salt
        return AESGCM(hmac.digest(self._secret, purpose, hashlib.sha256))
