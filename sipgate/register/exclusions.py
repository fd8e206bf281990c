"""The console's list of lines that are never recorded (R12). Adding takes one person, removing takes two."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from sipgate.core.lines import Selector, parse_selector
from sipgate.errors import RegisterError, RuleError
from sipgate.register import people
from sipgate.register.database import Database, First, nothing_first
from sipgate.register.models import ExclusionModel
from sipgate.register.rows import ExclusionRow, Role

_PLACE = "exclusion"
REQUEST_STANDS_NS = 30 * 24 * 3600 * 1_000_000_000
"""A request for removal that nobody confirmed is void then: a forgotten one must not make one person enough."""
_MAY_REMOVE = frozenset({Role.TELEPHONY_ADMIN, Role.DPO})


def selectors(session: Session, database: Database) -> tuple[Selector, ...]:
    """The list, within a transaction."""
    return database.open_selectors(_PLACE, list(session.scalars(select(ExclusionModel.selector))))


class Exclusions:
    """The list that the console keeps; the admins' file is added to it (``policy``)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def exclude(self, text: str, by: int | None, at_ns: int) -> ExclusionRow:
        """Protect a number, range, pattern or SIP address, at once. ``by`` None: the server's own command line.

        What is on the list already stays the same row, and a removal of it that somebody requested is void. Raises
        LineSyntaxError, RegisterError.
        """
        selector = parse_selector(text, self._database.country)
        with self._database.writing() as session:
            if by is not None:
                people.find(session, by)
            for row in session.scalars(select(ExclusionModel)):
                if self._selector(row) == selector:
                    row.removal_requested_by = row.removal_requested_at_ns = None
                    return self._value(row)
            (sealed,) = self._database.seal_selectors(_PLACE, [selector])
            row = ExclusionModel(selector=sealed, added_by=by, added_at_ns=at_ns)
            session.add(row)
            session.flush()
            return self._value(row)

    def request_removal(self, exclusion_id: int, by: int, at_ns: int, *, first: First = nothing_first) -> None:
        """The first of two people: nothing changes until another confirms. Raises RegisterError, RuleError (R12)."""
        with self._database.writing() as session:
            _entitled(session, by)
            row = _row(session, exclusion_id)
            first(row.id)
            row.removal_requested_by, row.removal_requested_at_ns = by, at_ns

    def confirm_removal(self, exclusion_id: int, by: int, at_ns: int, *, first: First = nothing_first) -> None:
        """The second of two people: from now on the line is not protected. Raises RegisterError, RuleError (R12)."""
        with self._database.writing() as session:
            _entitled(session, by)
            row = _row(session, exclusion_id)
            requested = row.removal_requested_at_ns
            if requested is None or at_ns >= requested + REQUEST_STANDS_NS:
                raise RuleError("nobody has requested this removal: it takes two people (R12)")
            if row.removal_requested_by == by:
                raise RuleError("the person who requested a removal cannot confirm it: it takes two people (R12)")
            first(row.id)
            session.delete(row)

    def cancel_removal(self, exclusion_id: int) -> None:
        """Withdraw the request. Raises RegisterError."""
        with self._database.writing() as session:
            row = _row(session, exclusion_id)
            row.removal_requested_by = row.removal_requested_at_ns = None

    def all(self) -> tuple[ExclusionRow, ...]:
        """The list, in the order in which it grew."""
        with self._database.reading() as session:
            return tuple(
                self._value(row) for row in session.scalars(select(ExclusionModel).order_by(ExclusionModel.id))
            )

    def selectors(self) -> tuple[Selector, ...]:
        """The list, as it matches."""
        with self._database.reading() as session:
            return selectors(session, self._database)

    def _selector(self, row: ExclusionModel) -> Selector:
        return self._database.open_selectors(_PLACE, [row.selector])[0]

    def _value(self, row: ExclusionModel) -> ExclusionRow:
        return ExclusionRow(
            row.id,
            str(self._selector(row)),
            row.added_by,
            row.added_at_ns,
            row.removal_requested_by,
            row.removal_requested_at_ns,
        )


def _row(session: Session, exclusion_id: int) -> ExclusionModel:
    row = session.get(ExclusionModel, exclusion_id)
    if row is None:
        raise RegisterError(f"exclusion {exclusion_id} is not on the list")
    return row


def _entitled(session: Session, by: int) -> None:
    if not people.find(session, by).roles & _MAY_REMOVE:
        raise RuleError("exclusions are removed by two people with the role telephony_admin or dpo (R12)")
