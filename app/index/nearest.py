"""Nearest chunks by cosine among those a filter grants, exact, and the cosines of single chunks and sentences.

The product over a whole matrix may round a row's result by where the row stands, so scores would shift in the last bits with text the
caller may not read. It only preselects here; what is returned and compared is computed for each row by itself.
"""

from collections.abc import Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from app.domain.search import Matrix, Vector
from app.index.snapshot import Grant, GrantedPart

_GATHER_BELOW = 0.15
"""Share of granted rows below which copying them beats multiplying the whole matrix (measured at 100k x 384)."""
_ROUNDING = 2e-5
"""More than the product of two unit vectors in single precision can be off; rows this near to the last place are compared exactly."""
_EXACT_IN_FLOAT32 = float(2**24 - 1)

Place = tuple[int, int]
"""A chunk: number of the granted part, row in its segment."""


def nearest_chunks(grant: Grant, vector: Vector, k: int) -> list[Place]:
    """Find the `k` granted chunks of highest cosine; ties go to the smaller chunk id. Chunks without a vector are not in it."""
    found = [_products(part, vector) for part in grant.parts]
    products = np.concatenate([values for _, values in found]) if found else np.zeros(0, np.float32)
    if not len(products):
        return []
    floor = -np.inf
    if len(products) > k:
        floor = float(np.partition(products, len(products) - k)[len(products) - k]) - _ROUNDING
    places = [(number, int(row)) for number, (rows, values) in enumerate(found) for row in rows[values >= floor]]
    scores = exact_cosines(grant, vector, places)
    ranked = sorted(zip(scores, places, strict=True), key=lambda item: (-item[0], chunk_id(grant, item[1])))
    return [place for _, place in ranked[:k]]


def exact_cosines(grant: Grant, vector: Vector, places: Sequence[Place]) -> list[float]:
    """Cosines of chunks that have vectors, each summed by itself: the same bits in whatever company."""
    if not places:
        return []
    rows = np.stack([grant.parts[number].segment.vectors[row] for number, row in places])
    cosines: list[float] = (rows * vector).sum(axis=1).tolist()
    return cosines


def chunk_id(grant: Grant, place: Place) -> str:
    """Name of a chunk."""
    return grant.parts[place[0]].segment.chunk_ids[place[1]]


def pack_sentences(vectors: Matrix) -> bytes:
    """Store unit vectors as int8, each row scaled to its largest component: a quarter of the bytes, cosines within 0.004."""
    if not vectors.size:
        return b""
    peaks = np.abs(vectors).max(axis=1, keepdims=True)
    return np.rint(vectors * (127.0 / np.where(peaks > 0, peaks, 1.0))).astype(np.int8).tobytes()


def unpack_sentences(packed: bytes, dim: int) -> Matrix:
    """Unit vectors of what `pack_sentences` stored, shape (n, dim); packed again, they are the same bytes."""
    rows = np.frombuffer(packed, np.int8).reshape(-1, dim).astype(np.float32)
    norms = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    return (rows / np.where(norms > 0, norms, 1.0)).astype(np.float32)


def sentence_cosines(packed: Sequence[bytes], vector: Vector) -> list[tuple[float, ...]]:
    """Cosines of packed sentences, one tuple per chunk, exact to the last bit in whatever order the processor adds.

    The question is scaled to whole numbers so small that every partial sum is a whole number below 2**24, which float32 holds exactly.
    """
    dim = len(vector)
    rows = np.frombuffer(b"".join(packed), np.int8).reshape(-1, dim).astype(np.float32)
    scale = np.floor(_EXACT_IN_FLOAT32 / 127.0 / max(float(np.abs(vector).astype(np.float64).sum()) + dim / 127.0, 1e-9))
    question = np.rint(vector * np.float32(scale)).astype(np.float32)
    # Whole numbers as well: at most 384 x 127**2, which is 6.2 million (and below 2**24 for every width up to 1,040).
    squares = np.einsum("ij,ij->i", rows, rows).astype(np.float64)
    norms = np.sqrt(squares) * float(np.sqrt(np.square(question.astype(np.float64)).sum()))
    cosines = iter((_dot(rows, question).astype(np.float64) / np.where(norms > 0, norms, 1.0)).tolist())
    return [tuple(islice(cosines, len(blob) // dim)) for blob in packed]


def _dot(rows: NDArray[np.float32], vector: Vector) -> NDArray[np.float32]:
    """Multiply without BLAS: as fast as one BLAS thread, where two on a busy machine took 8 ms for 0.6 ms of work."""
    products: NDArray[np.float32] = np.einsum("ij,j->i", rows, vector)
    return products


def _products(part: GrantedPart, vector: Vector) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Granted rows with vectors and their approximate cosines."""
    segment = part.segment
    if segment.vectors.shape[1] != len(vector):
        return np.zeros(0, np.int32), np.zeros(0, np.float32)
    rows = part.rows if bool(segment.has_vector.all()) else part.rows[segment.has_vector[part.rows]]
    if len(rows) < _GATHER_BELOW * len(segment):
        return rows, _dot(segment.vectors[rows], vector)
    return rows, _dot(segment.vectors, vector)[rows]
