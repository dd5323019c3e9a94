"""The search engine is away when a process starts, and comes back: nothing is lost, and nobody has to look after it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from app.wiring import Models
from tests.conftest import gateway_in, services_noted_in

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
