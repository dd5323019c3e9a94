"""ApplyRetention: withdraws what a collection keeps no longer and deletes the text of what was withdrawn.

Text is also what names it, what it was handed in with, and what answers said of it. The row stays as a tombstone, the record for ever.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from app.audit.events import Happening, by_system
from app.audit.events import document as about
from app.audit.log import AuditLog
from app.domain.audit import EventType, JsonValue
from app.domain.content import DocumentId, DocumentState
from app.domain.identity import TenantId
from app.domain.ports import PassageIndex
from app.govern.released import ReleasedAnswers
from app.storage import collection_rows, document_rows, job_rows
from app.storage.transaction import Database, Transaction

_AT_ONCE = 100


@dataclass(frozen=True)
class ApplyRetention:
    """Withdraws and deletes what was kept long enough. Powers: the register, the index, the log."""

    database: Database
    index: PassageIndex
    audit: AuditLog
    purge_after: timedelta

    async def run(self, tenant: TenantId) -> int:
        """Withdraw what is older than its collection's `retention_days`, then purge what was withdrawn longer ago than `purge_after`.

        A document's age is that of its live version. Text of versions that were replaced as long ago goes too, of those whose work was
        given up, and what was handed in with jobs that failed that long ago. Each change and its record are one transaction. Returns how
        many were purged.
        """
        async with self.database.read() as tx:
            # The database's clock: one for all processes, and what is deleted by a wrong one is gone.
            now = await tx.now()
        await self._withdraw_outlived(tenant, now)
        before, purged, due = now - self.purge_after, 0, [DocumentId("")]
        async with self.database.write() as tx:
            # First: a job that failed and may be tried again keeps what it was given.
            await job_rows.drop_content_of_failed(tx, tenant, before)
        await self._drop_left_over(tenant, before)
        while due:
            async with self.database.read() as tx:
                due = await document_rows.withdrawn_before(tx, tenant, before, due[-1], _AT_ONCE)
            purged += sum([await self._purge(tenant, document_id, before) for document_id in due])
        return purged

    async def _withdraw_outlived(self, tenant: TenantId, now: datetime) -> None:
        async with self.database.read() as tx:
            collections = await collection_rows.list_collections(tx, tenant)
        for collection in collections:
            if collection.retention_days is None:
                continue
            before, done = now - timedelta(days=collection.retention_days), 1
            while done:
                async with self.database.read() as tx:
                    due = await document_rows.outlived(tx, tenant, collection.name, before, _AT_ONCE)
                done = sum([await self._withdraw(tenant, document_id, before) for document_id in due])

    async def _drop_left_over(self, tenant: TenantId, before: datetime) -> None:
        done = 1
        while done:
            async with self.database.read() as tx:
                due = await document_rows.left_over(tx, tenant, before, _AT_ONCE)
            done = sum([await self._drop_version(tenant, which, before) for which in due])

    async def _drop_version(self, tenant: TenantId, which: tuple[DocumentId, int], before: datetime) -> bool:
        document_id, version = which
        released = ReleasedAnswers(tenant, document_id, version)
        async with self.database.read() as tx:
            await released.look(tx)
        emptied, is_done = 0, False
        while not is_done:
            async with self.database.write() as tx:
                if not await document_rows.is_left_over(tx, document_id, version, before):
                    return False
                emptied += await released.empty(tx)
                if is_done := released.is_done:
                    await document_rows.drop_version(tx, document_id, version)
                    await job_rows.forget(tx, document_id, version)
                    document = await document_rows.get_document(tx, tenant, document_id)
                    await self._record_purged(tx, released, {"version": version, "answers": emptied})
        if document is None or document.live_version is None:
            await self.index.remove(tenant, document_id)
        return True

    async def _withdraw(self, tenant: TenantId, document_id: DocumentId, before: datetime) -> bool:
        async with self.database.write() as tx:
            document = await document_rows.get_document(tx, tenant, document_id)
            # Looked at again: a new version may have gone live since the list was made.
            if document is None or not await document_rows.is_outlived(tx, document_id, before):
                return False
            changed = replace(document, state=DocumentState.WITHDRAWN, live_version=None, acl_version=document.acl_version + 1)
            now = await tx.now()
            await document_rows.update_document(tx, replace(changed, updated_at=now))
            await job_rows.cancel_of(tx, document_id, now)
            fields: dict[str, JsonValue] = {"acl_version": changed.acl_version, "label": document.label}
            happening = Happening(EventType.DOCUMENT_WITHDRAWN, reason_code="retention", references=(about(document_id),), fields=fields)
            await self.audit.record_in(tx, by_system(tenant, happening))
        await self.index.remove(tenant, document_id)
        return True

    async def _purge(self, tenant: TenantId, document_id: DocumentId, before: datetime) -> bool:
        released = ReleasedAnswers(tenant, document_id)
        async with self.database.read() as tx:
            # Looked at again: it may have been handed in again since the list was made.
            if not await document_rows.is_due(tx, document_id, before):
                return False
            await released.look(tx)
        # Again: a withdrawal whose second half was interrupted left its words in the index. Before the turn to write is taken: an index
        # that hangs must keep nobody else waiting. What is handed in this very moment is put back by whoever compares the two.
        await self.index.remove(tenant, document_id)
        emptied, is_done = 0, False
        while not is_done:
            async with self.database.write() as tx:
                if not await document_rows.is_due(tx, document_id, before):
                    return False
                emptied += await released.empty(tx)
                # Where there are many answers, others write between their parts; the last part, the text and the record are one.
                if is_done := released.is_done:
                    await job_rows.cancel_of(tx, document_id, await tx.now())
                    await job_rows.forget(tx, document_id)
                    await document_rows.purge_document(tx, document_id)
                    await self._record_purged(tx, released, {"answers": emptied})
        return True

    async def _record_purged(self, tx: Transaction, released: ReleasedAnswers, fields: dict[str, JsonValue]) -> None:
        happening = Happening(EventType.DOCUMENT_PURGED, references=(about(released.document_id),), fields=fields)
        await self.audit.record_in(tx, by_system(released.tenant, happening))
