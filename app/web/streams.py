"""An answer on its way to a browser: server-sent events whose data are HTML fragments, and the values an answer's page needs."""

import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from app.answer.question import Question, Spoken, Started
from app.domain.content import Answer, AnswerState, DocumentId, Passage
from app.domain.identity import Caller
from app.errors import AccessDeniedError, PortcullisError
from app.identity.sessions import Session
from app.web.rendering import placed
from app.web.templating import fragment
from app.web.viewers import viewer_of
from app.wiring import Services

_WHY_DOCUMENTS = 4
_BROKEN_OFF = "The answer broke off on its way. What came of it is among your conversations."


async def fragments(services: Services, session: Session, caller: Caller, question: Question) -> AsyncIterator[bytes]:
    """Events `passage`, `found`, `sentence`, then `finished` or `failed`, then `closed`. Nothing comes before its record."""
    try:
        async with aclosing(services.answer.run(caller, question)) as events:
            async for event in events:
                if isinstance(event, Started):
                    yield _found(event.passages)
                elif isinstance(event, Spoken):
                    yield server_sent("sentence", fragment("parts/sentence.html", text=event.text, numbers=event.citations))
                else:
                    yield server_sent("finished", await _last_fragment(services, session, caller, event))
    except PortcullisError as error:
        asked = {"question": question.text, "conversation_id": question.conversation_id or "", "purpose": caller.subject.purpose}
        told = {"detail": error.detail, "request_id": caller.request_id, "is_denied": isinstance(error, AccessDeniedError)}
        yield await _failed(services, session, {**asked, **told})
    yield server_sent("closed", "")


async def broken_off(services: Services, session: Session) -> AsyncIterator[bytes]:
    """What a browser reads that comes back for a stream it has begun before: each runs once."""
    values = {"question": "", "conversation_id": "", "purpose": "", "detail": _BROKEN_OFF, "request_id": "", "is_denied": False}
    yield await _failed(services, session, values)
    yield server_sent("closed", "")


async def answer_values(services: Services, session: Session, caller: Caller, answer: Answer) -> dict[str, Any]:
    """What the pages of an answer print besides whether its receipt holds."""
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


def _found(passages: tuple[Passage, ...]) -> bytes:
    shown = [server_sent("passage", fragment("parts/passage.html", placed=one)) for one in placed(passages, ())]
    return b"".join(shown) + server_sent("found", fragment("parts/found.html", count=len(shown)))


async def _last_fragment(services: Services, session: Session, caller: Caller, answer: Answer) -> str:
    """The whole answer with its evidence; other outcomes have a page of their own, which the browser fetches."""
    if answer.state is not AnswerState.ANSWERED:
        return fragment("parts/moved.html", address=f"/answers/{answer.answer_id}")
    values = await answer_values(services, session, caller, answer)
    return fragment("parts/finished.html", is_verified=False, **values)


async def _failed(services: Services, session: Session, values: dict[str, Any]) -> bytes:
    viewer, purposes = await viewer_of(services, session), sorted(session.subject.purposes)
    return server_sent("failed", fragment("parts/failed.html", viewer=viewer, purposes=purposes, **values))


def server_sent(name: str, content: str) -> bytes:
    """One event (WHATWG HTML, section 9.2.6). A line ends at any of its three line ends, or a document's text could begin an event."""
    lines = "".join(f"data: {line}\n" for line in re.split(r"\r\n|\r|\n", content))
    return f"event: {name}\n{lines}\n".encode()
