"""Commands of policy: `policy check`, `policy test`, `policy activate`, `policy explain`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.options import AsOption, DataOption, JsonOption, PurposeOption, caller_as, failure, run_with, say, settings_for
from app.domain.access import Action
from app.domain.content import DocumentId
from app.errors import PolicyInvalidError
from app.govern.activate import Check, check_folder
from app.govern.explain import ExplainRequest
from app.settings import load_settings
from app.wiring import Services

app = typer.Typer(help="Rules: check, test, activate, explain.", no_args_is_help=True)
Folder = Annotated[Path | None, typer.Argument(help="Folder with the policy; omitted: PORTCULLIS_POLICIES.")]


def _checked(folder: Path | None) -> Check:
    return check_folder(folder or load_settings().policies)


@app.command("check")
def check(folder: Folder = None, as_json: JsonOption = False) -> None:
    """Read a policy and say what is wrong with it, with file and line. Exit 2 when it does not load.

    Example: portcullis policy check policies
    """
    try:
        found = _checked(folder)
    except PolicyInvalidError as error:
        say(as_json, {"problems": [error.detail]}, error.detail)
        raise typer.Exit(2) from error
    say(as_json, {"digest": found.digest, "rules": found.rules, "problems": []}, f"{found.rules} rules load. {found.digest}")


@app.command("test")
def run_case_tables(folder: Folder = None, as_json: JsonOption = False) -> None:
    """Run the case tables of a policy. Exit 2 when a case comes out otherwise.

    Example: portcullis policy test policies
    """
    found = _checked(folder)
    failures = [
        {"place": one.place, "expected": one.expected, "got": one.got, "reason": one.reason_code, "why": one.why} for one in found.failures
    ]
    lines = [f"{one['place']}: expected {one['expected']}, got {one['got']} ({one['reason']}): {one['why']}" for one in failures]
    say(as_json, {"cases": found.cases, "failures": failures}, "\n".join([*lines, f"{found.cases} cases, {len(failures)} fail."]))
    if failures:
        raise typer.Exit(2)


@app.command("activate")
def activate(
    folder: Folder = None,
    actor: Annotated[str, typer.Option(help="Who activates, for the record.")] = "operator",
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a policy in force after its cases passed. The next request of anyone is judged by it.

    Example: portcullis policy activate policies
    """
    chosen = folder or load_settings().policies

    async def work(services: Services) -> Check:
        return await services.activate.run_folder(services.tenant, chosen, actor)

    found = run_with(settings_for(data), work)
    say(
        as_json,
        {"digest": found.digest, "rules": found.rules, "cases": found.cases},
        f"In force: {found.digest}, {found.rules} rules, {found.cases} cases passed.",
    )


@app.command("explain")
def explain(
    document: Annotated[str, typer.Argument(help="Document id.")],
    action: Annotated[str, typer.Option(help="Action asked about.")] = "read",
    subject: Annotated[str | None, typer.Option(help="Subject id asked about; omitted: yourself.")] = None,
    person: AsOption = None,
    purpose: PurposeOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Explain one decision step by step (needs debug.explain).

    Example: portcullis policy explain doc_… --as policy-steward
    """
    if action not in set(Action):
        raise failure(f"unknown action `{action}`; known are {', '.join(sorted(Action))}", 2)

    async def work(services: Services) -> Any:  # noqa: ANN401 - JSON
        caller = await caller_as(services, person, purpose)
        found = await services.explain.run(caller, ExplainRequest(DocumentId(document), Action(action), subject))
        steps = [{"step": one.step, "input": one.input, "rule": one.rule, "outcome": one.outcome, "why": one.why} for one in found.steps]
        return {
            "verdict": found.verdict.value,
            "steps": steps,
            "filter_matches": found.filter_matches,
            "referee_agrees": found.referee_agrees,
        }

    found = run_with(settings_for(data), work)
    lines = [f"{one['outcome']:<6} {one['step']:<10} {one['input']}  {one['why']} {one['rule'] or ''}" for one in found["steps"]]
    say(as_json, found, "\n".join([f"Verdict: {found['verdict']}", *lines]))
