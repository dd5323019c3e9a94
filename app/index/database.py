"""The embedded index's one SQLite file: its schema, how it is opened, and how its failures are named.

What is stored of a document is a bag of words and vectors, no running text. The file holds no truth: it can be deleted and rebuilt.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.errors import ConfigurationError, UpstreamUnavailableError

SCHEMA_VERSION = 1
_BUSY_TIMEOUT_S = 5.0

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE document (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    document_id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    live_version INTEGER,
    facts TEXT NOT NULL,
    acl_version INTEGER NOT NULL,
    text_generation INTEGER NOT NULL,
    facts_generation INTEGER NOT NULL
);
CREATE INDEX document_text_generation ON document (text_generation);
CREATE INDEX document_facts_generation ON document (facts_generation);
CREATE TABLE version (
    document_row INTEGER NOT NULL REFERENCES document (row) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    facts TEXT NOT NULL,
    acl_version INTEGER NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (document_row, version)
) WITHOUT ROWID;
CREATE TABLE chunk (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    document_row INTEGER NOT NULL,
    version INTEGER NOT NULL,
    chunk_id TEXT NOT NULL,
    words TEXT NOT NULL,
    counts BLOB NOT NULL,
    length INTEGER NOT NULL,
    guarded TEXT NOT NULL,
    vector BLOB,
    UNIQUE (document_row, version, chunk_id),
    FOREIGN KEY (document_row, version) REFERENCES version (document_row, version) ON DELETE CASCADE
);
CREATE TABLE sentence (
    chunk_row INTEGER PRIMARY KEY REFERENCES chunk (row) ON DELETE CASCADE,
    context BLOB NOT NULL,
    standalone BLOB NOT NULL
);
CREATE TABLE gone (document_row INTEGER PRIMARY KEY, generation INTEGER NOT NULL);
CREATE INDEX gone_generation ON gone (generation);
INSERT INTO meta VALUES ('generation', '1'), ('model', ''), ('dim', '0');
"""


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn every SQLite failure (locked, full, read-only, damaged) into UpstreamUnavailableError: a search is never silently shorter."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        message = "The search index did not answer."
        raise UpstreamUnavailableError(message) from error


def connect(path: Path, *, writes: bool) -> sqlite3.Connection:
    """Open the file. Transactions are explicit; a reader cannot write. Raises UpstreamUnavailableError."""
    with translated_errors():
        connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA cache_size=-32768")
        if writes:
            # FULL, not NORMAL: a committed revocation must outlive a power cut. Removed text is overwritten, not just unlinked.
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
                connection.execute(f"PRAGMA {pragma}")
        else:
            connection.execute("PRAGMA query_only=ON")
    return connection


def identity(path: Path) -> tuple[int, int]:
    """Tell which file stands at `path`, by device and number. Raises UpstreamUnavailableError when none does."""
    with translated_errors():
        found = path.stat()
    return found.st_dev, found.st_ino


def prepare(path: Path) -> None:
    """Create the file with its schema when it is not there. Raises ConfigurationError for a file of another schema."""
    with translated_errors():
        path.parent.mkdir(parents=True, exist_ok=True)
        # Words of every document stand in it, so it is made for its owner alone; the log beside it takes over the mode.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    connection = connect(path, writes=True)
    try:
        with translated_errors():
            _create_schema(connection)
            found = connection.execute("PRAGMA user_version").fetchone()[0]
    finally:
        connection.close()
    if found != SCHEMA_VERSION:
        message = f"The search index has schema {found}, this program wants {SCHEMA_VERSION}: remove the index file and re-index."
        raise ConfigurationError(message)


def _create_schema(connection: sqlite3.Connection) -> None:
    """Create everything or nothing, also when two processes open a new file at once."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
