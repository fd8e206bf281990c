"""Enrolments: who may be recorded, on which lines, why, from when to when, and who reviews it (R4, R5, R8).

There is no purpose to choose: training is the only one. Caps that stand in code:

* 183 days from the first to the last day: recording for training is for a limited period (FE), and no longer than the
  recordings themselves may be kept. Who still needs training after that is enrolled anew, with a need stated anew. An
  enrolment begins within 183 days, so none ends later than about a year from now.
* 1 to 200 unreviewed recordings (``capacity``): the volume is limited to what one reviewer can analyse (R5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from capture_client.protocol import Application, ProtocolViolation
from sipgate.core.lines import Address, Number, Selector, SelectorSet, parse_selector
from sipgate.errors import RegisterError, RuleError, RuleValueError
from sipgate.register import exclusions, gate, people
from sipgate.register.database import Database, First, nothing_first
from sipgate.register.days import day_of
from sipgate.register.lines import active as assigned_lines
from sipgate.register.lines import parse_identity
from sipgate.register.models import EnrolmentLineModel, EnrolmentModel, RecordingModel, WorkstationModel
from sipgate.register.rows import Enrolled, EnrolmentRow, Role

LONGEST_DAYS = 183
MOST_CAPACITY = 200


@dataclass(frozen=True, slots=True)
class _Terms:
    """What every enrolment needs."""

    need: str
    starts_on: date
    ends_on: date
    reviewer: int
    capacity: int
    at_ns: int


class Enrolments:
    """Film enrolments (one trainee, one workstation, one application) and sound enrolments (lines, ranges)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_film(
        self,
        *,
        trainee: int,
        lines: Sequence[str] = (),
        workstation: str,
        application: str,
        need: str,
        starts_on: date,
        ends_on: date,
        reviewer: int,
        capacity: int,
        at_ns: int,
        file_exclusions: Sequence[Selector] = (),
        first: First = nothing_first,
    ) -> Enrolled:
        """Film the application's window, with the sound, during the trainee's calls on lines that the trainee holds.

        ``lines`` empty: all of them. ``application``: see ``capture_client.protocol.Application``. ``file_exclusions``:
        the exclusions file as it is in force, for the warnings. Raises RuleError, LineSyntaxError.
        """
        terms = _Terms(need.strip(), starts_on, ends_on, reviewer, capacity, at_ns)
        _check_terms(terms)
        wanted = _normal_application(application)
        with self._database.writing() as session:
            _check_reviewer(session, reviewer)
            if Role.TRAINEE not in people.find(session, trainee).roles:
                raise RuleError("a film is made of a trainee: give the person the role trainee (R4)")
            if session.get(WorkstationModel, workstation) is None:
                raise RuleError("this workstation is not in the register: add it first (R4)")
            row = _row_of(terms)
            row.trainee_id, row.workstation, row.application = trainee, workstation, wanted
            enrolled = self._add(session, row, self._held(session, trainee, lines), file_exclusions, at_ns)
            first(enrolled.id)
            return enrolled

    def add_sound(
        self,
        *,
        lines: Sequence[str],
        need: str,
        starts_on: date,
        ends_on: date,
        reviewer: int,
        capacity: int,
        at_ns: int,
        file_exclusions: Sequence[Selector] = (),
        first: First = nothing_first,
    ) -> Enrolled:
        """Record the sound of calls on these lines, ranges, patterns or addresses.

        Each recording belongs to its line's holder. Excluded lines within a range stay excluded. Raises RuleError,
        LineSyntaxError.
        """
        terms = _Terms(need.strip(), starts_on, ends_on, reviewer, capacity, at_ns)
        _check_terms(terms)
        selectors = list(dict.fromkeys(parse_selector(text, self._database.country) for text in lines))
        if not selectors:
            raise RuleValueError("a sound enrolment names its lines: a number, a range, a pattern (R4)")
        with self._database.writing() as session:
            _check_reviewer(session, reviewer)
            enrolled = self._add(session, _row_of(terms), selectors, file_exclusions, at_ns)
            first(enrolled.id)
            return enrolled

    def end(self, enrolment_id: int, at_ns: int) -> None:
        """Nothing more is recorded under it. Raises RegisterError when it is unknown or has been ended."""
        with self._database.writing() as session:
            row = session.get(EnrolmentModel, enrolment_id)
            if row is None or row.ended_at_ns is not None:
                raise RegisterError(f"enrolment {enrolment_id} is not in force")
            row.ended_at_ns = at_ns

    def get(self, enrolment_id: int) -> EnrolmentRow:
        """One enrolment. Raises RegisterError."""
        for row in self.all():
            if row.id == enrolment_id:
                return row
        raise RegisterError(f"enrolment {enrolment_id} is not in the register")

    def all(self) -> tuple[EnrolmentRow, ...]:
        """Every enrolment, past ones included, with its backlog."""
        with self._database.reading() as session:
            counted = backlogs(session)
            rows = session.scalars(select(EnrolmentModel).order_by(EnrolmentModel.id))
            return tuple(self._value(row, counted.get(row.id, 0)) for row in rows)

    def _add(
        self,
        session: Session,
        row: EnrolmentModel,
        wanted: Sequence[Selector],
        file_exclusions: Sequence[Selector],
        at_ns: int,
    ) -> Enrolled:
        excluded = SelectorSet((*exclusions.selectors(session, self._database), *file_exclusions))
        sealed = self._database.seal_selectors(gate.ENROLMENT_PLACE, wanted)
        row.lines = [EnrolmentLineModel(selector=one) for one in sealed]
        session.add(row)
        applications = [row.application] if row.application is not None else []
        heard = [] if applications else wanted
        closed = gate.close_if_wider(session, self._database, applications, heard, at_ns)
        session.flush()
        return Enrolled(row.id, _warnings(wanted, excluded), closed)

    def _held(self, session: Session, trainee: int, texts: Sequence[str]) -> list[Selector]:
        held = [
            one
            for line, identities in assigned_lines(session, self._database)
            if line.person_id == trainee
            for one in identities
        ]
        if not held:
            raise RuleError("the trainee holds no line: assign one first (R4)")
        wanted = list(dict.fromkeys(parse_identity(text, self._database.country) for text in texts))
        if not set(wanted) <= set(held):
            raise RuleError("a film enrolment names lines that the trainee holds: assign the line first (R4)")
        return list(wanted) or held

    def _value(self, row: EnrolmentModel, backlog: int) -> EnrolmentRow:
        kind: Literal["film", "sound"] = "sound" if row.trainee_id is None else "film"
        selectors = self._database.open_selectors(gate.ENROLMENT_PLACE, [one.selector for one in row.lines])
        return EnrolmentRow(
            id=row.id,
            kind=kind,
            trainee=row.trainee_id,
            lines=tuple(str(one) for one in selectors),
            workstation=row.workstation,
            application=row.application,
            need=row.need,
            starts_on=row.starts_on,
            ends_on=row.ends_on,
            reviewer=row.reviewer_id,
            capacity=row.capacity,
            backlog=backlog,
            ended_at_ns=row.ended_at_ns,
        )


def backlogs(session: Session) -> dict[int, int]:
    """Recordings that nobody has reviewed yet, by enrolment; one that failed has nothing to review."""
    asked = (
        select(RecordingModel.enrolment, func.count())
        .where(RecordingModel.reviewed_at_ns.is_(None), RecordingModel.state != "failed")
        .group_by(RecordingModel.enrolment)
    )
    return {row[0]: row[1] for row in session.execute(asked)}


def _row_of(terms: _Terms) -> EnrolmentModel:
    return EnrolmentModel(
        need=terms.need,
        starts_on=terms.starts_on,
        ends_on=terms.ends_on,
        reviewer_id=terms.reviewer,
        capacity=terms.capacity,
    )


def _check_terms(terms: _Terms) -> None:
    if not terms.need:
        raise RuleValueError("an enrolment states its need: which training, on what (R4)")
    if terms.starts_on > terms.ends_on:
        raise RuleValueError("the enrolment ends before it starts (R4)")
    if terms.ends_on - terms.starts_on >= timedelta(days=LONGEST_DAYS):
        raise RuleValueError(f"an enrolment lasts {LONGEST_DAYS} days at most: training is for a limited period (R4)")
    today = day_of(terms.at_ns)
    if terms.ends_on < today:
        raise RuleValueError("the enrolment's last day has passed (R4)")
    if terms.starts_on - today >= timedelta(days=LONGEST_DAYS):
        raise RuleValueError(f"an enrolment starts within {LONGEST_DAYS} days: enrol when the need is there (R4)")
    if not 1 <= terms.capacity <= MOST_CAPACITY:
        raise RuleValueError(f"capacity is 1 to {MOST_CAPACITY} unreviewed recordings: what a reviewer analyses (R5)")


def _check_reviewer(session: Session, reviewer: int) -> None:
    if Role.TRAINER not in people.find(session, reviewer).roles:
        raise RuleError("an enrolment's reviewer is a person with the role trainer (R4)")


def _normal_application(text: str) -> str:
    try:
        return str(Application.parse(text))
    except ProtocolViolation as error:
        raise RuleValueError(f"{error} (R3)") from error


def _warnings(wanted: Sequence[Selector], excluded: SelectorSet) -> tuple[str, ...]:
    # By place, not by number: a warning may end in a log.
    return tuple(
        f"line {place} of {len(wanted)} is excluded: it is never recorded, whatever is enrolled"
        for place, one in enumerate(wanted, 1)
        if isinstance(one, Number | Address) and excluded.might_match((one,))
    )
