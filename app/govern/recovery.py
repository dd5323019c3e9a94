"""AcknowledgeRecovery: somebody looked at a log that lost entries, and lets records be taken again. The gap stays visible for ever."""

from dataclasses import dataclass

from app.audit.events import Happening, by_system
from app.audit.log import AuditLog, log_name
from app.audit.signer import CheckpointSigner
from app.domain.audit import EventType
from app.domain.identity import TenantId
from app.errors import InvalidInputError
from app.storage import tenant_rows
from app.storage.transaction import Database


@dataclass(frozen=True)
class AcknowledgeRecovery:
    """Opens a log again after a restore. Powers: the signer's memory, the state of the tenant, the log."""

    database: Database
    audit: AuditLog
    signer: CheckpointSigner

    async def run(self, tenant: TenantId, actor: str, reason: str) -> tuple[int, int]:
        """Take the log as it is for the one to go on from, on record; returns (entries there, entries signed before).

        The earlier checkpoint, kept outside the database by whoever received it, still proves what was cut. Raises InvalidInputError
        without a reason.
        """
        if not reason.strip():
            message = "Say what was found: --reason."
            raise InvalidInputError(message, pointer="/reason")
        log = log_name(tenant)
        size, seen = (await self.audit.tree(tenant)).size, self.signer.last_signed(log)
        signed_size = seen[0] if seen else 0
        await self.audit.start(tenant, is_acknowledged=True)
        async with self.database.write() as tx:
            await tenant_rows.resume(tx, tenant)
            fields = {"reason_chars": len(reason), "size": size, "signed_size": signed_size}
            await self.audit.record_in(tx, by_system(tenant, Happening(EventType.LOG_RESUMED, fields=fields), actor))
        # Last: a signer that forgot before this is on record would take up a cut log as if nothing had been.
        tree = await self.audit.tree(tenant)
        self.signer.accept(log, tree.size, tree.root())
        return size, signed_size
