"""ReviewLog: the officer's first look. Is the log whole, what was refused, who looked. On record before anything leaves."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.audit.events import by_caller, decided
from app.audit.log import AuditLog
from app.domain.access import Action
from app.domain.audit import EventType, LogEntry
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
        """Whether the log is whole, proved in this request, and what was refused lately. Needs `audit.read`; recorded."""
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
        return {
            "integrity": integrity,
            "panels": [self._panel("What was refused lately?", refused), self._panel("Who looked into the log lately?", looks)],
        }

    def _panel(self, question: str, entries: Sequence[LogEntry]) -> dict[str, Any]:
        rows = [row_of(entry) for entry in entries]
        lines = [
            [
                str(one.index),
                f"{one.recorded_at:%Y-%m-%d %H:%M:%S} UTC",
                one.event["type"],
                self.trail.pseudonym(one.event["actor"]),
                one.event["reason_code"],
            ]
            for one in rows
        ]
        answer = "The newest entries, latest first." if lines else "Nothing so far."
        return {
            "question": question,
            "answer": answer,
            "columns": ["Entry", "Time", "What", "Who", "Reason"],
            "rows": lines,
            "address": "/log",
            "link": "Search the log",
        }
