"""A gateway search over OpenSearch beside the same two ranked queries sent bare by opensearch-py, side by side; one JSON line.

Run: `python bench/opensearch_search.py`; PORTCULLIS_BENCH_CHUNKS chooses the size. The bare queries are those the engine sent for the
same question: nearest by vector, and best by words with the weights it had counted. Goals: p50 at most 1.5 and p95 at most 1.6 times the
bare ones.
"""

import asyncio
import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402 - the path must be set first
from opensearchpy import AsyncOpenSearch  # noqa: E402 - as above

from app.domain.search import IndexQuery  # noqa: E402 - as above
from bench.made.opensearch import N_CHUNKS, Filled, Listening, filled  # noqa: E402 - as above

N_WARM = 600
"""Questions first asked without a clock: a fresh server compiles itself for its first thousand searches."""


async def side_by_side(made: Filled, share: str) -> dict[str, Any]:
    """For each question the gateway, then its two ranked queries bare: one after the other, and in one `_msearch`."""
    rules, reader = made.engine.cluster.rules, made.reader(share)
    bare = AsyncOpenSearch(hosts=list(rules.urls), timeout=60)
    listening = Listening(made.engine.cluster)
    waits: dict[str, list[float]] = {"gateway": [], "bare": [], "bare_msearch": []}
    for number, (text, vector) in enumerate(zip(made.questions, made.question_vectors, strict=True)):
        listening.sent.clear()
        begun = time.perf_counter()
        await made.engine.search(IndexQuery(text, vector, {}), reader)
        between = time.perf_counter()
        ranked = [body for body in listening.sent if body.get("size")]
        second = time.perf_counter()
        for body in ranked:
            await bare.search(index=f"{rules.prefix}-bench", body=body)
        third = time.perf_counter()
        await bare.msearch(body=[line for body in ranked for line in ({"index": f"{rules.prefix}-bench"}, body)])
        last = time.perf_counter()
        if number >= N_WARM:
            for name, wait in (("gateway", between - begun), ("bare", third - second), ("bare_msearch", last - third)):
                waits[name].append(wait * 1e3)
    await bare.close()
    figures = {name: {"p50_ms": _percentile(one, 50), "p95_ms": _percentile(one, 95)} for name, one in waits.items()}
    ratios = {f"p{p}_ratio": round(_percentile(waits["gateway"], p) / _percentile(waits["bare"], p), 2) for p in (50, 95)}
    return {**figures, **ratios}


def _percentile(waits: list[float], p: int) -> float:
    return round(float(np.percentile(waits, p)), 2)


async def measure() -> dict[str, Any]:
    """Fill, then ask as a person who may read a twentieth, half, and all."""
    async with filled(N_WARM + 200) as made:
        # As the gateway does once its models are loaded: what stays is not looked through for garbage in the middle of a search.
        gc.collect()
        gc.freeze()
        return {"chunks": N_CHUNKS, **{share: await side_by_side(made, share) for share in ("5%", "50%", "100%")}}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure())))
