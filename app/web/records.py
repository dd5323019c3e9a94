"""Pages of what is kept: conversations, documents, receipts."""

from typing import Annotated, Any
from urllib.parse import urlencode

import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from app.answer.history import ReopenedAnswer
from app.domain.content import DocumentId
from app.web.dependencies import Checked, Signed, Wired, caller_of
from app.web.templating import fragment, page
from app.web.viewers import viewer_of

router = APIRouter(include_in_schema=False)
_PAGE = 50


@router.get("/conversations")
async def conversations(request: Request, services: Wired, session: Signed) -> Response:
    """Your conversations."""
    lines = await services.history.listed(caller_of(request, session), None, _PAGE)
    return page(request, "history.html", viewer=await viewer_of(services, session), lines=lines, current=None, purposes=[])


@router.get("/conversations/{conversation_id}")
async def conversation(request: Request, conversation_id: str, services: Wired, session: Signed) -> Response:
    """One conversation, each part authorised again."""
    caller = caller_of(request, session)
    parts = await services.history.conversation(caller, conversation_id)
    current = {"conversation_id": conversation_id, "title": parts[0].row.question, "readings": [_reading(one) for one in parts]}
    return page(
        request,
        "history.html",
        viewer=await viewer_of(services, session),
        lines=await services.history.listed(caller, None, _PAGE),
        current=current,
        purposes=sorted(session.subject.purposes),
    )


@router.get("/conversations/{conversation_id}/delete")
async def confirm_delete(request: Request, conversation_id: str, services: Wired, session: Signed) -> Response:
    """The question before deleting, as a page."""
    parts = await services.history.conversation(caller_of(request, session), conversation_id)
    values: dict[str, Any] = {"conversation_id": conversation_id, "title": parts[0].row.question}
    return page(request, "delete-conversation.html", viewer=await viewer_of(services, session), **values)


@router.post("/conversations/{conversation_id}/delete")
async def delete(request: Request, conversation_id: str, services: Wired, session: Checked) -> Response:
    """Delete a conversation of yours."""
    await services.history.delete(caller_of(request, session), conversation_id)
    return RedirectResponse("/conversations", 303)


@router.get("/documents")
async def documents(
    request: Request,
    services: Wired,
    session: Signed,
    collection: Annotated[str, Query(max_length=100)] = "",
    cursor: Annotated[str, Query(max_length=80)] = "",
) -> Response:
    """Documents you may read."""
    lines = (await services.documents.listed(caller_of(request, session), collection, DocumentId(cursor) if cursor else None, _PAGE)).lines
    further = {"collection": collection, "cursor": lines[-1].document.document_id} if len(lines) == _PAGE else {}
    older = f"/documents?{urlencode(further)}" if further else None
    readable = await services.collections.readable(session.subject)
    troubled = [] if cursor else await services.jobs.troubled(caller_of(request, session))
    values: dict[str, Any] = {"collections": readable, "collection": collection, "lines": lines, "older": older, "troubled": troubled}
    return page(request, "documents.html", viewer=await viewer_of(services, session, readable), **values)


@router.post("/jobs/{job_id}/retry")
async def retry_job(request: Request, job_id: str, services: Wired, session: Checked) -> Response:
    """Try a failed job again."""
    await services.jobs.retry(caller_of(request, session), job_id)
    return RedirectResponse("/documents", 303)


@router.post("/jobs/{job_id}/cancel")
async def cancel_job(request: Request, job_id: str, services: Wired, session: Checked) -> Response:
    """Call a job off."""
    await services.jobs.cancel(caller_of(request, session), job_id)
    return RedirectResponse("/documents", 303)


@router.get("/documents/{document_id}")
async def document(request: Request, document_id: str, services: Wired, session: Signed) -> Response:
    """A document as you may see it."""
    caller = caller_of(request, session)
    opened = await services.documents.open(caller, DocumentId(document_id))
    why = await services.explain.why(caller, DocumentId(document_id))
    return page(request, "document.html", viewer=await viewer_of(services, session), opened=opened, why=why)


@router.get("/receipts/{receipt_id}/check")
async def check_receipt(request: Request, receipt_id: str, services: Wired, session: Signed) -> Response:
    """Verify a receipt now and show the result in place."""
    caller = caller_of(request, session)
    facts = await services.receipts.receipt_facts(caller, receipt_id)
    return HTMLResponse(fragment("parts/receipt.html", **facts), headers={"Cache-Control": "no-store"})


@router.get("/receipts/{receipt_id}/download")
async def download_receipt(request: Request, receipt_id: str, services: Wired, session: Signed) -> Response:
    """The receipt as a file that portcullis-verify checks."""
    receipt = await services.receipts.receipt(caller_of(request, session), receipt_id)
    headers = {"Content-Disposition": f'attachment; filename="{receipt_id}.json"', "Cache-Control": "no-store"}
    return Response(orjson.dumps(receipt, option=orjson.OPT_INDENT_2), media_type="application/json", headers=headers)


@router.get("/receipts/{receipt_id}")
async def receipt(request: Request, receipt_id: str, services: Wired, session: Signed) -> Response:
    """One receipt, verified in this request."""
    facts = await services.receipts.receipt_facts(caller_of(request, session), receipt_id)
    return page(request, "receipt.html", viewer=await viewer_of(services, session), **facts)


def _reading(one: ReopenedAnswer) -> dict[str, Any]:
    body, is_open = one.row.body, one.sealed_because is None
    return {
        "question": one.row.question,
        "created_at": one.row.created_at,
        "sealed_because": one.sealed_because,
        "text": (body["text"] or body["refusal_message"] or "No passage answered this fully.") if is_open else "",
        "citations": body["citations"] if is_open else [],
        "receipt_index": body["receipt"]["index"],
        "answer_id": one.row.answer_id,
        "state": body["state"],
    }
