"""One search over one snapshot: the union of the lexical and the vector list with everything the ranking later needs of each chunk."""

import json
import sqlite3
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.domain.access import ReadFilter
from app.domain.search import Candidate, Candidates, IndexQuery, Vector
from app.errors import ConfigurationError, InvalidInputError
from app.index.lexical import LexicalScores, question_words, score_words
from app.index.nearest import Place, chunk_id, exact_cosines, nearest_chunks, sentence_cosines
from app.index.snapshot import Grant, Snapshot

_Cosines = tuple[float | None, tuple[float, ...], tuple[float, ...]]
_NO_COSINES: _Cosines = (None, (), ())


def gather_evidence(connection: sqlite3.Connection, snapshot: Snapshot, query: IndexQuery, read_filter: ReadFilter) -> Candidates:
    """Search a snapshot inside the read transaction it was taken in. Raises ConfigurationError for a question of another model."""
    _require_fitting(query.vector, snapshot.dim)
    grant = snapshot.grant(read_filter, query.limits)
    lexical = score_words(grant, question_words(query.text, grant), query.visible)
    places = set(_best_by_words(grant, lexical.scores, query.lexical_k))
    if query.vector is not None:
        places.update(nearest_chunks(grant, query.vector, query.vector_k))
    ordered = sorted(places, key=lambda place: chunk_id(grant, place))
    cosines = {} if query.vector is None else _cosines(connection, grant, query.vector, ordered)
    items = tuple(_candidate(snapshot, (grant, lexical), place, cosines.get(place, _NO_COSINES)) for place in ordered)
    pending = query.vector is None or grant.n_pending > 0
    return Candidates(items, lexical.weights, ("vectors",) if pending else ())


def _require_fitting(vector: Vector | None, dim: int) -> None:
    if vector is None:
        return
    if dim not in (0, len(vector)):
        message = "The question was embedded by another model than the index holds."
        raise ConfigurationError(message)
    if not bool(np.isfinite(vector).all()):
        message = "The question's vector holds a component that is not a number."
        raise InvalidInputError(message)


def _candidate(snapshot: Snapshot, found: tuple[Grant, LexicalScores], place: Place, cosines: _Cosines) -> Candidate:
    grant, lexical = found
    number, row = place
    segment = grant.parts[number].segment
    return Candidate(
        chunk_id=segment.chunk_ids[row],
        document_id=snapshot.access.document_ids[int(segment.slot[row])],
        version=int(segment.version[row]),
        lexical=float(lexical.scores[number][row]),
        cosine=cosines[0],
        sentence_cosines=cosines[1],
        standalone_cosines=cosines[2],
    )


def _best_by_words(grant: Grant, scores: Sequence[NDArray[np.float64]], k: int) -> list[Place]:
    """List the `k` best chunks with any word; ties go to the smaller chunk id, never to where a chunk happens to lie."""
    hits = [np.flatnonzero(score) for score in scores]
    values = np.concatenate([score[rows] for score, rows in zip(scores, hits, strict=True)]) if hits else np.zeros(0)
    floor = np.partition(values, len(values) - k)[len(values) - k] if len(values) > k else 0.0
    best = [
        (-float(score[row]), chunk_id(grant, (number, int(row))), (number, int(row)))
        for number, (score, rows) in enumerate(zip(scores, hits, strict=True))
        for row in rows[score[rows] >= floor]
    ]
    return [place for _, _, place in sorted(best)[:k]]


def _cosines(connection: sqlite3.Connection, grant: Grant, vector: Vector, places: Sequence[Place]) -> dict[Place, _Cosines]:
    """Cosines of chunks and their sentences; chunks whose vectors are pending are left out."""
    ready = [place for place in places if grant.parts[place[0]].segment.has_vector[place[1]]]
    if not ready:
        return {}
    rows = [int(grant.parts[number].segment.chunk_row[row]) for number, row in ready]
    query = "SELECT chunk_row, context, standalone FROM sentence WHERE chunk_row IN (SELECT value FROM json_each(?))"
    packed = {row: (context, standalone) for row, context, standalone in connection.execute(query, (json.dumps(rows),))}
    blobs = [packed[row] for row in rows]
    both = sentence_cosines([blob for pair in blobs for blob in pair], vector)
    chunks = exact_cosines(grant, vector, ready)
    return {place: (chunks[n], both[2 * n], both[2 * n + 1]) for n, place in enumerate(ready)}
