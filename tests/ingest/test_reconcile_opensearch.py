"""What only a server can do to its index behind the register's back, and how it is made right again."""

from app.domain.search import AccessFacts
from app.index.opensearch.connection import Operation
from app.index.opensearch.documents import StoredChunk
from app.index.opensearch.engine import OpenSearchIndex
from app.index.opensearch.rules import chunk_key
from app.ingest.analysis import indexed_chunks
from app.ingest.stored import stored_analysis
from app.wiring import Services
from tests.conftest import caller_as
from tests.ingest.test_reconcile import leave_policy

columns = ("company",)


async def test_words_of_a_withdrawn_document_that_came_back_without_its_head_are_taken_out(services: Services) -> None:
    """The repair said Repaired, each time, and left them: what it left is told, and leaves nothing to tell."""
    assert isinstance(services.index, OpenSearchIndex)
    document = await leave_policy(services)
    await services.changes.withdraw(await caller_as(services, "hr-partner"), document.document_id)
    async with services.database.read() as tx:
        analyzed = await stored_analysis(tx, document, document.live_version or 0)
    facts = AccessFacts.of(document)
    index = services.index.cluster.rules.index(services.tenant, 1)
    chunks = [StoredChunk.of(document.document_id, 1, one) for one in indexed_chunks(analyzed)]
    keys = [chunk_key(document.document_id, 1, one.chunk_id) for one in chunks]
    restored = [Operation(index, key, document.document_id, one.live(facts)) for key, one in zip(keys, chunks, strict=True)]
    await services.index.cluster.write(restored)
    report = await services.reconcile.run(services.tenant, repair=True)
    assert report.extra == [document.document_id]
    assert report.left == []
    assert (await services.reconcile.run(services.tenant, repair=False)).is_right
