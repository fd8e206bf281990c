"""Security descriptions (RFC 4568): the ``a=crypto`` attributes of an m-line, read, chosen from, and answered.

A key is whoever's who reads this attribute, so nothing here has a ``repr`` and no error quotes it. What cannot be used
as it was meant is no offer: an attribute with an unknown suite, a key of another length, a parameter that asks for less
protection, or one that must be understood and is not (§6.3) is passed over, and an m-line without any other is refused.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

PLAIN: Final = frozenset({"RTP/AVP", "RTP/AVPF"})
SECURE: Final = frozenset({"RTP/SAVP", "RTP/SAVPF"})

_MOST_KEYS: Final = 4
_LONGEST_MKI: Final = 128  # bytes, §9.1
_MOST_PACKETS: Final = 48  # as a power of two, RFC 3711 §9.2
_ATTRIBUTE: Final = re.compile(r"([0-9]{1,9})[ \t]+([A-Za-z0-9_]+)[ \t]+(\S+)((?:[ \t]+\S+)*)")
_INLINE: Final = re.compile(
    r"inline:([A-Za-z0-9+/]+={0,2})(?:\|(?:(2\^)?([0-9]{1,15})))?(?:\|([0-9]{1,39}):([0-9]{1,3}))?", re.I
)
_WINDOW: Final = re.compile(r"WSH=[0-9]{2,9}", re.I)
"""The one parameter that asks nothing of a receiver: how large a replay window the sender hopes for (§6.3.6)."""


class Suite(NamedTuple):
    """Lengths in bytes. ``aead``: AES-GCM (RFC 7714), else AES-CM with HMAC-SHA1 (RFC 3711, RFC 6188)."""

    key: int
    salt: int
    tag: int
    aead: bool


SUITES: Final = {  # the first is what we like best
    "AEAD_AES_256_GCM": Suite(32, 12, 16, aead=True),
    "AEAD_AES_128_GCM": Suite(16, 12, 16, aead=True),
    "AES_256_CM_HMAC_SHA1_80": Suite(32, 14, 10, aead=False),
    "AES_192_CM_HMAC_SHA1_80": Suite(24, 14, 10, aead=False),
    "AES_CM_128_HMAC_SHA1_80": Suite(16, 14, 10, aead=False),
    "AES_256_CM_HMAC_SHA1_32": Suite(32, 14, 4, aead=False),
    "AES_192_CM_HMAC_SHA1_32": Suite(24, 14, 4, aead=False),
    "AES_CM_128_HMAC_SHA1_32": Suite(16, 14, 4, aead=False),
}
_RANK: Final = {name: rank for rank, name in enumerate(SUITES)}
_SPELLINGS: Final = {  # of drafts before RFC 6188, still offered
    f"AES_CM_{bits}_HMAC_SHA1_{tag}": f"AES_{bits}_CM_HMAC_SHA1_{tag}" for bits in (192, 256) for tag in (80, 32)
}


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """``secret``: master key, then master salt. ``mki``: what names this key in packets; empty when nothing does."""

    secret: bytes
    mki: bytes


@dataclass(frozen=True, slots=True, repr=False)
class Crypto:
    """One attribute that can be used. ``suite``: its name in ``SUITES``; ``spelling``: as it was offered."""

    tag: int
    suite: str
    spelling: str
    keys: tuple[Key, ...]

    def answered(self, secret: bytes) -> str:
        """The attribute of the answer (§5.1.2): same tag, same suite, a key of ours."""
        return f"a=crypto:{self.tag} {self.spelling} inline:{base64.b64encode(secret).decode('ascii')}"


def new_secret(suite: str) -> bytes:
    """A master key and salt of our own."""
    return secrets.token_bytes(SUITES[suite].key + SUITES[suite].salt)


def choose(values: Iterable[str]) -> Crypto | None:
    """The one attribute of an m-line that we take: of those that can be used the one with the best suite."""
    usable = (found for value in values if (found := read(value)) is not None)
    return min(usable, key=lambda crypto: _RANK[crypto.suite], default=None)


def read(value: str) -> Crypto | None:
    """What follows ``a=crypto:``; None when it cannot be used."""
    match = _ATTRIBUTE.fullmatch(value.strip())
    if match is None:
        return None
    spelling = match[2]
    suite = _SPELLINGS.get(spelling.upper(), spelling.upper())
    if suite not in SUITES or not all(_harmless(parameter) for parameter in match[4].split()):
        return None
    keys = [_key(text, SUITES[suite]) for text in match[3].split(";")]
    named = [key for key in keys if key is not None]
    if len(named) < len(keys) or len(named) > _MOST_KEYS or not _told_apart(named):
        return None
    return Crypto(int(match[1]), suite, spelling, tuple(named))


def _harmless(parameter: str) -> bool:
    # §6.3.7: what begins with a hyphen may be ignored. KDR, FEC and UNENCRYPTED_… change what a receiver must do.
    return parameter.startswith("-") or _WINDOW.fullmatch(parameter) is not None


def _told_apart(keys: list[Key]) -> bool:
    """§6.1: several keys need identifiers, all of one length."""
    names = {key.mki for key in keys}
    return len(names) == len(keys) and len({len(name) for name in names}) == 1


def _key(text: str, suite: Suite) -> Key | None:
    match = _INLINE.fullmatch(text)
    if match is None:
        return None
    try:
        secret = base64.b64decode(match[1] + "=" * (-len(match[1]) % 4), validate=True)
    except binascii.Error:
        return None
    lifetime = (1 << int(match[3]) if len(match[3]) < 3 else 0) if match[2] else int(match[3] or 1)
    if len(secret) != suite.key + suite.salt or not 0 < lifetime <= 1 << _MOST_PACKETS:
        return None
    if match[4] is None:
        return Key(secret, b"")
    name, length = int(match[4]), int(match[5])
    if not 0 < length <= _LONGEST_MKI or name >= 1 << (8 * length):
        return None
    return Key(secret, name.to_bytes(length, "big"))
