"""Commands of the search index: `index verify`, `index rebuild`."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated

import typer

from app.cli.options import DataOption, JsonOption, run_with, say, settings_for
from app.errors import ConfigurationError
from app.ingest.reconcile import IndexReport
from app.wiring import Services

_NOT_MENDED = "STILL NOT RIGHT after the repair: try again, or rebuild the index with portcullis index rebuild"

app = typer.Typer(help="The search index: verify, repair, rebuild.", no_args_is_help=True)


@app.command("verify")
def verify(
    repair: Annotated[bool, typer.Option("--repair", help="Make the index what the register says.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the search index with the register: what is missing, extra, or stands there under old access. Exit 2 when something is wrong.

    With --repair it compares once more, and exits with 2 when something is wrong still. A server does the same before it is ready.

    Example: portcullis index verify --repair
    """

    async def work(services: Services) -> IndexReport:
        await services.require_policy()
        return await services.reconcile.run(services.tenant, repair=repair)

    report = run_with(settings_for(data), work)
    wrong = {name: ids for name, ids in asdict(report).items() if name != "documents" and ids}
    lines = [f"{name.replace('_', ' ')}: {', '.join(ids)}" for name, ids in wrong.items()]
    is_mended = repair and report.is_mended
    end = "Right" if report.is_right else "NOT RIGHT, mend it with --repair" if not repair else "Repaired" if is_mended else _NOT_MENDED
    say(
        as_json,
        {**asdict(report), "is_right": report.is_right, "repaired": is_mended},
        "\n".join([*lines, f"{end}: {report.documents} documents"]),
    )
    if not (report.is_right or is_mended):
        raise typer.Exit(2)


@app.command("rebuild")
def rebuild(
    confirm: Annotated[bool, typer.Option("--confirm", help="Delete the index that no longer serves.")] = False,
    abandon: Annotated[bool, typer.Option("--abandon", help="Give up a rebuild that was begun: delete the new index.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build the OpenSearch index anew from the register, beside the one that serves, compare it and swap it in. Searches go on.

    May be stopped and run again, or given up with --abandon. The old index is kept until --confirm.

    Example: portcullis index rebuild && portcullis index rebuild --confirm
    """

    async def work(services: Services) -> tuple[int, bool]:
        if services.rebuild is None:
            message = "The embedded index needs no rebuild: stop the gateway, delete index.db in the data folder, and start it again."
            raise ConfigurationError(message)
        await services.require_policy()
        if confirm or abandon:
            return 0, await (services.rebuild.confirm if confirm else services.rebuild.abandon)(services.tenant)
        return await services.rebuild.run(services.tenant, _progress(as_json)), False

    if confirm and abandon:
        message = "--confirm deletes the old index and --abandon the new one: choose."
        raise typer.BadParameter(message)
    documents, is_dropped = run_with(settings_for(data), work)
    if confirm or abandon:
        text = f"The {'old' if confirm else 'new'} index is deleted." if is_dropped else "There is no other index."
    else:
        text = f"The new index serves {documents} documents. When all is well, delete the old one: portcullis index rebuild --confirm"
    say(as_json, {"documents": documents, "dropped": is_dropped}, text)


def _progress(as_json: bool) -> Callable[[int, int], None]:
    def note(done: int, total: int) -> None:
        if not as_json and done % 100 == 0:
            typer.echo(f"{done} of {total} documents")

    return note
