"""Who asks: the `Subject` built from a verified token. Nothing here reads a request."""

from dataclasses import dataclass
from typing import NewType

TenantId = NewType("TenantId", str)
SubjectId = NewType("SubjectId", str)
Principal = NewType("Principal", str)
"""A namespaced, immutable name that policy rows and ACLs speak of: `user:<iss>|<sub>`, `group:<tenant>|<name>`, `role:<tenant>|<name>`."""

NO_PURPOSE = "none"


@dataclass(frozen=True, slots=True)
class Subject:
    """A verified caller. `principals` are the subject itself, its groups and its roles; policy adds the groups above them."""

    tenant: TenantId
    subject_id: SubjectId
    display_name: str
    groups: tuple[str, ...]
    roles: tuple[str, ...]
    clearance: int
    purposes: frozenset[str]
    principals: frozenset[Principal]
    purpose: str = NO_PURPOSE


@dataclass(frozen=True, slots=True)
class Caller:
    """A subject within one request, as the record names it."""

    subject: Subject
    request_id: str
