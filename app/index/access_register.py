"""Builds the access table of each generation from the facts that changed. Kept by the mirror alone; searches see finished tables only."""

from collections.abc import Mapping

import numpy as np

from app.domain.access import AclMode
from app.domain.content import DocumentId
from app.domain.search import AccessFacts
from app.index.access_table import NO_CODE, NO_SLOTS, AccessTable, Columns, Mask, Slots
from app.index.words import language_code

Changes = Mapping[int, tuple[DocumentId, AccessFacts | None]]


class AccessRegister:
    """Facts of every slot, changed in place. A failure half way leaves it unusable: the mirror then reads everything anew."""

    def __init__(self) -> None:
        self._facts: list[AccessFacts | None] = []
        self._document_ids: list[DocumentId] = []
        self._tenants: dict[str, int] = {}
        self._pairs: dict[tuple[str, str], int] = {}
        self._languages: dict[str, int] = {}
        self._table = AccessTable()

    def __len__(self) -> int:
        """Count slots, emptied ones included: a slot is never given out twice."""
        return len(self._facts)

    def change(self, changes: Changes) -> AccessTable:
        """Set slots, or empty them with `None`, and return the table of the new generation; slots past the end are appended."""
        if not changes:
            return self._table
        more = max(0, max(changes) + 1 - len(self._facts))
        self._facts.extend([None] * more)
        self._document_ids.extend([DocumentId("")] * more)
        changed = np.zeros(len(self._facts), np.bool_)
        changed[list(changes)] = True
        old = {slot: self._facts[slot] for slot in changes}
        for slot, (document_id, facts) in changes.items():
            self._facts[slot] = facts
            # Searches of an older generation may still be reading: an emptied slot keeps its id.
            self._document_ids[slot] = document_id or self._document_ids[slot]
        new = {slot: facts for slot, (_, facts) in changes.items()}
        columns = self._table.columns.grown(len(self._facts))
        self._fill(columns, new)
        self._table = AccessTable(
            columns=columns,
            # Shared with older tables: a slot's id never becomes another document's.
            document_ids=self._document_ids,
            tenants=dict(self._tenants),
            pairs=tuple(self._pairs),
            languages=tuple(self._languages),
            allow=_inverted(self._table.allow, changed, (_principals(old, "allow"), _principals(new, "allow"))),
            deny=_inverted(self._table.deny, changed, (_principals(old, "deny"), _principals(new, "deny"))),
        )
        return self._table

    def _fill(self, columns: Columns, new: Mapping[int, AccessFacts | None]) -> None:
        """Write slots into freshly made columns."""
        for slot, item in new.items():
            if item is None:
                columns.tenant[slot] = columns.pair[slot] = columns.language[slot] = NO_CODE
                columns.explicit[slot] = True
                continue
            columns.tenant[slot] = self._tenants.setdefault(item.tenant, len(self._tenants))
            columns.pair[slot] = self._pairs.setdefault((item.collection, item.label), len(self._pairs))
            language = language_code(item.language) or item.language
            columns.language[slot] = self._languages.setdefault(language, len(self._languages))
            columns.sensitivity[slot] = item.sensitivity
            columns.explicit[slot] = item.acl.mode is not AclMode.INHERIT
            columns.updated_at[slot] = item.updated_at.timestamp()


Named = list[tuple[int, frozenset[str]]]


def _principals(facts: Mapping[int, AccessFacts | None], kind: str) -> Named:
    named = [(slot, item.acl) for slot, item in facts.items() if item is not None]
    return [(slot, frozenset(acl.allow if kind == "allow" else acl.deny)) for slot, acl in named]


def _inverted(table: Mapping[str, Slots], changed: Mask, before_and_after: tuple[Named, Named]) -> dict[str, Slots]:
    """Principal to slots after a change: only the principals named before or after are rebuilt."""
    before, after = before_and_after
    added: dict[str, list[int]] = {principal: [] for _, principals in before for principal in principals}
    for slot, principals in after:
        for principal in principals:
            added.setdefault(principal, []).append(slot)
    result = dict(table)
    for name, slots in added.items():
        kept = result.pop(name, NO_SLOTS)
        current = np.concatenate([kept[~changed[kept]], np.asarray(slots, np.int32)])
        if len(current):
            result[name] = current
    return result
