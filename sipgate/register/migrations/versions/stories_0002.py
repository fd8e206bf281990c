"""What a recording belongs to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Each recording so far is a story of its own. Not in batch: SQLite would copy the table, and lose viewings."""
    op.add_column("recording", sa.Column("story", sa.String(length=32), nullable=False, server_default=""))
    op.execute("UPDATE recording SET story = recording")
    op.create_index(op.f("ix_recording_story"), "recording", ["story"], unique=False)


def downgrade() -> None:
    """Without it, each is by itself again."""
    raise NotImplementedError("there is no older register: restore a backup")
