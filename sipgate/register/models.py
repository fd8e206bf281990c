"""The tables. What identifies a line, and what a pseudonym is made of, is stored sealed (``sealing.py``).

There is no column for a purpose (training is the only one, R8), none for a score (R8), and in ``recording`` none that
tells a line or the other party. A change of any table marked ``shapes_policy`` raises the register's revision.
"""

from __future__ import annotations

from datetime import date
from typing import ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Float, ForeignKey, LargeBinary, MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    """The root of all tables. Constraints have names, so that migrations can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {bytes: LargeBinary, str: Text}
    shapes_policy: ClassVar[bool] = False


def _nanoseconds() -> Mapped[int]:
    return mapped_column(BigInteger)


class RevisionModel(Base):
    """One row: counts the changes that could alter the policy."""

    __tablename__ = "revision"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger)


class PersonModel(Base):
    """A personal account. ``pseudonym_secret`` (sealed) None: destroyed, the journal no longer leads to this person."""

    __tablename__ = "person"
    id: Mapped[int] = mapped_column(primary_key=True)
    login: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str]
    password_hash: Mapped[str]
    pseudonym_secret: Mapped[bytes | None]
    roles: Mapped[list[PersonRoleModel]] = relationship(lazy="selectin", cascade="all, delete-orphan")


class PersonRoleModel(Base):
    """One role of one person."""

    __tablename__ = "person_role"
    __table_args__ = (CheckConstraint("role IN ('trainer', 'trainee', 'telephony_admin', 'dpo')", name="role"),)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"), primary_key=True)
    role: Mapped[str] = mapped_column(String(16), primary_key=True)


class SignInModel(Base):
    """A person signed in to the console; the token itself is stored nowhere."""

    __tablename__ = "sign_in"
    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"), index=True)
    opened_at_ns: Mapped[int] = _nanoseconds()
    used_at_ns: Mapped[int] = _nanoseconds()


class NoticeModel(Base):
    """A version of the notice; the highest is in force."""

    __tablename__ = "notice"
    shapes_policy = True
    version: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
    published_at_ns: Mapped[int] = _nanoseconds()


class AcknowledgementModel(Base):
    """A person acknowledged a version."""

    __tablename__ = "acknowledgement"
    shapes_policy = True
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"), primary_key=True)
    version: Mapped[int] = mapped_column(ForeignKey("notice.version"), primary_key=True)
    at_ns: Mapped[int] = _nanoseconds()


class GateModel(Base):
    """An opening of the gate; open while ``closed_at_ns`` is None (one at most)."""

    __tablename__ = "gate"
    shapes_policy = True
    id: Mapped[int] = mapped_column(primary_key=True)
    opinion_on: Mapped[date]
    dpia_version: Mapped[str]
    signed_by: Mapped[int] = mapped_column(ForeignKey("person.id"))
    signed_at_ns: Mapped[int] = _nanoseconds()
    closed_at_ns: Mapped[int | None] = mapped_column(BigInteger)
    applications: Mapped[list[GateApplicationModel]] = relationship(lazy="selectin", cascade="all, delete-orphan")
    lines: Mapped[list[GateLineModel]] = relationship(lazy="selectin", cascade="all, delete-orphan")


class GateApplicationModel(Base):
    """An application that the signature covers."""

    __tablename__ = "gate_application"
    id: Mapped[int] = mapped_column(primary_key=True)
    gate_id: Mapped[int] = mapped_column(ForeignKey("gate.id"), index=True)
    application: Mapped[str]


class GateLineModel(Base):
    """A line, range or pattern (sealed) whose sound the signature covers."""

    __tablename__ = "gate_line"
    id: Mapped[int] = mapped_column(primary_key=True)
    gate_id: Mapped[int] = mapped_column(ForeignKey("gate.id"), index=True)
    selector: Mapped[bytes]


class LineModel(Base):
    """A line and its holder, until it is released."""

    __tablename__ = "line"
    shapes_policy = True
    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"), index=True)
    assigned_at_ns: Mapped[int] = _nanoseconds()
    released_at_ns: Mapped[int | None] = mapped_column(BigInteger)
    identities: Mapped[list[LineIdentityModel]] = relationship(
        lazy="selectin", cascade="all, delete-orphan", order_by="LineIdentityModel.id"
    )


class LineIdentityModel(Base):
    """One identity (sealed) of a line."""

    __tablename__ = "line_identity"
    id: Mapped[int] = mapped_column(primary_key=True)
    line_id: Mapped[int] = mapped_column(ForeignKey("line.id"), index=True)
    identity: Mapped[bytes]


class WorkstationModel(Base):
    """A workstation, its pending enrolment code, and its key once it has redeemed one."""

    __tablename__ = "workstation"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    added_at_ns: Mapped[int] = _nanoseconds()
    code_hash: Mapped[bytes | None] = mapped_column(unique=True)
    code_expires_at_ns: Mapped[int | None] = mapped_column(BigInteger)
    public_key: Mapped[bytes | None]
    certificate_pem: Mapped[str | None]


class EnrolmentModel(Base):
    """Who may be recorded: a film's enrolment has trainee, workstation and application, a sound's has none of them."""

    __tablename__ = "enrolment"
    __table_args__ = (
        CheckConstraint(
            "(trainee_id IS NULL) = (workstation IS NULL) AND (trainee_id IS NULL) = (application IS NULL)", name="kind"
        ),
        CheckConstraint("capacity > 0", name="capacity"),
        CheckConstraint("starts_on <= ends_on", name="dates"),
        CheckConstraint("length(need) > 0", name="need"),
    )
    shapes_policy = True
    id: Mapped[int] = mapped_column(primary_key=True)
    trainee_id: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    workstation: Mapped[str | None] = mapped_column(ForeignKey("workstation.name"))
    application: Mapped[str | None]
    need: Mapped[str]
    starts_on: Mapped[date]
    ends_on: Mapped[date]
    reviewer_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    capacity: Mapped[int]
    ended_at_ns: Mapped[int | None] = mapped_column(BigInteger)
    lines: Mapped[list[EnrolmentLineModel]] = relationship(
        lazy="selectin", cascade="all, delete-orphan", order_by="EnrolmentLineModel.id"
    )


class EnrolmentLineModel(Base):
    """A line, range or pattern (sealed) of an enrolment."""

    __tablename__ = "enrolment_line"
    id: Mapped[int] = mapped_column(primary_key=True)
    enrolment_id: Mapped[int] = mapped_column(ForeignKey("enrolment.id"), index=True)
    selector: Mapped[bytes]


class ExclusionModel(Base):
    """A line, range or pattern (sealed) that is never recorded; removed by two people."""

    __tablename__ = "exclusion"
    __table_args__ = ({"sqlite_autoincrement": True},)  # what was removed must never be taken for what came later
    shapes_policy = True
    id: Mapped[int] = mapped_column(primary_key=True)
    selector: Mapped[bytes]
    added_by: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    added_at_ns: Mapped[int] = _nanoseconds()
    removal_requested_by: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    removal_requested_at_ns: Mapped[int | None] = mapped_column(BigInteger)


class RecordingModel(Base):
    """The index of one recording: see ``rows.RecordingRow``."""

    __tablename__ = "recording"
    __table_args__ = (
        CheckConstraint("state IN ('finishing', 'ready', 'failed')", name="state"),
        CheckConstraint("expires_at_ns <= answered_at_ns + 15811200000000000", name="six_months"),  # R14: 183 days
    )
    shapes_policy = True
    recording: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner: Mapped[int] = mapped_column(ForeignKey("person.id"), index=True)
    enrolment: Mapped[int] = mapped_column(ForeignKey("enrolment.id"), index=True)
    reviewer: Mapped[int] = mapped_column(ForeignKey("person.id"), index=True)
    answered_at_ns: Mapped[int] = _nanoseconds()
    ended_at_ns: Mapped[int] = _nanoseconds()
    audio_seconds: Mapped[float] = mapped_column(Float)
    channels: Mapped[int]
    frames: Mapped[int]
    film: Mapped[bool]
    state: Mapped[str] = mapped_column(String(16))
    reviewed_at_ns: Mapped[int | None] = mapped_column(BigInteger)
    expires_at_ns: Mapped[int] = _nanoseconds()
    story: Mapped[str] = mapped_column(String(32), index=True, server_default="")
    consultations: Mapped[list[ConsultationModel]] = relationship(cascade="all, delete-orphan")


class ConsultationModel(Base):
    """One viewing of one recording; goes with the recording (the journal keeps its own trace)."""

    __tablename__ = "consultation"
    id: Mapped[int] = mapped_column(primary_key=True)
    recording: Mapped[str] = mapped_column(ForeignKey("recording.recording"), index=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    reason: Mapped[str]
    at_ns: Mapped[int] = _nanoseconds()
