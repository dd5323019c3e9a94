"""Keeps the in-memory snapshot at the generation of the file: reads what changed since, by this process or another, and nothing else."""

import sqlite3
import threading

import numpy as np

from app.domain.content import ChunkId, DocumentId
from app.domain.search import AccessFacts
from app.index.access_table import AccessTable, Mask
from app.index.facts import decode_facts
from app.index.segment import ChunkRecord, LiveSegment, Segment, build_segment, merge_segments
from app.index.snapshot import Snapshot
from app.index.writer import tombstone_floor

_MERGE_CEILING = 20_000
"""Segments above so many chunks are not merged on: a search should wait a tenth of a second at most for tidying up."""
_DEAD_SHARE = 0.5

LiveRows = tuple[Segment, Mask]
Changes = dict[int, tuple[DocumentId, AccessFacts | None]]


class Mirror:
    """Holder of the current snapshot. `current` brings it up to the caller's read transaction, one thread at a time."""

    def __init__(self) -> None:
        """Begin empty: the first search reads the whole index."""
        self._snapshot = Snapshot()
        self._lock = threading.Lock()

    def current(self, connection: sqlite3.Connection) -> Snapshot:
        """Begin a read transaction on `connection` and return the snapshot of exactly that generation.

        The caller ends the transaction. Beginning under the lock keeps a slow reader from meeting a snapshot newer than its own view.
        """
        with self._lock:
            connection.execute("BEGIN")
            generation = int(connection.execute("SELECT value FROM meta WHERE key='generation'").fetchone()[0])
            if generation != self._snapshot.generation:
                self._snapshot = _advanced(connection, self._snapshot, generation)
            return self._snapshot


def _advanced(connection: sqlite3.Connection, old: Snapshot, generation: int) -> Snapshot:
    # A generation that went back (a restored file) or far ahead cannot be caught up with: read everything.
    if generation < old.generation or tombstone_floor(generation) > old.generation:
        old = Snapshot()
    dim = int(connection.execute("SELECT value FROM meta WHERE key='dim'").fetchone()[0])
    slots = dict(old.slots)
    changes = _removals(connection, old.generation, slots)
    removed = list(changes)
    changes |= _changed_facts(connection, old, slots)
    access = old.access.with_changes(changes)
    touched = np.zeros(len(access.facts), np.bool_)
    touched[removed + _changed_texts(connection, old.generation, slots)] = True
    segments = [(part.segment, part.live & ~touched[part.segment.slot]) for part in old.segments]
    records = _records(connection, old.generation, slots)
    if records:
        fresh = build_segment(records, dim)
        segments.append((fresh, np.ones(len(fresh), np.bool_)))
    return Snapshot(generation, dim, slots, access, tuple(_placed(part, access) for part in _tidied(segments, dim)))


def _removals(connection: sqlite3.Connection, since: int, slots: dict[int, int]) -> Changes:
    """Empty the slots of documents removed since a generation, and take them out of `slots`."""
    gone = connection.execute("SELECT document_row FROM gone WHERE generation>?", (since,)).fetchall()
    return {slots.pop(row): (DocumentId(""), None) for (row,) in gone if row in slots}


def _changed_facts(connection: sqlite3.Connection, old: Snapshot, slots: dict[int, int]) -> Changes:
    """Read facts by slot of documents changed since `old`. New ones get slots never used before: a removed one's rows stay dead."""
    changes: Changes = {}
    since, taken = old.generation, len(old.access.facts)
    query = "SELECT row, document_id, tenant, facts FROM document WHERE facts_generation>? OR text_generation>? ORDER BY row"
    for row, document_id, tenant, stored in connection.execute(query, (since, since)):
        if row not in slots:
            slots[row] = taken
            taken += 1
        facts = decode_facts(document_id, stored)
        # The tenant stands in the file twice; where the two differ nobody is served.
        changes[slots[row]] = (DocumentId(document_id), facts if facts is not None and facts.tenant == tenant else None)
    return changes


def _changed_texts(connection: sqlite3.Connection, since: int, slots: dict[int, int]) -> list[int]:
    """List slots whose chunks in memory are out of date."""
    return [slots[row] for (row,) in connection.execute("SELECT row FROM document WHERE text_generation>?", (since,))]


def _records(connection: sqlite3.Connection, since: int, slots: dict[int, int]) -> list[ChunkRecord]:
    query = """SELECT d.row, c.row, c.version, c.chunk_id, c.words, c.counts, c.length, c.guarded, c.vector
        FROM document d JOIN chunk c ON c.document_row=d.row AND c.version=d.live_version
        WHERE d.text_generation>? ORDER BY d.row, c.row"""
    found = connection.execute(query, (since,))
    return [ChunkRecord(slots[row], number, version, ChunkId(name), *rest) for row, number, version, name, *rest in found]


def _placed(part: LiveRows, access: AccessTable) -> LiveSegment:
    segment, live = part
    return LiveSegment(segment, live, access.columns.language[segment.slot], access.columns.pair[segment.slot])


def _tidied(segments: list[LiveRows], dim: int) -> list[LiveRows]:
    """Merge small neighbours and rewrite segments that are mostly dead, as in a log-structured merge tree (O'Neil et al. 1996)."""
    tidy: list[LiveRows] = []
    for part in segments:
        current = part
        if int(np.count_nonzero(current[1])) <= _DEAD_SHARE * len(current[0]):
            current = _merged([current], dim)
        while tidy and len(tidy[-1][0]) <= min(2 * len(current[0]), _MERGE_CEILING):
            current = _merged([tidy.pop(), current], dim)
        if len(current[0]):
            tidy.append(current)
    return tidy


def _merged(parts: list[LiveRows], dim: int) -> LiveRows:
    segment = merge_segments(parts, dim)
    return segment, np.ones(len(segment), np.bool_)
