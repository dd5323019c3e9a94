"""Takes one decision apart: each step with what went in, which rule spoke and what came out."""

from dataclasses import dataclass

from app.domain.access import ANY, AclMode, Action, Conditions, Nothing, Outcome, ReadFilter, Resource, Scope
from app.domain.identity import Subject
from app.policy.bundle import Effect, Rule
from app.policy.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `rule` is `rules.csv line N` when a row spoke."""

    step: str
    input: str
    outcome: str
    why: str
    rule: str | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """A verdict with its steps; `referee_agrees` compares the compiled filter with Casbin."""

    verdict: Outcome
    steps: tuple[Step, ...]
    filter_matches: bool
    referee_agrees: bool


def explain(snapshot: Snapshot, subject: Subject, action: Action, resource: Resource) -> Explanation:
    """Explain `action` on `resource`. The verdict is the referee's."""
    decision = snapshot.decide(subject, action, resource)
    matches = filter_matches(snapshot.read_filter(subject, (action,)), resource)
    steps = (*_gate_steps(snapshot, subject, resource), *_rule_steps(snapshot, subject, action, resource))
    return Explanation(decision.outcome, steps, matches, matches is (decision.outcome is Outcome.ALLOW))


def filter_matches(read_filter: ReadFilter, resource: Resource) -> bool:
    """Whether the compiled filter grants `resource`, in plain Python: the oracle the engines are tested against."""
    if isinstance(read_filter, Nothing) or read_filter.tenant != resource.tenant:
        return False
    if not isinstance(read_filter, Conditions):
        return True
    acl, principals = resource.acl, read_filter.principals
    if read_filter.clearance < resource.sensitivity or acl.deny & principals:
        return False
    if acl.mode is AclMode.EXPLICIT and not acl.allow & principals:
        return False
    return all(
        any(_covers(scope, resource) for scope in rule.allowed) and not any(_covers(scope, resource) for scope in rule.denied)
        for rule in read_filter.rules
    )


def _covers(scope: Scope, resource: Resource) -> bool:
    return scope.collection in {ANY, resource.collection} and (scope.label == ANY or scope.label in resource.labels)


def _gate_steps(snapshot: Snapshot, subject: Subject, resource: Resource) -> list[Step]:
    principals = snapshot.closure(subject)
    same, cleared = subject.tenant == resource.tenant, subject.clearance >= resource.sensitivity
    denied = resource.acl.deny & principals
    listed = resource.acl.mode is AclMode.INHERIT or bool(resource.acl.allow & principals)
    label = ", ".join(sorted(resource.labels))
    return [
        Step(
            "tenant",
            subject.tenant,
            _word(same),
            "Subject and document belong to the same tenant." if same else "Another tenant's document.",
        ),
        Step(
            "clearance",
            f"{subject.clearance} for {label} ({resource.sensitivity})",
            _word(cleared),
            "Clearance is mandatory; no rule lifts it.",
        ),
        Step("acl_deny", f"{len(denied)} of the subject's principals", _word(not denied), "A principal named as denied beats every grant."),
        Step("acl_allow", resource.acl.mode.value, _word(listed), "An explicit ACL needs a principal of the subject among its readers."),
    ]


def _rule_steps(snapshot: Snapshot, subject: Subject, action: Action, resource: Resource) -> list[Step]:
    principals = snapshot.closure(subject)
    spoken = [
        rule
        for rule in snapshot.bundle.rules
        if rule.action is action
        and rule.tenant == subject.tenant
        and rule.subject in principals
        and rule.purpose in {ANY, subject.purpose}
        and _covers(Scope(rule.collection, rule.label), resource)
    ]
    if not spoken:
        return [Step("rules", f"{action.value} for purpose {subject.purpose}", "deny", "No rule grants it.")]
    return [_rule_step(rule) for rule in sorted(spoken, key=lambda rule: (rule.effect is Effect.ALLOW, rule.line))]


def _rule_step(rule: Rule) -> Step:
    return Step("rules", rule.subject, rule.effect.value, rule.why, f"rules.csv line {rule.line}")


def _word(holds: object) -> str:
    return "pass" if holds else "deny"
