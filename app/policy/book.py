"""Keeps the snapshot in force for each tenant. A caller inside a transaction always gets the one the database names."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.domain.identity import TenantId
from app.errors import PolicyInvalidError
from app.policy.bundle import parse_bundle
from app.policy.snapshot import Snapshot
from app.storage import policy_rows
from app.storage.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Basis:
    """What a retrieval rests on: the rules, and the redaction profile of each collection."""

    snapshot: Snapshot
    profiles: Mapping[str, str]


class PolicyBook:
    """Cache of one frozen snapshot a tenant, keyed by the epoch in the database: a change elsewhere is seen by the next request."""

    def __init__(self) -> None:
        self._snapshots: dict[TenantId, Snapshot] = {}
        self._bases: dict[TenantId, Basis] = {}

    async def current(self, tx: Transaction, tenant: TenantId) -> Snapshot:
        """The snapshot in force. Raises PolicyInvalidError when none was ever activated."""
        state = await policy_rows.active(tx, tenant)
        if state is None:
            raise _nothing_in_force()
        return await self._snapshot(tx, tenant, state.epoch, state.digest)

    async def basis(self, tx: Transaction, tenant: TenantId) -> Basis:
        """What is in force: the very object given before for as long as nothing changed. Raises PolicyInvalidError as `current` does."""
        row = await policy_rows.basis(tx, tenant)
        if row is None:
            raise _nothing_in_force()
        snapshot, held = await self._snapshot(tx, tenant, row.epoch, row.digest), self._bases.get(tenant)
        if held is None or held.snapshot is not snapshot or held.profiles != row.profiles:
            held = self._bases[tenant] = Basis(snapshot, row.profiles)
        return held

    def last_basis(self, tenant: TenantId) -> Basis | None:
        """What was in force when somebody last asked. Only for work whose outcome stands if `basis` gives the same object afterwards."""
        return self._bases.get(tenant)

    async def _snapshot(self, tx: Transaction, tenant: TenantId, epoch: int, digest: str) -> Snapshot:
        held = self._snapshots.get(tenant)
        if held is None or held.epoch != epoch or held.digest != digest:
            bundle = parse_bundle(await policy_rows.files(tx, tenant, digest))
            if bundle.digest != digest:
                message = "The stored policy is not the one that was activated: somebody changed it. Activate it again from its folder."
                raise PolicyInvalidError(message)
            held = Snapshot(bundle, epoch)
            self._snapshots[tenant] = held
        return held


def _nothing_in_force() -> PolicyInvalidError:
    return PolicyInvalidError(
        "No policy is in force for this tenant: is PORTCULLIS_TENANT right? A gateway or a worker that starts puts the first one in force, "
        "or `portcullis policy activate`."
    )
