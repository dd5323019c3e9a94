"""Queries over policy bundles and the bundle in force."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, bindparam, insert, select, update

from app.domain.identity import TenantId
from app.storage.tables import collection, policy_bundle, policy_state
from app.storage.transaction import Transaction


@dataclass(frozen=True, slots=True)
class ActivePolicy:
    """Which bundle is in force. `epoch` grows by one with every activation."""

    epoch: int
    digest: str
    activated_at: datetime
    author: str
    approver: str


@dataclass(frozen=True, slots=True)
class Basis:
    """What a retrieval rests on: the bundle in force, and the redaction profile of each collection by its name."""

    epoch: int
    digest: str
    profiles: Mapping[str, str]


_BASIS = (
    select(policy_state.c.epoch, policy_state.c.digest, collection.c.name, collection.c.redaction_profile)
    .select_from(policy_state.outerjoin(collection, collection.c.tenant == policy_state.c.tenant))
    .where(policy_state.c.tenant == bindparam("of_tenant"))
)


async def basis(tx: Transaction, tenant: TenantId) -> Basis | None:
    """The bundle in force and the collections' redaction profiles in one statement, or `None` before the first activation."""
    rows = (await tx.connection.execute(_BASIS, {"of_tenant": tenant})).all()
    if not rows:
        return None
    return Basis(rows[0].epoch, rows[0].digest, {name: profile for _, _, name, profile in rows if name is not None})


async def active(tx: Transaction, tenant: TenantId) -> ActivePolicy | None:
    """The bundle in force for a tenant, or `None` before the first activation."""
    row = (await tx.connection.execute(select(policy_state).where(policy_state.c.tenant == tenant))).one_or_none()
    return None if row is None else ActivePolicy(row.epoch, row.digest, row.activated_at, row.author, row.approver)


async def files(tx: Transaction, tenant: TenantId, digest: str) -> dict[str, str]:
    """The files of a bundle that a tenant keeps."""
    return dict((await tx.connection.execute(select(policy_bundle.c.files).where(*_kept(tenant, digest)))).scalar_one())


async def is_known(tx: Transaction, tenant: TenantId, digest: str) -> bool:
    """Whether a tenant ever kept a bundle."""
    return (await tx.connection.execute(select(policy_bundle.c.digest).where(*_kept(tenant, digest)))).first() is not None


async def put_bundle(tx: Transaction, tenant: TenantId, digest: str, content: dict[str, str], moment: datetime) -> None:
    """Keep a bundle; one that is already kept stays."""
    if not await is_known(tx, tenant, digest):
        await tx.connection.execute(insert(policy_bundle).values(digest=digest, tenant=tenant, files=content, created_at=moment))


async def activate(tx: Transaction, tenant: TenantId, state: ActivePolicy) -> None:
    """Put a stored bundle in force."""
    values = {
        "epoch": state.epoch,
        "digest": state.digest,
        "activated_at": state.activated_at,
        "author": state.author,
        "approver": state.approver,
    }
    changed = await tx.connection.execute(update(policy_state).where(policy_state.c.tenant == tenant).values(**values))
    if changed.rowcount == 0:
        await tx.connection.execute(insert(policy_state).values(tenant=tenant, **values))


def _kept(tenant: TenantId, digest: str) -> tuple[ColumnElement[bool], ...]:
    return (policy_bundle.c.tenant == tenant, policy_bundle.c.digest == digest)
