"""A process may die between the register and the index: the index is made right again, by the register."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, select, update

from app.answer.search import SearchRequest
from app.domain.access import Acl, AclMode
from app.domain.content import ChunkId, Document, DocumentId, DocumentState
from app.domain.ports import PassageIndex
from app.domain.search import AccessFacts, IndexedChunk, SearchLimits
from app.index.opensearch.engine import OpenSearchIndex
from app.ingest.jobs import Submission, embed_job
from app.storage import document_rows, job_rows
from app.storage.tables import chunk, document_version, job
from app.wiring import Models, Services, background, open_services
from tests.conftest import caller_as, gateway_in, settings_in

columns = ("laptop", "company")
QUESTION = SearchRequest("How much parental leave do I get?", SearchLimits())


async def leave_policy(services: Services) -> Document:
    async with services.database.read() as tx:
        found = await document_rows.find_external(tx, services.tenant, "hr", "hr/parental-leave")
    assert found is not None
    return found[0]


async def written_to_the_register_alone(services: Services, document: Document) -> None:
    """What a process leaves that dies before it writes to the index."""
    async with services.database.write() as tx:
        await document_rows.update_document(tx, replace(document, acl_version=document.acl_version + 1))


async def passages(services: Services, person: str = "engineer") -> list[tuple[str, str]]:
    result = await services.search.run(await caller_as(services, person), QUESTION)
    return [(one.document_id, one.text) for one in result.passages]


async def test_an_index_that_is_right_is_left_alone(services: Services) -> None:
    report = await services.reconcile.run(services.tenant, repair=True)
    assert report.is_right
    assert report.documents > 30
    assert not await services.worker.run_once()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"acl": Acl(AclMode.EXPLICIT)}, "stale_access"),
        ({"label": "secret", "sensitivity": 3}, "stale_access"),
        ({"state": DocumentState.WITHDRAWN, "live_version": None}, "extra"),
    ],
)
async def test_what_only_the_register_knows_is_found_and_mended(services: Services, change: dict[str, object], fault: str) -> None:
    document = await leave_policy(services)
    await written_to_the_register_alone(services, replace(document, **change))
    report = await services.reconcile.run(services.tenant, repair=False)
    assert getattr(report, fault) == [document.document_id]
    before = {one.document_id: one for one in await services.index.inventory(services.tenant)}
    assert before[document.document_id].acl_version == document.acl_version
    assert (await services.reconcile.run(services.tenant, repair=True)) == report
    assert (await services.reconcile.run(services.tenant, repair=False)).is_right
    after = {one.document_id: one for one in await services.index.inventory(services.tenant)}
    if fault == "extra":
        assert document.document_id not in after
    else:
        assert after[document.document_id].acl_version == document.acl_version + 1
        assert after[document.document_id].vectors == after[document.document_id].chunks
    assert document.document_id not in {name for name, _ in await passages(services)}


async def test_what_the_index_learned_after_an_older_database_was_kept_is_forgotten(services: Services) -> None:
    """The index keeps newer facts by design: put back beside it, a register that has the document closed was not listened to."""
    document = await leave_policy(services)
    opened_later = replace(AccessFacts.of(document), label="public", sensitivity=0, acl_version=document.acl_version + 3)
    await services.index.put_access(opened_later)
    assert (await services.reconcile.run(services.tenant, repair=True)).missing == [document.document_id]
    held = {one.document_id: one for one in await services.index.inventory(services.tenant)}
    assert held[document.document_id].acl_version == document.acl_version
    await services.worker.drain()
    assert (await services.reconcile.run(services.tenant, repair=False)).is_right


async def test_a_version_that_was_called_off_leaves_no_text(services: Services) -> None:
    """A worker that loses its job may have written the new text by then: nobody finds it, and it stayed until the next version."""
    document = await leave_policy(services)
    words = IndexedChunk(ChunkId("given-up"), "Leave", "the draft that was called off", "", ())
    await services.index.put_version(AccessFacts.of(document), 9, [words])
    report = await services.reconcile.run(services.tenant, repair=False)
    assert report.given_up == [document.document_id]
    assert not report.is_right
    repaired = await services.reconcile.run(services.tenant, repair=True)
    assert repaired.given_up == report.given_up
    assert repaired.is_mended
    assert (await services.reconcile.run(services.tenant, repair=False)).is_right
    held = {one.document_id: one for one in await services.index.inventory(services.tenant)}
    assert held[document.document_id].live_version == document.live_version
    assert held[document.document_id].others == ()


async def test_a_version_that_a_job_is_about_to_make_live_is_left_alone(services: Services) -> None:
    document = await leave_policy(services)
    await services.index.put_version(AccessFacts.of(document), 9, [IndexedChunk(ChunkId("coming"), "Leave", "the new rule", "", ())])
    async with services.database.write() as tx:
        await job_rows.enqueue(tx, embed_job("system:test", document, 9))
    assert (await services.reconcile.run(services.tenant, repair=True)).is_right
    held = {one.document_id: one for one in await services.index.inventory(services.tenant)}
    assert held[document.document_id].others == (9,)


async def test_a_job_that_is_tried_again_while_its_version_is_forgotten_brings_it_all_the_same(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tried again between the repair's last look and its removal: the register served a version that the index had no more."""
    document, steward = await leave_policy(services), await caller_as(services, "hr-partner")
    text = Submission("hr", b"Parental leave is sixteen weeks.", "a.md", "text/markdown", external_id=document.external_id)
    done = await services.submit.run(steward, text)
    await services.index.put_version(AccessFacts.of(document), done.version, [IndexedChunk(ChunkId("x"), "", "a first try", "", ())])
    async with services.database.write() as tx:
        failed = update(job).where(job.c.job_id == done.job_id).values(state="failed", attempts=5)
        await tx.connection.execute(failed)
    engine = type(services.index)
    remove, make_live, asked = engine.remove, engine.make_live, []

    async def slow_make_live(self: PassageIndex, document_id: DocumentId, version: int, facts: AccessFacts | None = None) -> None:
        if asked:
            await remove(self, *asked.pop())
        await make_live(self, document_id, version, facts)

    async def late_remove(_: PassageIndex, *what: object) -> None:
        asked.append(what)
        async with services.database.write() as tx:
            assert await job_rows.retry(tx, services.tenant, done.job_id)
        monkeypatch.setattr(engine, "make_live", slow_make_live)
        assert await services.worker.run_once(only_ingest=True)

    monkeypatch.setattr(engine, "remove", late_remove)
    report = await services.reconcile.run(services.tenant, repair=True)
    monkeypatch.undo()
    assert report.given_up == [document.document_id]
    await services.worker.drain()
    held = {one.document_id: one for one in await services.index.inventory(services.tenant)}
    assert held[document.document_id].live_version == (await leave_policy(services)).live_version == done.version
    assert document.document_id in {name for name, _ in await passages(services, "hr-partner")}


async def test_what_a_document_left_that_never_was_live_goes_with_its_facts(services: Services) -> None:
    steward = await caller_as(services, "hr-partner")
    done = await services.submit.run(steward, Submission("hr", b"A draft.", "a.md", "text/markdown"))
    async with services.database.read() as tx:
        document = await document_rows.get_document(tx, services.tenant, done.document_id)
    assert document is not None
    await services.index.put_version(AccessFacts.of(document), 1, [IndexedChunk(ChunkId("x"), "", "a draft", "", ())])
    assert (await services.reconcile.run(services.tenant, repair=True)).is_right, "its job is about to make it live"
    async with services.database.write() as tx:
        await job_rows.cancel_of(tx, done.document_id, datetime.now(UTC))
    assert (await services.reconcile.run(services.tenant, repair=True)).extra == [done.document_id]
    assert done.document_id not in {one.document_id for one in await services.index.inventory(services.tenant)}


async def test_a_server_mends_before_it_answers(company: Path, models: Models) -> None:
    async with open_services(settings_in(company), models=models) as services:
        document = await leave_policy(services)
        await written_to_the_register_alone(services, replace(document, acl=Acl(AclMode.EXPLICIT)))
    async with gateway_in(company, models) as gateway:
        found = (await gateway.post("/v1/search", "engineer", {"query": QUESTION.query})).json()
        assert found["passages"]
        held = {one.document_id: one.acl_version for one in await gateway.services.index.inventory(gateway.services.tenant)}
        assert held[document.document_id] == document.acl_version + 1


def lose_index(folder: Path) -> None:
    for file in folder.glob("index.db*"):
        file.unlink()


async def test_a_lost_index_is_made_again_from_the_register_alone(company: Path, models: Models) -> None:
    async with open_services(settings_in(company), models=models) as services:
        before = await passages(services)
        inventory = {one.document_id: one for one in await services.index.inventory(services.tenant)}
        if isinstance(services.index, OpenSearchIndex):
            await services.index.cluster.ask("DELETE", f"/{services.settings.opensearch_prefix}-*")
    lose_index(company)
    async with open_services(settings_in(company), models=models) as services:
        report = await services.reconcile.run(services.tenant, repair=True)
        assert len(report.missing) == report.documents == len(inventory)
        assert before[0][0] in {name for name, _ in await passages(services)}
        await services.worker.drain()
        assert await passages(services) == before
        again = {one.document_id: one for one in await services.index.inventory(services.tenant)}
        assert again == inventory
        assert (await services.reconcile.run(services.tenant, repair=False)).is_right


async def test_housekeeping_goes_on_after_an_error_nobody_foresaw() -> None:
    rounds: list[int] = []

    async def lead() -> bool:
        return True

    async def work() -> None:
        rounds.append(len(rounds))
        if len(rounds) < 3:
            message = "a row nobody foresaw"
            raise LookupError(message)

    task = asyncio.create_task(background._every(0.01, lead, work))
    await asyncio.sleep(0.3)
    assert not task.done()
    task.cancel()
    assert len(rounds) > 3


async def test_what_a_repair_does_not_mend_is_told(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    document = await leave_policy(services)
    await written_to_the_register_alone(services, replace(document, state=DocumentState.WITHDRAWN, live_version=None))

    async def nothing(*_: object) -> None:
        pass

    monkeypatch.setattr(type(services.index), "remove", nothing)
    assert (await services.reconcile.run(services.tenant, repair=True)).left == [document.document_id]


async def test_a_change_of_access_is_taken_while_the_index_is_mended(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one write lock was held through a dozen requests to the index: the revocation was refused as the database was busy."""
    document = await leave_policy(services)
    steward = await caller_as(services, "hr-partner")
    await services.index.remove(services.tenant, document.document_id)
    kind = type(services.index)
    put_version, acls = kind.put_version, [Acl(AclMode.EXPLICIT)]

    async def closed_meanwhile(index: Any, facts: AccessFacts, *rest: Any) -> None:  # noqa: ANN401 - as the engine's own
        if acls:
            await services.changes.change_acl(steward, document.document_id, acls.pop())
        await put_version(index, facts, *rest)

    monkeypatch.setattr(kind, "put_version", closed_meanwhile)
    assert (await services.reconcile.run(services.tenant, repair=True)).is_mended
    monkeypatch.undo()
    held = {one.document_id: one.acl_version for one in await services.index.inventory(services.tenant)}
    assert held[document.document_id] == document.acl_version + 1
    await services.worker.drain()
    assert (await services.reconcile.run(services.tenant, repair=False)).is_right
    assert document.document_id not in {name for name, _ in await passages(services)}


async def test_a_document_withdrawn_while_it_is_mended_stays_out(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    document = await leave_policy(services)
    steward = await caller_as(services, "hr-partner")
    await services.index.remove(services.tenant, document.document_id)
    kind = type(services.index)
    make_live, documents = kind.make_live, [document.document_id]

    async def withdrawn_before(index: Any, *which: Any) -> None:  # noqa: ANN401 - as the engine's own
        if documents:
            await services.changes.withdraw(steward, documents.pop())
        await make_live(index, *which)

    monkeypatch.setattr(kind, "make_live", withdrawn_before)
    assert (await services.reconcile.run(services.tenant, repair=True)).is_mended
    monkeypatch.undo()
    assert document.document_id not in {one.document_id for one in await services.index.inventory(services.tenant)}
    assert (await services.reconcile.run(services.tenant, repair=False)).is_right


async def test_one_document_that_cannot_be_mended_keeps_no_other_from_it(services: Services) -> None:
    """Its stored version was gone: the repair ended there, and a document closed in the register alone stayed open in the index."""
    lost = await leave_policy(services)
    async with services.database.write() as tx:
        closed = await document_rows.find_external(tx, services.tenant, "company", "company/travel-policy")
        assert closed is not None
        await tx.connection.execute(delete(document_version).where(document_version.c.document_id == lost.document_id))
    await services.index.remove(services.tenant, lost.document_id)
    await written_to_the_register_alone(services, replace(closed[0], state=DocumentState.WITHDRAWN, live_version=None))
    report = await services.reconcile.run(services.tenant, repair=True)
    assert report.failed == [lost.document_id] == report.left
    assert not report.is_mended
    assert closed[0].document_id not in {one.document_id for one in await services.index.inventory(services.tenant)}


async def test_processes_that_compare_at_once_make_work_once(services: Services) -> None:
    """Each one that starts compares: four at once had every document embedded four times."""
    async with services.database.write() as tx:
        await tx.connection.execute(update(document_version).values(embedder_digest=None))
    await asyncio.gather(*(services.reconcile.run(services.tenant, repair=True) for _ in range(4)))
    async with services.database.read() as tx:
        waiting = select(job.c.document_id, func.count()).where(job.c.kind == "embed", job.c.state == "queued").group_by(job.c.document_id)
        counts = [count for _, count in await tx.connection.execute(waiting)]
    assert counts
    assert set(counts) == {1}


async def test_the_register_is_read_a_part_at_a_time(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """One statement over all chunks took longer than any may where there are many."""
    async with services.database.read() as tx:
        whole = await document_rows.standings(tx, services.tenant)
        monkeypatch.setattr(document_rows, "_STANDINGS_AT_ONCE", 7)
        assert list((await document_rows.standings(tx, services.tenant)).items()) == list(whole.items())
    assert len(whole) > 14


@pytest.mark.parametrize("part", ["whole", "one chunk"])
async def test_text_that_was_erased_from_the_register_leaves_the_index(services: Services, part: str) -> None:
    """An eraser's login deletes it there; the words stayed in the index, the comparison called that right."""
    document = await leave_policy(services)
    async with services.database.write() as tx:
        if part == "whole":
            await document_rows.purge_document(tx, document.document_id)
        else:
            last = select(func.max(chunk.c.chunk_id)).where(chunk.c.document_id == document.document_id).scalar_subquery()
            await tx.connection.execute(delete(chunk).where(chunk.c.chunk_id == last))
    before = {one.document_id: one.chunks for one in await services.index.inventory(services.tenant)}[document.document_id]
    report = await services.reconcile.run(services.tenant, repair=True)
    assert (report.extra if part == "whole" else report.missing) == [document.document_id]
    assert report.is_mended
    held = {one.document_id: one.chunks for one in await services.index.inventory(services.tenant)}
    assert held.get(document.document_id, 0) == (0 if part == "whole" else before - 1)
    again = await services.reconcile.run(services.tenant, repair=False)
    assert (again.missing, again.extra) == ([], [])
