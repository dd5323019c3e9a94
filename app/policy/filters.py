"""Compiles rules to a `ReadFilter` for one subject: the only place that makes one. Shares no code with the referee."""

from collections.abc import Iterable, Sequence

from app.domain.access import ANY, Action, ActionRule, Conditions, Nothing, ReadFilter, Scope, WholeTenant
from app.domain.identity import Principal, Subject, TenantId
from app.policy.bundle import Bundle, Effect, Rule


def compile_filter(bundle: Bundle, subject: Subject, principals: frozenset[Principal], actions: Sequence[Action]) -> ReadFilter:
    """Documents on which `subject` may do every one of `actions`. `principals` is the subject's closed set."""
    rules = []
    for action in actions:
        mine = [rule for rule in bundle.rules if rule.action is action and _concerns(rule, subject, principals)]
        allowed = _scopes(rule for rule in mine if rule.effect is Effect.ALLOW)
        denied = _scopes(rule for rule in mine if rule.effect is Effect.DENY)
        if not allowed or Scope(ANY, ANY) in denied:
            return Nothing(subject.tenant)
        rules.append(ActionRule(action, allowed, denied))
    if not rules:
        return Nothing(subject.tenant)
    return Conditions(subject.tenant, subject.clearance, principals, tuple(rules))


def whole_tenant(tenant: TenantId) -> WholeTenant:
    """For the gateway's own housekeeping over a tenant (index verification, counts of pending vectors); never for a person."""
    return WholeTenant(tenant)


def _concerns(rule: Rule, subject: Subject, principals: frozenset[Principal]) -> bool:
    return rule.tenant == subject.tenant and rule.subject in principals and rule.purpose in {ANY, subject.purpose}


def _scopes(rules: Iterable[Rule]) -> tuple[Scope, ...]:
    return tuple(sorted({Scope(rule.collection, rule.label) for rule in rules}, key=lambda scope: (scope.collection, scope.label)))
