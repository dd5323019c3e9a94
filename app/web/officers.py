"""Pages of the officer: is the log whole, what happened, one entry with its proof. Each look is on record before rows leave."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlencode

import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, StringConstraints

from app.domain.audit import EventId, EventType, Reference
from app.domain.identity import Caller
from app.errors import InvalidInputError
from app.govern.trail import TrailRequest, TrailRow
from app.storage.audit_rows import EventQuery
from app.web.dependencies import Signed, Wired, caller_of
from app.web.rendering import short_id
from app.web.templating import page
from app.web.viewers import viewer_of
from app.wiring import Services

router = APIRouter(include_in_schema=False)
_PAGE = 50
_HIDDEN_FIELDS = frozenset({"hits", "context", "citations"})
_NO_PERSON = ("group:", "role:")
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

    @property
    def is_reasoned(self) -> bool:
        """Whether case and reason are given, without which nothing is read."""
        return bool(self.case_id.strip() and self.reason.strip())

    def address(self, path: str = "/log", **changes: str) -> str:
        """`path` with the filters that are set, so that each view has an address of its own."""
        values = {**self.model_dump(), **changes}
        return f"{path}?{urlencode({name: value for name, value in values.items() if value})}"


Asked = Annotated[LogQuery, Query()]


@router.get("/officer")
async def overview(request: Request, services: Wired, session: Signed) -> Response:
    """Is the log whole, what was refused lately, who looked."""
    state = await services.overview.run(caller_of(request, session))
    panels = [
        {
            "question": "What was refused lately?",
            "answer": "The newest refusals, latest first." if state["refused"] else "Nothing was refused.",
            "entries": [_entry(services, one) for one in state["refused"]],
            "address": LogQuery(outcome="deny").address(),
            "link": "All refusals",
        },
        {
            "question": "Who looked into the log lately?",
            "answer": "The newest look-ups, latest first. This page is one of them.",
            "entries": [_entry(services, one) for one in state["looks"]],
            "address": LogQuery(type=EventType.AUDIT_QUERIED.value).address(),
            "link": "All look-ups",
        },
    ]
    return page(request, "officer.html", viewer=await viewer_of(services, session), integrity=state["integrity"], panels=panels)


@router.get("/officer/receipt")
async def check_receipt(
    services: Wired, session: Signed, receipt_id: Annotated[str, Query(max_length=80, pattern=r"^\s*rcp_[\w-]+\s*$")]
) -> Response:
    """On to the page that verifies a receipt by its id."""
    del services, session
    return RedirectResponse(f"/receipts/{receipt_id.strip()}", 303)


@router.get("/log")
async def log(request: Request, services: Wired, session: Signed, query: Asked) -> Response:
    """The log explorer. Nothing is read before a case and a reason are given."""
    caller = caller_of(request, session)
    await services.trail.require(caller)
    rows = await _rows(services, caller, query) if query.is_reasoned else None
    older = query.address(before=str(rows[-1].index)) if rows is not None and len(rows) == _PAGE else None
    entries = None if rows is None else [_entry(services, one, query) for one in rows]
    return page(request, "log.html", viewer=await viewer_of(services, session), entries=entries, event=None, older=older, **_form(query))


@router.get("/log/{event_id}")
async def entry(request: Request, event_id: str, services: Wired, session: Signed, query: Asked) -> Response:
    """One entry with its proof, for the case and reason of the search it was found by."""
    caller = caller_of(request, session)
    _need_reason(query)
    row = await services.trail.event(caller, EventId(event_id), query.case_id)
    proof = await services.trail.proof(caller, EventId(event_id), query.case_id)
    veiled = _veiled(services, row.event)
    event = {
        **_entry(services, row, query),
        "purpose": row.event["purpose"],
        "policy_digest": row.event["policy_digest"],
        "facts": [(name.replace("_", " "), _plain(value)) for name, value in veiled["fields"].items() if name not in _HIDDEN_FIELDS],
        "about": [(kind, ref, _about(query, ref) if kind == "document" else "") for kind, ref in veiled["refs"]],
        "leaf_hash": proof.leaf_hash.hex(),
        "hashes": [value.hex() for value in proof.hashes],
        "root_hash": proof.root_hash.hex(),
        "tree_size": proof.tree_size,
        "is_proved": True,
        "proof_address": query.address(f"/log/{event_id}/proof"),
        "raw": json.dumps(veiled, indent=2, sort_keys=True),
    }
    viewer = await viewer_of(services, session)
    return page(request, "log.html", viewer=viewer, entries=None, event=event, older=None, **_form(query))


@router.get("/log/{event_id}/proof")
async def proof_file(request: Request, event_id: str, services: Wired, session: Signed, query: Asked) -> Response:
    """The proof of one entry as a file that portcullis-verify checks."""
    _need_reason(query)
    receipt = await services.receipts.receipt(caller_of(request, session), f"rcp_{event_id}")
    headers = {"Content-Disposition": f'attachment; filename="{event_id}.json"', "Cache-Control": "no-store"}
    return Response(orjson.dumps(receipt, option=orjson.OPT_INDENT_2), media_type="application/json", headers=headers)


def _need_reason(query: LogQuery) -> None:
    if not query.is_reasoned:
        message = "Reading the log needs a case id and a reason."
        raise InvalidInputError(message, pointer="/case_id")


def _about(query: LogQuery, document: str) -> str:
    return LogQuery(case_id=query.case_id, reason=query.reason, document=document).address()


def _form(query: LogQuery) -> dict[str, Any]:
    return {"query": query, "types": sorted(EventType), "back": query.address()}


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


def _entry(services: Services, row: TrailRow, query: LogQuery | None = None) -> dict[str, Any]:
    event_id = row.event["event_id"]
    return {
        "index": row.index,
        "event_id": event_id,
        "recorded_at": row.recorded_at,
        "type": row.event["type"],
        "actor": _veiled(services, row.event["actor"]),
        "target": _target(row.event["refs"]),
        "outcome": row.event["outcome"],
        "reason_code": row.event["reason_code"],
        "address": query.address(f"/log/{event_id}") if query else "",
    }


def _target(references: Sequence[Sequence[str]]) -> str:
    """What an entry is about, in a few characters: one document, how many, or the first of the other kinds."""
    documents = [ref for kind, ref in references if kind == "document"]
    if len(documents) > 1:
        return f"{len(documents)} documents"
    others = [ref if kind == "case" else short_id(ref) for kind, ref in references if kind in {"conversation", "case"}]
    return next(iter([short_id(ref) for ref in documents] + others), "")


def _veiled(services: Services, value: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    """The same JSON with a pseudonym wherever a person's id stands: naming one needs a second person."""
    if isinstance(value, str):
        return value if value.startswith(_NO_PERSON) else services.trail.pseudonym(value)
    if isinstance(value, Mapping):
        return {name: _veiled(services, one) for name, one in value.items()}
    if isinstance(value, Sequence):
        return [_veiled(services, one) for one in value]
    return value


def _plain(value: Any) -> str:  # noqa: ANN401 - JSON of any shape
    if isinstance(value, list):
        return ", ".join(_plain(one) for one in value) or "none"
    if value is None:
        return "none"
    return json.dumps(value) if isinstance(value, dict | bool) else str(value)


def _utc(value: str) -> datetime | None:
    try:
        return datetime.fromisoformat(value).replace(tzinfo=UTC) if value else None
    except ValueError:
        return None
