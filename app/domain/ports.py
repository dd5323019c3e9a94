"""Protocols for what has two implementations or what tests replace. A fake and the real one pass one suite in `tests/conformance/`."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.domain.access import ReadFilter
from app.domain.content import DocumentId
from app.domain.identity import TenantId
from app.domain.privacy import Analysis
from app.domain.search import (
    AccessFacts,
    Candidates,
    ChunkVectors,
    Embedding,
    IndexedChunk,
    IndexedDocument,
    IndexQuery,
    Matrix,
    Visibility,
)


class PassageIndex(Protocol):
    """Search over chunks. Holds no truth: everything in it can be rebuilt from the database of record."""

    async def put_version(self, facts: AccessFacts, version: int, chunks: Sequence[IndexedChunk]) -> None:
        """Store a version's chunks, not yet searchable. Repeating it replaces them."""

    async def put_vectors(self, document_id: DocumentId, version: int, vectors: Sequence[ChunkVectors], model_digest: str) -> None:
        """Add embeddings to stored chunks; searches may miss them for a moment.

        Raises ConfigurationError when the index holds vectors of another model.
        """

    async def make_live(self, document_id: DocumentId, version: int, facts: AccessFacts | None = None) -> None:
        """Serve this version and no other of the document, in one step; older chunks are dropped.

        With `facts` it is served under these from the first moment on, as if `put_access` had run with it.
        """

    async def put_access(self, facts: AccessFacts) -> None:
        """Replace the facts a filter is matched against. Unknown documents are ignored."""

    async def remove(self, tenant: TenantId, document_id: DocumentId, version: int | None = None) -> None:
        """Forget a document of a tenant: text, vectors and terms, those also that only an interrupted write knows of.

        With a `version`, that one alone, and only while it is not the live one.
        """

    async def search(self, query: IndexQuery, read_filter: ReadFilter, embedding: Embedding | None = None) -> Candidates:
        """Best chunks by words and by vector among those `read_filter` grants; the filter acts inside both lists.

        An `embedding` under way is awaited where it is needed, and taken in place of the query's vector.

        Statistics (idf, average length) are taken over the granted chunks only, so that text a caller may not read changes
        neither order nor scores. Raises UpstreamUnavailableError rather than returning a shorter list.
        """

    async def respell(self, text: str, read_filter: ReadFilter, visible: Visibility) -> str:
        """Correct words unknown to granted, visible text to near ones that it holds; unchanged when there is nothing to correct."""

    async def inventory(self, tenant: TenantId) -> list[IndexedDocument]:
        """What is held of every document of a tenant: for comparing with the register, never for a person who searches."""

    async def check(self) -> None:
        """Raise UpstreamUnavailableError when searches cannot be served."""


class Analyzer(Protocol):
    """Finds personal data in a text."""

    def analyze(self, text: str, language: str | None = None) -> Analysis:
        """Personal data in `text` (raw). `language` is a hint. Blocking: tens of milliseconds a page."""


class Embedder(Protocol):
    """Text to vectors. One digest per set of weights; vectors of different digests are never compared."""

    digest: str
    dim: int
    background: float
    """Median cosine of an unrelated question and chunk under this model."""

    async def embed(self, texts: Sequence[str]) -> Matrix:
        """Unit vectors, shape (len(texts), dim), in order."""


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message to a chat model; `role` is `system`, `user` or `assistant`."""

    role: str
    content: str


class ChatModel(Protocol):
    """A generative model that keeps nothing: it sees rendered passages for one answer."""

    name: str

    def stream(self, messages: Sequence[ChatMessage], *, max_tokens: int) -> AsyncIterator[str]:
        """Pieces of the reply as they come. Raises UpstreamUnavailableError."""
