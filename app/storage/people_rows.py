"""Queries over browser sessions, sign-ins under way and idempotency keys. Secrets are kept as digests only."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, delete, func, insert, or_, select, update

from app.domain.identity import SubjectId, TenantId
from app.storage.tables import ended_session, idempotency, known_subject, login_attempt, pending_question, web_session
from app.storage.transaction import Transaction

_UNFINISHED_FOR = timedelta(minutes=2)
"""A first use that is not finished after this long is taken for dead: longer than any answer may take."""
_ENDED_FOR = timedelta(hours=1)
"""How long it is kept that a session ended: longer than any sign-in may be under way."""


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A browser session. `claims` are the verified claims of the access token at sign-in, `issued_at` when that was issued.

    `sid_digest` is that of the issuer's name for the session, where it has one.
    """

    session_digest: str
    tenant: TenantId
    subject_id: SubjectId
    claims: dict[str, Any]
    csrf_token: str
    created_at: datetime
    expires_at: datetime
    issued_at: datetime
    sid_digest: str | None


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """A sign-in between redirect and return."""

    tenant: TenantId
    state_digest: str
    nonce: str
    code_verifier: str
    next_path: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """Names one creating request of one subject."""

    tenant: TenantId
    subject_id: SubjectId
    route: str
    key: str


@dataclass(frozen=True, slots=True)
class QuestionKey:
    """Names a question between the form and its stream: the session that asked it finds it."""

    tenant: TenantId
    session_digest: str
    question_id: str


async def put_session(tx: Transaction, row: SessionRow) -> None:
    """Store a session and drop the ones that have ended."""
    await tx.connection.execute(delete(web_session).where(web_session.c.expires_at < row.created_at))
    await tx.connection.execute(
        insert(web_session).values(
            session_digest=row.session_digest,
            tenant=row.tenant,
            subject_id=row.subject_id,
            claims=row.claims,
            csrf_token=row.csrf_token,
            created_at=row.created_at,
            expires_at=row.expires_at,
            issued_at=row.issued_at,
            sid_digest=row.sid_digest,
        )
    )


async def get_session(tx: Transaction, session_digest: str, moment: datetime) -> SessionRow | None:
    """A session that has not ended, or `None`."""
    statement = select(web_session).where(web_session.c.session_digest == session_digest, web_session.c.expires_at > moment)
    row = (await tx.connection.execute(statement)).one_or_none()
    if row is None:
        return None
    ids = (row.session_digest, TenantId(row.tenant), SubjectId(row.subject_id))
    issued_at = row.issued_at or row.created_at
    return SessionRow(*ids, row.claims, row.csrf_token, row.created_at, row.expires_at, issued_at, row.sid_digest)


async def end_session(tx: Transaction, session_digest: str) -> None:
    """Forget a session."""
    await tx.connection.execute(delete(web_session).where(web_session.c.session_digest == session_digest))


async def end_sessions(
    tx: Transaction, tenant: TenantId, subject_id: SubjectId | None, sid_digest: str | None, until: datetime
) -> list[SubjectId]:
    """Forget the sessions of a subject, of the issuer's session that `sid_digest` names, or of both where both are given.

    It is kept for a while, for `is_ended`. Returns whose they were. Where a session is named only, a subject's others stay, but for
    those that have no name and may be meant; where none is named, or it has no name, those whose token was issued after `until` stay.
    """
    named = {"tenant": tenant, "sid_digest": sid_digest or "", "subject_id": subject_id or "", "issued_at": until}
    now, noted = await tx.now(), ended_session.c
    is_same = and_(*(noted[name] == value for name, value in named.items()))
    await tx.connection.execute(delete(ended_session).where(noted.tenant == tenant, or_(is_same, noted.noted_at < now - _ENDED_FOR)))
    await tx.connection.execute(insert(ended_session).values(**named, noted_at=now))
    meant = [web_session.c.tenant == tenant]
    if subject_id is not None:
        meant.append(web_session.c.subject_id == subject_id)
    # Both times are the issuer's; the build before this one kept no such time.
    is_earlier = func.coalesce(web_session.c.issued_at, web_session.c.created_at) <= until
    is_named = web_session.c.sid_digest == sid_digest
    if sid_digest is None:
        meant.append(is_earlier)
    elif subject_id is None:
        meant.append(is_named)
    else:
        meant.append(or_(is_named, web_session.c.sid_digest.is_(None) & is_earlier))
    whose = (await tx.connection.execute(delete(web_session).where(*meant).returning(web_session.c.subject_id))).scalars().all()
    return [SubjectId(one) for one in whose]


async def is_ended(tx: Transaction, row: SessionRow) -> bool:
    """Whether the issuer ended, a while ago, what would be this session: then it is not to be opened."""
    noted = ended_session.c
    of_subject = noted.subject_id == row.subject_id
    if row.sid_digest is None:
        meant = of_subject
    else:
        by_name = and_(noted.sid_digest == row.sid_digest, noted.subject_id.in_(["", row.subject_id]))
        meant = or_(and_(of_subject, noted.sid_digest == ""), by_name)
    # Both times are the issuer's: what it issued after the end is a new beginning.
    statement = select(noted.tenant).where(noted.tenant == row.tenant, noted.issued_at >= row.issued_at, meant).limit(1)
    return (await tx.connection.execute(statement)).first() is not None


async def sessions_without_digest(tx: Transaction, tenant: TenantId) -> list[tuple[str, dict[str, Any]]]:
    """(digest, claims) of sessions that the build before this one opened."""
    older = (web_session.c.tenant == tenant, web_session.c.issued_at.is_(None))
    rows = await tx.connection.execute(select(web_session.c.session_digest, web_session.c.claims).where(*older))
    return [(row.session_digest, row.claims) for row in rows]


async def name_session(tx: Transaction, session_digest: str, sid_digest: str | None, issued_at: datetime) -> None:
    """Note what the build before this one did not."""
    same = web_session.c.session_digest == session_digest
    await tx.connection.execute(update(web_session).where(same).values(sid_digest=sid_digest, issued_at=issued_at))


async def put_subject(tx: Transaction, tenant: TenantId, subject_id: SubjectId, claims: dict[str, Any], moment: datetime) -> None:
    """Keep the claims a subject was last seen with, so that decisions about them can be explained."""
    same = (known_subject.c.tenant == tenant, known_subject.c.subject_id == subject_id)
    changed = await tx.connection.execute(update(known_subject).where(*same).values(claims=claims, seen_at=moment))
    if changed.rowcount == 0:
        await tx.connection.execute(insert(known_subject).values(tenant=tenant, subject_id=subject_id, claims=claims, seen_at=moment))


async def get_subject(tx: Transaction, tenant: TenantId, subject_id: SubjectId) -> dict[str, Any] | None:
    """The claims a subject was last seen with, or `None`."""
    statement = select(known_subject.c.claims).where(known_subject.c.tenant == tenant, known_subject.c.subject_id == subject_id)
    return (await tx.connection.execute(statement)).scalar_one_or_none()


async def put_login(tx: Transaction, row: LoginAttempt, stale_before: datetime) -> None:
    """Store a sign-in and drop the ones never finished."""
    await tx.connection.execute(delete(login_attempt).where(login_attempt.c.created_at < stale_before))
    values = {"nonce": row.nonce, "code_verifier": row.code_verifier, "next_path": row.next_path, "created_at": row.created_at}
    await tx.connection.execute(insert(login_attempt).values(tenant=row.tenant, state_digest=row.state_digest, **values))


async def take_login(tx: Transaction, tenant: TenantId, state_digest: str, not_before: datetime) -> LoginAttempt | None:
    """A sign-in by its state, once only, or `None`."""
    mine = (login_attempt.c.tenant == tenant, login_attempt.c.state_digest == state_digest)
    row = (await tx.connection.execute(select(login_attempt).where(*mine))).one_or_none()
    await tx.connection.execute(delete(login_attempt).where(*mine))
    if row is None or row.created_at < not_before:
        return None
    return LoginAttempt(tenant, row.state_digest, row.nonce, row.code_verifier, row.next_path, row.created_at)


async def put_question(tx: Transaction, key: QuestionKey, body: dict[str, Any], moment: datetime) -> None:
    """Keep a question between the form and its stream, and drop the ones that were never streamed."""
    await tx.connection.execute(delete(pending_question).where(pending_question.c.created_at < moment - timedelta(minutes=5)))
    values = {"tenant": key.tenant, "session_digest": key.session_digest, "question_id": key.question_id}
    await tx.connection.execute(insert(pending_question).values(**values, body=body, created_at=moment))


async def take_question(tx: Transaction, key: QuestionKey) -> dict[str, Any] | None:
    """A question of a session, once only, or `None`."""
    columns = pending_question.c
    mine = (columns.tenant == key.tenant, columns.session_digest == key.session_digest, columns.question_id == key.question_id)
    body = (await tx.connection.execute(select(pending_question.c.body).where(*mine))).scalar_one_or_none()
    await tx.connection.execute(delete(pending_question).where(*mine))
    return body


async def claim_key(tx: Transaction, key: IdempotencyKey, body_digest: str, moment: datetime) -> tuple[str, int | None, Any] | None:
    """Claim a key. `None` when it is new; else (body digest, status, response) of the first use, status `None` while that runs.

    `moment` is what the claim is known by from then on: a use that took so long that another one followed it has lost its claim.
    """
    row = (await tx.connection.execute(select(idempotency).where(*_same(key)))).one_or_none()
    if row is not None and row.status is None and row.created_at < moment - _UNFINISHED_FOR:
        # Its process ended in the middle of it: without this the caller could never repeat the request.
        await free_key(tx, key, row.created_at)
    elif row is not None:
        return row.body_digest, row.status, row.response
    values = {"tenant": key.tenant, "subject_id": key.subject_id, "route": key.route, "key": key.key}
    await tx.connection.execute(insert(idempotency).values(**values, body_digest=body_digest, created_at=moment))
    return None


async def answer_key(tx: Transaction, key: IdempotencyKey, claimed_at: datetime, status: int, response: Any) -> None:  # noqa: ANN401 - JSON
    """Keep the first response for repeats, unless the claim was lost."""
    mine = (*_same(key), idempotency.c.created_at == claimed_at)
    await tx.connection.execute(update(idempotency).where(*mine).values(status=status, response=response))


async def free_key(tx: Transaction, key: IdempotencyKey, claimed_at: datetime) -> None:
    """Give a key back after a failure, so that the caller may try again, unless the claim was lost."""
    await tx.connection.execute(delete(idempotency).where(*_same(key), idempotency.c.created_at == claimed_at))


def _same(key: IdempotencyKey) -> tuple[Any, ...]:
    columns = idempotency.c
    return (columns.tenant == key.tenant, columns.subject_id == key.subject_id, columns.route == key.route, columns.key == key.key)
