"""A document is answered from until the end of its validity, and by nobody after it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.answer.search import SearchRequest
from app.domain.search import SearchLimits
from app.errors import NotFoundError
from app.storage import document_rows
from app.wiring import Services
from tests.conftest import caller_as


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
