"""A version's analysis as it was kept at ingest: what an index is made of anew, without the original file."""

from app.domain.content import Document
from app.ingest.analysis import AnalyzedDocument
from app.storage import document_rows
from app.storage.transaction import Transaction


async def stored_analysis(tx: Transaction, document: Document, version: int) -> AnalyzedDocument:
    """The analysis as it was kept at ingest."""
    row = await document_rows.get_version(tx, document.document_id, version)
    chunks = await document_rows.version_chunks(tx, document.document_id, version)
    if row is None:
        message = f"document {document.document_id} is live without a stored version"
        raise LookupError(message)
    return AnalyzedDocument(
        title=row.title,
        title_spans=row.title_spans,
        source_uri=document.source_uri,
        source_spans=row.source_spans,
        keywords=row.keywords,
        keyword_spans=row.keyword_spans,
        text=row.text,
        spans=row.spans,
        chunks=tuple(chunks),
        language=document.language,
        detector_digest=row.detector_digest,
    )
