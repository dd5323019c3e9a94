"""The one schema history: up and down with data in it, and databases that are too old or too new."""

import sqlite3
import uuid
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from app.errors import ConfigurationError, UpstreamUnavailableError
from app.storage import policy_rows, schema
from app.storage.tables import metadata
from app.storage.transaction import Database
from tests.conftest import ROOT
from tests.services.postgres import Cluster

MIGRATIONS = ROOT / "migrations"


def _url(folder: Path) -> str:
    return f"sqlite+aiosqlite:///{folder / 'portcullis.db'}"


def test_the_history_builds_exactly_the_tables_of_the_schema_page(tmp_path: Path) -> None:
    schema.upgrade(_url(tmp_path), MIGRATIONS)
    with sqlite3.connect(tmp_path / "portcullis.db") as connection:
        built = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}
        columns = {table: {row[1] for row in connection.execute(f"PRAGMA table_info({table})")} for table in metadata.tables}
    connection.close()
    assert set(metadata.tables) <= built
    assert columns == {name: {column.name for column in table.columns} for name, table in metadata.tables.items()}


async def test_rows_survive_a_second_upgrade(tmp_path: Path) -> None:
    url = _url(tmp_path)
    assert schema.upgrade(url, MIGRATIONS)[0] is None
    database = Database(url)
    async with database.write() as tx:
        await policy_rows.put_bundle(tx, "sample", "sha256:1", {"a": "b"}, datetime.now(UTC))
    assert schema.upgrade(url, MIGRATIONS)[0] == schema.upgrade(url, MIGRATIONS)[1]
    async with database.read() as tx:
        assert await policy_rows.files(tx, "sample", "sha256:1") == {"a": "b"}
    await database.close()


def test_down_to_nothing_and_up_again(tmp_path: Path) -> None:
    url = _url(tmp_path)
    schema.upgrade(url, MIGRATIONS)
    schema.downgrade(url, MIGRATIONS, "base")
    assert schema.upgrade(url, MIGRATIONS)[0] is None
    schema.check_current(url, MIGRATIONS)


def test_a_newer_schema_is_refused_with_what_to_do(tmp_path: Path) -> None:
    url = _url(tmp_path)
    schema.upgrade(url, MIGRATIONS)
    with sqlite3.connect(tmp_path / "portcullis.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num='9999'")
        connection.execute("UPDATE schema_compatibility SET oldest_build='9998'")
    connection.close()
    with pytest.raises(ConfigurationError, match="newer Portcullis"):
        schema.upgrade(url, MIGRATIONS)
    with pytest.raises(ConfigurationError, match="newer Portcullis"):
        schema.check_current(url, MIGRATIONS)


def test_an_older_schema_names_the_command_that_mends_it(tmp_path: Path) -> None:
    url = _url(tmp_path)
    schema.upgrade(url, MIGRATIONS)
    schema.downgrade(url, MIGRATIONS, "0001")
    with pytest.raises(ConfigurationError, match="portcullis db upgrade"):
        schema.check_current(url, MIGRATIONS)


def test_the_database_itself_refuses_to_change_or_remove_evidence(tmp_path: Path) -> None:
    schema.upgrade(_url(tmp_path), MIGRATIONS)
    connection = sqlite3.connect(tmp_path / "portcullis.db")
    connection.execute("INSERT INTO audit_checkpoint VALUES ('log', 1, 'note', '2026-01-01')")
    connection.execute("INSERT INTO audit_ref VALUES ('log', 'document', 'd', 0)")
    connection.commit()
    for statement in (
        "UPDATE audit_checkpoint SET note='x'",
        "DELETE FROM audit_checkpoint",
        "DELETE FROM audit_ref",
        "UPDATE audit_ref SET ref='x'",
    ):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    "row",
    [
        "audit_event VALUES ('log', {}, 'e', 't', 'a', 'o', '2026-01-01', '', '')",
        "audit_block VALUES ('log', {}, 1, '', '')",
        "audit_ref VALUES ('log', 'document', 'd', {})",
    ],
)
def test_the_database_itself_refuses_a_row_before_the_first_of_the_log(tmp_path: Path, row: str) -> None:
    schema.upgrade(_url(tmp_path), MIGRATIONS)
    connection = sqlite3.connect(tmp_path / "portcullis.db")
    connection.execute(f"INSERT INTO {row.format(0)}")
    with pytest.raises(sqlite3.IntegrityError, match="negative"):
        connection.execute(f"INSERT INTO {row.format(-1)}")
    connection.close()


async def test_a_read_only_database_is_unavailable_and_recovers(tmp_path: Path) -> None:
    url = _url(tmp_path)
    schema.upgrade(url, MIGRATIONS)
    holder = sqlite3.connect(tmp_path / "portcullis.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    database = Database(url)
    with pytest.raises(UpstreamUnavailableError):
        await database.check()
    holder.execute("ROLLBACK")
    holder.close()
    await database.check()
    await database.close()


async def test_a_failed_block_leaves_nothing_behind(tmp_path: Path) -> None:
    url = _url(tmp_path)
    schema.upgrade(url, MIGRATIONS)
    database = Database(url)

    async def half() -> None:
        async with database.write() as tx:
            await policy_rows.put_bundle(tx, "sample", "sha256:1", {}, datetime.now(UTC))
            message = "stopped half way"
            raise RuntimeError(message)

    with pytest.raises(RuntimeError):
        await half()
    async with database.write() as tx:
        await policy_rows.put_bundle(tx, "sample", "sha256:1", {"a": "b"}, datetime.now(UTC))
    async with database.read() as tx:
        assert await policy_rows.files(tx, "sample", "sha256:1") == {"a": "b"}
    await database.close()


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_does_not_hold_every_text_is_refused_with_the_remedy(postgres: Cluster, encoding: str) -> None:
    """One of SQL_ASCII ended the first upgrade in a TypeError."""
    name = f"t_{uuid.uuid4().hex}"
    with psycopg.connect(postgres.url, autocommit=True) as administrator:
        administrator.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C' OWNER deployer")
    try:
        with pytest.raises(ConfigurationError, match=f"THE_SETTING leads to a database in {encoding}.*ENCODING 'UTF8' TEMPLATE template0"):
            schema.upgrade(postgres.address(name, "deployer"), MIGRATIONS, "THE_SETTING")
    finally:
        postgres.drop(name)
