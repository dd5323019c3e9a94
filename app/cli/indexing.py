"""Commands of the search index: `index verify`."""

from dataclasses import asdict
from typing import Annotated

import typer

from app.cli.options import DataOption, JsonOption, run_with, say, settings_for

app = typer.Typer(help="The search index: verify, repair.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep a lone command under its name."""


@app.command("verify")
def verify(
    repair: Annotated[bool, typer.Option("--repair", help="Make the index what the register says.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the search index with the register: what is missing, extra, or stands there under old access. Exit 2 when something is wrong.

    A server does the same, with repair, before it is ready.

    Example: portcullis index verify --repair
    """
    report = run_with(settings_for(data), lambda services: services.reconcile.run(services.tenant, repair=repair))
    wrong = {name: ids for name, ids in asdict(report).items() if name != "documents" and ids}
    lines = [f"{name.replace('_', ' ')}: {', '.join(ids)}" for name, ids in wrong.items()]
    end = "Right" if report.is_right else "Repaired" if repair else "NOT RIGHT, mend it with --repair"
    say(
        as_json,
        {**asdict(report), "is_right": report.is_right, "repaired": repair},
        "\n".join([*lines, f"{end}: {report.documents} documents"]),
    )
    if not (report.is_right or repair):
        raise typer.Exit(2)
