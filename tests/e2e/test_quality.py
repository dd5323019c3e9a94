"""Answers over a real handbook reach what we print: through the whole gateway, redaction and guarding included."""

import json
from pathlib import Path

import pytest

from app.answer.evaluation import answer_measures
from app.cli.evaluating import ask_all
from app.cli.loading import LoadPlan, LoadReport, load
from app.wiring import Models, open_services
from tests.conftest import caller_as, missing, settings_in

REACH = {"hit@1": 0.77, "hit@5": 0.90, "facts_in_quotes": 0.72, "abstention_auroc": 0.72, "quotes_verbatim": 1.0}


@pytest.mark.timeout(600)
async def test_the_handbook_questions_are_answered_as_well_as_we_say(company: Path, models: Models, shared: Path) -> None:
    corpus, questions = shared / "corpora/handbook", shared / "questions/handbook-dev.jsonl"
    if not corpus.is_dir() or not questions.is_file():
        missing(f"{shared} holds no handbook with questions")
    rows = [json.loads(line) for line in questions.read_text(encoding="utf-8").splitlines()]
    files = tuple(sorted(corpus.rglob("*.md")))
    async with open_services(settings_in(company), models=models) as services:
        report = LoadReport()
        plan = LoadPlan(corpus, files, "handbook", None, None, is_pruning=False)
        await load(services, await caller_as(services, "policy-steward"), plan, report, is_waiting=True)
        assert report.taken >= 238
        assert all("no text" in reason for reason in report.refused.values()), report.refused
        measures = answer_measures(await ask_all(services, await caller_as(services, "engineer"), rows, "handbook"))
    assert {name: measures[name] for name, least in REACH.items() if measures[name] < least} == {}
