"""Browser sessions: a random cookie value whose digest is a key in the database, and a token against cross-site requests."""

import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from app.domain.identity import Subject, TenantId
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
        """(cookie value, session) for verified claims."""
        subject = subject_from_claims(claims, self._tenant, self._names)
        secret, csrf_token, now = secrets.token_urlsafe(32), secrets.token_urlsafe(32), datetime.now(UTC)
        ends = datetime.fromtimestamp(int(claims["exp"]), UTC)
        row = SessionRow(digest_of(secret), subject.tenant, subject.subject_id, claims, csrf_token, now, ends)
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


def is_csrf_token(session: Session, given: str) -> bool:
    """Whether a form carries this session's token."""
    return hmac.compare_digest(session.csrf_token.encode(), given.encode("utf-8", "replace"))
