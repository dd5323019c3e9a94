"""Filter and referee say the same in both directions, and the comparison would notice if they did not."""

import os
import random
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from app.domain.access import ANY, Acl, AclMode, Action, ActionRule, Conditions, Nothing, ReadFilter, Resource, Scope
from app.domain.identity import Principal
from app.policy.explanation import filter_matches
from app.policy.filters import compile_filter
from app.policy.snapshot import Snapshot
from tests.policy.generator import Drawn, draw

CASES = int(os.environ.get("PORTCULLIS_TEST_CASES", "1000"))


def _spec(drawn: Drawn, resource: Resource) -> bool:
    """The rules as their prose says them, written without the compiler and without Casbin."""
    subject, bundle = drawn.subject, drawn.bundle
    principals = set(subject.principals)
    while True:
        above = {parent for one in principals for parent in bundle.parents.get(one, ())}
        if above <= principals:
            break
        principals |= above
    if subject.tenant != resource.tenant or subject.clearance < resource.sensitivity or resource.acl.deny & principals:
        return False
    if resource.acl.mode is AclMode.EXPLICIT and not resource.acl.allow & principals:
        return False
    for action in drawn.actions:
        effects = {
            rule.effect.value
            for rule in bundle.rules
            if rule.action is action
            and rule.tenant == subject.tenant
            and rule.subject in principals
            and rule.purpose in (ANY, subject.purpose)
            and rule.collection in (ANY, resource.collection)
            and (rule.label == ANY or rule.label in resource.labels)
        }
        if effects != {"allow"}:
            return False
    return True


def test_filter_referee_and_the_prose_agree_on_every_document() -> None:
    seed = random.SystemRandom().randrange(2**32) if "CI" not in os.environ else 20261125
    sys.stdout.write(f"seed {seed}\n")
    rng = random.Random(seed)
    permitted = total = 0
    for _ in range(CASES):
        drawn = draw(rng)
        snapshot = Snapshot(drawn.bundle, 1)
        read_filter = snapshot.read_filter(drawn.subject, drawn.actions)
        by_filter = [filter_matches(read_filter, one) for one in drawn.resources]
        by_referee = snapshot.permits_all(drawn.subject, drawn.actions, drawn.resources)
        by_prose = [_spec(drawn, one) for one in drawn.resources]
        assert by_filter == by_referee == by_prose, f"seed {seed}: {drawn}"
        permitted += sum(by_filter)
        total += len(by_filter)
    assert 0.10 <= permitted / total <= 0.5, "a generator that permits too little or too much sees no bugs"


def _widen(read_filter: ReadFilter, change: Callable[[ActionRule], ActionRule]) -> ReadFilter:
    if not isinstance(read_filter, Conditions):
        return read_filter
    return replace(read_filter, rules=tuple(change(rule) for rule in read_filter.rules))


def _cross(scopes: tuple[Scope, ...]) -> tuple[Scope, ...]:
    return tuple(Scope(one.collection, other.label) for one in scopes for other in scopes)


def _conditions(change: Callable[[Conditions], Conditions]) -> Callable[[ReadFilter], ReadFilter]:
    return lambda read_filter: change(read_filter) if isinstance(read_filter, Conditions) else read_filter


TWINS = {Principal("user:i|a"): Principal("user:i|A"), Principal("user:i|A"): Principal("user:i|a")}
MUTANTS: dict[str, Callable[[ReadFilter], ReadFilter]] = {
    "denies are dropped": lambda f: _widen(f, lambda rule: replace(rule, denied=())),
    "denies with a label are dropped": lambda f: _widen(
        f, lambda rule: replace(rule, denied=tuple(s for s in rule.denied if s.label == ANY))
    ),
    "an allow for everything skips the denies": lambda f: _widen(f, lambda r: replace(r, denied=()) if Scope(ANY, ANY) in r.allowed else r),
    "pairs become a cross product": lambda f: _widen(f, lambda rule: replace(rule, allowed=_cross(rule.allowed))),
    "deny pairs become a cross product": lambda f: _widen(f, lambda rule: replace(rule, denied=_cross(rule.denied))),
    "labels of allows are ignored": lambda f: _widen(f, lambda r: replace(r, allowed=tuple(Scope(s.collection, ANY) for s in r.allowed))),
    "collections of allows are ignored": lambda f: _widen(f, lambda r: replace(r, allowed=tuple(Scope(ANY, s.label) for s in r.allowed))),
    "one rank too much clearance": _conditions(lambda f: replace(f, clearance=f.clearance + 1)),
    "one rank too little clearance": _conditions(lambda f: replace(f, clearance=f.clearance - 1)),
    "only the first action counts": _conditions(lambda f: replace(f, rules=f.rules[:1])),
    "names fold their case": _conditions(lambda f: replace(f, principals=f.principals | {TWINS[p] for p in f.principals if p in TWINS})),
    "groups above are lost": _conditions(lambda f: replace(f, principals=f.principals - {p for p in f.principals if "nested" in p})),
    "another tenant": _conditions(lambda f: replace(f, tenant="t2")),
    "nothing is everything": lambda f: (
        Conditions(f.tenant, 3, frozenset(), (ActionRule(Action.READ, (Scope(ANY, ANY),), ()),)) if isinstance(f, Nothing) else f
    ),
}
ACL_MUTANTS: dict[str, Callable[[Resource], Resource]] = {
    "deny principals are ignored": lambda one: replace(one, acl=replace(one.acl, deny=frozenset())),
    "allow lists are ignored": lambda one: replace(one, acl=replace(one.acl, mode=AclMode.INHERIT)),
    "an inheriting document needs an allow": lambda one: replace(one, acl=Acl(AclMode.EXPLICIT, one.acl.allow, one.acl.deny)),
    "a missing rank is open": lambda one: replace(one, sensitivity=0),
}


@pytest.mark.parametrize("name", [*MUTANTS, *ACL_MUTANTS])
def test_the_comparison_would_notice_a_compiler_in_which(name: str) -> None:
    """A comparison that cannot fail proves nothing: each broken compiler must differ from the referee within the same number of cases."""
    rng = random.Random(7)
    for _ in range(CASES):
        drawn = draw(rng)
        snapshot = Snapshot(drawn.bundle, 1)
        read_filter = compile_filter(drawn.bundle, drawn.subject, snapshot.closure(drawn.subject), drawn.actions)
        broken = MUTANTS.get(name, lambda f: f)(read_filter)
        seen = [ACL_MUTANTS.get(name, lambda r: r)(one) for one in drawn.resources]
        if [filter_matches(broken, one) for one in seen] != snapshot.permits_all(drawn.subject, drawn.actions, drawn.resources):
            return
    pytest.fail(f"not noticed within {CASES} cases: {name}")


def test_more_allows_never_take_away_and_more_denies_never_give() -> None:
    rng = random.Random(11)
    for _ in range(300):
        drawn = draw(rng)
        extra = draw(rng).bundle.rules[0]
        wider = replace(drawn.bundle, rules=(*drawn.bundle.rules, extra))
        before = Snapshot(drawn.bundle, 1).permits_all(drawn.subject, drawn.actions, drawn.resources)
        after = Snapshot(wider, 1).permits_all(drawn.subject, drawn.actions, drawn.resources)
        pairs = list(zip(before, after, strict=True))
        assert all(now or not was for was, now in pairs) if extra.effect.value == "allow" else all(was or not now for was, now in pairs)


def test_the_order_of_rules_does_not_matter() -> None:
    rng = random.Random(13)
    for _ in range(200):
        drawn = draw(rng)
        shuffled = list(drawn.bundle.rules)
        rng.shuffle(shuffled)
        before = Snapshot(drawn.bundle, 1).permits_all(drawn.subject, drawn.actions, drawn.resources)
        assert before == Snapshot(replace(drawn.bundle, rules=tuple(shuffled)), 1).permits_all(
            drawn.subject, drawn.actions, drawn.resources
        )


def test_groups_sixty_deep_and_in_circles_are_closed_exactly() -> None:
    """Casbin's own role graph follows nine edges at most, so a deny ten groups up was lost."""
    drawn = draw(random.Random(1))
    names = [f"group:t1|deep{n}" for n in range(60)]
    chain = {a: frozenset({b}) for a, b in zip(names, [*names[1:], names[0]], strict=True)}
    bundle = replace(drawn.bundle, parents=chain)
    subject = replace(drawn.subject, principals=frozenset({names[0]}))
    assert Snapshot(bundle, 1).closure(subject) == frozenset(names)


def test_too_many_principals_mean_no_access_rather_than_a_lost_deny() -> None:
    drawn = draw(random.Random(1))
    subject = replace(drawn.subject, principals=frozenset(f"group:t1|g{n}" for n in range(10_001)))
    assert Snapshot(drawn.bundle, 1).closure(subject) == frozenset()
