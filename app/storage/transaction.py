"""Opens the database and hands out transactions. Flows begin and commit; queries only run inside what they are given.

Both databases keep one order: transactions that decide by what they read and then write take turns, across processes; appends to the log
lock its head alone; a read sees one snapshot. On SQLite a write starts with BEGIN IMMEDIATE, on PostgreSQL with an advisory lock. Writers
of one process queue before that instead of polling the file: with the busy handler alone 64 writers waited over a second.
"""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import QueuePool

from app.errors import InvalidInputError, OutcomeUnknownError, PortcullisError, UpstreamRefusedError, UpstreamUnavailableError
from app.storage.driver import connector

_WRITE = "portcullis_write"
_LOCK_WAIT_S = 2.0
_RETURN_TRIES, _RETURN_WAIT_S = 200, 0.01
_VALUE_CLASSES, _RULE_CLASSES = {"22", "54"}, {"23", "42"}
_UNFIT = "A value of the request fits nowhere: it is too long, or holds characters that no text has. Shorten or mend it."
_UNKNOWN = "The database went away at the last moment: what was asked for may have been done. Look before you repeat it."
_TAKE_TURN = "SELECT pg_advisory_xact_lock(5795270061)"


@dataclass(frozen=True, slots=True)
class Transaction:
    """An open transaction. `connection` is for query modules in `storage` only."""

    connection: AsyncConnection

    async def now(self) -> datetime:
        """The database's clock: one for all processes of an installation, whatever theirs say. Aware, UTC."""
        if self.connection.dialect.name == "sqlite":
            return datetime.now(UTC)
        moment: datetime = (await self.connection.exec_driver_sql("SELECT clock_timestamp()")).scalar_one()
        return moment.astimezone(UTC)


class Database:
    """The database of record behind one URL: `sqlite+aiosqlite:///PATH` or `postgresql://…`, there with the rows of one tenant."""

    def __init__(self, url: str, tenant: str = "") -> None:
        self.is_sqlite = url.startswith("sqlite+aiosqlite:///")
        if self.is_sqlite:
            self._reading = _sqlite_engine(make_url(url))
            self._writing = self._reading.execution_options(**{_WRITE: True})
        else:
            from app.storage import postgres  # noqa: PLC0415 - its driver is a tenth of a second of every start on a laptop

            era = postgres.Era()
            self._reading = postgres.async_engine(url, tenant, _from_json, era, writes=False)
            self._writing = postgres.async_engine(url, tenant, _from_json, era, writes=True)
        self._writers, self._appenders = asyncio.Lock(), asyncio.Lock()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        """One snapshot of the database. Raises UpstreamUnavailableError when it cannot be read."""
        async with _translated(), self._reading.connect() as connection, connection.begin():
            yield Transaction(connection)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """A transaction that commits when the block ends and leaves nothing behind when it raises.

        No other one runs meanwhile, in whatever process: what it reads is still so when it commits.
        """
        async with _translated() as course, _held(self._writers), self._writing.connect() as connection, connection.begin():
            if not self.is_sqlite:
                await connection.exec_driver_sql(_TAKE_TURN)
            yield Transaction(connection)
            course.is_at_commit = not self.is_sqlite

    @asynccontextmanager
    async def append(self) -> AsyncIterator[Transaction]:
        """A write transaction that takes no turn where the database can lock rows: for appends to the log, which lock its head."""
        turn = self._writers if self.is_sqlite else self._appenders
        async with _translated() as course, _held(turn), self._writing.connect() as connection, connection.begin():
            yield Transaction(connection)
            course.is_at_commit = not self.is_sqlite

    async def check(self) -> None:
        """Raise UpstreamUnavailableError unless the database answers and takes writes."""
        async with self.append() as tx:
            if not self.is_sqlite and (await tx.connection.exec_driver_sql("SHOW transaction_read_only")).scalar_one() == "on":
                message = "The database takes no writes: it is a standby, or read-only."
                raise UpstreamUnavailableError(message)

    async def close(self) -> None:
        """Give back every connection. Those of work that was just cancelled are on their way back to the pool."""
        for engine in (self._reading, self._writing):
            for _ in range(_RETURN_TRIES):
                if not isinstance(engine.pool, QueuePool) or not engine.pool.checkedout():
                    break
                await asyncio.sleep(_RETURN_WAIT_S)
            await engine.dispose()


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


def _from_json(text: str | bytes) -> Any:  # noqa: ANN401 - JSON
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


@dataclass(slots=True)
class _Course:
    is_at_commit: bool = False


@asynccontextmanager
async def _translated() -> AsyncIterator[_Course]:
    course = _Course()
    try:
        yield course
    except (DBAPIError, PoolTimeoutError, sqlite3.Error) as error:
        if course.is_at_commit and getattr(error, "connection_invalidated", False):
            raise OutcomeUnknownError(_UNKNOWN) from error
        raise _family(error) from error
    except (UnicodeEncodeError, OverflowError) as error:
        raise InvalidInputError(_UNFIT) from error
    except SQLAlchemyError as error:
        message = "The database request failed. Nothing was released."
        raise UpstreamUnavailableError(message) from error


def _family(error: Exception) -> PortcullisError:
    """What an error of the driver means to a caller, by its SQLSTATE: a value that fits nowhere, a row that may not be, or no answer."""
    cause = getattr(error, "orig", error)
    state = getattr(cause, "sqlstate", None) or ""
    if state[:2] in _VALUE_CLASSES or isinstance(cause, sqlite3.DataError):
        return InvalidInputError(_UNFIT)
    if state[:2] in _RULE_CLASSES or isinstance(cause, sqlite3.IntegrityError):
        return UpstreamRefusedError("The database does not take this change, now or later. Nothing was released and nothing is half done.")
    return UpstreamUnavailableError("The database did not take the request. Nothing was released and nothing is half done; try again.")
