"""Casbin as the referee: decides single cases from the same rules, without sharing code with the filter compiler.

Known traps of the library are kept out by construction: no grouping policies, no adapter, no reload of a live
enforcer, a policy that is never empty, values that are never evaluated as code.

The library reads every row for every question: 50 hits under 500 rows took 270 ms of processor time. So each enforcer holds only
the rows that name its action and its collection (or any), and a question is judged once: verdicts are kept for as long as this
referee lives, which is as long as its rules are in force.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any

import casbin
from casbin.model import Model

from app.domain.access import ANY, READING, AclMode, Action, Resource
from app.domain.identity import Principal, Subject, TenantId
from app.policy.bundle import MODEL, Bundle, Rule

# Casbin logs denied requests with all their arguments at WARNING.
logging.getLogger("casbin").disabled = True
for _name in ("casbin.enforcer", "casbin.policy", "casbin.model", "casbin.role"):
    logging.getLogger(_name).disabled = True

_SENTINEL = ("user:-", "-", "-", "-", "-", "-", "deny")
"""Matches nothing and keeps the policy from being empty: an empty one allows a request of empty strings."""
_LISTED = Principal("-")
"""Stands for "one of the asker's principals" on both sides of an ACL. No rule and no token can carry it: theirs begin with a kind."""
_NOBODY: frozenset[Principal] = frozenset()
_VERDICTS_KEPT = 50_000
_PARSING = Lock()


@dataclass(frozen=True, slots=True)
class _Asker:
    dom: TenantId
    principals: frozenset[Principal]
    clearance: int
    purp: str


@dataclass(frozen=True, slots=True)
class _Asked:
    dom: TenantId
    col: str
    labels: frozenset[str]
    sens: int
    acl_mode: AclMode
    allow: frozenset[Principal]
    deny: frozenset[Principal]


def _has(subject: _Asker, principal: str) -> bool:
    return principal in subject.principals


def _lab(resource: _Asked, label: str) -> bool:
    return label in resource.labels


def _gate(subject: _Asker, tenant: str, resource: _Asked) -> bool:
    """Mandatory conditions that no rule lifts. It must not depend on the row, or it would weaken deny rows too."""
    return (
        subject.dom == tenant == resource.dom
        and subject.clearance >= resource.sens
        and not resource.deny & subject.principals
        and (resource.acl_mode is AclMode.INHERIT or bool(resource.allow & subject.principals))
    )


class _CompiledEnforcer(casbin.Enforcer):  # type: ignore[misc]  # the library ships no types
    """Reads the matcher once. Safe because the matcher is ours and rows are never part of it."""

    _compiled: Any = None

    def _get_expression(self, expr: str, functions: Any = None) -> Any:  # noqa: ANN401 - the library's own types
        if self._compiled is None:
            self._compiled = super()._get_expression("", functions)
            self._compiled.ast_parsed_value = _parsed(expr)
        return self._compiled


@lru_cache(maxsize=8)
def _parsed(matcher: str) -> Any:  # noqa: ANN401 - the library's own types
    # Python before 3.11.8 takes two parses at once for one that went wrong, and a folder is checked in a thread beside requests.
    with _PARSING:
        return casbin.Enforcer._get_expression(matcher).ast_parsed_value  # noqa: SLF001 - as the library's own evaluation does


class Referee:
    """One immutable set of rules and the verdicts they gave. Single-threaded by use: called from the event loop only."""

    def __init__(self, bundle: Bundle) -> None:
        self._model = bundle.files[MODEL]
        self._rules = bundle.rules
        self._labels = frozenset(bundle.labels)
        self._named = frozenset(rule.subject for rule in bundle.rules)
        self._collections = frozenset((rule.action, rule.collection) for rule in bundle.rules)
        self._enforcers: dict[tuple[Action, str], casbin.Enforcer] = {}
        self._judged = lru_cache(maxsize=_VERDICTS_KEPT)(self._judge)

    def permits(self, subject: Subject, principals: frozenset[Principal], action: Action, resource: Resource) -> bool:
        """Whether the rules permit it. `principals` is the subject's closed set. Anything odd is a no."""
        if not (subject.tenant and resource.tenant and resource.collection and resource.labels):
            return False
        if action in READING and not resource.labels <= self._labels:
            # Whatever rank it was given when policy knew it: rules about it are gone, and those for any label would open it.
            return False
        # What no rule and no ACL can meet is left out, so that people with the same rights ask the same question, of all collections
        # alike that no rule names for this action: only rows for any collection can match there.
        collection = resource.collection if (action, resource.collection) in self._collections else ANY
        asker = _Asker(subject.tenant, (principals & self._named) | {_LISTED}, subject.clearance, subject.purpose)
        acl = resource.acl
        allow, deny = (_NOBODY if side.isdisjoint(principals) else frozenset({_LISTED}) for side in (acl.allow, acl.deny))
        asked = _Asked(resource.tenant, collection, resource.labels, resource.sensitivity, acl.mode, allow, deny)
        return self._judged(asker, action, asked)

    def _judge(self, asker: _Asker, action: Action, asked: _Asked) -> bool:
        return self._enforcer(action, asked.col).enforce(asker, asker.dom, asked, action.value) is True

    def _enforcer(self, action: Action, collection: str) -> casbin.Enforcer:
        """The enforcer over every row that could match: the matcher wants equal actions, and equal collections or `*`."""
        key = (action, collection)
        if key not in self._enforcers:
            rows = (rule for rule in self._rules if rule.action is action and rule.collection in (ANY, collection))
            self._enforcers[key] = _enforcer(self._model, rows)
        return self._enforcers[key]


def _enforcer(model_text: str, rules: Iterable[Rule]) -> casbin.Enforcer:
    model = Model()
    model.load_model_from_text(model_text)
    enforcer = _CompiledEnforcer(model)
    for name, function in (("has", _has), ("lab", _lab), ("gate", _gate)):
        enforcer.add_function(name, function)
    # Rows go straight into the list: the text loader splits on commas inside values.
    rows = [[r.subject, r.tenant, r.collection, r.label, r.action.value, r.purpose, r.effect.value] for r in rules]
    enforcer.model.model["p"]["p"].policy = [list(_SENTINEL), *rows]
    return enforcer
