"""Cuts a text into short overlapping pieces, so that no rule and no model ever sees a long one.

Time then grows with the length of the text and not with its square, whatever the text holds. Offsets are code points.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

LIMIT = 2400
"""Longest piece. Longer ones gain nothing in quality and cost the tail latency of hostile input."""
OVERLAP = 240
"""What neighbours share where a cut is not at a blank line: longer than any name, number or address worth finding."""
BORDERS = (re.compile(r"\n[ \t]*\n"), re.compile(r"\n"), re.compile(r"[.!?;]\s"), re.compile(r"[\s,]"))


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a text. `is_cut_left` and `is_cut_right` say that the border is not a natural one and a neighbour overlaps it."""

    start: int
    end: int
    is_cut_left: bool
    is_cut_right: bool

    def keeps(self, start: int, end: int) -> bool:
        """Whether a value found at `start:end` of the whole text is to be taken from this piece.

        One that touches a cut border may be half a value; the neighbour sees it whole, unless it is longer than the overlap.
        """
        if end - start >= OVERLAP:
            return True
        return not (self.is_cut_left and start == self.start) and not (self.is_cut_right and end == self.end)


def _border(text: str, start: int) -> tuple[int, bool]:
    """Where a piece that starts at `start` ends, and whether that is a blank line."""
    limit = start + LIMIT
    floor = start + LIMIT // 2
    window = text[floor:limit]
    for rank, pattern in enumerate(BORDERS):
        last = None
        for match in pattern.finditer(window):
            last = match
        if last is not None:
            return floor + last.end(), rank == 0
    return limit, False


def split(text: str) -> Iterator[Segment]:
    """Pieces that together cover `text`, in order."""
    start, is_cut = 0, False
    while len(text) - start > LIMIT:
        end, is_blank = _border(text, start)
        yield Segment(start, end, is_cut, not is_blank)
        start, is_cut = (end, False) if is_blank else (max(start + 1, end - OVERLAP), True)
    yield Segment(start, len(text), is_cut, is_cut_right=False)
