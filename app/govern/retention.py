"""ApplyRetention: the text of withdrawn documents is deleted when its time is up. The row stays as a tombstone, the record for ever."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from app.audit.events import Happening, by_system
from app.audit.events import document as about
from app.audit.log import AuditLog
from app.domain.audit import EventType
from app.domain.content import DocumentId
from app.domain.identity import TenantId
from app.domain.ports import PassageIndex
from app.storage import document_rows, job_rows
from app.storage.transaction import Database

_AT_ONCE = 100


@dataclass(frozen=True)
class ApplyRetention:
    """Deletes what was withdrawn long enough ago. Powers: the register, the index, the log."""

    database: Database
    index: PassageIndex
    audit: AuditLog
    purge_after: timedelta

    async def run(self, tenant: TenantId) -> int:
        """Purge documents whose withdrawal is older than `purge_after`, each with its record in one transaction; returns how many.

        What was handed in with jobs that failed that long ago goes too.
        """
        before, purged = datetime.now(UTC) - self.purge_after, 0
        async with self.database.write() as tx:
            await job_rows.drop_content_of_failed(tx, tenant, before)
            due = await document_rows.withdrawn_before(tx, tenant, before, _AT_ONCE)
        for document_id in due:
            purged += await self._purge(tenant, document_id, before)
        return purged

    async def _purge(self, tenant: TenantId, document_id: DocumentId, before: datetime) -> bool:
        async with self.database.write() as tx:
            # Looked at again, and kept from others: it may have been handed in again since the list was made.
            if not await document_rows.is_due(tx, document_id, before):
                return False
            # Again: a withdrawal whose second half was interrupted left its words in the index.
            await self.index.remove(tenant, document_id)
            await document_rows.purge_document(tx, document_id)
            happening = Happening(EventType.DOCUMENT_PURGED, references=(about(document_id),))
            await self.audit.record_in(tx, by_system(tenant, happening))
        return True
