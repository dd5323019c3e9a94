"""ReadReceipts: what a person keeps of something released to them, and whether it holds."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.audit import envelope
from app.audit.events import by_caller, decided
from app.audit.log import AuditLog
from app.audit.merkle import leaf_hash
from app.audit.receipts import build_receipt
from app.audit.verifier import InvalidReceiptError, check_text, verify_receipt
from app.domain.access import Action, Decision
from app.domain.audit import EventId, EventType, Reference
from app.domain.content import Receipt
from app.domain.identity import Caller, TenantId
from app.errors import AccessDeniedError, NotFoundError
from app.govern.rights import require_right
from app.policy.book import PolicyBook
from app.storage import conversation_rows
from app.storage.conversation_rows import Owner
from app.storage.transaction import Database, Transaction

RECEIPT_PREFIX = "rcp_"


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
class ReadReceipts:
    """Gives out receipts. Powers: policy, the log, the subject's own answers for what opens their commitments."""

    database: Database
    policy: PolicyBook
    audit: AuditLog

    async def receipt(self, caller: Caller, receipt_id: str) -> dict[str, Any]:
        """The receipt of a release, for the person it was released to or for `audit.read`; others read NotFoundError.

        An officer's look at somebody else's is on record before it leaves.
        """
        event_id = EventId(receipt_id.removeprefix(RECEIPT_PREFIX))
        if not receipt_id.startswith(RECEIPT_PREFIX):
            raise NotFoundError
        tenant = caller.subject.tenant
        async with self.database.read() as tx:
            entry = await self.audit.find(tx, tenant, event_id)
            content = envelope.parse(entry.leaf)
            opening = await self._opening(tx, caller, content)
        if content["actor"] != caller.subject.subject_id:
            decision = await self._require_officer(caller)
            about = (Reference("event", entry.event_id),)
            await self.audit.record(by_caller(caller, decided(EventType.PROOF_ISSUED, decision, about, {"receipt": True})))
        proof = await self.audit.prove(tenant, entry)
        return build_receipt(receipt_id, entry, proof, self.audit.verifier_key(tenant), opening)

    async def _require_officer(self, caller: Caller) -> Decision:
        try:
            return await require_right(self.database, self.policy, self.audit, caller, Action.AUDIT_READ)
        except AccessDeniedError:
            # Somebody else's receipt reads as one that does not exist; the refusal is on record.
            raise NotFoundError from None

    async def holds(self, caller: Caller, receipt_id: str) -> bool:
        """Whether the receipt of something released to the caller verifies right now, by the verifier that anybody may run."""
        return self._verifies(caller, await self.receipt(caller, receipt_id))

    def _verifies(self, caller: Caller, receipt: dict[str, Any]) -> bool:
        return receipt_problem(receipt, vkey=self.audit.verifier_key(caller.subject.tenant)) is None

    async def receipt_facts(self, caller: Caller, receipt_id: str) -> dict[str, Any]:
        """What a page shows of a receipt: its place, whether it verifies, policy and model."""
        receipt = await self.receipt(caller, receipt_id)
        event = receipt["event"]
        place = Receipt(receipt_id, receipt["log"], receipt["index"], leaf_hash(base64.b64decode(receipt["leaf"])).hex())
        return {
            "receipt": place,
            "is_verified": self._verifies(caller, receipt),
            "policy_digest": event["policy_digest"],
            "model": event["fields"].get("model", "not used"),
        }

    async def operator_receipt(self, tenant: TenantId, event_id: EventId) -> dict[str, Any]:
        """Proof of one entry for the operator of the installation, without what opens its commitments. Raises NotFoundError."""
        async with self.database.read() as tx:
            entry = await self.audit.find(tx, tenant, event_id)
        proof = await self.audit.prove(tenant, entry)
        return build_receipt(f"{RECEIPT_PREFIX}{entry.event_id}", entry, proof, self.audit.verifier_key(tenant), None)

    async def _opening(self, tx: Transaction, caller: Caller, content: Mapping[str, Any]) -> dict[str, str] | None:
        answers = [ref for kind, ref in content["refs"] if kind == "answer"]
        if not answers:
            return None
        owner = Owner(caller.subject.tenant, caller.subject.subject_id)
        row = await conversation_rows.get_answer(tx, owner, answers[0])
        return None if row is None else {"salt": row.body["salt"]}
