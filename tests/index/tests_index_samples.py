"""Facts, filters and chunks for the tests of the embedded engine."""

from dataclasses import replace
from datetime import UTC, datetime

from app.domain.access import Acl, AclMode, Action, ActionRule, Conditions, Scope
from app.domain.content import ChunkId, DocumentId
from app.domain.identity import Principal, TenantId
from app.domain.search import AccessFacts, IndexedChunk

ACME = TenantId("acme")
CLERK = Principal("user:i|clerk")
READER = Conditions(ACME, 1, frozenset({CLERK}), (ActionRule(Action.SEARCH, (Scope("*", "*"),), ()),))


def facts(document: str, **changes: object) -> AccessFacts:
    plain = AccessFacts(ACME, DocumentId(document), "hr", "internal", 1, Acl(AclMode.INHERIT), 1, "en", datetime(2026, 3, 1, tzinfo=UTC))
    return replace(plain, **changes)


def chunk(document: str, text: str, version: int = 1, ordinal: int = 0) -> IndexedChunk:
    return IndexedChunk(ChunkId(f"{document}.{version}.{ordinal}"), "", text)
