"""Brings a database to the schema this build speaks, through the one Alembic history in `migrations/`."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError

from app.errors import ConfigurationError, UpstreamUnavailableError

_SETTING = "PORTCULLIS_DATABASE_URL"
_ONE_AT_A_TIME = "SELECT pg_try_advisory_lock(5795270062)"
_WAIT_S, _TRIES = 0.2, 600
_OWNER = "SELECT tableowner FROM pg_tables WHERE schemaname = 'public' AND tablename = 'alembic_version'"
_OWNS = "SELECT pg_has_role(tableowner, 'USAGE') FROM pg_tables WHERE schemaname = 'public' AND tablename = 'tenant_state'"
_ROLES = ("portcullis_owner", "portcullis_gateway", "portcullis_auditor", "portcullis_eraser", "portcullis_signer")
_TOO_MUCH = ("pg_write_all_data", "pg_execute_server_program", "pg_write_server_files", "pg_read_server_files")
_STANDING = """
SELECT EXISTS (
        SELECT FROM pg_roles
        WHERE (rolsuper OR rolbypassrls OR rolcreaterole OR rolreplication OR rolname = 'pg_database_owner') AND pg_has_role(oid, 'MEMBER')
    )
    OR EXISTS (SELECT FROM pg_database WHERE datname = current_database() AND pg_has_role(datdba, 'MEMBER'))
    OR has_database_privilege(current_database(), 'CREATE')
    OR has_schema_privilege('public', 'CREATE')
    OR coalesce(has_table_privilege(to_regclass('public.audit_event')::oid, 'UPDATE, DELETE, TRUNCATE'), false)
    OR coalesce(has_table_privilege(to_regclass('public.tenant_login')::oid, 'INSERT, UPDATE, DELETE, TRUNCATE'), false)
"""
"""Whether a login, as it is or by SET ROLE, may change the log, see every tenant, own or extend the database, or make roles."""
_MEMBERSHIPS = """
SELECT rolname, pg_has_role(oid, 'USAGE') FROM pg_roles WHERE rolname = ANY(:names) AND pg_has_role(oid, 'MEMBER')
"""
"""`MEMBER` also of what is only to be had by SET ROLE."""


def upgrade(url: str, migrations: Path, setting: str = _SETTING) -> tuple[str | None, str]:
    """Upgrade the database at `url` to the newest revision; returns (revision before, revision after).

    A newer schema that still serves this build stays as it is. `setting` gave the URL, for messages.
    Blocking. SQLite is changed in one transaction, PostgreSQL in one a revision, so that what was done stays done. Raises
    ConfigurationError when the database is newer than this build or the login may not change it, UpstreamUnavailableError when it does
    not answer or somebody holds a table for more than three seconds; the next run goes on where this one stopped.
    """
    script = _script(migrations)
    head = script.get_current_head()
    if head is None:
        message = f"No migrations in {migrations}: the installation is incomplete."
        raise ConfigurationError(message)
    with _changing(url, setting) as connection:
        before = _revision(connection, script)
        _end_read(connection)
        if before is not None and not _knows(script, before):
            return before, before
        if before != head:
            command.upgrade(_config(connection, migrations), "head")
    return before, head


def downgrade(url: str, migrations: Path, revision: str) -> None:
    """Take the database back to `revision` (`base` empties it). For tests and for a planned step back only."""
    with _changing(url) as connection:
        command.downgrade(_config(connection, migrations), revision)


def analyze(url: str) -> None:
    """Let the database learn, as its owner, what its tables hold after much came in at once: until it looks by itself, it plans for none.

    Blocking, for as long as it takes. Raises UpstreamUnavailableError when somebody holds a table for more than three seconds.
    """
    try:
        with _engine(url).connect() as connection:
            if connection.dialect.name == "postgresql":
                _become_owner(connection)
            connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("ANALYZE")
    except DBAPIError as error:
        message = str(error.orig).strip()
        raise UpstreamUnavailableError(message) from error


def check_current(
    url: str, migrations: Path, roles: tuple[str, ...] = ("portcullis_gateway",), tenant: str = "", *, is_one_enough: bool = False
) -> None:
    """Raise ConfigurationError, naming what mends it, unless the schema is this build's and the login has these roles and no more rights.

    With `is_one_enough` any of the roles will do: for a command that only looks.

    A login that may rewrite the log, sign it or delete from it, pass by the rules of row security, or that is another tenant's is
    refused: whatever the gateway can do, its attacker can.
    """
    script = _script(migrations)
    with _translated(), _engine(url).connect() as connection:
        if connection.dialect.name == "postgresql":
            _check_login(connection, roles, is_one_enough=is_one_enough)
        revision = _revision(connection, script)
        if revision is None or (_knows(script, revision) and revision != script.get_current_head()):
            message = "The database schema is older than this build. Run `portcullis db upgrade`."
            raise ConfigurationError(message)
        if connection.dialect.name == "postgresql":
            _check_tenant(connection, tenant)


def check_owner(url: str, setting: str = _SETTING) -> None:
    """Raise ConfigurationError, naming the setting, unless the login may do what only the owner of the tables may."""
    with _translated(), _engine(url, setting).connect() as connection:
        if connection.dialect.name != "postgresql" or connection.execute(text(_OWNS)).scalar_one_or_none():
            return
    message = (
        "This is for the owner of the database, and the login in use is not: set PORTCULLIS_DATABASE_OWNER_URL, or "
        "PORTCULLIS_DATABASE_OWNER_URL_FILE, to the owner's address. Nothing was changed."
    )
    raise ConfigurationError(message)


def _check_login(connection: Connection, roles: tuple[str, ...], *, is_one_enough: bool) -> None:
    is_mighty = connection.execute(text(_STANDING)).scalar_one()
    held = connection.execute(text(_MEMBERSHIPS), {"names": [*_ROLES, *_TOO_MUCH]}).all()
    usable, more = {name for name, is_usable in held if is_usable}, sorted({name for name, _ in held} - set(roles))
    is_enough = bool(usable & set(roles)) if is_one_enough else usable >= set(roles)
    if not is_mighty and not more and is_enough:
        return
    which = f"is not in {(' or ' if is_one_enough else ' and ').join(roles)}"
    if is_mighty:
        which = "may change the log, see every tenant, create things in the database or make roles"
    elif more:
        which = f"is also in {', '.join(more)}"
    message = (
        f"The login of PORTCULLIS_DATABASE_URL {which}. Make one with no other rights: "
        f"CREATE ROLE … LOGIN PASSWORD '…' IN ROLE {roles[0] if is_one_enough else ', '.join(roles)}."
    )
    raise ConfigurationError(message)


def _check_tenant(connection: Connection, tenant: str) -> None:
    connection.execute(text("SELECT set_config('portcullis.tenant', :tenant, false)"), {"tenant": tenant})
    if connection.execute(text("SELECT portcullis_tenant()")).scalar_one() != tenant:
        message = (
            f"The login of PORTCULLIS_DATABASE_URL may not see the tenant {tenant}: `tenant_login` binds logins to tenants. Add a row for "
            "this login as the owner of the database, or set PORTCULLIS_TENANT to its tenant."
        )
        raise ConfigurationError(message)


@contextmanager
def _changing(url: str, setting: str = _SETTING) -> Iterator[Connection]:
    """A connection for changes of the schema: on PostgreSQL one at a time, as the role that owns the tables."""
    with _translated(), _engine(url, setting).connect() as connection:
        if connection.dialect.name == "sqlite":
            with connection.begin():
                yield connection
            return
        _wait_for_turn(connection)
        _become_owner(connection)
        yield connection


def _become_owner(connection: Connection) -> None:
    owner = connection.execute(text(_OWNER)).scalar_one_or_none()
    if owner is not None:
        connection.execute(text(f'SET ROLE "{owner}"'))
    connection.commit()


def _wait_for_turn(connection: Connection) -> None:
    # Asked again and again: an index that is built beside running work waits for whoever waits inside the database.
    for _ in range(_TRIES):
        is_mine = connection.execute(text(_ONE_AT_A_TIME)).scalar_one()
        connection.commit()
        if is_mine:
            return
        time.sleep(_WAIT_S)
    message = "Another upgrade of this database has been running for two minutes. Wait for it, then run `portcullis db upgrade` again."
    raise UpstreamUnavailableError(message)


def _end_read(connection: Connection) -> None:
    """On PostgreSQL each revision opens its own transaction, which it cannot inside this one."""
    if connection.dialect.name != "sqlite":
        connection.commit()


def _config(connection: Connection, migrations: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations))
    config.attributes["connection"] = connection
    return config


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == "42501":
            message = (
                "This login may not change the schema: set PORTCULLIS_DATABASE_OWNER_URL to the owner of the database, with CREATEROLE for "
                "the first time."
            )
            raise ConfigurationError(message) from error
        message = f"The schema was not changed: {error.orig}. Nothing is half done; run `portcullis db upgrade` again."
        raise UpstreamUnavailableError(message) from error


def _revision(connection: Connection, script: ScriptDirectory) -> str | None:
    """The revision of the database. Raises ConfigurationError when it is newer than this build and no longer serves it."""
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is not None and not _knows(script, revision) and not _serves(connection, script):
        message = (
            f"The database is at revision {revision}, which this build does not know: it was upgraded by a newer Portcullis. "
            "Install that version again, or restore a backup from before the upgrade."
        )
        raise ConfigurationError(message)
    return revision


def _knows(script: ScriptDirectory, revision: str) -> bool:
    return revision in {one.revision for one in script.walk_revisions()}


def _serves(connection: Connection, script: ScriptDirectory) -> bool:
    """Whether a schema from the future says that it only adds to what this build needs."""
    if not inspect(connection).has_table("schema_compatibility"):
        return False
    oldest = connection.execute(text("SELECT oldest_build FROM schema_compatibility")).scalar_one_or_none()
    return oldest is not None and _knows(script, oldest)


def _script(migrations: Path) -> ScriptDirectory:
    return ScriptDirectory(str(migrations))


def _engine(url: str, setting: str = _SETTING) -> Engine:
    if url.startswith("sqlite"):
        return create_engine(make_url(url).set(drivername="sqlite"))
    from app.storage import postgres  # noqa: PLC0415 - as in `Database`

    return postgres.blocking_engine(url, setting)
