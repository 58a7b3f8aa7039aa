"""What Alembic runs for every command: it connects with the project's own engine and its tables.

A connection is handed in by `master.db.migrate`; there is no alembic.ini.
"""

from __future__ import annotations

from alembic import context

from master.db.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite alters a table by copying it; harmless elsewhere.
    render_as_batch=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
