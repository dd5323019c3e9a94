"""PostgreSQL's own walls: roles, rows of one tenant, migrations that nobody feels, servers too old or logins too strong."""

import asyncio
import re
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from app.audit.log import AuditLog
from app.audit.signer import CheckpointSigner
from app.domain.audit import AuditEvent, EventId, EventType
from app.domain.content import Collection
from app.domain.identity import SubjectId, TenantId
from app.errors import ConfigurationError, UpstreamUnavailableError
from app.storage import collection_rows, people_rows, policy_rows, schema
from app.storage.people_rows import LoginAttempt, QuestionKey
from app.storage.tables import metadata
from app.storage.transaction import Database
from tests.conformance.stores import MIGRATIONS, Store
from tests.services.postgres import FAST, Cluster, Server, system_binaries

NOW = datetime(2026, 11, 25, tzinfo=UTC)
ROWS = (
    """INSERT INTO document VALUES ('doc_1', 'sample', 'hr', 'e', 't', 'live', 1, 1, 'internal', 1, 'inherit', '[]', '[]', 1, 'en', '',
       NULL, now(), now())""",
    """INSERT INTO document_version (document_id, version, title, title_spans, source_spans, text, spans, content_sha256, media_type,
       size_bytes, detector_digest, submitted_by, created_at)
       VALUES ('doc_1', 1, 't', '[]', '[]', 'x', '[]', '', '', 1, '', 's', now())""",
    """INSERT INTO job (job_id, tenant, kind, state, submitted_by, payload, done, total, unit, attempts, created_at, updated_at)
       VALUES ('job_1', 'sample', 'ingest', 'queued', 's', '{}', 0, 1, 'documents', 0, now(), now())""",
    "INSERT INTO audit_checkpoint VALUES ('portcullis/sample', 1, 'note', now())",
    "INSERT INTO policy_bundle (digest, tenant, files, created_at) VALUES ('sha256:1', 'sample', '{}', now())",
    "INSERT INTO policy_state VALUES ('sample', 1, 'sha256:1', now(), 'a', 'a')",
    """INSERT INTO web_session (session_digest, tenant, subject_id, claims, csrf_token, created_at, expires_at)
       VALUES ('s', 'sample', 'p', '{}', 'c', now(), now())""",
)
EVIDENCE = ("audit_event", "audit_block", "audit_ref", "audit_checkpoint")


@pytest.fixture
def company(tmp_path: Path, postgres: Cluster) -> Iterator[Store]:
    """One database for several logins."""
    made = Store("postgresql", tmp_path, postgres)
    yield made
    made.drop()


@pytest.fixture
def empty(postgres: Cluster) -> Iterator[str]:
    """A database without a schema, of the deployer."""
    name = postgres.fresh("template0")
    yield postgres.address(name, "deployer")
    postgres.drop(name)


async def _with_evidence(store: Store, folder: Path) -> None:
    async with store.opened() as database:
        log = AuditLog(database, CheckpointSigner(folder / "signer"))
        await log.record(AuditEvent(EventId("evt_1"), EventType.RETRIEVAL_EXECUTED, TenantId("sample"), "a", NOW, "allow"))
        await log.checkpoint(TenantId("sample"))


def test_the_history_builds_exactly_the_tables_of_the_schema_page(company: Store) -> None:
    with closing(psycopg.connect(company.url("postgres"))) as connection:
        rows = connection.execute("SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'").fetchall()
    built: dict[str, set[str]] = {}
    for table, column in rows:
        built.setdefault(table, set()).add(column)
    del built["alembic_version"], built["schema_compatibility"]
    assert built == {name: {column.name for column in table.columns} for name, table in metadata.tables.items()}


def test_each_revision_goes_down_and_up_again_with_data_in_it(empty: str) -> None:
    schema.upgrade(empty, MIGRATIONS)
    with closing(psycopg.connect(empty)) as connection:
        connection.execute("SET ROLE portcullis_owner")
        for statement in ROWS:
            connection.execute(statement)
        connection.commit()
    revisions = sorted(path.name[:4] for path in (MIGRATIONS / "versions").glob("*.py"))
    for revision in reversed(revisions[:-1]):
        schema.downgrade(empty, MIGRATIONS, revision)
        assert schema.upgrade(empty, MIGRATIONS) == (revision, revisions[-1])
    with closing(psycopg.connect(empty)) as connection:
        connection.execute("SET ROLE portcullis_owner")
        kept = connection.execute(
            "SELECT (SELECT count(*) FROM document), (SELECT count(*) FROM document_version), (SELECT count(*) FROM job),"
            " (SELECT count(*) FROM audit_checkpoint), (SELECT count(*) FROM policy_bundle), (SELECT count(*) FROM web_session)"
        ).fetchone()
    assert kept == (1, 1, 1, 1, 1, 1)


@pytest.mark.parametrize("table", EVIDENCE)
@pytest.mark.parametrize("change", ["UPDATE {} SET log = log", "DELETE FROM {}", "TRUNCATE {}"])
async def test_evidence_is_changed_by_nobody_not_by_its_owner_either(company: Store, tmp_path: Path, table: str, change: str) -> None:
    await _with_evidence(company, tmp_path)
    for login in ("gateway", "all_in_one", "auditor", "eraser", "signer"):
        with closing(psycopg.connect(company.url(login))) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(change.format(table))
    with closing(psycopg.connect(company.url("postgres"))) as connection:
        connection.execute("SET session_replication_role = replica")
        with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            connection.execute(change.format(table))


@pytest.mark.parametrize(
    ("login", "statement"),
    [
        ("gateway", "INSERT INTO audit_checkpoint VALUES ('portcullis/sample', 9, 'forged', now())"),
        ("gateway", "UPDATE tenant_state SET is_read_only = false"),
        ("gateway", "CREATE TABLE mine (a int)"),
        ("gateway", "ALTER TABLE audit_event DISABLE TRIGGER ALL"),
        ("gateway", "ALTER TABLE document DISABLE ROW LEVEL SECURITY"),
        ("gateway", "SET ROLE portcullis_owner"),
        ("auditor", "SELECT text FROM document_version"),
        ("auditor", "SELECT * FROM answer"),
        ("auditor", "INSERT INTO audit_head VALUES ('x', 1, '', now())"),
        ("signer", "SELECT text FROM document_version"),
        ("signer", "INSERT INTO audit_event VALUES ('x', 1, 'e', 't', 'a', 'o', now(), '', '')"),
        # Larger than its log: no gateway would take another record until the owner had taken it out by hand.
        ("signer", "INSERT INTO audit_checkpoint VALUES ('portcullis/sample', 9, 'forged', now())"),
        ("eraser", "UPDATE document SET label = 'public'"),
        ("eraser", "SELECT leaf FROM audit_event"),
    ],
)
def test_each_role_can_do_its_duty_and_no_more(company: Store, login: str, statement: str) -> None:
    with closing(psycopg.connect(company.url(login))) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement)


async def test_a_query_that_forgets_the_tenant_sees_one_tenant_only(company: Store) -> None:
    for tenant in ("sample", "rival"):
        async with company.opened("gateway", tenant) as database, database.write() as tx:
            value = Collection(TenantId(tenant), "hr", f"of {tenant}", "s", "internal", ("en",), None, "p", "m", NOW)
            await collection_rows.put_collection(tx, value)
    async with company.opened("gateway", "sample") as database:
        async with database.read() as tx:
            rows = await tx.connection.exec_driver_sql("SELECT title FROM collection")
            assert rows.scalars().all() == ["of sample"]
            assert await collection_rows.list_collections(tx, TenantId("rival")) == []

        async def plant() -> None:
            async with database.write() as tx:
                other = Collection(TenantId("rival"), "planted", "t", "s", "internal", ("en",), None, "p", "m", NOW)
                await collection_rows.put_collection(tx, other)

        with pytest.raises(UpstreamUnavailableError):
            await plant()
    with closing(psycopg.connect(company.url("gateway"))) as without_tenant:
        assert without_tenant.execute("SELECT count(*) FROM collection").fetchone() == (0,)


def test_every_table_with_a_tenant_is_closed(company: Store) -> None:
    """A table that is added later and forgotten is found here."""
    with closing(psycopg.connect(company.url("postgres"))) as connection:
        rows = connection.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND relrowsecurity").fetchall()
    # `tenant_login` says who is whose: no login reads it, a function does.
    assert {name for (name,) in rows} == set(metadata.tables) - {"tenant_login"}
    for login in ("gateway", "all_in_one", "auditor", "eraser", "signer"):
        with closing(psycopg.connect(company.url(login))) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM tenant_login")


async def test_what_is_under_way_of_one_tenant_is_no_business_of_another(company: Store) -> None:
    """Policy files, sign-ins and questions on their way: the three that every login of a database could read."""
    for tenant in map(TenantId, ("sample", "rival")):
        async with company.opened("gateway", tenant) as database, database.write() as tx:
            await policy_rows.put_bundle(tx, tenant, "sha256:1", {"same files": "two tenants"}, NOW)
            await people_rows.put_login(tx, LoginAttempt(tenant, f"state of {tenant}", "n", "v", "/", NOW), NOW)
            await people_rows.put_question(tx, QuestionKey(tenant, "session", f"question of {tenant}"), {}, NOW)
            await people_rows.end_sessions(tx, tenant, SubjectId(f"subject of {tenant}"), None, NOW)
    with closing(psycopg.connect(company.url("gateway"))) as connection:
        connection.execute("SET portcullis.tenant = 'sample'")
        told = {
            "policy_bundle": "tenant",
            "login_attempt": "state_digest",
            "pending_question": "question_id",
            "ended_session": "subject_id",
        }
        for table, column in told.items():
            rows = connection.execute(f"SELECT {column} FROM {table}").fetchall()  # noqa: S608 - names of this test
            assert [value.rpartition(" ")[2] for (value,) in rows] == ["sample"]
            assert connection.execute(f"UPDATE {table} SET tenant = tenant WHERE tenant = 'rival'").rowcount == 0  # noqa: S608 - as above
    async with company.opened("gateway", "rival") as database, database.read() as tx:
        assert not await policy_rows.is_known(tx, TenantId("rival"), "sha256:2")
        assert await policy_rows.is_known(tx, TenantId("rival"), "sha256:1")


async def test_a_login_bound_to_a_tenant_sees_no_other_whatever_it_says(company: Store) -> None:
    for tenant in ("sample", "rival"):
        async with company.opened("gateway", tenant) as database, database.write() as tx:
            value = Collection(TenantId(tenant), "hr", f"of {tenant}", "s", "internal", ("en",), None, "p", "m", NOW)
            await collection_rows.put_collection(tx, value)

    def seen(login: str, tenant: str) -> list[str]:
        with closing(psycopg.connect(company.url(login))) as connection:
            connection.execute("SELECT set_config('portcullis.tenant', %s, false)", (tenant,))
            return [title for (title,) in connection.execute("SELECT title FROM collection").fetchall()]

    assert seen("gateway", "rival") == ["of rival"]
    with closing(psycopg.connect(company.url("postgres"))) as connection:
        connection.execute("INSERT INTO tenant_login VALUES ('gateway', 'sample')")
        connection.commit()
    assert seen("gateway", "sample") == ["of sample"]
    assert seen("gateway", "rival") == []
    # Once one is bound, a login that is not bound sees nobody.
    assert seen("all_in_one", "sample") == seen("all_in_one", "rival") == []
    schema.check_current(company.url("gateway"), MIGRATIONS, tenant="sample")
    with pytest.raises(ConfigurationError, match="tenant_login"):
        schema.check_current(company.url("gateway"), MIGRATIONS, tenant="rival")


def test_the_signer_stops_a_tenant_and_does_not_let_it_go_on(company: Store) -> None:
    with closing(psycopg.connect(company.url("signer"))) as connection:
        connection.execute("SET portcullis.tenant = 'sample'")
        connection.execute("INSERT INTO tenant_state VALUES ('sample', true, 'cut')")
        connection.commit()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("UPDATE tenant_state SET is_read_only = false")


def test_a_gateway_takes_no_lease_of_the_signer(company: Store) -> None:
    take = "INSERT INTO lease VALUES ('sample', 'signer', 'me', now())"
    with closing(psycopg.connect(company.url("gateway"))) as connection:
        connection.execute("SET portcullis.tenant = 'sample'")
        connection.execute("INSERT INTO lease VALUES ('sample', 'housekeeping', 'me', now())")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(take)
    with closing(psycopg.connect(company.url("signer"))) as connection:
        connection.execute("SET portcullis.tenant = 'sample'")
        connection.execute(take)


@pytest.mark.parametrize(
    "row",
    [
        "audit_event VALUES ('portcullis/sample', {}, 'e', 't', 'a', 'o', now(), '', '')",
        "audit_block VALUES ('portcullis/sample', {}, 1, '', '')",
        "audit_ref VALUES ('portcullis/sample', 'document', 'd', {})",
    ],
)
def test_a_gateway_puts_no_row_before_the_first_of_the_log(company: Store, row: str) -> None:
    """It may add, and what it added there was shown to officers and read by no check."""
    with closing(psycopg.connect(company.url("gateway"))) as connection:
        connection.execute("SET portcullis.tenant = 'sample'")
        connection.execute(f"INSERT INTO {row.format(0)}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="not_before"):
            connection.execute(f"INSERT INTO {row.format(-1)}")


@pytest.mark.parametrize(
    ("rights", "named"),
    [
        ("IN ROLE portcullis_gateway, portcullis_eraser", "portcullis_eraser"),
        ("IN ROLE portcullis_gateway, portcullis_signer", "portcullis_signer"),
        ("NOINHERIT IN ROLE portcullis_gateway, portcullis_owner", "portcullis_owner"),
        ("IN ROLE portcullis_gateway, pg_execute_server_program", "pg_execute_server_program"),
        ("CREATEROLE IN ROLE portcullis_gateway", "make roles"),
        ("NOINHERIT IN ROLE portcullis_gateway", "is not in portcullis_gateway"),
    ],
)
def test_a_login_with_more_or_less_than_it_needs_is_refused(company: Store, rights: str, named: str) -> None:
    login = f"login_{uuid.uuid4().hex}"
    with closing(psycopg.connect(company.url("postgres"), autocommit=True)) as connection:
        connection.execute(f"CREATE ROLE {login} LOGIN {rights}")
        try:
            with pytest.raises(ConfigurationError, match=named):
                schema.check_current(company.url(login), MIGRATIONS)
        finally:
            connection.execute(f"DROP ROLE {login}")


@pytest.mark.parametrize(
    "given",
    [
        "ALTER DATABASE {database} OWNER TO {login}",
        "GRANT CREATE ON DATABASE {database} TO {login}",
        "GRANT CREATE ON SCHEMA public TO {login}",
        "GRANT postgres TO {login}",
        "GRANT DELETE ON audit_event TO {login}",
        "GRANT INSERT ON tenant_login TO {login}",
    ],
)
def test_a_login_that_could_help_itself_to_more_is_refused(company: Store, given: str) -> None:
    """The owner of a database, or who may make a schema in it, gets past everything else; so does who may become somebody that does."""
    login = f"login_{uuid.uuid4().hex}"
    with closing(psycopg.connect(company.url("postgres"), autocommit=True)) as connection:
        connection.execute(f"CREATE ROLE {login} LOGIN IN ROLE portcullis_gateway")
        try:
            schema.check_current(company.url(login), MIGRATIONS)
            connection.execute(given.format(login=login, database=company.database_name))
            with pytest.raises(ConfigurationError, match="may change the log"):
                schema.check_current(company.url(login), MIGRATIONS)
        finally:
            connection.execute(f"ALTER DATABASE {company.database_name} OWNER TO postgres")
            connection.execute(f"DROP OWNED BY {login}")
            connection.execute(f"DROP ROLE {login}")


def test_nobody_puts_a_schema_before_the_one_that_counts(company: Store) -> None:
    """A schema that bears a login's name stands before `public` unless the login says otherwise: its tables were taken for ours."""
    with closing(psycopg.connect(company.url("postgres"), autocommit=True)) as connection:
        connection.execute("CREATE SCHEMA gateway CREATE TABLE alembic_version (version_num text)")
        connection.execute("GRANT USAGE ON SCHEMA gateway TO PUBLIC")
        connection.execute("GRANT SELECT ON gateway.alembic_version TO PUBLIC")
    schema.check_current(company.url("gateway"), MIGRATIONS)


def test_bindings_of_logins_outlive_a_step_back(company: Store) -> None:
    with closing(psycopg.connect(company.url("postgres"), autocommit=True)) as connection:
        connection.execute("INSERT INTO tenant_login VALUES ('gateway', 'sample')")
        schema.downgrade(company.url("deployer"), MIGRATIONS, "0007")
        schema.upgrade(company.url("deployer"), MIGRATIONS)
        assert connection.execute("SELECT login, tenant FROM tenant_login").fetchall() == [("gateway", "sample")]


@pytest.mark.parametrize("login", ["postgres", "deployer", "auditor", "signer", "eraser"])
def test_a_gateway_starts_under_no_login_but_its_own(company: Store, login: str) -> None:
    with pytest.raises(ConfigurationError, match="IN ROLE portcullis_gateway"):
        schema.check_current(company.url(login), MIGRATIONS)
    schema.check_current(company.url("gateway"), MIGRATIONS)
    with pytest.raises(ConfigurationError, match="portcullis_signer"):
        schema.check_current(company.url("gateway"), MIGRATIONS, ("portcullis_gateway", "portcullis_signer"))


def test_a_login_that_may_not_change_the_schema_is_told_which_one_may(empty: str) -> None:
    with pytest.raises(ConfigurationError, match="PORTCULLIS_DATABASE_OWNER_URL"):
        schema.upgrade(re.sub("deployer", "gateway", empty, count=1), MIGRATIONS)


def test_a_migration_gives_up_on_a_held_table_and_goes_on_the_next_time(company: Store) -> None:
    """Waiting behind a long transaction, it would make everybody else wait behind itself."""
    schema.downgrade(company.url("deployer"), MIGRATIONS, "0005")
    with closing(psycopg.connect(company.url("postgres"))) as holder:
        holder.execute("LOCK TABLE job IN ACCESS SHARE MODE")
        with pytest.raises(UpstreamUnavailableError, match="db upgrade"):
            schema.upgrade(company.url("deployer"), MIGRATIONS)
        assert holder.execute("SELECT count(*) FROM job").fetchone() == (0,)
    schema.upgrade(company.url("deployer"), MIGRATIONS)
    schema.check_current(company.url("gateway"), MIGRATIONS)


@pytest.mark.parametrize("is_broken", [False, True])
def test_a_key_that_was_built_before_a_migration_gave_up_is_used_or_built_anew(company: Store, *, is_broken: bool) -> None:
    schema.downgrade(company.url("deployer"), MIGRATIONS, "0007")
    with closing(psycopg.connect(company.url("postgres"))) as holder:
        holder.execute("LOCK TABLE policy_state IN ACCESS SHARE MODE")
        with pytest.raises(UpstreamUnavailableError, match="db upgrade"):
            schema.upgrade(company.url("deployer"), MIGRATIONS)
    with closing(psycopg.connect(company.url("postgres"), autocommit=True)) as connection:
        connection.execute("INSERT INTO audit_checkpoint VALUES ('portcullis/sample', 2, 'note', now())")
        built = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'audit_checkpoint_next_key'::regclass"
        assert connection.execute(built).fetchone() == (True,)
        if is_broken:
            connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'audit_checkpoint_next_key'::regclass")
        schema.upgrade(company.url("deployer"), MIGRATIONS)
        keys = connection.execute("SELECT indexname FROM pg_indexes WHERE tablename = 'audit_checkpoint'").fetchall()
    assert keys == [("pk_audit_checkpoint",)]


async def test_two_upgrades_at_once_are_one(company: Store) -> None:
    schema.downgrade(company.url("deployer"), MIGRATIONS, "0003")
    await asyncio.gather(*(asyncio.to_thread(schema.upgrade, company.url("deployer"), MIGRATIONS) for _ in range(3)))
    schema.check_current(company.url("gateway"), MIGRATIONS)


async def test_the_oldest_supported_server_serves() -> None:
    oldest = [one for one in system_binaries() if one.parent.name == "15"]
    if not oldest:
        pytest.skip("PostgreSQL 15 is not installed on this machine; the newest one is tested everywhere")
    server = Server.make(FAST, oldest[0])
    try:
        server.start()
        cluster = Cluster(server.url())
        cluster.prepare(MIGRATIONS)
        database = Database(cluster.address(cluster.fresh(), "gateway"), "sample")
        async with database.write() as tx:
            await policy_rows.put_bundle(tx, TenantId("sample"), "sha256:1", {"a": "b"}, NOW)
        async with database.read() as tx:
            assert await policy_rows.files(tx, "sample", "sha256:1") == {"a": "b"}
        await database.close()
    finally:
        server.remove()
