"""A new generation of a tenant's indexes beside the one that serves: begun, filled by whoever reads the register, swapped, confirmed."""

import numpy as np

from app.domain.content import ChunkId, DocumentId
from app.domain.identity import TenantId
from app.domain.search import ChunkVectors, IndexedDocument
from app.index.nearest import unpack_sentences
from app.index.opensearch.chunks import Chunks, Place
from app.index.opensearch.connection import path_of
from app.index.opensearch.documents import malformed
from app.index.opensearch.engine import OpenSearchIndex
from app.index.opensearch.rules import model_key


class Rebuilding:
    """Builds, swaps and drops generations. From `begin` to `drop_other` every write of the engine goes to both."""

    def __init__(self, index: OpenSearchIndex) -> None:
        self._index = index
        self._chunks = Chunks(index.cluster, index.indexes.heads)

    async def begin(self, tenant: TenantId) -> int:
        """Make the new generation, or take up the one that was begun; returns its number.

        Raises ConflictError on a race for it, ConfigurationError while the old one of a swap is kept.
        """
        await self._index.indexes.prepare()
        return (await self._index.indexes.begin(tenant)).written[1]

    async def held(self, tenant: TenantId, generation: int) -> list[IndexedDocument]:
        """What a generation holds of every document."""
        return await self._index.indexes.held(tenant, generation)

    async def serving(self, tenant: TenantId) -> list[IndexedDocument]:
        """What the generation that serves holds, whatever the alias names: of an index that was lost and made anew that is nothing."""
        return await self._index.indexes.held(tenant, (await self._index.indexes.ensure(tenant)).live)

    async def vectors(self, tenant: TenantId, document_id: DocumentId, version: int) -> tuple[str, list[ChunkVectors]]:
        """(digest of their model, vectors of a version's chunks in the generation that serves); none of those that wait for theirs."""
        generations = await self._index.indexes.ensure(tenant)
        place = Place(tenant, document_id, generations.live, generations.groups(generations.live))
        found = await self._index.cluster.ask("GET", path_of(self._index.cluster.rules.heads, "_doc", model_key(tenant, generations.live)))
        if found is None or not found.get("found"):
            return "", []
        try:
            model = str(found["_source"]["state"]["model"])
        except (KeyError, TypeError) as error:
            raise malformed() from error
        dim = self._index.cluster.rules.dim
        listed = [one for one in await self._chunks.listed(place) if one.version == version]
        stored = [chunk for _, chunk in await self._chunks.stored(place, listed)]
        return model, [
            ChunkVectors(
                ChunkId(one.chunk_id),
                np.frombuffer(one.packed, np.float32),
                unpack_sentences(one.context, dim),
                unpack_sentences(one.standalone, dim),
            )
            for one in stored
            if one.packed is not None
        ]

    async def swap(self, tenant: TenantId) -> None:
        """Let the new generation serve, in one step for all searches. Raises ConflictError when none is being built."""
        await self._index.indexes.swap(tenant)

    async def drop_other(self, tenant: TenantId) -> bool:
        """Delete the generation that does not serve, and what is left of earlier ones; False when there is none."""
        return await self._index.indexes.drop_other(tenant)
