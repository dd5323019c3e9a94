"""A chunk while it is being filled: the pieces of the version's text in it, and how much room is left."""

from dataclasses import dataclass, field
from typing import Self

from app.domain.content import BlockKind
from app.ingest.layout import PlacedBlock
from app.ingest.quotables import Quotable
from app.ingest.sentences import Range

_LEAD_IN_WORDS = 40
_OPEN_SHARE = 0.6
"""A line that ends in a colon starts a new chunk when the old one is this full, so that it stays with what it announces."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A block, or a part of a long one, that is never cut again. `ends_open`: its last character is a colon."""

    start: int
    end: int
    words: int
    kind: BlockKind
    ends_open: bool
    found: tuple[Quotable, ...]


@dataclass(slots=True)
class Draft:
    """Mutable on purpose, and seen by `chunking` only."""

    section: int
    headings: tuple[str, ...]
    heading_lines: tuple[Range, ...]
    ranges: list[Range] = field(default_factory=list)
    found: list[Quotable] = field(default_factory=list)
    words: int = 0
    chars: int = 0
    lead: Piece | None = None
    holds_own: bool = False

    @classmethod
    def of(cls, placed: PlacedBlock, carried: Piece | None = None) -> Self:
        """An empty draft under the block's headings; `carried` is repeated at its top and is not quoted from here."""
        draft = cls(placed.block.section, placed.block.headings, placed.heading_lines)
        if carried is not None:
            draft._take(carried)
        return draft

    def add(self, piece: Piece) -> None:
        """Append a piece and the sentences in it."""
        self._take(piece)
        self.found += piece.found
        self.holds_own = self.holds_own or piece.kind is not BlockKind.HEADER

    def is_full(self, piece: Piece, max_words: int, max_chars: int) -> bool:
        """Whether `piece` belongs into the next chunk. A draft with nothing but a header or a lead-in takes any piece."""
        if not self.holds_own:
            return self.chars > max_chars // 2
        too_long = self.words + piece.words > max_words or self.chars + piece.end - piece.start > max_chars
        return too_long or (piece.ends_open and self.words > _OPEN_SHARE * max_words)

    def absorb(self, other: "Draft", shared: int) -> None:
        """Append the next draft; headings that the two do not share become lines of the text.

        Pieces that `other` repeats from this draft are dropped: they stand here already.
        """
        end = self.ranges[-1][1]
        self.ranges[:0] = self.heading_lines[shared:]
        self.ranges += [line for line in other.heading_lines[shared:] if line[0] >= end]
        self.ranges += [part for part in other.ranges if part[0] >= end]
        self.found += other.found
        added = (*self.headings[shared:], *other.headings[shared:])
        self.words += other.words + sum(len(line.split()) for line in added)
        self.chars += other.chars + sum(len(line) + 1 for line in added)
        self.headings, self.heading_lines = self.headings[:shared], self.heading_lines[:shared]

    def _take(self, piece: Piece) -> None:
        self.ranges.append((piece.start, piece.end))
        self.words += piece.words
        self.chars += piece.end - piece.start + 1
        if piece.kind is BlockKind.PARAGRAPH and piece.ends_open and piece.words < _LEAD_IN_WORDS:
            self.lead = piece
