"""One search: two requests to the cluster, and exact scores from what they bring.

The first counts inside the grant and brings the nearest chunks by vector; with those counts the second ranks by words. What the server
ranks by only preselects: membership and scores are worked out here, from each chunk's own words and vectors, as in the embedded engine.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from app.domain.access import ReadFilter
from app.domain.content import ChunkId, DocumentId
from app.domain.search import Candidate, Candidates, IndexQuery, Vector
from app.errors import ConfigurationError, InvalidInputError
from app.index.lexical import K1, B, idf, searched_words
from app.index.nearest import sentence_cosines
from app.index.opensearch.connection import Cluster, Reply
from app.index.opensearch.counting import Grant, Shown, counts_of, grant_of, grant_request, seen, stems_of, words_request
from app.index.opensearch.documents import malformed, only, stem_key, unpacked, weight_key
from app.index.opensearch.filters import Clause, granted, one_of, shown_types
from app.index.words import language_code

_FIELDS = ("chunk_id", "document_id", "version", "length", "pair", "language", "bag", "packed", "context", "standalone")
_NEIGHBOURS = 400
"""Candidates of the walk through each segment's graph: with a filter that grants fewer, Lucene compares them all."""
_MARGIN = 25
"""Hits asked for beyond a list's length: what the server ranks by is rounded, and ties are broken here."""
_MOST_CLAUSES = 900
"""Words times languages of one question, below the server's limit of 1,024 clauses."""

Body = dict[str, Any]
_Bag = tuple[Mapping[str, int], Sequence[tuple[str, str, int]]]


@dataclass(frozen=True, slots=True)
class Hit:
    """A granted chunk as a search brought it. `bag` is its stems' counts and (type, stem, count) of guarded ones."""

    chunk_id: str
    document_id: str
    version: int
    length: int
    pair: str
    language: str
    bag: _Bag
    packed: bytes
    context: bytes
    standalone: bytes

    @classmethod
    def of(cls, hit: Reply) -> "Hit":
        """Out of one hit of a reply. Raises UpstreamUnavailableError when anything is missing."""
        try:
            fields = hit["fields"]
            text = [only(fields, name) for name in ("chunk_id", "document_id", "pair", "language")]
            numbers = [int(only(fields, name)) for name in ("version", "length")]
            counts, hidden = orjson.loads(unpacked(fields, "bag"))
        except (KeyError, TypeError, ValueError) as error:
            raise malformed() from error
        blobs = [unpacked(fields, name) for name in ("packed", "context", "standalone")]
        return cls(text[0], text[1], numbers[0], numbers[1], text[2], text[3], (counts, hidden), *blobs)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question made ready: its filter as a clause, what the viewer sees where, and the indexes to search."""

    query: IndexQuery
    granted: Clause
    shown: Shown
    indexes: str


@dataclass(frozen=True, slots=True)
class _Counted:
    grant: Grant
    weights: dict[str, float]
    stems: dict[str, dict[str, str]]
    """By language and word, in the order of the question; without the words a language never searches for."""


def asked(query: IndexQuery, read_filter: ReadFilter, indexes: str) -> Asked:
    """Compile a search. Raises InvalidInputError for a vector that is none."""
    if query.vector is not None and not bool(np.isfinite(query.vector).all()):
        message = "The question's vector holds a component that is not a number."
        raise InvalidInputError(message)
    return Asked(query, granted(read_filter, query.limits), shown_types(query.visible), indexes)


async def find(cluster: Cluster, question: Asked, languages: Sequence[str]) -> tuple[Candidates, tuple[str, ...]] | None:
    """Search; returns the candidates and the languages granted. `None` when there is no index.

    `languages` is a guess at what is granted, from earlier searches: a wrong one costs a request and changes no result.
    """
    query = question.query
    if query.vector is not None and len(query.vector) != cluster.rules.dim:
        message = "The question was embedded by another model than the index holds."
        raise ConfigurationError(message)
    first = await _first(cluster, question, tuple(languages))
    if first is None:
        return None
    counted, replied = first
    asking = asyncio.ensure_future(_by_words(cluster, question, counted, [_name(hit) for hit in replied]))
    try:
        # What the first request brought is unpacked while the server works on the second.
        await asyncio.sleep(0)
        near = [Hit.of(hit) for hit in replied]
        by_words = await asking
    finally:
        asking.cancel()
    if by_words is None:
        return None
    best = _best(question, counted, near, by_words)
    is_pending = query.vector is None or counted.grant.n_pending > 0
    found = Candidates(_candidates(query.vector, best), counted.weights, ("vectors",) if is_pending else ())
    return found, counted.grant.languages


def empty(query: IndexQuery) -> Candidates:
    """What a search over no documents finds."""
    weights = {word: idf(0, 0) for word in searched_words(query.text, ())}
    return Candidates((), weights, ("vectors",) if query.vector is None else ())


async def _first(cluster: Cluster, question: Asked, languages: tuple[str, ...]) -> tuple[_Counted, list[Reply]] | None:
    """Counts inside the grant and the nearest chunks, in one request."""
    query = question.query
    guessed = searched_words(query.text, languages)
    bodies = [grant_request(question.granted), words_request(question.granted, guessed, languages, question.shown)]
    if query.vector is not None:
        bodies.append(_nearest_request(question, query.vector))
    replies = await cluster.search_many(question.indexes, bodies)
    if replies is None:
        return None
    grant = grant_of(replies[0])
    words = searched_words(query.text, grant.languages)
    counts = dict(zip(guessed, counts_of(replies[1], len(guessed)), strict=True))
    if not set(grant.languages) <= set(languages) or not set(words) <= counts.keys():
        again = await cluster.search_many(question.indexes, [words_request(question.granted, words, grant.languages, question.shown)])
        if again is None:
            return None
        counts = dict(zip(words, counts_of(again[0], len(words)), strict=True))
    # The counts come from searches a moment apart: a chunk written in between is in one of them only.
    weights = {word: idf(min(counts[word], grant.n_chunks), grant.n_chunks) for word in words}
    near: list[Reply] = replies[2]["hits"]["hits"] if query.vector is not None else []
    stems = {language: {word: stem for word in words for _, stem in stems_of(word, (language,))} for language in grant.languages}
    return _Counted(grant, weights, stems), near


async def _by_words(cluster: Cluster, question: Asked, counted: _Counted, near: Sequence[str]) -> list[Hit] | None:
    """The best chunks by words among those that the vector list did not bring already."""
    clauses = _word_clauses(counted, question.shown)
    if not clauses:
        return []
    known = sorted(near)
    body = {
        "query": {
            "bool": {
                "filter": [question.granted],
                "must_not": [{"terms": {"chunk_id": known}}] if known else [],
                "should": clauses,
                "minimum_should_match": 1,
            }
        },
        "size": question.query.lexical_k + _MARGIN,
        **_HITS,
    }
    replies = await cluster.search_many(question.indexes, [body])
    return None if replies is None else [Hit.of(hit) for hit in replies[0]["hits"]["hits"]]


_HITS: Body = {
    "track_total_hits": False,
    "stored_fields": "_none_",
    "docvalue_fields": list(_FIELDS),
    # Never by where a chunk happens to lie: that depends on what else is stored.
    "sort": [{"_score": "desc"}, {"chunk_id": "asc"}],
}


def _name(hit: Reply) -> str:
    """The chunk id of a hit. Raises UpstreamUnavailableError when it has none."""
    fields = hit.get("fields") if isinstance(hit, Mapping) else None
    if not isinstance(fields, Mapping):
        raise malformed()
    return str(only(fields, "chunk_id"))


def _nearest_request(question: Asked, vector: Vector) -> Body:
    wanted = question.query.vector_k
    near: Body = {
        "vector": vector.astype(np.float32).tolist(),
        "k": max(_NEIGHBOURS, wanted + _MARGIN),
        # Inside the clause: beside it, the server would first take the nearest of all and then drop what is not granted.
        "filter": question.granted,
        "method_parameters": {"ef_search": max(_NEIGHBOURS, wanted + _MARGIN)},
    }
    return {"query": {"knn": {"vector": near}}, "size": wanted + _MARGIN, **_HITS}


def _word_clauses(counted: _Counted, shown: Shown) -> list[Body]:
    """A clause a word and language: BM25's part as stored, times the word's idf inside the grant.

    Guarded words have no stored weight: they count for the most that a word can, and the exact score puts them in their place.
    """
    clauses: list[Body] = []
    left = _MOST_CLAUSES
    # The rarest words first: should a pasted page run out of clauses, the commonest are what it does without.
    for word, weight in sorted(counted.weights.items(), key=lambda item: (-item[1], item[0])):
        keys = stems_of(word, counted.grant.languages)
        boost = {"boost": max(weight, 1e-6)}
        left -= len(keys) + 2 * len(shown) + 1
        if left < 0:
            break
        clauses += [{"rank_feature": {"field": f"weights.{weight_key(*key)}", "linear": {}, **boost}} for key in keys]
        hidden = seen("hidden_stems", [stem_key(*key) for key in keys], shown) if keys else []
        if hidden:
            clauses.append({"constant_score": {"filter": one_of(hidden), "boost": boost["boost"] * (K1 + 1.0)}})
    return clauses


def _best(question: Asked, counted: _Counted, near: Sequence[Hit], by_words: Sequence[Hit]) -> list[tuple[Hit, float]]:
    """The union of the two lists, each cut to its length by exact scores, with every chunk's lexical score; in order of chunk id."""
    query = question.query
    hits = {(hit.chunk_id, hit.version): hit for hit in [*near, *by_words]}
    scores = {key: _lexical(hit, counted, question.shown) for key, hit in hits.items()}
    matching = sorted((key for key in hits if scores[key] > 0.0), key=lambda key: (-scores[key], *key))
    kept = set(matching[: query.lexical_k])
    if query.vector is not None:
        nearest = {(hit.chunk_id, hit.version): hit for hit in near if hit.packed}
        cosines = dict(zip(nearest, _cosines(list(nearest.values()), query.vector), strict=True))
        kept.update(sorted(nearest, key=lambda key: (-cosines[key], *key))[: query.vector_k])
    return [(hits[key], scores[key]) for key in sorted(kept)]


def _lexical(hit: Hit, counted: _Counted, shown: Shown) -> float:
    """BM25 inside the grant over the idf sum of the question's words: the sum of `app/index/lexical.py`, chunk by chunk."""
    grant, weights = counted.grant, counted.weights
    average = grant.n_words / grant.n_chunks if grant.n_words else 1.0
    score = 0.0
    for word, stem in counted.stems.get(language_code(hit.language), {}).items():
        count = float(_count(hit, stem, shown))
        if count:
            score += weights[word] * count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * hit.length / average))
    return score / (sum(weights.values()) or 1.0)


def _count(hit: Hit, stem: str, shown: Shown) -> int:
    counts, hidden = hit.bag
    guarded = sum(count for kind, other, count in hidden if other == stem and hit.pair in shown.get(kind, ()))
    return counts.get(stem, 0) + guarded


def _cosines(hits: Sequence[Hit], vector: Vector) -> list[float]:
    """Exact cosines, each summed by itself: the same bits in whatever company, and as in the embedded engine."""
    if not hits:
        return []
    rows = np.stack([np.frombuffer(hit.packed, np.float32) for hit in hits])
    cosines: list[float] = (rows * vector).sum(axis=1).tolist()
    return cosines


def _candidates(vector: Vector | None, best: Sequence[tuple[Hit, float]]) -> tuple[Candidate, ...]:
    ready = [hit for hit, _ in best if hit.packed] if vector is not None else []
    cosines: dict[tuple[str, int], tuple[float, tuple[float, ...], tuple[float, ...]]] = {}
    if vector is not None and ready:
        chunks = _cosines(ready, vector)
        both = sentence_cosines([blob for hit in ready for blob in (hit.context, hit.standalone)], vector)
        cosines = {(hit.chunk_id, hit.version): (chunks[n], both[2 * n], both[2 * n + 1]) for n, hit in enumerate(ready)}
    items = []
    for hit, lexical in best:
        chunk, context, standalone = cosines.get((hit.chunk_id, hit.version), (None, (), ()))
        known = ChunkId(hit.chunk_id), DocumentId(hit.document_id), hit.version
        items.append(Candidate(*known, lexical, chunk, context, standalone))
    return tuple(items)
