"""AnalyzeText and RedactText: the detector on a text of the caller's own; the text is neither kept nor logged."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from app.audit.events import by_caller, decided
from app.audit.log import AuditLog
from app.domain.access import Action
from app.domain.audit import EventType, JsonValue
from app.domain.identity import Caller
from app.domain.ports import Analyzer
from app.domain.privacy import Analysis, Rendering
from app.govern.rights import require_right
from app.policy.book import PolicyBook
from app.privacy.book import RedactionBook
from app.privacy.late import LateDetector
from app.privacy.rendering import render
from app.storage.transaction import Database


def evaluate_detector(file: Path, model_folder: Path) -> dict[str, object]:
    """Figures of the detector on labelled texts (JSON lines with full_text, spans, language); reads no document of any tenant."""
    from app.privacy.evaluation import evaluate  # noqa: PLC0415 - it brings the libraries of the model along, a second of every command

    return dict(evaluate(file, LateDetector(model_folder)))


@dataclass(frozen=True)
class AnalyzeText:
    """Finds personal data in a given text. Powers: policy, the detector, the log."""

    database: Database
    policy: PolicyBook
    redaction: RedactionBook
    audit: AuditLog
    detector: Analyzer

    async def analyze(self, caller: Caller, text: str, language: str | None) -> Analysis:
        """Spans of `text`. Needs `privacy.analyze`; recorded before they leave."""
        decision = await require_right(self.database, self.policy, self.audit, caller, Action.PRIVACY_ANALYZE)
        found = await asyncio.to_thread(self.detector.analyze, text, language)
        fields: dict[str, JsonValue] = {"chars": len(text), "spans": len(found.spans), "detector_digest": found.detector_digest}
        await self.audit.record(by_caller(caller, decided(EventType.TEXT_ANALYZED, decision, (), fields)))
        return found

    async def redact(self, caller: Caller, text: str, profile: str) -> Rendering:
        """`text` as somebody without special rights would see it under a redaction profile. Needs `privacy.analyze`; recorded."""
        found = await self.analyze(caller, text, None)
        async with self.database.read() as tx:
            snapshot = await self.policy.current(tx, caller.subject.tenant)
        redaction = self.redaction.of(snapshot.digest, snapshot.redaction_text)
        return render(text, found.spans, redaction.visible_types(profile, may_read_pii=False))
