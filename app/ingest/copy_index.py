"""CopyIndex: fills another index with what this one serves, vectors included: embedding a company anew takes hours."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from app.domain.content import DocumentId
from app.domain.identity import TenantId
from app.domain.ports import PassageIndex
from app.domain.search import AccessFacts, ChunkVectors
from app.ingest.analysis import indexed_chunks
from app.ingest.stored import stored_analysis
from app.storage import document_rows
from app.storage.transaction import Database

ReadVectors = Callable[[DocumentId, int], tuple[str, list[ChunkVectors]]]
"""(digest of their model, vectors) of a document's version."""


@dataclass(frozen=True)
class CopyIndex:
    """Puts every served document into `target`. Powers: the register, an index, the vectors of another one."""

    database: Database
    target: PassageIndex
    read_vectors: ReadVectors

    async def run(self, tenant: TenantId) -> int:
        """Copy what `target` does not serve yet in its live version, take out what is served no more; returns how many it serves then.

        Safe to repeat, and to stop: the next run goes on where this one ended. Vectors that are missing are made by the worker later.
        """
        held = {one.document_id: one for one in await self.target.inventory(tenant)}
        async with self.database.read() as tx:
            standing = await document_rows.standings(tx, tenant)
        served = [name for name, one in standing.items() if one.is_served_at(datetime.now(UTC))]
        for document_id in served:
            there, wanted = held.get(document_id), standing[document_id]
            is_same = there is not None and (there.live_version, there.acl_version) == (wanted.live_version, wanted.acl_version)
            if there is None or not is_same or there.vectors < there.chunks:
                await self._copy(tenant, document_id, is_held=there is not None)
        # Of a move that was abandoned: taken away since, they would be counted by searches until a worker repairs the index.
        for document_id in held.keys() - set(served):
            await self.target.remove(tenant, document_id)
        return len(served)

    async def _copy(self, tenant: TenantId, document_id: DocumentId, *, is_held: bool) -> None:
        async with self.database.read() as tx:
            document = await document_rows.get_document(tx, tenant, document_id)
            if document is None or document.live_version is None:
                return
            analyzed = await stored_analysis(tx, document, document.live_version)
        model, vectors = self.read_vectors(document_id, document.live_version)
        await self.target.put_version(AccessFacts.of(document), document.live_version, indexed_chunks(analyzed))
        if vectors:
            await self.target.put_vectors(document_id, document.live_version, vectors, model)
        if is_held:
            await self.target.put_access(AccessFacts.of(document))
        await self.target.make_live(document_id, document.live_version)
