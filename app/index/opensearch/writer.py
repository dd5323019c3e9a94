"""Changes to what is indexed. Each writes what it wants into the document's head, then brings the chunks in line; all may be repeated."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

from app.domain.content import DocumentId
from app.domain.identity import TenantId
from app.domain.search import AccessFacts, ChunkVectors, IndexedChunk
from app.errors import ConfigurationError, ConflictError, UpstreamUnavailableError
from app.index.facts import encode_facts
from app.index.opensearch.chunks import Chunks, Listed, Place
from app.index.opensearch.connection import Cluster, VersionConflictError, path_of
from app.index.opensearch.documents import Document, StoredChunk, words_digest
from app.index.opensearch.heads import Head, Heads, StoredVersion
from app.index.opensearch.indexes import Indexes
from app.index.opensearch.rules import model_key
from app.index.words import clean

_ATTEMPTS = 30


class Writer:
    """Writes to every generation of a tenant that is written to."""

    def __init__(self, cluster: Cluster, indexes: Indexes) -> None:
        self._cluster = cluster
        self._indexes = indexes
        self._heads: Heads = indexes.heads
        self._chunks = Chunks(cluster, indexes.heads)

    async def put_version(self, facts: AccessFacts, version: int, chunks: Sequence[IndexedChunk]) -> None:
        """Store a version's words. A repeat with the same words keeps its vectors; with other words it replaces everything."""
        stored = [StoredChunk.of(facts.document_id, version, chunk) for chunk in chunks]
        await self._indexes.ensure(facts.tenant)
        async for place in self._written(facts.tenant, facts.document_id):
            await self._put_version(place, facts, (version, stored))

    async def put_vectors(self, document_id: DocumentId, version: int, vectors: Sequence[ChunkVectors], model_digest: str) -> None:
        """Add embeddings to stored chunks; a version no longer stored is left alone."""
        for place, head in await self._places(document_id):
            if version in head.versions and not head.is_removed and vectors:
                await self._put_vectors(place, (version, head), vectors, model_digest)

    async def make_live(self, document_id: DocumentId, version: int) -> None:
        """Serve a stored version under its facts and drop the older ones. Raises ConflictError when it is not stored."""
        places = await self._places(document_id)
        if not any(version in head.versions and not head.is_removed for _, head in places):
            raise _not_stored()
        for place, head in places:
            # A generation that is being built may not have this version yet: whoever builds it brings it.
            if version in head.versions and not head.is_removed:
                await self._heads.change((None, document_id, place.generation), lambda known: _with_live(known, version))
                await self._chunks.settle(place)

    async def put_access(self, facts: AccessFacts) -> None:
        """Replace the facts of a document and of its stored versions; facts older than those stored are ignored."""
        for place, _ in await self._places(facts.document_id):
            target = (facts.tenant, facts.document_id, place.generation)
            changed = await self._heads.change(target, lambda known: _with_facts(known, facts))
            if changed is not None and (head := changed.head(place.generation)) is not None and head.live is not None:
                await self._chunks.settle(place)

    async def remove(self, tenant: TenantId, document_id: DocumentId) -> None:
        """Delete everything known of a tenant's document, its heads last, those of dropped generations too: they name principals.

        Every written generation is looked through, head or no head: a bulk request may arrive after a removal, and an index of
        chunks may be restored from before one. Their words would stay for ever.
        """
        record = await self._heads.record(document_id)
        is_known = record is not None and record.tenant == tenant
        if is_known:
            await self._heads.change_all(tenant, document_id, _all_removed)
        written: list[int] = []
        async for place in self._written(tenant, document_id):
            await self._chunks.settle(place)
            written.append(place.generation)
        if is_known:
            await self._heads.change_all(tenant, document_id, lambda heads: _without_removed(heads, written))

    async def _written(self, tenant: TenantId, document_id: DocumentId) -> AsyncIterator[Place]:
        """Every generation that is written to, those too that are begun meanwhile: a write that misses one is undone by its swap."""
        done: set[int] = set()
        while True:
            found = await self._heads.generations(tenant)
            left = [number for number in (found[0].written if found else ()) if number not in done]
            if found is None or not left:
                return
            yield Place(tenant, document_id, left[0], found[0].groups(left[0]))
            done.add(left[0])

    async def _places(self, document_id: DocumentId) -> list[tuple[Place, Head]]:
        """The generations in which a document is known, among those that are still written to."""
        record = await self._heads.record(document_id)
        if record is None:
            return []
        found = await self._heads.generations(record.tenant)
        if found is None:
            return []
        known = [number for number in found[0].written if number in record.heads]
        return [(Place(record.tenant, document_id, number, found[0].groups(number)), record.heads[number]) for number in known]

    async def _put_version(self, place: Place, facts: AccessFacts, given: tuple[int, list[StoredChunk]]) -> None:
        version, chunks = given
        digest, target = words_digest(chunks), (place.tenant, place.document_id, place.generation)
        known = await self._heads.change(target, lambda head: _with_version(head, facts, version, ""))
        head = None if known is None else known.head(place.generation)
        listed = await self._chunks.listed(place)
        if any(one.is_live and (head is None or one.version != head.live) for one in listed):
            # A removal that was cut short left these.
            await self._chunks.settle(place)
            listed = await self._chunks.listed(place)
        held = [one for one in listed if one.version == version]
        wanted = {one.chunk_id for one in chunks}
        is_same = head is not None and head.versions[version].digest == digest and {one.chunk_id for one in held} == wanted
        if not is_same:
            # Other words may not go under the old digest for a moment: whoever repeats this after a crash must write them again.
            await self._heads.change(target, lambda head: _with_version(head, facts, version, "", is_anew=True))
            common = self._cluster.rules.index(place.tenant, place.generation)
            gone = [self._chunks.deletion(place, one) for one in held if one.chunk_id not in wanted or one.index != common]
            await self._cluster.write(gone)
            await self._cluster.write([self._chunks.operation(place, one, one.waiting(place.tenant)) for one in chunks])
            known = await self._heads.change(target, lambda head: _with_version(head, facts, version, digest))
            head = None if known is None else known.head(place.generation)
            if head is not None and head.live == version:
                await self._chunks.settle(place)

    async def _put_vectors(self, place: Place, target: tuple[int, Head], vectors: Sequence[ChunkVectors], model_digest: str) -> None:
        version, head = target
        by_id = {clean(item.chunk_id): item for item in vectors}
        for item in vectors:
            if len(item.chunk) != self._cluster.rules.dim:
                message = "The vectors are not as wide as the index was made for: rebuild the index for this embedding model."
                raise ConfigurationError(message)
        for _ in range(_ATTEMPTS):
            listed = {one.chunk_id: one for one in await self._chunks.listed(place) if one.version == version}
            if not listed:
                return
            if not by_id.keys() <= listed.keys():
                message = "Vectors were given for chunks this version does not have."
                raise ConflictError(message)
            await self._require_model(place, model_digest)
            if await self._write_vectors(place, [listed[name] for name in by_id], by_id):
                if head.live == version:
                    await self._cluster.refresh(self._chunks.indexes(place))
                return
        message = "Another writer keeps changing this document."
        raise UpstreamUnavailableError(message)

    async def _write_vectors(self, place: Place, listed: list[Listed], by_id: dict[str, ChunkVectors]) -> bool:
        """Write chunks with their vectors as they stand otherwise; false when somebody else changed one in the meantime."""
        stored = await self._chunks.stored(place, listed)
        record = await self._heads.record(place.document_id)
        head = None if record is None else record.head(place.generation)
        facts = None if head is None else head.served_facts(place.document_id)
        operations = []
        for one, chunk in stored:
            fresh = chunk.with_vectors(by_id[chunk.chunk_id])
            if fresh == chunk:
                continue
            is_live = one.is_live and facts is not None and head is not None and head.live == one.version
            document: Document = fresh.live(facts) if is_live and facts is not None else fresh.waiting(place.tenant)
            operations.append(self._chunks.operation(place, fresh, document, one))
        is_whole = len(stored) == len(listed) and await self._cluster.write(operations)
        again = await self._heads.record(place.document_id)
        # Facts that changed since were settled before these writes, or will find them.
        return is_whole and (again.seen if again else None) == (record.seen if record else None)

    async def _require_model(self, place: Place, model_digest: str) -> None:
        """Refuse vectors of another model while any are stored: cosines between two models mean nothing."""
        path = path_of(self._cluster.rules.heads, "_doc", model_key(place.tenant, place.generation))
        found = await self._cluster.ask("GET", path)
        held = found["_source"]["state"]["model"] if found is not None and found.get("found") else None
        if held == model_digest:
            return
        if held is not None and await self._has_vectors(place):
            message = "The index holds vectors of another embedding model: rebuild the index."
            raise ConfigurationError(message)
        condition = {"op_type": "create"}
        if found is not None and held is not None:
            condition = {"if_seq_no": str(found["_seq_no"]), "if_primary_term": str(found["_primary_term"])}
        body = {"kind": "model", "tenant": place.tenant, "state": {"model": model_digest}}
        try:
            await self._cluster.ask("PUT", path, body, condition)
        except VersionConflictError:
            await self._require_model(place, model_digest)

    async def _has_vectors(self, place: Place) -> bool:
        await self._cluster.refresh(self._chunks.indexes(place))
        body: Document = {"size": 1, "query": {"exists": {"field": "packed"}}, "track_total_hits": False, "stored_fields": "_none_"}
        replies = await self._cluster.search_many(self._chunks.indexes(place), [body])
        return replies is None or bool(replies[0]["hits"]["hits"])


def _with_version(head: Head | None, facts: AccessFacts, version: int, digest: str, *, is_anew: bool = False) -> Head:
    """A head that knows a version under facts; an empty digest keeps the one known unless the words are written anew."""
    stored = encode_facts(facts)
    present = Head(stored, facts.acl_version) if head is None or head.is_removed else head
    known = present.versions.get(version)
    kept = known.digest if known is not None and not is_anew else ""
    return replace(present, versions={**present.versions, version: StoredVersion(stored, facts.acl_version, digest or kept)})


def _with_live(head: Head | None, version: int) -> Head:
    if head is None or head.is_removed or version not in head.versions:
        raise _not_stored()
    own = head.versions[version]
    versions = {number: one for number, one in head.versions.items() if number >= version}
    fresh = replace(head, live=version, versions=versions)
    # Facts written to the document after this version was stored are newer than the version's own.
    return replace(fresh, facts=own.facts, acl_version=own.acl_version) if head.acl_version <= own.acl_version else fresh


def _with_facts(head: Head | None, facts: AccessFacts) -> Head | None:
    if head is None or head.is_removed:
        return None
    stored = encode_facts(facts)
    versions = {
        number: replace(one, facts=stored, acl_version=facts.acl_version) if one.acl_version <= facts.acl_version else one
        for number, one in head.versions.items()
    }
    fresh = replace(head, versions=versions)
    return replace(fresh, facts=stored, acl_version=facts.acl_version) if head.acl_version <= facts.acl_version else fresh


def _all_removed(heads: Mapping[int, Head]) -> Mapping[int, Head] | None:
    return {number: replace(head, live=None, is_removed=True) for number, head in heads.items()} or None


def _without_removed(heads: Mapping[int, Head], written: Sequence[int]) -> Mapping[int, Head] | None:
    """What somebody else has written anew stays."""
    return {number: head for number, head in heads.items() if number in written and not head.is_removed}


def _not_stored() -> ConflictError:
    return ConflictError("This version is not in the index.")
