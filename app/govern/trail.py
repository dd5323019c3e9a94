"""ReadAuditTrail: an officer's look into the log, itself on record before rows leave; proofs, checkpoints and receipts."""

import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from app.audit import envelope
from app.audit.digests import keyed_digest
from app.audit.events import by_caller, decided
from app.audit.log import AuditLog, log_name
from app.audit.merkle import leaf_hash
from app.audit.receipts import build_receipt
from app.audit.signer import CheckpointSigner
from app.audit.verification import LogReport, verify_log
from app.audit.verifier import InvalidReceiptError, check_text, verify_receipt
from app.domain.access import Action
from app.domain.audit import EventId, EventType, InclusionProof, JsonValue, LogEntry, Reference
from app.domain.content import Receipt
from app.domain.identity import Caller, TenantId
from app.errors import InvalidInputError, NotFoundError
from app.govern.rights import require_right
from app.policy.book import PolicyBook
from app.storage import audit_rows, conversation_rows
from app.storage.audit_rows import EventQuery
from app.storage.conversation_rows import Owner
from app.storage.transaction import Database, Transaction

RECEIPT_PREFIX = "rcp_"
_PAGE = 2_000


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


def receipt_problem(receipt: dict[str, Any], text: str | None = None, vkey: str | None = None) -> str | None:
    """Why a receipt does not hold, or `None`; with `text` also compares the answer. The check is the one that anybody may run offline."""
    try:
        event = verify_receipt(receipt, vkey)
        if text is not None:
            check_text(receipt, event, text)
    except InvalidReceiptError as error:
        return str(error)
    return None


@dataclass(frozen=True)
class ReadAuditTrail:
    """Reads the log. Powers: policy, the log, the signer's memory, the subject's own answers for their receipts."""

    database: Database
    policy: PolicyBook
    audit: AuditLog
    signer: CheckpointSigner
    digest_key: bytes

    async def search(self, caller: Caller, request: TrailRequest) -> list[TrailRow]:
        """Entries that match, newest first. Needs `audit.read`, a case and a reason; recorded before rows are read."""
        if not request.case_id.strip() or not request.reason.strip():
            message = "Reading the log needs a case id and a reason."
            raise InvalidInputError(message, pointer="/case_id")
        decision = await require_right(self.database, self.policy, self.audit, caller, Action.AUDIT_READ)
        filters: dict[str, JsonValue] = {
            "case_id": request.case_id[:200],
            "reason_digest": sha256(request.reason.encode("utf-8", "surrogatepass")).hexdigest(),
            "filters": _filters(request.query),
        }
        about = [Reference("case", request.case_id[:200]), *request.query.references]
        await self.audit.record(by_caller(caller, decided(EventType.AUDIT_QUERIED, decision, about, filters)))
        async with self.database.read() as tx:
            entries = await self.audit.search(tx, caller.subject.tenant, request.query)
        return [_row(entry) for entry in entries]

    async def event(self, caller: Caller, event_id: EventId) -> TrailRow:
        """One entry. Needs `audit.read`; recorded."""
        return _row(await self._entry(caller, event_id))

    async def proof(self, caller: Caller, event_id: EventId) -> InclusionProof:
        """Inclusion proof of one entry. Needs `audit.read`; recorded."""
        return await self.audit.prove(caller.subject.tenant, await self._entry(caller, event_id))

    async def receipt(self, caller: Caller, receipt_id: str) -> dict[str, Any]:
        """The receipt of a release, for the person it was released to or for `audit.read`; others read NotFoundError."""
        event_id = EventId(receipt_id.removeprefix(RECEIPT_PREFIX))
        if not receipt_id.startswith(RECEIPT_PREFIX):
            raise NotFoundError
        tenant = caller.subject.tenant
        async with self.database.read() as tx:
            entry = await self.audit.find(tx, tenant, event_id)
            content = envelope.parse(entry.leaf)
            opening = await self._opening(tx, caller, content)
        if content["actor"] != caller.subject.subject_id:
            await self._entry(caller, event_id)
        proof = await self.audit.prove(tenant, entry)
        return build_receipt(receipt_id, entry, proof, self.audit.verifier_key(tenant), opening)

    async def operator_receipt(self, tenant: TenantId, event_id: EventId) -> dict[str, Any]:
        """Proof of one entry for the operator of the installation, without what opens its commitments. Raises NotFoundError."""
        async with self.database.read() as tx:
            entry = await self.audit.find(tx, tenant, event_id)
        proof = await self.audit.prove(tenant, entry)
        return build_receipt(f"{RECEIPT_PREFIX}{entry.event_id}", entry, proof, self.audit.verifier_key(tenant), None)

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

    async def holds(self, caller: Caller, receipt_id: str) -> bool:
        """Whether the receipt of something released to the caller verifies right now, by the verifier that anybody may run."""
        key = self.audit.verifier_key(caller.subject.tenant)
        return receipt_problem(await self.receipt(caller, receipt_id), vkey=key) is None

    async def receipt_facts(self, caller: Caller, receipt_id: str) -> dict[str, Any]:
        """What a page shows of a receipt: its place, whether it verifies, policy and model."""
        receipt = await self.receipt(caller, receipt_id)
        event = receipt["event"]
        place = Receipt(receipt_id, receipt["log"], receipt["index"], leaf_hash(base64.b64decode(receipt["leaf"])).hex())
        is_verified = await self.holds(caller, receipt_id)
        return {
            "receipt": place,
            "is_verified": is_verified,
            "policy_digest": event["policy_digest"],
            "model": event["fields"].get("model", "not used"),
        }

    async def require(self, caller: Caller) -> None:
        """Raise AccessDeniedError, recorded, unless the caller holds `audit.read`."""
        await require_right(self.database, self.policy, self.audit, caller, Action.AUDIT_READ)

    def pseudonym(self, actor: str) -> str:
        """A stable name for an actor that tells nothing about the person: naming one needs a second person."""
        if "|" not in actor:
            return actor
        return f"person-{keyed_digest(self.digest_key, 'actor', actor)[:8]}"

    async def overview(self, caller: Caller) -> dict[str, Any]:
        """Whether the log is whole, proved in this request, and what was refused lately. Needs `audit.read`; recorded."""
        decision = await require_right(self.database, self.policy, self.audit, caller, Action.AUDIT_READ)
        tenant = caller.subject.tenant
        await self.audit.record(by_caller(caller, decided(EventType.AUDIT_QUERIED, decision, (), {"filters": ["overview"]})))
        await self.audit.checkpoint(tenant)
        report = await self.verify(tenant)
        async with self.database.read() as tx:
            refused = await self.audit.search(tx, tenant, EventQuery(outcome="deny", limit=8))
            looks = await self.audit.search(tx, tenant, EventQuery(type=EventType.AUDIT_QUERIED.value, limit=8))
        now = datetime.now(UTC)
        integrity = {
            "is_whole": report.is_intact,
            "entries": report.entries,
            "problem": report.problems[0] if report.problems else "",
            "checkpoint_entries": report.checkpoint_size,
            "checkpoint_at": now if report.checkpoint_size else None,
            "checked_at": now,
        }
        return {
            "integrity": integrity,
            "panels": [self._panel("What was refused lately?", refused), self._panel("Who looked into the log lately?", looks)],
        }

    def _panel(self, question: str, entries: Sequence[LogEntry]) -> dict[str, Any]:
        rows = [_row(entry) for entry in entries]
        lines = [
            [
                str(one.index),
                f"{one.recorded_at:%Y-%m-%d %H:%M:%S} UTC",
                one.event["type"],
                self.pseudonym(one.event["actor"]),
                one.event["reason_code"],
            ]
            for one in rows
        ]
        answer = "The newest entries, latest first." if lines else "Nothing so far."
        return {
            "question": question,
            "answer": answer,
            "columns": ["Entry", "Time", "What", "Who", "Reason"],
            "rows": lines,
            "address": "/log",
            "link": "Search the log",
        }

    async def checkpoint(self, tenant: TenantId) -> str:
        """The newest signed checkpoint: no right needed, it tells a size and a hash."""
        return await self.audit.checkpoint(tenant)

    async def verify(self, tenant: TenantId) -> LogReport:
        """Check the whole log against itself, its checkpoints and the signer's memory."""
        signed = self.signer.last_signed(log_name(tenant))
        return await verify_log(self.database, tenant, self.audit.verifier_key(tenant), signed)

    async def _opening(self, tx: Transaction, caller: Caller, content: Mapping[str, Any]) -> dict[str, str] | None:
        answers = [ref for kind, ref in content["refs"] if kind == "answer"]
        if not answers:
            return None
        owner = Owner(caller.subject.tenant, caller.subject.subject_id)
        row = await conversation_rows.get_answer(tx, owner, answers[0])
        return None if row is None else {"salt": row.body["salt"]}

    async def _entry(self, caller: Caller, event_id: EventId) -> LogEntry:
        decision = await require_right(self.database, self.policy, self.audit, caller, Action.AUDIT_READ)
        async with self.database.read() as tx:
            entry = await self.audit.find(tx, caller.subject.tenant, event_id)
        await self.audit.record(by_caller(caller, decided(EventType.AUDIT_QUERIED, decision, (), {"event_id": event_id})))
        return entry


def _filters(query: EventQuery) -> list[str]:
    named = {"actor": query.actor, "type": query.type, "outcome": query.outcome, "since": query.since, "until": query.until}
    return sorted([name for name, value in named.items() if value] + [reference.kind for reference in query.references])


def _row(entry: LogEntry) -> TrailRow:
    return TrailRow(entry.index, entry.recorded_at, entry.leaf_hash, envelope.parse(entry.leaf))
