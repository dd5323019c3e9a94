"""Asks policy for a right over the gateway itself and puts a refusal on record before it is raised."""

from typing import NoReturn

from app.audit.events import by_caller, decided
from app.audit.log import AuditLog
from app.domain.access import Action, Decision, Outcome
from app.domain.audit import EventType
from app.domain.identity import Caller
from app.errors import AccessDeniedError
from app.policy.book import PolicyBook
from app.policy.snapshot import gateway_resource
from app.storage.transaction import Database, Transaction


async def require_right(database: Database, policy: PolicyBook, audit: AuditLog, caller: Caller, action: Action) -> Decision:
    """The allowing decision on `action`. Raises AccessDeniedError, recorded."""
    async with database.read() as tx:
        decision = await decide_right(tx, policy, caller, action)
    if decision.outcome is not Outcome.ALLOW:
        await refuse_right(audit, caller, action, decision)
    return decision


async def decide_right(tx: Transaction, policy: PolicyBook, caller: Caller, action: Action) -> Decision:
    """The decision on `action` as policy stands in `tx`, for what is decided and done in one transaction."""
    snapshot = await policy.current(tx, caller.subject.tenant)
    return snapshot.decide(caller.subject, action, gateway_resource(caller.subject.tenant))


async def refuse_right(audit: AuditLog, caller: Caller, action: Action, decision: Decision) -> NoReturn:
    """Put a refusal on record and raise AccessDeniedError."""
    await audit.record(by_caller(caller, decided(EventType.ACTION_DENIED, decision, (), {"action": action.value})))
    message = f"You do not have the right `{action.value}`."
    raise AccessDeniedError(message, decision_id=decision.decision_id)
