"""The measures, against hand-worked values and against the reviewers' own harness."""

import importlib.util
import math
import os
import random
from pathlib import Path
from types import ModuleType

import pytest

from app.answer.evaluation import AnsweredQuestion, RankedQuery, answer_measures, auroc, holds, ndcg, recall, retrieval_measures

SHARED = Path(os.environ.get("PORTCULLIS_SHARED", Path(__file__).parent.parent.parent.parent / "shared"))


@pytest.fixture
def harness() -> ModuleType:
    path = SHARED / "tools" / "retrieval_eval.py"
    if not path.is_file():
        reason = "the evaluation harness is not there: set PORTCULLIS_SHARED"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    spec = importlib.util.spec_from_file_location("retrieval_eval", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_measures_agree_with_the_harness_on_random_rankings(harness: ModuleType) -> None:
    rng = random.Random(5)
    for _ in range(300):
        documents = [f"d{n}" for n in range(30)]
        relevance = {document: rng.choice([0, 0, 0, 1, 2]) for document in rng.sample(documents, 8)}
        ranked = rng.sample(documents, rng.randint(0, 30))
        assert ndcg(ranked, relevance) == pytest.approx(harness.ndcg(ranked, relevance))
        assert recall(ranked, relevance) == pytest.approx(harness.recall(ranked, relevance))


def test_unjudged_queries_do_not_count() -> None:
    found = retrieval_measures([RankedQuery({"a": 1}, ("b", "a")), RankedQuery({"a": 0}, ("a",)), RankedQuery({}, ())])
    assert found == {"queries": 1.0, "ndcg@10": pytest.approx(1 / math.log2(3)), "recall@20": 1.0, "mrr@10": 0.5}


@pytest.mark.parametrize(
    ("fact", "text", "expected"),
    [
        ("9 days", "You get nine days.", True),
        ("nine days", "You get 9  days.", True),
        ("twenty-five", "up to 25 people", True),
        ("5", "up to 25 people", False),
        ("25", "up to 250 people", False),
        ("it's final", "It\u2019s   final", True),
        ("read-only", "a Read-only licence", True),
        ("", "anything", False),
    ],
)
def test_facts_are_compared_by_the_folding_rules(fact: str, text: str, expected: bool) -> None:  # noqa: FBT001 - a table
    assert holds(fact, text) is expected


def row(gold: str, *documents: str, facts: tuple[str, ...] = (), quotes: tuple[str, ...] = (), confidence: float = 0.5) -> AnsweredQuestion:
    return AnsweredQuestion(frozenset(gold.split()), facts, documents, quotes, ("ten days of leave",), confidence)


def test_answers_are_measured_over_the_answerable_and_abstention_over_both() -> None:
    rows = [
        row("a", "a", "b", facts=("10 days",), quotes=("ten days",), confidence=0.9),
        row("b c", "a", "c", facts=("10 days", "pay"), quotes=("ten days of leave",), confidence=0.6),
        row("", "a", confidence=0.7),
        row("", "a", quotes=("eleven",), confidence=0.1),
    ]
    assert answer_measures(rows) == pytest.approx(
        {
            "questions": 4.0,
            "hit@1": 0.5,
            "hit@5": 1.0,
            "hit@10": 1.0,
            "mrr": 0.75,
            "facts_in_quotes": 0.5,
            "quotes_verbatim": 2 / 3,
            "abstention_auroc": 0.75,
            "refused_at_95_kept": 0.5,
        }
    )


def test_ties_count_half_and_empty_sides_are_no_number() -> None:
    assert auroc([0.5, 0.9], [0.5]) == 0.75
    assert math.isnan(auroc([], [0.5]))
