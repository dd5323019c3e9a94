"""XLSX (ECMA-376, SpreadsheetML): every visible sheet as a table. Hidden sheets, rows and columns are left out; formulas show their value.

Read with lxml and not with a spreadsheet library: text of cells is all that is wanted, and that is few elements of the format.
"""

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from lxml import etree

from app.domain.content import BlockKind, ParsedDocument
from app.errors import UnsupportedContentError
from app.ingest.parsers.archive import RELATIONSHIP_ID, read_xml, related
from app.ingest.parsers.outline import Outline

_S = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_WORKBOOK = "xl/workbook.xml"
_FAULTS = (
    etree.LxmlError,
    zipfile.BadZipFile,
    zlib.error,
    KeyError,
    ValueError,
    TypeError,
    IndexError,
    AttributeError,
    OverflowError,
    OSError,
)
_MAX_COLUMN = 512
"""Cells further right follow without a gap: an address alone must not make a row of 16,384 empty cells."""
_BUILT_IN_DATES = frozenset({*range(14, 18), 22})
_DATE_FORMAT = re.compile(r"yy|d{1,4}", re.IGNORECASE)
_QUOTED = re.compile(r"\"[^\"]*\"|\[[^\]]*\]|\\.")
_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001 - a calendar date in a cell has no zone


@dataclass(frozen=True, slots=True)
class _Book:
    strings: list[str]
    date_styles: frozenset[int]


def parse_xlsx(content: bytes, fallback_title: str) -> ParsedDocument:
    """Read a workbook. Sheets stand under their names when there are several; single cells above a table are paragraphs."""
    outline = Outline(fallback_title)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            sheets = [s for s in read_xml(archive, _WORKBOOK).iter(f"{_S}sheet") if s.get("state", "visible") == "visible"]
            targets = related(archive, _WORKBOOK)
            book = _Book(_strings(archive), _date_styles(archive))
            for sheet in sheets:
                rows = list(_rows(read_xml(archive, targets[str(sheet.get(RELATIONSHIP_ID))]), book))
                if len(sheets) > 1 and rows:
                    outline.heading(2, sheet.get("name") or "")
                _read_sheet(rows, outline)
    except _FAULTS as error:
        msg = "The XLSX file is damaged or incomplete. Open it in a spreadsheet program, save it again and upload the result."
        raise UnsupportedContentError(msg) from error
    return outline.build(fallback_title)


def _read_sheet(rows: list[list[str]], outline: Outline) -> None:
    wide = any(sum(bool(cell) for cell in row) > 1 for row in rows)
    start = 0
    while wide and start < len(rows) and sum(bool(cell) for cell in rows[start]) <= 1:
        outline.add(BlockKind.PARAGRAPH, " ".join(rows[start]))
        start += 1
    outline.table(rows[start:])


def _strings(archive: zipfile.ZipFile) -> list[str]:
    if "xl/sharedStrings.xml" not in archive.namelist():
        return []
    return [_text(item) for item in read_xml(archive, "xl/sharedStrings.xml").iter(f"{_S}si")]


def _text(item: etree._Element) -> str:
    """Text of a string item without its phonetic reading."""
    phonetic = {t for reading in item.iter(f"{_S}rPh") for t in reading.iter(f"{_S}t")}
    return "".join(t.text or "" for t in item.iter(f"{_S}t") if t not in phonetic)


def _date_styles(archive: zipfile.ZipFile) -> frozenset[int]:
    """Numbers of the cell styles that show a number as a date."""
    if "xl/styles.xml" not in archive.namelist():
        return frozenset()
    root = read_xml(archive, "xl/styles.xml")
    custom = {f.get("numFmtId"): f.get("formatCode") or "" for f in root.iter(f"{_S}numFmt")}
    dates = {key for key, code in custom.items() if _DATE_FORMAT.search(_QUOTED.sub("", code))} | {str(n) for n in _BUILT_IN_DATES}
    styles = root.find(f"{_S}cellXfs")
    return frozenset(n for n, style in enumerate(styles if styles is not None else ()) if style.get("numFmtId") in dates)


def _rows(sheet: etree._Element, book: _Book) -> Iterator[list[str]]:
    hidden = {
        n
        for column in sheet.iter(f"{_S}col")
        if column.get("hidden") in {"1", "true"}
        for n in range(int(column.get("min") or 1), min(int(column.get("max") or 1), _MAX_COLUMN) + 1)
    }
    for row in sheet.iter(f"{_S}row"):
        if row.get("hidden") not in {"1", "true"}:
            yield list(_cells(row, book, hidden))


def _cells(row: etree._Element, book: _Book, hidden: set[int]) -> Iterator[str]:
    at = 0
    for cell in row.iter(f"{_S}c"):
        column = min(_column(cell.get("r") or "") or at + 1, _MAX_COLUMN)
        while at + 1 < column:
            at += 1
            if at not in hidden:
                yield ""
        at = max(at + 1, column)
        if at not in hidden:
            yield _value(cell, book)


def _column(address: str) -> int:
    """`B3` is column 2; 0 when there is no address."""
    number = 0
    for letter in address.rstrip("0123456789")[:3]:
        number = number * 26 + ord(letter.upper()) - 64
    return number


def _value(cell: etree._Element, book: _Book) -> str:
    kind = cell.get("t", "n")
    if kind == "inlineStr":
        return _text(cell)
    raw = cell.findtext(f"{_S}v") or ""
    if kind == "s":
        return book.strings[int(raw)] if raw else ""
    if kind == "b":
        return "true" if raw == "1" else "false"
    if kind == "n" and raw and int(cell.get("s") or 0) in book.date_styles:
        moment = _EPOCH + timedelta(days=float(raw))
        return f"{moment:%Y-%m-%d}" if float(raw).is_integer() else f"{moment:%Y-%m-%d %H:%M}"
    return raw
