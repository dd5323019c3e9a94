"""Which documents a `ReadFilter` grants: access facts as arrays, one slot a document, and their evaluation as one mask.

Every clause narrows. A slot whose facts are missing or were removed is served to nobody, the gateway's own housekeeping included.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Literal, TypeVar, assert_never

import numpy as np
from numpy.typing import NDArray

from app.domain.access import ANY, ActionRule, Conditions, Nothing, ReadFilter, Scope, WholeTenant
from app.domain.access import AclMode as Mode
from app.domain.content import DocumentId
from app.domain.identity import Principal
from app.domain.search import AccessFacts, SearchLimits
from app.index.words import language_code

Mask = NDArray[np.bool_]
Slots = NDArray[np.int32]

_Name = TypeVar("_Name", str, tuple[str, str])
_NONE = -1
_NO_SLOTS: Slots = np.zeros(0, np.int32)


@dataclass(frozen=True, slots=True)
class _Columns:
    """One entry per slot. Codes index the tables of names; `-1` stands for a slot that is not served."""

    tenant: NDArray[np.int32]
    pair: NDArray[np.int32]
    sensitivity: NDArray[np.int32]
    explicit: Mask
    language: NDArray[np.int16]
    updated_at: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AccessTable:
    """Facts of all documents at one generation. Never changed in place: `with_changes` makes the next one."""

    facts: tuple[AccessFacts | None, ...] = ()
    document_ids: tuple[DocumentId, ...] = ()
    columns: _Columns = field(default_factory=lambda: _empty_columns(0))
    tenants: Mapping[str, int] = field(default_factory=dict)
    pairs: tuple[tuple[str, str], ...] = ()
    languages: tuple[str, ...] = ()
    allow: Mapping[str, Slots] = field(default_factory=dict)
    deny: Mapping[str, Slots] = field(default_factory=dict)

    def with_changes(self, changes: Mapping[int, tuple[DocumentId, AccessFacts | None]]) -> "AccessTable":
        """Return the table after slots were set, or emptied with `None`; slots past the end are appended."""
        if not changes:
            return self
        size = max(len(self.facts), max(changes) + 1)
        facts: list[AccessFacts | None] = [*self.facts, *[None] * (size - len(self.facts))]
        document_ids = [*self.document_ids, *[DocumentId("")] * (size - len(self.document_ids))]
        old = [(slot, facts[slot]) for slot in changes]
        for slot, (document_id, item) in changes.items():
            facts[slot], document_ids[slot] = item, document_id
        new = [(slot, facts[slot]) for slot in changes]
        names = _Names(dict(self.tenants), _codes(self.pairs), _codes(self.languages))
        columns = _filled(_grown(self.columns, size), new, names)
        changed = np.zeros(size, np.bool_)
        changed[list(changes)] = True
        allow = _inverted(self.allow, changed, _principals(old, "allow"), _principals(new, "allow"))
        deny = _inverted(self.deny, changed, _principals(old, "deny"), _principals(new, "deny"))
        pairs, languages = tuple(names.pairs), tuple(names.languages)
        return AccessTable(tuple(facts), tuple(document_ids), columns, names.tenants, pairs, languages, allow, deny)

    def granted(self, read_filter: ReadFilter, limits: SearchLimits) -> Mask:
        """Evaluate a filter and the caller's own limits: one boolean per slot."""
        match read_filter:
            case Nothing():
                return np.zeros(len(self.facts), np.bool_)
            case WholeTenant():
                mask = self._of_tenant(read_filter.tenant)
            case Conditions():
                mask = self._under(read_filter)
            case _:
                assert_never(read_filter)
        return mask & self._within(limits)

    def _of_tenant(self, tenant: str) -> Mask:
        # An unknown tenant gets a code no slot carries; -1 would match every emptied slot.
        mask: Mask = self.columns.tenant == self.tenants.get(tenant, len(self.tenants))
        return mask

    def _under(self, conditions: Conditions) -> Mask:
        mask = self._of_tenant(conditions.tenant) & (self.columns.sensitivity <= conditions.clearance)
        # A filter without a rule grants nothing: absence never means permission.
        open_pairs = np.full(len(self.pairs), bool(conditions.rules), np.bool_)
        for rule in conditions.rules:
            open_pairs &= np.fromiter((_passes(pair, rule) for pair in self.pairs), np.bool_, len(self.pairs))
        mask &= self._by_pair(open_pairs)
        named = np.zeros(len(self.facts), np.bool_)
        for principal in conditions.principals:
            named[self.allow.get(principal, _NO_SLOTS)] = True
        mask &= named | ~self.columns.explicit
        for principal in conditions.principals:
            mask[self.deny.get(principal, _NO_SLOTS)] = False
        return mask

    def _within(self, limits: SearchLimits) -> Mask:
        mask = np.ones(len(self.facts), np.bool_)
        if limits.collections or limits.labels:
            fits = (_in(pair[0], limits.collections) and _in(pair[1], limits.labels) for pair in self.pairs)
            mask &= self._by_pair(np.fromiter(fits, np.bool_, len(self.pairs)))
        if limits.languages:
            wanted = {language_code(name) or name for name in limits.languages}
            codes = [code for code, name in enumerate(self.languages) if name in wanted]
            mask &= np.isin(self.columns.language, codes)
        if limits.updated_after is not None:
            mask &= self.columns.updated_at > limits.updated_after.timestamp()
        return mask

    def _by_pair(self, by_code: Mask) -> Mask:
        # The last entry answers for code -1, an emptied slot.
        return np.append(by_code, np.False_)[self.columns.pair]


@dataclass(frozen=True, slots=True)
class _Names:
    tenants: dict[str, int]
    pairs: dict[tuple[str, str], int]
    languages: dict[str, int]


def _passes(pair: tuple[str, str], rule: ActionRule) -> bool:
    return any(_matches(pair, scope) for scope in rule.allowed) and not any(_matches(pair, scope) for scope in rule.denied)


def _matches(pair: tuple[str, str], scope: Scope) -> bool:
    return scope.collection in (ANY, pair[0]) and scope.label in (ANY, pair[1])


def _in(name: str, wanted: tuple[str, ...]) -> bool:
    return not wanted or name in wanted


def _codes(names: tuple[_Name, ...]) -> dict[_Name, int]:
    return {name: code for code, name in enumerate(names)}


def _principals(facts: list[tuple[int, AccessFacts | None]], kind: Literal["allow", "deny"]) -> list[tuple[int, frozenset[Principal]]]:
    named = [(slot, item.acl) for slot, item in facts if item is not None]
    return [(slot, acl.allow if kind == "allow" else acl.deny) for slot, acl in named]


def _empty_columns(size: int) -> _Columns:
    def codes() -> NDArray[np.int32]:
        return np.full(size, _NONE, np.int32)

    return _Columns(codes(), codes(), codes(), np.ones(size, np.bool_), np.full(size, _NONE, np.int16), np.zeros(size, np.float64))


def _grown(columns: _Columns, size: int) -> _Columns:
    more = _empty_columns(size - len(columns.tenant))
    return _Columns(**{item.name: np.concatenate([getattr(columns, item.name), getattr(more, item.name)]) for item in fields(_Columns)})


def _filled(columns: _Columns, facts: Iterable[tuple[int, AccessFacts | None]], names: _Names) -> _Columns:
    """Write slots into freshly made columns."""
    for slot, item in facts:
        if item is None:
            columns.tenant[slot] = columns.pair[slot] = columns.language[slot] = _NONE
            columns.explicit[slot] = True
            continue
        columns.tenant[slot] = names.tenants.setdefault(item.tenant, len(names.tenants))
        columns.pair[slot] = names.pairs.setdefault((item.collection, item.label), len(names.pairs))
        language = language_code(item.language) or item.language
        columns.language[slot] = names.languages.setdefault(language, len(names.languages))
        columns.sensitivity[slot] = item.sensitivity
        columns.explicit[slot] = item.acl.mode is not Mode.INHERIT
        columns.updated_at[slot] = item.updated_at.timestamp()
    return columns


def _inverted(
    table: Mapping[str, Slots], changed: Mask, old: list[tuple[int, frozenset[Principal]]], new: list[tuple[int, frozenset[Principal]]]
) -> dict[str, Slots]:
    """Principal to slots after a change: only the principals named before or after are rebuilt."""
    added: dict[str, list[int]] = {principal: [] for _, principals in old for principal in principals}
    for slot, principals in new:
        for principal in principals:
            added.setdefault(principal, []).append(slot)
    result = dict(table)
    for name, slots in added.items():
        kept = result.pop(name, _NO_SLOTS)
        current = np.concatenate([kept[~changed[kept]], np.asarray(slots, np.int32)])
        if len(current):
            result[name] = current
    return result
