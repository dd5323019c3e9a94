"""Builds rooms and flows for settings, once, and stops them."""

import asyncio
import base64
import binascii
import gc
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from app.answer.drafting import ExtractiveWriter, GenerativeWriter, Writer
from app.answer.feedback import GiveFeedback
from app.answer.history import ReadHistory
from app.answer.question import AnswerQuestion
from app.answer.retrieval import ANSWER_ACTIONS, Retrieval
from app.answer.search import SearchPassages
from app.audit.digests import KEY_BYTES, load_or_create_key
from app.audit.log import AuditLog
from app.audit.signer import CheckpointSigner, RemoteSigner
from app.domain.access import Action
from app.domain.identity import TenantId
from app.domain.ports import Analyzer
from app.errors import ConfigurationError, UpstreamUnavailableError
from app.govern.activate import ActivatePolicyBundle
from app.govern.collections import ManageCollections
from app.govern.document_changes import ChangeDocuments
from app.govern.documents import ReadDocuments
from app.govern.explain import ExplainAccess
from app.govern.generations import EndGenerations
from app.govern.jobs import TendJobs
from app.govern.overview import ReviewLog
from app.govern.policies import ReadPolicy
from app.govern.privacy import AnalyzeText
from app.govern.receipts import ReadReceipts
from app.govern.retention import ApplyRetention
from app.govern.sign_ins import RecordSignIn
from app.govern.trail import ReadAuditTrail
from app.govern.upkeep import ReadUpkeep
from app.identity.demo_issuer import is_loopback
from app.ingest.document import IngestDocument
from app.ingest.reconcile import ReconcileIndex
from app.ingest.sandbox import ParseLimits, ParserSandbox
from app.ingest.submit import SubmitDocument
from app.ingest.vectors import EmbedDocument, VectorRules
from app.ingest.worker import Worker
from app.llm.embedder import LocalEmbedder
from app.policy.book import PolicyBook
from app.privacy.book import RedactionBook
from app.privacy.late import LateDetector
from app.settings import DEMO_MARKER, Settings
from app.storage import schema
from app.storage.transaction import Database
from app.wiring.background import note_start, reconcile, start_background, start_watch
from app.wiring.indexes import open_index, rebuild_of
from app.wiring.people import NO_ISSUER, identity_for
from app.wiring.services import PolicyWatch, Services

_INSIDE_A_CLUSTER = (".svc", ".svc.cluster.local")


@dataclass(frozen=True)
class Models:
    """The loaded models: hundreds of megabytes that several services of one process may share."""

    detector: Analyzer
    embedder: LocalEmbedder


async def load_models(settings: Settings) -> Models:
    """Load both models. Raises ConfigurationError naming `make models` when a folder is missing or damaged."""
    from app.privacy.detector import Detector  # noqa: PLC0415 - two seconds that only those spend who are about to use it

    gc.disable()  # A vocabulary is half a million objects that all stay: looking for garbage among them only costs time.
    try:
        detector, embedder = await asyncio.gather(
            asyncio.to_thread(Detector, settings.models / "ner-en"),
            asyncio.to_thread(LocalEmbedder, settings.models / "embedder", threads=settings.embed_threads),
        )
    finally:
        gc.freeze()
        gc.enable()
    return Models(detector, embedder)


async def _loaded_late(settings: Settings) -> Models:
    """For a command: it ends soon, and few show the detector a text."""
    embedder = await asyncio.to_thread(LocalEmbedder, settings.models / "embedder", threads=settings.embed_threads)
    return Models(LateDetector(settings.models / "ner-en"), embedder)


@asynccontextmanager
async def open_services(
    settings: Settings, *, is_server: bool = False, may_begin: bool = True, models: Models | None = None
) -> AsyncIterator[Services]:
    """Build everything for `settings`; with `is_server` also do what `background` says: documents, the signer's clock, housekeeping.

    `models` that are given are shared and stay open. Where no policy was ever in force the folder's is, if this `may_begin`. Raises
    ConfigurationError, naming the command that mends it, when models, schema or keys are not as they must be.
    """
    _prepare_folder(settings)
    loaded = models or await (load_models(settings) if is_server else _loaded_late(settings))
    async with AsyncExitStack() as stack:
        if models is None:
            stack.callback(loaded.embedder.close)
        services = await _build(settings, stack, loaded.detector, loaded.embedder)
        await services.audit.start(services.tenant)
        # A command must not put the policy of wherever it runs in force for everybody, nor begin the log of a tenant it mistyped.
        if (is_server and settings.background) or (may_begin and not await services.has_policy()):
            await services.policy_watch.look()
        if is_server and settings.background:
            # An index that is away is compared when it is back, within a minute: the re-check stands meanwhile.
            with suppress(UpstreamUnavailableError):
                await reconcile(services)
            await start_background(services, stack)
        elif is_server:
            await start_watch(services, stack)
        if is_server:
            await note_start(services)
        yield services


def check_settings(settings: Settings) -> None:
    """Raise ConfigurationError, naming what mends it, for what would stop a start: cheap, before any model is loaded."""
    for name in ("embedder/model.json", "ner-en/config.cfg"):
        if not (settings.models / name).is_file():
            message = f"The model file {settings.models / name} is missing. Run `make models`."
            raise ConfigurationError(message)
    if not settings.demo and not settings.oidc_issuer:
        raise ConfigurationError(NO_ISSUER)
    _check_model_address(settings)
    _prepare_folder(settings)


async def _build(settings: Settings, stack: AsyncExitStack, detector: Analyzer, embedder: LocalEmbedder) -> Services:
    tenant, database = TenantId(settings.tenant), Database(settings.record_url, settings.tenant)
    stack.push_async_callback(database.close)
    index = await open_index(settings, embedder, stack)
    signer = RemoteSigner(settings.verifier_key) if settings.verifier_key else CheckpointSigner(settings.data / "signer")
    audit, policy, redaction = AuditLog(database, signer), PolicyBook(), RedactionBook()
    sandbox = ParserSandbox(ParseLimits(settings.parse_memory_bytes, settings.parse_seconds, settings.parse_seconds * 2.0))
    await stack.enter_async_context(sandbox)
    retrieval = Retrieval(database, policy, redaction, index, embedder)
    digest_key = _digest_key(settings)
    rules = VectorRules(policy, redaction, embedder)
    writer, needs = _writer(settings)
    activate = ActivatePolicyBundle(database, audit)
    trail = ReadAuditTrail(database, policy, audit, signer, digest_key)
    identity = identity_for(settings, stack)
    return Services(
        settings=settings,
        tenant=tenant,
        database=database,
        audit=audit,
        identity=identity,
        search=SearchPassages(retrieval, audit, embedder.calibration, digest_key),
        answer=AnswerQuestion(database, retrieval, writer, audit, embedder.calibration, digest_key, needs),
        history=ReadHistory(database, policy, redaction, audit),
        feedback=GiveFeedback(database, audit),
        submit=SubmitDocument(database, policy, audit, digest_key),
        worker=Worker(
            database,
            audit,
            IngestDocument(database, index, audit, detector, sandbox.parse, digest_key, policy),
            EmbedDocument(database, index, rules),
        ),
        reconcile=ReconcileIndex(database, index, rules),
        rebuild=rebuild_of(database, index),
        documents=ReadDocuments(database, policy, redaction, audit),
        changes=ChangeDocuments(database, policy, index, audit),
        collections=ManageCollections(database, policy, audit),
        jobs=TendJobs(database, policy, audit),
        explain=ExplainAccess(database, policy, audit, identity.claims),
        policies=ReadPolicy(database, policy),
        sign_ins=RecordSignIn(database, audit, identity.sessions),
        retention=ApplyRetention(database, index, audit, timedelta(days=settings.purge_after_days)),
        generations=EndGenerations(database, audit),
        trail=trail,
        receipts=ReadReceipts(database, policy, audit),
        overview=ReviewLog(database, policy, audit, trail),
        upkeep=ReadUpkeep(database),
        privacy=AnalyzeText(database, policy, redaction, audit, detector),
        activate=activate,
        policy=policy,
        index=index,
        embedder=embedder,
        policy_watch=PolicyWatch(activate, tenant, settings.policies, is_one_of_many=not database.is_sqlite),
    )


def _prepare_folder(settings: Settings) -> None:
    try:
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        message = f"The data folder {settings.data} cannot be made: {error.strerror}. Name another with --data."
        raise ConfigurationError(message) from error
    if settings.demo:
        # From now on the command line opens this folder in demo mode, under the address it was made with.
        (settings.data / DEMO_MARKER).write_text(json.dumps({"public_url": settings.base_url}), encoding="utf-8")
    database = settings.data / "portcullis.db"
    if settings.database_url.get_secret_value():
        roles = ("portcullis_gateway",) if settings.verifier_key else ("portcullis_gateway", "portcullis_signer")
        schema.check_current(settings.record_url, settings.migrations, roles, settings.tenant)
    elif settings.demo or not database.exists():
        schema.upgrade(settings.owner_url, settings.migrations)
        database.chmod(0o600)
    else:
        schema.check_current(settings.record_url, settings.migrations)


def _digest_key(settings: Settings) -> bytes:
    """The key of keyed digests: given, so that every replica has the same, or a file of this installation."""
    if settings.digest_key is None:
        return load_or_create_key(settings.data / "digest.key")
    try:
        key = base64.b64decode(settings.digest_key.get_secret_value(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        message = f"PORTCULLIS_DIGEST_KEY is not {KEY_BYTES} bytes as base64. Make one with `openssl rand -base64 {KEY_BYTES}`."
        raise ConfigurationError(message)
    return key


def _check_model_address(settings: Settings) -> None:
    """Refuse a model endpoint to which passages would travel in clear, past everything that policy says about it."""
    if not settings.llm_base_url:
        return
    try:
        address = urlsplit(settings.llm_base_url)
    except ValueError:
        address = urlsplit("")
    if address.scheme not in {"http", "https"} or not address.hostname:
        message = "PORTCULLIS_LLM_BASE_URL is no address: write https://HOST/PATH."
        raise ConfigurationError(message)
    is_near = is_loopback(settings.llm_base_url) or address.hostname.endswith(_INSIDE_A_CLUSTER)
    if address.scheme == "http" and not is_near and not settings.llm_allows_http:
        message = (
            f"PORTCULLIS_LLM_BASE_URL: {address.hostname} is another machine, to which questions and passages would travel in clear: "
            "use https, or say PORTCULLIS_LLM_ALLOWS_HTTP=true."
        )
        raise ConfigurationError(message)


def _writer(settings: Settings) -> tuple[Writer, tuple[Action, ...]]:
    if not settings.llm_base_url:
        return ExtractiveWriter(), ANSWER_ACTIONS
    _check_model_address(settings)
    from app.llm.chat import OpenAIChat, load_prompt  # noqa: PLC0415 - half a second of every start, for those who configure a model

    key = settings.llm_api_key.get_secret_value() if settings.llm_api_key else ""
    chat = OpenAIChat(settings.llm_base_url, settings.llm_model, key, timeout_s=settings.llm_timeout_s)
    outside = (Action.GENERATE_EXTERNAL,) if settings.llm_is_external else ()
    return GenerativeWriter(chat, load_prompt("answer")), (*ANSWER_ACTIONS, *outside)
