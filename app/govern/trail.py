"""ReadAuditTrail: an officer's look into the log, itself on record before rows leave; proofs, checkpoints and receipts."""

import base64
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from app.audit import envelope
from app.audit.digests import keyed_digest
from app.audit.events import by_caller, decided
from app.audit.log import AuditLog, log_name
from app.audit.signer import CheckpointSigner, RemoteSigner
from app.audit.verification import LogReport, verify_log
from app.domain.access import Action
from app.domain.audit import EventId, EventType, InclusionProof, JsonValue, LogEntry, Reference
from app.domain.identity import Caller, TenantId
from app.errors import InvalidInputError
from app.govern.rights import require_right
from app.policy.book import PolicyBook
from app.storage import audit_rows
from app.storage.audit_rows import EventQuery
from app.storage.transaction import Database, Transaction

_PAGE = 2_000
_PSEUDONYM = "person-"


@dataclass(frozen=True, slots=True)
class TrailRequest:
    """An officer's search: filters, and the case and reason without which nothing loads."""

    query: EventQuery
    case_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class TrailRow:
    """One entry as an officer reads it: the parsed envelope and its place."""

    index: int
    recorded_at: datetime
    leaf_hash: bytes
    event: Mapping[str, Any]


@dataclass(frozen=True)
class ReadAuditTrail:
    """Reads the log. Powers: policy, the log, the signer's memory, the subject's own answers for their receipts."""

    database: Database
    policy: PolicyBook
    audit: AuditLog
    signer: CheckpointSigner | RemoteSigner
    digest_key: bytes

    async def search(self, caller: Caller, request: TrailRequest) -> list[TrailRow]:
        """Entries that match, newest first. Needs `audit.read`, a case and a reason; recorded before rows are read."""
        if not request.case_id.strip() or not request.reason.strip():
            message = "Reading the log needs a case id and a reason."
            raise InvalidInputError(message, pointer="/case_id")
        decision = await require_right(self.database, self.policy, self.audit, caller, Action.AUDIT_READ)
        filters: dict[str, JsonValue] = {
            "case_id": request.case_id[:200],
            "reason_digest": keyed_digest(self.digest_key, caller.subject.tenant, request.reason),
            "filters": _filters(request.query),
        }
        about = [Reference("case", request.case_id[:200]), *request.query.references]
        await self.audit.record(by_caller(caller, decided(EventType.AUDIT_QUERIED, decision, about, filters)))
        async with self.database.read() as tx:
            query = await self._named(tx, caller.subject.tenant, request.query)
            entries = await self.audit.search(tx, caller.subject.tenant, query)
        return [row_of(entry) for entry in entries]

    async def event(self, caller: Caller, event_id: EventId, case_id: str = "") -> TrailRow:
        """One entry. Needs `audit.read`; recorded, with the case when there is one."""
        return row_of(await self._entry(caller, event_id, EventType.AUDIT_QUERIED, case_id))

    async def proof(self, caller: Caller, event_id: EventId, case_id: str = "") -> InclusionProof:
        """Inclusion proof of one entry. Needs `audit.read`; recorded, with the case when there is one."""
        return await self.audit.prove(caller.subject.tenant, await self._entry(caller, event_id, EventType.PROOF_ISSUED, case_id))

    async def export(self, tenant: TenantId) -> AsyncIterator[dict[str, Any]]:
        """Every entry in order: its index, the leaf bytes (standard base64) and the event parsed from them."""
        index = 0
        while True:
            async with self.database.read() as tx:
                entries = await audit_rows.entries_from(tx, log_name(tenant), index, _PAGE)
            if not entries:
                return
            for entry in entries:
                yield {"index": entry.index, "leaf": base64.b64encode(entry.leaf).decode(), "event": envelope.parse(entry.leaf)}
            index += len(entries)

    async def require(self, caller: Caller) -> None:
        """Raise AccessDeniedError, recorded, unless the caller holds `audit.read`."""
        await require_right(self.database, self.policy, self.audit, caller, Action.AUDIT_READ)

    def pseudonym(self, actor: str) -> str:
        """A stable name for an actor that tells nothing about the person: naming one needs a second person."""
        if "|" not in actor:
            return actor
        return f"{_PSEUDONYM}{keyed_digest(self.digest_key, 'actor', actor)[:8]}"

    async def checkpoint(self, tenant: TenantId) -> str:
        """The newest signed checkpoint: no right needed, it tells a size and a hash."""
        return await self.audit.checkpoint(tenant)

    async def verify(self, tenant: TenantId) -> LogReport:
        """Check the whole log against itself, its checkpoints and the signer's memory."""
        signed = self.signer.last_signed(log_name(tenant))
        return await verify_log(self.database, tenant, self.audit.verifier_key(tenant), signed)

    async def _named(self, tx: Transaction, tenant: TenantId, query: EventQuery) -> EventQuery:
        """The query with a pseudonym, as pages show it, replaced by the actor it stands for."""
        if not query.actor.startswith(_PSEUDONYM):
            return query
        actors = await audit_rows.actors(tx, log_name(tenant))
        return replace(query, actor=next((one for one in actors if self.pseudonym(one) == query.actor), query.actor))

    async def _entry(self, caller: Caller, event_id: EventId, recorded_as: EventType, case_id: str) -> LogEntry:
        decision = await require_right(self.database, self.policy, self.audit, caller, Action.AUDIT_READ)
        async with self.database.read() as tx:
            entry = await self.audit.find(tx, caller.subject.tenant, event_id)
        about = (Reference("case", case_id[:200]),) if case_id else ()
        await self.audit.record(by_caller(caller, decided(recorded_as, decision, about, {"event_id": event_id, "case_id": case_id[:200]})))
        return entry


def _filters(query: EventQuery) -> list[str]:
    named = {"actor": query.actor, "type": query.type, "outcome": query.outcome, "since": query.since, "until": query.until}
    return sorted([name for name, value in named.items() if value] + [reference.kind for reference in query.references])


def row_of(entry: LogEntry) -> TrailRow:
    """An entry as an officer reads it, with the time that its hash covers."""
    event = envelope.parse(entry.leaf)
    return TrailRow(entry.index, datetime.fromisoformat(event["recorded_at"]), entry.leaf_hash, event)
