"""Lays parsed blocks out as the one text of a document version, and remembers where each block and heading stands in it.

The text is what spans are found in and what a reader opens: headings on lines of their own, a blank line between blocks,
table rows and list items on consecutive lines. Nothing is cut here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.content import Block, BlockKind
from app.ingest.sentences import Range

_TABLE = frozenset({BlockKind.HEADER, BlockKind.ROW})


@dataclass(frozen=True, slots=True)
class PlacedBlock:
    """A block and its place in the version's text. `heading_lines` are the ranges of its headings, outermost first."""

    block: Block
    start: int
    end: int
    heading_lines: tuple[Range, ...]


def lay_out(blocks: Sequence[Block]) -> tuple[str, list[PlacedBlock]]:
    """The version's text and the place of every block, in order. Blocks without text are left out."""
    writer = _Writer()
    for block in blocks:
        if block.text:
            writer.place(block)
    return "".join(writer.parts), writer.placed


class _Writer:
    """Appends lines and counts code points, so that no offset is ever searched for afterwards."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.placed: list[PlacedBlock] = []
        self._size = 0
        self._lines: tuple[Range, ...] = ()
        self._last: Block | None = None

    def place(self, block: Block) -> None:
        """Write a block below what stands already, under its headings."""
        self._open_headings(block)
        start = self._append(block.text, self._separator(block))
        self.placed.append(PlacedBlock(block, start, self._size, self._lines))
        self._last = block

    def _open_headings(self, block: Block) -> None:
        """Write the headings that the block before did not stand under already."""
        before = self._last.headings if self._last else ()
        if before == block.headings and self._last:
            return
        kept = shared_headings(before, block.headings)
        lines = list(self._lines[:kept])
        for i, heading in enumerate(block.headings[kept:]):
            start = self._append(heading, "\n" if i else "\n\n")
            lines.append((start, self._size))
        self._lines = tuple(lines)
        if kept < len(block.headings):
            self._last = None

    def _separator(self, block: Block) -> str:
        last = self._last
        if last is None:
            return "\n"
        same_table = last.kind in _TABLE and block.kind is BlockKind.ROW
        same_list = last.kind is BlockKind.ITEM and block.kind is BlockKind.ITEM
        return "\n" if same_table or same_list else "\n\n"

    def _append(self, text: str, separator: str) -> int:
        """Write `text` after `separator` (none at the very beginning); returns where it starts."""
        if self._size:
            self.parts.append(separator)
            self._size += len(separator)
        start = self._size
        self.parts.append(text)
        self._size += len(text)
        return start


def shared_headings(one: Sequence[str], other: Sequence[str]) -> int:
    """How many outermost headings two blocks have in common."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count
