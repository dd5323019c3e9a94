"""What the end-to-end tests share: problems compared byte for byte, streams read, documents taken in, the log read back."""

import asyncio
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from app.audit import envelope
from app.audit.log import log_name
from app.storage import audit_rows, document_rows, job_rows
from app.wiring import Services
from tests.conftest import Gateway

STEWARD = {"company": "policy-steward", "handbook": "policy-steward", "hr": "hr-partner", "finance": "finance-analyst"}
PROBLEM_KEYS = {"type", "title", "status", "detail", "instance", "code", "retryable"}


def assert_problem(response: httpx.Response, status: int, code: str | None = None) -> dict[str, Any]:
    """The body of a problem that looks as RFC 9457 and the contract say."""
    assert response.status_code == status, f"{response.status_code} {response.text[:400]}"
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert set(body) >= PROBLEM_KEYS, body
    assert body["status"] == status
    assert body["type"].startswith("/problems/")
    assert body["instance"] == response.headers["x-request-id"]
    assert code is None or body["code"] == code, body
    return body


def faceless(response: httpx.Response) -> tuple[int, bytes, list[tuple[str, str]]]:
    """Status, body and headers of a response without what names the request: what two answers that must look alike are compared by."""
    request_id = response.headers["x-request-id"]
    headers = sorted((name, value) for name, value in response.headers.items() if name != "x-request-id")
    return response.status_code, response.content.replace(request_id.encode(), b"REQUEST"), headers


def sse_events(text: str) -> list[tuple[str, Any]]:
    """(name, value) of each server-sent event."""
    events = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n", 1)
        events.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events


async def submit(gateway: Gateway, collection: str, person: str, **body: object) -> dict[str, Any]:
    """Hand a JSON document in."""
    response = await gateway.post(f"/v1/collections/{collection}/documents", person, body)
    assert response.status_code == 202, response.text
    taken: dict[str, Any] = response.json()
    return taken


async def finished_job(gateway: Gateway, person: str, job_id: str, within_s: float = 30.0) -> dict[str, Any]:
    """A job once it has ended."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        job: dict[str, Any] = (await gateway.get(f"/v1/jobs/{job_id}", person)).json()
        if job["state"] not in {"queued", "running"}:
            return job
        await asyncio.sleep(0.05)
    message = f"job {job_id} did not end in {within_s} s"
    raise TimeoutError(message)


async def take_in(gateway: Gateway, collection: str, person: str, **body: object) -> str:
    """Hand a JSON document in and wait until it is live; its id."""
    taken = await submit(gateway, collection, person, **body)
    job = await finished_job(gateway, person, taken["job_id"])
    assert job["state"] == "succeeded", job
    return str(taken["document_id"])


async def drained(gateway: Gateway) -> None:
    """Wait until every job, embedding too, has ended: also those that the background worker holds."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        async with gateway.services.database.read() as tx:
            if not await job_rows.documents_at_work(tx, gateway.services.tenant):
                return
        await asyncio.sleep(0.05)
    message = "jobs did not end within a minute"
    raise TimeoutError(message)


async def meddle(database: Path, *statements: str) -> None:
    """Change the database from outside. In a thread: a wait for the lock would stop the loop that is to give it back."""

    def run() -> None:
        with closing(sqlite3.connect(database, timeout=30, isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)

    await asyncio.to_thread(run)


async def sample_document(services: Services, external_id: str) -> str:
    """Id of a document of the sample company."""
    async with services.database.read() as tx:
        found = await document_rows.find_external(tx, services.tenant, external_id.partition("/")[0], external_id)
    assert found is not None, external_id
    return str(found[0].document_id)


async def trail(services: Services) -> list[dict[str, Any]]:
    """Every event on record, oldest first."""
    async with services.database.read() as tx:
        entries = await audit_rows.entries_from(tx, log_name(services.tenant), 0, 100_000)
    return [dict(envelope.parse(entry.leaf)) for entry in entries]


async def trail_until(services: Services, wanted: str, since: int, within_s: float = 10.0) -> list[dict[str, Any]]:
    """Events from the position `since` on, once one of type `wanted` is among them."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        events = (await trail(services))[since:]
        if any(one["type"] == wanted for one in events):
            return events
        await asyncio.sleep(0.05)
    message = f"no {wanted} on record within {within_s} s"
    raise TimeoutError(message)
