"""Schema changes that a running gateway does not feel, for use in migrations."""

from typing import Any

from sqlalchemy import text


def create_index(
    op: Any,  # noqa: ANN401 - Alembic's module of operations
    name: str,
    table: str,
    columns: list[str],
    *,
    unique: bool = False,
) -> None:
    """Create an index; on PostgreSQL without stopping writers, and anew when an earlier try was cut off and left a broken one."""
    if op.get_bind().dialect.name == "sqlite":
        op.create_index(name, table, columns, unique=unique)
        return
    with op.get_context().autocommit_block():
        broken = text("SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid")
        if op.get_bind().execute(broken, {"name": name}).first():
            op.drop_index(name, table, postgresql_concurrently=True)
        op.create_index(name, table, columns, unique=unique, postgresql_concurrently=True, if_not_exists=True)


def drop_index(op: Any, name: str, table: str) -> None:  # noqa: ANN401 - as above
    """Drop an index; on PostgreSQL without stopping anybody."""
    if op.get_bind().dialect.name == "sqlite":
        op.drop_index(name, table)
        return
    with op.get_context().autocommit_block():
        op.drop_index(name, table, postgresql_concurrently=True, if_exists=True)
