"""Which parser reads which format, and the one call that everything else makes."""

from collections.abc import Callable
from pathlib import PurePosixPath

from app.domain.content import ParsedDocument
from app.errors import LimitExceededError
from app.ingest.parsers.detection import Format, detect
from app.ingest.parsers.html import parse_html
from app.ingest.parsers.mail import parse_mail
from app.ingest.parsers.markdown import parse_markdown
from app.ingest.parsers.normalise import decode
from app.ingest.parsers.records import parse_json, parse_json_lines
from app.ingest.parsers.slides import parse_pptx
from app.ingest.parsers.spreadsheet import parse_xlsx
from app.ingest.parsers.tabular import parse_csv
from app.ingest.parsers.text import parse_text
from app.ingest.parsers.wire import MAX_CONTENT_BYTES


def _parse_pdf(content: bytes, title: str) -> ParsedDocument:
    from app.ingest.parsers.pdf import parse_pdf  # noqa: PLC0415 - with Word half of what a parser process loads, and most read text

    return parse_pdf(content, title)


def _parse_docx(content: bytes, title: str) -> ParsedDocument:
    from app.ingest.parsers.docx import parse_docx  # noqa: PLC0415 - as above

    return parse_docx(content, title)


_BINARY: dict[Format, Callable[[bytes, str], ParsedDocument]] = {
    Format.PDF: _parse_pdf,
    Format.DOCX: _parse_docx,
    Format.XLSX: parse_xlsx,
    Format.PPTX: parse_pptx,
    Format.MAIL: parse_mail,
}
_TEXT: dict[Format, Callable[[str, str], ParsedDocument]] = {
    Format.MARKDOWN: parse_markdown,
    Format.HTML: parse_html,
    Format.TEXT: parse_text,
    Format.CSV: parse_csv,
    Format.JSON: parse_json,
    Format.JSON_LINES: parse_json_lines,
}


def parse(content: bytes, media_type: str | None, file_name: str | None) -> ParsedDocument:
    """Read a document into blocks. Its title is its own, else its first heading, else the file's name.

    Text is normalised to NFC; zero-width, bidi and other invisible characters are removed (see `normalise`), so stored text can
    differ from the file in characters nobody sees. Raises UnsupportedContentError with what to change, and LimitExceededError
    above 50 MiB. Hostile input can be slow: callers outside tests go through `app.ingest.sandbox`.
    """
    if len(content) > MAX_CONTENT_BYTES:
        msg = "The file is larger than 50 MiB. Split it and upload the parts."
        raise LimitExceededError(msg, is_size=True)
    kind = detect(content, media_type, file_name)
    title = title_of(file_name)
    if kind in _BINARY:
        return _BINARY[kind](content, title)
    return _TEXT[kind](decode(content, declared=kind is Format.HTML), title)


def title_of(file_name: str | None) -> str:
    """A readable title from a file's name: no folder, no extension, words apart."""
    stem = PurePosixPath((file_name or "").replace("\\", "/")).stem
    words = stem.replace("-", " ").replace("_", " ").strip()
    return words[:1].upper() + words[1:]
