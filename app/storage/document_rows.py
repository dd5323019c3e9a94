"""Queries over documents, versions and chunks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, Text, and_, case, cast, delete, exists, func, insert, select, update

from app.domain.access import UNKNOWN_RANK
from app.domain.content import Document, DocumentId, DocumentState
from app.domain.identity import TenantId
from app.storage.document_shapes import (
    AnalyzedChunk,
    VersionRow,
    analyzed_of,
    chunk_values,
    document_of,
    document_values,
    spans_to_json,
    version_of,
)
from app.storage.job_rows import JobKind, JobState
from app.storage.tables import chunk, document, document_version, job
from app.storage.transaction import Transaction

_CHUNKS_PER_INSERT = 500
_STANDINGS_AT_ONCE = 2_000
_RANKED_AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class Standing:
    """State of a document, its live version with the number of its chunks and the mark of its vectors, its access version."""

    collection: str
    state: DocumentState
    live_version: int | None
    acl_version: int
    valid_until: datetime | None
    mark: str | None
    chunks: int

    def is_served_at(self, moment: datetime) -> bool:
        """As `Document.is_served_at`, for one that has text: an eraser may have taken that away."""
        is_valid = self.valid_until is None or self.valid_until > moment
        return self.state is DocumentState.LIVE and self.live_version is not None and is_valid and self.chunks > 0


async def get_document(tx: Transaction, tenant: TenantId, document_id: DocumentId) -> Document | None:
    """One document of the tenant in any state, or `None`."""
    statement = select(document).where(document.c.tenant == tenant, document.c.document_id == document_id)
    row = (await tx.connection.execute(statement)).one_or_none()
    return None if row is None else document_of(row)


async def find_external(tx: Transaction, tenant: TenantId, collection_name: str, external_id: str) -> tuple[Document, int] | None:
    """(document, last version given out) by the source's own id within a collection, or `None`."""
    statement = select(document).where(
        document.c.tenant == tenant, document.c.collection == collection_name, document.c.external_id == external_id
    )
    row = (await tx.connection.execute(statement)).one_or_none()
    return None if row is None else (document_of(row), row.last_version)


async def list_documents(tx: Transaction, tenant: TenantId, collection_name: str, after: DocumentId | None, limit: int) -> list[Document]:
    """Documents of a collection by id, in any state, at most `limit`, after `after`."""
    statement = select(document).where(document.c.tenant == tenant)
    if collection_name:
        statement = statement.where(document.c.collection == collection_name)
    if after is not None:
        statement = statement.where(document.c.document_id > after)
    rows = await tx.connection.execute(statement.order_by(document.c.document_id).limit(limit))
    return [document_of(row) for row in rows]


async def standings(tx: Transaction, tenant: TenantId) -> dict[DocumentId, Standing]:
    """How every document of the tenant stands, by id; a part at a time, as no statement may take longer than any other."""
    found: dict[DocumentId, Standing] = {}
    after = ""
    while part := await _standings_after(tx, tenant, after):
        found |= part
        after = next(reversed(part))
    return found


async def _standings_after(tx: Transaction, tenant: TenantId, after: str) -> dict[DocumentId, Standing]:
    asked = select(document).where(document.c.tenant == tenant, document.c.document_id > after)
    some = asked.order_by(document.c.document_id).limit(_STANDINGS_AT_ONCE).subquery()
    facts = [some.c[name] for name in ("document_id", "collection", "state", "live_version", "acl_version", "valid_until")]
    live, stored = document_version, chunk
    of_live = (live.c.document_id == some.c.document_id) & (live.c.version == some.c.live_version)
    of_chunk = (stored.c.document_id == some.c.document_id) & (stored.c.version == some.c.live_version)
    statement = (
        select(*facts, live.c.embedder_digest, func.count(stored.c.chunk_id))
        .select_from(some.outerjoin(live, of_live).outerjoin(stored, of_chunk))
        .group_by(*facts, live.c.embedder_digest)
        .order_by(some.c.document_id)
    )
    rows = (await tx.connection.execute(statement)).all()
    return {DocumentId(name): Standing(where, DocumentState(state), *rest) for name, where, state, *rest in rows}


async def has_text(tx: Transaction, document_id: DocumentId, version: int) -> bool:
    """Whether there is text of a version."""
    of_version = (chunk.c.document_id == document_id, chunk.c.version == version)
    return (await tx.connection.execute(select(chunk.c.chunk_id).where(*of_version).limit(1))).first() is not None


async def ended_between(tx: Transaction, tenant: TenantId, since: datetime, until: datetime) -> list[DocumentId]:
    """Documents whose validity ended after `since` and not after `until`."""
    ended = (document.c.valid_until > since, document.c.valid_until <= until)
    rows = await tx.connection.execute(select(document.c.document_id).where(document.c.tenant == tenant, *ended))
    return [DocumentId(name) for (name,) in rows]


async def insert_document(tx: Transaction, value: Document, last_version: int) -> None:
    """Store a new document."""
    await tx.connection.execute(insert(document).values(**document_values(value), last_version=last_version))


async def update_document(tx: Transaction, value: Document, last_version: int | None = None) -> None:
    """Replace every fact of a document."""
    values = document_values(value)
    if last_version is not None:
        values["last_version"] = last_version
    await tx.connection.execute(update(document).where(document.c.document_id == value.document_id).values(**values))


async def put_version(tx: Transaction, row: VersionRow, chunks: Sequence[AnalyzedChunk]) -> None:
    """Store a version with its chunks and their spans, replacing an earlier attempt at the same version."""
    await drop_version(tx, row.document_id, row.version)
    await tx.connection.execute(
        insert(document_version).values(
            document_id=row.document_id,
            version=row.version,
            title=row.title,
            title_spans=spans_to_json(row.title_spans),
            source_spans=spans_to_json(row.source_spans),
            keywords=row.keywords,
            keyword_spans=spans_to_json(row.keyword_spans),
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
    await add_chunks(tx, row.document_id, row.version, chunks)


async def add_chunks(tx: Transaction, document_id: DocumentId, version: int, chunks: Sequence[AnalyzedChunk]) -> None:
    """Store more chunks of a stored version."""
    for start in range(0, len(chunks), _CHUNKS_PER_INSERT):
        part = chunks[start : start + _CHUNKS_PER_INSERT]
        await tx.connection.execute(insert(chunk), [chunk_values(document_id, version, one) for one in part])


async def drop_version(tx: Transaction, document_id: DocumentId, version: int) -> None:
    """Remove a version with its chunks."""
    await tx.connection.execute(delete(chunk).where(chunk.c.document_id == document_id, chunk.c.version == version))
    same = (document_version.c.document_id == document_id, document_version.c.version == version)
    await tx.connection.execute(delete(document_version).where(*same))


_IS_COMING = exists().where(
    job.c.document_id == document.c.document_id,
    job.c.kind == JobKind.INGEST.value,
    job.c.state.in_((JobState.QUEUED.value, JobState.RUNNING.value)),
)
"""A version of the document was handed in and waits for a worker, or is worked on."""


async def outlived(tx: Transaction, tenant: TenantId, collection: str, moment: datetime, limit: int) -> list[DocumentId]:
    """Documents of a collection whose live version was taken in before `moment` and that no newer one waits for, at most `limit`."""
    statement = _outlived(moment).where(document.c.tenant == tenant, document.c.collection == collection)
    return [DocumentId(row.document_id) for row in await tx.connection.execute(statement.order_by(document.c.document_id).limit(limit))]


async def is_outlived(tx: Transaction, document_id: DocumentId, moment: datetime) -> bool:
    """Whether a document's live version was taken in before `moment`."""
    return (await tx.connection.execute(_outlived(moment).where(document.c.document_id == document_id))).first() is not None


def _outlived(moment: datetime) -> Select[tuple[str]]:
    live = and_(document_version.c.document_id == document.c.document_id, document_version.c.version == document.c.live_version)
    statement = select(document.c.document_id).join(document_version, live)
    return statement.where(document.c.state == DocumentState.LIVE.value, document_version.c.created_at < moment, ~_IS_COMING)


async def left_over(tx: Transaction, tenant: TenantId, moment: datetime, limit: int) -> list[tuple[DocumentId, int]]:
    """Stored versions, at most `limit`, that were replaced before `moment`, or stored before it by work that was given up."""
    statement = _left_over(moment).where(document.c.tenant == tenant).order_by(*document_version.primary_key).limit(limit)
    return [(DocumentId(row.document_id), row.version) for row in await tx.connection.execute(statement)]


async def is_left_over(tx: Transaction, document_id: DocumentId, version: int, moment: datetime) -> bool:
    """Whether a version is one of those that `left_over` finds."""
    statement = _left_over(moment).where(document.c.document_id == document_id, document_version.c.version == version)
    return (await tx.connection.execute(statement)).first() is not None


def _left_over(moment: datetime) -> Select[tuple[str, int]]:
    live = document_version.alias("live")
    is_live = and_(live.c.document_id == document.c.document_id, live.c.version == document.c.live_version)
    return (
        select(document_version.c.document_id, document_version.c.version)
        .join(document, document.c.document_id == document_version.c.document_id)
        .outerjoin(live, is_live)
        .where(document.c.state != DocumentState.WITHDRAWN.value, ~_IS_COMING)
        .where(document.c.live_version.is_(None) | (document_version.c.version != document.c.live_version))
        .where(document_version.c.created_at < moment, live.c.created_at.is_(None) | (live.c.created_at < moment))
    )


async def withdrawn_before(tx: Transaction, tenant: TenantId, moment: datetime, after: str, limit: int) -> list[DocumentId]:
    """Withdrawn documents past `after` with text or names left, in them or their jobs, last changed before `moment`; at most `limit`."""
    has_text = exists().where(document_version.c.document_id == document.c.document_id)
    has_work = exists().where(job.c.document_id == document.c.document_id, cast(job.c.payload, Text) != "{}")
    statement = (
        select(document.c.document_id)
        .where(document.c.tenant == tenant, document.c.state == DocumentState.WITHDRAWN.value, document.c.updated_at < moment)
        .where((document.c.title != "") | (document.c.source_uri != "") | has_text | has_work, document.c.document_id > after)
    )
    rows = await tx.connection.execute(statement.order_by(document.c.document_id).limit(limit))
    return [DocumentId(row.document_id) for row in rows]


async def changed_since(tx: Transaction, tenant: TenantId, document_ids: Sequence[DocumentId], moment: datetime) -> set[DocumentId]:
    """Those of some documents whose access or content changed after `moment`."""
    late = (document.c.tenant == tenant, document.c.document_id.in_(document_ids), document.c.updated_at > moment)
    return {DocumentId(name) for (name,) in await tx.connection.execute(select(document.c.document_id).where(*late))}


async def put_ranks(tx: Transaction, tenant: TenantId, ranks: Mapping[str, int], moment: datetime) -> int:
    """Give documents the ranks their labels have now; returns how many had another one. Their access counts as changed.

    A label without a rank, as policy no longer knows it, opens nothing to anybody: rules about it are gone, and those for any label would.
    """
    changed = 0
    ranked = [(document.c.label == label, rank) for label, rank in ranks.items()]
    for which, rank in [*ranked, (document.c.label.not_in(list(ranks)), UNKNOWN_RANK)]:
        # A part at a time: no statement may take longer than any other, or the stricter rules would never come into force.
        other = select(document.c.document_id).where(document.c.tenant == tenant, which, document.c.sensitivity != rank)
        some = document.c.document_id.in_(other.limit(_RANKED_AT_ONCE))
        # A withdrawn one too, since it may be handed in again; but the time of its withdrawal stays.
        since = case((document.c.state == DocumentState.WITHDRAWN.value, document.c.updated_at), else_=moment)
        values = {"sensitivity": rank, "acl_version": document.c.acl_version + 1, "updated_at": since}
        done = _RANKED_AT_ONCE
        while done == _RANKED_AT_ONCE:
            done = (await tx.connection.execute(update(document).where(some).values(**values))).rowcount
            changed += done
    return changed


async def is_due(tx: Transaction, document_id: DocumentId, before: datetime) -> bool:
    """Whether a document is still withdrawn, and was before a moment."""
    withdrawn = (document.c.document_id == document_id, document.c.state == DocumentState.WITHDRAWN.value)
    return (
        await tx.connection.execute(select(document.c.document_id).where(*withdrawn, document.c.updated_at < before))
    ).first() is not None


async def purge_document(tx: Transaction, document_id: DocumentId) -> None:
    """Remove every version and chunk of a withdrawn document, and its title and address; its row stays as a tombstone.

    The id of its source stays: handed in again under it, the document goes on counting its versions, so that no passage ever bears an id
    of one that is gone, and has the readers that it had.
    """
    await tx.connection.execute(delete(chunk).where(chunk.c.document_id == document_id))
    await tx.connection.execute(delete(document_version).where(document_version.c.document_id == document_id))
    await tx.connection.execute(update(document).where(document.c.document_id == document_id).values(title="", source_uri=""))


async def set_embedder(tx: Transaction, document_id: DocumentId, version: int, digest: str) -> None:
    """Note that a version's vectors are complete; `digest` names the embedder and what was masked for it."""
    same = (document_version.c.document_id == document_id, document_version.c.version == version)
    await tx.connection.execute(update(document_version).where(*same).values(embedder_digest=digest))


async def get_version(tx: Transaction, document_id: DocumentId, version: int) -> VersionRow | None:
    """One version, or `None`."""
    statement = select(document_version).where(document_version.c.document_id == document_id, document_version.c.version == version)
    row = (await tx.connection.execute(statement)).one_or_none()
    return None if row is None else version_of(row)


async def list_versions(tx: Transaction, document_id: DocumentId) -> list[tuple[int, datetime]]:
    """(version, stored at) of a document, oldest first."""
    columns = (document_version.c.version, document_version.c.created_at)
    rows = await tx.connection.execute(select(*columns).where(document_version.c.document_id == document_id).order_by(columns[0]))
    return [(row.version, row.created_at) for row in rows]


async def version_chunks(tx: Transaction, document_id: DocumentId, version: int) -> list[AnalyzedChunk]:
    """Chunks of a version with their spans, in order."""
    statement = select(chunk).where(chunk.c.document_id == document_id, chunk.c.version == version).order_by(chunk.c.ordinal)
    return [analyzed_of(row) for row in await tx.connection.execute(statement)]
