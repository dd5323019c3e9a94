"""AcknowledgeRecovery: somebody looked at a log that lost entries, and lets records be taken again. The gap stays visible for ever."""

from dataclasses import dataclass

from app.audit.events import Happening, by_system
from app.audit.log import AuditLog, log_name
from app.audit.notes import open_checkpoint
from app.audit.signer import CheckpointSigner
from app.domain.audit import EventType
from app.domain.identity import TenantId
from app.errors import ConfigurationError, InvalidInputError
from app.govern.move import is_by_move
from app.storage import audit_rows, tenant_rows
from app.storage.transaction import Database

NOT_THE_SIGNER = (
    "This folder is not the one that signed last. Name that one with --data. "
    "If it is lost for good, say --another-signer: that goes on record too."
)
_UNDER_WAY = "Records are about to be taken again. If this stays so it was interrupted: run portcullis audit resume once more."


@dataclass(frozen=True)
class AcknowledgeRecovery:
    """Opens a log again after a restore. Powers: the signer's memory, its key, the state of the tenant, the log."""

    database: Database
    audit: AuditLog
    signer: CheckpointSigner

    async def run(self, tenant: TenantId, actor: str, reason: str, *, is_another_signer: bool = False) -> tuple[int, int]:
        """Take the log as it is for the one to go on from, on record and under a new checkpoint; returns (entries there, signed before).

        The earlier checkpoint, kept outside the database by whoever received it, still proves what was cut. Nothing is taken before the
        new checkpoint is published, so an interruption leaves the tenant stopped. Raises InvalidInputError without a reason,
        ConfigurationError beside a signer that signed nothing of this log, unless `is_another_signer`, and for what a move closed.
        """
        if not reason.strip():
            message = "Say what was found: --reason."
            raise InvalidInputError(message, pointer="/reason")
        async with self.database.read() as tx:
            standing = await tenant_rows.standstill(tx, tenant)
        if is_by_move(standing):
            message = f"A move between databases closed this installation; looking at its log does not open it. {standing}"
            raise ConfigurationError(message)
        signed_size = await self._signed_before(tenant, is_another_signer=is_another_signer)
        await self.audit.start(tenant, is_acknowledged=True)
        log = log_name(tenant)
        async with self.database.write() as tx:
            size = (await audit_rows.lock_head(tx, log)).size
            fields = {"reason_chars": len(reason), "size": size, "signed_size": signed_size, "is_another_signer": is_another_signer}
            await tenant_rows.resume(tx, tenant)
            await self.audit.record_in(tx, by_system(tenant, Happening(EventType.LOG_RESUMED, fields=fields), actor))
            await tenant_rows.stop(tx, tenant, _UNDER_WAY)
        # Only now: a signer that forgot before this is on record would take up a cut log as if nothing had been.
        tree = await self.audit.tree(tenant)
        self.signer.accept(log, tree.size, tree.root())
        await self.audit.checkpoint(tenant, is_acknowledged=True)
        async with self.database.write() as tx:
            await tenant_rows.resume(tx, tenant)
        return size, signed_size

    async def _signed_before(self, tenant: TenantId, *, is_another_signer: bool) -> int:
        """How many entries had been signed, as far as the signer and the database know."""
        log = log_name(tenant)
        seen, tree = self.signer.last_signed(log), await self.audit.tree(tenant)
        async with self.database.read() as tx:
            latest = await audit_rows.latest_checkpoint(tx, log)
        # After a change of key what was published bears the other one, and the memory tells that it is the same signer.
        is_remembered = seen is not None and seen[0] <= tree.size and tree.root(seen[0]) == seen[1]
        is_own = latest is None or _is_signed(latest[1], self.signer.verifier_key(log))
        if not is_another_signer and (seen is None or not (is_remembered or is_own)):
            raise ConfigurationError(NOT_THE_SIGNER)
        return max(seen[0] if seen else 0, latest[0] if latest else 0)


def _is_signed(note: str, key: str) -> bool:
    try:
        open_checkpoint(note, key)
    except ValueError:
        return False
    return True
