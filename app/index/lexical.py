"""BM25 over what a filter grants, and nothing else: document frequency, average length and idf are counted inside the grant.

Okapi BM25 (Robertson and Zaragoza 2009, The Probabilistic Relevance Framework) with Lucene's idf, k1 1.2 and b 0.75. Sums run over the
question's words in order, so equal counts give bit-equal scores whatever else the index holds.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.domain.search import Visibility
from app.index.segment import Postings, Rows
from app.index.snapshot import Grant, GrantedPart
from app.index.words import is_stop_word, split_words, stems

K1 = 1.2
B = 0.75
_MOST_WORDS = 64
"""Words of a question that are scored; a pasted page must not hold a worker."""

Counts = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LexicalScores:
    """BM25 divided by the idf sum of the question's words: one array per granted part, one number per row (0 where no word matches).

    `weights` is idf by word and `found` the number of granted chunks that hold it.
    """

    scores: tuple[NDArray[np.float64], ...]
    weights: dict[str, float]
    found: dict[str, int]


def question_words(text: str, grant: Grant) -> list[str]:
    """Distinct words of a question, without those that are stop words in every language granted (in English when none is)."""
    return searched_words(text, [language for _, language in grant.languages])


def searched_words(text: str, languages: Sequence[str]) -> list[str]:
    """The same for the two-letter codes of the languages granted."""
    distinct = dict.fromkeys(split_words(text))
    return [word for word in distinct if not all(is_stop_word(word, language) for language in languages or ["en"])][:_MOST_WORDS]


def score_words(grant: Grant, words: Sequence[str], visible: Visibility) -> LexicalScores:
    """Score every granted chunk against a question's words; guarded words count only where `visible` shows their entity type."""
    scores = tuple(np.zeros(len(part.segment), np.float64) for part in grant.parts)
    average = grant.n_words / grant.n_chunks if grant.n_words else 1.0
    weights: dict[str, float] = {}
    found: dict[str, int] = {}
    for word in words:
        hits = [_occurrences(part, grant, word, visible) for part in grant.parts]
        found[word] = sum(len(rows) for rows, _ in hits)
        weights[word] = idf(found[word], grant.n_chunks)
        for part, score, (rows, counts) in zip(grant.parts, scores, hits, strict=True):
            length = part.segment.length[rows]
            score[rows] += weights[word] * counts * (K1 + 1.0) / (counts + K1 * (1.0 - B + B * length / average))
    total = sum(weights.values()) or 1.0
    return LexicalScores(tuple(score / total for score in scores), weights, found)


def count_chunks(grant: Grant, word: str, visible: Visibility) -> int:
    """Count granted chunks that hold a surface word where this viewer sees it."""
    total = 0
    for part in grant.parts:
        code = part.segment.vocabulary.get(word)
        if code is not None:
            total += len(_gathered([_granted_list(part, part.segment.open, code), _shown_list(part, grant, code, visible)])[0])
    return total


def idf(found: int, n_chunks: int) -> float:
    """Weigh a word by how many of the granted chunks hold it (Lucene's form, never negative)."""
    return math.log(1.0 + (n_chunks - found + 0.5) / (found + 0.5))


def term_weight(count: int, length: int, average: float) -> float:
    """BM25's part of a word's count in a chunk: what is multiplied by its idf."""
    return count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length / average))


def _occurrences(part: GrantedPart, grant: Grant, word: str, visible: Visibility) -> tuple[Rows, Counts]:
    """Rows that hold a word or another of its stem, each by the stemmer of its own document's language, with how often."""
    return _gathered(list(_lists(part, grant, word, visible)))


def _lists(part: GrantedPart, grant: Grant, word: str, visible: Visibility) -> Iterator[tuple[Rows, Counts]]:
    for code, language in grant.languages:
        if is_stop_word(word, language):
            continue
        for surface in part.segment.words_like(stems([word], language)[0], language):
            for rows, counts in (_granted_list(part, part.segment.open, surface), _shown_list(part, grant, surface, visible)):
                own = part.here.language[rows] == code if len(grant.languages) > 1 else slice(None)
                yield rows[own], counts[own]


def _granted_list(part: GrantedPart, postings: Postings, word: int) -> tuple[Rows, Counts]:
    place = postings.of(word)
    rows, counts = postings.rows[place], postings.counts[place]
    keep = part.keep[rows]
    return rows[keep], counts[keep].astype(np.float64)


def _shown_list(part: GrantedPart, grant: Grant, word: int, visible: Visibility) -> tuple[Rows, Counts]:
    """Granted postings of a guarded word, in documents whose (collection, label) shows its entity type to this viewer."""
    postings = part.segment.guarded
    place = postings.of(word)
    rows, counts, types = postings.rows[place], postings.counts[place], postings.types[place]
    if not len(rows):
        return rows, counts.astype(np.float64)
    shown = grant.shown(part.segment.entity_types, visible)
    keep = part.keep[rows]
    keep[keep] = shown[part.here.pair[rows[keep]], types[keep]]
    return rows[keep], counts[keep].astype(np.float64)


def _gathered(lists: list[tuple[Rows, Counts]]) -> tuple[Rows, Counts]:
    """Add up counts of the same row over several lists."""
    filled = [item for item in lists if len(item[0])]
    if len(filled) == 1:
        return _one_per_row(*filled[0])
    if not filled:
        return np.zeros(0, np.int32), np.zeros(0, np.float64)
    return _one_per_row(np.concatenate([rows for rows, _ in filled]), np.concatenate([counts for _, counts in filled]))


def _one_per_row(rows: Rows, counts: Counts) -> tuple[Rows, Counts]:
    # One surface word's list is ascending and distinct; guarded lists may name a row once per entity type.
    if len(rows) < 2 or bool(np.all(rows[1:] > rows[:-1])):  # noqa: PLR2004 - a single entry has no neighbour
        return rows, counts
    distinct, place = np.unique(rows, return_inverse=True)
    return distinct, np.bincount(place, weights=counts).astype(np.float64)
