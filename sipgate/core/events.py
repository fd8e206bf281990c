"""What comes in: frozen, identical for every tap.

Times are ``at_ns``: nanoseconds since the Unix epoch on the server's steady clock (set at start, never set back).
A *session* is a tap's handle for what it observes of one call (an int that the tap chooses, unique in the process).
A *recording* is the name (32 hexadecimal digits) under which ``service`` has opened keys and ports for a session.
Events that could name somebody hide it from ``repr``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from sipgate.core.lines import Identity

if TYPE_CHECKING:
    from sipgate.core.policy import Policy


class Side(Enum):
    """Left is the caller, right is the callee, always."""

    CALLER = 0
    CALLEE = 1


@dataclass(frozen=True, slots=True)
class Party:
    """One party of one leg, by every identity that signalling shows of it. Empty: anonymous.

    ``side`` is None for parties that have no stream of their own (who diverted, referred, asserted).
    """

    side: Side | None
    identities: frozenset[Identity] = field(repr=False)


@dataclass(frozen=True, slots=True)
class MediaKey:
    """A key under which SRTP is sent (RFC 4568): its suite's name, master key and salt in one, and what names it."""

    suite: str
    secret: bytes = field(repr=False)
    mki: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class StreamOffer:
    """One RTP stream that the peer offers to send: where it comes from, what it carries, whose voice it is.

    ``payload_types`` maps RTP payload types to encoding names as in SDP (``PCMU``, ``PCMA``, ``telephone-event``).
    ``rtcp``: where the peer wants receiver reports; None: nowhere. ``rtcp_mux``: RTCP shares the port (RFC 5761).
    ``networks``: behind a NAT, where it may come from instead: the first source out of these is its own.
    ``crypto``: the keys of its SRTP, one of which every packet must be authentic under; empty: plain RTP.
    """

    label: str
    side: Side | None
    address: str
    port: int
    payload_types: tuple[tuple[int, str], ...]
    rtcp_mux: bool = False
    rtcp: tuple[str, int] | None = None
    crypto: tuple[MediaKey, ...] = field(default=(), repr=False)
    networks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Offered:
    """A tap sees a call that could be recorded, and waits for Open or Refuse.

    ``connection`` is the configured name of the peer. ``answered_at_ns`` is None while there is no evidence of the
    answer. ``keys`` say which call it is (Call-ID, sipSessionID), ``story_keys`` what it belongs to (``join``): never
    logged. Without ``streams`` the tap sees the signalling alone and waits for nothing: what it tells of the answer and
    the parties counts for whoever records this call. ``half``: the other side's voice comes in a session of its own
    (``halves``). ``named_later``: this peer is declared to name the parties once the session stands.
    """

    session: int
    connection: str
    parties: tuple[Party, ...]
    streams: tuple[StreamOffer, ...]
    answered_at_ns: int | None
    at_ns: int
    keys: frozenset[str] = field(default=frozenset(), repr=False)
    half: bool = False
    story_keys: frozenset[str] = field(default=frozenset(), repr=False)
    named_later: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """Evidence that the call itself (not merely the recording session) is answered.

    From a tap that sees the signalling alone, it counts for every session of the call that waits for its answer.
    """

    session: int
    at_ns: int


@dataclass(frozen=True, slots=True)
class PartiesChanged:
    """The whole new set of parties: transfer, pickup, conference, late identity."""

    session: int
    parties: tuple[Party, ...]
    at_ns: int


@dataclass(frozen=True, slots=True)
class KeysChanged:
    """More has become known of which call a session shows, or what it belongs to."""

    session: int
    keys: frozenset[str] = field(repr=False)
    story_keys: frozenset[str] = field(repr=False)
    at_ns: int


@dataclass(frozen=True, slots=True)
class StreamsChanged:
    """The streams changed (re-INVITE): new addresses, codecs, or direction. Same labels keep their ports."""

    session: int
    streams: tuple[StreamOffer, ...]
    at_ns: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The call, or the tap's sight of it, is over. ``established`` is False when it never came to stand (no ACK)."""

    session: int
    at_ns: int
    established: bool = True


@dataclass(frozen=True, slots=True)
class Opened:
    """``service`` has opened a key, a crash ledger entry and ports for the session, and the tap has accepted it."""

    session: int
    recording: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class OpenFailed:
    """No key, port or disk: the session is refused with 503 so that the peer fails over."""

    session: int
    at_ns: int


@dataclass(frozen=True, slots=True)
class DigitPressed:
    """A telephone key (RFC 4733) was pressed on one side of a recording."""

    recording: str
    side: Side
    digit: str = field(repr=False)
    at_ns: int


@dataclass(frozen=True, slots=True)
class MediaFailed:
    """The recording's sound can no longer be written (disk full, key gone)."""

    recording: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class Kept:
    """The recording is in the index; the policy given before this event already counts it."""

    recording: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class WorkstationUp:
    """A workstation is connected and can be commanded (its clock offset is known)."""

    workstation: str
    boot: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class WorkstationDown:
    """A workstation, or (``workstation`` None) the broker, is out of reach."""

    workstation: str | None
    at_ns: int


@dataclass(frozen=True, slots=True)
class PrivateCall:
    """The person at the workstation, or an objection, says: not this call. No reason asked (R10, R11)."""

    recording: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class PolicyChanged:
    """A new policy is in force: every call under way is decided again."""

    policy: Policy
    at_ns: int


Event = (
    Offered
    | Answered
    | PartiesChanged
    | KeysChanged
    | StreamsChanged
    | Ended
    | Opened
    | OpenFailed
    | DigitPressed
    | MediaFailed
    | Kept
    | WorkstationUp
    | WorkstationDown
    | PrivateCall
    | PolicyChanged
)
