"""Queries over the evidence tables. The chain is computed in `audit/`; this module only keeps and finds rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Row, Select, and_, bindparam, func, insert, or_, select, text, update

from app.domain.audit import EventId, EventType, LogEntry, Reference
from app.storage.tables import audit_block, audit_checkpoint, audit_event, audit_head, audit_ref
from app.storage.transaction import Transaction

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HEAD = select(audit_head.c.size, audit_head.c.chain, audit_head.c.last_recorded_at)
_GENESIS = text(
    "INSERT INTO audit_head (log, size, chain, last_recorded_at) VALUES (:log, 0, :chain, :moment) ON CONFLICT DO NOTHING"
).bindparams(bindparam("moment", type_=audit_head.c.last_recorded_at.type))
_PUT_CHECKPOINT = text(
    "INSERT INTO audit_checkpoint (log, size, note, signed_at) VALUES (:log, :size, :note, :signed_at) ON CONFLICT DO NOTHING"
).bindparams(bindparam("signed_at", type_=audit_checkpoint.c.signed_at.type))

_ENDS = (EventType.GENERATION_COMPLETED.value, EventType.GENERATION_ABORTED.value, EventType.ANSWER_WITHHELD.value)
_EVENT_ARRAYS = {
    "idx": "bigint", "event_id": "text", "type": "text", "actor": "text", "outcome": "text",
    "recorded_at": "timestamptz", "leaf": "bytea", "leaf_hash": "bytea",
}
_REF_ARRAYS = {"kind": "text", "ref": "text", "idx": "bigint"}


def _from_arrays(table: str, prefix: str, types: Mapping[str, str]) -> str:
    arrays = ", ".join(f"CAST(:{prefix}_{name} AS {kind}[])" for name, kind in types.items())
    return f"INSERT INTO {table} (log, {', '.join(types)}) SELECT CAST(:log AS text), * FROM unnest({arrays})"  # noqa: S608 - names of this page


_PARTS = {
    "event": _from_arrays("audit_event", "e", _EVENT_ARRAYS),
    "ref": _from_arrays("audit_ref", "r", _REF_ARRAYS),
    "block": "INSERT INTO audit_block (log, first, count, root, chain) VALUES (:log, :first, :count, :root, :chain)",
}
_MOVE_HEAD = "UPDATE audit_head SET size = :size, chain = :chain, last_recorded_at = :last_recorded_at WHERE log = :log"
_APPEND = text(f"WITH {', '.join(f'{name} AS ({part})' for name, part in _PARTS.items())} {_MOVE_HEAD}")
"""A batch in one statement, for PostgreSQL."""


@dataclass(frozen=True, slots=True)
class LogHead:
    """Size and chain value of a log; `last_recorded_at` keeps recorded times increasing."""

    size: int
    chain: bytes
    last_recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Block:
    """One committed batch: entries `first` to `first + count - 1`, their Merkle root and the chain value after them."""

    first: int
    count: int
    root: bytes
    chain: bytes


@dataclass(frozen=True, slots=True)
class EntryRow:
    """What is stored of one entry besides its place."""

    entry: LogEntry
    type: str
    actor: str
    outcome: str
    references: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Filters of an officer's search; empty strings filter nothing. Newest first, below `before` when it is given."""

    actor: str = ""
    type: str = ""
    outcome: str = ""
    references: tuple[Reference, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None
    limit: int = 50


async def lock_head(tx: Transaction, log: str) -> LogHead:
    """The head of `log`, made on first use, held until the transaction ends: no other block is appended meanwhile."""
    head = await _head(tx, _HEAD.where(audit_head.c.log == log).with_for_update())
    if head is None:
        # Two writers may both be the first: one of them waits here for the other.
        await tx.connection.execute(_GENESIS, {"log": log, "chain": bytes(32), "moment": _EPOCH})
        head = await _head(tx, _HEAD.where(audit_head.c.log == log).with_for_update())
    if head is None:
        message = f"the head of {log} cannot be read"
        raise LookupError(message)
    return head


async def read_head(tx: Transaction, log: str) -> LogHead | None:
    """The head of `log`, or `None` before its first entry."""
    return await _head(tx, _HEAD.where(audit_head.c.log == log))


async def _head(tx: Transaction, query: Select[tuple[int, bytes, datetime]]) -> LogHead | None:
    row = (await tx.connection.execute(query)).one_or_none()
    return None if row is None else LogHead(row.size, row.chain, row.last_recorded_at)


async def append_block(tx: Transaction, log: str, block: Block, rows: Sequence[EntryRow]) -> None:
    """Store a batch with its references and move the head."""
    events = [_event_values(log, row) for row in rows]
    references = [
        {"log": log, "kind": kind, "ref": ref, "idx": row.entry.index}
        for row in rows
        for kind, ref in dict.fromkeys((reference.kind, reference.ref[:400]) for reference in row.references)
    ]
    after = {"size": block.first + block.count, "chain": block.chain, "last_recorded_at": rows[-1].entry.recorded_at}
    values = {"log": log, "first": block.first, "count": block.count, "root": block.root, "chain": block.chain}
    if tx.connection.dialect.name != "sqlite":
        # Nobody else can append from the lock of the head to the commit: one trip to the server, not four.
        arrays = {f"e_{name}": [one[name] for one in events] for name in _EVENT_ARRAYS}
        arrays |= {f"r_{name}": [one[name] for one in references] for name in _REF_ARRAYS}
        await tx.connection.execute(_APPEND, {**values, **after, **arrays})
        return
    await tx.connection.execute(insert(audit_event), events)
    if references:
        await tx.connection.execute(insert(audit_ref), references)
    await tx.connection.execute(insert(audit_block).values(**values))
    await tx.connection.execute(update(audit_head).where(audit_head.c.log == log).values(**after))


def _event_values(log: str, row: EntryRow) -> dict[str, object]:
    entry = row.entry
    return {
        "log": log,
        "idx": entry.index,
        "event_id": entry.event_id,
        "type": row.type,
        "actor": row.actor,
        "outcome": row.outcome,
        "recorded_at": entry.recorded_at,
        "leaf": entry.leaf,
        "leaf_hash": entry.leaf_hash,
    }


async def leaf_hashes(tx: Transaction, log: str, start: int, stop: int) -> list[bytes]:
    """Stored leaf hashes of entries `start` to `stop - 1`, in order."""
    query = select(audit_event.c.leaf_hash).where(audit_event.c.log == log, audit_event.c.idx >= start, audit_event.c.idx < stop)
    return list((await tx.connection.execute(query.order_by(audit_event.c.idx))).scalars())


async def find_event(tx: Transaction, log: str, event_id: EventId) -> LogEntry | None:
    """The entry of one event, or `None`."""
    row = (await tx.connection.execute(_entries(log).where(audit_event.c.event_id == event_id))).one_or_none()
    return None if row is None else _entry(log, row)


async def search(tx: Transaction, log: str, query: EventQuery) -> list[LogEntry]:
    """Entries that match every given filter, newest first, at most `query.limit`."""
    statement = _entries(log)
    for column, value in ((audit_event.c.actor, query.actor), (audit_event.c.type, query.type), (audit_event.c.outcome, query.outcome)):
        if value:
            statement = statement.where(column == value)
    for reference in query.references:
        about = select(audit_ref.c.idx).where(audit_ref.c.log == log, audit_ref.c.kind == reference.kind, audit_ref.c.ref == reference.ref)
        statement = statement.where(audit_event.c.idx.in_(about))
    if query.since is not None:
        statement = statement.where(audit_event.c.recorded_at >= query.since)
    if query.until is not None:
        statement = statement.where(audit_event.c.recorded_at < query.until)
    if query.before is not None:
        statement = statement.where(audit_event.c.idx < query.before)
    statement = statement.order_by(audit_event.c.idx.desc()).limit(query.limit)
    return [_entry(log, row) for row in await tx.connection.execute(statement)]


async def without_end(tx: Transaction, log: str, begun: tuple[datetime, datetime], limit: int) -> list[LogEntry]:
    """Generations of which the log holds the beginning only, recorded within [first, last), oldest first, at most `limit`."""
    about = audit_ref.alias()
    statement = (
        _entries(log)
        .join(about, (about.c.log == audit_event.c.log) & (about.c.idx == audit_event.c.idx) & (about.c.kind == "answer"))
        .where(audit_event.c.type == EventType.GENERATION_STARTED.value, audit_event.c.recorded_at < begun[1])
        .where(audit_event.c.recorded_at >= begun[0])
        .where(~_ends(log, about.c.ref).exists())
    )
    rows = await tx.connection.execute(statement.order_by(audit_event.c.idx).limit(limit))
    return [_entry(log, row) for row in rows]


async def ends_about(tx: Transaction, log: str, named: Reference, after: int, limit: int) -> tuple[list[LogEntry], int]:
    """Ends of generations among the next `limit` entries past `after` that name something, and the last of these; `after` when none do.

    Two statements by key: whatever the database knows of its rows, it does not walk the log for them.
    """
    about = select(audit_ref.c.idx).where(audit_ref.c.log == log, audit_ref.c.kind == named.kind, audit_ref.c.ref == named.ref)
    page = about.where(audit_ref.c.idx > after).order_by(audit_ref.c.idx).limit(limit)
    indexes = list((await tx.connection.execute(page)).scalars())
    ends = _entries(log).where(audit_event.c.idx.in_(indexes), audit_event.c.type.in_(_ENDS)).order_by(audit_event.c.idx)
    rows = await tx.connection.execute(ends) if indexes else ()
    return [_entry(log, row) for row in rows], max(indexes, default=after)


async def is_ended(tx: Transaction, log: str, answer: str) -> bool:
    """Whether the log holds the end of an answer."""
    return (await tx.connection.execute(_ends(log, answer).limit(1))).first() is not None


def _ends(log: str, answer: ColumnElement[str] | str) -> Select[tuple[int]]:
    end, ended = audit_event.alias(), audit_ref.alias()
    return (
        select(end.c.idx)
        .join(ended, (ended.c.log == end.c.log) & (ended.c.idx == end.c.idx))
        .where(ended.c.log == log, ended.c.kind == "answer", ended.c.ref == answer, end.c.type.in_(_ENDS))
    )


async def actors(tx: Transaction, log: str) -> list[str]:
    """Everybody who ever acted in `log`."""
    return list((await tx.connection.execute(select(audit_event.c.actor).where(_is_entry(log)).distinct())).scalars())


async def entries_from(tx: Transaction, log: str, start: int, limit: int) -> list[LogEntry]:
    """Entries in order from index `start`, at most `limit`."""
    statement = _entries(log).where(audit_event.c.idx >= start).order_by(audit_event.c.idx).limit(limit)
    return [_entry(log, row) for row in await tx.connection.execute(statement)]


async def event_columns(tx: Transaction, log: str, start: int, limit: int) -> list[tuple[int, str, str, str, str, datetime]]:
    """Indexed columns (idx, event_id, type, actor, outcome, recorded_at) in order, to be compared with the leaves."""
    columns = (audit_event.c.idx, audit_event.c.event_id, audit_event.c.type, audit_event.c.actor, audit_event.c.outcome)
    statement = select(*columns, audit_event.c.recorded_at).where(_is_entry(log), audit_event.c.idx >= start)
    rows = await tx.connection.execute(statement.order_by(audit_event.c.idx).limit(limit))
    return [(row.idx, row.event_id, row.type, row.actor, row.outcome, row.recorded_at) for row in rows]


async def count_outside(tx: Transaction, log: str, size: int) -> dict[str, int]:
    """Rows of each table of `log` that belong to none of its `size` entries, by table: before the first one or past the last."""
    counts = {}
    for place in (audit_event.c.idx, audit_block.c.first, audit_ref.c.idx):
        query = select(func.count()).where(place.table.c.log == log, or_(place < 0, place >= size))
        counts[str(place.table.name)] = (await tx.connection.execute(query)).scalar_one()
    return counts


async def references_between(tx: Transaction, log: str, start: int, stop: int) -> set[tuple[str, str, int]]:
    """Stored references (kind, ref, idx) of entries `start` to `stop - 1`."""
    statement = select(audit_ref.c.kind, audit_ref.c.ref, audit_ref.c.idx).where(
        audit_ref.c.log == log, audit_ref.c.idx >= start, audit_ref.c.idx < stop
    )
    return {(row.kind, row.ref, row.idx) for row in await tx.connection.execute(statement)}


async def blocks(tx: Transaction, log: str, after: int | None, limit: int) -> list[Block]:
    """Blocks of `log` in order, past the one that begins at `after` (`None`: from the first), at most `limit`."""
    columns = (audit_block.c.first, audit_block.c.count.label("n"), audit_block.c.root, audit_block.c.chain)
    statement = select(*columns).where(audit_block.c.log == log)
    if after is not None:
        statement = statement.where(audit_block.c.first > after)
    rows = await tx.connection.execute(statement.order_by(audit_block.c.first).limit(limit))
    return [Block(row.first, row.n, row.root, row.chain) for row in rows]


async def chain_at(tx: Transaction, log: str, size: int) -> bytes | None:
    """The chain value of the block that ends at `size`, or `None`."""
    last = select(audit_block.c.first, audit_block.c.count.label("n"), audit_block.c.chain)
    last = last.where(audit_block.c.log == log, audit_block.c.first < size).order_by(audit_block.c.first.desc()).limit(1)
    row = (await tx.connection.execute(last)).one_or_none()
    return row.chain if row is not None and row.first + row.n == size else None


async def put_checkpoint(tx: Transaction, log: str, size: int, note: str, signed_at: datetime) -> None:
    """Keep a signed checkpoint; signed again in the same moment it is kept once."""
    await tx.connection.execute(_PUT_CHECKPOINT, {"log": log, "size": size, "note": note, "signed_at": signed_at})


async def latest_checkpoint(tx: Transaction, log: str) -> tuple[int, str] | None:
    """(size, signed note) of the newest checkpoint of the log as it is, or `None` when none was published.

    That is the largest, but for those over entries that were lost: somebody acknowledged the loss after they were signed. An
    acknowledgement counts once a checkpoint over it was signed after it; what was published stands against one that nobody signed.
    """
    published = select(audit_checkpoint.c.size, audit_checkpoint.c.note).where(audit_checkpoint.c.log == log)
    newest = published.order_by(audit_checkpoint.c.size.desc(), audit_checkpoint.c.signed_at.desc()).limit(1)
    resumed = select(audit_event.c.idx, audit_event.c.recorded_at).where(_is_entry(log))
    resumed = resumed.where(audit_event.c.type == EventType.LOG_RESUMED.value).order_by(audit_event.c.idx.desc()).limit(1)
    row, last = None, (await tx.connection.execute(resumed)).one_or_none()
    if last is not None:
        since = newest.where(audit_checkpoint.c.size > last.idx, audit_checkpoint.c.signed_at >= last.recorded_at)
        row = (await tx.connection.execute(since)).one_or_none()
    row = row or (await tx.connection.execute(newest)).one_or_none()
    return None if row is None else (row.size, row.note)


def _is_entry(log: str) -> ColumnElement[bool]:
    """What makes a row an entry of `log`: its head counts it. A row elsewhere was put there by somebody, and is shown to nobody."""
    size = select(audit_head.c.size).where(audit_head.c.log == log).scalar_subquery()
    return and_(audit_event.c.log == log, audit_event.c.idx >= 0, audit_event.c.idx < size)


def _entries(log: str) -> Select[tuple[str, int, bytes, bytes, datetime]]:
    columns = (audit_event.c.event_id, audit_event.c.idx, audit_event.c.leaf, audit_event.c.leaf_hash, audit_event.c.recorded_at)
    return select(*columns).where(_is_entry(log))


def _entry(log: str, row: Row[tuple[str, int, bytes, bytes, datetime]]) -> LogEntry:
    return LogEntry(EventId(row.event_id), log, row.idx, row.leaf, row.leaf_hash, row.recorded_at)
