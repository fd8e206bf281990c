"""One call as the user agent server keeps it, and what it tells the call's owner."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, auto

from sipgate.sip.dialog import Dialog
from sipgate.sip.message import Flow, Request
from sipgate.sip.session_timer import SessionTimer
from sipgate.sip.timers import T1
from sipgate.sip.transaction import Transaction


class CallTimer(IntEnum):
    """Timers of a call: the next repetition of its 2xx, the end of waiting for the ACK (§13.3.1.4); RFC 4028's."""

    REPEAT = auto()
    GIVE_UP = auto()
    REFRESH = auto()
    EXPIRE = auto()


@dataclass(slots=True, eq=False, repr=False)
class Call:
    """One call. ``first``: Call-ID, From tag and CSeq of its INVITE. ``pending``: what waits for its owner's answer.

    ``unacknowledged``: CSeq, bytes and transaction of a 2xx that is repeated until its ACK. ``timer``: RFC 4028's.
    ``offering``: an offer of ours waits for its answer, which the ACK will bring.
    """

    dialog: Dialog
    first: tuple[str, str, int]
    flow: Flow
    pending: tuple[Request, Transaction] | None
    established: bool = False
    acknowledged: bool = False
    unacknowledged: tuple[int, bytes, Transaction] | None = field(default=None)
    interval: int = T1
    timer: SessionTimer | None = None
    offering: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Invited:
    """A new call waits to be answered."""

    call: Call
    request: Request


@dataclass(frozen=True, slots=True, repr=False)
class Modified:
    """A re-INVITE or an UPDATE of an established call waits to be answered."""

    call: Call
    request: Request


@dataclass(frozen=True, slots=True, repr=False)
class Answered:
    """The ACK to a 2xx in which we had made the offer: ``ack`` brings the answer, or should (RFC 3264 §5)."""

    call: Call
    ack: Request


@dataclass(frozen=True, slots=True, repr=False)
class Over:
    """The call is over; ``established`` is False when the peer never showed that it came to stand (ACK, BYE)."""

    call: Call
    established: bool


UasEvent = Invited | Modified | Answered | Over
