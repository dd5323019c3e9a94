"""Queries over collections."""

from typing import Any

from sqlalchemy import Row, insert, select, update

from app.domain.content import Collection
from app.domain.identity import TenantId
from app.storage.tables import collection
from app.storage.transaction import Transaction


async def get_collection(tx: Transaction, tenant: TenantId, name: str) -> Collection | None:
    """One collection, or `None`."""
    statement = select(collection).where(collection.c.tenant == tenant, collection.c.name == name)
    row = (await tx.connection.execute(statement)).one_or_none()
    return None if row is None else _collection(row)


async def list_collections(tx: Transaction, tenant: TenantId) -> list[Collection]:
    """Every collection of a tenant by name."""
    rows = await tx.connection.execute(select(collection).where(collection.c.tenant == tenant).order_by(collection.c.name))
    return [_collection(row) for row in rows]


async def put_collection(tx: Transaction, value: Collection) -> None:
    """Insert or replace a collection's settings."""
    values = {
        "title": value.title,
        "steward": value.steward,
        "default_label": value.default_label,
        "languages": list(value.languages),
        "retention_days": value.retention_days,
        "redaction_profile": value.redaction_profile,
        "model_routing": value.model_routing,
    }
    same = (collection.c.tenant == value.tenant, collection.c.name == value.name)
    changed = await tx.connection.execute(update(collection).where(*same).values(**values))
    if changed.rowcount == 0:
        await tx.connection.execute(insert(collection).values(tenant=value.tenant, name=value.name, created_at=value.created_at, **values))


def _collection(row: Row[Any]) -> Collection:
    return Collection(
        tenant=TenantId(row.tenant),
        name=row.name,
        title=row.title,
        steward=row.steward,
        default_label=row.default_label,
        languages=tuple(row.languages),
        retention_days=row.retention_days,
        redaction_profile=row.redaction_profile,
        model_routing=row.model_routing,
        created_at=row.created_at,
    )
