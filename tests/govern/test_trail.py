"""An officer finds a person by the pseudonym the pages show, and each look stands in the log with its case."""

from app.domain.audit import EventId
from app.govern.trail import TrailRequest
from app.storage.audit_rows import EventQuery
from app.wiring import Services
from tests.conftest import caller_as


async def test_a_pseudonym_finds_its_actor_and_looks_are_on_record_with_their_case(services: Services) -> None:
    engineer, officer = await caller_as(services, "engineer"), await caller_as(services, "compliance-officer")
    await services.feedback.request_access(engineer, "the budget", "planning")
    pseudonym = services.trail.pseudonym(engineer.subject.subject_id)
    assert "engineer" not in pseudonym
    rows = await services.trail.search(officer, TrailRequest(EventQuery(actor=pseudonym), "CASE-9", "check"))
    assert {one.event["actor"] for one in rows} == {engineer.subject.subject_id}
    await services.trail.proof(officer, EventId(rows[0].event["event_id"]), "CASE-9")
    looks = await services.trail.search(officer, TrailRequest(EventQuery(actor=officer.subject.subject_id), "CASE-9", "check"))
    cases = [one.event["fields"]["case_id"] for one in looks if one.event["type"].startswith("audit.")]
    assert cases[:2] == ["CASE-9", "CASE-9"]
