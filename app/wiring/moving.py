"""Moves an embedded installation to PostgreSQL and, where one is named, to OpenSearch."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from app.audit.log import AuditLog
from app.audit.signer import CheckpointSigner
from app.domain.identity import TenantId
from app.errors import ConfigurationError
from app.govern.move import MoveStore
from app.index.stored_vectors import read_vectors
from app.ingest.copy_index import CopyIndex
from app.llm.embedder import LocalEmbedder
from app.settings import Settings
from app.storage import schema
from app.storage.transaction import Database
from app.wiring.background import hold_file
from app.wiring.indexes import open_index


async def move_store(settings: Settings, note: Callable[[str, int], None]) -> dict[str, int]:
    """Move what lies in the data folder to the database of PORTCULLIS_DATABASE_OWNER_URL; returns rows by table.

    Raises ConfigurationError when there is nothing to move, nowhere to move it to, or a gateway still runs on the folder.
    """
    file = settings.data / "portcullis.db"
    if not file.exists():
        message = f"{settings.data} holds no installation: name its folder with --data."
        raise ConfigurationError(message)
    if not settings.database_url.get_secret_value():
        message = "Say where to: set PORTCULLIS_DATABASE_URL, and PORTCULLIS_DATABASE_OWNER_URL to the owner of that database."
        raise ConfigurationError(message)
    schema.check_current(settings.embedded_url, settings.migrations)
    schema.upgrade(settings.owner_url, settings.migrations)
    async with AsyncExitStack() as stack:
        if not hold_file(settings.data / "worker.lock", stack):
            message = f"A gateway runs on {settings.data}. Stop it, so that nothing changes while it moves."
            raise ConfigurationError(message)
        source, target = Database(settings.embedded_url), Database(settings.owner_url, settings.tenant)
        stack.push_async_callback(source.close)
        stack.push_async_callback(target.close)
        tenant, vectors = TenantId(settings.tenant), settings.data / "index.db"
        if settings.opensearch_url:
            index = await open_index(settings, await asyncio.to_thread(LocalEmbedder, settings.models / "embedder", threads=1), stack)
            copy = CopyIndex(source, index, lambda document_id, version: read_vectors(vectors, document_id, version))
            note("index", await copy.run(tenant))
        return await MoveStore(source, target, AuditLog(target, CheckpointSigner(settings.data / "signer"))).run(tenant, note)
