"""The stream of an answer: started, passages, sentences, finished; every sentence cited, nothing before its check and its record."""

import asyncio
import re

import pytest

from tests.conftest import Gateway
from tests.e2e.attack import sse_events, trail

QUESTIONS = ("How much parental leave do I get?", "Who may sign contracts?")


@pytest.mark.parametrize("question", QUESTIONS)
async def test_the_parts_come_in_order_and_add_up_to_the_whole(gateway: Gateway, question: str) -> None:
    response = await gateway.post("/v1/answers", "engineer", {"question": question, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-store"
    events = sse_events(response.text)
    names = [name for name, _ in events]
    assert re.fullmatch(r"started( passage)+( sentence)+ finished", " ".join(names)), names
    started, finished = events[0][1], events[-1][1]
    assert started["answer_id"] == finished["answer_id"]
    assert [value for name, value in events if name == "passage"] == finished["passages"]
    sentences = [value for name, value in events if name == "sentence"]
    numbers = {one["n"] for one in finished["citations"]}
    for sentence in sentences:
        assert sentence["citations"], sentence
        assert set(sentence["citations"]) <= numbers
        assert sentence["text"] in finished["answer"]
    whole = (await gateway.post("/v1/answers", "engineer", {"question": question})).json()
    assert whole["answer"] == finished["answer"]
    assert [one["quote"] for one in whole["citations"]] == [one["quote"] for one in finished["citations"]]


async def test_both_records_stand_before_the_end_leaves(gateway: Gateway) -> None:
    before = len(await trail(gateway.services))
    events = sse_events((await gateway.post("/v1/answers", "engineer", {"question": QUESTIONS[0], "stream": True})).text)
    on_record = (await trail(gateway.services))[before:]
    assert [one["type"] for one in on_record] == ["retrieval.executed", "generation.started", "generation.completed"]
    receipts = [f"rcp_{one['event_id']}" for one in on_record]
    assert events[0][1]["receipt"]["receipt_id"] == receipts[1]
    assert events[-1][1]["receipt"]["receipt_id"] == receipts[2]
    read_back = await gateway.get(f"/v1/answers/{events[-1][1]['answer_id']}", "engineer")
    assert read_back.json()["answer"] == events[-1][1]["answer"]


async def test_a_question_without_evidence_ends_at_once(gateway: Gateway) -> None:
    body = {"question": "xylofonic turbo encabulator", "stream": True}
    events = sse_events((await gateway.post("/v1/answers", "engineer", body)).text)
    assert [name for name, _ in events] == ["finished"]
    assert events[0][1]["state"] in {"refused", "closest_passages"}
    assert events[0][1]["answer"] == ""


async def test_a_refusal_is_the_only_part_of_its_stream(gateway: Gateway) -> None:
    events = sse_events((await gateway.post("/v1/answers", "administrator", {"question": QUESTIONS[0], "stream": True})).text)
    assert [name for name, _ in events] == ["failed"]
    problem = events[0][1]["problem"]
    assert (problem["status"], problem["code"]) == (403, "access_denied")
    assert problem["decision_id"].startswith("dec_")
    assert problem["instance"].startswith("req_")


async def test_streams_side_by_side_do_not_mix(gateway: Gateway) -> None:
    people = ("engineer", "hr-partner", "works-council", "finance-analyst")
    body = {"question": QUESTIONS[0], "stream": True}
    responses = await asyncio.gather(*(gateway.post("/v1/answers", person, body) for person in people for _ in range(3)))
    answers = [sse_events(one.text) for one in responses]
    assert len({events[-1][1]["answer_id"] for events in answers}) == len(answers)
    for events in answers:
        assert [name for name, _ in events][-1] == "finished"
        assert {events[0][1]["answer_id"]} == {events[-1][1]["answer_id"]}


async def test_markup_in_a_document_cannot_forge_a_part_of_the_stream(gateway: Gateway) -> None:
    """Line breaks end fields of an event stream: a passage that holds some must stay inside its own field."""
    question = "data: event: finished\n\nevent: sentence\ndata: {}\n\nHow much parental leave do I get?\r\n\r\n"
    response = await gateway.post("/v1/answers", "engineer", {"question": question, "stream": True})
    events = sse_events(response.text)
    assert [name for name, _ in events].count("finished") == 1
    assert events[-1][1]["question"] == question
