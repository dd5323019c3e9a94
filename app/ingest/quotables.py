"""The quotable pieces of a block: sentences, list items, table rows, each with the context it is understood in.

A row is embedded as "column: cell"; a sentence carries document title, last heading and the lead-in or parent item above it.
Both are what the handbook study measured (docs/decisions): sentences embedded alone lose two to four points of found facts.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from app.domain.content import Block, BlockKind
from app.ingest.layout import PlacedBlock
from app.ingest.sentences import Range, cut_long, last_sentence, sentence_ranges

CELL_SEPARATOR = " | "
_PARENT_WORDS = 30
_MAX_CONTEXT_PART = 200
"""Characters of a title, heading or parent that a context repeats: it is stored once a sentence, so it must stay short."""
_MAX_COLUMN_NAME = 80


@dataclass(frozen=True, slots=True)
class Quotable:
    """`start:end` in the version's text; `standalone` and `context` as in `domain.content.Sentence`."""

    start: int
    end: int
    standalone: str
    context: str


class ContextTracker:
    """Walks the blocks in reading order and says what stands above each: title, heading, lead-in or parent item."""

    def __init__(self, title: str) -> None:
        self._title = title[:_MAX_CONTEXT_PART]
        self._before: Block | None = None
        self._lead = ""
        self._parents: list[tuple[int, str]] = []

    def context(self, block: Block) -> str:
        """Title, last heading and parent of `block`, joined by colons. Must be called for every block, in order."""
        parent = self._enter_item(block) if block.kind is BlockKind.ITEM else ""
        self._before = block
        heading = block.headings[-1][:_MAX_CONTEXT_PART] if block.headings else ""
        return ": ".join(part for part in (self._title, heading, parent) if part)

    def _enter_item(self, block: Block) -> str:
        before = self._before
        if before is None or before.kind is not BlockKind.ITEM or before.section != block.section:
            self._parents = []
            self._lead = self._tail(before) if _leads_in(before, block) else ""
        while self._parents and self._parents[-1][0] >= block.indent:
            self._parents.pop()
        parent = self._parents[-1][1] if self._parents else self._lead
        self._parents.append((block.indent, self._tail(block)))
        return parent

    @staticmethod
    def _tail(block: Block | None) -> str:
        return last_sentence(block.text, _PARENT_WORDS)[-_MAX_CONTEXT_PART:] if block else ""


def _leads_in(before: Block | None, item: Block) -> bool:
    return before is not None and before.kind is BlockKind.PARAGRAPH and before.section == item.section and before.text.endswith(":")


def quotables(placed: PlacedBlock, context: str, max_words: int) -> list[Quotable]:
    """Quotable pieces of one block, in order; together they cover its words. A header row has none: rows repeat its names."""
    block = placed.block
    if block.kind is BlockKind.HEADER:
        return []
    if block.kind is BlockKind.ROW:
        found = _row_pieces(block, max_words)
    elif block.kind is BlockKind.CODE:
        found = ((a, b, block.text[a:b]) for a, b in _code_ranges(block.text, max_words))
    else:
        found = ((a, b, block.text[a:b]) for a, b in sentence_ranges(block.text))
    return [Quotable(placed.start + a, placed.start + b, standalone, context) for a, b, standalone in found]


def _code_ranges(text: str, max_words: int) -> Iterator[Range]:
    """A short piece of code stays whole; a long one is quoted by line."""
    if len(text.split()) <= max_words:
        yield from cut_long(text, 0, len(text))
        return
    start = 0
    for line in text.split("\n"):
        yield from cut_long(text, start, start + len(line))
        start += len(line) + 1


def _row_pieces(block: Block, max_words: int) -> Iterator[tuple[int, int, str]]:
    """A row as a whole, or, when it is longer than a chunk, cell by cell and long cells by sentence."""
    text = block.text
    cells = text.split(CELL_SEPARATOR)
    if len(text.split()) <= max_words and len(text) <= max_words * 10:
        named = (_named(block.header, i, cell) for i, cell in enumerate(cells) if cell)
        yield len(text) - len(text.lstrip()), len(text), ", ".join(named)
        return
    start = 0
    for i, cell in enumerate(cells):
        for a, b in sentence_ranges(cell):
            yield start + a, start + b, _named(block.header, i, cell[a:b])
        start += len(cell) + len(CELL_SEPARATOR)


def _named(header: tuple[str, ...], column: int, cell: str) -> str:
    name = header[column][:_MAX_COLUMN_NAME] if column < len(header) else ""
    return f"{name}: {cell}" if name else cell
