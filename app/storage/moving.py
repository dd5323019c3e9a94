"""Queries that carry a tenant's rows from one database to another, a page at a time, in the order in which rows refer to each other."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Table, insert, select, tuple_

from app.storage.tables import (
    document,
    ended_session,
    lease,
    login_attempt,
    metadata,
    pending_question,
    tenant_login,
    tenant_state,
    web_session,
)
from app.storage.transaction import Transaction

Cells = Mapping[str, Any]
_LEFT_BEHIND = {ended_session, lease, login_attempt, pending_question, tenant_login, tenant_state, web_session}
"""What lives for minutes, belongs to one place, or stands under a cookie of the old address: people sign in again."""


def tables() -> list[str]:
    """Names of the tables that move, those referred to first."""
    return [str(table.name) for table in metadata.sorted_tables if table not in _LEFT_BEHIND]


async def read_page(tx: Transaction, name: str, tenant: str, after: Cells | None, limit: int) -> list[Cells]:
    """A tenant's rows of a table in the order of its key, past the row `after`, at most `limit`."""
    table = metadata.tables[name]
    key = _key(tx, table)
    statement = select(table).where(_is_of(table, tenant))
    if after is not None:
        statement = statement.where(tuple_(*key) > tuple_(*(after[column.name] for column in table.primary_key)))
    rows = await tx.connection.execute(statement.order_by(*key).limit(limit))
    return [dict(row._mapping) for row in rows]  # noqa: SLF001 - the documented way to a row's names


async def read_same(tx: Transaction, name: str, rows: Sequence[Cells]) -> list[Cells | None]:
    """The rows with the keys of those given, in their order; `None` where there is none."""
    table = metadata.tables[name]
    names = [column.name for column in table.primary_key]
    statement = select(table).where(tuple_(*table.primary_key).in_([tuple(row[one] for one in names) for row in rows]))
    cells = [dict(row._mapping) for row in await tx.connection.execute(statement)]  # noqa: SLF001 - as above
    found = {tuple(row[one] for one in names): row for row in cells}
    return [found.get(tuple(row[one] for one in names)) for row in rows]


async def write_rows(tx: Transaction, name: str, rows: Sequence[Cells]) -> None:
    """Insert rows as they are."""
    await tx.connection.execute(insert(metadata.tables[name]), [dict(row) for row in rows])


async def is_empty(tx: Transaction, tenant: str) -> bool:
    """Whether nothing of a tenant is there yet."""
    for name in ("document", "collection", "policy_state"):
        table = metadata.tables[name]
        if (await tx.connection.execute(select(table.c.tenant).where(table.c.tenant == tenant).limit(1))).first():
            return False
    head = metadata.tables["audit_head"]
    return (await tx.connection.execute(select(head.c.log).where(head.c.log == f"portcullis/{tenant}"))).first() is None


def _is_of(table: Table, tenant: str) -> ColumnElement[bool]:
    """What makes a row one of a tenant; a table without a tenant, a log and a document does not move."""
    if "tenant" in table.c:
        return table.c.tenant == tenant
    if "log" in table.c:
        return table.c.log == f"portcullis/{tenant}"
    return table.c.document_id.in_(select(document.c.document_id).where(document.c.tenant == tenant))


def _key(tx: Transaction, table: Table) -> list[ColumnElement[Any]]:
    # SQLite orders text by its bytes; what PostgreSQL does by itself depends on where it was set up.
    is_text = {column.name: issubclass(column.type.python_type, str) for column in table.primary_key}
    collation = "BINARY" if tx.connection.dialect.name == "sqlite" else "C"
    return [column.collate(collation) if is_text[column.name] else column for column in table.primary_key]
