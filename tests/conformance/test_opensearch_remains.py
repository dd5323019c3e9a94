"""What interrupted writes, restored indexes and dropped generations leave behind in a real server, and who takes it away."""

from collections.abc import AsyncIterator

import pytest

from app.domain.access import Acl, AclMode
from app.domain.content import DocumentId
from app.domain.identity import TenantId
from app.index.opensearch.connection import Operation, path_of
from app.index.opensearch.documents import StoredChunk
from app.index.opensearch.engine import OpenSearchIndex
from app.index.opensearch.rules import chunk_key, head_key
from tests.conformance.engines import CLERK, T, chunk, documents, facts, find, opensearch_engine, opensearch_rules, person, publish


@pytest.fixture
async def engine(opensearch: tuple[str, ...]) -> AsyncIterator[OpenSearchIndex]:
    async with opensearch_engine(opensearch_rules(*opensearch)) as opened:
        yield opened


async def test_chunks_that_no_head_speaks_of_are_removed_with_their_document(engine: OpenSearchIndex) -> None:
    """An index of chunks restored from before a withdrawal: words without a head were searched, and no removal found them."""
    await publish(engine, facts("a"), "leave request")
    await publish(engine, facts("gone"), "zanzibar merger", "zanzibar leave")
    await engine.cluster.ask("DELETE", path_of(engine.cluster.rules.heads, "_doc", head_key("gone")))
    assert [(one.document_id, one.live_version, one.chunks) for one in await engine.inventory(T)] == [("a", 1, 1), ("gone", None, 2)]
    await engine.remove(TenantId("another"), DocumentId("gone"))
    assert documents(await find(engine, "zanzibar", person(CLERK))) == {"gone"}
    await engine.remove(T, DocumentId("gone"))
    assert documents(await find(engine, "zanzibar leave", person(CLERK))) == {"a"}
    assert [one.document_id for one in await engine.inventory(T)] == ["a"]


async def test_a_bulk_request_that_arrives_after_the_removal_is_taken_out_by_the_next(engine: OpenSearchIndex) -> None:
    """The client had given up on it: the words came in after all."""
    await publish(engine, facts("a"), "leave request")
    late = StoredChunk.of("gone", 1, chunk("gone", "zanzibar merger")).waiting(T)
    await engine.cluster.write([Operation(engine.cluster.rules.index(T, 1), chunk_key("gone", 1, "gone.1.0"), "gone", late)])
    assert [one.document_id for one in await engine.inventory(T)] == ["a", "gone"]
    await engine.remove(T, DocumentId("gone"))
    assert [one.document_id for one in await engine.inventory(T)] == ["a"]
    assert await count(engine, engine.cluster.rules.index(T, 1)) == 1


async def test_a_removal_leaves_no_head_of_a_dropped_generation(engine: OpenSearchIndex) -> None:
    """Heads name the principals of an ACL: those of an index long deleted stayed for ever."""
    closed = facts("a", acl=Acl(AclMode.EXPLICIT, frozenset({CLERK})))
    await publish(engine, closed, "leave request")
    await engine.indexes.begin(T)
    await publish(engine, closed, "leave request")
    await engine.indexes.swap(T)
    await engine.indexes.drop_other(T)
    await engine.remove(T, DocumentId("a"))
    assert await engine.indexes.heads.record(DocumentId("a")) is None


async def count(engine: OpenSearchIndex, indexes: str) -> int:
    replies = await engine.cluster.search_many(indexes, [{"size": 0, "track_total_hits": True}])
    assert replies is not None
    return int(replies[0]["hits"]["total"]["value"])
