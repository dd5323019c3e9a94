"""A label's rank is what the bundle in force says, for documents that bear it already and for those under way."""

import asyncio
from typing import Any

import pytest

from app.ingest.document import IngestDocument
from app.policy.bundle import read_folder
from tests.conftest import ROOT, Gateway
from tests.e2e.attack import faceless, trail

columns = ("laptop", "company")
_BODY = {"title": "Deal", "text": "The wombat deal is worth 3 euros.", "label": "partner", "external_id": "deal"}


def ranked(rank: int) -> dict[str, str]:
    """The sample policy with a label of the company's own, open to all employees whose clearance reaches it."""
    files = read_folder(ROOT / "policies")
    rules = "".join(f"group:sample|all-employees,sample,company,partner,{action},*,allow,Partners\n" for action in ("search", "read"))
    labels = files["labels.yaml"].rstrip() + f"\n  partner: {rank}\n"
    return {**files, "rules.csv": files["rules.csv"].rstrip() + "\n" + rules, "labels.yaml": labels}


async def activate(gateway: Gateway, rank: int) -> None:
    await gateway.services.activate.run(gateway.services.tenant, ranked(rank), "user:administrator")


async def hand_in(gateway: Gateway) -> str:
    response = await gateway.post("/v1/collections/company/documents", "administrator", _BODY)
    assert response.status_code == 202, response.text
    return str(response.json()["job_id"])


async def sees(gateway: Gateway) -> bool:
    found = (await gateway.post("/v1/search", "engineer", {"query": "wombat deal"})).json()
    return any("wombat" in one["text"] for one in found["passages"])


async def until_compared(gateway: Gateway) -> None:
    """Wait until the index has the ranks in force: nobody asks for it, and a document that is closed must not weigh in scores."""
    services = gateway.services
    for _ in range(200):
        if (await services.reconcile.run(services.tenant, repair=False)).is_right:
            return
        await asyncio.sleep(0.05)
    message = "The index has old ranks still."
    raise AssertionError(message)


async def test_raising_a_label_closes_what_bears_it_with_the_next_request(gateway: Gateway) -> None:
    await activate(gateway, 1)
    await gateway.until_job(await hand_in(gateway), "administrator", "succeeded")
    assert await sees(gateway)
    await activate(gateway, 3)
    assert not await sees(gateway)
    await until_compared(gateway)
    assert not await sees(gateway)
    await activate(gateway, 1)
    await until_compared(gateway)
    assert await sees(gateway)


async def test_a_collection_whose_usual_label_is_gone_reads_as_one_that_is_not_there(gateway: Gateway) -> None:
    """It was complained of before the right was decided: nobody had it on record, and it told that there is such a collection."""
    await activate(gateway, 1)
    made = await gateway.post("/v1/collections", "administrator", {"name": "deals", "title": "Deals"})
    assert made.status_code == 201, made.text
    changed = await gateway.client.patch(
        "/v1/collections/deals", json={"default_label": "partner"}, headers=gateway.token("policy-steward")
    )
    assert changed.status_code == 200, changed.text
    await gateway.services.activate.run(gateway.services.tenant, read_folder(ROOT / "policies"), "user:administrator")
    for person in ("engineer", "administrator"):
        before = len(await trail(gateway.services))
        there, absent = [await gateway.post(f"/v1/collections/{name}/documents", person, {"text": "A note."}) for name in ("deals", "none")]
        assert faceless(there) == faceless(absent)
        assert [one["type"] for one in (await trail(gateway.services))[before:]] == ["action.denied", "action.denied"]
    # With a label that the policy knows it is taken.
    labelled = {"text": "A note.", "label": "internal"}
    assert (await gateway.post("/v1/collections/deals/documents", "administrator", labelled)).status_code == 202


async def test_a_document_that_waits_gets_the_rank_of_the_moment_it_goes_live(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    await activate(gateway, 1)
    planned = IngestDocument._planned

    async def then_raise(flow: Any, *given: Any) -> Any:  # noqa: ANN401 - as the step
        found = await planned(flow, *given)
        await activate(gateway, 3)
        return found

    monkeypatch.setattr(IngestDocument, "_planned", then_raise)
    await gateway.until_job(await hand_in(gateway), "administrator", "succeeded")
    assert not await sees(gateway)
