"""TendJobs: what was handed in and did not get in: stewards see why, have it tried again or call it off. On record with the change."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from app.audit.events import by_caller, decided
from app.audit.events import document as about
from app.audit.log import AuditLog
from app.domain.access import Action, Decision, Outcome, acl_from_json
from app.domain.audit import EventType
from app.domain.identity import Caller, TenantId
from app.errors import AccessDeniedError, ConflictError, NotFoundError
from app.govern.document_rights import READ_ACTIONS, first_denial
from app.policy.book import PolicyBook
from app.policy.snapshot import Snapshot
from app.storage import document_rows, job_rows
from app.storage.job_rows import Job
from app.storage.transaction import Database, Transaction

_MOST = 200


@dataclass(frozen=True)
class TendJobs:
    """Looks after jobs that failed or were refused. Powers: policy, the register, the log."""

    database: Database
    policy: PolicyBook
    audit: AuditLog

    async def troubled(self, caller: Caller) -> list[Job]:
        """Jobs that failed or were refused, latest first: the caller's own, and those of documents they may read and hand in.

        Nobody has looked for personal data in the names of their files: another's is told with the right `read_pii` only.
        """
        async with self.database.read() as tx:
            snapshot = await self.policy.current(tx, caller.subject.tenant)
            jobs = await job_rows.troubled(tx, caller.subject.tenant, _MOST)
            seen = [one for one in jobs if await self._decision(tx, snapshot, caller, one) is not None]
            return [one if await self._is_plain(tx, snapshot, caller, one) else _unnamed(one) for one in seen]

    async def find(self, caller: Caller, job_id: str) -> Job:
        """One job that the caller handed in, or whose document they may. Raises NotFoundError."""
        async with self.database.read() as tx:
            return (await self._found(tx, caller, job_id))[0]

    async def retry(self, caller: Caller, job_id: str) -> None:
        """Try a failed job again from the start. Raises NotFoundError, and ConflictError when it did not fail or its content is gone.

        Raises AccessDeniedError (recorded) when it would change who may read the document, and the caller may not: rights are those of now,
        not of when it was handed in.
        """
        await self._change(caller, job_id, EventType.JOB_RETRIED, job_rows.retry)

    async def cancel(self, caller: Caller, job_id: str) -> None:
        """Call a job off, while it runs if need be; what was handed in with it is dropped. Raises NotFoundError, ConflictError."""
        await self._change(caller, job_id, EventType.JOB_CANCELLED, job_rows.cancel)

    async def _change(
        self, caller: Caller, job_id: str, event: EventType, change: Callable[[Transaction, TenantId, str], Awaitable[bool]]
    ) -> None:
        async with self.database.write() as tx:
            job, decision = await self._found(tx, caller, job_id)
            if decision.outcome is Outcome.DENY:
                decision = await self._own_decision(tx, caller, job)
            refusal = await self._refusal(tx, caller, job) if event is EventType.JOB_RETRIED else None
            if refusal is None and not await change(tx, caller.subject.tenant, job_id):
                message = f"This job is {job.state.value}: there is nothing to do."
                raise ConflictError(message)
            fields = {"kind": job.kind.value, "version": job.version}
            happening = decided(event, decision, (about(job.document_id),), fields)
            if refusal is not None:
                happening = decided(EventType.ACTION_DENIED, refusal, (about(job.document_id),), {"action": Action.ACL_WRITE.value})
            await self.audit.record_in(tx, by_caller(caller, happening))
        if refusal is not None:
            message = "Trying this again would change who may read the document, and you may not. Call it off and hand the text in anew."
            raise AccessDeniedError(message, decision_id=refusal.decision_id)

    async def _is_plain(self, tx: Transaction, snapshot: Snapshot, caller: Caller, job: Job) -> bool:
        if job.submitted_by == caller.subject.subject_id:
            return True
        document = await document_rows.get_document(tx, caller.subject.tenant, job.document_id)
        decision = first_denial(snapshot, caller, document, (Action.READ_PII,))
        return decision is not None and decision.outcome is Outcome.ALLOW

    async def _refusal(self, tx: Transaction, caller: Caller, job: Job) -> Decision | None:
        """What forbids the caller the change of access that a job brings with it; `None` when it brings none, or they may."""
        snapshot = await self.policy.current(tx, caller.subject.tenant)
        document = await document_rows.get_document(tx, caller.subject.tenant, job.document_id)
        label, acl = job.payload.get("label"), job.payload.get("acl")
        if document is None or (label in {None, document.label} and (acl is None or acl_from_json(acl) == document.acl)):
            return None
        after = replace(document, label=label or document.label, sensitivity=snapshot.bundle.sensitivity(label or document.label))
        decisions = [first_denial(snapshot, caller, one, (Action.ACL_WRITE,)) for one in (document, after)]
        return next((one for one in decisions if one is not None and one.outcome is Outcome.DENY), None)

    async def _own_decision(self, tx: Transaction, caller: Caller, job: Job) -> Decision:
        """What lets a person change a job of their own whose document they may not read: the right to hand in. Raises NotFoundError."""
        snapshot = await self.policy.current(tx, caller.subject.tenant)
        document = await document_rows.get_document(tx, caller.subject.tenant, job.document_id)
        decision = first_denial(snapshot, caller, document, (Action.INGEST,))
        if decision is None or decision.outcome is Outcome.DENY:
            raise NotFoundError
        return decision

    async def _found(self, tx: Transaction, caller: Caller, job_id: str) -> tuple[Job, Decision]:
        snapshot = await self.policy.current(tx, caller.subject.tenant)
        job = await job_rows.get(tx, caller.subject.tenant, job_id)
        decision = None if job is None else await self._decision(tx, snapshot, caller, job)
        if job is None or decision is None:
            raise NotFoundError
        return job, decision

    async def _decision(self, tx: Transaction, snapshot: Snapshot, caller: Caller, job: Job) -> Decision | None:
        """What lets the caller look after a job, or `None`. Whoever handed it in may, as far as they still may hand in there."""
        document = await document_rows.get_document(tx, caller.subject.tenant, job.document_id)
        # Also the right to read: names of files and the reasons why they failed tell of what is in them.
        decision = first_denial(snapshot, caller, document, (*READ_ACTIONS, Action.INGEST))
        is_theirs = job.submitted_by == caller.subject.subject_id
        return decision if decision is not None and (decision.outcome is Outcome.ALLOW or is_theirs) else None


def _unnamed(job: Job) -> Job:
    return replace(job, payload={**job.payload, "file_name": ""})
