"""Access facts as stored JSON and back. A row that cannot be read back whole is no facts at all, and its document is not served."""

import json
from datetime import UTC, datetime

from app.domain.access import Acl, AclMode
from app.domain.content import DocumentId
from app.domain.identity import Principal, TenantId
from app.domain.search import AccessFacts
from app.index.words import clean

_HIGHEST_RANK = 2**31 - 1
"""Ranks are compared as 32-bit numbers; one beyond them must not wrap round to a low one."""


def encode_facts(facts: AccessFacts) -> str:
    """Write facts as JSON text; principals sorted, so that equal facts are equal text."""
    fields = {
        "tenant": clean(facts.tenant),
        "collection": clean(facts.collection),
        "label": clean(facts.label),
        "sensitivity": int(facts.sensitivity),
        "mode": facts.acl.mode.value,
        "allow": sorted(clean(principal) for principal in facts.acl.allow),
        "deny": sorted(clean(principal) for principal in facts.acl.deny),
        "acl_version": int(facts.acl_version),
        "language": clean(facts.language),
        "updated_at": facts.updated_at.astimezone(UTC).isoformat(),
    }
    return json.dumps(fields, ensure_ascii=False)


def decode_facts(document_id: str, stored: str) -> AccessFacts | None:
    """Read stored facts; `None` when any of them is missing or malformed: absence never means permission."""
    try:
        fields = json.loads(stored)
        acl = Acl(AclMode(fields["mode"]), _principals(fields["allow"]), _principals(fields["deny"]))
        updated_at = datetime.fromisoformat(fields["updated_at"])
        texts = fields["tenant"], fields["collection"], fields["label"], fields["language"]
        numbers = fields["sensitivity"], fields["acl_version"]
    except (ValueError, KeyError, TypeError):
        return None
    if set(map(type, texts)) != {str} or set(map(type, numbers)) != {int} or not texts[0] or updated_at.tzinfo is None:
        return None
    if not 0 <= numbers[0] <= _HIGHEST_RANK:
        return None
    tenant, collection, label, language = texts
    return AccessFacts(TenantId(tenant), DocumentId(document_id), collection, label, numbers[0], acl, numbers[1], language, updated_at)


def _principals(names: object) -> frozenset[Principal]:
    """Refuse anything but a list of texts; a single odd entry spoils the list, for it may have been a deny."""
    if type(names) is not list or not set(map(type, names)) <= {str} or "" in names:
        message = "principals must be a list of names"
        raise TypeError(message)
    return frozenset(map(Principal, names))
