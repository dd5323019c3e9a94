"""A search over HTTP against a real server process: 100,000 chunks, 30 principals, about 3 % visible; one JSON line.

Token check, question embedding, search, re-check, rendering and the record's commit are all in the time. The baseline of the same run is
the index alone, asked the same questions in this process. Run: `python bench/http_search.py [--chunks N]`.
"""

import argparse
import asyncio
import http.client
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from app.answer.ranking import fuse
from app.answer.retrieval import RECHECK, SEARCH_ACTIONS, Retrieval, RetrievalRequest
from app.domain.identity import Subject
from app.domain.search import IndexQuery, SearchLimits
from app.identity.subjects import ClaimNames, subject_from_claims
from app.index.embedded import EmbeddedIndex
from app.llm.embedder import LocalEmbedder
from app.policy.book import PolicyBook
from app.privacy.book import RedactionBook
from app.sample import read_people
from app.settings import Settings
from app.storage import passage_rows
from app.storage.transaction import Database
from app.wiring import demo_issuer
from bench.made import company, server

STAGES = {"policy": "authorization", "recheck": "authorization", "audit": "audit", "index": "index", "read": "read", "render": "render"}


def main() -> None:
    """Build, serve, ask, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--folder", type=Path, help="keep the made company here and use it again")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="portcullis-bench-") as temporary:
        folder = arguments.folder or Path(temporary)
        print(json.dumps(measure(folder, arguments.chunks, arguments.queries)))


def measure(folder: Path, n_chunks: int, n_queries: int) -> dict[str, object]:
    """Measure over HTTP first, then the same questions in process."""
    embedder = LocalEmbedder(company.ROOT / "models" / "embedder")
    words = sorted(word for word in embedder.known_words() if len(word) > 2)
    np.random.default_rng(1).shuffle(words)
    started = time.perf_counter()
    if not (folder / "people").exists():
        (folder / "data").mkdir(parents=True)
        asyncio.run(company.fill(folder / "data", words, n_chunks, embedder.digest))
        company.write_policy(folder / "policies")
        company.write_people(folder / "people")
    result: dict[str, object] = {"bench": "http_search", "chunks": n_chunks, "build_s": round(time.perf_counter() - started, 1)}
    port = server.free_port()
    settings = Settings(
        data=folder / "data", policies=folder / "policies", examples=folder / "people", demo=True, port=port, log_level="INFO"
    )
    asked = company.questions(words, n_queries)
    result |= over_http(settings, asked)
    result |= asyncio.run(in_process(settings, embedder, asked))
    result["http_to_index_ratio"] = round(float(str(result["http_p50_ms"])) / float(str(result["index_p50_ms"])), 2)
    result["load_1min"] = round(os.getloadavg()[0], 1)
    embedder.close()
    return result


def over_http(settings: Settings, asked: Sequence[str]) -> dict[str, object]:
    """Ask one question after another over one connection, each by another person."""
    issuer = demo_issuer(settings)
    tokens = [issuer.access_token(name) for name in issuer.people]
    environment = {
        "PORTCULLIS_DATA": str(settings.data),
        "PORTCULLIS_POLICIES": str(settings.policies),
        "PORTCULLIS_EXAMPLES": str(settings.examples),
        "PORTCULLIS_DEMO": "true",
    }
    taken: list[float] = []
    with server.serving(environment, settings.port) as served:
        connection = http.client.HTTPConnection(served.host, served.port, timeout=30)
        started = time.perf_counter()
        for number in range(20):
            server.search(connection, tokens[-1 - number], asked[number])
        warm_s = time.perf_counter() - started
        before, cpu = server.metrics(connection), server.processor_s(served.pid)
        for number, text in enumerate(asked):
            started = time.perf_counter()
            server.search(connection, tokens[number % len(tokens)], text)
            taken.append((time.perf_counter() - started) * 1e3)
        cpu = server.processor_s(served.pid) - cpu
        after = server.metrics(connection)
        connection.close()
        result = {"ready_s": round(served.ready_s, 2), "first_20_s": round(warm_s, 2), "rss_mb": round(server.resident_mb(served.pid))}
    return {**result, **_named("http", taken), "server_cpu_ms": round(cpu / len(asked) * 1e3, 2), **_shares(before, after)}


def _shares(before: dict[tuple[str, str, str], float], after: dict[tuple[str, str, str], float]) -> dict[str, object]:
    """Mean time by stage, and what part of the request it is."""
    request = _mean(before, after, ("portcullis_request_seconds", 'route="/v1/search"'))
    stages = {name: _mean(before, after, ("portcullis_stage_seconds", f'stage="{name}"')) for name in STAGES}
    parts = {kind: sum(stages[name] for name, of in STAGES.items() if of == kind) for kind in dict.fromkeys(STAGES.values())}
    return {
        "request_mean_ms": round(request * 1e3, 2),
        "stage_mean_ms": {name: round(value * 1e3, 2) for name, value in stages.items()},
        **{f"{kind}_share": round(value / request, 3) for kind, value in parts.items()},
    }


def _mean(before: dict[tuple[str, str, str], float], after: dict[tuple[str, str, str], float], of: tuple[str, str]) -> float:
    total, count = (after.get((*of, kind), 0.0) - before.get((*of, kind), 0.0) for kind in ("sum", "count"))
    return total / count if count else 0.0


async def in_process(settings: Settings, embedder: LocalEmbedder, asked: Sequence[str]) -> dict[str, object]:
    """Time retrieval (policy, search, re-check, rendering) and the index alone, without door, token and record."""
    database, index = Database(settings.record_url), EmbeddedIndex(settings.data / "index.db", dictionary=embedder.known_words())
    retrieval = Retrieval(database, PolicyBook(), RedactionBook(), index, embedder)
    people = subjects(settings)
    whole: list[float] = []
    alone: list[tuple[float, float]] = []
    shown: list[int] = []
    for number, text in enumerate([*asked[:20], *asked]):
        subject = people[number % len(people)]
        started = time.perf_counter()
        evidence = await retrieval.find(RetrievalRequest(subject, text, SearchLimits(), SEARCH_ACTIONS))
        whole.append((time.perf_counter() - started) * 1e3)
        shown.append(len(evidence.found))
        alone.append(await _index_alone(retrieval, subject, text))
    index.close()
    await database.close()
    index_ms, checked_ms = (list(column)[20:] for column in zip(*alone, strict=True))
    timed = {**_named("retrieval", whole[20:]), **_named("index", index_ms), **_named("index_and_recheck", checked_ms)}
    return {**timed, "found_mean": round(float(np.mean(shown)), 1)}


async def _index_alone(retrieval: Retrieval, subject: Subject, text: str) -> tuple[float, float]:
    """Milliseconds of the index, and of the index with the re-check of its fifty best by register and referee."""
    async with retrieval.database.read() as tx:
        snapshot = await retrieval.policy.current(tx, subject.tenant)
    read_filter = snapshot.read_filter(subject, SEARCH_ACTIONS)
    vector = (await retrieval.embedder.embed([text]))[0]
    started = time.perf_counter()
    candidates = await retrieval.index.search(IndexQuery(text, vector, {}), read_filter)
    index_ms = (time.perf_counter() - started) * 1e3
    ranked = fuse(candidates, retrieval.embedder.background)[:RECHECK]
    async with retrieval.database.read() as tx:
        resources = await passage_rows.live_resources(tx, subject.tenant, [one.chunk_id for one in ranked])
    snapshot.permits_all(subject, SEARCH_ACTIONS, list(resources.values()))
    return index_ms, (time.perf_counter() - started) * 1e3


def subjects(settings: Settings) -> list[Subject]:
    """Build the people as their tokens would make them."""
    names = ClaimNames()
    issuer = f"{settings.base_url}/demo-issuer"
    return [
        replace(
            subject_from_claims(
                {"iss": issuer, "sub": one.name, "groups": list(one.groups), "roles": [], "clearance": one.clearance, "purposes": []},
                company.TENANT,
                names,
            )
        )
        for one in read_people(settings.examples)
    ]


def _named(name: str, taken_ms: Sequence[float]) -> dict[str, object]:
    return {f"{name}_p{share}_ms": round(float(np.quantile(taken_ms, share / 100)), 2) for share in (50, 95, 99)}


if __name__ == "__main__":
    main()
