"""What alembic runs: the steps, on the connection (and in the transaction) that ``Register.migrate`` hands in."""

from __future__ import annotations

from alembic import context

from sipgate.register.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
