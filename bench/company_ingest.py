"""Documents through two worker processes over PostgreSQL and OpenSearch against the bare embedder, and searches meanwhile; one JSON line.

Each document is parsed, searched for personal data, stored, indexed and embedded, on record throughout. The bare embedder runs afterwards
over the very texts that were embedded, with as many threads as the workers had. Searches go at a fixed pace over HTTP to a gateway that
does no such work: first while nothing else happens, then while the documents come in.
Made-up documents of two chunks each, the hardest case, or with `--pages` pages of the shared handbook.
Run: `python bench/company_ingest.py [--documents N] [--pages]`.
"""

import argparse
import asyncio
import http.client
import itertools
import json
import os
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from app.cli.options import caller_as
from app.domain.content import Collection
from app.domain.identity import Caller
from app.ingest.analysis import texts_to_embed, values_to_mask
from app.ingest.jobs import Submission
from app.storage import document_rows
from app.wiring import Services, open_services
from bench.company_servers import Column, column, documents, pages, working
from bench.made import server

_WORKERS = 2
_PACE_S = 0.5
_IDLE_SEARCHES = 40
_BEFORE = 20
"""Documents that are there before anything is measured: an empty index answers fast."""
_OPEN = "SELECT count(*) FROM job WHERE state IN ('queued', 'running')"
_QUESTIONS = ("How much leave do I get?", "Who approves travel?", "When is the office closed?", "What may I accept as a gift?")


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=300)
    parser.add_argument("--pages", action="store_true", help="pages of the handbook instead of made-up documents")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="portcullis-bench-") as folder, column(Path(folder) / "data") as one:
        print(json.dumps(asyncio.run(measure(one, arguments.documents, are_pages=arguments.pages))))


async def measure(one: Column, n_documents: int, *, are_pages: bool) -> dict[str, object]:
    """Take everything in while somebody searches, then embed the same texts bare."""
    async with open_services(one.settings(embed_threads=_WORKERS)) as services:
        caller = await caller_as(services, "administrator")
        await services.collections.create(caller, collection_of(services))
        demo = services.identity.demo
        assert demo is not None  # noqa: S101 - the measurement runs in demo mode
        token, port = demo.access_token("engineer"), server.free_port()
        with server.serving({**one.environment, "PORTCULLIS_PUBLIC_URL": one.settings().base_url}, port), working(one, _WORKERS) as pids:
            made = [
                *documents(_BEFORE),
                *(pages(n_documents) if are_pages else itertools.islice(documents(_BEFORE + n_documents), _BEFORE, None)),
            ]
            await _submit(services, caller, made[:_BEFORE])
            await asyncio.to_thread(_until_done, one)
            searches = _Searches(port, token)
            await asyncio.to_thread(searches.go, _IDLE_SEARCHES)
            idle = searches.taken()
            cpu = sum(map(server.processor_s, pids))
            stop = threading.Event()
            searching = asyncio.create_task(asyncio.to_thread(searches.go, None, stop))
            started = time.perf_counter()
            await _submit(services, caller, made[_BEFORE:])
            submitted_s = time.perf_counter() - started
            await asyncio.to_thread(_until_done, one)
            whole_s, cpu = time.perf_counter() - started, sum(map(server.processor_s, pids)) - cpu
            stop.set()
            await searching
            busy = searches.taken()
        failed = one.rows("SELECT count(*) FROM job WHERE state <> 'succeeded'")
        texts, n_chunks = await _texts(services, {name for name, _ in made[_BEFORE:]})
        started, bare_cpu = time.perf_counter(), time.process_time()
        for start in range(0, len(texts), 256):
            await services.embedder.embed(texts[start : start + 256])
        bare_s, bare_cpu = time.perf_counter() - started, time.process_time() - bare_cpu
    return {
        "bench": "company_ingest",
        "documents": n_documents,
        "are_pages": are_pages,
        "failed": failed,
        "chunks": n_chunks,
        "submitted_s": round(submitted_s, 1),
        "whole_s": round(whole_s, 1),
        "documents_per_minute": round(n_documents / whole_s * 60),
        "pipeline_chunks_per_s": round(n_chunks / whole_s, 1),
        "bare_embedder_chunks_per_s": round(n_chunks / bare_s, 1),
        "ratio": round(bare_s / whole_s, 3),
        "ratio_cpu": round(bare_cpu / cpu, 3),
        **_quantiles("idle", idle),
        **_quantiles("while_ingesting", busy),
        "latency_ratio_p50": round(float(np.quantile(busy, 0.5) / np.quantile(idle, 0.5)), 2),
        "database_mb": round(one.rows("SELECT pg_database_size(current_database())") / 2**20, 1),
        "log_entries": one.rows("SELECT count(*) FROM audit_event"),
        "load_1min": round(os.getloadavg()[0], 1),
    }


def _until_done(one: Column) -> None:
    while one.rows(_OPEN):
        time.sleep(0.2)


class _Searches:
    """One person who searches at a fixed pace over one connection."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._token = token
        self._taken_ms: list[float] = []

    def go(self, count: int | None, stop: threading.Event | None = None) -> None:
        """Search `count` times, or until told to stop."""
        number = 0
        while number != count and not (stop is not None and stop.is_set()):
            started = time.perf_counter()
            server.search(self._connection, self._token, _QUESTIONS[number % len(_QUESTIONS)])
            taken = time.perf_counter() - started
            self._taken_ms.append(taken * 1e3)
            number += 1
            time.sleep(max(0.0, _PACE_S - taken))

    def taken(self) -> list[float]:
        """Milliseconds of each search since this was last asked."""
        taken, self._taken_ms = self._taken_ms, []
        return taken


async def _submit(services: Services, caller: Caller, made: list[tuple[str, bytes]]) -> None:
    for name, content in made:
        await services.submit.run(caller, Submission("company", content, name, external_id=name))


async def _texts(services: Services, names: set[str]) -> tuple[list[str], int]:
    """The very texts that were embedded, and the number of chunks."""
    texts: list[str] = []
    n_chunks, after = 0, None
    async with services.database.read() as tx:
        shown = await services.reconcile.rules.shown(tx, services.tenant)
        while page := await document_rows.list_documents(tx, services.tenant, "company", after, 200):
            after = page[-1].document_id
            for document in page:
                version = await document_rows.get_version(tx, document.document_id, 1)
                chunks = await document_rows.version_chunks(tx, document.document_id, 1)
                if version is not None and document.external_id in names:
                    values = values_to_mask(version, chunks, shown["company"])
                    texts += [text for one in chunks for text in texts_to_embed(version.title, one.chunk, values)]
                    n_chunks += len(chunks)
    return texts, n_chunks


def _quantiles(name: str, taken_ms: list[float]) -> dict[str, object]:
    return {f"{name}_p{share}_ms": round(float(np.quantile(taken_ms, share / 100)), 1) for share in (50, 95)}


def collection_of(services: Services) -> Collection:
    """A collection that every employee of the sample company may read."""
    return Collection(
        services.tenant, "company", "Company", "policy-steward", "internal", ("en",), None, "standard", "default", datetime.now(UTC)
    )


if __name__ == "__main__":
    main()
