"""A long document is stored a part at a time, so that no answer waits for it; nobody sees a part, and nothing of one is left behind."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from app.answer.search import SearchRequest
from app.domain.content import DocumentId, DocumentState
from app.domain.search import SearchLimits
from app.ingest import document as ingesting
from app.ingest.jobs import Submission
from app.storage import document_rows, job_rows
from app.storage.job_rows import Job, JobKind
from app.storage.transaction import Database, Transaction
from app.wiring import Services
from tests.conftest import caller_as

columns = ("laptop", "company")
TEXT = "\n\n".join(f"## Part {n}\n\nThe quokka allowance of part {n} is {n} euros. " + "It is paid each month. " * 60 for n in range(9))


@pytest.fixture(autouse=True)
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two chunks a part, so that a page is a long document."""
    monkeypatch.setattr(ingesting, "AT_ONCE", 2)


async def handed_in(services: Services) -> DocumentId:
    steward = await caller_as(services, "hr-partner")
    return (await services.submit.run(steward, Submission("hr", TEXT.encode(), "quokka.md", external_id="quokka"))).document_id


async def lease(services: Services) -> Job:
    async with services.database.write() as tx:
        job = await job_rows.lease_next(tx, (JobKind.INGEST,))
    assert job is not None
    return job


async def stored(services: Services, document_id: DocumentId) -> int:
    async with services.database.read() as tx:
        return len(await document_rows.version_chunks(tx, document_id, 1))


async def is_found(services: Services) -> bool:
    # A server shows vectors with its next refresh, a second later at most; until then chunks of so many words rank low.
    await services.index.inventory(services.tenant)
    request = SearchRequest("What is the quokka allowance?", SearchLimits())
    found = await services.search.run(await caller_as(services, "hr-partner"), request)
    return any("quokka" in one.text for one in found.passages)


def between_parts(monkeypatch: pytest.MonkeyPatch, happening: Callable[[], Awaitable[None]]) -> None:
    """Have something happen once two parts are stored."""
    append, calls = Database.append, 0

    @asynccontextmanager
    async def noticed(database: Database) -> AsyncIterator[Transaction]:
        nonlocal calls
        calls += 1
        if calls == 3:
            await happening()
        async with append(database) as tx:
            yield tx

    monkeypatch.setattr(Database, "append", noticed)


async def test_all_of_it_is_there_in_the_end_and_no_answer_waits_meanwhile(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    document_id, seen = await handed_in(services), []

    async def look() -> None:
        async with services.database.write():
            seen.append(await stored(services, document_id))
        assert not await is_found(services)

    between_parts(monkeypatch, look)
    await services.worker.drain()
    assert seen == [4], "two parts are there and the turn to write is free"
    assert await is_found(services)
    assert await stored(services, document_id) > 8
    assert (await services.reconcile.run(services.tenant, repair=False)).is_right


async def test_whoever_lost_the_job_on_the_way_adds_nothing_to_what_the_next_one_stores(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    document_id = await handed_in(services)
    mine = await lease(services)

    async def lose() -> None:
        async with services.database.write() as tx:
            await job_rows.hand_back(tx, mine)
        theirs = await lease(services)
        assert theirs.fence > mine.fence

    between_parts(monkeypatch, lose)
    await services.worker.ingest.run(mine)
    assert await stored(services, document_id) == 4
    async with services.database.write() as tx:
        await job_rows.release_leases(tx)
    monkeypatch.undo()
    monkeypatch.setattr(ingesting, "AT_ONCE", 3)
    await services.worker.drain()
    async with services.database.read() as tx:
        ordinals = [one.chunk.ordinal for one in await document_rows.version_chunks(tx, document_id, 1)]
    assert ordinals == list(range(len(ordinals)))
    assert len(ordinals) > 8
    assert await is_found(services)


async def test_of_a_document_withdrawn_on_the_way_no_text_is_left(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    document_id = await handed_in(services)
    mine = await lease(services)

    async def withdraw() -> None:
        async with services.database.write() as tx:
            found = await document_rows.get_document(tx, services.tenant, document_id)
            assert found is not None
            await document_rows.update_document(tx, replace(found, state=DocumentState.WITHDRAWN))

    between_parts(monkeypatch, withdraw)
    await services.worker.ingest.run(mine)
    assert await stored(services, document_id) == 0
    assert not await is_found(services)
