"""Queries over collections, documents, versions and chunks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, func, insert, select, update

from app.domain.access import Acl, AclMode, Resource
from app.domain.content import Chunk, ChunkId, Collection, Document, DocumentId, DocumentState, Sentence, StoredPassage
from app.domain.identity import Principal, TenantId
from app.domain.privacy import Span
from app.storage.tables import chunk, collection, document, document_version
from app.storage.transaction import Transaction

_CHUNKS_PER_INSERT = 500


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A version as it is stored: raw text and its spans."""

    document_id: DocumentId
    version: int
    title: str
    title_spans: tuple[Span, ...]
    source_spans: tuple[Span, ...]
    text: str
    spans: tuple[Span, ...]
    content_sha256: str
    media_type: str
    size_bytes: int
    detector_digest: str
    embedder_digest: str | None
    submitted_by: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class AnalyzedChunk:
    """A chunk with the spans of its text and of each of its headings."""

    chunk: Chunk
    spans: tuple[Span, ...]
    heading_spans: tuple[tuple[Span, ...], ...]


def spans_to_json(spans: Sequence[Span]) -> list[list[Any]]:
    """Compact form of spans: [start, end, type, score, recognizer]."""
    return [[span.start, span.end, span.entity_type, round(span.score, 3), span.recognizer] for span in spans]


def spans_from_json(rows: Sequence[Sequence[Any]]) -> tuple[Span, ...]:
    """The inverse of `spans_to_json`."""
    return tuple(Span(*row) for row in rows)


async def get_collection(tx: Transaction, tenant: TenantId, name: str) -> Collection | None:
    """One collection, or `None`."""
    statement = select(collection).where(collection.c.tenant == tenant, collection.c.name == name)
    row = (await tx.connection.execute(statement)).one_or_none()
    return None if row is None else _collection(row)


async def list_collections(tx: Transaction, tenant: TenantId) -> list[Collection]:
    """Every collection of a tenant by name."""
    rows = await tx.connection.execute(select(collection).where(collection.c.tenant == tenant).order_by(collection.c.name))
    return [_collection(row) for row in rows]


async def redaction_profiles(tx: Transaction, tenant: TenantId) -> dict[str, str]:
    """Name of the redaction profile by collection."""
    rows = await tx.connection.execute(select(collection.c.name, collection.c.redaction_profile).where(collection.c.tenant == tenant))
    return {row.name: row.redaction_profile for row in rows}


async def put_collection(tx: Transaction, value: Collection) -> None:
    """Insert or replace a collection's settings."""
    values = {
        "title": value.title,
        "steward": value.steward,
        "default_label": value.default_label,
        "languages": list(value.languages),
        "retention_days": value.retention_days,
        "redaction_profile": value.redaction_profile,
        "model_routing": value.model_routing,
    }
    same = (collection.c.tenant == value.tenant, collection.c.name == value.name)
    changed = await tx.connection.execute(update(collection).where(*same).values(**values))
    if changed.rowcount == 0:
        await tx.connection.execute(insert(collection).values(tenant=value.tenant, name=value.name, created_at=value.created_at, **values))


async def get_document(tx: Transaction, tenant: TenantId, document_id: DocumentId) -> Document | None:
    """One document of the tenant in any state, or `None`."""
    statement = select(document).where(document.c.tenant == tenant, document.c.document_id == document_id)
    row = (await tx.connection.execute(statement)).one_or_none()
    return None if row is None else _document(row)


async def find_external(tx: Transaction, tenant: TenantId, collection_name: str, external_id: str) -> tuple[Document, int] | None:
    """(document, last version given out) by the source's own id within a collection, or `None`."""
    statement = select(document).where(
        document.c.tenant == tenant, document.c.collection == collection_name, document.c.external_id == external_id
    )
    row = (await tx.connection.execute(statement)).one_or_none()
    return None if row is None else (_document(row), row.last_version)


async def list_documents(tx: Transaction, tenant: TenantId, collection_name: str, after: DocumentId | None, limit: int) -> list[Document]:
    """Documents of a collection by id, in any state, at most `limit`, after `after`."""
    statement = select(document).where(document.c.tenant == tenant)
    if collection_name:
        statement = statement.where(document.c.collection == collection_name)
    if after is not None:
        statement = statement.where(document.c.document_id > after)
    rows = await tx.connection.execute(statement.order_by(document.c.document_id).limit(limit))
    return [_document(row) for row in rows]


async def insert_document(tx: Transaction, value: Document, last_version: int) -> None:
    """Store a new document."""
    await tx.connection.execute(insert(document).values(**_document_values(value), last_version=last_version))


async def update_document(tx: Transaction, value: Document, last_version: int | None = None) -> None:
    """Replace every fact of a document."""
    values = _document_values(value)
    if last_version is not None:
        values["last_version"] = last_version
    await tx.connection.execute(update(document).where(document.c.document_id == value.document_id).values(**values))


async def put_version(tx: Transaction, row: VersionRow, chunks: Sequence[AnalyzedChunk]) -> None:
    """Store a version with its chunks and their spans, replacing an earlier attempt at the same version."""
    await _drop_version(tx, row.document_id, row.version)
    await tx.connection.execute(
        insert(document_version).values(
            document_id=row.document_id,
            version=row.version,
            title=row.title,
            title_spans=spans_to_json(row.title_spans),
            source_spans=spans_to_json(row.source_spans),
            text=row.text,
            spans=spans_to_json(row.spans),
            content_sha256=row.content_sha256,
            media_type=row.media_type,
            size_bytes=row.size_bytes,
            detector_digest=row.detector_digest,
            embedder_digest=row.embedder_digest,
            submitted_by=row.submitted_by,
            created_at=row.created_at,
        )
    )
    for start in range(0, len(chunks), _CHUNKS_PER_INSERT):
        part = chunks[start : start + _CHUNKS_PER_INSERT]
        await tx.connection.execute(insert(chunk), [_chunk_values(row, one) for one in part])


async def _drop_version(tx: Transaction, document_id: DocumentId, version: int) -> None:
    await tx.connection.execute(delete(chunk).where(chunk.c.document_id == document_id, chunk.c.version == version))
    same = (document_version.c.document_id == document_id, document_version.c.version == version)
    await tx.connection.execute(delete(document_version).where(*same))


async def withdrawn_before(tx: Transaction, tenant: TenantId, moment: datetime, limit: int) -> list[DocumentId]:
    """Withdrawn documents that still hold text and were last changed before `moment`, at most `limit`."""
    statement = (
        select(document.c.document_id)
        .join(document_version, document_version.c.document_id == document.c.document_id)
        .where(document.c.tenant == tenant, document.c.state == DocumentState.WITHDRAWN.value, document.c.updated_at < moment)
    )
    rows = await tx.connection.execute(statement.distinct().order_by(document.c.document_id).limit(limit))
    return [DocumentId(row.document_id) for row in rows]


async def purge_document(tx: Transaction, document_id: DocumentId) -> None:
    """Remove every version and chunk of a withdrawn document; its row stays as a tombstone."""
    await tx.connection.execute(delete(chunk).where(chunk.c.document_id == document_id))
    await tx.connection.execute(delete(document_version).where(document_version.c.document_id == document_id))


async def set_embedder(tx: Transaction, document_id: DocumentId, version: int, digest: str) -> None:
    """Note that a version's vectors are complete under this embedder."""
    same = (document_version.c.document_id == document_id, document_version.c.version == version)
    await tx.connection.execute(update(document_version).where(*same).values(embedder_digest=digest))


async def get_version(tx: Transaction, document_id: DocumentId, version: int) -> VersionRow | None:
    """One version, or `None`."""
    statement = select(document_version).where(document_version.c.document_id == document_id, document_version.c.version == version)
    row = (await tx.connection.execute(statement)).one_or_none()
    return None if row is None else _version(row)


async def list_versions(tx: Transaction, document_id: DocumentId) -> list[tuple[int, datetime, str]]:
    """(version, stored at, content digest) of a document, oldest first."""
    columns = (document_version.c.version, document_version.c.created_at, document_version.c.content_sha256)
    rows = await tx.connection.execute(select(*columns).where(document_version.c.document_id == document_id).order_by(columns[0]))
    return [(row.version, row.created_at, row.content_sha256) for row in rows]


async def version_chunks(tx: Transaction, document_id: DocumentId, version: int) -> list[AnalyzedChunk]:
    """Chunks of a version with their spans, in order."""
    statement = select(chunk).where(chunk.c.document_id == document_id, chunk.c.version == version).order_by(chunk.c.ordinal)
    return [_analyzed(row) for row in await tx.connection.execute(statement)]


def _live_now(tenant: TenantId, chunk_ids: Sequence[ChunkId]) -> tuple[ColumnElement[bool], ...]:
    """Conditions that a chunk is one of `chunk_ids`, of a live version of a live document of the tenant that is still valid."""
    # Wrapped, so that no index on the tenant is taken: SQLite walked all its documents instead of fifty keys (200 ms at 10,000).
    of_tenant = func.coalesce(document.c.tenant, "") == tenant
    is_live = (document.c.state == DocumentState.LIVE.value) & (document.c.live_version == chunk.c.version)
    is_valid = document.c.valid_until.is_(None) | (document.c.valid_until > datetime.now(UTC))
    return chunk.c.chunk_id.in_(chunk_ids), of_tenant, is_live, is_valid


async def live_resources(tx: Transaction, tenant: TenantId, chunk_ids: Sequence[ChunkId]) -> dict[ChunkId, Resource]:
    """What policy is asked about, for each chunk of a live version of a live document of the tenant right now; others are absent."""
    one = document.c
    facts = (one.collection, one.label, one.sensitivity, one.acl_mode, one.acl_allow, one.acl_deny)
    statement = (
        select(chunk.c.chunk_id, document.c.tenant, *facts)
        .join(document, document.c.document_id == chunk.c.document_id)
        .where(*_live_now(tenant, chunk_ids))
    )
    found = {}
    for name, of_tenant, in_collection, label, sensitivity, mode, allow, deny in await tx.connection.execute(statement):
        acl = Acl(AclMode(mode), frozenset(map(Principal, allow)), frozenset(map(Principal, deny)))
        found[ChunkId(name)] = Resource(TenantId(of_tenant), in_collection, frozenset({label}), sensitivity, acl)
    return found


async def stored_passages(tx: Transaction, tenant: TenantId, chunk_ids: Sequence[ChunkId]) -> dict[ChunkId, StoredPassage]:
    """The chunks that are part of a live version of a live document of the tenant right now; others are absent.

    One query: this is the re-check against the database of record, so text, ACL, label and state are of one snapshot.
    """
    columns = (
        *chunk.c,
        document_version.c.title.label("version_title"),
        document_version.c.title_spans,
        document_version.c.source_spans,
        document_version.c.detector_digest,
        collection.c.redaction_profile,
    )
    statement = (
        select(*columns, *(column.label(f"document_{column.name}") for column in document.c))
        .join(document, document.c.document_id == chunk.c.document_id)
        .join(
            document_version,
            (document_version.c.document_id == chunk.c.document_id) & (document_version.c.version == chunk.c.version),
        )
        .join(collection, (collection.c.tenant == document.c.tenant) & (collection.c.name == document.c.collection))
        .where(*_live_now(tenant, chunk_ids))
    )
    rows = await tx.connection.execute(statement)
    return {ChunkId(row.chunk_id): _stored_passage(row) for row in rows}


def _stored_passage(row: Row[Any]) -> StoredPassage:
    return StoredPassage(
        chunk=_chunk(row),
        spans=spans_from_json(row.spans),
        detector_digest=row.detector_digest,
        document=_document(row, "document_"),
        version=row.version,
        heading_spans=tuple(spans_from_json(spans) for spans in row.heading_spans),
        title_spans=spans_from_json(row.title_spans),
        source_spans=spans_from_json(row.source_spans),
        redaction_profile=row.redaction_profile,
    )


def _chunk_values(row: VersionRow, analyzed: AnalyzedChunk) -> dict[str, object]:
    value = analyzed.chunk
    return {
        "chunk_id": value.chunk_id,
        "document_id": row.document_id,
        "version": row.version,
        "ordinal": value.ordinal,
        "text": value.text,
        "spans": spans_to_json(analyzed.spans),
        "heading_spans": [spans_to_json(spans) for spans in analyzed.heading_spans],
        "ranges": [list(pair) for pair in value.ranges],
        "heading_path": list(value.heading_path),
        "sentences": [[one.start, one.end, one.standalone, one.context] for one in value.sentences],
        "section": value.section,
    }


def _analyzed(row: Row[Any]) -> AnalyzedChunk:
    return AnalyzedChunk(_chunk(row), spans_from_json(row.spans), tuple(spans_from_json(spans) for spans in row.heading_spans))


def _chunk(row: Row[Any]) -> Chunk:
    return Chunk(
        chunk_id=ChunkId(row.chunk_id),
        ordinal=row.ordinal,
        text=row.text,
        ranges=tuple((start, end) for start, end in row.ranges),
        heading_path=tuple(row.heading_path),
        sentences=tuple(Sentence(*one) for one in row.sentences),
        section=row.section,
    )


def _version(row: Row[Any]) -> VersionRow:
    return VersionRow(
        document_id=DocumentId(row.document_id),
        version=row.version,
        title=row.title,
        title_spans=spans_from_json(row.title_spans),
        source_spans=spans_from_json(row.source_spans),
        text=row.text,
        spans=spans_from_json(row.spans),
        content_sha256=row.content_sha256,
        media_type=row.media_type,
        size_bytes=row.size_bytes,
        detector_digest=row.detector_digest,
        embedder_digest=row.embedder_digest,
        submitted_by=row.submitted_by,
        created_at=row.created_at,
    )


def _collection(row: Row[Any]) -> Collection:
    return Collection(
        tenant=TenantId(row.tenant),
        name=row.name,
        title=row.title,
        steward=row.steward,
        default_label=row.default_label,
        languages=tuple(row.languages),
        retention_days=row.retention_days,
        redaction_profile=row.redaction_profile,
        model_routing=row.model_routing,
        created_at=row.created_at,
    )


def _document_values(value: Document) -> dict[str, Any]:
    return {
        "document_id": value.document_id,
        "tenant": value.tenant,
        "collection": value.collection,
        "external_id": value.external_id,
        "title": value.title,
        "state": value.state.value,
        "live_version": value.live_version,
        "label": value.label,
        "sensitivity": value.sensitivity,
        "acl_mode": value.acl.mode.value,
        "acl_allow": sorted(value.acl.allow),
        "acl_deny": sorted(value.acl.deny),
        "acl_version": value.acl_version,
        "language": value.language,
        "source_uri": value.source_uri,
        "valid_until": value.valid_until,
        "created_at": value.created_at,
        "updated_at": value.updated_at,
    }


def _document(row: Row[Any], prefix: str = "") -> Document:
    def cell(name: str) -> Any:  # noqa: ANN401 - a column of any type
        return getattr(row, prefix + name)

    allow, deny = (frozenset(Principal(name) for name in cell(f"acl_{side}")) for side in ("allow", "deny"))
    return Document(
        tenant=TenantId(cell("tenant")),
        document_id=DocumentId(cell("document_id")),
        collection=cell("collection"),
        external_id=cell("external_id"),
        title=cell("title"),
        state=DocumentState(cell("state")),
        live_version=cell("live_version"),
        label=cell("label"),
        sensitivity=cell("sensitivity"),
        acl=Acl(AclMode(cell("acl_mode")), allow, deny),
        acl_version=cell("acl_version"),
        language=cell("language"),
        source_uri=cell("source_uri"),
        valid_until=cell("valid_until"),
        created_at=cell("created_at"),
        updated_at=cell("updated_at"),
    )
