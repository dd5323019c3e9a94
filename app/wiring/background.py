"""What a server does beside answering: work on documents, sign checkpoints, watch the policy, apply retention."""

import asyncio
import fcntl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path

from app.audit.events import Happening, by_system
from app.domain.audit import EventType
from app.errors import AuditUnavailableError, PortcullisError, UpstreamUnavailableError
from app.observability import logger
from app.storage import job_rows
from app.wiring.services import Services

_RETENTION_EVERY_S = 3600.0
_RECONCILE_EVERY_S = 60.0
"""A changed redaction profile is in the vectors so soon, and work for them queued."""
_log = logger(__name__)


async def start_background(services: Services, stack: AsyncExitStack) -> None:
    """Start the work and have `stack` stop it. Only one process of an installation becomes its worker."""
    tasks = [
        _every(services.settings.checkpoint_every_s, lambda: _sign(services)),
        _every(services.settings.policy_poll_s, services.policy_watch.look),
        _every(_RETENTION_EVERY_S, lambda: _retain(services)),
        _every(_RECONCILE_EVERY_S, lambda: reconcile(services)),
        _expiring(services),
    ]
    if _hold_worker_lock(services.settings.data, stack):
        async with services.database.write() as tx:
            await job_rows.release_leases(tx, datetime.now(UTC))
        tasks.append(services.worker.run_forever())
    with suppress(AuditUnavailableError, UpstreamUnavailableError):
        await services.audit.record(by_system(services.tenant, Happening(EventType.LOG_STARTED)))
    running = [asyncio.create_task(task) for task in tasks]

    async def stop() -> None:
        for task in running:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*running, return_exceptions=True)

    stack.push_async_callback(stop)


def _hold_worker_lock(data: Path, stack: AsyncExitStack) -> bool:
    """Whether this process is the installation's worker: one at a time, so that leases of a killed one can be taken over."""
    file = stack.enter_context((data / "worker.lock").open("w"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


async def reconcile(services: Services) -> None:
    """Make the index what the register says: a killed process may have written only one of the two."""
    report = await services.reconcile.run(services.tenant, repair=True)
    if not report.is_right:
        counts = {name: len(getattr(report, name)) for name in ("missing", "extra", "stale_access", "without_vectors")}
        _log.warning("index_repaired", documents=report.documents, **counts)


async def _expiring(services: Services) -> None:
    """Take documents out of the index as their validity ends."""
    since = datetime.now(UTC)
    while True:
        await asyncio.sleep(services.settings.policy_poll_s)
        until = datetime.now(UTC)
        try:
            await services.reconcile.expire(services.tenant, since, until)
            since = until
        except PortcullisError as error:
            _log.warning("background_work_failed", code=error.code)


async def _retain(services: Services) -> None:
    await services.retention.run(services.tenant)


async def _sign(services: Services) -> None:
    await services.audit.checkpoint(services.tenant)


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except PortcullisError as error:
            _log.warning("background_work_failed", code=error.code)
