"""The databases of record that the suites run against: SQLite in a file, and PostgreSQL under the gateway's own login."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import psycopg

from app.storage import schema
from app.storage.transaction import Database
from tests.services.postgres import Cluster

STORES = ("postgresql", "sqlite")
MIGRATIONS = Path(__file__).parents[2] / "migrations"


class Store:
    """One fresh, migrated database that several processes, that is several `Database`s, may open."""

    def __init__(self, name: str, folder: Path, cluster: Cluster | None) -> None:
        """`cluster` is `None` for SQLite only."""
        self.is_postgres = name == "postgresql"
        self._cluster = cluster or Cluster("")
        self.database_name = self._cluster.fresh() if self.is_postgres else ""
        self._file = folder / "portcullis.db"
        self._sqlite = f"sqlite+aiosqlite:///{self._file}"
        if not self.is_postgres:
            schema.upgrade(self._sqlite, MIGRATIONS)

    def url(self, login: str = "all_in_one") -> str:
        """Its address; SQLite knows no logins."""
        return self._cluster.address(self.database_name, login) if self.is_postgres else self._sqlite

    @asynccontextmanager
    async def opened(self, login: str = "all_in_one", tenant: str = "sample") -> AsyncIterator[Database]:
        """Open it as one process of an installation would."""
        database = Database(self.url(login), tenant)
        try:
            yield database
        finally:
            await database.close()

    def meddle(self, *statements: str) -> None:
        """Change rows as an owner of the database could: without the guards."""
        if self.is_postgres:
            with psycopg.connect(self.url("postgres"), autocommit=True) as owner:
                for (table,) in owner.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall():
                    owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
                for statement in statements:
                    owner.execute(_in_postgres(statement))
            return
        with closing(sqlite3.connect(self._file)) as connection:
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='trigger'").fetchall():
                connection.execute(f"DROP TRIGGER {name}")
            for statement in statements:
                connection.execute(statement)
            connection.commit()

    @contextmanager
    def blocked(self) -> Iterator[None]:
        """While somebody else holds what every writer needs."""
        if self.is_postgres:
            with psycopg.connect(self.url("postgres")) as holder:
                holder.execute("LOCK TABLE audit_head, policy_bundle IN ACCESS EXCLUSIVE MODE")
                yield
            return
        with closing(sqlite3.connect(self._file, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            yield
            holder.execute("ROLLBACK")

    def column(self, query: str) -> list[object]:
        """The first column of a query that needs no gateway."""
        if self.is_postgres:
            with psycopg.connect(self.url("postgres")) as connection:
                return [row[0] for row in connection.execute(query).fetchall()]
        with closing(sqlite3.connect(self._file)) as connection:
            return [row[0] for row in connection.execute(query).fetchall()]

    def drop(self) -> None:
        """Take it away."""
        if self.is_postgres:
            self._cluster.drop(self.database_name)


def _in_postgres(statement: str) -> str:
    leaf = "convert_to(replace(convert_from(leaf, 'UTF8'), 'engineer', 'somebody'), 'UTF8')"
    statement = statement.replace("CAST(replace(leaf, 'engineer', 'somebody') AS BLOB)", leaf)
    return statement.replace("zeroblob(32)", "decode(repeat('00', 32), 'hex')")
