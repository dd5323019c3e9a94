"""Plain text: paragraphs between blank lines, list items, and the few headings that people mark in plain text."""

import re

from app.domain.content import BlockKind, ParsedDocument
from app.ingest.parsers.normalise import clean
from app.ingest.parsers.outline import Outline

_ITEM = re.compile(r"^([ \t]*)(?:[-*•\u2013]|\d{1,3}[.)])[ \t]+(.+)$")
_UNDERLINE = re.compile(r"^(?:={3,}|-{3,})$")
_HEADING_CHARS = 80


def parse_text(source: str, fallback_title: str) -> ParsedDocument:
    """Read plain text. A short first line followed by a blank one is the title; underlined and capital lines are headings."""
    outline = Outline()
    read_paragraphs(source, outline)
    return outline.build(fallback_title)


def read_paragraphs(source: str, outline: Outline) -> None:
    """Append what plain text holds."""
    paragraph: list[str] = []
    for line in [*clean(source).split("\n"), ""]:
        if line.strip():
            paragraph.append(line)
            continue
        if paragraph:
            _paragraph(paragraph, outline)
        paragraph = []


def _paragraph(lines: list[str], outline: Outline) -> None:
    first = lines[0].strip()
    if len(lines) > 1 and _UNDERLINE.match(lines[1].strip()):
        outline.heading(1 if lines[1].strip()[0] == "=" else 2, first)
        lines = lines[2:]
    elif len(lines) == 1 and _is_heading(first, is_first=not outline.blocks and not outline.title):
        outline.heading(1 if not outline.title and not outline.blocks else 2, first)
        return
    _lines(lines, outline)


def _is_heading(line: str, *, is_first: bool) -> bool:
    if len(line) > _HEADING_CHARS or line[-1] in ".,;:!?" or _ITEM.match(line):
        return False
    return is_first or (line.isupper() and any(c.isalpha() for c in line))


def _lines(lines: list[str], outline: Outline) -> None:
    """Wrapped lines join; a line that begins like an item starts one, and lines after it belong to it."""
    run: list[str] = []
    indent: int | None = None
    for line in lines:
        item = _ITEM.match(line)
        if item:
            _flush(run, indent, outline)
            run, indent = [item[2]], len(item[1].expandtabs(4))
        else:
            run.append(line)
    _flush(run, indent, outline)


def _flush(run: list[str], indent: int | None, outline: Outline) -> None:
    text = " ".join(run)
    if indent is None:
        outline.add(BlockKind.PARAGRAPH, text)
    else:
        outline.add(BlockKind.ITEM, text, indent=indent)
