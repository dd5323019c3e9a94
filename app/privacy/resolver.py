"""Turns what all recognizers found into stored spans: sorted, disjoint, the stronger type first, nothing found left bare.

Where two findings overlap the stronger type takes its range and the weaker keeps what is left uncovered, so that the union of
characters found never shrinks. Presidio settles overlaps in its anonymizer by score, which can leave characters open.
"""

import bisect
from collections.abc import Iterable

from app.domain.privacy import Span

VERSION = 1
"""Raise when resolution changes: stored spans are then analysed again."""
STRENGTH = {
    "SECRET": 9.0, "EMAIL_ADDRESS": 8.0, "IBAN_CODE": 8.0, "CREDIT_CARD": 7.0, "MAC_ADDRESS": 7.0, "IP_ADDRESS": 6.0,
    "CRYPTO": 6.0, "ID_NUMBER": 5.0, "USERNAME": 2.6, "BANK_ACCOUNT": 4.8, "PHONE_NUMBER": 4.0, "URL": 3.0, "AGE": 3.0,
    "ADDRESS": 2.5, "TITLE": 2.3, "LOCATION": 2.0, "PERSON": 2.0, "NRP": 1.8, "DATE_OF_BIRTH": 1.7,
    "DATE_TIME": 1.0, "ORGANIZATION": 1.0,
}  # fmt: skip
UNKNOWN_STRENGTH = 4.0
WEAK_NAME = 0.6
"""A name guessed with this score or less yields to any other type."""
JOINED = frozenset({"PERSON", "ADDRESS", "LOCATION", "ORGANIZATION", "SECRET", "URL", "DATE_TIME"})


def _rank(span: Span) -> float:
    if span.entity_type == "PERSON" and span.score <= WEAK_NAME:
        return 0.5 + span.score
    return STRENGTH.get(span.entity_type, UNKNOWN_STRENGTH) + span.score


class _Taken:
    """Disjoint sorted ranges already given away."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def free_parts(self, start: int, end: int) -> list[tuple[int, int]]:
        """Parts of `start:end` that are not taken, in order."""
        parts = []
        i = bisect.bisect_right(self._ends, start)
        at = start
        while i < len(self._starts) and self._starts[i] < end:
            if self._starts[i] > at:
                parts.append((at, self._starts[i]))
            at = max(at, self._ends[i])
            i += 1
        if at < end:
            parts.append((at, end))
        return parts

    def take(self, start: int, end: int) -> None:
        """Give `start:end`, a free part, away."""
        i = bisect.bisect_right(self._starts, start)
        self._starts.insert(i, start)
        self._ends.insert(i, end)


def _shrink(text: str, start: int, end: int) -> tuple[int, int]:
    """A leftover without the spaces and marks at its edges."""
    while start < end and not text[start].isalnum():
        start += 1
    while end > start and not text[end - 1].isalnum():
        end -= 1
    return start, end


def resolve(text: str, found: Iterable[Span]) -> tuple[Span, ...]:
    """Sorted, disjoint spans of `text` whose union holds every letter and digit of `found`."""
    taken = _Taken()
    kept: list[Span] = []
    for span in sorted(set(found), key=lambda s: (-_rank(s), s.start - s.end, s.start, s.entity_type, s.recognizer)):
        start, end = max(0, span.start), min(len(text), span.end)
        parts = taken.free_parts(start, end)
        for low, high in parts:
            is_whole = (low, high) == (start, end)
            a, b = (low, high) if is_whole else _shrink(text, low, high)
            if a < b:
                kept.append(Span(a, b, span.entity_type, span.score, span.recognizer))
                taken.take(a, b)
    kept.sort(key=lambda s: s.start)
    return tuple(_join(text, kept))


def _join(text: str, spans: list[Span]) -> list[Span]:
    """Neighbours of one type with at most a blank between them as one: "Anna" and "Müller" found apart are one person."""
    joined: list[Span] = []
    for span in spans:
        last = joined[-1] if joined else None
        if (
            last is not None
            and last.entity_type == span.entity_type
            and span.entity_type in JOINED
            and text[last.end : span.start] in {"", " "}
        ):
            joined[-1] = Span(last.start, span.end, last.entity_type, max(last.score, span.score), last.recognizer)
        else:
            joined.append(span)
    return joined
