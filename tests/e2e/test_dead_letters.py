"""What was handed in and did not get in: its stewards see it and can have it tried again or drop it; nobody else learns of it."""

from typing import Any

import pytest

from app.errors import ConfigurationError
from app.policy.bundle import read_folder
from app.storage import job_rows
from tests.conftest import ROOT, Gateway
from tests.e2e.attack import assert_problem, trail
from tests.e2e.test_logout import signed_in

columns = ("laptop", "company")
_REASON = "The index holds vectors of another model: rebuild it."
BODY = {"title": "Dead letter", "text": "The okapi allowance is 7 euros.", "external_id": "okapi"}


async def failed(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, body: dict[str, str] = BODY) -> str:
    """The id of a job that failed as often as it may."""
    monkeypatch.setattr(job_rows, "MAX_ATTEMPTS", 1)

    async def wrong(*_: Any, **__: Any) -> None:  # noqa: ANN401 - whatever the index is given
        raise ConfigurationError(_REASON)

    with monkeypatch.context() as patch:
        for services in {id(one): one for one in gateway.replicas}.values():
            patch.setattr(services.index, "put_version", wrong)
        handed_in = (await gateway.post("/v1/collections/hr/documents", "hr-partner", body)).json()
        await gateway.until_job(handed_in["job_id"], "hr-partner", "failed")
    return str(handed_in["job_id"])


async def test_a_failed_job_keeps_what_was_handed_in_and_is_tried_again(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = await failed(gateway, monkeypatch)
    listed = (await gateway.get("/v1/jobs", "hr-partner")).json()["items"]
    assert [(one["job_id"], one["error"]) for one in listed] == [(job_id, _REASON)]
    assert (await gateway.post(f"/v1/jobs/{job_id}/retry", "hr-partner", {})).status_code == 200
    await gateway.until_job(job_id, "hr-partner", "succeeded")
    found = (await gateway.post("/v1/search", "hr-partner", {"query": "okapi allowance"})).json()
    assert any("okapi" in one["text"] for one in found["passages"])
    again = await gateway.post(f"/v1/jobs/{job_id}/retry", "hr-partner", {})
    assert again.status_code == 409


async def test_what_a_newer_version_overtook_is_told_so(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tried again it ended as succeeded, and the label that it was handed in with was nowhere."""
    job_id = await failed(gateway, monkeypatch, {**BODY, "label": "confidential"})
    newer = (await gateway.post("/v1/collections/hr/documents", "hr-partner", {**BODY, "text": "The okapi allowance is 8 euros."})).json()
    await gateway.until_job(newer["job_id"], "hr-partner", "succeeded")
    assert (await gateway.post(f"/v1/jobs/{job_id}/retry", "hr-partner", {})).status_code == 200
    await gateway.until_job(job_id, "hr-partner", "quarantined")
    assert "A newer version is live" in (await gateway.get(f"/v1/jobs/{job_id}", "hr-partner")).json()["error"]
    found = (await gateway.post("/v1/search", "hr-partner", {"query": "okapi allowance"})).json()
    assert {"8 euros" in one["text"] for one in found["passages"] if "okapi" in one["text"]} == {True}


async def test_what_was_handed_in_for_a_withdrawn_document_goes_with_it(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was kept for weeks and could be tried again, to end as a success that never was."""
    job_id = await failed(gateway, monkeypatch)
    document_id = (await gateway.get(f"/v1/jobs/{job_id}", "hr-partner")).json()["document_ids"][0]
    assert (await gateway.client.delete(f"/v1/documents/{document_id}", headers=gateway.token("hr-partner"))).status_code == 204
    assert (await gateway.get("/v1/jobs", "hr-partner")).json()["items"] == []
    assert (await gateway.post(f"/v1/jobs/{job_id}/retry", "hr-partner", {})).status_code in {404, 409}
    async with gateway.services.database.read() as tx:
        kept = (await tx.connection.exec_driver_sql(f"SELECT state, content FROM job WHERE job_id = '{job_id}'")).one()  # noqa: S608 - our own id
    assert tuple(kept) == ("cancelled", None)


async def test_a_dropped_job_is_gone_with_its_content(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = await failed(gateway, monkeypatch)
    assert (await gateway.post(f"/v1/jobs/{job_id}/cancel", "hr-partner", {})).json()["state"] == "cancelled"
    assert (await gateway.get("/v1/jobs", "hr-partner")).json()["items"] == []
    async with gateway.services.database.read() as tx:
        content = (await tx.connection.exec_driver_sql(f"SELECT content FROM job WHERE job_id = '{job_id}'")).scalar_one()  # noqa: S608 - our own id
    assert content is None


async def give(gateway: Gateway, *actions: str) -> None:
    """Let engineers do more with the handbook."""
    files = {name: text for name, text in read_folder(ROOT / "policies").items() if not name.startswith("cases/")}
    rows = "".join(f"group:sample|engineering,sample,handbook,*,{action},*,allow,For a while\n" for action in actions)
    files["rules.csv"] = files["rules.csv"].rstrip() + "\n" + rows
    await gateway.services.activate.run(gateway.services.tenant, files, "user:administrator")


async def test_the_file_name_of_anothers_job_needs_the_right_to_see_personal_data(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has looked for personal data in it: what could not be read has no spans."""
    monkeypatch.setattr(job_rows, "MAX_ATTEMPTS", 1)
    file = {"file": ("Wendeline Okapi, warning letter.pdf", b"no document at all", "application/pdf")}
    sent = await gateway.client.post("/v1/collections/handbook/documents", files=file, headers=gateway.token("administrator"))
    await gateway.until_job(sent.json()["job_id"], "administrator", "quarantined")
    await give(gateway, "ingest")
    seen = {person: (await (await signed_in(gateway, person)).get("/documents")).text for person in ("administrator", "engineer")}
    assert "Wendeline" in seen["administrator"]
    assert "Not taken in" in seen["engineer"]
    assert "Wendeline" not in seen["engineer"]
    await give(gateway, "ingest", "read_pii")
    assert "Wendeline" in (await (await signed_in(gateway, "engineer")).get("/documents")).text


async def test_nobody_else_learns_of_it(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = await failed(gateway, monkeypatch)
    for person in ("engineer", "contractor", "compliance-officer"):
        assert (await gateway.get("/v1/jobs", person)).json()["items"] == []
        for path in (f"/v1/jobs/{job_id}/retry", f"/v1/jobs/{job_id}/cancel"):
            assert (await gateway.post(path, person, {})).status_code == 404
        assert (await gateway.get(f"/v1/jobs/{job_id}", person)).status_code == 404
    assert (await gateway.get(f"/v1/jobs/{job_id}", "hr-partner")).json()["state"] == "failed"


async def test_whoever_lost_the_right_to_hand_in_has_nothing_tried_again(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = await failed(gateway, monkeypatch)
    files = {name: text for name, text in read_folder(ROOT / "policies").items() if not name.startswith("cases/")}
    files["rules.csv"] = "\n".join(line for line in files["rules.csv"].splitlines() if "ingest" not in line) + "\n"
    await gateway.services.activate.run(gateway.services.tenant, files, "user:administrator")
    assert (await gateway.post("/v1/collections/hr/documents", "hr-partner", BODY)).status_code == 403
    for path in ("retry", "cancel"):
        assert (await gateway.post(f"/v1/jobs/{job_id}/{path}", "hr-partner", {})).status_code == 404
    assert (await gateway.get(f"/v1/jobs/{job_id}", "hr-partner")).json()["state"] == "failed"


async def test_trying_again_changes_no_label_that_nobody_may_change_any_more(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever handed it in with a lower label may not change labels any more: handed in anew it was refused, tried again not."""
    body = {**BODY, "label": "confidential"}
    taken = (await gateway.post("/v1/collections/hr/documents", "hr-partner", body)).json()
    await gateway.until_job(taken["job_id"], "hr-partner", "succeeded")
    job_id = await failed(gateway, monkeypatch, {**BODY, "label": "internal"})
    files = {name: text for name, text in read_folder(ROOT / "policies").items() if not name.startswith("cases/")}
    files["rules.csv"] = "\n".join(line for line in files["rules.csv"].splitlines() if ",hr,*,acl.write," not in line) + "\n"
    await gateway.services.activate.run(gateway.services.tenant, files, "user:administrator")
    body = assert_problem(await gateway.post(f"/v1/jobs/{job_id}/retry", "hr-partner", {}), 403)
    assert body["decision_id"].startswith("dec_")
    assert (await gateway.get(f"/v1/jobs/{job_id}", "hr-partner")).json()["state"] == "failed"
    document = (await gateway.get(f"/v1/documents/{taken['document_id']}", "hr-partner")).json()
    assert document["label"] == "confidential"
    assert "action.denied" in {one["type"] for one in (await trail(gateway.services))[-3:]}
