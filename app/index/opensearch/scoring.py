"""Exact scores from what a search brings: what the server ranks by only preselects.

Each chunk is scored from its own words and vectors, as in the embedded engine: to the last bit, in whatever company it comes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import orjson

from app.domain.content import ChunkId, DocumentId
from app.domain.search import Candidate, IndexQuery, Vector
from app.index.lexical import K1, B
from app.index.nearest import sentence_cosines
from app.index.opensearch.connection import Reply
from app.index.opensearch.counting import Grant, Shown
from app.index.opensearch.documents import malformed, packed_text, unpacked
from app.index.words import language_code

_PLAIN = ("chunk_id", "document_id", "version", "length", "pair", "language", "bag")
_VECTORS = ("packed", "context", "standalone")
HIT_FIELDS = (*_PLAIN, *_VECTORS)
"""The doc values that a hit must bring."""

_DIGITS = frozenset(b"0123456789")
_Key = tuple[str, int]
_Cosines = tuple[float | None, tuple[float, ...], tuple[float, ...]]
_PENDING: _Cosines = (None, (), ())


class Hit(NamedTuple):
    """A granted chunk as a search brought it. `bag` is JSON: its stems' counts, then [type, stem, count] of guarded ones.

    Vectors stay as the server wrote them (base64): those of hits that do not make the cut are never read.
    """

    chunk_id: str
    document_id: str
    version: int
    length: int
    pair: str
    language: str
    bag: bytes
    packed: str
    context: str
    standalone: str

    @classmethod
    def of(cls, hit: Reply) -> "Hit":
        """Out of one hit of a reply. Raises UpstreamUnavailableError when anything is missing."""
        try:
            fields = hit["fields"]
            values = [fields[name] for name in _PLAIN]
            if set(map(type, values)) != {list}:
                raise malformed()
            [chunk_id], [document_id], [version], [length], [pair], [language], [packed_bag] = values
            bag = unpacked(packed_bag)
            packed, context, standalone = [packed_text(fields, name) for name in _VECTORS]
            if not (bag.startswith(b"[{") and bag.endswith(b"]]")):
                raise malformed()
            plain = str(chunk_id), str(document_id), int(version), int(length), str(pair), str(language)
        except (KeyError, TypeError, ValueError) as error:
            raise malformed() from error
        return cls(*plain, bag, packed, context, standalone)

    def count_at(self, place: int) -> int:
        """The whole number that stands at a place of the bag."""
        bag, end = self.bag, place
        while bag[end] in _DIGITS:
            end += 1
        return int(bag[place:end])

    def guarded(self) -> Sequence[tuple[str, str, int]]:
        """(type, stem, count) of what is guarded; mostly nothing."""
        if self.bag.endswith(b",[]]"):
            return ()
        # The open stems are many times as much: they are read only where one of them looks like the end of them all.
        try:
            found = orjson.loads(self.bag[self.bag.index(b"},[[") + 2 : -1])
        except ValueError:
            found = orjson.loads(self.bag)[1]
        return [(kind, stem, count) for kind, stem, count in found]


@dataclass(frozen=True, slots=True)
class Counted:
    """What a search counted inside the grant."""

    grant: Grant
    weights: dict[str, float]
    total: float
    """The sum of the weights."""
    average: float
    """Words of a granted chunk."""
    stems: dict[str, dict[str, tuple[str, bytes]]]
    """By language and word, in the order of the question: the stem, and the stem as a key in JSON; without words a language leaves out."""


class Scores:
    """The two lists of one search, taken as they come; each is cut to its length by exact scores. Raises UpstreamUnavailableError."""

    def __init__(self, query: IndexQuery, counted: Counted, shown: Shown) -> None:
        """Nothing is taken yet."""
        self._query, self._counted, self._shown = query, counted, shown
        self._hits: dict[_Key, Hit] = {}
        self._lexical: dict[_Key, float] = {}
        self._cosines: dict[_Key, _Cosines] = {}
        """Of the nearest, and of what the list by words adds."""

    def take_near(self, replied: Sequence[Reply]) -> None:
        """Take the vector list, longer than it is wanted."""
        hits, vector = self._take(replied), self._query.vector
        if vector is None:
            return
        ready = {key: hit for key, hit in hits.items() if hit.packed}
        cosines = dict(zip(ready, _whole(list(ready.values()), vector), strict=True))
        nearest = sorted(ready, key=lambda key: (-cosines[key], *key))[: self._query.vector_k]
        self._compare({key: (ready[key], cosines[key]) for key in nearest}, vector)

    def take_by_words(self, replied: Sequence[Reply]) -> None:
        """Take the list by words."""
        self._take(replied)

    def candidates(self) -> tuple[Candidate, ...]:
        """The union of both lists in order of chunk id, every chunk with all of its scores."""
        lexical = self._lexical
        matching = sorted((key for key, score in lexical.items() if score > 0.0), key=lambda key: (-lexical[key], *key))
        kept = {*matching[: self._query.lexical_k], *self._cosines}
        if self._query.vector is not None:
            added = {key: self._hits[key] for key in kept if key not in self._cosines and self._hits[key].packed}
            cosines = _whole(list(added.values()), self._query.vector)
            self._compare({key: (hit, cosine) for (key, hit), cosine in zip(added.items(), cosines, strict=True)}, self._query.vector)
        items = []
        for key in sorted(kept):
            hit = self._hits[key]
            known = ChunkId(hit.chunk_id), DocumentId(hit.document_id), hit.version
            items.append(Candidate(*known, lexical[key], *self._cosines.get(key, _PENDING)))
        return tuple(items)

    def _take(self, replied: Sequence[Reply]) -> Mapping[_Key, Hit]:
        hits = {(hit.chunk_id, hit.version): hit for hit in map(Hit.of, replied)}
        # Most of the second list was in the first: scored once, while it says the same.
        known = self._hits
        new = {key: hit for key, hit in hits.items() if key not in known or known[key].bag != hit.bag}
        self._hits |= new
        try:
            self._lexical |= {key: _lexical(hit, self._counted, self._shown) for key, hit in new.items()}
        except (TypeError, ValueError) as error:
            raise malformed() from error
        return hits

    def _compare(self, hits: Mapping[_Key, tuple[Hit, float]], vector: Vector) -> None:
        """Compare the sentences of hits whose own cosine is known."""
        if not hits:
            return
        try:
            both = sentence_cosines([unpacked(blob) for hit, _ in hits.values() for blob in (hit.context, hit.standalone)], vector)
        except ValueError as error:
            raise malformed() from error
        self._cosines |= {key: (cosine, both[2 * n], both[2 * n + 1]) for n, (key, (_, cosine)) in enumerate(hits.items())}


def _lexical(hit: Hit, counted: Counted, shown: Shown) -> float:
    """BM25 inside the grant over the idf sum of the question's words: the sum of `app/index/lexical.py`, chunk by chunk."""
    saturation = K1 * (1.0 - B + B * hit.length / counted.average)
    guarded, find, weights, score = hit.guarded(), hit.bag.find, counted.weights, 0.0
    for word, (stem, key) in counted.stems.get(language_code(hit.language), {}).items():
        # Most words of a question stand in few of the hits.
        place = find(key)
        count = hit.count_at(place + len(key)) if place >= 0 else 0
        if guarded:
            count += sum(n for kind, other, n in guarded if other == stem and hit.pair in shown.get(kind, ()))
        if count:
            score += weights[word] * count * (K1 + 1.0) / (count + saturation)
    return score / counted.total


def _whole(hits: Sequence[Hit], vector: Vector) -> list[float]:
    """Exact cosines of chunks, each summed by itself. Raises UpstreamUnavailableError for a vector that is none."""
    if not hits:
        return []
    try:
        blobs = [unpacked(hit.packed) for hit in hits]
        if set(map(len, blobs)) != {4 * len(vector)}:
            raise malformed()
        rows = np.frombuffer(b"".join(blobs), np.float32).reshape(-1, len(vector))
        cosines: list[float] = (rows * vector).sum(axis=1).tolist()
    except ValueError as error:
        raise malformed() from error
    return cosines
