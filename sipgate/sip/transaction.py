"""Transactions as tables of transitions (RFC 3261 §17, RFC 6026 §7). No I/O, no clock: bytes out are left in ``out``.

A server transaction is found again by its branch, its sent-by and its method (§17.2.3); a request of RFC 2543, which
has no such branch, by its Request-URI, From tag, Call-ID, CSeq and top Via.

INVITE server transaction: PROCEEDING is entered with the request. A 2xx enters ACCEPTED (RFC 6026), where the UAS
core itself repeats the 2xx until the ACK (§13.3.1.4) and repeated INVITEs are absorbed until timer L. A 300-699
enters COMPLETED, where it is repeated (timer G) until the ACK or timer H.

Non-INVITE server transaction: TRYING until the first response; a final one is repeated on demand until timer J.

Non-INVITE client transaction: for the BYE that ends a session, and the UPDATE that refreshes one.

States and inputs are IntEnums: an Enum's hash is a Python function, and the tables are looked up for every message.

Whatever the tables leave out for a state changes nothing and sends nothing (``_STAY``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, auto

from sipgate.sip.message import Flow, Request, Response, branch_key, response_flow
from sipgate.sip.timers import T1, T2, T4, Timers


class State(IntEnum):
    """Of any kind of transaction; each kind uses some."""

    TRYING = auto()
    PROCEEDING = auto()
    ACCEPTED = auto()
    COMPLETED = auto()
    CONFIRMED = auto()
    TERMINATED = auto()


class Input(IntEnum):
    """What a transaction can be told: the same request again, an ACK, a response's class, a timer, a dead transport."""

    REQUEST = auto()
    ACK = auto()
    PROVISIONAL = auto()
    SUCCESS = auto()
    FAILURE = auto()
    TIMER_E = auto()
    TIMER_F = auto()
    TIMER_G = auto()
    TIMER_H = auto()
    TIMER_I = auto()
    TIMER_J = auto()
    TIMER_K = auto()
    TIMER_L = auto()
    FLOW_LOST = auto()


class Action(IntEnum):
    """What a transition does besides changing the state."""

    NOTHING = auto()
    SEND = auto()  # the response at hand
    REPEAT = auto()  # the last response, or for a client the request
    REPEAT_LATER = auto()  # REPEAT, and the same timer again after twice the interval, at most T2


Table = Mapping[State, Mapping[Input, tuple[State, Action]]]

_S, _I, _A = State, Input, Action

INVITE_SERVER: Table = {
    _S.PROCEEDING: {
        _I.REQUEST: (_S.PROCEEDING, _A.REPEAT),
        _I.PROVISIONAL: (_S.PROCEEDING, _A.SEND),
        _I.SUCCESS: (_S.ACCEPTED, _A.SEND),
        _I.FAILURE: (_S.COMPLETED, _A.SEND),
        _I.FLOW_LOST: (_S.TERMINATED, _A.NOTHING),
    },
    _S.ACCEPTED: {
        _I.SUCCESS: (_S.ACCEPTED, _A.SEND),  # the UAS core repeats its 2xx
        _I.TIMER_L: (_S.TERMINATED, _A.NOTHING),
    },
    _S.COMPLETED: {
        _I.REQUEST: (_S.COMPLETED, _A.REPEAT),
        _I.ACK: (_S.CONFIRMED, _A.NOTHING),
        _I.TIMER_G: (_S.COMPLETED, _A.REPEAT_LATER),
        _I.TIMER_H: (_S.TERMINATED, _A.NOTHING),
        _I.FLOW_LOST: (_S.TERMINATED, _A.NOTHING),
    },
    _S.CONFIRMED: {_I.TIMER_I: (_S.TERMINATED, _A.NOTHING)},
    _S.TERMINATED: {},
}

NON_INVITE_SERVER: Table = {
    _S.TRYING: {
        _I.PROVISIONAL: (_S.PROCEEDING, _A.SEND),
        _I.SUCCESS: (_S.COMPLETED, _A.SEND),
        _I.FAILURE: (_S.COMPLETED, _A.SEND),
        _I.FLOW_LOST: (_S.TERMINATED, _A.NOTHING),
    },
    _S.PROCEEDING: {
        _I.REQUEST: (_S.PROCEEDING, _A.REPEAT),
        _I.PROVISIONAL: (_S.PROCEEDING, _A.SEND),
        _I.SUCCESS: (_S.COMPLETED, _A.SEND),
        _I.FAILURE: (_S.COMPLETED, _A.SEND),
        _I.FLOW_LOST: (_S.TERMINATED, _A.NOTHING),
    },
    _S.COMPLETED: {
        _I.REQUEST: (_S.COMPLETED, _A.REPEAT),
        _I.TIMER_J: (_S.TERMINATED, _A.NOTHING),
        _I.FLOW_LOST: (_S.TERMINATED, _A.NOTHING),
    },
    _S.TERMINATED: {},
}

NON_INVITE_CLIENT: Table = {
    _S.TRYING: {
        _I.PROVISIONAL: (_S.PROCEEDING, _A.NOTHING),
        _I.SUCCESS: (_S.COMPLETED, _A.NOTHING),
        _I.FAILURE: (_S.COMPLETED, _A.NOTHING),
        _I.TIMER_E: (_S.TRYING, _A.REPEAT_LATER),
        _I.TIMER_F: (_S.TERMINATED, _A.NOTHING),
        _I.FLOW_LOST: (_S.TERMINATED, _A.NOTHING),
    },
    _S.PROCEEDING: {
        _I.SUCCESS: (_S.COMPLETED, _A.NOTHING),
        _I.FAILURE: (_S.COMPLETED, _A.NOTHING),
        _I.TIMER_E: (_S.PROCEEDING, _A.REPEAT_LATER),
        _I.TIMER_F: (_S.TERMINATED, _A.NOTHING),
        _I.FLOW_LOST: (_S.TERMINATED, _A.NOTHING),
    },
    _S.COMPLETED: {_I.TIMER_K: (_S.TERMINATED, _A.NOTHING), _I.FLOW_LOST: (_S.TERMINATED, _A.NOTHING)},
    _S.TERMINATED: {},
}

# Timers that run from entering a state on: (timer, ns over UDP, ns over a reliable transport or None for never).
# On reliable transports I, J and K are 0: the state is left at once (RFC 3261 table 4).
ENTERING: Mapping[tuple[int, State], tuple[tuple[Input, int, int | None], ...]] = {
    (id(INVITE_SERVER), _S.ACCEPTED): ((_I.TIMER_L, 64 * T1, 64 * T1),),
    (id(INVITE_SERVER), _S.COMPLETED): ((_I.TIMER_G, T1, None), (_I.TIMER_H, 64 * T1, 64 * T1)),
    (id(INVITE_SERVER), _S.CONFIRMED): ((_I.TIMER_I, T4, 0),),
    (id(NON_INVITE_SERVER), _S.COMPLETED): ((_I.TIMER_J, 64 * T1, 0),),
    (id(NON_INVITE_CLIENT), _S.TRYING): ((_I.TIMER_E, T1, None), (_I.TIMER_F, 64 * T1, 64 * T1)),
    (id(NON_INVITE_CLIENT), _S.COMPLETED): ((_I.TIMER_K, T4, 0),),
}
_TIMERS_OF: Mapping[int, tuple[Input, ...]] = {
    id(INVITE_SERVER): (_I.TIMER_G, _I.TIMER_H, _I.TIMER_I, _I.TIMER_L),
    id(NON_INVITE_SERVER): (_I.TIMER_J,),
    id(NON_INVITE_CLIENT): (_I.TIMER_E, _I.TIMER_F, _I.TIMER_K),
}
_RETRANSMITTING = {_I.TIMER_E, _I.TIMER_G}

Key = tuple[object, ...]


@dataclass(slots=True, eq=False, repr=False)
class Transaction:
    """One transaction under way. ``last`` is what a repetition sends."""

    table: Table
    key: Key
    flow: Flow
    state: State
    merge_key: Key | None = None
    to_tag: str | None = None
    last: bytes = b""
    interval: int = T1

    @property
    def answered(self) -> bool:
        """Whether a final response has been sent."""
        return self.state not in {State.TRYING, State.PROCEEDING}


class Transactions:
    """All transactions. What is to be sent piles up in ``out``."""

    def __init__(self) -> None:
        self.out: list[tuple[bytes, Flow]] = []
        self.timers: Timers[Transaction, Input] = Timers()
        self._by_key: dict[Key, Transaction] = {}
        self._by_merge_key: dict[Key, Transaction] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def receive(self, request: Request, flow: Flow, now: int) -> Transaction | None:
        """The new transaction of a request, or None when it repeats one that is known. Not for ACK."""
        key = _key(request, request.method)
        known = self._by_key.get(key)
        if known is not None:
            self._step(known, Input.REQUEST, now)
            return None
        invite = request.method == "INVITE"
        merge_key = (request.call_id, request.from_tag, request.sequence, request.method)
        transaction = Transaction(
            table=INVITE_SERVER if invite else NON_INVITE_SERVER,
            key=key,
            flow=response_flow(request.via, flow),
            state=State.PROCEEDING if invite else State.TRYING,
            merge_key=merge_key if request.to_tag is None and request.method != "CANCEL" else None,
        )
        self._by_key[key] = transaction
        if transaction.merge_key is not None:
            self._by_merge_key.setdefault(transaction.merge_key, transaction)
        return transaction

    def merged(self, transaction: Transaction) -> bool:
        """Whether the same request has come by another way and is under way (RFC 3261 §8.2.2.2)."""
        if transaction.merge_key is None:
            return False
        return self._by_merge_key.get(transaction.merge_key) is not transaction

    def acknowledge(self, ack: Request, now: int) -> bool:
        """Give an ACK to the INVITE transaction that it ends; False when it is of a 2xx, the dialog's matter."""
        transaction = self._by_key.get(_key(ack, "INVITE"))
        if transaction is None or transaction.state is State.ACCEPTED:
            return False
        self._step(transaction, Input.ACK, now)
        return True

    def invite_of(self, cancel: Request) -> Transaction | None:
        """The INVITE transaction that a CANCEL means (RFC 3261 §9.2)."""
        return self._by_key.get(_key(cancel, "INVITE"))

    def respond(self, transaction: Transaction, status: int, response: bytes, now: int) -> None:
        """Send a response through its transaction."""
        self._step(transaction, _class_of(status), now, response)

    def request(self, branch: str, method: str, data: bytes, flow: Flow, now: int) -> None:
        """Send a non-INVITE request of our own and repeat it until it is answered; the answer changes nothing."""
        transaction = Transaction(NON_INVITE_CLIENT, ("client", branch, method), flow, State.TRYING, last=data)
        self._by_key[transaction.key] = transaction
        self.out.append((data, flow))
        self._enter(transaction, now)

    def receive_response(self, response: Response, now: int) -> None:
        """A response to a request of our own; one that belongs to none is dropped."""
        transaction = self._by_key.get(("client", response.branch, response.method))
        if transaction is not None:
            self._step(transaction, _class_of(response.status), now)

    def flow_lost(self, transaction: Transaction, now: int) -> None:
        """The transaction's transport is gone."""
        self._step(transaction, Input.FLOW_LOST, now)

    def handle_timers(self, now: int) -> None:
        """Run out every timer that is due."""
        for transaction, timer in self.timers.due(now):
            self._step(transaction, timer, now)

    def _step(self, transaction: Transaction, given: Input, now: int, response: bytes = b"") -> None:
        state, action = transaction.table[transaction.state].get(given, (transaction.state, Action.NOTHING))
        if action is Action.SEND:
            # What the UAS core repeats by itself need not be kept here.
            transaction.last = b"" if state is State.ACCEPTED else response
            self.out.append((response, transaction.flow))
        elif action is not Action.NOTHING and transaction.last:
            self.out.append((transaction.last, transaction.flow))
        if action is Action.REPEAT_LATER:
            transaction.interval = min(2 * transaction.interval, T2)
            self.timers.start(transaction, given, now + transaction.interval)
        if state is not transaction.state:
            transaction.state = state
            self._enter(transaction, now)

    def _enter(self, transaction: Transaction, now: int) -> None:
        if transaction.state is State.TERMINATED or transaction.answered:
            for timer in _RETRANSMITTING:
                self.timers.stop(transaction, timer)
        for timer, udp, reliable in ENTERING.get((id(transaction.table), transaction.state), ()):
            delay = reliable if transaction.flow.reliable else udp
            if delay is not None:
                self.timers.start(transaction, timer, now + delay)
        if transaction.state is State.TERMINATED:
            self._forget(transaction)

    def _forget(self, transaction: Transaction) -> None:
        for timer in _TIMERS_OF[id(transaction.table)]:
            self.timers.stop(transaction, timer)
        del self._by_key[transaction.key]
        merge_key = transaction.merge_key
        if merge_key is not None and self._by_merge_key.get(merge_key) is transaction:
            del self._by_merge_key[merge_key]


def _class_of(status: int) -> Input:
    if status < 200:
        return Input.PROVISIONAL
    return Input.SUCCESS if status < 300 else Input.FAILURE


def _key(request: Request, method: str) -> Key:
    branch, host, port = branch_key(request.via)
    if branch:
        return branch, host, port, method
    return "RFC 2543", request.uri, request.from_tag, request.call_id, request.sequence, request.via.text, method
