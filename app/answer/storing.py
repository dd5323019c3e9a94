"""The stored form of an answer, and the conversation it belongs to."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from uuid_utils import uuid7

from app.audit.digests import content_digest
from app.domain.content import Answer
from app.errors import NotFoundError
from app.storage import conversation_rows
from app.storage.conversation_rows import Owner
from app.storage.transaction import Database


def answer_to_json(answer: Answer, salt: str) -> dict[str, Any]:
    """An answer as JSON values, with the salt that opens its commitment; passages keep no text: it is rendered anew on reading."""
    body = dataclasses.asdict(answer)
    body["created_at"] = answer.created_at.isoformat()
    body["salt"] = salt
    body["passages"] = [
        {
            "passage_id": one.passage_id,
            "rank": one.rank,
            "confidence": one.confidence,
            "shown_sha256": shown_digest(one.title, one.source_uri, one.heading_path, one.text),
        }
        for one in answer.passages
    ]
    return body


def shown_digest(title: str, source_uri: str, headings: Sequence[str], text: str) -> str:
    """Digest of a passage as a viewer was shown it: an answer written from more than they may see now stays shut."""
    return content_digest(json.dumps([title, source_uri, list(headings), text]))


async def open_conversation(database: Database, owner: Owner, conversation_id: str | None) -> tuple[str, str]:
    """(conversation id, the question before this one or ``). Raises NotFoundError for a conversation that is not the owner's."""
    if conversation_id is None:
        return f"cnv_{uuid7()}", ""
    async with database.read() as tx:
        answers = await conversation_rows.answers_of(tx, owner, conversation_id)
    if not answers:
        raise NotFoundError
    return conversation_id, answers[-1].question
