"""No record, no answer: when the log cannot take a record, not one passage, count or sentence leaves; when it can again, answers do too.

The faults are real ones of the database file: a trigger that refuses, a lock held by another process's connection, a full disk, a
file made read-only.
"""

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, closing, contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import event

from app.answer.question import Question, Started
from app.domain.search import SearchLimits
from app.errors import AuditUnavailableError, UpstreamUnavailableError
from app.wiring import Services
from tests.conftest import Gateway, caller_as
from tests.e2e.attack import assert_problem, meddle, sse_events, trail, trail_until

QUESTION = "How much parental leave do I get?"
UNAVAILABLE = {"audit_unavailable", "upstream_unavailable"}
KEPT_FROM_LEAVING = ("parental", "weeks", "doc_", "passage", "rcp_", "hits", "sha256")


def database_of(gateway: Gateway) -> Path:
    return gateway.services.settings.data / "portcullis.db"


@asynccontextmanager
async def refusing(database: Path, event_type: str | None) -> AsyncIterator[None]:
    """While open, the database refuses entries of one type, or every entry."""
    condition = f"WHEN NEW.type = '{event_type}'" if event_type else ""
    await meddle(database, f"CREATE TRIGGER fault BEFORE INSERT ON audit_event {condition} BEGIN SELECT RAISE(ABORT, 'no'); END")
    try:
        yield
    finally:
        await meddle(database, "DROP TRIGGER fault")


@asynccontextmanager
async def locked(database: Path) -> AsyncIterator[None]:
    """While open, another connection holds the right to write."""
    connection = sqlite3.connect(database, timeout=30, isolation_level=None, check_same_thread=False)
    with closing(connection):
        await asyncio.to_thread(connection.execute, "BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


def assert_nothing_left(response: httpx.Response) -> None:
    """503, and not a word of what would have been released."""
    problem = assert_problem(response, 503)
    assert problem["code"] in UNAVAILABLE
    assert problem["retryable"] is True
    assert "retry-after" in response.headers
    assert "x-receipt-id" not in response.headers
    words = json.dumps({name: value for name, value in problem.items() if name != "type"}).casefold()
    assert not [one for one in KEPT_FROM_LEAVING if one in words], problem


async def releasing_calls(gateway: Gateway, kept: dict[str, str]) -> AsyncIterator[tuple[str, httpx.Response]]:
    """Every call that releases governed content."""
    yield "search", await gateway.post("/v1/search", "engineer", {"query": QUESTION})
    yield "answer", await gateway.post("/v1/answers", "engineer", {"question": QUESTION})
    yield "document", await gateway.get(f"/v1/documents/{kept['document']}", "engineer")
    yield "documents", await gateway.get("/v1/documents", "engineer")
    yield "reread", await gateway.get(f"/v1/answers/{kept['answer']}", "engineer")
    yield "conversation", await gateway.get(f"/v1/conversations/{kept['conversation']}", "engineer")
    yield "analysis", await gateway.post("/v1/privacy/analyze", "hr-partner", {"text": "Anna Lind called."})
    yield "explanation", await gateway.post("/v1/policy/explain", "policy-steward", {"document_id": kept["document"], "action": "read"})
    yield "log", await gateway.get("/v1/audit/events?case_id=1&reason=x", "compliance-officer")
    yield "feedback", await gateway.post(f"/v1/answers/{kept['answer']}/feedback", "engineer", {"verdict": "wrong"})
    yield "submission", await gateway.post("/v1/collections/hr/documents", "hr-partner", {"text": "A note."})
    yield (
        "access",
        await gateway.client.put(f"/v1/documents/{kept['document']}/acl", json={"mode": "inherit"}, headers=gateway.token("hr-partner")),
    )


async def earlier(gateway: Gateway) -> dict[str, str]:
    answer = (await gateway.post("/v1/answers", "engineer", {"question": QUESTION})).json()
    assert answer["state"] == "answered"
    return {"answer": answer["answer_id"], "conversation": answer["conversation_id"], "document": answer["passages"][0]["document_id"]}


async def assert_recovered(gateway: Gateway) -> None:
    """Without help from outside."""
    answer = (await gateway.post("/v1/answers", "engineer", {"question": QUESTION})).json()
    assert answer["state"] == "answered"
    report = await gateway.services.trail.verify(gateway.services.tenant)
    assert report.is_intact, report.problems


async def test_nothing_is_released_while_no_entry_can_be_written(gateway: Gateway) -> None:
    kept = await earlier(gateway)
    async with refusing(database_of(gateway), None):
        async for name, response in releasing_calls(gateway, kept):
            assert response.status_code == 503, name
            assert_nothing_left(response)
        denied = await gateway.post("/v1/search", "administrator", {"query": QUESTION})
        assert_nothing_left(denied)
        metrics = (await gateway.client.get("/metrics")).text
        assert "portcullis_audit_refused_total" in metrics
    await assert_recovered(gateway)


@pytest.mark.parametrize("step", ["retrieval.executed", "generation.started", "generation.completed"])
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
async def test_a_failure_at_each_step_of_an_answer_stops_it_there(gateway: Gateway, step: str, *, is_stream: bool) -> None:
    before = len(await trail(gateway.services))
    async with refusing(database_of(gateway), step):
        response = await gateway.post("/v1/answers", "engineer", {"question": QUESTION, "stream": is_stream})
        if not is_stream:
            assert_nothing_left(response)
        else:
            events = sse_events(response.text)
            assert events[-1][0] == "failed"
            assert events[-1][1]["problem"]["code"] in UNAVAILABLE
            assert [name for name, _ in events].count("failed") == 1
            assert "finished" not in {name for name, _ in events}
            if step != "generation.completed":
                assert len(events) == 1, "passages or sentences left before their record"
    if step == "generation.completed":
        events_on_record = await trail_until(gateway.services, "generation.aborted", before)
        assert [one["type"] for one in events_on_record] == ["retrieval.executed", "generation.started", "generation.aborted"]
        listed = (await gateway.get("/v1/conversations", "engineer")).json()["items"]
        assert listed == [], "an answer without its record was kept"
    else:
        assert len(await trail(gateway.services)) == before
    await assert_recovered(gateway)


async def test_a_database_locked_by_another_answers_503_in_time_and_recovers(gateway: Gateway) -> None:
    """Two seconds and a tenth is what a caller may wait; the calls wait side by side, as callers do."""
    kept = await earlier(gateway)
    async with locked(database_of(gateway)):
        started = time.monotonic()
        responses = await asyncio.gather(
            *(gateway.post("/v1/search", "engineer", {"query": QUESTION}) for _ in range(6)),
            *(gateway.post("/v1/answers", "engineer", {"question": QUESTION}) for _ in range(6)),
            gateway.get(f"/v1/documents/{kept['document']}", "engineer"),
        )
        assert time.monotonic() - started < 4.5
        for response in responses:
            assert_nothing_left(response)
        health = await gateway.client.get("/readyz")
        assert health.status_code == 503
        assert "ok" not in health.json()["checks"]["database"]
    await assert_recovered(gateway)
    assert (await gateway.client.get("/readyz")).status_code == 200


@contextmanager
def on_every_connection(gateway: Gateway, pragma: str, afterwards: str) -> Iterator[None]:
    """While open, each connection that the gateway takes up runs `pragma` first, and `afterwards` once this is closed."""
    engine = gateway.services.database._reading.sync_engine
    statement = pragma

    def prepare(connection: sqlite3.Connection, *_: object) -> None:
        connection.cursor().execute(statement)

    event.listen(engine, "checkout", prepare)
    yield
    statement = afterwards


async def test_a_full_disk_answers_503_and_leaves_nothing_half_done(gateway: Gateway) -> None:
    """The database may not grow by a page, which SQLite reports as a full disk does."""
    kept = await earlier(gateway)
    services = gateway.services
    before = await trail(services)
    async with services.database.read() as tx:
        pages = (await tx.connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
    with on_every_connection(gateway, f"PRAGMA max_page_count={pages}", "PRAGMA max_page_count=1073741823"):
        note = {"text": "A long note about parental leave. " * 3000}
        taken = await gateway.post("/v1/collections/hr/documents", "hr-partner", note)
        assert_nothing_left(taken)
        responses = [await gateway.get(f"/v1/documents/{kept['document']}", "engineer") for _ in range(60)]
        full = [one for one in responses if one.status_code != 200]
        assert full, "the log grew although nothing could"
        for response in full:
            assert_nothing_left(response)
    report = await services.trail.verify(services.tenant)
    assert report.is_intact, report.problems
    after = await trail(services)
    assert after[: len(before)] == before
    opened = [one for one in after[len(before) :] if one["type"] == "document.opened"]
    assert len(opened) == len(responses) - len(full), "what left is on record and what is on record left"
    await assert_recovered(gateway)


async def test_a_database_that_only_reads_answers_503_and_recovers(gateway: Gateway) -> None:
    kept = await earlier(gateway)
    with on_every_connection(gateway, "PRAGMA query_only=ON", "PRAGMA query_only=OFF"):
        async for name, response in releasing_calls(gateway, kept):
            assert response.status_code == 503, name
            assert_nothing_left(response)
    await assert_recovered(gateway)


async def test_a_client_that_leaves_in_the_middle_leaves_an_aborted_generation_on_record(services: Services) -> None:
    """Whoever left before the first sentence used to leave no trace of the end: the intent stood in the log for ever."""
    caller = await caller_as(services, "engineer")
    for leave_after in (1, 2):
        before = len(await trail(services))
        async with aclosing(services.answer.run(caller, Question(QUESTION, SearchLimits()))) as events:
            for count in range(1, leave_after + 1):
                event = await anext(events)
                assert count > 1 or isinstance(event, Started)
        types = [one["type"] for one in await trail_until(services, "generation.aborted", before)]
        assert types == ["retrieval.executed", "generation.started", "generation.aborted"]


async def test_a_request_that_is_cancelled_leaves_an_aborted_generation_on_record(gateway: Gateway) -> None:
    """A cancelled request is cancelled at each await: a record written in its own task would never be finished."""
    before = len(await trail(gateway.services))
    application = gateway.client._transport.app
    body = json.dumps({"question": QUESTION, "stream": True}).encode()
    headers = [(b"content-type", b"application/json"), (b"authorization", gateway.token("engineer")["Authorization"].encode())]
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/v1/answers", "raw_path": b"/v1/answers", "query_string": b"", "headers": headers, "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8080), "app": application,
    }  # fmt: skip
    has_started, sent = asyncio.Event(), 0

    async def receive() -> dict[str, object]:
        nonlocal sent
        sent += 1
        if sent == 1:
            return {"type": "http.request", "body": body, "more_body": False}
        await has_started.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        if b"event: started" in bytes(message.get("body", b"")):
            has_started.set()
            await asyncio.sleep(30)  # the client no longer reads: only the disconnection ends this

    await asyncio.wait_for(application(scope, receive, send), 20)
    types = [one["type"] for one in await trail_until(gateway.services, "generation.aborted", before)]
    assert types == ["retrieval.executed", "generation.started", "generation.aborted"]


async def test_an_answer_that_could_not_be_recorded_is_refused_by_the_flow_itself(services: Services) -> None:
    caller = await caller_as(services, "engineer")
    async with refusing(services.settings.data / "portcullis.db", None):
        with pytest.raises((AuditUnavailableError, UpstreamUnavailableError)):
            await anext(services.answer.run(caller, Question(QUESTION, SearchLimits())))
