"""Queries over background jobs: enqueue, lease, progress, finish."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, exists, insert, select, update

from app.domain.content import DocumentId
from app.domain.identity import TenantId
from app.storage.tables import job
from app.storage.transaction import Transaction

LEASE = timedelta(minutes=10)


class JobKind(StrEnum):
    """What a worker does with a job."""

    INGEST = "ingest"
    EMBED = "embed"


class JobState(StrEnum):
    """Where a job stands.

    `quarantined`: the content was refused with a reason and waits for a person. `cancelled`: its document was withdrawn first.
    """

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Job:
    """One job. `payload` is JSON for its kind; `content` the submitted bytes, kept until the job ends."""

    job_id: str
    tenant: TenantId
    kind: JobKind
    state: JobState
    submitted_by: str
    document_id: DocumentId
    version: int
    payload: dict[str, Any]
    content: bytes | None
    done: int
    total: int
    unit: str
    error: str | None
    attempts: int
    created_at: datetime


_OLDER = job.alias("older")
_OLDER_IS_OPEN = exists().where(
    _OLDER.c.document_id == job.c.document_id,
    _OLDER.c.kind == job.c.kind,
    _OLDER.c.state.in_((JobState.QUEUED.value, JobState.RUNNING.value)),
    _OLDER.c.version < job.c.version,
)
"""Versions of one document go live in the order they were handed in, however many workers there are: each may say that label and ACL
stay as the one before it left them."""


async def enqueue(tx: Transaction, value: Job) -> None:
    """Store a new job."""
    await tx.connection.execute(
        insert(job).values(
            job_id=value.job_id,
            tenant=value.tenant,
            kind=value.kind.value,
            state=value.state.value,
            submitted_by=value.submitted_by,
            document_id=value.document_id,
            version=value.version,
            payload=value.payload,
            content=value.content,
            done=value.done,
            total=value.total,
            unit=value.unit,
            error=value.error,
            attempts=value.attempts,
            created_at=value.created_at,
            updated_at=value.created_at,
        )
    )


async def is_waiting(tx: Transaction, kinds: Sequence[JobKind], moment: datetime) -> bool:
    """Whether `lease_next` would find a job."""
    return await _next(tx, kinds, moment, locks=False) is not None


async def lease_next(tx: Transaction, kinds: Sequence[JobKind], moment: datetime) -> Job | None:
    """Take the oldest job of `kinds` that waits or whose lease ran out; ingest comes before embedding. `None` when idle."""
    # The id first: rows carry their documents' bytes, and looking for the oldest would read those of every job that waits.
    job_id = await _next(tx, kinds, moment, locks=True)
    if job_id is None:
        return None
    row = (await tx.connection.execute(select(job).where(job.c.job_id == job_id))).one()
    taken = {"state": JobState.RUNNING.value, "lease_until": moment + LEASE, "attempts": row.attempts + 1, "updated_at": moment}
    await tx.connection.execute(update(job).where(job.c.job_id == row.job_id).values(**taken))
    return _job(row, attempts=row.attempts + 1)


async def _next(tx: Transaction, kinds: Sequence[JobKind], moment: datetime, *, locks: bool) -> str | None:
    """The oldest job that may be taken. One question a kind and state, each answered from the head of an index."""
    queued = job.c.state == JobState.QUEUED.value
    left_behind = (job.c.state == JobState.RUNNING.value) & (job.c.lease_until < moment)
    for kind in sorted(kinds, key=lambda one: one is not JobKind.INGEST):
        for is_free in (left_behind, queued):
            statement = select(job.c.job_id).where(is_free, job.c.kind == kind.value)
            if kind is JobKind.INGEST:
                statement = statement.where(~_OLDER_IS_OPEN)
            statement = statement.order_by(job.c.created_at, job.c.job_id).limit(1)
            found = (await tx.connection.execute(statement.with_for_update(skip_locked=True) if locks else statement)).scalar_one_or_none()
            if found is not None:
                return str(found)
    return None


async def release_leases(tx: Transaction, moment: datetime) -> int:
    """Put every running job back in the queue: for the start of the only worker of an installation. Returns how many."""
    statement = update(job).where(job.c.state == JobState.RUNNING.value)
    return (await tx.connection.execute(statement.values(state=JobState.QUEUED.value, updated_at=moment))).rowcount


async def progress(tx: Transaction, job_id: str, done: int, total: int, moment: datetime) -> None:
    """Note how far a job is, and renew its lease."""
    values = {"done": done, "total": total, "lease_until": moment + LEASE, "updated_at": moment}
    await tx.connection.execute(update(job).where(job.c.job_id == job_id).values(**values))


async def finish(tx: Transaction, job_id: str, state: JobState, error: str | None, moment: datetime) -> None:
    """End a job; its content is dropped."""
    values = {"state": state.value, "error": error, "content": None, "lease_until": None, "updated_at": moment}
    is_open = job.c.state != JobState.CANCELLED.value
    await tx.connection.execute(update(job).where(job.c.job_id == job_id, is_open).values(**values))


async def requeue(tx: Transaction, job_id: str, error: str, moment: datetime) -> None:
    """Give a job another try."""
    values = {"state": JobState.QUEUED.value, "error": error, "lease_until": None, "updated_at": moment}
    await tx.connection.execute(update(job).where(job.c.job_id == job_id).values(**values))


async def cancel_of(tx: Transaction, document_id: DocumentId, moment: datetime) -> None:
    """End every job of a document that waits or runs; its content is dropped."""
    is_open = job.c.state.in_((JobState.QUEUED.value, JobState.RUNNING.value))
    values = {"state": JobState.CANCELLED.value, "content": None, "lease_until": None, "updated_at": moment}
    await tx.connection.execute(update(job).where(job.c.document_id == document_id, is_open).values(**values))


async def is_cancelled(tx: Transaction, job_id: str) -> bool:
    """Whether a job was called off, while it ran perhaps."""
    return (await tx.connection.execute(select(job.c.state).where(job.c.job_id == job_id))).scalar_one_or_none() == JobState.CANCELLED.value


async def last_submitter(tx: Transaction, document_id: DocumentId, version: int) -> str | None:
    """Who handed in a version of a document, or `None` when no job tells."""
    of_version = (job.c.document_id == document_id, job.c.version == version, job.c.kind == JobKind.INGEST.value)
    return (await tx.connection.execute(select(job.c.submitted_by).where(*of_version).limit(1))).scalar_one_or_none()


async def get(tx: Transaction, tenant: TenantId, job_id: str) -> Job | None:
    """One job without its content, or `None`."""
    row = (await tx.connection.execute(select(job).where(job.c.tenant == tenant, job.c.job_id == job_id))).one_or_none()
    return None if row is None else _job(row)


async def open_jobs(tx: Transaction, kind: JobKind) -> int:
    """How many jobs of a kind wait or run."""
    states = (JobState.QUEUED.value, JobState.RUNNING.value)
    rows = await tx.connection.execute(select(job.c.job_id).where(job.c.kind == kind.value, job.c.state.in_(states)))
    return len(rows.all())


async def documents_at_work(tx: Transaction, tenant: TenantId) -> set[DocumentId]:
    """Documents for which a job waits or runs."""
    states = (JobState.QUEUED.value, JobState.RUNNING.value)
    rows = await tx.connection.execute(select(job.c.document_id).where(job.c.tenant == tenant, job.c.state.in_(states)))
    return {DocumentId(name) for (name,) in rows if name is not None}


def _job(row: Row[Any], attempts: int | None = None) -> Job:
    return Job(
        job_id=row.job_id,
        tenant=TenantId(row.tenant),
        kind=JobKind(row.kind),
        state=JobState(row.state),
        submitted_by=row.submitted_by,
        document_id=DocumentId(row.document_id),
        version=row.version,
        payload=row.payload,
        content=row.content,
        done=row.done,
        total=row.total,
        unit=row.unit,
        error=row.error,
        attempts=row.attempts if attempts is None else attempts,
        created_at=row.created_at,
    )
