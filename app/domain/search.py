"""What goes into an index and what comes back: raw evidence, before fusion, re-check and rendering."""

from asyncio import Future
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from app.domain.access import Acl
from app.domain.content import ChunkId, Document, DocumentId
from app.domain.identity import TenantId

Vector = NDArray[np.float32]
"""One embedding, unit length, shape `(dim,)`."""
Matrix = NDArray[np.float32]
"""Embeddings, one a row, shape `(n, dim)`."""

Embedding = Future[Vector | None]
"""A question's vector that is being made; `None` comes of it when the embedder is not there."""

Visibility = Mapping[tuple[str, str], frozenset[str]]
"""(collection, label) to the entity types one viewer sees unhidden there; a pair that is absent shows none."""


@dataclass(frozen=True, slots=True)
class AccessFacts:
    """The facts of a document that a `ReadFilter` and a caller's own filters are matched against."""

    tenant: TenantId
    document_id: DocumentId
    collection: str
    label: str
    sensitivity: int
    acl: Acl
    acl_version: int
    language: str
    updated_at: datetime

    @classmethod
    def of(cls, document: Document) -> "AccessFacts":
        """The facts as the register has them."""
        return cls(
            tenant=document.tenant,
            document_id=document.document_id,
            collection=document.collection,
            label=document.label,
            sensitivity=document.sensitivity,
            acl=document.acl,
            acl_version=document.acl_version,
            language=document.language,
            updated_at=document.updated_at,
        )


@dataclass(frozen=True, slots=True)
class IndexedDocument:
    """What an index holds of a document: `chunks` and, of those, `vectors` are of the live version, `others` are versions beside it."""

    document_id: DocumentId
    live_version: int | None
    acl_version: int
    chunks: int
    vectors: int
    others: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class GuardedText:
    """Words of a chunk that stand inside a personal-data span: found only by viewers who see that entity type there."""

    entity_type: str
    text: str


@dataclass(frozen=True, slots=True)
class IndexedChunk:
    """What is searched of one chunk. `body` lacks the guarded words; `heading` is title and headings; `extra` keywords and path words."""

    chunk_id: ChunkId
    heading: str
    body: str
    extra: str = ""
    guarded: tuple[GuardedText, ...] = ()


@dataclass(frozen=True, slots=True)
class ChunkVectors:
    """Embeddings of one chunk: `chunk` of shape (dim,), `context` and `standalone` of shape (n_sentences, dim), in sentence order."""

    chunk_id: ChunkId
    chunk: Vector
    context: Matrix
    standalone: Matrix


@dataclass(frozen=True, slots=True)
class SearchLimits:
    """The caller's own narrowing of a search; empty tuples mean no narrowing."""

    collections: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    updated_after: datetime | None = None


@dataclass(frozen=True, slots=True)
class IndexQuery:
    """One search. `vector` is the question's embedding, or `None` when the embedder is not there.

    `visible` tells, per (collection, label), which entity types this viewer sees: guarded words elsewhere do not match.
    """

    text: str
    vector: Vector | None
    visible: Visibility
    limits: SearchLimits = field(default_factory=SearchLimits)
    lexical_k: int = 100
    vector_k: int = 100


@dataclass(frozen=True, slots=True)
class Candidate:
    """Raw evidence for one chunk, before fusion.

    `lexical` is BM25 divided by the idf sum of the question's own words (0 when no word matches); `cosine` is the chunk's,
    `sentence_cosines` and `standalone_cosines` those of its sentences in order. Cosines are `None` while vectors are pending.
    """

    chunk_id: ChunkId
    document_id: DocumentId
    version: int
    lexical: float
    cosine: float | None
    sentence_cosines: tuple[float, ...] = ()
    standalone_cosines: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidates:
    """Union of the lexical and the vector list, in no order.

    `term_weights` is idf by question word (case-folded, stop words left out), over permitted text only; unknown words count in full.
    """

    items: tuple[Candidate, ...]
    term_weights: dict[str, float]
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Calibration:
    """From raw evidence to confidence under one embedding model, measured once and shipped with it; never sampled from a live corpus.

    `slope` and `midpoint` are those of a logistic curve; `weak` and `found` are the confidences from which evidence counts as such.
    """

    slope: float
    midpoint: float
    weak: float
    found: float
