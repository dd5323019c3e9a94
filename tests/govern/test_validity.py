"""A document is answered from until the end of its validity, and by nobody after it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from app.answer.search import SearchRequest
from app.domain.content import DocumentId
from app.domain.search import SearchLimits
from app.errors import NotFoundError
from app.storage import document_rows
from app.storage.tables import document as table
from app.wiring import Services
from tests.conftest import Gateway, caller_as
from tests.e2e.attack import assert_problem, take_in


async def test_an_expired_document_is_neither_found_nor_opened(services: Services) -> None:
    engineer = await caller_as(services, "engineer")
    request = SearchRequest("When are the offices closed in December?", SearchLimits())
    async with services.database.read() as tx:
        found = await document_rows.find_external(tx, services.tenant, "company", "company/office-closure")
    assert found is not None
    document = found[0]
    for hours, is_served in ((1, True), (-1, False)):
        async with services.database.write() as tx:
            await document_rows.update_document(tx, replace(document, valid_until=datetime.now(UTC) + timedelta(hours=hours)))
        result = await services.search.run(engineer, request)
        assert (document.document_id in {one.document_id for one in result.passages}) is is_served
    with pytest.raises(NotFoundError):
        await services.documents.open(engineer, document.document_id)
    listing = await services.documents.listed(engineer, "company", None, 200)
    assert document.document_id not in {one.document.document_id for one in listing.lines}


async def test_a_correction_does_not_lift_the_end_of_a_document(gateway: Gateway) -> None:
    """An offer that ended tomorrow got its spelling mended, and ended no more."""
    said = {"title": "Offer", "external_id": "offer", "label": "internal"}
    ends = datetime.now(UTC) + timedelta(days=1)

    async def end_of(**body: object) -> datetime | None:
        document_id = await take_in(gateway, "hr", "hr-partner", text=f"The wombat offer, {len(body)}.", **said, **body)
        async with gateway.services.database.read() as tx:
            found = await document_rows.get_document(tx, gateway.services.tenant, DocumentId(document_id))
        assert found is not None
        return found.valid_until

    assert await end_of(valid_until=ends.isoformat()) == ends
    assert await end_of() == ends
    assert await end_of(valid_until=None) is None
    assert await end_of(valid_until=ends.isoformat()) == ends
    # An end that has passed is not taken over unsaid: nobody would find what was handed in.
    async with gateway.services.database.write() as tx:
        past = update(table).where(table.c.external_id == "offer").values(valid_until=datetime.now(UTC) - timedelta(hours=1))
        await tx.connection.execute(past)
    refused = await gateway.post("/v1/collections/hr/documents", "hr-partner", {"text": "The wombat offer.", **said})
    assert assert_problem(refused, 422)["errors"][0]["pointer"] == "/valid_until"
    file = {"file": ("offer.md", b"The wombat offer, at last.", "text/markdown")}
    handed_in = {**said, "valid_until": ""}
    sent = await gateway.client.post("/v1/collections/hr/documents", data=handed_in, files=file, headers=gateway.token("hr-partner"))
    await gateway.until_job(sent.json()["job_id"], "hr-partner", "succeeded")
    shown = await gateway.get(f"/v1/documents/{sent.json()['document_id']}", "hr-partner")
    assert shown.json()["valid_until"] is None
