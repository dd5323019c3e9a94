"""Queries over background jobs: enqueue, lease, progress, finish."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Row, exists, func, insert, null, select, update

from app.domain.content import DocumentId
from app.domain.identity import TenantId
from app.storage.tables import job
from app.storage.transaction import Transaction

LEASE = timedelta(seconds=30)
"""A worker that says nothing for so long is taken for dead, and its job is given to another."""
MAX_ATTEMPTS = 5


class JobKind(StrEnum):
    """What a worker does with a job."""

    INGEST = "ingest"
    EMBED = "embed"


class JobState(StrEnum):
    """Where a job stands.

    `quarantined`: the content was refused with a reason and waits for a person. `failed`: tried again and again without success; its
    content is kept for another try. `cancelled`: called off, or its document was withdrawn first.
    """

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Job:
    """One job. `payload` is JSON for its kind; `content` the submitted bytes, kept until the job succeeds or is called off.

    `attempts` counts how often it was handed out since it was queued afresh, `fence` how often at all, which names one handing out: whoever
    holds an older one has lost the job. Of the jobs that wait, those with the smaller `priority` come first.
    """

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
    priority: int = 5
    fence: int = 0


_LIGHT = (*(column for column in job.c if column.name != "content"), null().label("content"))
_LOST = "The worker ended again and again while it had this job."
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
            priority=value.priority,
            created_at=value.created_at,
            updated_at=value.created_at,
        )
    )


async def is_waiting(tx: Transaction, kinds: Sequence[JobKind]) -> bool:
    """Whether `lease_next` would find a job."""
    return await _next(tx, kinds, await tx.now(), locks=False) is not None


async def lease_next(tx: Transaction, kinds: Sequence[JobKind]) -> Job | None:
    """Take the first job of `kinds` that is due or whose lease ran out; ingest comes before embedding. `None` when idle.

    A job that was handed out `MAX_ATTEMPTS` times and never came back ends here as failed: it takes its workers with it.
    """
    moment = await tx.now()
    # The id first: rows carry their documents' bytes, and looking for the oldest would read those of every job that waits.
    while (job_id := await _next(tx, kinds, moment, locks=True)) is not None:
        taken = {"state": JobState.RUNNING.value, "lease_until": moment + LEASE, "updated_at": moment}
        taken |= {"attempts": job.c.attempts + 1, "fence": job.c.fence + 1}
        may_try = update(job).where(job.c.job_id == job_id, job.c.attempts < MAX_ATTEMPTS).values(**taken).returning(job)
        if (row := (await tx.connection.execute(may_try)).one_or_none()) is not None:
            return _job(row)
        lost = {"state": JobState.FAILED.value, "error": func.coalesce(job.c.error, _LOST), "lease_until": None, "updated_at": moment}
        await tx.connection.execute(update(job).where(job.c.job_id == job_id).values(**lost))
    return None


async def _next(tx: Transaction, kinds: Sequence[JobKind], moment: datetime, *, locks: bool) -> str | None:
    """The first job that may be taken. One question a kind and state, each answered from the head of an index."""
    queued = (job.c.state == JobState.QUEUED.value) & (job.c.due_at.is_(None) | (job.c.due_at <= moment))
    left_behind = (job.c.state == JobState.RUNNING.value) & (job.c.lease_until < moment)
    for kind in sorted(kinds, key=lambda one: one is not JobKind.INGEST):
        for is_free in (left_behind, queued):
            statement = select(job.c.job_id).where(is_free, job.c.kind == kind.value)
            if kind is JobKind.INGEST:
                statement = statement.where(~_OLDER_IS_OPEN)
            statement = statement.order_by(job.c.priority, job.c.created_at, job.c.job_id).limit(1)
            locked = statement.with_for_update(skip_locked=True, of=job) if locks else statement
            found = (await tx.connection.execute(locked)).scalar_one_or_none()
            if found is not None:
                return str(found)
    return None


async def release_leases(tx: Transaction) -> int:
    """Put every running job back in the queue: for the start of the only worker there can be. Returns how many."""
    statement = update(job).where(job.c.state == JobState.RUNNING.value)
    return (await tx.connection.execute(statement.values(state=JobState.QUEUED.value, updated_at=await tx.now()))).rowcount


async def holds(tx: Transaction, value: Job, *, locks: bool = False) -> bool:
    """Whether the job is still this worker's: not called off, and not given to another after a silence.

    With `locks` it stays so until the transaction ends.
    """
    statement = select(job.c.job_id).where(*_held(value))
    return (await tx.connection.execute(statement.with_for_update() if locks else statement)).first() is not None


async def renew(tx: Transaction, value: Job) -> bool:
    """Keep a job for another lease; False when it was lost."""
    moment = await tx.now()
    renewed = update(job).where(*_held(value)).values(lease_until=moment + LEASE, updated_at=moment)
    return (await tx.connection.execute(renewed)).rowcount == 1


async def progress(tx: Transaction, value: Job, done: int, total: int) -> None:
    """Note how far a job is, and renew its lease."""
    moment = await tx.now()
    values = {"done": done, "total": total, "lease_until": moment + LEASE, "updated_at": moment}
    await tx.connection.execute(update(job).where(*_held(value)).values(**values))


async def finish(tx: Transaction, value: Job, state: JobState, error: str | None) -> bool:
    """End a job; False when it was lost meanwhile. What failed keeps its content for another try, everything else drops it."""
    values: dict[str, Any] = {"state": state.value, "error": error, "lease_until": None, "updated_at": await tx.now()}
    if state is not JobState.FAILED:
        values["content"] = None
    if state is JobState.SUCCEEDED and value.kind is JobKind.INGEST:
        values |= {"done": 1, "total": 1}
    return (await tx.connection.execute(update(job).where(*_held(value)).values(**values))).rowcount == 1


async def requeue(tx: Transaction, value: Job, error: str, wait: timedelta) -> None:
    """Give a job another try, not before `wait` is over."""
    moment = await tx.now()
    values = {"state": JobState.QUEUED.value, "error": error, "lease_until": None, "due_at": moment + wait, "updated_at": moment}
    await tx.connection.execute(update(job).where(*_held(value)).values(**values))


async def put_off(tx: Transaction, value: Job, error: str, wait: timedelta) -> None:
    """Put a job back as if it had not been handed out, not before `wait` is over: it was not the job that failed."""
    moment = await tx.now()
    values = {"attempts": value.attempts - 1, "state": JobState.QUEUED.value, "error": error, "lease_until": None}
    await tx.connection.execute(update(job).where(*_held(value)).values(**values, due_at=moment + wait, updated_at=moment))


async def hand_back(tx: Transaction, value: Job) -> None:
    """Put a job back as if it had not been handed out: its worker was told to stop."""
    values = {"state": JobState.QUEUED.value, "lease_until": None, "attempts": value.attempts - 1, "updated_at": await tx.now()}
    await tx.connection.execute(update(job).where(*_held(value)).values(**values))


def _held(value: Job) -> tuple[ColumnElement[bool], ...]:
    # Attempts as well: the build before this one counts no fence.
    same = (job.c.fence == value.fence, job.c.attempts == value.attempts)
    return (job.c.job_id == value.job_id, job.c.state == JobState.RUNNING.value, *same)


async def retry(tx: Transaction, tenant: TenantId, job_id: str) -> bool:
    """Queue a failed job afresh; False when it is not failed, or its content is gone."""
    failed = (job.c.tenant == tenant, job.c.job_id == job_id, job.c.state == JobState.FAILED.value)
    has_content = (job.c.kind != JobKind.INGEST.value) | job.c.content.is_not(None)
    values = {"state": JobState.QUEUED.value, "attempts": 0, "error": None, "due_at": None, "updated_at": await tx.now()}
    return (await tx.connection.execute(update(job).where(*failed, has_content).values(**values))).rowcount == 1


async def retry_embedding(tx: Transaction, document_id: DocumentId, version: int, pause: timedelta) -> bool:
    """Whether embedding this version failed before; the job waits in the queue again where that was longer ago than `pause`."""
    mine = (job.c.document_id == document_id, job.c.version == version, job.c.kind == JobKind.EMBED.value)
    asked = select(job.c.job_id, job.c.tenant, job.c.updated_at).where(*mine, job.c.state == JobState.FAILED.value)
    failed = (await tx.connection.execute(asked.limit(1))).one_or_none()
    if failed is not None and failed.updated_at < await tx.now() - pause:
        await retry(tx, TenantId(failed.tenant), failed.job_id)
    return failed is not None


async def cancel(tx: Transaction, tenant: TenantId, job_id: str) -> bool:
    """Call off a job that waits, runs or failed; False when it had ended."""
    states = (JobState.QUEUED.value, JobState.RUNNING.value, JobState.FAILED.value)
    values = {"state": JobState.CANCELLED.value, "content": None, "lease_until": None, "updated_at": await tx.now()}
    mine = (job.c.tenant == tenant, job.c.job_id == job_id, job.c.state.in_(states))
    return (await tx.connection.execute(update(job).where(*mine).values(**values))).rowcount == 1


async def drop_content_of_failed(tx: Transaction, tenant: TenantId, before: datetime) -> int:
    """Forget what was handed in with jobs that failed before a moment and were not tried again, names too; returns how many."""
    failed = (job.c.tenant == tenant, job.c.state == JobState.FAILED.value, job.c.updated_at < before, job.c.content.is_not(None))
    return (await tx.connection.execute(update(job).where(*failed).values(content=None, payload={}))).rowcount


async def cancel_of(tx: Transaction, document_id: DocumentId, moment: datetime) -> None:
    """End every job of a document that waits, runs or failed; its content is dropped."""
    is_open = job.c.state.in_((JobState.QUEUED.value, JobState.RUNNING.value, JobState.FAILED.value))
    values = {"state": JobState.CANCELLED.value, "content": None, "lease_until": None, "updated_at": moment}
    await tx.connection.execute(update(job).where(job.c.document_id == document_id, is_open).values(**values))


async def forget(tx: Transaction, document_id: DocumentId, version: int | None = None) -> None:
    """Empty what jobs of a document that have ended were given: text, title, names, readers; with `version` of that version only.

    One that failed and may be tried again needs it and keeps it.
    """
    ended = job.c.state.in_((JobState.SUCCEEDED.value, JobState.QUARANTINED.value, JobState.CANCELLED.value))
    is_over = ended | ((job.c.state == JobState.FAILED.value) & job.c.content.is_(None))
    statement = update(job).where(job.c.document_id == document_id, is_over)
    same = statement if version is None else statement.where(job.c.version == version)
    await tx.connection.execute(same.values(payload={}, content=None))


async def last_submitter(tx: Transaction, document_id: DocumentId, version: int) -> str | None:
    """Who handed in a version of a document, or `None` when no job tells."""
    of_version = (job.c.document_id == document_id, job.c.version == version, job.c.kind == JobKind.INGEST.value)
    return (await tx.connection.execute(select(job.c.submitted_by).where(*of_version).limit(1))).scalar_one_or_none()


async def newest_waiting(tx: Transaction, document_id: DocumentId, live_version: int) -> Job | None:
    """The job of the newest version of a document that is not live yet and may still be, without its content, or `None`.

    One that failed may still be as well: whoever looks after it can have it tried again.
    """
    is_open = job.c.state.in_((JobState.QUEUED.value, JobState.RUNNING.value, JobState.FAILED.value))
    of_document = (job.c.document_id == document_id, job.c.kind == JobKind.INGEST.value, job.c.version > live_version, is_open)
    row = (await tx.connection.execute(select(*_LIGHT).where(*of_document).order_by(job.c.version.desc()).limit(1))).one_or_none()
    return None if row is None else _job(row)


async def troubled(tx: Transaction, tenant: TenantId, limit: int) -> list[Job]:
    """Jobs that failed or were refused, latest first, without their content."""
    states = (JobState.FAILED.value, JobState.QUARANTINED.value)
    statement = select(*_LIGHT).where(job.c.tenant == tenant, job.c.state.in_(states)).order_by(job.c.updated_at.desc()).limit(limit)
    return [_job(row) for row in await tx.connection.execute(statement)]


async def get(tx: Transaction, tenant: TenantId, job_id: str) -> Job | None:
    """One job without its content, or `None`."""
    row = (await tx.connection.execute(select(*_LIGHT).where(job.c.tenant == tenant, job.c.job_id == job_id))).one_or_none()
    return None if row is None else _job(row)


@dataclass(frozen=True, slots=True)
class QueueFigure:
    """How many jobs of a kind are in a state, and since when there is the oldest of them."""

    kind: JobKind
    state: JobState
    jobs: int = 0
    oldest: datetime | None = None


async def figures(tx: Transaction, tenant: TenantId) -> list[QueueFigure]:
    """The queue in figures: jobs that wait, run, failed or were refused, each kind and state, also those without a job."""
    columns = (job.c.kind, job.c.state, func.count().label("jobs"), func.min(job.c.created_at).label("oldest"))
    states = (JobState.QUEUED, JobState.RUNNING, JobState.FAILED, JobState.QUARANTINED)
    statement = select(*columns).where(job.c.tenant == tenant, job.c.state.in_([one.value for one in states]))
    rows = await tx.connection.execute(statement.group_by(job.c.kind, job.c.state))
    found = {(row.kind, row.state): (row.jobs, row.oldest) for row in rows}
    return [QueueFigure(kind, state, *found.get((kind.value, state.value), ())) for kind in JobKind for state in states]


async def documents_at_work(tx: Transaction, tenant: TenantId, document_id: DocumentId | None = None) -> set[DocumentId]:
    """Documents for which a job waits or runs: all, or this one if there is one for it."""
    states = (JobState.QUEUED.value, JobState.RUNNING.value)
    statement = select(job.c.document_id).where(job.c.tenant == tenant, job.c.state.in_(states))
    rows = await tx.connection.execute(statement if document_id is None else statement.where(job.c.document_id == document_id))
    return {DocumentId(name) for (name,) in rows if name is not None}


def _job(row: Row[Any]) -> Job:
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
        attempts=row.attempts,
        created_at=row.created_at,
        priority=row.priority,
        fence=row.fence,
    )
