"""While PostgreSQL fails: an error in seconds, nothing released, nothing lost, and the gateway goes on when the server does."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import psycopg
import pytest
from uuid_utils import uuid7

from app.audit import log as log_module
from app.audit.log import AuditLog
from app.audit.signer import CheckpointSigner
from app.audit.verification import verify_log
from app.domain.audit import AuditEvent, EventId, EventType
from app.domain.content import Collection
from app.domain.identity import TenantId
from app.errors import AuditUnavailableError, OutcomeUnknownError, UpstreamUnavailableError
from app.storage import collection_rows, policy_rows
from app.storage.transaction import Database
from tests.conformance.stores import MIGRATIONS
from tests.services.postgres import FAST, Cluster, Server

T = TenantId("sample")
NOW = datetime(2026, 11, 25, tzinfo=UTC)
SAFE = {"fsync": "on", "full_page_writes": "on", "max_connections": "30"}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server of this module's own, that writes to disk before it says so."""
    made = Server.make(SAFE)
    made.start()
    Cluster(made.url()).prepare(MIGRATIONS)
    yield made
    made.remove()


@asynccontextmanager
async def opened(server: Server, folder: Path, url: str = "") -> AsyncIterator[tuple[Database, AuditLog]]:
    cluster = Cluster(server.url())
    database = Database(url or cluster.address(cluster.fresh(), "all_in_one"), T)
    log = AuditLog(database, CheckpointSigner(folder / "signer"))
    try:
        yield database, log
    finally:
        await database.close()


def event() -> AuditEvent:
    return AuditEvent(EventId(f"evt_{uuid7()}"), EventType.RETRIEVAL_EXECUTED, T, "issuer|engineer", datetime.now(UTC), "allow")


async def recovered(log: AuditLog, seconds: float = 15.0) -> None:
    """The next record that is taken; every refusal before it came in time."""
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        try:
            await log.record(event())
        except AuditUnavailableError:
            assert time.monotonic() - began < 5, "a refusal took too long"
            assert time.monotonic() < deadline, "it did not go on"
            await asyncio.sleep(0.1)
        else:
            return


async def test_a_commit_that_nobody_answered_is_neither_done_nor_undone(server: Server, tmp_path: Path) -> None:
    """Said to have failed, it would be repeated and done twice."""
    async with opened(server, tmp_path) as (database, _):

        async def cut_off() -> None:
            async with database.write() as tx:
                await policy_rows.put_bundle(tx, T, "sha256:1", {"a": "b"}, NOW)
                server.kill()

        try:
            with pytest.raises(OutcomeUnknownError, match="may have been done"):
                await cut_off()
        finally:
            server.start()


async def writing(log: AuditLog, acknowledged: list[str], stop: asyncio.Event) -> None:
    while not stop.is_set():
        one = event()
        try:
            await log.record(one)
        except AuditUnavailableError:
            await asyncio.sleep(0.05)
        else:
            acknowledged.append(one.event_id)


async def kept(database: Database) -> set[str]:
    async with database.read() as tx:
        return set((await tx.connection.exec_driver_sql("SELECT event_id FROM audit_event")).scalars())


async def test_a_killed_server_takes_no_acknowledged_record_with_it(server: Server, tmp_path: Path) -> None:
    async with opened(server, tmp_path) as (database, log):
        acknowledged: list[str] = []
        stop = asyncio.Event()
        writers = [asyncio.create_task(writing(log, acknowledged, stop)) for _ in range(8)]
        for _ in range(2):
            await asyncio.sleep(0.5)
            before = len(acknowledged)
            await asyncio.to_thread(server.kill)
            with pytest.raises(UpstreamUnavailableError):
                await database.check()
            await asyncio.to_thread(server.start)
            await recovered(log)
            assert before > 20
        stop.set()
        await asyncio.gather(*writers)
        assert set(acknowledged) <= await kept(database)
        report = await verify_log(database, T, log.verifier_key(T), None)
        assert report.is_intact, report.problems


async def test_a_hung_server_is_given_up_on_and_found_again(server: Server, tmp_path: Path) -> None:
    """Its sockets stay open and answer nothing: only the client's own patience ends that."""
    async with opened(server, tmp_path) as (database, log):
        await log.record(event())
        server.signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(AuditUnavailableError):
                await log.record(event())
            assert time.monotonic() - began < 4
            with pytest.raises(UpstreamUnavailableError):
                await database.check()
            assert time.monotonic() - began < 30
        finally:
            server.signal(signal.SIGCONT)
        await recovered(log)
        await database.check()


async def test_a_server_that_only_reads_takes_no_record_and_goes_on_when_it_writes_again(server: Server, tmp_path: Path) -> None:
    async with opened(server, tmp_path) as (database, log):
        await log.record(event())
        with closing(psycopg.connect(server.url(), autocommit=True)) as admin:
            admin.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            admin.execute("SELECT pg_reload_conf()")
            await asyncio.sleep(0.3)
            with pytest.raises(AuditUnavailableError):
                await log.record(event())
            with pytest.raises(UpstreamUnavailableError, match="takes no writes"):
                await database.check()
            async with database.read() as tx:
                assert await collection_rows.list_collections(tx, T) == []
            admin.execute("SET default_transaction_read_only = off")
            admin.execute("ALTER SYSTEM RESET default_transaction_read_only")
            admin.execute("SELECT pg_reload_conf()")
        await recovered(log)


async def test_without_a_free_connection_requests_are_refused_in_time_and_served_afterwards(server: Server, tmp_path: Path) -> None:
    async with opened(server, tmp_path) as (_, log):
        with closing(psycopg.connect(server.url())) as admin:
            database_name = admin.execute("SELECT max(datname) FROM pg_database WHERE datname LIKE 't\\_%'").fetchone()
        assert database_name is not None
        hogs = []
        try:
            while True:
                hogs.append(psycopg.connect(Cluster(server.url()).address(database_name[0], "gateway"), connect_timeout=2))
        except psycopg.OperationalError:
            assert len(hogs) > 10
        began = time.monotonic()
        with pytest.raises(AuditUnavailableError):
            await log.record(event())
        assert time.monotonic() - began < 5
        for one in hogs:
            one.close()
        await recovered(log)


async def test_of_two_that_wait_for_each_other_one_is_told_and_nothing_is_half_done(server: Server, tmp_path: Path) -> None:
    async with opened(server, tmp_path) as (database, _):

        def value(name: str) -> Collection:
            return Collection(T, name, "t", "s", "internal", ("en",), None, "p", "m", NOW)

        async with database.write() as tx:
            for name in ("a", "b"):
                await collection_rows.put_collection(tx, value(name))
        met = asyncio.Barrier(2)

        async def take(first: str, second: str) -> None:
            async with database.append() as tx:
                await tx.connection.exec_driver_sql("SELECT 1 FROM collection WHERE name = %s FOR UPDATE", (first,))
                await met.wait()
                await tx.connection.exec_driver_sql("SELECT 1 FROM collection WHERE name = %s FOR UPDATE", (second,))

        database._appenders = asyncio.Semaphore(2)  # type: ignore[assignment]  # as two processes would meet
        ends = await asyncio.gather(take("a", "b"), take("b", "a"), return_exceptions=True)
        assert sorted(type(end).__name__ for end in ends) == ["NoneType", "UpstreamUnavailableError"]
        await database.check()


async def test_after_a_failover_every_acknowledged_record_is_on_the_new_primary(tmp_path: Path) -> None:
    """Acknowledged means on both, where the server names a synchronous standby; the gateway follows by its list of hosts."""
    primary = Server.make(SAFE)
    primary.start()
    standby = None
    try:
        cluster = Cluster(primary.url())
        cluster.prepare(MIGRATIONS)
        name = cluster.fresh()
        standby = primary.standby("second")
        standby.start()
        with closing(psycopg.connect(primary.url(), autocommit=True)) as admin:
            admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'second'")
            admin.execute("SELECT pg_reload_conf()")
        hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
        url = f"postgresql://all_in_one@{hosts}/{name}?target_session_attrs=read-write"
        async with opened(primary, tmp_path, url) as (database, log):
            acknowledged: list[str] = []
            stop = asyncio.Event()
            writers = [asyncio.create_task(writing(log, acknowledged, stop)) for _ in range(8)]
            await asyncio.sleep(1.0)
            await asyncio.to_thread(primary.kill)
            before = len(acknowledged)
            await asyncio.to_thread(standby.promote)
            await recovered(log, 30.0)
            stop.set()
            await asyncio.gather(*writers)
            assert before > 20
            assert set(acknowledged) <= await kept(database)
            report = await verify_log(database, T, log.verifier_key(T), None)
            assert report.is_intact, report.problems
    finally:
        for one in (primary, standby):
            if one is not None:
                one.remove()


async def test_what_the_server_does_by_default_is_not_what_the_gateway_relies_on(server: Server, tmp_path: Path) -> None:
    async with opened(server, tmp_path) as (database, _):
        with closing(psycopg.connect(server.url(), autocommit=True)) as admin:
            admin.execute("ALTER SYSTEM SET synchronous_commit = off")
            admin.execute("ALTER SYSTEM SET default_transaction_isolation = 'serializable'")
            admin.execute("ALTER SYSTEM SET idle_session_timeout = '2s'")
            admin.execute("SELECT pg_reload_conf()")
        async with database.write() as tx:
            assert (await tx.connection.exec_driver_sql("SHOW synchronous_commit")).scalar_one() == "on"
            assert (await tx.connection.exec_driver_sql("SHOW idle_session_timeout")).scalar_one() == "0"
            # A writer that waited for its turn must see what the one before it did.
            assert (await tx.connection.exec_driver_sql("SHOW transaction_isolation")).scalar_one() == "read committed"
        async with database.read() as tx:
            assert (await tx.connection.exec_driver_sql("SHOW transaction_isolation")).scalar_one() == "repeatable read"
            assert (await tx.connection.exec_driver_sql("SHOW transaction_read_only")).scalar_one() == "on"
        with closing(psycopg.connect(server.url(), autocommit=True)) as admin:
            admin.execute("ALTER SYSTEM RESET ALL")
            admin.execute("SELECT pg_reload_conf()")


@pytest.mark.parametrize("jump", ["-1 hour", "+1 day"])
async def test_times_on_record_never_go_back_whatever_the_clock_does(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: str
) -> None:
    class Bent(datetime):
        by = timedelta()

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) + cls.by

    async with opened(server, tmp_path) as (database, log):
        first = (await log.record(event()))[0].recorded_at
        Bent.by = timedelta(hours=-1) if jump == "-1 hour" else timedelta(days=1)
        monkeypatch.setattr(log_module, "datetime", Bent)
        second = (await log.record(event()))[0].recorded_at
        monkeypatch.undo()
        third = (await log.record(event()))[0].recorded_at
        assert first < second < third
        report = await verify_log(database, T, log.verifier_key(T), None)
        assert report.is_intact, report.problems


@contextmanager
def pair() -> Iterator[tuple[Server, Server, str]]:
    """A primary and a standby that follows it, and the name of a migrated database."""
    primary, standby = Server.make({**FAST, "wal_level": "replica", "max_wal_senders": "5"}), None
    try:
        primary.start()
        cluster = Cluster(primary.url())
        cluster.prepare(MIGRATIONS)
        name = cluster.fresh()
        standby = primary.standby("second")
        standby.start()
        yield primary, standby, name
    finally:
        for one in (primary, standby):
            if one is not None:
                one.remove()


async def test_reads_follow_a_switch_over_as_writes_do() -> None:
    """The old primary lives on, fenced: a pool that went on reading there would never see what is taken back on the new one."""
    with pair() as (old, new, name):
        hosts = f"127.0.0.1:{old.port},127.0.0.1:{new.port}"
        database = Database(f"postgresql://all_in_one@{hosts}/{name}?target_session_attrs=read-write", "sample")

        async def activate(digest: str, epoch: int) -> None:
            async with database.write() as tx:
                await policy_rows.put_bundle(tx, T, digest, {"a": "b"}, datetime.now(UTC))
                await policy_rows.activate(tx, T, policy_rows.ActivePolicy(epoch, digest, datetime.now(UTC), "a", "a"))

        async def in_force() -> str:
            async with database.read() as tx:
                found = await policy_rows.active(tx, T)
            return "" if found is None else found.digest

        await activate("sha256:open", 1)
        assert await in_force() == "sha256:open"
        with closing(psycopg.connect(old.url(), autocommit=True)) as admin:
            admin.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            admin.execute("SELECT pg_reload_conf()")
        await asyncio.to_thread(new.promote)
        for _ in range(50):
            with suppress(UpstreamUnavailableError):
                await activate("sha256:closed", 2)
                break
            await asyncio.sleep(0.2)
        assert {await in_force() for _ in range(5)} == {"sha256:closed"}
        await database.close()


async def test_a_standby_is_never_read() -> None:
    """It lags: what it grants may have been taken back."""
    with pair() as (_, standby, name):
        database = Database(f"postgresql://all_in_one@127.0.0.1:{standby.port}/{name}", "sample")
        with pytest.raises(UpstreamUnavailableError):
            async with database.read() as tx:
                await policy_rows.active(tx, T)
        await database.close()


async def test_a_connection_closed_while_it_lay_idle_fails_no_request(server: Server, tmp_path: Path) -> None:
    """By a proxy or a server that spares sessions: the first request after each quiet moment was refused."""
    async with opened(server, tmp_path) as (database, log):
        await log.record(event())
        for _ in range(3):
            assert len(await kept(database)) >= 1
            with closing(psycopg.connect(server.url(), autocommit=True)) as admin:
                ended = admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'portcullis'"
                ).fetchall()
            assert len(ended) >= 2
            await asyncio.sleep(0.3)
            await log.record(event())
