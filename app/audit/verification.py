"""Checks a whole log against itself and against its checkpoints, and names the first thing that does not hold."""

from dataclasses import dataclass, field
from datetime import datetime

from app.audit import envelope
from app.audit.log import chain_value, log_name
from app.audit.merkle import MerkleTree, leaf_hash, root_of
from app.audit.notes import open_checkpoint
from app.domain.identity import TenantId
from app.storage import audit_rows
from app.storage.transaction import Database, Transaction

_PAGE = 2_000
_MAX_PROBLEMS = 20
_COLUMNS = ("event_id", "type", "actor", "outcome", "recorded_at")


@dataclass(slots=True)
class LogReport:
    """Result of a check: how many entries and blocks were read and what does not hold, each named with its index."""

    log: str
    entries: int = 0
    blocks: int = 0
    checkpoint_size: int | None = None
    root: str = ""
    is_memory_compared: bool = False
    """Whether the log was held against what the signer remembers: without, one put back from a backup looks whole."""
    problems: list[str] = field(default_factory=list)

    @property
    def is_intact(self) -> bool:
        """Whether nothing was found."""
        return not self.problems

    def add(self, problem: str) -> None:
        """Note a problem; past twenty they are no longer listed."""
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(problem)


async def verify_log(database: Database, tenant: TenantId, vkey: str, signed: tuple[int, bytes] | None) -> LogReport:
    """Re-derive every hash of a tenant's log from the stored bytes, a page at a time in one snapshot; of all entries only hashes are held.

    `signed` is (size, root) from the signer's memory outside the database: a cut tail shows only there.
    """
    log = log_name(tenant)
    report = LogReport(log, is_memory_compared=signed is not None)
    tree = MerkleTree()
    async with database.read() as tx:
        await _check_entries(tx, log, tree, report)
        await _check_blocks(tx, log, tree, report)
        for table, count in (await audit_rows.count_outside(tx, log, tree.size)).items():
            if count:
                report.add(f"rows of {table} outside the {tree.size} entries: {count}")
        latest = await audit_rows.latest_checkpoint(tx, log)
    report.root = tree.root().hex()
    if latest is not None:
        _check_checkpoint(latest[1], vkey, tree, report)
    if signed is not None and (signed[0] > tree.size or tree.root(signed[0]) != signed[1]):
        report.add(f"the signer remembers {signed[0]} entries with another root: entries were cut, restored or rewritten")
    return report


async def _check_entries(tx: Transaction, log: str, tree: MerkleTree, report: LogReport) -> None:
    while entries := await audit_rows.entries_from(tx, log, report.entries, _PAGE):
        columns = await audit_rows.event_columns(tx, log, report.entries, _PAGE)
        stored = await audit_rows.references_between(tx, log, report.entries, report.entries + len(entries))
        named: set[tuple[str, str, int]] = set()
        for entry, row in zip(entries, columns, strict=True):
            expected = report.entries
            if entry.index != expected:
                report.add(f"entry {expected} is missing; {entry.index} follows")
                return
            if leaf_hash(entry.leaf) != entry.leaf_hash:
                report.add(f"entry {entry.index}: the stored bytes do not have the stored hash")
            named |= _check_columns(entry.leaf, row, report)
            tree.extend([leaf_hash(entry.leaf)])
            report.entries += 1
        for kind, ref, index in sorted(named ^ stored, key=str):
            report.add(f"entry {index}: reference {kind} {ref} differs between the entry and the index of references")


def _check_columns(leaf: bytes, row: tuple[int, str, str, str, str, datetime], report: LogReport) -> set[tuple[str, str, int]]:
    index = row[0]
    try:
        content = envelope.parse(leaf)
        facts = [content[name] for name in _COLUMNS]
        references = {(kind, ref, index) for kind, ref in envelope.references(content)}
    except (ValueError, KeyError, TypeError):
        report.add(f"entry {index}: the stored bytes are no envelope")
        return set()
    for name, inside, outside in zip(_COLUMNS, facts, (*row[1:5], envelope.rfc3339(row[5])), strict=True):
        if inside != outside:
            report.add(f"entry {index}: column {name} differs from the entry")
    return references


async def _check_blocks(tx: Transaction, log: str, tree: MerkleTree, report: LogReport) -> None:
    chain, position, after = bytes(32), 0, None
    while page := await audit_rows.blocks(tx, log, after, _PAGE):
        for block in page:
            last = block.first + block.count - 1
            if block.first != position or not position <= last < tree.size:
                report.add(f"block at {block.first}: expected one at {position}, inside {tree.size} entries")
                return
            root = root_of([tree.node(0, index) for index in range(block.first, last + 1)])
            chain = chain_value(chain, root, block.first, last)
            if root != block.root or chain != block.chain:
                report.add(f"block at {block.first}: its root or chain value does not follow from the entries")
                return
            position, report.blocks = last + 1, report.blocks + 1
        after = page[-1].first
    head = await audit_rows.read_head(tx, log)
    if head is not None and (head.size, head.chain) != (position, chain):
        report.add("the head of the log does not match its last block")
    if position != tree.size:
        report.add(f"entries from {position} on belong to no block")


def _check_checkpoint(note: str, vkey: str, tree: MerkleTree, report: LogReport) -> None:
    try:
        checkpoint = open_checkpoint(note, vkey)
    except ValueError as error:
        report.add(f"the newest checkpoint does not hold: {error}")
        return
    report.checkpoint_size = checkpoint.size
    if checkpoint.size > tree.size or tree.root(checkpoint.size) != checkpoint.root:
        report.add(f"the checkpoint over {checkpoint.size} entries has another root: the log was rewritten")
