"""Commands of the log: `audit verify`, `audit proof`, `audit export`, `audit checkpoint`, `audit resume`."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import orjson
import typer

from app.cli.exporting import write_export
from app.cli.options import DataOption, JsonOption, run_with, say, settings_for
from app.domain.audit import EventId
from app.observability import configure_logging
from app.wiring import Services, resume_log, verify_installation

app = typer.Typer(help="The log: verify, prove, export.", no_args_is_help=True)

_NOT_COMPARED = (
    "NOT COMPARED with what the signer remembers: a log that was put back or cut would look the same from here. "
    "Run `portcullis audit verify` where the signer's folder is."
)


@app.command("verify")
def verify(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Check the whole log: entries, blocks, references, checkpoints, and what the signer remembers, where its folder is.

    Exit 2 when something does not hold, 3 when all holds but the signer's memory is not here to compare with. Needs the database alone,
    under the signer's, a gateway's or an auditor's login.

    Example: portcullis audit verify --data signer-data
    """
    configure_logging("ERROR")
    report = asyncio.run(verify_installation(settings_for(data)))
    head = f"{report.entries} entries in {report.blocks} blocks, checkpoint over {report.checkpoint_size or 0}, root {report.root}"
    found = "Intact" if report.is_memory_compared else "Holds in itself"
    words = [*report.problems, f"{found if report.is_intact else 'NOT INTACT'}: {head}"]
    if not report.entries:
        words.append("NOTHING IS ON RECORD for this tenant: is PORTCULLIS_TENANT right?")
    if not report.is_memory_compared:
        words.append(_NOT_COMPARED)
    say(as_json, {**asdict(report), "is_intact": report.is_intact}, "\n".join(words))
    if not report.is_intact:
        raise typer.Exit(2)
    if not report.is_memory_compared:
        raise typer.Exit(3)


@app.command("proof")
def proof(
    event_id: Annotated[str, typer.Argument(help="Event id (evt_…) or receipt id (rcp_evt_…).")],
    out: Annotated[Path | None, typer.Option(help="Write the receipt to this file.")] = None,
    data: DataOption = None,
) -> None:
    """Print a self-contained proof of one entry, for portcullis-verify. For operators of the installation.

    Example: portcullis audit proof evt_… --out receipt.json && portcullis-verify receipt.json
    """

    async def work(services: Services) -> bytes:
        receipt = await services.receipts.operator_receipt(services.tenant, EventId(event_id.removeprefix("rcp_")))
        return orjson.dumps(receipt, option=orjson.OPT_INDENT_2)

    content = run_with(settings_for(data), work)
    if out:
        out.write_bytes(content)
    else:
        typer.echo(content.decode())


@app.command("checkpoint")
def checkpoint(data: DataOption = None) -> None:
    """Print the newest signed checkpoint.

    Example: portcullis audit checkpoint
    """

    async def work(services: Services) -> str:
        await services.require_policy()
        return await services.trail.checkpoint(services.tenant)

    typer.echo(run_with(settings_for(data), work), nl=False)


@app.command("resume")
def resume(
    reason: Annotated[str, typer.Option("--reason", help="What was found; its length goes on record.")],
    another_signer: Annotated[
        bool, typer.Option("--another-signer", help="The folder that signed last is lost; this one signs now.")
    ] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let records be taken again after a restore or a cut log, once somebody has looked. Runs where the signer's folder is.

    Example: portcullis audit resume --data signer-data --reason "restored from the backup of Tuesday, case 4711"
    """
    size, signed = asyncio.run(resume_log(settings_for(data), reason, is_another_signer=another_signer))
    say(as_json, {"size": size, "signed_size": signed}, f"Records are taken again from entry {size}; {signed} had been signed before.")


@app.command("export")
def export(
    out: Annotated[Path, typer.Argument(help="File to write: one JSON object a line, the leaf bytes included.")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Export every entry with its index and leaf bytes. An earlier export is replaced once the new one is whole and begins with it.

    Example: portcullis audit export log.ndjson
    """

    async def work(services: Services) -> int:
        await services.require_policy()
        return await write_export(services.trail.export(services.tenant), out)

    count = run_with(settings_for(data), work)
    say(as_json, {"entries": count, "file": str(out)}, f"{count} entries written to {out}.")
