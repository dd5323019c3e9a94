"""GiveFeedback: a person's verdict on their own answer, and their wish for access. Recorded with the thing it is about."""

from dataclasses import dataclass
from datetime import UTC, datetime

from uuid_utils import uuid7

from app.audit.events import Happening, by_caller
from app.audit.log import AuditLog
from app.domain.audit import EventType, Reference
from app.domain.identity import Caller
from app.errors import NotFoundError
from app.storage import conversation_rows
from app.storage.conversation_rows import Owner
from app.storage.transaction import Database


@dataclass(frozen=True)
class GiveFeedback:
    """Takes verdicts and requests. Powers: the caller's own answers, the log."""

    database: Database
    audit: AuditLog

    async def give(self, caller: Caller, answer_id: str, verdict: str, note: str) -> str:
        """Keep a verdict on one of the caller's answers; returns its id. Raises NotFoundError."""
        owner, feedback_id = _owner(caller), f"fbk_{uuid7()}"
        async with self.database.write() as tx:
            answer = await conversation_rows.get_answer(tx, owner, answer_id)
            if answer is not None:
                values = {
                    "feedback_id": feedback_id,
                    "answer_id": answer_id,
                    "verdict": verdict,
                    "note": note,
                    "created_at": datetime.now(UTC),
                }
                await conversation_rows.put_feedback(tx, owner, values)
                refs = (Reference("answer", answer_id), Reference("conversation", answer.conversation_id))
                happening = Happening(EventType.FEEDBACK_GIVEN, references=refs, fields={"verdict": verdict, "note_chars": len(note)})
                await self.audit.record_in(tx, by_caller(caller, happening))
        if answer is None:
            raise NotFoundError
        return feedback_id

    async def request_access(self, caller: Caller, wanted: str, reason: str) -> None:
        """Keep a wish for access. Says nothing about what exists."""
        values = {"request_id": f"acr_{uuid7()}", "wanted": wanted, "reason": reason, "created_at": datetime.now(UTC)}
        async with self.database.write() as tx:
            await conversation_rows.put_access_request(tx, _owner(caller), values)
            fields = {"wanted_chars": len(wanted), "reason_chars": len(reason)}
            await self.audit.record_in(tx, by_caller(caller, Happening(EventType.ACCESS_REQUESTED, fields=fields)))


def _owner(caller: Caller) -> Owner:
    return Owner(caller.subject.tenant, caller.subject.subject_id)
