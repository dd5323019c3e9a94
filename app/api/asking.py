"""Routes of asking: search, answers, conversations, feedback, requests for access, and who am I."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import StringConstraints

from app.answer.history import ReopenedAnswer
from app.answer.question import AnswerEvent, Question, Spoken, Started
from app.answer.search import SearchRequest
from app.answer.views import answer_view, passage_view, receipt_view, reopened_view, search_view
from app.api.dependencies import Calling, Wired, for_purpose
from app.api.idempotency import KeyHeader, Once, once
from app.api.problems import problem_of
from app.api.schemas import AnswerBody, AnswerView, Body, SearchBody, SearchView, limits_of
from app.domain.content import Answer
from app.domain.identity import Caller
from app.errors import InvalidInputError, OutcomeUnknownError, PortcullisError
from app.observability import logger
from app.wiring import Services

router = APIRouter(prefix="/v1", tags=["ask"])
_NO_STORE = {"Cache-Control": "no-store"}
RECEIPT_HEADER = "X-Receipt-Id"
_log = logger(__name__)
Note = Annotated[str, StringConstraints(max_length=2_000)]


class FeedbackBody(Body):
    """What the person thinks of an answer."""

    verdict: Literal["helpful", "wrong", "incomplete"]
    note: Note = ""


class AccessRequestBody(Body):
    """A wish for access; the answer never tells whether anything exists."""

    question: Note | None = None
    document_hint: Note | None = None
    reason: Annotated[str, StringConstraints(min_length=1, max_length=2_000)]


@router.get("/me")
async def me(caller: Calling, services: Wired) -> dict[str, Any]:
    """Who the gateway takes you for, and which collections you may read."""
    subject = caller.subject
    readable = await services.collections.readable(subject)
    labels = {rank: label for label, rank in (await services.policies.labels(services.tenant)).items()}
    return {
        "subject_id": subject.subject_id,
        "tenant": subject.tenant,
        "display_name": subject.display_name,
        "groups": list(subject.groups),
        "roles": list(subject.roles),
        "clearance": labels.get(subject.clearance, "public"),
        "purposes": sorted(subject.purposes),
        "collections": [one.name for one in readable],
    }


@router.post("/search", response_model=SearchView)
async def search(body: SearchBody, caller: Calling, services: Wired, response: Response) -> dict[str, Any]:
    """Find passages you may read. On record before they leave."""
    asking = await for_purpose(services, caller, body.purpose)
    result = await services.search.run(asking, SearchRequest(body.query, limits_of(body), body.top_k, body.conversation_id))
    response.headers[RECEIPT_HEADER] = result.receipt.receipt_id
    response.headers.update(_NO_STORE)
    return search_view(result)


@router.post("/answers", response_model=AnswerView)
async def answers(body: AnswerBody, request: Request, caller: Calling, services: Wired, idempotency_key: KeyHeader = None) -> Response:
    """Answer a question from passages you may read, with citations. With `stream` as server-sent events."""
    asking = await for_purpose(services, caller, body.purpose)
    if body.model is not None and body.model != services.answer.writer.model.name:
        message = f"This gateway answers with `{services.answer.writer.model.name}`."
        raise InvalidInputError(message, pointer="/model")
    question = Question(body.question, limits_of(body), body.top_k, body.conversation_id)
    first = await once(request, services, caller, idempotency_key)
    if body.stream:
        earlier = await first.claim()
        events = _events(services, asking, question, first) if earlier is None else _again(services, asking, earlier)
        return StreamingResponse(events, media_type="text/event-stream", headers=_NO_STORE)
    made: list[Answer] = []

    async def work() -> str:
        made.append(await _whole(services, asking, question))
        return made[0].answer_id

    answer_id = await first.run(200, work)
    # A repeat is authorised anew: the first response is not kept, only which answer it was.
    view = answer_view(made[0]) if made else reopened_view(await services.history.answer(asking, answer_id))
    headers = {**_NO_STORE, RECEIPT_HEADER: view["receipt"]["receipt_id"]}
    return Response(orjson.dumps(view), headers=headers, media_type="application/json")


async def _whole(services: Services, caller: Caller, question: Question) -> Answer:
    answer: Answer | None = None
    async with aclosing(services.answer.run(caller, question)) as events:
        async for event in events:
            if isinstance(event, Answer):
                answer = event
    if answer is None:
        message = "No answer came out."
        raise PortcullisError(message)
    return answer


async def _events(services: Services, caller: Caller, question: Question, first: Once) -> AsyncIterator[bytes]:
    try:
        async with aclosing(services.answer.run(caller, question)) as events:
            async for event in events:
                if isinstance(event, Answer):
                    await first.keep(200, event.answer_id)
                for name, value in _event_values(event):
                    yield sse(name, value)
    except OutcomeUnknownError as error:
        # The key stays taken: a repeat at once could do it a second time.
        yield _failed(error, caller)
    except PortcullisError as error:
        await first.free()
        yield _failed(error, caller)
    except Exception as error:  # noqa: BLE001 - a door: the stream is under way, only it can tell that it failed
        _log.error("stream_failed", kind=type(error).__name__)
        yield _failed(PortcullisError("Something went wrong inside. Nothing more is released."), caller)


async def _again(services: Services, caller: Caller, answer_id: str) -> AsyncIterator[bytes]:
    """The answer that the first request with this key made, authorised anew."""
    try:
        yield sse("finished", reopened_view(await services.history.answer(caller, answer_id)))
    except PortcullisError as error:
        yield _failed(error, caller)


def _failed(error: PortcullisError, caller: Caller) -> bytes:
    _, problem = problem_of(error)
    return sse("failed", {"problem": {**problem, "instance": caller.request_id}})


def _event_values(event: AnswerEvent) -> list[tuple[str, Any]]:
    if isinstance(event, Started):
        head = {"answer_id": event.answer_id, "receipt": receipt_view(event.receipt)}
        return [("started", head), *(("passage", passage_view(one)) for one in event.passages)]
    if isinstance(event, Spoken):
        return [("sentence", {"text": event.text, "citations": list(event.citations)})]
    return [("finished", answer_view(event))]


def sse(name: str, value: Any) -> bytes:  # noqa: ANN401 - JSON
    """One server-sent event."""
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(value) + b"\n\n"


@router.get("/answers/{answer_id}")
async def reread(answer_id: str, caller: Calling, services: Wired) -> Response:
    """One of your answers, authorised again; sealed when a source is no longer open to you."""
    reopened = await services.history.answer(caller, answer_id)
    return _json(reopened_view(reopened), reopened.receipt_id)


@router.post("/answers/{answer_id}/feedback", status_code=201)
async def feedback(
    answer_id: str, body: FeedbackBody, request: Request, caller: Calling, services: Wired, idempotency_key: KeyHeader = None
) -> dict[str, str]:
    """Tell what you think of one of your answers."""

    async def work() -> dict[str, str]:
        return {"feedback_id": await services.feedback.give(caller, answer_id, body.verdict, body.note)}

    return dict(await (await once(request, services, caller, idempotency_key)).run(201, work))


@router.get("/conversations")
async def conversations(
    caller: Calling,
    services: Wired,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=60)] = None,
) -> dict[str, Any]:
    """Your conversations, latest first."""
    lines = await services.history.listed(caller, parse_time(cursor), limit)
    items = [
        {
            "conversation_id": one.conversation.conversation_id,
            "question": one.question,
            "answers": one.n_answers,
            "created_at": one.conversation.created_at,
            "updated_at": one.conversation.updated_at,
        }
        for one in lines
    ]
    is_full = len(lines) == limit
    return {"items": items, "next_cursor": lines[-1].conversation.updated_at.isoformat() if is_full else None}


@router.get("/conversations/{conversation_id}")
async def conversation(conversation_id: str, caller: Calling, services: Wired) -> Response:
    """A conversation of yours; each part authorised again."""
    parts: list[ReopenedAnswer] = await services.history.conversation(caller, conversation_id)
    return _json({"conversation_id": conversation_id, "answers": [reopened_view(one) for one in parts]}, parts[-1].receipt_id)


@router.delete("/conversations/{conversation_id}", status_code=204)
async def delete_conversation(conversation_id: str, caller: Calling, services: Wired) -> Response:
    """Delete a conversation of yours; the log keeps that it took place, without its words."""
    await services.history.delete(caller, conversation_id)
    return Response(status_code=204)


@router.post("/access-requests", status_code=202)
async def access_request(
    body: AccessRequestBody, request: Request, caller: Calling, services: Wired, idempotency_key: KeyHeader = None
) -> dict[str, str]:
    """Ask the stewards for access. The response is the same whether or not anything exists."""

    async def work() -> dict[str, str]:
        await services.feedback.request_access(caller, body.question or body.document_hint or "", body.reason)
        return {"state": "received", "message": "The stewards have your request."}

    return dict(await (await once(request, services, caller, idempotency_key)).run(202, work))


def parse_time(value: str | None) -> datetime | None:
    """A time out of a cursor or query. Raises InvalidInputError."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        message = "This is not a time in RFC 3339 form."
        raise InvalidInputError(message, pointer="/cursor") from error


def _json(value: Any, receipt_id: str) -> Response:  # noqa: ANN401 - JSON
    return Response(orjson.dumps(value), headers={**_NO_STORE, RECEIPT_HEADER: receipt_id}, media_type="application/json")
