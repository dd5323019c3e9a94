"""MoveStore: from one database to another, with the log's proofs intact. It may be stopped and started again; it is checked at the end."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from app.audit.events import Happening, by_system
from app.audit.log import AuditLog
from app.audit.verification import verify_log
from app.domain.audit import EventType
from app.domain.identity import TenantId
from app.errors import ConfigurationError
from app.storage import moving, tenant_rows
from app.storage.moving import Cells
from app.storage.transaction import Database

_PAGE = 200
_UNDER_WAY = "An installation is being moved here; it opens when everything has arrived and was checked."


@dataclass(frozen=True)
class MoveStore:
    """Copies every row of one tenant's installation. Powers: both databases, the log of the target."""

    source: Database
    target: Database
    audit: AuditLog

    async def run(self, tenant: TenantId, note: Callable[[str, int], None]) -> dict[str, int]:
        """Copy what is not there yet, compare everything, open the target; returns rows by table.

        `note` hears of each table as it is done. Until the end the target takes no records, so no gateway on it answers. Raises
        ConfigurationError when the target holds something else, or differs from the source at the end.
        """
        await self._begin(tenant)
        counts = {}
        for name in moving.tables():
            counts[name] = await self._copy(name)
            note(name, counts[name])
        for name in moving.tables():
            await self._compare(name)
        log = await verify_log(self.target, tenant, self.audit.verifier_key(tenant), None)
        if not log.is_intact:
            message = f"The log did not arrive whole: {log.problems[0]}. Nothing was opened; the old installation is as it was."
            raise ConfigurationError(message)
        async with self.target.write() as tx:
            await tenant_rows.resume(tx, tenant)
            moved = Happening(EventType.STORE_MOVED, fields={"tables": dict(counts), "root": log.root})
            await self.audit.record_in(tx, by_system(tenant, moved))
        return counts

    async def _begin(self, tenant: TenantId) -> None:
        async with self.target.write() as tx:
            if await tenant_rows.standstill(tx, tenant) == _UNDER_WAY:
                return
            if not await moving.is_empty(tx, tenant):
                message = f"The new database already holds something of {tenant}. Name an empty one."
                raise ConfigurationError(message)
            await tenant_rows.stop(tx, tenant, _UNDER_WAY)

    async def _copy(self, name: str) -> int:
        total = 0
        async for rows in self._pages(name):
            total += len(rows)
            async with self.target.write() as tx:
                present = await moving.read_same(tx, name, rows)
                if missing := [row for row, there in zip(rows, present, strict=True) if there is None]:
                    await moving.write_rows(tx, name, missing)
        return total

    async def _compare(self, name: str) -> None:
        async for rows in self._pages(name):
            async with self.target.read() as tx:
                if await moving.read_same(tx, name, rows) != rows:
                    message = f"Rows of {name} differ: the old installation was used meanwhile. Empty the new database and move again."
                    raise ConfigurationError(message)

    async def _pages(self, name: str) -> AsyncIterator[list[Cells]]:
        last: Cells | None = None
        while True:
            async with self.source.read() as tx:
                rows = await moving.read_page(tx, name, last, _PAGE)
            if not rows:
                return
            yield rows
            last = rows[-1]
