"""What is deleted is gone from every table: names of a document, what its jobs were given, and what answers said of it."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from app.domain.content import DocumentId
from app.govern.receipts import receipt_problem
from app.storage.tables import answer, document, document_version, job, metadata
from app.wiring import Services
from tests.conftest import Gateway
from tests.e2e.attack import drained, finished_job, sample_document, submit, take_in, trail
from tests.e2e.test_logout import signed_in

columns = ("laptop", "company")
TITLE, SOURCE = "Quokka bonus of Tobias Wernicke", "hr/tobias.wernicke@example.com.md"
TEXT = "The quokka bonus is 4711 zebrafish vouchers for every employee and is paid in March by the payroll team."
QUESTION = "How much is the quokka bonus for every employee?"


async def ask(gateway: Gateway, person: str = "engineer", question: str = QUESTION) -> dict[str, Any]:
    answered: dict[str, Any] = (await gateway.post("/v1/answers", person, {"question": question})).json()
    assert answered["state"] == "answered", answered
    return answered


async def hand_in(gateway: Gateway, text: str = TEXT, **more: object) -> DocumentId:
    document_id = DocumentId(await take_in(gateway, "hr", "hr-partner", text=text, title=TITLE, source_uri=SOURCE, **more))
    await drained(gateway)
    # A question is answered once the vectors can be found, which OpenSearch shows with its next refresh.
    await gateway.services.index.inventory(gateway.services.tenant)
    return document_id


async def delete(gateway: Gateway, document_id: DocumentId) -> int:
    """Withdraw a document and let its time be up; how many were purged."""
    gone = await gateway.client.delete(f"/v1/documents/{document_id}", headers=gateway.token("hr-partner"))
    assert gone.status_code == 204, gone.text
    return await retain(gateway.services)


async def retain(services: Services) -> int:
    return await replace(services.retention, purge_after=timedelta(0)).run(services.tenant)


async def tables_with(services: Services, *words: str) -> set[str]:
    """Tables in which one of some words stands anywhere."""
    found = set()
    async with services.database.read() as tx:
        for name, table in metadata.tables.items():
            if name == "tenant_login":
                continue  # the owner's: it holds logins, and the gateway may not read it
            # As tuples: a row's own text is cut short.
            rows = str([tuple(row) for row in await tx.connection.execute(select(table))]).casefold()
            found |= {name} if any(word in rows for word in words) else set()
    return found


async def purges(services: Services, document_id: DocumentId) -> list[dict[str, Any]]:
    about = ["document", document_id]
    return [one["fields"] for one in await trail(services) if one["type"] == "document.purged" and about in one["refs"]]


async def test_no_word_of_a_deleted_document_is_left_in_any_table(gateway: Gateway) -> None:
    """Title and address stayed in its row, both in its jobs, and its sentences in every answer that quoted them: in all later backups."""
    document_id = await hand_in(gateway)
    other = DocumentId(await sample_document(gateway.services, "hr/parental-leave"))
    kept = await ask(gateway, question="How much parental leave do I get?")
    assert other in {one["document_id"] for one in kept["passages"]}
    for person in ("engineer", "hr-partner"):
        assert "zebrafish" in (await ask(gateway, person))["answer"]
    words = ("zebrafish", "wernicke")
    assert await tables_with(gateway.services, *words) >= {"answer", "chunk", "document", "document_version", "job"}
    assert await delete(gateway, document_id) == 1
    assert await tables_with(gateway.services, *words) == set()
    assert await purges(gateway.services, document_id) == [{"answers": 2}]
    again = (await gateway.get(f"/v1/answers/{kept['answer_id']}", "engineer")).json()
    assert again["answer"] == kept["answer"], "it has other sources"
    assert (await gateway.services.trail.verify(gateway.services.tenant)).is_intact


async def test_an_answer_emptied_with_its_source_is_read_as_sealed_and_on_record(gateway: Gateway) -> None:
    services = gateway.services
    document_id = await hand_in(gateway)
    kept = await ask(gateway)
    assert await delete(gateway, document_id) == 1
    conversation = f"/v1/conversations/{kept['conversation_id']}"
    before = len(await trail(services))
    reopened = (await gateway.get(f"/v1/answers/{kept['answer_id']}", "engineer")).json()
    [seen] = (await gateway.get(conversation, "engineer")).json()["answers"]
    for one in (reopened, seen):
        assert (one["sealed"], one["reason_code"], one["question"]) == (True, "source_not_open", QUESTION)
        assert not {"answer", "citations", "passages"} & set(one)
    rereads = [one for one in (await trail(services))[before:] if one["type"] == "answer.reread"]
    assert [one["fields"]["sealed"] for one in rereads] == ["source_not_open"] * 2
    browser = await signed_in(gateway, "engineer")
    page = await browser.get(f"/conversations/{kept['conversation_id']}")
    assert page.status_code == 200
    assert "source_not_open" in page.text
    assert QUESTION in json.dumps((await gateway.get("/v1/conversations", "engineer")).json())
    verdict = await gateway.post(f"/v1/answers/{kept['answer_id']}/feedback", "engineer", {"verdict": "helpful"})
    assert verdict.status_code == 201, verdict.text
    # Whoever kept the text can still show that it was theirs.
    receipt = (await gateway.get(f"/v1/receipts/{kept['receipt']['receipt_id']}", "engineer")).json()
    assert receipt_problem(receipt, kept["answer"]) is None
    follow_up = {"question": "How much parental leave do I get?", "conversation_id": kept["conversation_id"]}
    assert (await gateway.post("/v1/answers", "engineer", follow_up)).status_code == 200
    assert (await gateway.client.delete(conversation, headers=gateway.token("engineer"))).status_code == 204


async def test_a_deleted_document_comes_back_under_its_id_and_its_old_answers_do_not(gateway: Gateway) -> None:
    document_id = await hand_in(gateway, external_id="bonus")
    kept = await ask(gateway)
    assert await delete(gateway, document_id) == 1
    assert await hand_in(gateway, external_id="bonus") == document_id
    fresh = await ask(gateway)
    assert {one["version"] for one in fresh["citations"] if one["document_id"] == document_id} == {2}
    assert (await gateway.get(f"/v1/answers/{kept['answer_id']}", "engineer")).json()["reason_code"] == "source_not_open"
    assert await retain(gateway.services) == 0
    assert (await gateway.get(f"/v1/answers/{fresh['answer_id']}", "engineer")).json()["answer"] == fresh["answer"]


async def test_answers_from_text_that_was_replaced_go_with_it(gateway: Gateway) -> None:
    services = gateway.services
    document_id = await hand_in(gateway, external_id="bonus", language="en")
    await ask(gateway)
    await hand_in(gateway, TEXT.replace("zebrafish", "ladybird"), external_id="bonus")
    fresh = await ask(gateway)
    async with services.database.write() as tx:
        for version in (1, 2):
            same = (document_version.c.document_id == document_id, document_version.c.version == version)
            long_ago = datetime.now(UTC) - timedelta(days=900 - version)
            await tx.connection.execute(update(document_version).where(*same).values(created_at=long_ago))
    await services.retention.run(services.tenant)
    assert await tables_with(services, "zebrafish") == set()
    assert await purges(services, document_id) == [{"version": 1, "answers": 1}]
    assert (await gateway.get(f"/v1/answers/{fresh['answer_id']}", "engineer")).json()["answer"] == fresh["answer"]
    async with services.database.read() as tx:
        asked = select(job.c.version, job.c.payload).where(job.c.document_id == document_id, job.c.kind == "ingest")
        given = await tx.connection.execute(asked)
        assert {version: payload.get("title") for version, payload in given} == {1: None, 2: TITLE}


async def test_many_answers_are_emptied_a_part_at_a_time_and_once(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    services = gateway.services
    monkeypatch.setattr("app.govern.released._LOOKED_AT_ONCE", 2)
    monkeypatch.setattr("app.govern.released._EMPTIED_AT_ONCE", 2)
    document_id = await hand_in(gateway)
    for _ in range(5):
        await ask(gateway)
    assert await delete(gateway, document_id) == 1
    assert await tables_with(services, "zebrafish") == set()
    # Of the parts before the last only the last one's record tells, which commits with the text itself.
    assert await purges(services, document_id) == [{"answers": 5}]
    assert await retain(services) == 0
    assert await purges(services, document_id) == [{"answers": 5}]


async def test_an_interrupted_deletion_is_ended_by_the_next(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    services = gateway.services
    document_id = await hand_in(gateway)
    await ask(gateway)

    async def full(*_: object) -> None:
        message = "no room for the record"
        raise OSError(message)

    with monkeypatch.context() as short:
        short.setattr(type(services.audit), "record_in", full)
        async with services.database.write() as tx:
            withdrawn = update(document).where(document.c.document_id == document_id)
            yesterday = datetime.now(UTC) - timedelta(days=1)
            await tx.connection.execute(withdrawn.values(state="withdrawn", live_version=None, updated_at=yesterday))
        with pytest.raises(OSError, match="no room"):
            await retain(services)
    assert "answer" in await tables_with(services, "zebrafish"), "without a record nothing is deleted"
    assert await retain(services) == 1
    assert await tables_with(services, "zebrafish", "wernicke") == set()


async def test_names_of_what_never_became_text_go_as_well(gateway: Gateway) -> None:
    """A withdrawn document without a stored version was never looked at: its jobs told its title for ever."""
    taken = await submit(gateway, "hr", "hr-partner", text=" ", title=TITLE, source_uri=SOURCE)
    assert (await finished_job(gateway, "hr-partner", taken["job_id"]))["state"] == "quarantined"
    assert await tables_with(gateway.services, "wernicke") == {"job"}
    assert await delete(gateway, DocumentId(taken["document_id"])) == 1
    assert await tables_with(gateway.services, "wernicke") == set()
    assert (await gateway.get("/v1/jobs", "hr-partner")).status_code == 200
    assert (await gateway.get(f"/v1/jobs/{taken['job_id']}", "hr-partner")).json()["state"] == "quarantined"


async def test_what_an_earlier_release_left_of_deleted_documents_goes_in_the_next_round(gateway: Gateway) -> None:
    services = gateway.services
    document_id = await hand_in(gateway)
    kept = await ask(gateway)
    async with services.database.read() as tx:
        body = (await tx.connection.execute(select(answer.c.body).where(answer.c.answer_id == kept["answer_id"]))).scalar_one()
    assert await delete(gateway, document_id) == 1
    async with services.database.write() as tx:
        await tx.connection.execute(update(answer).where(answer.c.answer_id == kept["answer_id"]).values(body=body))
        await tx.connection.execute(update(document).where(document.c.document_id == document_id).values(title=TITLE))
    assert await retain(services) == 1
    assert await tables_with(services, "zebrafish", "wernicke") == set()
    assert await retain(services) == 0
