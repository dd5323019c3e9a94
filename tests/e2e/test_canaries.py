"""Planted words never turn up where they do not belong: logs, metrics, problems, the log of record, or tables that keep no content.

The log is read as raw bytes from the file of the database, so that no view of it can hide anything.
"""

import json
import logging
import sqlite3
from pathlib import Path

import pytest

from app.observability import configure_logging
from app.wiring import Models
from tests.conftest import Gateway, gateway_in
from tests.e2e.attack import assert_problem, drained, meddle, submit, take_in

QUESTION = "Zq7question: how long is the sabbatical of Zq7asker Quandt?"
TITLE = "Zq7title sabbatical rules"
BODY = "A sabbatical lasts Zq7body six months. Ask Mara Zq7lindqvist at zq7mail@example.com. Zq7iban DE89370400440532013000."
CANARIES = (
    "zq7question", "zq7asker", "zq7title", "zq7body", "zq7lindqvist", "zq7mail", "zq7iban", "DE8937040044", "zq7file", "zq7source",
    "zq7external", "zq7note", "zq7reason", "zq7hint", "zq7path", "zq7field", "zq7analyzed", "zq7case", "zq7purpose", "zq7keyword",
)  # fmt: skip
CONTENT_TABLES = {
    # What they keep is the content itself, or the person's own words.
    "document", "document_version", "chunk", "job", "answer", "conversation", "feedback", "access_request", "pending_question",
}  # fmt: skip


async def everything(gateway: Gateway) -> list[str]:
    """Uses every route with planted words; the bodies of all problems on the way."""
    text = f"---\nkeywords: [Zq7keyword]\n---\n# {TITLE}\n\n{BODY}"
    names = {"title": TITLE, "source_uri": "hr/Zq7source.md", "external_id": "hr/Zq7external"}
    document_id = await take_in(gateway, "hr", "hr-partner", text=text, **names)
    await drained(gateway)
    problems = []
    for person in ("engineer", "hr-partner", "compliance-officer", "contractor"):
        answer = await gateway.post("/v1/answers", person, {"question": QUESTION}, **{"Idempotency-Key": "Zq7key"})
        stream = await gateway.post("/v1/answers", person, {"question": QUESTION, "stream": True})
        assert stream.status_code == 200
        await gateway.post("/v1/search", person, {"query": QUESTION})
        await gateway.get(f"/v1/documents/{document_id}", person)
        await gateway.get("/v1/documents?q=zq7title", person)
        if answer.status_code == 200:
            answer_id = answer.json()["answer_id"]
            assert (await gateway.get(f"/v1/answers/{answer_id}", person)).status_code == 200
            await gateway.post(f"/v1/answers/{answer_id}/feedback", person, {"verdict": "wrong", "note": "Zq7note"})
            await gateway.get(f"/v1/receipts/{answer.json()['receipt']['receipt_id']}", person)
        await gateway.post("/v1/access-requests", person, {"document_hint": "Zq7hint", "reason": "Zq7reason"})
        refused = [
            await gateway.get("/v1/documents/Zq7path", person),
            await gateway.get("/v1/receipts/rcp_Zq7path", person),
            await gateway.get("/v1/jobs/Zq7path", person),
            await gateway.client.put("/v1/documents/Zq7path/label", json={"label": "public"}, headers=gateway.token(person)),
            await gateway.client.delete("/v1/documents/Zq7path", headers=gateway.token(person)),
            await gateway.post("/v1/collections/Zq7path/documents", person, {"text": BODY}),
            await gateway.post("/v1/answers", person, {"question": QUESTION}, **{"X-Purpose": "Zq7purpose"}),
            await gateway.post("/v1/answers", person, {"question": QUESTION, "top_k": "Zq7field"}),
            await gateway.post("/v1/answers", person, {"question": QUESTION * 300}),
            await gateway.post("/v1/policy/explain", person, {"document_id": "Zq7path", "action": "read"}),
            await gateway.post("/v1/policy/explain", person, {"document_id": "Zq7path", "action": "read", "subject_id": "Zq7path"}),
            await gateway.get("/v1/Zq7path?Zq7field=Zq7field", person),
        ]
        problems += [one.text for one in refused]
        assert all(one.status_code >= 400 for one in refused)
        await gateway.post("/v1/privacy/analyze", person, {"text": f"Zq7analyzed {BODY}"})
        await gateway.post("/v1/privacy/redact", person, {"text": f"Zq7analyzed {BODY}"})
    bad = await gateway.client.get("/v1/me", headers={"Authorization": "Bearer Zq7path.Zq7path.Zq7path"})
    problems.append(json.dumps(assert_problem(bad, 401)))
    parts = {"file": ("Zq7file.pdf", b"Zq7body no pdf", "application/pdf")}
    response = await gateway.client.post("/v1/collections/hr/documents", files=parts, headers=gateway.token("hr-partner"))
    assert response.status_code == 202
    await submit(gateway, "hr", "hr-partner", text=BODY, title=TITLE, media_type="application/pdf")
    await drained(gateway)
    return problems


def planted_in(text: str) -> list[str]:
    folded = text.casefold()
    return [canary for canary in CANARIES if canary.casefold() in folded]


async def test_planted_words_reach_neither_logs_nor_metrics_nor_problems_nor_the_log_of_record(
    company: Path, models: Models, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Ids in addresses were recorded as they came: a person's name typed as a document id stood in the log for ever."""
    caplog.set_level(logging.DEBUG)
    async with gateway_in(company, models, log_level="DEBUG") as gateway:
        configure_logging("DEBUG")
        problems = await everything(gateway)
        metrics = (await gateway.client.get("/metrics")).text
        tokens = [gateway.token("engineer")["Authorization"][-40:]]
    out, err = capfd.readouterr()
    logs = out + err + "\n".join(record.getMessage() for record in caplog.records if record.name != "httpx")
    assert "request_answered" in logs, "the structured log was not captured"
    assert "portcullis_requests_total" in metrics
    assert planted_in(logs) == []
    assert planted_in(metrics) == []
    for problem in problems:
        assert [one for one in planted_in(problem) if one != "zq7field"] == [], problem
    assert not any(token in logs + metrics for token in tokens)
    _assert_tables_are_clean(company / "portcullis.db", company / "clean.db")


def _assert_tables_are_clean(database: Path, copy: Path) -> None:
    """Every table but those of content, as raw bytes of a file that holds nothing else."""
    with sqlite3.connect(database) as source, sqlite3.connect(copy) as target:
        source.backup(target)
    target = sqlite3.connect(copy)
    names = {name for (name,) in target.execute("SELECT name FROM sqlite_master WHERE type='table'")}
    assert names >= CONTENT_TABLES, names
    assert any(name.startswith("audit") for name in names), names
    target.execute("PRAGMA foreign_keys=OFF")
    for (trigger,) in target.execute("SELECT name FROM sqlite_master WHERE type='trigger'").fetchall():
        target.execute(f"DROP TRIGGER {trigger}")
    for name in CONTENT_TABLES:
        target.execute(f"DROP TABLE {name}")
    target.commit()
    target.execute("VACUUM")
    target.close()
    assert planted_in(copy.read_bytes().decode("utf-8", "replace").replace("\x00", "")) == []


async def test_an_unforeseen_error_says_neither_in_the_answer_nor_in_the_logs_what_it_was_about(
    company: Path, models: Models, capfd: pytest.CaptureFixture[str]
) -> None:
    """The words of a database error held the parameters of the statement: questions and passages, printed by the server."""
    async with gateway_in(company, models) as gateway:
        await meddle(company / "portcullis.db", "ALTER TABLE answer RENAME COLUMN question TO quest")
        response = await gateway.post("/v1/answers", "engineer", {"question": QUESTION + " parental leave"})
        assert response.status_code in {500, 503}
        assert_problem(response, response.status_code)
        assert planted_in(response.text) == []
    out, err = capfd.readouterr()
    assert planted_in(out + err) == []
