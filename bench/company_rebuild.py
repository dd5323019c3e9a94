"""`portcullis index rebuild` beside ten searches a second over HTTP: how many failed, how many were wrong; one JSON line.

Real passages with real embeddings, a hundred to a document, are put into register and index as taking them in would leave them; half of
the documents are closed to the person who searches. Wrong is a search that shows a closed document or fewer passages than before; how
alike its ten best are to those before is told besides, since another graph of the same vectors may preselect others.
Baseline: the same searches at the same pace before the rebuild. Run: `python bench/company_rebuild.py [--chunks N]`.
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
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from app.wiring import open_services
from bench.company_servers import Column, column
from bench.made import server
from bench.made.company import ROOT
from bench.made.passages import corpora
from bench.made.registered import fill

_PACE_S = 0.1
_THREADS = 8
_N_QUESTIONS = 40
_BEFORE_S = 20.0


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--chunks", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="portcullis-bench-") as folder, column(Path(folder) / "data", heap="1g") as one:
        print(json.dumps(asyncio.run(measure(one, arguments.chunks))))


async def measure(one: Column, n_chunks: int) -> dict[str, object]:
    """Fill, search, rebuild while searching, compare."""
    lines = (corpora() / "sets" / "policyqa" / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line)["text"] for line in lines[:: len(lines) // _N_QUESTIONS]][:_N_QUESTIONS]
    async with open_services(one.settings()) as services:
        begun = time.perf_counter()
        closed = await fill(one, services, n_chunks, lambda number: bool(number % 2))
        filled_s = time.perf_counter() - begun
        demo = services.identity.demo
        assert demo is not None  # noqa: S101 - the measurement runs in demo mode
        token, port = demo.access_token("engineer"), server.free_port()
        with server.serving({**one.environment, "PORTCULLIS_PUBLIC_URL": one.settings().base_url}, port):
            searches = _Searches(port, token, questions, closed)
            searches.learn()
            quiet = await asyncio.to_thread(searches.go, lambda started: time.perf_counter() - started > _BEFORE_S)
            begun = time.perf_counter()
            command = [sys.executable, "-c", "from app.cli import main; main()", "index", "rebuild"]
            environment = {**os.environ, **one.environment}
            building = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment, stdout=DEVNULL, stderr=PIPE)
            busy = await asyncio.to_thread(searches.go, lambda _: building.returncode is not None)
            problem = (await building.communicate())[1].decode() if building.returncode else ""
            rebuilt_s = time.perf_counter() - begun
            after = await asyncio.to_thread(searches.go, lambda started: time.perf_counter() - started > _BEFORE_S)
        report = await services.reconcile.run(services.tenant, repair=False)
    return {
        "bench": "company_rebuild",
        "chunks": n_chunks,
        "filled_s": round(filled_s),
        "rebuild_exit": building.returncode,
        **({"problem": problem[-300:]} if problem else {}),
        "rebuilt_s": round(rebuilt_s),
        "index_right_afterwards": report.is_right,
        "before": quiet,
        "while_rebuilding": busy,
        "after": after,
        "p50_ratio": round(float(str(busy["p50_ms"])) / float(str(quiet["p50_ms"])), 2),
        "load_1min": round(os.getloadavg()[0], 1),
    }


class _Searches:
    """One person's searches at a fixed pace over several connections, each looked at."""

    def __init__(self, port: int, token: str, questions: list[str], closed: set[str]) -> None:
        self._port, self._token, self._questions, self._closed = port, token, questions, closed
        self._expected: dict[str, list[str]] = {}
        self._local = threading.local()

    def learn(self) -> None:
        """What each question finds while nothing else happens."""
        self._expected = {question: self._find(question) for question in self._questions}

    def go(self, is_over: Callable[[float], bool]) -> dict[str, object]:
        """Search until over; returns counts and quantiles."""
        started, outcomes = time.perf_counter(), []
        with ThreadPoolExecutor(_THREADS) as pool:
            for number in itertools.count():
                if is_over(started):
                    break
                outcomes.append(pool.submit(self._judged, self._questions[number % len(self._questions)]))
                time.sleep(max(0.0, started + (number + 1) * _PACE_S - time.perf_counter()))
        found = [one.result() for one in outcomes]
        taken = [ms for ms, _, _ in found]
        return {
            "searches": len(found),
            "failed": sum(state == "failed" for _, state, _ in found),
            "wrong": sum(state == "wrong" for _, state, _ in found),
            "top_10_overlap": round(float(np.mean([alike for _, _, alike in found])), 4),
            "p50_ms": round(float(np.quantile(taken, 0.5)), 1),
            "p95_ms": round(float(np.quantile(taken, 0.95)), 1),
        }

    def _judged(self, question: str) -> tuple[float, str, float]:
        started, expected = time.perf_counter(), self._expected[question]
        try:
            found = self._find(question)
        except (RuntimeError, OSError, http.client.HTTPException) as error:
            self._local.connection = None
            print(f"failed: {error!r}"[:300], file=sys.stderr)
            return (time.perf_counter() - started) * 1e3, "failed", 0.0
        taken = (time.perf_counter() - started) * 1e3
        is_right = len(found) == len(expected) and not {name.partition("@")[0] for name in found} & self._closed
        return taken, "right" if is_right else "wrong", len(set(found) & set(expected)) / max(len({*found, *expected}), 1)

    def _find(self, question: str) -> list[str]:
        if getattr(self._local, "connection", None) is None:
            self._local.connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        passages = server.search(self._local.connection, self._token, question)["passages"]
        assert isinstance(passages, list)  # noqa: S101 - the contract of the route
        return [f"{one['document_id']}@{one['passage_id']}" for one in passages]


if __name__ == "__main__":
    main()
