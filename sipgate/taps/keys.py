"""Which call a recording session shows, and what that call belongs to: the keys that ``core.join`` joins by.

A call: its Call-ID or Session-ID in the metadata's ``sipSessionID`` (OpenSIPS writes the one, RFC 7865 §6.3.1 means the
other), or where it is missing the id of the metadata's session; the recording session's own Call-ID; CUCM's x-refci. A
story: the metadata's group (RFC 7865 §6.2), each end's half of a Session-ID (RFC 7989: a transfer changes one half),
the Session-ID of the INVITE itself, and the dialog that it replaces or targets (RFC 3891, RFC 4538).

What many calls could share is no key: nil identifiers (AudioCodes writes a group of zeros) and short ids that clients
count up or never change. A session's id beside a Call-ID is trusted with a story alone: one that never changed would
make one call of a day, and one protected party in it would destroy them all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sipgate.sip.message import Request
from sipgate.sip.rsmetadata import Metadata
from sipgate.taps.cisco import Headed

_SESSION_ID = re.compile(r"\s*([0-9a-f]{32})\s*(?:;.*?\bremote\s*=\s*([0-9a-f]{32})\b.*)?", re.IGNORECASE | re.DOTALL)
_SHORTEST = 16
"""A UUID in base64 has 22 characters, in hexadecimal 32."""


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """``call``: what sessions of one call share; ``story``: what calls of one story share."""

    call: frozenset[str]
    story: frozenset[str]

    def __or__(self, other: Keys) -> Keys:
        return Keys(self.call | other.call, self.story | other.story)


def keys_of(request: Request, metadata: Metadata, headed: Headed | None) -> Keys:
    """By all that a request and the metadata so far say."""
    call, story = {request.call_id}, set[str]()
    if headed is not None and headed.key is not None:
        call.add(headed.key)
    for text in metadata.session_ids:
        ends = _ends(text)
        if ends is None and any(c.isalnum() and c != "0" for c in text):
            call.add(text)
        elif ends:
            call.add("session-id " + " ".join(ends))
            story |= {f"end {end}" for end in ends}
    sessions = {f"session {text}" for text in metadata.sessions if _tells(text)}
    (story if metadata.session_ids else call).update(sessions)
    story |= {f"group {text}" for text in metadata.groups if _tells(text)}
    for value in request.fields.get("session-id", ()):
        story |= {f"end {end}" for end in _ends(value) or ()}
    for name in ("replaces", "target-dialog"):
        story |= {value.partition(";")[0].strip() for value in request.fields.get(name, ())}
    return Keys(frozenset(call - {""}), frozenset(story - {""}))


def _ends(text: str) -> tuple[str, ...] | None:
    """The halves of a Session-ID that are not nil, in one order whichever end wrote it; None if it is none."""
    match = _SESSION_ID.fullmatch(text)
    if match is None:
        return None
    return tuple(sorted({half.lower() for half in match.groups() if half is not None and half.strip("0")}))


def _tells(text: str) -> bool:
    return len(text) >= _SHORTEST and any(c.isalnum() and c != "0" for c in text)
