"""EndGenerations: the record of a generation whose process was killed says in the end that it broke off."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from app.audit import envelope
from app.audit.ends import record_end
from app.audit.events import Happening, by_system
from app.audit.log import AuditLog, log_name
from app.domain.audit import AuditEvent, EventType, LogEntry, Reference
from app.domain.identity import TenantId
from app.storage import audit_rows
from app.storage.transaction import Database

LONGEST = timedelta(minutes=30)
"""More than the slowest model is given, and a gateway then takes to put the end of its work on record."""
INTERRUPTED = "interrupted"
_AT_ONCE = 200
_LOOKS_BACK = timedelta(days=30)
"""Of a log of years, all would be more than one statement may read."""


@dataclass(frozen=True)
class EndGenerations:
    """Ends on record what nobody writes any more. Powers: the log."""

    database: Database
    audit: AuditLog
    longest: timedelta = LONGEST

    async def run(self, tenant: TenantId, since: datetime | None = None) -> datetime:
        """Record `generation.aborted` for each generation begun from `since` on, `longest` ago or earlier, that has no end.

        Without `since` it looks `_LOOKS_BACK`. Returns the `since` of the next run: what was begun before it has ended.
        """
        until: datetime | None = None
        while True:
            async with self.database.read() as tx:
                until = until or await tx.now() - self.longest
                since = since or until - _LOOKS_BACK
                left = await audit_rows.without_end(tx, log_name(tenant), (since, until), _AT_ONCE)
            for entry in left:
                async with self.database.append() as tx:
                    await record_end(tx, self.audit, _aborted(tenant, entry))
            if len(left) < _AT_ONCE:
                return until


def _aborted(tenant: TenantId, entry: LogEntry) -> AuditEvent:
    begun = envelope.parse(entry.leaf)
    fields = {name: begun["fields"].get(name) for name in ("decision_id", "policy_epoch", "model", "model_kind")}
    references = tuple(Reference(kind, ref) for kind, ref in begun["refs"])
    happening = Happening(
        EventType.GENERATION_ABORTED,
        reason_code=INTERRUPTED,
        policy_digest=begun["policy_digest"],
        references=references,
        fields={**fields, "context": [], "started": entry.event_id},
    )
    return by_system(tenant, happening)
