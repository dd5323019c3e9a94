"""Chunks in the index: listing what is stored of a document and bringing it in line with the document's head."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.content import DocumentId
from app.domain.identity import TenantId
from app.errors import UpstreamUnavailableError
from app.index.opensearch.connection import Cluster, Operation, Reply
from app.index.opensearch.documents import STATE_FIELDS, Document, StoredChunk, facts_digest, malformed, only
from app.index.opensearch.heads import Head, Heads
from app.index.opensearch.rules import chunk_key
from app.index.words import clean

_PAGE = 2_000
_PAGE_WITH_VECTORS = 100
_ATTEMPTS = 30


@dataclass(frozen=True, slots=True)
class Place:
    """One document in one generation of one tenant."""

    tenant: TenantId
    document_id: DocumentId
    generation: int
    groups: tuple[str, ...]
    """Those that the generation was made with."""

    def group(self, collection: str) -> str:
        """The group a collection lies in."""
        return collection if collection in self.groups else ""


@dataclass(frozen=True, slots=True)
class Listed:
    """What a chunk is and where it stood when it was listed."""

    index: str
    version: int
    chunk_id: str
    is_live: bool
    facts_digest: str
    seen: tuple[int, int]


class Chunks:
    """The indexes of chunks."""

    def __init__(self, cluster: Cluster, heads: Heads) -> None:
        self._cluster = cluster
        self._heads = heads
        self._rules = cluster.rules

    def indexes(self, place: Place) -> str:
        """The indexes a document's chunks may lie in."""
        return ",".join(self._rules.index(place.tenant, place.generation, group) for group in place.groups)

    async def listed(self, place: Place) -> list[Listed]:
        """List every chunk stored of a document, as of now."""
        await self._cluster.refresh(self.indexes(place))
        fields = ("version", "chunk_id", "live", "facts_digest")
        found: list[Listed] = []
        after: list[Any] = []
        while True:
            hits = await self._page(place, _query(place.document_id), (fields, after, _PAGE))
            found += [_listed(hit) for hit in hits]
            if len(hits) < _PAGE:
                return found
            after = hits[-1]["sort"]

    async def stored(self, place: Place, chunks: Sequence[Listed]) -> list[tuple[Listed, StoredChunk]]:
        """Read chunks whole, with where they stand now; those that are gone are left out."""
        found: list[tuple[Listed, StoredChunk]] = []
        for start in range(0, len(chunks), _PAGE_WITH_VECTORS):
            batch = chunks[start : start + _PAGE_WITH_VECTORS]
            query = _query(place.document_id, sorted({one.chunk_id for one in batch}))
            wanted = {(one.index, one.version, one.chunk_id) for one in batch}
            fields = (*STATE_FIELDS, "live", "facts_digest")
            # A chunk id is of one version by contract; should two versions use it, the page has room for both.
            for hit in await self._page(place, query, (fields, [], _PAGE_WITH_VECTORS * 4)):
                one = _listed(hit)
                if (one.index, one.version, one.chunk_id) in wanted:
                    found.append((one, StoredChunk.of_fields(hit["fields"])))
        return found

    def operation(self, place: Place, chunk: StoredChunk, document: Document, seen: Listed | None = None) -> Operation:
        """The write of a chunk: live, to the index its collection calls for; waiting, to where it lies."""
        index = self._rules.index(place.tenant, place.generation, place.group(document.get("collection", "")))
        if seen is not None and not document["live"]:
            index = seen.index
        key = chunk_key(chunk.document_id, chunk.version, chunk.chunk_id)
        # Moved from another index: it must not overwrite what somebody else has moved there first.
        is_moved = seen is not None and seen.index != index
        return Operation(index, key, clean(place.document_id), document, None if seen is None or is_moved else seen.seen, is_moved)

    def deletion(self, place: Place, one: Listed) -> Operation:
        """The deletion of a chunk as it was listed."""
        return Operation(one.index, chunk_key(place.document_id, one.version, one.chunk_id), clean(place.document_id), None, one.seen)

    async def settle(self, place: Place) -> None:
        """Bring a document's chunks in line with its head and make them visible.

        New chunks go live before old ones are deleted, so that a search in between sees both versions, knows it, and looks again.
        Repeats while somebody else writes. Raises UpstreamUnavailableError when that goes on for too long.
        """
        for _ in range(_ATTEMPTS):
            # Listed first: a chunk's head is written before the chunk, so none is taken for one that no head speaks of.
            listed = await self.listed(place)
            record = await self._heads.record(place.document_id)
            # Chunks under a head of another tenant are nobody's, as those without any: they go.
            head = None if record is None or record.tenant != place.tenant else record.head(place.generation)
            is_whole = await self._bring_in_line(place, head, listed)
            again = await self._heads.record(place.document_id)
            if is_whole and (again.seen if again else None) == (record.seen if record else None):
                return
        message = "Another writer keeps changing this document."
        raise UpstreamUnavailableError(message)

    async def _bring_in_line(self, place: Place, head: Head | None, listed: Sequence[Listed]) -> bool:
        facts = None if head is None or head.is_removed else head.served_facts(place.document_id)
        served = head.live if head is not None and facts is not None else None
        digest = facts_digest(head.facts) if head is not None else ""
        kept = set() if head is None or head.is_removed else set(head.versions)
        target = "" if facts is None else self._rules.index(place.tenant, place.generation, place.group(clean(facts.collection)))
        open_up = [one for one in listed if one.version == served and _is_behind(one, digest, target)]
        close_down = [one for one in listed if one.version in kept and one.version != served and one.is_live]
        gone = [one for one in listed if one.version not in kept]
        is_whole = True
        for start in range(0, len(open_up), _PAGE_WITH_VECTORS):
            batch = open_up[start : start + _PAGE_WITH_VECTORS]
            stored = await self.stored(place, batch)
            assert facts is not None  # noqa: S101 - nothing is opened without facts
            operations = [self.operation(place, chunk, chunk.live(facts), one) for one, chunk in stored]
            is_whole &= len(stored) == len(batch) and await self._cluster.write(operations)
            is_whole &= await self._cluster.write([self.deletion(place, one) for one, _ in stored if one.index != target])
        closing = await self.stored(place, close_down)
        shut = [self.operation(place, chunk, chunk.waiting(place.tenant), one) for one, chunk in closing]
        is_whole &= len(closing) == len(close_down) and await self._cluster.write(shut)
        is_whole &= await self._cluster.write([self.deletion(place, one) for one in gone])
        if open_up or close_down or gone:
            await self._cluster.refresh(self.indexes(place))
        return is_whole

    async def _page(self, place: Place, query: Document, page: tuple[Sequence[str], list[Any], int]) -> list[Reply]:
        fields, after, size = page
        body: Document = {
            "query": query,
            "size": size,
            "track_total_hits": False,
            "stored_fields": "_none_",
            "docvalue_fields": list(fields),
            "seq_no_primary_term": True,
            "sort": [{"version": "asc"}, {"chunk_id": "asc"}, {"_index": "asc"}],
        }
        if after:
            body["search_after"] = after
        replies = await self._cluster.search_many(self.indexes(place), [body], routing=clean(place.document_id))
        if replies is None:
            message = "An index of this tenant is missing."
            raise UpstreamUnavailableError(message)
        hits: list[Reply] = replies[0]["hits"]["hits"]
        return hits


def _query(document_id: str, chunk_ids: Sequence[str] = ()) -> Document:
    clauses: list[Document] = [{"term": {"document_id": clean(document_id)}}]
    if chunk_ids:
        clauses.append({"terms": {"chunk_id": list(chunk_ids)}})
    return {"bool": {"filter": clauses}}


def _listed(hit: Reply) -> Listed:
    try:
        fields = hit["fields"]
        digest = only(fields, "facts_digest") if "facts_digest" in fields else ""
        seen = (int(hit["_seq_no"]), int(hit["_primary_term"]))
        return Listed(hit["_index"], only(fields, "version"), only(fields, "chunk_id"), only(fields, "live"), digest, seen)
    except (KeyError, TypeError, ValueError) as error:
        raise malformed() from error


def _is_behind(one: Listed, digest: str, target: str) -> bool:
    return not one.is_live or one.facts_digest != digest or one.index != target
