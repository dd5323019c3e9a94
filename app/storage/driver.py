"""The SQLite driver, with one trip to its thread per statement.

aiosqlite goes there four times for a query: for a cursor, to run it, for its rows, to close it. On a busy machine every trip waits for a
turn: a search made 57 of them, and they were half of its time. Rows are fetched at once anyway, so one trip does all four.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiosqlite

_ROWS_A_TRIP = 64


@dataclass(slots=True)
class _Ran:
    """What a statement left behind."""

    rows: list[Any] = field(default_factory=list)
    description: Any = None
    rowcount: int = -1
    lastrowid: int | None = None


class WholeCursor:
    """A cursor that holds its rows already. The part of aiosqlite's cursor that SQLAlchemy calls."""

    def __init__(self, run: Callable[..., Awaitable[_Ran]]) -> None:
        self._run = run
        self._ran = _Ran()

    @property
    def description(self) -> Any:  # noqa: ANN401 - the database interface's own tuples (PEP 249)
        """Columns of the last statement, or `None`."""
        return self._ran.description

    @property
    def rowcount(self) -> int:
        """Rows the last statement changed."""
        return self._ran.rowcount

    @property
    def lastrowid(self) -> int | None:
        """Row of the last insert."""
        return self._ran.lastrowid

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> None:
        """Run a statement and fetch its rows."""
        self._ran = await self._run("execute", statement, parameters)

    async def executemany(self, statement: str, parameters: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each set of parameters."""
        self._ran = await self._run("executemany", statement, parameters)

    async def fetchall(self) -> list[Any]:
        """Hand over the rows."""
        rows, self._ran.rows = self._ran.rows, []
        return rows

    async def close(self) -> None:
        """Forget the rows."""
        self._ran.rows = []


class OneTripConnection(aiosqlite.Connection):
    """aiosqlite's connection and thread, with cursors that need one trip."""

    async def cursor(self) -> WholeCursor:  # type: ignore[override]  # awaited by SQLAlchemy; never used as a context manager here
        """Make a cursor, without a trip."""
        return WholeCursor(self._whole)

    async def _whole(self, method: str, statement: str, parameters: Any) -> _Ran:  # noqa: ANN401 - whatever SQLite binds
        def run() -> _Ran:
            cursor = self._conn.cursor()
            try:
                getattr(cursor, method)(statement, parameters)
                rows = cursor.fetchall() if cursor.description else []
                return _Ran(rows, cursor.description, cursor.rowcount, cursor.lastrowid)
            finally:
                cursor.close()

        ran: _Ran = await self._execute(run)  # type: ignore[no-untyped-call]  # the library's own way into its thread
        return ran


def connector(database: str, timeout_s: float) -> Callable[[], OneTripConnection]:
    """Make what SQLAlchemy calls, and awaits, to open a database file; `timeout_s` bounds the wait for another process's lock."""

    def connect() -> OneTripConnection:
        # SQLite's own check of threads is off, as in SQLAlchemy's dialect: statements run on one thread, a stop may come from another.
        opened = OneTripConnection(lambda: sqlite3.connect(database, timeout=timeout_s, check_same_thread=False), _ROWS_A_TRIP)
        # As SQLAlchemy does for connections it makes itself: a forgotten one must not keep the process from ending.
        opened._thread.daemon = True  # noqa: SLF001 - aiosqlite offers no other way
        return opened

    return connect
