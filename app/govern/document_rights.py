"""Decisions about one document that several flows ask for, and how a refusal stands in the log."""

from collections.abc import Sequence
from dataclasses import replace

from app.audit.events import by_caller, decided
from app.audit.events import document as about
from app.domain.access import READING, Action, Decision, Outcome, Resource
from app.domain.audit import AuditEvent, EventType, JsonValue
from app.domain.content import Document, DocumentId
from app.domain.identity import Caller
from app.policy.snapshot import Snapshot

READ_ACTIONS = (Action.SEARCH, Action.READ)


def first_denial(snapshot: Snapshot, caller: Caller, document: Document | None, actions: Sequence[Action]) -> Decision | None:
    """The first decision that denies one of `actions`, else the last one; `None` for an absent document."""
    if document is None:
        return None
    decisions = [snapshot.decide(caller.subject, action, _asked_about(snapshot, document, action)) for action in actions]
    return next((one for one in decisions if one.outcome is Outcome.DENY), decisions[-1])


def _asked_about(snapshot: Snapshot, document: Document, action: Action) -> Resource:
    """The document; under a label that policy dropped as one of the highest rank where nobody would have its text by it.

    Or nobody could ever give it another label or withdraw it.
    """
    resource, ranks = document.resource(), snapshot.bundle.labels
    return resource if action in READING or document.label in ranks else replace(resource, sensitivity=max(ranks.values(), default=0))


def denied_event(
    caller: Caller, snapshot: Snapshot, decision: Decision | None, document_id: DocumentId | None, fields: dict[str, JsonValue]
) -> AuditEvent:
    """The record of a refusal. An absent document has no decision of its own and is recorded as absent.

    Its id is whatever the caller typed, a name perhaps: the log keeps ids of documents only, so `document_id` is then `None`.
    """
    if decision is None:
        decision = replace(snapshot.search_decision(snapshot.read_filter(caller.subject, ())), reason_code="absent")
    refs = (about(document_id),) if document_id else ()
    return by_caller(caller, decided(EventType.ACTION_DENIED, decision, refs, fields))
