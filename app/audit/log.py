"""The append-only log: group commit of blocks, lookup, checkpoints and proofs.

A caller of `record` gets its entry back only after the commit; whoever cannot commit raises AuditUnavailableError and
releases nothing. `record_in` writes inside a flow's own transaction, so that a change and its record stand or fall
together. This is the one room that opens transactions: the group commit belongs to no single flow (decision 0004).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import NoReturn

from app.audit.envelope import serialise
from app.audit.merkle import MerkleTree, leaf_hash, root_of
from app.audit.notes import Checkpoint, open_checkpoint
from app.audit.signer import CheckpointSigner, RemoteSigner
from app.domain.audit import AuditEvent, EventId, InclusionProof, LogEntry
from app.domain.identity import TenantId
from app.errors import AuditUnavailableError, NotFoundError, UpstreamRefusedError, UpstreamUnavailableError
from app.observability import STAGE_SECONDS
from app.storage import audit_rows, tenant_rows
from app.storage.audit_rows import Block, EntryRow, EventQuery
from app.storage.transaction import Database, Transaction

_COMMIT_WITHIN_S = 2.0
_MAX_BATCH = 256
_MAX_QUEUE = 4096
_PAGE = 10_000
_SIGNED_TRIES, _SIGNED_WAIT_S = 30, 0.1
_NOT_TAKEN = "The record could not be written, so nothing is released."
_DIFFERS = "The log is shorter than, or differs from, its last signed checkpoint. Nothing is released until an officer has looked."

_OTHER_KEY = "The newest published checkpoint was signed with another key. Nothing is released until an officer has looked."


def log_name(tenant: TenantId) -> str:
    """The origin of a tenant's log."""
    return f"portcullis/{tenant}"


def chain_value(previous: bytes, block_root: bytes, first: int, last: int) -> bytes:
    """Chain over blocks: SHA-256(previous || root || first || last), integers as 8 bytes big-endian."""
    return sha256(previous + block_root + first.to_bytes(8, "big") + last.to_bytes(8, "big")).digest()


@dataclass(slots=True)
class _Waiting:
    events: Sequence[AuditEvent]
    done: asyncio.Future[list[LogEntry]]


class AuditLog:
    """The log of every tenant in one database. Constructed once; `start` before the first record."""

    def __init__(self, database: Database, signer: CheckpointSigner | RemoteSigner) -> None:
        self._database = database
        self._signer = signer
        self._trees: dict[str, MerkleTree] = {}
        self._chains: dict[str, bytes | None] = {}
        """The chain value where a tree ends, as the database had it: another one there now means that the log was put back."""
        self._trees_lock = asyncio.Lock()
        self._queue: list[_Waiting] = []
        self._flusher: asyncio.Task[None] | None = None
        self._refusal: str | None = None

    async def start(self, tenant: TenantId, *, is_acknowledged: bool = False) -> None:
        """Compare the log with what was last signed and published; when it is shorter or differs, no record is taken from then on.

        `is_acknowledged` takes records all the same: for the one that says that somebody looked.
        """
        log = log_name(tenant)
        seen = self._signer.last_signed(log)
        async with self._trees_lock, self._database.read() as tx:
            tree = await self._caught_up(tx, log)
            latest = await audit_rows.latest_checkpoint(tx, log)
        self._refusal = None if is_acknowledged else self._objection(tree, log, seen, latest)

    def _objection(self, tree: MerkleTree, log: str, seen: tuple[int, bytes] | None, latest: tuple[int, str] | None) -> str | None:
        """Why a log is not the one that was signed; `None` when it begins with what the signer had `seen` and with the newest published."""
        if seen is not None and not _extends(tree, seen):
            return _DIFFERS
        try:
            published = None if latest is None else open_checkpoint(latest[1], self._signer.verifier_key(log))
        except ValueError:
            return _OTHER_KEY
        return None if published is None or _extends(tree, (published.size, published.root)) else _DIFFERS

    async def check(self, tenant: TenantId) -> None:
        """Raise AuditUnavailableError when no record is taken, with the reason."""
        self._refuse_if_damaged()
        async with self._database.read() as tx:
            await _refuse_at_standstill(tx, tenant)

    async def record(self, *events: AuditEvent) -> list[LogEntry]:
        """Commit events, in order; returns their entries. Raises AuditUnavailableError when that did not happen within two seconds."""
        with STAGE_SECONDS.labels("audit").time():
            return await self._record(events)

    async def _record(self, events: Sequence[AuditEvent]) -> list[LogEntry]:
        self._refuse_if_damaged()
        if len(self._queue) >= _MAX_QUEUE:
            message = "Too many records are waiting to be written. Try again shortly."
            raise AuditUnavailableError(message)
        waiting = _Waiting(events, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())
        try:
            # Not `wait_for`, which loses a cancellation that comes together with the result (cpython #86296).
            async with asyncio.timeout(_COMMIT_WITHIN_S):
                return await asyncio.shield(waiting.done)
        except TimeoutError as error:
            message = "The record was not confirmed in time, so nothing is released."
            raise AuditUnavailableError(message) from error

    async def record_in(self, tx: Transaction, *events: AuditEvent) -> list[LogEntry]:
        """Append events inside `tx`; they count once it commits. Returns their entries."""
        self._refuse_if_damaged()
        written: dict[EventId, LogEntry] = {}
        for tenant in dict.fromkeys(event.tenant for event in events):
            entries = await self._append(tx, tenant, [event for event in events if event.tenant == tenant])
            written.update({entry.event_id: entry for entry in entries})
        return [written[event.event_id] for event in events]

    async def find(self, tx: Transaction, tenant: TenantId, event_id: EventId) -> LogEntry:
        """One entry. Raises NotFoundError."""
        entry = await audit_rows.find_event(tx, log_name(tenant), event_id)
        if entry is None:
            raise NotFoundError
        return entry

    async def search(self, tx: Transaction, tenant: TenantId, query: EventQuery) -> list[LogEntry]:
        """Entries that match, newest first."""
        return await audit_rows.search(tx, log_name(tenant), query)

    async def prove(self, tenant: TenantId, entry: LogEntry) -> InclusionProof:
        """Inclusion of `entry` under a checkpoint signed now or before."""
        is_remote = isinstance(self._signer, RemoteSigner)
        note = await (self._covering(tenant, entry.index) if is_remote else self.checkpoint(tenant))
        size = int(note.split("\n", 2)[1])
        tree = self._trees[entry.log]
        return InclusionProof(entry.log, entry.index, entry.leaf_hash, size, tree.root(size), tree.inclusion(entry.index, size), note)

    async def checkpoint(self, tenant: TenantId, *, is_acknowledged: bool = False) -> str:
        """A signed checkpoint over everything committed so far.

        Raises AuditUnavailableError, and stops the tenant, when the log does not begin with what was signed or published before;
        `is_acknowledged` signs all the same: for the one that says that somebody looked.
        """
        log = log_name(tenant)
        if isinstance(self._signer, RemoteSigner):
            self._refuse_if_damaged()
            return await self._covering(tenant, (await self.tree(tenant)).size - 1)
        async with self._trees_lock:
            # Before the snapshot: another process that signs meanwhile remembers more than is in it.
            seen = self._signer.last_signed(log)
            async with self._database.read() as tx:
                latest, head = await audit_rows.latest_checkpoint(tx, log), await audit_rows.read_head(tx, log)
                tree = await self._caught_up(tx, log)
            if not is_acknowledged:
                # Also where this process refused at its start: the gateways cannot see what the signer remembers.
                if (objection := self._objection(tree, log, seen, latest)) is not None:
                    await self._stop(tenant, objection)
                self._refuse_if_damaged()
                if latest is not None and latest[0] == tree.size:
                    return latest[1]
            note = self._signer.sign(Checkpoint(log, tree.size, tree.root()))
            # Never before the entries that it covers: that is how one over lost entries is told from one over those that took their place.
            signed_at = max(datetime.now(UTC), head.last_recorded_at) if head else datetime.now(UTC)
            async with self._database.write() as tx:
                await audit_rows.put_checkpoint(tx, log, tree.size, note, signed_at)
            return note

    async def _stop(self, tenant: TenantId, reason: str) -> NoReturn:
        async with self._database.write() as tx:
            if await tenant_rows.standstill(tx, tenant) is None:
                await tenant_rows.stop(tx, tenant, reason)
        raise AuditUnavailableError(reason)

    async def _covering(self, tenant: TenantId, index: int) -> str:
        """The newest published checkpoint, once it covers an entry: the signer is never more than moments behind."""
        log = log_name(tenant)
        for _ in range(_SIGNED_TRIES):
            async with self._trees_lock, self._database.read() as tx:
                latest = await audit_rows.latest_checkpoint(tx, log)
                tree = await self._caught_up(tx, log)
            if latest is not None and latest[0] > index:
                if (objection := self._objection(tree, log, None, latest)) is not None:
                    raise AuditUnavailableError(objection)
                return latest[1]
            await asyncio.sleep(_SIGNED_WAIT_S)
        message = "The signer has not signed this entry yet. Try again shortly; if this stays so, the signer does not run."
        raise AuditUnavailableError(message)

    def verifier_key(self, tenant: TenantId) -> str:
        """The public key that checks this tenant's checkpoints."""
        return self._signer.verifier_key(log_name(tenant))

    async def tree(self, tenant: TenantId) -> MerkleTree:
        """The tree over every committed entry."""
        async with self._trees_lock, self._database.read() as tx:
            return await self._caught_up(tx, log_name(tenant))

    def _refuse_if_damaged(self) -> None:
        if self._refusal is not None:
            raise AuditUnavailableError(self._refusal)

    async def _flush(self) -> None:
        while self._queue:
            batch = self._queue[:_MAX_BATCH]
            del self._queue[:_MAX_BATCH]
            await self._write(batch)

    async def _write(self, batch: Sequence[_Waiting]) -> None:
        try:
            async with self._database.append() as tx:
                written = await self.record_in(tx, *(event for waiting in batch for event in waiting.events))
        except AuditUnavailableError as error:
            _fail(batch, AuditUnavailableError(error.detail), error)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, nobody may wait for ever or be told it is on record
            is_away = isinstance(error, UpstreamUnavailableError) and not isinstance(error, UpstreamRefusedError)
            if is_away or len(batch) == 1:
                message = "The log could not take the record, so nothing is released. Try again." if is_away else _NOT_TAKEN
                _fail(batch, AuditUnavailableError(message), error)
                return
            # One of them cannot be stored; alone, the others can.
            for waiting in batch:
                await self._write([waiting])
        else:
            _settle(batch, written)

    async def _append(self, tx: Transaction, tenant: TenantId, events: Sequence[AuditEvent]) -> list[LogEntry]:
        log = log_name(tenant)
        head = await audit_rows.lock_head(tx, log)
        await _refuse_at_standstill(tx, tenant)
        recorded_at = max(datetime.now(UTC), head.last_recorded_at + timedelta(microseconds=1))
        rows = []
        for offset, event in enumerate(events):
            moment = recorded_at + timedelta(microseconds=offset)
            leaf = serialise(event, log, moment)
            entry = LogEntry(event.event_id, log, head.size + offset, leaf, leaf_hash(leaf), moment)
            rows.append(EntryRow(entry, event.type.value, event.actor, event.outcome, event.references))
        root = root_of([row.entry.leaf_hash for row in rows])
        chain = chain_value(head.chain, root, head.size, head.size + len(rows) - 1)
        await audit_rows.append_block(tx, log, Block(head.size, len(rows), root, chain), rows)
        return [row.entry for row in rows]

    async def _caught_up(self, tx: Transaction, log: str) -> MerkleTree:
        tree = self._trees.setdefault(log, MerkleTree())
        if tree.size and await audit_rows.chain_at(tx, log, tree.size) != self._chains.get(log):
            # What is remembered here is not what is there: made anew, it is compared with what the signer remembers.
            tree = self._trees[log] = MerkleTree()
        while fresh := await audit_rows.leaf_hashes(tx, log, tree.size, tree.size + _PAGE):
            tree.extend(fresh)
        self._chains[log] = await audit_rows.chain_at(tx, log, tree.size)
        return tree


async def _refuse_at_standstill(tx: Transaction, tenant: TenantId) -> None:
    if (reason := await tenant_rows.standstill(tx, tenant)) is not None:
        raise AuditUnavailableError(reason)


def _extends(tree: MerkleTree, seen: tuple[int, bytes]) -> bool:
    """Whether the log begins with what was seen before: (size, root)."""
    return seen[0] <= tree.size and tree.root(seen[0]) == seen[1]


def _settle(batch: Sequence[_Waiting], written: Sequence[LogEntry]) -> None:
    entries = iter(written)
    for waiting in batch:
        mine = [next(entries) for _ in waiting.events]
        if not waiting.done.done():
            waiting.done.set_result(mine)


def _fail(batch: Sequence[_Waiting], error: AuditUnavailableError, cause: BaseException) -> None:
    error.__cause__ = cause
    for waiting in batch:
        if not waiting.done.done():
            waiting.done.set_exception(error)
            waiting.done.exception()  # a caller that timed out no longer looks; without this asyncio warns
