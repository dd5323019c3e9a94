"""From a retrieval to what may be shown: quotes, confidence, passages, and the fields of the record. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.answer.quotes import QuotablePassage, Quote, choose_quotes, confidence, evidence_state
from app.answer.retrieval import Evidence, Found
from app.audit.digests import content_digest
from app.domain.audit import JsonValue, Reference
from app.domain.content import Citation, EvidenceState, Passage
from app.domain.search import Calibration


@dataclass(frozen=True, slots=True)
class Weighed:
    """Evidence with its quotes. `order` lists found passages as they are shown: ranks follow it."""

    state: EvidenceState
    confidence: float
    quotes: tuple[Quote, ...]
    found: tuple[Found, ...]
    own_confidence: tuple[float, ...]


def weigh(evidence: Evidence, calibration: Calibration, n_shown: int) -> Weighed:
    """Choose quotes over all found passages and weigh the evidence. Every quoted passage is among the `n_shown` first."""
    quotable = [_quotable(one) for one in evidence.found]
    chosen = choose_quotes(evidence.question, evidence.term_weights, quotable)
    value = confidence(chosen.raw, calibration) if evidence.found else 0.0
    state = evidence_state(value, calibration) if evidence.found else EvidenceState.NOTHING
    quoted = {quote.passage for quote in chosen.quotes}
    order = [number for number in range(len(evidence.found)) if number < n_shown or number in quoted]
    while len(order) > n_shown and (spare := next((n for n in reversed(order) if n not in quoted), None)) is not None:
        order.remove(spare)
    place = {number: position for position, number in enumerate(order)}
    best = max((one.ranked.score for one in evidence.found), default=1.0) or 1.0
    return Weighed(
        state,
        value,
        tuple(Quote(place[quote.passage], quote.start, quote.end) for quote in chosen.quotes),
        tuple(evidence.found[number] for number in order),
        tuple(value * max(0.0, min(1.0, evidence.found[number].ranked.score / best)) for number in order),
    )


def passages_of(weighed: Weighed) -> tuple[Passage, ...]:
    """Passages as the viewer gets them, rank from 1."""
    return tuple(_passage(one, rank, own) for rank, (one, own) in enumerate(zip(weighed.found, weighed.own_confidence, strict=True), 1))


def citations_of(weighed: Weighed, passages: Sequence[Passage]) -> tuple[Citation, ...]:
    """One citation a quote, numbered from 1, verbatim in the passage's rendered text."""
    cited = []
    for n, quote in enumerate(weighed.quotes, 1):
        passage = passages[quote.passage]
        cited.append(
            Citation(
                n=n,
                passage_id=passage.passage_id,
                document_id=passage.document_id,
                version=passage.version,
                title=passage.title,
                source_uri=passage.source_uri,
                quote=passage.text[quote.start : quote.end],
                start=quote.start,
                end=quote.end,
            )
        )
    return tuple(cited)


def hits_on_record(passages: Sequence[Passage]) -> list[JsonValue]:
    """What the log keeps of released passages: ids, digests and counts of hidden spans by type, never text."""
    return [
        {
            "document": passage.document_id,
            "version": passage.version,
            "passage": passage.passage_id,
            "rank": passage.rank,
            "label": passage.label,
            "content_sha256": content_digest(passage.text),
            "hidden": _counted([span.entity_type for span in passage.hidden]),
        }
        for passage in passages
    ]


def documents_on_record(passages: Sequence[Passage]) -> list[Reference]:
    """References to every released document version."""
    documents = dict.fromkeys(passage.document_id for passage in passages)
    return [Reference("document", document_id) for document_id in documents]


def _quotable(found: Found) -> QuotablePassage:
    ranges = tuple(found.text.locate(sentence.start, sentence.end) for sentence in found.stored.chunk.sentences)
    around = " ".join((found.title, *found.headings))
    return QuotablePassage(found.ranked, found.text.text, ranges, around, found.stored.document.language)


def _passage(found: Found, rank: int, own_confidence: float) -> Passage:
    document = found.stored.document
    return Passage(
        passage_id=found.stored.chunk.chunk_id,
        document_id=document.document_id,
        version=found.stored.version,
        collection=document.collection,
        label=document.label,
        title=found.title,
        source_uri=found.source_uri,
        heading_path=found.headings,
        text=found.text.text,
        hidden=found.text.hidden,
        rank=rank,
        confidence=round(own_confidence, 4),
        language=document.language,
    )


def _counted(types: Sequence[str]) -> dict[str, JsonValue]:
    return {kind: types.count(kind) for kind in sorted(set(types))}
