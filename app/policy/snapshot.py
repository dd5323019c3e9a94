"""One frozen version of policy: rules, referee, closure of principals. Swapped whole by reference, never changed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import MappingProxyType

from uuid_utils import uuid7

from app.domain.access import Acl, AclMode, Action, Decision, DecisionId, Nothing, Outcome, ReadFilter, Resource
from app.domain.identity import Principal, Subject, TenantId
from app.policy.bundle import REDACTION, Bundle
from app.policy.filters import compile_filter
from app.policy.referee import Referee

MAX_PRINCIPALS = 10_000
_PEOPLE_KEPT = 2_000
"""Closures, filters and rights are worked out once a person (by everything their token says) and policy; so many are kept."""
GATEWAY = "gateway"
"""The collection name under which rights over the gateway itself (audit.read, policy.write, …) are asked; rules say `*` or this."""


def gateway_resource(tenant: TenantId) -> Resource:
    """What rights that are not about a document are asked of."""
    return Resource(tenant, GATEWAY, frozenset({"public"}), 0, Acl(AclMode.INHERIT))


@dataclass(frozen=True)
class Snapshot:
    """Decides. Pure: no I/O, same answer for the same question for as long as the snapshot lives."""

    bundle: Bundle
    epoch: int

    @cached_property
    def _referee(self) -> Referee:
        return Referee(self.bundle)

    @property
    def digest(self) -> str:
        """Name of the rules in force."""
        return self.bundle.digest

    @property
    def redaction_text(self) -> str:
        """`redaction.yaml` of the bundle, for the privacy room."""
        return self.bundle.files[REDACTION]

    def closure(self, subject: Subject) -> frozenset[Principal]:
        """The subject's principals with every group above them, any depth, cycles harmless.

        A set beyond the cap is cut to nothing: a missing group could lose a deny, so too many means no access.
        """
        return self._closed(subject.principals)

    def read_filter(self, subject: Subject, actions: Sequence[Action]) -> ReadFilter:
        """Which documents `subject` may do all of `actions` on, for the index."""
        return self._filtered(subject, tuple(actions))

    def decide(self, subject: Subject, action: Action, resource: Resource) -> Decision:
        """One decision, with the reason's code for the record (never shown to a caller without `debug.explain`)."""
        principals = self.closure(subject)
        permitted = self._referee.permits(subject, principals, action, resource)
        reason = "permitted" if permitted else _reason(subject, principals, resource)
        return self._decision(Outcome.ALLOW if permitted else Outcome.DENY, reason)

    def permits_all(self, subject: Subject, actions: Sequence[Action], resources: Sequence[Resource]) -> list[bool]:
        """For each resource whether every action is permitted."""
        principals = self.closure(subject)
        return [all(self._referee.permits(subject, principals, action, one) for action in actions) for one in resources]

    def search_decision(self, read_filter: ReadFilter) -> Decision:
        """The decision on a search as a whole: denied only when nothing at all could be searched."""
        is_open = not isinstance(read_filter, Nothing)
        return self._decision(Outcome.ALLOW if is_open else Outcome.DENY, "filtered" if is_open else "nothing_granted")

    def pii_readers(self, subject: Subject, pairs: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], bool]:
        """For each (collection, label) whether the subject may see personal data unhidden there."""
        return self._read_pii(subject, tuple(pairs))

    @cached_property
    def _closed(self) -> Callable[[frozenset[Principal]], frozenset[Principal]]:
        return lru_cache(maxsize=_PEOPLE_KEPT)(self._close)

    @cached_property
    def _filtered(self) -> Callable[[Subject, tuple[Action, ...]], ReadFilter]:
        return lru_cache(maxsize=_PEOPLE_KEPT)(self._compile)

    @cached_property
    def _read_pii(self) -> Callable[[Subject, tuple[tuple[str, str], ...]], Mapping[tuple[str, str], bool]]:
        return lru_cache(maxsize=_PEOPLE_KEPT)(self._judge_pii)

    def _close(self, principals: frozenset[Principal]) -> frozenset[Principal]:
        closed: set[Principal] = set()
        waiting = list(principals)
        while waiting:
            principal = waiting.pop()
            if principal not in closed:
                closed.add(principal)
                waiting.extend(self.bundle.parents.get(principal, ()))
        return frozenset(closed) if len(closed) <= MAX_PRINCIPALS else frozenset()

    def _compile(self, subject: Subject, actions: tuple[Action, ...]) -> ReadFilter:
        return compile_filter(self.bundle, subject, self.closure(subject), actions)

    def _judge_pii(self, subject: Subject, pairs: tuple[tuple[str, str], ...]) -> Mapping[tuple[str, str], bool]:
        principals = self.closure(subject)
        result = {}
        for collection, label in pairs:
            rank = self.bundle.rank(label)
            inherited = Resource(subject.tenant, collection, frozenset({label}), rank or 0, Acl(AclMode.INHERIT))
            result[collection, label] = rank is not None and self._referee.permits(subject, principals, Action.READ_PII, inherited)
        return MappingProxyType(result)

    def _decision(self, outcome: Outcome, reason: str) -> Decision:
        return Decision(DecisionId(f"dec_{uuid7()}"), outcome, reason, self.digest, self.epoch)


def _reason(subject: Subject, principals: frozenset[Principal], resource: Resource) -> str:
    if subject.tenant != resource.tenant:
        return "other_tenant"
    if subject.clearance < resource.sensitivity:
        return "clearance"
    if resource.acl.deny & principals:
        return "acl_denied"
    if resource.acl.mode is AclMode.EXPLICIT and not resource.acl.allow & principals:
        return "acl_not_listed"
    return "no_rule"
