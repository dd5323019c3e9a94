"""Queries over leases: which process does what only one at a time may do. A holder that died loses its lease when it runs out."""

from datetime import timedelta

from sqlalchemy import delete, insert, select, update

from app.domain.identity import TenantId
from app.storage.tables import lease
from app.storage.transaction import Transaction


async def take(tx: Transaction, tenant: TenantId, name: str, holder: str, until: timedelta) -> bool:
    """Take or renew a lease for as long as `until`; False while somebody else holds it. By the database's clock, whoever asks."""
    now = await tx.now()
    same = (lease.c.tenant == tenant, lease.c.name == name)
    row = (await tx.connection.execute(select(lease.c.holder, lease.c.expires_at).where(*same))).one_or_none()
    if row is None:
        await tx.connection.execute(insert(lease).values(tenant=tenant, name=name, holder=holder, expires_at=now + until))
        return True
    if row.holder != holder and row.expires_at > now:
        return False
    await tx.connection.execute(update(lease).where(*same).values(holder=holder, expires_at=now + until))
    return True


async def give_back(tx: Transaction, tenant: TenantId, name: str, holder: str) -> None:
    """Let the next one take it at once."""
    mine = (lease.c.tenant == tenant, lease.c.name == name, lease.c.holder == holder)
    await tx.connection.execute(delete(lease).where(*mine))
