"""Which documents a `ReadFilter` grants: access facts as arrays, one slot a document, and their evaluation as one mask.

Every clause narrows. A slot whose facts are missing or were removed is served to nobody, the gateway's own housekeeping included.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from app.domain.access import ANY, ActionRule, Conditions, Nothing, ReadFilter, Scope, WholeTenant
from app.domain.content import DocumentId
from app.domain.search import SearchLimits
from app.index.words import language_code

Mask = NDArray[np.bool_]
Slots = NDArray[np.int32]

NO_CODE = -1
"""Stands in a column of codes for a slot that is served to nobody."""
NO_SLOTS: Slots = np.zeros(0, np.int32)


@dataclass(frozen=True, slots=True)
class Columns:
    """One entry per slot; codes index the tables of names."""

    tenant: NDArray[np.int32]
    pair: NDArray[np.int32]
    sensitivity: NDArray[np.int32]
    explicit: Mask
    language: NDArray[np.int32]
    updated_at: NDArray[np.float64]

    def grown(self, size: int) -> "Columns":
        """Copy into new columns of `size` slots, those past the end served to nobody."""
        more = no_columns(size - len(self.tenant))
        return Columns(**{item.name: np.concatenate([getattr(self, item.name), getattr(more, item.name)]) for item in fields(Columns)})


def no_columns(size: int) -> Columns:
    """Columns of slots without facts."""

    def codes() -> NDArray[np.int32]:
        return np.full(size, NO_CODE, np.int32)

    return Columns(codes(), codes(), codes(), np.ones(size, np.bool_), codes(), np.zeros(size, np.float64))


@dataclass(frozen=True, slots=True)
class AccessTable:
    """Facts of all documents at one generation, as `AccessRegister` built it."""

    columns: Columns = field(default_factory=lambda: no_columns(0))
    document_ids: Sequence[DocumentId] = ()
    tenants: Mapping[str, int] = field(default_factory=dict)
    pairs: tuple[tuple[str, str], ...] = ()
    languages: tuple[str, ...] = ()
    allow: Mapping[str, Slots] = field(default_factory=dict)
    deny: Mapping[str, Slots] = field(default_factory=dict)

    def __len__(self) -> int:
        """Count slots."""
        return len(self.columns.tenant)

    def granted(self, read_filter: ReadFilter, limits: SearchLimits) -> Mask:
        """Evaluate a filter and the caller's own limits: one boolean per slot."""
        match read_filter:
            case Nothing():
                return np.zeros(len(self), np.bool_)
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
        named = np.zeros(len(self), np.bool_)
        for principal in conditions.principals:
            named[self.allow.get(principal, NO_SLOTS)] = True
        mask &= named | ~self.columns.explicit
        for principal in conditions.principals:
            mask[self.deny.get(principal, NO_SLOTS)] = False
        return mask

    def _within(self, limits: SearchLimits) -> Mask:
        mask = np.ones(len(self), np.bool_)
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


def _passes(pair: tuple[str, str], rule: ActionRule) -> bool:
    return any(_matches(pair, scope) for scope in rule.allowed) and not any(_matches(pair, scope) for scope in rule.denied)


def _matches(pair: tuple[str, str], scope: Scope) -> bool:
    return scope.collection in (ANY, pair[0]) and scope.label in (ANY, pair[1])


def _in(name: str, wanted: tuple[str, ...]) -> bool:
    return not wanted or name in wanted
