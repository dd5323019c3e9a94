"""Browser sessions: a random cookie value whose digest is a key in the database, and a token against cross-site requests."""

import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from app.domain.identity import Subject, SubjectId, TenantId
from app.errors import NotAuthenticatedError
from app.identity.subjects import ClaimNames, subject_from_claims
from app.storage import people_rows
from app.storage.people_rows import SessionRow
from app.storage.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Session:
    """Who is behind a cookie, and the token that their forms must carry."""

    digest: str
    subject: Subject
    csrf_token: str


def digest_of(secret: str) -> str:
    """What is stored instead of the secret."""
    return sha256(secret.encode()).hexdigest()


class Sessions:
    """Opens, finds and ends sessions inside the caller's transaction. A session never outlives the token it was made from."""

    def __init__(self, tenant: TenantId, names: ClaimNames) -> None:
        self._tenant = tenant
        self._names = names

    async def open(self, tx: Transaction, claims: dict[str, Any]) -> tuple[str, Session]:
        """(cookie value, session) for verified claims. Raises NotAuthenticatedError when the issuer has ended that session meanwhile."""
        subject = subject_from_claims(claims, self._tenant, self._names)
        secret, csrf_token, now = secrets.token_urlsafe(32), secrets.token_urlsafe(32), datetime.now(UTC)
        ids = (digest_of(secret), subject.tenant, subject.subject_id)
        row = SessionRow(*ids, claims, csrf_token, now, _moment(claims["exp"]), _moment(claims["iat"]), _sid_digest(claims.get("sid")))
        if await people_rows.is_ended(tx, row):
            reason = "ended_by_issuer"
            raise NotAuthenticatedError(reason)
        await people_rows.put_session(tx, row)
        return secret, Session(row.session_digest, subject, csrf_token)

    async def find(self, tx: Transaction, secret: str) -> Session | None:
        """The session of a cookie value, or `None`."""
        row = await people_rows.get_session(tx, digest_of(secret), datetime.now(UTC))
        if row is None:
            return None
        return Session(row.session_digest, subject_from_claims(row.claims, self._tenant, self._names), row.csrf_token)

    async def end(self, tx: Transaction, session: Session) -> None:
        """Sign out."""
        await people_rows.end_session(tx, session.digest)

    async def end_named(self, tx: Transaction, subject_id: SubjectId | None, sid: str | None, until: datetime) -> list[SubjectId]:
        """End those of a subject, of the issuer's session `sid`, or of both where both are given; returns whose they were.

        Without `sid`, those whose token was issued after `until` stay. What the issuer ended by name never comes back.
        """
        for digest, claims in await people_rows.sessions_without_digest(tx, self._tenant):
            try:
                named = (_sid_digest(claims.get("sid")), _moment(claims["iat"]))
            except (KeyError, TypeError, ValueError, OverflowError):
                # The build before this one took such claims. Nobody can tell whose end was meant: that one signs in again.
                await people_rows.end_session(tx, digest)
                continue
            await people_rows.name_session(tx, digest, *named)
        return await people_rows.end_sessions(tx, self._tenant, subject_id, _sid_digest(sid), until)


def is_csrf_token(session: Session, given: str) -> bool:
    """Whether a form carries this session's token."""
    return hmac.compare_digest(session.csrf_token.encode(), given.encode("utf-8", "replace"))


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)


def _sid_digest(sid: object) -> str | None:
    return digest_of(sid) if isinstance(sid, str) else None
