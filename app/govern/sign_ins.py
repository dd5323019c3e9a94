"""RecordSignIn: a browser session opens and ends together with its record."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.audit.events import Happening, by_caller, by_system
from app.audit.log import AuditLog
from app.domain.access import Outcome
from app.domain.audit import EventType, Reference
from app.domain.identity import Caller, SubjectId, TenantId
from app.errors import AccessDeniedError
from app.identity.logout import Logout
from app.identity.sessions import Session, Sessions
from app.identity.subjects import with_purpose
from app.storage import people_rows
from app.storage.transaction import Database


@dataclass(frozen=True)
class RecordSignIn:
    """Opens and ends sessions. Powers: sessions, the log."""

    database: Database
    audit: AuditLog
    sessions: Sessions

    async def open(self, claims: dict[str, Any], request_id: str) -> tuple[str, Session]:
        """(cookie value, session) for verified claims, on record. Raises NotAuthenticatedError for what the issuer has ended meanwhile."""
        async with self.database.write() as tx:
            secret, session = await self.sessions.open(tx, claims)
            subject = session.subject
            await people_rows.put_subject(tx, subject.tenant, subject.subject_id, claims, datetime.now(UTC))
            refs = (Reference("subject", subject.subject_id),)
            happening = Happening(
                EventType.SIGNED_IN, references=refs, fields={"groups": len(subject.groups), "roles": list(subject.roles)}
            )
            await self.audit.record_in(tx, by_caller(Caller(subject, request_id), happening))
        return secret, session

    async def refused(self, tenant: TenantId, reason_code: str) -> None:
        """Put a refused sign-in on record."""
        await self.audit.record(by_system(tenant, Happening(EventType.SIGN_IN_FAILED, Outcome.DENY, reason_code[:60])))

    async def for_purpose(self, caller: Caller, purpose: str | None) -> Caller:
        """The caller acting for a declared purpose. Raises AccessDeniedError, recorded, for one that is not theirs."""
        try:
            return Caller(with_purpose(caller.subject, purpose), caller.request_id)
        except AccessDeniedError:
            # What was declared is whatever the caller typed: the log keeps no such text.
            happening = Happening(EventType.ACTION_DENIED, Outcome.DENY, "purpose_not_assigned", fields={"action": "declare_purpose"})
            await self.audit.record(by_caller(caller, happening))
            raise

    async def ended_by_issuer(self, tenant: TenantId, logout: Logout) -> int:
        """End the sessions that the issuer says are over, each on record, for every replica; returns how many there were."""
        subject_id = SubjectId(f"{logout.issuer}|{logout.subject}") if logout.subject else None
        async with self.database.write() as tx:
            ended = await self.sessions.end_named(tx, subject_id, logout.sid, logout.issued_at)
            for one in ended:
                happening = Happening(EventType.SIGNED_OUT, reason_code="by_issuer", references=(Reference("subject", one),))
                await self.audit.record_in(tx, by_system(tenant, happening))
        return len(ended)

    async def end(self, session: Session, request_id: str) -> None:
        """Sign out, on record."""
        async with self.database.write() as tx:
            await self.sessions.end(tx, session)
            await self.audit.record_in(tx, by_caller(Caller(session.subject, request_id), Happening(EventType.SIGNED_OUT)))
