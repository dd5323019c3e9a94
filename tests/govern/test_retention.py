"""What was withdrawn is deleted when its time is up, and not before."""

from dataclasses import replace
from datetime import timedelta

from app.domain.content import DocumentId
from app.storage import document_rows
from app.wiring import Services
from tests.conftest import caller_as


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
