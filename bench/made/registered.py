"""Real passages put into register and index of a company column, as taking them in would leave them."""

from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256

from app.cli.options import caller_as
from app.domain.access import Acl, AclMode
from app.domain.content import Chunk, ChunkId, Document, DocumentId, DocumentState, Sentence
from app.domain.search import AccessFacts, ChunkVectors
from app.ingest.analysis import AnalyzedDocument, indexed_chunks
from app.storage import document_rows
from app.storage.document_shapes import AnalyzedChunk, VersionRow
from app.wiring import Services
from bench.company_ingest import collection_of
from bench.company_servers import Column
from bench.made.passages import embedded_passages

_A_DOCUMENT = 100


async def fill(one: Column, services: Services, n_chunks: int, is_open: Callable[[int], bool]) -> set[str]:
    """Put passages into register and index, a hundred to a document; returns the ids of documents that are closed to everybody.

    `is_open` tells of a document by its number whether the sample people may read it.
    """
    now = datetime.now(UTC)
    texts, vectors = await embedded_passages(n_chunks)
    await services.collections.create(await caller_as(services, "administrator"), collection_of(services))
    closed: set[str] = set()
    for number, start in enumerate(range(0, n_chunks, _A_DOCUMENT)):
        document_id, part = DocumentId(f"doc_bench_{number:06}"), texts[start : start + _A_DOCUMENT]
        acl = Acl.inherited() if is_open(number) else Acl(AclMode.EXPLICIT)
        if not is_open(number):
            closed.add(document_id)
        document = Document(
            services.tenant, document_id, "company", f"bench-{number}", f"Part {number}", DocumentState.LIVE, 1, "internal", 1, acl, 1,
            "en", "", None, now, now,
        )  # fmt: skip
        analyzed = _analyzed(document, part)
        async with services.database.write() as tx:
            await document_rows.insert_document(tx, document, 1)
            await document_rows.put_version(tx, _row(document, analyzed), analyzed.chunks)
        await services.index.put_version(AccessFacts.of(document), 1, indexed_chunks(analyzed))
        rows = [
            ChunkVectors(one.chunk.chunk_id, row, row[None], row[None]) for one, row in zip(analyzed.chunks, vectors[start:], strict=False)
        ]
        await services.index.put_vectors(document_id, 1, rows, services.embedder.digest)
        await services.index.make_live(document_id, 1)
        async with services.database.write() as tx:
            rules, profile = services.reconcile.rules, await services.reconcile.rules.shown(tx, services.tenant)
            await document_rows.set_embedder(tx, document_id, 1, rules.mark(profile["company"]))
    # As the database does by itself within a minute of so many new rows: without it, plans are made for empty tables.
    one.execute("ANALYZE")
    return closed


def _analyzed(document: Document, texts: list[str]) -> AnalyzedDocument:
    chunks, at = [], 0
    for ordinal, text in enumerate(texts):
        place = (at, at + len(text))
        chunk = Chunk(ChunkId(f"{document.document_id}.{ordinal}"), ordinal, text, (place,), (), (Sentence(0, len(text), text, text),))
        chunks.append(AnalyzedChunk(chunk, (), ()))
        at += len(text) + 2
    return AnalyzedDocument(document.title, (), "", (), "", (), "\n\n".join(texts), (), tuple(chunks), "en", "bench")


def _row(document: Document, analyzed: AnalyzedDocument) -> VersionRow:
    return VersionRow(
        document_id=document.document_id,
        version=1,
        title=analyzed.title,
        title_spans=(),
        source_spans=(),
        keywords="",
        keyword_spans=(),
        text=analyzed.text,
        spans=(),
        content_sha256=sha256(analyzed.text.encode()).hexdigest(),
        media_type="text/plain",
        size_bytes=len(analyzed.text),
        detector_digest="bench",
        embedder_digest=None,
        submitted_by="bench",
        created_at=document.created_at,
    )
