"""What comes in while something else is under way: a renewal beside retention or expiry; work that is called off; old text."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from app.domain.content import DocumentId, DocumentState
from app.domain.ports import PassageIndex
from app.ingest import document as ingesting
from app.ingest.jobs import Submission
from app.storage import document_rows, job_rows
from app.storage.job_rows import JobState
from app.storage.tables import document_version, job
from app.wiring import Services
from tests.conftest import caller_as
from tests.ingest.test_long_documents import between_parts, handed_in, is_found, lease, stored

columns = ("laptop", "company")
OLD, NEW = "The quokka allowance is 3 euros a day.", "The quokka allowance is 9 euros a day, renewed."


async def hand_in(services: Services, text: str, valid_until: datetime | None = None) -> tuple[DocumentId, str]:
    content = f"# Allowances\n\n{text}".encode()
    submission = Submission("hr", content, "q.md", external_id="quokka", valid_until=valid_until, has_no_end=valid_until is None)
    taken = await services.submit.run(await caller_as(services, "hr-partner"), submission)
    return taken.document_id, taken.job_id


async def aged(services: Services, document_id: DocumentId, version: int, days: int) -> None:
    same = (document_version.c.document_id == document_id, document_version.c.version == version)
    async with services.database.write() as tx:
        long_ago = datetime.now(UTC) - timedelta(days=days)
        await tx.connection.execute(update(document_version).where(*same).values(created_at=long_ago))


async def versions(services: Services, document_id: DocumentId) -> list[int]:
    async with services.database.read() as tx:
        return [version for version, _ in await document_rows.list_versions(tx, document_id)]


async def test_a_renewal_that_waits_for_a_worker_is_not_withdrawn_with_what_it_renews(services: Services) -> None:
    await services.collections.update(await caller_as(services, "administrator"), "hr", {"retention_days": 30})
    document_id, _ = await hand_in(services, OLD)
    await services.worker.drain()
    await aged(services, document_id, 1, 31)
    _, job_id = await hand_in(services, NEW)
    await services.retention.run(services.tenant)
    await services.worker.drain()
    async with services.database.read() as tx:
        found = await document_rows.get_document(tx, services.tenant, document_id)
        ended = await job_rows.get(tx, services.tenant, job_id)
    assert found is not None
    assert ended is not None
    assert (found.state, found.live_version, ended.state) == (DocumentState.LIVE, 2, JobState.SUCCEEDED)
    assert await is_found(services)


async def test_text_that_was_replaced_is_deleted_when_its_time_is_up(services: Services) -> None:
    document_id, _ = await hand_in(services, OLD)
    await services.worker.drain()
    await hand_in(services, NEW)
    await services.worker.drain()
    await aged(services, document_id, 1, 900)
    await services.retention.run(services.tenant)
    assert await versions(services, document_id) == [1, 2], "it was replaced a moment ago"
    await aged(services, document_id, 2, 800)
    await services.retention.run(services.tenant)
    assert await versions(services, document_id) == [2]
    assert await is_found(services)
    assert (await services.reconcile.run(services.tenant, repair=False)).is_right
    assert (await services.trail.verify(services.tenant)).is_intact


async def test_nothing_stays_of_a_long_document_that_is_called_off(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as short:
        short.setattr(ingesting, "AT_ONCE", 2)
        document_id = await handed_in(services)
        mine = await lease(services)

        async def cancel() -> None:
            await services.jobs.cancel(await caller_as(services, "hr-partner"), mine.job_id)

        between_parts(short, cancel)
        await services.worker.ingest.run(mine)
    assert await stored(services, document_id) > 0
    await replace(services.retention, purge_after=timedelta(0)).run(services.tenant)
    assert (await stored(services, document_id), await versions(services, document_id)) == (0, [])
    assert document_id not in {one.document_id for one in await services.index.inventory(services.tenant)}


async def test_a_document_renewed_while_it_expires_stays_found(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    since, soon = datetime.now(UTC), datetime.now(UTC) + timedelta(seconds=3)
    await hand_in(services, OLD, valid_until=soon)
    await services.worker.drain()
    await asyncio.sleep(max(0.0, (soon - datetime.now(UTC)).total_seconds()))
    engine = type(services.index)
    remove = engine.remove

    async def late(*of: object) -> None:
        monkeypatch.setattr(engine, "remove", remove)
        await hand_in(services, NEW)
        await services.worker.drain()
        await remove(*of)  # type: ignore[arg-type]  # handed on as it came

    monkeypatch.setattr(engine, "remove", late)
    await services.reconcile.expire(services.tenant, since, datetime.now(UTC))
    assert await is_found(services)


async def test_vectors_that_cannot_be_made_do_not_fill_the_queue(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    await services.worker.drain()

    async def n_jobs() -> int:
        async with services.database.read() as tx:
            return int((await tx.connection.execute(select(func.count()).select_from(job))).scalar_one())

    monkeypatch.setattr(services.reconcile.rules.embedder, "digest", "f" * 64)
    counts = []
    for _ in range(3):
        await services.reconcile.run(services.tenant, repair=True)
        async with services.database.write() as tx:
            await tx.connection.execute(update(job).where(job.c.state == JobState.QUEUED.value).values(state=JobState.FAILED.value))
        counts.append(await n_jobs())
    assert counts[1:] == counts[:1] * 2
    async with services.database.write() as tx:
        await tx.connection.execute(update(job).values(updated_at=datetime.now(UTC) - timedelta(hours=1)))
    await services.reconcile.run(services.tenant, repair=True)
    async with services.database.read() as tx:
        waiting = await job_rows.documents_at_work(tx, services.tenant)
    assert len(waiting) > 40


def late_in_the_index(services: Services, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], Awaitable[object]]) -> None:
    """Have something happen once, between the commit of the next version and its second half in the index."""
    kind, done = type(services.index), []
    make_live = kind.make_live

    async def late(index: PassageIndex, *of: Any) -> None:  # noqa: ANN401 - as the engine's own
        if not done:
            done.append(True)
            await meanwhile()
        await make_live(index, *of)

    monkeypatch.setattr(kind, "make_live", late)


async def test_what_is_withdrawn_before_the_index_has_it_live_does_not_come_back(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was found and counted again until the next comparison, and shown to nobody."""
    document_id, _ = await hand_in(services, OLD)
    mine, steward = await lease(services), await caller_as(services, "administrator")
    late_in_the_index(services, monkeypatch, lambda: services.changes.withdraw(steward, document_id))
    await services.worker.ingest.run(mine)
    assert document_id not in {one.document_id for one in await services.index.inventory(services.tenant)}


async def test_a_worker_that_lost_its_job_does_not_put_its_version_over_a_newer_one(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    document_id, _ = await hand_in(services, OLD)
    mine = await lease(services)

    async def overtaken() -> None:
        async with services.database.write() as tx:
            await job_rows.release_leases(tx)
        await hand_in(services, NEW)
        await services.worker.drain()

    late_in_the_index(services, monkeypatch, overtaken)
    await services.worker.ingest.run(mine)
    held = {one.document_id: one.live_version for one in await services.index.inventory(services.tenant)}
    assert held[document_id] == 2
    assert await is_found(services)
