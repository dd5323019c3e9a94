"""Changes to what is indexed. Each writes what it wants into the document's head, then brings the chunks in line; all may be repeated."""

from collections.abc import AsyncIterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from app.domain.content import DocumentId
from app.domain.identity import TenantId
from app.domain.search import AccessFacts, ChunkVectors, IndexedChunk
from app.errors import ConflictError
from app.index.facts import encode_facts
from app.index.opensearch.chunks import Chunks, Place
from app.index.opensearch.connection import Cluster
from app.index.opensearch.documents import StoredChunk, words_digest
from app.index.opensearch.heads import Head, Heads, StoredVersion
from app.index.opensearch.indexes import Indexes
from app.index.opensearch.vectors import OtherModelError, Vectors

_ATTEMPTS = 30


class Writer:
    """Writes to every generation of a tenant that is written to."""

    def __init__(self, cluster: Cluster, indexes: Indexes) -> None:
        self._cluster = cluster
        self._indexes = indexes
        self._heads: Heads = indexes.heads
        self._chunks = Chunks(cluster, indexes.heads)
        self._vectors = Vectors(cluster, indexes.heads)

    async def put_version(self, facts: AccessFacts, version: int, chunks: Sequence[IndexedChunk]) -> None:
        """Store a version's words. A repeat with the same words keeps its vectors; with other words it replaces everything."""
        stored = [StoredChunk.of(facts.document_id, version, chunk) for chunk in chunks]
        await self._indexes.ensure(facts.tenant)
        async for place in self._written(facts.tenant, facts.document_id):
            await self._put_version(place, facts, (version, stored))

    async def put_vectors(self, document_id: DocumentId, version: int, vectors: Sequence[ChunkVectors], model_digest: str) -> None:
        """Add embeddings to stored chunks; a version no longer stored is left alone.

        Beside a generation that takes them, one that holds another model's keeps those: it is on its way out or being replaced.
        """
        done: set[int] = set()
        refusals: list[OtherModelError] = []
        while vectors and (found := await self._places(document_id, done, version)).places:
            for place, _ in found.places:
                try:
                    await self._vectors.put(place, version, vectors, model_digest)
                except OtherModelError as error:
                    refusals.append(error)
                done.add(place.generation)
        if refusals and len(refusals) == len(done):
            raise refusals[0]

    async def make_live(self, document_id: DocumentId, version: int) -> None:
        """Serve a stored version under its facts and drop the older ones. Raises ConflictError when it is not stored where searches go."""
        done: set[int] = set()
        while (found := await self._places(document_id, done, version)).places:
            for place, _ in found.places:
                # A generation that is being built may not have this version yet: whoever builds it brings it.
                await self._heads.change((None, document_id, place.generation), lambda known: _with_live(known, version))
                await self._chunks.settle(place)
                done.add(place.generation)
        if found.live not in done:
            # Stored before a rebuild began and not copied, as it was not live then: its writer must store it again.
            raise _not_stored()

    async def put_access(self, facts: AccessFacts) -> None:
        """Replace the facts of a document and of its stored versions; facts older than those stored are ignored."""
        done: set[int] = set()
        while places := (await self._places(facts.document_id, done)).places:
            for place, _ in places:
                target = (facts.tenant, facts.document_id, place.generation)
                changed = await self._heads.change(target, lambda known: _with_facts(known, facts))
                if changed is not None and (head := changed.head(place.generation)) is not None and head.live is not None:
                    await self._chunks.settle(place)
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

    async def _places(self, document_id: DocumentId, done: AbstractSet[int], version: int | None = None) -> "_Found":
        """Where a document is known, with this version if one is named, among the generations that are written to and not done yet.

        Asked until there is none left: a generation that is begun, or given the document, during a write would serve what was before.
        """
        record = await self._heads.record(document_id)
        found = None if record is None else await self._heads.generations(record.tenant)
        if record is None or found is None:
            return _Found(None, [])
        places = []
        for number in found[0].written:
            head = record.head(number)
            if head is None or number in done or (version is not None and (head.is_removed or version not in head.versions)):
                continue
            places.append((Place(record.tenant, document_id, number, found[0].groups(number)), head))
        return _Found(found[0].live, places)

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


@dataclass(frozen=True, slots=True)
class _Found:
    live: int | None
    """The generation that serves."""
    places: list[tuple[Place, Head]]


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
