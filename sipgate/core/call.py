"""One call's life, as a table of transitions.

A call that policy refuses has no life: it is refused and forgotten. One that is permitted passes through::

                      OPENED                 ANSWERED
      OPENING ──────────────────▶ WAITING ─────────────▶ RECORDING
         │ DENIED, LOST              │ DENIED, LOST          │                │ LOST: what there is so far
         ▼          OPENED: erase    ▼ erase                 │ DENIED: erase  ▼ is finished
      DOOMED ─────────────────────▶ SPENT ◀──────────────────┴─────────────── CUT
         │ ENDED                     │ ENDED                   DENIED: erase    │ ENDED
         ▼          OPENED: erase    ▼                                          ▼
      ABANDONED ──────────────────▶ GONE   ◀── ENDED from WAITING (erase) and RECORDING (finish)

DENIED: a protected or unidentifiable party joined, or somebody said "not this call": nothing of it may remain.
LOST: recording must stop now, but what was recorded was permitted (policy changed, no key reaches the recorder any
more, the disk is full). FAILED: the recording session never came to stand (no ACK): erased.
SPENT: the tap still sees the call, nothing listens; its ports are freed when it ends.
CUT: the same, but a part of the call is kept: until the call ends, whoever joins it or objects can still deny the whole
of it (R11, R12), so that what was finished is erased after all.

Everything not in the table leaves state and world as they are: late and repeated events do nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from types import MappingProxyType

from sipgate.core.events import Offered, Party, Side, StreamOffer
from sipgate.core.policy import FilmPlan, Permitted

TELEPHONE_EVENT = "telephone-event"
"""RFC 4733 §2.4."""


class State(Enum):
    """Where a permitted call stands."""

    OPENING = auto()
    DOOMED = auto()
    ABANDONED = auto()
    WAITING = auto()
    RECORDING = auto()
    CUT = auto()
    SPENT = auto()
    GONE = auto()


class Input(Enum):
    """What can happen to it."""

    OPENED = auto()
    OPEN_FAILED = auto()
    ANSWERED = auto()
    DENIED = auto()
    LOST = auto()
    ENDED = auto()
    FAILED = auto()


class Action(Enum):
    """What is then done, in the order given."""

    BEGIN = auto()
    FINISH = auto()
    ERASE = auto()
    RELEASE = auto()
    UNAVAILABLE = auto()


Step = tuple[State, tuple[Action, ...]]

_S, _I, _A = State, Input, Action
TRANSITIONS: MappingProxyType[tuple[State, Input], Step] = MappingProxyType(
    {
        (_S.OPENING, _I.OPENED): (_S.WAITING, ()),
        (_S.OPENING, _I.OPEN_FAILED): (_S.GONE, (_A.UNAVAILABLE,)),
        (_S.OPENING, _I.DENIED): (_S.DOOMED, ()),
        (_S.OPENING, _I.LOST): (_S.DOOMED, ()),
        (_S.OPENING, _I.ENDED): (_S.ABANDONED, ()),
        (_S.OPENING, _I.FAILED): (_S.ABANDONED, ()),
        (_S.DOOMED, _I.OPENED): (_S.SPENT, (_A.ERASE,)),
        (_S.DOOMED, _I.OPEN_FAILED): (_S.GONE, (_A.UNAVAILABLE,)),
        (_S.DOOMED, _I.ENDED): (_S.ABANDONED, ()),
        (_S.DOOMED, _I.FAILED): (_S.ABANDONED, ()),
        (_S.ABANDONED, _I.OPENED): (_S.GONE, (_A.ERASE, _A.RELEASE)),
        (_S.ABANDONED, _I.OPEN_FAILED): (_S.GONE, ()),
        (_S.WAITING, _I.ANSWERED): (_S.RECORDING, (_A.BEGIN,)),
        (_S.WAITING, _I.DENIED): (_S.SPENT, (_A.ERASE,)),
        (_S.WAITING, _I.LOST): (_S.SPENT, (_A.ERASE,)),
        (_S.WAITING, _I.ENDED): (_S.GONE, (_A.ERASE, _A.RELEASE)),
        (_S.WAITING, _I.FAILED): (_S.GONE, (_A.ERASE, _A.RELEASE)),
        (_S.RECORDING, _I.DENIED): (_S.SPENT, (_A.ERASE,)),
        (_S.RECORDING, _I.LOST): (_S.CUT, (_A.FINISH,)),
        (_S.RECORDING, _I.ENDED): (_S.GONE, (_A.FINISH, _A.RELEASE)),
        (_S.RECORDING, _I.FAILED): (_S.GONE, (_A.ERASE, _A.RELEASE)),
        (_S.CUT, _I.DENIED): (_S.SPENT, (_A.ERASE,)),
        (_S.CUT, _I.ENDED): (_S.GONE, (_A.RELEASE,)),
        (_S.CUT, _I.FAILED): (_S.GONE, (_A.ERASE, _A.RELEASE)),
        (_S.SPENT, _I.ENDED): (_S.GONE, (_A.RELEASE,)),
        (_S.SPENT, _I.FAILED): (_S.GONE, (_A.RELEASE,)),
    }
)


def step(state: State, happened: Input) -> Step:
    """The next state and what is done; the same state and nothing for what is not in the table."""
    return TRANSITIONS.get((state, happened), (state, ()))


UNDER_WAY = frozenset({State.OPENING, State.WAITING, State.RECORDING})
"""Something of the call is being, or may yet be, recorded."""

FORGOTTEN = frozenset({State.DOOMED, State.ABANDONED, State.SPENT, State.GONE})
"""Nothing of the call will be kept: it is not decided again, and who takes part is no longer known here."""


@dataclass(slots=True)
class Call:
    """One permitted session.

    ``filming``: the plan under which a lease is being renewed; ``filmed_on``: the workstation that may hold film of it.
    ``digits``: the last telephone keys on the owner's side, as many as the key has.
    """

    session: int
    connection: str
    parties: tuple[Party, ...] = field(repr=False)
    keyed: frozenset[Side]
    permit: Permitted
    answered_at_ns: int | None
    state: State = State.OPENING
    recording: str | None = None
    filming: FilmPlan | None = None
    filmed_on: str | None = None
    renew_at_ns: int = 0
    digits: str = field(default="", repr=False)

    def hears(self, side: Side, digit: str) -> bool:
        """A telephone key was pressed; whether with it the owner has said "not this call"."""
        key = self.permit.telephone_key
        if side is not self.permit.side or not key:
            return False
        self.digits = (self.digits + digit)[-len(key) :]
        return self.digits == key


def keyed_by(event: Offered) -> frozenset[Side]:
    """The sides whose telephone keys would be heard; of a half, nobody knows before the other one comes."""
    return frozenset(Side) if event.half else keyed_sides(event.streams)


def keyed_sides(streams: Iterable[StreamOffer]) -> frozenset[Side]:
    """The sides whose telephone keys would be heard; a mixed stream carries those of both."""
    heard = [s for s in streams if any(name.lower() == TELEPHONE_EVENT for _, name in s.payload_types)]
    return frozenset(side for s in heard for side in ([s.side] if s.side is not None else Side))
