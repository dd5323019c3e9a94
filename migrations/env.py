"""Alembic environment: one history for SQLite and PostgreSQL. The connection is handed in by `app.storage.schema`."""

from alembic import context

from app.storage.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, compare_type=True, transaction_per_migration=False)
context.run_migrations()
