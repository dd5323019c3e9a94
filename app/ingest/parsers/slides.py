"""PPTX (ECMA-376, PresentationML): every shown slide as a section with its title, its text as items, its tables as tables.

Hidden slides and speaker notes are left out: the audience does not see them. Read with lxml for the reason given in `spreadsheet`.
"""

import io
import zipfile
import zlib
from collections.abc import Iterator

from lxml import etree

from app.domain.content import BlockKind, ParsedDocument
from app.errors import UnsupportedContentError
from app.ingest.parsers.archive import RELATIONSHIP_ID, read_xml, related
from app.ingest.parsers.outline import Outline

_P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_PRESENTATION = "ppt/presentation.xml"
_TITLES = frozenset({"title", "ctrTitle"})
_FOOTERS = frozenset({"dt", "ftr", "sldNum", "hdr"})
_FAULTS = (etree.LxmlError, zipfile.BadZipFile, zlib.error, KeyError, ValueError, TypeError, IndexError, AttributeError, OSError)


def parse_pptx(content: bytes, fallback_title: str) -> ParsedDocument:
    """Read a presentation in the order of its slides. The first slide's title is the document's."""
    outline = Outline()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            targets = related(archive, _PRESENTATION)
            for entry in read_xml(archive, _PRESENTATION).iter(f"{_P}sldId"):
                slide = read_xml(archive, targets[str(entry.get(RELATIONSHIP_ID))])
                if slide.get("show") not in {"0", "false"}:
                    _read_slide(slide, outline)
    except _FAULTS as error:
        msg = "The PPTX file is damaged or incomplete. Open it in a presentation program, save it again and upload the result."
        raise UnsupportedContentError(msg) from error
    return outline.build(fallback_title)


def _read_slide(slide: etree._Element, outline: Outline) -> None:
    shapes = [shape for shape in slide.iter(f"{_P}sp", f"{_P}graphicFrame") if not _is_hidden(shape)]
    for shape in shapes:
        if _placeholder(shape) in _TITLES:
            outline.heading(
                1 if not outline.title and not outline.blocks else 2, " ".join(_paragraph_text(p) for p in shape.iter(f"{_A}p"))
            )
    for shape in shapes:
        table = shape.find(f".//{_A}tbl")
        if table is not None:
            outline.table(list(_rows(table)))
        elif _placeholder(shape) not in _TITLES | _FOOTERS:
            for paragraph in shape.iter(f"{_A}p"):
                properties = paragraph.find(f"{_A}pPr")
                level = int(properties.get("lvl") or 0) if properties is not None else 0
                outline.add(BlockKind.ITEM, _paragraph_text(paragraph), indent=2 * min(max(level, 0), 8))


def _placeholder(shape: etree._Element) -> str:
    holder = shape.find(f".//{_P}nvPr/{_P}ph")
    return (holder.get("type") or "body") if holder is not None else ""


def _is_hidden(shape: etree._Element) -> bool:
    properties = shape.find(f".//{_P}cNvPr")
    return properties is not None and properties.get("hidden") in {"1", "true"}


def _paragraph_text(paragraph: etree._Element) -> str:
    parts = ((t.text or "") if t.tag == f"{_A}t" else " " for t in paragraph.iter(f"{_A}t", f"{_A}br"))
    return "".join(parts)


def _rows(table: etree._Element) -> Iterator[list[str]]:
    for row in table.iter(f"{_A}tr"):
        yield [" ".join(_paragraph_text(p) for p in cell.iter(f"{_A}p")) for cell in row.iter(f"{_A}tc")]
