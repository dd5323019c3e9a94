"""What the log keeps of a generation: model, context and commitments, never text."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.answer.evidence import documents_on_record, hits_on_record
from app.audit.digests import commitment
from app.audit.events import Happening, decided
from app.domain.access import Decision
from app.domain.audit import EventType, JsonValue, Reference
from app.domain.content import Answer, ModelUse, Passage


@dataclass(frozen=True, slots=True)
class Writing:
    """One answer in the making. `salt` opens the commitment in the log and stays with the answer.

    `continues` tells that the conversation was there before.
    """

    answer_id: str
    conversation_id: str
    salt: str
    model: ModelUse
    continues: bool = False


def started(decision: Decision, writing: Writing, passages: Sequence[Passage]) -> Happening:
    """The intent, committed before the first sentence."""
    return decided(EventType.GENERATION_STARTED, decision, _references(writing, passages), _fields(writing, passages))


def aborted(decision: Decision, writing: Writing, passages: Sequence[Passage]) -> Happening:
    """A generation that did not come to its end."""
    return decided(EventType.GENERATION_ABORTED, decision, _references(writing, passages), _fields(writing, ()))


def completed(answer: Answer, writing: Writing) -> Happening:
    """The end: what was answered from which passages, with a commitment to the text; or that no answer was written."""
    was_written = bool(answer.text) or answer.grounding.supported_share < 1.0
    kind = EventType.GENERATION_COMPLETED if was_written else EventType.ANSWER_WITHHELD
    citations: list[JsonValue] = [{"n": one.n, "passage": one.passage_id, "start": one.start, "end": one.end} for one in answer.citations]
    fields = _fields(writing, answer.passages) | {
        "state": answer.state.value,
        "citations": citations,
        "supported_share": answer.grounding.supported_share,
        "unsupported": len(answer.grounding.unsupported),
        "answer_chars": len(answer.text),
        "answer_commitment": commitment(writing.salt, answer.text),
        "decision_id": answer.decision_id,
    }
    references = _references(writing, answer.passages)
    return Happening(kind, policy_digest=answer.policy_digest, references=references, fields=fields)


def _fields(writing: Writing, passages: Sequence[Passage]) -> dict[str, JsonValue]:
    return {"model": writing.model.name, "model_kind": writing.model.kind, "context": hits_on_record(passages)}


def _references(writing: Writing, passages: Sequence[Passage]) -> list[Reference]:
    own = [Reference("answer", writing.answer_id), Reference("conversation", writing.conversation_id)]
    return [*own, *documents_on_record(passages)]
