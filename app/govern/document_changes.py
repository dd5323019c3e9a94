"""ChangeDocuments: replace the ACL or the label of a document, or withdraw it. Each is decided, done and recorded in one transaction."""

from collections.abc import Callable
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
from app.domain.search import AccessFacts
from app.errors import AccessDeniedError, InvalidInputError, NotFoundError
from app.govern.document_rights import READ_ACTIONS, denied_event, first_denial
from app.policy.book import PolicyBook
from app.policy.snapshot import Snapshot
from app.storage import document_rows, job_rows
from app.storage.transaction import Database

MAX_PRINCIPAL_BYTES = 512


@dataclass(frozen=True)
class ChangeDocuments:
    """Changes documents one at a time. Powers: policy, the register, the index, the log."""

    database: Database
    policy: PolicyBook
    index: PassageIndex
    audit: AuditLog

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
        await self.index.remove(caller.subject.tenant, document_id)

    async def _change(self, caller: Caller, document_id: DocumentId, change: "_Change") -> Document:
        async with self.database.write() as tx:
            snapshot = await self.policy.current(tx, caller.subject.tenant)
            document = await document_rows.get_document(tx, caller.subject.tenant, document_id)
            if document is not None and document.state is DocumentState.WITHDRAWN:
                document = None
            decision = first_denial(snapshot, caller, document, (change.action,))
            # Decided before the wish is looked at: a complaint about its values would tell that the document exists.
            is_granted = decision is not None and decision.outcome is Outcome.ALLOW
            changed = change.apply(document, snapshot) if document is not None and is_granted else None
            if changed is not None:
                after = first_denial(snapshot, caller, changed, (change.action,)) if change.event is EventType.LABEL_CHANGED else decision
                decision = after or decision
            if document is not None and changed is not None and decision is not None and decision.outcome is Outcome.ALLOW:
                changed = replace(changed, acl_version=document.acl_version + 1, updated_at=datetime.now(UTC))
                await document_rows.update_document(tx, changed)
                if changed.state is DocumentState.WITHDRAWN:
                    # What was handed in for it goes as well: it would be kept, and end as a success that never was.
                    await job_rows.cancel_of(tx, document_id, changed.updated_at)
                fields: dict[str, JsonValue] = {
                    "acl_version": changed.acl_version,
                    "label": changed.label,
                    "acl_mode": changed.acl.mode.value,
                }
                await self.audit.record_in(tx, by_caller(caller, decided(change.event, decision, (about(document_id),), fields)))
        if changed is None or document is None or decision is None or decision.outcome is Outcome.DENY:
            await self._refuse(caller, snapshot, document, decision, change)
            raise NotFoundError
        await self.index.put_access(AccessFacts.of(changed))
        return changed

    async def _refuse(
        self, caller: Caller, snapshot: Snapshot, document: Document | None, decision: Decision | None, change: "_Change"
    ) -> None:
        """Record; raise AccessDeniedError when the caller may read the document, so that its existence is no secret to them."""
        document_id = document.document_id if document else None
        await self.audit.record(denied_event(caller, snapshot, decision, document_id, {"action": change.action.value}))
        is_served = document is not None and document.is_served_at(datetime.now(UTC))
        if document is not None and is_served and all(snapshot.permits_all(caller.subject, READ_ACTIONS, [document.resource()])):
            message = f"You may read this document, but you do not have the right `{change.action.value}` on it."
            raise AccessDeniedError(message, decision_id=decision.decision_id if decision else None)


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
