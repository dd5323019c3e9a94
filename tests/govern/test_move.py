"""Moving an installation to PostgreSQL: everything arrives as it was, proofs included, or the new one stays shut."""

import asyncio
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from uuid_utils import uuid7

from app.audit.log import AuditLog
from app.audit.signer import CheckpointSigner
from app.audit.verification import LogReport, verify_log
from app.audit.verifier import verify_receipt
from app.domain.audit import AuditEvent, EventId, EventType
from app.domain.identity import TenantId
from app.errors import AuditUnavailableError, ConfigurationError
from app.govern import move
from app.govern.move import MoveStore
from app.settings import Settings
from app.storage import moving
from app.storage.moving import Cells
from app.storage.transaction import Transaction
from app.wiring import Models, abandon_move, move_store, open_services, resume_log
from app.wiring.background import hold_file
from tests.cli.test_commands import run
from tests.conformance.stores import Store
from tests.conftest import gateway_in, settings_in
from tests.services.postgres import Cluster

T = TenantId("sample")
QUESTION = {"question": "How many weeks of parental leave do I get?"}


@pytest.fixture
def target(tmp_path: Path, postgres: Cluster) -> Iterator[Store]:
    made = Store("postgresql", tmp_path, postgres)
    yield made
    made.drop()


def _settings(folder: Path, store: Store, login: str = "all_in_one") -> Settings:
    return settings_in(folder, database_url=store.url(login), database_owner_url=store.url("deployer"))


def _old(folder: Path, query: str) -> list[object]:
    with closing(sqlite3.connect(folder / "portcullis.db")) as connection:
        return [row[0] for row in connection.execute(query)]


async def _records(folder: Path, models: Models) -> None:
    """Whether the old installation takes records, asked by a gateway without background work: it holds no lock on the folder."""
    async with open_services(settings_in(folder, background=False), models=models, is_server=True) as services:
        await services.audit.record(AuditEvent(EventId(f"evt_{uuid7()}"), EventType.RETRIEVAL_EXECUTED, T, "a", datetime.now(UTC), "allow"))


@contextmanager
def _cut_off_at(table: str) -> Iterator[None]:
    """Ends a move in the middle, as a killed process does."""
    written = moving.write_rows

    async def cut_off(tx: Transaction, name: str, rows: Sequence[Cells]) -> None:
        if name == table:
            raise KeyboardInterrupt
        await written(tx, name, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(move.moving, "write_rows", cut_off)
        with pytest.raises(KeyboardInterrupt):
            yield


async def _move(folder: Path, store: Store) -> dict[str, int]:
    return await move_store(_settings(folder, store), lambda _table, _rows: None, pytest.fail)


async def test_a_moved_installation_answers_as_before_and_its_old_receipts_hold(company: Path, target: Store, models: Models) -> None:
    async with gateway_in(company, models) as gateway:
        before = (await gateway.post("/v1/answers", "engineer", QUESTION)).json()
    async with open_services(settings_in(company), models=models) as services:
        key, size = services.audit.verifier_key(T), (await services.audit.tree(T)).size
    counts = await _move(company, target)
    assert counts["document"] > 10
    assert counts["audit_event"] == size
    addresses = {"database_url": target.url("all_in_one"), "database_owner_url": target.url("deployer")}
    async with gateway_in(company, models, **addresses) as gateway:
        services = gateway.services
        after = (await gateway.post("/v1/answers", "engineer", QUESTION)).json()
        assert (after["state"], after["answer"]) == ("answered", before["answer"])
        receipt = await services.receipts.operator_receipt(T, EventId(before["receipt"]["receipt_id"].removeprefix("rcp_")))
        assert verify_receipt(receipt, key)["type"] == "generation.completed"
        report = await services.trail.verify(T)
        assert report.is_intact, report.problems
        assert report.entries > size
    assert "store.moved" in target.column("SELECT type FROM audit_event")


async def test_a_move_that_was_cut_off_goes_on_and_nobody_writes_in_between(company: Path, target: Store, models: Models) -> None:
    """A gateway on the old one answered while it moved, and what it recorded was missing on the new one."""
    with _cut_off_at("chunk"):
        await _move(company, target)
    with pytest.raises(AuditUnavailableError, match="--abandon"):
        await _records(company, models)
    async with target.opened() as database:
        log = AuditLog(database, CheckpointSigner(company / "signer"))
        with pytest.raises(AuditUnavailableError, match="being moved"):
            await log.record(AuditEvent(EventId("evt_early"), EventType.RETRIEVAL_EXECUTED, T, "a", datetime.now(UTC), "allow"))
    await _move(company, target)
    async with target.opened() as database:
        report = await verify_log(database, T, CheckpointSigner(company / "signer").verifier_key("portcullis/sample"), None)
    assert report.is_intact, report.problems
    with pytest.raises(AuditUnavailableError, match="was moved"):
        await _records(company, models)
    with pytest.raises(ConfigurationError, match="was moved"):
        await abandon_move(_settings(company, target))


async def test_a_move_that_was_done_says_so_again_and_names_the_next_steps(company: Path, target: Store, tmp_path: Path) -> None:
    """A held table made it fail once everything had moved; the second run failed too, and nobody read what to do next."""
    environment = {"PORTCULLIS_DATABASE_URL": target.url(), "PORTCULLIS_DATABASE_OWNER_URL": target.url("deployer")}
    with psycopg.connect(target.url("postgres")) as holder:
        holder.execute("LOCK TABLE feedback IN SHARE UPDATE EXCLUSIVE MODE")
        first = await asyncio.to_thread(lambda: run("migrate-store", "--data", str(company), **environment))
    assert "lock timeout" in first.stderr
    assert "ANALYZE" in first.stderr
    again = await asyncio.to_thread(lambda: run("migrate-store", "--data", str(company), **environment))
    assert again.stderr == ""
    for done in (first, again):
        assert f"give the signer the folder {company}/signer" in done.stdout
    assert first.stdout.splitlines()[-1] == again.stdout.splitlines()[-1]
    another = Store("postgresql", tmp_path, target._cluster)
    try:
        with pytest.raises(ConfigurationError, match="Nothing is left to move"):
            await _move(company, another)
    finally:
        another.drop()


async def test_a_failed_move_can_be_abandoned_and_the_old_installation_goes_on(company: Path, target: Store, models: Models) -> None:
    with pytest.raises(ConfigurationError, match="no"):
        await abandon_move(settings_in(company))
    with _cut_off_at("chunk"):
        await _move(company, target)
    await abandon_move(settings_in(company))
    await _records(company, models)
    assert "store.move.abandoned" in _old(company, "SELECT type FROM audit_event")
    assert target.column("SELECT is_read_only FROM tenant_state") == [True]
    with pytest.raises(ConfigurationError, match="Empty it"):
        await _move(company, target)
    await _records(company, models)


async def test_what_a_move_closed_is_opened_by_no_look_at_its_log(company: Path, target: Store, models: Models) -> None:
    """Resuming opened a target with half of the documents, and an installation that had moved: two logs under one key."""
    with _cut_off_at("chunk"):
        await _move(company, target)
    for half_way in (_settings(company, target), settings_in(company)):
        with pytest.raises(ConfigurationError, match=r"--abandon|everything has arrived"):
            await resume_log(half_way, "why is it closed")
    await _move(company, target)
    with pytest.raises(ConfigurationError, match="was moved"):
        await resume_log(settings_in(company), "why is it closed")
    with pytest.raises(AuditUnavailableError, match="was moved"):
        await _records(company, models)


async def test_a_database_that_an_earlier_move_was_meant_for_opens_nothing(
    company: Path, target: Store, postgres: Cluster, tmp_path: Path
) -> None:
    """It counted as the one on the way: moved to as well, or abandoned by, it let two installations take records."""
    second = Store("postgresql", tmp_path, postgres)
    try:
        with _cut_off_at("chunk"):
            await _move(company, target)
        await _move(company, second)
        with pytest.raises(ConfigurationError, match="was moved"):
            await _move(company, target)
        with pytest.raises(ConfigurationError, match="was moved"):
            await abandon_move(_settings(company, target))
        assert target.column("SELECT is_read_only FROM tenant_state") == [True]
        assert second.column("SELECT is_read_only FROM tenant_state") == [False]
    finally:
        second.drop()


async def test_a_move_that_was_cut_off_before_the_new_one_opened_ends_the_next_time_or_is_abandoned(
    company: Path, target: Store, models: Models, tmp_path: Path
) -> None:
    """The old one is closed for good first, so that no moment has two that take records."""
    closed = MoveStore._close

    async def closed_then_cut_off(flow: MoveStore, tenant: TenantId, log: LogReport, move_id: str) -> None:
        await closed(flow, tenant, log, move_id)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MoveStore, "_close", closed_then_cut_off)
        with pytest.raises(KeyboardInterrupt):
            await _move(company, target)
    shutil.copytree(company, tmp_path / "abandoned")
    with pytest.raises(ConfigurationError, match="was moved"):
        await abandon_move(settings_in(tmp_path / "abandoned"))
    await abandon_move(_settings(tmp_path / "abandoned", target))
    await _records(tmp_path / "abandoned", models)
    await _move(company, target)
    assert target.column("SELECT is_read_only FROM tenant_state") == [False]


async def test_a_standstill_from_before_the_move_is_not_lifted_by_it(company: Path, target: Store) -> None:
    """A log that was put back and that nobody had looked at arrived as an open installation."""
    with closing(sqlite3.connect(company / "portcullis.db")) as connection:
        connection.execute("INSERT OR REPLACE INTO tenant_state VALUES ('sample', 1, 'An officer has to look.')")
        connection.commit()
    with pytest.raises(ConfigurationError, match="An officer has to look"):
        await _move(company, target)
    assert _old(company, "SELECT reason FROM tenant_state") == ["An officer has to look."]
    assert target.column("SELECT count(*) FROM tenant_state") == [0]


async def test_a_log_shorter_than_what_was_signed_is_not_moved(company: Path, target: Store, models: Models) -> None:
    """What the new database held was whole in itself, and the signer's memory was not asked."""
    older = (company / "portcullis.db").with_name("older.db")
    with closing(sqlite3.connect(company / "portcullis.db")) as connection, closing(sqlite3.connect(older)) as kept:
        connection.backup(kept)
    async with open_services(settings_in(company), models=models, is_server=True) as services:
        await services.audit.checkpoint(T)
    for name in ("portcullis.db", "portcullis.db-wal", "portcullis.db-shm"):
        (company / name).unlink(missing_ok=True)
    older.rename(company / "portcullis.db")
    with pytest.raises(ConfigurationError, match="shorter than"):
        await _move(company, target)
    assert target.column("SELECT count(*) FROM audit_event") == [0]
    (company / "signer" / "signing.key").unlink()
    with pytest.raises(ConfigurationError, match="signer's folder"):
        await _move(company, target)


async def test_a_log_cut_while_it_moves_does_not_open(company: Path, target: Store) -> None:
    signer = CheckpointSigner(company / "signer")

    async def compared_then_signed(flow: MoveStore, name: str, tenant: TenantId) -> None:
        await compared(flow, name, tenant)
        signer.accept("portcullis/sample", 100_000, bytes(32))

    compared = MoveStore._compare
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MoveStore, "_compare", compared_then_signed)
        with pytest.raises(ConfigurationError, match="the signer remembers 100000 entries"):
            await _move(company, target)
    assert target.column("SELECT is_read_only FROM tenant_state") == [True]


async def test_what_the_old_one_has_not_any_more_is_noticed(company: Path, target: Store) -> None:
    """Rows were compared one way: what was deleted between two attempts lived on in the new database."""
    with _cut_off_at("document_version"):
        await _move(company, target)
    with closing(sqlite3.connect(company / "portcullis.db")) as connection:
        connection.execute("DELETE FROM chunk WHERE chunk_id = (SELECT min(chunk_id) FROM chunk)")
        connection.commit()
    with pytest.raises(ConfigurationError, match="rows of chunk that the old installation has not"):
        await _move(company, target)
    assert target.column("SELECT is_read_only FROM tenant_state") == [True]


async def test_rows_of_another_tenant_stay_behind(company: Path, target: Store) -> None:
    """One folder opened under two names holds two tenants: only the one that is named moves."""
    with closing(sqlite3.connect(company / "portcullis.db")) as connection:
        for name in ("document", "collection"):
            key = "'doc_other'" if name == "document" else "name"
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
            taken = ", ".join({"tenant": "'other'", "document_id": key}.get(one, one) for one in names)
            connection.execute(f"INSERT INTO {name} SELECT {taken} FROM {name} LIMIT 1")  # noqa: S608 - our own names
        names = [row[1] for row in connection.execute("PRAGMA table_info(chunk)")]
        taken = ", ".join({"chunk_id": "'chk_other'", "document_id": "'doc_other'"}.get(one, one) for one in names)
        connection.execute(f"INSERT INTO chunk SELECT {taken} FROM chunk LIMIT 1")  # noqa: S608 - our own names
        connection.execute("INSERT INTO audit_head SELECT 'portcullis/other', size, chain, last_recorded_at FROM audit_head")
        connection.commit()
    await _move(company, target)
    assert set(target.column("SELECT tenant FROM document UNION SELECT tenant FROM collection")) == {"sample"}
    assert target.column("SELECT log FROM audit_head") == ["portcullis/sample"]
    assert target.column("SELECT count(*) FROM chunk WHERE document_id = 'doc_other'") == [0]


async def test_a_second_tenant_with_the_same_policy_files_moves_beside_the_first(
    company: Path, target: Store, models: Models, tmp_path: Path
) -> None:
    """Bundles were named by their digest alone: the second tenant's was taken for the first one's, and the move refused."""
    other = tmp_path / "other"
    async with open_services(settings_in(other, tenant="other"), models=models, is_server=True) as services:
        await services.audit.checkpoint(TenantId("other"))
    assert _old(other, "SELECT digest FROM policy_bundle") == _old(company, "SELECT digest FROM policy_bundle")
    await _move(company, target)
    addresses = {"database_url": target.url("all_in_one"), "database_owner_url": target.url("deployer")}
    await move_store(settings_in(other, tenant="other", **addresses), lambda _table, _rows: None, pytest.fail)
    assert sorted(map(str, target.column("SELECT tenant FROM policy_bundle"))) == ["other", "sample"]
    assert target.column("SELECT is_read_only FROM tenant_state") == [False, False]


async def test_a_filled_database_is_not_moved_into(company: Path, target: Store, tmp_path: Path) -> None:
    shutil.copytree(company, tmp_path / "another")
    await _move(company, target)
    with pytest.raises(ConfigurationError, match="name an empty one"):
        await _move(tmp_path / "another", target)
    assert _old(tmp_path / "another", "SELECT count(*) FROM tenant_state WHERE is_read_only") == [0]


async def test_an_installation_in_use_is_not_moved(company: Path, target: Store) -> None:
    async with AsyncExitStack() as stack:
        assert hold_file(company / "worker.lock", stack)
        with pytest.raises(ConfigurationError, match="Stop it"):
            await _move(company, target)


async def test_what_changed_on_the_way_is_noticed_and_the_new_one_stays_shut(company: Path, target: Store) -> None:
    async def copied_then_changed(flow: MoveStore, name: str, tenant: TenantId) -> int:
        total = await original(flow, name, tenant)
        if name == "document_version":
            with closing(sqlite3.connect(company / "portcullis.db")) as connection:
                connection.execute("UPDATE document SET label = 'secret' WHERE document_id = (SELECT min(document_id) FROM document)")
                connection.commit()
        return total

    original = MoveStore._copy
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MoveStore, "_copy", copied_then_changed)
        with pytest.raises(ConfigurationError, match="document differ"):
            await _move(company, target)
    assert target.column("SELECT is_read_only FROM tenant_state") == [True]


async def test_a_log_that_was_meddled_with_does_not_open(company: Path, target: Store) -> None:
    with closing(sqlite3.connect(company / "portcullis.db")) as connection:
        connection.execute("DROP TRIGGER audit_event_no_update")
        connection.execute("UPDATE audit_event SET actor = 'somebody else' WHERE idx = 2")
        connection.commit()
    with pytest.raises(ConfigurationError, match="did not arrive whole"):
        await _move(company, target)
    assert target.column("SELECT is_read_only FROM tenant_state") == [True]


async def test_there_must_be_something_to_move_and_somewhere_to_move_it(tmp_path: Path, target: Store, company: Path) -> None:
    with pytest.raises(ConfigurationError, match="no installation"):
        await _move(tmp_path / "nothing", target)
    with pytest.raises(ConfigurationError, match="PORTCULLIS_DATABASE_URL"):
        await move_store(settings_in(company), lambda _table, _rows: None, pytest.fail)
