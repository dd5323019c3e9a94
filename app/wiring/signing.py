"""The signer as a process of its own: it alone holds the key, reads the log under its own login and publishes checkpoints."""

import asyncio
from contextlib import AsyncExitStack

from app.audit.log import AuditLog, log_name
from app.audit.signer import CheckpointSigner, RemoteSigner
from app.audit.verification import LogReport, verify_log
from app.domain.identity import TenantId
from app.errors import ConfigurationError, PortcullisError
from app.govern.recovery import NOT_THE_SIGNER, AcknowledgeRecovery
from app.observability import logger
from app.settings import Settings
from app.storage import schema
from app.storage.transaction import Database
from app.wiring.background import Leader, hold_file
from app.wiring.heartbeat import beat

_log = logger(__name__)
_READERS = ("portcullis_signer", "portcullis_gateway", "portcullis_auditor")
"""Each of them reads the whole log; a check of it needs no other right."""
_NO_KEY = (
    "Nothing here tells whose signatures to check: {} is no signer's folder. Run it where the signer's folder is, naming that with --data, "
    "or set PORTCULLIS_VERIFIER_KEY to what `portcullis signer --show-key` prints there."
)


def signer_key(settings: Settings) -> str:
    """The public key of this installation's signer, made on first use."""
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    return CheckpointSigner(settings.data / "signer").verifier_key(log_name(TenantId(settings.tenant)))


async def verify_installation(settings: Settings) -> LogReport:
    """Check the whole log against itself, the published checkpoint and, beside the signer's folder, what the signer remembers.

    Needs the database alone, under the signer's, a gateway's or an auditor's login, and writes nothing. Raises ConfigurationError
    where there is no log to check or no key to check it with.
    """
    tenant, folder = TenantId(settings.tenant), settings.data / "signer"
    log = log_name(tenant)
    if not settings.database_url.get_secret_value() and not (settings.data / "portcullis.db").exists():
        message = f"There is no log in {settings.data}: name the installation's folder with --data, or set PORTCULLIS_DATABASE_URL."
        raise ConfigurationError(message)
    own = CheckpointSigner(folder) if CheckpointSigner.is_kept_in(folder) else None
    signer = RemoteSigner(settings.verifier_key) if settings.verifier_key else own
    if signer is None:
        raise ConfigurationError(_NO_KEY.format(folder))
    schema.check_current(settings.record_url, settings.migrations, _READERS, settings.tenant, is_one_enough=True)
    key = signer.verifier_key(log)
    # Before the snapshot: a signer that runs meanwhile remembers more than is in it.
    seen = own.last_signed(log) if own else None
    database = Database(settings.record_url, settings.tenant)
    try:
        report = await verify_log(database, tenant, key, seen)
    finally:
        await database.close()
    # A memory under another key, or older than what is published, is a copy that somebody left: the signer knows more.
    later = own.last_signed(log) if own and own.verifier_key(log) == key else None
    report.is_memory_compared = later is not None and later[0] >= (report.checkpoint_size or 0)
    return report


async def resume_log(settings: Settings, reason: str, *, is_another_signer: bool = False) -> tuple[int, int]:
    """Let records be taken again after somebody looked; returns (entries there, entries signed before).

    Runs where the signer's folder is, as the owner of the database: no gateway and no signer may do this by itself. Raises
    ConfigurationError under another login, and elsewhere, unless `is_another_signer` says that the folder is lost.
    """
    folder = settings.data / "signer"
    if not is_another_signer and not CheckpointSigner.is_kept_in(folder):
        raise ConfigurationError(NOT_THE_SIGNER)
    schema.check_owner(settings.owner_url, settings.owner_setting)
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        if not hold_file(settings.data / "signer.lock", stack):
            message = "The signer runs. Stop it, then say it again."
            raise ConfigurationError(message)
        database = Database(settings.owner_url, settings.tenant)
        stack.push_async_callback(database.close)
        signer = CheckpointSigner(folder)
        recovery = AcknowledgeRecovery(database, AuditLog(database, signer), signer)
        return await recovery.run(TenantId(settings.tenant), "system:operator", reason, is_another_signer=is_another_signer)


async def sign_forever(settings: Settings) -> None:
    """Sign what is committed, once a second, until cancelled. A second signer waits until the first one is gone.

    Raises ConfigurationError when another process uses the same folder: two memories of what was signed are none.
    """
    if settings.database_url.get_secret_value():
        schema.check_current(settings.record_url, settings.migrations, ("portcullis_signer",), settings.tenant)
    tenant = TenantId(settings.tenant)
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        if not hold_file(settings.data / "signer.lock", stack):
            message = f"Another signer uses {settings.data}. Stop it first."
            raise ConfigurationError(message)
        database = Database(settings.record_url, settings.tenant)
        stack.push_async_callback(database.close)
        log, leader = AuditLog(database, CheckpointSigner(settings.data / "signer")), Leader(database, tenant, "signer")
        stack.push_async_callback(leader.give_back)
        beating = asyncio.create_task(beat(settings.data))
        stack.callback(beating.cancel)
        while True:
            try:
                if await leader.leads():
                    await log.checkpoint(tenant)
            except PortcullisError as error:
                _log.error("checkpoint_not_signed", code=error.code)
            await asyncio.sleep(settings.checkpoint_every_s)
