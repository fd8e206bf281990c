"""A viewing: a reason stated once, then one recording open for a while, in one session.

The token is ``<kind>.<expires>.<mac>``: ``kind`` is ``play`` or ``export``, ``expires`` Unix seconds, and ``mac``
HMAC-SHA256 (base64url, no padding) under a secret of the vault over kind, expiry, recording and the session's token. It
names nobody, opens nothing in another session, and outlives a restart of the server.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, field
from enum import Enum, StrEnum

LIFETIME_SECONDS = 2 * 3600
_NS = 1_000_000_000


class Kind(StrEnum):
    """What the viewing is for: to watch and hear here, or to take a copy away."""

    PLAY = "play"
    EXPORT = "export"


class State(Enum):
    """What a token is worth now."""

    LIVE = "live"
    EXPIRED = "expired"
    FOREIGN = "of another session, recording or kind, or forged"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a token opens, and for whom."""

    recording: str
    kind: Kind
    session: str = field(repr=False)


class Viewings:
    """Makes and checks tokens under one secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def issue(self, claim: Claim, now_ns: int) -> tuple[str, int]:
        """The token, and the Unix second at which it expires."""
        expires = now_ns // _NS + LIFETIME_SECONDS
        return f"{claim.kind.value}.{expires}.{self._mac(claim, expires)}", expires

    def state(self, token: str, claim: Claim, now_ns: int) -> State:
        """What ``token`` is worth for ``claim``."""
        _, _, rest = token.partition(".")
        expires_text = rest.partition(".")[0]
        if not expires_text.isdecimal() or len(expires_text) > 12 or not token.isascii():
            return State.FOREIGN
        expires = int(expires_text)
        if not hmac.compare_digest(f"{claim.kind.value}.{expires}.{self._mac(claim, expires)}", token):
            return State.FOREIGN
        return State.LIVE if now_ns // _NS < expires else State.EXPIRED

    def _mac(self, claim: Claim, expires: int) -> str:
        # The fields cannot run into each other: kind, number and recording hold no newline.
        message = "\n".join(("sipgate viewing v1", claim.kind.value, str(expires), claim.recording, claim.session))
        digest = hmac.digest(self._secret, message.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
