"""A whole search of the gateway over PostgreSQL and OpenSearch beside its two ranked queries sent bare; one JSON line.

The gateway's time holds everything between a caller who is known and passages that may leave: the filter of the policy, spelling, the
question's embedding, the search, the re-check in the register, redaction and the committed record. The baseline is what a search without
any of that would send: the same two ranked queries, by opensearch-py, one after the other, their vector given.
Run: `python bench/company_search.py [--chunks N]`.
"""

import argparse
import asyncio
import gc
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import uvloop
from opensearchpy import AsyncOpenSearch

from app.answer.search import SearchRequest
from app.cli.options import caller_as
from app.domain.search import SearchLimits
from app.index.opensearch.engine import OpenSearchIndex
from app.observability import STAGE_SECONDS
from app.wiring import Services, open_services
from bench.company_servers import Column, column
from bench.made.opensearch import Listening
from bench.made.passages import corpora
from bench.made.registered import fill

_N_WARM = 1500
"""Searches without a clock: a fresh server compiles itself for its first thousand or so, and takes twice as long."""
_N_ASKED = 200
_STAGES = ("policy", "index", "recheck", "read", "render", "audit")


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--chunks", type=int, default=20_000)
    arguments = parser.parse_args()
    # The loop that serves, for the gateway and for the bare queries.
    with (
        tempfile.TemporaryDirectory(prefix="portcullis-bench-") as folder,
        column(Path(folder) / "data", heap="1g") as one,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        print(json.dumps({"bench": "company_search", "chunks": arguments.chunks, **runner.run(measure(one, arguments.chunks))}))


async def measure(one: Column, n_chunks: int) -> dict[str, Any]:
    """Fill, then ask as somebody who may read half of it."""
    lines = (corpora() / "sets" / "policyqa" / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    wanted = _N_WARM + _N_ASKED
    questions = [json.loads(line)["text"] for line in lines[:: len(lines) // wanted]][:wanted]
    async with open_services(one.settings()) as services:
        await fill(one, services, n_chunks, lambda number: bool(number % 2))
        gc.collect()
        gc.freeze()
        return await _side_by_side(services, questions)


async def _side_by_side(services: Services, questions: list[str]) -> dict[str, Any]:
    engine = services.index
    assert isinstance(engine, OpenSearchIndex)  # noqa: S101 - the column has no other
    engineer, alias = await caller_as(services, "engineer"), engine.serving.alias(services.tenant)
    bare = AsyncOpenSearch(hosts=list(engine.cluster.rules.urls), timeout=60)
    listening = Listening(engine.cluster)
    waits: dict[str, list[float]] = {"gateway": [], "bare": []}
    n_passages, before = 0, _stages()
    for number, question in enumerate(questions):
        if number == _N_WARM:
            before = _stages()
        listening.sent.clear()
        begun = time.perf_counter()
        found = await services.search.run(engineer, SearchRequest(question, SearchLimits()))
        between = time.perf_counter()
        ranked = [body for body in listening.sent if body.get("size")]
        second = time.perf_counter()
        for body in ranked:
            await bare.search(index=alias, body=body)
        last = time.perf_counter()
        n_passages += len(found.passages)
        if number >= _N_WARM:
            waits["gateway"].append((between - begun) * 1e3)
            waits["bare"].append((last - second) * 1e3)
    await bare.close()
    quantiles = {name: {f"p{p}_ms": round(float(np.percentile(one, p)), 1) for p in (50, 95)} for name, one in waits.items()}
    ratios = {f"p{p}_ratio": round(float(np.percentile(waits["gateway"], p) / np.percentile(waits["bare"], p)), 2) for p in (50, 95)}
    asked = len(waits["gateway"])
    spent = {name: round((seconds - before[name]) * 1e3 / asked, 1) for name, seconds in _stages().items()}
    return {**quantiles, **ratios, "mean_ms_by_stage": spent, "passages": n_passages, "load_1min": round(os.getloadavg()[0], 1)}


def _stages() -> dict[str, float]:
    return {name: STAGE_SECONDS.labels(name)._sum.get() for name in _STAGES}  # noqa: SLF001 - the metric library tells its sum nowhere else


if __name__ == "__main__":
    main()
