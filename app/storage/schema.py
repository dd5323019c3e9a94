"""Brings a database to the schema this build speaks, through the one Alembic history in `migrations/`."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.engine import URL, Connection, Engine, make_url

from app.errors import ConfigurationError


def upgrade(url: str, migrations: Path) -> tuple[str | None, str]:
    """Upgrade the database at `url` to the newest revision; returns (revision before, revision after).

    Runs in one transaction, blocking. Raises ConfigurationError when the database is newer than this build.
    """
    script = _script(migrations)
    head = script.get_current_head()
    if head is None:
        message = f"No migrations in {migrations}: the installation is incomplete."
        raise ConfigurationError(message)
    with _engine(url).begin() as connection:
        before = _known_revision(connection, script)
        if before != head:
            config = Config()
            config.set_main_option("script_location", str(migrations))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    return before, head


def downgrade(url: str, migrations: Path, revision: str) -> None:
    """Take the database back to `revision` (`base` empties it). For tests and for a planned step back only."""
    config = Config()
    config.set_main_option("script_location", str(migrations))
    with _engine(url).begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def check_current(url: str, migrations: Path) -> None:
    """Raise ConfigurationError, naming the command that mends it, unless the database is at the newest revision."""
    script = _script(migrations)
    with _engine(url).connect() as connection:
        if _known_revision(connection, script) != script.get_current_head():
            message = "The database schema is older than this build. Run `portcullis db upgrade`."
            raise ConfigurationError(message)


def _known_revision(connection: Connection, script: ScriptDirectory) -> str | None:
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is not None and revision not in {one.revision for one in script.walk_revisions()}:
        message = (
            f"The database is at revision {revision}, which this build does not know: it was upgraded by a newer Portcullis. "
            "Install that version again, or restore a backup from before the upgrade."
        )
        raise ConfigurationError(message)
    return revision


def _script(migrations: Path) -> ScriptDirectory:
    return ScriptDirectory(str(migrations))


def _engine(url: str) -> Engine:
    blocking: URL = make_url(url)
    return create_engine(blocking.set(drivername=blocking.get_backend_name()))
