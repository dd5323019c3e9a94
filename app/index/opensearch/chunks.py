"""Chunks in the index: listing what is stored of a document and bringing it in line with the document's head."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.content import DocumentId
from app.domain.identity import TenantId
from app.errors import UpstreamUnavailableError
from app.index.opensearch.connection import Cluster, Operation, Reply
from app.index.opensearch.documents import STATE_FIELDS, Document, StoredChunk, facts_digest, malformed, only
from app.index.opensearch.heads import Head, Heads, Look, Record
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


@dataclass(frozen=True, slots=True)
class Fresh:
    """A version's chunks as this process has just stored them: all that it has, and where they stand."""

    version: int
    chunks: Sequence[tuple[Listed, StoredChunk]]


@dataclass(frozen=True, slots=True)
class _Behind:
    """Listed chunks that are not as a head says."""

    open_up: list[Listed]
    close_down: list[Listed]
    gone: list[Listed]

    def __bool__(self) -> bool:
        return bool(self.open_up or self.close_down or self.gone)


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
        wanted = {(one.index, one.version, one.chunk_id) for one in chunks}
        found = await self.named(place, [one.chunk_id for one in chunks])
        return [(one, chunk) for one, chunk in found if (one.index, one.version, one.chunk_id) in wanted]

    async def named(self, place: Place, chunk_ids: Sequence[str]) -> list[tuple[Listed, StoredChunk]]:
        """Read chunks whole by their ids, as of the last refresh; those that are not there are left out."""
        found: list[tuple[Listed, StoredChunk]] = []
        for start in range(0, len(chunk_ids), _PAGE_WITH_VECTORS):
            query = _query(place.document_id, sorted(set(chunk_ids[start : start + _PAGE_WITH_VECTORS])))
            fields = (*STATE_FIELDS, "live", "facts_digest")
            # A chunk id is of one version by contract; should two versions use it, the page has room for both.
            hits = await self._page(place, query, (fields, [], _PAGE_WITH_VECTORS * 4))
            found += [(_listed(hit), StoredChunk.of_fields(hit["fields"])) for hit in hits]
        return found

    def operation(
        self, place: Place, chunk: StoredChunk, document: Document, seen: Listed | None = None, *, is_new: bool = False
    ) -> Operation:
        """The write of a chunk: live, to the index its collection calls for; waiting, to where it lies."""
        index = self._rules.index(place.tenant, place.generation, place.group(document.get("collection", "")))
        if seen is not None and not document["live"]:
            index = seen.index
        key = chunk_key(chunk.document_id, chunk.version, chunk.chunk_id)
        # Moved from another index: it must not overwrite what somebody else has moved there first.
        is_moved = seen is not None and seen.index != index
        condition = None if seen is None or is_moved else seen.seen
        return Operation(index, key, clean(place.document_id), document, condition, is_new or is_moved)

    def deletion(self, place: Place, one: Listed) -> Operation:
        """The deletion of a chunk as it was listed."""
        return Operation(one.index, chunk_key(place.document_id, one.version, one.chunk_id), clean(place.document_id), None, one.seen)

    async def settle(self, place: Place, record: Record | None = None, fresh: Fresh | None = None) -> Look:
        """Bring a document's chunks in line with its head and make them visible; returns what is on record then.

        New chunks go live before old ones are deleted, so that a search in between sees both versions, knows it, and looks again.
        Chunks just stored are written first, under the head just written: in most cases the look after that finds nothing to mend.
        Repeats while somebody else writes. Raises UpstreamUnavailableError when that goes on for too long.
        """
        if record is not None and fresh is not None:
            await self._open(place, record.head(place.generation), fresh)
        for attempt in range(_ATTEMPTS):
            # Listed first: a chunk's head is written before the chunk, so none is taken for one that no head speaks of.
            listed = await self.listed(place)
            look = await self._heads.look(place.document_id, place.tenant)
            # Chunks under a head of another tenant are nobody's, as those without any: they go.
            head = None if look.record is None or look.record.tenant != place.tenant else look.head(place.generation)
            is_alone = attempt == 0 and record is not None and look.record is not None and look.record.seen == record.seen
            behind = self._behind(place, head, listed, fresh if is_alone else None)
            if not behind:
                return look
            is_whole = await self._bring_in_line(place, head, behind)
            again = await self._heads.look(place.document_id, place.tenant)
            if is_whole and (again.record.seen if again.record else None) == (look.record.seen if look.record else None):
                return again
        message = "Another writer keeps changing this document."
        raise UpstreamUnavailableError(message)

    async def _open(self, place: Place, head: Head | None, fresh: Fresh) -> None:
        """Make fresh chunks live where they lie. Those that somebody else has changed stay as they are: the listing will tell."""
        facts = None if head is None or head.live != fresh.version else head.served_facts(place.document_id)
        if facts is not None and place.group(clean(facts.collection)) == "":
            await self._cluster.write([self.operation(place, chunk, chunk.live(facts), one) for one, chunk in fresh.chunks])

    def _behind(self, place: Place, head: Head | None, listed: Sequence[Listed], fresh: Fresh | None) -> _Behind:
        facts = None if head is None or head.is_removed else head.served_facts(place.document_id)
        served = head.live if head is not None and facts is not None else None
        digest = facts_digest(head.facts) if head is not None else ""
        kept = set() if head is None or head.is_removed else set(head.versions)
        target = self._target(place, head)
        known = None if fresh is None else {one.chunk_id for one, _ in fresh.chunks}
        found = _Behind([], [], [])
        for one in listed:
            # What lies under a version that was stored just now and is none of its chunks was left by somebody.
            is_left = fresh is not None and known is not None and one.version == fresh.version and one.chunk_id not in known
            if one.version not in kept or is_left:
                found.gone.append(one)
            elif one.version == served and _is_behind(one, digest, target):
                found.open_up.append(one)
            elif one.version != served and one.is_live:
                found.close_down.append(one)
        return found

    def _target(self, place: Place, head: Head | None) -> str:
        """The index that live chunks belong in; none without facts."""
        facts = None if head is None or head.is_removed else head.served_facts(place.document_id)
        return "" if facts is None else self._rules.index(place.tenant, place.generation, place.group(clean(facts.collection)))

    async def _bring_in_line(self, place: Place, head: Head | None, behind: _Behind) -> bool:
        facts, target = None if head is None else head.served_facts(place.document_id), self._target(place, head)
        is_whole = True
        for start in range(0, len(behind.open_up), _PAGE_WITH_VECTORS):
            batch = behind.open_up[start : start + _PAGE_WITH_VECTORS]
            stored = await self.stored(place, batch)
            assert facts is not None  # noqa: S101 - nothing is opened without facts
            operations = [self.operation(place, chunk, chunk.live(facts), one) for one, chunk in stored]
            is_whole &= len(stored) == len(batch) and await self._cluster.write(operations)
            is_whole &= await self._cluster.write([self.deletion(place, one) for one, _ in stored if one.index != target])
        closing = await self.stored(place, behind.close_down)
        shut = [self.operation(place, chunk, chunk.waiting(place.tenant), one) for one, chunk in closing]
        is_whole &= len(closing) == len(behind.close_down) and await self._cluster.write(shut)
        is_whole &= await self._cluster.write([self.deletion(place, one) for one in behind.gone])
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
