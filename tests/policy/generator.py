"""Random policies, subjects and documents, biased towards matches: a naive generator permits under one percent and sees nothing."""

import random
from dataclasses import dataclass

from app.domain.access import ANY, Acl, AclMode, Action, Resource
from app.domain.identity import Principal, Subject, SubjectId, TenantId
from app.policy.bundle import MODEL, REDACTION, Bundle, Effect, Rule
from tests.conftest import ROOT

TENANTS = ("t1", "t2")
COLLECTIONS = ("hr", "eng", "fin")
LABELS = {"public": 0, "internal": 1, "confidential": 2, "secret": 3}
ACTIONS = (Action.SEARCH, Action.READ, Action.GENERATE)
PURPOSES = ("support", "audit")
PRINCIPALS = tuple(Principal(name) for name in ("user:i|a", "user:i|A", "group:t1|g1", "group:t1|g2", "group:t1|nested", "role:t1|r1"))
PARENTS = {
    Principal("group:t1|g1"): frozenset({Principal("group:t1|nested")}),
    Principal("group:t1|nested"): frozenset({Principal("group:t1|g1")}),
}
MODEL_TEXT = (ROOT / "policies/model.conf").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Drawn:
    """One case: a policy, somebody who asks for something, and documents."""

    bundle: Bundle
    subject: Subject
    actions: tuple[Action, ...]
    resources: tuple[Resource, ...]


def draw(rng: random.Random, n_documents: int = 12) -> Drawn:
    """One random case."""
    rules = tuple(_rule(rng, line) for line in range(2, rng.randrange(8, 26)))
    subject = Subject(
        tenant=TenantId(rng.choices(TENANTS, (8, 1))[0]),
        subject_id=SubjectId("i|a"),
        display_name="a",
        groups=(),
        roles=(),
        clearance=rng.choices((0, 1, 2, 3), (1, 1, 2, 6))[0],
        purposes=frozenset(PURPOSES),
        principals=frozenset(rng.sample(PRINCIPALS, rng.randrange(2, 6))),
        purpose=rng.choice(("none", *PURPOSES)),
    )
    bundle = Bundle("sha256:drawn", {MODEL: MODEL_TEXT, REDACTION: ""}, rules, LABELS, PARENTS)
    actions = tuple(rng.sample(ACTIONS, rng.choice((1, 1, 2))))
    return Drawn(bundle, subject, actions, tuple(_resource(rng) for _ in range(n_documents)))


def _rule(rng: random.Random, line: int) -> Rule:
    return Rule(
        subject=rng.choice(PRINCIPALS),
        tenant=TenantId(rng.choices(TENANTS, (8, 1))[0]),
        collection=rng.choice((ANY, ANY, *COLLECTIONS)),
        label=rng.choice((ANY, ANY, ANY, *LABELS)),
        action=rng.choice(ACTIONS),
        purpose=rng.choice((ANY, ANY, ANY, "none", *PURPOSES)),
        effect=Effect.ALLOW if rng.random() < 0.85 else Effect.DENY,
        why="drawn",
        line=line,
    )


def _resource(rng: random.Random) -> Resource:
    label = rng.choice(tuple(LABELS))
    mode = AclMode.INHERIT if rng.random() < 0.65 else AclMode.EXPLICIT
    allow = frozenset(rng.sample(PRINCIPALS, rng.randrange(0, 4)))
    deny = frozenset(rng.sample(PRINCIPALS, 1)) if rng.random() < 0.1 else frozenset()
    tenant = TenantId(rng.choices(TENANTS, (8, 1))[0])
    return Resource(tenant, rng.choice(COLLECTIONS), frozenset({label}), LABELS[label], Acl(mode, allow, deny))
