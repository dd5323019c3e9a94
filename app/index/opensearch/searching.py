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
from app.domain.search import Candidates, IndexQuery, Vector
from app.errors import ConfigurationError, InvalidInputError
from app.index.lexical import K1, idf, searched_words
from app.index.opensearch.connection import Cluster, Reply
from app.index.opensearch.counting import Shown, counts_of, grant_of, grant_request, seen, stems_of, words_request
from app.index.opensearch.documents import malformed, only, stem_key, weight_key
from app.index.opensearch.filters import Clause, granted, one_of, shown_types
from app.index.opensearch.scoring import HIT_FIELDS, Counted, Scores

_NEIGHBOURS = 400
"""Candidates of the walk through each segment's graph: with a filter that grants fewer, Lucene compares them all."""
_MARGIN = 25
"""Hits asked for beyond a list's length: what the server ranks by is rounded, and ties are broken here."""
_MOST_CLAUSES = 900
"""Words times languages of one question, below the server's limit of 1,024 clauses."""

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question made ready: its filter as a clause, what the viewer sees where, and the indexes to search."""

    query: IndexQuery
    granted: Clause
    shown: Shown
    indexes: str


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
        # What the first request brought is scored while the server works on the second.
        await asyncio.sleep(0)
        scores = Scores(query, counted, question.shown)
        scores.take_near(replied)
        by_words = await asking
    finally:
        asking.cancel()
    if by_words is None:
        return None
    scores.take_by_words(by_words)
    is_pending = query.vector is None or counted.grant.n_pending > 0
    found = Candidates(scores.candidates(), counted.weights, ("vectors",) if is_pending else ())
    return found, counted.grant.languages


def empty(query: IndexQuery) -> Candidates:
    """What a search over no documents finds."""
    weights = {word: idf(0, 0) for word in searched_words(query.text, ())}
    return Candidates((), weights, ("vectors",) if query.vector is None else ())


async def _first(cluster: Cluster, question: Asked, languages: tuple[str, ...]) -> tuple[Counted, list[Reply]] | None:
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
    stems = {
        language: {word: (stem, orjson.dumps(stem) + b":") for word in words for _, stem in stems_of(word, (language,))}
        for language in grant.languages
    }
    average = grant.n_words / grant.n_chunks if grant.n_words else 1.0
    return Counted(grant, weights, sum(weights.values()) or 1.0, average, stems), near


async def _by_words(cluster: Cluster, question: Asked, counted: Counted, near: Sequence[str]) -> list[Reply] | None:
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
    return None if replies is None else replies[0]["hits"]["hits"]


_HITS: Body = {
    "track_total_hits": False,
    "stored_fields": "_none_",
    "docvalue_fields": [*HIT_FIELDS],
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


def _word_clauses(counted: Counted, shown: Shown) -> list[Body]:
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
