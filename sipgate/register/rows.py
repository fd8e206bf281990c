"""What the register hands out and takes: plain frozen values. ``repr`` shows no name, no line and no reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Literal


class Role(StrEnum):
    """What a person may do.

    ``telephony_admin`` and ``dpo`` stand alone. An administrator who was a trainer or trainee could view, and
    administrators cannot (R7); a DPO must not sign off what they operate (GDPR 38(6), R13). A trainer may be trained.
    """

    TRAINER = "trainer"
    TRAINEE = "trainee"
    TELEPHONY_ADMIN = "telephony_admin"
    DPO = "dpo"


@dataclass(frozen=True, slots=True)
class Person:
    """A personal account."""

    id: int
    login: str = field(repr=False)
    name: str = field(repr=False)
    roles: frozenset[Role]


@dataclass(frozen=True, slots=True)
class Notice:
    """The notice in force: what employees are told beforehand (R9)."""

    version: int
    text: str = field(repr=False)
    published_at_ns: int


@dataclass(frozen=True, slots=True)
class Scope:
    """How wide recording reaches: which applications are filmed, which lines' sound is recorded."""

    applications: tuple[str, ...]
    lines: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Gate:
    """The open gate: works council's opinion, DPIA, DPO's signature, and the scope that was signed (R13)."""

    id: int
    opinion_on: date
    dpia_version: str
    signed_by: int
    signed_at_ns: int
    applications: tuple[str, ...]
    lines: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Line:
    """One line by all its identities, and the one person who holds it."""

    id: int
    person: int
    identities: tuple[str, ...] = field(repr=False)
    assigned_at_ns: int


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A new enrolment. ``gate_closed``: it was wider than what the DPO signed; open the gate again (R13)."""

    id: int
    warnings: tuple[str, ...] = ()
    gate_closed: bool = False


@dataclass(frozen=True, slots=True)
class EnrolmentRow:
    """One enrolment. ``trainee``, ``workstation``, ``application``: a film's only. Days are the server's local ones."""

    id: int
    kind: Literal["film", "sound"]
    trainee: int | None
    lines: tuple[str, ...] = field(repr=False)
    workstation: str | None
    application: str | None
    need: str = field(repr=False)
    starts_on: date
    ends_on: date
    reviewer: int
    capacity: int
    backlog: int
    ended_at_ns: int | None


@dataclass(frozen=True, slots=True)
class ExclusionRow:
    """One line (or range, pattern, address) of the console's list. ``added_by`` None: the server's command line."""

    id: int
    text: str = field(repr=False)
    added_by: int | None
    added_at_ns: int
    removal_requested_by: int | None = None
    removal_requested_at_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Workstation:
    """One workstation; ``enrolled``: it has a certificate."""

    name: str
    added_at_ns: int
    enrolled: bool


@dataclass(frozen=True, slots=True)
class RecordingRow:
    """The index of one recording. No line, no number, no party: ``owner`` and ``enrolment`` say whose it is and why.

    ``story``: 32 hexadecimal digits, drawn at random, the same for calls that belong together (a transfer's).
    """

    recording: str
    owner: int
    enrolment: int
    reviewer: int
    answered_at_ns: int
    ended_at_ns: int
    audio_seconds: float
    channels: int
    frames: int
    film: bool
    state: Literal["finishing", "ready", "failed"]
    reviewed_at_ns: int | None
    expires_at_ns: int
    story: str


@dataclass(frozen=True, slots=True)
class Consultation:
    """Somebody viewed a recording, and said why (R7, R16)."""

    person: int
    reason: str = field(repr=False)
    at_ns: int
