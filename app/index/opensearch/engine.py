"""The OpenSearch engine as the `PassageIndex` port has it, for installations of many documents or several nodes."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from app.domain.access import Nothing, ReadFilter
from app.domain.content import DocumentId
from app.domain.identity import TenantId
from app.domain.search import AccessFacts, Candidates, ChunkVectors, Embedding, IndexedChunk, IndexedDocument, IndexQuery, Visibility
from app.errors import UpstreamUnavailableError
from app.index.opensearch import inventory, searching, spelling
from app.index.opensearch.connection import Cluster
from app.index.opensearch.heads import Heads
from app.index.opensearch.indexes import Indexes
from app.index.opensearch.rules import OpenSearchRules
from app.index.opensearch.serving import Serving
from app.index.opensearch.writer import Writer

_LOOKS = 8
_FIRST_PAUSE_S = 0.01
_GUESS = ("en",)


class OpenSearchIndex:
    """Search in a cluster. Several processes may use the same indexes; each sees the others' finished writes with its next search."""

    def __init__(self, rules: OpenSearchRules, *, dictionary: frozenset[str] = frozenset(), model: str = "") -> None:
        """Prepare; nothing is sent yet. `dictionary` are words never taken for misspelled (the embedder's vocabulary).

        `model` is the embedder's digest: in an index with vectors of another one, searches are by words alone.
        """
        self.cluster = Cluster(rules)
        self.indexes = Indexes(self.cluster, Heads(self.cluster))
        self.serving = Serving(self.indexes, self.cluster, model)
        self._writer = Writer(self.cluster, self.indexes)
        self._dictionary = dictionary
        self._languages: dict[TenantId, tuple[str, ...]] = {}
        self._is_ready = False
        self._opening = asyncio.Lock()

    async def put_version(self, facts: AccessFacts, version: int, chunks: Sequence[IndexedChunk]) -> None:
        """Store a version's words, not yet searchable. Raises ConflictError when the id belongs to another tenant."""
        await self._require_ready()
        await self._writer.put_version(facts, version, chunks)

    async def put_vectors(self, document_id: DocumentId, version: int, vectors: Sequence[ChunkVectors], model_digest: str) -> None:
        """Add embeddings to stored chunks. Raises ConfigurationError when the index holds vectors of another model."""
        await self._require_ready()
        await self._writer.put_vectors(document_id, version, vectors, model_digest)

    async def make_live(self, document_id: DocumentId, version: int, facts: AccessFacts | None = None) -> None:
        """Serve this version and no other, under newer facts where they are given. Raises ConflictError when it is not stored."""
        await self._require_ready()
        await self._writer.make_live(document_id, version, facts)

    async def put_access(self, facts: AccessFacts) -> None:
        """Replace the facts a filter is matched against, for the very next search; facts of a lower `acl_version` are ignored."""
        await self._require_ready()
        await self._writer.put_access(facts)

    async def remove(self, tenant: TenantId, document_id: DocumentId, version: int | None = None) -> None:
        """Forget a document of a tenant: words, vectors and facts, and chunks that no head speaks of; or one version that is not live."""
        await self._require_ready()
        await (self._writer.remove(tenant, document_id) if version is None else self._writer.discard(tenant, document_id, version))

    async def search(self, query: IndexQuery, read_filter: ReadFilter, embedding: Embedding | None = None) -> Candidates:
        """Find the best chunks by words and by vector among those granted; by words alone beside vectors of another model.

        What a filter grants is counted while `embedding` is still under way. Records nothing.
        """
        if isinstance(read_filter, Nothing):
            return Candidates((), {}, ())
        await self._require_ready()
        if not await self.serving.is_comparable(read_filter.tenant):
            query, embedding = replace(query, vector=None), None
        question = searching.asked(query, read_filter, self.serving.alias(read_filter.tenant), embedding)
        pause = _FIRST_PAUSE_S
        for look in range(_LOOKS):
            found = await searching.find(self.serving, question, self._guess(read_filter.tenant))
            if found is None:
                await self._require_nothing_lost(read_filter.tenant)
                return searching.empty(query if embedding is None else replace(query, vector=await embedding))
            candidates, languages = found
            self._languages[read_filter.tenant] = tuple(sorted({*self._guess(read_filter.tenant), *languages}))
            if look == _LOOKS - 1 or not _is_between_versions(candidates):
                break
            # A version is being replaced this very moment. Should its writer have died, both are returned in the end: whoever
            # asked re-checks each chunk against the database of record, which knows one live version only.
            await asyncio.sleep(pause)
            pause *= 2
        return candidates

    async def respell(self, text: str, read_filter: ReadFilter, visible: Visibility) -> str:
        """Correct words that neither granted text nor the dictionary knows, towards granted words."""
        if isinstance(read_filter, Nothing):
            return text
        await self._require_ready()
        speller = spelling.Speller.of(self.serving, self.serving.alias(read_filter.tenant), read_filter, visible)
        corrected = await speller.respell(text, self._dictionary, self._guess(read_filter.tenant))
        if corrected is None:
            await self._require_nothing_lost(read_filter.tenant)
            return text
        return corrected

    async def inventory(self, tenant: TenantId) -> list[IndexedDocument]:
        """What the cluster holds now, finished or not. Raises UpstreamUnavailableError when something else is searched than that."""
        await self._require_ready()
        self.serving.alias(tenant)
        # Or what a swap left behind would be compared for ever, not what is searched.
        await self.indexes.finish(tenant)
        await self.indexes.require_served(tenant)
        return await inventory.held(self.cluster, self.indexes.heads, tenant)

    async def check(self) -> None:
        """Search for nothing what this process's tenants are searched in; all tenants while it has none.

        Raises UpstreamUnavailableError when that fails, or when anything else is searched than the records of the tenants name.
        """
        await self._require_ready()
        tenants = self.serving.tenants() or await self.indexes.heads.tenants()
        served = [tenant for tenant in tenants if await self.indexes.require_served(tenant)]
        indexes = [self.cluster.rules.heads, *(self.cluster.rules.alias(tenant) for tenant in served)]
        if await self.cluster.search_many(",".join(indexes), [{"size": 0, "query": {"match_none": {}}}]) is None:
            message = "An index or an alias of this gateway is missing: rebuild the index."
            raise UpstreamUnavailableError(message)

    async def close(self) -> None:
        """Let go of the connections."""
        await self.cluster.close()

    def _guess(self, tenant: TenantId) -> tuple[str, ...]:
        """Languages that are likely granted, from earlier searches."""
        return self._languages.get(tenant, _GUESS)

    async def _require_ready(self) -> None:
        """Check server and indexes once. Raises ConfigurationError for those this program cannot work with, UpstreamUnavailableError."""
        async with self._opening:
            if not self._is_ready:
                await self.indexes.prepare()
                self._is_ready = True

    async def _require_nothing_lost(self, tenant: TenantId) -> None:
        """Tell a tenant that never stored anything from one whose index or alias is gone: the latter is no empty result."""
        if await self.indexes.heads.generations(tenant) is not None:
            message = "An index or an alias of this tenant is missing: rebuild the index."
            raise UpstreamUnavailableError(message)


async def open_opensearch_index(rules: OpenSearchRules, *, dictionary: frozenset[str] = frozenset(), model: str = "") -> OpenSearchIndex:
    """The engine, its server and indexes checked. A cluster that does not answer yet is checked with the first request instead.

    Raises ConfigurationError for a server, an index or a certificate file this program cannot work with; it says what mends it.
    """
    opened = OpenSearchIndex(rules, dictionary=dictionary, model=model)
    try:
        await opened.check()
    except UpstreamUnavailableError:
        return opened
    except BaseException:
        await opened.close()
        raise
    return opened


def _is_between_versions(found: Candidates) -> bool:
    """Whether a document shows two versions, or a chunk twice: what a search sees while a version is replaced."""
    versions: dict[DocumentId, int] = {}
    return any(versions.setdefault(item.document_id, item.version) != item.version for item in found.items)
