"""Life of documents after ingest: open, list, change access or label, withdraw. Each is decided, done and recorded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from app.audit.events import by_caller, decided
from app.audit.events import document as about
from app.audit.log import AuditLog
from app.domain.access import Acl, Action, Decision, Outcome
from app.domain.audit import EventType, JsonValue
from app.domain.content import Document, DocumentId, DocumentState
from app.domain.identity import Caller
from app.domain.ports import PassageIndex
from app.domain.privacy import Rendering
from app.domain.search import AccessFacts
from app.errors import AccessDeniedError, InvalidInputError, NotFoundError
from app.policy.book import PolicyBook
from app.policy.snapshot import Snapshot
from app.privacy.book import RedactionBook
from app.privacy.rendering import render
from app.storage import document_rows
from app.storage.document_rows import VersionRow
from app.storage.transaction import Database, Transaction

READ_ACTIONS = (Action.SEARCH, Action.READ)
MAX_PRINCIPAL_BYTES = 512


@dataclass(frozen=True, slots=True)
class OpenedDocument:
    """A document rendered for one viewer."""

    document: Document
    title: str
    source_uri: str
    text: Rendering
    versions: tuple[tuple[int, datetime, str], ...]
    decision_id: str


@dataclass(frozen=True, slots=True)
class DocumentLine:
    """A document in a list, its title and address rendered for the viewer."""

    document: Document
    title: str
    source_uri: str


@dataclass(frozen=True)
class ManageDocuments:
    """Reads and changes documents one at a time. Powers: policy, rendering, the register, the index, the log."""

    database: Database
    policy: PolicyBook
    redaction: RedactionBook
    index: PassageIndex
    audit: AuditLog

    async def open(self, caller: Caller, document_id: DocumentId) -> OpenedDocument:
        """Metadata, versions and rendered text. Raises NotFoundError alike for absent and forbidden documents."""
        async with self.database.read() as tx:
            snapshot = await self.policy.current(tx, caller.subject.tenant)
            document = await document_rows.get_document(tx, caller.subject.tenant, document_id)
            version = await self._live_version(tx, document)
            versions = await document_rows.list_versions(tx, document_id)
            collection = await document_rows.get_collection(tx, caller.subject.tenant, document.collection) if document else None
        decision = self._decide(snapshot, caller, document if version is not None else None, READ_ACTIONS)
        fields: dict[str, JsonValue] = {"action": Action.READ.value, "version": version.version if version else None}
        if document is None or version is None or collection is None or decision is None or decision.outcome is Outcome.DENY:
            await self._record_denied(caller, snapshot, decision, document_id, fields)
            raise NotFoundError
        shown = self._shown(snapshot, caller, document, collection.redaction_profile)
        text = render(version.text, version.spans, shown)
        fields |= {"hidden": len(text.hidden), "content_sha256": version.content_sha256}
        await self.audit.record(by_caller(caller, decided(EventType.DOCUMENT_OPENED, decision, (about(document_id),), fields)))
        title = render(document.title, version.title_spans, shown).text
        source = render(document.source_uri, version.source_spans, shown).text
        return OpenedDocument(document, title, source, text, tuple(versions), decision.decision_id)

    async def listed(self, caller: Caller, collection: str, after: DocumentId | None, limit: int) -> list[DocumentLine]:
        """Live documents the caller may read, by id; a page may be read from a longer stretch of the register."""
        subject = caller.subject
        lines: list[DocumentLine] = []
        async with self.database.read() as tx:
            snapshot = await self.policy.current(tx, subject.tenant)
            profiles = {one.name: one.redaction_profile for one in await document_rows.list_collections(tx, subject.tenant)}
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
        return lines

    async def change_acl(self, caller: Caller, document_id: DocumentId, acl: Acl) -> Document:
        """Replace the ACL. Needs `acl.write`. The next request of anyone is judged by it."""
        _check_principals(acl)
        change = _Change(Action.ACL_WRITE, EventType.ACL_CHANGED, lambda document, _: replace(document, acl=acl))
        return await self._change(caller, document_id, change)

    async def change_label(self, caller: Caller, document_id: DocumentId, label: str) -> Document:
        """Replace the label. Needs `acl.write` under the old and the new label. Raises InvalidInputError for an unknown one."""

        def relabelled(document: Document, snapshot: Snapshot) -> Document:
            rank = snapshot.bundle.rank(label)
            if rank is None:
                message = f"The label is unknown. Known labels: {', '.join(sorted(snapshot.bundle.labels))}."
                raise InvalidInputError(message, pointer="/label")
            return replace(document, label=label, sensitivity=rank)

        return await self._change(caller, document_id, _Change(Action.ACL_WRITE, EventType.LABEL_CHANGED, relabelled))

    async def withdraw(self, caller: Caller, document_id: DocumentId) -> None:
        """Withdraw at once: no later request sees it. Needs `delete`."""
        change = _Change(
            Action.DELETE,
            EventType.DOCUMENT_WITHDRAWN,
            lambda document, _: replace(document, state=DocumentState.WITHDRAWN, live_version=None),
        )
        await self._change(caller, document_id, change)
        await self.index.remove(document_id)

    async def _change(self, caller: Caller, document_id: DocumentId, change: "_Change") -> Document:
        async with self.database.write() as tx:
            snapshot = await self.policy.current(tx, caller.subject.tenant)
            document = await document_rows.get_document(tx, caller.subject.tenant, document_id)
            if document is not None and document.state is DocumentState.WITHDRAWN:
                document = None
            changed = change.apply(document, snapshot) if document is not None else None
            decision = self._decide(snapshot, caller, document, (change.action,))
            if changed is not None and decision is not None and decision.outcome is Outcome.ALLOW:
                after = self._decide(snapshot, caller, changed, (change.action,)) if change.event is EventType.LABEL_CHANGED else decision
                decision = after or decision
            if document is not None and changed is not None and decision is not None and decision.outcome is Outcome.ALLOW:
                changed = replace(changed, acl_version=document.acl_version + 1, updated_at=datetime.now(UTC))
                await document_rows.update_document(tx, changed)
                fields: dict[str, JsonValue] = {
                    "acl_version": changed.acl_version,
                    "label": changed.label,
                    "acl_mode": changed.acl.mode.value,
                }
                await self.audit.record_in(tx, by_caller(caller, decided(change.event, decision, (about(document_id),), fields)))
        if changed is None or document is None or decision is None or decision.outcome is Outcome.DENY:
            await self._refuse(caller, snapshot, document, decision, change)
            raise NotFoundError
        await self.index.put_access(_facts(changed))
        return changed

    async def _refuse(
        self, caller: Caller, snapshot: Snapshot, document: Document | None, decision: Decision | None, change: "_Change"
    ) -> None:
        """Record; raise AccessDeniedError when the caller may read the document, so that its existence is no secret to them."""
        document_id = document.document_id if document else DocumentId("")
        await self._record_denied(caller, snapshot, decision, document_id, {"action": change.action.value})
        if document is not None and all(snapshot.permits_all(caller.subject, READ_ACTIONS, [document.resource()])):
            message = f"You may read this document, but you do not have the right `{change.action.value}` on it."
            raise AccessDeniedError(message, decision_id=decision.decision_id if decision else None)

    async def _record_denied(
        self, caller: Caller, snapshot: Snapshot, decision: Decision | None, document_id: DocumentId, fields: dict[str, JsonValue]
    ) -> None:
        if decision is None:
            decision = replace(snapshot.search_decision(snapshot.read_filter(caller.subject, ())), reason_code="absent")
        refs = (about(document_id),) if document_id else ()
        await self.audit.record(by_caller(caller, decided(EventType.ACTION_DENIED, decision, refs, fields)))

    def _decide(self, snapshot: Snapshot, caller: Caller, document: Document | None, actions: Sequence[Action]) -> Decision | None:
        if document is None:
            return None
        decisions = [snapshot.decide(caller.subject, action, document.resource()) for action in actions]
        return next((one for one in decisions if one.outcome is Outcome.DENY), decisions[-1])

    def _shown(self, snapshot: Snapshot, caller: Caller, document: Document, profile: str) -> frozenset[str]:
        pair = (document.collection, document.label)
        redaction = self.redaction.of(snapshot.digest, snapshot.redaction_text)
        return redaction.visible_types(profile, may_read_pii=snapshot.pii_readers(caller.subject, [pair])[pair])

    async def _live_version(self, tx: Transaction, document: Document | None) -> VersionRow | None:
        if document is None or document.state is not DocumentState.LIVE or document.live_version is None:
            return None
        return await document_rows.get_version(tx, document.document_id, document.live_version)


@dataclass(frozen=True, slots=True)
class _Change:
    action: Action
    event: EventType
    apply: Callable[[Document, Snapshot], Document]


def _check_principals(acl: Acl) -> None:
    for principal in (*acl.allow, *acl.deny):
        if len(principal.encode("utf-8", "surrogatepass")) > MAX_PRINCIPAL_BYTES or not principal.startswith(("user:", "group:", "role:")):
            message = "A principal must start with user:, group: or role: and have at most 512 bytes."
            raise InvalidInputError(message, pointer="/acl")


def _facts(document: Document) -> AccessFacts:
    return AccessFacts(
        tenant=document.tenant,
        document_id=document.document_id,
        collection=document.collection,
        label=document.label,
        sensitivity=document.sensitivity,
        acl=document.acl,
        acl_version=document.acl_version,
        language=document.language,
        updated_at=document.updated_at,
    )
