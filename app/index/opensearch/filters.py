"""A `ReadFilter` and the caller's limits as OpenSearch clauses: the same meaning as `app/index/access_table.py`, clause by clause.

Every clause narrows and is a positive one where absence could open something. Scopes stay pairs: a (collection, label) pair is one term.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, assert_never

from app.domain.access import ANY, AclMode, ActionRule, Conditions, Nothing, ReadFilter, Scope, WholeTenant
from app.domain.identity import TenantId
from app.domain.search import SearchLimits, Visibility
from app.index.words import clean, language_code

Clause = dict[str, Any]

NOBODY: Clause = {"match_none": {}}
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MOST_TERMS = 65_000
"""Values of one `terms` clause; the server's limit is 65,536."""


def granted(read_filter: ReadFilter, limits: SearchLimits) -> Clause:
    """Clause that matches the chunks a filter grants within the limits, and none when in doubt."""
    barred: list[Clause] = []
    match read_filter:
        case Nothing():
            return NOBODY
        case WholeTenant():
            clauses = of_tenant(read_filter.tenant)
        case Conditions():
            clauses, barred = _under(read_filter)
        case _:
            assert_never(read_filter)
    query: Clause = {"filter": [*clauses, *_within(limits)]}
    if barred:
        query["must_not"] = barred
    return {"bool": query}


def of_tenant(tenant: TenantId) -> list[Clause]:
    """Clauses that match every live chunk of a tenant."""
    return [{"term": {"live": True}}, {"term": {"tenant": clean(tenant)}}]


def pair_key(collection: str, label: str) -> str:
    """The two names as one term that no other two names make."""
    return json.dumps([clean(collection), clean(label)], ensure_ascii=False)


def shown_types(visible: Visibility) -> Mapping[str, tuple[str, ...]]:
    """Entity type to the pairs, as terms, in which this viewer sees it."""
    pairs: dict[str, list[str]] = {}
    for (collection, label), kinds in visible.items():
        for kind in kinds:
            pairs.setdefault(clean(kind), []).append(pair_key(collection, label))
    return {kind: tuple(sorted(keys)) for kind, keys in sorted(pairs.items())}


def any_of(name: str, values: Iterable[str]) -> list[Clause]:
    """Clauses that match documents with any of the values, in as many as the server's limit asks for."""
    wanted = sorted(set(values))
    return [{"terms": {name: wanted[start : start + _MOST_TERMS]}} for start in range(0, len(wanted), _MOST_TERMS)]


def one_of(clauses: Sequence[Clause]) -> Clause:
    """Clause that matches when one of the clauses does; none given, it matches nothing."""
    if not clauses:
        return NOBODY
    return clauses[0] if len(clauses) == 1 else {"bool": {"should": list(clauses), "minimum_should_match": 1}}


def microseconds(moment: datetime) -> int:
    """A moment as a whole number, exactly."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _under(conditions: Conditions) -> tuple[list[Clause], list[Clause]]:
    principals = [clean(principal) for principal in conditions.principals]
    named = [{"term": {"mode": AclMode.INHERIT.value}}, *any_of("allow", principals)]
    # A filter without a rule grants nothing: absence never means permission.
    rules = [_passes(rule) for rule in conditions.rules] or [NOBODY]
    clearance: Clause = {"range": {"sensitivity": {"gte": 0, "lte": conditions.clearance}}}
    return [*of_tenant(conditions.tenant), clearance, *rules, one_of(named)], any_of("deny", principals)


def _passes(rule: ActionRule) -> Clause:
    allowed = one_of(_scopes(rule.allowed))
    denied = _scopes(rule.denied)
    return {"bool": {"filter": [allowed], "must_not": denied}} if denied else allowed


def _scopes(scopes: Sequence[Scope]) -> list[Clause]:
    """Clauses that match chunks inside any scope."""
    if any(scope.collection == ANY and scope.label == ANY for scope in scopes):
        return [{"match_all": {}}]
    return [
        *any_of("collection", (clean(scope.collection) for scope in scopes if scope.label == ANY)),
        *any_of("label", (clean(scope.label) for scope in scopes if scope.collection == ANY)),
        *any_of("pair", (pair_key(scope.collection, scope.label) for scope in scopes if ANY not in (scope.collection, scope.label))),
    ]


def _within(limits: SearchLimits) -> list[Clause]:
    languages = [language_code(name) or clean(name) for name in limits.languages]
    texts = (("collection", limits.collections), ("label", limits.labels), ("language", languages))
    clauses = [one_of(any_of(name, map(clean, wanted))) for name, wanted in texts if wanted]
    if limits.updated_after is not None:
        clauses.append({"range": {"updated_at": {"gt": microseconds(limits.updated_after)}}})
    return clauses
