"""ReadHistory: a person's own conversations. Every source is authorised again on each read; what no longer holds is sealed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from app.answer.ranking import RankedChunk
from app.answer.retrieval import SEARCH_ACTIONS, Found, render_all
from app.answer.search import receipt_of
from app.answer.storing import shown_digest
from app.audit.events import Happening, by_caller, decided
from app.audit.log import AuditLog
from app.domain.access import Action, Outcome
from app.domain.audit import EventType, Reference
from app.domain.content import ChunkId, DocumentId
from app.domain.identity import Caller
from app.domain.search import Candidate
from app.errors import AccessDeniedError, NotFoundError
from app.policy.book import PolicyBook
from app.policy.snapshot import gateway_resource
from app.privacy.book import RedactionBook
from app.storage import conversation_rows, passage_rows
from app.storage.conversation_rows import AnswerRow, ConversationRow, Owner
from app.storage.transaction import Database

SEALED_SOURCE = "source_not_open"
SEALED_RENDERING = "rendering_changed"
DELIVERED_WITHIN = timedelta(minutes=5)
"""So long an answer's own page is how it arrives; later it is history."""


@dataclass(frozen=True, slots=True)
class ReopenedAnswer:
    """An earlier answer as it may be read now. When `sealed_because` is set, text, citations and passages stay shut."""

    row: AnswerRow
    sealed_because: str | None
    passages: Mapping[ChunkId, Found]
    receipt_id: str = ""
    """Of the record of this reading, not of the answer's own."""


@dataclass(frozen=True, slots=True)
class Line:
    """A conversation in a list, with its first question."""

    conversation: ConversationRow
    question: str
    n_answers: int


@dataclass(frozen=True)
class ReadHistory:
    """Reads and deletes a caller's own conversations. Powers: policy, rendering, the register, the log.

    Reading back raises AccessDeniedError, recorded, without the right `history.read`.
    """

    database: Database
    policy: PolicyBook
    redaction: RedactionBook
    audit: AuditLog

    async def answer(self, caller: Caller, answer_id: str) -> ReopenedAnswer:
        """One of the caller's answers. Raises NotFoundError. Recorded before it leaves."""
        async with self.database.read() as tx:
            row = await conversation_rows.get_answer(tx, _owner(caller), answer_id)
            now = await tx.now()
        if row is None:
            raise NotFoundError
        if row.created_at < now - DELIVERED_WITHIN:
            await self._require(caller)
        return (await self._reopen(caller, [row]))[0]

    async def conversation(self, caller: Caller, conversation_id: str) -> list[ReopenedAnswer]:
        """Every answer of a conversation of the caller's, oldest first. Raises NotFoundError. Recorded before they leave."""
        await self._require(caller)
        async with self.database.read() as tx:
            rows = await conversation_rows.answers_of(tx, _owner(caller), conversation_id)
        if not rows:
            raise NotFoundError
        return await self._reopen(caller, rows)

    async def listed(self, caller: Caller, before: datetime | None, limit: int) -> list[Line]:
        """The caller's conversations, latest first. Their questions are the caller's own words."""
        await self._require(caller)
        owner = _owner(caller)
        async with self.database.read() as tx:
            conversations = await conversation_rows.list_conversations(tx, owner, before, limit)
            questions = await conversation_rows.questions_of(tx, owner, [one.conversation_id for one in conversations])
        return [Line(one, asked[0], len(asked)) for one in conversations if (asked := questions.get(one.conversation_id))]

    async def delete(self, caller: Caller, conversation_id: str) -> None:
        """Delete a conversation of the caller's; the log keeps that it existed. Raises NotFoundError."""
        async with self.database.write() as tx:
            count = await conversation_rows.delete_conversation(tx, _owner(caller), conversation_id)
            if count >= 0:
                refs = (Reference("conversation", conversation_id),)
                happening = Happening(EventType.CONVERSATION_DELETED, references=refs, fields={"answers": count})
                await self.audit.record_in(tx, by_caller(caller, happening))
        if count < 0:
            raise NotFoundError

    async def _require(self, caller: Caller) -> None:
        async with self.database.read() as tx:
            snapshot = await self.policy.current(tx, caller.subject.tenant)
        decision = snapshot.decide(caller.subject, Action.HISTORY_READ, gateway_resource(caller.subject.tenant))
        if decision.outcome is Outcome.ALLOW:
            return
        refused = decided(EventType.ACTION_DENIED, decision, (), {"action": Action.HISTORY_READ.value})
        await self.audit.record(by_caller(caller, refused))
        message = f"You do not have the right `{Action.HISTORY_READ}`."
        raise AccessDeniedError(message, decision_id=decision.decision_id)

    async def _reopen(self, caller: Caller, rows: Sequence[AnswerRow]) -> list[ReopenedAnswer]:
        subject = caller.subject
        wanted = list(dict.fromkeys(ChunkId(one["passage_id"]) for row in rows for one in row.body["passages"]))
        async with self.database.read() as tx:
            snapshot = await self.policy.current(tx, subject.tenant)
            stored = await passage_rows.stored_passages(tx, subject.tenant, wanted)
        present = [one for one in wanted if one in stored]
        verdicts = snapshot.permits_all(subject, SEARCH_ACTIONS, [stored[one].document.resource() for one in present])
        open_ids = [one for one, permitted in zip(present, verdicts, strict=True) if permitted]
        redaction = self.redaction.of(snapshot.digest, snapshot.redaction_text)
        rendered = render_all(
            snapshot, subject, redaction, [(_unranked(one, stored[one].document.document_id), stored[one]) for one in open_ids]
        )
        found = dict(zip(open_ids, rendered, strict=True))
        reopened = [ReopenedAnswer(row, _seal(row.body, found), found) for row in rows]
        happenings = [_reread(one, snapshot.digest) for one in reopened]
        entries = await self.audit.record(*(by_caller(caller, one) for one in happenings))
        return [replace(one, receipt_id=receipt_of(entry).receipt_id) for one, entry in zip(reopened, entries, strict=True)]


def _seal(body: Mapping[str, Any], found: Mapping[ChunkId, Found]) -> str | None:
    """Why an answer stays shut, or `None`: every passage it was built from must be open, and look to the reader as it did then."""
    if any(ChunkId(one["passage_id"]) not in found for one in body["passages"]):
        return SEALED_SOURCE
    for one in body["passages"]:
        now = found[ChunkId(one["passage_id"])]
        if shown_digest(now.title, now.source_uri, now.headings, now.text.text) != one["shown_sha256"]:
            return SEALED_RENDERING
    return None


def _reread(one: ReopenedAnswer, policy_digest: str) -> Happening:
    shown = [one.passages[ChunkId(part["passage_id"])] for part in one.row.body["passages"]] if one.sealed_because is None else []
    documents = dict.fromkeys(found.stored.document.document_id for found in shown)
    refs = [Reference("answer", one.row.answer_id), Reference("conversation", one.row.conversation_id)]
    refs += [Reference("document", document_id) for document_id in documents]
    fields = {"sealed": one.sealed_because}
    return Happening(EventType.ANSWER_REREAD, policy_digest=policy_digest, references=refs, fields=fields)


def _unranked(chunk_id: ChunkId, document_id: DocumentId) -> RankedChunk:
    return RankedChunk(Candidate(chunk_id, document_id, 0, 0.0, None), 0.0, 0.0)


def _owner(caller: Caller) -> Owner:
    return Owner(caller.subject.tenant, caller.subject.subject_id)
