"""What the indexes hold of every document of a tenant, counted from the chunks themselves; heads add documents without live chunks."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from app.domain.content import DocumentId
from app.domain.identity import TenantId
from app.domain.search import IndexedDocument
from app.errors import UpstreamUnavailableError
from app.index.opensearch.connection import Cluster, Reply
from app.index.opensearch.documents import malformed
from app.index.opensearch.heads import Head, Heads
from app.index.words import clean

_PAGE = 1_000

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Counted:
    versions: frozenset[int]
    acl_version: int
    chunks: int
    vectors: int


async def held(cluster: Cluster, heads: Heads, tenant: TenantId, generation: int | None = None) -> list[IndexedDocument]:
    """List documents in order of id, of the generation that serves unless another is named.

    A document whose live chunks are of two versions, or whose chunks no head speaks of, has `None` as its live version: to be indexed anew.
    """
    found = await heads.generations(tenant)
    if found is None:
        return []
    number = found[0].live if generation is None else generation
    indexes = ",".join(cluster.rules.index(tenant, number, group) for group in found[0].groups(number))
    wanted = {document_id: head async for document_id, head in _heads(cluster, tenant, number)}
    counted = {document_id: counts async for document_id, counts in _chunks(cluster, indexes)}
    return [_document(name, wanted.get(name), counted.get(name)) for name in sorted({*wanted, *counted})]


def _document(document_id: str, head: Head | None, counted: _Counted | None) -> IndexedDocument:
    known = DocumentId(document_id)
    others = () if head is None else tuple(sorted(set(head.versions) - {head.live}))
    if counted is None or not counted.versions:
        # Nothing of it can be found. A document without any chunk is whole all the same.
        live = head.live if head is not None and counted is None else None
        return IndexedDocument(known, live, head.acl_version if head else 0, 0, 0, others)
    is_whole = head is not None and counted.versions == {head.live}
    live = next(iter(counted.versions)) if is_whole else None
    return IndexedDocument(known, live, counted.acl_version, counted.chunks, counted.vectors, others)


async def _heads(cluster: Cluster, tenant: TenantId, generation: int) -> AsyncIterator[tuple[str, Head]]:
    await cluster.refresh(cluster.rules.heads)
    after: list[Any] = []
    while True:
        body: Body = {
            "size": _PAGE,
            "track_total_hits": False,
            "query": {"bool": {"filter": [{"term": {"kind": "document"}}, {"term": {"tenant": clean(tenant)}}]}},
            "sort": [{"document_id": "asc"}],
            **({"search_after": after} if after else {}),
        }
        hits = await _hits(cluster, cluster.rules.heads, body)
        for hit in hits:
            source = hit["_source"]
            if str(generation) in source["state"]:
                yield source["document_id"], Head.of_state(source["state"][str(generation)])
        if len(hits) < _PAGE:
            return
        after = hits[-1]["sort"]


async def _chunks(cluster: Cluster, indexes: str) -> AsyncIterator[tuple[str, _Counted]]:
    await cluster.refresh(indexes)
    after: Body | None = None
    while True:
        pages: Body = {"size": _PAGE, "sources": [{"document_id": {"terms": {"field": "document_id"}}}]}
        if after is not None:
            pages["after"] = after
        live: Body = {
            "filter": {"term": {"live": True}},
            "aggs": {
                "versions": {"terms": {"field": "version", "size": 10}},
                "acl_version": {"min": {"field": "acl_version"}},
                "vectors": {"filter": {"term": {"has_vector": True}}},
            },
        }
        body: Body = {"size": 0, "track_total_hits": False, "aggs": {"pages": {"composite": pages, "aggs": {"live": live}}}}
        replies = await cluster.search_many(indexes, [body])
        if replies is None:
            message = "An index of this tenant is missing: rebuild the index."
            raise UpstreamUnavailableError(message)
        try:
            page = replies[0]["aggregations"]["pages"]
            for bucket in page["buckets"]:
                yield bucket["key"]["document_id"], _counts(bucket["live"])
            after = page.get("after_key")
        except (KeyError, TypeError) as error:
            raise malformed() from error
        if after is None:
            return


def _counts(live: Reply) -> _Counted:
    versions = frozenset(int(bucket["key"]) for bucket in live["versions"]["buckets"])
    acl_version = int(live["acl_version"]["value"] or 0)
    return _Counted(versions, acl_version, int(live["doc_count"]), int(live["vectors"]["doc_count"]))


async def _hits(cluster: Cluster, indexes: str, body: Body) -> list[Reply]:
    replies = await cluster.search_many(indexes, [body])
    if replies is None:
        message = "The index of heads is missing."
        raise UpstreamUnavailableError(message)
    hits: list[Reply] = replies[0]["hits"]["hits"]
    return hits
