"""Serialises an event once: the bytes that are hashed are the bytes that are stored. Schema version 1, Metadata depth."""

from datetime import UTC, datetime
from typing import Any

import orjson

from app.domain.audit import AuditEvent

_VERSION = 1


def rfc3339(moment: datetime) -> str:
    """UTC with microseconds and `Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def serialise(event: AuditEvent, log: str, recorded_at: datetime) -> bytes:
    """The leaf of `event`: JSON with sorted keys."""
    envelope = {
        "v": _VERSION,
        "level": "Metadata",
        "origin": log,
        "event_id": event.event_id,
        "type": event.type.value,
        "occurred_at": rfc3339(event.occurred_at),
        "recorded_at": rfc3339(recorded_at),
        "actor": event.actor,
        "request_id": event.request_id,
        "purpose": event.purpose,
        "outcome": event.outcome,
        "reason_code": event.reason_code,
        "policy_digest": event.policy_digest,
        "refs": sorted({(reference.kind, reference.ref) for reference in event.references}),
        "fields": dict(event.fields),
    }
    return orjson.dumps(envelope, option=orjson.OPT_SORT_KEYS)


def parse(leaf: bytes) -> dict[str, Any]:  # JSON of any shape comes back here; readers pick what they know.
    """The envelope of stored bytes. Raises ValueError when they are no envelope."""
    envelope = orjson.loads(leaf)
    if not isinstance(envelope, dict):
        message = "the leaf is no envelope"
        raise ValueError(message)  # noqa: TRY004 - a damaged record is a value problem, not a caller's type error
    return envelope


def references(envelope: dict[str, Any]) -> set[tuple[str, str]]:
    """(kind, ref) pairs that the envelope names, as they stand in `audit_ref`."""
    return {(kind, ref[:400]) for kind, ref in envelope["refs"]}
