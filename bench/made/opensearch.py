"""A real OpenSearch node filled with real passages, for the benches of its engine.

The chunks are those the engine would write, sent by its own bulk writer; heads and versions, which no search reads, are left out.
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from app.domain.access import Acl, AclMode, Action, ActionRule, Conditions, Scope
from app.domain.content import ChunkId, DocumentId
from app.domain.identity import Principal, TenantId
from app.domain.search import AccessFacts, ChunkVectors, IndexedChunk
from app.index.opensearch.connection import Body, Cluster, Operation, Reply
from app.index.opensearch.documents import StoredChunk
from app.index.opensearch.engine import OpenSearchIndex
from app.index.opensearch.rules import OpenSearchRules, chunk_key
from app.llm.embedder import LocalEmbedder
from bench.made.passages import ROOT, corpora, embedded_passages
from tests.services.opensearch.nodes import OpenSearchNodes

TENANT = TenantId("bench")
SHARES = {"0.1%": 0.001, "1%": 0.01, "5%": 0.05, "20%": 0.2, "50%": 0.5, "100%": 1.0}
"""Groups by the share of documents they may read."""
N_CHUNKS = int(os.environ.get("PORTCULLIS_BENCH_CHUNKS", "20000"))
_CHUNKS_A_DOCUMENT = 25
_SENTENCES = 3


class Listening:
    """Notes which searches an engine sends."""

    def __init__(self, cluster: Cluster) -> None:
        self.sent: list[Body] = []
        self._search_many = cluster.search_many
        cluster.search_many = self  # type: ignore[assignment, method-assign] # a bench may listen in

    async def __call__(self, indexes: str, bodies: list[Body], **how: str) -> list[Reply] | None:
        """Pass a request on."""
        self.sent += bodies
        return await self._search_many(indexes, bodies, **how)


@dataclass(frozen=True, slots=True)
class Filled:
    """An engine with `n` chunks; `group` tells which shares may read each of them."""

    engine: OpenSearchIndex
    vectors: NDArray[np.float32]
    readable: dict[str, NDArray[np.bool_]]
    questions: list[str]
    question_vectors: NDArray[np.float32]
    fill_s: float
    tenant: TenantId = TENANT

    def reader(self, share: str) -> Conditions:
        """The filter of a person of a group."""
        rules = (ActionRule(Action.SEARCH, (Scope("*", "*"),), ()),)
        return Conditions(self.tenant, 3, frozenset({Principal(f"group:bench|{share}")}), rules)


@asynccontextmanager
async def filled(n_questions: int) -> AsyncIterator[Filled]:
    """Start a node, fill it, and stop it in the end."""
    texts, vectors = await embedded_passages(N_CHUNKS)
    questions, question_vectors = await questions_with_vectors(n_questions)
    nodes = OpenSearchNodes.make(heap="1g")
    try:
        await asyncio.to_thread(nodes.start)
        engine = OpenSearchIndex(OpenSearchRules(nodes.urls, vectors.shape[1], replicas=0, timeout_s=60.0))
        begun = time.perf_counter()
        readable = await fill(engine, TENANT, texts, vectors)
        yield Filled(engine, vectors, readable, questions, question_vectors, time.perf_counter() - begun)
        await engine.close()
    finally:
        nodes.remove()


async def fill(
    engine: OpenSearchIndex, tenant: TenantId, texts: list[str], vectors: NDArray[np.float32], first: int = 0
) -> dict[str, NDArray[np.bool_]]:
    """Write passages as chunks numbered from `first`, a multiple of a document's chunks; returns which of them each group may read."""
    rng = np.random.default_rng([5, first])
    n_documents, before = -(-len(texts) // _CHUNKS_A_DOCUMENT), first // _CHUNKS_A_DOCUMENT
    order = rng.permutation(n_documents)
    by_document = {share: order < max(1, round(part * n_documents)) for share, part in SHARES.items()}
    await engine.indexes.prepare()
    generations = await engine.indexes.ensure(tenant)
    index = engine.cluster.rules.index(tenant, generations.live)
    for number in range(n_documents):
        places = range(number * _CHUNKS_A_DOCUMENT, min(len(texts), (number + 1) * _CHUNKS_A_DOCUMENT))
        document = DocumentId(f"d{before + number}")
        groups = frozenset(Principal(f"group:bench|{share}") for share, grants in by_document.items() if grants[number])
        facts = AccessFacts(
            tenant, document, "all", "internal", 1, Acl(AclMode.EXPLICIT, groups), 1, "en", datetime(2026, 1, 1, tzinfo=UTC)
        )
        operations = []
        for place in places:
            chunk = StoredChunk.of(document, 1, IndexedChunk(ChunkId(f"c{first + place:07}"), "", texts[place]))
            sentences = np.repeat(vectors[place : place + 1], _SENTENCES, axis=0)
            whole = chunk.with_vectors(ChunkVectors(ChunkId(chunk.chunk_id), vectors[place], sentences, sentences))
            operations.append(Operation(index, chunk_key(document, 1, chunk.chunk_id), document, whole.live(facts)))
        await engine.cluster.write(operations)
    await engine.cluster.refresh(index)
    return {share: np.repeat(grants, _CHUNKS_A_DOCUMENT)[: len(texts)] for share, grants in by_document.items()}


async def questions_with_vectors(count: int) -> tuple[list[str], NDArray[np.float32]]:
    """Real questions about other texts, and their unit vectors."""
    lines = (corpora() / "sets" / "policyqa" / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    step = max(1, len(lines) // count)
    texts = [json.loads(line)["text"] for line in lines[::step]][:count]
    embedder = LocalEmbedder(ROOT / "models" / "embedder")
    try:
        return texts, (await embedder.embed(texts)).astype(np.float32)
    finally:
        embedder.close()
