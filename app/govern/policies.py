"""ReadPolicy: what is in force. Rules are for holders of `policy.read`; others learn the digest, which every receipt names anyway."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.access import Action, Outcome
from app.domain.identity import Caller, Subject, TenantId
from app.errors import NotFoundError
from app.policy.book import PolicyBook
from app.policy.bundle import MODEL
from app.policy.snapshot import gateway_resource
from app.storage import policy_rows
from app.storage.transaction import Database


@dataclass(frozen=True)
class ReadPolicy:
    """Shows the policy in force. Powers: policy, the register."""

    database: Database
    policy: PolicyBook

    async def rights(self, subject: Subject, actions: Sequence[Action]) -> dict[Action, Outcome]:
        """Which rights over the gateway itself the subject has, for what a page offers."""
        async with self.database.read() as tx:
            snapshot = await self.policy.current(tx, subject.tenant)
        resource = gateway_resource(subject.tenant)
        return {action: snapshot.decide(subject, action, resource).outcome for action in actions}

    async def labels(self, tenant: TenantId) -> dict[str, int]:
        """Labels with their ranks."""
        async with self.database.read() as tx:
            return dict((await self.policy.current(tx, tenant)).bundle.labels)

    async def active(self, caller: Caller) -> dict[str, Any]:
        """Digest, times and people of the activation; rows and model with the right to read them."""
        tenant = caller.subject.tenant
        async with self.database.read() as tx:
            state = await policy_rows.active(tx, tenant)
            snapshot = await self.policy.current(tx, tenant)
        if state is None:
            raise NotFoundError
        view: dict[str, Any] = {"digest": state.digest, "activated_at": state.activated_at, "rows": None, "model": None}
        if snapshot.decide(caller.subject, Action.POLICY_READ, gateway_resource(tenant)).outcome is Outcome.ALLOW:
            names = ("subject", "tenant", "collection", "label", "action", "purpose", "effect", "why", "line")
            view |= {"author": state.author, "approver": state.approver, "model": snapshot.bundle.files[MODEL]}
            view["rows"] = [{name: getattr(rule, name) for name in names} for rule in snapshot.bundle.rules]
        return view
