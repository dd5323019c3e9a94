"""The search engine is away when a process starts, and comes back; or it refuses what one document holds, or a request for good."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.api.problems import problem_of
from app.errors import ConfigurationError
from app.index.opensearch.engine import OpenSearchIndex
from app.storage import job_rows
from app.wiring import Models
from tests.conformance.proxy import Json, proxy_before
from tests.conftest import Gateway, gateway_in, services_noted_in

columns = ("company",)
_HANDED_IN = 8


@asynccontextmanager
async def relay(port: int, target: str) -> AsyncIterator[None]:
    """Lets `port` lead to the server at `target`."""
    address = urlsplit(target)

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(address.hostname, address.port)
        async with asyncio.TaskGroup() as both:
            both.create_task(pump(reader, back))
            both.create_task(pump(there, writer))

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
        sink.close()

    server = await asyncio.start_server(carry, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()


async def test_documents_handed_in_while_it_is_away_are_taken_in_when_it_is_back(company: Path, models: Models) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    real = services_noted_in(company)["opensearch_url"][0]
    async with gateway_in(company, models, opensearch_url=[f"http://127.0.0.1:{port}"]) as gateway:
        jobs = []
        for number in range(_HANDED_IN):
            body = {"title": "Quokka", "text": f"The quokka allowance {number} is 5 euros.", "external_id": f"quokka-{number}"}
            response = await gateway.post("/v1/collections/hr/documents", "hr-partner", body)
            assert response.status_code == 202
            jobs.append(response.json()["job_id"])
        ready = await gateway.client.get("/readyz")
        assert (ready.status_code, set(ready.json()["checks"])) == (503, {"database", "index", "audit", "policy"})
        assert (await gateway.post("/v1/search", "hr-partner", {"query": "leave"})).status_code == 503
        await asyncio.sleep(3.0)
        states = [(await gateway.get(f"/v1/jobs/{one}", "hr-partner")).json()["state"] for one in jobs]
        assert set(states) <= {"queued", "running"}
        async with relay(port, real):
            for one in jobs:
                await gateway.until_job(one, "hr-partner", "succeeded")
            found = (await gateway.post("/v1/search", "hr-partner", {"query": "quokka allowance"})).json()
            assert sum("quokka" in one["text"] for one in found["passages"]) == _HANDED_IN
            assert (await gateway.client.get("/readyz")).status_code == 200


async def test_a_document_that_the_index_does_not_take_is_refused_with_the_reason_and_the_next_one_comes_in(
    company: Path, models: Models
) -> None:
    real = services_noted_in(company)["opensearch_url"][0]
    async with proxy_before(real) as (address, proxy), gateway_in(company, models, opensearch_url=[address]) as gateway:

        def poisoned(path: str, reply: Json) -> Json:
            if path == "/_bulk":
                for item in reply["items"]:
                    next(iter(item.values())).update(status=400, error={"type": "mapper_parsing_exception", "reason": "a secret"})
            return reply

        proxy.change = poisoned
        bad = await handed_in(gateway, "bad")
        await gateway.until_job(bad, "hr-partner", "quarantined")
        error = (await gateway.get(f"/v1/jobs/{bad}", "hr-partner")).json()["error"]
        assert "mapper_parsing_exception" in error
        assert "secret" not in error
        assert bad in {one["job_id"] for one in (await gateway.get("/v1/jobs", "hr-partner")).json()["items"]}
        proxy.change = lambda _, reply: reply
        await gateway.until_job(await handed_in(gateway, "good"), "hr-partner", "succeeded")
        found = (await gateway.post("/v1/search", "hr-partner", {"query": "wombat allowance"})).json()
        assert {one["text"] for one in found["passages"] if "wombat" in one["text"]} == {"The wombat allowance good is 5 euros."}


async def test_a_request_that_is_refused_for_good_ends_as_failed_and_not_as_an_outage(
    company: Path, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_rows, "MAX_ATTEMPTS", 2)
    real = services_noted_in(company)["opensearch_url"][0]
    async with proxy_before(real) as (address, proxy), gateway_in(company, models, opensearch_url=[address]) as gateway:
        proxy.refuses = {"/_bulk": 413}
        job = await handed_in(gateway, "huge")
        await gateway.until_job(job, "hr-partner", "failed")
        proxy.refuses = {}
        assert (await gateway.post(f"/v1/jobs/{job}/retry", "hr-partner", {})).status_code == 200
        await gateway.until_job(job, "hr-partner", "succeeded")


async def handed_in(gateway: Gateway, name: str) -> str:
    body = {"title": "Wombat", "text": f"The wombat allowance {name} is 5 euros.", "external_id": f"wombat-{name}"}
    return str((await gateway.post("/v1/collections/hr/documents", "hr-partner", body)).json()["job_id"])


async def test_nobody_who_asks_is_told_how_the_indexes_are_called(company: Path, models: Models) -> None:
    """Their names hold those of collections, and readiness is told to anybody."""
    settings = services_noted_in(company)
    async with gateway_in(company, models, background=False) as gateway:
        assert (await gateway.client.get("/readyz")).status_code == 200
        alias = f"{settings['opensearch_prefix']}-sample"
        stray = f"{settings['opensearch_prefix']}-restored"
        index = gateway.services.index
        assert isinstance(index, OpenSearchIndex)
        await index.cluster.ask("PUT", f"/{stray}", {"aliases": {alias: {}}, "settings": {"index.number_of_replicas": 0}})
        answers = [await gateway.client.get("/readyz"), await gateway.post("/v1/search", "engineer", {"query": "leave"})]
        assert [one.status_code for one in answers] == [503, 503]
        assert not any(settings["opensearch_prefix"] in one.text for one in answers)


def test_what_an_operator_has_to_mend_is_not_told_to_whoever_asks() -> None:
    secret = "The index portcullis-acme-own.takeover-g1 has format 0."
    kind, body = problem_of(ConfigurationError(secret))
    assert kind.status == 503
    assert "takeover" not in str(body)
