"""Heads: one record a document that says what the gateway wants of its chunks, changed by compare-and-swap.

A head is written before the chunks it speaks of and read again after them, so that a writer that dies or is overtaken leaves chunks that
the next write brings in line, and never a chunk that is served under facts nobody decided.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from app.domain.content import DocumentId
from app.domain.identity import TenantId
from app.domain.search import AccessFacts
from app.errors import ConflictError, UpstreamUnavailableError
from app.index.facts import decode_facts
from app.index.opensearch.connection import Cluster, Reply, VersionConflictError, path_of
from app.index.opensearch.documents import malformed
from app.index.opensearch.rules import head_key, model_key, tenant_key

_ATTEMPTS = 30
_MOST_TENANTS = 10_000


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A version's own facts, as encoded, and the digest of its words; empty until all of its chunks were written."""

    facts: str
    acl_version: int
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """What is wanted of a document in one generation. `is_removed`: chunks are being deleted, and the head will be."""

    facts: str
    acl_version: int
    live: int | None = None
    versions: Mapping[int, StoredVersion] = field(default_factory=dict)
    is_removed: bool = False

    def served_facts(self, document_id: str) -> AccessFacts | None:
        """The facts the live version is served under; `None` when they cannot be read: then nobody is served."""
        return decode_facts(document_id, self.facts)

    def to_state(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "facts": self.facts,
            "acl_version": self.acl_version,
            "live": self.live,
            "versions": {str(number): [one.facts, one.acl_version, one.digest] for number, one in self.versions.items()},
            "is_removed": self.is_removed,
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> "Head":
        """Out of JSON. Raises UpstreamUnavailableError when it is none of ours."""
        try:
            versions = {int(number): StoredVersion(*parts) for number, parts in state["versions"].items()}
            return cls(state["facts"], state["acl_version"], state["live"], versions, state["is_removed"])
        except (KeyError, TypeError, ValueError) as error:
            raise malformed() from error


@dataclass(frozen=True, slots=True)
class Record:
    """A head record as read: one head a generation, and where it stood."""

    tenant: TenantId
    document_id: DocumentId
    heads: Mapping[int, Head]
    seen: tuple[int, int] | None

    def head(self, generation: int) -> Head | None:
        """The head in a generation, unless the document is unknown there."""
        return self.heads.get(generation)


@dataclass(frozen=True, slots=True)
class Generations:
    """Which generations of a tenant are written to; searches go to the one behind the alias, the first.

    `own` are the collections with an index of their own, by generation: a changed setting holds for the next one that is built.
    """

    live: int
    building: int | None = None
    own: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    is_old: bool = False
    """Written by an earlier release, which named no collections."""

    @property
    def written(self) -> tuple[int, ...]:
        """All that a write goes to."""
        return (self.live,) if self.building is None else (self.live, self.building)

    @property
    def is_swapped(self) -> bool:
        """Whether the other one, which is older, served before: it is kept to be looked at, and serves no more."""
        return self.building is not None and self.building < self.live

    def groups(self, generation: int) -> tuple[str, ...]:
        """The groups of one: the common one and the collections with an index of their own."""
        return ("", *self.own.get(generation, ()))


@dataclass(frozen=True, slots=True)
class Look:
    """What is on record of a document and of its tenant, read in one request."""

    record: Record | None
    generations: Generations | None
    models: Mapping[int, str] = field(default_factory=dict)
    """Digests of the models whose vectors generations hold, of those that were asked for."""

    @property
    def written(self) -> tuple[int, ...]:
        """All generations that a write goes to."""
        return () if self.generations is None else self.generations.written

    def head(self, generation: int) -> Head | None:
        """The document's head in a generation, unless it is unknown there."""
        return None if self.record is None else self.record.head(generation)


Change = Callable[[Head | None], Head | None]
ChangeAll = Callable[[Mapping[int, Head]], Mapping[int, Head] | None]


class Heads:
    """The index of heads."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._index = cluster.rules.heads
        self._guess: tuple[TenantId | None, tuple[int, ...]] = (None, ())

    async def look(self, document_id: DocumentId, tenant: TenantId | None = None) -> Look:
        """Read a document's record and its tenant's as they are now, of the tenant it belongs to unless one is named.

        What was read last tells which records to ask for: guessed wrong, it costs a second request.
        """
        for _ in range(2):
            guess, numbers = self._guess if tenant is None or tenant == self._guess[0] else (tenant, ())
            keys = [head_key(document_id)]
            if guess is not None:
                keys += [tenant_key(guess), *(model_key(guess, number) for number in numbers)]
            found = await self._cluster.records(self._index, keys)
            record = _record(document_id, found[0])
            owner = tenant or (None if record is None else record.tenant)
            if owner is None:
                return Look(None, None)
            if owner == guess:
                break
            self._guess = (owner, ())
        else:
            raise _too_many_changes()
        present = _generations(found[1])
        models = {number: _model(one) for number, one in zip(numbers, found[2:], strict=True)}
        self._guess = (owner, () if present is None else present[0].written)
        return Look(record, None if present is None else present[0], models)

    async def record(self, document_id: DocumentId) -> Record | None:
        """Read a document's record as it is now, refreshed or not."""
        found = await self._cluster.ask("GET", path_of(self._index, "_doc", head_key(document_id)))
        return _record(document_id, found)

    async def change(self, target: tuple[TenantId | None, DocumentId, int], change: Change, look: Look | None = None) -> Record | None:
        """Change a document's head in one generation, again and again until nobody else did at the same time.

        `change` gets the present head and returns the wanted one; returning `None` leaves all as it is. `target` names the tenant
        (`None`: whichever it belongs to), document and generation. What was read just now, `look`, is not read again. Raises
        ConflictError when the document belongs to another tenant.
        """
        tenant, document_id, generation = target

        def changed(heads: Mapping[int, Head]) -> Mapping[int, Head] | None:
            wanted = change(heads.get(generation))
            return None if wanted is None else {**heads, generation: wanted}

        return await self.change_all(tenant, document_id, changed, look)

    async def change_all(
        self, tenant: TenantId | None, document_id: DocumentId, change: ChangeAll, look: Look | None = None
    ) -> Record | None:
        """Change a document's heads in all generations at once, as `change` does one; without any left the record goes too."""
        for attempt in range(_ATTEMPTS):
            record = look.record if look is not None and attempt == 0 else await self.record(document_id)
            if record is not None and tenant is not None and record.tenant != tenant:
                message = "A document of this id belongs to another tenant."
                raise ConflictError(message)
            heads = change({} if record is None else record.heads)
            owner = record.tenant if record is not None else tenant
            if heads is None or owner is None or (record is not None and heads == record.heads):
                return record
            try:
                return await self._put(Record(owner, document_id, heads, record.seen if record else None))
            except VersionConflictError:
                continue
        raise _too_many_changes()

    async def generations(self, tenant: TenantId) -> tuple[Generations, tuple[int, int]] | None:
        """Which generations a tenant has, and where that record stood; `None` for a tenant that never stored anything."""
        found = await self._cluster.ask("GET", path_of(self._index, "_doc", tenant_key(tenant)))
        return _generations(found)

    async def tenants(self) -> list[TenantId]:
        """Every tenant that has stored anything."""
        await self._cluster.refresh(self._index)
        body = {"size": _MOST_TENANTS, "track_total_hits": False, "query": {"term": {"kind": "tenant"}}, "_source": ["tenant"]}
        replies = await self._cluster.search_many(self._index, [body])
        if replies is None:
            message = "The index of heads is missing."
            raise UpstreamUnavailableError(message)
        return sorted(TenantId(hit["_source"]["tenant"]) for hit in replies[0]["hits"]["hits"])

    async def put_generations(self, tenant: TenantId, wanted: Generations, seen: tuple[int, int] | None) -> None:
        """Write a tenant's record. Raises VersionConflictError when it is not as it was read."""
        own = {str(number): list(wanted.own.get(number, ())) for number in wanted.written}
        state = {"live": wanted.live, "building": wanted.building, "own": own}
        body = {"kind": "tenant", "tenant": tenant, "state": state}
        await self._cluster.ask("PUT", path_of(self._index, "_doc", tenant_key(tenant)), body, _condition(seen))

    async def _put(self, record: Record) -> Record | None:
        path = path_of(self._index, "_doc", head_key(record.document_id))
        if not record.heads:
            if record.seen is not None:
                await self._cluster.ask("DELETE", path, params=_condition(record.seen))
            return None
        body = {
            "kind": "document",
            "tenant": record.tenant,
            "document_id": record.document_id,
            "state": {str(number): head.to_state() for number, head in record.heads.items()},
        }
        written = await self._cluster.ask("PUT", path, body, _condition(record.seen))
        if written is None:
            raise malformed()
        return replace(record, seen=(written["_seq_no"], written["_primary_term"]))


def _record(document_id: DocumentId, found: Reply | None) -> Record | None:
    if found is None or found.get("found") is not True:
        return None
    try:
        source = found["_source"]
        heads = {int(number): Head.of_state(state) for number, state in source["state"].items()}
        return Record(source["tenant"], document_id, heads, (found["_seq_no"], found["_primary_term"]))
    except (KeyError, TypeError, ValueError) as error:
        raise malformed() from error


def _generations(found: Reply | None) -> tuple[Generations, tuple[int, int]] | None:
    if found is None or found.get("found") is not True:
        return None
    try:
        state = found["_source"]["state"]
        own = {int(number): tuple(names) for number, names in state.get("own", {}).items()}
        present = Generations(state["live"], state["building"], own, is_old="own" not in state)
        return present, (found["_seq_no"], found["_primary_term"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise malformed() from error


def _model(found: Reply | None) -> str:
    try:
        return "" if found is None else str(found["_source"]["state"]["model"])
    except (KeyError, TypeError) as error:
        raise malformed() from error


def _too_many_changes() -> UpstreamUnavailableError:
    return UpstreamUnavailableError("Another writer keeps changing this document.")


def _condition(seen: tuple[int, int] | None) -> dict[str, str]:
    if seen is None:
        return {"op_type": "create"}
    return {"if_seq_no": str(seen[0]), "if_primary_term": str(seen[1])}
