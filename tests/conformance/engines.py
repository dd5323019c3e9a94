"""The engines behind the `PassageIndex` port, and what their suites make and ask with. An engine joins by adding itself to `ENGINES`."""

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from app.domain.access import Acl, AclMode, Action, ActionRule, Conditions, ReadFilter, Scope, WholeTenant
from app.domain.content import ChunkId, DocumentId
from app.domain.identity import Principal, TenantId
from app.domain.ports import PassageIndex
from app.domain.search import AccessFacts, Candidates, ChunkVectors, GuardedText, IndexedChunk, IndexQuery
from app.index.embedded import EmbeddedIndex
from app.index.opensearch.engine import OpenSearchIndex
from app.index.opensearch.rules import OpenSearchRules

T = TenantId("acme")
CLERK, AUDITOR, STAFF, BOARD = (Principal(name) for name in ("user:i|clerk", "user:i|auditor", "group:acme|staff", "group:acme|board"))
ANYWHERE = (ActionRule(Action.SEARCH, (Scope("*", "*"),), ()),)
EVERYTHING = WholeTenant(T)
DIM = 8
ENGINES = ("embedded", "opensearch")

OpenEngine = Callable[[str], AbstractAsyncContextManager[PassageIndex]]
"""Opens an empty engine by its name; what it stored is gone when it is closed."""


@asynccontextmanager
async def embedded_engine(folder: Path) -> AsyncIterator[EmbeddedIndex]:
    opened = EmbeddedIndex(folder / "index.db")
    try:
        yield opened
    finally:
        opened.close()


def opensearch_rules(*urls: str, **changes: object) -> OpenSearchRules:
    """Rules of an engine apart from all others on the same server."""
    return replace(OpenSearchRules(urls, DIM, prefix=f"t{uuid.uuid4().hex[:12]}", replicas=0, timeout_s=30.0), **changes)


@asynccontextmanager
async def opensearch_engine(rules: OpenSearchRules) -> AsyncIterator[OpenSearchIndex]:
    """An engine whose indexes are dropped in the end."""
    opened = OpenSearchIndex(rules)
    try:
        yield opened
        await opened.cluster.ask("DELETE", f"/{rules.prefix}-*")
    finally:
        await opened.close()


@asynccontextmanager
async def emptied_engine(rules: OpenSearchRules) -> AsyncIterator[OpenSearchIndex]:
    """An engine whose indexes are emptied first of what the last one left: to make and drop them takes most of a second."""
    opened = OpenSearchIndex(rules)
    everything = {"query": {"bool": {"must_not": {"term": {"kind": "tenant"}}}}}
    try:
        await opened.check()
        await opened.cluster.refresh(f"{rules.prefix}-*")
        await opened.cluster.ask("POST", f"/{rules.prefix}-*/_delete_by_query", everything, {"refresh": "true"})
        yield opened
    finally:
        await opened.close()


def facts(document: str, **changes: object) -> AccessFacts:
    plain = AccessFacts(T, DocumentId(document), "hr", "internal", 1, Acl(AclMode.INHERIT), 1, "en", datetime(2026, 3, 1, tzinfo=UTC))
    return replace(plain, **changes)


def person(*principals: Principal, clearance: int = 1, rules: tuple[ActionRule, ...] = ANYWHERE, tenant: TenantId = T) -> Conditions:
    return Conditions(tenant, clearance, frozenset(principals), rules)


def chunk(document: str, text: str, *, version: int = 1, ordinal: int = 0, guarded: tuple[GuardedText, ...] = ()) -> IndexedChunk:
    return IndexedChunk(ChunkId(f"{document}.{version}.{ordinal}"), "", text, "", guarded)


def unit(seed: int, n: int = 1) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def vectors(item: IndexedChunk, seed: int) -> ChunkVectors:
    return ChunkVectors(item.chunk_id, unit(seed)[0], unit(seed + 100, 2), unit(seed + 200, 2))


async def publish(engine: PassageIndex, given_facts: AccessFacts, *texts: str, version: int = 1, seed: int = 0) -> None:
    document = given_facts.document_id
    chunks = [chunk(document, text, version=version, ordinal=n) for n, text in enumerate(texts)]
    await engine.put_version(given_facts, version, chunks)
    await engine.put_vectors(document, version, [vectors(item, seed + n) for n, item in enumerate(chunks)], "model-a")
    await engine.make_live(document, version)


async def find(engine: PassageIndex, text: str, read_filter: ReadFilter, **changes: object) -> Candidates:
    return await engine.search(replace(IndexQuery(text, None, {}), **changes), read_filter)


def documents(found: Candidates) -> set[str]:
    return {item.document_id for item in found.items}
