"""Access taken away: when the index's own filter shows it, and whether the next request on another replica ever misses it; one JSON line.

Two gateway processes over PostgreSQL and OpenSearch. A trial denies a group one document by a request to the first and searches as one of
that group at the second, then opens it again and searches again. Meanwhile, in some trials, the index is asked directly, without
the re-check, until it shows the change. Baseline: a write of one small record into the same OpenSearch, made visible before it returns.
Run: `python bench/company_acl.py [--trials N] [--direct-every N]`.
"""

import argparse
import asyncio
import http.client
import json
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from app.answer.retrieval import SEARCH_ACTIONS
from app.cli.options import caller_as
from app.cli.seeding import seed
from app.domain.content import DocumentId
from app.domain.search import IndexQuery, SearchLimits
from app.storage import document_rows
from app.wiring import Services, open_services
from bench.company_servers import Column, column
from bench.made import server

_QUESTION = "How much parental leave do I get?"
_DENIED = {"mode": "inherit", "deny": ["group:sample|engineering"]}
_OPEN = {"mode": "inherit"}
_LONGEST_S = 30.0


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--direct-every", type=int, default=3, help="ask the index itself in each N-th trial")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="portcullis-bench-") as folder, column(Path(folder) / "data") as one:
        print(json.dumps(asyncio.run(measure(one, arguments.trials, arguments.direct_every))))


async def measure(one: Column, n_trials: int, direct_every: int) -> dict[str, object]:
    """Seed the sample company, serve it twice, take away and give back."""
    async with open_services(one.settings()) as services:
        await seed(services, is_embedding=True)
        await services.worker.drain()
        ports = (server.free_port(), server.free_port())
        environment = {**one.environment, "PORTCULLIS_PUBLIC_URL": one.settings().base_url}
        with server.serving(environment, ports[0]), server.serving(environment, ports[1]):
            trials = await _Trials.of(services, ports)
            result = await trials.run(n_trials, direct_every)
        bare = [_bare_write_ms(one.index_url, number) for number in range(100)]
    ratio = float(np.median(trials.change_ms) / np.median(bare))
    return {
        "bench": "company_acl",
        **result,
        "bare_write_p50_ms": round(float(np.median(bare)), 1),
        "change_to_bare_write_ratio": round(ratio, 2),
        "load_1min": round(os.getloadavg()[0], 1),
    }


class _Trials:
    """One document, one person who may read it and one who may change who does."""

    def __init__(self, services: Services, ports: tuple[int, int], document_id: DocumentId) -> None:
        demo = services.identity.demo
        assert demo is not None  # noqa: S101 - the measurement runs in demo mode
        self._services, self._document_id = services, document_id
        self._changing, self._asking = (http.client.HTTPConnection("127.0.0.1", port, timeout=30) for port in ports)
        self._steward, self._person = demo.access_token("hr-partner"), demo.access_token("engineer")
        self.change_ms: list[float] = []

    @classmethod
    async def of(cls, services: Services, ports: tuple[int, int]) -> "_Trials":
        """Find the document."""
        async with services.database.read() as tx:
            found = await document_rows.find_external(tx, services.tenant, "hr", "hr/parental-leave")
        assert found is not None  # noqa: S101 - it was seeded
        return cls(services, ports, found[0].document_id)

    async def run(self, n_trials: int, direct_every: int) -> dict[str, object]:
        """Take away and give back, `n_trials` times."""
        stale, late, shows_ms, after_ms = 0, 0, [], []
        for number in range(n_trials):
            if number % direct_every == 0:
                shown, acknowledged = await self._until_the_filter_shows()
                shows_ms.append(shown * 1e3)
                after_ms.append(max(0.0, shown - acknowledged) * 1e3)
            else:
                await asyncio.to_thread(self._change, _DENIED)
            stale += await asyncio.to_thread(self._is_found)
            await asyncio.to_thread(self._change, _OPEN)
            late += not await asyncio.to_thread(self._is_found)
        p50, p95, p99 = (round(float(np.quantile(shows_ms, share)), 1) for share in (0.5, 0.95, 0.99))
        changes = {f"change_p{share}_ms": round(float(np.quantile(self.change_ms, share / 100)), 1) for share in (50, 95)}
        return {
            "trials": n_trials,
            "stale_answers": stale,
            "stale_rate_upper_95": round(3 / n_trials, 5),
            "opened_but_not_found": late,
            "filter_trials": len(shows_ms),
            "filter_shows_p50_ms": p50,
            "filter_shows_p95_ms": p95,
            "filter_shows_p99_ms": p99,
            "filter_after_acknowledgement_p95_ms": round(float(np.quantile(after_ms, 0.95)), 1),
            **changes,
        }

    def _change(self, acl: Mapping[str, object]) -> float:
        """Seconds of a change at the first replica, answered."""
        started = time.perf_counter()
        headers = {"Authorization": f"Bearer {self._steward}", "Content-Type": "application/json"}
        self._changing.request("PUT", f"/v1/documents/{self._document_id}/acl", json.dumps(acl), headers)
        response = self._changing.getresponse()
        response.read()
        if response.status != http.HTTPStatus.OK:
            message = f"the change was answered {response.status}"
            raise RuntimeError(message)
        taken = time.perf_counter() - started
        self.change_ms.append(taken * 1e3)
        return taken

    def _is_found(self) -> bool:
        """Whether the next search at the second replica gives the document out."""
        passages = server.search(self._asking, self._person, _QUESTION, 50)["passages"]
        assert isinstance(passages, list)  # noqa: S101 - the contract of the route
        return any(one["document_id"] == self._document_id for one in passages)

    async def _until_the_filter_shows(self) -> tuple[float, float]:
        """(seconds until the index alone no longer gives the document, seconds until the change was answered), both since it was sent."""
        services = self._services
        subject = (await caller_as(services, "engineer")).subject
        async with services.database.read() as tx:
            read_filter = (await services.policy.current(tx, services.tenant)).read_filter(subject, SEARCH_ACTIONS)
        vector = (await services.embedder.embed([_QUESTION]))[0]
        query = IndexQuery(_QUESTION, vector, {}, SearchLimits())
        started = time.perf_counter()
        changing = asyncio.create_task(asyncio.to_thread(self._change, _DENIED))
        while True:
            asked = time.perf_counter()
            found = await services.index.search(query, read_filter)
            if self._document_id not in {one.document_id for one in found.items}:
                return time.perf_counter() - started, await changing
            if asked - started > _LONGEST_S:
                message = "the index never showed the change"
                raise RuntimeError(message)


def _bare_write_ms(url: str, number: int) -> float:
    body = json.dumps({"number": number}).encode()
    request = urllib.request.Request(f"{url}/bare/_doc/{number}?refresh=true", body, {"Content-Type": "application/json"}, method="PUT")  # noqa: S310 - our own server
    started = time.perf_counter()
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - as above
        answer.read()
    return (time.perf_counter() - started) * 1e3


if __name__ == "__main__":
    main()
