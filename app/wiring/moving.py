"""Moves an embedded installation to PostgreSQL and, where one is named, to OpenSearch."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from app.audit.signer import CheckpointSigner
from app.domain.identity import TenantId
from app.errors import ConfigurationError, UpstreamUnavailableError
from app.govern import move
from app.govern.move import MoveStore
from app.index.stored_vectors import read_vectors
from app.ingest.copy_index import CopyIndex
from app.llm.embedder import LocalEmbedder
from app.settings import Settings
from app.storage import schema
from app.storage.transaction import Database
from app.wiring.background import hold_file
from app.wiring.indexes import open_index


async def move_store(settings: Settings, note: Callable[[str, int], None], warn: Callable[[str], None]) -> dict[str, int]:
    """Move what lies in the data folder to the database of PORTCULLIS_DATABASE_OWNER_URL; returns rows by table.

    The folder's own database takes no records from the first moment on, and none ever again once it was moved. Moved to there before, it
    moves nothing and says the same. `warn` hears of what failed once all was moved. Raises ConfigurationError when there is nothing to
    move, nowhere to move it to, or a gateway still runs on the folder.
    """
    signer = _signer_of(settings)
    if not settings.database_url.get_secret_value():
        message = "Say where to: set PORTCULLIS_DATABASE_URL, and PORTCULLIS_DATABASE_OWNER_URL to the owner of that database."
        raise ConfigurationError(message)
    schema.check_current(settings.embedded_url, settings.migrations)
    schema.upgrade(settings.owner_url, settings.migrations, settings.owner_setting)
    async with AsyncExitStack() as stack:
        source, target = _source(settings, stack), _target(settings, stack)
        flow, tenant = MoveStore(source, target, signer), TenantId(settings.tenant)
        if (moved := await flow.moved_before(tenant)) is None:
            moved = await _moved(settings, flow, tenant, note, stack)
    try:
        await asyncio.to_thread(schema.analyze, settings.owner_url)
    except UpstreamUnavailableError as error:
        warn(f"The new database has not yet learnt what it holds ({error.detail}). It does by itself; sooner by ANALYZE, as its owner.")
    return moved


async def _moved(
    settings: Settings, flow: MoveStore, tenant: TenantId, note: Callable[[str, int], None], stack: AsyncExitStack
) -> dict[str, int]:
    await flow.begin(tenant)
    if settings.opensearch_url:
        vectors = settings.data / "index.db"
        index = await open_index(settings, await asyncio.to_thread(LocalEmbedder, settings.models / "embedder", threads=1), stack)
        copy = CopyIndex(flow.source, index, lambda document_id, version: read_vectors(vectors, document_id, version))
        note("index", await copy.run(tenant))
    return await flow.run(tenant, note)


async def abandon_move(settings: Settings) -> None:
    """Go on with the installation in the data folder after a move that failed or was cut off.

    Raises ConfigurationError when none is under way, or when it was completed.
    """
    signer = _signer_of(settings)
    schema.check_current(settings.embedded_url, settings.migrations)
    async with AsyncExitStack() as stack:
        source = _source(settings, stack)
        target = _target(settings, stack) if settings.database_url.get_secret_value() else None
        await move.abandon_move(source, target, signer, TenantId(settings.tenant))


def _signer_of(settings: Settings) -> CheckpointSigner:
    if not (settings.data / "portcullis.db").exists():
        message = f"{settings.data} holds no installation: name its folder with --data."
        raise ConfigurationError(message)
    folder = settings.data / "signer"
    if not CheckpointSigner.is_kept_in(folder):
        # One made here would know nothing of what was signed, and a cut log would pass for a whole one.
        message = f"{folder} is not there: put the signer's folder back, then move."
        raise ConfigurationError(message)
    return CheckpointSigner(folder)


def _source(settings: Settings, stack: AsyncExitStack) -> Database:
    for name in ("worker.lock", "signer.lock"):
        if not hold_file(settings.data / name, stack):
            message = f"A gateway or a signer runs on {settings.data}. Stop it, so that nothing changes while it moves."
            raise ConfigurationError(message)
    source = Database(settings.embedded_url)
    stack.push_async_callback(source.close)
    return source


def _target(settings: Settings, stack: AsyncExitStack) -> Database:
    target = Database(settings.owner_url, settings.tenant)
    stack.push_async_callback(target.close)
    return target
