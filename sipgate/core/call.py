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

from enum import Enum, auto
from types import MappingProxyType


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
