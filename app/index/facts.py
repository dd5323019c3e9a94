"""Access facts as stored JSON and back. A row that cannot be read back whole is no facts at all, and its document is not served."""

import json
from datetime import UTC, datetime

from app.domain.access import Acl, AclMode
from app.domain.content import DocumentId
from app.domain.identity import Principal, TenantId
from app.domain.search import AccessFacts
from app.index.words import clean


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
        named = {key: fields[key] for key in ("collection", "label", "language")}
        numbers = {key: fields[key] for key in ("sensitivity", "acl_version")}
        if not all(isinstance(text, str) for text in (*named.values(), fields["tenant"])) or not fields["tenant"]:
            return None
        if not all(type(number) is int for number in numbers.values()) or updated_at.tzinfo is None:
            return None
        return AccessFacts(TenantId(fields["tenant"]), DocumentId(document_id), acl=acl, updated_at=updated_at, **named, **numbers)
    except (ValueError, KeyError, TypeError):
        return None


def _principals(names: object) -> frozenset[Principal]:
    """Refuse anything but a list of texts; a single odd entry spoils the list, for it may have been a deny."""
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        message = "principals must be a list of names"
        raise TypeError(message)
    return frozenset(Principal(name) for name in names)
