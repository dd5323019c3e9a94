"""Order of the chunks a search found, the same whichever engine found them. Pure; sees scores and ids, never text.

The rule was measured on five labelled sets (docs/retrieval.md): BM25 by the question's own idf weighs a quarter against cosines above the
model's background; half of the dense share is the chunk's own cosine, half that of its best sentence; a document's further good chunks
lift it a little. Rank fusion and scores divided by the best hit lost to it, for both forget how good the best hit is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.content import ChunkId, DocumentId
from app.domain.search import Candidate, Candidates

LEXICAL_WEIGHT = 0.25
"""0.2 to 0.3 is a plateau on every set; without it a company handbook loses eight points of hit@1."""
SENTENCE_SHARE = 0.5
PAGE_PRIOR = 0.1
"""What the second chunk of a document adds to its first; the third and fourth add half and a quarter of that."""
PENDING_SHARE = 0.5
"""Dense evidence a chunk whose vectors are pending is taken to have, by share of the question's words it holds.

Median over the candidates of the handbook questions: 0.31 above the background at half the words, 0.57 at nine tenths. Without it a page
taken in a second ago loses against every weak chunk that has vectors.
"""
_PRIOR_CHUNKS = 3
_PRIOR_DEPTH = 60
"""Only chunks ranked so high count towards their document: long documents must not win by length."""


@dataclass(frozen=True, slots=True)
class RankedChunk:
    """A chunk in its place. `score` orders; `document_score` is the best of its document before the prior. Neither is a probability."""

    candidate: Candidate
    score: float
    document_score: float

    @property
    def chunk_id(self) -> ChunkId:
        """Id of the chunk."""
        return self.candidate.chunk_id

    @property
    def document_id(self) -> DocumentId:
        """Id of its document."""
        return self.candidate.document_id

    @property
    def version(self) -> int:
        """Version the chunk belongs to."""
        return self.candidate.version


def fuse(candidates: Candidates, background: float) -> list[RankedChunk]:
    """Rank candidates, best first. `background` is the model's cosine of unrelated texts. Ties go to the smaller chunk id."""
    pending = PENDING_SHARE if any(item.cosine is not None for item in candidates.items) else 0.0
    scored = [(chunk_score(item, background, pending), item) for item in candidates.items]
    scored.sort(key=lambda pair: (-pair[0], pair[1].chunk_id))
    best, lift = _documents(scored)
    ranked = [RankedChunk(item, score + lift[item.document_id], best[item.document_id]) for score, item in scored]
    return sorted(ranked, key=lambda one: (-one.score, one.chunk_id))


def merge(first: Sequence[RankedChunk], second: Sequence[RankedChunk]) -> list[RankedChunk]:
    """One order out of two searches for the same need: the mean of both scores, 0 where a search did not find the chunk."""
    merged = {one.chunk_id: one for one in second}
    scores = {chunk_id: 0.5 * one.score for chunk_id, one in merged.items()}
    for one in first:
        scores[one.chunk_id] = scores.get(one.chunk_id, 0.0) + 0.5 * one.score
        merged[one.chunk_id] = one
    ranked = [RankedChunk(one.candidate, scores[chunk_id], one.document_score) for chunk_id, one in merged.items()]
    return sorted(ranked, key=lambda one: (-one.score, one.chunk_id))


def chunk_score(candidate: Candidate, background: float, pending_share: float = 0.0) -> float:
    """Score one chunk by itself. Without vectors its words speak, and stand in for them with `pending_share`."""
    lexical = LEXICAL_WEIGHT * candidate.lexical
    if candidate.cosine is None:
        return lexical + (1.0 - LEXICAL_WEIGHT) * pending_share * min(1.0, candidate.lexical)
    sentence = max(candidate.sentence_cosines, default=candidate.cosine)
    own, best = max(0.0, candidate.cosine - background), max(0.0, sentence - background)
    return lexical + (1.0 - LEXICAL_WEIGHT) * ((1.0 - SENTENCE_SHARE) * own + SENTENCE_SHARE * best)


def _documents(scored: Sequence[tuple[float, Candidate]]) -> tuple[dict[DocumentId, float], dict[DocumentId, float]]:
    """Best chunk score of each document, and what its next chunks add; `scored` is sorted, best first."""
    best: dict[DocumentId, float] = {}
    lift: dict[DocumentId, float] = {}
    seen: dict[DocumentId, int] = {}
    for place, (score, item) in enumerate(scored):
        document = item.document_id
        if document not in best:
            best[document], lift[document], seen[document] = score, 0.0, 0
        elif place < _PRIOR_DEPTH and seen[document] < _PRIOR_CHUNKS:
            lift[document] += PAGE_PRIOR * score * 0.5 ** seen[document]
            seen[document] += 1
    return best, lift
