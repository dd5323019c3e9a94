"""Changes to the index file, each one a transaction that raises the generation: done whole or not at all, and safe to repeat.

Words and counts of a chunk are worked out before the transaction begins, so that the write lock is held for the writing alone.
"""

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from app.domain.search import AccessFacts, ChunkVectors, IndexedChunk
from app.errors import ConfigurationError, ConflictError
from app.index.facts import encode_facts
from app.index.packing import pack_chunk, pack_vectors

_TOMBSTONES_KEPT = 10_000
"""A process that fell further behind than this many removals reads the index anew."""


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[int]:
    """Open a write transaction and yield the generation it will commit as."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        generation = int(_meta(connection, "generation")) + 1
        yield generation
        _set_meta(connection, "generation", str(generation))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def put_version(connection: sqlite3.Connection, facts: AccessFacts, version: int, chunks: Sequence[IndexedChunk]) -> None:
    """Store a version's words. A repeat with the same words keeps its vectors; with other words it replaces everything."""
    rows = [pack_chunk(chunk) for chunk in chunks]
    digest = hashlib.sha256(repr(rows).encode("utf-8")).hexdigest()
    stored = encode_facts(facts)
    with transaction(connection) as generation:
        document = _document(connection, facts, stored, generation)
        known = connection.execute("SELECT digest FROM version WHERE document_row=? AND version=?", (document, version)).fetchone()
        if known is not None and known[0] == digest:
            given = (stored, facts.acl_version, document, version)
            connection.execute("UPDATE version SET facts=?, acl_version=? WHERE document_row=? AND version=?", given)
            return
        connection.execute("DELETE FROM version WHERE document_row=? AND version=?", (document, version))
        connection.execute("INSERT INTO version VALUES (?,?,?,?,?)", (document, version, stored, facts.acl_version, digest))
        connection.executemany(
            "INSERT INTO chunk (document_row, version, chunk_id, words, counts, length, guarded) VALUES (?,?,?,?,?,?,?)",
            [(document, version, *row) for row in rows],
        )
        connection.execute("UPDATE document SET text_generation=? WHERE row=? AND live_version=?", (generation, document, version))


def put_vectors(connection: sqlite3.Connection, target: tuple[str, int], vectors: Sequence[ChunkVectors], model_digest: str) -> None:
    """Store embeddings for chunks of `target`, a document id and version; a version no longer stored is left alone."""
    document_id, version = target
    packed = [pack_vectors(item) for item in vectors]
    with transaction(connection) as generation:
        found = _row_of(connection, document_id)
        stored = dict(connection.execute("SELECT chunk_id, row FROM chunk WHERE document_row=? AND version=?", (found, version)).fetchall())
        if not stored or not vectors:
            return
        unknown = [item.chunk_id for item in vectors if item.chunk_id not in stored]
        if unknown:
            message = "Vectors were given for chunks this version does not have."
            raise ConflictError(message)
        _require_model(connection, model_digest, len(vectors[0].chunk))
        for item, (chunk, context, standalone) in zip(vectors, packed, strict=True):
            row = stored[item.chunk_id]
            connection.execute("UPDATE chunk SET vector=? WHERE row=?", (chunk, row))
            connection.execute("INSERT OR REPLACE INTO sentence VALUES (?,?,?)", (row, context, standalone))
        connection.execute("UPDATE document SET text_generation=? WHERE row=? AND live_version=?", (generation, found, version))


def make_live(connection: sqlite3.Connection, document_id: str, version: int, later: AccessFacts | None = None) -> None:
    """Serve a stored version under its facts, or `later` ones, and drop the older versions. Raises ConflictError when it is not stored."""
    with transaction(connection) as generation:
        row = connection.execute(
            """SELECT d.row, v.facts, v.acl_version FROM document d JOIN version v ON v.document_row=d.row
            WHERE d.document_id=? AND v.version=?""",
            (document_id, version),
        ).fetchone()
        if row is None:
            message = "This version is not in the index."
            raise ConflictError(message)
        document, facts, acl_version = row
        connection.execute("DELETE FROM version WHERE document_row=? AND version<?", (document, version))
        connection.execute("UPDATE document SET live_version=?, text_generation=? WHERE row=?", (version, generation, document))
        # Facts written to the document after this version was stored are newer than the version's own.
        connection.execute(
            "UPDATE document SET facts=?, acl_version=?, facts_generation=? WHERE row=? AND acl_version<=?",
            (facts, acl_version, generation, document, acl_version),
        )
        if later is not None:
            _put_access(connection, later, generation)


def put_access(connection: sqlite3.Connection, facts: AccessFacts) -> None:
    """Replace the facts of a document and of its stored versions; facts older than those stored are ignored."""
    with transaction(connection) as generation:
        _put_access(connection, facts, generation)


def _put_access(connection: sqlite3.Connection, facts: AccessFacts, generation: int) -> None:
    found = _row_of(connection, facts.document_id)
    if found is None:
        return
    _require_tenant(connection, found, facts)
    given = (encode_facts(facts), facts.acl_version)
    connection.execute(
        "UPDATE version SET facts=?, acl_version=? WHERE document_row=? AND acl_version<=?", (*given, found, facts.acl_version)
    )
    connection.execute(
        "UPDATE document SET facts=?, acl_version=?, facts_generation=? WHERE row=? AND acl_version<=?",
        (*given, generation, found, facts.acl_version),
    )


def remove(connection: sqlite3.Connection, tenant: str, document_id: str, version: int | None = None) -> None:
    """Delete everything known of a tenant's document, or one version that is not live; the number of its row is never used again."""
    with transaction(connection) as generation:
        query = "SELECT row, live_version FROM document WHERE document_id=? AND tenant=?"
        row = connection.execute(query, (document_id, tenant)).fetchone()
        if row is None or (version is not None and version == row[1]):
            return
        found = row[0]
        if version is not None:
            connection.execute("DELETE FROM version WHERE document_row=? AND version=?", (found, version))
        else:
            connection.execute("DELETE FROM version WHERE document_row=?", (found,))
            connection.execute("DELETE FROM document WHERE row=?", (found,))
            connection.execute("INSERT INTO gone VALUES (?,?)", (found, generation))
            connection.execute("DELETE FROM gone WHERE generation<?", (generation - _TOMBSTONES_KEPT,))
    # The write-ahead log still holds the removed pages; a reader in the way only delays this until the next checkpoint.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def tombstone_floor(generation: int) -> int:
    """Tell before which generation removals may no longer be on file when the file stands at `generation`."""
    return generation - _TOMBSTONES_KEPT


def _document(connection: sqlite3.Connection, facts: AccessFacts, stored: str, generation: int) -> int:
    found = _row_of(connection, facts.document_id)
    if found is not None:
        _require_tenant(connection, found, facts)
        return found
    cursor = connection.execute(
        "INSERT INTO document (document_id, tenant, facts, acl_version, text_generation, facts_generation) VALUES (?,?,?,?,?,?)",
        (facts.document_id, facts.tenant, stored, facts.acl_version, generation, generation),
    )
    return int(cursor.lastrowid or 0)


def _require_tenant(connection: sqlite3.Connection, document: int, facts: AccessFacts) -> None:
    """Refuse to move a document to another tenant: its words were stored for the first."""
    if connection.execute("SELECT tenant FROM document WHERE row=?", (document,)).fetchone()[0] != facts.tenant:
        message = "A document of this id belongs to another tenant."
        raise ConflictError(message)


def _row_of(connection: sqlite3.Connection, document_id: str) -> int | None:
    found = connection.execute("SELECT row FROM document WHERE document_id=?", (document_id,)).fetchone()
    return None if found is None else int(found[0])


def _require_model(connection: sqlite3.Connection, model_digest: str, dim: int) -> None:
    """Refuse vectors of another model while any are stored: cosines between two models mean nothing."""
    held = (_meta(connection, "model"), _meta(connection, "dim"))
    if held == (model_digest, str(dim)):
        return
    if connection.execute("SELECT 1 FROM chunk WHERE vector IS NOT NULL LIMIT 1").fetchone() is not None:
        message = "The index holds vectors of another embedding model: remove the index file and re-index."
        raise ConfigurationError(message)
    _set_meta(connection, "model", model_digest)
    _set_meta(connection, "dim", str(dim))


def _meta(connection: sqlite3.Connection, key: str) -> str:
    return str(connection.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()[0])


def _set_meta(connection: sqlite3.Connection, key: str, value: str) -> None:
    connection.execute("UPDATE meta SET value=? WHERE key=?", (value, key))
