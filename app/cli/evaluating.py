"""Commands that measure: `eval answers`, `eval retrieval`, `eval privacy`. One JSON report out; gates end with exit status 2."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from app.answer.evaluation import AnsweredQuestion, RankedQuery, answer_measures, retrieval_measures
from app.answer.question import Question
from app.answer.search import SearchRequest
from app.cli.asking import answer_for
from app.cli.options import DataOption, caller_as, failure, run_with, settings_for
from app.domain.identity import Caller
from app.domain.search import SearchLimits
from app.govern.privacy import evaluate_detector
from app.settings import load_settings
from app.wiring import Services, rank_set

app = typer.Typer(help="Measure retrieval, answers and privacy on labelled sets.", no_args_is_help=True)
Gate = Annotated[list[str] | None, typer.Option("--min", help="measure=value that must be reached; may be repeated.")]
Ceiling = Annotated[list[str] | None, typer.Option("--max", help="measure=value that must not be passed; may be repeated.")]


@app.command("answers")
def answers(
    questions: Annotated[Path, typer.Option(help="Question file, JSON lines.")],
    collection: Annotated[str, typer.Option(help="Collection the questions are about.")] = "handbook",
    person: Annotated[str, typer.Option("--as", help="Sample person who asks.")] = "engineer",
    minimum: Gate = None,
    data: DataOption = None,
) -> None:
    """Ask every question of a file and report hits, facts in quotes, verbatim quotes and abstention.

    Example: portcullis eval answers --questions handbook-dev.jsonl --min hit@1=0.77
    """
    rows = _read_lines(questions)

    async def work(services: Services) -> list[AnsweredQuestion]:
        return await ask_all(services, await caller_as(services, person), rows, collection)

    _report(answer_measures(run_with(settings_for(data), work)), minimum, None)


async def ask_all(services: Services, caller: Caller, rows: list[dict[str, Any]], collection: str) -> list[AnsweredQuestion]:
    """Ask each question of a labelled set as `caller`; its conversation is deleted again."""
    return [await _answered(services, caller, row, collection) for row in rows]


async def _answered(services: Services, caller: Caller, row: dict[str, Any], collection: str) -> AnsweredQuestion:
    limits = SearchLimits(collections=(collection,))
    found = await services.search.run(caller, SearchRequest(row["question"], limits, 50))
    answer = await answer_for(services.answer, caller, Question(row["question"], limits))
    await services.history.delete(caller, answer.conversation_id)
    texts = {one.passage_id: one.text for one in answer.passages}
    return AnsweredQuestion(
        gold_documents=frozenset(row["documents"]),
        facts=tuple(row["facts"]),
        documents=tuple(dict.fromkeys(one.source_uri for one in found.passages)),
        quotes=tuple(one.quote for one in answer.citations),
        texts=tuple(texts[one.passage_id] for one in answer.citations),
        confidence=found.passages[0].confidence if found.passages else 0.0,
    )


@app.command("retrieval")
def retrieval(
    folder: Annotated[Path, typer.Argument(help="BEIR folder: corpus.jsonl, queries.jsonl, qrels/test.tsv.")],
    limit: Annotated[int | None, typer.Option(help="Only the first N queries.")] = None,
    minimum: Gate = None,
) -> None:
    """Rank a labelled set with the embedded engine; a query with a `group` sees that group's documents only.

    Example: portcullis eval retrieval sets/policyqa --min ndcg@10=0.39
    """
    queries = rank_set(load_settings(), folder, limit)
    _report(retrieval_measures([RankedQuery(one.relevance, one.documents) for one in queries]), minimum, None)


@app.command("privacy")
def privacy(
    file: Annotated[Path, typer.Argument(help="Labelled texts, JSON lines with full_text, spans, language.")],
    minimum: Gate = None,
    maximum: Ceiling = None,
) -> None:
    """Run the detector over labelled texts and report F2, leaked and over-redacted characters.

    Example: portcullis eval privacy pii-hard.jsonl --max leaked_direct=0.03
    """
    figures = evaluate_detector(file, load_settings().models / "ner-en")
    _report({name: value for name, value in dict(figures).items() if isinstance(value, int | float)}, minimum, maximum)


def _report(measures: dict[str, Any], minimum: list[str] | None, maximum: list[str] | None) -> None:
    """Print the measures and exit 2 when a gate is missed."""
    missed = [gate for gate in minimum or () if measures[_name(gate, measures)] < _value(gate)]
    missed += [gate for gate in maximum or () if measures[_name(gate, measures)] > _value(gate)]
    typer.echo(json.dumps({**measures, "missed": missed}))
    if missed:
        raise typer.Exit(2)


def _name(gate: str, measures: dict[str, Any]) -> str:
    name = gate.partition("=")[0]
    if name not in measures:
        raise failure(f"no measure `{name}`; there are {', '.join(measures)}", 2)
    return name


def _value(gate: str) -> float:
    try:
        return float(gate.partition("=")[2])
    except ValueError as error:
        message = f"`{gate}` is not measure=value"
        raise failure(message, 2) from error


def _read_lines(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        message = f"{path} cannot be read as JSON lines: {error}"
        raise failure(message, 2) from error
