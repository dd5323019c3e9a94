"""Collects blocks under their headings while a parser walks its format. All text passes `normalise` here, and only here.

Every parser writes into an `Outline`, so that an entity in HTML, an escape in JSON and a run in DOCX cannot smuggle in
what a plain text file may not hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.content import Block, BlockKind, ParsedDocument
from app.errors import UnsupportedContentError
from app.ingest.parsers.normalise import clean, one_line

MAX_BLOCKS = 1_000_000
MAX_HEADING_CHARS = 300
MAX_KEYWORDS_CHARS = 2_000
"""Of all together: they are indexed with every passage of the document."""
_MAX_KEYWORDS = 50
_MAX_TITLE_CHARS = 300


@dataclass(slots=True)
class _Heading:
    level: int
    text: str
    section: int
    used: bool = False


class Outline:
    """Blocks in reading order. The first level-1 heading, when nothing stands before it, becomes the title."""

    def __init__(self, title: str = "") -> None:
        """Start empty; an explicit `title` keeps the first heading a heading."""
        self.title = one_line(title)[:_MAX_TITLE_CHARS]
        self.blocks: list[Block] = []
        self._open: list[_Heading] = []
        self._path: tuple[str, ...] = ()
        self._section = 0
        self._title_was_text = False

    def heading(self, level: int, text: str) -> None:
        """Open a section. A heading that is longer than any heading is, becomes a paragraph."""
        text = one_line(text)
        if not text:
            return
        if len(text) > MAX_HEADING_CHARS:
            self.add(BlockKind.PARAGRAPH, text)
            return
        self._close(level)
        if level == 1 and not self.title and not self.blocks and not self._open:
            self.title, self._title_was_text = text, True
            return
        self._section += 1
        self._open.append(_Heading(level, text, self._section))
        self._path = tuple(h.text for h in self._open)

    def add(self, kind: BlockKind, text: str, *, indent: int = 0) -> None:
        """Append a paragraph, item or code block; empty text is left out."""
        text = "\n".join(line.rstrip() for line in clean(text).strip("\n").split("\n")) if kind is BlockKind.CODE else one_line(text)
        if text.strip():
            self._append(Block(kind, text, self._section, self._path, indent))

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """Append a table, first row its header. A cell may not hold ` | `, which separates cells; it becomes ` / `.

        Empty cells at the end of a row are left out, those before keep their place.
        """
        header: tuple[str, ...] = ()
        for row in rows:
            cells = tuple(one_line(cell).replace(" | ", " / ") for cell in row)
            if not any(cells):
                continue
            kind = BlockKind.ROW if header else BlockKind.HEADER
            filled = max(n for n, cell in enumerate(cells, 1) if cell)
            self._append(Block(kind, " | ".join(cells[:filled]), self._section, self._path, 0, header))
            header = header or cells

    def build(self, fallback_title: str, language: str | None = None, keywords: Sequence[str] = ()) -> ParsedDocument:
        """Close all sections. Raises UnsupportedContentError when no text was found."""
        self._close(0)
        if not self.blocks and self._title_was_text:
            self.add(BlockKind.PARAGRAPH, self.title)
        if not self.blocks:
            msg = "The document holds no text. If it was scanned, run text recognition first and upload the result."
            raise UnsupportedContentError(msg)
        words, left = [], MAX_KEYWORDS_CHARS
        for word in filter(None, (one_line(keyword[:MAX_KEYWORDS_CHARS]) for keyword in keywords[:_MAX_KEYWORDS])):
            if len(word) > left:
                break
            words.append(word)
            left -= len(word)
        title = self.title or one_line(fallback_title)[:_MAX_TITLE_CHARS] or "Untitled"
        return ParsedDocument(title, tuple(self.blocks), language, tuple(words))

    def _append(self, block: Block) -> None:
        if len(self.blocks) >= MAX_BLOCKS:
            msg = f"The document has more than {MAX_BLOCKS:,} paragraphs or rows. Split it and upload the parts."
            raise UnsupportedContentError(msg)
        self.blocks.append(block)
        for heading in reversed(self._open):
            if heading.used:
                break
            heading.used = True

    def _close(self, level: int) -> None:
        """Close headings at or below `level`. One with nothing under it is content of its own: keep it as a paragraph."""
        while self._open and self._open[-1].level >= level:
            closed = self._open.pop()
            self._path = tuple(h.text for h in self._open)
            if not closed.used:
                self._append(Block(BlockKind.PARAGRAPH, closed.text, closed.section, self._path))
