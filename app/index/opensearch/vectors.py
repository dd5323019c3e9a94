"""Vectors of stored chunks: written as they are made, and taken over from the generation that serves into the one being built."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from app.domain.identity import TenantId
from app.domain.search import ChunkVectors
from app.errors import ConfigurationError, ConflictError, UpstreamUnavailableError
from app.index.opensearch.chunks import Chunks, Listed, Place
from app.index.opensearch.connection import Cluster, VersionConflictError, path_of
from app.index.opensearch.documents import Document, StoredChunk, facts_digest, malformed
from app.index.opensearch.heads import Head, Heads, Look
from app.index.opensearch.rules import model_key
from app.index.words import clean

_ATTEMPTS = 30

Wanted = Callable[[StoredChunk], StoredChunk]
"""A stored chunk as it should be; the same where nothing is to change."""


class OtherModelError(ConfigurationError):
    """A generation holds vectors of another embedding model."""


class Vectors:
    """Writes vectors to one generation of one document at a time."""

    def __init__(self, cluster: Cluster, heads: Heads) -> None:
        self._cluster = cluster
        self._heads = heads
        self._chunks = Chunks(cluster, heads)

    async def put(self, place: Place, given: tuple[int, Sequence[ChunkVectors]], model_digest: str, look: Look) -> None:
        """Add vectors to a version's chunks, in place of those they have. Raises OtherModelError and ConflictError.

        The next search may miss them; the server's next refresh shows them. `look` is what was on record just now.
        """
        version, vectors = given
        by_id = {clean(item.chunk_id): item for item in vectors}
        for item in vectors:
            if len(item.chunk) != self._cluster.rules.dim:
                message = "The vectors are not as wide as the index was made for: rebuild the index for this embedding model."
                raise ConfigurationError(message)
        if look.models.get(place.generation) == model_digest and await self._put_as_listed(place, version, by_id, look):
            return
        for _ in range(_ATTEMPTS):
            listed = {one.chunk_id: one for one in await self._chunks.listed(place) if one.version == version}
            if not listed:
                return
            if not by_id.keys() <= listed.keys():
                message = "Vectors were given for chunks this version does not have."
                raise ConflictError(message)
            await self._require_model(place, model_digest)
            wanted = [listed[name] for name in by_id]
            if await self._write(place, wanted, lambda chunk: chunk.with_vectors(by_id[chunk.chunk_id])):
                return
        raise _too_many_changes()

    async def _put_as_listed(self, place: Place, version: int, by_id: Mapping[str, ChunkVectors], look: Look) -> bool:
        """Add vectors to chunks as the last refresh showed them; false when one is not as the head says, or has changed since.

        What a chunk carries besides stays as it is: facts of a head read before the chunk could be older than the chunk's own.
        """
        head = look.head(place.generation)
        facts = None if head is None or head.live != version else head.served_facts(place.document_id)
        found = [one for one in await self._chunks.named(place, list(by_id)) if one[0].version == version]
        if head is None or {one.chunk_id for one, _ in found} != by_id.keys() or len(found) != len(by_id):
            return False
        operations = []
        for one, chunk in found:
            fresh = chunk.with_vectors(by_id[chunk.chunk_id])
            if not one.is_live:
                operations.append(self._chunks.operation(place, fresh, fresh.waiting(place.tenant), one))
            elif facts is not None and one.facts_digest == facts_digest(head.facts):
                operations.append(self._chunks.operation(place, fresh, fresh.live(facts), one))
            else:
                return False
        return await self._cluster.write(operations)

    async def copy(self, source: Place, target: Place, version: int) -> None:
        """Take vectors over to chunks of a version that have none, never over others: those may be newer, and less may be shown in them.

        Chunks whose words are written anew meanwhile get none: these vectors are of the words before.
        """
        model = await self.model(source.tenant, source.generation)
        digest = self._digest(await self._head(target), version)
        if not model or not digest:
            return
        listed = [one for one in await self._chunks.listed(source) if one.version == version]
        held = {one.chunk_id: one for _, one in await self._chunks.stored(source, listed) if one.packed is not None}
        for _ in range(_ATTEMPTS):
            listed = [one for one in await self._chunks.listed(target) if one.version == version and one.chunk_id in held]
            if not listed:
                return
            await self._require_model(target, model)
            if await self._write(target, listed, lambda chunk: _filled(chunk, held[chunk.chunk_id]), digest=digest):
                return
        raise _too_many_changes()

    async def model(self, tenant: TenantId, generation: int) -> str:
        """Digest of the model whose vectors a generation holds; empty while it never had any."""
        found = await self._cluster.ask("GET", path_of(self._cluster.rules.heads, "_doc", model_key(tenant, generation)))
        if found is None or not found.get("found"):
            return ""
        try:
            return str(found["_source"]["state"]["model"])
        except (KeyError, TypeError) as error:
            raise malformed() from error

    async def _write(self, place: Place, listed: Sequence[Listed], wanted: Wanted, *, digest: str = "") -> bool:
        """Write chunks with their vectors as they stand otherwise; false when somebody else changed one in the meantime.

        With a digest of the version's words, nothing is written once they are others.
        """
        stored = await self._chunks.stored(place, listed)
        record = await self._heads.record(place.document_id)
        head = None if record is None else record.head(place.generation)
        if digest and (not stored or self._digest(head, stored[0][0].version) != digest):
            return True
        facts = None if head is None else head.served_facts(place.document_id)
        operations = []
        for one, chunk in stored:
            fresh = wanted(chunk)
            if fresh == chunk:
                continue
            is_live = one.is_live and facts is not None and head is not None and head.live == one.version
            document: Document = fresh.live(facts) if is_live and facts is not None else fresh.waiting(place.tenant)
            operations.append(self._chunks.operation(place, fresh, document, one))
        is_whole = len(stored) == len(listed) and await self._cluster.write(operations)
        again = await self._heads.record(place.document_id)
        # Facts that changed since were settled before these writes, or will find them.
        return is_whole and (again.seen if again else None) == (record.seen if record else None)

    async def _head(self, place: Place) -> Head | None:
        record = await self._heads.record(place.document_id)
        return None if record is None else record.head(place.generation)

    def _digest(self, head: Head | None, version: int) -> str:
        return "" if head is None or version not in head.versions else head.versions[version].digest

    async def _require_model(self, place: Place, model_digest: str) -> None:
        """Refuse vectors of another model while any are stored: cosines between two models mean nothing."""
        path = path_of(self._cluster.rules.heads, "_doc", model_key(place.tenant, place.generation))
        found = await self._cluster.ask("GET", path)
        held = found["_source"]["state"]["model"] if found is not None and found.get("found") else None
        if held == model_digest:
            return
        if held is not None and await self._has_vectors(place):
            message = "The index holds vectors of another embedding model: rebuild the index."
            raise OtherModelError(message)
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


def _filled(chunk: StoredChunk, held: StoredChunk) -> StoredChunk:
    return chunk if chunk.packed is not None else replace(chunk, packed=held.packed, context=held.context, standalone=held.standalone)


def _too_many_changes() -> UpstreamUnavailableError:
    return UpstreamUnavailableError("Another writer keeps changing this document.")
