"""Queries over the state of a tenant: whether records may be taken, and if not, why."""

from sqlalchemy import insert, select, update

from app.domain.identity import TenantId
from app.storage.tables import tenant_state
from app.storage.transaction import Transaction


async def standstill(tx: Transaction, tenant: TenantId) -> str | None:
    """Why nothing may be recorded for a tenant, and so nothing released; `None` when all is well."""
    stopped = (tenant_state.c.tenant == tenant, tenant_state.c.is_read_only.is_(True))
    reason: str | None = (await tx.connection.execute(select(tenant_state.c.reason).where(*stopped))).scalar_one_or_none()
    return reason


async def stop(tx: Transaction, tenant: TenantId, reason: str) -> None:
    """Take no more records for a tenant, in any process."""
    await _set(tx, tenant, is_read_only=True, reason=reason)


async def resume(tx: Transaction, tenant: TenantId) -> None:
    """Take records again."""
    await _set(tx, tenant, is_read_only=False, reason="")


async def _set(tx: Transaction, tenant: TenantId, *, is_read_only: bool, reason: str) -> None:
    values = {"is_read_only": is_read_only, "reason": reason}
    changed = await tx.connection.execute(update(tenant_state).where(tenant_state.c.tenant == tenant).values(**values))
    if changed.rowcount == 0:
        await tx.connection.execute(insert(tenant_state).values(tenant=tenant, **values))
