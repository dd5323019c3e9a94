"""Queries of the re-check: what the register says now of chunks that a search found."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, bindparam, select

from app.domain.access import Acl, AclMode, Resource
from app.domain.content import ChunkId, DocumentState, StoredPassage
from app.domain.identity import Principal, TenantId
from app.storage.document_shapes import chunk_of, document_of, spans_from_json
from app.storage.tables import chunk, collection, document, document_version
from app.storage.transaction import Transaction

# The tenant is compared with what comes back, not here: both databases took an index on it and walked all its documents instead of
# fifty keys (200 ms at 10,000 documents).
_LIVE_NOW = (
    chunk.c.chunk_id.in_(bindparam("chunk_ids", expanding=True)),
    document.c.state == DocumentState.LIVE.value,
    document.c.live_version == chunk.c.version,
    document.c.valid_until.is_(None) | (document.c.valid_until > bindparam("now", type_=document.c.valid_until.type)),
)
"""A chunk is one of those asked about, of a live version of a live document that is still valid; of whatever tenant."""
_FACTS = ("tenant", "collection", "label", "sensitivity", "acl_mode", "acl_allow", "acl_deny")
# Statements are built once: building one takes as long as running it.
_RESOURCES = (
    select(chunk.c.chunk_id, *(document.c[name] for name in _FACTS))
    .join(document, document.c.document_id == chunk.c.document_id)
    .where(*_LIVE_NOW)
)
_PASSAGES = (
    select(
        *chunk.c,
        document_version.c.title.label("version_title"),
        document_version.c.title_spans,
        document_version.c.source_spans,
        document_version.c.detector_digest,
        collection.c.redaction_profile,
        *(column.label(f"document_{column.name}") for column in document.c),
    )
    .join(document, document.c.document_id == chunk.c.document_id)
    .join(document_version, (document_version.c.document_id == chunk.c.document_id) & (document_version.c.version == chunk.c.version))
    .join(collection, (collection.c.tenant == document.c.tenant) & (collection.c.name == document.c.collection))
    .where(*_LIVE_NOW)
)


async def live_resources(tx: Transaction, tenant: TenantId, chunk_ids: Sequence[ChunkId]) -> dict[ChunkId, Resource]:
    """What policy is asked about, for each chunk of a live version of a live document of the tenant right now; others are absent."""
    found = {}
    rows = await tx.connection.execute(_RESOURCES, _asked(chunk_ids))
    for name, of_tenant, in_collection, label, sensitivity, mode, allow, deny in rows.all():
        if of_tenant != tenant:
            continue
        acl = Acl(AclMode(mode), frozenset(map(Principal, allow)), frozenset(map(Principal, deny)))
        found[ChunkId(name)] = Resource(TenantId(of_tenant), in_collection, frozenset({label}), sensitivity, acl)
    return found


async def stored_passages(tx: Transaction, tenant: TenantId, chunk_ids: Sequence[ChunkId]) -> dict[ChunkId, StoredPassage]:
    """The chunks that are part of a live version of a live document of the tenant right now; others are absent.

    One query: this is the re-check against the database of record, so text, ACL, label and state are of one snapshot.
    """
    rows = await tx.connection.execute(_PASSAGES, _asked(chunk_ids))
    return {ChunkId(row.chunk_id): _stored_passage(row) for row in rows.all() if row.document_tenant == tenant}


def _asked(chunk_ids: Sequence[ChunkId]) -> dict[str, object]:
    return {"chunk_ids": list(chunk_ids), "now": datetime.now(UTC)}


def _stored_passage(row: Row[Any]) -> StoredPassage:
    return StoredPassage(
        chunk=chunk_of(row),
        spans=spans_from_json(row.spans),
        detector_digest=row.detector_digest,
        document=document_of(row, "document_"),
        version=row.version,
        heading_spans=tuple(spans_from_json(spans) for spans in row.heading_spans),
        title_spans=spans_from_json(row.title_spans),
        source_spans=spans_from_json(row.source_spans),
        redaction_profile=row.redaction_profile,
    )
