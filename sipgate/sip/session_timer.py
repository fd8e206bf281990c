"""Session timers (RFC 4028), as the side that was called: how long a session may stand without being refreshed.

The client refreshes, unless it asks us to (``refresher=uas``): then we do so with an UPDATE that changes nothing, never
with a re-INVITE (INTEROP: it makes old OpenSIPS stop recording). A session that is not refreshed in time has lost its
client: it ends with a BYE (§10).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sipgate.errors import SipError
from sipgate.sip.grammar import GrammarError, read_parameters
from sipgate.sip.message import Request

MIN_SE = 90  # seconds (§5)

_SECONDS = re.compile(r"[0-9]{1,10}")
_LONGEST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class SessionTimer:
    """What one 2xx agrees to. ``ours``: we refresh. ``required``: the client said that it knows session timers."""

    seconds: int
    ours: bool
    required: bool

    def fields(self) -> list[tuple[str, str]]:
        """For the 2xx (§9)."""
        found = [("Session-Expires", f"{self.seconds};refresher={'uas' if self.ours else 'uac'}")]
        return [*found, ("Require", "timer")] if self.required and not self.ours else found

    @property
    def refresh_after(self) -> int:
        """When we refresh, if that is ours: seconds from the 2xx (§10: at half the interval)."""
        return self.seconds // 2

    @property
    def over_after(self) -> int:
        """When the session is over if it was not refreshed: seconds from the 2xx (§10: a little before the end)."""
        return self.seconds - min(32, self.seconds // 3)


def agree(request: Request) -> SessionTimer | None:
    """What to answer to an INVITE or UPDATE, or None. Raises SipError 422 (too short) or 400.

    Where only a proxy asks (the client does not say ``timer``), the session goes without, as nobody would refresh it.
    """
    value = request.get("session-expires")
    if value is None:
        return None
    match = _SECONDS.match(value)
    refresher = _refresher(value, match.end()) if match is not None else None
    if match is None or refresher is None:
        raise SipError("Session-Expires is malformed", reason="Bad Session-Expires Header Field")
    knows = "timer" in request.tokens("supported") or "timer" in request.tokens("require")
    if not knows and refresher != "uac":
        return None
    if int(match[0]) < MIN_SE:
        raise SipError("Session-Expires is too short", 422)
    return SessionTimer(min(int(match[0]), _LONGEST), refresher == "uas", knows)


def _refresher(value: str, start: int) -> str | None:
    try:
        return read_parameters(value, start).get("refresher", "").lower()
    except GrammarError:
        return None
