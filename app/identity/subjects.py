"""Builds the `Subject` from verified claims. Unknown or missing claims give less access, never more."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from app.domain.identity import NO_PURPOSE, Principal, Subject, SubjectId, TenantId
from app.domain.labels import RANKS
from app.errors import AccessDeniedError, NotAuthenticatedError

_MAX_NAMES = 1_000
_MAX_PRINCIPAL_BYTES = 512


@dataclass(frozen=True, slots=True)
class ClaimNames:
    """Where the issuer puts what, as claim names."""

    groups: str = "groups"
    roles: str = "roles"
    clearance: str = "clearance"
    purposes: str = "purposes"
    name: str = "preferred_username"


def subject_from_claims(claims: Mapping[str, Any], tenant: TenantId, names: ClaimNames) -> Subject:
    """The caller, with the tenant that the issuer is configured for. Raises NotAuthenticatedError when groups or roles are unusable."""
    groups, roles = _names(claims, names.groups), _names(claims, names.roles)
    subject_id = SubjectId(f"{claims['iss']}|{claims['sub']}")
    principals = {Principal(f"user:{subject_id}")}
    principals |= {Principal(f"group:{tenant}|{group}") for group in groups}
    principals |= {Principal(f"role:{tenant}|{role}") for role in roles}
    clearance = claims.get(names.clearance)
    name = claims.get(names.name)
    return Subject(
        tenant=tenant,
        subject_id=subject_id,
        display_name=name if isinstance(name, str) and name else str(claims["sub"]),
        groups=groups,
        roles=roles,
        clearance=RANKS.get(clearance, 0) if isinstance(clearance, str) else 0,
        purposes=frozenset(_names(claims, names.purposes)),
        principals=frozenset(principals),
    )


def with_purpose(subject: Subject, purpose: str | None) -> Subject:
    """The subject acting for a declared purpose. Raises AccessDeniedError when it is not one of theirs."""
    if purpose is None or purpose == NO_PURPOSE:
        return replace(subject, purpose=NO_PURPOSE)
    if purpose not in subject.purposes:
        message = "This purpose is not one assigned to you."
        raise AccessDeniedError(message)
    return replace(subject, purpose=purpose)


def _names(claims: Mapping[str, Any], claim: str) -> tuple[str, ...]:
    values = claims.get(claim, [])
    if isinstance(values, str):
        values = values.split()
    is_usable = isinstance(values, list) and len(values) <= _MAX_NAMES
    if not is_usable or not all(isinstance(one, str) and one and len(one.encode()) <= _MAX_PRINCIPAL_BYTES for one in values):
        reason = f"claim_unusable: {claim}"
        raise NotAuthenticatedError(reason)
    return tuple(dict.fromkeys(values))
