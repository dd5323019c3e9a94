"""Everything the doors may call, as one frozen value, and whether each part is ready."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.answer.feedback import GiveFeedback
from app.answer.history import ReadHistory
from app.answer.question import AnswerQuestion
from app.answer.search import SearchPassages
from app.audit.log import AuditLog
from app.domain.content import Collection
from app.domain.identity import TenantId
from app.domain.ports import PassageIndex
from app.errors import ConfigurationError, PolicyInvalidError, PortcullisError
from app.govern.activate import ActivatePolicyBundle, require_sound
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
from app.identity.demo_issuer import DemoIssuer
from app.identity.sessions import Sessions
from app.identity.sign_in import SignIn
from app.identity.subjects import ClaimNames
from app.identity.tokens import TokenVerifier
from app.ingest.rebuild import RebuildIndex
from app.ingest.reconcile import ReconcileIndex
from app.ingest.submit import SubmitDocument
from app.ingest.worker import Worker
from app.llm.embedder import LocalEmbedder
from app.observability import logger
from app.policy.book import PolicyBook
from app.policy.bundle import read_folder
from app.sample import read_suggestions
from app.settings import Settings
from app.storage import policy_rows
from app.storage.transaction import Database

_NOT_CONFIGURED = "It is not as it must be: `portcullis doctor` says why."
_log = logger(__name__)


@dataclass(frozen=True)
class Identity:
    """What the doors need to know who asks."""

    tokens: TokenVerifier
    sessions: Sessions
    sign_in: SignIn
    claims: ClaimNames
    demo: DemoIssuer | None
    logouts: TokenVerifier


class PolicyWatch:
    """Looks at the policy folder and activates what changed. A folder that does not load leaves the old policy standing.

    Where several processes have folders of their own (`is_one_of_many`), what a process finds when it begins to look after the policy is
    not put in force when it was in force before, nor what comes into such a folder late: a process of the last release that restarts
    during a roll-out, or takes over from another, would undo the new rules. `policy activate` does.
    """

    def __init__(self, activate: ActivatePolicyBundle, tenant: TenantId, folder: Path, *, is_one_of_many: bool = False) -> None:
        self._is_one_of_many = is_one_of_many
        self._activate = activate
        self._tenant = tenant
        self._folder = folder
        self._seen: dict[str, str] | None = None
        self._is_behind = True
        self._checked: dict[str, str] | None = None
        self.problem: str | None = None

    async def look(self) -> None:
        """Activate the folder when it changed since the last look; keep the problem when it does not load."""
        try:
            files = await asyncio.to_thread(read_folder, self._folder)
        except PolicyInvalidError as error:
            # What comes back is looked at anew, or the problem of a folder that was away for a while would stand for ever.
            self._seen, self._is_behind = None, True
            self._note(error)
            return
        if files == self._seen:
            return
        if self._is_behind and self._is_one_of_many and await self._activate.was_replaced(self._tenant, files):
            _log.warning("policy_folder_outdated")
            self._seen = files
            return
        self._is_behind = False
        try:
            await self._activate.run(self._tenant, files, "system:policy-folder")
            self.problem = None
        except PolicyInvalidError as error:
            self._note(error)
        # Only now: a database that was away during the activation leaves the change to be looked at again.
        self._seen = files

    async def check(self) -> None:
        """Keep the problem of a folder that would be refused, and put nothing in force: where another process does that.

        A gateway that said nothing would go on under the wider rules of before, and nobody would know.
        """
        # Whoever takes over from that process knows no more than one that starts.
        self._seen, self._is_behind = None, True
        try:
            files = await asyncio.to_thread(read_folder, self._folder)
            if files != self._checked:
                await asyncio.to_thread(require_sound, files)
            self._checked, self.problem = files, None
        except PolicyInvalidError as error:
            self._checked = None
            self._note(error)

    def _note(self, error: PolicyInvalidError) -> None:
        if self.problem != error.detail:
            _log.error("policy_refused", problem_chars=len(error.detail))
        self.problem = error.detail


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
    reconcile: ReconcileIndex
    rebuild: RebuildIndex | None
    documents: ReadDocuments
    changes: ChangeDocuments
    collections: ManageCollections
    jobs: TendJobs
    explain: ExplainAccess
    policies: ReadPolicy
    sign_ins: RecordSignIn
    retention: ApplyRetention
    generations: EndGenerations
    trail: ReadAuditTrail
    receipts: ReadReceipts
    overview: ReviewLog
    upkeep: ReadUpkeep
    privacy: AnalyzeText
    activate: ActivatePolicyBundle
    policy: PolicyBook
    index: PassageIndex
    embedder: LocalEmbedder
    policy_watch: PolicyWatch

    def suggestions(self, readable: Sequence[Collection]) -> list[dict[str, object]]:
        """Questions to start with, by collection the viewer may read; in demo mode those of the sample company."""
        if not self.settings.demo:
            return []
        asked = read_suggestions(self.settings.examples)
        return [{"collection": one.name, "label": one.default_label, "questions": asked[one.name]} for one in readable if one.name in asked]

    async def has_policy(self) -> bool:
        """Whether any policy was ever activated."""
        async with self.database.read() as tx:
            return await policy_rows.active(tx, self.tenant) is not None

    async def require_policy(self) -> None:
        """Raise PolicyInvalidError where none was ever activated: nothing is kept for such a tenant, so it is likely mistyped."""
        async with self.database.read() as tx:
            await self.policy.current(tx, self.tenant)

    async def readiness(self, *, is_public: bool = False) -> dict[str, str]:
        """Each dependency by name: `ok`, or why not; to the public without what only names of this installation explain."""
        checks: dict[str, Callable[[], Awaitable[None]]] = {
            "database": self.database.check,
            "index": self.index.check,
            "audit": lambda: self.audit.check(self.tenant),
            "policy": self._policy_ready,
        }
        report = {}
        for name, check in checks.items():
            try:
                await check()
                report[name] = "ok"
            except PortcullisError as error:
                report[name] = _NOT_CONFIGURED if is_public and isinstance(error, ConfigurationError) else error.detail
        return report

    async def _policy_ready(self) -> None:
        await self.require_policy()
        if self.policy_watch.problem is not None:
            # Readiness is told to whoever asks: neither paths nor lines of a policy stand in it.
            message = "The policy folder does not load, so the rules before it are in force. `portcullis policy check` says why."
            raise PolicyInvalidError(message)
