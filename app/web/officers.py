"""Pages of the officer: is the log whole, what happened, one entry with its proof. Each look is on record before rows leave."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlencode

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, StringConstraints

from app.domain.audit import EventId, EventType, Reference
from app.domain.identity import Caller
from app.govern.trail import TrailRequest, TrailRow
from app.storage.audit_rows import EventQuery
from app.web.dependencies import Signed, Wired, caller_of
from app.web.templating import page
from app.web.viewers import viewer_of
from app.wiring import Services

router = APIRouter(include_in_schema=False)
_PAGE = 50
_HIDDEN_FIELDS = frozenset({"hits", "context", "citations"})
Short = Annotated[str, StringConstraints(max_length=400)]


class LogQuery(BaseModel):
    """The officer's form. Times are UTC, as `datetime-local` inputs send them."""

    model_config = ConfigDict(frozen=True)

    case_id: Short = ""
    reason: Short = ""
    actor: Short = ""
    type: Short = ""
    outcome: Short = ""
    document: Short = ""
    since: Short = ""
    until: Short = ""
    before: Annotated[str, StringConstraints(pattern=r"^\d{0,18}$")] = ""


Asked = Annotated[LogQuery, Query()]


@router.get("/officer")
async def overview(request: Request, services: Wired, session: Signed) -> Response:
    """Is the log whole, and what was refused lately."""
    caller = caller_of(request, session)
    state = await services.overview.run(caller)
    return page(request, "officer.html", viewer=await viewer_of(services, session), **state)


@router.get("/log")
async def log(request: Request, services: Wired, session: Signed, query: Asked) -> Response:
    """The log explorer. Nothing is read before a case and a reason are given."""
    caller = caller_of(request, session)
    await services.trail.require(caller)
    rows = await _rows(services, caller, query) if query.case_id.strip() and query.reason.strip() else None
    older = None
    if rows is not None and len(rows) == _PAGE:
        older = f"/log?{urlencode({**query.model_dump(), 'before': rows[-1].index})}"
    entries = None if rows is None else [_entry(services, one) for one in rows]
    values: dict[str, Any] = {"query": query, "types": sorted(EventType), "entries": entries, "event": None, "older": older}
    return page(request, "log.html", viewer=await viewer_of(services, session), **values)


@router.get("/log/{event_id}")
async def entry(request: Request, event_id: str, services: Wired, session: Signed, query: Asked) -> Response:
    """One entry with its proof."""
    caller = caller_of(request, session)
    row = await services.trail.event(caller, EventId(event_id))
    proof = await services.trail.proof(caller, EventId(event_id))
    event = {
        **_entry(services, row),
        "purpose": row.event["purpose"],
        "reason_code": row.event["reason_code"],
        "policy_digest": row.event["policy_digest"],
        "facts": [(name.replace("_", " "), str(value)) for name, value in row.event["fields"].items() if name not in _HIDDEN_FIELDS],
        "leaf_hash": proof.leaf_hash.hex(),
        "hashes": [value.hex() for value in proof.hashes],
        "root_hash": proof.root_hash.hex(),
        "tree_size": proof.tree_size,
        "is_proved": True,
        "raw": json.dumps({**row.event, "actor": services.trail.pseudonym(str(row.event["actor"]))}, indent=2, sort_keys=True),
    }
    values: dict[str, Any] = {"query": query, "types": sorted(EventType), "entries": [], "event": event, "older": None}
    return page(request, "log.html", viewer=await viewer_of(services, session), **values)


@router.get("/log/{event_id}/proof")
async def proof_file(request: Request, event_id: str, services: Wired, session: Signed) -> Response:
    """The proof of one entry as a file."""
    receipt = await services.receipts.receipt(caller_of(request, session), f"rcp_{event_id}")
    headers = {"Content-Disposition": f'attachment; filename="{event_id}.json"', "Cache-Control": "no-store"}
    return Response(orjson.dumps(receipt, option=orjson.OPT_INDENT_2), media_type="application/json", headers=headers)


async def _rows(services: Services, caller: Caller, query: LogQuery) -> list[TrailRow]:
    asked = EventQuery(
        actor=query.actor.strip(),
        type=query.type,
        outcome=query.outcome,
        references=(Reference("document", query.document.strip()),) if query.document.strip() else (),
        since=_utc(query.since),
        until=_utc(query.until),
        before=int(query.before) if query.before else None,
        limit=_PAGE,
    )
    return await services.trail.search(caller, TrailRequest(asked, query.case_id, query.reason))


def _entry(services: Services, row: TrailRow) -> dict[str, Any]:
    documents = [ref for kind, ref in row.event["refs"] if kind == "document"]
    others = [f"{kind} {ref}" for kind, ref in row.event["refs"] if kind in {"conversation", "case"}]
    target = documents[0] if len(documents) == 1 else f"{len(documents)} documents" if documents else (others[0] if others else "")
    return {
        "index": row.index,
        "event_id": row.event["event_id"],
        "recorded_at": row.recorded_at,
        "type": row.event["type"],
        "actor": services.trail.pseudonym(str(row.event["actor"])),
        "target": target,
        "outcome": row.event["outcome"],
    }


def _utc(value: str) -> datetime | None:
    try:
        return datetime.fromisoformat(value).replace(tzinfo=UTC) if value else None
    except ValueError:
        return None
