"""Case tables: rows of (subject, action, resource, expected, why) that a policy must pass before it may be activated."""

from dataclasses import dataclass
from typing import Any

from app.domain.access import Acl, AclMode, Action, Outcome, Resource
from app.domain.identity import NO_PURPOSE, Principal, Subject, SubjectId, TenantId
from app.errors import PolicyInvalidError
from app.policy.bundle import CASES, Bundle, load_yaml
from app.policy.snapshot import Snapshot, gateway_resource


@dataclass(frozen=True, slots=True)
class Case:
    """One expectation. `place` is file and number."""

    place: str
    subject: Subject
    action: Action
    resource: Resource
    expected: Outcome
    why: str


@dataclass(frozen=True, slots=True)
class CaseFailure:
    """A case that the policy does not pass."""

    place: str
    expected: Outcome
    got: Outcome
    reason_code: str
    why: str


def read_cases(bundle: Bundle) -> list[Case]:
    """Every case in `cases/*.yaml`. Each file has `tenant`, `subjects` and `cases`. Raises PolicyInvalidError naming file and case."""
    cases: list[Case] = []
    for name in sorted(name for name in bundle.files if name.startswith(CASES)):
        content = load_yaml(name, bundle.files[name])
        for number, row in enumerate(_part(name, content, "cases"), 1):
            place = f"{name} case {number}"
            try:
                cases.append(_case(bundle, content, row, place))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                message = f"{place}: {error!s} is missing or not understood"
                raise PolicyInvalidError(message) from error
    return cases


def run_cases(snapshot: Snapshot, cases: list[Case]) -> list[CaseFailure]:
    """Cases that come out otherwise than expected."""
    failures = []
    for case in cases:
        decision = snapshot.decide(case.subject, case.action, case.resource)
        if decision.outcome is not case.expected:
            failures.append(CaseFailure(case.place, case.expected, decision.outcome, decision.reason_code, case.why))
    return failures


def _part(name: str, content: Any, key: str) -> list[Any]:  # noqa: ANN401 - YAML
    if not isinstance(content, dict) or not isinstance(content.get(key), list):
        message = f"{name}: expected a list `{key}`"
        raise PolicyInvalidError(message)
    return list(content[key])


def _case(bundle: Bundle, content: dict[str, Any], row: dict[str, Any], place: str) -> Case:
    tenant = TenantId(content["tenant"])
    return Case(
        place,
        _subject(bundle, tenant, row["subject"], content["subjects"][row["subject"]], str(row.get("purpose", NO_PURPOSE))),
        Action(row["action"]),
        _resource(bundle, tenant, row.get("resource")),
        Outcome(row["expected"]),
        str(row["why"]),
    )


def _subject(bundle: Bundle, tenant: TenantId, name: str, facts: dict[str, Any], purpose: str) -> Subject:
    groups, roles = tuple(facts.get("groups", ())), tuple(facts.get("roles", ()))
    principals = {Principal(f"user:case|{name}")}
    principals |= {Principal(f"group:{tenant}|{group}") for group in groups} | {Principal(f"role:{tenant}|{role}") for role in roles}
    return Subject(
        tenant=tenant,
        subject_id=SubjectId(f"case|{name}"),
        display_name=name,
        groups=groups,
        roles=roles,
        clearance=bundle.labels[facts["clearance"]],
        purposes=frozenset(facts.get("purposes", ())),
        principals=frozenset(principals),
        purpose=purpose,
    )


def _resource(bundle: Bundle, tenant: TenantId, facts: dict[str, Any] | None) -> Resource:
    if facts is None:
        return gateway_resource(tenant)
    label = facts["label"]
    acl = facts.get("acl", {})
    allow, deny = (frozenset(Principal(name) for name in acl.get(side, ())) for side in ("allow", "deny"))
    return Resource(
        TenantId(facts.get("tenant", tenant)),
        facts["collection"],
        frozenset({label}),
        bundle.labels[label],
        Acl(AclMode(acl.get("mode", AclMode.INHERIT)), allow, deny),
    )
