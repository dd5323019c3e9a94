"""Questions put to policy and its answers: resources, actions, decisions and the compiled `ReadFilter`.

Only `policy/filters.py` makes a `ReadFilter`. The index cannot be called without one, and there is no value of it that
means "not filtered by mistake": it is a tenant as a whole, nothing, or conditions.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NewType, Self

from app.domain.identity import Principal, TenantId

DecisionId = NewType("DecisionId", str)
ANY = "*"


class Action(StrEnum):
    """What may be done to a resource. None implies another."""

    SEARCH = "search"
    READ = "read"
    READ_PII = "read_pii"
    GENERATE = "generate"
    GENERATE_EXTERNAL = "generate.external"
    EXPORT = "export"
    INGEST = "ingest"
    DELETE = "delete"
    ACL_WRITE = "acl.write"
    COLLECTION_WRITE = "collection.write"
    HISTORY_READ = "history.read"
    PRIVACY_ANALYZE = "privacy.analyze"
    AUDIT_READ = "audit.read"
    POLICY_READ = "policy.read"
    POLICY_WRITE = "policy.write"
    POLICY_APPROVE = "policy.approve"
    DEBUG_EXPLAIN = "debug.explain"


READING = frozenset({Action.SEARCH, Action.READ, Action.READ_PII, Action.GENERATE, Action.GENERATE_EXTERNAL, Action.EXPORT})
"""What lets somebody have text."""


class AclMode(StrEnum):
    """`inherit`: the collection's rows decide. `explicit`: an allow principal of the document is needed as well."""

    INHERIT = "inherit"
    EXPLICIT = "explicit"


class Outcome(StrEnum):
    """The verdict of a decision."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Acl:
    """Principals named on one document. `deny` beats everything."""

    mode: AclMode
    allow: frozenset[Principal] = frozenset()
    deny: frozenset[Principal] = frozenset()

    @classmethod
    def inherited(cls) -> Self:
        """Nobody named: the collection's rules decide alone."""
        return cls(AclMode.INHERIT)


def acl_to_json(acl: Acl) -> dict[str, Any]:
    """JSON form of an ACL."""
    return {"mode": acl.mode.value, "allow": sorted(acl.allow), "deny": sorted(acl.deny)}


def acl_from_json(value: dict[str, Any]) -> Acl:
    """The inverse of `acl_to_json`."""
    allow, deny = (frozenset(Principal(name) for name in value[side]) for side in ("allow", "deny"))
    return Acl(AclMode(value["mode"]), allow, deny)


UNKNOWN_RANK = 2**31 - 1
"""That of a label which policy does not know: above every clearance."""


@dataclass(frozen=True, slots=True)
class Resource:
    """What policy is asked about. A collection as a whole has its default label and an inheriting ACL."""

    tenant: TenantId
    collection: str
    labels: frozenset[str]
    sensitivity: int
    acl: Acl


@dataclass(frozen=True, slots=True)
class Scope:
    """A (collection, label) pair of a policy row; `*` stands for any. Pairs stay pairs: never flattened to a cross product."""

    collection: str
    label: str


@dataclass(frozen=True, slots=True)
class ActionRule:
    """For one action: some `allowed` scope must match and no `denied` one may."""

    action: Action
    allowed: tuple[Scope, ...]
    denied: tuple[Scope, ...]


@dataclass(frozen=True, slots=True)
class WholeTenant:
    """Every live document of a tenant: only for the gateway's own housekeeping, never for a person."""

    tenant: TenantId


@dataclass(frozen=True, slots=True)
class Nothing:
    """No document at all; no query is sent."""

    tenant: TenantId


@dataclass(frozen=True, slots=True)
class Conditions:
    """Documents of `tenant` at or below `clearance`, inside every rule, with no deny principal, and an allow one if the ACL is explicit."""

    tenant: TenantId
    clearance: int
    principals: frozenset[Principal]
    rules: tuple[ActionRule, ...]


ReadFilter = WholeTenant | Nothing | Conditions


@dataclass(frozen=True, slots=True)
class Decision:
    """One answer of policy, on record by its id."""

    decision_id: DecisionId
    outcome: Outcome
    reason_code: str
    policy_digest: str
    policy_epoch: int
