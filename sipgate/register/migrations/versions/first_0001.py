"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make them."""
    _people()
    _notice()
    _lines()
    _workstations()
    _enrolments()
    _gate()
    _recordings()
    _revision()


def downgrade() -> None:
    """There is nothing before them."""
    raise NotImplementedError("there is no older register: restore a backup")


def _people() -> None:
    """Accounts, who is signed in."""
    op.create_table(
        "person",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("login", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("pseudonym_secret", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_person")),
        sa.UniqueConstraint("login", name=op.f("uq_person_login")),
    )
    op.create_table(
        "person_role",
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.CheckConstraint(
            "role IN ('trainer', 'trainee', 'telephony_admin', 'dpo')", name=op.f("ck_person_role_role")
        ),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_person_role_person_id")),
        sa.PrimaryKeyConstraint("person_id", "role", name=op.f("pk_person_role")),
    )
    op.create_table(
        "sign_in",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("opened_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("used_at_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_sign_in_person_id")),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_sign_in")),
    )
    op.create_index(op.f("ix_sign_in_person_id"), "sign_in", ["person_id"], unique=False)


def _notice() -> None:
    """The notice and who acknowledged it."""
    op.create_table(
        "notice",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("published_at_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_notice")),
    )
    op.create_table(
        "acknowledgement",
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_acknowledgement_person_id")),
        sa.ForeignKeyConstraint(["version"], ["notice.version"], name=op.f("fk_acknowledgement_version")),
        sa.PrimaryKeyConstraint("person_id", "version", name=op.f("pk_acknowledgement")),
    )


def _lines() -> None:
    """Lines and their holders, exclusions."""
    op.create_table(
        "line",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("assigned_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("released_at_ns", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_line_person_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_line")),
    )
    op.create_index(op.f("ix_line_person_id"), "line", ["person_id"], unique=False)
    op.create_table(
        "line_identity",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("line_id", sa.Integer(), nullable=False),
        sa.Column("identity", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["line_id"], ["line.id"], name=op.f("fk_line_identity_line_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_line_identity")),
    )
    op.create_index(op.f("ix_line_identity_line_id"), "line_identity", ["line_id"], unique=False)
    op.create_table(
        "exclusion",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("selector", sa.LargeBinary(), nullable=False),
        sa.Column("added_by", sa.Integer(), nullable=True),
        sa.Column("added_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("removal_requested_by", sa.Integer(), nullable=True),
        sa.Column("removal_requested_at_ns", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["added_by"], ["person.id"], name=op.f("fk_exclusion_added_by")),
        sa.ForeignKeyConstraint(
            ["removal_requested_by"], ["person.id"], name=op.f("fk_exclusion_removal_requested_by")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exclusion")),
        sqlite_autoincrement=True,
    )


def _workstations() -> None:
    """Workstations."""
    op.create_table(
        "workstation",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("added_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("code_hash", sa.LargeBinary(), nullable=True),
        sa.Column("code_expires_at_ns", sa.BigInteger(), nullable=True),
        sa.Column("public_key", sa.LargeBinary(), nullable=True),
        sa.Column("certificate_pem", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_workstation")),
        sa.UniqueConstraint("code_hash", name=op.f("uq_workstation_code_hash")),
    )


def _enrolments() -> None:
    """Enrolments."""
    op.create_table(
        "enrolment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trainee_id", sa.Integer(), nullable=True),
        sa.Column("workstation", sa.String(length=64), nullable=True),
        sa.Column("application", sa.Text(), nullable=True),
        sa.Column("need", sa.Text(), nullable=False),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("ends_on", sa.Date(), nullable=False),
        sa.Column("reviewer_id", sa.Integer(), nullable=False),
        sa.Column("capacity", sa.Integer(), nullable=False),
        sa.Column("ended_at_ns", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "(trainee_id IS NULL) = (workstation IS NULL) AND (trainee_id IS NULL) = (application IS NULL)",
            name=op.f("ck_enrolment_kind"),
        ),
        sa.CheckConstraint("capacity > 0", name=op.f("ck_enrolment_capacity")),
        sa.CheckConstraint("length(need) > 0", name=op.f("ck_enrolment_need")),
        sa.CheckConstraint("starts_on <= ends_on", name=op.f("ck_enrolment_dates")),
        sa.ForeignKeyConstraint(["reviewer_id"], ["person.id"], name=op.f("fk_enrolment_reviewer_id")),
        sa.ForeignKeyConstraint(["trainee_id"], ["person.id"], name=op.f("fk_enrolment_trainee_id")),
        sa.ForeignKeyConstraint(["workstation"], ["workstation.name"], name=op.f("fk_enrolment_workstation")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_enrolment")),
    )
    op.create_table(
        "enrolment_line",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("enrolment_id", sa.Integer(), nullable=False),
        sa.Column("selector", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["enrolment_id"], ["enrolment.id"], name=op.f("fk_enrolment_line_enrolment_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_enrolment_line")),
    )
    op.create_index(op.f("ix_enrolment_line_enrolment_id"), "enrolment_line", ["enrolment_id"], unique=False)


def _gate() -> None:
    """The activation gate and the scope that was signed."""
    op.create_table(
        "gate",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("opinion_on", sa.Date(), nullable=False),
        sa.Column("dpia_version", sa.Text(), nullable=False),
        sa.Column("signed_by", sa.Integer(), nullable=False),
        sa.Column("signed_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("closed_at_ns", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["signed_by"], ["person.id"], name=op.f("fk_gate_signed_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gate")),
    )
    op.create_table(
        "gate_application",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("gate_id", sa.Integer(), nullable=False),
        sa.Column("application", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["gate_id"], ["gate.id"], name=op.f("fk_gate_application_gate_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gate_application")),
    )
    op.create_index(op.f("ix_gate_application_gate_id"), "gate_application", ["gate_id"], unique=False)
    op.create_table(
        "gate_line",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("gate_id", sa.Integer(), nullable=False),
        sa.Column("selector", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["gate_id"], ["gate.id"], name=op.f("fk_gate_line_gate_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gate_line")),
    )
    op.create_index(op.f("ix_gate_line_gate_id"), "gate_line", ["gate_id"], unique=False)


def _recordings() -> None:
    """The index of recordings, and their consultations."""
    op.create_table(
        "recording",
        sa.Column("recording", sa.String(length=32), nullable=False),
        sa.Column("owner", sa.Integer(), nullable=False),
        sa.Column("enrolment", sa.Integer(), nullable=False),
        sa.Column("reviewer", sa.Integer(), nullable=False),
        sa.Column("answered_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("ended_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("audio_seconds", sa.Float(), nullable=False),
        sa.Column("channels", sa.Integer(), nullable=False),
        sa.Column("frames", sa.Integer(), nullable=False),
        sa.Column("film", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reviewed_at_ns", sa.BigInteger(), nullable=True),
        sa.Column("expires_at_ns", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('finishing', 'ready', 'failed')", name=op.f("ck_recording_state")),
        sa.CheckConstraint("expires_at_ns <= answered_at_ns + 15811200000000000", name=op.f("ck_recording_six_months")),
        sa.ForeignKeyConstraint(["enrolment"], ["enrolment.id"], name=op.f("fk_recording_enrolment")),
        sa.ForeignKeyConstraint(["owner"], ["person.id"], name=op.f("fk_recording_owner")),
        sa.ForeignKeyConstraint(["reviewer"], ["person.id"], name=op.f("fk_recording_reviewer")),
        sa.PrimaryKeyConstraint("recording", name=op.f("pk_recording")),
    )
    op.create_index(op.f("ix_recording_enrolment"), "recording", ["enrolment"], unique=False)
    op.create_index(op.f("ix_recording_owner"), "recording", ["owner"], unique=False)
    op.create_index(op.f("ix_recording_reviewer"), "recording", ["reviewer"], unique=False)
    op.create_table(
        "consultation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("recording", sa.String(length=32), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_consultation_person_id")),
        sa.ForeignKeyConstraint(["recording"], ["recording.recording"], name=op.f("fk_consultation_recording")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consultation")),
    )
    op.create_index(op.f("ix_consultation_recording"), "consultation", ["recording"], unique=False)


def _revision() -> None:
    """The counter of changes, and its one row."""
    revision_table = op.create_table(
        "revision",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_revision_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revision")),
    )
    op.bulk_insert(revision_table, [{"id": 1, "number": 0}])
