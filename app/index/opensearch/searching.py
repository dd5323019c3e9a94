"""One search: two requests to the cluster, and exact scores from what they bring.

The first counts inside the grant; with those counts the second ranks by words, and beside that by vector. What the server ranks by only
preselects: membership and scores are worked out here, from each chunk's own words and vectors, as in the embedded engine.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import orjson

from app.domain.access import ReadFilter
from app.domain.search import Candidates, Embedding, IndexQuery, Vector
from app.errors import ConfigurationError, InvalidInputError
from app.index.lexical import K1, idf, searched_words
from app.index.opensearch.connection import Cluster, Reply
from app.index.opensearch.counting import Shown, counts_of, grant_of, grant_request, seen, stems_of, words_request
from app.index.opensearch.documents import stem_key, weight_key
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
    """A question made ready: its filter as a clause, what the viewer sees where, the indexes to search, its vector if that is under way."""

    query: IndexQuery
    granted: Clause
    shown: Shown
    indexes: str
    embedding: Embedding | None


def asked(query: IndexQuery, read_filter: ReadFilter, indexes: str, embedding: Embedding | None = None) -> Asked:
    """Compile a search."""
    return Asked(query, granted(read_filter, query.limits), shown_types(query.visible), indexes, embedding)


async def find(cluster: Cluster, question: Asked, languages: Sequence[str]) -> tuple[Candidates, tuple[str, ...]] | None:
    """Search; returns the candidates and the languages granted. `None` when there is no index.

    `languages` is a guess at what is granted, from earlier searches: a wrong one costs a request and changes no result.
    Raises InvalidInputError for a vector that is none, ConfigurationError for one of another width.
    """
    counted = await _counted(cluster, question, tuple(languages))
    if counted is None:
        return None
    if question.embedding is not None:
        question = replace(question, query=replace(question.query, vector=await question.embedding))
    query = question.query
    _require_fit(query.vector, cluster.rules.dim)
    lists = await _ranked(cluster, question, counted)
    if lists is None:
        return None
    scores = Scores(query, counted, question.shown)
    scores.take_near(lists[0])
    scores.take_by_words(lists[1])
    is_pending = query.vector is None or counted.grant.n_pending > 0
    found = Candidates(scores.candidates(), counted.weights, ("vectors",) if is_pending else ())
    return found, counted.grant.languages


def _require_fit(vector: Vector | None, dim: int) -> None:
    if vector is not None and len(vector) != dim:
        message = "The question was embedded by another model than the index holds."
        raise ConfigurationError(message)
    if vector is not None and not bool(np.isfinite(vector).all()):
        message = "The question's vector holds a component that is not a number."
        raise InvalidInputError(message)


def empty(query: IndexQuery) -> Candidates:
    """What a search over no documents finds."""
    weights = {word: idf(0, 0) for word in searched_words(query.text, ())}
    return Candidates((), weights, ("vectors",) if query.vector is None else ())


async def _counted(cluster: Cluster, question: Asked, languages: tuple[str, ...]) -> Counted | None:
    """Counts inside the grant, in one request where the guess at its languages was right."""
    guessed = searched_words(question.query.text, languages)
    bodies = [grant_request(question.granted), words_request(question.granted, guessed, languages, question.shown)]
    replies = await cluster.search_many(question.indexes, bodies)
    if replies is None:
        return None
    grant = grant_of(replies[0])
    words = searched_words(question.query.text, grant.languages)
    counts = dict(zip(guessed, counts_of(replies[1], len(guessed)), strict=True))
    if not set(grant.languages) <= set(languages) or not set(words) <= counts.keys():
        again = await cluster.search_many(question.indexes, [words_request(question.granted, words, grant.languages, question.shown)])
        if again is None:
            return None
        counts = dict(zip(words, counts_of(again[0], len(words)), strict=True))
    # The counts come from searches a moment apart: a chunk written in between is in one of them only.
    weights = {word: idf(min(counts[word], grant.n_chunks), grant.n_chunks) for word in words}
    stems = {
        language: {word: (stem, orjson.dumps(stem) + b":") for word in words for _, stem in stems_of(word, (language,))}
        for language in grant.languages
    }
    average = grant.n_words / grant.n_chunks if grant.n_words else 1.0
    return Counted(grant, weights, sum(weights.values()) or 1.0, average, stems)


async def _ranked(cluster: Cluster, question: Asked, counted: Counted) -> tuple[list[Reply], list[Reply]] | None:
    """The nearest chunks by vector and the best by words, asked for together: the server works on both at once."""
    query, clauses = question.query, _word_clauses(counted, question.shown)
    near = [] if query.vector is None else [_nearest_request(question, query.vector)]
    by_words = [_words_request(question, clauses)] if clauses else []
    if not near and not by_words:
        return [], []
    replies = await cluster.search_many(question.indexes, [*near, *by_words])
    if replies is None:
        return None
    lists: list[list[Reply]] = [one["hits"]["hits"] for one in replies]
    return (lists[0] if near else []), (lists[-1] if by_words else [])


def _words_request(question: Asked, clauses: Sequence[Body]) -> Body:
    query = {"bool": {"filter": [question.granted], "should": clauses, "minimum_should_match": 1}}
    return {"query": query, "size": question.query.lexical_k + _MARGIN, **_HITS}


_HITS: Body = {
    "track_total_hits": False,
    "stored_fields": "_none_",
    "docvalue_fields": [*HIT_FIELDS],
    # Never by where a chunk happens to lie: that depends on what else is stored.
    "sort": [{"_score": "desc"}, {"chunk_id": "asc"}],
}


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
