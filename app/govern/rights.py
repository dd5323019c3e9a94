"""Asks policy for a right over the gateway itself and puts a refusal on record before it is raised."""

from app.audit.events import by_caller, decided
from app.audit.log import AuditLog
from app.domain.access import Action, Decision, Outcome
from app.domain.audit import EventType
from app.domain.identity import Caller
from app.errors import AccessDeniedError
from app.policy.book import PolicyBook
from app.policy.snapshot import gateway_resource
from app.storage.transaction import Database


async def require_right(database: Database, policy: PolicyBook, audit: AuditLog, caller: Caller, action: Action) -> Decision:
    """The allowing decision on `action`. Raises AccessDeniedError, recorded."""
    async with database.read() as tx:
        snapshot = await policy.current(tx, caller.subject.tenant)
    decision = snapshot.decide(caller.subject, action, gateway_resource(caller.subject.tenant))
    if decision.outcome is Outcome.ALLOW:
        return decision
    await audit.record(by_caller(caller, decided(EventType.ACTION_DENIED, decision, (), {"action": action.value})))
    message = f"You do not have the right `{action.value}`."
    raise AccessDeniedError(message, decision_id=decision.decision_id)
