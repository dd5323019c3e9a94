"""Keeps the in-memory snapshot at the generation of the file: reads what changed since, by this process or another, and nothing else."""

import sqlite3
import threading

import numpy as np

from app.domain.content import ChunkId, DocumentId
from app.domain.search import AccessFacts
from app.index.access_register import AccessRegister
from app.index.access_table import AccessTable, Mask
from app.index.facts import decode_facts
from app.index.merging import merge_segments
from app.index.segment import ChunkRecord, LiveSegment, Segment, build_segment
from app.index.snapshot import Snapshot
from app.index.writer import tombstone_floor

_MERGE_CEILING = 20_000
"""Segments above so many chunks are not merged on: a search should wait a tenth of a second at most for tidying up."""
_DEAD_SHARE = 0.5

LiveRows = tuple[Segment, Mask]


class Mirror:
    """Holder of the current snapshot. `current` brings it up to the caller's read transaction, one thread at a time."""

    def __init__(self) -> None:
        """Begin empty: the first search reads the whole index."""
        self._lock = threading.Lock()
        self._forget()

    def current(self, connection: sqlite3.Connection) -> Snapshot:
        """Begin a read transaction on `connection` and return the snapshot of exactly that generation.

        The caller ends the transaction. Beginning under the lock keeps a slow reader from meeting a snapshot newer than its own view.
        """
        with self._lock:
            connection.execute("BEGIN")
            generation = int(connection.execute("SELECT value FROM meta WHERE key='generation'").fetchone()[0])
            if generation != self._snapshot.generation:
                self._advance(connection, generation)
            return self._snapshot

    def _forget(self) -> None:
        self._snapshot = Snapshot()
        self._register = AccessRegister()
        self._slots: dict[int, int] = {}

    def _advance(self, connection: sqlite3.Connection, generation: int) -> None:
        # A generation that went back (a restored file) or far ahead cannot be caught up with: read everything.
        if not tombstone_floor(generation) <= self._snapshot.generation < generation:
            self._forget()
        try:
            self._snapshot = self._read(connection, generation)
        except BaseException:
            # Half a change must never be built upon.
            self._forget()
            raise

    def _read(self, connection: sqlite3.Connection, generation: int) -> Snapshot:
        since = self._snapshot.generation
        dim = int(connection.execute("SELECT value FROM meta WHERE key='dim'").fetchone()[0])
        changes = self._removals(connection, since)
        removed = list(changes)
        changes |= self._changed_facts(connection, since)
        access = self._register.change(changes)
        touched = np.zeros(len(access), np.bool_)
        touched[removed + _changed_texts(connection, since, self._slots)] = True
        segments = [(part.segment, part.live & ~touched[part.segment.slot]) for part in self._snapshot.segments]
        records = _records(connection, since, self._slots)
        if records:
            fresh = build_segment(records, dim)
            segments.append((fresh, np.ones(len(fresh), np.bool_)))
        return Snapshot(generation, dim, access, tuple(_placed(part, access) for part in _tidied(segments, dim)))

    def _removals(self, connection: sqlite3.Connection, since: int) -> dict[int, tuple[DocumentId, AccessFacts | None]]:
        """Empty the slots of documents removed since a generation."""
        gone = connection.execute("SELECT document_row FROM gone WHERE generation>?", (since,)).fetchall()
        return {self._slots.pop(row): (DocumentId(""), None) for (row,) in gone if row in self._slots}

    def _changed_facts(self, connection: sqlite3.Connection, since: int) -> dict[int, tuple[DocumentId, AccessFacts | None]]:
        """Read facts by slot. New documents get slots never used before, so that a removed one's rows stay dead."""
        changes: dict[int, tuple[DocumentId, AccessFacts | None]] = {}
        taken = len(self._register)
        # Asked as one question with OR and an order, SQLite reads the whole table.
        query = """SELECT row, document_id, tenant, facts FROM document WHERE row IN
            (SELECT row FROM document WHERE facts_generation>? UNION SELECT row FROM document WHERE text_generation>?) ORDER BY row"""
        for row, document_id, tenant, stored in connection.execute(query, (since, since)):
            if row not in self._slots:
                self._slots[row] = taken
                taken += 1
            facts = decode_facts(document_id, stored)
            # The tenant stands in the file twice; where the two differ nobody is served.
            changes[self._slots[row]] = (DocumentId(document_id), facts if facts is not None and facts.tenant == tenant else None)
        return changes


def _changed_texts(connection: sqlite3.Connection, since: int, slots: dict[int, int]) -> list[int]:
    """List slots whose chunks in memory are out of date."""
    return [slots[row] for (row,) in connection.execute("SELECT row FROM document WHERE text_generation>?", (since,))]


def _records(connection: sqlite3.Connection, since: int, slots: dict[int, int]) -> list[ChunkRecord]:
    query = """SELECT d.row, c.row, c.version, c.chunk_id, c.words, c.counts, c.length, c.guarded, c.vector
        FROM document d JOIN chunk c ON c.document_row=d.row AND c.version=d.live_version
        WHERE d.row IN (SELECT row FROM document WHERE text_generation>?) ORDER BY d.row, c.row"""
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
