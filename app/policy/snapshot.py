"""One frozen version of policy: rules, referee, closure of principals. Swapped whole by reference, never changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from uuid_utils import uuid7

from app.domain.access import Acl, AclMode, Action, Decision, DecisionId, Nothing, Outcome, ReadFilter, Resource
from app.domain.identity import Principal, Subject, TenantId
from app.policy.bundle import REDACTION, Bundle
from app.policy.filters import compile_filter
from app.policy.referee import Referee

MAX_PRINCIPALS = 10_000
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
        closed: set[Principal] = set()
        waiting = list(subject.principals)
        while waiting:
            principal = waiting.pop()
            if principal not in closed:
                closed.add(principal)
                waiting.extend(self.bundle.parents.get(principal, ()))
        return frozenset(closed) if len(closed) <= MAX_PRINCIPALS else frozenset()

    def read_filter(self, subject: Subject, actions: Sequence[Action]) -> ReadFilter:
        """Which documents `subject` may do all of `actions` on, for the index."""
        return compile_filter(self.bundle, subject, self.closure(subject), actions)

    def decide(self, subject: Subject, action: Action, resource: Resource) -> Decision:
        """One decision, with the reason's code for the record (never shown to a caller without `debug.explain`)."""
        principals = self.closure(subject)
        permitted = self._referee.permits(subject, principals, action, resource)
        reason = "permitted" if permitted else _reason(subject, principals, resource)
        return self._decision(Outcome.ALLOW if permitted else Outcome.DENY, reason)

    def permits_all(self, subject: Subject, actions: Sequence[Action], resources: Sequence[Resource]) -> list[bool]:
        """For each resource whether every action is permitted; equal resources are judged once."""
        principals = self.closure(subject)
        judged: dict[Resource, bool] = {}
        # An ACL matters only where it meets this subject: documents that differ elsewhere are one case to judge.
        cases = [replace(one, acl=Acl(one.acl.mode, one.acl.allow & principals, one.acl.deny & principals)) for one in resources]
        for case in cases:
            if case not in judged:
                judged[case] = all(self._referee.permits(subject, principals, action, case) for action in actions)
        return [judged[case] for case in cases]

    def search_decision(self, read_filter: ReadFilter) -> Decision:
        """The decision on a search as a whole: denied only when nothing at all could be searched."""
        is_open = not isinstance(read_filter, Nothing)
        return self._decision(Outcome.ALLOW if is_open else Outcome.DENY, "filtered" if is_open else "nothing_granted")

    def pii_readers(self, subject: Subject, pairs: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], bool]:
        """For each (collection, label) whether the subject may see personal data unhidden there."""
        principals = self.closure(subject)
        result = {}
        for collection, label in pairs:
            rank = self.bundle.rank(label)
            inherited = Resource(subject.tenant, collection, frozenset({label}), rank or 0, Acl(AclMode.INHERIT))
            result[collection, label] = rank is not None and self._referee.permits(subject, principals, Action.READ_PII, inherited)
        return result

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
