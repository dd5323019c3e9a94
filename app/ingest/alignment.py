"""AlignDocument: one document of the index brought in line with the register, beside whatever else changes either of them."""

from dataclasses import dataclass
from datetime import UTC, datetime

from app.domain.content import Document, DocumentId
from app.domain.identity import TenantId
from app.domain.ports import PassageIndex
from app.domain.search import AccessFacts
from app.errors import ConflictError
from app.ingest.analysis import indexed_chunks
from app.ingest.stored import stored_analysis
from app.storage import document_rows
from app.storage.transaction import Database

_LOOKS = 5


@dataclass(frozen=True)
class AlignDocument:
    """Brings a document into the index, up to date, or out of it. Powers: read the register, write the index.

    The register's one write lock is not held meanwhile: an index that answers slowly would keep every revocation waiting, and refuse it
    in the end. The register is looked at again instead, and all is done again when it has moved.
    """

    database: Database
    index: PassageIndex

    async def run(self, tenant: TenantId, document_id: DocumentId, *, forgets_first: bool = False) -> Document | None:
        """Make the index what the register says; returns the document as it is served now, `None` when it is not.

        `forgets_first` drops facts of the index that are newer than the register's. Raises LookupError when the register lacks the
        version that is live, and ConflictError when the document does not stand still.
        """
        served = await self._served(tenant, document_id)
        for look in range(_LOOKS):
            if served is None or (forgets_first and look == 0):
                await self.index.remove(tenant, document_id)
            is_whole = served is None or await self._write(served)
            again = await self._served(tenant, document_id)
            if is_whole and again == served:
                return served
            served = again
        message = "This document is changed again and again, or the index has it otherwise than the register."
        raise ConflictError(message)

    async def _write(self, document: Document) -> bool:
        """Write a document as it was read; false when it changed before all was written."""
        version = document.live_version or 0
        facts = AccessFacts.of(document)
        # First of all: what is served meanwhile is served to nobody who was locked out.
        await self.index.put_access(facts)
        async with self.database.read() as tx:
            analyzed = await stored_analysis(tx, document, version)
        await self.index.put_version(facts, version, indexed_chunks(analyzed))
        if await self._served(document.tenant, document.document_id) != document:
            # Nothing of what was just stored is searched before it is live: a withdrawn document must not come back for a moment.
            return False
        try:
            await self.index.make_live(document.document_id, version)
        except ConflictError:
            return False
        await self.index.put_access(facts)
        return True

    async def _served(self, tenant: TenantId, document_id: DocumentId) -> Document | None:
        async with self.database.read() as tx:
            found = await document_rows.get_document(tx, tenant, document_id)
            if found is None or found.live_version is None or not found.is_served_at(datetime.now(UTC)):
                return None
            return found if await document_rows.has_text(tx, document_id, found.live_version) else None
