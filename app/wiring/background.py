"""What a server does beside answering: work on documents, sign checkpoints, watch the policy, apply retention."""

import asyncio
import fcntl
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from uuid_utils import uuid7

from app.audit.events import Happening, by_system
from app.domain.audit import EventType
from app.domain.identity import TenantId
from app.errors import AuditUnavailableError, PortcullisError, UpstreamUnavailableError
from app.observability import logger
from app.storage import job_rows, lease_rows
from app.storage.transaction import Database
from app.wiring.services import Services

_RETENTION_EVERY_S = 3600.0
_RECONCILE_EVERY_S = 60.0
"""A changed redaction profile is in the vectors so soon, and work for them queued."""
_END_EVERY_S = 60.0
_LEAD_FOR = timedelta(seconds=30)
_ASK_AGAIN_S = 5.0
_log = logger(__name__)


async def start_background(services: Services, stack: AsyncExitStack) -> None:
    """Start the work and have `stack` stop it. Housekeeping is done by one process of an installation, documents by each that may."""
    lead, works = await _leadership(services, stack)
    tasks = [
        _every(services.settings.checkpoint_every_s, lead, lambda: _sign(services)),
        _watch_policy(services, lead),
        _every(_RETENTION_EVERY_S, lead, lambda: _retain(services)),
        _reconciling(services, lead),
        _expiring(services, lead),
        _ending(services, lead),
    ]
    if works:
        tasks.append(services.worker.run_forever())
    _keep_running(tasks, stack)


async def start_watch(services: Services, stack: AsyncExitStack) -> None:
    """For a server that leaves the work to others: look at the policy folder all the same, and say when it would be refused."""

    async def lead() -> bool:
        return False

    await services.policy_watch.check()
    _keep_running([_watch_policy(services, lead)], stack)


def _keep_running(tasks: Sequence[Coroutine[Any, Any, None]], stack: AsyncExitStack) -> None:
    running = [asyncio.create_task(task) for task in tasks]

    async def stop() -> None:
        for task in running:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*running, return_exceptions=True)

    stack.push_async_callback(stop)


async def note_start(services: Services) -> None:
    """Have the log say that a process began."""
    with suppress(AuditUnavailableError, UpstreamUnavailableError):
        await services.audit.record(by_system(services.tenant, Happening(EventType.LOG_STARTED)))


Lead = Callable[[], Awaitable[bool]]


async def _leadership(services: Services, stack: AsyncExitStack) -> tuple[Lead, bool]:
    """How to ask whether this process does the housekeeping, and whether it works on documents."""
    if services.database.is_sqlite:
        # One machine: the process that holds the file is the only worker, and can take over at once what a killed one left.
        is_first = hold_file(services.settings.data / "worker.lock", stack)
        if is_first:
            async with services.database.write() as tx:
                await job_rows.release_leases(tx)

        async def lead() -> bool:
            return is_first

        return lead, is_first
    leader = Leader(services.database, services.tenant, "housekeeping")
    stack.push_async_callback(leader.give_back)
    return leader.leads, True


class Leader:
    """Holds a lease in the database while it lives: one process of all replicas does what only one should."""

    def __init__(self, database: Database, tenant: TenantId, name: str) -> None:
        self._database, self._tenant, self._name = database, tenant, name
        self._holder = str(uuid7())
        self._until = 0.0
        self._ask_at = 0.0

    async def leads(self) -> bool:
        """Whether this process leads; asks the database only now and then."""
        now = time.monotonic()
        if now >= self._ask_at:
            self._ask_at = now + _ASK_AGAIN_S
            async with self._database.write() as tx:
                is_mine = await lease_rows.take(tx, self._tenant, self._name, self._holder, _LEAD_FOR)
            # Shorter than the lease: who stops leading must notice before another begins.
            self._until = now + _LEAD_FOR.total_seconds() * 0.8 if is_mine else 0.0
        return time.monotonic() < self._until

    async def give_back(self) -> None:
        """Let another one lead at once."""
        with suppress(UpstreamUnavailableError):
            async with self._database.write() as tx:
                await lease_rows.give_back(tx, self._tenant, self._name, self._holder)


def hold_file(path: Path, stack: AsyncExitStack) -> bool:
    """Whether this process is the one that holds `path`, until `stack` ends."""
    file = stack.enter_context(path.open("w"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


async def reconcile(services: Services) -> None:
    """Make the index what the register says: a killed process may have written only one of the two."""
    report = await services.reconcile.run(services.tenant, repair=True)
    if not report.is_right:
        kinds = ("missing", "extra", "stale_access", "given_up", "without_vectors", "left", "failed")
        counts = {name: len(getattr(report, name)) for name in kinds}
        _log.warning("index_repaired", documents=report.documents, **counts)


async def _watch_policy(services: Services, lead: Lead) -> None:
    """Put in force what changed, or look whether it could be: one process of an installation does the former."""
    watch = services.policy_watch
    while True:
        await asyncio.sleep(services.settings.policy_poll_s)
        try:
            await (watch.look() if await lead() else watch.check())
        except Exception as error:  # noqa: BLE001 - as below
            _note_failure(error)


async def _reconciling(services: Services, lead: Lead) -> None:
    """Compare now and then, and as soon as labels have other ranks: what was closed so must not weigh in scores any longer."""
    compared: dict[str, int] | None = None
    due = time.monotonic() + _RECONCILE_EVERY_S
    while True:
        try:
            now, ranks = time.monotonic(), await services.policies.labels(services.tenant)
            # At the start everything has just been compared; who does not lead leaves it to who does.
            is_due, compared = now >= due or compared not in (None, ranks), ranks
            due = now + _RECONCILE_EVERY_S if is_due else due
            if is_due and await lead():
                await reconcile(services)
        except Exception as error:  # noqa: BLE001 - as below
            _note_failure(error)
        await asyncio.sleep(min(services.settings.policy_poll_s, _RECONCILE_EVERY_S))


async def _expiring(services: Services, lead: Lead) -> None:
    """Take documents out of the index as their validity ends."""
    since = datetime.now(UTC)
    while True:
        await asyncio.sleep(services.settings.policy_poll_s)
        until = datetime.now(UTC)
        try:
            if await lead():
                await services.reconcile.expire(services.tenant, since, until)
            since = until
        except Exception as error:  # noqa: BLE001 - as below
            _note_failure(error)


async def _ending(services: Services, lead: Lead) -> None:
    """Have the log say that a generation broke off whose process was killed."""
    since: datetime | None = None
    while True:
        try:
            if await lead():
                since = await services.generations.run(services.tenant, since)
        except Exception as error:  # noqa: BLE001 - as below
            _note_failure(error)
        await asyncio.sleep(_END_EVERY_S)


async def _retain(services: Services) -> None:
    await services.retention.run(services.tenant)


async def _sign(services: Services) -> None:
    if not services.settings.verifier_key:
        await services.audit.checkpoint(services.tenant)


async def _every(seconds: float, lead: Lead, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            if await lead():
                await work()
        except Exception as error:  # noqa: BLE001 - housekeeping goes on: one error must not end it for good, unseen
            _note_failure(error)


def _note_failure(error: Exception) -> None:
    if isinstance(error, PortcullisError):
        _log.warning("background_work_failed", code=error.code)
    else:
        _log.error("background_work_failed", code="internal", kind=type(error).__name__)
