"""Queries over browser sessions, sign-ins under way and idempotency keys. Secrets are kept as digests only."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, insert, select, update

from app.domain.identity import SubjectId, TenantId
from app.storage.tables import idempotency, known_subject, login_attempt, pending_question, web_session
from app.storage.transaction import Transaction

_UNFINISHED_FOR = timedelta(minutes=2)
"""A first use that is not finished after this long is taken for dead: longer than any answer may take."""


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A browser session. `claims` are the verified claims of the access token at sign-in."""

    session_digest: str
    tenant: TenantId
    subject_id: SubjectId
    claims: dict[str, Any]
    csrf_token: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """A sign-in between redirect and return."""

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
        )
    )


async def get_session(tx: Transaction, session_digest: str, moment: datetime) -> SessionRow | None:
    """A session that has not ended, or `None`."""
    statement = select(web_session).where(web_session.c.session_digest == session_digest, web_session.c.expires_at > moment)
    row = (await tx.connection.execute(statement)).one_or_none()
    if row is None:
        return None
    ids = (row.session_digest, TenantId(row.tenant), SubjectId(row.subject_id))
    return SessionRow(*ids, row.claims, row.csrf_token, row.created_at, row.expires_at)


async def end_session(tx: Transaction, session_digest: str) -> None:
    """Forget a session."""
    await tx.connection.execute(delete(web_session).where(web_session.c.session_digest == session_digest))


async def end_sessions(
    tx: Transaction, tenant: TenantId, subject_id: SubjectId | None, sid: str | None, before: datetime
) -> list[SubjectId]:
    """Forget the sessions of a subject, of an issuer's session `sid`, or of both where both are given; returns whose they were.

    Sessions opened after `before` stay.
    """
    meant = [web_session.c.tenant == tenant, web_session.c.created_at <= before]
    if subject_id is not None:
        meant.append(web_session.c.subject_id == subject_id)
    if sid is not None:
        meant.append(web_session.c.claims["sid"].as_string() == sid)
    whose = (await tx.connection.execute(select(web_session.c.subject_id).where(*meant))).scalars().all()
    await tx.connection.execute(delete(web_session).where(*meant))
    return [SubjectId(one) for one in whose]


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
    await tx.connection.execute(insert(login_attempt).values(state_digest=row.state_digest, **values))


async def take_login(tx: Transaction, state_digest: str, not_before: datetime) -> LoginAttempt | None:
    """A sign-in by its state, once only, or `None`."""
    row = (await tx.connection.execute(select(login_attempt).where(login_attempt.c.state_digest == state_digest))).one_or_none()
    await tx.connection.execute(delete(login_attempt).where(login_attempt.c.state_digest == state_digest))
    if row is None or row.created_at < not_before:
        return None
    return LoginAttempt(row.state_digest, row.nonce, row.code_verifier, row.next_path, row.created_at)


async def put_question(tx: Transaction, question_id: str, session_digest: str, body: dict[str, Any], moment: datetime) -> None:
    """Keep a question between the form and its stream, and drop the ones that were never streamed."""
    await tx.connection.execute(delete(pending_question).where(pending_question.c.created_at < moment - timedelta(minutes=5)))
    values = {"question_id": question_id, "session_digest": session_digest, "body": body, "created_at": moment}
    await tx.connection.execute(insert(pending_question).values(**values))


async def take_question(tx: Transaction, question_id: str, session_digest: str) -> dict[str, Any] | None:
    """A question of this session, once only, or `None`."""
    mine = (pending_question.c.question_id == question_id, pending_question.c.session_digest == session_digest)
    body = (await tx.connection.execute(select(pending_question.c.body).where(*mine))).scalar_one_or_none()
    await tx.connection.execute(delete(pending_question).where(*mine))
    return body


async def claim_key(tx: Transaction, key: IdempotencyKey, body_digest: str, moment: datetime) -> tuple[str, int | None, Any] | None:
    """Claim a key. `None` when it is new; else (body digest, status, response) of the first use, status `None` while that runs."""
    row = (await tx.connection.execute(select(idempotency).where(*_same(key)))).one_or_none()
    if row is not None and row.status is None and row.created_at < moment - _UNFINISHED_FOR:
        # Its process ended in the middle of it: without this the caller could never repeat the request.
        await free_key(tx, key)
    elif row is not None:
        return row.body_digest, row.status, row.response
    values = {"tenant": key.tenant, "subject_id": key.subject_id, "route": key.route, "key": key.key}
    await tx.connection.execute(insert(idempotency).values(**values, body_digest=body_digest, created_at=moment))
    return None


async def answer_key(tx: Transaction, key: IdempotencyKey, status: int, response: Any) -> None:  # noqa: ANN401 - JSON
    """Keep the first response for repeats."""
    await tx.connection.execute(update(idempotency).where(*_same(key)).values(status=status, response=response))


async def free_key(tx: Transaction, key: IdempotencyKey) -> None:
    """Give a key back after a failure, so that the caller may try again."""
    await tx.connection.execute(delete(idempotency).where(*_same(key)))


def _same(key: IdempotencyKey) -> tuple[Any, ...]:
    columns = idempotency.c
    return (columns.tenant == key.tenant, columns.subject_id == key.subject_id, columns.route == key.route, columns.key == key.key)
