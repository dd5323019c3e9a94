"""ExplainAccess: why a subject may or may not do something with a document, step by step, for those who may know."""

from dataclasses import dataclass
from datetime import UTC, datetime

from app.audit.events import by_caller, decided
from app.audit.events import document as about
from app.audit.log import AuditLog
from app.domain.access import AclMode, Action, Outcome
from app.domain.audit import EventType, JsonValue
from app.domain.content import Document, DocumentId, DocumentState
from app.domain.identity import Caller, Principal, Subject, SubjectId
from app.errors import NotFoundError
from app.govern.document_rights import READ_ACTIONS
from app.identity.subjects import ClaimNames, subject_from_claims
from app.policy.book import PolicyBook
from app.policy.explanation import Explanation, explain
from app.policy.snapshot import Snapshot, gateway_resource
from app.storage import document_rows, people_rows
from app.storage.transaction import Database, Transaction


@dataclass(frozen=True, slots=True)
class ExplainRequest:
    """`subject_id` is who is asked about; `None` is the caller. Somebody else is judged by the claims they were last seen with."""

    document_id: DocumentId
    action: Action
    subject_id: str | None = None


@dataclass(frozen=True)
class ExplainAccess:
    """Explains decisions. Powers: policy, the register, the log."""

    database: Database
    policy: PolicyBook
    audit: AuditLog
    claims: ClaimNames

    async def run(self, caller: Caller, request: ExplainRequest) -> Explanation:
        """The explanation with every step for holders of `debug.explain`; others learn only that they may.

        Raises NotFoundError, the same for absent and forbidden, when a caller without the right may not read the document.
        Recorded before it leaves.
        """
        async with self.database.read() as tx:
            snapshot = await self.policy.current(tx, caller.subject.tenant)
            subject = await self._subject(tx, caller, request)
            document = await document_rows.get_document(tx, caller.subject.tenant, request.document_id)
        right = snapshot.decide(caller.subject, Action.DEBUG_EXPLAIN, gateway_resource(caller.subject.tenant))
        may_debug = right.outcome is Outcome.ALLOW
        is_about_self = subject is caller.subject
        # Ids that nothing has are whatever the caller typed: the log keeps none of them.
        is_known = subject is not None and not is_about_self
        fields: dict[str, JsonValue] = {
            "action": request.action.value,
            "about": request.subject_id if is_known else None,
            "is_about_self": is_about_self,
            "is_full": may_debug,
        }
        refs = (about(document.document_id),) if document is not None else ()
        await self.audit.record(by_caller(caller, decided(EventType.ACCESS_EXPLAINED, right, refs, fields)))
        if document is None or subject is None or document.state is DocumentState.WITHDRAWN or not (may_debug or is_about_self):
            raise NotFoundError
        full = explain(snapshot, subject, request.action, document.resource())
        if may_debug:
            return full
        # Some actions are granted on every document: asked about one of them, a caller would learn that a document exists.
        is_open = document.is_served_at(datetime.now(UTC)) and all(snapshot.permits_all(subject, READ_ACTIONS, [document.resource()]))
        if full.verdict is Outcome.DENY or not is_open:
            raise NotFoundError
        return Explanation(full.verdict, (), full.filter_matches, full.referee_agrees)

    async def _subject(self, tx: Transaction, caller: Caller, request: ExplainRequest) -> Subject | None:
        if request.subject_id is None or request.subject_id == caller.subject.subject_id:
            return caller.subject
        claims = await people_rows.get_subject(tx, caller.subject.tenant, SubjectId(request.subject_id))
        return None if claims is None else subject_from_claims(claims, caller.subject.tenant, self.claims)

    async def why(self, caller: Caller, document_id: DocumentId) -> tuple[str, ...]:
        """Plain reasons why the caller may read a document, for the person themselves. Empty when they may not."""
        async with self.database.read() as tx:
            snapshot = await self.policy.current(tx, caller.subject.tenant)
            document = await document_rows.get_document(tx, caller.subject.tenant, document_id)
        if document is None or not document.is_served_at(datetime.now(UTC)):
            return ()
        return _reasons(snapshot, caller.subject, document)


def _reasons(snapshot: Snapshot, subject: Subject, document: Document) -> tuple[str, ...]:
    found = explain(snapshot, subject, Action.READ, document.resource())
    if found.verdict is Outcome.DENY:
        return ()
    reasons = []
    grants = [step for step in found.steps if step.step == "rules" and step.rule is not None]
    reasons += [f"you are in {_plain(Principal(one.input))}, which may read {document.collection} documents" for one in grants[:1]]
    reasons.append(f"the document is {document.label}, and you are cleared for it")
    if document.acl.mode is AclMode.EXPLICIT:
        named = sorted(_plain(one) for one in document.acl.allow & snapshot.closure(subject))
        reasons.append(f"the document names {', '.join(named)} among its readers")
    return tuple(reasons)


def _plain(principal: Principal) -> str:
    return principal.rsplit("|", 1)[-1]
