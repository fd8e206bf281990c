"""Which person holds which line. Only a trainee's line is ever recorded, so only trainees are assigned lines."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from sipgate.core.lines import Address, Number, Selector, parse_selector
from sipgate.errors import LineSyntaxError, RegisterError, RegisterValueError, RuleError
from sipgate.register import people
from sipgate.register.database import Database, First, nothing_first
from sipgate.register.models import LineIdentityModel, LineModel
from sipgate.register.rows import Line, Role

_PLACE = "line"


def active(session: Session, database: Database) -> list[tuple[LineModel, tuple[Selector, ...]]]:
    """The lines that are assigned, with their identities, within a transaction."""
    rows = session.scalars(select(LineModel).where(LineModel.released_at_ns.is_(None)).order_by(LineModel.id))
    return [(row, database.open_selectors(_PLACE, [one.identity for one in row.identities])) for row in rows]


def parse_identity(text: str, country: str) -> Number | Address:
    """One identity of one line: ranges and patterns are none. Raises LineSyntaxError."""
    selector = parse_selector(text, country)
    if not isinstance(selector, Number | Address):
        raise LineSyntaxError("one line is meant here: write a number or a SIP address, not a range or a pattern")
    return selector


class Lines:
    """The lines of the site."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def assign(self, person_id: int, identities: Sequence[str], at_ns: int, *, first: First = nothing_first) -> Line:
        """Give one line, by all its identities, to one person.

        Raises LineSyntaxError; RegisterError when there is none or one is assigned already; RuleError (R4) when the
        person is no trainee.
        """
        country = self._database.country
        wanted = list(dict.fromkeys(parse_identity(text, country) for text in identities))
        if not wanted:
            raise RegisterValueError("a line needs at least one identity: its extension, its public numbers")
        with self._database.writing() as session:
            if Role.TRAINEE not in people.find(session, person_id).roles:
                raise RuleError("lines are assigned to trainees: nobody else is ever recorded (R4)")
            for row, held in active(session, self._database):
                if set(held) & set(wanted):
                    raise RegisterError(f"one of these identities is line {row.id}'s already: release that line first")
            sealed = self._database.seal_selectors(_PLACE, wanted)
            row = LineModel(
                person_id=person_id,
                assigned_at_ns=at_ns,
                identities=[LineIdentityModel(identity=one) for one in sealed],
            )
            session.add(row)
            session.flush()
            first(row.id)
            return _value(row, wanted)

    def release(self, line_id: int, at_ns: int) -> None:
        """Take the line from its holder: from now on it is not recorded. Raises RegisterError."""
        with self._database.writing() as session:
            row = session.get(LineModel, line_id)
            if row is None or row.released_at_ns is not None:
                raise RegisterError(f"line {line_id} is not assigned")
            row.released_at_ns = at_ns

    def all(self) -> tuple[Line, ...]:
        """Every line that is assigned."""
        with self._database.reading() as session:
            return tuple(_value(row, held) for row, held in active(session, self._database))

    def of(self, person_id: int) -> tuple[Line, ...]:
        """The lines that a person holds."""
        return tuple(line for line in self.all() if line.person == person_id)


def _value(row: LineModel, identities: Sequence[Selector]) -> Line:
    return Line(row.id, row.person_id, tuple(str(one) for one in identities), row.assigned_at_ns)
