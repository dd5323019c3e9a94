"""Personal data found in text, and what was hidden of it for a viewer."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """One found entity. Stored spans of a text are sorted and disjoint; offsets are code points, end exclusive; `score` is 0..1."""

    start: int
    end: int
    entity_type: str
    score: float
    recognizer: str = ""


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
        """Map a raw range to the rendered range that shows it; a range that cuts a hidden span takes the whole replacement."""
        return self._map(start, is_end=False), self._map(end, is_end=True)

    def _map(self, offset: int, *, is_end: bool) -> int:
        shift = 0
        for raw_start, raw_end, shown_start, shown_end in self.edits:
            if offset <= raw_start and not (is_end is False and offset == raw_start):
                break
            if offset < raw_end or (offset == raw_start):
                return shown_end if is_end and offset > raw_start else shown_start
            shift = shown_end - raw_end
        return offset + shift
