"""The end of a generation, of which the log takes one: several may want to write it, and none knows of the others."""

from app.audit.log import AuditLog, log_name
from app.domain.audit import AuditEvent, LogEntry
from app.storage import audit_rows
from app.storage.transaction import Transaction


async def record_end(tx: Transaction, audit: AuditLog, event: AuditEvent) -> LogEntry | None:
    """Append the end of the answer that `event` names; `None`, with nothing written, where its end is on record.

    The head of the log is locked first: an end that somebody else is committing at this moment is waited for and then seen.
    """
    log = log_name(event.tenant)
    await audit_rows.lock_head(tx, log)
    (answer,) = (one.ref for one in event.references if one.kind == "answer")
    if await audit_rows.is_ended(tx, log, answer):
        return None
    [entry] = await audit.record_in(tx, event)
    return entry
