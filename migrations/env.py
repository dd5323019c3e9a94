"""Alembic environment: one history for SQLite and PostgreSQL. The connection is handed in by `app.storage.schema`.

On PostgreSQL each revision is a transaction of its own, so that none holds its locks while the next one works.
"""

from alembic import context

from app.storage.tables import metadata

connection = context.config.attributes["connection"]
each = connection.dialect.name == "postgresql"
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, compare_type=True, transaction_per_migration=each)
with context.begin_transaction():
    context.run_migrations()
