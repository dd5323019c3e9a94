"""A log of its own for each test: real database, real signer."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from uuid_utils import uuid7

from app.audit.log import AuditLog
from app.audit.signer import CheckpointSigner
from app.audit.verification import LogReport, verify_log
from app.domain.audit import AuditEvent, EventId, EventType, JsonValue, Reference
from app.domain.identity import TenantId
from app.storage.transaction import Database
from tests.conformance.stores import Store

TENANT = TenantId("sample")


def retrieval(**fields: JsonValue) -> AuditEvent:
    """A record of somebody's retrieval."""
    return AuditEvent(
        event_id=EventId(f"evt_{uuid7()}"),
        type=EventType.RETRIEVAL_EXECUTED,
        tenant=TENANT,
        actor="issuer|engineer",
        occurred_at=datetime.now(UTC),
        outcome="allow",
        references=(Reference("document", "doc_1"),),
        fields=fields,
    )


@dataclass
class Evidence:
    """A log with its parts."""

    folder: Path
    store: Store
    database: Database
    signer: CheckpointSigner
    log: AuditLog

    def event(self, **fields: JsonValue) -> AuditEvent:
        """A retrieval event."""
        return retrieval(**fields)

    async def verify(self) -> LogReport:
        """Check the whole log."""
        return await verify_log(self.database, TENANT, self.log.verifier_key(TENANT), self.signer.last_signed("portcullis/sample"))

    def reopened(self) -> AuditLog:
        """The log as another process sees it."""
        return AuditLog(self.database, CheckpointSigner(self.folder / "signer"))


@pytest.fixture
async def evidence(tmp_path: Path, store: Store) -> AsyncIterator[Evidence]:
    """An empty log."""
    signer = CheckpointSigner(tmp_path / "signer")
    async with store.opened(tenant=TENANT) as database:
        log = AuditLog(database, signer)
        await log.start(TENANT)
        yield Evidence(tmp_path, store, database, signer, log)
