"""Moving an installation to PostgreSQL: everything arrives as it was, proofs included, or the new one stays shut."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.audit.log import AuditLog
from app.audit.signer import CheckpointSigner
from app.audit.verification import verify_log
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
from app.wiring import Models, move_store, open_services
from app.wiring.background import hold_file
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


async def _move(folder: Path, store: Store) -> dict[str, int]:
    return await move_store(_settings(folder, store), lambda _table, _rows: None)


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


async def test_a_move_that_was_cut_off_goes_on_and_nobody_writes_in_between(
    company: Path, target: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = moving.write_rows

    async def cut_off(tx: Transaction, name: str, rows: Sequence[Cells]) -> None:
        if name == "chunk":
            raise KeyboardInterrupt
        await written(tx, name, rows)

    monkeypatch.setattr(move.moving, "write_rows", cut_off)
    with pytest.raises(KeyboardInterrupt):
        await _move(company, target)
    monkeypatch.undo()
    async with target.opened() as database:
        log = AuditLog(database, CheckpointSigner(company / "signer"))
        with pytest.raises(AuditUnavailableError, match="being moved"):
            await log.record(AuditEvent(EventId("evt_early"), EventType.RETRIEVAL_EXECUTED, T, "a", datetime.now(UTC), "allow"))
    await _move(company, target)
    async with target.opened() as database:
        report = await verify_log(database, T, CheckpointSigner(company / "signer").verifier_key("portcullis/sample"), None)
    assert report.is_intact, report.problems


async def test_a_filled_database_is_not_moved_into(company: Path, target: Store) -> None:
    await _move(company, target)
    with pytest.raises(ConfigurationError, match="Name an empty one"):
        await _move(company, target)


async def test_an_installation_in_use_is_not_moved(company: Path, target: Store) -> None:
    async with AsyncExitStack() as stack:
        assert hold_file(company / "worker.lock", stack)
        with pytest.raises(ConfigurationError, match="Stop it"):
            await _move(company, target)


async def test_what_changed_on_the_way_is_noticed_and_the_new_one_stays_shut(company: Path, target: Store) -> None:
    async def copied_then_changed(flow: MoveStore, name: str) -> int:
        total = await original(flow, name)
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
        await move_store(settings_in(company), lambda _table, _rows: None)
