"""Answers over a real handbook reach what we print: through the whole gateway, redaction and guarding included."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from app.answer.evaluation import answer_measures
from app.answer.search import SearchRequest
from app.cli.evaluating import ask_all
from app.cli.loading import LoadPlan, LoadReport, load
from app.domain.search import SearchLimits
from app.index.opensearch.engine import OpenSearchIndex
from app.index.opensearch.rules import OpenSearchRules
from app.index.stored_vectors import read_vectors
from app.ingest.copy_index import CopyIndex
from app.wiring import Models, Services, open_services
from tests.conftest import caller_as, missing, settings_in

REACH = {"hit@1": 0.77, "hit@5": 0.90, "facts_in_quotes": 0.72, "abstention_auroc": 0.72, "quotes_verbatim": 1.0}


@pytest.mark.timeout(1500)
async def test_the_handbook_questions_are_answered_as_well_as_we_say_on_either_engine(
    company: Path, models: Models, shared: Path, opensearch: tuple[str, ...]
) -> None:
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
        overlap = await overlap_of_engines(services, opensearch, [row["question"] for row in rows])
    assert overlap >= 0.97
    assert {name: measures[name] for name, least in REACH.items() if measures[name] < least} == {}


async def overlap_of_engines(services: Services, opensearch: tuple[str, ...], questions: list[str]) -> float:
    """Share of the ten best passages of each question that both engines show, over the same documents and vectors."""
    rules = OpenSearchRules(opensearch, services.embedder.dim, prefix="handbook", replicas=0, timeout_s=20.0)
    engineer, path = await caller_as(services, "engineer"), services.settings.data / "index.db"
    index = OpenSearchIndex(rules, dictionary=services.embedder.known_words())
    try:
        copied = await CopyIndex(services.database, index, lambda name, version: read_vectors(path, name, version)).run(services.tenant)
        assert copied >= 238
        there = replace(services.search, retrieval=replace(services.search.retrieval, index=index))
        shares = []
        for question in questions:
            request = SearchRequest(question, SearchLimits())
            ours, theirs = [
                {one.passage_id for one in (await search.run(engineer, request)).passages[:10]} for search in (services.search, there)
            ]
            shares.append(len(ours & theirs) / max(len(ours | theirs), 1))
        await index.cluster.ask("DELETE", "/handbook-*")
    finally:
        await index.close()
    return sum(shares) / len(shares)
