"""Says what a file is, by its first bytes and by what it claims to be, and refuses it when the two disagree.

A claim never wins over the bytes: a PDF named `.txt` is refused, not read as text.
"""

from enum import StrEnum
from pathlib import PurePosixPath

from app.errors import UnsupportedContentError
from app.ingest.parsers.archive import part_names


class Format(StrEnum):
    """Formats with a parser."""

    MARKDOWN = "Markdown"
    HTML = "HTML"
    TEXT = "plain text"
    PDF = "PDF"
    DOCX = "DOCX"
    XLSX = "XLSX"
    PPTX = "PPTX"
    CSV = "CSV"
    JSON = "JSON"
    JSON_LINES = "JSON Lines"
    MAIL = "EML"


READ_HERE = ", ".join(Format)

_EXTENSIONS: dict[str, Format] = {
    "md": Format.MARKDOWN, "markdown": Format.MARKDOWN, "mdx": Format.MARKDOWN,
    "html": Format.HTML, "htm": Format.HTML, "xhtml": Format.HTML,
    "txt": Format.TEXT, "text": Format.TEXT, "log": Format.TEXT,
    "pdf": Format.PDF, "docx": Format.DOCX, "xlsx": Format.XLSX, "pptx": Format.PPTX, "eml": Format.MAIL,
    "csv": Format.CSV, "tsv": Format.CSV,
    "json": Format.JSON, "jsonl": Format.JSON_LINES, "ndjson": Format.JSON_LINES,
}  # fmt: skip
_MEDIA_TYPES: dict[str, Format] = {
    "text/markdown": Format.MARKDOWN, "text/x-markdown": Format.MARKDOWN,
    "text/html": Format.HTML, "application/xhtml+xml": Format.HTML,
    "application/pdf": Format.PDF,
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": Format.DOCX,
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": Format.XLSX,
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": Format.PPTX,
    "message/rfc822": Format.MAIL,
    "text/csv": Format.CSV, "text/tab-separated-values": Format.CSV, "application/csv": Format.CSV,
    "application/json": Format.JSON, "text/json": Format.JSON,
    "application/x-ndjson": Format.JSON_LINES, "application/jsonl": Format.JSON_LINES,
}  # fmt: skip
_MAIN_PARTS = {"word/document.xml": Format.DOCX, "xl/workbook.xml": Format.XLSX, "ppt/presentation.xml": Format.PPTX}
_GENERIC = frozenset({"", "application/octet-stream", "binary/octet-stream", "text/plain", "application/vnd.ms-excel"})
"""Types that clients send for anything; browsers on Windows call a CSV file the last one."""
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "PDF"), (b"PK\x03\x04", "ZIP"), (b"PK\x05\x06", "ZIP"), (b"PK\x07\x08", "ZIP"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "OLE"), (b"{\\rtf", "RTF"),
    (b"\x89PNG\r\n", "PNG image"), (b"\xff\xd8\xff", "JPEG image"), (b"GIF8", "GIF image"), (b"II*\x00", "TIFF image"),
    (b"\x1f\x8b", "gzip archive"), (b"7z\xbc\xaf\x27\x1c", "7z archive"), (b"Rar!\x1a\x07", "RAR archive"), (b"BZh", "bzip2 archive"),
    (b"\xfd7zXZ\x00", "xz archive"), (b"(\xb5/\xfd", "zstd archive"),
    (b"\x7fELF", "program"), (b"MZ\x90\x00", "program"), (b"SQLite format 3\x00", "SQLite database"),
)  # fmt: skip
_PDF_HEADER_WITHIN = 1024
"""ISO 32000-1, annex H, note 13: readers accept the header within the first 1,024 bytes."""


def may_be_binary(content: bytes) -> bool:
    """Whether `detect` may find a format here that is no text."""
    return content.startswith(tuple(magic for magic, _ in _MAGIC)) or b"%PDF-" in content[:_PDF_HEADER_WITHIN]


def detect(content: bytes, media_type: str | None, file_name: str | None) -> Format:
    """The format to parse as. Raises UnsupportedContentError with what to change when there is none, or when claims disagree."""
    found = _by_bytes(content)
    claimed = _claimed(media_type, file_name)
    if found is None:
        return _text_format(content, claimed)
    if claimed is not None and claimed is not found:
        msg = f"The file claims to be {claimed} but its bytes are {found}. Give it the right extension or upload the original."
        raise UnsupportedContentError(msg)
    return found


def _by_bytes(content: bytes) -> Format | None:
    """PDF or Office format by magic bytes, `None` for text; other binary formats are refused by name."""
    kind = next((name for magic, name in _MAGIC if content.startswith(magic)), None)
    if kind is None:
        return Format.PDF if b"%PDF-" in content[:_PDF_HEADER_WITHIN] and b"\x00" in content[:65536] else None
    if kind == "PDF":
        return Format.PDF
    if kind == "ZIP":
        return _office_format(part_names(content))
    if kind == "OLE":
        msg = "The file is an encrypted or an old binary Office document. Remove the password, save it as DOCX or PDF and upload it again."
        raise UnsupportedContentError(msg)
    msg = f"The file is a {kind}, which is not read here. Formats read: {READ_HERE}."
    raise UnsupportedContentError(msg)


def _office_format(names: frozenset[str]) -> Format:
    """Which Office format an archive is, by its main part."""
    found = next((kind for part, kind in _MAIN_PARTS.items() if part in names), None)
    if found is None:
        msg = f"The file is an archive and no document itself. Upload the documents in it one by one. Formats read: {READ_HERE}."
        raise UnsupportedContentError(msg)
    return found


def _claimed(media_type: str | None, file_name: str | None) -> Format | None:
    """What type and extension say together. Generic types say nothing; two that contradict each other are refused."""
    media = (media_type or "").split(";")[0].strip().lower()
    extension = PurePosixPath((file_name or "").replace("\\", "/")).suffix.lower().lstrip(".")
    by_media, by_extension = _MEDIA_TYPES.get(media), _EXTENSIONS.get(extension)
    if by_media is None and media not in _GENERIC and by_extension is None:
        msg = f"Files of type {media[:80]} are not read here. Formats read: {READ_HERE}."
        raise UnsupportedContentError(msg)
    if by_media and by_extension and by_media is not by_extension:
        msg = f"The media type says {by_media} but the file name says {by_extension}. Make the two agree and upload it again."
        raise UnsupportedContentError(msg)
    if by_extension is None and by_media is None and media == "text/plain":
        return Format.TEXT
    return by_extension or by_media


def _text_format(content: bytes, claimed: Format | None) -> Format:
    if claimed in {Format.PDF, Format.DOCX, Format.XLSX, Format.PPTX}:
        msg = f"The file claims to be {claimed} but does not begin like one. It may be damaged or renamed: upload the original."
        raise UnsupportedContentError(msg)
    if claimed is not None:
        return claimed
    start = content[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return Format.HTML if start.startswith((b"<!doctype html", b"<html")) else Format.TEXT
