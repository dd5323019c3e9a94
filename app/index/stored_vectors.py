"""Reads the vectors that an embedded index holds, for carrying them to another index. Blocking."""

from pathlib import Path

import numpy as np

from app.domain.content import ChunkId, DocumentId
from app.domain.search import ChunkVectors
from app.index.database import connect, translated_errors
from app.index.nearest import unpack_sentences


def read_vectors(path: Path, document_id: DocumentId, version: int) -> tuple[str, list[ChunkVectors]]:
    """(digest of their model, vectors of the version's chunks, those without left out). Raises UpstreamUnavailableError."""
    connection = connect(path, writes=False)
    try:
        with translated_errors():
            meta = dict(connection.execute("SELECT key, value FROM meta WHERE key IN ('model', 'dim')").fetchall())
            dim = int(meta["dim"])
            rows = connection.execute(
                """SELECT c.chunk_id, c.vector, s.context, s.standalone FROM chunk c JOIN document d ON d.row = c.document_row
                JOIN sentence s ON s.chunk_row = c.row WHERE d.document_id = ? AND c.version = ? AND c.vector IS NOT NULL ORDER BY c.row""",
                (document_id, version),
            ).fetchall()
    finally:
        connection.close()
    return meta["model"], [
        ChunkVectors(ChunkId(name), np.frombuffer(vector, np.float32), unpack_sentences(context, dim), unpack_sentences(standalone, dim))
        for name, vector, context, standalone in rows
    ]
