"""What a document, a version and a chunk look like as rows, both ways."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from app.domain.access import Acl, AclMode
from app.domain.content import Chunk, ChunkId, Document, DocumentId, DocumentState, Sentence
from app.domain.identity import Principal, TenantId
from app.domain.privacy import Span


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A version as it is stored: raw text and its spans."""

    document_id: DocumentId
    version: int
    title: str
    title_spans: tuple[Span, ...]
    source_spans: tuple[Span, ...]
    keywords: str
    keyword_spans: tuple[Span, ...]
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


def chunk_values(document_id: DocumentId, version: int, analyzed: AnalyzedChunk) -> dict[str, object]:
    """Columns of a chunk."""
    value = analyzed.chunk
    return {
        "chunk_id": value.chunk_id,
        "document_id": document_id,
        "version": version,
        "ordinal": value.ordinal,
        "text": value.text,
        "spans": spans_to_json(analyzed.spans),
        "heading_spans": [spans_to_json(spans) for spans in analyzed.heading_spans],
        "ranges": [list(pair) for pair in value.ranges],
        "heading_path": list(value.heading_path),
        "sentences": [[one.start, one.end, one.standalone, one.context] for one in value.sentences],
        "section": value.section,
    }


def analyzed_of(row: Row[Any]) -> AnalyzedChunk:
    """The chunk of a row, with its spans."""
    return AnalyzedChunk(chunk_of(row), spans_from_json(row.spans), tuple(spans_from_json(spans) for spans in row.heading_spans))


def chunk_of(row: Row[Any]) -> Chunk:
    """The chunk of a row."""
    return Chunk(
        chunk_id=ChunkId(row.chunk_id),
        ordinal=row.ordinal,
        text=row.text,
        ranges=tuple((start, end) for start, end in row.ranges),
        heading_path=tuple(row.heading_path),
        sentences=tuple(Sentence(*one) for one in row.sentences),
        section=row.section,
    )


def version_of(row: Row[Any]) -> VersionRow:
    """The version of a row."""
    return VersionRow(
        document_id=DocumentId(row.document_id),
        version=row.version,
        title=row.title,
        title_spans=spans_from_json(row.title_spans),
        source_spans=spans_from_json(row.source_spans),
        keywords=row.keywords,
        keyword_spans=spans_from_json(row.keyword_spans),
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


def document_values(value: Document) -> dict[str, Any]:
    """Columns of a document."""
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


def document_of(row: Row[Any], prefix: str = "") -> Document:
    """The document of a row whose columns begin with `prefix`."""

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
