"""The embedded engine: one SQLite file and its mirror in memory behind the `PassageIndex` port. Blocking work runs on own threads."""

import asyncio
import contextlib
import queue
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import orjson

from app.domain.access import Nothing, ReadFilter
from app.domain.content import DocumentId
from app.domain.identity import TenantId
from app.domain.search import (
    AccessFacts,
    Candidates,
    ChunkVectors,
    Embedding,
    IndexedChunk,
    IndexedDocument,
    IndexQuery,
    SearchLimits,
    Visibility,
)
from app.errors import UpstreamUnavailableError
from app.index import spelling, writer
from app.index.database import connect, identity, prepare, translated_errors
from app.index.evidence import gather_evidence
from app.index.mirror import Mirror
from app.index.snapshot import Snapshot

_READERS = 2
_Result = TypeVar("_Result")


class EmbeddedIndex:
    """Search in one file, for one machine. Several processes may open the same file; each sees the others' commits with its next search."""

    def __init__(self, path: Path, *, dictionary: frozenset[str] = frozenset()) -> None:
        """Open or create the file at `path`. `dictionary` are words never taken for misspelled (the embedder's vocabulary).

        Raises ConfigurationError for a file of another schema and UpstreamUnavailableError when it cannot be opened.
        """
        self._closed = False
        self._dictionary = dictionary
        prepare(path)
        self._path, self._identity = path, identity(path)
        self._mirror = Mirror()
        self._readers: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        for _ in range(_READERS):
            self._readers.put(connect(path, writes=False))
        self._writing = connect(path, writes=True)
        self._read_pool = ThreadPoolExecutor(_READERS, thread_name_prefix="index-read")
        self._write_pool = ThreadPoolExecutor(1, thread_name_prefix="index-write")

    async def put_version(self, facts: AccessFacts, version: int, chunks: Sequence[IndexedChunk]) -> None:
        """Store a version's words, not yet searchable. Raises ConflictError when the id belongs to another tenant."""
        await self._write(lambda connection: writer.put_version(connection, facts, version, chunks))

    async def put_vectors(self, document_id: DocumentId, version: int, vectors: Sequence[ChunkVectors], model_digest: str) -> None:
        """Add embeddings to stored chunks. Raises ConfigurationError when the index holds vectors of another model."""
        await self._write(lambda connection: writer.put_vectors(connection, (document_id, version), vectors, model_digest))

    async def make_live(self, document_id: DocumentId, version: int, facts: AccessFacts | None = None) -> None:
        """Serve this version and no other, under newer facts where they are given. Raises ConflictError when it is not stored."""
        await self._write(lambda connection: writer.make_live(connection, document_id, version, facts))

    async def put_access(self, facts: AccessFacts) -> None:
        """Replace the facts a filter is matched against, for the very next search; facts of a lower `acl_version` are ignored."""
        await self._write(lambda connection: writer.put_access(connection, facts))

    async def remove(self, tenant: TenantId, document_id: DocumentId, version: int | None = None) -> None:
        """Forget a document of a tenant, on disk too: words, vectors and facts; or one version that is not live."""
        await self._write(lambda connection: writer.remove(connection, tenant, document_id, version))

    async def search(self, query: IndexQuery, read_filter: ReadFilter, embedding: Embedding | None = None) -> Candidates:
        """Find the best chunks by words and by vector among those granted. Records nothing."""
        if isinstance(read_filter, Nothing):
            return Candidates((), {}, ())
        if embedding is not None:
            query = replace(query, vector=await embedding)
        return await self._read(lambda connection, snapshot: gather_evidence(connection, snapshot, query, read_filter))

    async def respell(self, text: str, read_filter: ReadFilter, visible: Visibility) -> str:
        """Correct words that neither granted text nor the dictionary knows, towards granted words."""
        if isinstance(read_filter, Nothing):
            return text
        dictionary = self._dictionary
        return await self._read(
            lambda _, snapshot: spelling.respell(text, snapshot.grant(read_filter, SearchLimits()), visible, dictionary)
        )

    async def inventory(self, tenant: TenantId) -> list[IndexedDocument]:
        """Read from the file, not from the mirror."""
        query = """SELECT d.document_id, d.live_version, d.acl_version, count(c.row), count(c.vector),
            (SELECT json_group_array(v.version) FROM version v WHERE v.document_row=d.row AND v.version IS NOT d.live_version)
            FROM document d
            LEFT JOIN chunk c ON c.document_row=d.row AND c.version=d.live_version WHERE d.tenant=? GROUP BY d.row ORDER BY d.row"""
        return await self._read(
            lambda connection, _: [
                IndexedDocument(DocumentId(name), live, acl_version, chunks, vectors, tuple(sorted(orjson.loads(others))))
                for name, live, acl_version, chunks, vectors, others in connection.execute(query, (tenant,))
            ]
        )

    async def check(self) -> None:
        """Read as a search would. Raises UpstreamUnavailableError when that fails."""
        await self._read(lambda _, snapshot: snapshot.generation)

    def close(self) -> None:
        """Finish running work and let go of the file."""
        self._closed = True
        self._read_pool.shutdown(wait=True)
        self._write_pool.shutdown(wait=True)
        self._writing.close()
        with contextlib.suppress(queue.Empty):
            while True:
                self._readers.get_nowait().close()

    async def _write(self, change: Callable[[sqlite3.Connection], None]) -> None:
        def run() -> None:
            self._require_same_file()
            with translated_errors():
                change(self._writing)

        await self._submit(self._write_pool, run)

    async def _read(self, look: Callable[[sqlite3.Connection, Snapshot], _Result]) -> _Result:
        def run() -> _Result:
            self._require_same_file()
            with translated_errors(), self._reading() as connection:
                snapshot = self._mirror.current(connection)
                return look(connection, snapshot)

        return await self._submit(self._read_pool, run)

    def _require_same_file(self) -> None:
        """Refuse to serve a file that was removed or replaced: open handles would go on granting what it granted then."""
        if identity(self._path) != self._identity:
            message = "The search index was replaced on disk: restart to open the new one."
            raise UpstreamUnavailableError(message)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a reader's connection; its transaction ends with the loan."""
        connection = self._readers.get()
        try:
            yield connection
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._readers.put(connection)

    async def _submit(self, pool: ThreadPoolExecutor, run: Callable[[], _Result]) -> _Result:
        if self._closed:
            message = "The search index is closed."
            raise UpstreamUnavailableError(message)
        return await asyncio.get_running_loop().run_in_executor(pool, run)
