"""Evidence: the events that go into the log and what stands there afterwards. Metadata depth: digests and ids, never text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType

from app.domain.identity import TenantId

EventId = NewType("EventId", str)
JsonValue = str | int | float | bool | None | Sequence["JsonValue"] | Mapping[str, "JsonValue"]


class EventType(StrEnum):
    """Every kind of entry. Past tense; documented in docs/audit-events.md."""

    SIGNED_IN = "auth.login.succeeded"
    SIGN_IN_FAILED = "auth.login.failed"
    SIGNED_OUT = "auth.logout"
    RETRIEVAL_EXECUTED = "retrieval.executed"
    RETRIEVAL_DENIED = "retrieval.denied"
    DOCUMENT_OPENED = "document.opened"
    GENERATION_STARTED = "generation.started"
    GENERATION_COMPLETED = "generation.completed"
    GENERATION_ABORTED = "generation.aborted"
    ANSWER_WITHHELD = "answer.withheld"
    ANSWER_REREAD = "answer.reread"
    FEEDBACK_GIVEN = "feedback.given"
    ACCESS_REQUESTED = "access.requested"
    ACTION_DENIED = "action.denied"
    COLLECTION_CHANGED = "collection.changed"
    DOCUMENT_SUBMITTED = "document.submitted"
    DOCUMENT_INGESTED = "document.ingested"
    DOCUMENT_WITHDRAWN = "document.withdrawn"
    DOCUMENT_PURGED = "document.purged"
    INGEST_REJECTED = "ingest.rejected"
    JOB_RETRIED = "job.retried"
    JOB_CANCELLED = "job.cancelled"
    ACL_CHANGED = "acl.changed"
    LABEL_CHANGED = "label.changed"
    TEXT_ANALYZED = "privacy.analyzed"
    POLICY_ACTIVATED = "policy.activated"
    POLICY_REJECTED = "policy.rejected"
    ACCESS_EXPLAINED = "policy.explained"
    CONVERSATION_DELETED = "conversation.deleted"
    AUDIT_QUERIED = "audit.queried"
    PROOF_ISSUED = "audit.proof.issued"
    STORE_MOVED = "store.moved"
    MOVE_ABANDONED = "store.move.abandoned"
    LOG_RESUMED = "audit.recovery.acknowledged"
    LOG_STARTED = "audit.writer.started"


@dataclass(frozen=True, slots=True)
class Reference:
    """A thing an event is about, so that officers find it: `document`, `subject`, `conversation`, `answer`, `actor`."""

    kind: str
    ref: str


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One event before it is written. `fields` must be JSON and free of text from questions, passages and answers.

    `actor` is the subject id of whoever acted, or `system`.
    """

    event_id: EventId
    type: EventType
    tenant: TenantId
    actor: str
    occurred_at: datetime
    outcome: str
    request_id: str = ""
    purpose: str = "none"
    reason_code: str = ""
    policy_digest: str = ""
    references: tuple[Reference, ...] = ()
    fields: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LogEntry:
    """Where a committed event stands. `leaf_hash` is SHA-256(0x00 || leaf) of RFC 6962; `leaf` are the stored bytes."""

    event_id: EventId
    log: str
    index: int
    leaf: bytes
    leaf_hash: bytes
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """RFC 6962 audit path of one entry, leaf to root, under a signed checkpoint."""

    log: str
    index: int
    leaf_hash: bytes
    tree_size: int
    root_hash: bytes
    hashes: tuple[bytes, ...]
    checkpoint: str
