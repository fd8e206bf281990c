"""The activation gate (R13): opened over a scope that was signed, closed again by anything wider.

A newcomer's order: enrol first, then open the gate over the scope that exists; the DPO is shown it (``scope``) and
signs it. What counts as wider, later on: filming an application that was not signed, or recording the sound of a line
outside the signed ones. A further trainee for a signed application is not wider, nor is any enrolment that ends.
Once closed, the gate stays closed until it is opened anew, even if the wider enrolment is ended: it takes a signature.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

from sqlalchemy import select
from sqlalchemy.orm import Session

from sipgate.core.lines import (
    Address,
    AddressPattern,
    Number,
    NumberPattern,
    NumberRange,
    Selector,
)
from sipgate.errors import RuleError, RuleValueError
from sipgate.register import people
from sipgate.register.database import Database, First, nothing_first
from sipgate.register.days import day_of
from sipgate.register.models import EnrolmentModel, GateApplicationModel, GateLineModel, GateModel
from sipgate.register.rows import Gate as GateRow
from sipgate.register.rows import Role, Scope

_PLACE = "gate"
ENROLMENT_PLACE = "enrolment"


def is_open(session: Session) -> bool:
    """Whether the gate is open, within a transaction."""
    return _open_row(session) is not None


def close_if_wider(
    session: Session, database: Database, applications: Iterable[str], lines: Iterable[Selector], at_ns: int
) -> bool:
    """Close an open gate whose signature does not cover these; True when this closed it."""
    row = _open_row(session)
    if row is None:
        return False
    signed = database.open_selectors(_PLACE, [one.selector for one in row.lines])
    covered = {one.application for one in row.applications}.issuperset(applications)
    if covered and all(any(covers(outer, line) for outer in signed) for line in lines):
        return False
    row.closed_at_ns = at_ns
    return True


def _open_row(session: Session) -> GateModel | None:
    return session.scalar(select(GateModel).where(GateModel.closed_at_ns.is_(None)))


class Gate:
    """The gate of the site."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(
        self, opinion_on: date, dpia_version: str, signed_by: int, at_ns: int, *, first: First = nothing_first
    ) -> GateRow:
        """Open the gate over the scope that exists now.

        ``opinion_on``: when the works council gave its opinion. Raises RuleError (R13) unless ``signed_by`` is a DPO,
        the DPIA's version is given, and the opinion is not in the future.
        """
        if not dpia_version.strip():
            raise RuleValueError("the gate needs the DPIA's version (R13)")
        if opinion_on > day_of(at_ns):
            raise RuleValueError("the works council's opinion is dated in the future (R13)")
        with self._database.writing() as session:
            if Role.DPO not in people.find(session, signed_by).roles:
                raise RuleError("the gate is signed off by a person with the role dpo (R13)")
            self._close(session, at_ns)
            applications, lines = self._scope(session, at_ns)
            row = GateModel(
                opinion_on=opinion_on,
                dpia_version=dpia_version.strip(),
                signed_by=signed_by,
                signed_at_ns=at_ns,
                applications=[GateApplicationModel(application=one) for one in applications],
                lines=[GateLineModel(selector=one) for one in self._database.seal_selectors(_PLACE, lines)],
            )
            session.add(row)
            session.flush()
            first(row.id)
            return self._value(row)

    def current(self) -> GateRow | None:
        """The gate with what was signed; None while it is closed."""
        with self._database.reading() as session:
            row = _open_row(session)
            return self._value(row) if row is not None else None

    def close(self, at_ns: int) -> None:
        """Close it: an opinion or a signature is withdrawn. Closed already is no error."""
        with self._database.writing() as session:
            self._close(session, at_ns)

    def scope(self, at_ns: int) -> Scope:
        """What opening it at this moment would cover: show it to whoever signs."""
        with self._database.reading() as session:
            applications, lines = self._scope(session, at_ns)
            return Scope(tuple(applications), tuple(str(line) for line in lines))

    def _close(self, session: Session, at_ns: int) -> None:
        if (row := _open_row(session)) is not None:
            row.closed_at_ns = at_ns

    def _scope(self, session: Session, at_ns: int) -> tuple[Sequence[str], Sequence[Selector]]:
        rows = session.scalars(
            select(EnrolmentModel)
            .where(EnrolmentModel.ended_at_ns.is_(None), EnrolmentModel.ends_on >= day_of(at_ns))
            .order_by(EnrolmentModel.id)
        ).all()
        applications = dict.fromkeys(row.application for row in rows if row.application is not None)
        sealed = [one.selector for row in rows if row.application is None for one in row.lines]
        return list(applications), list(dict.fromkeys(self._database.open_selectors(ENROLMENT_PLACE, sealed)))

    def _value(self, row: GateModel) -> GateRow:
        lines = self._database.open_selectors(_PLACE, [one.selector for one in row.lines])
        return GateRow(
            row.id,
            row.opinion_on,
            row.dpia_version,
            row.signed_by,
            row.signed_at_ns,
            tuple(one.application for one in row.applications),
            tuple(str(line) for line in lines),
        )


def covers(outer: Selector, inner: Selector) -> bool:
    """Whether every line of ``inner`` is one of ``outer``. When that cannot be told, it is not: the gate closes."""
    if outer == inner:
        return True
    if isinstance(inner, Address):
        return isinstance(outer, AddressPattern) and outer.holds(inner)
    if isinstance(inner, Number):
        return isinstance(outer, NumberRange | NumberPattern) and outer.holds(inner)
    span, within = _span(outer), _span(inner)
    return (
        span is not None and within is not None and span.holds(Number(within.first)) and span.holds(Number(within.last))
    )


def _span(selector: Selector) -> NumberRange | None:
    """The range that a selector is: ``21xx`` is 2100-2199."""
    if isinstance(selector, NumberRange):
        return selector
    if isinstance(selector, NumberPattern) and selector.text.rstrip("x").lstrip("+").isdigit():
        return NumberRange(selector.text.replace("x", "0"), selector.text.replace("x", "9"))
    return None
