"""PDF and DOCX: text, order and structure of ordinary files; encrypted, scanned, damaged and oversized ones are refused."""

import contextlib
import io
import re
import time
import zipfile

import pytest
from docx import Document
from docx.oxml import parse_xml
from pypdf import PdfReader, PdfWriter

from app.errors import UnsupportedContentError
from examples.make_office_files import docx_bytes, pdf_bytes, pdf_lines
from tests.ingest.parsing import kinds, read, refusal, texts


def test_pdf_lines_become_headings_paragraphs_and_items() -> None:
    lines = pdf_lines(
        "# Crisis plan\n\nThe crisis team meets at once. "
        + "It decides who informs whom. " * 8
        + "\n\n## Phone chain\n\n1. Call the lead\n\nThen wait."
    )
    parsed = read(pdf_bytes(lines, "Crisis plan"), "plan.pdf")
    assert parsed.title == "Crisis plan"
    assert parsed.blocks[0].text.startswith("The crisis team meets at once.")
    assert parsed.blocks[0].text.count("informs") == 8
    assert [(b.kind.value, b.text, b.headings) for b in parsed.blocks[1:]] == [
        ("item", "Call the lead", ("Phone chain",)),
        ("paragraph", "Then wait.", ("Phone chain",)),
    ]


def test_pdf_headers_and_footers_are_left_out_and_divided_words_join() -> None:
    pages = []
    for number in range(1, 5):
        pages += (
            [(9, "Sample Company internal")]
            + [(11, f"Line {i} of page {number} about resto-")[:2] if i == 5 else (11, f"row {number}.{i} words") for i in range(44)]
            + [(9, f"Page {number} of 4")]
        )
    text = " ".join(texts(read(pdf_bytes(pages), "x.pdf")))
    assert "Sample Company internal" not in text
    assert not re.search(r"Page \d of 4", text)
    joined = read(pdf_bytes([(11, "A divi-"), (11, "ded word.")]), "x.pdf")
    assert texts(joined) == ["A divided word."]


def test_an_encrypted_pdf_is_refused() -> None:
    writer = PdfWriter(PdfReader(io.BytesIO(pdf_bytes([(11, "secret")]))))
    writer.encrypt("pass", algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    assert "encrypted" in refusal(out.getvalue(), "x.pdf")


def test_a_pdf_without_text_layer_is_refused_with_advice() -> None:
    assert "text recognition" in refusal(pdf_bytes([(11, "")]), "scan.pdf")


def test_damaged_pdfs_are_refused_and_print_nothing(caplog: pytest.LogCaptureFixture) -> None:
    whole = pdf_bytes(pdf_lines("# Title\n\n" + "Some words here. " * 50))
    for cut in range(9, len(whole), 97):
        with contextlib.suppress(UnsupportedContentError):
            read(whole[:cut], "x.pdf")
    assert caplog.records == []


SOURCE = """# Works agreement

Between company and council.

## Hours

- Core time ten to three
- Flexible otherwise

| Day | Hours |
| Monday | 8 |"""


def test_docx_keeps_headings_lists_and_tables_in_order() -> None:
    parsed = read(docx_bytes(SOURCE), "agreement.docx")
    assert parsed.title == "Works agreement"
    assert texts(parsed) == ["Between company and council.", "Core time ten to three", "Flexible otherwise", "Day | Hours", "Monday | 8"]
    assert kinds(parsed) == ["paragraph", "item", "item", "header", "row"]
    assert parsed.blocks[4].headings == ("Hours",)


def docx_with(xml: str) -> bytes:
    document = Document()
    namespace = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    document.element.body.insert(0, parse_xml(f'<w:p xmlns:w="{namespace}">{xml}</w:p>'))
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def test_docx_shows_insertions_and_hides_deletions_and_hidden_runs() -> None:
    xml = (
        "<w:r><w:t>kept </w:t></w:r><w:ins><w:r><w:t>inserted</w:t></w:r></w:ins><w:del><w:r><w:delText>deleted</w:delText></w:r></w:del>"
        "<w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r>"
    )
    assert texts(read(docx_with(xml), "x.docx")) == ["kept inserted"]


def repacked(content: bytes, **parts: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for part in source.infolist():
            target.writestr(part.filename, source.read(part))
        for name, body in parts.items():
            target.writestr(name.replace("__", "/") + ".bin", body)
    return out.getvalue()


def test_docx_with_macros_is_refused() -> None:
    assert "macros" in refusal(repacked(docx_bytes(SOURCE), word__vbaProject=b"x"), "x.docx")


def test_a_decompression_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = repacked(docx_bytes(SOURCE), word__media=b"\x00" * 80_000_000)
    started = time.process_time()
    assert "unpack" in refusal(bomb, "x.docx")
    assert time.process_time() - started < 1


def test_docx_with_entity_bombs_or_damaged_parts_is_refused_or_read() -> None:
    whole = docx_bytes(SOURCE)
    for cut in range(4, len(whole), 1500):
        with contextlib.suppress(UnsupportedContentError):
            read(whole[:cut], "x.docx")
    out = io.BytesIO()
    bomb = (
        '<!DOCTYPE d [<!ENTITY a "aaaaaaaaaa">'
        + "".join(f'<!ENTITY {c} "&{p};&{p};&{p};&{p};&{p};">' for p, c in zip("abcdefgh", "bcdefghi", strict=True))
        + "]>"
    )
    with zipfile.ZipFile(io.BytesIO(whole)) as source, zipfile.ZipFile(out, "w") as target:
        for part in source.infolist():
            body = source.read(part)
            if part.filename == "word/document.xml":
                body = body.replace(b"<w:document", bomb.encode() + b"<w:document", 1).replace(b"Between", b"&i;", 1)
            target.writestr(part.filename, body)
    try:
        text = " ".join(texts(read(out.getvalue(), "x.docx")))
    except UnsupportedContentError:
        text = ""
    assert len(text) < 10_000


@pytest.mark.parametrize("name", ["x.zip", "x.docx", "x"])
def test_an_archive_that_is_no_document_is_refused(name: str) -> None:
    assert "archive and no document" in refusal(zipped({"notes.txt": "hello"}), name)


def test_an_office_file_under_another_office_name_is_refused() -> None:
    assert "its bytes are DOCX" in refusal(docx_bytes(SOURCE), "x.xlsx")


def zipped(parts: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in parts.items():
            archive.writestr(name, body)
    return out.getvalue()
