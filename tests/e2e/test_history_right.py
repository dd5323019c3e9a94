"""Reading back one's own questions is a right of its own. Who lacks it still gets the answer that they just asked for."""

from datetime import timedelta

import pytest

from app.answer import history
from app.policy.bundle import read_folder
from tests.conftest import ROOT, Gateway
from tests.e2e.attack import assert_problem, trail
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
