"""What was withdrawn is deleted when its time is up, and not before."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import orjson
import pytest
from sqlalchemy import update

from app.domain.content import DocumentId, DocumentState
from app.domain.identity import TenantId
from app.storage import document_rows
from app.storage.audit_rows import EventQuery
from app.storage.tables import document_version
from app.wiring import Services
from tests.conftest import Gateway, caller_as
from tests.e2e.attack import sample_document

columns = ("laptop", "company")


async def _versions(services: Services, document_id: DocumentId) -> int:
    async with services.database.read() as tx:
        return len(await document_rows.list_versions(tx, document_id))


async def test_the_text_goes_when_its_time_is_up_and_the_record_stays(services: Services) -> None:
    administrator = await caller_as(services, "administrator")
    async with services.database.read() as tx:
        found = await document_rows.find_external(tx, services.tenant, "company", "company/travel-policy")
    assert found is not None
    document_id = found[0].document_id
    await services.changes.withdraw(administrator, document_id)
    assert await services.retention.run(services.tenant) == 0
    assert await _versions(services, document_id) >= 1
    due = replace(services.retention, purge_after=timedelta(0))
    assert await due.run(services.tenant) == 1
    assert await _versions(services, document_id) == 0
    assert await due.run(services.tenant) == 0
    assert (await services.trail.verify(services.tenant)).is_intact


async def test_what_a_collection_keeps_no_longer_is_withdrawn_and_the_rest_stays(gateway: Gateway) -> None:
    """The setting was kept and read by nothing."""
    services = gateway.services
    await services.collections.update(await caller_as(services, "administrator"), "company", {"retention_days": 30})
    old, fresh = [DocumentId(await sample_document(services, one)) for one in ("company/travel-policy", "company/office-closure")]
    async with services.database.write() as tx:
        past = update(document_version).where(document_version.c.document_id == old)
        await tx.connection.execute(past.values(created_at=datetime.now(UTC) - timedelta(days=31)))
    assert await services.retention.run(services.tenant) == 0
    async with services.database.read() as tx:
        states = [(await document_rows.get_document(tx, services.tenant, one)).state for one in (old, fresh)]
        events = await services.audit.search(tx, services.tenant, EventQuery(type="document.withdrawn"))
    assert states == [DocumentState.WITHDRAWN, DocumentState.LIVE]
    assert [orjson.loads(one.leaf)["reason_code"] for one in events] == ["retention"]
    found = (await gateway.post("/v1/search", "engineer", {"query": "travel policy"})).json()
    assert old not in {one["document_id"] for one in found["passages"]}
    assert (await services.reconcile.run(services.tenant, repair=False)).is_right
    # Withdrawn only: its text is deleted when its time is up as well.
    assert await _versions(services, old) >= 1


async def test_more_than_a_handful_is_deleted_in_one_run(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    services = gateway.services
    monkeypatch.setattr("app.govern.retention._AT_ONCE", 2)
    async with services.database.read() as tx:
        listed = await document_rows.list_documents(tx, services.tenant, "company", None, 7)
    for one in listed:
        await services.changes.withdraw(await caller_as(services, "administrator"), one.document_id)
    assert await replace(services.retention, purge_after=timedelta(0)).run(services.tenant) == len(listed) > 4


async def test_what_is_handed_in_again_meanwhile_is_kept(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    services = gateway.services
    document_id = DocumentId(await sample_document(services, "company/travel-policy"))
    await services.changes.withdraw(await caller_as(services, "administrator"), document_id)
    enters = type(services.retention)._purge

    async def hand_in_first(flow: Any, tenant: TenantId, one: DocumentId, before: datetime) -> bool:  # noqa: ANN401 - the flow
        body = {"title": "Travel", "text": "The wombat allowance is 3 euros a day.", "external_id": "company/travel-policy"}
        job = (await gateway.post("/v1/collections/company/documents", "administrator", body)).json()
        assert job["document_id"] == document_id
        await gateway.until_job(job["job_id"], "administrator", "succeeded")
        return await enters(flow, tenant, one, before)

    monkeypatch.setattr(type(services.retention), "_purge", hand_in_first)
    assert await replace(services.retention, purge_after=timedelta(0)).run(services.tenant) == 0
    found = (await gateway.post("/v1/search", "engineer", {"query": "wombat allowance"})).json()
    assert any("wombat" in one["text"] for one in found["passages"])
    assert (await services.reconcile.run(services.tenant, repair=False)).is_right


async def test_others_write_while_the_index_is_asked_and_what_they_hand_in_then_is_found(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The turn to write was held across the request: an index that hung kept every writer waiting."""
    services = gateway.services
    document_id = DocumentId(await sample_document(services, "company/travel-policy"))
    await services.changes.withdraw(await caller_as(services, "administrator"), document_id)
    kind = type(services.index)
    remove = kind.remove

    async def handed_in_meanwhile(index: Any, tenant: TenantId, one: DocumentId, *rest: Any) -> None:  # noqa: ANN401 - as the engine's own
        body = {"title": "Travel", "text": "The wombat allowance is 3 euros a day.", "external_id": "company/travel-policy"}
        job = (await gateway.post("/v1/collections/company/documents", "administrator", body)).json()
        await gateway.until_job(job["job_id"], "administrator", "succeeded")
        await remove(index, tenant, one, *rest)

    monkeypatch.setattr(kind, "remove", handed_in_meanwhile)
    assert await replace(services.retention, purge_after=timedelta(0)).run(services.tenant) == 0
    monkeypatch.undo()
    await services.reconcile.run(services.tenant, repair=True)
    found = (await gateway.post("/v1/search", "engineer", {"query": "wombat allowance"})).json()
    assert any("wombat" in one["text"] for one in found["passages"])


async def test_a_clock_that_is_ahead_deletes_nothing(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one process with a wrong clock deleted was gone for all."""
    document_id = DocumentId(await sample_document(services, "company/travel-policy"))
    await services.changes.withdraw(await caller_as(services, "administrator"), document_id)

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Ahead":
            return cls.fromtimestamp((datetime.now(tz) + timedelta(days=3000)).timestamp(), tz)

    monkeypatch.setattr("app.govern.retention.datetime", Ahead)
    assert await services.retention.run(services.tenant) == 0
    assert await _versions(services, document_id) >= 1
