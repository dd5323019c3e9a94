"""Changes to what is indexed. Each writes what it wants into the document's head, then brings the chunks in line; all may be repeated."""

from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

from app.domain.content import DocumentId
from app.domain.identity import TenantId
from app.domain.search import AccessFacts, ChunkVectors, IndexedChunk
from app.errors import ConflictError
from app.index.facts import encode_facts
from app.index.opensearch.chunks import Chunks, Fresh, Listed, Place
from app.index.opensearch.connection import Cluster
from app.index.opensearch.documents import StoredChunk, words_digest
from app.index.opensearch.heads import Head, Heads, Look, Record, StoredVersion
from app.index.opensearch.indexes import Indexes
from app.index.opensearch.rules import chunk_key
from app.index.opensearch.vectors import OtherModelError, Vectors

_MOST_KEPT = 2_000
"""Chunks remembered between storing them and making them live; of a longer document the index is asked."""


class Writer:
    """Writes to every generation of a tenant that is written to."""

    def __init__(self, cluster: Cluster, indexes: Indexes) -> None:
        self._cluster = cluster
        self._indexes = indexes
        self._heads: Heads = indexes.heads
        self._chunks = Chunks(cluster, indexes.heads)
        self._vectors = Vectors(cluster, indexes.heads)
        self._kept = _Kept()

    async def put_version(self, facts: AccessFacts, version: int, chunks: Sequence[IndexedChunk]) -> None:
        """Store a version's words. A repeat with the same words keeps its vectors; with other words it replaces everything."""
        stored = [StoredChunk.of(facts.document_id, version, chunk) for chunk in chunks]
        self._kept.take(facts.document_id, version)
        look = await self._heads.look(facts.document_id, facts.tenant)
        if look.generations is None:
            await self._indexes.ensure(facts.tenant)
            look = await self._heads.look(facts.document_id, facts.tenant)
        done: set[int] = set()
        while left := [number for number in look.written if number not in done]:
            assert look.generations is not None  # noqa: S101 - something is written to
            place = Place(facts.tenant, facts.document_id, left[0], look.generations.groups(left[0]))
            record = await self._put_version(place, facts, (version, stored), look)
            done.add(left[0])
            head = None if record is None else record.head(left[0])
            if head is not None and head.live == version:
                # It serves: a generation that was begun meanwhile would serve what was before.
                look = await self._heads.look(facts.document_id, facts.tenant)
            else:
                # It waits: whoever makes it live looks which generations there are.
                look = replace(look, record=record)

    async def put_vectors(self, document_id: DocumentId, version: int, vectors: Sequence[ChunkVectors], model_digest: str) -> None:
        """Add embeddings to stored chunks; a version no longer stored is left alone.

        Beside a generation that takes them, one that holds another model's keeps those: it is on its way out or being replaced.
        """
        done: set[int] = set()
        refusals: list[OtherModelError] = []
        while vectors and (places := _places(look := await self._heads.look(document_id), document_id, done, version)):
            for place in places:
                try:
                    await self._vectors.put(place, (version, vectors), model_digest, look)
                except OtherModelError as error:
                    refusals.append(error)
                done.add(place.generation)
        if refusals and len(refusals) == len(done):
            raise refusals[0]

    async def make_live(self, document_id: DocumentId, version: int, facts: AccessFacts | None = None) -> None:
        """Serve a stored version, under facts when they are as new as those known, and drop the older ones.

        Raises ConflictError when it is not stored where searches go.
        """

        def wanted(head: Head | None) -> Head | None:
            live = _with_live(head, version)
            return live if facts is None else _with_facts(live, facts)

        done: set[int] = set()
        tenant, fresh = None if facts is None else facts.tenant, self._kept.take(document_id, version)
        look = await self._heads.look(document_id)
        # A generation that is being built may not have this version yet: whoever builds it brings it.
        while places := _places(look, document_id, done, version):
            place = places[0]
            record = await self._heads.change((tenant, document_id, place.generation), wanted, look)
            look = await self._chunks.settle(place, record, fresh.get(place.generation))
            done.add(place.generation)
        if look.generations is None or look.generations.live not in done:
            # Stored before a rebuild began and not copied, as it was not live then: its writer must store it again.
            raise _not_stored()

    async def put_access(self, facts: AccessFacts) -> None:
        """Replace the facts of a document and of its stored versions; facts older than those stored are ignored."""
        done: set[int] = set()
        look = await self._heads.look(facts.document_id)
        while places := _places(look, facts.document_id, done):
            place = places[0]
            target = (facts.tenant, facts.document_id, place.generation)
            changed = await self._heads.change(target, lambda known: _with_facts(known, facts), look)
            head = None if changed is None else changed.head(place.generation)
            is_served = head is not None and head.live is not None
            look = await (self._chunks.settle(place) if is_served else self._heads.look(facts.document_id))
            done.add(place.generation)

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

    async def discard(self, tenant: TenantId, document_id: DocumentId, version: int) -> None:
        """Delete a version that is not live: the work that would have made it so was called off."""
        done: set[int] = set()
        look = await self._heads.look(document_id, tenant)
        if look.record is None or look.record.tenant != tenant:
            return
        while places := _places(look, document_id, done, version):
            place = places[0]
            await self._heads.change((tenant, document_id, place.generation), lambda head: _without_version(head, version), look)
            look = await self._chunks.settle(place)
            done.add(place.generation)

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

    async def _put_version(self, place: Place, facts: AccessFacts, given: tuple[int, list[StoredChunk]], look: Look) -> Record | None:
        version, chunks = given
        digest, target = words_digest(chunks), (place.tenant, place.document_id, place.generation)
        is_new = False

        def known_from_now(head: Head | None) -> Head:
            nonlocal is_new
            is_new = head is None or not (head.is_removed or version in head.versions)
            return _with_version(head, facts, version, "")

        known = await self._heads.change(target, known_from_now, look)
        if is_new and (fresh := await self._store_new(place, version, chunks)) is not None:
            self._kept.add(place, fresh)
            known = await self._heads.change(target, lambda head: _with_version(head, facts, version, digest), Look(known, None))
            head = None if known is None else known.head(place.generation)
            if head is not None and head.live == version:
                # Another writer of this version was faster, and has not seen these chunks.
                await self._chunks.settle(place)
            return known
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
        return known

    async def _store_new(self, place: Place, version: int, chunks: Sequence[StoredChunk]) -> Fresh | None:
        """Store chunks of a version that was not known before; `None` when something lies where one of them belongs."""
        index = self._cluster.rules.index(place.tenant, place.generation)
        noted: dict[str, tuple[int, int]] = {}
        operations = [self._chunks.operation(place, one, one.waiting(place.tenant), is_new=True) for one in chunks]
        if not await self._cluster.write(operations, noted):
            return None
        keys = [chunk_key(place.document_id, version, one.chunk_id) for one in chunks]
        if not all(key in noted for key in keys):
            return None
        at = [
            Listed(index, version, one.chunk_id, is_live=False, facts_digest="", seen=noted[key])
            for key, one in zip(keys, chunks, strict=True)
        ]
        return Fresh(version, list(zip(at, chunks, strict=True)))


class _Kept:
    """What this process has just stored and will make live in a moment, so that it need not be read again. It may forget at any time."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int], dict[int, Fresh]] = OrderedDict()

    def add(self, place: Place, fresh: Fresh) -> None:
        """Keep chunks as they were stored in one generation."""
        self._kept.setdefault((place.document_id, fresh.version), {})[place.generation] = fresh
        while sum(len(one.chunks) for kept in self._kept.values() for one in kept.values()) > _MOST_KEPT:
            self._kept.popitem(last=False)

    def take(self, document_id: str, version: int) -> dict[int, Fresh]:
        """What is kept of a version, by generation; it is forgotten."""
        return self._kept.pop((document_id, version), {})


def _places(look: Look, document_id: DocumentId, done: AbstractSet[int], version: int | None = None) -> list[Place]:
    """Where a document is known, with this version if one is named, among the generations that are written to and not done yet.

    Asked until there is none left: a generation that is begun, or given the document, during a write would serve what was before.
    """
    record, present = look.record, look.generations
    if record is None or present is None:
        return []
    places = []
    for number in present.written:
        head = record.head(number)
        if head is None or number in done or (version is not None and (head.is_removed or version not in head.versions)):
            continue
        places.append(Place(record.tenant, document_id, number, present.groups(number)))
    return places


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


def _without_version(head: Head | None, version: int) -> Head | None:
    if head is None or head.is_removed or head.live == version:
        return None
    return replace(head, versions={number: one for number, one in head.versions.items() if number != version})


def _all_removed(heads: Mapping[int, Head]) -> Mapping[int, Head] | None:
    return {number: replace(head, live=None, is_removed=True) for number, head in heads.items()} or None


def _without_removed(heads: Mapping[int, Head], written: Sequence[int]) -> Mapping[int, Head] | None:
    """What somebody else has written anew stays."""
    return {number: head for number, head in heads.items() if number in written and not head.is_removed}


def _not_stored() -> ConflictError:
    return ConflictError("This version is not in the index.")
