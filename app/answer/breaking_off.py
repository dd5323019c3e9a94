"""The record of a generation that did not come to its end, written even when its request is gone and the log was away for a while."""

import asyncio

from app.audit.log import AuditLog
from app.domain.audit import AuditEvent
from app.errors import AuditUnavailableError, NotFoundError, UpstreamUnavailableError
from app.observability import logger
from app.storage.transaction import Database

_WAITED_S = 0.5
"""How long a failing request waits for this record: usually it is there in milliseconds, and an error must not come late for it."""
_PAUSES_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
_log = logger(__name__)
_running: set[asyncio.Task[None]] = set()


async def record_aborted(database: Database, audit: AuditLog, event: AuditEvent) -> None:
    """Put `event` on record, in a task of its own: a request whose client left is cancelled at every await, its record must not be."""
    task = asyncio.create_task(_persist(database, audit, event), name="generation-aborted")
    _running.add(task)
    task.add_done_callback(_running.discard)
    await asyncio.wait({task}, timeout=_WAITED_S)


async def _persist(database: Database, audit: AuditLog, event: AuditEvent) -> None:
    for pause in _PAUSES_S:
        await asyncio.sleep(pause)
        try:
            if pause and await _is_recorded(database, audit, event):
                return
            await audit.record(event)
        except (AuditUnavailableError, UpstreamUnavailableError):
            continue
        return
    _log.error("abort_not_recorded", event_id=event.event_id)


async def _is_recorded(database: Database, audit: AuditLog, event: AuditEvent) -> bool:
    """Whether an earlier attempt, of which no confirmation came in time, was committed after all."""
    try:
        async with database.read() as tx:
            await audit.find(tx, event.tenant, event.event_id)
    except NotFoundError:
        return False
    return True
