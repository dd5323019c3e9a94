"""What a version was handed in under, and what may be done for its submitter, at the moment when it goes live at last.

On the servers only, where workers are late: the flow is the one of test_asked_access.py, which runs on both columns.
"""

from dataclasses import replace
from typing import Any

import pytest

from app.domain.access import Acl, AclMode
from app.domain.content import Document, DocumentId
from app.domain.identity import Principal
from app.ingest.document import IngestDocument
from app.storage import document_rows, job_rows
from app.storage.job_rows import Job
from tests.conftest import Gateway, caller_as
from tests.e2e.test_dead_letters import failed
from tests.ingest.test_asked_access import SECRET, SHUT, WIDE, activate, hand_in, meanwhile, seen

columns = ("company",)


async def test_what_waits_under_a_label_that_policy_no_longer_knows_is_refused(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    await activate(gateway, WIDE + SHUT, "  board: 1\n")
    monkeypatch.setattr(job_rows, "MAX_ATTEMPTS", 1)
    meanwhile(monkeypatch, lambda: activate(gateway, WIDE))
    document_id = await hand_in(gateway, SECRET, "board", "failed")
    assert not (await seen(gateway, document_id))[2]


async def hand_in_unsaid(gateway: Gateway, text: str = SECRET) -> DocumentId:
    """A version without a word on who may read it."""
    taken = await gateway.post("/v1/collections/hr/documents", "hr-partner", {"title": "Deal", "text": text, "external_id": "deal"})
    assert taken.status_code == 202, taken.text
    await gateway.until_job(taken.json()["job_id"], "hr-partner", "succeeded")
    return DocumentId(taken.json()["document_id"])


@pytest.mark.parametrize("failed_before", [False, True], ids=["waiting", "failed"])
async def test_who_says_no_label_hands_in_under_the_one_that_the_document_has_then(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, *, failed_before: bool
) -> None:
    """A steward lowered the label of what was live, the lunch; the merger that waited went live under it."""
    document_id = await hand_in(gateway, "The lunch is at noon.", "confidential")
    steward = await caller_as(gateway.services, "hr-partner")
    if failed_before:
        job_id = await failed(gateway, monkeypatch, {"title": "Deal", "text": SECRET, "external_id": "deal"})
        await gateway.services.changes.change_label(steward, document_id, "internal")
        assert (await gateway.post(f"/v1/jobs/{job_id}/retry", "hr-partner", {})).status_code == 200
        await gateway.until_job(job_id, "hr-partner", "succeeded")
    else:
        meanwhile(monkeypatch, lambda: gateway.services.changes.change_label(steward, document_id, "internal"))
        await hand_in_unsaid(gateway)
    assert (await seen(gateway, document_id))[::2] == ("confidential", False)


async def test_who_names_no_readers_hands_in_for_those_that_the_document_has_then(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    document_id = await hand_in(gateway, "The lunch is at noon.", "internal")
    steward = await caller_as(gateway.services, "hr-partner")
    narrow = Acl(AclMode.EXPLICIT, frozenset({Principal("role:sample|hr-partner")}))
    await gateway.services.changes.change_acl(steward, document_id, narrow)
    meanwhile(monkeypatch, lambda: gateway.services.changes.change_acl(steward, document_id, Acl.inherited()))
    await hand_in_unsaid(gateway)
    assert not (await seen(gateway, document_id))[2]


async def test_who_says_no_label_takes_the_one_of_the_version_that_still_waits(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    document_id = await hand_in(gateway, "The lunch is at noon.", "confidential")
    bodies = ({"label": "internal", "text": "The lunch is at one."}, {"text": SECRET})
    with monkeypatch.context() as held:
        # Nobody works until both are handed in.
        held.setattr(job_rows, "_next", nothing)
        jobs = [
            (await gateway.post("/v1/collections/hr/documents", "hr-partner", {"title": "Deal", "external_id": "deal", **body})).json()[
                "job_id"
            ]
            for body in bodies
        ]
    for job_id in jobs:
        await gateway.until_job(job_id, "hr-partner", "succeeded")
    assert (await seen(gateway, document_id))[::2] == ("internal", True)


async def nothing(*_: Any, **__: Any) -> None:  # noqa: ANN401 - whatever the queue is asked
    """No job."""


async def test_who_says_a_lower_label_than_the_version_that_waits_needs_the_right_to_change_it(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An administrator may add text and change no access: the label that was said was the live one, and undid the stricter one."""
    document_id = await hand_in(gateway, "The lunch is at noon.", "internal")
    with monkeypatch.context() as held:
        held.setattr(job_rows, "_next", nothing)
        jobs = []
        for person, body in (
            ("hr-partner", {"label": "confidential", "text": "Soup."}),
            ("administrator", {"label": "internal", "text": SECRET}),
        ):
            taken = await gateway.post("/v1/collections/hr/documents", person, {"title": "Deal", "external_id": "deal", **body})
            assert taken.status_code == 202, taken.text
            jobs.append((taken.json()["job_id"], person))
    for job_id, person in jobs:
        await gateway.until_job(job_id, person, "succeeded")
    assert (await seen(gateway, document_id))[::2] == ("confidential", False)


async def test_a_change_of_policy_refuses_nobody_who_asked_for_no_change_of_access(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    document_id = await hand_in(gateway, "The lunch is at noon.", "confidential")
    steward = await caller_as(gateway.services, "hr-partner")

    async def lowered_and_edited() -> None:
        await gateway.services.changes.change_label(steward, document_id, "internal")
        await activate(gateway, "role:sample|nobody,sample,hr,*,read,*,allow,No matter\n")

    meanwhile(monkeypatch, lowered_and_edited)
    body = {"title": "Deal", "text": SECRET, "external_id": "deal"}
    taken = await gateway.post("/v1/collections/hr/documents", "administrator", body)
    assert taken.status_code == 202, taken.text
    await gateway.until_job(taken.json()["job_id"], "administrator", "succeeded")
    assert (await seen(gateway, document_id))[::2] == ("confidential", False)


@pytest.mark.parametrize("lost", ["acl.write", "ingest"])
async def test_what_waits_goes_live_by_the_rights_of_that_moment(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, lost: str) -> None:
    """During an outage of the index whoever lost the right to change access had hours: the label that they had lowered was applied."""
    document_id = await hand_in(gateway, "The lunch is at noon.", "confidential")
    monkeypatch.setattr(job_rows, "MAX_ATTEMPTS", 1)
    meanwhile(monkeypatch, lambda: activate(gateway, f"role:sample|hr-partner,sample,hr,*,{lost},*,deny,Taken back\n"))
    # What was handed in is kept: a mistaken rule is put right, and it can be tried again.
    await hand_in(gateway, SECRET, "internal", "failed")
    assert (await seen(gateway, document_id))[::2] == ("confidential", False)


async def test_who_says_no_label_takes_the_one_of_a_version_that_failed_and_may_be_tried_again(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    document_id = await hand_in(gateway, "The lunch is at noon.", "internal")
    await failed(gateway, monkeypatch, {"title": "Deal", "text": SECRET, "label": "confidential", "external_id": "deal"})
    await hand_in_unsaid(gateway)
    assert (await seen(gateway, document_id))[::2] == ("confidential", False)


async def test_what_is_overtaken_at_the_last_moment_is_told_so(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tried again beside a newer version it ended as a success, with its label nowhere."""
    await hand_in(gateway, "The lunch is at noon.", "internal")
    job_id = await failed(gateway, monkeypatch, {"title": "Deal", "text": "Soup.", "label": "confidential", "external_id": "deal"})
    flip, is_newer_live = IngestDocument._flip, []

    async def overtaken(flow: IngestDocument, job: Job, *rest: Any) -> Document | None:  # noqa: ANN401 - as the flow's own
        if job.job_id == job_id and not is_newer_live:
            is_newer_live.append(True)
            async with flow.database.write() as tx:
                current = await document_rows.get_document(tx, job.tenant, job.document_id)
                assert current is not None
                await document_rows.update_document(tx, replace(current, live_version=job.version + 1), job.version + 1)
        return await flip(flow, job, *rest)

    monkeypatch.setattr(IngestDocument, "_flip", overtaken)
    assert (await gateway.post(f"/v1/jobs/{job_id}/retry", "hr-partner", {})).status_code == 200
    await gateway.until_job(job_id, "hr-partner", "quarantined")
    assert is_newer_live
