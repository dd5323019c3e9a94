"""Opens the database and hands out transactions. Flows begin and commit; queries only run inside what they are given.

On SQLite a write transaction starts with BEGIN IMMEDIATE, and writers of one process queue on a lock instead of
polling the file: with the busy handler alone 64 writers waited over a second.
"""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.errors import ConfigurationError, UpstreamUnavailableError
from app.storage.driver import connector

_WRITE = "portcullis_write"
_LOCK_WAIT_S = 2.0


@dataclass(frozen=True, slots=True)
class Transaction:
    """An open transaction. `connection` is for query modules in `storage` only."""

    connection: AsyncConnection


class Database:
    """The database of record behind one URL, `sqlite+aiosqlite:///…` (PostgreSQL shares the schema)."""

    def __init__(self, url: str) -> None:
        self.url: URL = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if not self.is_sqlite:
            message = f"The database `{self.url.get_backend_name()}` is not supported here: use sqlite+aiosqlite:///PATH."
            raise ConfigurationError(message)
        self._engine = _sqlite_engine(self.url)
        self._writers = asyncio.Lock()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        """One snapshot of the database. Raises UpstreamUnavailableError when it cannot be read."""
        async with _translated(), self._engine.connect() as connection, connection.begin():
            yield Transaction(connection)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """A transaction that commits when the block ends and leaves nothing behind when it raises."""
        async with _translated(), _held(self._writers), self._engine.connect() as plain:
            connection = await plain.execution_options(**{_WRITE: True})
            async with connection.begin():
                yield Transaction(connection)

    async def check(self) -> None:
        """Raise UpstreamUnavailableError unless the database answers and takes writes."""
        async with self.write():
            pass

    async def close(self) -> None:
        """Give back every connection."""
        await self._engine.dispose()


def _sqlite_engine(url: URL) -> AsyncEngine:
    # Parameters are questions, passages and names: they must not stand in an error's words, which end in logs.
    engine = create_async_engine(
        url,
        async_creator=connector(url.database or "", _LOCK_WAIT_S),
        pool_size=8,
        max_overflow=8,
        pool_timeout=_LOCK_WAIT_S,
        hide_parameters=True,
        json_deserializer=_from_json,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        # The driver's own transaction handling opens deferred transactions late; ours are explicit.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON", "cache_size=-16384"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        is_write = connection.get_execution_options().get(_WRITE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")

    return engine


def _from_json(text: str) -> Any:  # noqa: ANN401 - JSON
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        # Broken sources hold lone surrogates, which only the slower reader takes.
        return json.loads(text)


@asynccontextmanager
async def _held(lock: asyncio.Lock) -> AsyncIterator[None]:
    try:
        # Not `wait_for`: when the turn comes in the same moment as a cancellation, it swallows the cancellation (cpython #86296) and
        # background work that was told to stop waits for ever.
        async with asyncio.timeout(_LOCK_WAIT_S):
            await lock.acquire()
    except TimeoutError as error:
        message = "The database is busy: no turn to write within two seconds."
        raise UpstreamUnavailableError(message) from error
    try:
        yield
    finally:
        lock.release()


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except (DBAPIError, PoolTimeoutError, sqlite3.Error) as error:
        message = "The database did not take the request. Nothing was released and nothing is half done; try again."
        raise UpstreamUnavailableError(message) from error
    except SQLAlchemyError as error:
        message = "The database request failed. Nothing was released."
        raise UpstreamUnavailableError(message) from error
