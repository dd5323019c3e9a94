"""Commands that ask: `ask`, `search`, `token`, `privacy analyze`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.answer.question import AnswerQuestion, Question
from app.answer.search import SearchRequest
from app.answer.views import answer_view, search_view
from app.cli.options import AsOption, DataOption, JsonOption, PurposeOption, caller_as, run_with, say, settings_for
from app.domain.content import Answer
from app.domain.identity import Caller
from app.domain.search import SearchLimits
from app.wiring import Services, demo_issuer

Collections = Annotated[list[str] | None, typer.Option("--collection", help="Search only this collection; may be repeated.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("ask")(ask)
    app.command("search")(search)
    app.command("token")(token)
    app.add_typer(privacy, name="privacy")


async def answer_for(flow: AnswerQuestion, caller: Caller, question: Question) -> Answer:
    """The whole answer of one run."""
    final: Answer | None = None
    async for event in flow.run(caller, question):
        if isinstance(event, Answer):
            final = event
    assert final is not None  # noqa: S101 - a run ends with an answer or an error
    return final


def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    person: AsOption = None,
    purpose: PurposeOption = None,
    collections: Collections = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a question and get a cited answer.

    Example: portcullis ask "How much parental leave do I get?" --as engineer
    """

    async def work(services: Services) -> Answer:
        caller = await caller_as(services, person, purpose)
        return await answer_for(services.answer, caller, Question(question, SearchLimits(collections=tuple(collections or ()))))

    answer = run_with(settings_for(data), work)
    say(as_json, answer_view(answer), answer_text(answer))


def answer_text(answer: Answer) -> str:
    """An answer for a terminal."""
    lines = [answer.text or answer.refusal_message or "No passage answers this fully. The closest passages:", ""]
    if answer.text:
        lines += [f"[{one.n}] {one.title} ({one.source_uri or one.document_id}, version {one.version})" for one in answer.citations]
    else:
        lines += [f"- {one.title}: {' '.join(one.text.split())[:160]}" for one in answer.passages[:3]]
    lines += ["", f"Receipt {answer.receipt.receipt_id}, entry {answer.receipt.index} of {answer.receipt.log}"]
    return "\n".join(lines)


def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    person: AsOption = None,
    purpose: PurposeOption = None,
    collections: Collections = None,
    top_k: Annotated[int, typer.Option(min=1, max=50, help="How many passages.")] = 10,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find passages.

    Example: portcullis search "travel expenses" --as engineer --json
    """

    async def work(services: Services) -> Any:  # noqa: ANN401 - JSON
        caller = await caller_as(services, person, purpose)
        result = await services.search.run(caller, SearchRequest(query, SearchLimits(collections=tuple(collections or ())), top_k))
        return search_view(result)

    found = run_with(settings_for(data), work)
    lines = [
        f"{one['rank']:>2}  {one['title']}  [{one['collection']}, {one['label']}]\n    {' '.join(one['text'].split())[:200]}"
        for one in found["passages"]
    ]
    say(as_json, found, "\n".join([*lines, f"\n{found['state']}; receipt {found['receipt']['receipt_id']}"]))


def token(
    person: Annotated[str, typer.Option("--as", help="Sample person.")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print an access token of the demo issuer.

    Example: curl -H "Authorization: Bearer $(portcullis token --as engineer)" http://127.0.0.1:8080/v1/me
    """
    value = demo_issuer(settings_for(data)).access_token(person)
    say(as_json, {"access_token": value}, value)


privacy = typer.Typer(help="Personal data.", no_args_is_help=True)


@privacy.command("analyze")
def analyze(
    text: Annotated[str | None, typer.Argument(help="The text; omitted: standard input.")] = None,
    file: Annotated[Path | None, typer.Option(help="Read the text from a file.")] = None,
    language: Annotated[str | None, typer.Option(help="en, de or fr; found when omitted.")] = None,
    person: AsOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find personal data in a text.

    Example: portcullis privacy analyze "Call me on +1 202 555 0134" --as compliance-officer
    """
    given = file.read_text(encoding="utf-8") if file else text if text is not None else typer.get_text_stream("stdin").read()

    async def work(services: Services) -> Any:  # noqa: ANN401 - JSON
        found = await services.privacy.analyze(await caller_as(services, person), given, language)
        spans = [
            {"start": one.start, "end": one.end, "entity_type": one.entity_type, "score": one.score, "recognizer": one.recognizer}
            for one in found.spans
        ]
        return {"language": found.language, "spans": spans, "detector_digest": found.detector_digest}

    found = run_with(settings_for(data), work)
    lines = [
        f"{one['start']:>6}-{one['end']:<6} {one['entity_type']:<16} {one['score']:.2f}  {given[one['start'] : one['end']]!r}"
        for one in found["spans"]
    ]
    say(as_json, found, "\n".join(lines) or "Nothing found.")
