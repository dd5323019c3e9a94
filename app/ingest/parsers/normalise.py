"""Turns bytes into text and text into stored text: one Unicode form, no character that shows nothing but hides something.

Invisible characters are removed, not kept: a zero-width space inside a name, a bidi override in a mail address or a line of
tag characters would hide personal data from detection and instructions from a reader. Source: Unicode TR 36 and TR 39.
"""

import codecs
import re
import unicodedata

from app.errors import UnsupportedContentError

_LINE_ENDS = re.compile("\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Controls, soft hyphen, fillers, zero-width and bidi controls, variation selectors, tag characters, noncharacters."""
_JOINERS_AT_LATIN = re.compile("(?<=[\x00-\u024f])[\u200c\u200d\ufe0e\ufe0f]+|[\u200c\u200d\ufe0e\ufe0f]+(?=[\x00-\u024f])")
"""Joiners shape Persian, Indic scripts and emoji and stay there; beside a Latin letter, digit or sign they only hide."""
_SURROGATES = re.compile("[\ud800-\udfff]")
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DECLARED = re.compile(rb"charset\s*=\s*[\"']?\s*([A-Za-z0-9_\-]{2,20})|<\?xml[^>]{0,80}encoding=[\"']([A-Za-z0-9_\-]{2,20})")
_KNOWN_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "iso-8859-15", "latin1", "windows-1252", "cp1252"})
_DECLARATION_BYTES = 2048


def decode(content: bytes, *, declared: bool = False) -> str:
    """Text of a text file: by its byte order mark, else UTF-8. With `declared`, an HTML or XML charset declaration counts.

    Nothing is guessed: a wrong guess turns names into letters that no detector knows. Raises UnsupportedContentError.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return _decoded(content[len(mark) :], encoding)
    if b"\x00" in content[:65536]:
        msg = "The file holds binary content where text was expected. Upload the original document, or save it as UTF-8 text."
        raise UnsupportedContentError(msg)
    return _decoded(content, _declared_charset(content) if declared else "utf-8")


def _decoded(content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeError as error:
        msg = f"The text is not valid {encoding.upper()}. Save the file with UTF-8 encoding and upload it again."
        raise UnsupportedContentError(msg) from error


def _declared_charset(content: bytes) -> str:
    match = _DECLARED.search(content[:_DECLARATION_BYTES])
    if not match:
        return "utf-8"
    name = (match[1] or match[2]).decode("ascii").lower()
    if name not in _KNOWN_CHARSETS:
        msg = f"The page declares the encoding {name}, which is not read here. Save it as UTF-8 and upload it again."
        raise UnsupportedContentError(msg)
    # Browsers read every Latin-1 label as windows-1252 (WHATWG Encoding Standard, section 4.2); five bytes of it are undefined.
    return "utf-8" if name in {"utf-8", "utf8", "us-ascii", "ascii"} else "iso-8859-15" if name == "iso-8859-15" else "cp1252"


def clean(text: str) -> str:
    r"""Text as it is stored: NFC, `\n` line ends, no invisible characters, lone surrogates replaced by U+FFFD.

    Offsets of spans are taken on the result, so nothing may normalise again afterwards. Idempotent.
    """
    if text.isascii() and text.isprintable():
        return text
    text = _LINE_ENDS.sub("\n", text)
    text = _SURROGATES.sub("\ufffd", text)
    text = _INVISIBLE.sub("", text)
    text = _JOINERS_AT_LATIN.sub("", text)
    return unicodedata.normalize("NFC", text)


def one_line(text: str) -> str:
    """Cleaned text with every run of white space, line breaks and no-break spaces included, as one space."""
    return " ".join(clean(text).split())
