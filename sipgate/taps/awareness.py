"""Recording awareness (RFC 7866 §5.3, §6.3, §7.3): what a recording server does when it meets a preference.

``a=record`` and ``a=recordpref`` belong to the communication session: a recording-aware telephone tells the recording
client its preference (on, off, pause, nopreference), and the client tells the telephone whether it is being recorded.
Neither has a meaning between client and server, and the RFC asks nothing of a server that meets one: it ignores them as
any attribute that it does not know (RFC 8866 §5.13), answers without them, and sends none of its own.

But a client that builds its offer to us out of a telephone's passes the preference on. What then stands there is a
person's wish not to be recorded, whoever was meant to act on it (RULES R10, R11), so this server does:

* ``recordpref:off``, of any stream or the whole session: somebody objects. Their recording session has a party more of
  whom nothing is known, and a call with an unidentified party is refused, or stopped and erased, by the same path, the
  same response and without a word in a log, as any refusal by policy; and so are all sessions of that call. It holds
  until the end of the session: a preference that comes back does not bring back what was erased.
* ``recordpref:pause``: the same. Nothing may be kept while a pause lasts, of the film as of the sound, and there is no
  pause of both yet; when there is, this is its place.
* ``recordpref:on``, ``nopreference``: nothing. Whether a call is recorded is decided by policy, not by a wish for it.
* ``a=record`` with any value: nothing. It says what the client does, which is no preference of a person, and at the
  beginning, when the client has yet to be answered by us, it is ``off`` in every call.
"""

from __future__ import annotations

from sipgate.core.events import Party
from sipgate.sip import sdp

SOMEBODY = Party(None, frozenset())
"""A party of whom nothing is known: with one, no call is recorded."""

_OBJECTIONS = frozenset({"off", "pause"})


def objects(description: sdp.Description) -> bool:
    """Whether somebody in this description does not want to be recorded."""
    return not _OBJECTIONS.isdisjoint(description.preferences)
