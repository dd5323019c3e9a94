"""PostgreSQL: how it is reached, and what it is told at the start of each connection.

Whatever the server does, a caller gets an answer or an error in seconds: connecting, waiting for a lock and running a statement have
limits on the server, and a server that no longer answers at all is given up on by the client.
"""

import re
import select
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

import psycopg
from psycopg.abc import PQGen
from psycopg.adapt import AdaptersMap
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.types.json import set_json_loads
from psycopg.types.string import StrDumperUnknown, TextLoader
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine, ExceptionContext
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from app.errors import ConfigurationError

DIALECT = "postgresql+psycopg://"
OLDEST_SERVER = 150000
_SETTING = "PORTCULLIS_DATABASE_URL"
_CONNECT_WITHIN_S = 3
_STATEMENT_WITHIN_S = 5
_GIVE_UP_AFTER_S = 7.0
_VERIFIED = {"verify-full", "verify-ca"}
_ALWAYS = {
    "timezone": "UTC",
    # Not a schema that bears the login's name, which others might have made.
    "search_path": "public",
    # The session's, whatever the server's is: a commit that was not flushed must never count as one.
    "synchronous_commit": "on",
    # Or a writer would see what stood before it waited for its turn, and decide by rules that were replaced meanwhile.
    "default_transaction_isolation": r"read\ committed",
    "lock_timeout": "2s",
    "statement_timeout": f"{_STATEMENT_WITHIN_S}s",
    "idle_in_transaction_session_timeout": "60s",
    # Or the first request after a quiet moment would find its connection closed.
    "idle_session_timeout": "0",
}
_READS = "SET default_transaction_isolation = 'repeatable read'; SET default_transaction_read_only = on"
"""Said after connecting: a session that begins read-only is refused by `target_session_attrs=read-write`, which finds the primary."""
_STALE_STATES = {"25006", "57P01", "57P02", "57P03", "08006"}
"""The server is going away or has become a standby: every connection to it is of no more use."""


def conninfo(url: str, setting: str = _SETTING) -> str:
    """The URL, which `setting` gave, as libpq reads it: several hosts and `target_session_attrs` included.

    Raises ConfigurationError, without the password, for what is no address, for one that would send everything to whoever answers for
    the host, and for one that brings session settings of its own.
    """
    plain, is_postgres = re.subn(r"^postgres(ql)?(\+psycopg)?://", "postgresql://", url)
    parts: dict[str, Any] = {}
    problem = "is no PostgreSQL address: write postgresql://USER:PASSWORD@HOST:PORT/DATABASE."
    if is_postgres:
        with suppress(psycopg.ProgrammingError):
            parts = conninfo_to_dict(plain)
            problem = ""
    hosts = [*str(parts.get("host") or "").split(","), *str(parts.get("hostaddr") or "").split(",")]
    if "options" in parts:
        problem = "names `options`: settings of a session are the gateway's own. Leave them out."
    elif not all(map(_is_here, hosts)) and parts.get("sslmode") not in _VERIFIED:
        problem = "leads to another machine, which must show who it is: add ?sslmode=verify-full&sslrootcert=FILE, FILE with its authority."
    if problem:
        message = f"{setting} {problem}"
        raise ConfigurationError(message)
    return plain


def _is_here(host: str) -> bool:
    """Whether a host is this machine: a socket's folder, or loopback."""
    try:
        return host in {"", "localhost"} or host.startswith(("/", "@")) or ip_address(host).is_loopback
    except ValueError:
        return False


def async_engine(url: str, tenant: str, from_json: Callable[[str | bytes], Any], era: "Era", *, writes: bool) -> AsyncEngine:
    """One of the gateway's two engines, each for the rows of one tenant: reads see one snapshot, writes what was committed last.

    Two, since a connection's kind is settled when it is opened. Told anew each time, a request that is cut off in that moment leaves its
    connection to nobody.
    """
    engine = create_async_engine(
        DIALECT,
        async_creator=_connector(conninfo(url), {**_ALWAYS, "portcullis.tenant": tenant}, "" if writes else _READS, from_json),
        pool_size=8,
        max_overflow=8,
        pool_timeout=2.0,
        hide_parameters=True,
        use_native_hstore=False,
    )
    era.follow(engine.sync_engine)
    return engine


def blocking_engine(url: str, setting: str = _SETTING) -> Engine:
    """An engine for migrations and checks: they may take long, but wait for a lock no longer than three seconds.

    Raises ConfigurationError, naming the `setting` that gave the URL, as `conninfo` does, and for a database that does not hold any text.
    """
    dsn = conninfo(url, setting)

    def connect() -> psycopg.Connection[Any]:
        options = "-c lock_timeout=3s -c timezone=UTC -c statement_timeout=0 -c search_path=public"
        connection = psycopg.connect(dsn, connect_timeout=_CONNECT_WITHIN_S, application_name="portcullis-schema", options=options)
        if (encoding := connection.info.parameter_status("server_encoding")) != "UTF8":
            connection.close()
            message = (
                f"{setting} leads to a database in {encoding}, which does not hold every text: "
                "make it anew with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0."
            )
            raise ConfigurationError(message)
        return connection

    return create_engine(DIALECT, creator=connect, poolclass=NullPool, hide_parameters=True, use_native_hstore=False)


def _connector(
    dsn: str, settings: Mapping[str, str], first: str, from_json: Callable[[str | bytes], Any]
) -> Callable[[], Awaitable["_BoundedConnection"]]:
    """What opens a connection with session settings, and says `first` on it."""
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    adapters = _adapters(from_json)

    async def connect() -> _BoundedConnection:
        connection = await _BoundedConnection.connect(
            dsn,
            autocommit=True,
            context=adapters,
            options=options,
            connect_timeout=_CONNECT_WITHIN_S,
            application_name="portcullis",
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=2,
        )
        try:
            await _prepare(connection, first)
        except BaseException:
            # Cut off in this moment, it would be nobody's.
            connection.pgconn.finish()
            raise
        return connection

    return connect


async def _prepare(connection: "_BoundedConnection", first: str) -> None:
    if connection.info.server_version < OLDEST_SERVER:
        message = "This PostgreSQL is too old: version 15 or newer is needed."
        raise ConfigurationError(message)
    standing = await (await connection.execute("SELECT pg_is_in_recovery()")).fetchone()
    if standing is None or standing[0]:
        # It lags behind: what it grants may have been taken back.
        message = "a standby, which is not read from"
        raise psycopg.OperationalError(message)
    if first:
        await connection.execute(first)
    await connection.set_autocommit(False)


class _BoundedConnection(psycopg.AsyncConnection[Any]):
    """Gives up on a server that no longer answers: one stopped in the middle of a statement keeps its sockets open for ever."""

    async def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:  # noqa: ANN401, ASYNC109 - the base's
        """Wait for the server, at most some seconds. Raises OperationalError."""
        try:
            return await super().wait(gen, interval, timeout or _GIVE_UP_AFTER_S)
        except psycopg.OperationalError:
            if self.info.transaction_status is TransactionStatus.ACTIVE:
                self.pgconn.finish()
            raise


class Era:
    """Counts fail-overs as one process sees them. Pools that share one are reconnected together, whichever of them noticed."""

    def __init__(self) -> None:
        """The first."""
        self.number = 0

    def follow(self, engine: Engine) -> None:
        """Have an engine's pool give out connections of this era only: those before lead to a server that is no longer the one."""
        event.listen(engine, "handle_error", self._look)
        event.listen(engine, "connect", self._note)
        event.listen(engine, "checkout", self._require_present)

    def _look(self, context: ExceptionContext) -> None:
        if getattr(context.original_exception, "sqlstate", None) in _STALE_STATES:
            context.is_disconnect = True
        if context.is_disconnect:
            self.number += 1

    def _note(self, _connection: object, record: ConnectionPoolEntry) -> None:
        record.info["era"] = self.number

    def _require_present(self, connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:  # noqa: ANN401 - the driver's, adapted
        if record.info.get("era") != self.number or _is_hung_up(connection.driver_connection):
            raise DisconnectionError


def _is_hung_up(connection: psycopg.AsyncConnection[Any]) -> bool:
    """Whether the server, or a proxy before it, has closed a connection that lay idle: nothing else is there to be read from one."""
    waiting = select.poll()
    try:
        waiting.register(connection.fileno(), select.POLLIN)
    except psycopg.OperationalError:
        return True
    return bool(waiting.poll(0))


# ---- text ----------------------------------------------------------------------------------------------------------------
# PostgreSQL's text holds no NUL, and broken sources do. It is written as an escape that reads back as what it was, so that offsets and
# digests of the text stay right.
_ESCAPE = "\U0010fffd"
_UNSTORABLE = re.compile(f"[\x00{_ESCAPE}]")
_ESCAPED = re.compile(f"{_ESCAPE}([01])")


def storable(text: str) -> str:
    """The text with what PostgreSQL cannot hold escaped; the same text for nearly all."""
    return _UNSTORABLE.sub(lambda found: _ESCAPE + ("0" if found[0] == "\x00" else "1"), text)


def restored(text: str) -> str:
    """The inverse of `storable`."""
    return _ESCAPED.sub(lambda found: "\x00" if found[1] == "0" else _ESCAPE, text) if _ESCAPE in text else text


class _TextDumper(StrDumperUnknown):
    def dump(self, obj: str) -> bytes:
        """Encode a parameter."""
        return storable(obj).encode()


class _TextLoader(TextLoader):
    def load(self, data: Any) -> str:  # noqa: ANN401 - any buffer
        """Decode a cell."""
        return restored(str(data, "utf-8"))


def _adapters(from_json: Callable[[str | bytes], Any]) -> AdaptersMap:
    adapters = AdaptersMap(psycopg.adapters)
    set_json_loads(from_json, adapters)
    adapters.register_dumper(str, _TextDumper)
    for name in ("text", "varchar"):
        adapters.register_loader(name, _TextLoader)
    return adapters
