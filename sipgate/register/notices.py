"""The versioned notice, and who has acknowledged the version in force (R9)."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from sipgate.errors import RuleError, RuleValueError
from sipgate.register import people
from sipgate.register.database import Database, First, nothing_first
from sipgate.register.models import AcknowledgementModel, NoticeModel
from sipgate.register.rows import Notice


def current(session: Session) -> NoticeModel | None:
    """The version in force, within a transaction."""
    return session.scalar(select(NoticeModel).order_by(NoticeModel.version.desc()).limit(1))


def who_acknowledged(session: Session) -> frozenset[int]:
    """Everybody who has acknowledged the version in force; nobody when there is none."""
    notice = current(session)
    if notice is None:
        return frozenset()
    asked = select(AcknowledgementModel.person_id).where(AcknowledgementModel.version == notice.version)
    return frozenset(session.scalars(asked))


class Notices:
    """The notice to employees."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def publish(self, text: str, at_ns: int) -> int:
        """Put a new version in force, which nobody has acknowledged yet; returns it. RuleError R9 when it is empty."""
        if not text.strip():
            raise RuleValueError("a notice needs a text: employees are informed by it (R9)")
        with self._database.writing() as session:
            row = NoticeModel(text=text, published_at_ns=at_ns)
            session.add(row)
            session.flush()
            return row.version

    def current(self) -> Notice | None:
        """The version in force."""
        with self._database.reading() as session:
            row = current(session)
            return Notice(row.version, row.text, row.published_at_ns) if row is not None else None

    def acknowledge(self, person_id: int, version: int, at_ns: int, *, first: First = nothing_first) -> None:
        """The person has read this version: the one in force, any other is a RuleError (R9). Twice is no error."""
        with self._database.writing() as session:
            people.find(session, person_id)
            notice = current(session)
            if notice is None or notice.version != version:
                raise RuleError(
                    "only the version of the notice that is in force can be acknowledged (R9): read it again"
                )
            if session.get(AcknowledgementModel, (person_id, version)) is None:
                first(version)
                session.add(AcknowledgementModel(person_id=person_id, version=version, at_ns=at_ns))

    def acknowledged(self, person_id: int) -> bool:
        """Whether the person has acknowledged the version in force; False when there is none."""
        with self._database.reading() as session:
            return person_id in who_acknowledged(session)
