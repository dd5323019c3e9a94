"""Recall@10 of OpenSearch's vector list against an exact scan, by the share of chunks a person may read; one JSON line.

Run: `python bench/opensearch_recall.py`; PORTCULLIS_BENCH_CHUNKS=100000 for the size the goal speaks of (real embeddings, made once).
Questions are real ones about other texts, the vector list is the engine's own with nothing found by words.
"""

import asyncio
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402 - the path must be set first

from app.domain.search import IndexQuery  # noqa: E402 - as above
from bench.made.opensearch import N_CHUNKS, SHARES, Filled, filled  # noqa: E402 - as above

K = 10


async def recall(made: Filled, share: str) -> float:
    """The share of the true ten nearest that the engine's list holds, over all questions."""
    allowed = np.flatnonzero(made.readable[share])
    found = wanted = 0
    for vector in made.question_vectors:
        scores = made.vectors[allowed] @ vector
        exact = {f"c{place:07}" for place in allowed[np.argsort(-scores)[:K]]}
        query = IndexQuery("", vector, {}, lexical_k=1, vector_k=K)
        items = (await made.engine.search(query, made.reader(share))).items
        # The list is cut to its length by exact cosines, so an approximate search shows as chunks that are missing.
        found += len(exact & {item.chunk_id for item in items})
        wanted += len(exact)
    return round(found / wanted, 4)


async def measure() -> dict[str, object]:
    """Fill, then ask."""
    async with filled(200) as made:
        by_share = {share: await recall(made, share) for share in SHARES}
        return {"chunks": N_CHUNKS, "recall_at_10": by_share, "worst": min(by_share.values()), "goal": 0.95, "fill_s": round(made.fill_s)}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure())))
