"""Routes of policy, privacy, the audit log and receipts."""

import base64
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import PlainTextResponse
from pydantic import Field, StringConstraints

from app.answer.views import zulu
from app.api.dependencies import Calling, Wired, for_purpose
from app.api.schemas import Body, Moment, Name
from app.domain.access import Action
from app.domain.audit import EventId, Reference
from app.domain.content import DocumentId
from app.govern.explain import ExplainRequest
from app.govern.trail import TrailRequest, TrailRow
from app.storage.audit_rows import EventQuery

router = APIRouter(prefix="/v1")
_NO_STORE = {"Cache-Control": "no-store"}
MAX_ANALYZE_CHARS = 200_000


class AnalyzeBody(Body):
    """A text of your own to look through."""

    text: Annotated[str, StringConstraints(max_length=MAX_ANALYZE_CHARS)]
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2}$")] | None = None


class RedactBody(Body):
    """A text of your own to redact."""

    text: Annotated[str, StringConstraints(max_length=MAX_ANALYZE_CHARS)]
    profile: Name = "standard"


class ExplainBody(Body):
    """Which decision to explain."""

    document_id: Annotated[str, StringConstraints(min_length=1, max_length=80)]
    action: Action
    purpose: Name | None = None
    subject_id: Annotated[str, StringConstraints(max_length=400)] | None = None


class TrailFilters(Body):
    """An officer's search of the log."""

    actor: Annotated[str, StringConstraints(max_length=400)] = ""
    subject: Annotated[str, StringConstraints(max_length=400)] = ""
    document: Annotated[str, StringConstraints(max_length=80)] = ""
    conversation: Annotated[str, StringConstraints(max_length=80)] = ""
    type: Annotated[str, StringConstraints(max_length=60)] = ""
    outcome: Annotated[str, StringConstraints(max_length=20)] = ""
    since: Moment | None = None
    until: Moment | None = None
    case_id: Annotated[str, StringConstraints(max_length=200)] = ""
    reason: Annotated[str, StringConstraints(max_length=2_000)] = ""
    cursor: Annotated[str, StringConstraints(pattern=r"^\d{1,18}$")] | None = None
    limit: int = Field(default=50, ge=1, le=200)


@router.post("/privacy/analyze", tags=["privacy"])
async def analyze(body: AnalyzeBody, caller: Calling, services: Wired) -> dict[str, Any]:
    """Find personal data in a text. The text is not kept."""
    found = await services.privacy.analyze(caller, body.text, body.language)
    spans = [
        {"start": one.start, "end": one.end, "entity_type": one.entity_type, "score": one.score, "recognizer": one.recognizer}
        for one in found.spans
    ]
    return {"language": found.language, "spans": spans, "detector_digest": found.detector_digest}


@router.post("/privacy/redact", tags=["privacy"])
async def redact(body: RedactBody, caller: Calling, services: Wired) -> dict[str, Any]:
    """Redact a text under a profile. The text is not kept."""
    shown = await services.privacy.redact(caller, body.text, body.profile)
    return {"text": shown.text, "hidden": [{"start": one.start, "end": one.end, "entity_type": one.entity_type} for one in shown.hidden]}


@router.get("/policy/active", tags=["policy"])
async def active_policy(caller: Calling, services: Wired) -> dict[str, Any]:
    """Which policy is in force. Its rules are shown to holders of `policy.read` only."""
    return await services.policies.active(caller)


@router.post("/policy/explain", tags=["policy"])
async def explain(body: ExplainBody, caller: Calling, services: Wired) -> dict[str, Any]:
    """Why you, or somebody else with `debug.explain`, may or may not do something with a document."""
    asking = await for_purpose(services, caller, body.purpose)
    request = ExplainRequest(DocumentId(body.document_id), body.action, body.subject_id)
    found = await services.explain.run(asking, request)
    steps = [{"step": one.step, "input": one.input, "rule": one.rule, "outcome": one.outcome, "why": one.why} for one in found.steps]
    return {"verdict": found.verdict.value, "steps": steps, "filter_matches": found.filter_matches, "referee_agrees": found.referee_agrees}


@router.get("/audit/events", tags=["audit"])
async def events(filters: Annotated[TrailFilters, Query()], caller: Calling, services: Wired, response: Response) -> dict[str, Any]:
    """Search the log: needs `audit.read`, a case and a reason. Itself on record before rows leave."""
    response.headers.update(_NO_STORE)
    references = [
        (kind, ref)
        for kind, ref in (("subject", filters.subject), ("document", filters.document), ("conversation", filters.conversation))
        if ref
    ]
    query = EventQuery(
        actor=filters.actor,
        type=filters.type,
        outcome=filters.outcome,
        references=tuple(Reference(kind, ref) for kind, ref in references),
        since=filters.since,
        until=filters.until,
        before=int(filters.cursor) if filters.cursor else None,
        limit=filters.limit,
    )
    rows = await services.trail.search(caller, TrailRequest(query, filters.case_id, filters.reason))
    return {"items": [row_view(one) for one in rows], "next_cursor": str(rows[-1].index) if len(rows) == filters.limit else None}


@router.get("/audit/events/{event_id}", tags=["audit"])
async def event(event_id: str, caller: Calling, services: Wired) -> dict[str, Any]:
    """One entry of the log."""
    return row_view(await services.trail.event(caller, EventId(event_id)))


@router.get("/audit/events/{event_id}/proof", tags=["audit"])
async def proof(event_id: str, caller: Calling, services: Wired) -> dict[str, Any]:
    """Inclusion proof of one entry: RFC 6962 hashes in standard base64, leaf to root, under a signed checkpoint."""
    found = await services.trail.proof(caller, EventId(event_id))
    return {
        "log": found.log,
        "index": found.index,
        "leaf_hash": _base64(found.leaf_hash),
        "tree_size": found.tree_size,
        "root_hash": _base64(found.root_hash),
        "hashes": [_base64(value) for value in found.hashes],
        "checkpoint": found.checkpoint,
    }


@router.get("/audit/keys", tags=["audit"])
async def keys(caller: Calling, services: Wired) -> dict[str, Any]:
    """Public keys that check the checkpoints of your tenant's log."""
    return {"keys": [{"vkey": services.audit.verifier_key(caller.subject.tenant), "from": None, "until": None}]}


@router.get("/audit/checkpoint", tags=["audit"])
async def checkpoint(caller: Calling, services: Wired) -> PlainTextResponse:
    """The newest checkpoint: a C2SP signed note."""
    return PlainTextResponse(await services.trail.checkpoint(caller.subject.tenant))


@router.get("/receipts/{receipt_id}", tags=["audit"])
async def receipt(receipt_id: str, caller: Calling, services: Wired, response: Response) -> dict[str, Any]:
    """The receipt of something released to you; `portcullis-verify` checks it without a network."""
    response.headers.update(_NO_STORE)
    return await services.receipts.receipt(caller, receipt_id)


def row_view(row: TrailRow) -> dict[str, Any]:
    """An entry for JSON: the envelope and where it stands."""
    return {**row.event, "index": row.index, "recorded_at": zulu(row.recorded_at), "leaf_hash": _base64(row.leaf_hash)}


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()
