"""A gateway search over a million chunks against one over a hundred thousand, side by side on one node; one JSON line.

Run by hand: `python bench/opensearch_million.py [--chunks 1000000]`; it takes more than an hour and 30 GB of disk. The first hundred
thousand chunks are real passages with real embeddings and are an index of their own as well. The others are made of them: half of the
words of one passage and half of those of another, and for a vector the same mixture of both, so that words keep their frequencies and
vectors their neighbourhoods. Goal: p50 at most 3 times that of a hundred thousand.
"""

import argparse
import asyncio
import json
import os
import resource
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402 - the path must be set first
from numpy.typing import NDArray  # noqa: E402 - as above

from app.domain.identity import TenantId  # noqa: E402 - as above
from app.domain.search import IndexQuery  # noqa: E402 - as above
from app.index.opensearch.engine import OpenSearchIndex  # noqa: E402 - as above
from app.index.opensearch.rules import OpenSearchRules  # noqa: E402 - as above
from bench.made.opensearch import Filled, fill, questions_with_vectors  # noqa: E402 - as above
from bench.made.passages import embedded_passages  # noqa: E402 - as above
from tests.services.opensearch.nodes import OpenSearchNodes  # noqa: E402 - as above

REAL = 100_000
SHARES = ("0.1%", "1%", "20%", "100%")
N_QUESTIONS, N_WARM = 120, 20
Passages = tuple[list[str], NDArray[np.float32]]


def mixed(real: Passages, count: int) -> Iterator[Passages]:
    """Parts of as many passages as `real` has, `count` in all, the real ones first."""
    texts, vectors = real
    rng = np.random.default_rng(11)
    yield texts, vectors
    for start in range(len(texts), count, len(texts)):
        n = min(len(texts), count - start)
        others = rng.integers(0, len(texts), n)
        share = rng.uniform(0.3, 0.7, (n, 1)).astype(np.float32)
        sums = share * vectors[:n] + (1 - share) * vectors[others]
        halves = [" ".join([*one.split()[:16], *texts[other].split()[16:]]) for one, other in zip(texts[:n], others, strict=True)]
        yield halves, sums / np.linalg.norm(sums, axis=1, keepdims=True)


async def waits(small: Filled, large: Filled, share: str) -> dict[str, Any]:
    """Milliseconds of the same questions to both, one after the other."""
    taken: dict[str, list[float]] = {"small": [], "large": []}
    for number, (text, vector) in enumerate(zip(small.questions, small.question_vectors, strict=True)):
        for name, made in (("small", small), ("large", large)):
            begun = time.perf_counter()
            await made.engine.search(IndexQuery(text, vector, {}), made.reader(share))
            if number >= N_WARM:
                taken[name].append((time.perf_counter() - begun) * 1e3)
    p50 = {name: float(np.quantile(ms, 0.5)) for name, ms in taken.items()}
    p95 = {name: float(np.quantile(ms, 0.95)) for name, ms in taken.items()}
    return {
        "p50_ms": {name: round(ms, 1) for name, ms in p50.items()},
        "p95_ms": {name: round(ms, 1) for name, ms in p95.items()},
        "p50_ratio": round(p50["large"] / p50["small"], 2),
        "p95_ratio": round(p95["large"] / p95["small"], 2),
    }


async def measure(n_chunks: int, heap: str) -> dict[str, object]:
    """Fill both, then ask both."""
    real = await embedded_passages(REAL)
    questions, question_vectors = await questions_with_vectors(N_QUESTIONS)
    nodes = OpenSearchNodes.make(heap=heap)
    try:
        await asyncio.to_thread(nodes.start)
        made: dict[str, Filled] = {}
        for name, parts in (("small", iter([real])), ("large", mixed(real, n_chunks))):
            engine = OpenSearchIndex(OpenSearchRules(nodes.urls, real[1].shape[1], replicas=0, timeout_s=60.0))
            begun, tenant, done = time.perf_counter(), TenantId(name), 0
            for texts, vectors in parts:
                readable = await fill(engine, tenant, texts, vectors, done)
                done += len(texts)
                sys.stderr.write(f"{name}: {done} chunks after {time.perf_counter() - begun:.0f} s\n")
            made[name] = Filled(engine, real[1], readable, questions, question_vectors, time.perf_counter() - begun, tenant)
        sys.stderr.write("filled; waiting for merges\n")
        disk = await asyncio.to_thread(settled, nodes.urls[0])
        by_share = {share: await waits(made["small"], made["large"], share) for share in SHARES}
        resident = resident_bytes(nodes)
        for one in made.values():
            await one.engine.close()
    finally:
        nodes.remove()
    return {
        "bench": "opensearch_million",
        "chunks": {"small": REAL, "large": n_chunks},
        "by_share": by_share,
        "worst_p50_ratio": max(one["p50_ratio"] for one in by_share.values()),
        "goal": 3.0,
        "fill_s": {name: round(one.fill_s) for name, one in made.items()},
        "disk_gb": disk,
        "heap": heap,
        "resident_gb": round(resident / 2**30, 1),
        "load_1min": round(os.getloadavg()[0], 1),
    }


def resident_bytes(nodes: OpenSearchNodes) -> int:
    """Memory of the node's process."""
    process = nodes.nodes[0].process
    pages = Path(f"/proc/{process.pid}/statm").read_text(encoding="utf-8").split()[1] if process else 0
    return int(pages) * resource.getpagesize()


def settled(address: str) -> dict[str, float]:
    """Gigabytes of each index, once nothing is merged any more."""
    while True:
        with urllib.request.urlopen(f"{address}/_stats/merge,store") as reply:  # noqa: S310 - our own node on loopback
            stats = json.load(reply)["indices"]
        if not any(one["primaries"]["merges"]["current"] for one in stats.values()):
            return {name: round(one["primaries"]["store"]["size_in_bytes"] / 2**30, 2) for name, one in sorted(stats.items())}
        time.sleep(5.0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--chunks", type=int, default=1_000_000)
    parser.add_argument("--heap", default="2g")
    arguments = parser.parse_args()
    print(json.dumps(asyncio.run(measure(arguments.chunks, arguments.heap))))
