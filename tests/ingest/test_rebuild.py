"""The index is built anew beside the one that serves: no search fails or differs meanwhile, and no change made meanwhile is lost."""

import asyncio
import itertools
from dataclasses import replace
from typing import Any

import pytest

from app.domain.access import Acl, AclMode
from app.errors import ConfigurationError
from app.index.opensearch.heads import Heads
from app.ingest import alignment, rebuild
from app.ingest.document import IngestDocument
from app.ingest.rebuild import RebuildIndex
from app.storage import document_rows
from app.wiring import Services
from tests.conftest import Gateway, caller_as
from tests.ingest.test_late_moments import NEW, OLD, hand_in
from tests.ingest.test_long_documents import is_found, lease

columns = ("company",)
LEAVE = {"query": "How much parental leave do I get?"}


async def shown(gateway: Gateway, person: str = "engineer", query: dict[str, str] = LEAVE) -> list[tuple[str, str]]:
    response = await gateway.post("/v1/search", person, query)
    assert response.status_code == 200, response.text
    return [(one["passage_id"], one["text"]) for one in response.json()["passages"]]


async def indexes(services: Services) -> list[str]:
    found = await services.index.cluster.ask("GET", f"/{services.settings.opensearch_prefix}-*/_alias")  # type: ignore[attr-defined]  # OpenSearch's
    return sorted(name for name, one in found.items() if one["aliases"])


def silent(_done: int, _total: int) -> None:
    pass


async def test_searches_go_on_while_it_is_built_and_answer_the_same(gateway: Gateway) -> None:
    services = gateway.services
    assert services.rebuild is not None
    before, serving = await shown(gateway), await indexes(services)
    held = {one.document_id: one for one in await services.index.inventory(services.tenant)}
    building = asyncio.create_task(services.rebuild.run(services.tenant, silent))
    searches = 0
    while not building.done():
        assert await shown(gateway) == before
        searches += 1
    assert await building == len(held)
    assert searches > 5
    assert await shown(gateway) == before
    assert await indexes(services) != serving
    assert {one.document_id: one for one in await services.index.inventory(services.tenant)} == held
    assert await services.rebuild.confirm(services.tenant)
    assert not await services.rebuild.confirm(services.tenant)
    assert await shown(gateway) == before
    assert (await services.reconcile.run(services.tenant, repair=False)).is_right


async def test_changes_made_while_it_is_built_hold_in_the_new_one(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """One document is withdrawn, one closed and one replaced just after each was copied, and another just before."""
    services = gateway.services
    assert services.rebuild is not None
    steward = await caller_as(services, "hr-partner")
    async with services.database.read() as tx:
        standing = await document_rows.standings(tx, services.tenant)
        mine = [name for name, one in standing.items() if one.collection == "hr" and one.live_version is not None]
        documents = {name: await document_rows.get_document(tx, services.tenant, name) for name in mine}
    plain = [name for name, one in documents.items() if one is not None and one.acl.mode is AclMode.INHERIT and one.label == "internal"]
    withdrawn, closed, replaced, *_ = plain
    copied = RebuildIndex._copy

    async def then_change(flow: RebuildIndex, tenant: Any, document_id: Any) -> None:  # noqa: ANN401 - as the flow's own
        await copied(flow, tenant, document_id)
        if document_id == withdrawn:
            await services.changes.withdraw(steward, withdrawn)
        if document_id == closed:
            await services.changes.change_acl(steward, closed, Acl(AclMode.INHERIT, deny=frozenset({"role:sample|nobody", *_everyone()})))
        if document_id == replaced:
            body = {"title": "Replaced", "text": "The wombat allowance is 3 euros.", "external_id": documents[replaced].external_id}  # type: ignore[union-attr]  # it is there
            job = (await gateway.post("/v1/collections/hr/documents", "hr-partner", body)).json()["job_id"]
            await gateway.until_job(job, "hr-partner", "succeeded")

    monkeypatch.setattr(RebuildIndex, "_copy", then_change)
    await services.rebuild.run(services.tenant, silent)
    monkeypatch.undo()
    held = {one.document_id: one for one in await services.index.inventory(services.tenant)}
    assert withdrawn not in held
    assert held[replaced].live_version == standing[replaced].live_version + 1
    assert held[closed].acl_version == standing[closed].acl_version + 1
    assert any("wombat" in text for _, text in await shown(gateway, "hr-partner", {"query": "wombat allowance"}))
    assert all(not name.startswith((withdrawn, closed)) for name, _ in await shown(gateway, "engineer"))
    assert (await services.reconcile.run(services.tenant, repair=False)).missing == []


def _everyone() -> set[str]:
    return {"group:sample|all-employees"}


async def test_a_build_that_was_cut_off_goes_on_where_it_was(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    services = gateway.services
    assert services.rebuild is not None
    before, serving = await shown(gateway), await indexes(services)
    done: list[str] = []
    copied = RebuildIndex._copy

    async def half(flow: RebuildIndex, tenant: Any, document_id: Any) -> None:  # noqa: ANN401 - as the flow's own
        if len(done) == 10:
            raise KeyboardInterrupt
        await copied(flow, tenant, document_id)
        done.append(document_id)

    monkeypatch.setattr(RebuildIndex, "_copy", half)
    with pytest.raises(KeyboardInterrupt):
        await services.rebuild.run(services.tenant, silent)
    assert await indexes(services) == serving
    assert await shown(gateway) == before
    again: list[str] = []

    async def noted(flow: RebuildIndex, tenant: Any, document_id: Any) -> None:  # noqa: ANN401 - as the flow's own
        again.append(document_id)
        await copied(flow, tenant, document_id)

    monkeypatch.setattr(RebuildIndex, "_copy", noted)
    await services.rebuild.run(services.tenant, silent)
    assert not set(again) & set(done)
    assert await shown(gateway) == before


async def test_one_that_does_not_come_out_right_is_not_swapped_in(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    services = gateway.services
    assert services.rebuild is not None
    before, serving = await shown(gateway), await indexes(services)
    monkeypatch.setattr(rebuild, "_PASSES", 2)
    copied = alignment.indexed_chunks
    monkeypatch.setattr(alignment, "indexed_chunks", lambda analyzed: copied(replace(analyzed, chunks=analyzed.chunks[:1])))
    with pytest.raises(ConfigurationError, match="still serves"):
        await services.rebuild.run(services.tenant, silent)
    assert await indexes(services) == serving
    monkeypatch.undo()
    await services.reconcile.run(services.tenant, repair=True)
    await services.worker.drain()
    assert await shown(gateway) == before


async def test_a_change_of_access_is_taken_while_a_document_is_copied(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one write lock was held for each copy: with an index that answers slowly, revocations were refused as the database was busy."""
    services = gateway.services
    assert services.rebuild is not None
    steward = await caller_as(services, "hr-partner")
    kind = type(services.index)
    put_version, closed = kind.put_version, []

    async def closed_meanwhile(index: Any, facts: Any, *rest: Any) -> None:  # noqa: ANN401 - as the engine's own
        if facts.collection == "hr" and not closed:
            closed.append(facts)
            await services.changes.change_acl(steward, facts.document_id, Acl(AclMode.EXPLICIT))
        await put_version(index, facts, *rest)

    monkeypatch.setattr(kind, "put_version", closed_meanwhile)
    await services.rebuild.run(services.tenant, silent)
    monkeypatch.undo()
    held = {one.document_id: one.acl_version for one in await services.index.inventory(services.tenant)}
    assert held[closed[0].document_id] == closed[0].acl_version + 1
    assert (await services.reconcile.run(services.tenant, repair=False)).is_right


async def test_a_second_run_before_the_confirmation_is_refused(gateway: Gateway) -> None:
    """It put the old index back, and the confirmation after it deleted the new one."""
    services = gateway.services
    assert services.rebuild is not None
    await services.rebuild.run(services.tenant, silent)
    serving = await indexes(services)
    with pytest.raises(ConfigurationError, match="rebuild --confirm"):
        await services.rebuild.run(services.tenant, silent)
    assert await indexes(services) == serving
    assert await services.rebuild.confirm(services.tenant)
    assert await indexes(services) == serving
    assert (await services.reconcile.run(services.tenant, repair=False)).is_right


async def test_an_index_that_was_lost_is_rebuilt(gateway: Gateway) -> None:
    services = gateway.services
    assert services.rebuild is not None
    before = await shown(gateway)
    (serving,) = await indexes(services)
    await services.index.cluster.ask("DELETE", f"/{serving}")  # type: ignore[attr-defined]  # OpenSearch's
    response = await gateway.post("/v1/search", "engineer", LEAVE)
    assert response.status_code == 503
    await services.rebuild.run(services.tenant, silent)
    await services.reconcile.run(services.tenant, repair=True)
    await services.worker.drain()
    assert await shown(gateway) == before


async def test_what_goes_live_between_comparison_and_swap_is_in_the_new_index(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    assert services.rebuild is not None
    await hand_in(services, OLD)
    await services.worker.drain()
    await hand_in(services, NEW)
    mine, reached, go = await lease(services), asyncio.Event(), asyncio.Event()
    flip = IngestDocument._flip

    async def held_up(*of: object) -> object:
        reached.set()
        await go.wait()
        return await flip(*of)  # type: ignore[arg-type]  # handed on as it came

    monkeypatch.setattr(IngestDocument, "_flip", held_up)
    working = asyncio.create_task(services.worker.ingest.run(mine))
    await reached.wait()
    generations = type(services.rebuild.generations)
    swap = generations.swap

    async def late(*of: object) -> None:
        go.set()
        await working
        await swap(*of)  # type: ignore[arg-type]  # handed on as it came

    monkeypatch.setattr(generations, "swap", late)
    await services.rebuild.run(services.tenant, silent)
    assert await is_found(services)
    assert not (await services.reconcile.run(services.tenant, repair=False)).missing


class KilledError(BaseException):
    """No handler runs."""


async def test_a_swap_that_was_cut_off_between_alias_and_record_is_seen_through(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old generation was compared with the register for ever, and what had gone live in it only was found by nobody."""
    assert services.rebuild is not None
    await hand_in(services, OLD)
    await services.worker.drain()
    await hand_in(services, NEW)
    mine, reached, go = await lease(services), asyncio.Event(), asyncio.Event()
    flip, generations = IngestDocument._flip, type(services.rebuild.generations)
    swap = generations.swap

    async def held_up(*of: Any) -> object:  # noqa: ANN401 - as the flow's own
        reached.set()
        await go.wait()
        return await flip(*of)

    async def killed(*_: object) -> None:
        raise KilledError

    async def late(*of: Any) -> None:  # noqa: ANN401 - as the engine's own
        go.set()
        await working
        monkeypatch.setattr(Heads, "put_generations", killed)
        await swap(*of)

    monkeypatch.setattr(IngestDocument, "_flip", held_up)
    monkeypatch.setattr(generations, "swap", late)
    working = asyncio.create_task(services.worker.ingest.run(mine))
    await reached.wait()
    with pytest.raises(KilledError):
        await services.rebuild.run(services.tenant, silent)
    monkeypatch.undo()
    await services.reconcile.run(services.tenant, repair=True)
    await services.worker.drain()
    assert await is_found(services)
    assert (await services.reconcile.run(services.tenant, repair=False)).is_right


async def test_it_comes_to_an_end_where_something_always_changes(services: Services) -> None:
    """Ten comparisons in a row found something that had changed since the register was read, and the index was blamed."""
    assert services.rebuild is not None
    steward = await caller_as(services, "hr-partner")
    async with services.database.read() as tx:
        listed = await document_rows.list_documents(tx, services.tenant, "hr", None, 10)
    mine = [one.document_id for one in listed if one.acl == Acl.inherited() and one.live_version is not None][:3]

    async def busy() -> None:
        for document_id in itertools.cycle(mine):
            await services.changes.change_acl(steward, document_id, Acl.inherited())

    changing = asyncio.create_task(busy())
    await services.rebuild.run(services.tenant, silent)
    assert not changing.done()
    changing.cancel()
    await asyncio.gather(changing, return_exceptions=True)
    assert (await services.reconcile.run(services.tenant, repair=True)).is_mended
