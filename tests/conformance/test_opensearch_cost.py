"""What taking in one document costs a real server: each request and each refresh is paid for with every document of a company."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence

import pytest

from app.domain.access import Acl, AclMode
from app.domain.content import DocumentId
from app.domain.search import IndexedChunk
from app.index.opensearch.engine import OpenSearchIndex
from tests.conformance.engines import CLERK, EVERYTHING, T, chunk, documents, facts, find, person, publish, unit, vectors
from tests.conformance.proxy import Proxy, proxied

MOST_REQUESTS, MOST_REFRESHES = 14, 1


@pytest.fixture
async def counted(opensearch: tuple[str, ...]) -> AsyncIterator[tuple[OpenSearchIndex, Proxy]]:
    """An engine that has taken in two documents, and the proxy that counts what it sends."""
    async with proxied(opensearch[0]) as (engine, proxy):
        for name in ("before", "also"):
            await publish(engine, facts(name), "leave request")
        proxy.requests.clear()
        yield engine, proxy


async def take_in(engine: OpenSearchIndex, name: str, chunks: Sequence[IndexedChunk], version: int = 1) -> None:
    """As a worker does."""
    document = DocumentId(name)
    await engine.put_version(facts(name), version, chunks)
    await engine.make_live(document, version, facts(name))
    await engine.put_vectors(document, version, [vectors(item, n) for n, item in enumerate(chunks)], "model-a")


def kinds(proxy: Proxy) -> Counter[str]:
    return Counter(path.rpartition("/")[2] for path, _ in proxy.requests)


async def test_a_new_document_costs_one_refresh_and_few_requests(counted: tuple[OpenSearchIndex, Proxy]) -> None:
    engine, proxy = counted
    await take_in(engine, "a", [chunk("a", "parental leave"), chunk("a", "leave of absence", ordinal=1)])
    sent = kinds(proxy)
    assert sent["_refresh"] <= MOST_REFRESHES
    assert sum(sent.values()) <= MOST_REQUESTS, sent
    assert [(one.chunks, one.vectors) for one in await engine.inventory(T) if one.document_id == "a"] == [(2, 2)]
    found = await find(engine, "parental", EVERYTHING, vector=unit(0)[0])
    assert documents(found) >= {"a"}


async def test_a_new_version_costs_two_refreshes(counted: tuple[OpenSearchIndex, Proxy]) -> None:
    engine, proxy = counted
    await take_in(engine, "a", [chunk("a", "parental leave")])
    proxy.requests.clear()
    await take_in(engine, "a", [chunk("a", "leave of absence", version=2)], version=2)
    sent = kinds(proxy)
    assert sent["_refresh"] <= MOST_REFRESHES + 1
    assert sum(sent.values()) <= MOST_REQUESTS + 3, sent
    assert {item.version for item in (await find(engine, "leave absence parental", EVERYTHING)).items if item.document_id == "a"} == {2}


async def test_where_something_lies_already_the_new_words_are_stored_over_it(counted: tuple[OpenSearchIndex, Proxy]) -> None:
    """A late bulk request of before a removal: another word under the id of a new chunk, and a chunk that the new version has not."""
    engine, proxy = counted
    await engine.put_version(facts("a"), 1, [chunk("a", "zanzibar merger"), chunk("a", "zanzibar leave", ordinal=1)])
    late = [body for path, body in proxy.requests if path == "/_bulk"][-1]
    await engine.remove(T, DocumentId("a"))
    await engine.cluster._client.transport.perform_request("POST", "/_bulk", body=late, headers={"content-type": "application/x-ndjson"})
    await take_in(engine, "a", [chunk("a", "parental leave")])
    assert documents(await find(engine, "zanzibar", EVERYTHING)) == set()
    assert documents(await find(engine, "parental", EVERYTHING)) == {"a"}
    assert [(one.chunks, one.vectors) for one in await engine.inventory(T) if one.document_id == "a"] == [(1, 1)]


async def test_a_chunk_left_under_another_id_does_not_go_live_with_a_new_version(counted: tuple[OpenSearchIndex, Proxy]) -> None:
    engine, proxy = counted
    await engine.put_version(facts("a"), 1, [chunk("a", "zanzibar leave", ordinal=1)])
    late = [body for path, body in proxy.requests if path == "/_bulk"][-1]
    await engine.remove(T, DocumentId("a"))
    await engine.cluster._client.transport.perform_request("POST", "/_bulk", body=late, headers={"content-type": "application/x-ndjson"})
    await take_in(engine, "a", [chunk("a", "parental leave")])
    assert documents(await find(engine, "zanzibar", EVERYTHING)) == set()
    assert [(one.chunks, one.vectors) for one in await engine.inventory(T) if one.document_id == "a"] == [(1, 1)]


async def test_what_another_process_did_between_storing_and_making_live_is_kept(counted: tuple[OpenSearchIndex, Proxy]) -> None:
    """Vectors were added, and a reader was locked out: what this process remembers of the chunks is out of date."""
    engine, _ = counted
    other = OpenSearchIndex(engine.cluster.rules)
    item = chunk("a", "parental leave")
    try:
        await engine.put_version(facts("a"), 1, [item])
        await other.put_vectors(DocumentId("a"), 1, [vectors(item, 5)], "model-a")
        await other.put_access(facts("a", acl=Acl(AclMode.INHERIT, deny=frozenset({CLERK})), acl_version=2))
        await engine.make_live(DocumentId("a"), 1, facts("a"))
    finally:
        await other.close()
    assert [(one.acl_version, one.vectors) for one in await engine.inventory(T) if one.document_id == "a"] == [(2, 1)]
    assert documents(await find(engine, "parental", person(CLERK))) == set()
    assert documents(await find(engine, "parental", EVERYTHING)) == {"a"}


async def test_vectors_never_bring_back_facts_that_were_replaced(counted: tuple[OpenSearchIndex, Proxy]) -> None:
    """A reader is locked out between the look at the head and the look at the chunk."""
    engine, _ = counted
    item = chunk("a", "parental leave")
    await engine.put_version(facts("a"), 1, [item])
    await engine.make_live(DocumentId("a"), 1)
    named, closed = engine._writer._vectors._chunks.named, facts("a", acl=Acl(AclMode.EXPLICIT), acl_version=2)

    async def closed_before(*given: object) -> object:
        await engine.put_access(closed)
        return await named(*given)  # type: ignore[arg-type]  # as it was called

    engine._writer._vectors._chunks.named = closed_before  # type: ignore[assignment,method-assign]  # for this test
    await engine.put_vectors(DocumentId("a"), 1, [vectors(item, 5)], "model-a")
    assert documents(await find(engine, "parental", person(CLERK))) == set()
    assert [(one.acl_version, one.vectors) for one in await engine.inventory(T) if one.document_id == "a"] == [(2, 1)]
