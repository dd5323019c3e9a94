"""Keeps the snapshot in force for each tenant. A caller inside a transaction always gets the one the database names."""

from app.domain.identity import TenantId
from app.errors import PolicyInvalidError
from app.policy.bundle import parse_bundle
from app.policy.snapshot import Snapshot
from app.storage import policy_rows
from app.storage.transaction import Transaction


class PolicyBook:
    """Cache of one frozen snapshot a tenant, keyed by the epoch in the database: a change elsewhere is seen by the next request."""

    def __init__(self) -> None:
        self._snapshots: dict[TenantId, Snapshot] = {}

    async def current(self, tx: Transaction, tenant: TenantId) -> Snapshot:
        """The snapshot in force. Raises PolicyInvalidError when none was ever activated."""
        state = await policy_rows.active(tx, tenant)
        if state is None:
            message = "No policy is in force for this tenant. Run `portcullis policy activate`."
            raise PolicyInvalidError(message)
        held = self._snapshots.get(tenant)
        if held is None or held.epoch != state.epoch or held.digest != state.digest:
            held = Snapshot(parse_bundle(await policy_rows.files(tx, state.digest)), state.epoch)
            self._snapshots[tenant] = held
        return held
