"""SearchPassages: decide, find, weigh, record, release."""

from dataclasses import dataclass

from app.answer.evidence import documents_on_record, hits_on_record, passages_of, weigh
from app.answer.retrieval import SEARCH_ACTIONS, Evidence, Retrieval, RetrievalRequest
from app.answer.storing import open_conversation
from app.audit.digests import keyed_digest
from app.audit.events import by_caller, decided
from app.audit.log import AuditLog
from app.domain.access import Outcome
from app.domain.audit import EventType, JsonValue, LogEntry
from app.domain.content import EvidenceState, Receipt, SearchResult
from app.domain.identity import Caller
from app.domain.search import Calibration, SearchLimits
from app.errors import AccessDeniedError
from app.observability import RETRIEVALS
from app.storage.conversation_rows import Owner

DENIED = "No document is open to you for this purpose."


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A question for passages. `top_k` is 1 to 50."""

    query: str
    limits: SearchLimits
    top_k: int = 10
    conversation_id: str | None = None


@dataclass(frozen=True)
class SearchPassages:
    """Finds passages for a caller. Powers: retrieval, the log."""

    retrieval: Retrieval
    audit: AuditLog
    calibration: Calibration
    digest_key: bytes

    async def run(self, caller: Caller, request: SearchRequest) -> SearchResult:
        """Rendered passages with their receipt.

        Raises AccessDeniedError (recorded) when nothing at all is open to the caller, AuditUnavailableError when the record
        could not be committed: then no passage leaves.
        """
        earlier = ""
        if request.conversation_id is not None:
            owner = Owner(caller.subject.tenant, caller.subject.subject_id)
            _, earlier = await open_conversation(self.retrieval.database, owner, request.conversation_id)
        wanted = RetrievalRequest(caller.subject, request.query, request.limits, SEARCH_ACTIONS, earlier, request.top_k)
        evidence = await self.retrieval.find(wanted)
        fields = query_on_record(self.digest_key, caller, request.query, evidence)
        if evidence.decision.outcome is Outcome.DENY:
            RETRIEVALS.labels("denied").inc()
            await self.audit.record(by_caller(caller, decided(EventType.RETRIEVAL_DENIED, evidence.decision, (), fields)))
            raise AccessDeniedError(DENIED, decision_id=evidence.decision.decision_id)
        weighed = weigh(evidence, self.calibration, request.top_k)
        passages = passages_of(weighed)
        fields |= {"top_k": request.top_k, "state": weighed.state.value, "hits": hits_on_record(passages)}
        happening = decided(EventType.RETRIEVAL_EXECUTED, evidence.decision, documents_on_record(passages), fields)
        [entry] = await self.audit.record(by_caller(caller, happening))
        RETRIEVALS.labels(weighed.state.value).inc()
        return SearchResult(
            passages=passages,
            state=weighed.state if passages else EvidenceState.NOTHING,
            decision_id=evidence.decision.decision_id,
            policy_digest=evidence.decision.policy_digest,
            receipt=receipt_of(entry),
            degraded=evidence.degraded,
        )


def query_on_record(key: bytes, caller: Caller, text: str, evidence: Evidence) -> dict[str, JsonValue]:
    """What the log keeps of a question: a keyed digest and its length, and how the search went."""
    return {
        "query_hmac": keyed_digest(key, caller.subject.tenant, text),
        "query_chars": len(text),
        "considered": evidence.considered,
        "redaction_digest": evidence.redaction_digest,
        "degraded": list(evidence.degraded),
    }


def receipt_of(entry: LogEntry) -> Receipt:
    """Where the record stands."""
    return Receipt(f"rcp_{entry.event_id}", entry.log, entry.index, entry.leaf_hash.hex())
