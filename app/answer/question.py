"""AnswerQuestion: find, record, write, check, record, release. Streams what was checked, as it is checked."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace

from uuid_utils import uuid7

from app.answer.breaking_off import record_aborted
from app.answer.composing import hidden_values, unwritten, written
from app.answer.drafting import Brief, DraftSentence, Writer
from app.answer.evidence import Weighed, citations_of, documents_on_record, hits_on_record, passages_of, weigh
from app.answer.record import Writing, aborted, completed, started
from app.answer.retrieval import ANSWER_ACTIONS, Evidence, Retrieval, RetrievalRequest
from app.answer.search import DENIED, query_on_record, receipt_of
from app.answer.storing import answer_to_json, open_conversation
from app.audit.digests import new_salt
from app.audit.ends import record_end
from app.audit.events import by_caller, decided
from app.audit.log import AuditLog
from app.domain.access import Action, Outcome
from app.domain.audit import EventType
from app.domain.content import Answer, AnswerState, EvidenceState, Passage, Receipt
from app.domain.identity import Caller
from app.domain.search import Calibration, SearchLimits
from app.errors import AccessDeniedError, NotFoundError, UpstreamUnavailableError
from app.observability import ANSWERS, RETRIEVALS
from app.storage import conversation_rows
from app.storage.conversation_rows import AnswerRow, Owner
from app.storage.transaction import Database

NO_EVIDENCE = "No passage answers this."
_GIVEN_UP = "This answer took so long that it was given up. Ask again."
CLOSED = "A source of this answer was closed to you while it was written. Ask again."


@dataclass(frozen=True, slots=True)
class Question:
    """A question. `top_k` passages come with the answer; `conversation_id` continues the caller's own conversation."""

    text: str
    limits: SearchLimits
    top_k: int = 8
    conversation_id: str | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """The intent is on record; passages and sentences follow."""

    answer_id: str
    receipt: Receipt
    passages: tuple[Passage, ...]


@dataclass(frozen=True, slots=True)
class Spoken:
    """One checked sentence."""

    text: str
    citations: tuple[int, ...]


AnswerEvent = Started | Spoken | Answer


@dataclass(frozen=True)
class AnswerQuestion:
    """Answers from passages the caller may read. Powers: retrieval, a writer, the log, the caller's conversations."""

    database: Database
    retrieval: Retrieval
    writer: Writer
    audit: AuditLog
    calibration: Calibration
    digest_key: bytes
    needs: tuple[Action, ...] = ANSWER_ACTIONS

    async def run(self, caller: Caller, question: Question) -> AsyncGenerator[AnswerEvent, None]:
        """`Started`, then `Spoken` sentences, then the whole `Answer`; a question without evidence gives the answer alone.

        Raises AccessDeniedError (recorded), AuditUnavailableError and UpstreamUnavailableError; nothing follows an error. A run
        that is broken off leaves `generation.aborted` on record.
        """
        conversation_id, earlier = await open_conversation(self.database, _owner(caller), question.conversation_id)
        request = RetrievalRequest(caller.subject, question.text, question.limits, self.needs, earlier, question.top_k)
        evidence, weighed = await self._find(request)
        if evidence.decision.outcome is Outcome.DENY:
            await self._deny(caller, question, evidence)
        passages, citations = passages_of(weighed), citations_of(weighed, passages_of(weighed))
        writing = Writing(f"ans_{uuid7()}", conversation_id, new_salt(), self.writer.model, question.conversation_id is not None)
        state = AnswerState.ANSWERED if weighed.state is EvidenceState.FOUND else AnswerState.CLOSEST_PASSAGES
        if weighed.state is EvidenceState.NOTHING or not citations:
            state, passages = AnswerState.REFUSED, ()
        receipt = await self._record_intent(caller, question, evidence, (state, passages, writing))
        answer = unwritten(writing, question.text, evidence, (state, passages, receipt))
        if state is not AnswerState.ANSWERED:
            yield await self._release(caller, evidence, answer, writing)
            return
        brief = Brief(question.text, passages, citations, hidden_values(evidence))
        spoken: list[DraftSentence] = []
        try:
            yield Started(answer.answer_id, receipt, passages)
            async for sentence in self.writer.write(brief):
                spoken.append(sentence)
                if sentence.is_supported:
                    yield Spoken(sentence.text, sentence.citations)
            answer = await self._release(caller, evidence, written(answer, spoken, citations), writing)
        except BaseException:
            await record_aborted(self.database, self.audit, by_caller(caller, aborted(evidence.decision, writing, passages)))
            raise
        yield answer

    async def _find(self, request: RetrievalRequest) -> tuple[Evidence, Weighed]:
        """Evidence and its weight. A follow-up that leaves out its subject is weighed together with the question before it."""
        evidence = await self.retrieval.find(request)
        weighed = weigh(evidence, self.calibration, request.n_wanted)
        if not request.earlier_question or weighed.state is EvidenceState.FOUND:
            return evidence, weighed
        wider = await self.retrieval.find(replace(request, text=f"{request.earlier_question} {request.text}", earlier_question=""))
        together = weigh(wider, self.calibration, request.n_wanted)
        return (wider, together) if together.confidence > weighed.confidence else (evidence, weighed)

    async def _deny(self, caller: Caller, question: Question, evidence: Evidence) -> None:
        RETRIEVALS.labels("denied").inc()
        fields = query_on_record(self.digest_key, caller, question.text, evidence)
        await self.audit.record(by_caller(caller, decided(EventType.RETRIEVAL_DENIED, evidence.decision, (), fields)))
        raise AccessDeniedError(DENIED, decision_id=evidence.decision.decision_id)

    async def _record_intent(
        self, caller: Caller, question: Question, evidence: Evidence, planned: tuple[AnswerState, tuple[Passage, ...], Writing]
    ) -> Receipt:
        state, passages, writing = planned
        fields = query_on_record(self.digest_key, caller, question.text, evidence)
        fields |= {"top_k": question.top_k, "state": state.value, "hits": hits_on_record(passages)}
        retrieved = decided(EventType.RETRIEVAL_EXECUTED, evidence.decision, documents_on_record(passages), fields)
        events = [by_caller(caller, retrieved)]
        if state is AnswerState.ANSWERED:
            events.append(by_caller(caller, started(evidence.decision, writing, passages)))
        entries = await self.audit.record(*events)
        RETRIEVALS.labels(state.value).inc()
        return receipt_of(entries[-1])

    async def _release(self, caller: Caller, evidence: Evidence, answer: Answer, writing: Writing) -> Answer:
        """Record completion and keep the answer in one transaction; only then it leaves.

        A model may have written for minutes: what it was given must be open still, and nothing in it be hidden from the caller by now.
        Raises AccessDeniedError otherwise.
        """
        owner, given = _owner(caller), {one.passage_id for one in answer.passages}
        sources = [one for one in evidence.found if one.stored.chunk.chunk_id in given]
        async with self.database.write() as tx:
            if not await self.retrieval.are_granted(tx, caller.subject, self.needs, sources):
                raise AccessDeniedError(CLOSED)
            entry = await record_end(tx, self.audit, by_caller(caller, completed(answer, writing)))
            if entry is None:
                raise UpstreamUnavailableError(_GIVEN_UP)
            answer = replace(answer, receipt=receipt_of(entry))
            row = AnswerRow(
                answer.answer_id, answer.conversation_id, answer.question, answer_to_json(answer, writing.salt), answer.created_at
            )
            if not await conversation_rows.touch(tx, owner, answer.conversation_id, answer.created_at):
                if writing.continues:
                    # Deleted meanwhile: it must not come back with its next answer.
                    raise NotFoundError
                await conversation_rows.create(tx, owner, answer.conversation_id, answer.created_at)
            await conversation_rows.put_answer(tx, owner, row)
        ANSWERS.labels(answer.state.value).inc()
        return answer


def _owner(caller: Caller) -> Owner:
    return Owner(caller.subject.tenant, caller.subject.subject_id)
