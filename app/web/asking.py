"""Pages of asking: the question box, the answer with its passages, receipt and reasons, the wish for access."""

from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse, StreamingResponse
from uuid_utils import uuid7

from app.answer.question import Question
from app.answer.views import reopened_answer
from app.domain.content import Answer, AnswerState
from app.domain.identity import Caller
from app.domain.search import SearchLimits
from app.errors import InvalidInputError, PortcullisError
from app.storage import people_rows
from app.storage.people_rows import QuestionKey
from app.web.dependencies import Checked, Signed, Wired, caller_of
from app.web.streams import answer_values, broken_off, fragments
from app.web.templating import fragment, page
from app.web.viewers import viewer_of
from app.wiring import Services

router = APIRouter(include_in_schema=False)
MAX_QUESTION_CHARS = 8_000
_TEMPLATES = {
    AnswerState.ANSWERED: "answer.html",
    AnswerState.CLOSEST_PASSAGES: "closest.html",
    AnswerState.REFUSED: "refused.html",
}


@router.get("/")
async def start(services: Wired, session: Signed) -> Response:
    """The first page of whoever signed in: asking, or the log for those who read no documents."""
    viewer = await viewer_of(services, session)
    return RedirectResponse("/officer" if viewer.is_officer and not viewer.reads else "/ask", 303)


@router.get("/ask")
async def ask(request: Request, services: Wired, session: Signed, q: Annotated[str, Query(max_length=MAX_QUESTION_CHARS)] = "") -> Response:
    """The question box."""
    readable = await services.collections.readable(session.subject)
    viewer = await viewer_of(services, session, readable)
    plain = await services.collections.open_by_default(session.subject)
    recent = await services.history.listed(caller_of(request, session), None, 5) if viewer.rereads else []
    return page(
        request,
        "ask.html",
        viewer=viewer,
        purposes=sorted(session.subject.purposes),
        collections=readable,
        suggestions=services.suggestions([one for one in readable if one.name in plain]),
        recent=recent,
        question=q,
    )


@router.post("/ask")
async def submit(
    request: Request,
    services: Wired,
    session: Checked,
    question: Annotated[str, Form(max_length=MAX_QUESTION_CHARS)] = "",
    collections: Annotated[list[str] | None, Form(max_length=100)] = None,
    purpose: Annotated[str, Form(max_length=100)] = "none",
    conversation_id: Annotated[str, Form(max_length=80)] = "",
) -> Response:
    """Take a question. With script it streams; without, the answer comes when it is done."""
    if not question.strip():
        message = "Write a question first."
        raise InvalidInputError(message, pointer="/question")
    caller = await services.sign_ins.for_purpose(caller_of(request, session), purpose or None)
    limits = await _limits(services, session, collections or [])
    asked = Question(question.strip(), limits, conversation_id=conversation_id or None)
    if request.headers.get("hx-request") != "true":
        answer = await _finished(services, caller, asked)
        return RedirectResponse(f"/answers/{answer.answer_id}", 303)
    question_id = f"qst_{uuid7()}"
    body = {"question": asked.text, "collections": list(asked.limits.collections), "purpose": purpose, "conversation_id": conversation_id}
    async with services.database.write() as tx:
        await people_rows.put_question(tx, QuestionKey(services.tenant, session.digest, question_id), body, datetime.now(UTC))
    viewer = await viewer_of(services, session)
    return page(request, "streaming.html", viewer=viewer, question=asked.text, stream_url=f"/ask/{question_id}/stream")


@router.get("/ask/{question_id}/stream")
async def stream(request: Request, question_id: str, services: Wired, session: Signed) -> Response:
    """The answer as it is checked: passages, sentences, then the whole."""
    async with services.database.write() as tx:
        body = await people_rows.take_question(tx, QuestionKey(services.tenant, session.digest, question_id))
    if body is None:
        events = broken_off(services, session)
    else:
        asked = Question(body["question"], SearchLimits(tuple(body["collections"])), conversation_id=body["conversation_id"] or None)
        caller = await services.sign_ins.for_purpose(caller_of(request, session), body["purpose"])
        events = fragments(services, session, caller, asked)
    return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


@router.get("/answers/{answer_id}")
async def answer_page(request: Request, answer_id: str, services: Wired, session: Signed) -> Response:
    """An answer of yours, authorised again, its receipt checked in this request."""
    caller = caller_of(request, session)
    reopened = await services.history.answer(caller, answer_id)
    if reopened.sealed_because is not None:
        return RedirectResponse(f"/conversations/{reopened.row.conversation_id}", 303)
    answer = reopened_answer(reopened)
    is_verified = await services.receipts.holds(caller, answer.receipt.receipt_id)
    values = await answer_values(services, session, caller, answer)
    return page(request, _TEMPLATES[answer.state], is_verified=is_verified, **values)


@router.post("/answers/{answer_id}/feedback")
async def feedback(
    request: Request,
    answer_id: str,
    services: Wired,
    session: Checked,
    verdict: Annotated[str, Form(pattern="^(helpful|wrong|incomplete)$")],
) -> Response:
    """Your verdict on an answer."""
    await services.feedback.give(caller_of(request, session), answer_id, verdict, "")
    if request.headers.get("hx-request") != "true":
        return RedirectResponse(f"/answers/{answer_id}", 303)
    return HTMLResponse(
        fragment("parts/feedback.html", viewer=await viewer_of(services, session), answer={"answer_id": answer_id}, given=True)
    )


@router.get("/access-requests")
async def access_form(request: Request, services: Wired, session: Signed) -> Response:
    """Ask the stewards for access."""
    return page(request, "access-requests.html", viewer=await viewer_of(services, session), hint="", requests=[], sent=False)


@router.post("/access-requests")
async def access_request(
    request: Request,
    services: Wired,
    session: Checked,
    document_hint: Annotated[str, Form(max_length=MAX_QUESTION_CHARS)] = "",
    reason: Annotated[str, Form(max_length=2_000)] = "",
) -> Response:
    """Send it. What follows looks the same whatever was asked."""
    await services.feedback.request_access(caller_of(request, session), document_hint, reason)
    values: dict[str, Any] = {"viewer": await viewer_of(services, session), "hint": "", "requests": [], "sent": True}
    if request.headers.get("hx-request") == "true":
        return HTMLResponse(fragment("parts/access-request.html", **values), headers={"Cache-Control": "no-store"})
    return page(request, "access-requests.html", **values)


async def _finished(services: Services, caller: Caller, asked: Question) -> Answer:
    final: Answer | None = None
    async with aclosing(services.answer.run(caller, asked)) as events:
        async for event in events:
            final = event if isinstance(event, Answer) else final
    if final is None:
        message = "No answer came out."
        raise PortcullisError(message)
    return final


async def _limits(services: Services, session: Signed, chosen: list[str]) -> SearchLimits:
    """The caller's narrowing. Every collection offered chosen is no narrowing: a purpose may open more than was offered."""
    offered = {one.name for one in await services.collections.readable(session.subject)} if chosen else set()
    return SearchLimits() if offered <= set(chosen) else SearchLimits(tuple(chosen))
