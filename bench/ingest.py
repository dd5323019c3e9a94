"""The whole way of a document (parse, find personal data, store, index, embed) against the bare embedder on the same texts; one JSON line.

Pages are those of the handbook under PORTCULLIS_SHARED, each a document; without that folder it says so and stops. The bare embedder
runs afterwards in the same process, over the very texts that the pipeline embedded. Run: `python bench/ingest.py [--pages N]`.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from app.cli.options import caller_as
from app.govern.collections import new_collection
from app.ingest.analysis import texts_to_embed, values_to_mask
from app.ingest.jobs import Submission
from app.settings import Settings
from app.storage import document_rows
from app.storage.job_rows import JobKind
from app.wiring import Services, open_services

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("PORTCULLIS_SHARED", ROOT.parent / "shared"))
_SMALLEST, _LARGEST = 1_500, 30_000


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pages", type=int, default=25)
    arguments = parser.parse_args()
    corpus = SHARED / "corpora" / "handbook"
    pages = [path for path in sorted(corpus.rglob("*.md")) if _SMALLEST < path.stat().st_size < _LARGEST][:: max(1, 150 // arguments.pages)]
    if not pages:
        print(json.dumps({"bench": "ingest", "skipped": "the handbook is not there: set PORTCULLIS_SHARED"}))
        return
    with tempfile.TemporaryDirectory(prefix="portcullis-bench-") as folder:
        settings = Settings(data=Path(folder) / "data", demo=True, log_level="ERROR")
        print(json.dumps(asyncio.run(measure(settings, pages[: arguments.pages]))))


async def measure(settings: Settings, pages: list[Path]) -> dict[str, object]:
    """Time the pipeline, then the bare embedder."""
    async with open_services(settings) as services:
        await services.embedder.embed(["warm"] * 64)
        caller = await caller_as(services, "administrator")
        await services.collections.create(caller, new_collection(caller.subject, "bench", "Bench"))
        await services.collections.update(await caller_as(services, "policy-steward"), "bench", {"redaction_profile": "strict"})
        started, cpu = time.perf_counter(), time.process_time()
        for number, page in enumerate(pages):
            await services.submit.run(caller, Submission("bench", page.read_bytes(), page.name, external_id=f"{number}-{page.name}"))
        # Both lanes at once, as the server runs them: one page is embedded while the next is parsed.
        async with asyncio.TaskGroup() as lanes:
            words = lanes.create_task(_lane(services, JobKind.INGEST, started))
            lanes.create_task(_lane(services, JobKind.EMBED, started, words))
        searchable_s = words.result()
        whole_s, whole_cpu = time.perf_counter() - started, time.process_time() - cpu
        texts, n_chunks = await _texts(services)
        started, cpu = time.perf_counter(), time.process_time()
        for start in range(0, len(texts), 256):
            await services.embedder.embed(texts[start : start + 256])
        bare_s, bare_cpu = time.perf_counter() - started, time.process_time() - cpu
    return {
        "bench": "ingest",
        "pages": len(pages),
        "chunks": n_chunks,
        "texts_embedded": len(texts),
        "searchable_by_words_s": round(searchable_s, 2),
        "pipeline_chunks_per_s": round(n_chunks / whole_s, 1),
        "bare_embedder_chunks_per_s": round(n_chunks / bare_s, 1),
        "ratio": round(bare_s / whole_s, 3),
        "ratio_cpu": round(bare_cpu / whole_cpu, 3),
        "load_1min": round(os.getloadavg()[0], 1),
    }


async def _lane(services: Services, kind: JobKind, started: float, feeding: asyncio.Task[float] | None = None) -> float:
    """Work on jobs of one kind until none waits and the lane that feeds it has ended; seconds since `started`."""
    while True:
        is_last = feeding is None or feeding.done()
        if await services.worker._run_next((kind,)):  # noqa: SLF001 - the worker's own lane runs for ever
            continue
        if is_last:
            return time.perf_counter() - started
        await asyncio.sleep(0.02)


async def _texts(services: Services) -> tuple[list[str], int]:
    """The very texts the pipeline embedded, and the number of chunks."""
    texts: list[str] = []
    n_chunks = 0
    async with services.database.read() as tx:
        shown = await services.reconcile.rules.shown(tx, services.tenant)
        for document in await document_rows.list_documents(tx, services.tenant, "bench", None, 10_000):
            version = await document_rows.get_version(tx, document.document_id, 1)
            chunks = await document_rows.version_chunks(tx, document.document_id, 1)
            if version is not None:
                values = values_to_mask(version, chunks, shown["bench"])
                texts += [text for one in chunks for text in texts_to_embed(version.title, one.chunk, values)]
                n_chunks += len(chunks)
    return texts, n_chunks


if __name__ == "__main__":
    main()
