"""ReadDocuments: open one document or list those a caller may read, rendered for them and recorded."""

from dataclasses import dataclass
from datetime import UTC, datetime

from app.audit.digests import content_digest
from app.audit.events import by_caller, decided
from app.audit.events import document as about
from app.audit.log import AuditLog
from app.domain.access import Action, Outcome
from app.domain.audit import EventType, JsonValue
from app.domain.content import Document, DocumentId
from app.domain.identity import Caller
from app.domain.privacy import Rendering
from app.errors import NotFoundError
from app.govern.document_rights import READ_ACTIONS, denied_event, first_denial
from app.govern.receipts import RECEIPT_PREFIX
from app.policy.book import PolicyBook
from app.policy.snapshot import Snapshot
from app.privacy.book import RedactionBook
from app.privacy.rendering import render
from app.storage import collection_rows, document_rows
from app.storage.document_shapes import VersionRow
from app.storage.transaction import Database, Transaction


@dataclass(frozen=True, slots=True)
class OpenedDocument:
    """A document rendered for one viewer."""

    document: Document
    title: str
    source_uri: str
    text: Rendering
    versions: tuple[tuple[int, datetime], ...]
    decision_id: str
    receipt_id: str


@dataclass(frozen=True, slots=True)
class DocumentLine:
    """A document in a list, its title and address rendered for the viewer."""

    document: Document
    title: str
    source_uri: str


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of documents, with the receipt of its record."""

    lines: tuple[DocumentLine, ...]
    receipt_id: str


@dataclass(frozen=True)
class ReadDocuments:
    """Opens and lists documents. Powers: policy, rendering, the register, the log."""

    database: Database
    policy: PolicyBook
    redaction: RedactionBook
    audit: AuditLog

    async def open(self, caller: Caller, document_id: DocumentId) -> OpenedDocument:
        """Metadata, versions and rendered text. Raises NotFoundError alike for absent and forbidden documents."""
        async with self.database.read() as tx:
            snapshot = await self.policy.current(tx, caller.subject.tenant)
            document = await document_rows.get_document(tx, caller.subject.tenant, document_id)
            version = await self._live_version(tx, document)
            stored = await document_rows.list_versions(tx, document_id)
            collection = await collection_rows.get_collection(tx, caller.subject.tenant, document.collection) if document else None
        decision = first_denial(snapshot, caller, document if version is not None else None, READ_ACTIONS)
        fields: dict[str, JsonValue] = {"action": Action.READ.value, "version": version.version if version else None}
        if document is None or version is None or collection is None or decision is None or decision.outcome is Outcome.DENY:
            await self.audit.record(denied_event(caller, snapshot, decision, document.document_id if document else None, fields))
            raise NotFoundError
        shown = self._shown(snapshot, caller, document, collection.redaction_profile)
        versions = [one for one in stored if one[0] <= version.version]
        text = render(version.text, version.spans, shown)
        # Of the text as shown: a digest of the raw one would let a reader try values until one fits what is hidden.
        fields |= {"hidden": len(text.hidden), "content_sha256": content_digest(text.text)}
        [entry] = await self.audit.record(by_caller(caller, decided(EventType.DOCUMENT_OPENED, decision, (about(document_id),), fields)))
        title = render(document.title, version.title_spans, shown).text
        source = render(document.source_uri, version.source_spans, shown).text
        return OpenedDocument(document, title, source, text, tuple(versions), decision.decision_id, f"{RECEIPT_PREFIX}{entry.event_id}")

    async def listed(self, caller: Caller, collection: str, after: DocumentId | None, limit: int) -> Listing:
        """Live documents the caller may read, by id; a page may be read from a longer stretch of the register.

        On record before it leaves: titles and addresses are content.
        """
        subject = caller.subject
        lines: list[DocumentLine] = []
        async with self.database.read() as tx:
            snapshot = await self.policy.current(tx, subject.tenant)
            profiles = {one.name: one.redaction_profile for one in await collection_rows.list_collections(tx, subject.tenant)}
            while len(lines) < limit:
                page = await document_rows.list_documents(tx, subject.tenant, collection, after, limit)
                if not page:
                    break
                after = page[-1].document_id
                verdicts = snapshot.permits_all(subject, READ_ACTIONS, [one.resource() for one in page])
                for document, permitted in zip(page, verdicts, strict=True):
                    version = await self._live_version(tx, document) if permitted else None
                    if version is not None and len(lines) < limit:
                        shown = self._shown(snapshot, caller, document, profiles.get(document.collection, ""))
                        title = render(document.title, version.title_spans, shown).text
                        lines.append(DocumentLine(document, title, render(document.source_uri, version.source_spans, shown).text))
        decision = snapshot.search_decision(snapshot.read_filter(subject, READ_ACTIONS))
        fields: dict[str, JsonValue] = {"is_listing": True, "documents": len(lines)}
        refs = [about(one.document.document_id) for one in lines]
        [entry] = await self.audit.record(by_caller(caller, decided(EventType.RETRIEVAL_EXECUTED, decision, refs, fields)))
        return Listing(tuple(lines), f"{RECEIPT_PREFIX}{entry.event_id}")

    def _shown(self, snapshot: Snapshot, caller: Caller, document: Document, profile: str) -> frozenset[str]:
        pair = (document.collection, document.label)
        redaction = self.redaction.of(snapshot.digest, snapshot.redaction_text)
        return redaction.visible_types(profile, may_read_pii=snapshot.pii_readers(caller.subject, [pair])[pair])

    async def _live_version(self, tx: Transaction, document: Document | None) -> VersionRow | None:
        if document is None or document.live_version is None or not document.is_served_at(datetime.now(UTC)):
            return None
        return await document_rows.get_version(tx, document.document_id, document.live_version)
