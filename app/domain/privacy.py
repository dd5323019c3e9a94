"""Personal data found in text, and what was hidden of it for a viewer."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from operator import itemgetter


@dataclass(frozen=True, slots=True)
class Span:
    """One found entity. Stored spans of a text are sorted and disjoint; offsets are code points, end exclusive; `score` is 0..1."""

    start: int
    end: int
    entity_type: str
    score: float
    recognizer: str = ""


@dataclass(frozen=True, slots=True)
class Analysis:
    """Personal data of one text. `spans` are sorted and disjoint, in code points of the text as given."""

    language: str
    spans: tuple[Span, ...]
    detector_digest: str


@dataclass(frozen=True, slots=True)
class HiddenSpan:
    """Where a replacement stands in the rendered text, and what kind of thing it hides."""

    start: int
    end: int
    entity_type: str


@dataclass(frozen=True, slots=True)
class Rendering:
    """A text as one viewer may see it. `edits` maps raw to rendered: sorted (raw_start, raw_end, rendered_start, rendered_end)."""

    text: str
    hidden: tuple[HiddenSpan, ...]
    edits: tuple[tuple[int, int, int, int], ...] = ()

    def locate(self, start: int, end: int) -> tuple[int, int]:
        """Map a raw range to the rendered range that shows it; a range that cuts a hidden span takes the whole replacement.

        An empty range stays empty. Order is kept: what lies before in the raw text lies before, or at the same place, in the rendered one.
        """
        shown_start = self._map_start(start)
        return shown_start, self._map_end(end) if end > start else shown_start

    def _map_start(self, offset: int) -> int:
        i = bisect_right(self.edits, offset, key=itemgetter(0))
        if i == 0:
            return offset
        _, raw_end, shown_start, shown_end = self.edits[i - 1]
        return shown_start if offset < raw_end else offset - raw_end + shown_end

    def _map_end(self, offset: int) -> int:
        i = bisect_left(self.edits, offset, key=itemgetter(0))
        if i == 0:
            return offset
        _, raw_end, _, shown_end = self.edits[i - 1]
        return shown_end if offset <= raw_end else offset - raw_end + shown_end
