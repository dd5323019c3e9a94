"""EmbedDocument: adds vectors to a live version, made of text without what its readers at large are not shown."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from app.domain.content import Chunk, DocumentState
from app.domain.identity import TenantId
from app.domain.ports import Embedder, PassageIndex
from app.domain.search import ChunkVectors
from app.ingest.analysis import texts_to_embed, values_to_mask
from app.policy.book import PolicyBook
from app.privacy.book import RedactionBook
from app.privacy.entities import QUASI
from app.storage import document_rows, job_rows
from app.storage.document_shapes import AnalyzedChunk
from app.storage.job_rows import Job
from app.storage.transaction import Database, Transaction

_CHUNKS_PER_BATCH = 16


def _masked(title: str, part: Sequence[AnalyzedChunk], values: Mapping[str, str]) -> list[tuple[Chunk, list[str]]]:
    return [(one.chunk, texts_to_embed(title, one.chunk, values)) for one in part]


def mark_of(model_digest: str, shown: frozenset[str]) -> str:
    """Names an embedder and, by what is left, what is masked for it."""
    return sha256("\0".join([model_digest, *sorted(QUASI & shown)]).encode()).hexdigest()


@dataclass(frozen=True)
class VectorRules:
    """What vectors are made of. Powers: read policy."""

    policy: PolicyBook
    redaction: RedactionBook
    embedder: Embedder

    async def shown(self, tx: Transaction, tenant: TenantId) -> dict[str, frozenset[str]]:
        """Entity types by collection that whoever may read it is shown, without a right to personal data."""
        basis = await self.policy.basis(tx, tenant)
        rules = self.redaction.of(basis.snapshot.digest, basis.snapshot.redaction_text)
        return {name: rules.visible_types(profile, may_read_pii=False) for name, profile in basis.profiles.items()}

    def mark(self, shown: frozenset[str]) -> str:
        """Name what vectors are made of now; those under another mark are made again."""
        return mark_of(self.embedder.digest, shown)


@dataclass(frozen=True)
class EmbedDocument:
    """Adds vectors to a live version. Powers: the register, the embedder, the index."""

    database: Database
    index: PassageIndex
    rules: VectorRules

    async def run(self, job: Job) -> None:
        """Embed every chunk and its sentences, a few at a time, noting progress."""
        async with self.database.read() as tx:
            document = await document_rows.get_document(tx, job.tenant, job.document_id)
            version = await document_rows.get_version(tx, job.document_id, job.version)
            chunks = await document_rows.version_chunks(tx, job.document_id, job.version)
            by_collection = await self.rules.shown(tx, job.tenant)
        if document is None or version is None or document.live_version != job.version or document.state is not DocumentState.LIVE:
            return
        shown = by_collection.get(document.collection, frozenset())
        values = values_to_mask(version, chunks, shown)
        for start in range(0, len(chunks), _CHUNKS_PER_BATCH):
            part = chunks[start : start + _CHUNKS_PER_BATCH]
            # A staff list has tens of thousands of values to look for: on the event loop that would stop every answer.
            texts = await asyncio.to_thread(_masked, version.title, part, values)
            vectors = await self._embed(texts)
            await self.index.put_vectors(job.document_id, job.version, vectors, self.rules.embedder.digest)
            done = start + len(part)
            async with self.database.write() as tx:
                await job_rows.progress(tx, job, done, len(chunks))
                if done == len(chunks):
                    await document_rows.set_embedder(tx, job.document_id, job.version, self.rules.mark(shown))

    async def _embed(self, texts: list[tuple[Chunk, list[str]]]) -> list[ChunkVectors]:
        matrix = await self.rules.embedder.embed([text for _, group in texts for text in group])
        vectors, row = [], 0
        for chunk, _ in texts:
            n = len(chunk.sentences)
            own = matrix[row : row + 1 + 2 * n]
            vectors.append(ChunkVectors(chunk.chunk_id, own[0], own[1 : 1 + n], own[1 + n :]))
            row += 1 + 2 * n
        return vectors
