"""The index of recordings, who may see which (R6, R7), and what is still to be reviewed (R5)."""

from __future__ import annotations

from typing import Any, Literal, cast

from sqlalchemy import ColumnElement, false, or_, select
from sqlalchemy.orm import Session

from sipgate.core.retention import CAP_DAYS, CAP_NS
from sipgate.errors import AccessError, RegisterError, RuleError
from sipgate.register import people
from sipgate.register.database import Database
from sipgate.register.models import ConsultationModel, RecordingModel
from sipgate.register.rows import Consultation, Person, RecordingRow, Role

_CHANGEABLE = frozenset(
    {"ended_at_ns", "audio_seconds", "channels", "frames", "film", "state", "expires_at_ns", "story"}
)
_NOT_YOURS = "there is no such recording"


class Recordings:
    """Every recording that is kept."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, row: RecordingRow) -> None:
        """Index a recording. Raises RuleError (R14), RegisterError when it is indexed already."""
        _check_expiry(row.answered_at_ns, row.expires_at_ns)
        with self._database.writing() as session:
            if session.get(RecordingModel, row.recording) is not None:
                raise RegisterError(f"recording {row.recording} is in the register already")
            session.add(RecordingModel(**{name: getattr(row, name) for name in RecordingRow.__slots__}))

    def update(self, recording: str, **columns: float | str) -> None:
        """Change ended_at_ns, audio_seconds, channels, frames, film, state, expires_at_ns or story; nothing else can.

        Raises RegisterError, RuleError (R14).
        """
        if not columns.keys() <= _CHANGEABLE:
            raise RegisterError(f"of a recording only these change: {', '.join(sorted(_CHANGEABLE))}")
        with self._database.writing() as session:
            row = _row(session, recording)
            for name, value in columns.items():
                setattr(row, name, value)
            _check_expiry(row.answered_at_ns, row.expires_at_ns)

    def get(self, recording: str) -> RecordingRow | None:
        """One recording, for the service itself: whoever asks for a person uses ``visible``."""
        with self._database.reading() as session:
            row = session.get(RecordingModel, recording)
            return _value(row) if row is not None else None

    def all(self) -> tuple[RecordingRow, ...]:
        """Every recording, for retention and recovery: never for a person."""
        with self._database.reading() as session:
            return tuple(_value(row) for row in session.scalars(select(RecordingModel)))

    def remove(self, recording: str) -> None:
        """Forget it, its consultations too; none is no error."""
        with self._database.writing() as session:
            if (row := session.get(RecordingModel, recording)) is not None:
                session.delete(row)

    def for_viewer(self, person: Person, story: str | None = None) -> tuple[RecordingRow, ...]:
        """What the person may view, newest first: a trainee their own, a trainer what they review, others nothing.

        With ``story``, of that alone.
        """
        asked = select(RecordingModel).where(_viewable(person)).order_by(RecordingModel.answered_at_ns.desc())
        if story is not None:
            asked = asked.where(RecordingModel.story == story)
        with self._database.reading() as session:
            return tuple(_value(row) for row in session.scalars(asked))

    def visible(self, recording: str, person: Person) -> RecordingRow:
        """The recording, if the person may view it. AccessError otherwise, the same whether or not it exists."""
        asked = select(RecordingModel).where(RecordingModel.recording == recording, _viewable(person))
        with self._database.reading() as session:
            row = session.scalar(asked)
            if row is None:
                raise AccessError(_NOT_YOURS)
            return _value(row)

    def mark_reviewed(self, recording: str, by: int, at_ns: int) -> None:
        """Its reviewer has analysed it: a place in the backlog is free. Twice is no error. Raises AccessError."""
        with self._database.writing() as session:
            row = session.get(RecordingModel, recording)
            if row is None or row.reviewer != by or Role.TRAINER not in people.find(session, by).roles:
                raise AccessError(_NOT_YOURS)
            if row.reviewed_at_ns is None:
                row.reviewed_at_ns = at_ns


class Consultations:
    """Who viewed which recording, when and why (R7, R16)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, recording: str, person_id: int, reason: str, at_ns: int) -> None:
        """Note a viewing. Raises RuleError (R7) without a reason, AccessError when the person may not view it."""
        if not reason.strip():
            raise RuleError("viewing a recording needs a stated reason (R7)")
        with self._database.writing() as session:
            viewer = people.find(session, person_id)
            asked = select(RecordingModel).where(RecordingModel.recording == recording, _viewable(viewer))
            row = session.scalar(asked)
            if row is None:
                raise AccessError(_NOT_YOURS)
            row.consultations.append(ConsultationModel(person_id=person_id, reason=reason.strip(), at_ns=at_ns))

    def of(self, recording: str) -> tuple[Consultation, ...]:
        """The viewings of a recording, in order."""
        asked = select(ConsultationModel).where(ConsultationModel.recording == recording)
        with self._database.reading() as session:
            rows = session.scalars(asked.order_by(ConsultationModel.at_ns, ConsultationModel.id))
            return tuple(Consultation(row.person_id, row.reason, row.at_ns) for row in rows)


def _viewable(person: Person) -> ColumnElement[bool]:
    # Whatever other role they hold: a system's administrator cannot view (R7).
    if Role.TELEPHONY_ADMIN in person.roles:
        return false()
    allowed: list[ColumnElement[bool]] = []
    if Role.TRAINEE in person.roles:
        allowed.append(RecordingModel.owner == person.id)
    if Role.TRAINER in person.roles:
        allowed.append(RecordingModel.reviewer == person.id)
    return or_(false(), *allowed)


def _check_expiry(answered_at_ns: int, expires_at_ns: int) -> None:
    if expires_at_ns > answered_at_ns + CAP_NS:
        raise RuleError(f"a recording is kept {CAP_DAYS} days at most (R14)")


def _row(session: Session, recording: str) -> RecordingModel:
    row = session.get(RecordingModel, recording)
    if row is None:
        raise RegisterError(f"recording {recording} is not in the register")
    return row


def _value(row: RecordingModel) -> RecordingRow:
    values: dict[str, Any] = {name: getattr(row, name) for name in RecordingRow.__slots__}
    values["state"] = cast("Literal['finishing', 'ready', 'failed']", row.state)
    return RecordingRow(**values)
