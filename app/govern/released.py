"""What was released of a document: the answers built from it, found through the log and emptied when its text is deleted."""

from dataclasses import dataclass, field

from app.audit import envelope
from app.audit.log import log_name
from app.domain.audit import Reference
from app.domain.content import DocumentId
from app.domain.identity import TenantId
from app.storage import audit_rows, conversation_rows
from app.storage.transaction import Transaction

_LOOKED_AT_ONCE = 1_000
_EMPTIED_AT_ONCE = 200


@dataclass(slots=True)
class ReleasedAnswers:
    """Answers built from a document, or from one `version` of it.

    Each is on record with its sources, so the log's own references lead to them: what is read grows with the entries that name the
    document, not with the answers there are. Sealed they are already, as one of their sources is gone.
    """

    tenant: TenantId
    document_id: DocumentId
    version: int | None = None
    _left: list[str] = field(default_factory=list)
    _looked: int = -1

    async def look(self, tx: Transaction) -> None:
        """Find those put on record since the last look. A part at a time, as no statement may take longer than any other."""
        before, about = None, Reference("document", self.document_id)
        while self._looked != before:
            before = self._looked
            ends, self._looked = await audit_rows.ends_about(tx, log_name(self.tenant), about, before, _LOOKED_AT_ONCE)
            self._left += [ref for one in ends for kind, ref in envelope.parse(one.leaf)["refs"] if kind == "answer"]

    async def empty(self, tx: Transaction) -> int:
        """Take the text out of some that are left, in a transaction that writes; returns how many had any.

        When `is_done` says so afterwards, none holds any: answers and deletions take turns.
        """
        await self.look(tx)
        some, self._left = self._left[:_EMPTIED_AT_ONCE], self._left[_EMPTIED_AT_ONCE:]
        source = f"{self.document_id}." if self.version is None else f"{self.document_id}.{self.version}."
        return await conversation_rows.empty_answers(tx, self.tenant, some, source)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to be emptied."""
        return not self._left
