"""A batch of live chunks in memory: inverted lists of surface words, guarded words apart, and chunk vectors. Never changed once built.

The layout follows the segments of Lucene (https://lucene.apache.org/core/9_0_0/core/org/apache/lucene/index/): immutable, deletions kept
beside it, small ones merged. Word lists keep the surface form, because stems depend on a document's language and spelling needs words.
"""

import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.domain.content import ChunkId
from app.index.words import stems

Rows = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class ChunkRecord:
    """One chunk as it stands in the file. `words` are distinct, `counts` one byte each; `guarded` holds [type, word, count] rows."""

    slot: int
    row: int
    version: int
    chunk_id: ChunkId
    words: str
    counts: bytes
    length: int
    guarded: str
    vector: bytes | None


@dataclass(frozen=True, slots=True)
class Postings:
    """Inverted lists in one block: that of word `w` is `rows[offsets[w]:offsets[w + 1]]`. `types` tells the entity type of guarded ones."""

    offsets: NDArray[np.int64]
    rows: Rows
    counts: NDArray[np.uint8]
    types: NDArray[np.int16]

    def of(self, word: int) -> slice:
        """Where the list of a word stands."""
        return slice(int(self.offsets[word]), int(self.offsets[word + 1]))


@dataclass(frozen=True, slots=True)
class Segment:
    """`n` chunks by row. `slot` is the document's place in the access table; `vectors` has shape (n, dim), zero rows where pending."""

    slot: Rows
    chunk_row: NDArray[np.int64]
    version: Rows
    chunk_ids: tuple[ChunkId, ...]
    length: NDArray[np.int64]
    vocabulary: dict[str, int]
    words: tuple[str, ...]
    open: Postings
    guarded: Postings
    entity_types: tuple[str, ...]
    vectors: NDArray[np.float32]
    has_vector: NDArray[np.bool_]
    _groups: dict[str, dict[str, list[int]]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Count chunks, removed ones included."""
        return len(self.slot)

    def words_like(self, stem: str, language: str) -> list[int]:
        """Words of this segment with a stem in a language. The table of a language is made when first asked for."""
        groups = self._groups.get(language)
        if groups is None:
            groups = {}
            for word, key in enumerate(stems(self.words, language)):
                groups.setdefault(key, []).append(word)
            self._groups[language] = groups
        return groups.get(stem, [])


Lists = tuple[NDArray[np.int32], Rows, NDArray[np.uint8], NDArray[np.int16]]
"""Parallel columns, one entry per posting: word, row, count, entity type."""


@dataclass(frozen=True, slots=True)
class LiveSegment:
    """A segment at one generation: which rows are live, and by row the language and (collection, label) code of the access table."""

    segment: Segment
    live: NDArray[np.bool_]
    language: NDArray[np.int32]
    pair: NDArray[np.int32]


def build_segment(records: Sequence[ChunkRecord], dim: int) -> Segment:
    """Invert chunks into a segment, in the order given. `dim` is the width of vectors, 0 while the index holds none."""
    vocabulary = _Numbers()
    words = array("i")
    for record in records:
        if record.words:
            words.extend(map(vocabulary.__getitem__, record.words.split("\n")))
    sizes = [len(record.counts) for record in records]
    types: dict[str, int] = {}
    hidden = _guarded_entries(records, vocabulary, types)
    rows = np.repeat(np.arange(len(records), dtype=np.int32), sizes)
    counts = np.frombuffer(b"".join(record.counts for record in records), np.uint8)
    visible = (np.frombuffer(words, np.int32) if len(words) else np.zeros(0, np.int32), rows, counts, np.zeros(len(rows), np.int16))
    has_vector = np.fromiter((record.vector is not None for record in records), np.bool_, len(records))
    blank = bytes(dim * 4)
    vectors = np.frombuffer(b"".join(record.vector or blank for record in records), np.float32).reshape(len(records), dim)
    return Segment(
        slot=np.fromiter((record.slot for record in records), np.int32, len(records)),
        chunk_row=np.fromiter((record.row for record in records), np.int64, len(records)),
        version=np.fromiter((record.version for record in records), np.int32, len(records)),
        chunk_ids=tuple(record.chunk_id for record in records),
        length=np.fromiter((record.length for record in records), np.int64, len(records)),
        vocabulary=dict(vocabulary),
        words=tuple(vocabulary),
        open=sorted_postings(visible, len(vocabulary)),
        guarded=sorted_postings(_columns(hidden), len(vocabulary)),
        entity_types=tuple(types),
        vectors=vectors,
        has_vector=has_vector,
    )


class _Numbers(dict[str, int]):
    """Gives every new word the next number: a plain lookup is all that the many known ones cost."""

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self)
        return number


def _guarded_entries(records: Sequence[ChunkRecord], vocabulary: dict[str, int], types: dict[str, int]) -> list[tuple[int, int, int, int]]:
    """List (word, row, count, type) of every guarded word, extending both tables on the way."""
    entries = [(row, entry) for row, record in enumerate(records) if record.guarded for entry in json.loads(record.guarded)]
    return [
        (vocabulary.setdefault(word, len(vocabulary)), row, count, types.setdefault(kind, len(types)))
        for row, (kind, word, count) in entries
    ]


def sorted_postings(lists: Lists, n_words: int) -> Postings:
    """Put postings in order of word, and of row within a word."""
    words, rows, counts, types = lists
    # Stable, so that rows stay ascending within a word.
    order = np.argsort(words, kind="stable")
    offsets = np.zeros(n_words + 1, np.int64)
    np.cumsum(np.bincount(words, minlength=n_words), out=offsets[1:])
    return Postings(offsets, rows[order], counts[order], types[order])


def _columns(entries: list[tuple[int, int, int, int]]) -> Lists:
    table = np.asarray(entries, np.int64).reshape(len(entries), 4)
    return table[:, 0].astype(np.int32), table[:, 1].astype(np.int32), table[:, 2].astype(np.uint8), table[:, 3].astype(np.int16)
