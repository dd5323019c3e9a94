"""A label or an ACL that is asked for with a new version, and one that is changed while the version waits: the stricter stands."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from app.domain.access import Acl, AclMode
from app.domain.content import Document, DocumentId
from app.domain.identity import Principal
from app.ingest.document import IngestDocument
from app.policy.bundle import read_folder
from app.storage import document_rows
from tests.conftest import ROOT, Gateway, caller_as

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
