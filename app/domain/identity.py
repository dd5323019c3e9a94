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
    """A verified caller. `principals` is the closed set: the subject itself, its groups (nested ones resolved) and its roles."""

    tenant: TenantId
    subject_id: SubjectId
    display_name: str
    groups: tuple[str, ...]
    roles: tuple[str, ...]
    clearance: int
    purposes: frozenset[str]
    principals: frozenset[Principal]
    purpose: str = NO_PURPOSE
