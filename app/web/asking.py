"""Pages of asking: the question box, the stream, the answer with its passages, receipt and reasons."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse, StreamingResponse
from uuid_utils import uuid7

from app.answer.question import Question, Spoken, Started
from app.answer.views import reopened_answer
from app.domain.content import Answer, AnswerState, DocumentId
from app.domain.identity import Caller
from app.domain.search import SearchLimits
from app.errors import InvalidInputError, NotFoundError, PortcullisError
from app.storage import people_rows
from app.web.dependencies import Checked, Signed, Wired, caller_of
from app.web.templating import fragment, page
from app.web.viewers import viewer_of
from app.wiring import Services

router = APIRouter(include_in_schema=False)
MAX_QUESTION_CHARS = 8_000
_WHY_DOCUMENTS = 4
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
    viewer = await viewer_of(services, session)
    readable = await services.collections.readable(session.subject)
    recent = await services.history.listed(caller_of(request, session), None, 5)
    return page(
        request,
        "ask.html",
        viewer=viewer,
        purposes=sorted(session.subject.purposes),
        collections=readable,
        suggestions=services.suggestions(readable),
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
    caller = caller_of(request, session, purpose)
    asked = Question(question.strip(), SearchLimits(tuple(collections or ())), conversation_id=conversation_id or None)
    if request.headers.get("hx-request") != "true":
        answer = await _finished(services, caller, asked)
        return RedirectResponse(f"/answers/{answer.answer_id}", 303)
    question_id = f"qst_{uuid7()}"
    body = {"question": asked.text, "collections": list(asked.limits.collections), "purpose": purpose, "conversation_id": conversation_id}
    async with services.database.write() as tx:
        await people_rows.put_question(tx, question_id, session.digest, body, datetime.now(UTC))
    viewer = await viewer_of(services, session)
    return page(request, "streaming.html", viewer=viewer, question=asked.text, stream_url=f"/ask/{question_id}/stream")


@router.get("/ask/{question_id}/stream")
async def stream(request: Request, question_id: str, services: Wired, session: Signed) -> Response:
    """The answer as it is checked: passages, sentences, then the whole."""
    async with services.database.write() as tx:
        body = await people_rows.take_question(tx, question_id, session.digest)
    if body is None:
        raise NotFoundError
    caller = caller_of(request, session, body["purpose"])
    asked = Question(body["question"], SearchLimits(tuple(body["collections"])), conversation_id=body["conversation_id"] or None)
    events = _fragments(services, session, caller, asked)
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
    values = await _values(services, session, caller, answer)
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


async def _fragments(services: Services, session: Signed, caller: Caller, question: Question) -> AsyncIterator[bytes]:
    """Server-sent events whose data are HTML fragments."""
    try:
        async with aclosing(services.answer.run(caller, question)) as events:
            async for event in events:
                if isinstance(event, Started):
                    shown = [fragment("parts/passage.html", passage=one, number=n) for n, one in enumerate(event.passages, 1)]
                    yield b"".join(_sse("passage", one) for one in shown)
                elif isinstance(event, Spoken):
                    yield _sse("sentence", fragment("parts/sentence.html", text=event.text, numbers=event.citations))
                else:
                    yield _sse("finished", await _last_fragment(services, session, caller, event))
    except PortcullisError as error:
        yield _sse("failed", fragment("parts/failed.html", detail=error.detail, request_id=caller.request_id))
    yield _sse("closed", "")


async def _last_fragment(services: Services, session: Signed, caller: Caller, answer: Answer) -> str:
    """The whole answer with its evidence; other outcomes have a page of their own, which the browser fetches."""
    if answer.state is not AnswerState.ANSWERED:
        return fragment("parts/moved.html", address=f"/answers/{answer.answer_id}")
    values = await _values(services, session, caller, answer)
    return fragment("parts/finished.html", is_verified=False, **values)


async def _values(services: Services, session: Signed, caller: Caller, answer: Answer) -> dict[str, Any]:
    why: dict[str, None] = {}
    for document_id in list(dict.fromkeys(one.document_id for one in answer.passages))[:_WHY_DOCUMENTS]:
        why.update(dict.fromkeys(await services.explain.why(caller, DocumentId(document_id))))
    return {
        "viewer": await viewer_of(services, session),
        "answer": answer,
        "purpose": caller.subject.purpose,
        "purposes": sorted(session.subject.purposes),
        "why": list(why),
        "requests": [],
    }


def _sse(name: str, content: str) -> bytes:
    """One event; each line of the fragment is a data line."""
    lines = "".join(f"data: {line}\n" for line in content.split("\n"))
    return f"event: {name}\n{lines}\n".encode()
