"""Alembic environment: one history for SQLite and PostgreSQL. The connection is handed in by `app.storage.schema`.

On PostgreSQL each revision is a transaction of its own, so that none holds its locks while the next one works.
"""

from collections.abc import Iterable

import sqlalchemy as sa
from alembic import context
from alembic.runtime.migration import MigrationContext

from app.storage.tables import metadata



def note_oldest_build(*, ctx: MigrationContext, heads: Iterable[str], **_others: object) -> None:
    """Write, in the transaction of a revision, which builds the schema serves now. A revision that does not say serves its own alone."""
    if not sa.inspect(ctx.connection).has_table("schema_compatibility"):
        return
    (head,) = heads
    module = context.script.get_revision(head).module
    ctx.connection.execute(sa.text("DELETE FROM schema_compatibility"))
    ctx.connection.execute(sa.text("INSERT INTO schema_compatibility VALUES (:oldest)"), {"oldest": getattr(module, "oldest_build", head)})


connection = context.config.attributes["connection"]
each = connection.dialect.name == "postgresql"
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=True,
    compare_type=True,
    transaction_per_migration=each,
    on_version_apply=note_oldest_build,
)
with context.begin_transaction():
    context.run_migrations()
