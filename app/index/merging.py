"""Several segments made into one, without the chunks that are no longer live and without the words only they held."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.index.segment import Lists, Postings, Rows, Segment, sorted_postings


def merge_segments(parts: Sequence[tuple[Segment, NDArray[np.bool_]]], dim: int) -> Segment:
    """Join segments into one, leaving out chunks that are no longer live, and with them every word only they held."""
    kept = [np.flatnonzero(live).astype(np.int32) for _, live in parts]
    vocabulary: dict[str, int] = {}
    types: dict[str, int] = {}
    open_lists: list[Lists] = []
    guarded_lists: list[Lists] = []
    base = 0
    for (segment, live), rows in zip(parts, kept, strict=True):
        place = np.full(len(segment), -1, np.int32)
        place[rows] = np.arange(base, base + len(rows), dtype=np.int32)
        type_codes = np.asarray([types.setdefault(name, len(types)) for name in segment.entity_types], np.int16)
        for postings, lists in ((segment.open, open_lists), (segment.guarded, guarded_lists)):
            lists.append(_moved(segment, postings, (live, place), (vocabulary, type_codes)))
        base += len(rows)
    joined = [(segment, rows) for (segment, _), rows in zip(parts, kept, strict=True)]
    return Segment(
        slot=np.concatenate([segment.slot[rows] for segment, rows in joined]),
        chunk_row=np.concatenate([segment.chunk_row[rows] for segment, rows in joined]),
        version=np.concatenate([segment.version[rows] for segment, rows in joined]),
        chunk_ids=tuple(segment.chunk_ids[row] for segment, rows in joined for row in rows.tolist()),
        length=np.concatenate([segment.length[rows] for segment, rows in joined]),
        vocabulary=vocabulary,
        words=tuple(vocabulary),
        open=sorted_postings(_joined(open_lists), len(vocabulary)),
        guarded=sorted_postings(_joined(guarded_lists), len(vocabulary)),
        entity_types=tuple(types),
        vectors=np.concatenate([_vectors(segment, rows, dim) for segment, rows in joined]),
        has_vector=np.concatenate([segment.has_vector[rows] for segment, rows in joined]),
    )


def _vectors(segment: Segment, rows: Rows, dim: int) -> NDArray[np.float32]:
    """Take the vectors of rows; a segment built before the index held any gives zero rows."""
    return segment.vectors[rows] if segment.vectors.shape[1] == dim else np.zeros((len(rows), dim), np.float32)


def _moved(
    segment: Segment, postings: Postings, rows: tuple[NDArray[np.bool_], Rows], names: tuple[dict[str, int], NDArray[np.int16]]
) -> Lists:
    """Renumber the postings of live rows, with a vocabulary that is extended on the way."""
    live, place = rows
    vocabulary, type_codes = names
    words = np.repeat(np.arange(len(segment.words), dtype=np.int32), np.diff(postings.offsets))
    keep = live[postings.rows]
    words = words[keep]
    code = np.full(len(segment.words), -1, np.int32)
    for word in np.unique(words).tolist():
        code[word] = vocabulary.setdefault(segment.words[word], len(vocabulary))
    types = type_codes[postings.types[keep]] if len(type_codes) else np.zeros(len(words), np.int16)
    return code[words], place[postings.rows[keep]], postings.counts[keep], types


def _joined(lists: list[Lists]) -> Lists:
    words, rows, counts, types = zip(*lists, strict=True)
    return np.concatenate(words), np.concatenate(rows), np.concatenate(counts), np.concatenate(types)
