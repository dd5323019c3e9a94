"""PDF through pypdf: the text layer only. Lines become paragraphs by their distance, headings by their size; nothing is rendered.

What is drawn as a picture is not text: a scanned file is refused with the advice to run text recognition first.
"""

import io
import logging
import re
import struct
import zlib
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from pypdf import PageObject, PdfReader
from pypdf.errors import PyPdfError

from app.domain.content import BlockKind, ParsedDocument
from app.errors import UnsupportedContentError
from app.ingest.parsers.outline import Outline

# pypdf logs oddities of a file, some with pieces of its text; a log line is no place for that.
logging.getLogger("pypdf").setLevel(logging.CRITICAL + 1)

_MAX_PAGES = 5_000
_FAULTS = (PyPdfError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, ArithmeticError, NotImplementedError)
_MORE_FAULTS = (AssertionError, zlib.error, struct.error, LookupError, EOFError)
_ITEM = re.compile(r"^(?:[•▪◦‣●\u2013*-]|\d{1,2}[.)])\s+(.+)$")
_HEADING_RATIO: Final = 1.15
_MAX_HEADING_WORDS = 20
_GAP_RATIO: Final = 1.35
"""A line further below the last one than this times the usual distance (the lower quartile: lines of a paragraph) starts one."""
_RUNNING_SHARE: Final = 0.6
_RUNNING_FROM_PAGES = 3
_CELLS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    size: float
    y: float


def parse_pdf(content: bytes, fallback_title: str) -> ParsedDocument:
    """Read the text layer. Raises UnsupportedContentError when the file is encrypted, scanned, damaged or has too many pages."""
    try:
        pages, title = _read_pages(content)
    except (*_FAULTS, *_MORE_FAULTS) as error:
        msg = "The PDF is damaged or uses features that are not read here. Print it to a new PDF and upload that."
        raise UnsupportedContentError(msg) from error
    outline = Outline()
    _read_lines(_without_running_lines(pages), outline)
    return outline.build(title or fallback_title)


def _read_pages(content: bytes) -> tuple[list[list[_Line]], str]:
    reader = PdfReader(io.BytesIO(content))
    if reader.is_encrypted:
        msg = "The PDF is encrypted. Remove the password or the restrictions and upload it again."
        raise UnsupportedContentError(msg)
    if len(reader.pages) > _MAX_PAGES:
        msg = f"The PDF has more than {_MAX_PAGES:,} pages. Split it and upload the parts."
        raise UnsupportedContentError(msg)
    title = reader.metadata.title if reader.metadata is not None else None
    return [_lines(page) for page in reader.pages], title if isinstance(title, str) else ""


def _lines(page: PageObject) -> list[_Line]:
    """Lines of a page with font size and height on the page, in reading order."""
    lines: list[_Line] = []
    parts: list[str] = []
    size = y = 0.0

    def take(text: str, _matrix: list[float], text_matrix: list[float], _font: object, font_size: float) -> None:
        nonlocal size, y
        *ended, rest = text.split("\n")
        for part in ended:
            parts.append(part)
            lines.append(_Line(" ".join("".join(parts).split()), size, y))
            parts.clear()
            size = 0.0
        parts.append(rest)
        if rest.strip():
            size = max(size, abs(font_size * (text_matrix[3] or 1)))
            y = text_matrix[5]

    page.extract_text(visitor_text=take)
    lines.append(_Line(" ".join("".join(parts).split()), size, y))
    return [line for line in lines if line.text]


def _without_running_lines(pages: list[list[_Line]]) -> list[_Line]:
    """All lines without headers and footers: first or last lines that most pages share but for their numbers."""
    edges = Counter(key for page in pages for key in {_running_key(line) for line in (*page[:1], *page[-1:])})
    limit = _RUNNING_SHARE * len(pages) if len(pages) >= _RUNNING_FROM_PAGES else len(pages) + 1
    kept: list[_Line] = []
    for page in pages:
        last = len(page) - 1
        kept += [line for i, line in enumerate(page) if i not in {0, last} or edges[_running_key(line)] < limit]
    return kept


def _running_key(line: _Line) -> str:
    return _CELLS.sub("#", line.text)


def _read_lines(lines: list[_Line], outline: Outline) -> None:
    """Join lines to paragraphs; open a section for each line that is clearly larger than the body."""
    body = _body_size(lines)
    levels = _heading_levels(lines, body)
    gaps = [a.y - b.y for a, b in pairwise(lines) if 0 < a.y - b.y < 4 * body]
    usual = sorted(gaps)[len(gaps) // 4] if gaps else body
    run: list[str] = []
    before: _Line | None = None
    for line in lines:
        level = levels.get(round(line.size, 1)) if len(line.text.split()) <= _MAX_HEADING_WORDS else None
        if level or (before is not None and _is_apart(before, line, usual)) or _ITEM.match(line.text):
            _flush(run, outline)
            run = []
        if level:
            outline.heading(level, line.text)
        else:
            run.append(line.text)
        before = line
    _flush(run, outline)


def _is_apart(before: _Line, line: _Line, usual_gap: float) -> bool:
    """Whether a new paragraph starts: after a wide gap, or on a new page or column when the old one ended a sentence."""
    if line.y > before.y:
        return before.text[-1] in ".!?:"
    return before.y - line.y > _GAP_RATIO * usual_gap


def _body_size(lines: list[_Line]) -> float:
    sizes: Counter[float] = Counter()
    for line in lines:
        sizes[round(line.size, 1)] += len(line.text)
    return sizes.most_common(1)[0][0] if sizes else 1.0


def _heading_levels(lines: list[_Line], body: float) -> dict[float, int]:
    """Heading level by font size: the three largest sizes above the body's."""
    larger = sorted({round(line.size, 1) for line in lines if line.size >= _HEADING_RATIO * body}, reverse=True)
    return {size: level for level, size in enumerate(larger[:3], 1)}


def _flush(run: list[str], outline: Outline) -> None:
    """Append a paragraph or item; a word divided at a line end is joined again."""
    text = ""
    for part in run:
        divided = text.endswith("-") and text[-2:-1].isalpha() and part[:1].islower()
        text = text[:-1] + part if divided else f"{text} {part}" if text else part
    item = _ITEM.match(text)
    if item:
        outline.add(BlockKind.ITEM, item[1])
    else:
        outline.add(BlockKind.PARAGRAPH, text)
