"""IngestDocument: from submitted bytes to a live, searchable version. Each step may be repeated without harm."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from app.audit.digests import keyed_digest
from app.audit.events import Happening, by_system
from app.audit.events import document as about
from app.audit.log import AuditLog
from app.domain.audit import EventType, JsonValue
from app.domain.content import Document, DocumentState, ParsedDocument
from app.domain.ports import Analyzer, PassageIndex
from app.domain.search import AccessFacts
from app.errors import ConflictError, InvalidInputError, UnsupportedContentError
from app.ingest.access import check_rights, next_access
from app.ingest.alignment import AlignDocument
from app.ingest.analysis import AnalyzedDocument, Described, analyze_document, indexed_chunks
from app.ingest.chunking import chunk_document
from app.ingest.jobs import embed_job
from app.policy.book import PolicyBook
from app.storage import document_rows, job_rows
from app.storage.document_shapes import VersionRow
from app.storage.job_rows import Job
from app.storage.transaction import Database, Transaction

AT_ONCE = 500
"""Chunks that one transaction stores."""
_OVERTAKEN = "A newer version is live, with the label and readers that it has: nothing of this one was applied."
Parse = Callable[[bytes, str | None, str | None], Awaitable[ParsedDocument]]


@dataclass(frozen=True)
class IngestDocument:
    """Makes a submitted version live. Powers: parse, analyse, the register, the index, the log."""

    database: Database
    index: PassageIndex
    audit: AuditLog
    detector: Analyzer
    parse: Parse
    digest_key: bytes
    policy: PolicyBook

    async def run(self, job: Job) -> None:
        """Parse, analyse, store, index, flip. Raises UnsupportedContentError for content that is refused."""
        if job.content is None:
            message = "The submitted content is gone; hand the document in again."
            raise UnsupportedContentError(message)
        parsed = await self.parse(job.content, job.payload["media_type"], job.payload["file_name"])
        if job.payload["title"]:
            parsed = replace(parsed, title=job.payload["title"])
        # Seconds of work for a long document: on the event loop it would stop every answer.
        chunked = await asyncio.to_thread(chunk_document, job.document_id, job.version, parsed)
        if not chunked.chunks:
            message = "The document holds no text. Scanned pages need text recognition first."
            raise UnsupportedContentError(message)
        source = job.payload["source_uri"] or ""
        language = job.payload["language"] or parsed.language
        analyzed = await asyncio.to_thread(analyze_document, self.detector, chunked, Described(source, language, parsed.keywords))
        document = await self._planned(job, analyzed)
        if document is None:
            return
        # The index first, where nobody finds it yet: what it refuses must not go live.
        chunks = await asyncio.to_thread(indexed_chunks, analyzed)
        await self.index.put_version(AccessFacts.of(document), job.version, chunks)
        if len(analyzed.chunks) > AT_ONCE and not await _store_ahead(self.database, job, analyzed):
            return
        flipped = await self._flip(job, analyzed)
        if flipped is not None and flipped.live_version is not None and flipped.live_version > job.version:
            raise InvalidInputError(_OVERTAKEN)
        if flipped is not None and flipped.live_version == job.version:
            # Under the facts that were committed: access may have changed since the index was given the text.
            try:
                await self.index.make_live(flipped.document_id, job.version, AccessFacts.of(flipped))
            except ConflictError:
                # Taken out meanwhile: the document was withdrawn or has a newer version, or this one had failed before it was tried again
                # and was taken for given up. The register says which.
                await AlignDocument(self.database, self.index).run(job.tenant, job.document_id)
        elif flipped is None:
            await self.index.remove(job.tenant, job.document_id)

    async def _planned(self, job: Job, analyzed: AnalyzedDocument) -> Document | None:
        """The document as it would be now; `None` when it was withdrawn. Raises InvalidInputError when a newer version is live already."""
        async with self.database.read() as tx:
            current = await _wanted(tx, job)
            if current is None and await _is_overtaken(tx, job):
                raise InvalidInputError(_OVERTAKEN)
            return None if current is None else await self._next_facts(tx, current, job, analyzed)

    async def _flip(self, job: Job, analyzed: AnalyzedDocument) -> Document | None:
        """Make the version the live one, with its text, its record and the job that will embed it, in one transaction.

        The document as it stands afterwards: under a newer version when that was faster; `None` when it was withdrawn meanwhile.
        """
        async with self.database.write() as tx:
            document = await _wanted(tx, job)
            if document is None:
                current = await document_rows.get_document(tx, job.tenant, job.document_id)
                is_gone = current is None or current.state is DocumentState.WITHDRAWN
                if is_gone:
                    await document_rows.drop_version(tx, job.document_id, job.version)
                return None if is_gone else current
            if document.live_version != job.version:
                if len(analyzed.chunks) <= AT_ONCE:
                    await document_rows.put_version(tx, _version_row(job, analyzed), analyzed.chunks)
                # From the facts of this moment: whoever was locked out since the index has the text stays locked out.
                document = await self._next_facts(tx, document, job, analyzed)
                await document_rows.update_document(tx, document)
                await job_rows.enqueue(tx, embed_job(job.submitted_by, document, job.version))
                fields: dict[str, JsonValue] = {
                    "version": job.version,
                    "collection": document.collection,
                    "label": document.label,
                    "chunks": len(analyzed.chunks),
                    "content_hmac": keyed_digest(self.digest_key, job.tenant, sha256(job.content or b"").hexdigest()),
                    "submitted_by": job.submitted_by,
                }
                happening = Happening(EventType.DOCUMENT_INGESTED, references=(about(document.document_id),), fields=fields)
                await self.audit.record_in(tx, by_system(job.tenant, happening))
        return document

    async def _next_facts(self, tx: Transaction, current: Document, job: Job, analyzed: AnalyzedDocument) -> Document:
        # Rules and ranks of this moment: a bundle that came into force while the job waited may have others.
        snapshot = await self.policy.current(tx, job.tenant)
        label, acl = next_access(current, job, snapshot.bundle)
        after = replace(current, label=label, sensitivity=snapshot.bundle.sensitivity(label), acl=acl)
        check_rights(snapshot, job, current, after)
        is_same = (after.label, after.sensitivity, after.acl) == (current.label, current.sensitivity, current.acl)
        return replace(
            after,
            title=analyzed.title,
            state=DocumentState.LIVE,
            live_version=job.version,
            acl_version=current.acl_version if is_same else current.acl_version + 1,
            language=analyzed.language,
            source_uri=analyzed.source_uri,
            valid_until=_next_end(current, job.payload),
            updated_at=datetime.now(UTC),
        )


async def _store_ahead(database: Database, job: Job, analyzed: AnalyzedDocument) -> bool:
    """Keep a long version's text and spans a part at a time, out of turn: answers must not wait for it. False when the job was lost.

    Nobody sees it before the flip. Each part locks the job, so that whoever has it next finds all of these parts or none to come.
    """
    async with database.append() as tx:
        if not await job_rows.holds(tx, job, locks=True):
            return False
        document = await document_rows.get_document(tx, job.tenant, job.document_id)
        if document is None or document.live_version == job.version:
            return document is not None
        await document_rows.put_version(tx, _version_row(job, analyzed), analyzed.chunks[:AT_ONCE])
    for start in range(AT_ONCE, len(analyzed.chunks), AT_ONCE):
        async with database.append() as tx:
            if not await job_rows.holds(tx, job, locks=True):
                return False
            await document_rows.add_chunks(tx, job.document_id, job.version, analyzed.chunks[start : start + AT_ONCE])
    return True


async def _wanted(tx: Transaction, job: Job) -> Document | None:
    current = await document_rows.get_document(tx, job.tenant, job.document_id)
    if current is None or current.state is DocumentState.WITHDRAWN or not await job_rows.holds(tx, job):
        return None
    return None if current.live_version is not None and current.live_version > job.version else current


async def _is_overtaken(tx: Transaction, job: Job) -> bool:
    """Whether the job failed, a newer version went live, and it was tried again."""
    current = await document_rows.get_document(tx, job.tenant, job.document_id)
    is_newer = current is not None and current.live_version is not None and current.live_version > job.version
    return is_newer and await job_rows.holds(tx, job)


def _next_end(current: Document, payload: Mapping[str, Any]) -> datetime | None:
    """When the new version's validity ends: as the one before it, unless something else was said."""
    if payload["valid_until"]:
        return datetime.fromisoformat(payload["valid_until"])
    return None if payload.get("has_no_end") else current.valid_until


def _version_row(job: Job, analyzed: AnalyzedDocument) -> VersionRow:
    content = job.content or b""
    return VersionRow(
        document_id=job.document_id,
        version=job.version,
        title=analyzed.title,
        title_spans=analyzed.title_spans,
        source_spans=analyzed.source_spans,
        keywords=analyzed.keywords,
        keyword_spans=analyzed.keyword_spans,
        text=analyzed.text,
        spans=analyzed.spans,
        content_sha256=sha256(content).hexdigest(),
        media_type=job.payload["media_type"] or "",
        size_bytes=len(content),
        detector_digest=analyzed.detector_digest,
        embedder_digest=None,
        submitted_by=job.submitted_by,
        created_at=datetime.now(UTC),
    )
