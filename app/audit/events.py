"""Makes events. One place gives them their id and time, so that no caller can forget who, when and in which request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from uuid_utils import uuid7

from app.domain.access import Decision, Outcome
from app.domain.audit import AuditEvent, EventId, EventType, JsonValue, Reference
from app.domain.content import DocumentId
from app.domain.identity import Caller, TenantId

SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Happening:
    """What is to be recorded besides who and when."""

    type: EventType
    outcome: Outcome = Outcome.ALLOW
    reason_code: str = ""
    policy_digest: str = ""
    references: Sequence[Reference] = ()
    fields: Mapping[str, JsonValue] | None = None


def by_caller(caller: Caller, happening: Happening) -> AuditEvent:
    """An event that a person or service caused."""
    subject = caller.subject
    return _event(subject.tenant, subject.subject_id, happening, (caller.request_id, subject.purpose))


def by_system(tenant: TenantId, happening: Happening, actor: str = SYSTEM) -> AuditEvent:
    """An event that the gateway caused on its own, or that an operator caused from the command line."""
    return _event(tenant, actor, happening, ("", "none"))


def decided(
    type_: EventType, decision: Decision, references: Sequence[Reference] = (), fields: Mapping[str, JsonValue] | None = None
) -> Happening:
    """A happening that follows from a decision of policy."""
    everything: dict[str, JsonValue] = {"decision_id": decision.decision_id, "policy_epoch": decision.policy_epoch, **(fields or {})}
    return Happening(type_, decision.outcome, decision.reason_code, decision.policy_digest, references, everything)


def document(document_id: DocumentId) -> Reference:
    """A reference to a document."""
    return Reference("document", document_id)


def _event(tenant: TenantId, actor: str, happening: Happening, request: tuple[str, str]) -> AuditEvent:
    return AuditEvent(
        event_id=EventId(f"evt_{uuid7()}"),
        type=happening.type,
        tenant=tenant,
        actor=actor,
        occurred_at=datetime.now(UTC),
        outcome=happening.outcome.value,
        request_id=request[0],
        purpose=request[1],
        reason_code=happening.reason_code,
        policy_digest=happening.policy_digest,
        references=tuple(happening.references),
        fields=happening.fields or {},
    )
