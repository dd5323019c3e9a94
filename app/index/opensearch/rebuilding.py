"""A new generation of a tenant's indexes beside the one that serves: begun, filled by whoever reads the register, swapped, confirmed."""

from dataclasses import replace

from app.domain.content import DocumentId
from app.domain.identity import TenantId
from app.domain.search import IndexedDocument
from app.index.opensearch.chunks import Place
from app.index.opensearch.engine import OpenSearchIndex
from app.index.opensearch.vectors import Vectors


class Rebuilding:
    """Builds, swaps and drops generations. From `begin` to `drop_other` every write of the engine goes to both."""

    def __init__(self, index: OpenSearchIndex) -> None:
        self._index = index
        self._vectors = Vectors(index.cluster, index.indexes.heads)

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
        """What the generation that serves holds, whatever the alias names: of an index that was lost and made anew that is nothing.

        Vectors of another model than this process's count as none: they cannot be taken over.
        """
        live = (await self._index.indexes.ensure(tenant)).live
        held = await self._index.indexes.held(tenant, live)
        return held if await self._is_ours(tenant, live) else [replace(one, vectors=0) for one in held]

    async def copy_vectors(self, tenant: TenantId, document_id: DocumentId, version: int) -> None:
        """Take the vectors of a version over into the generation that is being built, to chunks that have none."""
        present = await self._index.indexes.ensure(tenant)
        if present.building is None or present.is_swapped or not await self._is_ours(tenant, present.live):
            return
        source, target = (Place(tenant, document_id, number, present.groups(number)) for number in present.written)
        await self._vectors.copy(source, target, version)

    async def _is_ours(self, tenant: TenantId, generation: int) -> bool:
        return self._index.serving.is_comparable_to(await self._vectors.model(tenant, generation))

    async def swap(self, tenant: TenantId) -> None:
        """Let the new generation serve, in one step for all searches. Raises ConflictError when none is being built."""
        await self._index.indexes.swap(tenant)

    async def drop_other(self, tenant: TenantId) -> bool:
        """Delete the generation that no longer serves, and what is left of earlier ones; False when there is none.

        Raises ConfigurationError, with nothing deleted, while the new one does not serve yet.
        """
        return await self._index.indexes.drop_other(tenant)

    async def abandon(self, tenant: TenantId) -> bool:
        """Delete the generation that was begun and does not serve; False when there is none. Raises ConfigurationError when it serves."""
        return await self._index.indexes.drop_other(tenant, unfinished=True)
