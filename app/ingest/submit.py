"""SubmitDocument: policy decides, then document row, job and record are written in one transaction."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple

from uuid_utils import uuid7

from app.audit.digests import keyed_digest
from app.audit.events import Happening, by_caller, decided
from app.audit.events import document as about
from app.audit.log import AuditLog
from app.domain.access import Acl, Action, Decision, Outcome, Resource, acl_from_json
from app.domain.audit import EventType, JsonValue
from app.domain.content import Collection, Document, DocumentId, DocumentState
from app.domain.identity import Caller, Subject, TenantId
from app.errors import AccessDeniedError, InvalidInputError, NotFoundError
from app.ingest.access import rights_to_replace
from app.ingest.jobs import HandedIn, Submission, cleaned, ingest_job
from app.policy.book import PolicyBook
from app.policy.snapshot import Snapshot
from app.storage import collection_rows, document_rows, job_rows
from app.storage.transaction import Database, Transaction


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of a submission: the work is queued."""

    document_id: DocumentId
    version: int
    job_id: str


class _Plan(NamedTuple):
    """The document as it will be, what it is now, and the decision. `must_say_label`: nobody said which label its new text has."""

    document: Document
    before: Document | None
    version: int
    decision: Decision
    may_read: bool
    must_say_label: bool


@dataclass(frozen=True)
class SubmitDocument:
    """Takes a document into the queue. Powers: policy, the register, the log."""

    database: Database
    policy: PolicyBook
    audit: AuditLog
    digest_key: bytes

    async def run(self, caller: Caller, submission: Submission) -> Submitted:
        """Queue the ingest of `submission`.

        Raises NotFoundError for a collection the subject may not see, AccessDeniedError when they may read but not add,
        InvalidInputError for an unknown label, whether or not there is such a collection, for text without a label over that of somebody
        else which has a lower one than is usual, and when the validity has ended that it would take over. A refusal is on record before
        its error is raised.
        """
        submission = cleaned(submission)
        async with self.database.write() as tx:
            snapshot = await self.policy.current(tx, caller.subject.tenant)
            _check_label(snapshot, submission.label)
            plan = await self._plan(tx, snapshot, caller.subject, submission)
            if plan is not None and plan.decision.outcome is Outcome.ALLOW:
                _check_said(plan, submission)
                return await self._accept(tx, caller, submission, plan)
        fields: dict[str, JsonValue] = {"action": Action.INGEST.value}
        if plan is None:
            # A name that no collection has is whatever the caller typed: the log keeps no such text.
            denied = Happening(EventType.ACTION_DENIED, Outcome.DENY, "no_collection", snapshot.digest, (), fields)
            await self.audit.record(by_caller(caller, denied))
            raise NotFoundError
        fields["collection"] = submission.collection
        await self.audit.record(by_caller(caller, decided(EventType.ACTION_DENIED, plan.decision, (), fields)))
        if plan.may_read:
            message = "You may read this collection but not add this document to it."
            raise AccessDeniedError(message, decision_id=plan.decision.decision_id)
        raise NotFoundError

    def name_for(self, tenant: TenantId, *parts: str) -> str:
        """An external id for the document of a request, known by its parts, that gives none.

        Sent again after a first try of which nobody knows how far it came, the document is replaced and not made a second time. Nobody
        else can work the id out and have a document under it lie in wait.
        """
        return f"once:{keyed_digest(self.digest_key, tenant, chr(0).join(parts))}"

    async def _plan(self, tx: Transaction, snapshot: Snapshot, subject: Subject, submission: Submission) -> _Plan | None:
        collection = await collection_rows.get_collection(tx, subject.tenant, submission.collection)
        if collection is None:
            return None
        known = None
        if submission.external_id:
            known = await document_rows.find_external(tx, subject.tenant, collection.name, submission.external_id)
        before = known[0] if known else None
        document = _planned(collection, submission, snapshot, before)
        # Adding is a right on a collection under a label: a document's own readers need not include who hands it in.
        wanted = [(Action.INGEST, replace(document.resource(), acl=Acl.inherited()))]
        is_own = known is None or await job_rows.last_submitter(tx, known[0].document_id, known[1]) == subject.subject_id
        if before is not None:
            wanted += rights_to_replace(before, document, is_own=is_own)
        decisions = [snapshot.decide(subject, action, resource) for action, resource in wanted]
        decision = next((one for one in decisions if one.outcome is Outcome.DENY), decisions[0])
        rank = snapshot.bundle.sensitivity(collection.default_label)
        default = Resource(subject.tenant, collection.name, frozenset({collection.default_label}), rank, Acl.inherited())
        may_read = snapshot.decide(subject, Action.READ, default).outcome is Outcome.ALLOW
        # Whoever claims an id first must not decide who reads what another one hands in under it.
        must_say_label = submission.label is None and not is_own and document.sensitivity < rank
        return _Plan(document, before, known[1] + 1 if known else 1, decision, may_read, must_say_label)

    async def _accept(self, tx: Transaction, caller: Caller, submission: Submission, plan: _Plan) -> Submitted:
        document, version = plan.document, plan.version
        if plan.before is None:
            await document_rows.insert_document(tx, document, version)
        else:
            before = plan.before
            if before.state is DocumentState.WITHDRAWN:
                # Handed in anew after its withdrawal. What was handed in before that must not come back with it.
                await job_rows.cancel_of(tx, before.document_id, datetime.now(UTC))
                before = replace(before, state=DocumentState.PENDING)
            # Label and ACL of a known document change when the new version goes live, with its text.
            await document_rows.update_document(tx, before, version)
        now = plan.before or document
        label, acl = await _left_by_earlier(tx, now)
        # Whoever says what they want was asked for the right to change what the document has now.
        label, acl = label if submission.label is None else now.label, acl if submission.acl is None else now.acl
        job = ingest_job(document, version, submission, HandedIn(caller.subject, plan.decision.policy_digest, label, acl))
        await job_rows.enqueue(tx, job)
        taken: dict[str, JsonValue] = {
            "collection": document.collection,
            "label": document.label,
            "version": version,
            "bytes": len(submission.content),
            "content_hmac": keyed_digest(self.digest_key, document.tenant, sha256(submission.content).hexdigest()),
        }
        happening = decided(EventType.DOCUMENT_SUBMITTED, plan.decision, (about(document.document_id),), taken)
        await self.audit.record_in(tx, by_caller(caller, happening))
        return Submitted(document.document_id, version, job.job_id)


async def _left_by_earlier(tx: Transaction, document: Document) -> tuple[str, Acl]:
    """Label and ACL that a document will have when what was handed in before, and is not live yet, is live."""
    waiting = await job_rows.newest_waiting(tx, document.document_id, document.live_version or 0)
    said = waiting.payload if waiting else {}
    label, acl = (said.get(name) or said.get(f"{name}_before") for name in ("label", "acl"))
    return label or document.label, acl_from_json(acl) if acl else document.acl


def _check_said(plan: _Plan, submission: Submission) -> None:
    """Raise InvalidInputError where a submission has to say what it leaves to what the document has now."""
    if plan.must_say_label:
        message = f"Somebody else handed this document in as {plan.document.label}, below what is usual here. Say its label."
        raise InvalidInputError(message, pointer="/label")
    ends = plan.before.valid_until if plan.before and not submission.has_no_end else None
    if submission.valid_until is None and ends is not None and ends <= datetime.now(UTC):
        message = "The validity of this document has ended. Say until when the new version is valid; null, or an empty field, for no end."
        raise InvalidInputError(message, pointer="/valid_until")


def _check_label(snapshot: Snapshot, label: str | None) -> None:
    """Raise InvalidInputError for a label that was asked for and is unknown."""
    if label is not None and snapshot.bundle.rank(label) is None:
        message = f"The label is unknown. Known labels: {', '.join(sorted(snapshot.bundle.labels))}."
        raise InvalidInputError(message, pointer="/label")


def _planned(collection: Collection, submission: Submission, snapshot: Snapshot, before: Document | None) -> Document:
    now = datetime.now(UTC)
    label = submission.label or (before.label if before else collection.default_label)
    rank = snapshot.bundle.sensitivity(label)
    if before is not None:
        return replace(before, label=label, sensitivity=rank, acl=submission.acl or before.acl)
    document_id = DocumentId(f"doc_{uuid7()}")
    return Document(
        tenant=collection.tenant,
        document_id=document_id,
        collection=collection.name,
        external_id=submission.external_id or document_id,
        title="",
        state=DocumentState.PENDING,
        live_version=None,
        label=label,
        sensitivity=rank,
        acl=submission.acl or Acl.inherited(),
        acl_version=1,
        language="",
        source_uri="",
        valid_until=None,
        created_at=now,
        updated_at=now,
    )
