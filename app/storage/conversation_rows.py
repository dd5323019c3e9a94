"""Queries over conversations, answers, feedback and requests for access. Every read is bound to one subject."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, delete, insert, select, update

from app.domain.identity import SubjectId, TenantId
from app.storage.tables import access_request, answer, conversation, feedback
from app.storage.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose conversations are meant."""

    tenant: TenantId
    subject_id: SubjectId


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """A stored answer. `body` is the answer as released, or what `empty_answers` leaves; a reader re-authorises every source in it."""

    answer_id: str
    conversation_id: str
    question: str
    body: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ConversationRow:
    """A conversation with its first question."""

    conversation_id: str
    created_at: datetime
    updated_at: datetime


async def touch(tx: Transaction, owner: Owner, conversation_id: str, moment: datetime) -> bool:
    """Note activity; returns False when the subject has no such conversation."""
    mine = update(conversation).where(*_mine(owner), conversation.c.conversation_id == conversation_id)
    return (await tx.connection.execute(mine.values(updated_at=moment))).rowcount == 1


async def create(tx: Transaction, owner: Owner, conversation_id: str, moment: datetime) -> None:
    """Store a new, empty conversation."""
    ids = {"conversation_id": conversation_id, "tenant": owner.tenant, "subject_id": owner.subject_id}
    await tx.connection.execute(insert(conversation).values(**ids, created_at=moment, updated_at=moment))


async def put_answer(tx: Transaction, owner: Owner, row: AnswerRow) -> None:
    """Store an answer in its conversation."""
    ids = {"answer_id": row.answer_id, "conversation_id": row.conversation_id, "tenant": owner.tenant, "subject_id": owner.subject_id}
    await tx.connection.execute(insert(answer).values(**ids, question=row.question, body=row.body, created_at=row.created_at))


async def get_answer(tx: Transaction, owner: Owner, answer_id: str) -> AnswerRow | None:
    """One of the subject's own answers, or `None`."""
    mine = (answer.c.tenant == owner.tenant, answer.c.subject_id == owner.subject_id, answer.c.answer_id == answer_id)
    row = (await tx.connection.execute(select(answer).where(*mine))).one_or_none()
    return None if row is None else _answer(row)


async def answers_of(tx: Transaction, owner: Owner, conversation_id: str) -> list[AnswerRow]:
    """The subject's own answers in a conversation, oldest first."""
    mine = (answer.c.tenant == owner.tenant, answer.c.subject_id == owner.subject_id, answer.c.conversation_id == conversation_id)
    rows = await tx.connection.execute(select(answer).where(*mine).order_by(answer.c.created_at, answer.c.answer_id))
    return [_answer(row) for row in rows]


async def empty_answers(tx: Transaction, tenant: TenantId, answer_ids: Sequence[str], source: str) -> int:
    """Take text, quotes and digests of passages out of those of some answers that were built from a passage whose id begins with `source`.

    Ids stay, so that they are read as sealed, and the salt, so that whoever kept the text can still show that it was theirs; so does the
    question, their own words. Returns how many were changed: repeated, none.
    """
    statement = select(answer.c.answer_id, answer.c.body).where(answer.c.tenant == tenant, answer.c.answer_id.in_(answer_ids))
    changed = []
    for answer_id, body in await tx.connection.execute(statement):
        emptied = _emptied(body) if any(one["passage_id"].startswith(source) for one in body["passages"]) else body
        changed += [{"emptied_id": answer_id, "emptied": emptied}] if emptied != body else []
    if changed:
        one = update(answer).where(answer.c.answer_id == bindparam("emptied_id")).values(body=bindparam("emptied"))
        await tx.connection.execute(one, changed)
    return len(changed)


async def questions_of(tx: Transaction, owner: Owner, conversation_ids: Sequence[str]) -> dict[str, list[str]]:
    """The subject's own questions in each of some conversations, oldest first."""
    mine = (answer.c.tenant == owner.tenant, answer.c.subject_id == owner.subject_id, answer.c.conversation_id.in_(conversation_ids))
    statement = select(answer.c.conversation_id, answer.c.question).where(*mine).order_by(answer.c.created_at, answer.c.answer_id)
    found: dict[str, list[str]] = {}
    for conversation_id, question in await tx.connection.execute(statement):
        found.setdefault(conversation_id, []).append(question)
    return found


async def list_conversations(tx: Transaction, owner: Owner, before: datetime | None, limit: int) -> list[ConversationRow]:
    """The subject's conversations, latest first."""
    statement = select(conversation).where(*_mine(owner))
    if before is not None:
        statement = statement.where(conversation.c.updated_at < before)
    rows = await tx.connection.execute(statement.order_by(conversation.c.updated_at.desc()).limit(limit))
    return [ConversationRow(row.conversation_id, row.created_at, row.updated_at) for row in rows]


async def delete_conversation(tx: Transaction, owner: Owner, conversation_id: str) -> int:
    """Delete a conversation with its answers and feedback; returns how many answers went, -1 when there is none."""
    answers = [row.answer_id for row in await answers_of(tx, owner, conversation_id)]
    await tx.connection.execute(delete(feedback).where(feedback.c.answer_id.in_(answers)))
    await tx.connection.execute(delete(answer).where(answer.c.answer_id.in_(answers)))
    gone = await tx.connection.execute(delete(conversation).where(*_mine(owner), conversation.c.conversation_id == conversation_id))
    return len(answers) if gone.rowcount == 1 else -1


async def put_feedback(tx: Transaction, owner: Owner, values: dict[str, Any]) -> None:
    """Store a verdict on an answer."""
    await tx.connection.execute(insert(feedback).values(tenant=owner.tenant, subject_id=owner.subject_id, **values))


async def put_access_request(tx: Transaction, owner: Owner, values: dict[str, Any]) -> None:
    """Store a request for access."""
    await tx.connection.execute(insert(access_request).values(tenant=owner.tenant, subject_id=owner.subject_id, **values))


def _emptied(body: dict[str, Any]) -> dict[str, Any]:
    passages = [{"passage_id": one["passage_id"], "rank": one["rank"], "confidence": one["confidence"]} for one in body["passages"]]
    # No digest of what was shown: it would let a reader try values, and with none the answer stays shut whatever is found.
    return {**body, "text": "", "citations": [], "passages": [{**one, "shown_sha256": ""} for one in passages]}


def _mine(owner: Owner) -> tuple[Any, ...]:
    return (conversation.c.tenant == owner.tenant, conversation.c.subject_id == owner.subject_id)


def _answer(row: Row[Any]) -> AnswerRow:
    return AnswerRow(row.answer_id, row.conversation_id, row.question, row.body, row.created_at)
