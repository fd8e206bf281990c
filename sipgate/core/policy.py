"""May this call be recorded? A pure function of the policy in force, the parties and the moment.

The order is the rule: what denies is asked first, and whatever is unknown denies.

==  =======================================  =====================================================
 1  no policy, or its exclusions unreadable   refused (fail closed, DESIGN.md decision 2)
 2  any party matches an exclusion            ``Protected``, which has no fields (R12)
 3  the gate is not open                      refused (R13)
 4  a side of the call is unidentified        refused: exclusion cannot be decided
 5  no enrolment in force names a party       refused (R4)
 6  its line has no holder, or several        refused (R4): whose recording would it be?
 7  the holder has not acknowledged           refused (R9)
 8  the enrolment's backlog is full           refused (R5)
 9  no key reaches the recorder               refused (R11)
==  =======================================  =====================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from sipgate.core.events import Side
from sipgate.core.lines import SelectorSet


@dataclass(frozen=True, slots=True)
class FilmPlan:
    """What the enrolment lets the workstation film: one application, matched as ``capture_client.protocol`` says."""

    workstation: str
    application: str
    frames_per_second: int


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Who may be recorded, on which lines, from when to when (Unix ns), within which backlog (R4, R5).

    ``trainee`` is set for a film enrolment, whose ``film`` it then has; a sound enrolment has neither, and the
    recording belongs to whoever holds the line.
    """

    enrolment: int
    lines: SelectorSet = field(repr=False)
    starts_at_ns: int
    ends_at_ns: int
    capacity: int
    backlog: int
    trainee: int | None = None
    film: FilmPlan | None = None


@dataclass(frozen=True, slots=True)
class Holder:
    """One person holds these identities of one line; ``acknowledged`` says whether of the notice in force (R9)."""

    person: int
    line: SelectorSet = field(repr=False)
    acknowledged: bool


@dataclass(frozen=True, slots=True)
class Connection:
    """What is declared of one peer. ``telephone_key``: digits that reach the recorder from a telephone, or None."""

    name: str
    telephone_key: str | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """All that decides, as one value. ``exclusions`` None: they cannot be read, so nothing is recorded."""

    exclusions: SelectorSet | None = field(repr=False)
    gate_open: bool
    enrolments: tuple[Enrolment, ...] = ()
    holders: tuple[Holder, ...] = ()
    connections: Mapping[str, Connection] = field(default_factory=dict)


class Reason(Enum):
    """Why a call that nobody protects is not recorded: for the admin's dry run, never for a log of calls."""

    EXCLUSIONS_UNREADABLE = "the exclusions cannot be read: nothing is recorded"
    GATE_CLOSED = "the activation gate is closed"
    UNKNOWN_CONNECTION = "the connection is not configured"
    UNIDENTIFIED = "a party of the call cannot be identified"
    NOT_ENROLLED = "no enrolment in force names a line of this call"
    NO_HOLDER = "the line is not assigned to one person"
    NOT_ACKNOWLEDGED = "the line's holder has not acknowledged the notice in force"
    BACKLOG_FULL = "the enrolment's backlog of unreviewed recordings is full"
    NO_PRIVATE_KEY = "no key for a private call reaches the recorder from this line"


@dataclass(frozen=True, slots=True)
class Protected:
    """A protected line takes part. This value has no fields, so nothing downstream can tell which call it was."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Not recorded, and why."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Permitted:
    """Recorded: whose, under which enrolment, on which side the owner is, and what may be filmed beside it."""

    owner: int
    enrolment: int
    side: Side
    film: FilmPlan | None
    telephone_key: str | None


Decision = Protected | Refused | Permitted
