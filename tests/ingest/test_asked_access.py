"""A label or an ACL that is asked for with a new version, and one that is changed while the version waits: the stricter stands."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import update

from app.domain.access import UNKNOWN_RANK, Acl, AclMode
from app.domain.content import Document, DocumentId
from app.domain.identity import Principal
from app.ingest.document import IngestDocument
from app.policy.bundle import read_folder
from app.storage import document_rows
from app.storage.tables import document
from tests.conftest import ROOT, Gateway, caller_as
from tests.e2e.attack import assert_problem

columns = ("laptop", "company")
SECRET = "The wombat merger is worth 3 euros."


async def put_in_force(gateway: Gateway, *, partner: int = 1, board: int = 1) -> None:
    """Policy of the sample company with two labels more, of these ranks; every employee may read `partner` in hr, nobody `board`."""
    files = read_folder(ROOT / "policies")
    labels = files["labels.yaml"].rstrip() + f"\n  partner: {partner}\n  board: {board}\n"
    rules = "".join(f"group:sample|all-employees,sample,hr,partner,{action},*,allow,Own\n" for action in ("search", "read"))
    services = gateway.services
    files = {**files, "labels.yaml": labels, "rules.csv": files["rules.csv"].rstrip() + "\n" + rules}
    await services.activate.run(services.tenant, files, "user:administrator")


async def hand_in(gateway: Gateway, text: str, label: str, state: str = "succeeded") -> DocumentId:
    body = {"title": "Deal", "text": text, "label": label, "external_id": "deal"}
    taken = await gateway.post("/v1/collections/hr/documents", "hr-partner", body)
    assert taken.status_code == 202, taken.text
    await gateway.until_job(taken.json()["job_id"], "hr-partner", state)
    return DocumentId(taken.json()["document_id"])


def meanwhile(monkeypatch: pytest.MonkeyPatch, change: Callable[[], Awaitable[object]]) -> None:
    """Have something happen once, after the next version was handed in and before it goes live."""
    planned, done = IngestDocument._planned, []

    async def then(flow: IngestDocument, *given: Any) -> Document | None:  # noqa: ANN401 - as the flow's own
        if not done:
            done.append(True)
            await change()
        return await planned(flow, *given)

    monkeypatch.setattr(IngestDocument, "_planned", then)


async def seen(gateway: Gateway, document_id: DocumentId) -> tuple[str, int, bool]:
    """(label, rank, whether an engineer is shown the new text)."""
    async with gateway.services.database.read() as tx:
        found = await document_rows.get_document(tx, gateway.services.tenant, document_id)
    assert found is not None
    passages = (await gateway.post("/v1/search", "engineer", {"query": "wombat merger"})).json()["passages"]
    return found.label, found.sensitivity, any("wombat" in one["text"] for one in passages)


async def test_a_label_stays_asked_for_when_its_rank_is_raised_meanwhile(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rank of before was compared with the ranks of now: the version went live under the label that it was to lose."""
    await put_in_force(gateway, partner=0, board=1)
    await hand_in(gateway, "The lunch is at noon.", "partner")
    meanwhile(monkeypatch, lambda: put_in_force(gateway, partner=1, board=3))
    assert await seen(gateway, await hand_in(gateway, SECRET, "board")) == ("board", 3, False)


async def test_a_label_of_the_same_rank_is_kept_beside_a_change_of_the_acl(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    await put_in_force(gateway)
    document_id = await hand_in(gateway, "The lunch is at noon.", "internal")
    steward = await caller_as(gateway.services, "hr-partner")
    harmless = Acl(AclMode.INHERIT, deny=frozenset({Principal("role:sample|nobody")}))
    meanwhile(monkeypatch, lambda: gateway.services.changes.change_acl(steward, document_id, harmless))
    assert await seen(gateway, await hand_in(gateway, SECRET, "board")) == ("board", 1, False)


@pytest.mark.parametrize(("changed", "stands"), [("confidential", "confidential"), ("public", "board")])
async def test_of_two_labels_the_stricter_stands(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, changed: str, stands: str) -> None:
    await put_in_force(gateway)
    document_id = await hand_in(gateway, "The lunch is at noon.", "internal")
    steward = await caller_as(gateway.services, "hr-partner")
    meanwhile(monkeypatch, lambda: gateway.services.changes.change_label(steward, document_id, changed))
    label, _, _ = await seen(gateway, await hand_in(gateway, SECRET, "board"))
    assert label == stands


async def test_of_two_labels_of_one_rank_nobody_knows_which_and_the_old_version_stays(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put_in_force(gateway)
    document_id = await hand_in(gateway, "The lunch is at noon.", "public")
    steward = await caller_as(gateway.services, "hr-partner")
    meanwhile(monkeypatch, lambda: gateway.services.changes.change_label(steward, document_id, "partner"))
    assert await seen(gateway, await hand_in(gateway, SECRET, "board", "quarantined")) == ("partner", 1, False)
    assert await seen(gateway, await hand_in(gateway, SECRET, "board")) == ("board", 1, False)


WIDE = "".join(f"group:sample|all-employees,sample,hr,*,{action},*,allow,Own\n" for action in ("search", "read"))
SHUT = "".join(f"group:sample|all-employees,sample,hr,board,{action},*,deny,Own\n" for action in ("search", "read"))


async def activate(gateway: Gateway, rules: str, labels: str = "") -> None:
    """Policy of the sample company with these rules and labels more."""
    files = {name: text for name, text in read_folder(ROOT / "policies").items() if not name.startswith("cases/")}
    files |= {"rules.csv": files["rules.csv"].rstrip() + "\n" + rules, "labels.yaml": files["labels.yaml"].rstrip() + "\n" + labels}
    await gateway.services.activate.run(gateway.services.tenant, files, "user:administrator")


async def test_a_label_that_policy_no_longer_knows_opens_nothing_until_it_is_known_again(gateway: Gateway) -> None:
    """Rules that shut it went with it, and those for any label opened it to all."""
    await activate(gateway, WIDE + SHUT, "  board: 1\n")
    document_id = await hand_in(gateway, SECRET, "board")
    await activate(gateway, WIDE)
    assert await seen(gateway, document_id) == ("board", UNKNOWN_RANK, False)
    await gateway.services.reconcile.run(gateway.services.tenant, repair=True)
    assert await seen(gateway, document_id) == ("board", UNKNOWN_RANK, False)
    # The release before kept the rank that it had: it opens no more for that, and the next start puts it right.
    async with gateway.services.database.write() as tx:
        await tx.connection.execute(update(document).where(document.c.document_id == document_id).values(sensitivity=1))
    assert (await seen(gateway, document_id))[2] is False
    await activate(gateway, WIDE)
    assert await seen(gateway, document_id) == ("board", UNKNOWN_RANK, False)
    await activate(gateway, WIDE, "  board: 1\n")
    await gateway.services.reconcile.run(gateway.services.tenant, repair=True)
    assert await seen(gateway, document_id) == ("board", 1, True)
    # Nobody may have its text meanwhile; who keeps the collection may give it another label.
    await activate(gateway, WIDE)
    changed = await gateway.client.put(
        f"/v1/documents/{document_id}/label", json={"label": "internal"}, headers=gateway.token("hr-partner")
    )
    assert changed.status_code == 200, changed.text
    assert await seen(gateway, document_id) == ("internal", 1, True)


async def test_ranks_are_raised_a_part_at_a_time(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """One statement over 400,000 documents was cut off, and the stricter bundle never came into force."""
    services = gateway.services
    monkeypatch.setattr(document_rows, "_RANKED_AT_ONCE", 3)
    async with services.database.read() as tx:
        ranks = (await services.policy.current(tx, services.tenant)).bundle.labels
    async with services.database.write() as tx:
        raised = await document_rows.put_ranks(tx, services.tenant, {name: rank + 1 for name, rank in ranks.items()}, await tx.now())
        again = await document_rows.put_ranks(tx, services.tenant, {name: rank + 1 for name, rank in ranks.items()}, await tx.now())
        total = len(await document_rows.standings(tx, services.tenant))
    assert (raised, again) == (total, 0)
    assert total > 9


@pytest.mark.parametrize("is_live", [True, False], ids=["live", "waiting"])
async def test_who_claims_an_id_first_does_not_choose_who_reads_what_another_hands_in_under_it(gateway: Gateway, *, is_live: bool) -> None:
    """An administrator, who may not change access, handed in a public placeholder; salaries under the same id went live as public."""
    claim = {"title": "Deal", "text": "Later.", "label": "public", "external_id": "deal"}
    taken = await gateway.post("/v1/collections/hr/documents", "administrator", claim)
    assert taken.status_code == 202, taken.text
    if is_live:
        await gateway.until_job(taken.json()["job_id"], "administrator", "succeeded")
    real = {"title": "Deal", "text": SECRET, "external_id": "deal"}
    refused = await gateway.post("/v1/collections/hr/documents", "hr-partner", real)
    assert_problem(refused, 422)
    assert "Say its label" in refused.json()["detail"]
    assert await seen(gateway, await hand_in(gateway, SECRET, "internal")) == ("internal", 1, True)
    contractor = (await gateway.post("/v1/search", "contractor", {"query": "wombat merger"})).json()
    assert not any("wombat" in one["text"] for one in contractor.get("passages", []))
    # Their own from now on, and no lower than usual: nothing to say.
    again = await gateway.post("/v1/collections/hr/documents", "hr-partner", real)
    assert again.status_code == 202, again.text
