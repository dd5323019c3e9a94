"""Speed of the bundled encoder: chunks of about 200 tokens a second, and the wait for one question; one JSON line.

Run: `python bench/search_embedding.py`. Texts are made up; the model is the one under `models/embedder`.
"""

import asyncio
import json
import random
import resource
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from app.llm.embedder import LocalEmbedder  # noqa: E402 - the path must be set first

WORDS = "leave travel budget laptop holiday approval weeks request vendor office form manager review access system report".split()  # noqa: SIM905 - a list of words reads best so


async def measure() -> dict[str, float]:
    """Embed 200 chunks of 180 words, then 100 questions one after another."""
    rng = random.Random(3)
    started = time.perf_counter()
    embedder = LocalEmbedder(ROOT / "models" / "embedder")
    loaded = time.perf_counter() - started
    chunks = [" ".join(rng.choices(WORDS, k=180)) for _ in range(200)]
    await embedder.embed(chunks[:8])
    started, cpu = time.perf_counter(), time.process_time()
    await embedder.embed(chunks)
    wall, used = time.perf_counter() - started, time.process_time() - cpu
    waits = []
    for _ in range(100):
        question = " ".join(rng.choices(WORDS, k=9))
        started = time.perf_counter()
        await embedder.embed([question])
        waits.append((time.perf_counter() - started) * 1e3)
    embedder.close()
    return {
        "chunks_per_s": round(len(chunks) / wall, 1),
        "chunks_per_cpu_s": round(len(chunks) / used, 1),
        "question_p50_ms": round(statistics.median(waits), 2),
        "question_p99_ms": round(sorted(waits)[98], 2),
        "load_s": round(loaded, 2),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure())))
