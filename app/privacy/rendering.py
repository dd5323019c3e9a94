"""What one viewer sees of a text: stored spans whose type they may not see become a marker. Microseconds; analysis happened at ingest.

Closed by default: a type that is not expressly visible is hidden, also one nobody has heard of.
"""

import bisect
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from app.domain.privacy import HiddenSpan, Rendering, Span

MIN_ORIGINAL = 3
"""Shorter values ("12", "Li") are not searched for in drafts: they occur by chance in any text."""
SPACES = re.compile(r"\s+")


def marker(entity_type: str) -> str:
    """The text that stands for a hidden value of `entity_type`; it tells the kind and nothing of the length."""
    return f"[{entity_type} hidden]"


def render(text: str, spans: Sequence[Span], visible: frozenset[str]) -> Rendering:
    """`text` (raw) with every span hidden whose type is not in `visible`.

    Spans are sorted and disjoint as stored; any that are not are still hidden in full, because a damaged record must not show
    what a sound one hides. With every type visible the text comes back unchanged.
    """
    pieces: list[str] = []
    hidden: list[HiddenSpan] = []
    edits: list[tuple[int, int, int, int]] = []
    at = shown = 0
    for start, end, entity_type in _merged(text, spans, visible):
        shown += start - at
        replacement = marker(entity_type)
        pieces += (text[at:start], replacement)
        hidden.append(HiddenSpan(shown, shown + len(replacement), entity_type))
        edits.append((start, end, shown, shown + len(replacement)))
        shown += len(replacement)
        at = end
    pieces.append(text[at:])
    return Rendering("".join(pieces), tuple(hidden), tuple(edits))


def _merged(text: str, spans: Sequence[Span], visible: frozenset[str]) -> Iterator[tuple[int, int, str]]:
    """Ranges to hide, clipped to the text, sorted; overlapping ones of a damaged record as one."""
    ranges = [(max(0, s.start), min(len(text), s.end), s.entity_type) for s in spans if s.entity_type not in visible]
    if any(left[1] > right[0] for left, right in pairwise(ranges)):
        ranges.sort()
    current: tuple[int, int, str] | None = None
    for start, end, entity_type in ranges:
        if end <= start:
            continue
        if current is not None and start < current[1]:
            current = (current[0], max(current[1], end), current[2])
            continue
        if current is not None:
            yield current
        current = (start, end, entity_type)
    if current is not None:
        yield current


def hidden_originals(text: str, spans: Sequence[Span], visible: frozenset[str]) -> tuple[str, ...]:
    """The raw values that `render` with the same arguments hides: for `leaks` only, never to be logged or released."""
    return tuple(dict.fromkeys(text[start:end] for start, end, _ in _merged(text, spans, visible)))


def leaks(answer_text: str, originals: Iterable[str]) -> bool:
    """Whether a draft repeats a hidden value, however spaced, cased or composed.

    Catches what a model rebuilds from elsewhere. Values of under three letters or digits are not looked for.
    """
    folded = _fold(answer_text)
    packed = _pack(folded)
    return any(_occurs(original, folded, packed) for original in originals)


def _occurs(original: str, folded: str, packed: str) -> bool:
    value = _fold(original)
    bare = _pack(value)
    if len(bare) < MIN_ORIGINAL:
        return False
    if sum(character.isdigit() for character in bare) * 2 >= len(bare) >= 6:
        return bare in packed
    return re.search(rf"(?<!\w){re.escape(value)}(?!\w)", folded) is not None


def _fold(text: str) -> str:
    """Compatibility form, no case, no invisible characters, single spaces."""
    visible = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")
    return SPACES.sub(" ", visible).strip().casefold()


def _pack(folded: str) -> str:
    """Letters and digits only, so that a card number with other gaps is the same number."""
    return "".join(character for character in folded if character.isalnum())


def rebase(spans: Sequence[Span], ranges: Sequence[tuple[int, int]]) -> tuple[Span, ...]:
    """Spans of a document as spans of a chunk whose text is its `ranges` of the document joined by a line break.

    `ranges` may repeat a part or go back; a span that a border cuts keeps the part inside. Result sorted and disjoint if `spans` are.
    """
    moved: list[Span] = []
    ordered = sorted(spans, key=lambda span: (span.end, span.start))
    ends = [span.end for span in ordered]
    offset = 0
    for start, end in ranges:
        for span in ordered[bisect.bisect_right(ends, start) :]:
            low, high = max(span.start, start), min(span.end, end)
            if low < high:
                moved.append(replace(span, start=low - start + offset, end=high - start + offset))
            elif span.start >= end:
                break
        offset += end - start + 1
    return tuple(moved)
