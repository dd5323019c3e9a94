"""ActivatePolicyBundle: load, validate, run the cases, record, put in force. A bundle that fails leaves the old one standing."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from app.audit.events import Happening, by_system
from app.audit.log import AuditLog
from app.domain.access import Outcome
from app.domain.audit import EventType
from app.domain.identity import TenantId
from app.errors import PolicyInvalidError
from app.policy.bundle import REDACTION, Bundle, digest_of, parse_bundle, read_folder
from app.policy.cases import CaseFailure, read_cases, run_cases
from app.policy.snapshot import Snapshot
from app.privacy.book import RedactionBook
from app.storage import document_rows, policy_rows
from app.storage.policy_rows import ActivePolicy
from app.storage.transaction import Database


@dataclass(frozen=True, slots=True)
class Check:
    """The result of validating a bundle: its digest, size, how many cases ran and which came out otherwise."""

    digest: str
    rules: int
    cases: int
    failures: tuple[CaseFailure, ...]


def check_files(files: dict[str, str]) -> tuple[Bundle, Check]:
    """Validate policy files and run their cases, changing nothing. Raises PolicyInvalidError naming file and line."""
    bundle = parse_bundle(files)
    RedactionBook().check(bundle.files[REDACTION])
    cases = read_cases(bundle)
    return bundle, Check(bundle.digest, len(bundle.rules), len(cases), tuple(run_cases(Snapshot(bundle, 0), cases)))


def check_folder(folder: Path) -> Check:
    """As `check_files`, for the files below `folder`."""
    return check_files(read_folder(folder))[1]


def require_sound(files: dict[str, str]) -> tuple[Bundle, Check]:
    """As `check_files`. Raises PolicyInvalidError too when a case comes out otherwise: what is refused by this is never put in force."""
    bundle, check = check_files(files)
    if check.failures:
        first = check.failures[0]
        message = f"{first.place}: expected {first.expected}, got {first.got} ({first.why}); {len(check.failures)} cases fail"
        raise PolicyInvalidError(message)
    return bundle, check


@dataclass(frozen=True)
class ActivatePolicyBundle:
    """Puts a policy in force. Powers: policy, redaction, the log, the register."""

    database: Database
    audit: AuditLog

    async def run_folder(self, tenant: TenantId, folder: Path, actor: str) -> Check:
        """As `run`, for the files below `folder`."""
        return await self.run(tenant, read_folder(folder), actor)

    async def was_replaced(self, tenant: TenantId, files: dict[str, str]) -> bool:
        """Whether exactly these files were in force once and no longer are."""
        async with self.database.read() as tx:
            active, digest = await policy_rows.active(tx, tenant), digest_of(files)
            return active is not None and active.digest != digest and await policy_rows.is_known(tx, tenant, digest)

    async def run(self, tenant: TenantId, files: dict[str, str], actor: str) -> Check:
        """Activate `files` unless they are in force already.

        Raises PolicyInvalidError, after the refusal is on record, when they do not load or a case comes out otherwise.
        """
        try:
            bundle, check = require_sound(files)
        except PolicyInvalidError as error:
            await self._refuse(tenant, actor, error)
            raise
        now = datetime.now(UTC)
        async with self.database.write() as tx:
            before = await policy_rows.active(tx, tenant)
            epoch, is_new = before.epoch if before else 0, before is None or before.digest != bundle.digest
            if is_new:
                epoch += 1
                await policy_rows.put_bundle(tx, tenant, bundle.digest, bundle.files, now)
                await policy_rows.activate(tx, tenant, ActivePolicy(epoch, bundle.digest, now, actor, actor))
            # Ranks are kept with each document, for the filter: a label that was raised closes what already bears it, from now on.
            # Also where it is in force already: the release before this one left those of labels that were taken away.
            ranked = await document_rows.put_ranks(tx, tenant, bundle.labels, now)
            if not is_new and not ranked:
                return check
            fields = {
                "before": before.digest if before else None,
                "after": bundle.digest,
                "epoch": epoch,
                "rules": check.rules,
                "cases": check.cases,
                "ranked": ranked,
            }
            happening = Happening(EventType.POLICY_ACTIVATED, policy_digest=bundle.digest, fields=fields)
            await self.audit.record_in(tx, by_system(tenant, happening, actor))
        return check

    async def _refuse(self, tenant: TenantId, actor: str, error: PolicyInvalidError) -> None:
        async with self.database.read() as tx:
            before = await policy_rows.active(tx, tenant)
        happening = Happening(
            EventType.POLICY_REJECTED,
            Outcome.DENY,
            "invalid",
            before.digest if before else "",
            fields={"problem_length": len(error.detail)},
        )
        await self.audit.record(by_system(tenant, happening, actor))
