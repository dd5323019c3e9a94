"""The job queue on every database: nothing lost, nothing done twice with effect, whatever happens to a worker."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from uuid_utils import uuid7

from app.domain.content import DocumentId
from app.domain.identity import TenantId
from app.storage import job_rows
from app.storage.job_rows import Job, JobKind, JobState
from app.storage.transaction import Database
from tests.conformance.stores import Store

T = TenantId("sample")
INGEST = (JobKind.INGEST,)


def job(document: str = "", version: int = 1, *, priority: int = 5, kind: JobKind = JobKind.INGEST) -> Job:
    name = str(uuid7())
    content = b"text" if kind is JobKind.INGEST else None
    made = datetime.now(UTC)
    fields = ({}, content, 0, 1, "documents", None, 0, made, priority)
    return Job(f"job_{name}", T, kind, JobState.QUEUED, "issuer|steward", DocumentId(document or f"doc_{name}"), version, *fields)


async def put(database: Database, *jobs: Job) -> None:
    async with database.write() as tx:
        for one in jobs:
            await job_rows.enqueue(tx, one)


async def lease(database: Database, kinds: tuple[JobKind, ...] = INGEST) -> Job | None:
    async with database.write() as tx:
        return await job_rows.lease_next(tx, kinds)


async def state(database: Database, one: Job) -> JobState:
    async with database.read() as tx:
        found = await job_rows.get(tx, T, one.job_id)
    assert found is not None
    return found.state


def end_leases(store: Store) -> None:
    """As after a minute of silence."""
    store.meddle("UPDATE job SET lease_until = '2020-01-01 00:00:00' WHERE state = 'running'")


async def test_many_workers_share_a_queue_and_no_job_is_handed_out_twice(store: Store) -> None:
    async with store.opened() as first, store.opened() as second:
        jobs = [job() for _ in range(40)]
        await put(first, *jobs)
        handed_out: Counter[str] = Counter()

        async def work(database: Database) -> None:
            while (mine := await lease(database)) is not None:
                handed_out[mine.job_id] += 1
                async with database.write() as tx:
                    assert await job_rows.finish(tx, mine, JobState.SUCCEEDED, None)

        await asyncio.gather(*(work(database) for database in (first, second) for _ in range(4)))
        assert handed_out == Counter({one.job_id: 1 for one in jobs})


async def test_urgent_jobs_come_first_and_equal_ones_in_their_order(store: Store) -> None:
    async with store.opened() as database:
        later, first, second = job(priority=8), job(priority=2), job(priority=2)
        second = replace(second, created_at=first.created_at + timedelta(seconds=1))
        await put(database, later, second, first)
        order = [found.job_id for _ in range(3) if (found := await lease(database))]
        assert order == [first.job_id, second.job_id, later.job_id]


async def test_a_job_of_a_dead_worker_is_done_by_another_and_the_dead_one_changes_nothing_more(store: Store) -> None:
    async with store.opened() as database:
        await put(database, job())
        lost = await lease(database)
        assert lost is not None
        assert await lease(database) is None
        end_leases(store)
        taken = await lease(database)
        assert taken is not None
        assert (taken.job_id, taken.attempts) == (lost.job_id, 2)
        async with database.write() as tx:
            assert not await job_rows.holds(tx, lost)
            assert not await job_rows.renew(tx, lost)
            assert not await job_rows.finish(tx, lost, JobState.FAILED, "came back from the dead")
            await job_rows.requeue(tx, lost, "came back", timedelta())
            await job_rows.progress(tx, lost, 1, 1)
            assert await job_rows.holds(tx, taken)
            assert await job_rows.finish(tx, taken, JobState.SUCCEEDED, None)
        assert await state(database, taken) is JobState.SUCCEEDED


async def test_a_worker_that_comes_back_after_a_steward_had_its_job_tried_afresh_changes_nothing(store: Store) -> None:
    """Afresh, attempts count from nothing: by them alone the first worker would take the second one's job for its own."""
    async with store.opened() as database, store.opened() as other:
        await put(database, job())
        first = await lease(database)
        assert first is not None
        for _ in range(job_rows.MAX_ATTEMPTS):
            end_leases(store)
            await lease(other)
        async with other.write() as tx:
            assert await job_rows.retry(tx, T, first.job_id)
        second = await lease(other)
        assert second is not None
        assert second.attempts == first.attempts
        async with database.write() as tx:
            assert not await job_rows.holds(tx, first)
            assert not await job_rows.finish(tx, first, JobState.SUCCEEDED, None)
            assert await job_rows.holds(tx, second)


async def test_a_renewed_lease_keeps_the_job(store: Store) -> None:
    async with store.opened() as database:
        await put(database, job())
        mine = await lease(database)
        assert mine is not None
        end_leases(store)
        async with database.write() as tx:
            assert await job_rows.renew(tx, mine)
        assert await lease(database) is None


async def test_a_job_that_takes_its_workers_with_it_ends_as_failed_and_keeps_its_content(store: Store) -> None:
    async with store.opened() as database:
        deadly, harmless = job(priority=1), job()
        await put(database, deadly, harmless)
        for _ in range(job_rows.MAX_ATTEMPTS):
            found = await lease(database)
            assert found is not None
            assert found.job_id == deadly.job_id
            end_leases(store)
        found = await lease(database)
        assert found is not None
        assert found.job_id == harmless.job_id
        assert await state(database, deadly) is JobState.FAILED
        async with database.read() as tx:
            assert [one.job_id for one in await job_rows.troubled(tx, T, 10)] == [deadly.job_id]
        async with database.write() as tx:
            assert await job_rows.retry(tx, T, deadly.job_id)
        again = await lease(database)
        assert again is not None
        assert (again.job_id, again.attempts, again.content) == (deadly.job_id, 1, b"text")


async def test_another_try_waits_its_time(store: Store) -> None:
    async with store.opened() as database:
        await put(database, job())
        mine = await lease(database)
        assert mine is not None
        async with database.write() as tx:
            await job_rows.requeue(tx, mine, "the index is away", timedelta(hours=1))
        assert await lease(database) is None
        async with database.read() as tx:
            assert not await job_rows.is_waiting(tx, INGEST)
        store.meddle("UPDATE job SET due_at = '2020-01-01 00:00:00'")
        again = await lease(database)
        assert again is not None
        assert again.error == "the index is away"


async def test_a_part_that_is_away_never_wears_a_job_out(store: Store) -> None:
    async with store.opened() as database:
        await put(database, job())
        for _ in range(2 * job_rows.MAX_ATTEMPTS):
            mine = await lease(database)
            assert mine is not None
            assert (mine.attempts, mine.content) == (1, b"text")
            async with database.write() as tx:
                await job_rows.put_off(tx, mine, "the index is away", timedelta(hours=1))
            assert await lease(database) is None
            store.meddle("UPDATE job SET due_at = '2020-01-01 00:00:00'")


async def test_a_job_called_off_is_no_longer_held_and_its_content_is_gone(store: Store) -> None:
    async with store.opened() as database:
        waiting, running = job(priority=9), job()
        await put(database, waiting, running)
        mine = await lease(database)
        assert mine is not None
        async with database.write() as tx:
            assert await job_rows.cancel(tx, T, waiting.job_id)
            assert await job_rows.cancel(tx, T, running.job_id)
            assert not await job_rows.cancel(tx, T, running.job_id)
            assert not await job_rows.holds(tx, mine)
            assert not await job_rows.finish(tx, mine, JobState.SUCCEEDED, None)
        assert await lease(database) is None
        assert store.column("SELECT content FROM job") == [None, None]


async def test_versions_of_a_document_are_handed_out_one_after_another(store: Store) -> None:
    async with store.opened() as database:
        first, second, other = job("doc_a", 1), job("doc_a", 2, priority=1), job("doc_b")
        await put(database, first, second, other)
        handed_out = [found for _ in range(3) if (found := await lease(database))]
        assert {(one.document_id, one.version) for one in handed_out} == {("doc_a", 1), ("doc_b", 1)}
        async with database.write() as tx:
            for one in handed_out:
                await job_rows.finish(tx, one, JobState.SUCCEEDED, None)
        found = await lease(database)
        assert found is not None
        assert found.version == 2


async def test_a_worker_told_to_stop_hands_its_job_back_untouched(store: Store) -> None:
    async with store.opened() as database:
        await put(database, job())
        mine = await lease(database)
        assert mine is not None
        async with database.write() as tx:
            await job_rows.hand_back(tx, mine)
        again = await lease(database)
        assert again is not None
        assert (again.job_id, again.attempts) == (mine.job_id, 1)
