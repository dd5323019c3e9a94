"""How a chunk's words and vectors are stored. Pure: bytes out, no file touched."""

import json
from collections import Counter

import numpy as np

from app.domain.search import ChunkVectors, IndexedChunk
from app.errors import InvalidInputError
from app.index.nearest import pack_sentences
from app.index.words import clean, split_words

_HIGHEST_COUNT = 255


def pack_chunk(chunk: IndexedChunk) -> tuple[str, str, bytes, int, str]:
    """Give a chunk as stored: id, its distinct words, how often each, its length in words, and its guarded words."""
    words = split_words(f"{chunk.heading}\n{chunk.body}\n{chunk.extra}")
    counted = Counter(words)
    guarded = Counter((clean(item.entity_type), word) for item in chunk.guarded for word in split_words(item.text))
    entries = [[kind, word, min(count, _HIGHEST_COUNT)] for (kind, word), count in guarded.items()]
    counts = bytes(min(count, _HIGHEST_COUNT) for count in counted.values())
    return clean(chunk.chunk_id), "\n".join(counted), counts, len(words), json.dumps(entries, ensure_ascii=False) if entries else ""


def pack_vectors(item: ChunkVectors) -> tuple[bytes, bytes, bytes]:
    """Give a chunk's vector and its sentences' two matrices as stored. Raises InvalidInputError for odd shapes and for NaN."""
    dim = len(item.chunk)
    shapes = {matrix.shape for matrix in (item.context, item.standalone)}
    if len(shapes) != 1 or item.context.ndim != 2 or (item.context.size and item.context.shape[1] != dim):  # noqa: PLR2004 - rows and columns
        message = "Sentence vectors must be two matrices of one shape, as wide as the chunk's vector."
        raise InvalidInputError(message)
    if not all(bool(np.isfinite(part).all()) for part in (item.chunk, item.context, item.standalone)):
        message = "A vector holds a component that is not a number."
        raise InvalidInputError(message)
    return item.chunk.astype(np.float32).tobytes(), pack_sentences(item.context), pack_sentences(item.standalone)
