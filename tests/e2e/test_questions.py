"""What the sample people ask over HTTP, and what must come of it: the expectations stand in examples/company/questions.yaml."""

from typing import Any

import pytest
import yaml

from tests.conftest import ROOT, Gateway

QUESTIONS: list[dict[str, Any]] = yaml.safe_load((ROOT / "examples/company/questions.yaml").read_text(encoding="utf-8"))["questions"]


def _everything(answer: dict[str, Any]) -> str:
    parts = [answer.get("answer", ""), *(one["quote"] for one in answer.get("citations", []))]
    parts += [f"{one['title']} {one['text']} {one['source_uri']} {' '.join(one['heading_path'])}" for one in answer.get("passages", [])]
    return " ".join(" ".join(parts).split()).casefold()


def _sources(answer: dict[str, Any]) -> set[str]:
    return {one["source_uri"] for one in answer.get("passages", [])}


def _is_from(document: str, uri: str) -> bool:
    return uri.rsplit(".", 1)[0].startswith(document)


@pytest.mark.parametrize("question", QUESTIONS, ids=[one["id"] for one in QUESTIONS])
async def test_each_person_gets_what_their_role_allows(gateway: Gateway, question: dict[str, Any]) -> None:
    for person, expected in question["expect"].items():
        purpose = expected.get("purpose", question.get("purpose"))
        headers = {"X-Purpose": purpose} if purpose else {}
        response = await gateway.post("/v1/answers", person, {"question": question["question"]}, **headers)
        answer = response.json()
        text, state = _everything(answer), expected["state"]
        place = f"{question['id']} as {person}: {answer}"
        for hidden in expected.get("hides", []):
            assert hidden.casefold() not in text, place
        for shown in expected.get("shows", []):
            assert shown.casefold() in text, place
        if state == "answered":
            assert answer["state"] == "answered", place
            assert any(_is_from(question["document"], one["source_uri"]) for one in answer["citations"]), place
        elif state == "closest":
            assert answer["state"] in {"closest_passages", "refused"}, place
            assert answer["answer"] == "", place
        elif state == "withheld":
            assert not any(_is_from(question["document"], uri) for uri in _sources(answer)), place
        else:
            assert response.status_code == 403 or answer["state"] in {"refused", "closest_passages"}, place
            assert answer.get("answer", "") == "", place


async def test_every_quote_stands_verbatim_in_its_passage(gateway: Gateway) -> None:
    for question in QUESTIONS[:8]:
        answer = (await gateway.post("/v1/answers", "engineer", {"question": question["question"]})).json()
        texts = {one["passage_id"]: one["text"] for one in answer["passages"]}
        for citation in answer["citations"]:
            assert texts[citation["passage_id"]][citation["start"] : citation["end"]] == citation["quote"]


async def test_a_follow_up_may_leave_out_what_it_is_about(gateway: Gateway) -> None:
    """A question such as "And for twins?" has no words of its own to find anything by; with the question before it, it is clear."""
    first = (await gateway.post("/v1/answers", "engineer", {"question": "How much parental leave do I get?"})).json()
    body = {"question": "And how much for twins?", "conversation_id": first["conversation_id"]}
    second = (await gateway.post("/v1/answers", "engineer", body)).json()
    assert second["conversation_id"] == first["conversation_id"]
    assert second["state"] == "answered"
    assert "twenty weeks" in second["answer"]
    alone = (await gateway.post("/v1/answers", "contractor", body)).json()
    assert alone["code"] == "not_found", "a conversation is its owner's alone"
