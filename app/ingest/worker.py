"""The worker loop: leases jobs, runs their flow, notes the end. A job that fails is tried again, refused content is not."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum, auto

from app.audit.events import Happening, by_system
from app.audit.events import document as about
from app.audit.log import AuditLog
from app.domain.access import Outcome
from app.domain.audit import EventType, JsonValue
from app.domain.content import DocumentState
from app.errors import (
    AccessDeniedError,
    AuditUnavailableError,
    ConfigurationError,
    InvalidInputError,
    LimitExceededError,
    PortcullisError,
    UpstreamRefusedError,
    UpstreamUnavailableError,
)
from app.ingest.document import IngestDocument
from app.ingest.vectors import EmbedDocument
from app.observability import JOBS, logger
from app.storage import document_rows, job_rows
from app.storage.job_rows import Job, JobKind, JobState
from app.storage.transaction import Database

_IDLE_S = 0.25
_RETRY_S, _LONGEST_PAUSE_S = 1.0, 30.0
_LONGEST_WAIT_S = 300.0
_RENEW_S = 8.0
"""Three times within a lease: one late renewal loses nothing."""
_log = logger(__name__)


class _Turn(Enum):
    """How a look at the queue ended. `PUT_OFF`: a part that every job needs is away."""

    IDLE = auto()
    WORKED = auto()
    PUT_OFF = auto()


@dataclass(frozen=True)
class Worker:
    """Runs jobs: documents in one lane, vectors in another, one after another in each. Several workers may share one queue."""

    database: Database
    audit: AuditLog
    ingest: IngestDocument
    embed: EmbedDocument

    async def run_forever(self) -> None:
        """Work until cancelled; a job that was under way is handed back. Trouble with the database or the log pauses a lane only."""
        is_taken_in = asyncio.Event()
        async with asyncio.TaskGroup() as lanes:
            for kind in JobKind:
                lanes.create_task(self._lane(kind, is_taken_in))

    async def _lane(self, kind: JobKind, is_taken_in: asyncio.Event) -> None:
        """Jobs of one kind: embedding a long document takes minutes, and whoever hands in the next must not wait for that.

        `is_taken_in` tells the lane of vectors at once that there is a document to embed.
        """
        pause, turn, why = _RETRY_S, _Turn.IDLE, ""
        while True:
            try:
                turn, why = await self._run_next((kind,), is_likely=turn is _Turn.WORKED), UpstreamUnavailableError.code
            except PortcullisError as error:
                # Of whatever kind: a lane that ends takes the other one with it, and nobody works any more.
                turn, why = _Turn.PUT_OFF, error.code
            if turn is _Turn.PUT_OFF:
                # Every job would fail alike: looking at them all would only wear them and the part that comes back.
                _log.warning("worker_paused", seconds=pause, code=why)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
                continue
            pause = _RETRY_S
            if turn is _Turn.WORKED and kind is JobKind.INGEST:
                is_taken_in.set()
            elif turn is _Turn.IDLE:
                await (asyncio.sleep(_IDLE_S) if kind is JobKind.INGEST else _woken(is_taken_in))

    async def drain(self) -> None:
        """Work until nothing waits that is due."""
        while await self.run_once():
            pass

    async def run_once(self, *, only_ingest: bool = False) -> bool:
        """Run one job; returns whether there was one."""
        return await self._run_next((JobKind.INGEST,) if only_ingest else tuple(JobKind)) is not _Turn.IDLE

    async def _run_next(self, kinds: tuple[JobKind, ...], *, is_likely: bool = False) -> _Turn:
        job = await _take(self.database, kinds, is_likely=is_likely)
        if job is None:
            return _Turn.IDLE
        work = asyncio.create_task(self.ingest.run(job) if job.kind is JobKind.INGEST else self.embed.run(job))
        try:
            async with _kept(self.database, job, work):
                await work
        except (InvalidInputError, LimitExceededError) as error:
            # Content that cannot be read, or that the index does not take: trying again would end alike.
            await self._quarantine(job, error.detail)
        except (UpstreamRefusedError, ConfigurationError, AccessDeniedError) as error:
            # A mistaken rule is put right sooner or later: what was handed in is kept.
            await self._retry(job, error.detail)
        except (UpstreamUnavailableError, AuditUnavailableError) as error:
            await self._put_off(job, error.detail)
            return _Turn.PUT_OFF
        except asyncio.CancelledError:
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]  # this runs in a task
                await self._hand_back(job)
                raise
            _log.warning("job_lost", job=job.job_id, kind=job.kind.value)
        except Exception:  # noqa: BLE001 - a worker loop: one document must not stop the others, and the job says so
            _log.exception("job_failed", job=job.job_id, kind=job.kind.value)
            await self._retry(job, "The document could not be processed.")
        else:
            await self._finish(job, JobState.SUCCEEDED, None)
        return _Turn.WORKED

    async def _hand_back(self, job: Job) -> None:
        """A worker that is told to stop leaves its job to the next one at once, not after the lease."""
        with suppress(UpstreamUnavailableError):
            async with self.database.write() as tx:
                await job_rows.hand_back(tx, job)

    async def _finish(self, job: Job, state: JobState, error: str | None) -> None:
        async with self.database.write() as tx:
            is_ended = await job_rows.finish(tx, job, state, error)
        if is_ended:
            JOBS.labels(job.kind.value, state.value).inc()

    async def _retry(self, job: Job, error: str) -> None:
        if job.attempts >= job_rows.MAX_ATTEMPTS:
            await self._finish(job, JobState.FAILED, error)
            return
        # 1, 4, 16, 64 s, and up to half as much again, so that jobs which failed together do not come back together.
        wait = timedelta(seconds=4 ** (job.attempts - 1) * random.uniform(1.0, 1.5))  # noqa: S311 - spreads load, guards nothing
        async with self.database.write() as tx:
            await job_rows.requeue(tx, job, error, wait)

    async def _put_off(self, job: Job, error: str) -> None:
        """Wait for a part that is away, however long that takes: nobody has to look after documents because of an outage."""
        async with self.database.write() as tx:
            age_s = (await tx.now() - job.created_at).total_seconds()
            wait_s = min(max(age_s / 4, _RETRY_S), _LONGEST_WAIT_S) * random.uniform(1.0, 1.5)  # noqa: S311 - as above
            await job_rows.put_off(tx, job, error, timedelta(seconds=wait_s))

    async def _quarantine(self, job: Job, reason: str) -> None:
        """Keep a refused document out of sight: a new one is quarantined, a known one keeps its live version."""
        fields: dict[str, JsonValue] = {"version": job.version, "submitted_by": job.submitted_by}
        rejected = Happening(EventType.INGEST_REJECTED, Outcome.DENY, "unsupported", "", (about(job.document_id),), fields)
        async with self.database.write() as tx:
            if not await job_rows.finish(tx, job, JobState.QUARANTINED, reason):
                return
            document = await document_rows.get_document(tx, job.tenant, job.document_id)
            if document is not None and document.state is DocumentState.PENDING:
                await document_rows.update_document(tx, replace(document, state=DocumentState.QUARANTINED))
            await self.audit.record_in(tx, by_system(job.tenant, rejected))
        JOBS.labels(job.kind.value, JobState.QUARANTINED.value).inc()


async def _take(database: Database, kinds: tuple[JobKind, ...], *, is_likely: bool) -> Job | None:
    """Lease the next job. Looking first takes no write lock: an idle worker looks several times a second, and writers wait in turn."""
    if not is_likely:
        async with database.read() as tx:
            if not await job_rows.is_waiting(tx, kinds):
                return None
    async with database.write() as tx:
        return await job_rows.lease_next(tx, kinds)


async def _woken(event: asyncio.Event) -> None:
    """Wait until it is time to look again, or something has happened."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_IDLE_S):
            await event.wait()
    event.clear()


@asynccontextmanager
async def _kept(database: Database, job: Job, work: asyncio.Task[None]) -> AsyncIterator[None]:
    """Renew the job's lease while it is worked on. Lost, to another worker or called off, `work` is cancelled."""

    async def renew() -> None:
        while True:
            await asyncio.sleep(_RENEW_S)
            with suppress(UpstreamUnavailableError):
                async with database.write() as tx:
                    is_held = await job_rows.renew(tx, job)
                if not is_held:
                    work.cancel()
                    return

    renewing = asyncio.create_task(renew())
    try:
        yield
    finally:
        renewing.cancel()
        work.cancel()
        await asyncio.gather(renewing, work, return_exceptions=True)
