"""The whole index at one generation, in memory and never changed: access table, segments, and what each filter grants of them."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np

from app.domain.access import ReadFilter
from app.domain.search import SearchLimits, Visibility
from app.index.access_table import AccessTable, Mask
from app.index.segment import LiveSegment, Rows, Segment
from app.index.words import language_code

_CACHE_LIMIT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class GrantedPart:
    """What a filter grants of one segment: as a mask over its rows and as the rows themselves, ascending."""

    here: LiveSegment
    keep: Mask
    rows: Rows

    @property
    def segment(self) -> Segment:
        """The segment itself."""
        return self.here.segment


@dataclass(frozen=True, slots=True)
class Grant:
    """Everything a filter grants. The counts below are over granted chunks only: no other number may reach a score."""

    parts: tuple[GrantedPart, ...]
    n_chunks: int
    n_words: int
    languages: tuple[tuple[int, str], ...]
    pairs: tuple[tuple[str, str], ...]
    n_pending: int

    def shown(self, entity_types: tuple[str, ...], visible: Visibility) -> Mask:
        """Tell which entity types this viewer sees where: shape (n_pairs, n_types)."""
        table = [[kind in visible.get(pair, frozenset()) for kind in entity_types] for pair in self.pairs]
        return np.asarray(table, np.bool_).reshape(len(self.pairs), len(entity_types))


@dataclass(slots=True)
class _GrantCache:
    """Grants of one generation, least recently used dropped first. Dies with its snapshot, so nothing outlives a revocation."""

    entries: "OrderedDict[tuple[ReadFilter, SearchLimits], Grant]" = field(default_factory=OrderedDict)
    size_bytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: tuple[ReadFilter, SearchLimits]) -> Grant | None:
        with self.lock:
            if key in self.entries:
                self.entries.move_to_end(key)
            return self.entries.get(key)

    def put(self, key: tuple[ReadFilter, SearchLimits], grant: Grant) -> None:
        with self.lock:
            if key not in self.entries:
                self.size_bytes += _size_bytes(grant)
            self.entries[key] = grant
            while self.size_bytes > _CACHE_LIMIT_BYTES and len(self.entries) > 1:
                self.size_bytes -= _size_bytes(self.entries.popitem(last=False)[1])


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One generation of the index."""

    generation: int = 0
    dim: int = 0
    access: AccessTable = field(default_factory=AccessTable)
    segments: tuple[LiveSegment, ...] = ()
    _cache: _GrantCache = field(default_factory=_GrantCache)

    def grant(self, read_filter: ReadFilter, limits: SearchLimits) -> Grant:
        """Evaluate a filter and the caller's limits on this generation, or recall it."""
        key = (read_filter, limits)
        grant = self._cache.get(key)
        if grant is None:
            grant = self._evaluate(read_filter, limits)
            self._cache.put(key, grant)
        return grant

    def _evaluate(self, read_filter: ReadFilter, limits: SearchLimits) -> Grant:
        by_slot = self.access.granted(read_filter, limits)
        parts = tuple(_granted_part(here, by_slot) for here in self.segments)
        codes = sorted({int(code) for part in parts for code in np.unique(part.here.language[part.rows])})
        return Grant(
            parts=parts,
            n_chunks=sum(len(part.rows) for part in parts),
            n_words=sum(int(part.segment.length[part.rows].sum()) for part in parts),
            languages=tuple((code, language_code(self.access.languages[code])) for code in codes),
            pairs=self.access.pairs,
            n_pending=sum(int(np.count_nonzero(~part.segment.has_vector[part.rows])) for part in parts),
        )


def _granted_part(here: LiveSegment, by_slot: Mask) -> GrantedPart:
    keep = by_slot[here.segment.slot] & here.live
    return GrantedPart(here, keep, np.flatnonzero(keep).astype(np.int32))


def _size_bytes(grant: Grant) -> int:
    return sum(part.keep.nbytes + part.rows.nbytes for part in grant.parts)
