"""Writes the sample company's PDF and DOCX files from the texts in `sources/`: `python examples/make_office_files.py`.

The PDF is written by hand (ISO 32000-1, section 7.5: header, objects, cross-reference table, trailer), because text on pages needs
no library; the DOCX through python-docx. Both come out the same, byte for byte, on every run. Made for the examples and for tests only.
"""

import io
import sys
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from docx import Document

COMPANY = Path(__file__).parent / "company"
SOURCES = Path(__file__).parent / "sources"
"""Texts named `<collection>+<file name>.txt`."""
_PAGE_LINES = 46
_WRAP_CHARS = 88
_FIXED_TIME = datetime(2025, 1, 1, tzinfo=UTC)


def pdf_bytes(lines: Sequence[tuple[int, str]], title: str = "") -> bytes:
    """A PDF with a text layer; each line is (font size in points, Latin-1 text), an empty text leaves a gap."""
    pages = [lines[i : i + _PAGE_LINES] for i in range(0, len(lines), _PAGE_LINES)]
    kids = " ".join(f"{5 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        b"<< /Title (" + _escaped(title) + b") >>",
    ]
    for i, page in enumerate(pages):
        head = f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {6 + 2 * i} 0 R "
        objects.append((head + "/Resources << /Font << /F1 3 0 R >> >> >>").encode())
        stream = _page_stream(page)
        objects.append(b"<< /Length %d >>\nstream\n%b\nendstream" % (len(stream), stream))
    return _file(objects)


def _page_stream(page: Sequence[tuple[int, str]]) -> bytes:
    parts = []
    y = 790
    for size, text in page:
        y -= 16 if text else 10
        if text:
            parts.append(b"BT /F1 %d Tf 1 0 0 1 60 %d Tm (%b) Tj ET" % (size, y, _escaped(text)))
    return b"\n".join(parts)


def _escaped(text: str) -> bytes:
    return text.encode("cp1252").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")


def _file(objects: Sequence[bytes]) -> bytes:
    out = io.BytesIO(b"")
    out.write(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(out.tell())
        out.write(b"%d 0 obj\n%b\nendobj\n" % (number, body))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    for offset in offsets:
        out.write(b"%010d 00000 n \n" % offset)
    out.write(b"trailer\n<< /Size %d /Root 1 0 R /Info 4 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start))
    return out.getvalue()


def pdf_lines(source: str) -> list[tuple[int, str]]:
    """Lines for `pdf_bytes` out of the small notation of the sources: `# ` and `## ` open headings, blank lines paragraphs."""
    lines: list[tuple[int, str]] = []
    for paragraph in source.strip().split("\n\n"):
        text = " ".join(paragraph.split())
        level = len(text) - len(text.lstrip("#"))
        size = {0: 11, 1: 20, 2: 14}[level]
        lines += [(size, line) for line in _wrapped(text.lstrip("# "), _WRAP_CHARS)]
        lines.append((size, ""))
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def docx_bytes(source: str) -> bytes:
    """A DOCX out of the same notation; `- ` starts list items and `| ` table rows."""
    document = Document()
    document.core_properties.created = document.core_properties.modified = _FIXED_TIME
    document.core_properties.author = "Sample Company"
    for paragraph in source.strip().split("\n\n"):
        lines = paragraph.split("\n")
        if lines[0].startswith("#"):
            level = len(lines[0]) - len(lines[0].lstrip("#"))
            document.add_heading(lines[0].lstrip("# "), level - 1)
        elif lines[0].startswith("- "):
            for line in lines:
                document.add_paragraph(line[2:], style="List Bullet")
        elif lines[0].startswith("| "):
            cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
            table = document.add_table(len(cells), len(cells[0]))
            for row, texts in zip(table.rows, cells, strict=True):
                for cell, text in zip(row.cells, texts, strict=True):
                    cell.text = text
        else:
            document.add_paragraph(" ".join(lines))
    raw = io.BytesIO()
    document.save(raw)
    return _with_fixed_times(raw.getvalue())


def _with_fixed_times(content: bytes) -> bytes:
    """The same archive with one time stamp on all parts, so that the file does not change when it is written again."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for part in source.infolist():
            target.writestr(zipfile.ZipInfo(part.filename, (2025, 1, 1, 0, 0, 0)), source.read(part), zipfile.ZIP_DEFLATED)
    return out.getvalue()


def main() -> None:
    """Write every file that has a source."""
    for source in sorted(SOURCES.glob("*+*.txt")):
        text = source.read_text(encoding="utf-8")
        target = COMPANY.joinpath(*source.name.removesuffix(".txt").split("+"))
        title = text.strip().split("\n")[0].lstrip("# ")
        target.write_bytes(docx_bytes(text) if target.suffix == ".docx" else pdf_bytes(pdf_lines(text), title))
        sys.stdout.write(f"{target.relative_to(COMPANY)}\n")


if __name__ == "__main__":
    main()
