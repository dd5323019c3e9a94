"""ReviewLog: the officer's first look. Is the log whole, what was refused, who looked. On record before anything leaves."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.audit.events import by_caller, decided
from app.audit.log import AuditLog
from app.domain.access import Action
from app.domain.audit import EventType
from app.domain.identity import Caller
from app.govern.rights import require_right
from app.govern.trail import ReadAuditTrail, row_of
from app.policy.book import PolicyBook
from app.storage.audit_rows import EventQuery
from app.storage.transaction import Database


@dataclass(frozen=True)
class ReviewLog:
    """Proves the log and lists its newest refusals and look-ups. Powers: policy, the log, the trail."""

    database: Database
    policy: PolicyBook
    audit: AuditLog
    trail: ReadAuditTrail

    async def run(self, caller: Caller) -> dict[str, Any]:
        """Whether the log is whole, proved in this request, its newest refusals and look-ups. Needs `audit.read`; recorded."""
        decision = await require_right(self.database, self.policy, self.audit, caller, Action.AUDIT_READ)
        tenant = caller.subject.tenant
        await self.audit.record(by_caller(caller, decided(EventType.AUDIT_QUERIED, decision, (), {"filters": ["overview"]})))
        await self.audit.checkpoint(tenant)
        report = await self.trail.verify(tenant)
        async with self.database.read() as tx:
            refused = await self.audit.search(tx, tenant, EventQuery(outcome="deny", limit=8))
            looks = await self.audit.search(tx, tenant, EventQuery(type=EventType.AUDIT_QUERIED.value, limit=8))
        now = datetime.now(UTC)
        integrity = {
            "is_whole": report.is_intact,
            "entries": report.entries,
            "problem": report.problems[0] if report.problems else "",
            "checkpoint_entries": report.checkpoint_size,
            "checkpoint_at": now if report.checkpoint_size else None,
            "checked_at": now,
        }
        return {"integrity": integrity, "refused": [row_of(one) for one in refused], "looks": [row_of(one) for one in looks]}
