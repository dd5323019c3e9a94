"""Filtered hybrid search in the embedded engine against LanceDB with its pre-filter: one JSON line, timed in the same run.

100,000 chunks of 384 dimensions, each with 1-8 of 5,000 principals; askers hold 30. The vectors are random around random centres: they
test filtering and speed, not quality. Run: `OPENBLAS_NUM_THREADS=1 python bench/search_filtered.py [--chunks N]`.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import lancedb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from app.domain.access import Acl, AclMode, Action, ActionRule, Conditions, Scope
from app.domain.content import ChunkId, DocumentId
from app.domain.identity import Principal, TenantId
from app.domain.search import AccessFacts, ChunkVectors, IndexedChunk, IndexQuery
from app.index.embedded import EmbeddedIndex

DIM = 384
PRINCIPALS = 5_000
HELD = 30
TENANT = TenantId("bench")
BUCKETS = {"0.06%": 1, "1%": 10, "5%": 50, "20%": 250, "100%": 5_000}


@dataclass(frozen=True, slots=True)
class Corpus:
    """Vectors, texts and principals of every chunk; chunk `n` is the only one of document `n`."""

    vectors: NDArray[np.float32]
    texts: list[str]
    allowed: list[list[int]]


def main() -> None:
    """Build, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    arguments = parser.parse_args()
    print(json.dumps(asyncio.run(measure(arguments.chunks, arguments.queries))))


async def measure(n_chunks: int, n_queries: int) -> dict[str, object]:
    """Measure latency against visible share, recall against an exact scan, and the ratio to LanceDB."""
    rng = np.random.default_rng(7)
    corpus = make_corpus(rng, n_chunks)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.db"
        started = time.perf_counter()
        await fill(path, corpus)
        result: dict[str, object] = {"chunks": n_chunks, "build_s": round(time.perf_counter() - started, 1)}
        result["file_mb"] = round(path.stat().st_size / 2**20)
        index = EmbeddedIndex(path)
        started = time.perf_counter()
        await index.search(IndexQuery("warm", corpus.vectors[0], {}), asker([0]))
        result["cold_first_search_s"] = round(time.perf_counter() - started, 2)
        questions = [(" ".join(corpus.texts[n].split()[:6]), corpus.vectors[n]) for n in rng.integers(0, n_chunks, n_queries).tolist()]
        result["hybrid_30_principals"] = await time_hybrid(index, corpus, questions, rng)
        result["buckets"] = [await one_bucket(index, corpus, questions[:40], item) for item in BUCKETS.items()]
        result["lancedb"] = await against_lance(index, corpus, questions[:60], Path(folder))
        index.close()
    return result


def make_corpus(rng: np.random.Generator, n_chunks: int) -> Corpus:
    """Texts of about 90 distinct words under a Zipf law, clustered unit vectors, 1-8 principals a chunk."""
    centres = rng.normal(size=(200, DIM))
    vectors = centres[rng.integers(0, 200, n_chunks)] + rng.normal(size=(n_chunks, DIM))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    words = np.minimum(rng.zipf(1.2, size=(n_chunks, 140)), 60_000)
    texts = [" ".join(f"w{word}" for word in row) for row in words.tolist()]
    counts = rng.integers(1, 9, n_chunks)
    return Corpus(vectors, texts, [rng.choice(PRINCIPALS, count, replace=False).tolist() for count in counts.tolist()])


async def fill(path: Path, corpus: Corpus) -> None:
    """Write every chunk through the engine's own port, durability relaxed for the building alone."""
    index = EmbeddedIndex(path)
    index._writing.execute("PRAGMA synchronous=OFF")  # noqa: SLF001 - 300,000 commits would measure the disk
    for number, text in enumerate(corpus.texts):
        document = DocumentId(f"d{number:06}")
        chunk = ChunkId(f"{document}.1.0")
        acl = Acl(AclMode.EXPLICIT, frozenset(principal(code) for code in corpus.allowed[number]))
        facts = AccessFacts(TENANT, document, "c", "internal", 1, acl, 1, "en", datetime(2026, 1, 1, tzinfo=UTC))
        await index.put_version(facts, 1, [IndexedChunk(chunk, "", text)])
        vector = corpus.vectors[number]
        sentences = np.stack([vector] * 5)
        await index.put_vectors(document, 1, [ChunkVectors(chunk, vector, sentences, sentences)], "bench")
        await index.make_live(document, 1)
    index.close()


def principal(code: int) -> Principal:
    """Name a principal."""
    return Principal(f"group:bench|{code}")


def asker(codes: list[int]) -> Conditions:
    """Give the filter of someone who holds principals and may search everywhere."""
    rule = ActionRule(Action.SEARCH, (Scope("*", "*"),), ())
    return Conditions(TENANT, 1, frozenset(principal(code) for code in codes), (rule,))


async def time_hybrid(
    index: EmbeddedIndex, corpus: Corpus, questions: list[tuple[str, NDArray[np.float32]]], rng: np.random.Generator
) -> dict[str, float]:
    """Time 100 + 100 candidates, a fresh asker each time, so that every search also evaluates its filter."""
    taken, shares, leaks = [], [], 0
    for text, vector in questions:
        held = rng.choice(PRINCIPALS, HELD, replace=False).tolist()
        started = time.perf_counter()
        found = await index.search(IndexQuery(text, vector, {}, lexical_k=100, vector_k=100), asker(held))
        taken.append((time.perf_counter() - started) * 1e3)
        visible = set(rows_visible(corpus, set(held)))
        shares.append(len(visible) / len(corpus.texts))
        leaks += sum(int(item.document_id[1:]) not in visible for item in found.items)
    return {**quantiles(taken), "visible_share": round(statistics.mean(shares), 4), "leaks": leaks}


async def one_bucket(
    index: EmbeddedIndex, corpus: Corpus, questions: list[tuple[str, NDArray[np.float32]]], bucket: tuple[str, int]
) -> dict[str, object]:
    """Measure recall@10 against an exact scan, starved lists and latency at one visible share."""
    name, n_held = bucket
    held = list(range(n_held))
    rows = np.asarray(list(rows_visible(corpus, set(held))), np.int64)
    recalls, taken, short = [], [], 0
    for text, vector in questions:
        started = time.perf_counter()
        found = await index.search(IndexQuery(text, vector, {}, lexical_k=100, vector_k=10), asker(held))
        taken.append((time.perf_counter() - started) * 1e3)
        exact = rows[np.argsort(-(corpus.vectors[rows].astype(np.float64) @ vector), kind="stable")[:10]].tolist()
        got = {int(item.document_id[1:]) for item in found.items}
        recalls.append(len(got.intersection(exact)) / len(exact))
        short += len(got) < min(10, len(rows))
    share = round(len(rows) / len(corpus.texts), 4)
    return {"bucket": name, "visible_share": share, "recall@10": statistics.mean(recalls), "starved": short, **quantiles(taken)}


async def against_lance(
    index: EmbeddedIndex, corpus: Corpus, questions: list[tuple[str, NDArray[np.float32]]], folder: Path
) -> list[dict[str, float]]:
    """Compare with LanceDB (flat scan, pre-filter, native full-text search) at 1 and 25 of 50 groups visible."""
    table = await lance_table(corpus, folder)
    results = []
    for visible in (1, 25):
        groups = [code for code in range(PRINCIPALS) if code % 50 < visible]
        ours, theirs = [], []
        wanted = ", ".join(f"'{number}'" for number in range(visible))
        for text, vector in questions:
            started = time.perf_counter()
            await index.search(IndexQuery(text, vector, {}, lexical_k=100, vector_k=100), asker_of_first(groups, visible))
            ours.append((time.perf_counter() - started) * 1e3)
            started = time.perf_counter()
            await table.query().nearest_to(vector).where(f"bucket IN ({wanted})").limit(100).to_arrow()
            await table.query().nearest_to_text(text).where(f"bucket IN ({wanted})").limit(100).to_arrow()
            theirs.append((time.perf_counter() - started) * 1e3)
        mine, other = statistics.median(ours), statistics.median(theirs)
        row = {"visible_of_50": visible, "ours_p50_ms": round(mine, 2), "lancedb_p50_ms": round(other, 2)}
        results.append({**row, "ratio": round(other / mine, 2)})
    return results


def asker_of_first(groups: list[int], visible: int) -> Conditions:
    """Give the filter whose chunks are those LanceDB's bucket condition lets through, within a few percent."""
    n_held = {1: 22, 25: 760}[visible]
    return asker(groups[:n_held])


async def lance_table(corpus: Corpus, folder: Path) -> "lancedb.AsyncTable":
    """Build the same chunks in LanceDB, with a scalar index on the filtered column and a full-text index."""
    database = await lancedb.connect_async(folder / "lance")
    buckets = [str(number % 50) for number in range(len(corpus.texts))]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(corpus.vectors.ravel()), DIM)
    table = await database.create_table("chunks", pa.table({"vector": vectors, "text": corpus.texts, "bucket": buckets}))
    await table.create_index("bucket", config=lancedb.index.Bitmap())
    await table.create_index("text", config=lancedb.index.FTS())
    return table


def rows_visible(corpus: Corpus, held: set[int]) -> Iterator[int]:
    """List chunks that name a held principal."""
    return (number for number, codes in enumerate(corpus.allowed) if not held.isdisjoint(codes))


def quantiles(taken_ms: list[float]) -> dict[str, float]:
    """Give median and 99th percentile."""
    return {"p50_ms": round(statistics.median(taken_ms), 2), "p99_ms": round(float(np.quantile(taken_ms, 0.99)), 2)}


if __name__ == "__main__":
    main()
