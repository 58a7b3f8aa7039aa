"""Alembic's scripts; `master.db.migrate` runs them."""
