"""A person's own conversations: a right of its own to read them back, and a record of what was shown again."""

from datetime import timedelta

import pytest

from app.answer import history
from app.policy.bundle import read_folder
from tests.conftest import ROOT, Gateway
from tests.e2e.attack import assert_problem, drained, take_in, trail
from tests.e2e.test_logout import signed_in

columns = ("laptop", "company")
QUESTION = {"question": "How much parental leave do I get?"}


async def without_history(gateway: Gateway) -> None:
    files = read_folder(ROOT / "policies")
    rules = [line for line in files["rules.csv"].splitlines() if ",history.read," not in line]
    kept = {name: text for name, text in files.items() if not name.startswith("cases/")} | {"rules.csv": "\n".join(rules) + "\n"}
    await gateway.services.activate.run(gateway.services.tenant, kept, "user:administrator")


async def test_nobody_reads_back_what_they_asked_without_the_right(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = (await gateway.post("/v1/answers", "engineer", QUESTION)).json()
    answer, conversation = f"/v1/answers/{asked['answer_id']}", f"/v1/conversations/{asked['conversation_id']}"
    browser = await signed_in(gateway, "engineer")
    page = await browser.get("/ask")
    assert "/conversations" in page.text
    assert QUESTION["question"] in page.text
    await without_history(gateway)
    before = len(await trail(gateway.services))
    for path in (conversation, "/v1/conversations"):
        assert_problem(await gateway.get(path, "engineer"), 403)
    refused = [one for one in (await trail(gateway.services))[before:] if one["type"] == "action.denied"]
    assert [one["fields"]["action"] for one in refused] == ["history.read", "history.read"]
    page = await browser.get("/ask")
    assert page.status_code == 200
    assert "/conversations" not in page.text
    assert (await browser.get("/conversations")).status_code == 403
    # Its own page is how an answer arrives, for as long as that may take.
    assert (await gateway.get(answer, "engineer")).status_code == 200
    monkeypatch.setattr(history, "DELIVERED_WITHIN", timedelta(0))
    assert_problem(await gateway.get(answer, "engineer"), 403)
    # What one may not read back one may still delete.
    assert (await gateway.client.delete(conversation, headers=gateway.token("engineer"))).status_code == 204


async def test_the_record_of_a_reading_names_what_was_shown_and_nothing_else(gateway: Gateway) -> None:
    """Each part was recorded with the documents of the whole conversation, those of sealed parts as well."""
    bonus = await take_in(gateway, "hr", "hr-partner", text="The okapi bonus is 9 euros for every employee.", title="Bonus")
    await take_in(gateway, "hr", "hr-partner", text="The okapi allowance is 7 euros for every employee.", title="Okapi")
    await take_in(gateway, "hr", "hr-partner", text="The quagga leave lasts five days for every employee.", title="Quagga")
    await drained(gateway)
    await gateway.services.index.inventory(gateway.services.tenant)
    leave = {"question": "How many days does the quagga leave last for every employee?", "top_k": 1}
    first = (await gateway.post("/v1/answers", "engineer", leave)).json()
    money = {"question": "How many euros is the okapi allowance and the okapi bonus for every employee?", "top_k": 2}
    second = (await gateway.post("/v1/answers", "engineer", {**money, "conversation_id": first["conversation_id"]})).json()
    shown = [{one["document_id"] for one in part["passages"]} for part in (first, second)]
    assert bonus in shown[1]
    assert shown[1] - shown[0] - {bonus}
    assert (await gateway.client.delete(f"/v1/documents/{bonus}", headers=gateway.token("hr-partner"))).status_code == 204
    parts = (await gateway.get(f"/v1/conversations/{first['conversation_id']}", "engineer")).json()["answers"]
    assert [bool(one.get("sealed")) for one in parts] == [False, True]
    records = [one for one in await trail(gateway.services) if one["type"] == "answer.reread"][-2:]
    assert [{ref for kind, ref in one["refs"] if kind == "document"} for one in records] == [shown[0], set()]
