"""The record of a generation that did not come to its end, written even when its request is gone and the log was away for a while."""

import asyncio

from app.audit.ends import record_end
from app.audit.log import AuditLog
from app.domain.audit import AuditEvent
from app.errors import AuditUnavailableError, UpstreamUnavailableError
from app.observability import logger
from app.storage.transaction import Database

_WAITED_S = 0.5
"""How long a failing request waits for this record: usually it is there in milliseconds, and an error must not come late for it."""
_PAUSES_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
_log = logger(__name__)
_running: set[asyncio.Task[None]] = set()


async def record_aborted(database: Database, audit: AuditLog, event: AuditEvent) -> None:
    """Put `event` on record unless the generation has an end there: it may have been completed by a commit that nobody saw the end of.

    In a task of its own: a request whose client left is cancelled at every await, its record must not be.
    """
    task = asyncio.create_task(_persist(database, audit, event), name="generation-aborted")
    _running.add(task)
    task.add_done_callback(_running.discard)
    await asyncio.wait({task}, timeout=_WAITED_S)


async def _persist(database: Database, audit: AuditLog, event: AuditEvent) -> None:
    for pause in _PAUSES_S:
        await asyncio.sleep(pause)
        try:
            async with database.append() as tx:
                await record_end(tx, audit, event)
        except (AuditUnavailableError, UpstreamUnavailableError):
            continue
        return
    _log.error("abort_not_recorded", event_id=event.event_id)
