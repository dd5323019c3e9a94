"""ReadUpkeep: how far the work behind the gateways is: the queue, the signer, the log. Counts and ages, never a name."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.audit.log import log_name
from app.domain.identity import TenantId
from app.storage import audit_rows, job_rows, tenant_rows
from app.storage.job_rows import QueueFigure
from app.storage.transaction import Database


@dataclass(frozen=True, slots=True)
class Upkeep:
    """The same for every process of an installation. `unsigned`: entries of the log that no checkpoint covers yet, since the oldest."""

    now: datetime
    queue: Sequence[QueueFigure]
    unsigned: int
    unsigned_since: datetime | None
    is_at_standstill: bool


@dataclass(frozen=True)
class ReadUpkeep:
    """Reads the queue and the log's ends. Powers: the register, the log's head."""

    database: Database

    async def run(self, tenant: TenantId) -> Upkeep:
        """Everything as one moment saw it. Raises UpstreamUnavailableError."""
        log = log_name(tenant)
        async with self.database.read() as tx:
            head, checkpoint = await audit_rows.read_head(tx, log), await audit_rows.latest_checkpoint(tx, log)
            signed = checkpoint[0] if checkpoint else 0
            unsigned = max(0, (head.size if head else 0) - signed)
            oldest = await audit_rows.event_columns(tx, log, signed, 1) if unsigned else []
            since = oldest[0][-1] if oldest else None
            is_at_standstill = await tenant_rows.standstill(tx, tenant) is not None
            return Upkeep(await tx.now(), await job_rows.figures(tx, tenant), unsigned, since, is_at_standstill)
