"""Word documents through python-docx: headings, paragraphs, lists and tables in their order. Deleted and hidden text is left out.

Whoever calls has looked into the archive first (`archive.part_names`): size, ratio, number of parts, macros, encryption.
"""

import io
import re
import zipfile
import zlib
from collections.abc import Iterator

from docx import Document
from docx.document import Document as DocumentObject
from docx.opc.exceptions import OpcError
from docx.table import Table
from docx.text.paragraph import Paragraph
from lxml import etree

from app.domain.content import BlockKind, ParsedDocument
from app.errors import UnsupportedContentError
from app.ingest.parsers.outline import Outline

_FAULTS = (OpcError, etree.LxmlError, zipfile.BadZipFile, zlib.error, KeyError, ValueError, AttributeError, TypeError, IndexError, OSError)
_HEADING_STYLE = re.compile(r"heading ([1-9])", re.IGNORECASE)
_LIST_STYLE = re.compile(r"list(?: bullet| number| continue| paragraph)?(?: ([2-5]))?$", re.IGNORECASE)
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_NOT_SHOWN = frozenset({f"{_W}del", f"{_W}moveFrom", "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"})


def parse_docx(content: bytes, fallback_title: str) -> ParsedDocument:
    """Read a document body. Raises UnsupportedContentError for damaged files."""
    try:
        document = Document(io.BytesIO(content))
        outline = Outline(_title(document))
        for block in document.iter_inner_content():
            if isinstance(block, Table):
                outline.table(list(_rows(block)))
            else:
                _read_paragraph(block, outline)
    except _FAULTS as error:
        msg = "The DOCX file is damaged or incomplete. Open it in a word processor, save it again and upload the result."
        raise UnsupportedContentError(msg) from error
    return outline.build(document.core_properties.title or fallback_title)


def _title(document: DocumentObject) -> str:
    """Text of the first paragraph in the Title style, else empty."""
    first = next((p for p in document.paragraphs[:20] if _style(p) == "title"), None)
    return _text(first) if first is not None else ""


def _style(paragraph: Paragraph) -> str:
    style = paragraph.style
    return (style.name or "").lower() if style is not None else ""


def _read_paragraph(paragraph: Paragraph, outline: Outline) -> None:
    text, style = _text(paragraph), _style(paragraph)
    heading = _HEADING_STYLE.match(style)
    level = _list_level(paragraph, style)
    if heading:
        outline.heading(int(heading[1]), text)
    elif style == "title":
        return
    elif level is not None:
        outline.add(BlockKind.ITEM, text, indent=2 * level)
    else:
        outline.add(BlockKind.PARAGRAPH, text)


def _list_level(paragraph: Paragraph, style: str) -> int | None:
    """Nesting of a list paragraph from 0, `None` when it is none."""
    numbering = paragraph._p.find(f"{_W}pPr/{_W}numPr")  # noqa: SLF001 - python-docx has no public way to numbering
    if numbering is not None:
        level = numbering.find(f"{_W}ilvl")
        depth = str(level.get(f"{_W}val")) if level is not None else "0"
        return min(int(depth), 8) if depth.isdecimal() else 0
    match = _LIST_STYLE.match(style)
    return int(match[1] or 1) - 1 if match else None


def _text(paragraph: Paragraph) -> str:
    """Shown text of a paragraph: accepted insertions and links included; deletions, hidden runs and duplicates of pictures not."""
    return "".join(_shown(paragraph._p))  # noqa: SLF001 - `paragraph.text` leaves tracked insertions out


def _shown(root: etree._Element) -> Iterator[str]:
    walker = etree.iterwalk(root, events=("start",))
    for _, element in walker:
        if element.tag in _NOT_SHOWN or (element.tag == f"{_W}r" and element.find(f"{_W}rPr/{_W}vanish") is not None):
            walker.skip_subtree()
        elif element.tag == f"{_W}t":
            yield element.text or ""
        elif element.tag in {f"{_W}tab", f"{_W}br", f"{_W}cr"}:
            yield " "


def _rows(table: Table) -> Iterator[list[str]]:
    """Cells of each row. A merged cell appears once: python-docx repeats it for every column it spans."""
    for row in table.rows:
        seen: list[object] = []
        cells: list[str] = []
        for cell in row.cells:
            if not any(cell._tc is other for other in seen[-1:]):  # noqa: SLF001 - identity of the merged cell
                cells.append(" ".join(_text(p) for p in cell.paragraphs))
            seen.append(cell._tc)  # noqa: SLF001 - same
        yield cells
