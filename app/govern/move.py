"""MoveStore: from one database to another, with the log's proofs intact. It may be stopped and started again; it is checked at the end."""

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from uuid import uuid4

from app.audit import envelope
from app.audit.events import Happening, by_system
from app.audit.log import AuditLog, log_name
from app.audit.signer import CheckpointSigner
from app.audit.verification import LogReport, verify_log
from app.domain.audit import EventType
from app.domain.identity import TenantId
from app.errors import AuditUnavailableError, ConfigurationError
from app.storage import audit_rows, moving, tenant_rows
from app.storage.moving import Cells
from app.storage.transaction import Database

_PAGE = 200
_UNDER_WAY = "An installation is being moved here; it opens when everything has arrived and was checked."
_LEAVING = "This installation is being moved to another database. To go on here instead: portcullis migrate-store --abandon."
_MOVED = "This installation was moved to another database and is closed here: what is recorded since stands there."
_WAY_BACK = "To go on with the old installation: portcullis migrate-store --abandon."
_ANOTHER = f"Empty the new database and move again. {_WAY_BACK}"
_NAMED = re.compile(r" Move ([0-9a-f]{32})\.$")


def is_by_move(reason: str | None) -> bool:
    """Whether an installation stands still because it is moved, was moved, or is being moved to."""
    return _is(reason, _UNDER_WAY, _LEAVING, _MOVED)


@dataclass(frozen=True)
class MoveStore:
    """Copies every row of one tenant's installation. Powers: both databases, their logs, the signer's memory."""

    source: Database
    target: Database
    signer: CheckpointSigner

    async def moved_before(self, tenant: TenantId) -> dict[str, int] | None:
        """Rows by table when it was completed already, from this very log to this very database; `None` otherwise."""
        if not _is(await _standing(self.source, tenant), _MOVED):
            return None
        left = await AuditLog(self.source, self.signer).tree(tenant)
        async with self.target.read() as tx:
            entries = await audit_rows.entries_from(tx, log_name(tenant), left.size, 1)
        arrival = envelope.parse(entries[0].leaf) if entries else {}
        is_here = arrival.get("type") == EventType.STORE_MOVED and arrival["fields"]["root"] == left.root().hex()
        return arrival["fields"]["tables"] if is_here else None

    async def begin(self, tenant: TenantId) -> str:
        """Close both: from here on no process records anything for the tenant on either, and so none answers.

        Returns the name that both now bear for this move: a database that an earlier one was meant for is never opened by this one.

        Raises ConfigurationError when the old one was moved already or takes no records, or the new one holds something else.
        """
        async with self.target.read() as tx:
            there, is_empty = await tenant_rows.standstill(tx, tenant), await moving.is_empty(tx, tenant)
        here = await _standing(self.source, tenant)
        is_going_on = _is(there, _UNDER_WAY) and _is(here, _LEAVING, _MOVED) and _move_of(there) == _move_of(here)
        if is_going_on:
            return _move_of(there)
        if _is(here, _MOVED):
            message = f"{here} Nothing is left to move."
            raise ConfigurationError(message)
        if not (is_empty and (there is None or _is(there, _UNDER_WAY))):
            message = f"The new database already holds something of {tenant}. Empty it, or name an empty one."
            raise ConfigurationError(message)
        move_id = uuid4().hex
        await self._leave(tenant, move_id, is_again=_is(here, _LEAVING))
        async with self.target.write() as tx:
            await tenant_rows.stop(tx, tenant, _named(_UNDER_WAY, move_id))
        return move_id

    async def run(self, tenant: TenantId, note: Callable[[str, int], None]) -> dict[str, int]:
        """Copy what is not there yet, compare everything, close the old one for good and open the new; returns rows by table.

        `note` hears of each table as it is done. Raises ConfigurationError as `begin` does, and when the two differ at the end or the
        log is less than what the signer signed; both stay closed then.
        """
        move_id, counts = await self.begin(tenant), {}
        for name in moving.tables():
            counts[name] = await self._copy(name, tenant)
            note(name, counts[name])
        for name in moving.tables():
            await self._compare(name, tenant)
        audit = AuditLog(self.target, self.signer)
        log = await verify_log(self.target, tenant, audit.verifier_key(tenant), self.signer.last_signed(log_name(tenant)))
        if not log.is_intact:
            message = f"The log did not arrive whole: {log.problems[0]}. Nothing was opened. {_WAY_BACK}"
            raise ConfigurationError(message)
        # Before the new one opens: at no moment two take records, and what was cut off in between goes on the next time.
        await self._close(tenant, log, move_id)
        async with self.target.write() as tx:
            if await tenant_rows.standstill(tx, tenant) != _named(_UNDER_WAY, move_id):
                message = f"The new database was opened or given to another move meanwhile. {_ANOTHER}"
                raise ConfigurationError(message)
            await tenant_rows.resume(tx, tenant)
            moved = Happening(EventType.STORE_MOVED, fields={"tables": dict(counts), "root": log.root})
            await audit.record_in(tx, by_system(tenant, moved))
        return counts

    async def _leave(self, tenant: TenantId, move_id: str, *, is_again: bool) -> None:
        if not is_again:
            audit = AuditLog(self.source, self.signer)
            await audit.start(tenant)
            try:
                await audit.check(tenant)
            except AuditUnavailableError as error:
                look = "Look first: portcullis audit verify, portcullis audit resume."
                message = f"The old installation takes no records: {error.detail} {look}"
                raise ConfigurationError(message) from error
        async with self.source.write() as tx:
            await tenant_rows.stop(tx, tenant, _named(_LEAVING, move_id))

    async def _close(self, tenant: TenantId, log: LogReport, move_id: str) -> None:
        async with self.source.write() as tx:
            head = await audit_rows.read_head(tx, log_name(tenant))
            standing = await tenant_rows.standstill(tx, tenant)
            is_still = standing in {_named(_LEAVING, move_id), _named(_MOVED, move_id)}
            if not is_still or (head.size if head else 0) != log.entries:
                message = f"The old installation was opened meanwhile. {_ANOTHER}"
                raise ConfigurationError(message)
            await tenant_rows.stop(tx, tenant, _named(_MOVED, move_id))

    async def _copy(self, name: str, tenant: TenantId) -> int:
        total = 0
        async for rows in _pages(self.source, name, tenant):
            total += len(rows)
            async with self.target.write() as tx:
                present = await moving.read_same(tx, name, rows)
                if missing := [row for row, there in zip(rows, present, strict=True) if there is None]:
                    await moving.write_rows(tx, name, missing)
        return total

    async def _compare(self, name: str, tenant: TenantId) -> None:
        async for rows in _pages(self.source, name, tenant):
            async with self.target.read() as tx:
                if await moving.read_same(tx, name, rows) != rows:
                    message = f"Rows of {name} differ: the old installation was used meanwhile. {_ANOTHER}"
                    raise ConfigurationError(message)
        async for rows in _pages(self.target, name, tenant):
            async with self.source.read() as tx:
                if None in await moving.read_same(tx, name, rows):
                    message = f"The new database has rows of {name} that the old installation has not. {_ANOTHER}"
                    raise ConfigurationError(message)


async def abandon_move(source: Database, target: Database | None, signer: CheckpointSigner, tenant: TenantId) -> None:
    """Open the old installation again after a move that failed or was cut off, on record. What the new one holds stays closed.

    Raises ConfigurationError when no move is under way, or when it was completed: then `target` would have to say that it is still closed.
    """
    here = await _standing(source, tenant)
    if not _is(here, _LEAVING, _MOVED):
        message = "No move is under way, so there is none to abandon."
        raise ConfigurationError(message)
    if _is(here, _MOVED):
        there = None if target is None else await _standing(target, tenant)
        # By its name: another database that a move was meant for before says nothing about the one that has everything.
        if not _is(there, _UNDER_WAY) or _move_of(there) != _move_of(here):
            raise ConfigurationError(_MOVED)
    audit = AuditLog(source, signer)
    await audit.start(tenant)
    async with source.write() as tx:
        await tenant_rows.resume(tx, tenant)
        await audit.record_in(tx, by_system(tenant, Happening(EventType.MOVE_ABANDONED)))


def _is(reason: str | None, *kinds: str) -> bool:
    return reason is not None and reason.startswith(kinds)


def _named(kind: str, move_id: str) -> str:
    return f"{kind} Move {move_id}."


def _move_of(reason: str | None) -> str:
    found = _NAMED.search(reason or "")
    return found[1] if found else ""


async def _standing(database: Database, tenant: TenantId) -> str | None:
    async with database.read() as tx:
        return await tenant_rows.standstill(tx, tenant)


async def _pages(database: Database, name: str, tenant: TenantId) -> AsyncIterator[list[Cells]]:
    last: Cells | None = None
    while True:
        async with database.read() as tx:
            rows = await moving.read_page(tx, name, tenant, last, _PAGE)
        if not rows:
            return
        yield rows
        last = rows[-1]
