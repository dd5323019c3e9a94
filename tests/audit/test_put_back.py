"""A database that goes back beneath a signer that runs: it notices, whether or not the log has grown since."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.audit.log import AuditLog
from app.audit.signer import CheckpointSigner, RemoteSigner
from app.domain.audit import AuditEvent, EventId, EventType
from app.errors import AuditUnavailableError
from app.storage import tenant_rows
from tests.audit.conftest import TENANT
from tests.conformance.stores import Store


async def record(log: AuditLog, *names: str) -> None:
    for name in names:
        await log.record(AuditEvent(EventId(f"evt_{name}"), EventType.RETRIEVAL_EXECUTED, TENANT, "a", datetime.now(UTC), "allow"))


def put_back(store: Store, size: int, chain: bytes) -> None:
    """What a restored backup or a fail-over to a standby that lagged leaves."""
    value = f"decode('{chain.hex()}', 'hex')" if store.is_postgres else f"x'{chain.hex()}'"
    store.meddle(
        f"DELETE FROM audit_event WHERE idx >= {size}",  # noqa: S608 - our own numbers
        f"DELETE FROM audit_ref WHERE idx >= {size}",  # noqa: S608 - our own numbers
        f"DELETE FROM audit_block WHERE first >= {size}",  # noqa: S608 - our own numbers
        f"DELETE FROM audit_checkpoint WHERE size > {size}",  # noqa: S608 - our own numbers
        f"UPDATE audit_head SET size={size}, chain={value}",  # noqa: S608 - our own numbers
    )


@pytest.mark.parametrize("later", [0, 5, 7])
async def test_a_signer_that_runs_notices_that_the_database_went_back(store: Store, tmp_path: Path, later: int) -> None:
    async with store.opened() as beside_signer, store.opened() as beside_gateway:
        signing = AuditLog(beside_signer, CheckpointSigner(tmp_path / "signer"))
        gateway = AuditLog(beside_gateway, RemoteSigner(signing.verifier_key(TENANT)))
        await record(gateway, *(f"a{number}" for number in range(5)))
        await signing.checkpoint(TENANT)
        size, chain = store.column("SELECT size FROM audit_head")[0], store.column("SELECT chain FROM audit_head")[0]
        await record(gateway, *(f"b{number}" for number in range(5)))
        await signing.checkpoint(TENANT)
        put_back(store, int(str(size)), bytes(chain))  # type: ignore[call-overload]  # a column of bytes
        await record(gateway, *(f"c{number}" for number in range(later)))
        with pytest.raises(AuditUnavailableError):
            await signing.checkpoint(TENANT)
        async with beside_gateway.read() as tx:
            assert await tenant_rows.standstill(tx, TENANT) is not None
        with pytest.raises(AuditUnavailableError):
            await record(gateway, "d")
