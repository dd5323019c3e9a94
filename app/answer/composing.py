"""Puts an answer together from what was found and what was written. Pure."""

from dataclasses import replace
from datetime import UTC, datetime

from app.answer.drafting import DraftSentence, cite_passages
from app.answer.record import Writing
from app.answer.retrieval import Evidence
from app.domain.content import Answer, AnswerState, Citation, Grounding, Passage, Receipt
from app.privacy.rendering import hidden_originals

NO_EVIDENCE = "No passage answers this."


def hidden_values(evidence: Evidence) -> tuple[str, ...]:
    """Values hidden from the viewer in any passage: a draft must not hold them."""
    values: dict[str, None] = {}
    for one in evidence.found:
        stored, shown = one.stored, one.shown
        document = stored.document
        parts = [(stored.chunk.text, stored.spans), (document.title, stored.title_spans), (document.source_uri, stored.source_spans)]
        parts += zip(stored.chunk.heading_path, stored.heading_spans, strict=True)
        for text, spans in parts:
            values.update(dict.fromkeys(hidden_originals(text, spans, shown)))
    return tuple(values)


def unwritten(writing: Writing, question: str, evidence: Evidence, planned: tuple[AnswerState, tuple[Passage, ...], Receipt]) -> Answer:
    """The answer before a word is written: its state, passages and the receipt of the intent."""
    state, passages, receipt = planned
    is_refused = state is AnswerState.REFUSED
    return Answer(
        answer_id=writing.answer_id,
        conversation_id=writing.conversation_id,
        question=question,
        state=state,
        text="",
        citations=(),
        passages=passages,
        refusal_code="no_evidence" if is_refused else None,
        refusal_message=NO_EVIDENCE if is_refused else None,
        model=writing.model,
        grounding=Grounding(1.0, ()),
        prompt_tokens=0,
        completion_tokens=0,
        decision_id=evidence.decision.decision_id,
        policy_digest=evidence.decision.policy_digest,
        receipt=receipt,
        degraded=evidence.degraded,
        created_at=datetime.now(UTC),
    )


def written(answer: Answer, spoken: list[DraftSentence], quoted: tuple[Citation, ...]) -> Answer:
    """The answer with its text, or without one when no sentence held."""
    kept = [sentence for sentence in spoken if sentence.is_supported]
    share = len(kept) / len(spoken) if spoken else 0.0
    grounding = Grounding(round(share, 3), tuple(f"sentence {n}" for n, one in enumerate(spoken, 1) if not one.is_supported))
    if not kept:
        return replace(answer, state=AnswerState.CLOSEST_PASSAGES, grounding=grounding)
    citations = quoted if answer.model.kind == "extractive" else cite_passages(kept, answer.passages)
    separator = "\n\n" if answer.model.kind == "extractive" else " "
    return replace(answer, text=separator.join(sentence.text for sentence in kept), citations=citations, grounding=grounding)
