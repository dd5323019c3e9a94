"""Rights that are not rights to read must not become them: adding text, keeping collections, proving entries, asking why."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.answer.search import SearchRequest
from app.audit.digests import content_digest
from app.domain.access import Acl, AclMode
from app.domain.identity import Principal
from app.domain.search import SearchLimits
from app.errors import AccessDeniedError, NotFoundError
from app.ingest.jobs import Submission
from app.storage import job_rows
from app.storage.job_rows import JobKind, JobState
from app.wiring import Services
from tests.conftest import Gateway, caller_as
from tests.e2e.attack import sample_document, trail

columns = ("laptop", "company")
SEVERANCE = Submission(
    "hr",
    b"The severance of the zebrafish team is 77123 euros.",
    "a.md",
    "text/markdown",
    "Severance note",
    label="secret",
    acl=Acl(AclMode.EXPLICIT, frozenset({Principal("role:sample|hr-partner")})),
    external_id="hr/severance",
)
ZEBRAFISH = SearchRequest("zebrafish severance", SearchLimits(), 50)


async def taken_in(services: Services, person: str, submission: Submission) -> str:
    document_id = (await services.submit.run(await caller_as(services, person), submission)).document_id
    await services.worker.drain()
    return str(document_id)


async def found_by(services: Services, person: str, document_id: str) -> bool:
    try:
        passages = (await services.search.run(await caller_as(services, person), ZEBRAFISH)).passages
    except AccessDeniedError:
        return False
    return document_id in {one.document_id for one in passages}


@pytest.mark.parametrize(
    "changes", [{"label": "public", "acl": Acl.inherited()}, {"label": "public"}, {"acl": Acl.inherited()}, {"label": None, "acl": None}]
)
async def test_the_right_to_add_opens_nothing_that_somebody_else_keeps(services: Services, changes: dict[str, Any]) -> None:
    """Handed in over a secret, a public placeholder once made the version after it, the owner's own, public."""
    document_id = await taken_in(services, "hr-partner", SEVERANCE)
    administrator = await caller_as(services, "administrator")
    placeholder = replace(SEVERANCE, content=b"placeholder", **changes)
    with pytest.raises((AccessDeniedError, NotFoundError)):
        await services.submit.run(administrator, placeholder)
    await taken_in(services, "hr-partner", replace(SEVERANCE, content=b"The zebrafish severance is 88123 euros.", label=None, acl=None))
    for person in ("contractor", "engineer", "administrator"):
        assert not await found_by(services, person, document_id)
    assert await found_by(services, "hr-partner", document_id)
    denied = [one for one in await trail(services) if one["type"] == "action.denied"]
    assert denied[-1]["fields"]["action"] == "ingest"


async def test_who_handed_a_document_in_may_hand_in_its_next_version_though_its_readers_are_others(services: Services) -> None:
    """A feed puts documents before people it is not one of; its own documents it may go on feeding, under the same access."""
    first = replace(SEVERANCE, label="internal", acl=Acl(AclMode.EXPLICIT, frozenset({Principal("role:sample|hr-partner")})))
    document_id = await taken_in(services, "administrator", first)
    assert await taken_in(services, "administrator", replace(first, content=b"The zebrafish severance is 9 euros.")) == document_id
    assert await found_by(services, "hr-partner", document_id)
    assert not await found_by(services, "engineer", document_id)
    with pytest.raises((AccessDeniedError, NotFoundError)):
        await services.submit.run(await caller_as(services, "administrator"), replace(first, acl=Acl.inherited()))


async def test_versions_of_a_document_go_live_in_order_however_many_workers_there_are(services: Services) -> None:
    """A second worker once overtook: version 3, which keeps the label as it is, went live before version 2, which made it secret."""
    steward = await caller_as(services, "hr-partner")
    plain = replace(SEVERANCE, label="internal", acl=None)
    document_id = await taken_in(services, "hr-partner", plain)
    await services.submit.run(steward, replace(plain, label="secret"))
    await services.submit.run(steward, replace(plain, label=None))
    async with services.database.write() as tx:
        second = await job_rows.lease_next(tx, (JobKind.INGEST,))
        assert second is not None
        assert second.version == 2
        assert await job_rows.lease_next(tx, (JobKind.INGEST,)) is None
    await services.worker.ingest.run(second)
    async with services.database.write() as tx:
        await job_rows.finish(tx, second, JobState.SUCCEEDED, None)
    await services.worker.drain()
    opened = await services.documents.open(steward, (await services.submit.run(steward, plain)).document_id)
    assert (opened.document.live_version, opened.document.label) == (3, "secret")
    assert not await found_by(services, "engineer", document_id)


async def test_a_document_handed_in_after_its_withdrawal_is_served_and_nothing_older_with_it(services: Services) -> None:
    steward = await caller_as(services, "hr-partner")
    plain = replace(SEVERANCE, label="internal", acl=None)
    document_id = await taken_in(services, "hr-partner", plain)
    waiting = await services.submit.run(steward, replace(plain, content=b"The zebrafish waits."))
    await services.changes.withdraw(steward, waiting.document_id)
    assert await taken_in(services, "hr-partner", replace(plain, content=b"The zebrafish is back.")) == document_id
    opened = await services.documents.open(steward, waiting.document_id)
    assert "back" in opened.text.text
    async with services.database.read() as tx:
        job = await job_rows.get(tx, services.tenant, waiting.job_id)
    assert job is not None
    assert job.state is JobState.CANCELLED


async def test_no_digest_tells_what_is_hidden(gateway: Gateway) -> None:
    """A reader could try values until the digest of the raw file fitted."""
    document_id = await sample_document(gateway.services, "hr/parental-leave")
    response = await gateway.get(f"/v1/documents/{document_id}", "engineer")
    body = response.json()
    assert body["hidden"]
    assert all(set(one) == {"version", "created_at"} for one in body["versions"])
    assert "sha256" not in response.text
    events = await trail(gateway.services)
    opened = [one for one in events if one["type"] == "document.opened"][-1]
    assert opened["fields"]["content_sha256"] == content_digest(body["text"])
    assert not [one for one in events if one["type"].startswith("document.") and "sha256" in one["fields"]]


async def test_an_officer_reads_no_receipt_of_others_off_the_record(gateway: Gateway) -> None:
    receipt_id = (await gateway.post("/v1/search", "engineer", {"query": "parental leave"})).json()["receipt"]["receipt_id"]
    before = len(await trail(gateway.services))
    assert (await gateway.get(f"/v1/receipts/{receipt_id}", "engineer")).status_code == 200
    assert len(await trail(gateway.services)) == before
    assert (await gateway.get(f"/v1/receipts/{receipt_id}", "compliance-officer")).status_code == 200
    [look] = (await trail(gateway.services))[before:]
    assert look["type"] == "audit.proof.issued"
    assert ["event", receipt_id.removeprefix("rcp_")] in [list(one) for one in look["refs"]]


async def test_asking_why_tells_no_document_that_one_may_not_read(gateway: Gateway) -> None:
    """Some actions are granted on every document: asked about those, a forbidden document was told from an absent one."""
    hidden = await sample_document(gateway.services, "legal/acquisition-memo")
    for action in ("history.read", "generate", "export", "feedback"):
        body = {"document_id": hidden, "action": action}
        response = await gateway.post("/v1/policy/explain", "engineer", body)
        absent = await gateway.post("/v1/policy/explain", "engineer", {**body, "document_id": "doc_0190a5b0-0000-7000-8000-000000000000"})
        assert response.status_code == absent.status_code, action
        assert response.json().get("code") == absent.json().get("code")


async def test_a_document_past_its_time_leaves_no_trace_in_a_search(services: Services) -> None:
    ends = datetime.now(UTC) + timedelta(seconds=1)
    document_id = await taken_in(services, "hr-partner", replace(SEVERANCE, label="internal", acl=None, valid_until=ends))
    held = {one.document_id for one in await services.index.inventory(services.tenant)}
    assert document_id in held
    await asyncio.sleep(max(0.0, (ends - datetime.now(UTC)).total_seconds()))
    await services.reconcile.expire(services.tenant, ends - timedelta(seconds=1), ends + timedelta(seconds=1))
    assert document_id not in {one.document_id for one in await services.index.inventory(services.tenant)}
    assert not await found_by(services, "hr-partner", document_id)


async def test_the_record_that_a_caller_may_fetch_counts_what_was_granted(services: Services) -> None:
    """An index behind its time still held an expired document: the number dropped by the re-check told which words stood in it."""
    await taken_in(services, "hr-partner", replace(SEVERANCE, label="internal", acl=None, valid_until=datetime.now(UTC)))
    await services.search.run(await caller_as(services, "engineer"), ZEBRAFISH)
    fields = [one for one in await trail(services) if one["type"] == "retrieval.executed"][-1]["fields"]
    assert fields["considered"] == len(fields["hits"])
    assert not [name for name in fields if "drop" in name]


async def test_whoever_runs_the_service_does_not_lift_redaction_on_the_side(gateway: Gateway) -> None:
    async def change(person: str, **settings: object) -> int:
        response = await gateway.client.patch("/v1/collections/hr", json=settings, headers=gateway.token(person))
        return response.status_code

    for settings in ({"redaction_profile": "published"}, {"default_label": "public"}, {"model_routing": "elsewhere"}):
        assert await change("administrator", **settings) == 403
    assert await change("administrator", title="People") == 200
    # Nor by making a new collection: only as it comes.
    made = {"name": "people-files", "title": "People"}
    for settings in ({"redaction_profile": "published"}, {"default_label": "public"}):
        assert (await gateway.post("/v1/collections", "administrator", {**made, **settings})).status_code == 403
    assert (await gateway.post("/v1/collections", "administrator", made)).status_code == 201
    assert await change("policy-steward", redaction_profile="standard") == 200
    assert await change("policy-steward", title="People", redaction_profile="strict") == 403


async def test_what_is_personal_is_stored_by_nobody_on_the_way(gateway: Gateway) -> None:
    calls = ("/v1/me", "/v1/collections", "/v1/conversations", "/v1/policy/active", "/v1/documents", "/v1/audit/checkpoint")
    for path in calls:
        response = await gateway.get(path, "engineer")
        assert response.status_code == 200, path
        assert response.headers["cache-control"] == "no-store", path
    styled = await gateway.client.get("/static/tokens.css")
    assert "no-store" not in styled.headers.get("cache-control", "")


async def test_a_purpose_that_is_not_assigned_is_refused_on_the_record(gateway: Gateway) -> None:
    body = {"query": "parental leave"}
    for headers, asked in (({"X-Purpose": "zq7-purpose"}, body), ({}, {**body, "purpose": "zq7-purpose"})):
        before = len(await trail(gateway.services))
        assert (await gateway.post("/v1/search", "engineer", asked, **headers)).status_code == 403
        [refusal] = (await trail(gateway.services))[before:]
        assert (refusal["type"], refusal["outcome"], refusal["reason_code"]) == ("action.denied", "deny", "purpose_not_assigned")
        assert "zq7" not in str(refusal)
