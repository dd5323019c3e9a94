"""Measures over finished answers and ranked lists, for `portcullis eval`. Pure: rows in, numbers out; asks no index and no model.

nDCG and recall are those of trec_eval and BEIR: linear gain, log2 discount, unjudged counts as not relevant. How facts are compared is
told in the README of the question sets: lower-cased, spaces ignored, digits for number words, numbers only at digit borders.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

_UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_VALUES = {word: value for value, word in enumerate(_UNITS)} | {word: 10 * value for value, word in enumerate(_TENS, 2)}
_COMPOUND = re.compile(rf"\b({'|'.join(_TENS)})[- ]({'|'.join(_UNITS[1:10])})\b")
_NUMBER_WORD = re.compile(rf"\b({'|'.join(_VALUES)})\b")
_KEPT_SHARE = 0.95


@dataclass(frozen=True, slots=True)
class AnsweredQuestion:
    """One question of a set with what came back. `documents` are in ranked order, each once; `texts` are the cited passages' texts."""

    gold_documents: frozenset[str]
    facts: tuple[str, ...]
    documents: tuple[str, ...]
    quotes: tuple[str, ...]
    texts: tuple[str, ...]
    confidence: float

    @property
    def is_answerable(self) -> bool:
        """Whether some document of the corpus answers it."""
        return bool(self.gold_documents)


@dataclass(frozen=True, slots=True)
class RankedQuery:
    """One query of a BEIR set: judged relevance by document, and documents as ranked."""

    relevance: Mapping[str, int]
    documents: tuple[str, ...]


def retrieval_measures(queries: Sequence[RankedQuery]) -> dict[str, float]:
    """Give the means of nDCG@10, recall@20 and reciprocal rank at 10 over queries with a relevant document."""
    judged = [query for query in queries if any(value > 0 for value in query.relevance.values())]
    return {
        "queries": float(len(judged)),
        "ndcg@10": _mean(ndcg(query.documents, query.relevance) for query in judged),
        "recall@20": _mean(recall(query.documents, query.relevance) for query in judged),
        "mrr@10": _mean(_reciprocal_rank(query, 10) for query in judged),
    }


def answer_measures(rows: Sequence[AnsweredQuestion]) -> dict[str, float]:
    """Give the measures of an answer set: hits, facts held, quotes that stand verbatim, and how well confidence tells the unanswerable."""
    real = [row for row in rows if row.is_answerable]
    kept, refused = [row.confidence for row in real], [row.confidence for row in rows if not row.is_answerable]
    quotes = [(quote, row.texts) for row in rows for quote in row.quotes]
    return {
        "questions": float(len(rows)),
        **{f"hit@{depth}": _mean(_hit_rank(row) < depth for row in real) for depth in (1, 5, 10)},
        "mrr": _mean(1.0 / (1 + _hit_rank(row)) for row in real),
        "facts_in_quotes": _mean(all(any(holds(fact, quote) for quote in row.quotes) for fact in row.facts) for row in real),
        "quotes_verbatim": _mean(any(quote in text for text in texts) for quote, texts in quotes),
        "abstention_auroc": auroc(kept, refused),
        "refused_at_95_kept": _refused(kept, refused),
    }


def ndcg(documents: Sequence[str], relevance: Mapping[str, int], depth: int = 10) -> float:
    """Compute the normalized discounted cumulative gain of a ranked list, 0..1."""
    gain = sum(max(relevance.get(document, 0), 0) / math.log2(place + 2) for place, document in enumerate(documents[:depth]))
    best = sorted((value for value in relevance.values() if value > 0), reverse=True)[:depth]
    ideal = sum(value / math.log2(place + 2) for place, value in enumerate(best))
    return gain / ideal if ideal else 0.0


def recall(documents: Sequence[str], relevance: Mapping[str, int], depth: int = 20) -> float:
    """Compute the share of the relevant documents among the first `depth`."""
    relevant = {document for document, value in relevance.items() if value > 0}
    return len(relevant.intersection(documents[:depth])) / len(relevant) if relevant else 0.0


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Compute the probability that a positive scores above a negative, ties counting half; NaN when either is empty."""
    if not positive or not negative:
        return math.nan
    wins = sum((high > low) + 0.5 * (high == low) for high in positive for low in negative)
    return wins / (len(positive) * len(negative))


def holds(fact: str, text: str) -> bool:
    """Tell whether a text holds a fact under the folding rules of the question sets."""
    folded = re.sub(r"\s+", "", _folded(fact))
    if not folded:
        return False
    pattern = r"\s*".join(re.escape(letter) for letter in folded)
    before, after = ("(?<!\\d)" if folded[0].isdigit() else ""), ("(?!\\d)" if folded[-1].isdigit() else "")
    return re.search(before + pattern + after, _folded(text)) is not None


def _folded(text: str) -> str:
    lowered = text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    joined = _COMPOUND.sub(lambda match: str(_VALUES[match[1]] + _VALUES[match[2]]), lowered)
    return _NUMBER_WORD.sub(lambda match: str(_VALUES[match[1]]), joined)


def _hit_rank(row: AnsweredQuestion) -> float:
    """Rank of the first gold document from 0, infinite when there is none."""
    return next((place for place, document in enumerate(row.documents) if document in row.gold_documents), math.inf)


def _reciprocal_rank(query: RankedQuery, depth: int) -> float:
    ranks = (place for place, document in enumerate(query.documents[:depth], 1) if query.relevance.get(document, 0) > 0)
    return 1.0 / next(ranks, math.inf)


def _refused(kept: Sequence[float], refused: Sequence[float]) -> float:
    """Share of unanswerable questions below the threshold that keeps 95 % of the answerable; linear quantile as in numpy."""
    if not kept or not refused:
        return math.nan
    ordered = sorted(kept)
    place = (1.0 - _KEPT_SHARE) * (len(ordered) - 1)
    low = int(place)
    threshold = ordered[low] + (place - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])
    return sum(value < threshold for value in refused) / len(refused)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else math.nan
